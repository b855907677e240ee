//! etcd.
use std::ops::Range;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::place::Place;
use super::{Content, Existing, Object, Opened, Stamp};
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, Result};
use crate::net::Transport;

pub(super) const CREDENTIALS: &str = "`username` and `password`, and `tls`";

#[derive(Debug)]
pub(super) struct Etcd {
    place: Arc<Place>,
}

impl Etcd {
    pub(super) fn new(
        _c: &config::Etcd,
        _prefix: &str,
        place: Arc<Place>,
        _net: Transport,
        _clock: Clock,
    ) -> Self {
        Self { place }
    }
    pub(super) fn list(
        self: Arc<Self>,
        _folder: String,
    ) -> BoxStream<'static, Result<Vec<Object>>> {
        stream::empty().boxed()
    }
    pub(super) async fn stat(&self, _key: &str) -> Result<Option<Stamp>> {
        Err(self.no())
    }
    pub(super) async fn read(
        &self,
        _key: &str,
        _range: Option<Range<u64>>,
    ) -> Result<Option<Opened>> {
        Err(self.no())
    }
    pub(super) async fn write(
        &self,
        _key: &str,
        _content: Content,
        _existing: Existing,
    ) -> Result<Stamp> {
        Err(self.no())
    }
    pub(super) async fn remove(&self, _key: &str) -> Result<()> {
        Err(self.no())
    }
    pub(super) async fn check(&self) -> Result<()> {
        Err(self.no())
    }
    fn no(&self) -> Error {
        Error::unavailable(format!("{} cannot be asked yet", self.place.label))
    }
}
