//! OpenStack Swift. opendal knows its requests; the token and the account's URL come from here.
//!
//! Without `token` they are fetched from Keystone (v3: password or application credential) or from Swift's own v1 service, as the
//! `OS_*` and `ST_*` variables or the configuration say, before the old token expires and after a 401.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use opendal::services::Swift as Builder;
use opendal::{Operator, Result as BuildResult};
use serde_json::{Value, json};

use super::place::Place;
use super::service::{Seconds, Tag, Traits};
use super::{variable, wire, with_scheme};
use crate::clock::Clock;
use crate::config::{Secret, Swift};
use crate::error::{Error, Result};
use crate::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use crate::net::{Answer, Failure, Outgoing, Transport};

pub(super) const TRAITS: Traits = Traits {
    tag: Tag::Md5,
    seconds: Seconds::Ceil,
    // Larger ones would become two objects, of which a listing shows the smaller.
    largest_put: 5 << 30,
};

pub(super) const CREDENTIALS: &str =
    "`auth_url`, `username`, `password` and `project`, or the OS_* or ST_* variables";

pub(super) fn operator(config: &Swift) -> BuildResult<Operator> {
    let builder = Builder::default()
        .container(&config.container)
        .endpoint(PLACEHOLDER);
    Operator::new(builder)
}

/// Where requests seem to go until [`Session`] knows the account.
const PLACEHOLDER: &str = "https://account.invalid";

/// A token and where the account's objects are, fetched when needed.
pub(super) struct Session {
    login: Login,
    /// In place of the one that the service names.
    endpoint: Option<String>,
    region: Option<String>,
    place: Arc<Place>,
    clock: Clock,
    ticket: Mutex<Option<Ticket>>,
}

/// How a token is got.
enum Login {
    /// It is given, and never renewed.
    Given,
    /// Keystone: the URL of its tokens and what is posted there.
    Keystone { url: String, body: Value },
    /// Swift's own service.
    V1 {
        url: String,
        user: String,
        key: Secret,
    },
}

#[derive(Clone)]
struct Ticket {
    token: HeaderValue,
    endpoint: String,
    expires: Option<Timestamp>,
}

impl Session {
    /// Nothing is asked yet. Errors: nobody says who the user is.
    pub(super) fn new(config: &Swift, place: &Arc<Place>, clock: Clock) -> Result<Self> {
        let endpoint = config.endpoint.as_deref().map(with_scheme);
        let ticket = match (&config.token, &endpoint) {
            (Some(token), Some(endpoint)) => Some(Ticket {
                token: sensitive(token.reveal()).ok_or_else(|| place.without_credentials())?,
                endpoint: endpoint.trim_end_matches('/').to_owned(),
                expires: None,
            }),
            _ => None,
        };
        let login = match ticket {
            Some(_) => Login::Given,
            None => login(config)
                .ok_or_else(|| Error::invalid(format!("{}: set {CREDENTIALS}", place.label)))?,
        };
        Ok(Self {
            login,
            endpoint,
            region: config.region.clone().or_else(|| variable("OS_REGION_NAME")),
            place: Arc::clone(place),
            clock,
            ticket: Mutex::new(ticket),
        })
    }

    /// Sends a request with a token, and once more with a new one where the old one is refused.
    pub(super) async fn send(&self, net: &Transport, request: Outgoing) -> Result<Answer, Failure> {
        let (ticket, is_fresh) = match self.held() {
            Some(ticket) => (ticket, false),
            None => (self.log_in(net).await?, true),
        };
        let answer = net.send(ticket.on(request.clone())).await?;
        let is_refused = answer.status.as_u16() == 401;
        if !is_refused || is_fresh || matches!(self.login, Login::Given) {
            return Ok(answer);
        }
        let ticket = self.log_in(net).await?;
        net.send(ticket.on(request)).await
    }

    /// The ticket, while it is good for some time yet.
    fn held(&self) -> Option<Ticket> {
        let ticket = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        let soon = self.clock.now() + SignedDuration::try_from(RENEW_BEFORE).unwrap_or_default();
        ticket
            .clone()
            .filter(|ticket| ticket.expires.is_none_or(|expires| expires > soon))
    }

    async fn log_in(&self, net: &Transport) -> Result<Ticket, Failure> {
        let mut headers = HeaderMap::new();
        let request = match &self.login {
            Login::Given => return Err(Failure::lasting(self.place.without_credentials())),
            Login::Keystone { url, body } => {
                headers.insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                );
                Outgoing {
                    method: Method::POST,
                    url: url.clone(),
                    headers,
                    body: body.to_string().into(),
                }
            }
            Login::V1 { url, user, key } => {
                for (name, value) in [("x-auth-user", user.as_str()), ("x-auth-key", key.reveal())]
                {
                    let value = sensitive(value)
                        .ok_or_else(|| Failure::lasting(self.place.without_credentials()))?;
                    headers.insert(HeaderName::from_static(name), value);
                }
                Outgoing {
                    method: Method::GET,
                    url: url.clone(),
                    headers,
                    body: bytes::Bytes::new(),
                }
            }
        };
        let mut answer = net.send(request).await?;
        let body = wire::whole(&mut answer.body)
            .await
            .map_err(Failure::lasting)?;
        let judged = self
            .place
            .judge(answer.status, &answer.headers, &body, answer.retry_after);
        if let Some(failure) = judged {
            return Err(failure);
        }
        let ticket = match &self.login {
            Login::V1 { .. } => self.v1_ticket(&answer.headers),
            _ => self.keystone_ticket(&answer.headers, &body),
        };
        let ticket = ticket.ok_or_else(|| {
            Failure::lasting(Error::unavailable(format!(
                "{}: the login at `auth_url` gave no token, or names no object store{}",
                self.place.label,
                match &self.region {
                    Some(region) => format!(" in region `{region}`"),
                    None => String::new(),
                }
            )))
        })?;
        *self.ticket.lock().unwrap_or_else(PoisonError::into_inner) = Some(ticket.clone());
        Ok(ticket)
    }

    fn keystone_ticket(&self, headers: &HeaderMap, body: &[u8]) -> Option<Ticket> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let token = &value["token"];
        let is_here = |endpoint: &&Value| {
            let here = |key: &str| match &self.region {
                Some(region) => endpoint[key].as_str() == Some(region),
                None => true,
            };
            endpoint["interface"] == "public" && (here("region") || here("region_id"))
        };
        let found = || {
            let services = token["catalog"].as_array()?.iter();
            let mut endpoints = services
                .filter(|service| service["type"] == "object-store")
                .filter_map(|service| service["endpoints"].as_array())
                .flatten();
            endpoints.find(is_here)?["url"].as_str()
        };
        let endpoint = self.endpoint.as_deref().or_else(found)?;
        Some(Ticket {
            token: headers
                .get("x-subject-token")
                .and_then(|token| sensitive(token.to_str().ok()?))?,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            expires: token["expires_at"]
                .as_str()
                .and_then(|time| time.parse().ok()),
        })
    }

    fn v1_ticket(&self, headers: &HeaderMap) -> Option<Ticket> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let lifetime = text("x-auth-token-expires").and_then(|seconds| seconds.parse::<i64>().ok());
        let endpoint = self.endpoint.as_deref().or_else(|| text("x-storage-url"))?;
        Some(Ticket {
            token: text("x-auth-token").and_then(sensitive)?,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            expires: lifetime.and_then(|seconds| {
                self.clock
                    .now()
                    .checked_add(SignedDuration::from_secs(seconds))
                    .ok()
            }),
        })
    }
}

impl Ticket {
    /// `request`, to the account and with the token.
    fn on(&self, mut request: Outgoing) -> Outgoing {
        if let Some(rest) = request.url.strip_prefix(PLACEHOLDER) {
            request.url = format!("{}{rest}", self.endpoint);
            request.headers.insert(TOKEN, self.token.clone());
        }
        request
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// From the configuration, then from the variables of OpenStack's own programs, then from those of Swift's.
fn login(config: &Swift) -> Option<Login> {
    let url = config.auth_url.clone().or_else(|| variable("OS_AUTH_URL"));
    let user = config.username.clone().or_else(|| variable("OS_USERNAME"));
    let password = config
        .password
        .clone()
        .or_else(|| variable("OS_PASSWORD").map(Secret::new));
    if let Some(url) = url {
        let url = with_scheme(url.trim_end_matches('/'));
        if is_v1(&url) {
            let (user, key) = user.zip(password)?;
            return Some(Login::V1 { url, user, key });
        }
        let identity = identity(config, user, password)?;
        let mut body = json!({ "auth": { "identity": identity } });
        // An application credential is for one project already.
        if body["auth"]["identity"].get("password").is_some()
            && let Some(scope) = scope(config)
        {
            body["auth"]["scope"] = scope;
        }
        let version = if url.ends_with("/v3") { "" } else { "/v3" };
        let url = format!("{url}{version}/auth/tokens");
        return Some(Login::Keystone { url, body });
    }
    Some(Login::V1 {
        url: with_scheme(&variable("ST_AUTH")?),
        user: variable("ST_USER")?,
        key: Secret::new(variable("ST_KEY")?),
    })
}

/// Whether a login URL is that of Swift's own service, as Swift and Ceph's gateway call it, and not Keystone's.
fn is_v1(url: &str) -> bool {
    let last = url.rsplit('/').next().unwrap_or_default();
    matches!(last, "v1.0" | "v1" | "1.0" | "auth")
}

/// Keystone's `identity`.
fn identity(config: &Swift, user: Option<String>, password: Option<Secret>) -> Option<Value> {
    let application =
        variable("OS_APPLICATION_CREDENTIAL_ID").zip(variable("OS_APPLICATION_CREDENTIAL_SECRET"));
    if let (None, Some((id, secret))) = (&config.username, application) {
        return Some(json!({
            "methods": ["application_credential"],
            "application_credential": { "id": id, "secret": secret },
        }));
    }
    let user = match (user, variable("OS_USER_ID")) {
        (Some(name), _) => json!({
            "name": name,
            "domain": domain(config, "OS_USER_DOMAIN_ID", "OS_USER_DOMAIN_NAME"),
            "password": password?.reveal(),
        }),
        (None, Some(id)) => json!({ "id": id, "password": password?.reveal() }),
        (None, None) => return None,
    };
    Some(json!({ "methods": ["password"], "password": { "user": user } }))
}

/// The project that the token is for; absent: the user's own.
fn scope(config: &Swift) -> Option<Value> {
    let id = variable("OS_PROJECT_ID").or_else(|| variable("OS_TENANT_ID"));
    if let (None, Some(id)) = (&config.project, id) {
        return Some(json!({ "project": { "id": id } }));
    }
    let name = config
        .project
        .clone()
        .or_else(|| variable("OS_PROJECT_NAME"))
        .or_else(|| variable("OS_TENANT_NAME"))?;
    let domain = domain(config, "OS_PROJECT_DOMAIN_ID", "OS_PROJECT_DOMAIN_NAME");
    Some(json!({ "project": { "name": name, "domain": domain } }))
}

fn domain(config: &Swift, id: &str, name: &str) -> Value {
    match (&config.domain, variable(id)) {
        (Some(name), _) => json!({ "name": name }),
        (None, Some(id)) => json!({ "id": id }),
        (None, None) => {
            let name = variable(name).or_else(|| variable("OS_DOMAIN_NAME"));
            json!({ "name": name.unwrap_or_else(|| "Default".to_owned()) })
        }
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// A token that ends sooner than this is renewed first: a large upload must not outlive it.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
