//! A bucket of packages, with or without an index.yaml; read only.
//!
//! With an `index.yaml` below the prefix the bucket is read as a chart repository is: its text is the index, asked for again only
//! when its stamp has changed. Without one, every `*.tgz` directly below the prefix is read once; see `scan.rs`. Which URLs
//! are objects of the bucket is said in `place.rs`; all others are fetched over http as [`super::Helm`] does, without the
//! bucket's credentials.

mod index;
mod kept;
mod pipe;
mod place;
mod scan;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use url::Url;

use self::place::{Place, Reference};
use super::edition::Editions;
use super::files::{HttpFiles, useless};
use super::packages::Packages;
use super::text::TextLimits;
use super::{Download, IndexReply, Notebook, Upstream, Validators, provenance_url};
use crate::clock::Clock;
use crate::config::{self, ObjectStore, Service};
use crate::error::{Error, ErrorKind, Result};
use crate::http::ByteStream;
use crate::metrics::Metrics;
use crate::net::{Client, Clients};
use crate::object::{Bucket, Object, Stamp};

/// A bucket of packages.
pub struct S3 {
    name: Arc<str>,
    bucket: Bucket,
    place: Place,
    is_anonymous: bool,
    /// What the index names elsewhere.
    files: HttpFiles,
    limits: TextLimits,
    metrics: Arc<Metrics>,
    notebook: Arc<dyn Notebook>,
    /// What the last look found. `None`: there was none yet, or the bucket has an index.
    packages: Mutex<Option<Arc<Packages<Object>>>>,
    opened: Editions<Stamp>,
}

impl S3 {
    /// The bucket that `store` names. Must be called inside the runtime that will use it.
    ///
    /// Errors: files of the TLS section that cannot be read or understood, settings that do not fit together.
    pub fn new(
        name: Arc<str>,
        store: &ObjectStore,
        clients: &Clients,
        metrics: Arc<Metrics>,
        clock: &Clock,
        notebook: Arc<dyn Notebook>,
    ) -> Result<Self> {
        let named = |error: Error| renamed(&name, error.kind(), error.message().to_owned(), error);
        let unfit = |what: &str| Error::invalid(format!("upstream `{name}`: {what}"));
        let Service::S3(s3) = &store.service else {
            return Err(unfit("only buckets that speak S3 can be upstreams"));
        };
        let place = Place::new(s3, &store.prefix)
            .ok_or_else(|| unfit("its bucket and prefix do not make a URL"))?;
        let endpoint = s3.endpoint.as_deref().unwrap_or(AMAZON);
        let origin = Url::parse(endpoint).map_err(|_| unfit("`endpoint` is not a URL"))?;
        // The bucket's credentials sign requests to the bucket; nothing else is told them.
        let client = config::Client {
            auth: None,
            ..store.client.clone()
        };
        let client = Client::new(
            clients,
            &client,
            Arc::clone(&name),
            &origin,
            Arc::clone(&metrics),
            clock.clone(),
        )?;
        Ok(Self {
            bucket: Bucket::open(store, clients, clock).map_err(named)?,
            place,
            is_anonymous: s3.anonymous,
            files: HttpFiles::new(Arc::clone(&name), client),
            limits: TextLimits::default(),
            metrics,
            notebook,
            packages: Mutex::default(),
            opened: Editions::default(),
            name,
        })
    }

    /// With other limits for the index.
    #[must_use]
    pub fn with_limits(mut self, limits: TextLimits) -> Self {
        self.limits = limits;
        self
    }

    fn held(&self) -> Option<Arc<Packages<Object>>> {
        let packages = self.packages.lock();
        packages.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hold(&self, packages: Option<Arc<Packages<Object>>>) {
        *self.packages.lock().unwrap_or_else(PoisonError::into_inner) = packages;
    }

    async fn open_object(&self, url: &str, key: &str, offset: u64) -> Result<Download> {
        let changed = || useless(&self.name, "changed an archive while it was being read");
        let file = key.rsplit('/').next().unwrap_or(key);
        let missing = || Error::not_found(format!("upstream `{}` has no {file:.120}", self.name));
        let range = match offset {
            0 => None,
            _ => {
                // What was opened first, or what is there now, says where the bytes end.
                let stamp = match self.opened.recall(url) {
                    Some(stamp) => stamp,
                    None => self
                        .counted(self.bucket.stat(key).await)?
                        .ok_or_else(missing)?,
                };
                if offset >= stamp.size {
                    return Err(changed());
                }
                Some(offset..stamp.size)
            }
        };
        let opened = match self.bucket.read(key, range).await {
            // No key that an object can have, or a range that it does not have any more.
            Err(error) if error.kind() == ErrorKind::Invalid => {
                return Err(if offset == 0 { missing() } else { changed() });
            }
            other => self.counted(other)?.ok_or_else(missing)?,
        };
        match self.opened.recall(url) {
            Some(known) if offset > 0 && !known.agrees(&opened.stamp) => return Err(changed()),
            _ if offset == 0 => self.opened.remember(url, opened.stamp),
            _ => {}
        }
        let name = Arc::clone(&self.name);
        let chunks = opened
            .body
            .stream
            .map(move |chunk| chunk.map_err(|error| named(&name, error)));
        Ok(Download {
            length: Some(opened.stamp.size),
            body: ByteStream::new(chunks, opened.body.length),
        })
    }

    /// Whether the listing of its folder shows an object.
    async fn is_listed(&self, key: &str) -> Result<bool> {
        let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
        let mut pages = self.bucket.list(folder);
        while let Some(page) = pages.next().await {
            let page = self.counted(page.map(Some))?.unwrap_or_default();
            if page.iter().any(|object| *object.name == *name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Counts an answer of the bucket, and names the upstream in its error. The service's own code is not known here: 404 stands
    /// for what does not exist, 403 for every refusal, and whatever else failed for no answer.
    fn counted<T>(&self, answer: Result<Option<T>>) -> Result<Option<T>> {
        let code = match &answer {
            Ok(Some(_)) => Some(200),
            Ok(None) => Some(404),
            Err(error) if error.kind() == ErrorKind::UpstreamUnauthorized => Some(403),
            Err(_) => None,
        };
        self.metrics.upstream_request(&self.name, code);
        answer.map_err(|error| self.named(error))
    }

    fn named(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::UpstreamUnauthorized && self.is_anonymous {
            let message = format!(
                "{} cannot be read without credentials; give them under `upstreams.{}.auth`",
                self.bucket.label(),
                self.name
            );
            return renamed(&self.name, error.kind(), message, error);
        }
        named(&self.name, error)
    }
}

#[async_trait]
impl Upstream for S3 {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    async fn fetch_index(&self, held: Option<&Validators>) -> Result<IndexReply> {
        match self.find_index().await? {
            Some(stamp) => {
                self.hold(None);
                self.text(stamp, held).await
            }
            None => self.scan(held).await,
        }
    }

    /// Reads no packages but one: there may be thousands.
    async fn check(&self) -> Result<String> {
        match self.find_index().await? {
            Some(stamp) => Ok(self.text(stamp, None).await?.summary()),
            None => {
                let packages = self.count_packages().await?;
                Ok(format!("{packages} packages without an index"))
            }
        }
    }

    async fn open(&self, url: &str, offset: u64) -> Result<Download> {
        let parsed = Url::parse(url).map_err(|error| {
            useless(
                &self.name,
                "has an index entry whose URL cannot be understood",
            )
            .with_source(error)
        })?;
        match self.place.find(&parsed) {
            Reference::Object(key) => self.open_object(url, &key, offset).await,
            Reference::Elsewhere => self.files.open(url, offset).await,
            Reference::OutsidePrefix => Err(Error::not_found(format!(
                "upstream `{}` names an object that is not below its prefix, which is not read",
                self.name
            ))),
            Reference::OtherBucket => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "upstream `{}` names an object of another bucket, which is not supported; give that bucket an upstream of its own",
                    self.name
                ),
            )),
        }
    }

    async fn open_provenance(&self, url: &str) -> Result<Download> {
        let url = provenance_url(url);
        let refused = match self.open(&url, 0).await {
            Err(error) if error.kind() == ErrorKind::UpstreamUnauthorized => error,
            other => return other,
        };
        // As for the index: few charts are signed, and S3 does not say "absent" to those who may not list. A listing that can be
        // had tells; otherwise the refusal carries no information.
        let Some(Reference::Object(key)) = Url::parse(&url).ok().map(|url| self.place.find(&url))
        else {
            return Err(refused);
        };
        match self.is_listed(&key).await {
            Ok(false) => Err(Error::not_found(format!(
                "upstream `{}` has no {:.120}",
                self.name,
                key.rsplit('/').next().unwrap_or(&key)
            ))),
            Ok(true) | Err(_) => Err(refused),
        }
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("name", &self.name)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

/// A failure of the bucket as one of the upstream: whatever is neither about credentials nor about the object tells nothing.
fn named(upstream: &str, error: Error) -> Error {
    let kind = match error.kind() {
        kind @ (ErrorKind::UpstreamUnauthorized | ErrorKind::Internal) => kind,
        _ => ErrorKind::UpstreamUnavailable,
    };
    if error.message().starts_with("upstream `") {
        return error;
    }
    renamed(upstream, kind, error.message().to_owned(), error)
}

fn renamed(upstream: &str, kind: ErrorKind, mut message: String, error: Error) -> Error {
    let after = error.retry_after();
    message.insert_str(0, &format!("upstream `{upstream}`: "));
    let renamed = Error::new(kind, message).with_source(error);
    match after {
        Some(after) => renamed.with_retry_after(after),
        None => renamed,
    }
}

const AMAZON: &str = "https://s3.amazonaws.com";
