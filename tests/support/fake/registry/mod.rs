//! A registry with its token server and the place of its blobs, polite or not.
//!
//! ```ignore
//! let hub = FakeRegistry::of(Row::DockerHub).image("library/nginx", "1.25").run();
//! hub.fault(Spot::Token, Fault::Status(503));     // from now on
//! hub.heal();
//! assert_eq!(hub.count(Spot::Token), 1);
//! ```

mod rows;
mod site;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use pingora::tls::TlsAcceptor;
use tokio::net::TcpListener;

use self::rows::Manners;
pub(crate) use self::rows::{HeadStyle, Row};
pub(crate) use self::site::basic;
use self::site::{Repository, Site, digest};
use super::Background;
use super::certificates::Authority;
use super::fault::{Fault, Hold};
use super::package::noise;
use super::site::{Answer, Recorded};
use super::wire::{self, Rush, Service};

/// Which requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// All of them.
    All,
    /// GET `/v2/`
    Door,
    /// HEAD of manifests.
    Heads,
    /// GET of manifests.
    Manifests,
    /// Blobs, at the registry.
    Blobs,
    /// Blobs, where their bytes are.
    Elsewhere,
    /// Lists of tags.
    Tags,
    /// Lists of referrers.
    Referrers,
    /// The token server.
    Token,
}

impl Spot {
    fn covers(self, request: &Recorded, token_path: &str) -> bool {
        let path = request.path.as_str();
        if path == token_path {
            return matches!(self, Self::All | Self::Token);
        }
        match self {
            Self::All => true,
            Self::Token => false,
            Self::Door => path == "/v2/",
            Self::Heads => path.contains("/manifests/") && request.method == "HEAD",
            Self::Manifests => path.contains("/manifests/") && request.method == "GET",
            Self::Blobs => path.contains("/blobs/"),
            Self::Elsewhere => path.starts_with("/cdn/"),
            Self::Tags => path.ends_with("/tags/list"),
            Self::Referrers => path.contains("/referrers/"),
        }
    }
}

/// A request as it came, with its body.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Its head.
    pub(crate) head: Recorded,
    /// Its body.
    pub(crate) body: Bytes,
}

/// An image that a fake holds.
#[derive(Clone, Debug)]
pub(crate) struct FakeImage {
    /// The digest of the manifest.
    pub(crate) digest: String,
    /// The bytes of the manifest.
    pub(crate) manifest: Bytes,
    /// The digest of the one layer.
    pub(crate) layer: String,
    /// The bytes of the layer.
    pub(crate) bytes: Bytes,
}

/// What a fake registry shall be; [`FakeRegistry::run`] starts it.
#[derive(Debug)]
pub(crate) struct FakeRegistry {
    site: Site,
    tls: Option<(Authority, Vec<String>)>,
}

impl FakeRegistry {
    /// A registry without any credentials and peculiarities.
    pub(crate) fn open() -> Self {
        Self::with(Manners {
            bearer: false,
            ..Manners::default()
        })
    }

    /// A registry that behaves like those of `row`.
    pub(crate) fn of(row: Row) -> Self {
        Self::with(row.manners())
    }

    fn with(manners: Manners) -> Self {
        Self {
            site: Site::new(manners),
            tls: None,
        }
    }

    fn mannered(mut self, change: impl FnOnce(&mut Manners)) -> Self {
        change(&mut self.site.manners);
        self
    }

    /// Adds an image with one layer of 50,000 bytes, whose content follows from its name and tag.
    pub(crate) fn image(self, repository: &str, tag: &str) -> Self {
        self.image_of(repository, tag, 50_000)
    }

    /// Adds an image with one layer of so many bytes.
    pub(crate) fn image_of(mut self, repository: &str, tag: &str, size: usize) -> Self {
        add_image(&mut self.site, repository, tag, size);
        self
    }

    /// Makes a repository invisible for strangers.
    pub(crate) fn private(mut self, repository: &str) -> Self {
        self.repository(repository).private = true;
        self
    }

    /// Adds a referrer of a manifest: in the API's list, or under the fallback tag where the registry has no API.
    pub(crate) fn referrer(mut self, repository: &str, subject: &str, kind: &str) -> Self {
        let config = br#"{}"#;
        let body = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"{kind}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":2}},"layers":[],"subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{subject}","size":1}}}}"#,
            digest(config)
        );
        let name = digest(body.as_bytes());
        let descriptor = format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{name}","size":{},"artifactType":"{kind}"}}"#,
            body.len()
        );
        let has_api = self.site.manners.referrers;
        let held = self.repository(repository);
        let image = "application/vnd.oci.image.manifest.v1+json".to_owned();
        held.manifests.insert(name, (image, body.into()));
        let all = held.referrers.entry(subject.to_owned()).or_default();
        all.push(descriptor);
        if !has_api {
            let text = format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
                all.join(",")
            );
            let name = digest(text.as_bytes());
            let index = "application/vnd.oci.image.index.v1+json".to_owned();
            held.manifests.insert(name.clone(), (index, text.into()));
            held.tags.insert(subject.replace(':', "-"), name);
        }
        self
    }

    /// Puts these bytes with this type under a tag.
    pub(crate) fn manifest(
        mut self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Self {
        let bytes = bytes.into();
        let name = digest(&bytes);
        let held = self.repository(repository);
        held.manifests
            .insert(name.clone(), (media_type.to_owned(), bytes));
        held.tags.insert(tag.to_owned(), name);
        self
    }

    /// Puts an image manifest under a tag and any digest.
    pub(crate) fn manifest_named(
        mut self,
        repository: &str,
        tag: &str,
        digest: &str,
        bytes: impl Into<Bytes>,
    ) -> Self {
        let held = self.repository(repository);
        let image = "application/vnd.oci.image.manifest.v1+json".to_owned();
        held.manifests
            .insert(digest.to_owned(), (image, bytes.into()));
        held.tags.insert(tag.to_owned(), digest.to_owned());
        self
    }

    /// Adds a blob.
    pub(crate) fn blob(mut self, repository: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        self.repository(repository)
            .blobs
            .insert(digest(&bytes), bytes);
        self
    }

    /// Puts these bytes under any digest.
    pub(crate) fn blob_named(
        mut self,
        repository: &str,
        digest: &str,
        bytes: impl Into<Bytes>,
    ) -> Self {
        let bytes = bytes.into();
        let held = self.repository(repository);
        held.blobs.insert(digest.to_owned(), bytes);
        self
    }

    fn repository(&mut self, name: &str) -> &mut Repository {
        self.site.repositories.entry(name.to_owned()).or_default()
    }

    /// Somebody whom the registry knows.
    pub(crate) fn user(mut self, name: &str, password: &str) -> Self {
        self.site.user = Some((name.to_owned(), password.to_owned()));
        self
    }

    /// A refresh token that POST exchanges.
    pub(crate) fn refresh_token(mut self, token: &str) -> Self {
        self.site.refresh_token = Some(token.to_owned());
        self
    }

    /// Names this URL as its token server.
    pub(crate) fn realm(self, url: &str) -> Self {
        self.mannered(|manners| manners.realm = Some(url.to_owned()))
    }

    /// Gives no tokens to strangers.
    pub(crate) fn known_only(self) -> Self {
        self.mannered(|manners| manners.anonymous = false)
    }

    /// What HEAD of a manifest is good for.
    pub(crate) fn head(self, style: HeadStyle) -> Self {
        self.mannered(|manners| manners.head = style)
    }

    /// Redirects blobs to another place.
    pub(crate) fn blobs_elsewhere(self) -> Self {
        self.mannered(|manners| manners.blobs_elsewhere = true)
    }

    /// Ignores `Range`.
    pub(crate) fn without_ranges(self) -> Self {
        self.mannered(|manners| manners.ranges = false)
    }

    /// So many tags a page.
    pub(crate) fn page(self, tags: usize) -> Self {
        self.mannered(|manners| manners.page = tags)
    }

    /// Names this as the next page of every list of tags.
    pub(crate) fn next_page(self, link: &str) -> Self {
        self.mannered(|manners| manners.forced_link = Some(link.to_owned()))
    }

    /// Tokens last so many seconds.
    pub(crate) fn expires_in(self, seconds: u64) -> Self {
        self.mannered(|manners| manners.expires_in = Some(seconds))
    }

    /// Speaks TLS, with a certificate of `authority` for these names and addresses.
    pub(crate) fn tls(mut self, authority: &Authority, names: &[&str]) -> Self {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        self.tls = Some((authority.clone(), names));
        self
    }

    /// Starts it on two free ports of 127.0.0.1: the registry with its token server, and the place of its blobs.
    pub(crate) fn run(self) -> RunningRegistry {
        let runtime = Background::new();
        let bind = || {
            let listener = runtime
                .wait_for(TcpListener::bind("127.0.0.1:0"))
                .expect("a free port");
            let address = listener.local_addr().expect("a bound socket");
            (listener, address)
        };
        let ((here, address), (elsewhere, other)) = (bind(), bind());
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut site = self.site;
        site.here = format!("{scheme}://{address}");
        site.elsewhere = format!("{scheme}://{other}");
        let acceptor = self
            .tls
            .map(|(authority, names)| authority.acceptor(&names, None));
        let shared = Arc::new(Shared {
            site: Mutex::new(site),
            acceptor,
            rush: Rush::default(),
        });
        for listener in [here, elsewhere] {
            runtime.spawn(wire::accept(listener, Arc::clone(&shared)));
        }
        RunningRegistry {
            address,
            scheme,
            shared,
            _runtime: runtime,
        }
    }
}

fn add_image(site: &mut Site, repository: &str, tag: &str, size: usize) -> FakeImage {
    let seed = repository.bytes().chain(tag.bytes()).map(u64::from).sum();
    let bytes = Bytes::from(noise(size, seed));
    let config = Bytes::from(format!(
        r#"{{"architecture":"amd64","os":"linux","tag":"{tag}"}}"#
    ));
    let layer = digest(&bytes);
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{layer}","size":{size}}}],"annotations":{{"repository":"{repository}"}}}}"#,
        digest(&config),
        config.len(),
    );
    let manifest = Bytes::from(body);
    let name = digest(&manifest);
    let held = site.repositories.entry(repository.to_owned()).or_default();
    held.blobs.insert(digest(&config), config);
    held.blobs.insert(layer.clone(), bytes.clone());
    let image = "application/vnd.oci.image.manifest.v1+json".to_owned();
    held.manifests
        .insert(name.clone(), (image, manifest.clone()));
    held.tags.insert(tag.to_owned(), name.clone());
    FakeImage {
        digest: name,
        manifest,
        layer,
        bytes,
    }
}

struct Shared {
    site: Mutex<Site>,
    acceptor: Option<TlsAcceptor>,
    rush: Rush,
}

impl Shared {
    fn site(&self) -> MutexGuard<'_, Site> {
        self.site.lock().expect("no test thread panicked with it")
    }
}

impl Service for Shared {
    fn acceptor(&self) -> Option<&TlsAcceptor> {
        self.acceptor.as_ref()
    }

    fn arrived(&self, request: &Recorded) -> (Option<Fault>, Vec<Hold>) {
        let mut site = self.site();
        site.log.push(Asked {
            head: request.clone(),
            body: Bytes::new(),
        });
        (site.next_fault(request), site.holds_for(request))
    }

    fn received(&self, request: &Recorded, body: &Bytes) {
        let mut site = self.site();
        let mut asked = site.log.iter_mut().rev();
        if let Some(asked) = asked.find(|asked| asked.head == *request) {
            asked.body = body.clone();
        }
    }

    fn answer(&self, request: &Recorded, body: Bytes) -> Answer {
        self.site().answer(request, &body)
    }

    fn rush(&self) -> Option<&Rush> {
        Some(&self.rush)
    }
}

/// A running fake registry.
pub(crate) struct RunningRegistry {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    _runtime: Background,
}

impl RunningRegistry {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, ending in `/`.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}/", self.scheme, self.address)
    }

    /// Where its blobs are, without a slash at the end.
    pub(crate) fn elsewhere(&self) -> String {
        self.shared.site().elsewhere.clone()
    }

    /// Names these URLs in challenges, links and redirects, because it is reached under them.
    pub(crate) fn known_as(&self, here: &str, elsewhere: &str) {
        let mut site = self.shared.site();
        site.here = here.to_owned();
        site.elsewhere = elsewhere.to_owned();
    }

    /// Adds an image, or moves its tag.
    pub(crate) fn add(&self, repository: &str, tag: &str, size: usize) -> FakeImage {
        add_image(&mut self.shared.site(), repository, tag, size)
    }

    /// The image under a tag.
    pub(crate) fn image(&self, repository: &str, tag: &str) -> FakeImage {
        let site = self.shared.site();
        let held = &site.repositories[repository];
        let name = held.tags[tag].clone();
        let manifest = held.manifests[&name].1.clone();
        let value: serde_json::Value = serde_json::from_slice(&manifest).expect("json");
        let layer = value["layers"][0]["digest"]
            .as_str()
            .expect("a layer")
            .to_owned();
        FakeImage {
            digest: name,
            bytes: held.blobs[&layer].clone(),
            layer,
            manifest,
        }
    }

    /// Makes every token that was given worthless.
    pub(crate) fn revoke_tokens(&self) {
        self.shared.site().revoke();
    }

    /// Takes another password from now on.
    pub(crate) fn change_password(&self, password: &str) {
        if let Some((_, held)) = &mut self.shared.site().user {
            password.clone_into(held);
        }
    }

    /// What goes wrong at `spot` from now on. The last fault counts.
    pub(crate) fn fault(&self, spot: Spot, fault: Fault) {
        self.shared.site().faults.push((spot, fault, usize::MAX));
    }

    /// As [`RunningRegistry::fault`], for the next `times` requests there.
    pub(crate) fn fault_times(&self, spot: Spot, times: usize, fault: Fault) {
        self.shared.site().faults.push((spot, fault, times));
    }

    /// Ends every fault and lets go of every held request.
    pub(crate) fn heal(&self) {
        let mut site = self.shared.site();
        site.faults.clear();
        for (_, hold) in site.holds.drain(..) {
            hold.release();
        }
    }

    /// Holds every request at `spot` (after it was counted) until released.
    pub(crate) fn hold(&self, spot: Spot) -> Hold {
        let hold = Hold::default();
        self.shared.site().holds.push((spot, hold.clone()));
        hold
    }

    /// Every request at `spot`, oldest first.
    pub(crate) fn asked(&self, spot: Spot) -> Vec<Asked> {
        let site = self.shared.site();
        let token_path = site.manners.token_path;
        let here = site
            .log
            .iter()
            .filter(|asked| spot.covers(&asked.head, token_path));
        here.cloned().collect()
    }

    /// The most requests that were under way at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.rush.most()
    }

    /// How many requests came at `spot`.
    pub(crate) fn count(&self, spot: Spot) -> usize {
        self.asked(spot).len()
    }

    /// Forgets what was asked.
    pub(crate) fn forget(&self) {
        self.shared.site().log.clear();
    }
}

impl std::fmt::Debug for RunningRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RunningRegistry({})", self.url())
    }
}
