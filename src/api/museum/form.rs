//! Upload forms: the parts that count, spooled as they arrive.

use multer::{Constraints, Field, Multipart};

use super::body::Bounded;
use crate::config::Museum;
use crate::error::{Error, Result};
use crate::gateway::HostedPart;
use crate::http::{Request, header};
use crate::store::Spooled;

/// The parts that count besides the configured ones.
const CHART_FIELD: &str = "chart";
const PROVENANCE_FIELD: &str = "prov";
/// The largest provenance file that is taken; real ones are about 1 KiB.
pub(super) const MAX_PROVENANCE: u64 = 1 << 20;

/// What a form brought: at least one of the two.
#[derive(Debug)]
pub(super) enum Form {
    Archive(Spooled, Option<Spooled>),
    Provenance(Spooled),
}

/// Whether the body is a form. Case does not matter (RFC 9110 §8.3.1).
pub(super) fn is_form(request: &Request) -> bool {
    request.header(header::CONTENT_TYPE).is_some_and(|value| {
        let media_type = value.split(';').next().unwrap_or(value);
        media_type
            .trim()
            .eq_ignore_ascii_case("multipart/form-data")
    })
}

/// What a part is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Archive,
    Provenance,
}

fn kind(museum: &Museum, name: &str) -> Option<Kind> {
    if name == CHART_FIELD {
        Some(Kind::Archive)
    } else if name == PROVENANCE_FIELD {
        Some(Kind::Provenance)
    } else if name == museum.chart_field {
        Some(Kind::Archive)
    } else if name == museum.provenance_field {
        Some(Kind::Provenance)
    } else {
        None
    }
}

/// Reads a form. Only file parts count, and only the first of each name; all others are passed over.
pub(super) async fn read(
    hosted: &HostedPart,
    museum: &Museum,
    request: &Request,
    mut body: Bounded<'_>,
) -> Result<Form> {
    let content_type = request.header(header::CONTENT_TYPE).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type)
        .map_err(|error| nothing_found(museum).with_source(error))?;
    // The body is bounded as a whole.
    let mut parts = Multipart::with_constraints(body.chunks(), boundary, Constraints::new());
    let mut seen: Vec<String> = Vec::new();
    let (mut archive, mut provenance) = (None, None);
    while let Some(part) = next(museum, &mut parts).await? {
        let Some(name) = part.name().filter(|_| is_file(&part)).map(str::to_owned) else {
            continue;
        };
        let Some(kind) = kind(museum, &name).filter(|_| !seen.contains(&name)) else {
            continue;
        };
        let (slot, limit) = match kind {
            Kind::Archive => (&mut archive, hosted.rules.max_upload),
            Kind::Provenance => (&mut provenance, MAX_PROVENANCE),
        };
        if slot.is_some() {
            return Err(Error::invalid(format!(
                "the form has a second file of the same kind in `{name:.80}`; upload one chart at a time"
            )));
        }
        *slot = Some(spool(hosted, museum, limit, part).await?);
        seen.push(name);
    }
    match (archive, provenance) {
        (Some(archive), provenance) => Ok(Form::Archive(archive, provenance)),
        (None, Some(provenance)) => Ok(Form::Provenance(provenance)),
        (None, None) => Err(nothing_found(museum)),
    }
}

fn is_file(part: &Field<'_>) -> bool {
    part.file_name().is_some_and(|name| !name.is_empty())
}

async fn next<'r>(museum: &Museum, parts: &mut Multipart<'r>) -> Result<Option<Field<'r>>> {
    parts
        .next_field()
        .await
        .map_err(|error| broken(museum, error))
}

async fn spool(
    hosted: &HostedPart,
    museum: &Museum,
    limit: u64,
    mut part: Field<'_>,
) -> Result<Spooled> {
    let mut spool = hosted.store.spool(limit).await?;
    while let Some(chunk) = part.chunk().await.map_err(|error| broken(museum, error))? {
        spool.write(chunk).await?;
    }
    spool.finish().await
}

/// ChartMuseum's words: scripts look for them.
fn nothing_found(museum: &Museum) -> Error {
    Error::invalid(format!(
        "no package or provenance file found in form fields {} and {}",
        museum.chart_field, museum.provenance_field
    ))
}

/// Errors of the connection and of the bound pass through; the rest is a malformed form, of which ChartMuseum says only that
/// it found nothing in it.
fn broken(museum: &Museum, error: multer::Error) -> Error {
    match error {
        multer::Error::StreamReadFailed(cause) => match cause.downcast::<Error>() {
            Ok(own) => *own,
            Err(cause) => Error::invalid("the form could not be read").with_source(cause),
        },
        other if museum.strict => nothing_found(museum).with_source(other),
        other => Error::invalid(format!("the form is malformed: {other}")),
    }
}
