//! Registries: pulling through upstreams, pushing to our own, below `/v2/` and its other addresses (spec: oci.md §1, §4).
//!
//! The path is read ([`route`]), the gateway finds what its words stand for, the gate decides, a handler of a few lines asks the
//! tenant's [`RegistryRepository`] or its hosted store, and what the client is told is written in its own way ([`spelling`]).
//! Bytes are never changed or encoded here.
//!
//! [`RegistryRepository`]: crate::repository::registry::RegistryRepository

mod blobs;
mod catalog;
mod manifests;
mod mount;
#[cfg(test)]
mod reads_tests;
mod referrers;
mod respond;
mod route;
mod spelling;
mod tags;
mod uploads;

use std::borrow::Cow;
use std::sync::Arc;

use self::respond::{AboutExt as _, Failure};
pub(super) use self::route::RegistryRoutes;
use self::route::{Call, RegistryRoute};
use super::deed::{Deed, refused_path};
use super::error::{Dialect, render};
use super::{log_failure, token};
use crate::audit::Object;
use crate::auth::{Grants, Identity, TokenProblem};
use crate::config::Action;
use crate::error::{Error, ErrorKind};
use crate::gateway::{Ask, Gateway, HostedRegistryPart, Located, Selected, Tenant, TenantRegistry};
use crate::http::{
    Account, Body, HeaderName, HeaderValue, Request, RequestBody, Response, StatusCode, header,
};
use crate::limit::Demand;
use crate::oci::error::{About, marked};
use crate::repository::registry::RegistryRepository;

const NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");

/// Answers a request to a registry, and notes in the request what the log says about it. `None`: the path is no registry's.
pub(super) async fn handle(
    gateway: &Gateway,
    request: &Request,
    body: &mut dyn RequestBody,
) -> Option<Response> {
    let config = gateway.config();
    if config.museum.strict {
        return None;
    }
    if token::is_path(&request.path, &config.server.context_path) {
        return Some(marked(give_token(gateway, request, body).await));
    }
    let route = RegistryRoutes {
        context: &config.server.context_path,
        base: &|path| gateway.cut_registry_path(path).map(|(base, _)| base.len()),
    }
    .parse(&request.method, &request.path, request.query.as_deref())?;
    let mut account = Account {
        route: "v2",
        tenant: None,
        identity: Cow::Borrowed(""),
    };
    let response = match &route {
        Ok(route) => {
            account.route = route.call.label();
            let mut deed = Deed::new(gateway, request, action(&route.call), account.route);
            let answer = steps(gateway, route, request, body, &mut account, &mut deed).await;
            let failed = |failure| {
                (
                    refuse(gateway, Some(route), request, &failure),
                    Some(failure),
                )
            };
            let (response, failure) = answer.map_or_else(failed, |response| (response, None));
            if is_told(route, request, response.status) {
                let (status, call) = (response.status, &route.call);
                if deed.changes() {
                    deed.digest(|| stored(&response));
                }
                let error = failure.as_ref().map(|failure| &failure.error);
                // Nobody got as far as to find out what the client's words stand for.
                let about = || Some(object(route.spelling.name(), call));
                deed.answered(status, error, is_notable(call, status), about);
            } else {
                deed.forget();
            }
            response
        }
        Err(failure) => {
            let response = refuse(gateway, None, request, failure);
            refused_path(gateway, request, &failure.error, response.status);
            response
        }
    };
    // Set nowhere else, so it cannot be taken.
    let _ = request.account.set(account);
    Some(marked(response))
}

/// The token endpoint, below which there is nothing to be named.
async fn give_token(gateway: &Gateway, request: &Request, body: &mut dyn RequestBody) -> Response {
    let account = Account {
        route: "token",
        tenant: None,
        identity: Cow::Borrowed(""),
    };
    let _ = request.account.set(account);
    let host = request.host.as_deref();
    // A token is no permission: what it allows is decided again where it is used. Pulling is never kept to what a token was made
    // for, and one name is another repository below a prefix or with a namespace, of which nothing is said here. What nobody may
    // do anywhere is left out.
    let permits = |identity: &Identity, name: &str, action: Action| {
        let here = || gateway.locate("", name, None, host);
        let is_permitted =
            |one: &Located| gateway.permits(&one.tenant, identity, action, one.about());
        gateway.permits_somewhere(identity, action, name)
            || here().is_ok_and(|located| is_permitted(&located))
    };
    let now = gateway.shared().clock.now();
    let deed = Deed::login(gateway, request);
    if let Err(refused) = gateway.greet(request.peer.map(|peer| peer.ip())) {
        let response = token::refuse(&refused);
        deed.answered(response.status, Some(&refused), false, || None);
        return response;
    }
    let response = token::answer(gateway.authenticator(), request, body, now, &permits).await;
    deed.answered(response.status, None, false, || None);
    response
}

/// The steps of every request, in the order in which they run; what is asked for is known already.
async fn steps(
    gateway: &Gateway,
    route: &RegistryRoute,
    request: &Request,
    body: &mut dyn RequestBody,
    account: &mut Account,
    deed: &mut Deed<'_>,
) -> Result<Response, Failure> {
    // 1. Who asks, unless his address has asked too often.
    let address = request.peer.map(|peer| peer.ip());
    gateway.greet(address).about(About::Repository)?;
    let authenticated = gateway.authenticator().authenticate_registry(request).await;
    let (identity, grants) = authenticated.map_err(Failure::unknown_caller)?;
    account.identity = identity.log_name();
    deed.by(&identity);
    // 2. What is no repository's.
    match route.call {
        Call::Ping => return ping(gateway, request, &identity, &grants),
        Call::Catalog => {
            admit_to_all(gateway, request, &identity, &grants)?;
            return catalog::list(gateway, route, request, &identity).await;
        }
        _ => {}
    }
    // 3. Which tenant, which upstream of it, which repository.
    let spelling = &route.spelling;
    let located = gateway
        .locate(
            &route.base,
            spelling.name(),
            spelling.ns(),
            request.host.as_deref(),
        )
        .map_err(|error| gateway.unlocated(error, &identity))
        .about(About::Repository)?;
    // 4. The gate: permission and limits, and what a token was made for.
    let (action, demand) = (action(&route.call), demand(&route.call));
    let about = || Some(object(located.name.as_str(), &route.call));
    if deed.changes() {
        deed.about(about);
    }
    let ask = Ask {
        identity: &identity,
        address,
        action,
        about: located.about(),
        demand,
    };
    let admitted = gateway.admit_registry(&located.tenant, &ask);
    let admitted = admitted.await.and_then(|admitted| {
        grants.authorize(spelling.name(), action)?;
        Ok(admitted)
    });
    let refused = |_: &Error| {
        deed.refused_at(&located.tenant);
        deed.about(about);
    };
    let (tenant, meter) = admitted.inspect_err(refused).about(About::Repository)?;
    deed.admitted(tenant.label());
    account.tenant = Some(tenant.label().clone());
    // 5. The answer.
    let visit = Visit {
        gateway,
        route,
        request,
        identity: &identity,
        tenant: &tenant,
        located: &located,
    };
    let response = visit.answer(&mut meter.incoming(body)).await?;
    let response = meter.outgoing(&request.method, response);
    Ok(match (located.by, spelling.ns()) {
        (Selected::Namespace, Some(ns)) => response.with_header(NAMESPACE, ns),
        _ => response,
    })
}

/// A request that has passed the gate.
#[derive(Clone, Copy, Debug)]
struct Visit<'a> {
    gateway: &'a Gateway,
    route: &'a RegistryRoute,
    request: &'a Request,
    identity: &'a Identity,
    tenant: &'a Arc<Tenant>,
    located: &'a Located,
}

impl Visit<'_> {
    async fn answer(&self, body: &mut dyn RequestBody) -> Result<Response, Failure> {
        let (name, request, spelling) = (&self.located.name, self.request, &self.route.spelling);
        let call = &self.route.call;
        match call {
            Call::ReadManifest(reference) => {
                match manifests::read(self.readable()?, name, reference, request).await {
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        Err(Failure::new(self.what_is_absent().await, error))
                    }
                    answer => answer.about(About::Manifest),
                }
            }
            Call::ReadBlob(digest) => blobs::read(self.readable()?, name, digest, request)
                .await
                .about(About::Blob),
            Call::Tags => {
                let page = tags::page(request).about(About::Repository)?;
                tags::list(self.readable()?, name, spelling, &page)
                    .await
                    .about(About::Repository)
            }
            Call::Referrers(subject) => {
                referrers::list(self.readable()?, name, subject, spelling, request)
                    .await
                    .about(About::Digest)
            }
            Call::PushManifest(reference) => {
                manifests::push(self.writable()?, name, reference, spelling, request, body).await
            }
            Call::DeleteManifest(reference) => {
                let store = &self.writable()?.store;
                let removed = store.delete_manifest(name, reference).await;
                removed.about(About::Manifest).map(|()| accepted())
            }
            Call::DeleteBlob(digest) => {
                let store = &self.writable()?.store;
                let removed = store.delete_blob(name, digest).await;
                removed.about(About::Blob).map(|()| accepted())
            }
            Call::StartUpload => uploads::start(self, self.writable()?, body).await,
            Call::AppendUpload(id) => uploads::append(self, self.writable()?, id, body).await,
            Call::FinishUpload(id) => uploads::finish(self, self.writable()?, id, body).await,
            Call::UploadStatus(id) => uploads::status(self, self.writable()?, id).await,
            Call::CancelUpload(id) => uploads::cancel(self, self.writable()?, id).await,
            Call::Ping | Call::Catalog => Ok(pong()),
        }
    }

    fn registry(&self) -> Result<&TenantRegistry, Failure> {
        let registry = self.tenant.registry();
        registry
            .ok_or_else(|| {
                Error::not_found(format!("tenant `{}` has no registry", self.tenant.path()))
            })
            .about(About::Repository)
    }

    /// What answers reads.
    fn readable(&self) -> Result<&dyn RegistryRepository, Failure> {
        let member = self.located.member.as_deref();
        let repository = self.registry()?.repository(member);
        repository.map(AsRef::as_ref).about(About::Repository)
    }

    /// What a manifest that is not there is a matter of: its repository, where there is none for certain (spec: oci.md §1.2).
    async fn what_is_absent(&self) -> About {
        let lacks = match self.tenant.registry() {
            Some(registry) if self.located.member.is_none() => {
                registry.lacks(&self.located.name).await.unwrap_or(false)
            }
            _ => false,
        };
        match lacks {
            true => About::Repository,
            false => About::Manifest,
        }
    }

    /// What takes pushes and deletions.
    fn writable(&self) -> Result<&HostedRegistryPart, Failure> {
        let member = self.located.member.as_deref();
        self.registry()?.hosted(member).about(About::Repository)
    }
}

/// `GET /v2/`. Docker, podman and crane send no credentials later where this is 200 without any, so it is so only where nobody
/// has more rights than strangers (spec: oci.md §2.2).
fn ping(
    gateway: &Gateway,
    request: &Request,
    identity: &Identity,
    grants: &Grants,
) -> Result<Response, Failure> {
    admit_to_all(gateway, request, identity, grants)?;
    Ok(pong())
}

/// The gate of what is no tenant's: strangers are asked who they are, where that could matter.
fn admit_to_all(
    gateway: &Gateway,
    request: &Request,
    identity: &Identity,
    grants: &Grants,
) -> Result<(), Failure> {
    let asked_already = *identity != Identity::Anonymous || grants.are_of_a_token();
    if asked_already || gateway.is_open(request.host.as_deref()) {
        return Ok(());
    }
    let error = Error::new(
        ErrorKind::Unauthenticated,
        "credentials are needed here; log in, or get an anonymous token",
    );
    Err(Failure::new(About::Repository, error))
}

fn pong() -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    Response::new(StatusCode::OK, "{}").with_header(header::CONTENT_TYPE, JSON)
}

fn accepted() -> Response {
    Response::new(StatusCode::ACCEPTED, Body::Empty)
}

/// What the caller must be allowed to do. Cancelling an upload takes away nothing that was there.
fn action(call: &Call) -> Action {
    match call {
        Call::Ping
        | Call::Catalog
        | Call::Tags
        | Call::Referrers(_)
        | Call::ReadManifest(_)
        | Call::ReadBlob(_) => Action::Pull,
        Call::PushManifest(_)
        | Call::StartUpload
        | Call::AppendUpload(_)
        | Call::FinishUpload(_)
        | Call::UploadStatus(_)
        | Call::CancelUpload(_) => Action::Push,
        Call::DeleteManifest(_) | Call::DeleteBlob(_) => Action::Delete,
    }
}

/// What a call is to the limits. A blob that is mounted is one, too: nobody knows before. Manifests go with their blobs.
fn demand(call: &Call) -> Demand {
    match call {
        Call::StartUpload => Demand::Upload,
        Call::AppendUpload(_)
        | Call::FinishUpload(_)
        | Call::UploadStatus(_)
        | Call::CancelUpload(_)
        | Call::PushManifest(_) => Demand::Piece,
        Call::Ping
        | Call::Catalog
        | Call::Tags
        | Call::Referrers(_)
        | Call::ReadManifest(_)
        | Call::ReadBlob(_)
        | Call::DeleteManifest(_)
        | Call::DeleteBlob(_) => Demand::Request,
    }
}

/// What a call is about, for the audit log.
fn object(name: &str, call: &Call) -> Object {
    let reference = match call {
        Call::ReadManifest(reference)
        | Call::PushManifest(reference)
        | Call::DeleteManifest(reference) => Some(reference.to_string()),
        Call::ReadBlob(digest) | Call::DeleteBlob(digest) | Call::Referrers(digest) => {
            Some(digest.to_string())
        }
        Call::AppendUpload(_)
        | Call::FinishUpload(_)
        | Call::UploadStatus(_)
        | Call::CancelUpload(_)
        | Call::StartUpload
        | Call::Ping
        | Call::Catalog
        | Call::Tags => None,
    };
    Object::repository(name, reference.as_deref())
}

/// Whether the audit log may say something about it. A ping without credentials is how every client asks which ones are wanted.
fn is_told(route: &RegistryRoute, request: &Request, status: StatusCode) -> bool {
    !(route.call == Call::Ping
        && status == StatusCode::UNAUTHORIZED
        && !request.headers.contains_key(header::AUTHORIZATION))
}

/// Whether the audit log says that it was done or failed: a blob comes in many pieces and has one line.
fn is_notable(call: &Call, status: StatusCode) -> bool {
    match call {
        Call::StartUpload => status == StatusCode::CREATED || status.as_u16() >= 400,
        Call::AppendUpload(_) => {
            status.as_u16() >= 400 && status != StatusCode::RANGE_NOT_SATISFIABLE
        }
        Call::UploadStatus(_) | Call::CancelUpload(_) => false,
        _ => true,
    }
}

/// The digest that an answer to a push names.
fn stored(response: &Response) -> Option<String> {
    let digest = response.headers.get(respond::CONTENT_DIGEST)?;
    digest.to_str().ok().map(str::to_owned)
}

/// An error in the envelope of registries; a 401 says which token would do.
fn refuse(
    gateway: &Gateway,
    route: Option<&RegistryRoute>,
    request: &Request,
    failure: &Failure,
) -> Response {
    log_failure(request, &failure.error);
    let problem = failure.unknown_caller.then_some(TokenProblem::Invalid);
    let mut response = render(&failure.error, Dialect::Registry(failure.about), || {
        let scope = route.and_then(scope);
        let authenticator = gateway.authenticator();
        authenticator.registry_challenge(request, scope.as_deref(), problem)
    });
    response.status = failure.status.unwrap_or(response.status);
    response
}

/// The scope of a token that allows what was asked for.
fn scope(route: &RegistryRoute) -> Option<String> {
    match (&route.call, action(&route.call)) {
        (Call::Ping, _) => None,
        (Call::Catalog, _) => Some("registry:catalog:*".to_owned()),
        (_, Action::Pull) => Some(route.spelling.scope("pull")),
        (_, Action::Delete) => Some(route.spelling.scope("delete")),
        // Clients that push look for what is there, too.
        (_, Action::Push | Action::Admin) => Some(route.spelling.scope("pull,push")),
    }
}
