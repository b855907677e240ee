//! Writing: uploads, raw or as a form, provenance files, deletions.
//!
//! Bodies stream into a spool file; nothing large is in memory. An answer of 201 means that the package is durable and that
//! the next read of the index on this replica shows it.

use std::sync::{Arc, OnceLock};

use tracing::info;

use super::body::Bounded;
use super::form::{self, Form, MAX_PROVENANCE};
use crate::api::deed::Deed;
use crate::audit::Object;
use crate::config::{Museum, Overwrite};
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::{HostedPart, Tenant};
use crate::http::{Request, RequestBody, Response, StatusCode};
use crate::store::{Limits, NameCheck, OverwritePermission, Spooled, Upload};

/// `POST /api/T/charts`: a raw archive, or a form with an archive, a provenance file or both.
pub(in crate::api) async fn upload(
    tenant: &Tenant,
    museum: &Museum,
    request: &Request,
    body: &mut dyn RequestBody,
    may: NameCheck,
    deed: &mut Deed<'_>,
) -> Result<Response> {
    let hosted = tenant.hosted()?;
    let permission = permission(hosted, request);
    let mut body = Bounded::new(body, hosted.rules.max_upload)?;
    if form::is_form(request) {
        let form = form::read(hosted, museum, request, body).await?;
        let stored = match form {
            Form::Archive(archive, provenance) => {
                let upload = Upload {
                    archive,
                    provenance,
                };
                put(tenant, hosted, upload, permission, may, deed).await
            }
            Form::Provenance(provenance) => {
                put_provenance(hosted, provenance, permission, may, deed).await
            }
        };
        stored.map_err(|error| match error.kind() {
            ErrorKind::Conflict => Error::new(ErrorKind::Conflict, "chart already exists"),
            _ => error,
        })?;
    } else {
        let archive = spool(hosted, hosted.rules.max_upload, &mut body).await?;
        let upload = Upload {
            archive,
            provenance: None,
        };
        put(tenant, hosted, upload, permission, may, deed).await?;
    }
    saved(tenant).await
}

/// `POST /api/T/prov`: a provenance file, whatever the content type says.
pub(in crate::api) async fn upload_provenance(
    tenant: &Tenant,
    request: &Request,
    body: &mut dyn RequestBody,
    may: NameCheck,
    deed: &mut Deed<'_>,
) -> Result<Response> {
    let hosted = tenant.hosted()?;
    let mut body = Bounded::new(body, hosted.rules.max_upload)?;
    let provenance = spool(hosted, MAX_PROVENANCE, &mut body).await?;
    let permission = permission(hosted, request);
    put_provenance(hosted, provenance, permission, may, deed).await?;
    saved(tenant).await
}

/// `DELETE /api/T/charts/<name>/<version>`: the archive and its provenance file.
pub(in crate::api) async fn delete(tenant: &Tenant, name: &str, version: &str) -> Result<Response> {
    let hosted = tenant.hosted()?;
    if !hosted.rules.delete {
        return Err(Error::new(
            ErrorKind::Forbidden,
            format!(
                "deleting is switched off for `{}` (`hosted.delete: false`)",
                tenant.path()
            ),
        ));
    }
    hosted.store.delete(name, version).await?;
    tenant.publish().await?;
    Ok(Response::json(
        StatusCode::OK,
        &serde_json::json!({ "deleted": true }),
    ))
}

async fn put(
    tenant: &Tenant,
    hosted: &HostedPart,
    upload: Upload,
    permission: OverwritePermission,
    may: NameCheck,
    deed: &mut Deed<'_>,
) -> Result<()> {
    // Known before the version is, which a package that is refused may not have.
    deed.digest(|| Some(upload.archive.digest().to_string()));
    let (may, asked) = noting(may);
    let store = &hosted.store;
    let stored = store.put_if(upload, permission, limits(hosted), may).await;
    deed.about(|| asked.get().cloned());
    let entry = stored?;
    if !entry.version.is_strict() {
        info!(tenant.name = %tenant.path(), "`{}` was uploaded with a version that only helm's lenient reader takes: OCI clients and version ranges of Flux do not see it", entry.file_name());
    }
    Ok(())
}

async fn put_provenance(
    hosted: &HostedPart,
    provenance: Spooled,
    permission: OverwritePermission,
    may: NameCheck,
    deed: &mut Deed<'_>,
) -> Result<()> {
    deed.digest(|| Some(provenance.digest().to_string()));
    let (may, asked) = noting(may);
    let store = &hosted.store;
    let stored = store
        .put_provenance_if(provenance, permission, limits(hosted), may)
        .await;
    deed.about(|| asked.get().cloned());
    stored.map(drop)
}

/// The same question, and what it was asked about: only the package says what is uploaded, whatever becomes of it.
fn noting(may: NameCheck) -> (NameCheck, Arc<OnceLock<Object>>) {
    let asked = Arc::<OnceLock<Object>>::default();
    let noted = asked.clone();
    let check: NameCheck = Arc::new(move |name, version| {
        // Asked once.
        let _ = noted.set(Object::chart(name, version));
        may(name, version)
    });
    (check, asked)
}

async fn saved(tenant: &Tenant) -> Result<Response> {
    tenant.publish().await?;
    Ok(Response::json(
        StatusCode::CREATED,
        &serde_json::json!({ "saved": true }),
    ))
}

fn limits(hosted: &HostedPart) -> Limits {
    Limits {
        max_objects: hosted.rules.max_objects,
        max_versions: hosted.rules.max_versions,
    }
}

/// The presence of `force` is all that counts, as in ChartMuseum: `?force=false` forces too.
fn permission(hosted: &HostedPart, request: &Request) -> OverwritePermission {
    match hosted.rules.overwrite {
        Overwrite::Allow => OverwritePermission::Granted,
        Overwrite::Force if request.query_has("force") => OverwritePermission::Granted,
        Overwrite::Force | Overwrite::Forbid => OverwritePermission::Denied,
    }
}

async fn spool(hosted: &HostedPart, limit: u64, body: &mut Bounded<'_>) -> Result<Spooled> {
    let mut spool = hosted.store.spool(limit).await?;
    while let Some(chunk) = body.chunk().await? {
        spool.write(chunk).await?;
    }
    spool.finish().await
}
