//! A chart repository over http or https.

use std::sync::Arc;

use async_trait::async_trait;
use url::Url;

use super::{Download, IndexReply, Upstream, Validators};
use crate::clock::Clock;
use crate::config;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::net::Clients;

/// A chart repository over http or https.
#[derive(Debug)]
pub struct Helm {
    name: Arc<str>,
}

impl Helm {
    /// A repository whose index is `index.yaml` under `url`.
    pub fn new(
        name: Arc<str>,
        _url: &Url,
        _config: &config::Client,
        _clients: &Clients,
        _metrics: Arc<Metrics>,
        _clock: Clock,
    ) -> Result<Self> {
        Ok(Self { name })
    }
}

#[async_trait]
impl Upstream for Helm {
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
