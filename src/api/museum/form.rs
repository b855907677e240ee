//! Upload forms: the parts that count, spooled as they arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
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
/// How much may stand between the content of one part and that of the next: a boundary, a few fields, and what else arrives with
/// them. The library keeps it in memory and searches all of it again whenever some more has come.
const MAX_HEAD: usize = 256 << 10;

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
    let room = Room::default();
    let chunks = measured(body.chunks(), room.clone());
    let mut parts = Multipart::with_constraints(chunks, boundary, Constraints::new());
    let mut seen: Vec<String> = Vec::new();
    let (mut archive, mut provenance) = (None, None);
    while let Some(part) = next(museum, &mut parts, &room).await? {
        let name = part.name().filter(|_| is_file(&part)).map(str::to_owned);
        let kind = name.as_deref().and_then(|name| kind(museum, name));
        let (Some(name), Some(kind)) = (name.filter(|name| !seen.contains(name)), kind) else {
            pass_over(museum, part).await?;
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

/// The next part, of which only the head has been read.
async fn next<'r>(
    museum: &Museum,
    parts: &mut Multipart<'r>,
    room: &Room,
) -> Result<Option<Field<'r>>> {
    room.set(MAX_HEAD);
    let part = parts.next_field().await;
    room.set(usize::MAX);
    part.map_err(|error| broken(museum, error))
}

/// Reads a part's content and forgets it, so that it does not count as the head of the next.
async fn pass_over(museum: &Museum, mut part: Field<'_>) -> Result<()> {
    while part
        .chunk()
        .await
        .map_err(|error| broken(museum, error))?
        .is_some()
    {}
    Ok(())
}

/// How many bytes the library may still be given before it has found something in them.
#[derive(Clone, Debug)]
struct Room(Arc<AtomicUsize>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(usize::MAX)))
    }
}

impl Room {
    fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) -> Result<()> {
        let left = self.0.load(Ordering::Relaxed);
        if left == usize::MAX {
            return Ok(());
        }
        match left.checked_sub(bytes) {
            Some(left) => {
                self.set(left);
                Ok(())
            }
            None => Err(Error::invalid(format!(
                "the form has more than {MAX_HEAD} bytes where the fields of a part should be"
            ))),
        }
    }
}

/// The same chunks, counted, and one at a time: the library reads on for as long as something is there, and would have all that
/// a fast client sends in memory.
fn measured<'a>(
    chunks: impl Stream<Item = Result<Bytes>> + Send + 'a,
    room: Room,
) -> impl Stream<Item = Result<Bytes>> + Send + 'a {
    let mut chunks = Box::pin(chunks);
    let mut pauses = false;
    stream::poll_fn(move |context| {
        if std::mem::take(&mut pauses) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let chunk = ready!(chunks.poll_next_unpin(context));
        pauses = true;
        Poll::Ready(chunk.map(|chunk| {
            let chunk = chunk?;
            room.take(chunk.len()).map(|()| chunk)
        }))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(count: usize) -> impl Stream<Item = Result<Bytes>> + Send {
        stream::iter((0..count).map(|_| Ok(Bytes::from_static(&[b'x'; 1024]))))
    }

    #[tokio::test]
    async fn a_reader_gets_one_chunk_at_a_time() {
        let mut stream = std::pin::pin!(measured(chunks(3), Room::default()));
        let mut seen = Vec::new();
        loop {
            match futures_util::poll!(stream.next()) {
                Poll::Ready(Some(chunk)) => seen.push(chunk.expect("a chunk").len()),
                Poll::Ready(None) => break,
                Poll::Pending => seen.push(0),
            }
        }
        assert_eq!(seen, [1024, 0, 1024, 0, 1024, 0]);
    }

    #[tokio::test]
    async fn what_stands_between_contents_is_bounded() {
        let room = Room::default();
        let mut stream = std::pin::pin!(measured(chunks(1_000_000), room.clone()));
        // Contents are not.
        for _ in 0..1_000 {
            stream.next().await.expect("more").expect("a chunk");
        }
        room.set(MAX_HEAD);
        let mut taken = 0;
        let error = loop {
            match stream.next().await.expect("more") {
                Ok(chunk) => taken += chunk.len(),
                Err(error) => break error,
            }
        };
        assert_eq!(taken, MAX_HEAD);
        assert_eq!(error.kind(), crate::error::ErrorKind::Invalid);
    }
}
