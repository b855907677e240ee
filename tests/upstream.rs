//! What comes from upstreams, and every way in which it can go wrong.

/// Buckets, with and without an index, and what goes wrong with them.
mod buckets;
/// What a helm upstream is asked: within its budget, and not while it wants to be left alone.
mod budget;
/// Faults of a helm upstream: what is told, and that nothing bad is accepted.
mod faults;
/// Files behind index URLs: which bytes, from where, resumed how.
mod files;
/// Folders of packages without an index.
mod folders;
/// The rules that all kinds of upstream keep.
mod kinds;
/// Redirects, private addresses, credentials, TLS and proxies.
mod reach;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chartgate::clock::Clock;
use chartgate::config;
use chartgate::error::Result;
use chartgate::metrics::Metrics;
use chartgate::net::{Clients, EnvironmentProxies, Retries};
use chartgate::upstream::{Download, Helm, IndexReply, Upstream, Validators};
use url::Url;

use crate::support::fake::FakeUpstream;

/// A helm upstream named `acme`, as a test wants it. It may dial private addresses, because fakes live on 127.0.0.1.
struct Acme {
    client: config::Client,
    url: Url,
    retries: Retries,
    proxies: EnvironmentProxies,
    metrics: Arc<Metrics>,
    clock: Clock,
}

fn acme(fake: &FakeUpstream) -> Acme {
    acme_at(&fake.url())
}

fn acme_at(url: &str) -> Acme {
    Acme {
        client: config::Client {
            allow_private: true,
            timeout: Duration::from_secs(20),
            ..config::Client::default()
        },
        url: Url::parse(url).expect("a URL"),
        retries: Retries {
            first_pause: Duration::from_millis(1),
            seed: Some(1),
            ..Retries::default()
        },
        proxies: EnvironmentProxies::none(),
        metrics: Arc::default(),
        clock: Clock::manual("2026-11-20T15:59:01Z".parse().expect("a time")),
    }
}

impl Acme {
    fn with(mut self, change: impl FnOnce(&mut config::Client)) -> Self {
        change(&mut self.client);
        self
    }

    /// Gives up soon: for faults that are about waiting.
    fn impatient(self) -> Self {
        self.with(|client| client.timeout = Duration::from_millis(600))
    }

    fn try_build(&self) -> Result<Helm> {
        let clients = Clients::with(self.retries.clone(), self.proxies.clone());
        Helm::new(
            Arc::from("acme"),
            &self.url,
            &self.client,
            &clients,
            Arc::clone(&self.metrics),
            self.clock.clone(),
        )
    }

    fn build(&self) -> Helm {
        self.try_build().expect("a valid section")
    }
}

/// The text, base and validators of a full answer.
async fn text_of(upstream: &dyn Upstream) -> (Bytes, Url, Validators) {
    match upstream.fetch_index(None).await.expect("an index") {
        IndexReply::Text {
            text,
            base,
            validators,
        } => (text, base, validators),
        other @ (IndexReply::NotModified | IndexReply::Entries { .. }) => {
            panic!("not a text: {other:?}")
        }
    }
}

/// All bytes of a download.
async fn read(download: Download) -> Result<Vec<u8>> {
    let mut body = download.body;
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}
