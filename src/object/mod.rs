//! Objects in a bucket or in etcd, behind a key prefix: the one home of opendal.
//!
//! [`Bucket`] is one place; it lists, reads, writes and removes, and turns whatever a service says into our errors. Keys are
//! paths below the prefix, without a slash at either end. Knows nothing about charts, tenants or what the objects hold.

mod stamp;

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;

pub use self::stamp::{Object, Stamp};
use crate::clock::Clock;
use crate::config::ObjectStore;
use crate::error::{Error, Result};
use crate::http::ByteStream;
use crate::net::Clients;

/// A place for objects: one bucket, behind one key prefix. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    label: Arc<str>,
}

/// What is written.
#[derive(Debug)]
pub enum Content {
    /// Bytes in memory.
    Bytes(Bytes),
    /// The first so many bytes of a file.
    File(File, u64),
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

impl Bucket {
    /// The place that `config` names. Does not connect to anything. Must be called inside the runtime that will use it.
    ///
    /// Errors: files that cannot be read or understood, settings that do not fit together.
    pub fn open(config: &ObjectStore, clients: &Clients, clock: &Clock) -> Result<Self> {
        let _ = (config, clients, clock);
        Err(Error::invalid("object stores cannot be opened yet"))
    }

    /// What messages call it: `` s3 bucket `charts` ``.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The objects directly in `folder` (empty: the prefix itself), page by page as they arrive; what lies deeper is left out.
    ///
    /// `folder` has no slash at its ends. A listing that breaks off is an error at the end of the stream, never a short list.
    /// A folder without objects is empty, never an error.
    pub fn list(&self, folder: &str) -> BoxStream<'static, Result<Vec<Object>>> {
        let _ = folder;
        Box::pin(futures_util::stream::empty())
    }

    /// What is known of an object without reading it; `None` where there is none.
    pub async fn stat(&self, key: &str) -> Result<Option<Stamp>> {
        Err(self.unavailable(key))
    }

    /// Opens an object, or a range of it, for reading; `None` where there is none.
    pub async fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<Opened>> {
        let _ = range;
        Err(self.unavailable(key))
    }

    /// Writes an object; nothing of it is visible before all of it is. The stamp is what [`Bucket::stat`] and
    /// [`Bucket::list`] will say.
    ///
    /// Errors: `Conflict` where the key is taken and may not be replaced.
    pub async fn write(&self, key: &str, content: Content, existing: Existing) -> Result<Stamp> {
        let _ = (content, existing);
        Err(self.unavailable(key))
    }

    /// Removes an object. One that does not exist is removed already.
    pub async fn remove(&self, key: &str) -> Result<()> {
        Err(self.unavailable(key))
    }

    /// Whether it can be reached, the credentials are right and the bucket exists.
    pub async fn check(&self) -> Result<()> {
        Err(self.unavailable(""))
    }

    fn unavailable(&self, key: &str) -> Error {
        Error::unavailable(format!("{} is not reachable for `{key}`", self.label))
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.label).finish()
    }
}
