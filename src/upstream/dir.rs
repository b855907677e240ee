//! A folder of packages, with or without an index.yaml.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Download, IndexReply, Upstream, Validators};
use crate::clock::Clock;
use crate::error::Result;

/// A folder of packages.
#[derive(Debug)]
pub struct Dir {
    name: Arc<str>,
}

impl Dir {
    /// A source that reads the folder `path`.
    pub fn new(name: Arc<str>, _path: PathBuf, _clock: Clock) -> Self {
        Self { name }
    }
}

#[async_trait]
impl Upstream for Dir {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    async fn fetch_index(&self, _held: Option<&Validators>) -> Result<IndexReply> {
        todo!()
    }

    async fn open(&self, _url: &str, _offset: u64) -> Result<Download> {
        todo!()
    }
}
