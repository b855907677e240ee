//! What only folders have, and what can only be seen from inside. What holds for every store is proved in
//! `tests/suites/hosted`.

mod figures;
mod looks;
mod names;
mod starts;
mod uploads;

use std::fs;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::chart::archive::fixture::{corpus, package, package_with};
use crate::digest::Digest;
use crate::error::ErrorKind;
use crate::names::FileName;

/// A folder for a store and one for its state; stores of it can be opened again and again.
struct World {
    folder: TempDir,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        Self {
            folder: TempDir::new().expect("a folder"),
            clock: Clock::manual("2026-11-21T10:00:00.123Z".parse().expect("a time")),
        }
    }

    async fn open(&self) -> Arc<Hosted> {
        self.open_as("acme/platform").await
    }

    async fn open_as(&self, tenant: &str) -> Arc<Hosted> {
        self.open_telling(tenant, |_, _| {}).await
    }

    async fn open_telling(
        &self,
        tenant: &str,
        progress: impl Fn(usize, usize) + Send + Sync + 'static,
    ) -> Arc<Hosted> {
        let store = config::Store::folder(self.folder.path().join("hosted"));
        let tenant = TenantPath::parse(tenant).expect("a path");
        let parts = Parts {
            state_dir: self.folder.path().join("state"),
            clients: &Clients::new(),
            clock: self.clock.clone(),
            places: &Places::default(),
        };
        Hosted::open(&store, &tenant, parts, progress)
            .await
            .expect("a store")
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("hosted/acme/platform").join(name)
    }

    /// Puts a file there as somebody else would, changed long ago.
    fn place(&self, name: &str, bytes: &[u8]) {
        fs::create_dir_all(self.path("")).expect("a folder");
        fs::write(self.path(name), bytes).expect("a file");
        self.age(name, 1000);
    }

    fn age(&self, name: &str, seconds: u64) {
        let then = SystemTime::from(self.clock.now()) - Duration::from_secs(seconds);
        fs::File::options()
            .write(true)
            .open(self.path(name))
            .and_then(|file| file.set_modified(then))
            .expect("a time");
    }

    /// Everything below a folder, sorted.
    fn below(&self, folder: &str) -> Vec<String> {
        let top = self.folder.path().join(folder);
        let mut found = Vec::new();
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.expect("an entry").path();
                let name = path.strip_prefix(&top).expect("below it");
                found.push(name.to_str().expect("UTF-8").to_owned());
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

async fn spooled(store: &Arc<Hosted>, bytes: &[u8]) -> Spooled {
    let mut spool = store.spool(1 << 20).await.expect("a spool");
    for chunk in bytes.chunks(100) {
        spool
            .write(Bytes::copy_from_slice(chunk))
            .await
            .expect("room");
    }
    spool.finish().await.expect("a file")
}

async fn put(
    store: &Arc<Hosted>,
    bytes: &[u8],
    overwrite: OverwritePermission,
) -> Result<Arc<Entry>> {
    let archive = spooled(store, bytes).await;
    let upload = Upload {
        archive,
        provenance: None,
    };
    store.put(upload, overwrite, Limits::default()).await
}

fn file(name: &str) -> FileName {
    FileName::parse(name).expect("a file name")
}

async fn bytes_of(store: &Arc<Hosted>, name: &str) -> Result<Vec<u8>> {
    let stored = store.open_file(&file(name)).await?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut opened(&stored), &mut bytes).expect("readable");
    assert_eq!(bytes.len() as u64, stored.len);
    if let Some(digest) = stored.digest {
        assert_eq!(Digest::of(&bytes), digest);
    }
    Ok(bytes)
}

fn opened(stored: &StoredFile) -> &fs::File {
    match &stored.content {
        StoredContent::File(file) => file,
        other => panic!("{other:?} is no file"),
    }
}

/// `name-version` of everything in the index, sorted.
fn listed(store: &Hosted) -> Vec<String> {
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

fn digest(store: &Hosted, name: &str, version: &str) -> Option<Digest> {
    store.index().get(name)?.get(version)?.digest
}

fn reads(store: &Hosted) -> usize {
    store.sightings().reads
}

fn place_many(world: &World, count: usize) {
    fs::create_dir_all(world.path("")).expect("a folder");
    for at in 0..count {
        let (chart, version) = (at / 100, at % 100);
        let name = format!("chart-{chart}");
        let file = world.path(&format!("{name}-1.0.{version}.tgz"));
        fs::write(file, package(&name, &format!("1.0.{version}"))).expect("a file");
    }
}
