//! The admin listener: metrics, health, upstream states, tenant reports and API tokens. It has no gate: it listens where only operators are.

mod tokens;

use serde::Serialize;

use super::deed::Deed;
use super::error::{Dialect, render};
use crate::audit::Object;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::{Gateway, Tenant};
use crate::http::{Method, Request, RequestBody, Response, StatusCode, header};
use crate::index::{Conflict, Note, SourceReport};
use crate::oci::{Reference, RepoName};
use crate::repository::proxy::{ShrinkRule, Status};
use crate::repository::registry::proxy::RegistryStatus;

/// Answers one request of the admin listener. `draining` makes `/readyz` say no before the process ends.
pub async fn handle(
    gateway: &Gateway,
    draining: bool,
    request: &Request,
    body: &mut dyn RequestBody,
) -> Response {
    let segments: Vec<&str> = request
        .path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    let mut deed = deed(gateway, &segments, request);
    let answer = match segments.as_slice() {
        ["healthz"] if reads => Ok(Response::text(StatusCode::OK, "alive")),
        ["readyz"] if reads => ready(gateway, draining),
        ["metrics"] if reads => Ok(metrics(gateway)),
        ["upstreams"] if reads => Ok(upstreams(gateway)),
        ["upstreams", name, "refresh"] if request.method == Method::POST => {
            refresh(gateway, name, request).await
        }
        ["upstreams", name, "cache"] if request.method == Method::DELETE => {
            purge(gateway, name, request)
        }
        ["tenants", tenant @ .., "report"] if reads => report(gateway, &tenant.join("/")).await,
        ["tenants"] if reads => Ok(tenants(gateway)),
        ["tokens", rest @ ..] => tokens::answer(gateway, rest, request, body, deed.as_mut()).await,
        ["upstreams", _, "refresh"] => Err(not_allowed(request, "POST")),
        ["upstreams", _, "cache"] => Err(not_allowed(request, "DELETE")),
        ["healthz" | "readyz" | "metrics" | "upstreams" | "tenants"]
        | ["tenants", .., "report"] => Err(not_allowed(request, "GET, HEAD")),
        _ => Err(Error::not_found(format!(
            "nothing is served at `{:.200}`; the admin listener has /metrics /healthz /readyz /upstreams /tenants /tokens",
            request.path
        ))),
    };
    let failed = |error| (render(&error, Dialect::Museum, String::new), Some(error));
    let (response, error) = answer.map_or_else(failed, |response| (response, None));
    if let Some(deed) = deed {
        deed.answered(response.status, error.as_ref(), true, || None);
    }
    response
}

/// What the audit log says about it, where it is more than a look.
fn deed<'a>(gateway: &'a Gateway, segments: &[&str], request: &'a Request) -> Option<Deed<'a>> {
    let (route, name) = match segments {
        ["upstreams", name, "refresh"] if request.method == Method::POST => ("refresh", name),
        ["upstreams", name, "cache"] if request.method == Method::DELETE => ("purge", name),
        // What it was is known when it was done.
        ["tokens"] if request.method == Method::POST => {
            return Some(Deed::operator(gateway, request, "token_create"));
        }
        ["tokens", id] if request.method == Method::DELETE => {
            let mut deed = Deed::operator(gateway, request, "token_revoke");
            deed.about(|| Some(Object::own("api_token", "", Some(id))));
            return Some(deed);
        }
        _ => return None,
    };
    let mut deed = Deed::operator(gateway, request, route);
    deed.about(|| Some(Object::own("upstream", name, request.query.as_deref())));
    Some(deed)
}

fn not_allowed(request: &Request, allowed: &'static str) -> Error {
    Error::method_not_allowed(request.method.as_str(), &request.path, allowed)
}

fn ready(gateway: &Gateway, draining: bool) -> Result<Response> {
    if draining {
        return Ok(Response::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining: this process ends soon",
        ));
    }
    let waiting: Vec<&str> = gateway
        .tenants()
        .filter(|tenant| !tenant.charts().is_ready())
        .map(|tenant| &**tenant.path().label())
        .collect();
    if waiting.is_empty() {
        return Ok(Response::text(StatusCode::OK, "ready"));
    }
    Ok(Response::text(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("waiting for the first index of `{}`", waiting.join("`, `")),
    ))
}

fn metrics(gateway: &Gateway) -> Response {
    Response::new(StatusCode::OK, bytes::Bytes::from(gateway.render_metrics())).with_header(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )
}

/// Chart repositories and registries apart: what there is to say about them has little in common.
fn upstreams(gateway: &Gateway) -> Response {
    let upstreams: Vec<Status> = gateway
        .upstreams()
        .map(|upstream| upstream.status())
        .collect();
    let registries: Vec<RegistryStatus> = gateway
        .upstream_registries()
        .map(|registry| registry.state())
        .collect();
    Response::json(
        StatusCode::OK,
        &serde_json::json!({ "upstreams": upstreams, "registries": registries }),
    )
}

/// Asks an upstream now: for its index, or for every tag that somebody asked for lately.
async fn refresh(gateway: &Gateway, name: &str, request: &Request) -> Result<Response> {
    if let Some(registry) = gateway.upstream_registry(name) {
        let asked = registry.refresh_now().await;
        return Ok(Response::json(
            StatusCode::OK,
            &serde_json::json!({ "tags_asked_for": asked, "registry": registry.state() }),
        ));
    }
    let rule = if request.query_has("force") {
        ShrinkRule::Accept
    } else {
        ShrinkRule::Guard
    };
    gateway.refresh(name, rule).await?;
    Ok(Response::json(
        StatusCode::OK,
        &gateway.upstream(name)?.status(),
    ))
}

/// `DELETE /upstreams/<name>/cache?repository=<name>[&reference=<tag or digest>]`: the next request for it asks the upstream.
fn purge(gateway: &Gateway, name: &str, request: &Request) -> Result<Response> {
    let Some(registry) = gateway.upstream_registry(name) else {
        // Tells an unknown name from a chart repository.
        gateway.upstream(name)?;
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "`{name:.120}` is a chart repository; POST /upstreams/{name:.120}/refresh asks it again"
            ),
        ));
    };
    let value = |key: &str| {
        let mut pairs = request.query_pairs();
        pairs.find(|(name, _)| name == key).map(|(_, value)| value)
    };
    let repository = value("repository").ok_or_else(|| {
        Error::invalid("say what to forget: `?repository=<name>`, with `&reference=<tag or digest>` for one manifest")
    })?;
    let repository = RepoName::parse(&repository)?;
    let reference = match value("reference") {
        Some(text) => Some(Reference::parse(&text)?),
        None => None,
    };
    let forgotten = registry.purge(&repository, reference.as_ref())?;
    Ok(Response::json(
        StatusCode::OK,
        &serde_json::json!({ "forgotten": forgotten }),
    ))
}

/// One line of `GET /tenants`.
#[derive(Serialize)]
struct TenantLine<'a> {
    tenant: &'a str,
    ready: bool,
    charts: usize,
    versions: usize,
    etag: &'a str,
}

fn tenants(gateway: &Gateway) -> Response {
    let snapshots: Vec<_> = gateway
        .open_tenants()
        .into_iter()
        .map(|tenant| {
            let snapshot = tenant.charts().snapshot();
            (tenant, snapshot)
        })
        .collect();
    let lines: Vec<TenantLine<'_>> = snapshots
        .iter()
        .map(|(tenant, snapshot)| TenantLine {
            tenant: tenant.path().label(),
            ready: tenant.charts().is_ready(),
            charts: snapshot.chart_count(),
            versions: snapshot.versions(),
            etag: snapshot.etag(),
        })
        .collect();
    Response::json(StatusCode::OK, &serde_json::json!({ "tenants": lines }))
}

async fn report(gateway: &Gateway, path: &str) -> Result<Response> {
    let path = if path == "-" { "" } else { path };
    let tenant = gateway.tenant(path).await?;
    Ok(Response::json(StatusCode::OK, &Report::of(&tenant)))
}

/// `GET /tenants/<T>/report` (contract/http.md): what of the tenant's sources is not shown, or not as it was sent.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    dropped: Vec<Line>,
    repaired: Vec<Line>,
    conflicts: Vec<Conflict>,
    totals: Totals,
}

/// One dropped or repaired entry.
#[derive(Debug, Serialize)]
struct Line {
    upstream: String,
    chart: String,
    version: String,
    reason: String,
}

/// How many there are in all, beyond the bounded lists.
#[derive(Debug, Default, Serialize)]
struct Totals {
    dropped: usize,
    repaired: usize,
    conflicts: usize,
}

impl Report {
    /// The report of one tenant.
    pub fn of(tenant: &Tenant) -> Self {
        let mut report = Self::default();
        for member in tenant.charts().members() {
            let label = member.repository.label();
            report.add(label, member.repository.index().report());
            let broken = member.repository.broken();
            report.totals.dropped += broken.len();
            report.dropped.extend(broken.into_iter().map(|broken| Line {
                upstream: label.to_string(),
                chart: broken.file.to_string(),
                version: String::new(),
                reason: broken.reason.to_string(),
            }));
        }
        let snapshot = tenant.charts().snapshot();
        report.conflicts = snapshot.conflicts();
        report.totals.conflicts = snapshot.conflict_count();
        report
    }

    fn add(&mut self, upstream: &str, source: &SourceReport) {
        let line = |note: &Note| Line {
            upstream: upstream.to_owned(),
            chart: note.chart.to_string(),
            version: note.version.to_string(),
            reason: format!("{}: {}", note.reason.label(), note.detail),
        };
        self.dropped.extend(source.dropped.items.iter().map(line));
        self.repaired.extend(source.repaired.items.iter().map(line));
        self.totals.dropped += source.dropped.total;
        self.totals.repaired += source.repaired.total;
    }
}
