//! What is inside a chart: its templates and its values, read from the archive wherever that comes from.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use super::read::resolve;
use crate::api::charts::published;
use crate::auth::Sight;
use crate::base64;
use crate::chart::archive::{self, Limits, Wanted};
use crate::chart::values;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::Tenant;
use crate::http::conditional::not_modified;
use crate::http::{Body, Request, Response, StatusCode, header};
use crate::names::FileName;
use crate::repository::group::Published;

const VALUES: &str = "values.yaml";
/// Bytes of templates and values that one answer may need; real charts with many resource definitions have about 5 MiB.
const MAX_CONTENT: u64 = 32 << 20;
/// Chunks of an archive between the connection that brings them and the thread that unpacks them.
const CHUNKS: usize = 4;

/// A template as Helm's own type is written: the content in base64.
#[derive(Serialize)]
struct Template {
    name: String,
    data: String,
}

#[derive(Serialize)]
struct Contents {
    templates: Option<Vec<Template>>,
    values: Option<serde_json::Value>,
}

/// `GET /api/T/charts/<name>/<version>/templates`: the templates and the parsed values of the chart itself, not of its
/// dependencies. Either is null where the chart has none.
pub(in crate::api) async fn templates(
    tenant: &Tenant,
    sight: &Sight,
    name: &str,
    version: &str,
    request: &Request,
    unpacking: &Semaphore,
) -> Result<Response> {
    let package = find(tenant, sight, name, version, "templates").await?;
    if let Some(unchanged) = package.unchanged(request) {
        return Ok(unchanged);
    }
    let _permit = permit(unpacking).await?;
    let wanted = Wanted {
        path: |path| path == VALUES || path.starts_with("templates/"),
        files: usize::MAX,
        bytes: MAX_CONTENT,
    };
    let contents = read(tenant, &package, wanted, |files| {
        let mut templates = Vec::new();
        let mut values = None;
        for (name, bytes) in files {
            if name == VALUES {
                values = Some(parse(&bytes)?);
            } else {
                let data = base64::encode(&bytes);
                templates.push(Template { name, data });
            }
        }
        Ok(Contents {
            templates: Some(templates).filter(|templates| !templates.is_empty()),
            values,
        })
    })
    .await?;
    Ok(package.describe(Response::json(StatusCode::OK, &contents)))
}

/// `GET /api/T/charts/<name>/<version>/values`: values.yaml as it is in the chart, comments included.
pub(in crate::api) async fn values(
    tenant: &Tenant,
    sight: &Sight,
    name: &str,
    version: &str,
    request: &Request,
    unpacking: &Semaphore,
) -> Result<Response> {
    let package = find(tenant, sight, name, version, "values").await?;
    if let Some(unchanged) = package.unchanged(request) {
        return Ok(unchanged);
    }
    let _permit = permit(unpacking).await?;
    let wanted = Wanted {
        path: |path| path == VALUES,
        files: 1,
        bytes: MAX_CONTENT,
    };
    let files = read(tenant, &package, wanted, Ok).await?;
    let (_, bytes) = files
        .into_iter()
        .next()
        .ok_or_else(|| Error::not_found("values.yaml not found"))?;
    let response = Response::new(StatusCode::OK, Bytes::from(bytes))
        .with_header(header::CONTENT_TYPE, "application/yaml");
    Ok(package.describe(response))
}

/// The turn to unpack an archive, to be held until the answer is made. Cancel-safe.
async fn permit(unpacking: &Semaphore) -> Result<SemaphorePermit<'_>> {
    let permit = unpacking.acquire().await;
    permit.map_err(|error| Error::internal("no chart is looked into any more", error))
}

/// The archive that a request is about.
struct Package {
    /// The index that names it: of files that two charts could have, another one may mean the other chart's.
    published: Arc<Published>,
    file: FileName,
    /// The tag of what is made of it, where its digest is known.
    etag: Option<String>,
}

async fn find(
    tenant: &Tenant,
    sight: &Sight,
    name: &str,
    version: &str,
    part: &str,
) -> Result<Package> {
    let (published, _) = published(tenant, sight).await?;
    let (_, found) = resolve(published.snapshot.chart(name), name, version)?;
    let digest = found.entry.digest;
    let file = FileName::parse(&found.entry.file_name())?;
    Ok(Package {
        published,
        file,
        etag: digest.map(|digest| format!("\"{}-{part}\"", digest.to_hex())),
    })
}

impl Package {
    /// The answer to a client that has it already; the archive is not opened for that.
    fn unchanged(&self, request: &Request) -> Option<Response> {
        not_modified(&request.headers, self.etag.as_deref(), None)
            .then(|| self.describe(Response::new(StatusCode::NOT_MODIFIED, Body::Empty)))
    }

    fn describe(&self, response: Response) -> Response {
        let response = response.with_header(header::CACHE_CONTROL, "no-cache");
        match &self.etag {
            Some(etag) => response.with_header(header::ETAG, etag.as_str()),
            None => response,
        }
    }
}

/// Reads files of an archive and makes something of them, off the async threads.
async fn read<T: Send + 'static>(
    tenant: &Tenant,
    package: &Package,
    wanted: Wanted,
    finish: impl FnOnce(Vec<archive::File>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (file, snapshot) = (&package.file, &package.published.snapshot);
    let artifact = tenant.charts().file_in(snapshot, file).await?;
    let body = artifact.body(0..u64::MAX).await?;
    let (sender, chunks) = mpsc::channel(CHUNKS);
    let reader = Chunks {
        chunks,
        current: Bytes::new(),
    };
    let work = tokio::task::spawn_blocking(move || {
        finish(archive::files(reader, &Limits::stored(), wanted)?)
    });
    feed(body, &sender).await;
    drop(sender);
    let done = work
        .await
        .map_err(|error| Error::internal("reading a chart ended early", error))?;
    done.map_err(|error| match error.kind() {
        // The request is fine; the package is not.
        ErrorKind::Invalid => Error::new(
            ErrorKind::Unsupported,
            format!("`{file}` cannot be looked into: {}", error.message()),
        ),
        _ => error,
    })
}

/// Hands over all of `body`, or as much as is wanted.
async fn feed(body: Body, sender: &mpsc::Sender<Result<Bytes>>) {
    match body {
        Body::Stream(mut stream) => {
            while let Some(chunk) = stream.next().await {
                if sender.send(chunk).await.is_err() {
                    return;
                }
            }
        }
        held => {
            for piece in held.into_pieces() {
                if sender.send(Ok(piece)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The receiving end: blocks while nothing has come.
struct Chunks {
    chunks: mpsc::Receiver<Result<Bytes>>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current[..length]);
        self.current.advance(length);
        Ok(length)
    }
}

/// Parsed values; a chart with an empty file has an empty map.
fn parse(bytes: &[u8]) -> Result<serde_json::Value> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::invalid("values.yaml is not UTF-8").with_source(error))?;
    Ok(match values::to_json(text)? {
        serde_json::Value::Null => serde_json::json!({}),
        other => other,
    })
}
