//! Uploads: blobs on their way in, in as many requests as the client likes, over restarts of this process.
//!
//! [`Uploads`] is the table of a store's uploads. Nothing of an upload can be seen by readers before [`Uploads::seal`] found its
//! bytes to be what their digest says and the store gave them their place. An upload belongs to a tenant, a repository and a
//! subject; for others it does not exist, so the random name alone suffices in a `Location`. Uploads live on this machine's
//! disk: behind a balancer all requests of one upload must reach the same replica. Knows nothing about HTTP's headers.

mod hosted;
mod id;
mod lane;
mod pour;
mod seal;
mod session;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::time::Duration;

pub use self::hosted::Stored;
pub(super) use self::hosted::{folder, open};
pub use self::id::{Random, UploadId};
use self::pour::{Bounds, Broken, pour};
pub(super) use self::seal::Sealed;
pub use self::session::Owner;
use self::session::{Session, unknown};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::http::RequestBody;
use crate::oci::Algorithm;

/// How many uploads a tenant may have, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// At a time. Default 1,000.
    pub sessions: usize,
    /// Since somebody last did something with it. Default 1 h.
    pub idle: Duration,
    /// Since it began. Default 24 h.
    pub total: Duration,
}

impl Default for Bound {
    fn default() -> Self {
        Self {
            sessions: 1_000,
            idle: Duration::from_hours(1),
            total: Duration::from_hours(24),
        }
    }
}

/// How much may arrive.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// The largest blob, in bytes.
    pub largest: u64,
    /// What is left of the tenant's quota, in bytes; `None`: there is no quota. All its uploads share it.
    pub quota_left: Option<u64>,
}

/// The uploads of one store.
#[derive(Debug)]
pub struct Uploads {
    folder: PathBuf,
    clock: Clock,
    random: Random,
    bound: Bound,
    table: Mutex<HashMap<UploadId, Arc<Session>>>,
    /// Set when these uploads are looked after.
    watched: Once,
}

impl Uploads {
    /// The uploads in `folder`, also those that earlier processes began: they are found when somebody asks for them. Makes
    /// nothing and looks at nothing, because a command has no business with the uploads of the process that serves.
    pub fn open(folder: PathBuf, clock: Clock, random: Random, bound: Bound) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            watched: Once::new(),
            folder,
            clock,
            random,
            bound,
        })
    }

    /// Begins to look after these uploads, also those that earlier processes began: what nobody comes back to is removed, until
    /// the last owner is gone. For whoever serves; the first upload does it too. Inside the runtime.
    pub fn look_after(self: &Arc<Self>) {
        self.watched.call_once(|| {
            tokio::spawn(Self::watch(Arc::downgrade(self)));
        });
    }

    async fn watch(this: Weak<Self>) {
        if let Some(uploads) = this.upgrade() {
            let load = blocking(move || {
                uploads.load_all();
                Ok(())
            });
            // Fails only when the runtime ends.
            let _ = load.await;
        }
        let first = tokio::time::Instant::now() + REAP_EVERY;
        let mut ticks = tokio::time::interval_at(first, REAP_EVERY);
        loop {
            ticks.tick().await;
            let Some(uploads) = this.upgrade() else {
                return;
            };
            uploads.reap().await;
        }
    }

    /// Begins an upload. `algorithm` is what the client says that it will use, for sha512 to be computed while bytes arrive.
    ///
    /// Errors: `RateLimited` where the tenant has as many as it may.
    pub async fn start(
        self: &Arc<Self>,
        owner: &Owner,
        algorithm: Option<Algorithm>,
    ) -> Result<UploadId> {
        self.look_after();
        let running = {
            let table = self.table();
            let of_tenant = |session: &&Arc<Session>| session.owner.tenant() == owner.tenant();
            table.values().filter(of_tenant).count()
        };
        if running >= self.bound.sessions {
            return Err(Error::new(
                ErrorKind::RateLimited,
                format!(
                    "`{}` has {running} uploads under way; finish or cancel some",
                    owner.tenant()
                ),
            )
            .with_retry_after(REAP_EVERY));
        }
        let (this, owner) = (Arc::clone(self), owner.clone());
        blocking(move || {
            let (id, now) = (this.random.id()?, this.clock.now());
            let session = Session::begin(&this.folder, id, owner, algorithm, now)?;
            this.table().insert(id, Arc::new(session));
            Ok(id)
        })
        .await
    }

    /// Adds a body; returns the new length. `range` is the first and the last byte as `Content-Range` says; without one the
    /// body goes to the end.
    ///
    /// Errors: `OutOfOrder` with the length where the range does not begin there, `Conflict` while another request writes,
    /// `Invalid` where range and body have different lengths, `TooLarge`, `QuotaExceeded`: after all these the upload is as it
    /// was. A body that breaks off is its own error, and what arrived stays: [`Uploads::status`] tells where to go on.
    pub async fn append(
        self: &Arc<Self>,
        owner: &Owner,
        id: UploadId,
        range: Option<(u64, u64)>,
        body: &mut dyn RequestBody,
        room: Room,
    ) -> Result<u64> {
        let session = self.find(owner, id).await?;
        let writer = self.writer(&session).await?;
        self.take_in(&writer, range, body, room).await?;
        let length = session.length();
        blocking(move || {
            writer.let_go();
            Ok(length)
        })
        .await
    }

    /// How many bytes have arrived. Errors: `NotFound`.
    pub async fn status(self: &Arc<Self>, owner: &Owner, id: UploadId) -> Result<u64> {
        let session = self.find(owner, id).await?;
        session.touch(self.clock.now());
        blocking(move || session.look()).await
    }

    /// Ends an upload and forgets its bytes. Errors: `NotFound`; `Conflict` while a request writes.
    pub async fn cancel(self: &Arc<Self>, owner: &Owner, id: UploadId) -> Result<()> {
        let session = self.find(owner, id).await?;
        let writer = self.writer(&session).await?;
        self.forget(writer.session.id);
        blocking(move || {
            writer.session.discard();
            Ok(())
        })
        .await
    }

    /// Removes uploads that are over, and files that belong to none. Returns how many. Nobody's writing is disturbed.
    pub async fn reap(self: &Arc<Self>) -> usize {
        let this = Arc::clone(self);
        blocking(move || Ok(this.sweep())).await.unwrap_or_default()
    }

    /// How many uploads there are, and how many bytes they have, of one tenant.
    pub fn usage(&self, tenant: &str) -> (usize, u64) {
        let table = self.table();
        let lengths = table
            .values()
            .filter(|session| session.owner.tenant() == tenant)
            .map(|session| session.length());
        lengths.fold((0, 0), |(count, bytes), length| (count + 1, bytes + length))
    }

    /// Checks the range, adds the body, and undoes what must not count.
    async fn take_in(
        &self,
        writer: &Arc<session::Writer>,
        range: Option<(u64, u64)>,
        body: &mut dyn RequestBody,
        room: Room,
    ) -> Result<()> {
        let session = &writer.session;
        let length = session.length();
        let announced = match range {
            None => None,
            Some((first, _)) if first != length => {
                return Err(Error::new(
                    ErrorKind::OutOfOrder(length),
                    format!(
                        "the upload has {length} bytes, and the range begins at {first}; go on at {length}"
                    ),
                ));
            }
            Some((first, last)) if last >= first => Some((last - first).saturating_add(1)),
            // Some clients write an empty chunk like this.
            Some((first, last)) if last + 1 == first => Some(0),
            Some((first, last)) => {
                return Err(Error::invalid(format!(
                    "`{first}-{last}` is not a range; write the first byte and the last"
                )));
            }
        };
        if let (Some(announced), Some(length)) = (announced, body.length())
            && announced != length
        {
            return Err(pour::wrong_length(announced, length));
        }
        // What other uploads of the tenant hold is taken already.
        let others = self.usage(session.owner.tenant()).1.saturating_sub(length);
        let bounds = Bounds {
            announced,
            largest: room.largest,
            quota: room
                .quota_left
                .map_or(u64::MAX, |left| left.saturating_sub(others)),
        };
        session.touch(self.clock.now());
        let mark = writer.mark();
        let poured = pour(writer, body, bounds).await;
        session.touch(self.clock.now());
        match poured {
            Ok(()) => Ok(()),
            Err(Broken::Disk(error)) => Err(error),
            Err(Broken::Body(error)) => {
                let writer = Arc::clone(writer);
                blocking(move || {
                    writer.let_go();
                    Err(error)
                })
                .await
            }
            Err(Broken::Refused(error)) => {
                let writer = Arc::clone(writer);
                blocking(move || {
                    writer.go_back(mark)?;
                    writer.let_go();
                    Err(error)
                })
                .await
            }
        }
    }

    async fn writer(&self, session: &Arc<Session>) -> Result<Arc<session::Writer>> {
        let session = Arc::clone(session);
        blocking(move || session.write().map(Arc::new)).await
    }

    /// The upload of that name, if it is this owner's and not over.
    async fn find(self: &Arc<Self>, owner: &Owner, id: UploadId) -> Result<Arc<Session>> {
        let known = self.table().get(&id).cloned();
        let session = match known {
            Some(session) => session,
            None => {
                let this = Arc::clone(self);
                blocking(move || this.load(id).ok_or_else(unknown)).await?
            }
        };
        match session.owner == *owner && !self.is_over(&session) {
            true => Ok(session),
            false => Err(unknown()),
        }
    }

    fn is_over(&self, session: &Session) -> bool {
        self.clock.since(session.touched()) > self.bound.idle
            || self.clock.since(session.started) > self.bound.total
    }

    /// Takes over an upload that another process began. Blocking.
    fn load(&self, id: UploadId) -> Option<Arc<Session>> {
        let session = Arc::new(Session::find(&self.folder, id)?);
        let mut table = self.table();
        Some(Arc::clone(table.entry(id).or_insert(session)))
    }

    fn forget(&self, id: UploadId) {
        self.table().remove(&id);
    }

    /// Takes over whatever is in the folder. Blocking.
    fn load_all(&self) {
        for id in self.written_down() {
            self.load(id);
        }
    }

    /// The names of all uploads in the folder. Blocking.
    fn written_down(&self) -> Vec<UploadId> {
        let names = file_names(&self.folder);
        let ids = names.iter().filter_map(|name| name.strip_suffix(".json"));
        ids.filter_map(|text| text.parse().ok()).collect()
    }

    /// Blocking.
    fn sweep(&self) -> usize {
        self.load_all();
        let over: Vec<Arc<Session>> = {
            let table = self.table();
            let over = table.values().filter(|session| self.is_over(session));
            over.cloned().collect()
        };
        let mut count = 0;
        for session in over {
            // Locked by whoever still writes, perhaps another process.
            let writer = match session.write() {
                Ok(writer) => writer,
                Err(error) if error.kind() == ErrorKind::Conflict => continue,
                Err(_) => {
                    session.discard();
                    self.forget(session.id);
                    continue;
                }
            };
            if !self.is_over(&session) {
                continue;
            }
            writer.session.discard();
            self.forget(session.id);
            count += 1;
            tracing::info!(upload = %session.id, bytes = session.length(), "an upload that nobody went on with is removed");
        }
        count + self.sweep_strays()
    }

    /// Files without their other half: a process died between the two. Blocking.
    fn sweep_strays(&self) -> usize {
        let names = file_names(&self.folder);
        let mut count = 0;
        for name in &names {
            let (stem, other) = match name.rsplit_once('.') {
                Some((stem, "part")) => (stem, format!("{stem}.json")),
                Some((stem, "json")) => (stem, format!("{stem}.part")),
                // A copy that was not finished belongs to nobody.
                Some((stem, "new")) => (stem, String::new()),
                _ => continue,
            };
            let Ok(id) = stem.parse::<UploadId>() else {
                continue;
            };
            let path = self.folder.join(name);
            if names.contains(&other) || !is_older(&path, self.bound.idle) {
                continue;
            }
            self.forget(id);
            count += usize::from(fs::remove_file(path).is_ok());
        }
        count
    }

    fn table(&self) -> MutexGuard<'_, HashMap<UploadId, Arc<Session>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names of the files in a folder. Blocking.
fn file_names(folder: &Path) -> std::collections::HashSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|elapsed| elapsed > age))
}

/// Runs `work` on the blocking pool. It runs to its end even if the caller goes away.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("work on an upload ended early", error))?
}

/// Makes an upload that the disk refuses an answer that says what to do.
fn cannot_spool(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(ErrorKind::QuotaExceeded, "the disk of uploads is full").with_source(error)
        }
        _ => Error::internal("an upload cannot be kept on the disk", error),
    }
}

/// How often uploads are looked over.
const REAP_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
