//! Writing: uploads and deletions, durable and visible before they are answered.
//!
//! An archive and its provenance file cannot be exchanged in one step, so the order makes every crash harmless: an old
//! provenance file goes first, then the archive comes, then its provenance file. At no moment does an archive stand beside a
//! provenance file of other bytes.

use std::io;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::folder::stamp_of;
use super::package::{Content, Record};
use super::spool::{Spooled, cannot_store};
use super::{Hosted, blocking, package};
use crate::chart::archive::{self, Strictness};
use crate::chart::provenance::{self, ProvenanceName};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::index::Entry;
use crate::names::FileName;
use crate::object::Stamp;

/// A package, and its provenance file if one came with it.
#[derive(Debug)]
pub struct Upload {
    /// The chart archive.
    pub archive: Spooled,
    /// The provenance file; must name the same chart and version, and the archive's digest if it names any.
    pub provenance: Option<Spooled>,
}

/// Whether what exists may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverwritePermission {
    /// An existing version is a conflict.
    Denied,
    /// An existing version is replaced.
    Granted,
}

/// How much a repository may hold; zero: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Files in all, whatever they are. An upload that would add one more is [`ErrorKind::QuotaExceeded`].
    pub max_objects: usize,
    /// Versions of one chart. An upload of one more removes the oldest ones by time of upload.
    pub max_versions: usize,
}

/// A spooled file that is synced and ready to get its name.
struct Ready {
    spooled: Spooled,
    name: Arc<str>,
    stamp: Stamp,
}

impl Hosted {
    /// Stores a package and returns its entry once every reader on this replica sees it and no crash can undo it.
    ///
    /// A package that is not a valid chart, or a provenance file of another one, is [`ErrorKind::Invalid`]; an existing version
    /// [`ErrorKind::Conflict`] unless `overwrite` permits it. Of several uploads of one version at a time exactly one wins.
    /// A provenance file of the replaced archive is removed. Cancelling before the last step leaves nothing behind;
    /// cancelling during it lets it finish.
    pub async fn put(
        self: &Arc<Self>,
        upload: Upload,
        overwrite: OverwritePermission,
        limits: Limits,
    ) -> Result<Arc<Entry>> {
        let _ = limits;
        let this = Arc::clone(self);
        let permit = Arc::clone(&self.readers).acquire_owned().await;
        let checked = blocking(move || {
            let _permit = permit;
            this.check(upload)
        })
        .await?;
        let guard = Arc::clone(&self.writer).lock_owned().await;
        let this = Arc::clone(self);
        blocking(move || {
            let (archive, entry, provenance) = checked;
            this.publish(&guard, &archive, &entry, provenance.as_ref(), overwrite)?;
            Ok(entry)
        })
        .await
    }

    /// Stores a provenance file under the name of the chart and version that it names, whether or not that chart is here.
    ///
    /// Errors and cancellation as [`Hosted::put`].
    pub async fn put_provenance(
        self: &Arc<Self>,
        provenance: Spooled,
        overwrite: OverwritePermission,
        limits: Limits,
    ) -> Result<FileName> {
        let _ = limits;
        let this = Arc::clone(self);
        let (name, ready) = blocking(move || {
            let (name, _) = this.check_provenance(&provenance)?;
            Ok((
                FileName::parse(&name.file_name)?,
                this.ready(provenance, &name.file_name)?,
            ))
        })
        .await?;
        let guard = Arc::clone(&self.writer).lock_owned().await;
        let this = Arc::clone(self);
        blocking(move || {
            let _guard = guard;
            this.place(&ready, overwrite)?;
            this.folder.sync().map_err(cannot_store)?;
            Ok(name)
        })
        .await
    }

    /// Removes a version and its provenance file for good. [`ErrorKind::NotFound`] if it is not here.
    ///
    /// The version's text is taken literally. Once begun it runs to its end even if the caller goes away.
    pub async fn delete(self: &Arc<Self>, name: &str, version: &str) -> Result<()> {
        let guard = Arc::clone(&self.writer).lock_owned().await;
        let this = Arc::clone(self);
        let (name, version) = (name.to_owned(), version.to_owned());
        blocking(move || {
            let _guard = guard;
            this.remove(&name, &version)
        })
        .await
    }

    /// Validates an upload and syncs its files.
    fn check(&self, upload: Upload) -> Result<(Ready, Arc<Entry>, Option<Ready>)> {
        let digest = upload.archive.digest();
        let reader = upload.archive.scratch.reader()?;
        let chart = archive::read(reader, &archive::Limits::helm(), Strictness::Upload)?;
        let canonical = format!("{}-{}.tgz", chart.metadata.name, chart.metadata.version);
        FileName::parse(&canonical)
            .map_err(|_| Error::invalid(format!("{canonical:.300} is improperly formatted")))?;
        let provenance = match upload.provenance {
            None => None,
            Some(spooled) => {
                let (of, text) = self.check_provenance(&spooled)?;
                let wanted = format!("{canonical}.prov");
                if of.file_name != wanted {
                    return Err(Error::invalid(format!(
                        "the provenance file is of `{}` `{}`, the chart archive of `{}` `{}`; upload what belongs together",
                        of.name, of.version, chart.metadata.name, chart.metadata.version
                    )));
                }
                if provenance::speaks_of(&text, digest) == Some(false) {
                    return Err(Error::invalid(format!(
                        "the provenance file of `{canonical}` is of other bytes: it does not name {digest}"
                    )));
                }
                Some(self.ready(spooled, &wanted)?)
            }
        };
        let archive = self.ready(upload.archive, &canonical)?;
        let entry = Entry::from_metadata(&chart.metadata, digest, archive.stamp.modified)?;
        Ok((archive, Arc::new(entry), provenance))
    }

    fn check_provenance(&self, spooled: &Spooled) -> Result<(ProvenanceName, Vec<u8>)> {
        if spooled.length() > MAX_PROVENANCE {
            return Err(Error::invalid("invalid provenance file"));
        }
        let mut text = Vec::new();
        io::Read::read_to_end(&mut spooled.scratch.reader()?, &mut text).map_err(cannot_store)?;
        Ok((provenance::parse(&text)?, text))
    }

    /// Gives a file its time, which is the version's `created` also after a restart, and makes its bytes durable.
    fn ready(&self, spooled: Spooled, name: &str) -> Result<Ready> {
        let now = jiff::Timestamp::from_millisecond(self.clock.now().as_millisecond())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let file = &spooled.scratch.file;
        file.set_modified(now.into())
            .and_then(|()| file.sync_all())
            .map_err(cannot_store)?;
        // Read back: the file system may keep less of the time than it was given.
        let stamp = stamp_of(&file.metadata().map_err(cannot_store)?);
        Ok(Ready {
            spooled,
            name: name.into(),
            stamp,
        })
    }

    /// Publishes a checked upload. Blocking; the guard is that of `writer`.
    fn publish(
        &self,
        _writer: &OwnedMutexGuard<()>,
        archive: &Ready,
        entry: &Arc<Entry>,
        provenance: Option<&Ready>,
        overwrite: OverwritePermission,
    ) -> Result<()> {
        let name = Arc::clone(&archive.name);
        let stamp = archive.stamp;
        let digest = archive.spooled.digest();
        let exists = self.catalog().winner(&name).is_some()
            || self.folder.stamp(&name).map_err(cannot_store)?.is_some();
        let old_provenance = format!("{name}.prov");
        let has_provenance = self
            .folder
            .stamp(&old_provenance)
            .map_err(cannot_store)?
            .is_some();
        if overwrite == OverwritePermission::Denied
            && (exists || (provenance.is_some() && has_provenance))
        {
            return Err(already_exists());
        }
        // Even a new file: the kept state may remember one of that name that somebody removed since.
        self.keeper.distrust(&name);
        if has_provenance
            && (provenance.is_some() || !self.provenance_fits(&old_provenance, digest, exists))
        {
            self.folder
                .remove(&old_provenance)
                .and_then(|_| self.folder.sync())
                .map_err(cannot_store)?;
        }
        self.place(archive, overwrite)?;
        let outcome = provenance
            .map_or(Ok(()), |provenance| self.place(provenance, overwrite))
            .and_then(|()| self.folder.sync().map_err(cannot_store));
        if outcome.is_err() && !exists {
            // Not answered with success, so it must not stay; if even that fails, the index shows what is there.
            let removed = self.folder.remove(&name);
            if removed.and_then(|_| self.folder.sync()).is_ok() {
                return outcome;
            }
        }
        let record = Record {
            stamp,
            content: Content::Package(Arc::clone(entry)),
        };
        self.apply(vec![(name, Some(record))]);
        outcome
    }

    fn place(&self, ready: &Ready, overwrite: OverwritePermission) -> Result<()> {
        let scratch = ready.spooled.scratch.path();
        let placed = match overwrite {
            OverwritePermission::Denied => self.folder.publish_new(scratch, &ready.name),
            OverwritePermission::Granted => self.folder.publish_over(scratch, &ready.name),
        };
        placed.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => already_exists(),
            _ => cannot_store(error),
        })
    }

    /// Whether a provenance file that is already there may stay beside an archive with `digest`.
    fn provenance_fits(&self, name: &str, digest: Digest, replaces: bool) -> bool {
        let mut text = Vec::new();
        let read = self.folder.read(name).and_then(|found| match found {
            Some((file, _)) => {
                io::Read::read_to_end(&mut io::Read::take(file, MAX_PROVENANCE), &mut text)
            }
            None => Ok(0),
        });
        // One that names no digest may have been uploaded ahead of its archive, but is not of a second one.
        read.is_ok() && provenance::speaks_of(&text, digest).unwrap_or(!replaces)
    }

    /// Removes a version. Blocking; the caller holds `writer`.
    fn remove(&self, name: &str, version: &str) -> Result<()> {
        let missing = || {
            Error::not_found(format!(
                "chart `{name:.250}` `{version:.250}` is not hosted here"
            ))
        };
        let canonical = format!("{name}-{version}.tgz");
        let canonical = FileName::parse(&canonical).map_err(|_| missing())?;
        let canonical: Arc<str> = canonical.as_str().into();
        // Somebody may have put it there or replaced it a moment ago.
        let stamp = self.folder.stamp(&canonical).map_err(cannot_store)?;
        if !self.knows(&canonical, stamp) {
            let fresh = package::read(&self.folder, &canonical)?;
            self.apply(vec![(Arc::clone(&canonical), fresh)]);
        }
        let files = {
            let catalog = self.catalog();
            let mut files = catalog.holders(&canonical, name, version);
            // What cannot be read can be removed under its own name.
            let is_broken = catalog
                .get(&canonical)
                .is_some_and(|record| matches!(record.content, Content::Broken(_)));
            files.extend(is_broken.then(|| Arc::clone(&canonical)));
            files
        };
        if files.is_empty() {
            return Err(missing());
        }
        let mut gone = Vec::new();
        let mut outcome = Ok(());
        for file in files {
            self.keeper.distrust(&file);
            // The archive goes first: a provenance file alone shows nothing.
            outcome = self
                .folder
                .remove(&file)
                .and_then(|_| {
                    gone.push((Arc::clone(&file), None));
                    self.folder.remove(&format!("{file}.prov"))
                })
                .map(drop);
            if outcome.is_err() {
                break;
            }
        }
        let outcome = outcome.and_then(|()| self.folder.sync());
        self.apply(gone);
        outcome.map_err(cannot_store)
    }
}

fn already_exists() -> Error {
    Error::new(ErrorKind::Conflict, "file already exists")
}

/// Chart.yaml, a list of digests and a signature; real ones have a few kilobytes.
const MAX_PROVENANCE: u64 = 1024 * 1024;
