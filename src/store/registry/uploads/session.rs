//! One upload: who it belongs to, its spool file, and how far its digests are.
//!
//! ```text
//! <folder>/<id>.json   whose it is and when it began; written once
//! <folder>/<id>.part   the bytes that arrived; its length is the length of the upload
//! ```
//!
//! The spool file is the only state that counts, so that nothing can disagree after a crash: digests are computed while bytes
//! arrive and again from the file where that is not known to be what was hashed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::id::UploadId;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};
use crate::names::TenantPath;
use crate::oci::{self, Algorithm, RepoName};
use crate::store::registry::uploads::cannot_spool;

/// Whose an upload is. For anybody else it does not exist (spec: `BLOB_UPLOAD_UNKNOWN`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    tenant: String,
    name: String,
    subject: String,
}

impl Owner {
    /// An upload into `name` of `tenant` by `subject` (empty: a stranger).
    pub fn new(tenant: &TenantPath, name: &RepoName, subject: &str) -> Self {
        Self {
            tenant: tenant.as_str().to_owned(),
            name: name.as_str().to_owned(),
            subject: subject.to_owned(),
        }
    }

    /// The tenant's path.
    pub(super) fn tenant(&self) -> &str {
        &self.tenant
    }
}

/// What is written beside the spool file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    #[serde(flatten)]
    owner: Owner,
    started: Timestamp,
    /// Only where the client said that it will not be sha256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    algorithm: Option<String>,
}

/// One upload.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: UploadId,
    pub(super) owner: Owner,
    pub(super) started: Timestamp,
    note: PathBuf,
    part: PathBuf,
    /// Bytes in the spool file as far as this process knows.
    length: AtomicU64,
    /// When something was last done with it, in milliseconds.
    touched: AtomicU64,
    /// One at a time writes, and it is as long there as one of its steps is under way.
    busy: Arc<Semaphore>,
    /// The disk could not keep bytes of it. They may be gone whatever a later sync says.
    spoilt: AtomicBool,
    hashes: Mutex<Hashes>,
}

/// Digests of the first `upto` bytes.
#[derive(Debug)]
struct Hashes {
    upto: u64,
    sha256: Hasher,
    /// Where it is already known that it will be asked for.
    sha512: Option<oci::Hasher>,
    /// What the file looked like when this process last let go of it.
    seen: Option<Look>,
}

/// Tells whether somebody else wrote into a file.
type Look = (u64, i64, i64);

impl Hashes {
    fn new(wants_sha512: bool) -> Self {
        Self {
            upto: 0,
            sha256: Hasher::default(),
            sha512: wants_sha512.then(|| oci::Hasher::new(Algorithm::Sha512)),
            seen: None,
        }
    }

    fn restart(&mut self) {
        *self = Self::new(self.sha512.is_some());
    }

    fn add(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
        self.upto += bytes.len() as u64;
    }
}

/// The right to change an upload; for one at a time, in this process and in others.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) session: Arc<Session>,
    file: File,
    _permit: OwnedSemaphorePermit,
}

impl Session {
    /// Begins an upload. Blocking.
    pub(super) fn begin(
        folder: &Path,
        id: UploadId,
        owner: Owner,
        algorithm: Option<Algorithm>,
        now: Timestamp,
    ) -> Result<Self> {
        let sha512 = algorithm == Some(Algorithm::Sha512);
        let this = Self::new(folder, id, owner, now, sha512, (0, now));
        let note = Note {
            owner: this.owner.clone(),
            started: now,
            algorithm: algorithm.map(|algorithm| algorithm.as_str().to_owned()),
        };
        let text = serde_json::to_vec(&note)
            .map_err(|error| Error::internal("an upload cannot be written down", error))?;
        fs::create_dir_all(folder)
            .and_then(|()| File::create_new(&this.part).map(drop))
            .and_then(|()| fs::write(&this.note, text))
            .map_err(|error| {
                this.discard();
                cannot_spool(error)
            })?;
        Ok(this)
    }

    /// Finds an upload that an earlier process, or another one, began. `None`: there is none. Blocking.
    pub(super) fn find(folder: &Path, id: UploadId) -> Option<Self> {
        let text = fs::read(folder.join(format!("{id}.json"))).ok()?;
        let note: Note = serde_json::from_slice(&text).ok()?;
        let part = fs::symlink_metadata(folder.join(format!("{id}.part"))).ok()?;
        if !part.is_file() {
            return None;
        }
        let touched = Timestamp::new(part.mtime(), 0).unwrap_or(note.started);
        let sha512 = note.algorithm.as_deref() == Some(Algorithm::Sha512.as_str());
        let state = (part.len(), touched);
        Some(Self::new(
            folder,
            id,
            note.owner,
            note.started,
            sha512,
            state,
        ))
    }

    fn new(
        folder: &Path,
        id: UploadId,
        owner: Owner,
        started: Timestamp,
        wants_sha512: bool,
        (length, touched): (u64, Timestamp),
    ) -> Self {
        Self {
            id,
            owner,
            started,
            note: folder.join(format!("{id}.json")),
            part: folder.join(format!("{id}.part")),
            length: AtomicU64::new(length),
            touched: AtomicU64::new(millis(touched)),
            busy: Arc::new(Semaphore::new(1)),
            spoilt: AtomicBool::new(false),
            hashes: Mutex::new(Hashes::new(wants_sha512)),
        }
    }

    /// How many bytes have arrived.
    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::SeqCst)
    }

    /// When something was last done with it.
    pub(super) fn touched(&self) -> Timestamp {
        let millis = self.touched.load(Ordering::SeqCst);
        Timestamp::from_millisecond(i64::try_from(millis).unwrap_or(i64::MAX))
            .unwrap_or(self.started)
    }

    pub(super) fn touch(&self, now: Timestamp) {
        self.touched.store(millis(now), Ordering::SeqCst);
    }

    /// Whether somebody is writing into it in this process.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.available_permits() == 0
    }

    /// The length as the file has it: another process may have written since, or while nobody was looking. Blocking.
    pub(super) fn look(&self) -> Result<u64> {
        match fs::symlink_metadata(&self.part) {
            Ok(metadata) => {
                if !self.is_busy() {
                    self.length.store(metadata.len(), Ordering::SeqCst);
                }
                Ok(self.length())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown()),
            Err(error) => Err(cannot_spool(error)),
        }
    }

    /// Takes the right to change it. Errors: `Conflict` while somebody else has it; `NotFound` if it is gone. Blocking.
    pub(super) fn write(self: &Arc<Self>) -> Result<Writer> {
        let permit = Arc::clone(&self.busy)
            .try_acquire_owned()
            .map_err(|_| busy())?;
        let file = match OpenOptions::new().read(true).write(true).open(&self.part) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unknown()),
            Err(error) => return Err(cannot_spool(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            // A process that is being replaced still reads its last requests.
            Err(TryLockError::WouldBlock) => return Err(busy()),
            // File systems without locks: within this process the permit is enough.
            Err(TryLockError::Error(_)) => {}
        }
        if self.spoilt.load(Ordering::SeqCst) {
            return Err(Error::internal(
                "the disk lost bytes of this upload; start a new one",
                io::Error::from(io::ErrorKind::InvalidData),
            ));
        }
        let metadata = file.metadata().map_err(cannot_spool)?;
        let (file, metadata) = match metadata.nlink() {
            // Somebody removed it between the two calls.
            0 => return Err(unknown()),
            1 => (file, metadata),
            // It became a blob, and its last request failed after that: the blob's bytes must not be added to.
            _ => {
                let copy = self.copy().map_err(cannot_spool)?;
                let metadata = copy.metadata().map_err(cannot_spool)?;
                (copy, metadata)
            }
        };
        self.length.store(metadata.len(), Ordering::SeqCst);
        let mut hashes = self.hashes();
        if hashes.seen != Some(appearance(&metadata)) || hashes.upto > metadata.len() {
            hashes.restart();
            // Another process went on with it.
            if let Ok(written) = Timestamp::new(metadata.mtime(), 0) {
                self.touched.fetch_max(millis(written), Ordering::SeqCst);
            }
        }
        drop(hashes);
        Ok(Writer {
            session: Arc::clone(self),
            file,
            _permit: permit,
        })
    }

    /// Gives the spool file bytes of its own. The caller has the right to write. Blocking.
    fn copy(&self) -> io::Result<File> {
        let path = self.part.with_extension("new");
        fs::copy(&self.part, &path)?;
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        // On file systems without locks the permit has to do.
        let _ = file.try_lock();
        fs::rename(&path, &self.part)?;
        Ok(file)
    }

    /// Removes it. Blocking.
    pub(super) fn discard(&self) {
        for path in [&self.note, &self.part] {
            match fs::remove_file(path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "an upload's file cannot be removed");
                }
            }
        }
    }

    /// The spool file.
    pub(super) fn part(&self) -> &Path {
        &self.part
    }

    fn hashes(&self) -> std::sync::MutexGuard<'_, Hashes> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What it takes to go back to before an append.
#[derive(Debug)]
pub(super) struct Mark {
    length: u64,
    hashes: (u64, Hasher, Option<oci::Hasher>),
}

impl Writer {
    pub(super) fn mark(&self) -> Mark {
        let hashes = self.session.hashes();
        Mark {
            length: self.session.length(),
            hashes: (hashes.upto, hashes.sha256.clone(), hashes.sha512.clone()),
        }
    }

    /// Undoes everything since `mark`. Blocking.
    pub(super) fn go_back(&self, mark: Mark) -> Result<()> {
        self.file.set_len(mark.length).map_err(cannot_spool)?;
        self.session.length.store(mark.length, Ordering::SeqCst);
        let mut hashes = self.session.hashes();
        (hashes.upto, hashes.sha256, hashes.sha512) = mark.hashes;
        Ok(())
    }

    /// Adds bytes to the file. After an error the file may hold some of them. Blocking.
    pub(super) fn add(&self, pieces: &[Bytes]) -> Result<()> {
        for piece in pieces {
            let at = self.session.length();
            self.file.write_all_at(piece, at).map_err(cannot_spool)?;
            let end = at + piece.len() as u64;
            self.session.length.store(end, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Hashes bytes that are added meanwhile, unless what precedes them is not hashed yet. Blocking.
    pub(super) fn hash(&self, at: u64, pieces: &[Bytes]) {
        let mut hashes = self.session.hashes();
        if hashes.upto == at {
            pieces.iter().for_each(|piece| hashes.add(piece));
        }
    }

    /// Makes what is written so far durable. A failure spoils the upload: the system tells it once, and the next call would
    /// say that all is well. Blocking.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| {
            self.session.spoilt.store(true, Ordering::SeqCst);
            cannot_spool(error)
        })
    }

    /// Remembers that the file is as this process left it. Blocking.
    pub(super) fn let_go(&self) {
        if let Ok(metadata) = self.file.metadata() {
            self.session.hashes().seen = Some(appearance(&metadata));
        }
    }

    /// The digests of the whole file: its sha256, and `wanted` where that is another one. Reads what was not hashed while it
    /// arrived. Blocking.
    pub(super) fn digests(&self, wanted: Algorithm) -> Result<(Digest, oci::Digest)> {
        let length = self.session.length();
        let mut hashes = self.session.hashes();
        if wanted == Algorithm::Sha512 && hashes.sha512.is_none() {
            // Nobody had said so before: all of it is read again, and hashed at once in both ways.
            *hashes = Hashes::new(true);
        }
        if hashes.upto > length {
            hashes.restart();
        }
        let mut piece = vec![0; PIECE];
        let mut rest = Rest {
            file: &self.file,
            at: hashes.upto,
            end: length,
        };
        loop {
            let count = rest.read(&mut piece).map_err(cannot_spool)?;
            if count == 0 {
                break;
            }
            hashes.add(&piece[..count]);
        }
        let sha256 = hashes.sha256.clone().finish();
        let digest = match (wanted, &hashes.sha512) {
            (Algorithm::Sha512, Some(hasher)) => hasher.clone().finish(),
            (Algorithm::Sha256 | Algorithm::Sha512, _) => sha256.into(),
        };
        Ok((sha256, digest))
    }
}

/// A part of a file; shorter than promised is an error.
struct Rest<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl io::Read for Rest<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = left.min(into.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(&mut into[..most], self.at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += count as u64;
        Ok(count)
    }
}

fn appearance(metadata: &fs::Metadata) -> Look {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or_default()
}

/// What everybody is told who asks for an upload that is not there, or not his.
pub(super) fn unknown() -> Error {
    Error::not_found("there is no such upload; start a new one")
}

fn busy() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "the upload is being written by another request; wait for its end, then ask where to go on",
    )
}

/// How much is read at once.
const PIECE: usize = 1 << 20;
