//! The protocols: one file per surface, and the steps that every request takes.
//!
//! Handlers parse, call and render; they do not know whether content is hosted or proxied. The gate has already run.

pub mod admin;
mod charts;
mod cors;
mod deed;
mod error;
mod museum;
mod partial;
mod registry;
mod route;
mod service;
mod small;
mod template;
pub mod token;
#[doc(hidden)]
pub mod untrusted;
mod web;

use std::borrow::Cow;
use std::sync::Arc;

use tracing::{debug, error, field};

use self::deed::Deed;
pub use self::deed::refused;
use self::error::{Dialect, render};
pub use self::route::{Route, Routes};
pub use self::template::template;
pub use self::web::note as web_folder_note;
use crate::audit::Object;
use crate::auth::{About, Identity, Sight};
use crate::config::Action;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::{Ask, Gateway, Tenant};
use crate::http::{Account, Request, RequestBody, Response};
use crate::limit::Demand;
use crate::store::NameCheck;

/// Answers one request of a public listener, and notes in the request what the log says about it.
pub async fn handle(gateway: &Gateway, request: &Request, body: &mut dyn RequestBody) -> Response {
    // Registries have paths, errors and permissions of their own.
    if let Some(response) = registry::handle(gateway, request, body).await {
        return response;
    }
    let mut account = Account {
        route: "none",
        tenant: None,
        identity: Cow::Borrowed(""),
    };
    let routes = Routes::of(gateway.config());
    let route = routes.parse(&request.method, &request.path);
    let (route, answer) = match route {
        Ok(route) => {
            account.route = route.label();
            let mut deed = Deed::new(gateway, request, action(&route), account.route);
            if deed.changes() {
                deed.about(|| object(&route));
            }
            let answer = steps(gateway, &route, request, body, &mut account, &mut deed).await;
            (Some((route, deed)), answer)
        }
        Err(error) => (None, Err(error)),
    };
    let (route, deed) = route.unzip();
    // Set nowhere else, so it cannot be taken.
    let _ = request.account.set(account);
    let museum = &gateway.config().museum;
    let is_api = (answer.is_err() || museum.cors_origin.is_some()) && routes.is_api(&request.path);
    let refuse = |failure: &Error| {
        log_failure(request, failure);
        let dialect = match () {
            () if museum.strict => Dialect::Strict(route.as_ref()),
            () if is_api => Dialect::Museum,
            () => Dialect::Plain,
        };
        render(failure, dialect, || challenge(gateway, route.as_ref()))
    };
    let (response, failure) = match answer {
        Ok(response) => (response, None),
        Err(failure) => (refuse(&failure), Some(failure)),
    };
    if let Some(deed) = deed {
        let about = || route.as_ref().and_then(object);
        deed.answered(response.status, failure.as_ref(), true, about);
    } else if let Some(failure) = &failure {
        deed::refused_path(gateway, request, failure, response.status);
    }
    match &museum.cors_origin {
        Some(origin) if is_api => cors::allow(response, origin),
        _ => response,
    }
}

/// The steps of every request, in the order in which they run; what is asked for is known already, so that nonsense costs no
/// password check.
async fn steps(
    gateway: &Gateway,
    route: &Route,
    request: &Request,
    body: &mut dyn RequestBody,
    account: &mut Account,
    deed: &mut Deed<'_>,
) -> Result<Response> {
    let config = gateway.config();
    // 1. What everybody may ask.
    let action = match route {
        Route::Health => return Ok(service::health()),
        Route::Info => return Ok(service::info(config)),
        Route::Metrics => return Ok(service::metrics(gateway)),
        Route::Preflight => return Ok(cors::preflight(request)),
        other => action(other),
    };
    // 2. Who asks, unless his address has asked too often: verifying a password costs more than refusing it.
    let address = request.peer.map(|peer| peer.ip());
    gateway.greet(address)?;
    let identity = authenticate(gateway, request).await?;
    account.identity = identity.log_name();
    deed.by(&identity);
    // 3. The gate: tenant, permission, limits. Without a tenant the pages of the whole service are left.
    let Some(tenant) = tenant(route, config.museum.strict) else {
        if config.museum.strict {
            gateway.admit_visitor(&identity, action)?;
        }
        return match route {
            Route::Static { path } => web::file(config, path, request).await,
            Route::ArtifactHub { .. } => service::artifact_hub(config, ""),
            _ => web::welcome(gateway).await,
        };
    };
    let ask = Ask {
        identity: &identity,
        address,
        action,
        about: about(route),
        demand: demand(route),
    };
    let admitted = gateway.admit(tenant, &ask).await;
    let (tenant, meter) = admitted.inspect_err(|_| deed.refused_at(tenant))?;
    deed.admitted(tenant.label());
    account.tenant = Some(tenant.label().clone());
    // 4. What of it is for him, and the answer.
    let visit = Visit {
        gateway,
        request,
        tenant: &tenant,
        identity: &identity,
        sight: match action {
            Action::Pull => tenant.sight(&identity, action),
            Action::Push | Action::Delete | Action::Admin => Sight::Everything,
        },
    };
    let answer = visit.answer(route, &mut meter.incoming(body), deed).await;
    if let Err(error) = &answer
        && error.kind() == ErrorKind::NotFound
        && visit.may_be_hidden(route)
    {
        deed.out_of_sight();
    }
    answer.map(|response| meter.outgoing(&request.method, response))
}

/// What a route is to the limits.
fn demand(route: &Route) -> Demand {
    match route {
        Route::Upload { .. } | Route::UploadProvenance { .. } => Demand::Upload,
        _ => Demand::Request,
    }
}

/// A request that has passed the gate of a tenant.
#[derive(Debug)]
struct Visit<'a> {
    gateway: &'a Gateway,
    request: &'a Request,
    tenant: &'a Arc<Tenant>,
    identity: &'a Identity,
    /// What he may pull, where he pulls.
    sight: Sight,
}

impl Visit<'_> {
    async fn answer(
        &self,
        route: &Route,
        body: &mut dyn RequestBody,
        deed: &mut Deed<'_>,
    ) -> Result<Response> {
        let (gateway, request) = (self.gateway, self.request);
        let (tenant, sight) = (self.tenant, &self.sight);
        let config = gateway.config();
        let museum = &config.museum;
        match route {
            Route::Index { .. } => charts::index(tenant, sight, request).await,
            Route::File { file, .. } => {
                let response = charts::file(tenant, sight, file, request).await?;
                Ok(if museum.strict {
                    service::as_chartmuseum_types_it(response, file)
                } else {
                    response
                })
            }
            Route::OddFile {
                looks_like_a_package: true,
                ..
            } => Err(Error::not_found("object not found")),
            Route::OddFile { .. } => Err(Error::new(
                ErrorKind::Unsupported,
                "unsupported file extension",
            )),
            Route::ArtifactHub { tenant } => service::artifact_hub(config, tenant),
            Route::Charts { .. } => museum::charts(tenant, sight, request).await,
            Route::Chart { name, .. } => museum::chart(tenant, sight, name, request).await,
            Route::Version { name, version, .. } => {
                museum::version(tenant, sight, name, version, request).await
            }
            Route::Templates { name, version, .. } => {
                let unpacking = &gateway.shared().unpacking;
                museum::templates(tenant, sight, name, version, request, unpacking).await
            }
            Route::Values { name, version, .. } => {
                let unpacking = &gateway.shared().unpacking;
                museum::values(tenant, sight, name, version, request, unpacking).await
            }
            Route::Upload { .. } => {
                let may = self.may_push();
                museum::upload(tenant, museum, request, body, may, deed).await
            }
            Route::UploadProvenance { .. } => {
                let may = self.may_push();
                museum::upload_provenance(tenant, request, body, may, deed).await
            }
            Route::Delete { name, version, .. } => museum::delete(tenant, name, version).await,
            Route::Preflight
            | Route::Static { .. }
            | Route::Metrics
            | Route::Health
            | Route::Info
            | Route::Welcome => web::welcome(gateway).await,
        }
    }

    /// Whose chart an upload is, only the package says: the gate's question about its name, for whoever has read it.
    fn may_push(&self) -> NameCheck {
        let (tenant, identity) = (self.tenant.clone(), self.identity.clone());
        Arc::new(move |name, _| {
            let path = tenant.path().as_str();
            let about = About::Name(name);
            tenant
                .policy()
                .authorize(&identity, path, Action::Push, about)
        })
    }

    /// Whether what was not found may be there for others. Of a file that is not shown nobody looks whose chart it is, so that
    /// each is treated alike.
    fn may_be_hidden(&self, route: &Route) -> bool {
        match route {
            Route::Chart { name, .. }
            | Route::Version { name, .. }
            | Route::Templates { name, .. }
            | Route::Values { name, .. } => !self.sight.shows(name),
            Route::File { .. } => self.sight != Sight::Everything,
            Route::Upload { .. } | Route::UploadProvenance { .. } => true,
            _ => false,
        }
    }
}

/// The action that a route needs, where it needs one.
fn action(route: &Route) -> Action {
    match route {
        Route::Upload { .. } | Route::UploadProvenance { .. } => Action::Push,
        Route::Delete { .. } => Action::Delete,
        _ => Action::Pull,
    }
}

/// What the rules are asked about a route. Reading is about the tenant: what somebody may not see is left out of what he is shown.
fn about(route: &Route) -> About<'_> {
    match route {
        Route::Delete { name, .. } => About::Name(name),
        _ => About::Tenant,
    }
}

/// What a route is about, for the audit log. An upload says it itself.
fn object(route: &Route) -> Option<Object> {
    Some(match route {
        Route::File { file, .. } => Object::file(file.as_str()),
        Route::Chart { name, .. } => Object::chart(name, ""),
        Route::Version { name, version, .. }
        | Route::Templates { name, version, .. }
        | Route::Values { name, version, .. }
        | Route::Delete { name, version, .. } => Object::chart(name, version),
        _ => return None,
    })
}

/// The tenant that a route is about. The strict service has its repository ids beside the repositories too.
fn tenant(route: &Route, strict: bool) -> Option<&str> {
    match route {
        Route::ArtifactHub { tenant } if strict && tenant.is_empty() => None,
        other => other.tenant(),
    }
}

/// Who asks. A bad credential is refused even where none is needed: it is a mistake somebody should see. ChartMuseum does not
/// look at it there, so the strict service takes its holder for a stranger, also one who has to wait: it knows no 429.
async fn authenticate(gateway: &Gateway, request: &Request) -> Result<Identity> {
    match gateway.authenticate(request).await {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::Unauthenticated | ErrorKind::RateLimited
            ) && gateway.config().museum.strict =>
        {
            Ok(Identity::Anonymous)
        }
        other => other,
    }
}

/// The value of `WWW-Authenticate` in a 401 about `route`.
fn challenge(gateway: &Gateway, route: Option<&Route>) -> String {
    let path = route.and_then(Route::tenant).unwrap_or_default();
    gateway.challenge(path, route.map_or(Action::Pull, action))
}

fn log_failure(request: &Request, failure: &Error) {
    if failure.kind() == ErrorKind::Internal {
        error!(request.id = %request.id, error = %failure.chain(), "cannot answer `{} {:.200}`: {failure}", request.method, request.path);
    } else {
        debug!(request.id = %request.id, error = %failure.chain(), path = field::display(&request.path), "refused: {failure}");
    }
}
