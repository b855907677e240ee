//! Lists of tags and referrers: whole, believed for `list_ttl`, served stale while nobody can say.
//!
//! A list is an object of the cache like any other, and the name of the list points at it: so it survives a restart and leaves
//! when it is not used.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ProxyRegistry;
use super::manifests::{Shared, as_absent, read};
use super::place::Place;
use crate::cache::{NameState, Sharing};
use crate::digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::{Descriptor, Digest, Tag};
use crate::repository::Origin;
use crate::repository::registry::memory::Memory;
use crate::repository::registry::{Listed, Source};

impl ProxyRegistry {
    /// All tags of a repository.
    pub(super) async fn tags_at(&self, place: Place) -> Result<Listed<Tag>> {
        let key = place.list();
        if self.offline {
            return self.tags_offline(&place, &key).await;
        }
        let proxy = self.shared();
        let ask = async move || {
            let tags = proxy.upstream.tags(&place.repository).await;
            proxy.noted(tags)
        };
        self.list(&key, ask).await
    }

    /// Without an upstream: the list that is held, and the tags that are known besides.
    async fn tags_offline(&self, place: &Place, key: &str) -> Result<Listed<Tag>> {
        let held = self.held_list::<Tag>(key).await;
        let at = held.as_ref().map(|(_, at)| *at);
        let mut tags = held.map(|(items, _)| items.to_vec()).unwrap_or_default();
        tags.extend(as_tags(&self.cache.names_below(&place.tags_prefix())));
        if at.is_none() && tags.is_empty() {
            self.check_online(&format!("{}/tags/list", place.repository))?;
        }
        tags.sort_unstable();
        tags.dedup();
        Ok(Listed {
            items: tags.into(),
            source: Source {
                age: at.map(|at| self.clock.since(at)),
                ..Source::of(Origin::Hit)
            },
        })
    }

    /// All manifests whose subject is `subject`.
    pub(super) async fn referrers_at(
        &self,
        place: Place,
        subject: &Digest,
    ) -> Result<Listed<Descriptor>> {
        let key = place.referrers(subject);
        if self.offline {
            let held = self.held_list(&key).await;
            let Some((items, at)) = held else {
                self.check_online(&key)?;
                return Ok(nothing());
            };
            let age = Some(self.clock.since(at));
            let source = Source {
                age,
                ..Source::of(Origin::Hit)
            };
            return Ok(Listed { items, source });
        }
        let proxy = self.shared();
        let (at, subject) = (place, *subject);
        let ask = async move || {
            let found = proxy.upstream.referrers(&at.repository, &subject).await;
            let found = proxy.noted(found)?;
            // Whoever is told of them will ask for them.
            let links = proxy.cache.links();
            links.promise(&at.upstream, &at.repository, &found);
            Ok(found)
        };
        match self.list(&key, ask).await {
            // A repository that is not there has no referrers either.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(nothing()),
            outcome => outcome,
        }
    }

    /// The list under `key`: held and fresh, else from the upstream, else held and stale.
    async fn list<T, W>(
        &self,
        key: &str,
        ask: impl FnOnce() -> W + Send + 'static,
    ) -> Result<Listed<T>>
    where
        T: Item,
        W: Future<Output = Result<Vec<T>>> + Send + 'static,
    {
        self.check_absence(key)?;
        let known = self.held_list::<T>(key).await;
        if let Some((items, at)) = &known
            && self.clock.since(*at) < self.oci.list_ttl
        {
            let age = Some(self.clock.since(*at));
            let source = Source {
                age,
                ..Source::of(Origin::Hit)
            };
            return Ok(Listed {
                items: Arc::clone(items),
                source,
            });
        }
        let outcome = match self.verdicts.get(key) {
            Some(verdict) => Err(verdict),
            None => {
                let usable = known.as_ref().is_some_and(|(_, at)| self.may_be_stale(*at));
                self.ask_for_list(key, ask, usable).await
            }
        };
        match outcome {
            Ok(text) => Ok(Listed {
                items: T::parse(&text)?,
                source: Source {
                    age: Some(Duration::ZERO),
                    ..Source::of(Origin::Miss)
                },
            }),
            Err(error) => self.list_instead(&error, known),
        }
    }

    async fn ask_for_list<T, W>(
        &self,
        key: &str,
        ask: impl FnOnce() -> W + Send + 'static,
        usable: bool,
    ) -> Shared<Bytes>
    where
        T: Item,
        W: Future<Output = Result<Vec<T>>> + Send + 'static,
    {
        let proxy = self.shared();
        let name = key.to_owned();
        let work = move || {
            let asked = ask();
            async move { proxy.learn_list(&name, asked.await, usable).await }
        };
        let joined = async {
            self.lists
                .join(key, work)
                .await
                .unwrap_or_else(|error| Err(Arc::new(error)))
        };
        self.patiently(usable, joined).await
    }

    /// Records what the upstream said about a list.
    async fn learn_list<T: Item>(
        &self,
        key: &str,
        said: Result<Vec<T>>,
        is_held: bool,
    ) -> Shared<Bytes> {
        let error = match said {
            Ok(items) => {
                let text = T::render(&items);
                let digest = digest::Digest::of(&text);
                self.cache.keep(digest, text.clone(), Sharing::Nobody).await;
                self.cache.record(key, digest);
                return Ok(text);
            }
            Err(error) => error,
        };
        let period = match error.kind() {
            ErrorKind::NotFound => {
                self.cache.forget(key);
                self.cache.record_absence(key, super::NEGATIVE_TTL);
                super::NEGATIVE_TTL
            }
            ErrorKind::UpstreamDenied => super::NEGATIVE_TTL,
            _ if is_held => super::FAILURE_TTL,
            _ => Duration::ZERO,
        };
        let error = Arc::new(error);
        self.verdicts.put(key, Arc::clone(&error), period);
        Err(error)
    }

    fn list_instead<T>(
        &self,
        error: &Arc<Error>,
        known: Option<(Arc<[T]>, Timestamp)>,
    ) -> Result<Listed<T>> {
        let allowed = |at: Timestamp| match error.kind() {
            ErrorKind::NotFound => false,
            ErrorKind::UpstreamDenied => self.clock.since(at) <= self.oci.max_stale_denied,
            _ => self.may_be_stale(at),
        };
        match known.filter(|(_, at)| allowed(*at)) {
            Some((items, at)) => Ok(Listed {
                items,
                source: self.stale(error, at),
            }),
            None => Err(as_absent(Error::shared(error))),
        }
    }

    /// A list that is held, and when the upstream last sent it. Read once for all who ask, while it does not change.
    async fn held_list<T: Item>(&self, key: &str) -> Option<(Arc<[T]>, Timestamp)> {
        let record = self.cache.name(key)?;
        let NameState::Held(digest) = record.state else {
            return None;
        };
        let read_before = T::read_before(self);
        if let Some((of, items)) = read_before.get(key)
            && of == digest
        {
            return Some((items, record.at));
        }
        let text = read(self.cache.get(&digest).await?).await.ok()?;
        let items = T::parse(&text).ok()?;
        read_before.put_heavy(key, (digest, Arc::clone(&items)), text.len());
        Some((items, record.at))
    }
}

/// Lists that were read lately: the digest of the text, and what it says. They weigh as much as their texts.
pub(super) type Lists<T> = Memory<(digest::Digest, Arc<[T]>)>;

/// What lists are made of.
pub(super) trait Item: Sized + Clone + Send + Sync + 'static {
    fn parse(text: &[u8]) -> Result<Arc<[Self]>>;
    fn render(items: &[Self]) -> Bytes;
    fn read_before(proxy: &ProxyRegistry) -> &Lists<Self>;
}

impl Item for Tag {
    fn parse(text: &[u8]) -> Result<Arc<[Self]>> {
        let texts: Vec<String> = from_json(text)?;
        Ok(as_tags(&texts).collect())
    }

    /// As texts: a tag is nothing else.
    fn render(items: &[Self]) -> Bytes {
        let texts: Vec<&str> = items.iter().map(Self::as_str).collect();
        to_json(&texts)
    }

    fn read_before(proxy: &ProxyRegistry) -> &Lists<Self> {
        &proxy.tag_lists
    }
}

impl Item for Descriptor {
    fn parse(text: &[u8]) -> Result<Arc<[Self]>> {
        from_json::<Vec<Self>>(text).map(Into::into)
    }

    fn render(items: &[Self]) -> Bytes {
        to_json(&items)
    }

    fn read_before(proxy: &ProxyRegistry) -> &Lists<Self> {
        &proxy.referrer_lists
    }
}

fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text)
        .map_err(|error| Error::internal("a list that was kept cannot be read", error))
}

fn to_json(items: &impl Serialize) -> Bytes {
    // Texts and descriptors are always JSON.
    serde_json::to_vec(items).unwrap_or_default().into()
}

/// What was a tag when it was kept is one.
fn as_tags(texts: &[String]) -> impl Iterator<Item = Tag> {
    texts.iter().filter_map(|text| Tag::parse(text).ok())
}

/// How many bytes of each kind are remembered for an upstream. What is in memory takes about three times as much.
pub(super) const REMEMBERED: usize = 4 << 20;

fn nothing() -> Listed<Descriptor> {
    Listed {
        items: Arc::new([]),
        source: Source::of(Origin::Miss),
    }
}
