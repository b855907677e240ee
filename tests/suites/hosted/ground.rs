//! Where a store lies, and what others do there.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chartgate::clock::Clock;
use chartgate::config::{self, ObjectStore, Place};
use chartgate::digest::Digest;
use chartgate::error::Result;
use chartgate::index::Entry;
use chartgate::names::{FileName, TenantPath};
use chartgate::net::{Clients, EnvironmentProxies, Retries};
use chartgate::object::{Bucket, Content, Existing};
use chartgate::store::registry::RegistryStore;
use chartgate::store::{
    Depth, Hosted, Limits, OverwritePermission, Parts, Places, Spooled, StoredContent, StoredFile,
    Upload,
};
use futures_util::StreamExt as _;
use tempfile::TempDir;

use crate::support::fake::{FakeBucket, package};
use crate::support::{stores, until};

pub(crate) const FREE: Limits = Limits {
    max_objects: 0,
    max_versions: 0,
};

/// A place for stores, and a folder for what they remember.
pub(crate) struct Ground {
    pub(crate) config: config::Store,
    pub(crate) local: TempDir,
    pub(crate) clock: Clock,
    clients: Clients,
    places: Places,
    /// Whether the place tells the real time, in whole seconds.
    has_clock_of_its_own: bool,
}

impl Ground {
    /// A folder that does not exist yet.
    pub(crate) fn folder() -> Self {
        let local = TempDir::new().expect("a folder");
        let config = config::Store::folder(local.path().join("hosted"));
        Self::new(config, local, Clock::manual(jiff::Timestamp::now()))
    }

    /// A bucket of a fake service.
    pub(crate) fn fake(s3: &FakeBucket) -> Self {
        Self::bucket(ObjectStore {
            service: stores::s3(&s3.url()),
            prefix: "some/prefix".into(),
            client: stores::client(),
        })
    }

    /// A bucket of a real service.
    pub(crate) fn real(config: ObjectStore) -> Self {
        Self {
            has_clock_of_its_own: true,
            ..Self::bucket(config)
        }
    }

    fn bucket(config: ObjectStore) -> Self {
        let local = TempDir::new().expect("a folder");
        let config = config::Store {
            place: Place::Objects(Box::new(config)),
            ..config::Store::folder(PathBuf::new())
        };
        Self::new(config, local, Clock::manual(jiff::Timestamp::now()))
    }

    /// The same place, seen by another machine.
    pub(crate) fn replica(&self) -> Self {
        let local = TempDir::new().expect("a folder");
        Self::new(self.config.clone(), local, self.clock.clone())
    }

    fn new(config: config::Store, local: TempDir, clock: Clock) -> Self {
        let retries = Retries {
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(50),
            ..Retries::default()
        };
        Self {
            config,
            local,
            clock,
            clients: Clients::with(retries, EnvironmentProxies::none()),
            places: Places::default(),
            has_clock_of_its_own: false,
        }
    }

    /// A store that has not looked at a bucket yet.
    pub(crate) async fn open(&self, tenant: &str) -> Arc<Hosted> {
        let parts = Parts {
            state_dir: self.state_dir(),
            clients: &self.clients,
            clock: self.clock.clone(),
            places: &self.places,
        };
        let tenant = TenantPath::parse(tenant).expect("a path");
        Hosted::open(&self.config, &tenant, parts, |_, _| {})
            .await
            .expect("a store")
    }

    /// The registries that lie in the same place.
    pub(crate) async fn registries(&self) -> Arc<RegistryStore> {
        let parts = Parts {
            state_dir: self.state_dir(),
            clients: &self.clients,
            clock: self.clock.clone(),
            places: &self.places,
        };
        RegistryStore::open(&self.config, parts)
            .await
            .expect("a store")
    }

    /// A store that knows everything.
    pub(crate) async fn look(&self, tenant: &str) -> Arc<Hosted> {
        let store = self.open(tenant).await;
        store.rescan(Depth::Files).await.expect("looked");
        store
    }

    /// Lets so much time pass that the next upload has a later time than the last one.
    pub(crate) fn tick(&self) {
        let second = Duration::from_secs(1);
        self.clock.advance(second);
        if self.has_clock_of_its_own {
            let before = jiff::Timestamp::now().as_second();
            let is_over = || (jiff::Timestamp::now().as_second() > before).then_some(());
            until("the next second", 2 * second, is_over);
        }
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.local.path().join("cache").join("hosted")
    }

    /// Puts a file there as somebody else would.
    pub(crate) async fn place(&self, tenant: &str, name: &str, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        match &self.config.place {
            Place::Folder(root) => {
                let folder = root.join(tenant);
                fs::create_dir_all(&folder).expect("a folder");
                // As careful tools do: never seen half.
                fs::write(folder.join("x"), bytes).expect("a file");
                fs::rename(folder.join("x"), folder.join(name)).expect("renamed");
            }
            Place::Objects(_) => {
                let content = Content::Bytes(bytes);
                self.raw()
                    .write(&format!("{tenant}/{name}"), content, Existing::Replace)
                    .await
                    .expect("written");
            }
        }
    }

    /// Takes a file away as somebody else would.
    pub(crate) async fn take(&self, tenant: &str, name: &str) {
        match &self.config.place {
            Place::Folder(root) => {
                fs::remove_file(root.join(tenant).join(name)).expect("removed");
            }
            Place::Objects(_) => {
                let key = format!("{tenant}/{name}");
                self.raw().remove(&key).await.expect("removed");
            }
        }
    }

    /// The files that are there.
    pub(crate) async fn names(&self, tenant: &str) -> BTreeSet<String> {
        match &self.config.place {
            Place::Folder(root) => fs::read_dir(root.join(tenant))
                .into_iter()
                .flatten()
                .map(|entry| entry.expect("an entry"))
                .filter(|entry| entry.file_type().expect("a type").is_file())
                .map(|entry| entry.file_name().into_string().expect("a name"))
                .collect(),
            Place::Objects(_) => {
                let mut pages = self.raw().list(tenant);
                let mut names = BTreeSet::new();
                while let Some(page) = pages.next().await {
                    let page = page.expect("a page");
                    names.extend(page.into_iter().map(|object| object.name.to_string()));
                }
                names
            }
        }
    }

    fn raw(&self) -> Bucket {
        let Place::Objects(objects) = &self.config.place else {
            panic!("a folder is no bucket");
        };
        Bucket::open(objects, &self.clients, &self.clock).expect("a bucket")
    }
}

pub(crate) async fn spooled(store: &Arc<Hosted>, bytes: &[u8]) -> Spooled {
    let mut spool = store.spool(64 << 20).await.expect("a spool");
    let bytes = Bytes::copy_from_slice(bytes);
    spool.write(bytes).await.expect("room");
    spool.finish().await.expect("a file")
}

pub(crate) async fn put(
    store: &Arc<Hosted>,
    bytes: &[u8],
    overwrite: OverwritePermission,
) -> Result<Arc<Entry>> {
    put_within(store, bytes, overwrite, FREE).await
}

pub(crate) async fn put_within(
    store: &Arc<Hosted>,
    bytes: &[u8],
    overwrite: OverwritePermission,
    limits: Limits,
) -> Result<Arc<Entry>> {
    let archive = spooled(store, bytes).await;
    let provenance = None;
    let upload = Upload {
        archive,
        provenance,
    };
    store.put(upload, overwrite, limits).await
}

pub(crate) async fn put_both(
    store: &Arc<Hosted>,
    bytes: &[u8],
    provenance: &str,
    overwrite: OverwritePermission,
) -> Result<Arc<Entry>> {
    let upload = Upload {
        archive: spooled(store, bytes).await,
        provenance: Some(spooled(store, provenance.as_bytes()).await),
    };
    store.put(upload, overwrite, FREE).await
}

/// A package whose bytes differ with `text`.
pub(crate) fn package_with(name: &str, version: &str, text: &str) -> Bytes {
    package(name, version, &[("templates/NOTES.txt", text.as_bytes())])
}

pub(crate) fn plain(name: &str, version: &str) -> Bytes {
    package(name, version, &[])
}

pub(crate) fn provenance(name: &str, version: &str, archive: &[u8]) -> String {
    format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nname: {name}\nversion: {version}\n\n...\nfiles:\n  {name}-{version}.tgz: {}\n",
        Digest::of(archive)
    )
}

pub(crate) fn file(name: &str) -> FileName {
    FileName::parse(name).expect("a file name")
}

/// The bytes behind a name, as a client would get them.
pub(crate) async fn bytes_of(store: &Arc<Hosted>, name: &str) -> Result<Bytes> {
    let stored = store.open_file(&file(name)).await?;
    let (length, digest) = (stored.len, stored.digest);
    let bytes = content(stored).await?;
    assert_eq!(bytes.len() as u64, length);
    if let Some(digest) = digest {
        assert_eq!(Digest::of(&bytes), digest);
    }
    Ok(bytes)
}

async fn content(stored: StoredFile) -> Result<Bytes> {
    match stored.content {
        StoredContent::Bytes(bytes) => Ok(bytes),
        StoredContent::File(mut file) => {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).expect("readable");
            Ok(bytes.into())
        }
        StoredContent::Object(object) => {
            let mut body = object.open(0).await?;
            let mut bytes = Vec::new();
            while let Some(chunk) = body.next().await {
                bytes.extend_from_slice(&chunk?);
            }
            Ok(bytes.into())
        }
    }
}

/// `name-version` of everything in the index, sorted.
pub(crate) fn listed(store: &Hosted) -> Vec<String> {
    let index = store.index();
    let mut all: Vec<String> = index
        .charts()
        .flat_map(|(_, chart)| chart.entries())
        .map(|entry| format!("{}-{}", entry.name, entry.version))
        .collect();
    all.sort();
    assert_eq!(all.len(), store.versions());
    all
}

/// Everything that a client sees of the index.
pub(crate) fn text(store: &Hosted) -> Vec<String> {
    let index = store.index();
    let entries = index.charts().flat_map(|(_, chart)| chart.entries());
    entries
        .map(|entry| {
            format!(
                "{} {} {:?} {:?} {}",
                entry.name, entry.version, entry.created, entry.digest, entry.fragment
            )
        })
        .collect()
}

pub(crate) fn digest(store: &Hosted, name: &str, version: &str) -> Option<Digest> {
    store.index().get(name)?.get(version)?.digest
}
