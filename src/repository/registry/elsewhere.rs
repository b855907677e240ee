//! A blob that several members of a group have: where the first one fails before its first byte, the next one sends it.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use super::RegistryRepository;
use crate::error::Result;
use crate::http::Body;
use crate::oci::{Digest, RepoName};
use crate::repository::{Artifact, Content, RemoteContent};

/// Bytes that a member promised, and who else has them.
#[derive(Debug)]
pub(super) struct Elsewhere {
    promised: Arc<dyn RemoteContent>,
    others: Vec<Arc<dyn RegistryRepository>>,
    name: RepoName,
    digest: Digest,
}

impl Elsewhere {
    /// `found`, with `others` that are asked for the same bytes if it cannot send them. Bytes that are held need nobody.
    pub(super) fn stand_by(
        found: Artifact,
        others: Vec<Arc<dyn RegistryRepository>>,
        name: &RepoName,
        digest: &Digest,
    ) -> Artifact {
        match found.content {
            Content::Remote(promised) if !others.is_empty() => {
                let content = Self {
                    promised,
                    others,
                    name: name.clone(),
                    digest: *digest,
                };
                Artifact {
                    content: Content::Remote(Arc::new(content)),
                    ..found
                }
            }
            _ => found,
        }
    }
}

#[async_trait]
impl RemoteContent for Elsewhere {
    fn length(&self) -> Option<u64> {
        self.promised.length()
    }

    async fn body(&self, range: Range<u64>) -> Result<Body> {
        let failure = match self.promised.body(range.clone()).await {
            Ok(body) => return Ok(body),
            Err(failure) => failure,
        };
        for member in &self.others {
            let Ok(found) = member.blob(&self.name, &self.digest).await else {
                continue;
            };
            // The range was chosen for the length that was promised.
            let is_as_long = self.length().is_none() || found.length() == self.length();
            if is_as_long && let Ok(body) = found.body(range.clone()).await {
                tracing::debug!(
                    digest = %self.digest, error = %failure.chain(),
                    "`{}` sends a blob in place of another member", member.label()
                );
                return Ok(body);
            }
        }
        // Why the first one failed, which should have had it.
        Err(failure)
    }
}
