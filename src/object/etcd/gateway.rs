//! etcd's own JSON gateway (`/v3/…`): calls, members in turn, and the token.
//!
//! Bytes are base64 and 64-bit numbers are strings in it; fields that are zero or empty are left out.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::config;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{HeaderMap, HeaderValue, Method, header};
use crate::net::{Failure, Outgoing, Transport};
use crate::object::place::Place;

/// The members of one cluster.
pub(super) struct Gateway {
    net: Transport,
    place: Arc<Place>,
    config: config::Etcd,
    /// The member that answered last.
    current: AtomicUsize,
    token: Mutex<Option<HeaderValue>>,
}

/// Whether a call may be made again when it is unknown what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It reads, or doing it twice is as good as once.
    Always,
    /// Only when it certainly had no effect.
    IfUndone,
}

impl Gateway {
    pub(super) fn new(net: Transport, place: Arc<Place>, config: &config::Etcd) -> Self {
        let mut config = config.clone();
        if config.endpoints.is_empty() {
            config.endpoints.push("http://localhost:2379".to_owned());
        }
        Self {
            net,
            place,
            config,
            current: AtomicUsize::new(0),
            token: Mutex::default(),
        }
    }

    /// Makes one call, such as `kv/range`, at whichever member answers.
    pub(super) async fn call(
        &self,
        method: &str,
        arguments: &Value,
        again: Again,
    ) -> Result<Value> {
        match self.attempts(method, arguments, again).await {
            // The token has expired, or users were switched on meanwhile.
            Err(failure)
                if failure.error.kind() == ErrorKind::UpstreamUnauthorized
                    && self.config.username.is_some() =>
            {
                self.log_in().await?;
                self.attempts(method, arguments, again).await
            }
            other => other,
        }
        .map_err(|failure| failure.error)
    }

    /// Goes around the members, with a pause after each round.
    async fn attempts(
        &self,
        method: &str,
        arguments: &Value,
        again: Again,
    ) -> Result<Value, Failure> {
        let end = Instant::now() + self.net.timeout();
        let members = self.config.endpoints.len();
        let mut sent = 0;
        loop {
            let member = self.current.load(Ordering::Relaxed) % members;
            let failure = match self.once(member, method, arguments).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            sent += 1;
            // A member that hangs is given no second chance, but the others get their first.
            let another = sent < members && failure.error.is_transient();
            let may_repeat = failure.transient || another;
            if !(failure.undone || may_repeat && again == Again::Always) {
                return Err(failure);
            }
            // Another caller may have moved on already.
            let _ = self.current.compare_exchange(
                member,
                member + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if sent % members != 0 {
                continue;
            }
            let round = u32::try_from(sent / members).unwrap_or(u32::MAX);
            let left = end.saturating_duration_since(Instant::now());
            let asked = failure.error.retry_after();
            match self.net.pause(round, asked, left) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(failure),
            }
        }
    }

    async fn once(&self, member: usize, method: &str, arguments: &Value) -> Result<Value, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let token = self
            .token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, token);
        }
        let endpoint = self.config.endpoints[member].trim_end_matches('/');
        let request = Outgoing {
            method: Method::POST,
            url: format!("{}/v3/{method}", with_scheme(endpoint)),
            headers,
            body: arguments.to_string().into(),
        };
        let mut answer = self.net.send(request).await?;
        let body = crate::object::wire::whole(&mut answer.body)
            .await
            .map_err(|error| Failure {
                error,
                transient: true,
                undone: false,
            })?;
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        if answer.status.is_success() && value.is_object() {
            return Ok(value);
        }
        Err(self.refusal(answer.status.as_u16(), &value))
    }

    /// What a refusal means; its texts are etcd's own.
    fn refusal(&self, status: u16, value: &Value) -> Failure {
        let label = &self.place.label;
        let told = value["message"]
            .as_str()
            .or_else(|| value["error"].as_str())
            .unwrap_or_default();
        let says = |text: &str| told.contains(text);
        if says("request is too large") || says("larger than max") {
            return Failure::lasting(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "{label} does not take a value of this size; raise etcd's `--max-request-bytes` (1.5 MiB by default)"
                ),
            ));
        }
        if says("database space exceeded") {
            return Failure::lasting(Error::new(
                ErrorKind::QuotaExceeded,
                format!(
                    "{label} is full; compact it and raise etcd's `--quota-backend-bytes`, then disarm its alarm"
                ),
            ));
        }
        if matches!(status, 401 | 403)
            || says("user name is empty")
            || says("invalid auth token")
            || says("authentication failed")
            || says("permission denied")
        {
            return Failure::lasting(self.place.refused(&short(status, told)));
        }
        if status == 404 {
            return Failure::lasting(Error::unavailable(format!(
                "{label} has no JSON gateway at `/v3`; etcd 3.4 and later have, unless `--enable-grpc-gateway=false`"
            )));
        }
        Failure {
            error: Error::unavailable(format!("{label} answered {}", short(status, told))),
            transient: matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            undone: false,
        }
    }

    /// Gets a token for the configured user.
    async fn log_in(&self) -> Result<()> {
        let user = self.config.username.as_deref().unwrap_or_default();
        let password = self
            .config
            .password
            .as_ref()
            .map_or("", |password| password.reveal());
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let arguments = json!({ "name": user, "password": password });
        let answer = self
            .attempts("auth/authenticate", &arguments, Again::Always)
            .await;
        let answer = answer.map_err(|failure| failure.error)?;
        let token = answer["token"].as_str().and_then(|token| {
            let mut token = HeaderValue::from_str(token).ok()?;
            token.set_sensitive(true);
            Some(token)
        });
        if token.is_none() {
            return Err(Error::unavailable(format!(
                "{} gave no token",
                self.place.label
            )));
        }
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
        Ok(())
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

fn with_scheme(endpoint: &str) -> String {
    match endpoint.contains("://") {
        true => endpoint.to_owned(),
        // As etcd's own client.
        false => format!("http://{endpoint}"),
    }
}

/// The status and etcd's words, as far as they may stand in a line.
fn short(status: u16, told: &str) -> String {
    let told: String = told.chars().filter(|c| !c.is_control()).take(120).collect();
    match told.is_empty() {
        true => status.to_string(),
        false => format!("{status} ({told})"),
    }
}
