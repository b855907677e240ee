//! What is known of the tokens that are kept somewhere, looked at again when it is old.
//!
//! Nobody is let in by what was known too long ago: whoever finds it old waits for one look that all share. Where the place does not
//! answer, those who are known stay known for a while, and of others nobody can say whether they count.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::ApiToken;
use super::folder::Names;
use super::place::{Place, Where};
use super::record::{MAX_RECORD, Record};
use super::text::TokenId;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::object::{Existing, Stamp};

/// How old what is known of a folder may be, in milliseconds.
const FOLDER_AGE: i64 = 1_000;
/// After which time a token that is not known is looked for again: in a folder, and in a bucket.
const FOLDER_MISS: i64 = 100;
const BUCKET_MISS: i64 = 5_000;
/// How long a place is left alone that did not answer.
const REST: i64 = 1_000;
/// How long a request waits for a look; the look itself goes on.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long tokens are believed whose place does not answer: as long as keys of others (`jwks_max_stale`).
const MAX_STALE: i64 = 24 * 3_600_000;
/// How many objects of a bucket are read at a time.
const READERS: usize = 16;

/// What names of objects end with: a token, and an object whose time says when it was used.
const TOKEN: &str = ".json";
const USED: &str = ".used";

/// All tokens of one place. Shared behind an `Arc`.
pub(super) struct Book {
    at: Where,
    place: Place,
    clock: Clock,
    /// How old what is known may be, in milliseconds.
    max_age: i64,
    known: ArcSwap<Known>,
    /// When the last look began that succeeded, and when the last one failed; milliseconds of the wall clock.
    seen: AtomicI64,
    failed: AtomicI64,
    /// Held by whoever looks or changes something: one at a time.
    hand: tokio::sync::Mutex<Option<Names>>,
    /// Whether somebody looks ahead of time.
    ahead: AtomicBool,
    /// The last failure, so that one fault is one warning.
    fault: Mutex<Option<String>>,
}

type Known = HashMap<TokenId, Entry>;

/// What is kept under one id.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    stamp: Stamp,
    /// The token, or why it does not count.
    pub(super) token: Result<Arc<ApiToken>, Arc<str>>,
}

/// The stamp of what could not be read; no file has it, so it is tried again.
const UNREAD: Stamp = Stamp {
    size: u64::MAX,
    modified: Timestamp::UNIX_EPOCH,
    tag: u64::MAX,
};

impl Entry {
    fn is_unreadable(&self) -> bool {
        self.stamp == UNREAD
    }
}

/// What is known about an id.
#[derive(Debug)]
pub(super) enum Found {
    Token(Arc<ApiToken>),
    /// There is none, or one that is damaged.
    Nothing,
    /// The place does not answer.
    Unsure,
}

impl Book {
    /// `refresh`: how often a bucket is looked at.
    pub(super) fn new(at: Where, place: Place, refresh: Duration, clock: Clock) -> Self {
        let refresh = if refresh.is_zero() {
            Duration::from_mins(1)
        } else {
            refresh
        };
        Self {
            at,
            max_age: match place.is_remote() {
                true => i64::try_from(refresh.as_millis())
                    .unwrap_or(i64::MAX)
                    .max(FOLDER_AGE),
                false => FOLDER_AGE,
            },
            place,
            clock,
            known: ArcSwap::default(),
            seen: AtomicI64::new(i64::MIN),
            failed: AtomicI64::new(i64::MIN),
            hand: tokio::sync::Mutex::default(),
            ahead: AtomicBool::new(false),
            fault: Mutex::default(),
        }
    }

    /// Whether `other` is about the same place, and is as old as this one may get.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.at == other.at && self.max_age == other.max_age
    }

    /// What is kept under `id`. Cancel-safe.
    pub(super) async fn find(self: &Arc<Self>, id: TokenId) -> Found {
        let sure = self.is_current(self.max_age).await;
        if let Some(entry) = self.known.load().get(&id) {
            return match &entry.token {
                Ok(token) if sure || self.is_young(MAX_STALE) => Found::Token(token.clone()),
                Ok(_) => Found::Unsure,
                Err(_) => Found::Nothing,
            };
        }
        // It may have been made a moment ago, by somebody else.
        let miss = match self.place.is_remote() {
            true => BUCKET_MISS,
            false => FOLDER_MISS,
        };
        let sure = self.is_current(miss.min(self.max_age)).await;
        match self.known.load().get(&id).map(|entry| &entry.token) {
            Some(Ok(token)) => Found::Token(token.clone()),
            Some(Err(_)) => Found::Nothing,
            None if sure => Found::Nothing,
            None => Found::Unsure,
        }
    }

    /// Everything that is there now, in no order. Errors: the place does not answer.
    pub(super) async fn all(self: &Arc<Self>) -> Result<Vec<(TokenId, Entry)>> {
        self.look().await?;
        let known = self.known.load();
        Ok(known
            .iter()
            .map(|(id, entry)| (*id, entry.clone()))
            .collect())
    }

    /// Keeps a new token. It counts here when this returns.
    pub(super) async fn add(self: &Arc<Self>, token: ApiToken) -> Result<Arc<ApiToken>> {
        let hand = self.hand.lock().await;
        let name = format!("{}{TOKEN}", token.id);
        let document = Record::of(&token).render();
        let written = self
            .place
            .write(&name, document, Existing::Refuse, token.created)
            .await;
        let stamp = match written {
            Ok(stamp) => stamp,
            Err(error) => {
                // An answer may have got lost; nobody has the secret of this one.
                let _ = self.place.remove(&name).await;
                return Err(error);
            }
        };
        let token = Arc::new(token);
        let entry = Entry {
            stamp,
            token: Ok(token.clone()),
        };
        self.change(|known| {
            known.insert(token.id, entry.clone());
        });
        drop(hand);
        Ok(token)
    }

    /// Takes a token away. It does not count here any more when this returns. Whether there was one.
    pub(super) async fn remove(self: &Arc<Self>, id: TokenId) -> Result<Option<Entry>> {
        let looked = self.look().await;
        let hand = self.hand.lock().await;
        // What is known can be taken away even where nothing can be listed.
        let Some(entry) = self.known.load().get(&id).cloned() else {
            return looked.map(|()| None);
        };
        self.place.remove(&format!("{id}{TOKEN}")).await?;
        self.change(|known| {
            known.remove(&id);
        });
        drop(hand);
        if let Err(error) = self.place.remove(&format!("{id}{USED}")).await {
            tracing::debug!(error = %error.chain(), "what a token left behind stays: {error}");
        }
        Ok(Some(entry))
    }

    /// Writes down that a token was used just now, when there is time for it.
    pub(super) fn note_use(self: &Arc<Self>, id: TokenId, now: Timestamp) {
        let book = Arc::clone(self);
        tokio::spawn(async move {
            let name = format!("{id}{USED}");
            let text = format!("{now}\n").into_bytes();
            if let Err(error) = book.place.write(&name, text, Existing::Replace, now).await {
                tracing::debug!(error = %error.chain(), "the last use of token `{id}` is not kept: {error}");
            }
        });
    }

    /// Removes what dead writers have left behind.
    pub(super) async fn tidy(&self) {
        if let Err(error) = self.place.tidy().await {
            tracing::debug!(error = %error.chain(), "files that nobody needs stay: {error}");
        }
    }

    /// Whether what is known is at most `age` milliseconds old, or was a moment ago and is now.
    async fn is_current(self: &Arc<Self>, age: i64) -> bool {
        if self.is_young(age) {
            // Of a bucket that is in use nobody waits for a look.
            if self.place.is_remote() && !self.is_young(self.max_age / 2) {
                self.look_ahead();
            }
            return true;
        }
        if self.is_recent(&self.failed, REST) {
            return false;
        }
        let book = Arc::clone(self);
        let look = tokio::spawn(async move { book.look_if(age).await });
        if tokio::time::timeout(PATIENCE, look).await.is_err() {
            self.failed.store(self.now(), Ordering::Release);
            self.warn("it does not answer in time");
        }
        self.is_young(age)
    }

    fn look_ahead(self: &Arc<Self>) {
        if self.is_recent(&self.failed, REST) || self.ahead.swap(true, Ordering::AcqRel) {
            return;
        }
        let book = Arc::clone(self);
        tokio::spawn(async move {
            book.look_if(book.max_age / 2).await;
            book.ahead.store(false, Ordering::Release);
        });
    }

    /// A look, unless somebody else has done it meanwhile, well or not.
    async fn look_if(&self, age: i64) {
        let mut hand = self.hand.lock().await;
        if !self.is_young(age) && !self.is_recent(&self.failed, REST) {
            // It has been told.
            let _ = self.refresh(&mut hand).await;
        }
    }

    /// A look at what is there now.
    async fn look(&self) -> Result<()> {
        let mut hand = self.hand.lock().await;
        self.refresh(&mut hand).await
    }

    async fn refresh(&self, names: &mut Option<Names>) -> Result<()> {
        let began = self.now();
        match self.read(names).await {
            Ok(()) => {
                self.seen.store(began, Ordering::Release);
                *self.fault() = None;
                Ok(())
            }
            Err(error) => {
                self.failed.store(self.now(), Ordering::Release);
                self.warn(&error.chain());
                Err(error)
            }
        }
    }

    async fn read(&self, names: &mut Option<Names>) -> Result<()> {
        let Some((objects, now)) = self.place.list(*names).await? else {
            return Ok(());
        };
        let old = self.known.load_full();
        let mut known = Known::with_capacity(objects.len());
        let (mut new, mut used) = (Vec::new(), Vec::new());
        for object in &objects {
            if let Some(id) = id(&object.name, TOKEN) {
                match old.get(&id) {
                    Some(entry) if entry.stamp.agrees(&object.stamp) => {
                        known.insert(id, entry.clone());
                    }
                    _ => new.push((id, object.stamp)),
                }
            } else if let Some(id) = id(&object.name, USED) {
                used.push((id, object.stamp.modified.as_second()));
            }
        }
        let reads = stream::iter(new).map(|(id, stamp)| async move {
            match self.place.read(&format!("{id}{TOKEN}"), MAX_RECORD).await {
                Ok(Some(bytes)) => Ok(Some((id, self.entry(id, stamp, &bytes)))),
                // Removed meanwhile: as if it had not been listed.
                Ok(None) => Ok(None),
                // One file that cannot be read, because somebody else owns it, must not take the others along.
                Err(error) if !self.place.is_remote() => {
                    Ok(Some((id, self.unreadable(id, &error))))
                }
                Err(error) => Err(error),
            }
        });
        let mut reads = reads.buffer_unordered(READERS);
        let mut whole = true;
        while let Some(read) = reads.try_next().await? {
            whole &= read
                .as_ref()
                .is_none_or(|(_, entry)| !entry.is_unreadable());
            known.extend(read);
        }
        drop(reads);
        for (id, at) in used {
            if let Some(Entry {
                token: Ok(token), ..
            }) = known.get(&id)
            {
                token.used.fetch_max(at, Ordering::Relaxed);
            }
        }
        self.known.store(Arc::new(known));
        // The names stay as they are when a file becomes readable.
        *names = now.filter(|_| whole);
        Ok(())
    }

    fn unreadable(&self, id: TokenId, error: &Error) -> Entry {
        let problem = error.chain();
        let old = self.known.load().get(&id).cloned();
        let told = old.is_some_and(|old| old.is_unreadable());
        if !told {
            tracing::warn!("token `{id}` does not count: {problem}");
        }
        Entry {
            stamp: UNREAD,
            token: Err(problem.into()),
        }
    }

    fn entry(&self, id: TokenId, stamp: Stamp, bytes: &[u8]) -> Entry {
        let read = match bytes.len() as u64 > MAX_RECORD {
            true => Err(Error::invalid("it is too large")),
            false => Record::read(bytes, id),
        };
        let token = read.map(Arc::new).map_err(|error| {
            tracing::warn!(
                "token `{id}` in {} does not count: {error}",
                self.place.label()
            );
            error.message().into()
        });
        Entry { stamp, token }
    }

    /// Changes what is known. Whoever calls it holds the hand, so no look puts back what it found before.
    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = Known::clone(&self.known.load());
        change(&mut known);
        self.known.store(Arc::new(known));
    }

    fn is_young(&self, age: i64) -> bool {
        self.is_recent(&self.seen, age)
    }

    /// By distance, because a wall clock that is set back must not stop the looking.
    fn is_recent(&self, time: &AtomicI64, age: i64) -> bool {
        let then = time.load(Ordering::Acquire);
        self.now().abs_diff(then) < age.unsigned_abs()
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    fn warn(&self, fault: &str) {
        let mut told = self.fault();
        if told.as_deref() != Some(fault) {
            tracing::warn!(
                "the tokens in {} cannot be looked at, going on with what is known: {fault}",
                self.place.label()
            );
            *told = Some(fault.to_owned());
        }
    }

    fn fault(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

fn id(name: &str, ending: &str) -> Option<TokenId> {
    name.strip_suffix(ending)?.parse().ok()
}
