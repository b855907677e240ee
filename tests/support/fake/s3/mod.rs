//! A bucket service that does exactly what a test wants: S3's protocol over a loopback socket, with faults and counters.
//!
//! ```ignore
//! let s3 = FakeS3::new("charts")                  // one bucket; path style and virtual host
//!     .chart("team", "nginx", "15.1.0")           // a valid package at team/nginx-15.1.0.tgz
//!     .object("team/index.yaml", text)
//!     .credentials("AKID")                        // 403 for requests that are not signed with this access key
//!     .page_size(100)                             // a listing has at most so many keys (default 1000)
//!     .run();
//! let endpoint = s3.url();                        // http://127.0.0.1:port
//!
//! s3.put("team/a-1.0.0.tgz", bytes);              // behind the service's back; each write is a second later than the last
//! s3.fault(On::List, Fault::Shortened(500));      // from now on: listings that end in the middle of their XML
//! s3.fault(On::Page(2), Fault::Close);            // the second page of every listing
//! s3.fault_times(On::Put, 1, Fault::CutUpload(9));// the connection breaks in the middle of one PUT; nothing is stored
//! s3.fault_times(On::Put, 1, Fault::CutAfter(0)); // it is stored, and the answer is lost
//! s3.slow_down(On::All);                          // 503 SlowDown
//! s3.refusal(On::Read, 403, "AccessDenied");      // any error of the protocol
//! s3.vanish("team/a-1.0.0.tgz");                  // listed and gone
//! s3.heal();                                      // all well again
//! s3.refuse();                                    // connection refused, until `heal`
//!
//! let hold = s3.hold(On::Put);                    // see `Hold`
//! assert_eq!(s3.count(&On::Archives), 0);         // how many packages were fetched
//! assert_eq!(s3.keys(), ["team/index.yaml"]);     // what is stored, and `s3.bytes(key)`
//! assert_eq!(s3.uploads(), 0);                    // multipart uploads that were neither completed nor aborted
//! ```
//!
//! Further faults, all of `Fault`: `Late` (slow first byte), `StallAfter` (stalled body), `CutAfter` (cut body), `Header("ETag", …)`
//! (wrong ETag), `LengthTooLong`, `Status(429)`, `WrongBytes`, … Later faults go before earlier ones. It speaks ListObjects in both
//! versions, Get (ranges, If-None-Match, If-Match), Head, Put (If-None-Match: *), multipart uploads, Delete and DeleteObjects.

mod answers;
mod listing;
mod meaning;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use md5::{Digest as _, Md5};

use self::meaning::Meaning;
pub(crate) use self::meaning::On;
use super::door::Door;
use super::fault::{Fault, Hold};
use super::package::package;
use super::site::{Answer, Recorded};
use super::wire::Service;

/// What a fake bucket service shall be; [`FakeS3::run`] starts it.
#[derive(Debug)]
pub(crate) struct FakeS3 {
    state: State,
    tls: Option<(super::Authority, Vec<String>)>,
}

impl FakeS3 {
    /// A service with one empty bucket that everybody may read and write.
    pub(crate) fn new(bucket: &str) -> Self {
        Self {
            state: State::new(bucket),
            tls: None,
        }
    }

    /// Stores an object.
    pub(crate) fn object(mut self, key: &str, bytes: impl Into<Bytes>) -> Self {
        self.state.put(key, bytes.into());
        self
    }

    /// Stores a small valid package at `<folder>/<name>-<version>.tgz`; `folder` is empty or has no slash at its end.
    pub(crate) fn chart(self, folder: &str, name: &str, version: &str) -> Self {
        let slash = if folder.is_empty() { "" } else { "/" };
        let key = format!("{folder}{slash}{name}-{version}.tgz");
        self.object(&key, package(name, version, &[]))
    }

    /// Answers 403 to everything that is not signed (SigV4, header) with this access key.
    pub(crate) fn credentials(mut self, access_key: &str) -> Self {
        self.state.access_key = Some(access_key.to_owned());
        self
    }

    /// How many keys a page of a listing has at most.
    pub(crate) fn page_size(mut self, keys: usize) -> Self {
        self.state.page_size = keys;
        self
    }

    /// Nobody may list: listings are 403, and so is every object that does not exist.
    pub(crate) fn without_listing(mut self) -> Self {
        self.state.may_list = false;
        self
    }

    /// Speaks TLS, with a certificate of `authority` for these names and addresses.
    pub(crate) fn tls(mut self, authority: &super::Authority, names: &[&str]) -> Self {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        self.tls = Some((authority.clone(), names));
        self
    }

    /// Starts it on a free port of 127.0.0.1.
    pub(crate) fn run(self) -> FakeBucket {
        let acceptor = self
            .tls
            .map(|(authority, names)| authority.acceptor(&names, None));
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        FakeBucket {
            scheme,
            door: Door::open(Shared {
                state: Mutex::new(self.state),
                acceptor,
            }),
        }
    }
}

/// A running bucket service. It ends when it is dropped.
pub(crate) struct FakeBucket {
    scheme: &'static str,
    door: Door<Shared>,
}

impl FakeBucket {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// The service's URL (the `endpoint`), without a slash at its end.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address())
    }

    /// Stores an object, or replaces it, a second after the last write.
    pub(crate) fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        self.state().put(key, bytes.into());
    }

    /// As [`FakeBucket::put`] with a time of the test's choice.
    pub(crate) fn put_at(&self, key: &str, bytes: impl Into<Bytes>, modified: Timestamp) {
        let mut state = self.state();
        state.put(key, bytes.into());
        if let Some(object) = state.objects.get_mut(key) {
            object.modified = modified;
        }
    }

    /// Takes an object away.
    pub(crate) fn remove(&self, key: &str) {
        self.state().objects.remove(key);
    }

    /// The object is listed from now on, and is not there when it is asked for. Undone by the next write.
    pub(crate) fn vanish(&self, key: &str) {
        let mut state = self.state();
        let object = state.objects.get_mut(key).expect("an object that is there");
        object.gone = true;
    }

    /// What is stored, sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// The bytes of an object.
    pub(crate) fn bytes(&self, key: &str) -> Option<Bytes> {
        let state = self.state();
        state.objects.get(key).map(|object| object.bytes.clone())
    }

    /// When an object was written.
    pub(crate) fn modified(&self, key: &str) -> Option<Timestamp> {
        self.state().objects.get(key).map(|object| object.modified)
    }

    /// Multipart uploads that nobody completed or aborted.
    pub(crate) fn uploads(&self) -> usize {
        self.state().uploads.len()
    }

    /// What goes wrong with requests of this kind from now on. The last matching fault counts.
    pub(crate) fn fault(&self, on: On, fault: Fault) {
        self.state().faults.push((on, fault, usize::MAX));
    }

    /// As [`FakeBucket::fault`], for the next `times` matching requests.
    pub(crate) fn fault_times(&self, on: On, times: usize, fault: Fault) {
        self.state().faults.push((on, fault, times));
    }

    /// Answers these requests with an error of the protocol, such as `404, "NoSuchKey"`.
    pub(crate) fn refusal(&self, on: On, status: u16, code: &str) {
        self.fault(on, refusal(status, code));
    }

    /// Answers these requests with 503 SlowDown.
    pub(crate) fn slow_down(&self, on: On) {
        self.refusal(on, 503, "SlowDown");
    }

    /// Ends every fault and lets go of every held request; listens again after [`FakeBucket::refuse`].
    pub(crate) fn heal(&self) {
        {
            let mut state = self.state();
            state.faults.clear();
            for object in state.objects.values_mut() {
                object.gone = false;
            }
            for (_, hold) in state.holds.drain(..) {
                hold.release();
            }
        }
        self.door.reopen();
    }

    /// Closes the port and every connection: the next client is refused. The port stays ours.
    pub(crate) fn refuse(&self) {
        self.door.close();
    }

    /// Holds every request of this kind (after it was counted, before it is done) until released.
    pub(crate) fn hold(&self, on: On) -> Hold {
        let hold = Hold::default();
        self.state().holds.push((on, hold.clone()));
        hold
    }

    /// How many requests of this kind came.
    pub(crate) fn count(&self, on: &On) -> usize {
        let state = self.state();
        state
            .log
            .iter()
            .filter(|(_, meaning)| on.covers(meaning))
            .count()
    }

    /// How many requests came.
    pub(crate) fn total(&self) -> usize {
        self.state().log.len()
    }

    /// Every request, oldest first.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        let state = self.state();
        state
            .log
            .iter()
            .map(|(request, _)| request.clone())
            .collect()
    }

    /// Forgets the requests that came so far.
    pub(crate) fn forget(&self) {
        self.state().log.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.door.service().state()
    }
}

impl std::fmt::Debug for FakeBucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FakeBucket({})", self.url())
    }
}

/// An error of the protocol as a fault, for [`FakeBucket::fault_times`].
pub(crate) fn refusal(status: u16, code: &str) -> Fault {
    let answer = answers::refusal(status, code, "a fault");
    Fault::Answer(answer.status, answer.headers, answer.body.to_vec())
}

/// What connections and the test share.
struct Shared {
    state: Mutex<State>,
    acceptor: Option<pingora::tls::TlsAcceptor>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test thread panicked with it")
    }
}

impl Service for Shared {
    fn acceptor(&self) -> Option<&pingora::tls::TlsAcceptor> {
        self.acceptor.as_ref()
    }

    fn arrived(&self, request: &Recorded) -> (Option<Fault>, Vec<Hold>) {
        let mut state = self.state();
        let meaning = Meaning::of(request, &state.bucket);
        let fault = state.next_fault(&meaning);
        let holds = state
            .holds
            .iter()
            .filter(|(on, _)| on.covers(&meaning))
            .map(|(_, hold)| hold.clone())
            .collect();
        state.log.push((request.clone(), meaning));
        (fault, holds)
    }

    fn answer(&self, request: &Recorded, body: Bytes) -> Answer {
        let mut state = self.state();
        let meaning = Meaning::of(request, &state.bucket);
        state.answer(request, &meaning, body)
    }
}

/// The service's content and habits.
#[derive(Debug)]
struct State {
    bucket: String,
    objects: BTreeMap<String, Stored>,
    uploads: BTreeMap<String, Upload>,
    started: usize,
    now: Timestamp,
    access_key: Option<String>,
    may_list: bool,
    page_size: usize,
    faults: Vec<(On, Fault, usize)>,
    holds: Vec<(On, Hold)>,
    log: Vec<(Recorded, Meaning)>,
}

/// One object.
#[derive(Debug)]
struct Stored {
    bytes: Bytes,
    /// With its quotes.
    etag: String,
    modified: Timestamp,
    /// Listed, and not there when it is asked for.
    gone: bool,
}

/// A multipart upload under way.
#[derive(Debug, Default)]
struct Upload {
    key: String,
    parts: BTreeMap<usize, Bytes>,
}

impl State {
    fn new(bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            started: 0,
            now: "2026-01-02T03:04:05Z".parse().expect("a time"),
            access_key: None,
            may_list: true,
            page_size: 1000,
            faults: Vec::new(),
            holds: Vec::new(),
            log: Vec::new(),
        }
    }

    fn put(&mut self, key: &str, bytes: Bytes) {
        let etag = format!("\"{}\"", hex(&Md5::digest(&bytes)));
        self.put_as(key, bytes, etag);
    }

    fn put_as(&mut self, key: &str, bytes: Bytes, etag: String) {
        self.now += SignedDuration::from_secs(1);
        let object = Stored {
            bytes,
            etag,
            modified: self.now,
            gone: false,
        };
        self.objects.insert(key.to_owned(), object);
    }

    /// The fault for a request, using it up.
    fn next_fault(&mut self, meaning: &Meaning) -> Option<Fault> {
        let (_, fault, left) = self
            .faults
            .iter_mut()
            .rev()
            .find(|(on, _, left)| *left > 0 && on.covers(meaning))?;
        if *left != usize::MAX {
            *left -= 1;
        }
        Some(fault.clone())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
