//! A filtered view of another repository: chart names by glob, versions by constraint.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Artifact, BrokenFile, ChartRepository, Freshness};
use crate::error::Result;
use crate::index::{Entry, Selection, SourceIndex};

/// `inner`, seen through a selection.
#[derive(Debug)]
pub struct Curated {
    inner: Arc<dyn ChartRepository>,
    selection: Selection,
    /// The last input and output: unchanged charts keep their allocation, so that a merge sees what changed.
    last: Mutex<Option<(Arc<SourceIndex>, Arc<SourceIndex>)>>,
}

impl Curated {
    /// `inner` seen through `selection`; `inner` itself where that lets everything in.
    pub fn build(
        inner: Arc<dyn ChartRepository>,
        selection: Selection,
    ) -> Arc<dyn ChartRepository> {
        if selection.is_identity() {
            return inner;
        }
        Arc::new(Self {
            inner,
            selection,
            last: Mutex::new(None),
        })
    }
}

#[async_trait]
impl ChartRepository for Curated {
    fn label(&self) -> &Arc<str> {
        self.inner.label()
    }

    fn index(&self) -> Arc<SourceIndex> {
        let input = self.inner.index();
        let Ok(mut last) = self.last.lock() else {
            return Arc::new(self.selection.apply(&input, None));
        };
        if let Some((known, output)) = &*last
            && Arc::ptr_eq(known, &input)
        {
            return output.clone();
        }
        let previous = last.as_ref().map(|(input, output)| (&**input, &**output));
        let output = Arc::new(self.selection.apply(&input, previous));
        *last = Some((input, output.clone()));
        output
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes()
    }

    fn broken(&self) -> Vec<BrokenFile> {
        self.inner.broken()
    }

    fn freshness(&self) -> Freshness {
        self.inner.freshness()
    }

    fn failure(&self) -> Option<String> {
        self.inner.failure()
    }

    async fn settled(&self) {
        self.inner.settled().await;
    }

    async fn archive(&self, entry: &Arc<Entry>) -> Result<Artifact> {
        self.inner.archive(entry).await
    }

    async fn provenance(&self, entry: &Arc<Entry>) -> Result<Artifact> {
        self.inner.provenance(entry).await
    }
}
