//! What is known of the files, kept between two runs so that a start need not read every package.
//!
//! Two files in the state folder, both disposable: `<key>.files` (names, sizes and times, then the index) and `<key>.dirty`,
//! the names that this process replaced or removed since that was saved. The second is written ahead of each such change:
//! a replaced file could have the size and time of its predecessor's record, and must be read again after a crash.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::OwnedMutexGuard;
use xxhash_rust::xxh3::xxh3_64;

use super::catalog::Catalog;
use super::folder::Folder;
use super::package::{Content, Record};
use super::{Hosted, rescan};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::index::{Entry, SourceIndex, kept};
use crate::names::TenantPath;
use crate::object::Stamp;
use crate::store::files::sync_folder;

/// Saves the state when it is due.
#[derive(Debug)]
pub(super) struct Keeper {
    files: PathBuf,
    dirty: PathBuf,
    tags: Tags,
    status: Mutex<Status>,
    /// One save at a time.
    pub(super) saving: Arc<tokio::sync::Mutex<()>>,
}

/// What the tags of stamps are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tags {
    /// Of files. Not kept: a copied or restored folder has others.
    Inodes,
    /// Of objects: kept, because another tag means other content.
    Contents,
}

#[derive(Debug, Default)]
struct Status {
    /// Names changed by this process since the last save; all of them are in the dirty file.
    distrusted: BTreeSet<Arc<str>>,
    first_change: Option<Instant>,
    last_change: Option<Instant>,
    last_save: Option<Instant>,
    cost: Duration,
}

impl Keeper {
    /// The state of one tenant in one place. Makes nothing on disk.
    pub(super) fn new(state_dir: &Path, place: &str, tenant: &TenantPath, tags: Tags) -> Self {
        let place = format!("{place}\n{}", tenant.as_str());
        let key = &Digest::of(place.as_bytes()).to_hex()[..16];
        Self {
            files: state_dir.join(format!("hosted-{key}.files")),
            dirty: state_dir.join(format!("hosted-{key}.dirty")),
            tags,
            status: Mutex::default(),
            saving: Arc::default(),
        }
    }

    /// When what an earlier run knew was saved.
    pub(super) fn saved_at(&self) -> Option<Timestamp> {
        let modified = fs::metadata(&self.files).and_then(|metadata| metadata.modified());
        modified
            .ok()
            .and_then(|time| Timestamp::try_from(time).ok())
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> &Path {
        &self.files
    }

    /// Takes note that the state on disk is no longer what it should be.
    pub(super) fn changed(&self) {
        let mut status = self.status();
        let now = Instant::now();
        status.first_change.get_or_insert(now);
        status.last_change = Some(now);
    }

    /// Takes note, ahead of it, that a file will be replaced or removed.
    pub(super) fn distrust(&self, name: &Arc<str>) {
        let mut status = self.status();
        if !status.distrusted.insert(Arc::clone(name)) {
            return;
        }
        let written = self
            .make_folder()
            .and_then(|()| {
                OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(&self.dirty)
            })
            .and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()));
        if let Err(error) = written {
            // Without the record the saved state must not be trusted at all.
            tracing::warn!(%error, "the record of changed files cannot be written; the next start reads every package");
            let _ = fs::remove_file(&self.files);
        }
    }

    /// Whether it is time to save: things are quiet or have not been for a while, and saving takes a small part of the time.
    pub(super) fn is_due(&self) -> bool {
        let status = self.status();
        let (Some(first), Some(last)) = (status.first_change, status.last_change) else {
            return false;
        };
        let rested = status
            .last_save
            .is_none_or(|save| save.elapsed() >= status.cost * COST_SHARE);
        rested && (last.elapsed() >= QUIET || first.elapsed() >= LATEST)
    }

    /// Saves what `hosted` knows. The guard is that of `writer`; it is given back before anything is written. The caller holds
    /// `saving`.
    pub(super) fn save(&self, writer: OwnedMutexGuard<()>, hosted: &Hosted) -> Result<()> {
        let started = Instant::now();
        let covered = {
            let mut status = self.status();
            if status.first_change.is_none() {
                return Ok(());
            }
            status.first_change = None;
            std::mem::take(&mut status.distrusted)
        };
        let is_empty = hosted.is_empty();
        let files = render_files(&hosted.catalog(), self.tags);
        let index = hosted.index();
        drop(writer);
        let saved = match is_empty {
            true => self.remove(),
            false => self.write(&files, &kept::to_bytes(&index)),
        };
        let mut status = self.status();
        if saved.is_ok() {
            let still: String = status
                .distrusted
                .iter()
                .fold(String::new(), |text, name| text + name + "\n");
            let shortened = match still.is_empty() {
                true => ignore_missing(fs::remove_file(&self.dirty)),
                false => fs::write(&self.dirty, still),
            };
            if let Err(error) = shortened {
                tracing::debug!(%error, "the record of changed files was not shortened");
            }
        } else {
            status.distrusted.extend(covered);
            status.first_change.get_or_insert(started);
        }
        status.last_save = Some(Instant::now());
        status.cost = started.elapsed();
        saved
    }

    /// Nothing is known any more: a repository without a file leaves none here either.
    fn remove(&self) -> Result<()> {
        ignore_missing(fs::remove_file(&self.files)).map_err(|error| {
            Error::internal("the state of the hosted store cannot be removed", error)
        })
    }

    fn make_folder(&self) -> io::Result<()> {
        fs::create_dir_all(self.files.parent().unwrap_or(Path::new(".")))
    }

    fn write(&self, files: &[u8], index: &[u8]) -> Result<()> {
        let cannot =
            |error| Error::internal("the state of the hosted store cannot be written", error);
        let temporary = self.files.with_extension("new");
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&xxh3_64(files).to_le_bytes());
        header.extend_from_slice(&(files.len() as u64).to_le_bytes());
        let write = || -> io::Result<()> {
            self.make_folder()?;
            let mut file = File::create(&temporary)?;
            file.write_all(&header)?;
            file.write_all(files)?;
            file.write_all(index)?;
            file.sync_all()?;
            fs::rename(&temporary, &self.files)?;
            sync_folder(self.files.parent().unwrap_or(Path::new(".")))
        };
        write().map_err(cannot)
    }

    /// Removes what was changed after the state was saved, and goes on distrusting it.
    fn distrusted(&self, known: &mut Known) {
        let Ok(dirty) = fs::read_to_string(&self.dirty) else {
            return;
        };
        let mut status = self.status();
        for name in dirty.lines() {
            known.remove(name);
            status.distrusted.insert(name.into());
        }
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What the state knows, without a look at the place; `None` if there is no state.
pub(super) fn recall(keeper: &Keeper) -> Option<(Catalog, SourceIndex)> {
    let (mut known, index) = trusted(read_state(keeper));
    let kept = known.len();
    keeper.distrusted(&mut known);
    if kept == 0 {
        return None;
    }
    let is_whole = known.len() == kept;
    let mut catalog = Catalog::with_capacity(kept);
    for (name, record) in known {
        catalog.add(name.into(), record);
    }
    let index = if is_whole {
        index
    } else {
        SourceIndex::from_entries(catalog.winners())
    };
    Some((catalog, index))
}

/// Lists the folder, takes over what the state knows of it and reads the rest.
pub(super) fn load(
    folder: &Folder,
    keeper: &Keeper,
    readers: usize,
    progress: &(impl Fn(usize, usize) + Sync),
) -> Result<(Catalog, SourceIndex)> {
    // The two long steps of a start, side by side.
    let (listed, state) = std::thread::scope(|scope| {
        let listing = scope.spawn(|| folder.list());
        let state = read_state(keeper);
        (listing.join(), state)
    });
    let listed = listed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let (mut known, index) = trusted(state);
    keeper.distrusted(&mut known);
    let had_state = !known.is_empty();
    let mut catalog = Catalog::with_capacity(listed.len());
    let mut unknown = Vec::new();
    for file in listed {
        match known.remove(&*file.name) {
            Some(record) => catalog.add(file.name, record),
            None => unknown.push(file.name),
        }
    }
    let total = unknown.len();
    if total > 0 {
        progress(0, total);
    }
    let read = rescan::read_all(folder, &unknown, readers, &|done| progress(done, total));
    let unchanged = had_state && read.is_empty() && known.is_empty();
    for (name, record) in read {
        catalog.add(name, record);
    }
    if unchanged {
        return Ok((catalog, index));
    }
    keeper.changed();
    let index = SourceIndex::from_entries(catalog.winners());
    Ok((catalog, index))
}

/// What was kept, or nothing where it is damaged.
fn trusted(state: std::result::Result<(Known, SourceIndex), String>) -> (Known, SourceIndex) {
    state.unwrap_or_else(|reason| {
        tracing::warn!(%reason, "the saved state of the hosted store is damaged; reading every package");
        (HashMap::new(), SourceIndex::default())
    })
}

pub(super) type Known = HashMap<Box<str>, Record>;

fn read_state(keeper: &Keeper) -> std::result::Result<(Known, SourceIndex), String> {
    let bytes = match fs::read(&keeper.files) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(error.to_string()),
    };
    parse_state(&bytes)
}

pub(super) fn parse_state(bytes: &[u8]) -> std::result::Result<(Known, SourceIndex), String> {
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or("it is of another version")?;
    let short = "it is cut short";
    let (sum, rest) = rest.split_first_chunk::<8>().ok_or(short)?;
    let (length, rest) = rest.split_first_chunk::<8>().ok_or(short)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| short)?;
    // The index has a checksum of its own.
    let (files, index) = rest.split_at_checked(length).ok_or(short)?;
    if xxh3_64(files) != u64::from_le_bytes(*sum) {
        return Err("its checksum is wrong".to_owned());
    }
    let mut cursor = Cursor(files);
    let count = cursor.u32().ok_or(short)?;
    let files: Option<Vec<Kept<'_>>> = (0..count).map(|_| Kept::parse(&mut cursor)).collect();
    let files = files.ok_or(short)?;
    let index = kept::from_bytes(index).map_err(|error| error.chain())?;
    let entries: HashMap<String, &Arc<Entry>> = index
        .charts()
        .flat_map(|(_, chart)| chart.entries())
        .map(|entry| (entry.file_name(), entry))
        .collect();
    let known = files
        .into_iter()
        .filter_map(|file| {
            let content = match file.content {
                KeptContent::Package(canonical) => {
                    Content::Package(Arc::clone(entries.get(canonical)?))
                }
                KeptContent::Broken(reason) => Content::Broken(reason.into()),
            };
            let stamp = file.stamp;
            Some((file.name.into(), Record { stamp, content }))
        })
        .collect();
    Ok((known, index))
}

/// Files as they are kept. One whose version another file has won is left out: its entry is not in the index.
fn render_files(catalog: &Catalog, tags: Tags) -> Vec<u8> {
    let mut out = vec![0; 4];
    let mut count = 0_u32;
    for (name, record) in catalog.files() {
        let (kind, text) = match &record.content {
            Content::Package(entry) => {
                let canonical = entry.file_name();
                if catalog
                    .winner(&canonical)
                    .is_none_or(|(winner, _)| winner != name)
                {
                    continue;
                }
                (0, canonical)
            }
            Content::Broken(reason) => (1, reason.chars().take(MAX_REASON).collect()),
        };
        put_text(&mut out, name);
        out.extend_from_slice(&record.stamp.size.to_le_bytes());
        out.extend_from_slice(&record.stamp.modified.as_nanosecond().to_le_bytes());
        out.extend_from_slice(
            &match tags {
                Tags::Inodes => 0,
                Tags::Contents => record.stamp.tag,
            }
            .to_le_bytes(),
        );
        out.push(kind);
        put_text(&mut out, &text);
        count += 1;
    }
    out[..4].copy_from_slice(&count.to_le_bytes());
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Names are bounded by the file system and reasons by `MAX_REASON`.
    let length = u16::try_from(text.len()).unwrap_or(0);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

struct Kept<'a> {
    name: &'a str,
    stamp: Stamp,
    content: KeptContent<'a>,
}

enum KeptContent<'a> {
    /// Under its canonical name.
    Package(&'a str),
    /// With the reason.
    Broken(&'a str),
}

impl<'a> Kept<'a> {
    fn parse(cursor: &mut Cursor<'a>) -> Option<Self> {
        let name = cursor.text()?;
        let size = u64::from_le_bytes(cursor.take()?);
        let modified = Timestamp::from_nanosecond(i128::from_le_bytes(cursor.take()?)).ok()?;
        let tag = u64::from_le_bytes(cursor.take()?);
        let [kind] = cursor.take()?;
        let text = cursor.text()?;
        Some(Self {
            name,
            stamp: Stamp {
                size,
                modified,
                tag,
            },
            content: match kind {
                0 => KeptContent::Package(text),
                1 => KeptContent::Broken(text),
                _ => return None,
            },
        })
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::from(u16::from_le_bytes(self.take()?));
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

const MAGIC: &[u8] = b"chartgate hosted 2\n";
const MAX_REASON: usize = 500;
/// Saved when nothing changed for this long,
const QUIET: Duration = Duration::from_secs(3);
/// or when it did without pause for this long,
const LATEST: Duration = Duration::from_secs(30);
/// but for at most one part in so many of the time.
const COST_SHARE: u32 = 50;
