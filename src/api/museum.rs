//! The writing half of the ChartMuseum API: uploads, raw or as a form, provenance files, deletes.
//!
//! Bodies stream into a spool file; nothing large is in memory. An answer of 201 means that the package is durable and that
//! the next read of the index on this replica shows it.

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use multer::{Constraints, Multipart, SizeLimit};
use tracing::info;

use crate::config::Overwrite;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::{HostedPart, Tenant};
use crate::http::{Request, RequestBody, Response, StatusCode, header};
use crate::store::{Limits, OverwritePermission, Spool, Spooled, Upload};

/// Parts of a form that are looked at; ChartMuseum ignores all others.
const CHART_FIELD: &str = "chart";
const PROVENANCE_FIELD: &str = "prov";
/// The largest provenance file that is taken; real ones are about 1 KiB.
const MAX_PROVENANCE: u64 = 1 << 20;

/// `POST /api/T/charts`: a raw archive, or a form with the parts `chart` and `prov`.
pub(super) async fn upload(
    tenant: &Tenant,
    request: &Request,
    body: &mut dyn RequestBody,
) -> Result<Response> {
    let hosted = tenant.hosted()?;
    refuse_announced_size(hosted, body)?;
    let permission = permission(hosted, request);
    match form_boundary(request) {
        Some(boundary) => match read_form(hosted, &boundary?, body).await? {
            Form {
                archive: Some(archive),
                provenance,
            } => {
                put(
                    tenant,
                    hosted,
                    Upload {
                        archive,
                        provenance,
                    },
                    permission,
                )
                .await?;
            }
            Form {
                archive: None,
                provenance: Some(provenance),
            } => {
                hosted
                    .store
                    .put_provenance(provenance, permission, limits(hosted))
                    .await?;
            }
            Form {
                archive: None,
                provenance: None,
            } => return Err(nothing_found()),
        },
        None => {
            let archive = spool(hosted, hosted.rules.max_upload, body).await?;
            put(
                tenant,
                hosted,
                Upload {
                    archive,
                    provenance: None,
                },
                permission,
            )
            .await?;
        }
    }
    saved(tenant).await
}

/// `POST /api/T/prov`: a provenance file, whatever the content type says.
pub(super) async fn upload_provenance(
    tenant: &Tenant,
    request: &Request,
    body: &mut dyn RequestBody,
) -> Result<Response> {
    let hosted = tenant.hosted()?;
    let provenance = spool(hosted, MAX_PROVENANCE, body).await?;
    hosted
        .store
        .put_provenance(provenance, permission(hosted, request), limits(hosted))
        .await?;
    saved(tenant).await
}

/// `DELETE /api/T/charts/<name>/<version>`: the archive and its provenance file.
pub(super) async fn delete(tenant: &Tenant, name: &str, version: &str) -> Result<Response> {
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
    tenant.charts().publish().await?;
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
) -> Result<()> {
    let entry = hosted.store.put(upload, permission, limits(hosted)).await?;
    if !entry.version.is_strict() {
        info!(tenant.name = %tenant.path(), "`{}` was uploaded with a version that only helm's lenient reader takes: OCI clients and version ranges of Flux do not see it", entry.file_name());
    }
    Ok(())
}

async fn saved(tenant: &Tenant) -> Result<Response> {
    tenant.charts().publish().await?;
    Ok(Response::json(
        StatusCode::CREATED,
        &serde_json::json!({ "saved": true }),
    ))
}

/// A body whose announced length is too large is refused before the first byte of it is read.
fn refuse_announced_size(hosted: &HostedPart, body: &dyn RequestBody) -> Result<()> {
    // A form has boundaries and headers around its parts; the parts themselves are counted as they come.
    let allowed = hosted.rules.max_upload + MAX_PROVENANCE;
    match body.length() {
        Some(length) if length > allowed => Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the upload has {length} bytes; `hosted.max_upload` allows {}",
                hosted.rules.max_upload
            ),
        )),
        _ => Ok(()),
    }
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

/// The boundary, where the body is a form; an error where it should be one and names none.
fn form_boundary(request: &Request) -> Option<Result<String>> {
    let content_type = request.header(header::CONTENT_TYPE)?;
    let is_form = content_type.split(';').next().is_some_and(|media_type| {
        media_type
            .trim()
            .eq_ignore_ascii_case("multipart/form-data")
    });
    is_form.then(|| {
        multer::parse_boundary(content_type).map_err(|error| {
            Error::invalid("the form's content type names no boundary").with_source(error)
        })
    })
}

/// The parts of a form that count.
#[derive(Default)]
struct Form {
    archive: Option<Spooled>,
    provenance: Option<Spooled>,
}

async fn read_form(
    hosted: &HostedPart,
    boundary: &str,
    body: &mut dyn RequestBody,
) -> Result<Form> {
    let limit = SizeLimit::new().whole_stream(hosted.rules.max_upload + MAX_PROVENANCE);
    let mut parts =
        Multipart::with_constraints(chunks(body), boundary, Constraints::new().size_limit(limit));
    let mut form = Form::default();
    while let Some(mut part) = parts.next_field().await.map_err(form_error)? {
        // Only file parts count, and only the first of each name.
        let name = part.file_name().and_then(|_| part.name());
        let (slot, limit) = match name {
            Some(CHART_FIELD) => (&mut form.archive, hosted.rules.max_upload),
            Some(PROVENANCE_FIELD) => (&mut form.provenance, MAX_PROVENANCE),
            _ => continue,
        };
        if slot.is_some() {
            continue;
        }
        let mut spool = hosted.store.spool(limit).await?;
        while let Some(chunk) = part.chunk().await.map_err(form_error)? {
            spool.write(chunk).await?;
        }
        *slot = Some(spool.finish().await?);
    }
    Ok(form)
}

/// ChartMuseum's words: scripts look for them.
fn nothing_found() -> Error {
    Error::invalid(format!(
        "no package or provenance file found in form fields {CHART_FIELD} and {PROVENANCE_FIELD}"
    ))
}

async fn spool(hosted: &HostedPart, limit: u64, body: &mut dyn RequestBody) -> Result<Spooled> {
    let mut spool: Spool = hosted.store.spool(limit).await?;
    while let Some(chunk) = body.chunk().await? {
        spool.write(chunk).await?;
    }
    spool.finish().await
}

fn chunks(body: &mut dyn RequestBody) -> impl Stream<Item = Result<Bytes>> + Send {
    stream::try_unfold(body, |body| async move {
        Ok(body.chunk().await?.map(|chunk| (chunk, body)))
    })
}

/// Errors of the connection pass through; the rest is a malformed or oversized form.
fn form_error(error: multer::Error) -> Error {
    match error {
        multer::Error::StreamReadFailed(cause) => match cause.downcast::<Error>() {
            Ok(own) => *own,
            Err(cause) => Error::invalid("the form could not be read").with_source(cause),
        },
        multer::Error::FieldSizeExceeded { limit, .. }
        | multer::Error::StreamSizeExceeded { limit } => Error::new(
            ErrorKind::TooLarge,
            format!("the form is larger than {limit} bytes"),
        ),
        other => Error::invalid(format!("the form is malformed: {other}")),
    }
}
