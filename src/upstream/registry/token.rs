//! Tokens of one upstream: which there are, how long they last, and that everybody who needs one waits for the same.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use jiff::Timestamp;
use serde::Deserialize;

use crate::clock::Clock;
use crate::config::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::http::HeaderValue;
use crate::oci::Bearer;

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// `Bearer …`, marked as secret.
    pub(super) header: HeaderValue,
    /// From when on a new one is wanted.
    refresh: Timestamp,
    /// From when on it is worth nothing.
    end: Timestamp,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(until {})", self.end)
    }
}

/// What a token server answers.
pub(super) struct Granted {
    pub(super) token: Token,
    /// A refresh token in place of the one that was used.
    pub(super) refresh_token: Option<Secret>,
}

impl Granted {
    /// Reads a token server's JSON. `None`: there is no token in it.
    pub(super) fn read(bytes: &[u8], now: Timestamp) -> Option<Self> {
        #[derive(Deserialize)]
        struct Wire {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<serde_json::Value>,
            issued_at: Option<String>,
            refresh_token: Option<String>,
        }
        let wire: Wire = serde_json::from_slice(bytes).ok()?;
        let text = [wire.token, wire.access_token]
            .into_iter()
            .flatten()
            .find(|text| !text.is_empty())?;
        let mut header = HeaderValue::from_str(&format!("Bearer {text}")).ok()?;
        header.set_sensitive(true);
        let life = wire.expires_in.as_ref().and_then(seconds);
        let life = Duration::from_secs(life.unwrap_or(0).clamp(SHORTEST, LONGEST));
        // A server may hand out a token that it gave before. One whose clock is wrong must not make every token look old.
        let issued = wire
            .issued_at
            .and_then(|text| text.parse::<Timestamp>().ok())
            .filter(|issued| {
                let age = Duration::try_from(now.duration_since(*issued));
                age.is_ok_and(|age| age < life / 2)
            });
        let start = issued.unwrap_or(now);
        Some(Self {
            token: Token {
                header,
                refresh: start.checked_add(life * 4 / 5).ok()?,
                end: start.checked_add(life).ok()?,
            },
            refresh_token: wire
                .refresh_token
                .filter(|text| !text.is_empty())
                .map(Secret::new),
        })
    }
}

/// A number of seconds, as a number or, from some, as a text.
fn seconds(value: &serde_json::Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(|n| *n > 0.0).map(|n| n as u64))
        .or_else(|| value.as_str()?.trim().parse().ok())
}

/// What a token is for: the part of a challenge that decides which token is the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The token server, as the challenge names it.
    pub(super) realm: String,
    pub(super) service: Option<String>,
    /// In the order of the challenge: some servers look at the first only.
    pub(super) scopes: Vec<String>,
}

impl Wanted {
    /// What `challenge` asks for; where it names no scope, `own`.
    pub(super) fn of(challenge: &Bearer, own: Option<String>) -> Self {
        let mut scopes: Vec<String> = Vec::new();
        for scope in &challenge.scopes {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
        if scopes.is_empty() {
            scopes.extend(own);
        }
        Self {
            realm: challenge.realm.clone(),
            service: challenge.service.clone(),
            scopes,
        }
    }

    fn key(&self) -> Key {
        let mut scopes = self.scopes.clone();
        scopes.sort_unstable();
        (self.realm.clone(), self.service.clone(), scopes)
    }
}

type Key = (String, Option<String>, Vec<String>);
type Flight = Shared<BoxFuture<'static, Result<Token, Failed>>>;

/// A failure that many wait for.
#[derive(Clone, Debug)]
pub(super) struct Failed(Arc<Error>);

impl Failed {
    /// Whether the server has answered, and said no.
    fn is_refusal(&self) -> bool {
        matches!(
            self.0.kind(),
            ErrorKind::UpstreamUnauthorized | ErrorKind::UpstreamDenied
        )
    }

    fn to_error(&self) -> Error {
        let error = Error::new(self.0.kind(), self.0.message());
        match self.0.retry_after() {
            Some(after) => error.with_retry_after(after),
            None => error,
        }
    }
}

/// One token and those who wait for it.
#[derive(Default)]
struct Slot {
    token: Option<Token>,
    flight: Option<Flight>,
    /// The server refused, and is not asked again before then.
    refused: Option<(Failed, Timestamp)>,
}

/// All tokens of one upstream.
pub(super) struct Tokens {
    slots: Arc<Mutex<HashMap<Key, Slot>>>,
    clock: Clock,
}

impl Tokens {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            slots: Arc::default(),
            clock,
        }
    }

    /// The token for `wanted`; where there is none, or an old one, the one that `fetch` brings.
    ///
    /// However many ask, one fetch is under way; it goes on when all of them leave. A token that still counts is better
    /// than a failure to get a new one. A refusal is remembered for a moment: logging in again and again with a wrong
    /// password gets accounts locked.
    pub(super) async fn get<F>(&self, wanted: &Wanted, fetch: impl FnOnce() -> F) -> Result<Token>
    where
        F: Future<Output = Result<Token>> + Send + 'static,
    {
        let key = wanted.key();
        let now = self.clock.now();
        let (flight, held) = {
            let mut slots = lock(&self.slots);
            make_room(&mut slots, now);
            let slot = slots.entry(key.clone()).or_default();
            let held = slot.token.clone().filter(|token| now < token.end);
            if let Some(token) = held.as_ref().filter(|token| now < token.refresh) {
                return Ok(token.clone());
            }
            if let (None, Some((failed, until))) = (&held, &slot.refused)
                && now < *until
            {
                return Err(failed.to_error());
            }
            let flight = match &slot.flight {
                Some(flight) => flight.clone(),
                None => {
                    let flight = self.start(key, fetch());
                    slot.flight = Some(flight.clone());
                    flight
                }
            };
            (flight, held)
        };
        match (flight.await, held) {
            (Ok(token), _) | (Err(_), Some(token)) => Ok(token),
            (Err(failed), None) => Err(failed.to_error()),
        }
    }

    fn start(
        &self,
        key: Key,
        fetch: impl Future<Output = Result<Token>> + Send + 'static,
    ) -> Flight {
        let (slots, clock) = (Arc::clone(&self.slots), self.clock.clone());
        let task = tokio::spawn(async move {
            let outcome = fetch.await.map_err(|error| Failed(Arc::new(error)));
            let mut slots = lock(&slots);
            let slot = slots.entry(key).or_default();
            slot.flight = None;
            slot.refused = None;
            match &outcome {
                Ok(token) => slot.token = Some(token.clone()),
                Err(failed) if failed.is_refusal() => {
                    let until = clock.now().checked_add(REFUSED).ok();
                    slot.refused = until.map(|until| (failed.clone(), until));
                }
                Err(_) => {}
            }
            outcome
        });
        let joined = async move {
            task.await.unwrap_or_else(|error| {
                let error = Error::internal("asking for a token ended early", error);
                Err(Failed(Arc::new(error)))
            })
        };
        joined.boxed().shared()
    }

    /// Forgets a token that was refused, unless another one has taken its place.
    pub(super) fn forget(&self, wanted: &Wanted, refused: &HeaderValue) {
        if let Some(slot) = lock(&self.slots).get_mut(&wanted.key())
            && slot
                .token
                .as_ref()
                .is_some_and(|token| token.header == *refused)
        {
            slot.token = None;
        }
    }
}

fn lock(slots: &Mutex<HashMap<Key, Slot>>) -> MutexGuard<'_, HashMap<Key, Slot>> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the number of tokens bounded: first those go that are worth nothing, then all that nobody waits for.
fn make_room(slots: &mut HashMap<Key, Slot>, now: Timestamp) {
    if slots.len() < MOST {
        return;
    }
    let counts = |slot: &Slot| slot.token.as_ref().is_some_and(|token| now < token.end);
    slots.retain(|_, slot| slot.flight.is_some() || slot.refused.is_some() || counts(slot));
    if slots.len() >= MOST {
        slots.retain(|_, slot| slot.flight.is_some());
    }
}

/// Seconds; the token specification's default, and its least.
const SHORTEST: u64 = 60;
/// A day: no token is worth more trust.
const LONGEST: u64 = 86_400;
/// How long a refusal counts.
const REFUSED: Duration = Duration::from_secs(10);
/// Tokens of one upstream, one a repository as a rule.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T16:00:00Z".parse().expect("a time")
    }

    fn lasts(text: &str) -> Duration {
        let granted = Granted::read(text.as_bytes(), now()).expect("a token");
        Duration::try_from(granted.token.end.duration_since(now())).expect("later")
    }

    #[test]
    fn lifetimes_as_servers_tell_them() {
        for (text, seconds) in [
            (r#"{"token":"a"}"#, 60),
            (r#"{"token":"","access_token":"a","expires_in":300}"#, 300),
            (r#"{"token":"a","expires_in":5}"#, 60),
            (r#"{"token":"a","expires_in":-1}"#, 60),
            (r#"{"token":"a","expires_in":"900"}"#, 900),
            (r#"{"token":"a","expires_in":300.5}"#, 300),
            (r#"{"token":"a","expires_in":null,"issued_at":null}"#, 60),
            (r#"{"token":"a","expires_in":99999999999}"#, 86_400),
            (
                r#"{"token":"a","expires_in":300,"issued_at":"2026-11-20T15:59:00Z"}"#,
                240,
            ),
            (
                r#"{"token":"a","expires_in":300,"issued_at":"2026-11-20T12:00:00Z"}"#,
                300,
            ),
            (
                r#"{"token":"a","expires_in":300,"issued_at":"2027-01-01T00:00:00Z"}"#,
                300,
            ),
            (
                r#"{"token":"a","expires_in":300,"issued_at":"yesterday"}"#,
                300,
            ),
        ] {
            assert_eq!(lasts(text), Duration::from_secs(seconds), "{text}");
        }
    }

    #[test]
    fn answers_without_a_token() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"token":""}"#,
            r#"{"token":7}"#,
            "<html>",
            r#"{"token":"a\nb"}"#,
        ] {
            assert!(Granted::read(text.as_bytes(), now()).is_none(), "{text}");
        }
        let granted = Granted::read(br#"{"token":"s3cret","refresh_token":"r"}"#, now());
        let granted = granted.expect("a token");
        assert!(!format!("{:?} {:?}", granted.token, granted.token.header).contains("s3cret"));
        assert_eq!(granted.refresh_token, Some(Secret::new("r")));
    }

    fn wanted(scopes: &[&str]) -> Wanted {
        let challenge = Bearer {
            realm: "https://h/token".to_owned(),
            service: Some("s".to_owned()),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            error: None,
        };
        Wanted::of(&challenge, Some("own".to_owned()))
    }

    #[test]
    fn the_challenge_decides_what_is_asked_for() {
        assert_eq!(wanted(&["b", "a", "b"]).scopes, ["b", "a"]);
        assert_eq!(wanted(&[]).scopes, ["own"]);
        assert_eq!(wanted(&["a", "b"]).key(), wanted(&["b", "a"]).key());
        assert_ne!(wanted(&["a"]).key(), wanted(&["b"]).key());
    }

    struct Server {
        tokens: Tokens,
        clock: Clock,
        fetched: AtomicUsize,
    }

    impl Server {
        fn new() -> Self {
            let clock = Clock::manual(now());
            Self {
                tokens: Tokens::new(clock.clone()),
                clock,
                fetched: AtomicUsize::new(0),
            }
        }

        async fn get(&self, wanted: &Wanted, works: bool) -> Result<HeaderValue> {
            let fetch = || {
                let count = self.fetched.fetch_add(1, Ordering::SeqCst);
                let now = self.clock.now();
                async move {
                    tokio::task::yield_now().await;
                    let text = format!(r#"{{"token":"t{count}","expires_in":100}}"#);
                    match Granted::read(text.as_bytes(), now) {
                        Some(granted) if works => Ok(granted.token),
                        _ => Err(Error::unavailable("no token")),
                    }
                }
            };
            self.tokens
                .get(wanted, fetch)
                .await
                .map(|token| token.header)
        }

        fn fetched(&self) -> usize {
            self.fetched.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn all_wait_for_the_same_token_and_the_same_failure() {
        let server = Server::new();
        let wanted = wanted(&["a"]);
        let many = (0..50).map(|_| server.get(&wanted, false));
        let failed = futures_util::future::join_all(many).await;
        assert!(failed.iter().all(Result::is_err));
        assert_eq!(server.fetched(), 1);
        let many = (0..50).map(|_| server.get(&wanted, true));
        let got = futures_util::future::join_all(many).await;
        assert!(
            got.iter()
                .all(|token| token.as_ref().is_ok_and(|t| *t == "Bearer t1"))
        );
        assert_eq!(server.fetched(), 2);
    }

    #[tokio::test]
    async fn a_token_is_renewed_at_four_fifths_of_its_life_and_kept_while_that_fails() {
        let server = Server::new();
        let wanted = wanted(&["a"]);
        let first = server.get(&wanted, true).await.expect("a token");
        server.clock.advance(Duration::from_secs(79));
        assert_eq!(server.get(&wanted, true).await.expect("a token"), first);
        assert_eq!(server.fetched(), 1);
        server.clock.advance(Duration::from_secs(1));
        assert_eq!(server.get(&wanted, false).await.expect("still good"), first);
        assert_eq!(server.fetched(), 2);
        server.clock.advance(Duration::from_secs(20));
        server
            .get(&wanted, false)
            .await
            .expect_err("its time is over");
        assert_ne!(server.get(&wanted, true).await.expect("a token"), first);
    }

    #[tokio::test]
    async fn a_refused_token_is_forgotten_once() {
        let server = Server::new();
        let wanted = wanted(&["a"]);
        let first = server.get(&wanted, true).await.expect("a token");
        server.tokens.forget(&wanted, &first);
        let second = server.get(&wanted, true).await.expect("a token");
        assert_ne!(first, second);
        server.tokens.forget(&wanted, &first);
        assert_eq!(server.get(&wanted, true).await.expect("a token"), second);
    }

    #[tokio::test]
    async fn the_number_of_tokens_is_bounded() {
        let server = Server::new();
        for n in 0..MOST + 10 {
            let scope = n.to_string();
            server.get(&wanted(&[&scope]), true).await.expect("a token");
        }
        assert!(lock(&server.tokens.slots).len() <= MOST);
    }
}
