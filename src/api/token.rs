//! `GET` and `POST /token`: who logs in, and the token that he gets (the distribution project's token specification, and OAuth 2's
//! password grant in its form).
//!
//! Scopes that mean nothing here or are not allowed are left out in silence: clients ask for those of other hosts, too, and a
//! narrower token is no error.

use jiff::Timestamp;
use serde::Serialize;

use super::small;
use crate::auth::{Authenticator, Identity, Issued, Login};
use crate::config::Action;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Method, Request, RequestBody, Response, StatusCode, header};
use crate::oci::Scope;
use crate::oci::error::{self, About, Code, wire};

/// The longest form; the longest password is a token of somebody else's.
const MAX_FORM: usize = 128 << 10;
/// How many repositories one token is made for, and how long their names may be together. More make no token that fits a header.
const MAX_SCOPES: usize = 32;
const MAX_SCOPE_BYTES: usize = 3 << 10;

/// Whether `identity` may do `action` on the repository that clients of this host call `name`.
pub type Permits<'a> = dyn Fn(&Identity, &str, Action) -> bool + Sync + 'a;

/// Whether `path` is the token endpoint: `/token`, `/service/token` or `/v2/token` (none of which is a repository's route), at the
/// top or below the context path.
pub fn is_path(path: &str, context: &str) -> bool {
    let is_token = |path: &str| matches!(path, "/token" | "/service/token" | "/v2/token");
    is_token(path) || path.strip_prefix(context).is_some_and(is_token)
}

/// Answers a request to the token endpoint. Cancel-safe.
pub async fn answer(
    authenticator: &Authenticator,
    request: &Request,
    body: &mut dyn RequestBody,
    now: Timestamp,
    permits: &Permits<'_>,
) -> Response {
    let answer = respond(authenticator, request, body, now, permits).await;
    answer
        .unwrap_or_else(|failure| {
            tracing::debug!(request.id = %request.id, error = %failure.chain(), "gave no token: {failure}");
            refuse(&failure)
        })
        .with_header(header::CACHE_CONTROL, "no-store")
}

async fn respond(
    authenticator: &Authenticator,
    request: &Request,
    body: &mut dyn RequestBody,
    now: Timestamp,
    permits: &Permits<'_>,
) -> Result<Response> {
    if !authenticator.gives_tokens() {
        return Err(Error::not_found(
            "no tenant has a registry, so nobody needs a token",
        ));
    }
    let asked = match request.method {
        Method::GET | Method::HEAD => Asked::read(request.query_pairs()),
        Method::POST => Asked::of_form(request, body).await?,
        _ => {
            return Err(Error::new(
                ErrorKind::MethodNotAllowed("GET, HEAD, POST"),
                "a token is asked for with GET or POST",
            ));
        }
    };
    if asked
        .grant
        .as_deref()
        .is_some_and(|grant| grant != "password")
    {
        let message = "only `grant_type=password` is supported; refresh tokens are not given out";
        return Ok(error::answer(
            StatusCode::BAD_REQUEST,
            Code::Unsupported,
            message,
        ));
    }
    let form = asked.name.as_deref().zip(asked.password.as_deref());
    let login = match authenticator.log_in(request, form).await {
        Err(error) if authenticator.is_lenient() && asked.is_open(&error, permits) => {
            Login::Known(Identity::Anonymous)
        }
        other => other?,
    };
    let (access, issued) = match login {
        Login::Known(identity) => {
            let access = asked.access(&identity, permits);
            let issued = authenticator.issue(request, &identity, &access).await?;
            (access, issued)
        }
        Login::Foreign(token, text) => {
            let issued = authenticator.pass_on(&token, text, now);
            (asked.access(&Identity::Token(token), permits), issued)
        }
    };
    Ok(render(&issued, &access))
}

/// What a request asks for.
#[derive(Default)]
struct Asked {
    scopes: Vec<Scope>,
    grant: Option<String>,
    name: Option<String>,
    password: Option<String>,
}

impl Asked {
    /// Takes `scope` as often as it stands there; each may hold several.
    fn read<'p, T: AsRef<str> + 'p>(pairs: impl Iterator<Item = (T, T)>) -> Self {
        let mut asked = Self::default();
        let mut room = MAX_SCOPE_BYTES;
        for (_, text) in pairs.filter(|(name, _)| name.as_ref() == "scope") {
            for scope in Scope::parse_list(text.as_ref()) {
                let length = scope.name.len();
                if asked.scopes.len() < MAX_SCOPES && length <= room {
                    room -= length;
                    asked.scopes.push(scope);
                }
            }
        }
        asked
    }

    /// The same from a form, with the credentials in it.
    async fn of_form(request: &Request, body: &mut dyn RequestBody) -> Result<Self> {
        let media_type = request.header(header::CONTENT_TYPE).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let is_form = media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        let text = small::read(body, MAX_FORM, "form").await?;
        if !is_form && !text.is_empty() {
            return Err(Error::invalid(
                "the body is not a form; send `application/x-www-form-urlencoded`",
            ));
        }
        let pairs = || url::form_urlencoded::parse(&text);
        let value = |wanted: &str| {
            let mut found = pairs().filter(|(name, _)| name == wanted);
            found.next().map(|(_, value)| value.into_owned())
        };
        Ok(Self {
            grant: value("grant_type"),
            name: value("username"),
            password: value("password"),
            ..Self::read(request.query_pairs().chain(pairs()))
        })
    }

    /// What of it `identity` may do.
    fn access(&self, identity: &Identity, permits: &Permits<'_>) -> Vec<Scope> {
        let mut access: Vec<Scope> = Vec::with_capacity(self.scopes.len());
        for scope in &self.scopes {
            let actions: Vec<_> = if is_repository(scope) {
                let mut all = ACTIONS.iter();
                let all = all.by_ref().filter(|(word, action)| {
                    scope.allows(word) && permits(identity, &scope.name, *action)
                });
                all.map(|(word, _)| (*word).to_owned()).collect()
            } else if scope.kind == "registry" && scope.name == "catalog" {
                // Everybody may list: what is listed is what he may pull.
                vec!["*".to_owned()]
            } else {
                continue;
            };
            if !actions.is_empty() {
                access.push(Scope {
                    kind: scope.kind.clone(),
                    name: scope.name.clone(),
                    actions,
                });
            }
        }
        access
    }

    /// Whether a login that failed is as good as none: docker sends a mirror the credentials of Docker Hub. Only pulling is asked
    /// for, and everybody may do that; where an address had too many wrong passwords, none is looked at, so nothing can be
    /// guessed this way.
    fn is_open(&self, error: &Error, permits: &Permits<'_>) -> bool {
        let is_pull = |scope: &Scope| is_repository(scope) && scope.actions == ["pull"];
        matches!(
            error.kind(),
            ErrorKind::Unauthenticated | ErrorKind::RateLimited
        ) && self.scopes.iter().all(is_pull)
            && self
                .scopes
                .iter()
                .any(|scope| permits(&Identity::Anonymous, &scope.name, Action::Pull))
    }
}

/// The words of scopes, in the order in which tokens name them.
const ACTIONS: [(&str, Action); 3] = [
    ("pull", Action::Pull),
    ("push", Action::Push),
    ("delete", Action::Delete),
];

/// Also with a class: `repository(plugin)`.
fn is_repository(scope: &Scope) -> bool {
    let kind = scope.kind.split('(').next().unwrap_or_default();
    kind == "repository"
}

fn render(issued: &Issued, access: &[Scope]) -> Response {
    #[derive(Serialize)]
    struct Reply<'a> {
        token: &'a str,
        /// OAuth 2's word for it.
        access_token: &'a str,
        expires_in: u64,
        issued_at: String,
        scope: String,
    }
    let scopes: Vec<_> = access.iter().map(Scope::to_string).collect();
    // Some parsers of RFC 3339 know no fractions.
    let issued_at =
        Timestamp::from_second(issued.issued_at.as_second()).unwrap_or(issued.issued_at);
    Response::json(
        StatusCode::OK,
        &Reply {
            token: &issued.token,
            access_token: &issued.token,
            expires_in: issued.expires_in,
            issued_at: issued_at.to_string(),
            scope: scopes.join(" "),
        },
    )
}

/// A refusal in the words of token servers.
pub(super) fn refuse(error: &Error) -> Response {
    let (status, code) = wire(error.kind(), About::Repository);
    let message = match error.kind() {
        ErrorKind::Internal => "internal error; the log has the cause under this request id",
        _ => error.message(),
    };
    let mut response = error::answer(status, code, message);
    if let Some(after) = error.retry_after() {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response = response.with_header(header::RETRY_AFTER, seconds.max(1).to_string());
    }
    match error.kind() {
        // Not a bearer challenge: that would send clients here again.
        ErrorKind::Unauthenticated => {
            response.with_header(header::WWW_AUTHENTICATE, "Basic realm=\"chartgate\"")
        }
        ErrorKind::MethodNotAllowed(allowed) => response.with_header(header::ALLOW, allowed),
        ErrorKind::TooLarge => response.with_header(header::CONNECTION, "close"),
        _ => response,
    }
}
