//! What is known of one repository, and how that is asked for and changed.
//!
//! Readers take what is believed from memory, else they look into the place without holding anything, and remember what they
//! saw only if nothing was changed here meanwhile: otherwise a slow look could bring back what was just deleted.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;

use super::links::Link;
use super::tags::TagValue;
use super::{HostedRegistry, RegistryStore, layout};
use crate::error::{Error, Result};
use crate::object::Existing;
use crate::oci::{Descriptor, Digest, RepoName, Tag};

/// One repository, known or not.
#[derive(Debug)]
pub(super) struct Repo {
    pub(super) name: RepoName,
    pub(super) keys: layout::Repo,
    state: Mutex<State>,
    /// Held by whoever changes the repository.
    pub(super) writer: tokio::sync::Mutex<()>,
    /// When it was used last, by the counter of `repos`.
    pub(super) used: AtomicU64,
}

/// Something that was seen in the place, or seen to be absent.
#[derive(Clone, Debug)]
pub(super) struct Seen<T> {
    pub(super) value: T,
    pub(super) at: Timestamp,
}

/// What is remembered. Locked for look-ups and edits in memory only.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Grows with every change made here.
    edits: u64,
    mark: Items<Mark>,
    links: Items<Digest>,
    tags: Items<Tag>,
    /// What readers see of tags that are being written together.
    held: HashMap<Tag, Option<TagValue>>,
    /// The names of all tags.
    names: Option<Seen<BTreeSet<Tag>>>,
    /// The same for readers, made when somebody asks.
    listed: Option<Arc<[Tag]>>,
    pub(super) referrers: HashMap<Digest, Seen<Arc<[Descriptor]>>>,
}

type Items<I> = HashMap<I, Seen<Option<<I as Item>::Value>>>;

/// A small object of a repository.
pub(super) trait Item: Clone + Eq + Hash + Send + Sync + 'static {
    type Value: Clone + Send;

    fn key(&self, keys: &layout::Repo) -> String;
    fn parse(bytes: &[u8]) -> serde_json::Result<Self::Value>;
    fn items(state: &mut State) -> &mut Items<Self>;

    /// What readers see whatever the place says.
    fn held(&self, _: &State) -> Option<Option<Self::Value>> {
        None
    }
}

/// The mark that the repository may hold something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark;

impl Item for Mark {
    type Value = ();

    fn key(&self, keys: &layout::Repo) -> String {
        keys.mark.clone()
    }

    fn parse(_: &[u8]) -> serde_json::Result<()> {
        Ok(())
    }

    fn items(state: &mut State) -> &mut Items<Self> {
        &mut state.mark
    }
}

impl Item for Digest {
    type Value = Link;

    fn key(&self, keys: &layout::Repo) -> String {
        keys.link(self)
    }

    fn parse(bytes: &[u8]) -> serde_json::Result<Link> {
        serde_json::from_slice(bytes)
    }

    fn items(state: &mut State) -> &mut Items<Self> {
        &mut state.links
    }
}

impl Item for Tag {
    type Value = TagValue;

    fn key(&self, keys: &layout::Repo) -> String {
        keys.tag(self)
    }

    fn parse(bytes: &[u8]) -> serde_json::Result<TagValue> {
        serde_json::from_slice(bytes)
    }

    fn items(state: &mut State) -> &mut Items<Self> {
        &mut state.tags
    }

    fn held(&self, state: &State) -> Option<Option<TagValue>> {
        state.held.get(self).cloned()
    }
}

impl Repo {
    /// A repository of which nothing is known.
    pub(super) fn new(tenant: &str, name: &RepoName) -> Self {
        Self {
            name: name.clone(),
            keys: layout::Repo::new(tenant, &layout::repo_segment(name)),
            state: Mutex::default(),
            writer: tokio::sync::Mutex::default(),
            used: AtomicU64::new(0),
        }
    }

    /// Changes what is known. Looks that are under way now are not remembered.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        state.edits += 1;
        // Any change of a manifest or of a tag may be one of them.
        state.referrers.clear();
        change(&mut state)
    }

    /// How much is remembered.
    pub(super) fn weight(&self) -> usize {
        let state = self.state();
        let names = state.names.as_ref().map_or(0, |names| names.value.len());
        state.links.len() + state.tags.len() + names + state.referrers.len()
    }

    /// Whether a link is in memory, believed or not.
    pub(super) fn remembers(&self, digest: &Digest) -> bool {
        self.state().links.contains_key(digest)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was locked cannot leave it half changed in a way that matters: it is looked at again.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn touch(&self, tick: u64) {
        self.used.store(tick, Ordering::Relaxed);
    }
}

impl State {
    /// How many changes were made.
    pub(super) fn edits(&self) -> u64 {
        self.edits
    }

    /// Remembers what is there.
    pub(super) fn set<I: Item>(&mut self, item: &I, value: I::Value, at: Timestamp) {
        let value = Some(value);
        I::items(self).insert(item.clone(), Seen { value, at });
    }

    /// Remembers nothing of an item.
    pub(super) fn forget<I: Item>(&mut self, item: &I) {
        I::items(self).remove(item);
    }

    /// Shows readers what the tags are now, whatever the place says, until [`State::release`].
    pub(super) fn hold(&mut self, tags: impl IntoIterator<Item = (Tag, Option<TagValue>)>) {
        self.held.extend(tags);
    }

    /// Ends [`State::hold`].
    pub(super) fn release(&mut self) {
        self.held.clear();
    }

    /// Takes note that there is a tag of this name, or none.
    pub(super) fn name(&mut self, tag: &Tag, exists: bool) {
        if let Some(names) = &mut self.names {
            let changed = match exists {
                true => names.value.insert(tag.clone()),
                false => names.value.remove(tag),
            };
            if changed {
                self.listed = None;
            }
        }
    }

    /// Takes note of nothing that is known about the names of tags.
    pub(super) fn forget_names(&mut self) {
        (self.names, self.listed) = (None, None);
    }

    fn names(&mut self, store: &RegistryStore) -> Option<Arc<[Tag]>> {
        let names = self.names.as_ref()?;
        if !store.believes(names.at) {
            return None;
        }
        let listed = self
            .listed
            .get_or_insert_with(|| names.value.iter().cloned().collect());
        Some(Arc::clone(listed))
    }

    fn recall<I: Item>(&mut self, item: &I, store: &RegistryStore) -> Option<Option<I::Value>> {
        if let Some(held) = item.held(self) {
            return Some(held);
        }
        let seen = I::items(self).get(item)?;
        let is_believed = match seen.value {
            Some(_) => store.believes(seen.at),
            None => store.clock.since(seen.at) < MISS_TRUST,
        };
        is_believed.then(|| seen.value.clone())
    }

    fn remember<I: Item>(&mut self, item: &I, value: Option<I::Value>, at: Timestamp) {
        let items = I::items(self);
        match value {
            Some(value) => {
                if items.len() >= MAX_ITEMS {
                    items.clear();
                }
                items.insert(
                    item.clone(),
                    Seen {
                        value: Some(value),
                        at,
                    },
                );
            }
            None => {
                items.remove(item);
            }
        }
    }

    /// Takes note that the repository does not exist.
    fn remember_absence(&mut self, at: Timestamp) {
        self.mark.insert(Mark, Seen { value: None, at });
    }
}

impl RegistryStore {
    /// Whether what was seen then still counts.
    pub(super) fn believes(&self, at: Timestamp) -> bool {
        self.trust.is_none_or(|trust| self.clock.since(at) < trust)
    }
}

impl HostedRegistry {
    /// What is known of a repository.
    pub(super) fn repo(&self, name: &RepoName) -> Arc<Repo> {
        self.tenant.repos.get(name, &self.tenant.segment)
    }

    /// An item as readers see it: what is believed, else what the place has.
    pub(super) async fn look<I: Item>(&self, repo: &Repo, item: &I) -> Result<Option<I::Value>> {
        let mut found = None;
        for _ in 0..MAX_LOOKS {
            let edits = {
                let mut state = repo.state();
                if let Some(known) = state.recall(item, &self.store) {
                    return Ok(known);
                }
                state.edits
            };
            let at = self.store.clock.now();
            found = self.find(repo, item).await?;
            let mut state = repo.state();
            if state.edits == edits {
                state.remember(item, found.clone(), at);
                return Ok(found);
            }
        }
        // It is changed all the time; what was seen last was true while this was asked.
        Ok(found)
    }

    /// An item as the place has it now.
    pub(super) async fn find<I: Item>(&self, repo: &Repo, item: &I) -> Result<Option<I::Value>> {
        let key = item.key(&repo.keys);
        let read = self.store.place.read(&key, MAX_ITEM).await?;
        read.map(|(bytes, _)| parse::<I>(&key, &bytes)).transpose()
    }

    /// Whether the repository exists. Absence is believed for a moment in a bucket, because it is asked for with every request
    /// for a name that some upstream may have: names that are pushed at another replica are reserved here 2 s later at most.
    pub async fn has(&self, name: &RepoName) -> Result<bool> {
        let repo = self.repo(name);
        let edits = {
            let mut state = repo.state();
            if let Some(known) = state.recall(&Mark, &self.store) {
                return Ok(known.is_some());
            }
            state.edits
        };
        let at = self.store.clock.now();
        let exists = self.store.place.stat(&repo.keys.mark).await?.is_some();
        let mut state = repo.state();
        if state.edits == edits {
            match exists {
                true => state.set(&Mark, (), at),
                false if self.store.place.is_remote() => state.remember_absence(at),
                false => {}
            }
        }
        Ok(exists)
    }

    /// The names of all tags, sorted; see [`HostedRegistry::tags`].
    pub(super) async fn names(&self, repo: &Repo) -> Result<Arc<[Tag]>> {
        let mut listed: Arc<[Tag]> = Arc::default();
        for _ in 0..MAX_LOOKS {
            let edits = {
                let mut state = repo.state();
                if let Some(known) = state.names(&self.store) {
                    return Ok(known);
                }
                state.edits
            };
            let at = self.store.clock.now();
            let objects = self.store.place.list(&repo.keys.tags()).await?;
            let tags = objects
                .iter()
                .filter_map(|object| Tag::parse(&object.name).ok());
            let mut names: BTreeSet<Tag> = tags.collect();
            let mut state = repo.state();
            // Some of those that are being written are there already, and not to be seen.
            names.retain(|tag| state.held.get(tag).is_none_or(Option::is_some));
            listed = names.iter().cloned().collect();
            if state.edits == edits {
                state.names = Some(Seen { value: names, at });
                state.listed = Some(Arc::clone(&listed));
                break;
            }
        }
        Ok(listed)
    }

    /// Writes a small object of a repository.
    pub(super) async fn write_item<I: Item>(
        &self,
        repo: &Repo,
        item: &I,
        bytes: Bytes,
        existing: Existing,
    ) -> Result<()> {
        let key = item.key(&repo.keys);
        self.store
            .place
            .write(&key, bytes, existing)
            .await
            .map(drop)
    }
}

fn parse<I: Item>(key: &str, bytes: &[u8]) -> Result<I::Value> {
    I::parse(bytes).map_err(|error| {
        Error::internal(
            format!("`{key}` is damaged; remove it and push again"),
            error,
        )
    })
}

/// An object that changes between two looks again and again: what was seen last has to do.
const MAX_LOOKS: usize = 8;
/// The largest small object, in bytes.
const MAX_ITEM: u64 = 64 << 10;
/// How many items of a kind are remembered of one repository.
const MAX_ITEMS: usize = 100_000;
/// How long "there is no such repository" is believed.
const MISS_TRUST: std::time::Duration = std::time::Duration::from_secs(2);
