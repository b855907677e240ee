//! `/tokens` on the admin listener: making, listing and revoking API tokens.
//!
//! `POST /tokens` with `{"name", "tenants", "actions", "names", "expires"}` answers 201 with the token's text, which nobody can have
//! again; `GET /tokens` lists them; `DELETE /tokens/<id>` revokes one.

use serde::{Deserialize, Serialize};

use crate::api::deed::Deed;
use crate::api::small;
use crate::audit::Object;
use crate::auth::{ApiTokens, Lasts, Listed, TokenId, Wish};
use crate::config::Action;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::Gateway;
use crate::http::{Method, Request, RequestBody, Response, StatusCode, header};

/// The largest description of a token; its lists are bounded on their own.
const MAX_BODY: usize = 128 << 10;

/// Answers a request below `/tokens`, of which `rest` are the other segments. What it is about goes into `deed`.
pub(super) async fn answer(
    gateway: &Gateway,
    rest: &[&str],
    request: &Request,
    body: &mut dyn RequestBody,
    deed: Option<&mut Deed<'_>>,
) -> Result<Response> {
    refuse_browsers(request)?;
    let tokens = gateway.authenticator().api_tokens().ok_or_else(|| {
        Error::not_found("there are no API tokens; set `auth.api_tokens: true` to have them")
    })?;
    let is_read = matches!(request.method, Method::GET | Method::HEAD);
    match rest {
        [] if is_read => list(tokens).await,
        [] if request.method == Method::POST => create(tokens, request, body, deed).await,
        [] => Err(not_allowed(request, "GET, HEAD, POST")),
        [id] if is_read => show(tokens, id).await,
        [id] if request.method == Method::DELETE => revoke(tokens, id, deed).await,
        [_] => Err(not_allowed(request, "GET, HEAD, DELETE")),
        _ => Err(Error::not_found(format!(
            "nothing is served at `{:.200}`; write `/tokens` or `/tokens/<id>`",
            request.path
        ))),
    }
}

/// The listener has no gate, so a page in an operator's browser could reach it under a name that it resolves as it likes. Browsers
/// say that they are ones; programs have no reason to.
fn refuse_browsers(request: &Request) -> Result<()> {
    if request.headers.contains_key(header::ORIGIN)
        || request.headers.contains_key("sec-fetch-mode")
    {
        return Err(Error::new(
            ErrorKind::Forbidden,
            "tokens are not managed from web pages; use `chartgate token`, or curl",
        ));
    }
    Ok(())
}

fn not_allowed(request: &Request, allowed: &'static str) -> Error {
    Error::method_not_allowed(request.method.as_str(), &request.path, allowed)
}

/// What a new token is to be like.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: String,
    tenants: Vec<String>,
    actions: Vec<String>,
    #[serde(default)]
    names: Vec<String>,
    /// `90d`, `never`. Absent: 90 days, or the configured maximum.
    expires: Option<String>,
}

impl Asked {
    fn wish(&self) -> Result<Wish> {
        let actions = self.actions.iter().map(|text| Action::parse(text));
        let actions: Result<Vec<_>, _> = actions.collect();
        let lasts = self.expires.as_deref().map(Lasts::parse).transpose();
        let lasts = lasts.map_err(|message| Error::invalid(format!("`expires`: {message}")))?;
        Wish::new(
            &self.name,
            &self.tenants,
            &actions.map_err(Error::invalid)?,
            &self.names,
            lasts.unwrap_or(Lasts::Usually),
        )
    }
}

async fn create(
    tokens: &ApiTokens,
    request: &Request,
    body: &mut dyn RequestBody,
    deed: Option<&mut Deed<'_>>,
) -> Result<Response> {
    let media_type = request.header(header::CONTENT_TYPE).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Error::invalid(
            "describe the token as JSON, with `Content-Type: application/json`",
        ));
    }
    let body = small::read(body, MAX_BODY, "description of the token").await?;
    let asked: Asked = serde_json::from_slice(&body)
        .map_err(|error| Error::invalid(format!("the description of the token: {error}")))?;
    let made = tokens.create(asked.wish()?).await?;
    if let Some(deed) = deed {
        deed.about(|| Some(object(&made.listed)));
    }
    #[derive(Serialize)]
    struct Reply<'a> {
        token: &'a str,
        #[serde(flatten)]
        listed: &'a Listed,
    }
    let reply = Reply {
        token: made.text.reveal(),
        listed: &made.listed,
    };
    Ok(Response::json(StatusCode::CREATED, &reply)
        .with_header(header::LOCATION, format!("/tokens/{}", made.listed.id))
        .with_header(header::CACHE_CONTROL, "no-store"))
}

async fn list(tokens: &ApiTokens) -> Result<Response> {
    let all = tokens.list().await?;
    Ok(Response::json(
        StatusCode::OK,
        &serde_json::json!({ "tokens": all }),
    ))
}

async fn show(tokens: &ApiTokens, id: &str) -> Result<Response> {
    let id: TokenId = id.parse()?;
    let all = tokens.list().await?;
    let found = all.iter().find(|listed| listed.id == id);
    let found = found.ok_or_else(|| Error::not_found(format!("there is no token `{id}`")))?;
    Ok(Response::json(StatusCode::OK, found))
}

async fn revoke(tokens: &ApiTokens, id: &str, deed: Option<&mut Deed<'_>>) -> Result<Response> {
    let revoked = tokens.revoke(id.parse()?).await?;
    if let Some(deed) = deed {
        deed.about(|| Some(object(&revoked)));
    }
    Ok(Response::json(
        StatusCode::OK,
        &serde_json::json!({ "revoked": revoked.id.as_str() }),
    ))
}

fn object(listed: &Listed) -> Object {
    let name = listed.token.as_ref().map(|token| token.name());
    Object::own(
        "api_token",
        name.map_or("", |name| name),
        Some(listed.id.as_str()),
    )
}
