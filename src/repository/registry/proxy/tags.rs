//! Tags: which manifest one is, believed for `tag_ttl`, asked for again after that, and served stale while nobody can say.
//!
//! What the upstream *says* changes what is recorded; what it *suffers* does not.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::ProxyRegistry;
use super::manifests::{Held, Shared, as_absent};
use super::place::Place;
use crate::cache::NameState;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::{Digest, Reference, Tag};
use crate::repository::Origin;
use crate::repository::registry::{FoundManifest, Source};
use crate::upstream::registry::Resolved;

/// What is held of a tag, and when the upstream last said that it is this.
#[derive(Clone, Debug)]
struct Known {
    held: Held,
    at: Timestamp,
}

impl ProxyRegistry {
    /// The manifest that a tag is.
    pub(super) async fn by_tag(&self, place: &Place, tag: &Tag) -> Result<FoundManifest> {
        let key = place.tag(tag);
        if !self.offline {
            self.check_absence(&key)?;
        }
        let known = self.known(place, &key).await;
        if let Some(known) = &known {
            self.ahead.asked(&key, place, tag);
            if self.offline || self.is_fresh(known.at) {
                let source = Source {
                    age: Some(self.clock.since(known.at)),
                    ..Source::of(Origin::Hit)
                };
                return Ok(known.held.clone().found(source));
            }
        } else if let Some(found) = self.evicted(place, &key).await? {
            return Ok(found);
        }
        self.check_online(&format!("{}:{tag}", place.repository))?;
        let outcome = match self.verdicts.get(&key) {
            Some(verdict) => Err(verdict),
            None => {
                let is_usable = known.as_ref().is_some_and(|one| self.may_be_stale(one.at));
                let answer = self.resolve(place, tag, known.as_ref());
                self.patiently(is_usable, answer).await
            }
        };
        match outcome {
            Ok(held) => {
                let same = known.is_some_and(|known| known.held.key == held.key);
                let source = Source {
                    age: Some(Duration::ZERO),
                    ..Source::of(if same { Origin::Hit } else { Origin::Miss })
                };
                Ok(held.found(source))
            }
            Err(error) => self.instead(&error, known),
        }
    }

    /// Asks the upstream what the tag is now; together with everybody who wants to know.
    pub(super) async fn revalidate(&self, place: &Place, tag: &Tag) -> Shared<()> {
        let known = self.known(place, &place.tag(tag)).await;
        self.resolve(place, tag, known.as_ref()).await.map(drop)
    }

    /// When the upstream last said what the tag is.
    pub(super) fn confirmed_at(&self, key: &str) -> Option<Timestamp> {
        let record = self.cache.name(key)?;
        (record.state != NameState::Absent).then_some(record.at)
    }

    /// How long a tag is believed; `None`: for ever. Longer while the upstream allows little.
    pub(super) fn tag_ttl(&self) -> Option<Duration> {
        let ttl = self.oci.tag_ttl?;
        Some(match self.is_low() {
            true => ttl.saturating_mul(LOW_FACTOR),
            false => ttl,
        })
    }

    fn is_fresh(&self, at: Timestamp) -> bool {
        self.tag_ttl().is_none_or(|ttl| self.clock.since(at) < ttl)
    }

    /// The manifest of a tag that is still believed, though its bytes have gone: it is fetched by digest. `None`: the upstream
    /// must say what the tag is.
    async fn evicted(&self, place: &Place, key: &str) -> Result<Option<FoundManifest>> {
        let record = self.cache.name(key);
        let Some(record) = record.filter(|record| self.is_fresh(record.at)) else {
            return Ok(None);
        };
        let NameState::Held(digest) = record.state else {
            return Ok(None);
        };
        match self.by_digest(place, &Digest::Sha256(digest)).await {
            Ok(mut found) => {
                found.source.age = Some(self.clock.since(record.at));
                Ok(Some(found))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is recorded about a tag and held.
    async fn known(&self, place: &Place, key: &str) -> Option<Known> {
        let record = self.cache.name(key)?;
        let NameState::Held(digest) = record.state else {
            return None;
        };
        let held = self.held(place, &Digest::Sha256(digest)).await?;
        Some(Known {
            held,
            at: record.at,
        })
    }

    async fn resolve(&self, place: &Place, tag: &Tag, known: Option<&Known>) -> Shared<Held> {
        let proxy = self.shared();
        let key = place.tag(tag);
        let (place, tag) = (place.clone(), tag.clone());
        let held = known.map(|known| known.held.clone());
        let ask = async move || {
            let key = place.tag(&tag);
            match proxy.ask(&place, &tag, held.as_ref()).await {
                Ok(held) => {
                    proxy.cache.record(&key, held.key);
                    proxy.verdicts.forget(&key);
                    Ok(held)
                }
                Err(error) => Err(proxy.conclude(&key, error, held.is_some())),
            }
        };
        match self.manifests.join(&key, ask).await {
            Ok(outcome) => outcome,
            Err(error) => Err(Arc::new(error)),
        }
    }

    /// One HEAD as a rule. A digest that a HEAD names is only a claim: it counts when its bytes are held.
    async fn ask(&self, place: &Place, tag: &Tag, held: Option<&Held>) -> Result<Held> {
        self.check_online(&format!("{}:{tag}", place.repository))?;
        let reference = Reference::Tag(tag.clone());
        let digest = held.map(|held| &held.digest);
        let resolved = self
            .upstream
            .resolve(&place.repository, &reference, digest)
            .await;
        let head = match (self.noted(resolved)?, held) {
            (Resolved::Same, Some(held)) => return Ok(held.clone()),
            (Resolved::Same, None) => return self.fetch(place, &reference).await,
            (Resolved::Fetched(fetched), _) => return Ok(self.keep(place, *fetched).await),
            (Resolved::Moved(head), _) => head,
        };
        if let Some(held) = self.held(place, &head.digest).await {
            return Ok(held);
        }
        match self.fetch(place, &Reference::Digest(head.digest)).await {
            // It named a digest that it does not have; what it sends for the tag is what the tag is.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.fetch(place, &reference).await
            }
            outcome => outcome,
        }
    }

    /// What a failure means for what is recorded.
    fn conclude(&self, key: &str, error: Error, is_held: bool) -> Arc<Error> {
        let kind = error.kind();
        let error = Arc::new(error);
        match kind {
            ErrorKind::NotFound if self.oci.keep_removed && is_held => {
                self.verdicts
                    .put(key, Arc::clone(&error), super::NEGATIVE_TTL);
            }
            // Schema 1 stands where something else stood: that is gone too.
            ErrorKind::NotFound | ErrorKind::Unsupported => {
                self.cache.forget(key);
                self.cache.record_absence(key, super::NEGATIVE_TTL);
                let reason = Arc::new(as_absent(Error::shared(&error)));
                self.verdicts.put(key, reason, super::NEGATIVE_TTL);
            }
            ErrorKind::UpstreamDenied => {
                self.verdicts
                    .put(key, Arc::clone(&error), super::NEGATIVE_TTL);
            }
            // Whoever is served meanwhile need not wait for the next failure.
            _ if is_held => {
                self.verdicts
                    .put(key, Arc::clone(&error), super::FAILURE_TTL);
            }
            _ => {}
        }
        error
    }

    /// What is served in place of an answer.
    fn instead(&self, error: &Arc<Error>, known: Option<Known>) -> Result<FoundManifest> {
        let allowed = |at: Timestamp| match error.kind() {
            ErrorKind::NotFound => self.oci.keep_removed,
            ErrorKind::UpstreamDenied => self.clock.since(at) <= self.oci.max_stale_denied,
            ErrorKind::Unsupported => false,
            _ => self.may_be_stale(at),
        };
        match known.filter(|known| allowed(known.at)) {
            Some(known) => {
                let source = self.stale(error, known.at);
                Ok(known.held.found(source))
            }
            None => Err(as_absent(Error::shared(error))),
        }
    }

    /// Whether what was confirmed then may be served while the upstream is away.
    pub(super) fn may_be_stale(&self, at: Timestamp) -> bool {
        let limit = self.oci.max_stale;
        limit.is_none_or(|limit| self.clock.since(at) <= limit)
    }

    /// The origin of something that is served although `error` came in place of a confirmation.
    pub(super) fn stale(&self, error: &Error, at: Timestamp) -> Source {
        let text = format!(
            "{}; serving what it said at {}",
            error.message(),
            at.strftime("%Y-%m-%dT%H:%M:%SZ")
        );
        tracing::debug!(upstream.name = %self.config.name, "{text}");
        Source {
            age: Some(self.clock.since(at)),
            stale: Some(text.into()),
            ..Source::of(Origin::Hit)
        }
    }
}

/// How much longer tags are believed while the upstream allows little.
const LOW_FACTOR: u32 = 4;
