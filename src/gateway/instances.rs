//! Tenants of patterns, made when they are first used.
//!
//! ```text
//! no uploads are taken             -> the pattern's blank tenant under the asked path
//! reading where there is no folder -> the same: nothing is opened
//! reading, nothing held            -> the same, with the store beside it
//! reading what is held, or writing -> a tenant with an index of its own, until it holds nothing and nobody uses it
//! ```
//!
//! The gate has decided about permission and rate before anything here is asked.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};

use super::holdings::Held;
use super::pattern::Pattern;
use super::slots::{Slot, Slots};
use super::{Gateway, Tenant};
use crate::config::{Action, Config};
use crate::error::{Error, Result};
use crate::names::TenantPath;
use crate::store::Freshness;

/// How many stores of patterns are opened at a time.
const OPENINGS: usize = 16;
/// How long a reader waits for the first listing of a store. Longer ones are waited for by the index itself, which says why.
const FIRST_LISTING: Duration = Duration::from_secs(20);

/// Those that are open.
#[derive(Debug)]
pub(super) struct Instances {
    slots: Slots<Instance>,
    openings: Semaphore,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Instance {
    held: Held,
    tenant: OnceCell<Arc<Tenant>>,
}

impl Instances {
    pub(super) fn new() -> Self {
        Self {
            slots: Slots::new(),
            openings: Semaphore::new(OPENINGS),
        }
    }

    /// Those that hold something.
    pub(super) fn tenants(&self) -> Vec<Arc<Tenant>> {
        let slots = self.slots.all().into_iter();
        slots
            .filter_map(|(_, slot)| slot.tenant.get().cloned())
            .filter(|tenant| !tenant.is_vacant())
            .collect()
    }

    /// Closes what nobody needs.
    pub(super) fn look_over(&self) {
        self.slots.look_over();
    }
}

impl Instance {
    fn of(held: &Held) -> Self {
        Self {
            held: held.clone(),
            tenant: OnceCell::new(),
        }
    }
}

impl Slot for Instance {
    fn is_needed(&self) -> bool {
        let used = self
            .tenant
            .get()
            .is_some_and(|tenant| Arc::strong_count(tenant) > 1);
        used || !self.held.is_vacant()
    }
}

impl Gateway {
    /// The tenant at `path`, which fits `pattern`, for doing `action` there.
    pub(super) async fn instance(
        &self,
        pattern: &Arc<Pattern>,
        path: &TenantPath,
        action: Action,
    ) -> Result<Arc<Tenant>> {
        let Some(rules) = &pattern.config.hosted else {
            return Ok(Arc::new(pattern.blank.under(path.clone(), None)));
        };
        let open = self.instances.slots.get(path.as_str());
        if let Some(tenant) = open.as_ref().and_then(|open| open.tenant.get()) {
            return Ok(tenant.clone());
        }
        let reads_alike = action == Action::Pull && pattern.shares_its_index();
        if reads_alike && open.is_none() && has_no_folder(&self.config, path).await {
            return Ok(Arc::new(pattern.blank.under(path.clone(), None)));
        }
        let held = {
            let _one_of_few = self
                .instances
                .openings
                .acquire()
                .await
                .expect("it is never closed");
            let progress: super::Progress = Arc::new(|_, _| {});
            Held::open(&self.holdings, path, &self.config, &self.shared, &progress).await?
        };
        if reads_alike && holds_nothing(&held).await {
            let part = super::HostedPart {
                store: held.store.clone(),
                repository: held.repository.clone(),
                rules: rules.clone(),
            };
            return Ok(Arc::new(
                pattern.blank.under(path.clone(), Some((part, held))),
            ));
        }
        let instance = self.instances.slots.take(path, || Instance::of(&held));
        let tenant = instance
            .tenant
            .get_or_try_init(|| async {
                let tenant =
                    Tenant::of_pattern(pattern, path.clone(), &held, &self.config, &self.shared);
                tenant.charts().publish().await?;
                Ok::<_, Error>(Arc::new(tenant))
            })
            .await?;
        Ok(tenant.clone())
    }

    /// Takes over from `previous` what is open and still the same; the stores of the rest stay open.
    pub(super) fn adopt(&self, previous: &Self) {
        if !Arc::ptr_eq(&self.holdings, &previous.holdings) {
            return;
        }
        for (path, old) in previous.instances.slots.all() {
            let exact = self.tenants.contains_key(&path);
            let Some((pattern, _)) = self.patterns.find(path.as_str()).filter(|_| !exact) else {
                continue;
            };
            if pattern.config.hosted.is_none() {
                continue;
            }
            let same = previous
                .patterns
                .find(path.as_str())
                .is_some_and(|(old, _)| self.is_same(pattern, old, previous));
            let instance = Instance::of(&old.held);
            if let Some(tenant) = old.tenant.get().filter(|_| same) {
                // Just made, so it is empty.
                let _ = instance.tenant.set(tenant.clone());
            }
            self.instances.slots.take(&path, || instance);
        }
    }

    /// Whether tenants of `new` look like those that `previous` made of `old`.
    fn is_same(&self, new: &Pattern, old: &Pattern, previous: &Self) -> bool {
        let sources = new.config.charts.iter().all(|member| {
            let of = |gateway: &Self| gateway.upstreams.get(&member.upstream).map(Arc::as_ptr);
            of(self) == of(previous)
        });
        sources
            && new.pattern == old.pattern
            && new.config == old.config
            && self.config.server.context_path == previous.config.server.context_path
            && self.config.museum.strict == previous.config.museum.strict
    }
}

/// Whether uploads are kept in folders, and `path` has none: one look, where opening a store takes several and a watch.
async fn has_no_folder(config: &Config, path: &TenantPath) -> bool {
    let Some(root) = config.store.root() else {
        return false;
    };
    match tokio::fs::metadata(root.join(path.as_str())).await {
        Ok(metadata) => !metadata.is_dir(),
        Err(error) => matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    }
}

/// Whether there is certainly nothing: what could not be listed may hold anything, and must not look empty.
async fn holds_nothing(held: &Held) -> bool {
    let listed = tokio::time::timeout(FIRST_LISTING, held.store.settled()).await;
    listed.is_ok() && held.store.freshness() != Freshness::Unknown && held.is_vacant()
}
