//! The tokens of registry clients, from the request for one to the request that shows it; without a network.

mod endpoint;
mod foreign;
mod live;
mod realms;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chartgate::api::token;
use chartgate::auth::{About, Authenticator, Grants, Identity, Policy};
use chartgate::base64;
use chartgate::clock::Clock;
use chartgate::config::{self, Action, Callers, Config};
use chartgate::error::Result;
use chartgate::http::{
    Body, HeaderMap, HeaderValue, Method, Request, RequestBody, Response, header,
};
use chartgate::metrics::Metrics;
use chartgate::names::TenantPath;
use chartgate::net::Clients;
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

/// A gate with a clock of its own. `acme` is for `ci` (everything) and `dev` (pulling); everybody may pull from `pub`.
pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) clock: Clock,
    pub(super) config: Config,
    pub(super) authenticator: Authenticator,
}

/// `ci:secret` and `dev:word`.
const USERS: &str = "ci:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\ndev:{SHA}PLzZCtxLGSqHpiWFC38jHK3fDrM=\n";

const TENANTS: &str = "
tenants:
  acme:
    hosted: {}
    access:
      rules:
        - {subjects: 'user:ci', actions: [pull, push, delete]}
        - {subjects: 'user:dev', actions: pull}
  pub:
    hosted: {}
    access: {anonymous: pull, rules: [{subjects: 'user:*', actions: push}]}
";

impl World {
    /// With both users in a file.
    pub(super) fn new() -> Self {
        Self::with("auth: {users_file: htpasswd}")
    }

    /// With these keys besides the tenants.
    pub(super) fn with(keys: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("htpasswd"), users()).expect("written");
        Self::in_folder(folder, keys)
    }

    /// The same in a folder with files that the keys name.
    pub(super) fn in_folder(folder: TempDir, keys: &str) -> Self {
        Self::of(folder, &format!("{keys}\n{TENANTS}"))
    }

    /// The same with tenants of its own.
    pub(super) fn of(folder: TempDir, text: &str) -> Self {
        let clock = Clock::manual(Timestamp::from_second(1_800_000_000).expect("a time"));
        let mut config = match config::parse(text, folder.path(), &|_| None) {
            Ok(config) => config,
            Err(mistakes) => panic!("{mistakes}"),
        };
        config.set_data_dir(&folder.path().join("data"));
        let authenticator =
            Authenticator::build(&config, &clock, &Clients::new(), &Arc::new(Metrics::new()))
                .expect("built");
        Self {
            folder,
            clock,
            config,
            authenticator,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether the rules allow it: what the token endpoint asks.
    pub(super) fn permits(&self, identity: &Identity, name: &str, action: Action) -> bool {
        let tenant = name.split('/').next().unwrap_or_default();
        let Ok(path) = TenantPath::parse(tenant) else {
            return false;
        };
        let tenant = self.config.tenants.get(&path);
        tenant.is_some_and(|tenant| {
            Policy::new(&tenant.access, &Callers::of(&self.config))
                .expect("a policy")
                .allows(identity, path.as_str(), action, About::Tenant)
        })
    }

    /// The answer of the token endpoint.
    pub(super) async fn ask(&self, request: Request, body: &str) -> Response {
        let mut body = Text::new(body);
        let now = self.clock.now();
        let permits =
            |identity: &Identity, name: &str, action| self.permits(identity, name, action);
        token::answer(&self.authenticator, &request, &mut body, now, &permits).await
    }

    /// The answer to `GET /token?<query>` with these credentials.
    pub(super) async fn get(&self, query: &str, credentials: Option<&str>) -> Response {
        self.ask(request("GET", &format!("/token?{query}"), credentials), "")
            .await
    }

    /// The token in a good answer.
    pub(super) async fn token(&self, query: &str, credentials: Option<&str>) -> String {
        let reply = json(self.get(query, credentials).await, 200);
        reply["token"].as_str().expect("a token").to_owned()
    }

    /// Who a registry's client is that sends this `Authorization`.
    pub(super) async fn who(&self, authorization: &str) -> Result<(Identity, Grants)> {
        let request = request("GET", "/v2/", Some(authorization));
        self.authenticator.authenticate_registry(&request).await
    }

    /// Who the holder of a token is.
    pub(super) async fn holder(&self, token: &str) -> Result<(Identity, Grants)> {
        self.who(&format!("Bearer {token}")).await
    }
}

/// The users, with the hashes of their passwords.
fn users() -> String {
    USERS.to_owned()
}

/// A request to `gw.example:5000` without TLS.
pub(super) fn request(method: &str, target: &str, authorization: Option<&str>) -> Request {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let mut headers = HeaderMap::new();
    if let Some(authorization) = authorization {
        let value = HeaderValue::from_str(authorization).expect("a value");
        headers.insert(header::AUTHORIZATION, value);
    }
    Request {
        method: Method::from_bytes(method.as_bytes()).expect("a method"),
        path: path.to_owned(),
        query,
        headers,
        host: Some("gw.example:5000".to_owned()),
        secure: false,
        peer: "10.0.0.1:1".parse().ok(),
        certificate_subject: None,
        id: String::new(),
        account: std::sync::OnceLock::new(),
    }
}

/// `POST /token` with a form.
pub(super) fn form(authorization: Option<&str>) -> Request {
    let mut request = request("POST", "/token", authorization);
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers.insert(header::CONTENT_TYPE, form);
    request
}

pub(super) fn basic(name: &str, password: &str) -> String {
    format!(
        "Basic {}",
        base64::encode(format!("{name}:{password}").as_bytes())
    )
}

/// The text of an answer.
pub(super) fn text(response: &Response) -> String {
    match &response.body {
        Body::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{other:?}"),
    }
}

/// The document of an answer with this status. No answer of the endpoint may be stored by anybody.
#[track_caller]
#[expect(
    clippy::needless_pass_by_value,
    reason = "answers are made where they are read"
)]
pub(super) fn json(response: Response, status: u16) -> Value {
    let body = text(&response);
    assert_eq!(response.status.as_u16(), status, "{body}");
    assert_eq!(response.headers[header::CACHE_CONTROL], "no-store");
    let media_type = response.headers[header::CONTENT_TYPE]
        .to_str()
        .expect("text");
    assert!(media_type.starts_with("application/json"), "{media_type}");
    serde_json::from_str(&body).expect("JSON")
}

/// The claims of a token; nothing is verified.
pub(super) fn claims(token: &str) -> Value {
    let text = token.split('.').nth(1).expect("three parts");
    let text = text.replace('-', "+").replace('_', "/");
    serde_json::from_slice(&base64::decode(&text).expect("base64")).expect("JSON")
}

/// A second, later.
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A body in pieces.
struct Text {
    pieces: Vec<Bytes>,
    length: Option<u64>,
}

impl Text {
    fn new(text: &str) -> Self {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let mut pieces: Vec<_> = bytes
            .chunks(1_000)
            .map(|piece| bytes.slice_ref(piece))
            .collect();
        pieces.reverse();
        Self {
            pieces,
            length: None,
        }
    }
}

#[async_trait]
impl RequestBody for Text {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        Ok(self.pieces.pop())
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}
