//! Users of an htpasswd file: reread when it changes, verified on blocking threads, remembered for a while.
//!
//! A right password is remembered under a keyed hash, so that a bcrypt user can pull a thousand times a second. The memory
//! belongs to one reading of the file and goes away with it, so a changed password counts at once. A wrong password is
//! never remembered, and a user that does not exist costs as much time as one that does.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::hash::Hash;
use super::watched::{Content, Watched};
use crate::clock::Clock;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// How long a right password is remembered, in milliseconds.
const REMEMBER: i64 = 5 * 60 * 1_000;
/// How many right passwords are remembered; about 100 bytes each.
const REMEMBERED: usize = 10_000;
/// How many verifications may wait for a thread before clients are told to come back.
const QUEUE: usize = 256;
/// The users of an htpasswd file.
#[derive(Debug)]
pub struct Users {
    file: Watched<Reading>,
    clock: Clock,
    /// Threads that may compute hashes at the same time: one less than there are cores leaves the others their work.
    threads: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

/// One state of the file.
struct Reading {
    users: HashMap<Arc<str>, Hash>,
    /// What an unknown user is verified against.
    nobody: Hash,
    /// What the keys of `remembered` are hashed with: a leak of them is worth nothing without it.
    key: [u8; 32],
    /// Right credentials, and until when they are remembered.
    remembered: Mutex<HashMap<Digest, i64>>,
}

impl Users {
    /// Reads the file. Errors: it cannot be read; broken lines only cost a warning each. Blocking.
    pub fn open(path: &Path, clock: Clock) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            file: Watched::open(path, clock.clone())?,
            clock,
            threads: Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))),
            queue: Arc::new(Semaphore::new(QUEUE)),
        })
    }

    /// The user's name as shared text where the password is right, else [`ErrorKind::Unauthenticated`].
    ///
    /// [`ErrorKind::RateLimited`]: too many passwords are being verified already. Cancel-safe: a computation that was
    /// started goes on and keeps its place among the threads until it is done.
    pub async fn verify(&self, name: &str, password: &str) -> Result<Arc<str>> {
        let reading = self.file.current().await;
        let credentials = reading.digest(name, password);
        if let Some(name) = reading.recall(name, credentials, self.clock.now().as_millisecond()) {
            return Ok(name);
        }
        self.compute(reading, credentials, name, password).await
    }

    /// Tells one password of the user from the next, in every process that has the same file; `None` for nobody. A secret.
    pub(super) async fn fingerprint(&self, name: &str) -> Option<Digest> {
        let reading = self.file.current().await;
        reading.users.get(name).map(Hash::fingerprint)
    }

    async fn compute(
        &self,
        reading: Arc<Reading>,
        credentials: Digest,
        name: &str,
        password: &str,
    ) -> Result<Arc<str>> {
        let busy = || {
            Error::new(
                ErrorKind::RateLimited,
                "too many passwords are being verified; try again",
            )
            .with_retry_after(Duration::from_secs(1))
        };
        let place = Arc::clone(&self.queue)
            .try_acquire_owned()
            .map_err(|_| busy())?;
        let thread = Arc::clone(&self.threads)
            .acquire_owned()
            .await
            .map_err(|_| busy())?;
        // Clients come in swarms: whoever waited may find that the one before has done the work.
        if let Some(name) = reading.recall(name, credentials, self.clock.now().as_millisecond()) {
            return Ok(name);
        }
        let (name, password) = (name.to_owned(), password.to_owned());
        let clock = self.clock.clone();
        let verified = tokio::task::spawn_blocking(move || {
            let _held_until_done = (place, thread);
            let known = reading.users.get_key_value(name.as_str());
            let hash = known.map_or(&reading.nobody, |(_, hash)| hash);
            let right = hash.verify(&password);
            let (name, _) = known.filter(|_| right)?;
            reading.remember(credentials, clock.now().as_millisecond());
            Some(Arc::clone(name))
        })
        .await
        .map_err(|error| Error::internal("a password could not be verified", error))?;
        verified.ok_or_else(wrong)
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
            nobody: usual(&users),
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

    fn recall(&self, name: &str, credentials: Digest, now: i64) -> Option<Arc<str>> {
        let until = *self.remembered().get(&credentials)?;
        // A clock that was set back far must not make a memory last.
        if now >= until || until - now > REMEMBER {
            return None;
        }
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

/// The hash of the family that most users have, so that an unknown user takes their time.
fn usual(users: &HashMap<Arc<str>, Hash>) -> Hash {
    let mut families: HashMap<&str, (usize, &Hash)> = HashMap::new();
    for hash in users.values() {
        families.entry(hash.family()).or_insert((0, hash)).0 += 1;
    }
    families
        .into_values()
        .max_by_key(|(count, _)| *count)
        .map_or_else(Hash::nobody, |(_, hash)| hash.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use std::path::PathBuf;

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
            match self.users.verify(name, password).await {
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
        world.users.threads.close();
        assert!(world.knows("ci", "secret").await);
        world.clock.advance(Duration::from_secs(5 * 60));
        let error = world
            .users
            .verify("ci", "secret")
            .await
            .expect_err("forgotten");
        assert_eq!(error.kind(), ErrorKind::RateLimited);
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
    async fn a_swarm_is_turned_away_rather_than_queued_without_end() {
        let world = World::new(&format!("ci:{SECRET}\n"));
        let _all = world.users.queue.try_acquire_many(256).expect("idle");
        let error = world.users.verify("ci", "secret").await.expect_err("busy");
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(error.retry_after().is_some());
    }

    #[test]
    fn an_unknown_user_is_verified_with_the_usual_hash() {
        let users = parse(
            &format!("a:{WORD}\nb:{SECRET}\nc:{SECRET}\n"),
            Path::new("htpasswd"),
        );
        assert!(matches!(usual(&users), Hash::Bcrypt(_)));
        assert_eq!(usual(&HashMap::new()), Hash::nobody());
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
