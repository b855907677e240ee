//! API tokens: what operators give to programs and people, made and revoked while the gateway runs.
//!
//! [`ApiTokens`] knows all of them; an [`ApiToken`] says itself where it counts, for what, and until when. Rules do not name tokens,
//! and a token gains nothing from rules about users: it can do what it was made for and what strangers can do. Knows nothing about
//! routes.

mod book;
mod folder;
mod listed;
mod place;
mod record;
mod scope;
#[cfg(test)]
mod tests;
mod text;
mod wish;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use self::book::{Book, Entry, Found};
pub use self::listed::{Listed, State};
use self::place::Where;
use self::scope::Place;
use self::text::Shown;
pub use self::text::TokenId;
pub(super) use self::text::is_marked;
pub use self::wish::{Lasts, Wish};
use super::fault::NoGuess;
use super::names::NamePatterns;
use super::policy::Actions;
use crate::clock::Clock;
use crate::config::{Action, Config, Secret};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::net::Clients;

/// How exactly it is kept when a token was last used, in seconds.
const USE_STEP: i64 = 3_600;
/// How many tokens there may be.
const MAX_TOKENS: usize = 10_000;
/// How long a token is listed after its end, in seconds: somebody may wonder why it does not count.
const AFTERLIFE: i64 = 30 * 24 * 3_600;

/// One token, without its secret.
#[derive(Debug)]
pub struct ApiToken {
    id: TokenId,
    name: Arc<str>,
    digest: Digest,
    tenants: Vec<Place>,
    actions: Vec<Action>,
    names: Option<NamePatterns>,
    created: Timestamp,
    expires: Option<Timestamp>,
    /// When it was used, in seconds since 1970; 0: never, as far as is known.
    used: AtomicI64,
}

/// All tokens, and what makes new ones. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiTokens {
    book: Arc<Book>,
    max_age: Option<Duration>,
    clock: Clock,
}

/// A token that was just made.
#[derive(Debug)]
pub struct NewToken {
    /// What is known of it from now on.
    pub listed: Listed,
    /// Its text. This is the only time that anybody can have it.
    pub text: Secret,
}

impl ApiToken {
    /// The one that `wish` describes, whose text has this digest.
    pub(super) fn new(
        id: TokenId,
        digest: Digest,
        wish: Wish,
        created: Timestamp,
        expires: Option<Timestamp>,
    ) -> Self {
        Self {
            id,
            name: wish.name.into(),
            digest,
            tenants: wish.tenants,
            actions: wish.actions,
            names: wish.names,
            created,
            expires,
            used: AtomicI64::new(0),
        }
    }

    /// What tells it from every other one.
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// What it was called when it was made; several may have one name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The tenants where it counts: paths and patterns, as they were written.
    pub fn tenants(&self) -> impl Iterator<Item = String> {
        self.tenants.iter().map(Place::to_string)
    }

    /// What it is for.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// The patterns of charts and repositories that it is kept to; none: it is for all of them.
    pub fn names(&self) -> &[String] {
        self.names.as_ref().map_or(&[], NamePatterns::texts)
    }

    /// When it was made.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// When it was last used, to the hour; `None`: never, as far as is known.
    pub fn last_used(&self) -> Option<Timestamp> {
        let used = self.used.load(Ordering::Relaxed);
        (used != 0)
            .then(|| Timestamp::from_second(used).ok())
            .flatten()
    }

    /// When it ends, where nothing lasts longer than `max_age`; `None`: it does not.
    fn end(&self, max_age: Option<Duration>) -> Option<Timestamp> {
        // Later than time itself is never.
        let oldest = max_age.and_then(|age| self.created.checked_add(age).ok());
        match (self.expires, oldest) {
            (Some(end), Some(oldest)) => Some(end.min(oldest)),
            (end, oldest) => end.or(oldest),
        }
    }

    fn counts_at(&self, now: Timestamp, max_age: Option<Duration>) -> bool {
        self.end(max_age).is_none_or(|end| now < end)
    }

    /// What it allows in the tenant at `path`, to the names that [`ApiToken::patterns`] says.
    pub(super) fn grants(&self, path: &str) -> Actions {
        let here = self.tenants.iter().any(|place| place.has(path));
        let actions = Actions::of(if here { &self.actions } else { &[] });
        match self.names {
            // Administering is nothing that is done to one name.
            Some(_) => actions.without_admin(),
            None => actions,
        }
    }

    /// The names that it is kept to; `None`: it is for all of them.
    pub(super) fn patterns(&self) -> Option<&NamePatterns> {
        self.names.as_ref()
    }
}

/// By their ids: two states of one token are one token.
impl PartialEq for ApiToken {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for ApiToken {}

impl Hash for ApiToken {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl fmt::Display for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl ApiTokens {
    /// Those that `config` names; `None` where it has none. Asks nobody and makes nothing. Errors: the folder is there and cannot be
    /// read, the bucket's settings do not fit together. Blocking; to be called in the runtime that will use it.
    pub fn open(config: &Config, clients: &Clients, clock: &Clock) -> Result<Option<Self>> {
        let Some(tokens) = &config.auth.api_tokens else {
            return Ok(None);
        };
        let at = Where::of(config, tokens);
        let place = at.open(clients, clock)?;
        Ok(Some(Self {
            book: Arc::new(Book::new(at, place, config.store.refresh, clock.clone())),
            max_age: tokens.max_age,
            clock: clock.clone(),
        }))
    }

    /// Goes on with what `previous` knows, where that is about the same place, looked at as often.
    pub(super) fn take_over(&mut self, previous: &Self) {
        if self.book.is_like(&previous.book) {
            self.book = previous.book.clone();
        }
    }

    /// The token whose text this is. `None`: it is none of ours, and may be anything else. Errors: it does not count
    /// ([`ErrorKind::Unauthenticated`]); nobody can say whether it does ([`ErrorKind::UpstreamUnavailable`]). Cancel-safe.
    pub(super) async fn verify(&self, text: &str) -> Option<Result<Arc<ApiToken>>> {
        let shown = match Shown::read(text)? {
            Ok(shown) => shown,
            Err(error) => return Some(Err(error)),
        };
        Some(self.holder(shown.id, Some(shown.digest)).await)
    }

    /// The token of this id, for those who have proved before that they have its secret. Errors as [`ApiTokens::verify`].
    pub(super) async fn by_id(&self, id: &str) -> Result<Arc<ApiToken>> {
        let id = id.parse().map_err(|_| refused())?;
        self.holder(id, None).await
    }

    async fn holder(&self, id: TokenId, digest: Option<Digest>) -> Result<Arc<ApiToken>> {
        let token = match self.book.find(id).await {
            Found::Token(token) => token,
            // Nobody guesses a number of this length: it was revoked, and robots go on sending it.
            Found::Nothing => return Err(refused().with_source(NoGuess::Genuine)),
            Found::Unsure => {
                return Err(Error::unavailable(
                    "the tokens cannot be looked at now, so nobody can say whether this one counts; try again",
                ));
            }
        };
        // Digests are compared, not secrets: how long that takes tells nobody anything that he could use.
        if digest.is_some_and(|digest| digest != token.digest) {
            return Err(refused());
        }
        let now = self.clock.now();
        if !token.counts_at(now, self.max_age) {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                format!("token `{token}` has expired; get a new one"),
            )
            .with_source(NoGuess::Genuine));
        }
        self.note_use(&token, now);
        Ok(token)
    }

    fn note_use(&self, token: &ApiToken, now: Timestamp) {
        let order = Ordering::Relaxed;
        let (last, seconds) = (token.used.load(order), now.as_second());
        let is_due = seconds.saturating_sub(last) >= USE_STEP;
        if is_due
            && token
                .used
                .compare_exchange(last, seconds, order, order)
                .is_ok()
        {
            self.book.note_use(token.id, now);
        }
    }

    /// Makes a token. It counts here at once, in other processes as soon as they look. Errors: it would last too long; there are too
    /// many; it cannot be kept. Runs to its end once it has begun.
    pub async fn create(&self, wish: Wish) -> Result<NewToken> {
        let this = self.clone();
        let made = tokio::spawn(async move { this.make(wish).await });
        made.await
            .map_err(|cause| Error::internal("making a token was aborted", cause))?
    }

    async fn make(&self, wish: Wish) -> Result<NewToken> {
        let now = self.clock.now();
        // Nobody reads the rest.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let expires = wish.lasts.end(now, self.max_age)?;
        let mut known = self.list().await?;
        self.forget_the_dead(&mut known, now).await?;
        if known.len() >= MAX_TOKENS {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("there are {MAX_TOKENS} tokens already; revoke those that nobody needs"),
            ));
        }
        let id = loop {
            let id = TokenId::new()?;
            if known.iter().all(|listed| listed.id != id) {
                break id;
            }
        };
        let text = text::generate(id)?;
        let token = ApiToken::new(id, Digest::of(text.as_bytes()), wish, now, expires);
        let token = Ok(self.book.add(token).await?);
        Ok(NewToken {
            listed: self.listed(id, token),
            text: Secret::new(text),
        })
    }

    /// Removes those that have ended long ago.
    async fn forget_the_dead(&self, known: &mut Vec<Listed>, now: Timestamp) -> Result<()> {
        // By what they were made with: what the configuration has ended it may let live again.
        let is_over = |listed: &Listed| {
            let end = listed.token.as_ref().and_then(|token| token.expires);
            end.is_some_and(|end| now.as_second() - end.as_second() > AFTERLIFE)
        };
        for dead in known.iter().filter(|listed| is_over(listed)) {
            self.book.remove(dead.id).await?;
        }
        known.retain(|listed| !is_over(listed));
        self.book.tidy().await;
        Ok(())
    }

    /// Takes the token called `id` away, and says which it was. It counts here no longer when this returns, nor does anything that was
    /// given out for it; in other processes as soon as they look. Errors: there is none. Runs to its end once it has begun.
    pub async fn revoke(&self, id: TokenId) -> Result<Listed> {
        let book = Arc::clone(&self.book);
        let removed = tokio::spawn(async move { book.remove(id).await });
        let removed = removed
            .await
            .map_err(|cause| Error::internal("revoking a token was aborted", cause))?;
        match removed? {
            Some(Entry { token, .. }) => Ok(self.listed(id, token)),
            None => Err(Error::not_found(format!("there is no token `{id}`"))),
        }
    }

    /// All that are kept, also those that have ended a while ago; the newest last. Errors: the place does not answer.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        let all = self.book.all().await?;
        let listed = all
            .into_iter()
            .map(|(id, entry)| self.listed(id, entry.token));
        let mut all: Vec<_> = listed.collect();
        let made = |listed: &Listed| listed.token.as_ref().map(|token| token.created);
        all.sort_by_key(|listed| (made(listed), listed.id));
        Ok(all)
    }

    fn listed(&self, id: TokenId, token: Result<Arc<ApiToken>, Arc<str>>) -> Listed {
        let (token, problem) = match token {
            Ok(token) => (Some(token), None),
            Err(problem) => (None, Some(problem)),
        };
        let counts = |token: &ApiToken| token.counts_at(self.clock.now(), self.max_age);
        Listed {
            id,
            state: match &token {
                Some(token) if counts(token) => State::Active,
                Some(_) => State::Expired,
                None => State::Damaged,
            },
            expires: token.as_ref().and_then(|token| token.end(self.max_age)),
            token,
            problem,
        }
    }
}

/// What everybody is told whose token is right in its form only, whatever is wrong with it.
fn refused() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "the token is not known, or was revoked; get a new one",
    )
}
