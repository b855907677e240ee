//! Noticing what others do in a bucket: one listing, compared page by page with what is known.
//!
//! Only packages that are new or changed are read. A page is taken over as soon as it is there; names are taken for gone only
//! when a listing has come to its end, so one that breaks off removes nothing.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::StreamExt as _;

use super::Hosted;
use super::edits::Reading;
use super::shelf::{Shelf, is_package};
use crate::error::{Error, Result};

impl Hosted {
    /// Lists the bucket and brings the index up to date. One listing at a time.
    ///
    /// Errors: the listing broke off, or packages could not be read for reasons that may pass; what was seen is shown all the
    /// same. Cancelling loses what was not taken over yet.
    pub(super) async fn list(self: &Arc<Self>, shelf: &Shelf) -> Result<()> {
        let _turn = self.listing.lock().await;
        let reading = self.edits.begin();
        let mut present = HashSet::new();
        let mut others = HashSet::new();
        let mut failure = None;
        let mut pages = shelf.bucket.list(&shelf.folder);
        while let Some(page) = pages.next().await {
            let mut changed = Vec::new();
            for object in page? {
                if !is_package(&object.name) {
                    others.insert(object.name);
                    continue;
                }
                let is_news = !self.knows(&object.name, Some(object.stamp));
                // What we changed since the listing began is newer than the page.
                if is_news && !reading.is_edited(&object.name) {
                    changed.push(Arc::clone(&object.name));
                }
                present.insert(object.name);
            }
            let taken = self.take_in(changed, &reading).await?;
            // What will not pass is reported by its name; it does not make the rest of the index stale.
            failure = taken.failure.filter(Error::is_transient).or(failure);
        }
        self.forget_absent(&present, &reading).await;
        shelf.learn(others, &reading.edited());
        self.note_complete();
        failure.map_or(Ok(()), Err)
    }

    /// The same, unless a look was complete before.
    pub(super) async fn list_once(self: &Arc<Self>, shelf: &Shelf) -> Result<()> {
        if self.sight.was_complete() {
            return Ok(());
        }
        self.list(shelf).await
    }

    /// Takes everything for gone that a complete listing did not show.
    async fn forget_absent(&self, present: &HashSet<Arc<str>>, reading: &Reading) {
        let _writer = self.writer.lock().await;
        let gone: Vec<_> = self
            .catalog()
            .files()
            .map(|(name, _)| name)
            .filter(|name| !present.contains(*name) && !reading.is_edited(name))
            .map(|name| (Arc::clone(name), None))
            .collect();
        self.sightings()
            .unread
            .retain(|name, _| present.contains(name));
        if !gone.is_empty() {
            self.apply(gone);
        }
    }
}
