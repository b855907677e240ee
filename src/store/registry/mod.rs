//! Hosted registries: images, charts and other artifacts that users pushed, in a folder or in a bucket.
//!
//! [`RegistryStore`] is one place with the bytes of all tenants, each content once; [`HostedRegistry`] is one tenant's part of
//! it: repositories, each with the links that say what it shows, tags and referrers. Having a digest's bytes gives nobody the
//! right to read them: only a link does. The place is the truth; what is known of it is held in memory and believed for a
//! while, and a look-up that misses looks into the place before it says so. See `layout.rs` for what lies where.

mod blobs;
mod catalog;
mod collect;
mod doom;
mod folder;
mod layout;
mod links;
mod manifests;
mod marks;
mod place;
mod quota;
mod recent;
mod referrers;
mod remove;
mod repo;
mod repos;
mod tags;
mod uploads;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use self::folder::Folder;
use self::place::Place;
use self::quota::Ledger;
use self::recent::Recent;
use self::repos::Repos;
use super::hosted::Parts;
use crate::clock::Clock;
use crate::config;
use crate::error::Result;
use crate::names::TenantPath;
use crate::store::files::blocking;

pub use self::blobs::{BlobContent, BlobObject, StoredBlob};
pub use self::collect::{Broken, Collected, Removed, Rules, Step, Tally, TenantShare};
pub use self::links::{Mounted, Received};
pub use self::manifests::{Pushed, StoredManifest, Target};
pub use self::quota::Usage;
pub use self::uploads::{Bound, Owner, Random, Room, Stored, UploadId, Uploads};

/// One place that holds the hosted registries of all tenants. One per process and place: writers of one repository exclude each
/// other only within it.
#[derive(Debug)]
pub struct RegistryStore {
    place: Place,
    clock: Clock,
    /// How long what is known is believed; `None`: for ever.
    trust: Option<Duration>,
    recent: Recent,
    /// Blobs on their way in.
    pub(super) uploads: Arc<Uploads>,
    /// Tenants that somebody holds.
    tenants: Mutex<HashMap<TenantPath, Weak<Tenant>>>,
}

/// What is known of one tenant, whatever its settings are now.
#[derive(Debug)]
pub(super) struct Tenant {
    path: TenantPath,
    /// The tenant in keys.
    segment: String,
    repos: Repos,
    ledger: tokio::sync::Mutex<Ledger>,
}

/// One tenant's hosted registry.
///
/// Whatever changes something runs to its end once it has begun, also if the caller goes away.
#[derive(Debug)]
pub struct HostedRegistry {
    store: Arc<RegistryStore>,
    tenant: Arc<Tenant>,
    settings: config::HostedRegistry,
    deletes: bool,
}

impl RegistryStore {
    /// Opens the place of `store`. Makes nothing there, asks a bucket for nothing. Must be called inside the runtime that uses it.
    ///
    /// `parts.state_dir` is as for charts; uploads to a bucket are spooled in `uploads` beside the folder around it.
    pub async fn open(store: &config::Store, parts: Parts<'_>) -> Result<Arc<Self>> {
        let clock = parts.clock;
        let (place, trust, spool) = match &store.place {
            config::Place::Folder(root) => {
                let spool = root.join(layout::UPLOADS);
                let (root, clock) = (root.clone(), clock.clone());
                let open = move || Ok(Folder::open(&root, clock));
                let folder = Arc::new(blocking(open).await?);
                (Place::Folder(folder), FOLDER_TRUST, spool)
            }
            config::Place::Objects(objects) => {
                let bucket = parts.places.bucket(objects, parts.clients, &clock)?;
                let spool = uploads::folder(&parts.state_dir, objects);
                (Place::Bucket(bucket), store.refresh, spool)
            }
        };
        let uploads = uploads::open(spool, clock.clone());
        Ok(Arc::new(Self {
            place,
            clock,
            trust: (!trust.is_zero()).then_some(trust),
            recent: Recent::new(RECENT_BYTES),
            uploads,
            tenants: Mutex::default(),
        }))
    }

    /// Begins to look after uploads ([`Uploads::look_after`]): for the process that serves, not for commands beside it.
    pub fn look_after_uploads(&self) {
        self.uploads.look_after();
    }

    /// The part of `tenant`, whether or not there is anything in it yet. `delete`: whether anything may be deleted.
    ///
    /// Several of one tenant, with other settings, may be in use at a time; they share what is known.
    pub fn tenant(
        self: &Arc<Self>,
        tenant: &TenantPath,
        settings: config::HostedRegistry,
        delete: bool,
    ) -> Arc<HostedRegistry> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let held = tenants.get(tenant).and_then(Weak::upgrade);
        let held = held.unwrap_or_else(|| {
            tenants.retain(|_, held| held.strong_count() > 0);
            let made = Arc::new(Tenant {
                path: tenant.clone(),
                segment: layout::tenant_segment(tenant),
                repos: Repos::default(),
                ledger: tokio::sync::Mutex::default(),
            });
            tenants.insert(tenant.clone(), Arc::downgrade(&made));
            made
        });
        Arc::new(HostedRegistry {
            store: Arc::clone(self),
            tenant: held,
            settings,
            deletes: delete,
        })
    }
}

impl HostedRegistry {
    /// The tenant whose registry it is.
    pub fn tenant(&self) -> &TenantPath {
        &self.tenant.path
    }

    /// The limits that hold for it.
    pub fn settings(&self) -> &config::HostedRegistry {
        &self.settings
    }
}

/// How long what is known of a folder is believed. Another process writes into it for as long as two of them take turns.
const FOLDER_TRUST: Duration = Duration::from_secs(1);
/// How much memory manifests may take that were asked for recently.
const RECENT_BYTES: usize = 32 << 20;

#[cfg(test)]
mod crash_tests;
