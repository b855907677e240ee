//! What is kept of an upstream's index on disk, so that a restart with a dead upstream serves at once.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{BrokenFile, Proxy, State, blocking};
use crate::error::{Error, Result};
use crate::index::{SourceIndex, kept};
use crate::upstream::Validators;

/// The head of the kept document, a line of JSON; the index's own bytes follow.
#[derive(Debug, Serialize, Deserialize)]
struct KeptHead {
    /// Milliseconds since the epoch.
    confirmed_at: i64,
    validators: Option<Validators>,
    /// Packages that are none: an upstream that has not changed does not name them again.
    #[serde(default)]
    broken: Vec<BrokenFile>,
}

impl Proxy {
    fn document_name(&self) -> String {
        format!("index/{}", self.config.name)
    }

    /// Keeps what is shown, so that a restart with a dead upstream serves at once.
    pub(super) async fn keep(self: Arc<Self>) {
        let _one_at_a_time = self.keeping.lock().await;
        let state = self.state.load_full();
        let (Some(index), Some(confirmed_at)) = (state.index.clone(), state.confirmed_at) else {
            return;
        };
        let validators = state.validators.clone();
        let broken = state.broken.to_vec();
        let document = blocking(move || {
            let head = KeptHead {
                confirmed_at: confirmed_at.as_millisecond(),
                validators,
                broken,
            };
            let mut document = serde_json::to_vec(&head).unwrap_or_default();
            document.push(b'\n');
            document.extend_from_slice(&kept::to_bytes(&index));
            Bytes::from(document)
        })
        .await;
        let written = match document {
            Ok(document) => {
                self.cache
                    .put_document(&self.document_name(), document)
                    .await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            warn!(upstream.name = %self.config.name, error = %error.chain(),
                "cannot keep the index of upstream `{}` on disk; after a restart it has to be fetched again", self.config.name);
        }
    }

    pub(super) async fn load_kept(&self) {
        let Some(document) = self.cache.get_document(&self.document_name()).await else {
            return;
        };
        match blocking(move || read_kept(&document))
            .await
            .and_then(|kept| kept)
        {
            Ok((head, index)) => {
                self.report(&index);
                self.state.store(Arc::new(State {
                    index: Some(Arc::new(index)),
                    broken: head.broken.into(),
                    validators: head.validators,
                    confirmed_at: Timestamp::from_millisecond(head.confirmed_at).ok(),
                    ..State::default()
                }));
                self.settled.send_replace(true);
            }
            Err(error) => warn!(upstream.name = %self.config.name, error = %error.chain(),
                "the kept index of upstream `{}` cannot be read and is fetched again", self.config.name),
        }
    }
}

fn read_kept(document: &[u8]) -> Result<(KeptHead, SourceIndex)> {
    let torn = || Error::invalid("the kept document is torn");
    let end = memchr::memchr(b'\n', document).ok_or_else(torn)?;
    let head =
        serde_json::from_slice(&document[..end]).map_err(|error| torn().with_source(error))?;
    Ok((head, kept::from_bytes(&document[end + 1..])?))
}
