//! Writing: uploads and deletions, durable and visible before they are answered.
//!
//! An archive and its provenance file cannot be exchanged in one step, so the order makes every crash harmless: an old
//! provenance file goes first, then the archive comes, then its provenance file. At no moment does an archive stand beside a
//! provenance file of other bytes.

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::evict::Limits;
use super::package::{Content, Record};
use super::place::Ready;
use super::spool::Spooled;
use super::{Hosted, already_exists, blocking};
use crate::chart::Metadata;
use crate::chart::archive::{self, Strictness};
use crate::chart::provenance::{self, ProvenanceName};
use crate::error::{Error, Result};
use crate::index::Entry;
use crate::names::FileName;
use crate::object::Stamp;
use crate::store::files::cannot_store;

/// A package, and its provenance file if one came with it.
#[derive(Debug)]
pub struct Upload {
    /// The chart archive.
    pub archive: Spooled,
    /// The provenance file; must name the same chart and version, and the archive's digest if it names any.
    pub provenance: Option<Spooled>,
}

/// Whether a chart of this name, with this version, may be stored, asked before anything of it is. The error is what the upload is
/// answered with.
pub type NameCheck = Arc<dyn Fn(&str, &str) -> Result<()> + Send + Sync>;

/// Whether what exists may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverwritePermission {
    /// An existing version is a conflict.
    Denied,
    /// An existing version is replaced.
    Granted,
}

/// An upload that is valid and ready to get its names.
#[derive(Debug)]
struct Checked {
    metadata: Metadata,
    archive: Arc<Ready>,
    provenance: Option<Arc<Ready>>,
}

/// What is there under the names of an upload.
#[derive(Debug)]
struct Present {
    archive: Option<Stamp>,
    provenance: Option<Stamp>,
    /// Whether the version is there, perhaps under another name.
    version: bool,
}

impl Hosted {
    /// Stores a package and returns its entry once every reader on this replica sees it and no crash can undo it.
    ///
    /// A package that is not a valid chart, or a provenance file of another one, is [`crate::error::ErrorKind::Invalid`]; an existing version
    /// [`crate::error::ErrorKind::Conflict`] unless `overwrite` permits it; a full repository [`crate::error::ErrorKind::QuotaExceeded`]. Of several uploads
    /// of one version at a time exactly one wins, also if they go to several replicas of one bucket (and are not the same
    /// bytes). A provenance file of the replaced archive is removed. Cancelling before the last step leaves nothing behind;
    /// cancelling during it lets it finish.
    pub async fn put(
        self: &Arc<Self>,
        upload: Upload,
        overwrite: OverwritePermission,
        limits: Limits,
    ) -> Result<Arc<Entry>> {
        let any: NameCheck = Arc::new(|_, _| Ok(()));
        self.put_if(upload, overwrite, limits, any).await
    }

    /// As [`Hosted::put`], if `may` lets the chart's name through.
    pub async fn put_if(
        self: &Arc<Self>,
        upload: Upload,
        overwrite: OverwritePermission,
        limits: Limits,
        may: NameCheck,
    ) -> Result<Arc<Entry>> {
        let this = Arc::clone(self);
        let permit = Arc::clone(&self.readers).acquire_owned().await;
        let checked = blocking(move || {
            let _permit = permit;
            this.check(upload, &may)
        })
        .await?;
        self.prepare_limits(limits).await?;
        let writer = Arc::clone(&self.writer).lock_owned().await;
        let this = Arc::clone(self);
        finish(async move { this.publish(&writer, &checked, overwrite, limits).await }).await
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
        let any: NameCheck = Arc::new(|_, _| Ok(()));
        self.put_provenance_if(provenance, overwrite, limits, any)
            .await
    }

    /// As [`Hosted::put_provenance`], if `may` lets the chart's name through.
    pub async fn put_provenance_if(
        self: &Arc<Self>,
        provenance: Spooled,
        overwrite: OverwritePermission,
        limits: Limits,
        may: NameCheck,
    ) -> Result<FileName> {
        let this = Arc::clone(self);
        let (name, ready) = blocking(move || {
            let (name, _) = check_provenance(&provenance)?;
            may(&name.name, &name.version)?;
            let ready = this
                .place
                .prepare(provenance, &name.file_name, &this.clock)?;
            Ok((FileName::parse(&name.file_name)?, Arc::new(ready)))
        })
        .await?;
        self.prepare_limits(limits).await?;
        let writer = Arc::clone(&self.writer).lock_owned().await;
        let this = Arc::clone(self);
        finish(async move {
            let _writer = writer;
            let exists = this.place.stamp(&ready.name).await?.is_some();
            if exists && overwrite == OverwritePermission::Denied {
                return Err(already_exists());
            }
            this.admit(usize::from(!exists), limits).await?;
            this.place.drop_statefile().await?;
            this.edits.note(&ready.name);
            this.place.put(&ready, overwrite).await?;
            this.place.sync().await?;
            Ok(name)
        })
        .await
    }

    /// Validates an upload and makes its files ready. Blocking.
    fn check(&self, upload: Upload, may: &NameCheck) -> Result<Checked> {
        let digest = upload.archive.digest();
        let reader = upload.archive.reader()?;
        let chart = archive::read(reader, &archive::Limits::helm(), Strictness::Upload)?;
        let version = chart.metadata.version.to_string();
        may(&chart.metadata.name, &version)?;
        let canonical = format!("{}-{}.tgz", chart.metadata.name, chart.metadata.version);
        FileName::parse(&canonical)
            .map_err(|_| Error::invalid(format!("{canonical:.300} is improperly formatted")))?;
        for warning in &chart.warnings {
            tracing::info!(tenant.name = %self.tenant, "`{canonical}` is taken although {warning}");
        }
        // What could not be listed must not be stored; when it was stored is known afterwards.
        Entry::from_metadata(&chart.metadata, digest, self.clock.now())?;
        let provenance = match upload.provenance {
            None => None,
            Some(spooled) => {
                let (of, text) = check_provenance(&spooled)?;
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
                Some(Arc::new(self.place.prepare(
                    spooled,
                    &wanted,
                    &self.clock,
                )?))
            }
        };
        let archive = self
            .place
            .prepare(upload.archive, &canonical, &self.clock)?;
        Ok(Checked {
            metadata: chart.metadata,
            archive: Arc::new(archive),
            provenance,
        })
    }

    /// Publishes a checked upload. The guard is that of `writer`.
    async fn publish(
        self: &Arc<Self>,
        writer: &OwnedMutexGuard<()>,
        checked: &Checked,
        overwrite: OverwritePermission,
        limits: Limits,
    ) -> Result<Arc<Entry>> {
        let name = &checked.archive.name;
        let old_provenance: Arc<str> = format!("{name}.prov").into();
        let present = self.present(name, &old_provenance).await?;
        let is_taken =
            present.version || (checked.provenance.is_some() && present.provenance.is_some());
        if is_taken && overwrite == OverwritePermission::Denied {
            return Err(already_exists());
        }
        let adds_provenance = checked.provenance.is_some() && present.provenance.is_none();
        let added = usize::from(present.archive.is_none()) + usize::from(adds_provenance);
        self.admit(added, limits).await?;

        self.place.drop_statefile().await?;
        // Even a new file: the kept state may remember one of that name that somebody removed since.
        self.distrust(name).await?;
        let displaced = self.displace(checked, &present, &old_provenance).await?;
        let stamp = match self.place_archive(checked, &present, overwrite).await {
            Ok(stamp) => stamp,
            Err(error) => {
                self.restore(name, &present, &old_provenance, displaced)
                    .await;
                return Err(error);
            }
        };
        let digest = checked.archive.spooled.digest();
        let entry = Entry::from_metadata(&checked.metadata, digest, stamp.modified)?;
        let entry = Arc::new(entry);
        let outcome = self.place_provenance(checked, overwrite).await;
        if outcome.is_err() && !present.version && self.take_back(name).await.is_ok() {
            return outcome.map(|()| entry);
        }
        let content = Content::Package(Arc::clone(&entry));
        let record = Record { stamp, content };
        self.apply(vec![(Arc::clone(name), Some(record))]);
        if let Err(error) = outcome {
            let text = format!(
                "`{name}` is stored and its provenance file is not: {}; upload the provenance file again",
                error.message()
            );
            return Err(Error::new(error.kind(), text).with_source(error));
        }
        if !present.version {
            self.evict(writer, &entry, limits).await;
        }
        Ok(entry)
    }

    /// What is there under the names of an upload. Asks the place: the index may be behind.
    async fn present(&self, name: &str, provenance: &str) -> Result<Present> {
        let (archive, provenance) =
            tokio::try_join!(self.place.stamp(name), self.place.stamp(provenance))?;
        let elsewhere = self
            .catalog()
            .winner(name)
            .is_some_and(|(stored, _)| **stored != *name);
        Ok(Present {
            archive,
            provenance,
            version: archive.is_some() || elsewhere,
        })
    }

    /// Removes a provenance file that may not stand beside the new archive, and gives back its text.
    async fn displace(
        &self,
        checked: &Checked,
        present: &Present,
        name: &Arc<str>,
    ) -> Result<Option<Vec<u8>>> {
        if present.provenance.is_none() {
            return Ok(None);
        }
        let text = self.place.text(name, MAX_PROVENANCE).await?;
        let digest = checked.archive.spooled.digest();
        let fits = |text: &Vec<u8>| {
            // One that names no digest may have been uploaded ahead of its archive, but is not of a second one.
            provenance::speaks_of(text, digest).unwrap_or(!present.version)
        };
        if checked.provenance.is_none() && text.as_ref().is_some_and(fits) {
            return Ok(None);
        }
        self.edits.note(name);
        self.place.remove(name).await?;
        self.place.sync().await?;
        Ok(text)
    }

    /// Gives the archive its name.
    async fn place_archive(
        self: &Arc<Self>,
        checked: &Checked,
        present: &Present,
        overwrite: OverwritePermission,
    ) -> Result<Stamp> {
        let ready = &checked.archive;
        self.edits.note(&ready.name);
        let error = match self.place.put(ready, overwrite).await {
            Ok(stamp) => return Ok(stamp),
            Err(error) => error,
        };
        if !self.place.is_remote() {
            return Err(error);
        }
        // The answer may have been lost and the object be there; then it is looked at like one that somebody else stored.
        let there = self.place.read(&ready.name).await;
        let Ok(there) = there else {
            return Err(error);
        };
        if let Some(record) = &there
            && let Content::Package(entry) = &record.content
            && entry.digest == Some(ready.spooled.digest())
            && present.archive != Some(record.stamp)
        {
            return Ok(record.stamp);
        }
        self.apply(vec![(Arc::clone(&ready.name), there)]);
        Err(error)
    }

    async fn place_provenance(
        &self,
        checked: &Checked,
        overwrite: OverwritePermission,
    ) -> Result<()> {
        if let Some(provenance) = &checked.provenance {
            self.edits.note(&provenance.name);
            self.place.put(provenance, overwrite).await?;
        }
        self.place.sync().await
    }

    /// Removes an archive whose upload will not be answered with success.
    async fn take_back(&self, name: &Arc<str>) -> Result<()> {
        self.edits.note(name);
        self.place.remove(name).await?;
        self.place.sync().await
    }

    /// Puts a displaced provenance file back beside the archive that it is of, after an upload that changed nothing.
    async fn restore(
        &self,
        archive: &str,
        present: &Present,
        name: &Arc<str>,
        displaced: Option<Vec<u8>>,
    ) {
        let Some(text) = displaced else { return };
        let restored = match self.place.stamp(archive).await {
            Ok(stamp) if stamp == present.archive => self.place.restore(name, text).await,
            Ok(_) => return,
            Err(error) => Err(error),
        };
        if let Err(error) = restored {
            tracing::error!(tenant.name = %self.tenant, file = %name, error = %error.chain(), "an upload failed, and `{name}` of the version before it is lost; upload it again");
        }
    }

    /// Takes note, ahead of it, that a file will be replaced or removed.
    pub(super) async fn distrust(self: &Arc<Self>, name: &Arc<str>) -> Result<()> {
        self.edits.note(name);
        let (this, name) = (Arc::clone(self), Arc::clone(name));
        blocking(move || {
            this.keeper.distrust(&name);
            Ok(())
        })
        .await
    }
}

fn check_provenance(spooled: &Spooled) -> Result<(ProvenanceName, Vec<u8>)> {
    if spooled.length() > MAX_PROVENANCE {
        return Err(Error::invalid("invalid provenance file"));
    }
    let mut text = Vec::new();
    io::Read::read_to_end(&mut spooled.reader()?, &mut text).map_err(cannot_store)?;
    Ok((provenance::parse(&text)?, text))
}

/// Runs a change of the place to its end, even if the caller goes away.
pub(super) async fn finish<T: Send + 'static>(
    change: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(change).await.unwrap_or_else(|error| {
        Err(Error::internal(
            "a change of the hosted store was aborted",
            error,
        ))
    })
}

/// Chart.yaml, a list of digests and a signature; real ones have a few kilobytes.
pub(super) const MAX_PROVENANCE: u64 = 1024 * 1024;
