//! Removing: a version is gone for good when the caller is told so.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::Hosted;
use super::package::Content;
use super::publish::finish;
use crate::error::{Error, Result};
use crate::names::FileName;

impl Hosted {
    /// Removes a version and its provenance file for good. [`crate::error::ErrorKind::NotFound`] if it is not here.
    ///
    /// The version's text is taken literally. Once begun it runs to its end even if the caller goes away.
    pub async fn delete(self: &Arc<Self>, name: &str, version: &str) -> Result<()> {
        let writer = Arc::clone(&self.writer).lock_owned().await;
        let this = Arc::clone(self);
        let (name, version) = (name.to_owned(), version.to_owned());
        finish(async move { this.remove(&writer, &name, &version).await }).await
    }

    /// The same for one who holds `writer`.
    pub(super) async fn remove(
        self: &Arc<Self>,
        _writer: &OwnedMutexGuard<()>,
        name: &str,
        version: &str,
    ) -> Result<()> {
        let missing = || {
            Error::not_found(format!(
                "chart `{name:.250}` `{version:.250}` is not hosted here"
            ))
        };
        let canonical = format!("{name}-{version}.tgz");
        let canonical = FileName::parse(&canonical).map_err(|_| missing())?;
        let canonical: Arc<str> = canonical.as_str().into();
        // Somebody may have put it there or replaced it a moment ago.
        let stamp = self.place.stamp(&canonical).await?;
        if !self.knows(&canonical, stamp) {
            let fresh = self.place.read(&canonical).await?;
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
        self.place.drop_statefile().await?;
        let mut outcome = Ok(());
        for file in files {
            self.distrust(&file).await?;
            // The archive goes first: a provenance file alone shows nothing.
            outcome = self.place.remove(&file).await;
            if outcome.is_err() {
                break;
            }
            self.apply(vec![(Arc::clone(&file), None)]);
            let provenance: Arc<str> = format!("{file}.prov").into();
            self.edits.note(&provenance);
            outcome = self.place.remove(&provenance).await;
            if outcome.is_err() {
                break;
            }
        }
        match outcome {
            Ok(()) => self.place.sync().await,
            failed => failed,
        }
    }
}
