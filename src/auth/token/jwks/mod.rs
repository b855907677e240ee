//! Keys that a server hands out: fetched when they are needed, believed while the server is away, forgotten when it says so.
//!
//! A token whose key is known never waits for the server. One whose key is not waits for one fetch, which all such tokens share,
//! and which is made at most once a minute: who invents names of keys cannot make this gateway ask any oftener. Only a good
//! answer changes what is believed; a server that is away, slow or wrong leaves it as it is, up to `jwks_max_stale`.

mod kept;
mod set;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;

use self::kept::Kept;
use self::set::{KeySet, MAX_BYTES};
use super::Refusal;
use super::key::{Head, Key};
use crate::clock::Clock;
use crate::config;
use crate::error::Result;
use crate::http::{HeaderValue, Method, StatusCode, header};
use crate::metrics::Metrics;
use crate::net::{Client, Clients, Exchange};

/// How old keys get before they are fetched again, behind the back of whoever asks.
const REFRESH: Duration = Duration::from_hours(1);
/// How often keys are fetched at most while any are believed.
const PAUSE: Duration = Duration::from_mins(1);
/// How often a server is asked of which nothing is known yet.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// The longest token for a server of keys.
const MAX_BEARER: u64 = 64 << 10;

/// The keys at one URL. Cheap to clone.
#[derive(Clone)]
pub(super) struct Jwks {
    inner: Arc<Inner>,
}

struct Inner {
    url: url::Url,
    client: Client,
    /// Holds the bearer token that the server wants.
    token_file: Option<PathBuf>,
    /// For a whole fetch.
    timeout: Duration,
    max_stale: Duration,
    believed: ArcSwap<Believed>,
    flight: Mutex<Flight>,
    kept: Kept,
    clock: Clock,
}

/// The last good answer, and when it came.
#[derive(Default)]
struct Believed {
    set: KeySet,
    fetched: Timestamp,
}

/// The fetch that is under way, and what became of the last one.
#[derive(Default)]
struct Flight {
    started: Option<Timestamp>,
    /// Its sender lives as long as the fetch.
    landing: Option<watch::Receiver<()>>,
    /// So that one fault is one warning.
    fault: Option<String>,
}

/// What is needed to fetch keys.
#[derive(Clone, Copy, Debug)]
pub struct Outside<'a> {
    /// Connections.
    pub clients: &'a Clients,
    /// Where requests are counted.
    pub metrics: &'a Arc<Metrics>,
    /// Where keys are kept for the time after a restart.
    pub data_dir: &'a Path,
}

/// How many keys of a set can be used; those that were known stay the same. For [`crate::auth::untrusted`].
pub(super) fn count_keys(set: &[u8]) -> Result<usize, String> {
    let first = KeySet::read(set, &KeySet::default())?;
    KeySet::read(set, &first).map(|again| again.len().min(first.len()))
}

impl Jwks {
    /// The keys that `config` names, those of an earlier run at first. `name` is how messages call the server.
    ///
    /// To be called in the runtime that will use it. Errors: files of its `tls` section cannot be used. Blocking.
    pub(super) fn open(
        config: &config::Jwks,
        name: &str,
        outside: Outside<'_>,
        clock: &Clock,
    ) -> Result<Self> {
        let client = Client::new(
            outside.clients,
            &config.client,
            name.into(),
            &config.url,
            Arc::clone(outside.metrics),
            clock.clone(),
        )?;
        let kept = Kept::new(outside.data_dir, &config.url);
        let believed = kept.read().and_then(|(answer, fetched)| {
            let set = KeySet::read(&answer, &KeySet::default()).ok()?;
            Some(Believed { set, fetched })
        });
        Ok(Self {
            inner: Arc::new(Inner {
                url: config.url.clone(),
                client,
                token_file: config.token_file.clone(),
                timeout: config.client.timeout,
                max_stale: config.max_stale,
                believed: ArcSwap::from_pointee(believed.unwrap_or_default()),
                flight: Mutex::default(),
                kept,
                clock: clock.clone(),
            }),
        })
    }

    /// The keys that the token with this head may be signed for, at least one. Errors: there is none; none can be had just now.
    ///
    /// Waits for the server only where no key fits, and then no longer than `timeout`. Cancel-safe: a fetch goes on for those
    /// who come later.
    pub(super) async fn fitting(&self, head: &Head) -> Result<Vec<Arc<Key>>, Refusal> {
        let fitting = self.known(head);
        if !fitting.is_empty() {
            return Ok(fitting);
        }
        if let Some(mut landing) = self.fetch() {
            // Nothing is ever sent: it ends with the fetch.
            let _ = landing.changed().await;
        }
        let fitting = self.known(head);
        match fitting.is_empty() {
            false => Ok(fitting),
            true if self.believed().is_some() => Err(Refusal::UnknownKey),
            true => Err(Refusal::NoKeys),
        }
    }

    /// Whether `key` is still one of those that are believed. Never waits for the server.
    pub(super) fn believes(&self, key: &Arc<Key>) -> bool {
        self.believed()
            .is_some_and(|believed| believed.set.holds(key))
    }

    /// What fits among what is believed now.
    fn known(&self, head: &Head) -> Vec<Arc<Key>> {
        let believed = self.believed();
        believed.map_or_else(Vec::new, |believed| believed.set.fitting(head))
    }

    /// What may be believed now; fetched again in the background where it is old.
    fn believed(&self) -> Option<Arc<Believed>> {
        let believed = self.inner.believed.load_full();
        // The distance, because a wall clock that is set back must not make keys eternal.
        let age = believed.fetched.duration_since(self.inner.clock.now());
        let age = age.unsigned_abs();
        if believed.set.is_empty() || age > self.inner.max_stale {
            return None;
        }
        if age >= REFRESH {
            drop(self.fetch());
        }
        Some(believed)
    }

    /// Starts a fetch, or joins the one that is under way; `None` where the last one is too recent.
    fn fetch(&self) -> Option<watch::Receiver<()>> {
        let now = self.inner.clock.now();
        let believed = self.inner.believed.load();
        let age = believed.fetched.duration_since(now).unsigned_abs();
        let pause = match believed.set.is_empty() || age > self.inner.max_stale {
            true => FIRST_PAUSE,
            false => PAUSE,
        };
        let mut flight = self.inner.flight();
        if let Some(landing) = &flight.landing
            && landing.has_changed().is_ok()
        {
            return Some(landing.clone());
        }
        if let Some(started) = flight.started
            && now.duration_since(started).unsigned_abs() < pause
        {
            return None;
        }
        let (landed, landing) = watch::channel(());
        flight.started = Some(now);
        flight.landing = Some(landing.clone());
        drop(flight);
        let inner = Arc::clone(&self.inner);
        // A task of its own: whoever leaves must not stop it for the others.
        tokio::spawn(async move {
            let good = inner.renew().await;
            // Nobody waits for the disk.
            drop(landed);
            if let Some((answer, fetched)) = good {
                let kept = inner.kept.clone();
                let written = tokio::task::spawn_blocking(move || kept.write(&answer, fetched));
                drop(written.await);
            }
        });
        Some(landing)
    }
}

impl Inner {
    /// One fetch, up to what is believed. The answer, where it is a good one, and when it came.
    async fn renew(&self) -> Option<(bytes::Bytes, Timestamp)> {
        let asked = tokio::time::timeout(self.timeout, self.ask()).await;
        let outcome =
            asked.unwrap_or_else(|_| Err(format!("they did not arrive within {:?}", self.timeout)));
        match outcome {
            Ok((set, answer)) => {
                let fetched = self.clock.now();
                let changed = self.note_good(&set);
                self.believed.store(Arc::new(Believed { set, fetched }));
                if changed {
                    tracing::info!(
                        "the keys at `{}` are fetched; there are {} now",
                        self.url,
                        self.believed.load().set.len()
                    );
                }
                Some((answer, fetched))
            }
            Err(fault) => {
                self.note_fault(fault);
                None
            }
        }
    }

    /// The set that the server has now. Errors: what is wrong with its answer, for the log.
    async fn ask(&self) -> Result<(KeySet, bytes::Bytes), String> {
        let mut exchange = Exchange::new(Method::GET, self.url.clone());
        exchange.retry = false;
        // Keys are where the operator says; nobody else is asked.
        exchange.max_redirects = 0;
        let accept = HeaderValue::from_static("application/jwk-set+json, application/json");
        let mut exchange = exchange.with(header::ACCEPT, accept);
        if let Some(file) = &self.token_file {
            // Only here: no redirect is followed, and the origin is the one that the operator wrote.
            exchange = exchange.with(header::AUTHORIZATION, bearer(file).await?);
        }
        let response = self.client.exchange(&exchange).await;
        let response = response.map_err(|error| error.chain())?;
        if response.status != StatusCode::OK {
            return Err(format!("the server answers {}", response.status.as_u16()));
        }
        let answer = response
            .bytes(MAX_BYTES)
            .await
            .map_err(|error| error.chain())?
            .ok_or_else(|| format!("the answer has more than {MAX_BYTES} bytes"))?;
        let known = self.believed.load_full();
        // A set of many keys takes a while to read.
        let read = tokio::task::spawn_blocking(move || {
            let set = KeySet::read(&answer, &known.set)?;
            Ok((set, answer))
        });
        read.await
            .unwrap_or_else(|_| Err("it cannot be read".to_owned()))
    }

    /// Forgets the last fault. Whether there is anything to tell.
    fn note_good(&self, set: &KeySet) -> bool {
        let had_fault = self.flight().fault.take().is_some();
        had_fault || self.believed.load().set.len() != set.len()
    }

    fn note_fault(&self, fault: String) {
        let mut flight = self.flight();
        if flight.fault.as_ref() != Some(&fault) {
            tracing::warn!(
                "the keys at `{}` cannot be fetched, going on with what is known: {fault}",
                self.url
            );
            flight.fault = Some(fault);
        }
    }

    fn flight(&self) -> std::sync::MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value of `Authorization` with the token in `file`. Errors: there is none, for the log.
async fn bearer(file: &Path) -> Result<HeaderValue, String> {
    let wrong = |error: &dyn fmt::Display| {
        format!(
            "no token for it can be read from `{}`: {error}",
            file.display()
        )
    };
    let path = file.to_path_buf();
    let read = tokio::task::spawn_blocking(move || kept::read_text(&path, MAX_BEARER)).await;
    let text = match read {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => return Err(wrong(&error)),
        Err(error) => return Err(wrong(&error)),
    };
    let token = text.trim();
    if token.is_empty() {
        return Err(wrong(&"it is empty"));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| wrong(&"what is in it is no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks")
            .field("url", &self.inner.url.as_str())
            .finish_non_exhaustive()
    }
}
