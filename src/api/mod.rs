//! The protocols: one file per surface, and the steps that every request takes.
//!
//! Handlers parse, call and render; they do not know whether content is hosted or proxied. The gate has already run.

pub mod admin;
mod charts;
mod error;
mod museum;
mod route;
mod template;

use std::borrow::Cow;

use tracing::{debug, error, field};

use self::error::{Dialect, render};
pub use self::route::Route;
pub use self::template::template;
use crate::config::Action;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::Gateway;
use crate::http::{Account, Request, RequestBody, Response};

/// Answers one request of a public listener, and notes in the request what the log says about it.
pub async fn handle(gateway: &Gateway, request: &Request, body: &mut dyn RequestBody) -> Response {
    let mut account = Account {
        route: "none",
        tenant: None,
        identity: Cow::Borrowed(""),
    };
    let answer = steps(gateway, request, body, &mut account).await;
    // Set nowhere else, so it cannot be taken.
    let _ = request.account.set(account);
    answer.unwrap_or_else(|failure| {
        log_failure(request, &failure);
        let dialect = if Route::is_museum_path(&request.path) {
            Dialect::Museum
        } else {
            Dialect::Plain
        };
        render(&failure, dialect)
    })
}

/// The steps of every request, in the order in which they run.
async fn steps(
    gateway: &Gateway,
    request: &Request,
    body: &mut dyn RequestBody,
    account: &mut Account,
) -> Result<Response> {
    // 1. What is asked for. Before the credentials, so that nonsense costs no password check.
    let route = Route::parse(&request.method, &request.path)?;
    account.route = route.label();
    // 2. Who asks. A bad credential is refused even where none is needed: it is a mistake somebody should see.
    let Some((tenant, action)) = needs(&route) else {
        return Ok(open(gateway, &route));
    };
    let identity = gateway.authenticate(request).await?;
    account.identity = identity.log_name();
    // 3. The gate: tenant, permission, rate.
    let address = request.peer.map(|peer| peer.ip());
    let tenant = gateway.admit(tenant, &identity, action, address).await?;
    account.tenant = Some(tenant.label().clone());
    // 4. The answer.
    match &route {
        Route::Index { .. } => charts::index(&tenant, request).await,
        Route::File { file, .. } => charts::file(&tenant, file, request).await,
        Route::Upload { .. } => museum::upload(&tenant, request, body).await,
        Route::UploadProvenance { .. } => museum::upload_provenance(&tenant, request, body).await,
        Route::Delete { name, version, .. } => museum::delete(&tenant, name, version).await,
        Route::Health | Route::Info | Route::Welcome => Ok(open(gateway, &route)),
    }
}

/// The tenant and the action that a route needs; `None` for routes that are open to everybody.
fn needs(route: &Route) -> Option<(&str, Action)> {
    match route {
        Route::Index { tenant } | Route::File { tenant, .. } => Some((tenant, Action::Pull)),
        Route::Upload { tenant } | Route::UploadProvenance { tenant } => {
            Some((tenant, Action::Push))
        }
        Route::Delete { tenant, .. } => Some((tenant, Action::Delete)),
        Route::Health | Route::Info | Route::Welcome => None,
    }
}

fn open(gateway: &Gateway, route: &Route) -> Response {
    match route {
        Route::Health => charts::health(),
        Route::Info => charts::info(),
        _ => charts::welcome(gateway),
    }
}

fn log_failure(request: &Request, failure: &Error) {
    if failure.kind() == ErrorKind::Internal {
        error!(request.id = %request.id, error = %failure.chain(), "cannot answer `{} {:.200}`: {failure}", request.method, request.path);
    } else {
        debug!(request.id = %request.id, error = %failure.chain(), path = field::display(&request.path), "refused: {failure}");
    }
}
