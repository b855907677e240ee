//! Users of an htpasswd file: reread when it changes, verified on blocking threads, remembered for a while.
//!
//! A right password is remembered under a keyed hash while it is in use, so that a bcrypt user can pull a thousand times a second.
//! The memory belongs to one reading of the file and goes away with it, so a changed password counts at once. A wrong password is
//! never remembered. Every wrong one costs the same work, whoever it is for: one hash of each kind that the file has, so that
//! time tells neither whether a user exists nor what his hash is.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::hash::Hash;
use super::queue::{Queue, Verdict};
use super::watched::{Content, Watched};
use crate::clock::Clock;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// How long a right password is remembered after it was used, in milliseconds.
const REMEMBER: i64 = 5 * 60 * 1_000;
/// How late its use may be noted, so that not every request writes.
const NOTED: i64 = 60 * 1_000;
/// How many right passwords are remembered; about 100 bytes each.
const REMEMBERED: usize = 10_000;
/// The longest password in bytes. SHA-crypt's time grows with it, and nobody types more.
const LONGEST: usize = 1_024;

/// The users of an htpasswd file.
pub struct Users {
    file: Watched<Reading>,
    clock: Clock,
    queue: Arc<Queue>,
}

/// One state of the file.
struct Reading {
    users: HashMap<Arc<str>, Hash>,
    /// One hash of each family, in the order in which they are computed.
    families: Vec<(String, Hash)>,
    /// What the keys of `remembered` are hashed with: a leak of them is worth nothing without it.
    key: [u8; 32],
    /// Right credentials, and until when they are remembered.
    remembered: Mutex<HashMap<Digest, i64>>,
}

impl Users {
    /// Reads the file. Errors: it cannot be read; broken lines only cost a warning each. Blocking.
    pub fn open(path: &Path, clock: Clock) -> Result<Self> {
        Ok(Self {
            file: Watched::open(path, clock.clone())?,
            clock,
            queue: Queue::new(),
        })
    }

    /// The user's name as shared text where the password is right, else [`ErrorKind::Unauthenticated`]. `network` is where it
    /// comes from: networks take turns.
    ///
    /// [`ErrorKind::RateLimited`]: too many passwords are being verified already. Cancel-safe: a computation that was
    /// started goes on and keeps its place among the threads until it is done.
    ///
    /// [`ErrorKind::Unauthenticated`]: crate::error::ErrorKind::Unauthenticated
    /// [`ErrorKind::RateLimited`]: crate::error::ErrorKind::RateLimited
    pub async fn verify(
        &self,
        name: &str,
        password: &str,
        network: Option<IpAddr>,
    ) -> Result<Arc<str>> {
        if password.len() > LONGEST {
            return Err(wrong());
        }
        let reading = self.file.current().await;
        let credentials = reading.digest(name, password);
        if let Some(name) = reading.recall(name, credentials, self.clock.now().as_millisecond()) {
            return Ok(name);
        }
        let (name, password) = (name.to_owned(), password.to_owned());
        let clock = self.clock.clone();
        let compute = move || {
            // Clients come in swarms: the one before may have done the work, and be gone already.
            let now = clock.now().as_millisecond();
            if let Some(name) = reading.recall(&name, credentials, now) {
                return Some(name);
            }
            let name = reading.verify(&name, &password)?;
            reading.remember(credentials, clock.now().as_millisecond());
            Some(name)
        };
        let verdict = self.queue.verify(credentials, network, compute).await?;
        verdict.ok_or_else(wrong)
    }

    /// Tells one password of the user from the next, in every process that has the same file; `None` for nobody. A secret.
    pub(super) async fn fingerprint(&self, name: &str) -> Option<Digest> {
        let reading = self.file.current().await;
        reading.users.get(name).map(Hash::fingerprint)
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// What everybody is told whose credentials are wrong, whatever is wrong with them.
pub(super) fn wrong() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "the user name or the password is wrong",
    )
}

impl Content for Reading {
    const WHAT: &'static str = "users file";

    fn read(bytes: &[u8], path: &Path) -> std::io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(std::io::Error::other)?;
        let users = parse(&String::from_utf8_lossy(bytes), path);
        Ok(Self {
            families: families(&users),
            users,
            key,
            remembered: Mutex::default(),
        })
    }

    fn summary(&self) -> String {
        format!("{} users", self.users.len())
    }
}

impl Reading {
    fn digest(&self, name: &str, password: &str) -> Digest {
        let mut text = Vec::with_capacity(32 + name.len() + 1 + password.len());
        text.extend_from_slice(&self.key);
        text.extend_from_slice(name.as_bytes());
        // A name has no colon, so the parts cannot be shifted against each other.
        text.push(b':');
        text.extend_from_slice(password.as_bytes());
        Digest::of(&text)
    }

    /// The user's name where the password is right. A wrong one takes the same work for every name: a hash of each family.
    fn verify(&self, name: &str, password: &str) -> Verdict {
        let known = self.users.get_key_value(name);
        let mut right = false;
        for hash in self.work(name) {
            let fits = hash.verify(password);
            // What is computed besides is nobody's hash, whatever it says.
            right |= fits && known.is_some_and(|(_, own)| std::ptr::eq(own, hash));
        }
        known.filter(|_| right).map(|(name, _)| Arc::clone(name))
    }

    /// What is computed for a password of `name`: his own hash in the place of his family's.
    fn work(&self, name: &str) -> impl Iterator<Item = &Hash> {
        let own = self.users.get(name).map(|own| (own.family(), own));
        self.families
            .iter()
            .map(move |(family, example)| match &own {
                Some((own_family, own)) if own_family == family => own,
                _ => example,
            })
    }

    fn recall(&self, name: &str, credentials: Digest, now: i64) -> Verdict {
        let mut remembered = self.remembered();
        let until = remembered.get_mut(&credentials)?;
        // A clock that was set back far must not make a memory last.
        if now >= *until || *until - now > REMEMBER {
            return None;
        }
        if *until - now < REMEMBER - NOTED {
            *until = now + REMEMBER;
        }
        drop(remembered);
        self.users
            .get_key_value(name)
            .map(|(name, _)| Arc::clone(name))
    }

    fn remember(&self, credentials: Digest, now: i64) {
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, until| *until > now);
            // All of them in use: start over rather than grow. It costs each user one verification.
            if remembered.len() >= REMEMBERED {
                remembered.clear();
            }
        }
        remembered.insert(credentials, now.saturating_add(REMEMBER));
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, i64>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines that can be used. The first line of a user counts, as for Apache.
fn parse(text: &str, path: &Path) -> HashMap<Arc<str>, Hash> {
    let mut users = HashMap::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.trim()))
    {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parsed = match line.split_once(':') {
            Some(("", _)) => Err("no user name before the colon"),
            // Some writers add more fields; only the first two count.
            Some((name, rest)) => {
                Hash::parse(rest.split(':').next().unwrap_or(rest)).map(|hash| (name, hash))
            }
            None => Err("no colon between user name and hash"),
        };
        let problem = match parsed {
            Ok((name, _)) if users.contains_key(name) => "this user has a line already",
            Ok((name, hash)) => {
                users.insert(Arc::from(name), hash);
                continue;
            }
            Err(problem) => problem,
        };
        tracing::warn!(
            file.path = %path.display(),
            file.line = number,
            "users file `{}` line {number} is not used: {problem}",
            path.display()
        );
    }
    users
}

/// One hash of each family; one that fits nothing where there are no users.
fn families(users: &HashMap<Arc<str>, Hash>) -> Vec<(String, Hash)> {
    let mut families: BTreeMap<String, &Hash> = BTreeMap::new();
    for hash in users.values() {
        families.entry(hash.family()).or_insert(hash);
    }
    if families.is_empty() {
        return vec![(String::new(), Hash::nobody())];
    }
    let families = families.into_iter();
    families
        .map(|(family, hash)| (family, hash.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use jiff::Timestamp;
    use std::path::PathBuf;
    use std::time::Duration;

    const SECRET: &str = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";
    const WORD: &str = "{SHA}JfOwpCDy5ASLqp0M24rdutzyYk8=";

    struct World {
        _folder: tempfile::TempDir,
        path: PathBuf,
        clock: Clock,
        users: Users,
    }

    impl World {
        fn new(text: &str) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("htpasswd");
            std::fs::write(&path, text).expect("written");
            let clock = Clock::manual(Timestamp::UNIX_EPOCH);
            let users = Users::open(&path, clock.clone()).expect("opened");
            Self {
                _folder: folder,
                path,
                clock,
                users,
            }
        }

        async fn knows(&self, name: &str, password: &str) -> bool {
            match self.users.verify(name, password, None).await {
                Ok(found) => {
                    assert_eq!(&*found, name);
                    true
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
                    false
                }
            }
        }

        fn remembered(&self) -> usize {
            self.users.file.known().remembered().len()
        }
    }

    #[tokio::test]
    async fn broken_lines_do_not_take_the_others_along() {
        let world = World::new(&format!(
            "# comment\n\nci:{SECRET}\nnocolon\nplain:secret\n:{SECRET}\nci:{WORD}\r\nomar:{WORD}\r\nold:$1$x$y\nmore:{WORD}:extra\n"
        ));
        assert!(world.knows("ci", "secret").await);
        assert!(
            !world.knows("ci", "pass:word").await,
            "the first line counts"
        );
        assert!(world.knows("omar", "pass:word").await);
        assert!(world.knows("more", "pass:word").await);
        for name in ["plain", "old", "nocolon", "", "# comment"] {
            assert!(!world.knows(name, "secret").await, "{name}");
        }
    }

    #[tokio::test]
    async fn right_passwords_are_remembered_and_wrong_ones_are_not() {
        let world = World::new(&format!("ci:{SECRET}\n"));
        assert!(!world.knows("ci", "wrong").await);
        assert!(!world.knows("nobody", "secret").await);
        assert_eq!(world.remembered(), 0);
        assert!(world.knows("ci", "secret").await);
        assert_eq!(world.remembered(), 1);
        assert!(!world.knows("ci", "wrong").await);
        assert!(!world.knows("c", "i:secret").await);
        // With the hash out of reach only the memory can answer.
        world.users.queue.close();
        for _ in 0..5 {
            // In use it stays.
            assert!(world.knows("ci", "secret").await);
            world.clock.advance(Duration::from_secs(4 * 60));
        }
        world.clock.advance(Duration::from_secs(60));
        let verified = world.users.verify("ci", "secret", None).await;
        assert_eq!(
            verified.expect_err("forgotten").kind(),
            ErrorKind::RateLimited
        );
    }

    #[tokio::test]
    async fn a_changed_file_counts_from_the_next_second() {
        let world = World::new(&format!("ci:{SECRET}\n"));
        assert!(world.knows("ci", "secret").await);
        std::fs::write(&world.path, format!("ci:{WORD}\nnew:{WORD}\n")).expect("written");
        assert!(!world.knows("new", "pass:word").await, "not looked at yet");
        world.clock.advance(Duration::from_secs(1));
        assert!(
            !world.knows("ci", "secret").await,
            "nothing is remembered across a change"
        );
        assert!(world.knows("ci", "pass:word").await && world.knows("new", "pass:word").await);

        std::fs::remove_file(&world.path).expect("removed");
        world.clock.advance(Duration::from_secs(1));
        assert!(
            world.knows("ci", "pass:word").await,
            "a missing file changes nothing"
        );

        std::fs::write(&world.path, format!("other:{WORD}\n")).expect("written");
        world.clock.advance(Duration::from_secs(1));
        assert!(world.knows("other", "pass:word").await && !world.knows("ci", "pass:word").await);
    }

    #[tokio::test]
    async fn the_memory_is_bounded() {
        let world = World::new("");
        let reading = world.users.file.known();
        for number in 0..3 * REMEMBERED {
            reading.remember(Digest::of(&number.to_le_bytes()), 0);
        }
        assert!(world.remembered() <= REMEMBERED);
    }

    #[tokio::test]
    async fn right_users_who_are_known_wait_for_nobody() {
        let world = World::new(&format!("ci:{SECRET}\nnew:{SECRET}\n"));
        assert!(world.knows("ci", "secret").await);
        let _nothing_is_computed = world.users.queue.hold();
        let attack = world.users.verify("ci", "guess", None);
        tokio::pin!(attack);
        assert!(futures_util::poll!(attack.as_mut()).is_pending());
        assert_eq!(world.users.queue.len(), 1);
        assert!(world.knows("ci", "secret").await);
    }

    #[tokio::test]
    async fn a_password_without_an_end_is_wrong_at_once() {
        let world = World::new(&format!("ci:{SECRET}\n"));
        world.users.queue.close();
        let long = "x".repeat(LONGEST + 1);
        assert!(!world.knows("ci", &long).await && !world.knows("nobody", &long).await);
    }

    /// Time is not measured here, but what takes it.
    #[test]
    fn a_wrong_password_costs_the_same_for_every_name() {
        let argon =
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let other = SECRET.replace("$05$", "$06$");
        for text in [
            String::new(),
            format!("a:{SECRET}\nb:{SECRET}\n"),
            format!("a:{WORD}\nb:{SECRET}\nc:{SECRET}\nd:{argon}\ne:{other}\n"),
        ] {
            let world = World::new(&text);
            let reading = world.users.file.known();
            let work = |name: &str| -> Vec<_> { reading.work(name).map(Hash::family).collect() };
            let nobody = work("nobody");
            assert!(!nobody.is_empty());
            for name in reading.users.keys() {
                assert_eq!(work(name), nobody, "{name}");
                let own = &reading.users[name];
                assert!(reading.work(name).any(|hash| std::ptr::eq(hash, own)));
            }
        }
    }

    #[tokio::test]
    async fn what_is_computed_besides_lets_nobody_in() {
        // The password of one family's example, with the name of somebody in another, and with no name that exists.
        let world = World::new(&format!("a:{WORD}\nb:{SECRET}\n"));
        assert!(world.knows("a", "pass:word").await && world.knows("b", "secret").await);
        for (name, password) in [
            ("a", "secret"),
            ("b", "pass:word"),
            ("c", "secret"),
            ("c", "pass:word"),
        ] {
            assert!(!world.knows(name, password).await, "{name}");
        }
        assert_eq!(world.remembered(), 2);
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let error =
            Users::open(Path::new("/nowhere/htpasswd"), Clock::system()).expect_err("missing");
        assert!(error.message().contains("/nowhere/htpasswd"));
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Users::open(folder.path(), Clock::system()).is_err());
    }
}
