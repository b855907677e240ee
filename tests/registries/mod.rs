//! The client of upstream registries against every kind of registry and every fault.

/// Blobs: redirects, ranges, broken transfers.
mod blobs;
/// Upstreams that fail: what is told, what is believed, and when they are left alone.
mod faults;
/// Tags and referrers, page by page.
mod lists;
/// Which digest a tag is, and bytes that are checked.
mod manifests;
/// A real registry, filled by real clients.
mod real;
/// Every row of registries, with and without credentials.
mod rows;
/// Tokens: how many, for what, from whom, and who gets the credentials.
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use chartgate::clock::Clock;
use chartgate::config::{self, Secret};
use chartgate::error::{Error, ErrorKind, Result};
use chartgate::metrics::Metrics;
use chartgate::net::{Clients, EnvironmentProxies, Retries};
use chartgate::oci::{Digest, Reference, RepoName};
use chartgate::upstream::Download;
use chartgate::upstream::registry::{Credentials, Registry, Settings};
use url::Url;

use crate::support::fake::RunningRegistry;

/// A registry upstream named `hub`, as a test wants it. It may dial private addresses, because fakes live on 127.0.0.1.
struct Hub {
    settings: Settings,
    retries: Retries,
    clock: Clock,
}

fn hub(fake: &RunningRegistry) -> Hub {
    hub_at(&fake.url())
}

fn hub_at(url: &str) -> Hub {
    let client = config::Client {
        allow_private: true,
        timeout: Duration::from_secs(20),
        ..config::Client::default()
    };
    Hub {
        settings: Settings::new(Url::parse(url).expect("a URL"), client),
        retries: Retries::never(),
        clock: Clock::manual("2026-11-20T15:59:01Z".parse().expect("a time")),
    }
}

impl Hub {
    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// As the user that fakes know.
    fn known(self) -> Self {
        self.with(|settings| settings.credentials = Some(user(PASSWORD)))
    }

    /// Gives up soon: for faults that are about waiting.
    fn impatient(self) -> Self {
        self.with(|settings| settings.client.timeout = Duration::from_millis(600))
    }

    fn build(&self) -> Registry {
        let clients = Clients::with(self.retries.clone(), EnvironmentProxies::none());
        Registry::new(
            Arc::from("hub"),
            self.settings.clone(),
            &clients,
            Arc::new(Metrics::new()),
            self.clock.clone(),
        )
        .expect("valid settings")
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

const PASSWORD: &str = "p\u{e4}ss:word";

fn user(password: &str) -> Credentials {
    Credentials::Basic("me".to_owned(), Secret::new(password))
}

fn name(text: &str) -> RepoName {
    RepoName::parse(text).expect("a name")
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).expect("a reference")
}

fn digest(text: &str) -> Digest {
    text.parse().expect("a digest")
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

#[track_caller]
fn assert_error(error: &Error, kind: ErrorKind, words: &str) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.message().contains(words), "{error:?}");
    assert!(error.message().contains("`hub`"), "{error:?}");
}
