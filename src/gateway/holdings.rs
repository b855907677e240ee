//! The hosted stores that are open, by path, each with its watch.
//!
//! Successive configurations that keep uploads in the same place share them, so that a folder has one writer in this process
//! also while an old configuration still answers its last requests, and whether a tenant has its own key or fits a pattern.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OnceCell, oneshot};
use tracing::warn;

use super::slots::{Slot, Slots};
use super::{Progress, Shared, parts};
use crate::config::Config;
use crate::error::Result;
use crate::names::TenantPath;
use crate::repository::Group;
use crate::repository::hosted::HostedRepository;
use crate::store::Hosted;

/// How often hosted folders are looked at for files that others put there.
const FOLDER_CHECK: Duration = Duration::from_secs(1);

/// All of them.
pub(super) type Holdings = Slots<Holding>;

/// A hosted store that is open, or being opened. Its watch ends with it, and saves then what is pending.
#[derive(Debug, Default)]
pub(super) struct Holding {
    opened: OnceCell<Opened>,
    /// The indexes that show what is in it: several while one configuration takes over from another.
    readers: Mutex<Vec<Weak<Group>>>,
}

#[derive(Debug)]
struct Opened {
    store: Arc<Hosted>,
    repository: Arc<HostedRepository>,
    /// The watch waits for its end.
    _watched: oneshot::Sender<()>,
}

/// A store in use: as long as this lives, it is not closed.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) store: Arc<Hosted>,
    pub(super) repository: Arc<HostedRepository>,
    holding: Arc<Holding>,
}

impl Held {
    /// Opens the store of `path`; everybody who asks for it at the same time waits for one opening.
    pub(super) async fn open(
        holdings: &Holdings,
        path: &TenantPath,
        config: &Config,
        shared: &Shared,
        progress: &Progress,
    ) -> Result<Self> {
        let holding = holdings.take(path, Holding::default);
        let opened = holding
            .opened
            .get_or_try_init(|| async {
                let store = parts::open_store(path, config, shared, progress).await?;
                let (watched, closed) = oneshot::channel();
                let watch = store.clone().watch(FOLDER_CHECK, async {
                    let _ = closed.await;
                });
                tokio::spawn(watch);
                Ok::<_, crate::error::Error>(Opened {
                    repository: Arc::new(HostedRepository::new(
                        store.clone(),
                        shared.cache.clone(),
                    )),
                    store,
                    _watched: watched,
                })
            })
            .await?;
        Ok(Self {
            store: opened.store.clone(),
            repository: opened.repository.clone(),
            holding: holding.clone(),
        })
    }

    /// Notes that `group` shows what is in the store. Before its first publishing, so that no change falls in between.
    pub(super) fn is_shown_by(&self, group: &Arc<Group>) {
        let mut readers = self.holding.readers();
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Arc::downgrade(group));
    }

    /// Makes every index that shows the store show what is in it now.
    ///
    /// Also those of a configuration that takes over at this moment: what was acknowledged by the old one must be seen by
    /// whoever asks the new one next.
    pub(super) async fn publish(&self) -> Result<()> {
        let readers: Vec<_> = self
            .holding
            .readers()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for reader in readers {
            reader.publish().await?;
        }
        Ok(())
    }

    /// Whether nothing is kept here, as far as is known.
    pub(super) fn is_vacant(&self) -> bool {
        self.store.is_empty()
    }
}

impl Holding {
    fn readers(&self) -> MutexGuard<'_, Vec<Weak<Group>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is pending to disk.
    pub(super) async fn flush(&self) {
        let Some(opened) = self.opened.get() else {
            return;
        };
        if let Err(error) = opened.store.flush().await {
            warn!(error = %error.chain(), "cannot save the state of a hosted store; the next start reads it again: {error}");
        }
    }
}

impl Slot for Holding {
    /// Uploads run to their end when their client has gone, and hold the store alone.
    fn is_needed(&self) -> bool {
        // Ours, that of the repository and that of the watch.
        const OWN: usize = 3;
        self.opened
            .get()
            .is_some_and(|opened| Arc::strong_count(&opened.store) > OWN)
    }
}
