//! Objects in a bucket or in etcd, behind a key prefix: the one home of opendal.
//!
//! [`Bucket`] is one place; it lists, reads, writes and removes, and turns whatever a service says into our errors. Keys are
//! paths below the prefix, without a slash at either end. Knows nothing about charts, tenants or what the objects hold.

mod azblob;
mod build;
mod content;
mod cos;
mod etcd;
mod gcs;
mod oss;
mod place;
mod s3;
mod service;
mod stamp;
mod swift;
mod upload;
mod wire;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};

pub use self::content::Content;
use self::etcd::Etcd;
use self::place::Place;
use self::service::Service;
pub use self::stamp::{Object, Stamp};
use crate::clock::Clock;
use crate::config::ObjectStore;
use crate::error::{Error, Result};
use crate::http::ByteStream;
use crate::net::{Clients, Transport};

/// A place for objects: one bucket, behind one key prefix. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    place: Arc<Place>,
    /// Without slashes at its ends.
    prefix: Arc<str>,
    backend: Backend,
}

/// What happens to an object that has the key already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the writer gets `Conflict`.
    Refuse,
    /// It is replaced.
    Replace,
}

/// An object that is being read.
#[derive(Debug)]
pub struct Opened {
    /// Of the object that `body` comes from.
    pub stamp: Stamp,
    /// The bytes. A body that ends early is an error, never a short body.
    pub body: ByteStream,
}

#[derive(Clone)]
enum Backend {
    Opendal(Service),
    Etcd(Arc<Etcd>),
}

impl Bucket {
    /// The place that `config` names. Does not connect to anything. Must be called inside the runtime that will use it.
    ///
    /// Errors: files that cannot be read or understood, settings that do not fit together.
    pub fn open(config: &ObjectStore, clients: &Clients, clock: &Clock) -> Result<Self> {
        let place = Arc::new(place::of(&config.service));
        let net = Transport::new(
            clients,
            &config.client,
            Arc::clone(&place.label),
            clock.clone(),
        )?;
        Ok(Self {
            prefix: build::prefix(config),
            backend: build::backend(&config.service, Arc::clone(&place), net, clock)?,
            place,
        })
    }

    /// What messages call it: `` s3 bucket `charts` ``.
    pub fn label(&self) -> &str {
        &self.place.label
    }

    /// The objects directly in `folder` (empty: the prefix itself), page by page as they arrive; what lies deeper is left out.
    ///
    /// `folder` has no slash at its ends. A listing that breaks off is an error at the end of the stream, never a short list.
    /// A folder without objects is empty, never an error.
    pub fn list(&self, folder: &str) -> BoxStream<'static, Result<Vec<Object>>> {
        let folder = match self.folder(folder) {
            Ok(folder) => folder,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        match &self.backend {
            Backend::Opendal(service) => service.list(&folder),
            Backend::Etcd(etcd) => Arc::clone(etcd).list(&folder),
        }
    }

    /// What is known of an object without reading it; `None` where there is none.
    pub async fn stat(&self, key: &str) -> Result<Option<Stamp>> {
        let key = self.key(key)?;
        match &self.backend {
            Backend::Opendal(service) => service.stat(key).await,
            Backend::Etcd(etcd) => etcd.stat(&key).await,
        }
    }

    /// Opens an object, or a range of it, for reading; `None` where there is none.
    ///
    /// The stamp and the bytes are of the same object, even while it is being replaced. A range that is empty
    /// or does not lie within the object is `Invalid`.
    pub async fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<Opened>> {
        let key = self.key(key)?;
        if range.as_ref().is_some_and(|range| range.start >= range.end) {
            return Err(Error::invalid(format!(
                "an empty range of `{key}` was asked for"
            )));
        }
        match &self.backend {
            Backend::Opendal(service) => service.read(key, range).await,
            Backend::Etcd(etcd) => etcd.read(&key, range).await,
        }
    }

    /// Writes an object; nothing of it is visible before all of it is. The stamp is what [`Bucket::stat`] and
    /// [`Bucket::list`] will say.
    ///
    /// Errors: `Conflict` where the key is taken and may not be replaced; `TooLarge`. After any other error the object may have
    /// been written all the same: an answer can get lost. Dropping the future leaves the object as it was, or written.
    pub async fn write(&self, key: &str, content: Content, existing: Existing) -> Result<Stamp> {
        let key = self.key(key)?;
        match &self.backend {
            Backend::Opendal(service) => service.write(key, content, existing).await,
            Backend::Etcd(etcd) => etcd.write(&key, content, existing).await,
        }
    }

    /// Removes an object. One that does not exist is removed already.
    pub async fn remove(&self, key: &str) -> Result<()> {
        let key = self.key(key)?;
        match &self.backend {
            Backend::Opendal(service) => service.remove(key).await,
            Backend::Etcd(etcd) => etcd.remove(&key).await,
        }
    }

    /// Whether it can be reached, the credentials are right and the bucket exists.
    pub async fn check(&self) -> Result<()> {
        match &self.backend {
            Backend::Opendal(service) => service.check(&self.prefix).await,
            Backend::Etcd(etcd) => etcd.check(&self.prefix).await,
        }
    }

    /// `key` behind the prefix.
    fn key(&self, key: &str) -> Result<String> {
        if key.is_empty() {
            return Err(Error::invalid("the key of an object must not be empty"));
        }
        self.folder(key)
    }

    fn folder(&self, key: &str) -> Result<String> {
        // Services and the library between would make something else of them, each its own.
        let is_plain = key.is_empty()
            || (key.trim() == key
                && key.split('/').all(|part| !matches!(part, "" | "." | ".."))
                && !key.contains(|c: char| c.is_control()));
        if !is_plain {
            return Err(Error::invalid(format!(
                "`{}` is not the key of an object",
                key.escape_debug()
            )));
        }
        Ok(match (&*self.prefix, key) {
            ("", key) => key.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, key) => format!("{prefix}/{key}"),
        })
    }
}

/// A variable of the environment that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// ChartMuseum takes endpoints without a scheme.
fn with_scheme(endpoint: &str) -> String {
    match endpoint.contains("://") {
        true => endpoint.to_owned(),
        false => format!("https://{endpoint}"),
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.place.label).finish()
    }
}
