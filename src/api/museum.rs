//! The writing half of the ChartMuseum API: uploads, raw or as a form, provenance files, deletes.
//!
//! Bodies stream into a spool file; nothing large is in memory. An answer of 201 means that the package is durable and that
//! the next read of the index on this replica shows it.

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use multer::{Constraints, Multipart, SizeLimit};

use crate::config::Overwrite;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::{HostedPart, Tenant};
use crate::http::{Request, RequestBody, Response, StatusCode, header};
use crate::store::{Overwriting, Spool, Upload};

/// Parts of a form that are looked at; ChartMuseum ignores all others.
const CHART_FIELD: &str = "chart";
const PROVENANCE_FIELD: &str = "prov";
/// The largest provenance file that is taken; real ones are about 1 KiB.
const MAX_PROVENANCE: u64 = 1 << 20;

/// `POST /api/T/charts`: a raw archive, or a form with the parts `chart` and `prov`.
pub(super) async fn upload(tenant: &Tenant, request: &Request, body: &mut dyn RequestBody) -> Result<Response> {
    let hosted = tenant.hosted()?;
    refuse_announced_size(hosted, body)?;
    let upload = match form_boundary(request) {
        Some(boundary) => read_form(hosted, &boundary?, body).await?,
        None => {
            let mut spool = hosted.store.spool(hosted.rules.max_upload).await?;
            copy(body, &mut spool).await?;
            Upload { archive: Some(spool), provenance: None }
        }
    };
    hosted.store.put(upload, overwriting(hosted, request)).await?;
    saved(tenant).await
}

/// `POST /api/T/prov`: a provenance file, whatever the content type says.
pub(super) async fn upload_provenance(tenant: &Tenant, request: &Request, body: &mut dyn RequestBody) -> Result<Response> {
    let hosted = tenant.hosted()?;
    let mut text = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        append_provenance(&mut text, &chunk)?;
    }
    let upload = Upload { archive: None, provenance: Some(Bytes::from(text)) };
    hosted.store.put(upload, overwriting(hosted, request)).await?;
    saved(tenant).await
}

/// `DELETE /api/T/charts/<name>/<version>`: the archive and its provenance file.
pub(super) async fn delete(tenant: &Tenant, name: &str, version: &str) -> Result<Response> {
    let hosted = tenant.hosted()?;
    if !hosted.rules.delete {
        return Err(Error::new(
            ErrorKind::Forbidden,
            format!("deleting is switched off for `{}` (`hosted.delete: false`)", tenant.path()),
        ));
    }
    hosted.store.delete(name, version).await?;
    tenant.charts().publish().await?;
    Ok(Response::json(StatusCode::OK, &serde_json::json!({ "deleted": true })))
}

async fn saved(tenant: &Tenant) -> Result<Response> {
    tenant.charts().publish().await?;
    Ok(Response::json(StatusCode::CREATED, &serde_json::json!({ "saved": true })))
}

/// A body whose announced length is too large is refused before the first byte of it is read.
fn refuse_announced_size(hosted: &HostedPart, body: &dyn RequestBody) -> Result<()> {
    // A form has boundaries and headers around its parts; the parts themselves are counted as they come.
    let allowed = hosted.rules.max_upload + MAX_PROVENANCE;
    match body.length() {
        Some(length) if length > allowed => Err(Error::new(
            ErrorKind::TooLarge,
            format!("the upload has {length} bytes; `hosted.max_upload` allows {}", hosted.rules.max_upload),
        )),
        _ => Ok(()),
    }
}

/// The presence of `force` is all that counts, as in ChartMuseum: `?force=false` forces too.
fn overwriting(hosted: &HostedPart, request: &Request) -> Overwriting {
    match hosted.rules.overwrite {
        Overwrite::Allow => Overwriting::Allowed,
        Overwrite::Force if request.query_has("force") => Overwriting::Allowed,
        Overwrite::Force | Overwrite::Forbid => Overwriting::Refused,
    }
}

/// The boundary, where the body is a form; an error where it should be one and names none.
fn form_boundary(request: &Request) -> Option<Result<String>> {
    let content_type = request.header(header::CONTENT_TYPE)?;
    let is_form = content_type
        .split(';')
        .next()
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("multipart/form-data"));
    is_form.then(|| {
        multer::parse_boundary(content_type)
            .map_err(|error| Error::invalid("the form's content type names no boundary").with_source(error))
    })
}

async fn read_form(hosted: &HostedPart, boundary: &str, body: &mut dyn RequestBody) -> Result<Upload> {
    let limit = SizeLimit::new()
        .whole_stream(hosted.rules.max_upload + MAX_PROVENANCE)
        .for_field(PROVENANCE_FIELD, MAX_PROVENANCE);
    let constraints = Constraints::new().size_limit(limit);
    let mut form = Multipart::with_constraints(chunks(body), boundary, constraints);
    let mut upload = Upload { archive: None, provenance: None };
    while let Some(mut field) = form.next_field().await.map_err(form_error)? {
        // Only file parts count, and only the first of each name.
        let name = field.file_name().and_then(|_| field.name()).map(str::to_owned);
        match name.as_deref() {
            Some(CHART_FIELD) if upload.archive.is_none() => {
                let mut spool = hosted.store.spool(hosted.rules.max_upload).await?;
                while let Some(chunk) = field.chunk().await.map_err(form_error)? {
                    spool.write(chunk).await?;
                }
                upload.archive = Some(spool);
            }
            Some(PROVENANCE_FIELD) if upload.provenance.is_none() => {
                let mut text = Vec::new();
                while let Some(chunk) = field.chunk().await.map_err(form_error)? {
                    append_provenance(&mut text, &chunk)?;
                }
                upload.provenance = Some(Bytes::from(text));
            }
            _ => {}
        }
    }
    if upload.archive.is_none() && upload.provenance.is_none() {
        return Err(Error::invalid(format!(
            "no package or provenance file found in form fields {CHART_FIELD} and {PROVENANCE_FIELD}"
        )));
    }
    Ok(upload)
}

async fn copy(body: &mut dyn RequestBody, spool: &mut Spool) -> Result<()> {
    while let Some(chunk) = body.chunk().await? {
        spool.write(chunk).await?;
    }
    Ok(())
}

fn append_provenance(text: &mut Vec<u8>, chunk: &[u8]) -> Result<()> {
    if (text.len() + chunk.len()) as u64 > MAX_PROVENANCE {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("the provenance file is larger than {MAX_PROVENANCE} bytes"),
        ));
    }
    text.extend_from_slice(chunk);
    Ok(())
}

fn chunks(body: &mut dyn RequestBody) -> impl Stream<Item = Result<Bytes>> + Send {
    stream::try_unfold(body, |body| async move { Ok(body.chunk().await?.map(|chunk| (chunk, body))) })
}

/// Errors of the connection pass through; the rest is a malformed or oversized form.
fn form_error(error: multer::Error) -> Error {
    match error {
        multer::Error::StreamReadFailed(cause) => match cause.downcast::<Error>() {
            Ok(own) => *own,
            Err(cause) => Error::invalid("the form could not be read").with_source(cause),
        },
        multer::Error::FieldSizeExceeded { limit, .. } | multer::Error::StreamSizeExceeded { limit } => {
            Error::new(ErrorKind::TooLarge, format!("the form is larger than {limit} bytes"))
        }
        other => Error::invalid(format!("the form is malformed: {other}")),
    }
}
