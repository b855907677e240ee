//! A place that opendal speaks to: S3, Google, Azure, OSS, Swift, COS.

use std::ops::Range;
use std::sync::Arc;

use futures_util::TryFutureExt as _;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use opendal::options::ListOptions;
use opendal::raw::{OpRead, oio};
use opendal::{BytesRange, Entry, Metadata, Operator};

use super::Opened;
use super::place::Place;
use super::stamp::{self, Object, Stamp};
use super::wire;
use crate::error::{Error, ErrorKind, Result};
use crate::http::ByteStream;

/// One bucket of one service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) operator: Operator,
    pub(super) place: Arc<Place>,
    pub(super) traits: Traits,
}

/// In what services differ where opendal does not hide it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    /// What tells one content of an object from another, in listings, on HEAD and on GET alike.
    pub(super) tag: Tag,
    /// How listings' times become the whole seconds that HEAD tells.
    pub(super) seconds: Seconds,
    /// Content above this goes up in parts.
    pub(super) largest_put: u64,
}

/// See [`Traits::tag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// The ETag, without its quotes.
    Etag,
    /// The generation. Google's ETag is another one in each of its APIs.
    Generation,
    /// The MD5 of the content. Swift's listings have no ETag but this, which is the same text.
    Md5,
}

/// See [`Traits::seconds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seconds {
    /// Cut off.
    Floor,
    /// The next one, as Swift does.
    Ceil,
}

/// Content up to this is one request.
pub(super) const LARGEST_PUT: u64 = 16 << 20;

/// How many objects one item of a listing has at most.
const PAGE: usize = 1000;

impl Service {
    /// See [`super::Bucket::list`]; `folder` is a whole key without a slash at its ends.
    pub(super) fn list(&self, folder: &str) -> BoxStream<'static, Result<Vec<Object>>> {
        let path = folder_path(folder);
        let service = self.clone();
        let operator = self.operator.clone();
        let prefix = if folder.is_empty() {
            String::new()
        } else {
            path.clone()
        };
        async move { operator.lister_options(&path, ListOptions::default()).await }
            .try_flatten_stream()
            // What has arrived with one answer is one item.
            .ready_chunks(PAGE)
            .then(move |entries| {
                let (service, prefix) = (service.clone(), prefix.clone());
                async move { service.page(&prefix, entries).await }
            })
            .flat_map(stream::iter)
            .boxed()
    }

    /// One item, and the error that ended the listing.
    async fn page(
        &self,
        prefix: &str,
        entries: Vec<opendal::Result<Entry>>,
    ) -> Vec<Result<Vec<Object>>> {
        let mut page = Vec::with_capacity(entries.len());
        let mut failed = None;
        for entry in entries {
            let object = match entry {
                Ok(entry) => self.object(prefix, &entry).await,
                Err(error) => Err(self.listing_error(&error)),
            };
            match object {
                Ok(object) => page.extend(object),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        std::iter::once(Ok(page))
            .filter(|page| page.as_ref().is_ok_and(|page| !page.is_empty()))
            .chain(failed.map(Err))
            .collect()
    }

    /// `None` for folders and for what is not directly in the folder.
    async fn object(&self, prefix: &str, entry: &Entry) -> Result<Option<Object>> {
        let path = entry.path().trim_start_matches('/');
        let name = match path.strip_prefix(prefix) {
            Some(name) if !name.is_empty() && !name.contains('/') => name,
            _ => return Ok(None),
        };
        let stamp = match self.stamp(entry.metadata()) {
            Some(stamp) => stamp,
            // A listing without times.
            None => match self.stat(path.to_owned()).await? {
                Some(stamp) => stamp,
                // Removed in between.
                None => return Ok(None),
            },
        };
        Ok(Some(Object {
            name: name.into(),
            stamp,
        }))
    }

    /// See [`super::Bucket::stat`].
    pub(super) async fn stat(&self, key: String) -> Result<Option<Stamp>> {
        let metadata = self.operator.stat(&key).await;
        match self.found(metadata, &key)? {
            None => Ok(None),
            Some(metadata) => self.known(&metadata, &key).map(Some),
        }
    }

    /// See [`super::Bucket::read`].
    pub(super) async fn read(
        &self,
        key: String,
        range: Option<Range<u64>>,
    ) -> Result<Option<Opened>> {
        // The reader of the lowest level: one request that tells the object's stamp together with its bytes, so that the two
        // belong together, and no resuming, which could join two objects.
        let reader = self
            .operator
            .service()
            .read_dyn(self.operator.context(), &key, OpRead::new())
            .map_err(|error| self.error(&error, &key))?;
        let wanted = match &range {
            None => BytesRange::default(),
            Some(range) => {
                BytesRange::new(range.start, Some(range.end.saturating_sub(range.start)))
            }
        };
        let opened = reader.open_dyn(wanted).await;
        let Some((answer, stream)) = self.found(opened, &key)? else {
            return Ok(None);
        };
        let metadata = answer.into_metadata();
        let stamp = match &metadata {
            Some(metadata) => self.known(metadata, &key)?,
            None => return Err(self.nonsense(&key, "did not say how large it is")),
        };
        let length = match range {
            None => stamp.size,
            Some(range) if range.end > stamp.size => return Err(self.outside(&key)),
            Some(range) => range.end - range.start,
        };
        let body = self.clone().body(stream, key, length);
        Ok(Some(Opened { stamp, body }))
    }

    /// The bytes of `stream`, counted.
    fn body(self, stream: Box<dyn oio::ReadStreamDyn>, key: String, length: u64) -> ByteStream {
        let service = Arc::new((self, key));
        let chunks = stream::try_unfold((stream, length), move |(mut stream, left)| {
            let service = Arc::clone(&service);
            async move {
                let (service, key) = &*service;
                let piece = stream.read_dyn().await;
                let piece = piece
                    .map_err(|error| service.error(&error, key))?
                    .to_bytes();
                match (piece.len() as u64, left) {
                    (0, 0) => Ok(None),
                    (0, left) => {
                        Err(service.nonsense(key, &format!("ended {left} bytes too early")))
                    }
                    (sent, left) if sent > left => {
                        Err(service.nonsense(key, "was longer than announced"))
                    }
                    (sent, left) => Ok(Some((piece, (stream, left - sent)))),
                }
            }
        });
        ByteStream::new(chunks, Some(length))
    }

    /// See [`super::Bucket::remove`].
    pub(super) async fn remove(&self, key: String) -> Result<()> {
        let removed = self.operator.delete(&key).await;
        self.found(removed, &key).map(drop)
    }

    /// See [`super::Bucket::check`].
    pub(super) async fn check(&self, folder: &str) -> Result<()> {
        let options = ListOptions {
            limit: Some(1),
            ..ListOptions::default()
        };
        let path = folder_path(folder);
        let first = self
            .operator
            .lister_options(&path, options)
            .try_flatten_stream()
            .boxed()
            .next()
            .await;
        match first {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(self.listing_error(&error)),
        }
    }

    fn known(&self, metadata: &Metadata, key: &str) -> Result<Stamp> {
        self.stamp(metadata)
            .ok_or_else(|| self.nonsense(key, "has no time of its last change"))
    }

    /// `None` where the answer has no time.
    fn stamp(&self, metadata: &Metadata) -> Option<Stamp> {
        let modified = metadata.last_modified()?.into_inner();
        let text = match self.traits.tag {
            Tag::Etag => metadata.etag(),
            Tag::Generation => metadata.version(),
            // A large object's ETag is quoted and its listing has something else: unknown.
            Tag::Md5 => metadata
                .etag()
                .or_else(|| metadata.content_md5())
                .filter(|text| !text.starts_with('"')),
        };
        Some(Stamp {
            size: metadata.content_length(),
            modified: match self.traits.seconds {
                Seconds::Floor => stamp::floor(modified),
                Seconds::Ceil => stamp::ceil(modified),
            },
            tag: text.map_or(0, stamp::tag),
        })
    }

    /// The result, or `None` where the object does not exist.
    pub(super) fn found<T>(&self, result: opendal::Result<T>, key: &str) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == opendal::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error(&error, key)),
        }
    }

    /// A listing has no object that could be absent.
    fn listing_error(&self, error: &opendal::Error) -> Error {
        match error.kind() {
            opendal::ErrorKind::NotFound => self.place.missing(),
            _ => self.error(error, "its listing"),
        }
    }

    pub(super) fn write_error(&self, error: &opendal::Error, key: &str) -> Error {
        use opendal::ErrorKind as Kind;
        match error.kind() {
            Kind::ConditionNotMatch | Kind::AlreadyExists | Kind::Conflict => self.place.taken(key),
            Kind::NotFound => self.place.missing(),
            _ => self.error(error, key),
        }
    }

    /// What is left after [`Place::judge`]: requests that were never sent and answers that make no sense.
    fn error(&self, error: &opendal::Error, key: &str) -> Error {
        use opendal::ErrorKind as Kind;
        let label = &self.place.label;
        if error.message() == "signing http request"
            || error.message() == "loading credential to sign http request"
        {
            return self.place.without_credentials().with_source(cause(error));
        }
        if let Some(ours) = wire::unwrap(error) {
            return ours;
        }
        match error.kind() {
            Kind::NotFound => Error::not_found(format!("`{key}` does not exist in {label}")),
            Kind::ConditionNotMatch | Kind::AlreadyExists | Kind::Conflict => self.place.taken(key),
            Kind::RangeNotSatisfied => self.outside(key),
            Kind::PermissionDenied => self.place.refused("no").with_source(cause(error)),
            Kind::ConfigInvalid => Error::new(
                ErrorKind::UpstreamUnavailable,
                format!(
                    "{label} is not set up rightly; check `{}` and {}",
                    self.place.bucket_key, self.place.credentials
                ),
            )
            .with_source(cause(error)),
            _ => self
                .nonsense(key, "was answered with nonsense")
                .with_source(cause(error)),
        }
    }

    fn outside(&self, key: &str) -> Error {
        Error::invalid(format!(
            "the range does not lie within `{key}` in {}",
            self.place.label
        ))
    }

    pub(super) fn nonsense(&self, key: &str, what: &str) -> Error {
        Error::unavailable(format!("{}: `{key}` {what}", self.place.label))
    }
}

/// A library's own words, for the log: cut short, because services repeat requests in them.
fn cause(error: &opendal::Error) -> String {
    let mut text: String = error.message().chars().take(200).collect();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(": ");
        text.extend(inner.to_string().chars().take(200));
        source = inner.source();
    }
    text
}

fn folder_path(folder: &str) -> String {
    format!("{folder}/")
}
