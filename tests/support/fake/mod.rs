//! Upstreams that do exactly what a test wants: charts, faults that can be switched at run time, counters.
//!
//! ```ignore
//! let upstream = FakeHelm::new().chart("nginx", "15.1.0").run();
//! upstream.fail_index(Fault::Status(503));        // from now on
//! upstream.heal();
//! assert_eq!(upstream.count("/index.yaml"), 1);
//!
//! let hold = upstream.hold(Target::Archives);     // every archive request waits ...
//! hold.waiting(1).await;                          // ... and this one returns when one does
//! hold.release();
//! ```
//!
//! [`FakeS3`] is a bucket service with the same habits; see `s3/mod.rs`.
//!
//! A fake runs on a thread of its own, so it serves synchronous and asynchronous tests alike, and stops when it is dropped.
//! It speaks HTTP/1.1 by hand, because libraries refuse to send the broken answers that tests need.

#![allow(
    dead_code,
    unused_imports,
    reason = "a kit: not every part is in use at every moment"
)]

mod certificates;
mod door;
mod fault;
mod http2;
pub(crate) mod jwks;
mod package;
mod proxy;
mod registry;
pub(crate) mod s3;
mod service;
mod site;
mod wire;

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

pub(crate) use self::certificates::Authority;
use self::door::Door;
pub(crate) use self::fault::{Fault, Hold, Target};
pub(crate) use self::http2::{End, FakeHttp2};
pub(crate) use self::package::{FakeChart, noise, package};
pub(crate) use self::proxy::FakeProxy;
pub(crate) use self::registry::{
    FakeImage, FakeRegistry, HeadStyle, Row, RunningRegistry, Spot, basic,
};
pub(crate) use self::s3::{FakeBucket, FakeS3, On};
pub(crate) use self::service::{Asked, FakeService, Said};
pub(crate) use self::site::Recorded;
use self::site::{Answer, Site};
use self::wire::{Rush, Service};

/// What a fake upstream shall be; [`FakeHelm::run`] starts it.
#[derive(Debug, Default)]
pub(crate) struct FakeHelm {
    site: Site,
    tls: Option<(Authority, Vec<String>)>,
    client_authority: Option<Authority>,
}

impl FakeHelm {
    /// An upstream without charts, at `/`, over plain HTTP, with strong ETags and ranges.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a valid chart under `charts/<name>-<version>.tgz`, listed with a relative URL and its digest.
    pub(crate) fn chart(self, name: &str, version: &str) -> Self {
        self.with(FakeChart::new(name, version))
    }

    /// Adds a chart with its particulars.
    pub(crate) fn with(mut self, chart: FakeChart) -> Self {
        self.site.add(chart);
        self
    }

    /// Serves this text instead of an index made from the charts.
    pub(crate) fn index(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.site.index = Some(text.into().into());
        self
    }

    /// Serves these bytes under `path`.
    pub(crate) fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.site.files.insert(path.to_owned(), bytes.into().into());
        self
    }

    /// Answers 401 unless `Authorization` has exactly this value, on every path.
    pub(crate) fn require_authorization(mut self, value: &str) -> Self {
        self.site.authorization = Some(value.to_owned());
        self
    }

    /// Compresses the index for clients that accept it.
    pub(crate) fn gzip(mut self) -> Self {
        self.site.gzip = true;
        self
    }

    /// Sends no ETag and no Last-Modified.
    pub(crate) fn without_validators(mut self) -> Self {
        self.site.validators = false;
        self
    }

    /// Ignores `Range`, as simple servers do.
    pub(crate) fn without_ranges(mut self) -> Self {
        self.site.ranges = false;
        self
    }

    /// Serves bodies chunked, without Content-Length.
    pub(crate) fn chunked(mut self) -> Self {
        self.site.chunked = true;
        self
    }

    /// Speaks TLS, with a certificate of `authority` for these names and addresses.
    pub(crate) fn tls(mut self, authority: &Authority, names: &[&str]) -> Self {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        self.tls = Some((authority.clone(), names));
        self
    }

    /// Wants client certificates of `authority` (needs [`FakeHelm::tls`]).
    pub(crate) fn require_client_certificate(mut self, authority: &Authority) -> Self {
        self.client_authority = Some(authority.clone());
        self
    }

    /// Starts it on a free port of 127.0.0.1.
    pub(crate) fn run(self) -> FakeUpstream {
        let acceptor = self
            .tls
            .map(|(authority, names)| authority.acceptor(&names, self.client_authority.as_ref()));
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        FakeUpstream {
            scheme,
            door: Door::open(Shared {
                site: Mutex::new(self.site),
                acceptor,
                rush: Rush::default(),
            }),
        }
    }
}

/// What connections and the test share.
struct Shared {
    site: Mutex<Site>,
    acceptor: Option<pingora::tls::TlsAcceptor>,
    rush: Rush,
}

impl Shared {
    fn site(&self) -> MutexGuard<'_, Site> {
        self.site.lock().expect("no test thread panicked with it")
    }
}

impl Service for Shared {
    fn acceptor(&self) -> Option<&pingora::tls::TlsAcceptor> {
        self.acceptor.as_ref()
    }

    fn arrived(&self, request: &Recorded) -> (Option<Fault>, Vec<Hold>) {
        let mut site = self.site();
        site.log.push(request.clone());
        (
            site.next_fault(&request.path),
            site.holds_for(&request.path),
        )
    }

    fn answer(&self, request: &Recorded, _body: Bytes) -> Answer {
        self.site().answer(request)
    }

    fn chunked(&self) -> bool {
        self.site().chunked
    }

    fn rush(&self) -> Option<&Rush> {
        Some(&self.rush)
    }
}

/// A running fake upstream.
pub(crate) struct FakeUpstream {
    scheme: &'static str,
    door: Door<Shared>,
}

impl FakeUpstream {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// The repository's URL, ending in `/`.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}/", self.scheme, self.address())
    }

    /// The URL of `path` (which starts with `/`).
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address())
    }

    /// The same port under another host name (`localhost`, or a name that a proxy knows).
    pub(crate) fn at_host(&self, host: &str, path: &str) -> String {
        format!("{}://{host}:{}{path}", self.scheme, self.address().port())
    }

    /// Adds a chart, or replaces the one of that name and version.
    pub(crate) fn add(&self, chart: FakeChart) {
        self.site().add(chart);
    }

    /// Takes a version out of the index and away.
    pub(crate) fn remove(&self, name: &str, version: &str) {
        self.site().remove(name, version);
    }

    /// Serves this text as index from now on.
    pub(crate) fn set_index(&self, text: impl Into<Vec<u8>>) {
        self.site().index = Some(text.into().into());
    }

    /// Serves these bytes under `path` from now on.
    pub(crate) fn set_file(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into().into();
        self.site().files.insert(path.to_owned(), bytes);
    }

    /// The index as it would be served now.
    pub(crate) fn index_text(&self) -> Bytes {
        self.site().index_text()
    }

    /// The bytes of a chart's archive.
    pub(crate) fn archive(&self, name: &str, version: &str) -> Bytes {
        self.site().archive(name, version)
    }

    /// What goes wrong with requests for `target` from now on. The last matching fault counts.
    pub(crate) fn fault(&self, target: Target, fault: Fault) {
        self.site().faults.push((target, fault, usize::MAX));
    }

    /// As [`FakeUpstream::fault`], for the next `times` matching requests.
    pub(crate) fn fault_times(&self, target: Target, times: usize, fault: Fault) {
        self.site().faults.push((target, fault, times));
    }

    /// What goes wrong with the index from now on.
    pub(crate) fn fail_index(&self, fault: Fault) {
        self.fault(Target::Index, fault);
    }

    /// What goes wrong with archives from now on.
    pub(crate) fn fail_archives(&self, fault: Fault) {
        self.fault(Target::Archives, fault);
    }

    /// Answers everything with `status` from now on.
    pub(crate) fn fail_with(&self, status: u16) {
        self.fault(Target::All, Fault::Status(status));
    }

    /// Ends every fault and lets go of every held request; listens again after [`FakeUpstream::refuse`].
    pub(crate) fn heal(&self) {
        {
            let mut site = self.site();
            site.faults.clear();
            for (_, hold) in site.holds.drain(..) {
                hold.release();
            }
        }
        self.door.reopen();
    }

    /// Closes the port and every connection: the next client is refused. The port stays ours.
    pub(crate) fn refuse(&self) {
        self.door.close();
    }

    /// Holds every request for `target` (after it was counted) until released.
    pub(crate) fn hold(&self, target: Target) -> Hold {
        let hold = Hold::default();
        self.site().holds.push((target, hold.clone()));
        hold
    }

    /// How many requests came for `path` (without query).
    pub(crate) fn count(&self, path: &str) -> usize {
        let site = self.site();
        site.log.iter().filter(|seen| seen.path == path).count()
    }

    /// How many requests came.
    pub(crate) fn total(&self) -> usize {
        self.site().log.len()
    }

    /// The most requests that were under way at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.door.service().rush.most()
    }

    /// Every request, oldest first.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.site().log.clone()
    }

    /// The last request for `path`.
    pub(crate) fn last(&self, path: &str) -> Option<Recorded> {
        let site = self.site();
        site.log
            .iter()
            .rev()
            .find(|seen| seen.path == path)
            .cloned()
    }

    fn site(&self) -> MutexGuard<'_, Site> {
        self.door.service().site()
    }
}

impl std::fmt::Debug for FakeUpstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FakeUpstream({})", self.url())
    }
}

/// A runtime on a thread of its own that may be dropped inside another runtime.
pub(super) struct Background(Option<Runtime>);

impl Background {
    pub(super) fn new() -> Self {
        Self(Some(
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .thread_name("fake")
                .build()
                .expect("a runtime"),
        ))
    }

    pub(super) fn spawn(
        &self,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        self.0.as_ref().expect("dropped last").spawn(future)
    }

    /// Waits for `future` on the fake's runtime, from inside or outside of any other.
    pub(super) fn wait_for<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (send, receive) = std::sync::mpsc::channel();
        self.spawn(async move {
            let _ = send.send(future.await);
        });
        receive.recv().expect("the fake's runtime lives")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
