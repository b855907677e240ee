//! Links: which repository of which upstream may show which digest. Possession of bytes is no right to read them.
//!
//! A link is made when an upstream sent the bytes, or when it named them: in a manifest of the repository or by an answer to a
//! question. Links are found by a hash of upstream, repository and digest; no text is kept. Survives a restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ledger::{Change, Ledger, LinkId, LinkRow};
use crate::clock::Clock;
use crate::digest::{self, Digest, Hasher};
use crate::oci::{self, Algorithm, Descriptor, ManifestType, RepoName};

/// What a link is found by. Cheap to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkKey {
    id: LinkId,
    home: u64,
}

impl LinkKey {
    /// The link of `digest` in a repository of an upstream, which is called as the upstream calls it.
    ///
    /// The hash is a cryptographic one: names come from strangers, and nobody may find two that meet.
    pub fn new(upstream: &str, repository: &RepoName, digest: &oci::Digest) -> Self {
        let place = place(upstream, repository);
        let mut hasher = place.clone();
        hasher.update(b"@");
        match digest {
            oci::Digest::Sha256(digest) => hasher.update(digest.as_bytes()),
            oci::Digest::Sha512(_) => hasher.update(digest.to_string().as_bytes()),
        }
        Self {
            id: first(&hasher.finish()),
            home: home(place),
        }
    }
}

/// What is known about a digest in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// What the bytes are kept under in the cache. `None`: that shows when they come (a digest of another algorithm).
    pub digest: Option<Digest>,
    /// What it is.
    pub kind: LinkKind,
    /// Bytes; as promised, until they came.
    pub size: u64,
    /// Why the repository may show it.
    pub proof: Proof,
}

/// What a linked digest is. Documents do not always say it themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// Bytes.
    Blob,
    /// A manifest of this type, which its source calls by a digest of this algorithm.
    Manifest(ManifestType, Algorithm),
}

/// Why a repository may show a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The upstream sent the bytes from this repository.
    Held,
    /// The upstream named it: in a manifest of this repository, or when it was asked.
    Promised,
}

/// Who brought the bytes of a digest: that decides who may have them for no more than its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// A registry that shares what it has.
    Shared,
    /// A registry that shares with nobody: not for charts.
    Private,
    /// A chart repository too: for charts, although a private registry has them.
    Chart,
}

/// All links, in memory, with the ledger behind them.
#[derive(Debug)]
pub struct Links {
    rows: Mutex<HashMap<LinkId, LinkRow>>,
    ledger: Arc<Ledger>,
    clock: Clock,
    limit: usize,
}

impl Links {
    /// The links that the ledger knew.
    pub(crate) fn new(rows: Vec<(LinkId, LinkRow)>, ledger: Arc<Ledger>, clock: Clock) -> Self {
        Self {
            rows: Mutex::new(rows.into_iter().collect()),
            ledger,
            clock,
            limit: LIMIT,
        }
    }

    /// Adds links that a ledger knew which another process held until now; what was learnt since wins.
    pub(crate) fn merge(&self, rows: Vec<(LinkId, LinkRow)>) {
        let mut known = self.lock();
        for (id, row) in rows {
            known.entry(id).or_insert(row);
        }
    }

    /// The link, if there is one. In memory; counts as a use.
    pub fn get(&self, key: &LinkKey) -> Option<Link> {
        let now = self.now();
        let (row, told) = {
            let mut rows = self.lock();
            let row = rows.get_mut(&key.id)?;
            let told = now - row.at > TELL_USES_AFTER;
            if told {
                row.at = now;
            }
            (*row, told)
        };
        if told {
            self.ledger.send(Change::Links(vec![(key.id, Some(row))]));
        }
        decode(&row)
    }

    /// Makes or replaces a link.
    pub fn put(&self, key: &LinkKey, link: Link) {
        self.write(vec![(*key, link)]);
    }

    /// Makes links for everything that a manifest of the repository names; what is held already stays as it is.
    pub fn promise<'a>(
        &self,
        upstream: &str,
        repository: &RepoName,
        descriptors: impl IntoIterator<Item = &'a Descriptor>,
    ) {
        let place = place(upstream, repository);
        let mut promised: Vec<(LinkKey, Link)> = descriptors
            .into_iter()
            .map(|descriptor| {
                let key = LinkKey::new(upstream, repository, &descriptor.digest);
                (key, promised(descriptor))
            })
            .collect();
        {
            let home = home(place);
            let rows = self.lock();
            promised.retain(|(key, link)| match rows.get(&key.id) {
                Some(row) => row.home != home || improves(row, link),
                None => true,
            });
        }
        self.write(promised);
    }

    /// Forgets one link.
    pub fn forget(&self, key: &LinkKey) -> bool {
        let known = self.lock().remove(&key.id).is_some();
        if known {
            self.ledger.send(Change::Links(vec![(key.id, None)]));
        }
        known
    }

    /// Forgets all links of a repository, and says how many there were. Looks at every link: for operators.
    pub fn forget_repository(&self, upstream: &str, repository: &RepoName) -> usize {
        let home = home(place(upstream, repository));
        let mut rows = self.lock();
        let gone = rows.extract_if(|_, row| row.home == home);
        let gone: Vec<_> = gone.map(|(id, _)| (id, None)).collect();
        drop(rows);
        let count = gone.len();
        if count > 0 {
            self.ledger.send(Change::Links(gone));
        }
        count
    }

    /// How many links there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the bytes with this digest came from somebody who is marked like this.
    pub(super) fn is_marked(&self, mark: Mark, digest: &Digest) -> bool {
        self.lock().contains_key(&mark.id(digest))
    }

    /// Records that the bytes with this digest came from somebody like this.
    ///
    /// What is not recorded is not shared: a mark that is lost costs a transfer, never a secret.
    pub(super) fn mark(&self, mark: Mark, digest: &Digest) {
        let row = LinkRow {
            digest: None,
            home: 0,
            size: 0,
            at: self.now(),
            kind: SHARED,
        };
        self.insert(vec![(mark.id(digest), row)]);
    }

    fn write(&self, links: Vec<(LinkKey, Link)>) {
        let at = self.now();
        let rows = links
            .into_iter()
            .map(|(key, link)| (key.id, encode(&link, key.home, at)));
        self.insert(rows.collect());
    }

    fn insert(&self, new: Vec<(LinkId, LinkRow)>) {
        if new.is_empty() {
            return;
        }
        let mut changes = {
            let mut rows = self.lock();
            let dropped = match rows.len() + new.len() > self.limit {
                true => prune(&mut rows, self.limit),
                false => Vec::new(),
            };
            rows.extend(new.iter().copied());
            dropped
        };
        changes.extend(new.into_iter().map(|(id, row)| (id, Some(row))));
        self.ledger.send(Change::Links(changes));
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LinkId, LinkRow>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room: the tenth that was not used for longest goes. Whoever controls an upstream can name digests without end; memory
/// is bounded.
fn prune(rows: &mut HashMap<LinkId, LinkRow>, limit: usize) -> Vec<(LinkId, Option<LinkRow>)> {
    let mut ages: Vec<i64> = rows.values().map(|row| row.at).collect();
    let tenth = (limit / 10).min(ages.len().saturating_sub(1));
    let (_, oldest, _) = ages.select_nth_unstable(tenth);
    let oldest = *oldest;
    // Those of the same moment may be everything there is: half of the rest stays in any case.
    let mut left = rows.len() / 2;
    let dropped = rows.extract_if(|_, row| {
        let goes = row.at <= oldest && left > 0;
        left -= usize::from(goes);
        goes
    });
    dropped.map(|(id, _)| (id, None)).collect()
}

/// What a descriptor says of the thing it names.
fn promised(descriptor: &Descriptor) -> Link {
    let algorithm = descriptor.digest.algorithm();
    Link {
        digest: match descriptor.digest {
            oci::Digest::Sha256(digest) => Some(digest),
            oci::Digest::Sha512(_) => None,
        },
        kind: match ManifestType::parse(&descriptor.media_type) {
            Some(kind) => LinkKind::Manifest(kind, algorithm),
            None => LinkKind::Blob,
        },
        size: descriptor.size,
        proof: Proof::Promised,
    }
}

/// Whether a promise says more than what is known.
fn improves(row: &LinkRow, promise: &Link) -> bool {
    let Some(known) = decode(row) else {
        return true;
    };
    known.proof == Proof::Promised && (known.kind != promise.kind || known.size != promise.size)
}

/// Bits: 0-2 kind, 3 the algorithm of the source's digest, 4 the proof.
fn encode(link: &Link, home: u64, at: i64) -> LinkRow {
    let (kind, algorithm) = match link.kind {
        LinkKind::Blob => (0, Algorithm::Sha256),
        LinkKind::Manifest(kind, algorithm) => {
            let place = KINDS.iter().position(|known| *known == kind);
            (place.map_or(0, |place| place as u8 + 1), algorithm)
        }
    };
    let sha512 = u8::from(algorithm == Algorithm::Sha512) << 3;
    let held = u8::from(link.proof == Proof::Held) << 4;
    LinkRow {
        digest: link.digest,
        home,
        size: link.size,
        at,
        kind: kind | sha512 | held,
    }
}

/// `None`: a row that is no link, or of a kind that is not known yet.
fn decode(row: &LinkRow) -> Option<Link> {
    let kind = match row.kind & 7 {
        _ if row.kind & SHARED != 0 => return None,
        0 => LinkKind::Blob,
        place => {
            let algorithm = match row.kind & 8 {
                0 => Algorithm::Sha256,
                _ => Algorithm::Sha512,
            };
            LinkKind::Manifest(*KINDS.get(usize::from(place) - 1)?, algorithm)
        }
    };
    Some(Link {
        digest: row.digest,
        kind,
        size: row.size,
        proof: match row.kind & 16 {
            0 => Proof::Promised,
            _ => Proof::Held,
        },
    })
}

/// A NUL is in no name, so that no two places are one text.
fn place(upstream: &str, repository: &RepoName) -> Hasher {
    let mut hasher = Hasher::default();
    hasher.update(upstream.as_bytes());
    hasher.update(b"\0");
    hasher.update(repository.as_str().as_bytes());
    hasher
}

fn home(place: Hasher) -> u64 {
    let bytes = first::<8>(&place.finish());
    u64::from_le_bytes(bytes)
}

impl Mark {
    fn id(self, digest: &Digest) -> LinkId {
        let mut hasher = Hasher::default();
        hasher.update(match self {
            Self::Shared => b"\0shared\0",
            Self::Private => b"\0private\0",
            Self::Chart => b"\0chart\0",
        });
        hasher.update(digest.as_bytes());
        first(&hasher.finish())
    }
}

fn first<const N: usize>(digest: &digest::Digest) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&digest.as_bytes()[..N]);
    bytes
}

/// In the order of their numbers in the ledger, which must not change.
const KINDS: [ManifestType; 5] = [
    ManifestType::Image,
    ManifestType::Index,
    ManifestType::DockerImage,
    ManifestType::DockerList,
    ManifestType::Artifact,
];

/// The bit of a mark that is no link.
const SHARED: u8 = 128;

/// As many as a table of 2^21 places takes, about 190 MB. With one more it would double.
const LIMIT: usize = 1_800_000;

/// How old the recorded use of a link may get, in milliseconds.
const TELL_USES_AFTER: i64 = 3_600_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;

    struct World {
        _dir: tempfile::TempDir,
        path: std::path::PathBuf,
        clock: Clock,
        links: Links,
    }

    fn world() -> World {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("ledger");
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let links = open(&path, &clock);
        World {
            _dir: dir,
            path,
            clock,
            links,
        }
    }

    fn open(path: &std::path::Path, clock: &Clock) -> Links {
        let (ledger, contents) = Ledger::open(path);
        Links::new(contents.links, Arc::new(ledger), clock.clone())
    }

    fn name(text: &str) -> RepoName {
        RepoName::parse(text).expect("a name")
    }

    fn digest(algorithm: Algorithm, n: usize) -> oci::Digest {
        oci::Digest::of(algorithm, &n.to_le_bytes())
    }

    fn key(repository: &str, n: usize) -> LinkKey {
        LinkKey::new("hub", &name(repository), &digest(Algorithm::Sha256, n))
    }

    fn held(kind: LinkKind) -> Link {
        Link {
            digest: Some(Digest::of(b"x")),
            kind,
            size: 7,
            proof: Proof::Held,
        }
    }

    fn descriptor(media_type: &str, digest: oci::Digest, size: u64) -> Descriptor {
        serde_json::from_str(&format!(
            r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#
        ))
        .expect("a descriptor")
    }

    #[test]
    fn what_was_put_is_found_again_and_only_there() {
        let world = world();
        let kinds = KINDS.iter().flat_map(|kind| {
            [Algorithm::Sha256, Algorithm::Sha512].map(|one| LinkKind::Manifest(*kind, one))
        });
        for (n, kind) in kinds.chain([LinkKind::Blob]).enumerate() {
            world.links.put(&key("a/b", n), held(kind));
            assert_eq!(world.links.get(&key("a/b", n)), Some(held(kind)));
        }
        assert_eq!(world.links.get(&key("a/c", 0)), None);
        assert_eq!(world.links.get(&key("a/b", 99)), None);
        let other = LinkKey::new("hub2", &name("a/b"), &digest(Algorithm::Sha256, 0));
        assert_eq!(world.links.get(&other), None);
        let long = LinkKey::new("hub", &name("a/b"), &digest(Algorithm::Sha512, 0));
        assert_eq!(world.links.get(&long), None);
    }

    #[test]
    fn promises_say_what_they_know_and_never_replace_what_is_held() {
        let world = world();
        let image = ManifestType::Image;
        let one = digest(Algorithm::Sha256, 1);
        let two = digest(Algorithm::Sha512, 2);
        world.links.put(&key("a/b", 3), held(LinkKind::Blob));
        let promises = [
            descriptor("x/y", one, 10),
            descriptor(image.as_str(), two, 20),
            descriptor("x/y", digest(Algorithm::Sha256, 3), 30),
        ];
        world.links.promise("hub", &name("a/b"), &promises);
        let link = world.links.get(&key("a/b", 1)).expect("promised");
        assert_eq!((link.kind, link.size), (LinkKind::Blob, 10));
        assert_eq!(link.proof, Proof::Promised);
        assert!(link.digest.is_some());
        let link = world.links.get(&LinkKey::new("hub", &name("a/b"), &two));
        let link = link.expect("promised");
        assert_eq!(link.kind, LinkKind::Manifest(image, Algorithm::Sha512));
        assert_eq!((link.digest, link.size), (None, 20));
        let kept = world.links.get(&key("a/b", 3));
        assert_eq!(kept, Some(held(LinkKind::Blob)));
    }

    #[test]
    fn they_survive_a_restart_and_can_be_forgotten() {
        let world = world();
        for n in 0..10 {
            world.links.put(&key("a/b", n), held(LinkKind::Blob));
            world.links.put(&key("c/d", n), held(LinkKind::Blob));
        }
        world.links.mark(Mark::Shared, &Digest::of(b"x"));
        assert!(world.links.forget(&key("c/d", 0)));
        assert!(!world.links.forget(&key("c/d", 0)));
        assert_eq!(world.links.forget_repository("hub", &name("a/b")), 10);
        world.links.ledger.close();
        let again = open(&world.path, &world.clock);
        assert_eq!(again.len(), 9 + 1);
        assert_eq!(again.get(&key("a/b", 1)), None);
        assert_eq!(again.get(&key("c/d", 0)), None);
        assert_eq!(again.get(&key("c/d", 9)), Some(held(LinkKind::Blob)));
        assert!(again.is_marked(Mark::Shared, &Digest::of(b"x")));
        assert!(!again.is_marked(Mark::Shared, &Digest::of(b"y")));
        assert!(!again.is_marked(Mark::Chart, &Digest::of(b"x")));
        again.ledger.close();
    }

    #[test]
    fn they_are_bounded_and_those_that_are_used_stay() {
        let mut world = world();
        world.links.limit = 100;
        world.links.put(&key("a/b", 0), held(LinkKind::Blob));
        for n in 1..1000 {
            world.clock.advance(Duration::from_mins(10));
            world.links.put(&key("a/b", n), held(LinkKind::Blob));
            assert!(world.links.get(&key("a/b", 0)).is_some(), "{n}");
            assert!(world.links.len() <= 100);
        }
        assert!(world.links.get(&key("a/b", 999)).is_some());
        assert!(world.links.get(&key("a/b", 1)).is_none());
        // All of one moment: some go, not all.
        for n in 0..1000 {
            world.links.put(&key("c/d", n), held(LinkKind::Blob));
            assert!((40..=100).contains(&world.links.len()));
        }
    }

    #[test]
    fn a_row_of_a_later_version_is_no_link() {
        let row = LinkRow {
            digest: None,
            home: 0,
            size: 0,
            at: 0,
            kind: 6,
        };
        assert_eq!(decode(&row), None);
        assert_eq!(decode(&LinkRow { kind: 255, ..row }), None);
        assert!(decode(&LinkRow { kind: 5, ..row }).is_some());
    }
}
