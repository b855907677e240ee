//! One tenant's part of a bucket, and what is remembered of it so that requests to the bucket stay few.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::already_exists;
use super::place::{Ready, STATEFILE};
use super::publish::OverwritePermission;
use crate::error::{ErrorKind, Result};
use crate::names::TenantPath;
use crate::object::{Bucket, Content, Existing, Opened, Stamp};
use crate::store::scratch::Scratches;

/// One tenant's part of a bucket.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) bucket: Bucket,
    /// The keys' common part, without a slash at its end.
    pub(super) folder: String,
    /// Uploads are spooled on the local disk: nobody can see half an object, and a slow client costs no connection.
    pub(super) scratches: Scratches,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Objects that are no packages: provenance files and whatever others keep there. `None` before the first listing.
    others: Option<HashSet<Arc<str>>>,
    /// Whether ChartMuseum's statefile may be there.
    statefile: StatefileRumour,
    /// Names that were not there a moment ago.
    misses: HashMap<Box<str>, Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StatefileRumour {
    /// Seen, or never looked.
    #[default]
    Possible,
    Absent,
}

impl Shelf {
    pub(super) fn new(bucket: Bucket, tenant: &TenantPath, scratches: Scratches) -> Self {
        Self {
            bucket,
            folder: tenant.as_str().to_owned(),
            scratches,
            memory: Mutex::default(),
        }
    }

    /// The key of a file.
    pub(super) fn key(&self, name: &str) -> String {
        match self.folder.as_str() {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        }
    }

    pub(super) async fn stamp(&self, name: &str) -> Result<Option<Stamp>> {
        self.bucket.stat(&self.key(name)).await
    }

    pub(super) async fn open(&self, name: &str) -> Result<Option<Opened>> {
        self.bucket.read(&self.key(name), None).await
    }

    /// The first bytes of a small file, and its stamp.
    pub(super) async fn text(&self, name: &str, most: u64) -> Result<Option<(Bytes, Stamp)>> {
        let Some(mut opened) = self.open(name).await? else {
            return Ok(None);
        };
        let mut text = Vec::new();
        while let Some(chunk) = opened.body.next().await {
            text.extend_from_slice(&chunk?);
            if text.len() as u64 >= most {
                break;
            }
        }
        Ok(Some((text.into(), opened.stamp)))
    }

    pub(super) async fn put(&self, ready: &Ready, overwrite: OverwritePermission) -> Result<Stamp> {
        let file = ready.spooled.reader()?;
        let content = Content::File(file, ready.spooled.length());
        let existing = match overwrite {
            OverwritePermission::Denied => Existing::Refuse,
            OverwritePermission::Granted => Existing::Replace,
        };
        let key = self.key(&ready.name);
        let stamp = match self.bucket.write(&key, content, existing).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                return Err(already_exists().with_source(error));
            }
            written => written?,
        };
        self.note_there(&ready.name);
        Ok(stamp)
    }

    pub(super) async fn restore(&self, name: &str, text: Vec<u8>) -> Result<()> {
        let content = Content::Bytes(text.into());
        self.bucket
            .write(&self.key(name), content, Existing::Refuse)
            .await?;
        self.note_there(&name.into());
        Ok(())
    }

    pub(super) async fn remove(&self, name: &str) -> Result<()> {
        self.bucket.remove(&self.key(name)).await?;
        if let Some(others) = &mut self.memory().others {
            others.remove(name);
        }
        Ok(())
    }

    /// One request for as long as nobody puts it there again.
    pub(super) async fn drop_statefile(&self) -> Result<()> {
        if self.memory().statefile == StatefileRumour::Absent {
            return Ok(());
        }
        self.remove(STATEFILE).await?;
        self.memory().statefile = StatefileRumour::Absent;
        Ok(())
    }

    /// Takes over what a complete listing showed besides packages. Provenance files that were `touched` meanwhile keep what is
    /// known of them.
    pub(super) fn learn(&self, mut others: HashSet<Arc<str>>, touched: &HashSet<Arc<str>>) {
        let mut memory = self.memory();
        if let Some(known) = &memory.others {
            for name in touched {
                match known.get(name) {
                    Some(name) => others.insert(Arc::clone(name)),
                    None => others.remove(name),
                };
            }
        }
        memory.statefile = match others.remove(STATEFILE) {
            true => StatefileRumour::Possible,
            false => StatefileRumour::Absent,
        };
        memory.others = Some(others);
    }

    /// How many objects there are that are no packages.
    pub(super) fn other_files(&self) -> usize {
        self.memory().others.as_ref().map_or(0, HashSet::len)
    }

    /// Whether the name was not there a moment ago.
    pub(super) fn is_missing(&self, name: &str) -> bool {
        let misses = &self.memory().misses;
        misses.get(name).is_some_and(|at| at.elapsed() < MISS_TTL)
    }

    /// Takes note that there is nothing of this name.
    pub(super) fn note_missing(&self, name: &str) {
        let misses = &mut self.memory().misses;
        if misses.len() >= MAX_MISSES {
            misses.retain(|_, at| at.elapsed() < MISS_TTL);
        }
        if misses.len() < MAX_MISSES {
            misses.insert(name.into(), Instant::now());
        }
    }

    fn note_there(&self, name: &Arc<str>) {
        let mut memory = self.memory();
        memory.misses.remove(&**name);
        if !is_package(name)
            && let Some(others) = &mut memory.others
        {
            others.insert(Arc::clone(name));
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an object of this name is looked into. Other names could never be asked for.
pub(super) fn is_package(name: &str) -> bool {
    name.ends_with(".tgz") && crate::names::FileName::parse(name).is_ok()
}

/// How long "it is not there" is believed: nonsense costs one request in this time, and a version that another replica takes
/// is found at once if nobody asked for it before.
const MISS_TTL: Duration = Duration::from_secs(2);
const MAX_MISSES: usize = 10_000;
