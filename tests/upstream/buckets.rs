use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chartgate::clock::Clock;
use chartgate::config;
use chartgate::digest::Digest;
use chartgate::error::{Error, ErrorKind, Result};
use chartgate::index::SourceIndex;
use chartgate::metrics::Metrics;
use chartgate::net::{Clients, EnvironmentProxies, Retries};
use chartgate::upstream::{BrokenPackage, IndexReply, Notebook, S3, Upstream as _, Validators};

use super::{read, text_of};
use crate::support::fake::{
    Authority, FakeBucket, FakeHelm, FakeProxy, FakeS3, Fault, On, package,
};

/// The configuration of an upstream that reads `prefix` of a fake's bucket `charts`.
pub(super) fn source(fake: &FakeBucket, prefix: &str) -> config::Source {
    config::Source::Bucket(Box::new(store(&fake.url(), prefix)))
}

fn store(endpoint: &str, prefix: &str) -> config::ObjectStore {
    config::ObjectStore {
        service: config::Service::S3(config::S3 {
            bucket: "charts".to_owned(),
            region: Some("us-east-1".to_owned()),
            endpoint: Some(endpoint.to_owned()),
            path_style: true,
            anonymous: true,
            ..config::S3::default()
        }),
        prefix: prefix.to_owned(),
        client: config::Client {
            allow_private: true,
            timeout: Duration::from_secs(20),
            ..config::Client::default()
        },
    }
}

/// Notes in memory: what a restart leaves.
#[derive(Debug, Default)]
struct Notes(Mutex<BTreeMap<String, Bytes>>);

#[async_trait]
impl Notebook for Notes {
    async fn read(&self, name: &str) -> Option<Bytes> {
        self.0.lock().expect("no panic").get(name).cloned()
    }

    async fn write(&self, name: &str, note: Bytes) -> Result<()> {
        self.0
            .lock()
            .expect("no panic")
            .insert(name.to_owned(), note);
        Ok(())
    }
}

/// An upstream named `acme`, as a test wants it.
#[derive(Clone)]
struct Acme {
    store: config::ObjectStore,
    retries: Retries,
    notes: Arc<Notes>,
    metrics: Arc<Metrics>,
}

fn acme(fake: &FakeBucket, prefix: &str) -> Acme {
    Acme {
        store: store(&fake.url(), prefix),
        retries: Retries {
            first_pause: Duration::from_millis(1),
            seed: Some(1),
            ..Retries::default()
        },
        notes: Arc::default(),
        metrics: Arc::default(),
    }
}

impl Acme {
    fn with(mut self, change: impl FnOnce(&mut config::S3, &mut config::Client)) -> Self {
        let config::Service::S3(s3) = &mut self.store.service else {
            unreachable!("it is made so")
        };
        change(s3, &mut self.store.client);
        self
    }

    fn impatient(self) -> Self {
        self.with(|_, client| client.timeout = Duration::from_millis(600))
    }

    fn signed(self) -> Self {
        self.with(|s3, _| {
            s3.anonymous = false;
            s3.access_key_id = Some("AKID".to_owned());
            s3.secret_access_key = Some(config::Secret::new("s3cret"));
        })
    }

    /// As after a restart: nothing but the notes is left.
    fn build(&self) -> S3 {
        let clients = Clients::with(self.retries.clone(), EnvironmentProxies::none());
        S3::new(
            Arc::from("acme"),
            &self.store,
            &clients,
            Arc::clone(&self.metrics),
            &Clock::system(),
            Arc::clone(&self.notes) as Arc<dyn Notebook>,
        )
        .expect("a valid section")
    }
}

/// What a bucket without an index shows.
struct Look {
    index: Arc<SourceIndex>,
    broken: Vec<BrokenPackage>,
    validators: Validators,
}

impl Look {
    /// `name-version` of everything, sorted.
    fn names(&self) -> Vec<String> {
        let charts = self.index.charts();
        let mut names: Vec<_> = charts
            .flat_map(|(_, chart)| chart.entries().iter().map(|entry| entry.file_name()))
            .collect();
        names.sort();
        names
    }

    fn url(&self, chart: &str) -> String {
        let chart = self.index.get(chart).expect("is listed");
        chart.entries()[0].urls[0].to_string()
    }
}

async fn look(upstream: &S3) -> Look {
    looked(upstream.fetch_index(None).await.expect("an index"))
}

fn looked(reply: IndexReply) -> Look {
    match reply {
        IndexReply::Entries {
            index,
            broken,
            validators,
        } => Look {
            index,
            broken,
            validators,
        },
        other @ (IndexReply::NotModified | IndexReply::Text { .. }) => {
            panic!("not entries: {other:?}")
        }
    }
}

async fn index_error(upstream: &S3) -> Error {
    let error = upstream.fetch_index(None).await.expect_err("no index");
    assert!(error.message().starts_with("upstream `acme`"), "{error:?}");
    error
}

fn assert_says(error: &Error, words: &str) {
    assert!(error.message().contains(words), "{error:?}");
}

#[tokio::test]
async fn packages_directly_below_the_prefix_are_listed_with_digest_and_bytes() {
    let archive = package("a", "1.0.0+b.1", &[]);
    let fake = FakeS3::new("charts")
        .object("stable/whatever it is.tgz", archive.clone())
        .chart("stable", "b", "2.0.0")
        .chart("stable/deeper", "c", "1.0.0")
        .chart("stable-2", "d", "1.0.0")
        .object("stable-1.0.0.tgz", "a sibling of the folder")
        .object("stable/.part-1.0.0.tgz", "half")
        .object("stable/readme.txt", "no package")
        .object("stable/", "what consoles make of folders")
        .page_size(2)
        .run();
    let upstream = acme(&fake, "stable").build();
    let found = look(&upstream).await;
    assert_eq!(found.names(), ["a-1.0.0+b.1.tgz", "b-2.0.0.tgz"]);
    assert_eq!(found.broken, []);
    assert_eq!(fake.count(&On::Archives), 2);

    let entry = &found.index.get("a").expect("is listed").entries()[0];
    assert_eq!(entry.digest, Some(Digest::of(&archive)));
    assert_eq!(entry.created, fake.modified("stable/whatever it is.tgz"));
    assert_eq!(&*entry.urls[0], "s3://charts/stable/whatever%20it%20is.tgz");
    let download = upstream.open(&entry.urls[0], 0).await.expect("opens");
    assert_eq!(read(download).await.expect("whole"), archive);
}

#[tokio::test]
async fn the_root_of_a_bucket_is_a_place_too() {
    let fake = FakeS3::new("charts")
        .chart("", "a", "1.0.0")
        .chart("deeper", "b", "1.0.0")
        .run();
    let upstream = acme(&fake, "").build();
    let found = look(&upstream).await;
    assert_eq!(found.names(), ["a-1.0.0.tgz"]);
    let download = upstream.open(&found.url("a"), 0).await.expect("opens");
    assert_eq!(
        read(download).await.expect("whole"),
        fake.bytes("a-1.0.0.tgz").expect("there")
    );
}

#[tokio::test]
async fn an_empty_prefix_is_an_empty_index_and_a_missing_bucket_is_none() {
    let fake = FakeS3::new("charts").run();
    let found = look(&acme(&fake, "stable").build()).await;
    assert_eq!(found.names(), [""; 0]);

    let missing = acme(&fake, "stable").with(|s3, _| s3.bucket = "other".to_owned());
    let error = index_error(&missing.build()).await;
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert_says(&error, "`other` does not exist");
}

#[tokio::test]
async fn only_what_changed_is_read_again() {
    let fake = FakeS3::new("charts")
        .chart("p", "a", "1.0.0")
        .chart("p", "b", "1.0.0")
        .object("p/bad-1.0.0.tgz", "no chart")
        .run();
    let upstream = acme(&fake, "p").build();
    let first = look(&upstream).await;
    assert_eq!(fake.count(&On::Archives), 3);
    assert_eq!(first.broken.len(), 1);
    assert_eq!(first.broken[0].file, "bad-1.0.0.tgz");

    let reply = upstream.fetch_index(Some(&first.validators)).await;
    assert!(matches!(reply.expect("an answer"), IndexReply::NotModified));
    fake.put("p/b-1.0.0.tgz", package("b", "1.0.0", &[("x", b"other")]));
    fake.put("p/c-1.0.0.tgz", package("c", "1.0.0", &[]));
    fake.remove("p/a-1.0.0.tgz");
    let reply = upstream.fetch_index(Some(&first.validators)).await;
    let second = looked(reply.expect("an answer"));
    assert_eq!(second.names(), ["b-1.0.0.tgz", "c-1.0.0.tgz"]);
    assert_eq!(fake.count(&On::Archives), 5);
    let digest = |found: &Look| found.index.get("b").expect("b").entries()[0].digest;
    assert_ne!(digest(&second), digest(&first));
    assert_eq!(second.broken, first.broken);
}

#[tokio::test]
async fn a_restart_reads_no_package_that_was_read_before() {
    let mut fake = FakeS3::new("charts").page_size(100);
    for number in 0..250 {
        fake = fake.chart("p", "app", &format!("1.0.{number}"));
    }
    let fake = fake.object("p/bad-1.0.0.tgz", "no chart").run();
    let acme = acme(&fake, "p");
    let first = look(&acme.build()).await;
    assert_eq!(first.index.versions(), 250);
    assert_eq!(fake.count(&On::Archives), 251);

    fake.forget();
    let reply = acme.build().fetch_index(Some(&first.validators)).await;
    assert!(matches!(reply.expect("an answer"), IndexReply::NotModified));
    // Even where the cache forgot the index, and what it said of it.
    let again = look(&acme.build()).await;
    assert_eq!(again.names(), first.names());
    assert_eq!(again.broken, first.broken);
    assert_eq!(fake.count(&On::Archives), 0);
    assert_eq!(fake.count(&On::List), 6);

    fake.put("p/new-1.0.0.tgz", package("new", "1.0.0", &[]));
    let again = look(&acme.build()).await;
    assert_eq!(again.index.versions(), 251);
    assert_eq!(fake.count(&On::Archives), 1);

    // Notes that are damaged cost transfers and nothing else.
    acme.notes
        .0
        .lock()
        .expect("no panic")
        .insert("packages/acme".to_owned(), Bytes::from("{"));
    let again = look(&acme.build()).await;
    assert_eq!(again.index.versions(), 251);
    assert_eq!(fake.count(&On::Archives), 253);
}

#[tokio::test]
async fn of_two_objects_with_one_version_the_newer_counts() {
    let fake = FakeS3::new("charts")
        .object("p/z.tgz", package("a", "1.0.0", &[("x", b"older")]))
        .object("p/a.tgz", package("a", "1.0.0", &[("x", b"newer")]))
        .run();
    let acme = acme(&fake, "p");
    for upstream in [acme.build(), acme.build()] {
        let found = look(&upstream).await;
        assert_eq!(found.url("a"), "s3://charts/p/a.tgz");
    }
    assert_eq!(
        fake.count(&On::Archives),
        2,
        "both are known after a restart"
    );
}

#[tokio::test]
async fn an_index_in_the_bucket_counts_instead_of_the_packages_and_may_go() {
    let fake = FakeS3::new("charts").chart("p", "a", "1.0.0").run();
    let upstream = acme(&fake, "p").build();
    let entries = look(&upstream).await.validators;

    let text = "apiVersion: v1\nentries: {}\n";
    fake.put("p/index.yaml", text);
    let reply = upstream
        .fetch_index(Some(&entries))
        .await
        .expect("an index");
    let IndexReply::Text {
        text: found,
        base,
        validators,
    } = reply
    else {
        panic!("not a text: {reply:?}")
    };
    assert_eq!(
        (&*found, base.as_str()),
        (text.as_bytes(), "s3://charts/p/")
    );

    let reads = fake.count(&On::Read);
    let reply = upstream.fetch_index(Some(&validators)).await;
    assert!(matches!(reply.expect("an answer"), IndexReply::NotModified));
    assert_eq!(fake.count(&On::Read), reads, "its stamp is enough");

    fake.remove("p/index.yaml");
    let reply = upstream.fetch_index(Some(&validators)).await;
    assert_eq!(looked(reply.expect("an index")).names(), ["a-1.0.0.tgz"]);
    assert_eq!(fake.count(&On::Archives), 1, "and is still known");
}

#[tokio::test]
async fn an_index_that_was_uploaded_compressed_is_unpacked() {
    use std::io::Write as _;
    let text = "apiVersion: v1\nentries: {}\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).expect("memory");
    let fake = FakeS3::new("charts")
        .object("index.yaml", gzip.finish().expect("memory"))
        .run();
    let (found, ..) = text_of(&acme(&fake, "").build()).await;
    assert_eq!(found, text);
}

#[tokio::test]
async fn urls_of_an_index_are_read_from_the_bucket_however_they_are_written() {
    let fake = FakeS3::new("charts")
        .object("p/index.yaml", "apiVersion: v1\nentries: {}\n")
        .object("p/a-1.0.0.tgz", "a")
        .object("p/charts/b-1.0.0+x.tgz", "b")
        .object("secret.tgz", "secret")
        .credentials("AKID")
        .run();
    let elsewhere = FakeHelm::new().file("/c-1.0.0.tgz", "c").run();
    let upstream = acme(&fake, "p").signed().build();
    let (_, base, _) = text_of(&upstream).await;
    let host = fake.address();
    for (url, bytes) in [
        (base.join("a-1.0.0.tgz").expect("a URL").to_string(), "a"),
        (
            base.join("charts/b-1.0.0+x.tgz")
                .expect("a URL")
                .to_string(),
            "b",
        ),
        ("s3://charts/p/charts/b-1.0.0%2Bx.tgz".to_owned(), "b"),
        (format!("http://{host}/charts/p/a-1.0.0.tgz"), "a"),
        (format!("https://{host}/charts/p/a-1.0.0.tgz"), "a"),
        (format!("s3://{host}/charts/p/a-1.0.0.tgz"), "a"),
        (elsewhere.at("/c-1.0.0.tgz"), "c"),
    ] {
        let download = upstream.open(&url, 0).await.expect(&url);
        assert_eq!(
            read(download).await.expect("whole"),
            bytes.as_bytes(),
            "{url}"
        );
    }
    let request = elsewhere.last("/c-1.0.0.tgz").expect("a request");
    for name in ["authorization", "x-amz-date", "x-amz-content-sha256"] {
        assert_eq!(request.header(name), None, "credentials stay at home");
    }

    for outside in [
        "s3://charts/secret.tgz",
        "s3://charts/p/../secret.tgz",
        "s3://charts/p%2F..%2Fsecret.tgz",
    ] {
        let error = upstream.open(outside, 0).await.expect_err(outside);
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    }
    // Signed by whoever wrote the index, so not by us.
    let signed = format!("http://{host}/charts/p/a-1.0.0.tgz?X-Amz-Signature=0");
    let error = upstream
        .open(&signed, 0)
        .await
        .expect_err("the fake wants ours");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
}

#[tokio::test]
async fn requests_are_signed_with_the_credentials_and_for_the_region() {
    let fake = FakeS3::new("charts")
        .chart("p", "a", "1.0.0")
        .credentials("AKID")
        .run();
    let signed = acme(&fake, "p")
        .signed()
        .with(|s3, _| s3.region = Some("pek3a".to_owned()));
    look(&signed.build()).await;
    for request in fake.requests() {
        let authorization = request.header("authorization").expect("signed");
        assert!(
            authorization.contains("Credential=AKID/"),
            "{authorization}"
        );
        assert!(
            authorization.contains("/pek3a/s3/aws4_request"),
            "{authorization}"
        );
    }

    let error = index_error(&acme(&fake, "p").build()).await;
    assert_eq!(error.kind(), ErrorKind::UpstreamUnauthorized);
    assert_says(
        &error,
        "without credentials; give them under `upstreams.acme.auth`",
    );
    let other = acme(&fake, "p")
        .signed()
        .with(|s3, _| s3.access_key_id = Some("OTHER".to_owned()));
    let error = index_error(&other.build()).await;
    assert_eq!(error.kind(), ErrorKind::UpstreamUnauthorized);
    assert!(!error.chain().contains("s3cret"), "{}", error.chain());
}

#[tokio::test]
async fn a_virtual_host_is_asked_by_its_name() {
    let fake = FakeS3::new("charts")
        .chart("p", "a", "1.0.0")
        .credentials("AKID")
        .run();
    let proxy = FakeProxy::run(&[("charts.s3.example:80", fake.address())]);
    let proxy_url = url::Url::parse(&proxy.url()).expect("a URL");
    let acme = acme(&fake, "p").signed().with(|s3, client| {
        s3.endpoint = Some("http://s3.example".to_owned());
        s3.path_style = false;
        client.allow_private = false;
        client.proxy = Some(proxy_url);
    });
    let upstream = acme.build();
    let found = look(&upstream).await;
    assert_eq!(found.names(), ["a-1.0.0.tgz"]);
    for url in [
        "http://charts.s3.example/p/a-1.0.0.tgz",
        "https://s3.example/charts/p/a-1.0.0.tgz",
    ] {
        let download = upstream.open(url, 0).await.expect("opens");
        read(download).await.expect("whole");
    }
    assert!(
        fake.requests()
            .iter()
            .all(|request| request.header("host") == Some("charts.s3.example"))
    );
}

#[tokio::test]
async fn private_addresses_need_leave_and_own_authorities_a_name() {
    let fake = FakeS3::new("charts").chart("p", "a", "1.0.0").run();
    let guarded = acme(&fake, "p").with(|_, client| client.allow_private = false);
    let error = index_error(&guarded.build()).await;
    assert_says(&error, "allow_private");
    assert_eq!(fake.total(), 0);

    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let fake = FakeS3::new("charts")
        .chart("p", "a", "1.0.0")
        .tls(&authority, &["127.0.0.1"])
        .run();
    let error = index_error(&acme(&fake, "p").build()).await;
    assert_says(&error, "not trusted");
    let trusting =
        acme(&fake, "p").with(|_, client| client.ca_file = Some(authority.write(folder.path())));
    assert_eq!(look(&trusting.build()).await.names(), ["a-1.0.0.tgz"]);
}

#[tokio::test]
async fn a_bucket_that_is_away_or_overloaded_tells_nothing() {
    let fake = FakeS3::new("charts").chart("p", "a", "1.0.0").run();
    let acme = acme(&fake, "p").impatient();
    let upstream = acme.build();
    let held = look(&upstream).await.validators;
    let faults: Vec<(On, Fault)> = vec![
        (On::All, Fault::Close),
        (On::All, Fault::Silence),
        (On::All, Fault::Status(429)),
        (On::All, Fault::Status(500)),
        (On::All, Fault::Html),
        (On::List, Fault::Silence),
        (On::List, Fault::StallAfter(100)),
        (On::List, Fault::CutAfter(100)),
        (On::List, Fault::Html),
        (On::List, Fault::Garbage(10_000)),
    ];
    for (on, fault) in faults {
        fake.fault(on.clone(), fault.clone());
        let error = upstream.fetch_index(Some(&held)).await;
        let error = error.expect_err("a fault");
        assert_eq!(
            error.kind(),
            ErrorKind::UpstreamUnavailable,
            "{on:?} {fault:?}: {error:?}"
        );
        assert_says(&error, "upstream `acme`");
        fake.heal();
    }
    fake.slow_down(On::All);
    assert_says(&index_error(&upstream).await, "503");
    let retry = vec![("Retry-After".to_owned(), "120".to_owned())];
    fake.fault(On::All, Fault::StatusWith(503, retry));
    let error = index_error(&upstream).await;
    assert_eq!(error.retry_after(), Some(Duration::from_secs(120)));
    fake.heal();
    fake.refuse();
    assert_says(&index_error(&upstream).await, "connection refused");
    fake.heal();
    let reply = upstream.fetch_index(Some(&held)).await;
    assert!(matches!(reply.expect("an answer"), IndexReply::NotModified));

    let metrics = String::from_utf8(acme.metrics.render(&[])).expect("text");
    assert!(
        metrics.contains("chartgate_upstream_up{upstream=\"acme\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("chartgate_upstream_requests_total{code=\"error\",upstream=\"acme\"}"),
        "{metrics}"
    );
}

#[tokio::test]
async fn half_a_listing_is_no_listing() {
    let mut fake = FakeS3::new("charts").page_size(10);
    for number in 0..25 {
        fake = fake.chart("p", "app", &format!("1.0.{number}"));
    }
    let fake = fake.run();
    let upstream = acme(&fake, "p").impatient().build();
    for fault in [
        (On::List, Fault::Shortened(600)),
        (On::List, Fault::Shortened(0)),
        (On::Page(2), Fault::Shortened(600)),
        (On::Page(2), Fault::Close),
        (On::Page(3), Fault::Status(500)),
    ] {
        fake.fault(fault.0.clone(), fault.1.clone());
        let error = index_error(&upstream).await;
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{fault:?}");
        assert_eq!(fake.count(&On::Archives), 0, "{fault:?}");
        fake.heal();
    }
    // A fault that passes is not noticed.
    fake.fault_times(On::Page(2), 1, Fault::Status(503));
    assert_eq!(look(&upstream).await.index.versions(), 25);
}

#[tokio::test]
async fn a_package_that_cannot_be_read_breaks_nothing_and_is_tried_again() {
    let fake = FakeS3::new("charts")
        .chart("p", "a", "1.0.0")
        .chart("p", "b", "1.0.0")
        .run();
    let acme = acme(&fake, "p").impatient();
    let key = "p/b-1.0.0.tgz";
    for (fault, words) in [
        (Fault::CutAfter(100), "tried again"),
        (Fault::StallAfter(100), "tried again"),
        (Fault::Status(500), "tried again"),
        (
            Fault::Answer(
                403,
                Vec::new(),
                b"<Error><Code>AccessDenied</Code></Error>".to_vec(),
            ),
            "refuses",
        ),
    ] {
        let upstream = Acme {
            notes: Arc::default(),
            ..acme.clone()
        }
        .build();
        fake.fault(On::Get(key.to_owned()), fault.clone());
        let found = look(&upstream).await;
        assert_eq!(found.names(), ["a-1.0.0.tgz"], "{fault:?}");
        assert_eq!(found.broken.len(), 1, "{fault:?}");
        assert!(found.broken[0].reason.contains(words), "{:?}", found.broken);
        // While nothing comes of it, the index stays the same one.
        let reply = upstream.fetch_index(None).await.expect("an answer");
        let still = looked(reply);
        assert_eq!(still.broken, found.broken, "{fault:?}");
        let reply = upstream.fetch_index(Some(&still.validators)).await;
        assert!(matches!(reply.expect("an answer"), IndexReply::NotModified));
        fake.heal();
        let reply = upstream.fetch_index(Some(&found.validators)).await;
        let healed = looked(reply.expect("an answer"));
        assert_eq!(healed.names(), ["a-1.0.0.tgz", "b-1.0.0.tgz"], "{fault:?}");
        assert_eq!(healed.broken, []);
    }

    // One that was known before stays as it was known.
    let upstream = acme.build();
    let held = look(&upstream).await.validators;
    fake.put(key, package("b", "2.0.0", &[]));
    fake.fault(On::Get(key.to_owned()), Fault::CutAfter(100));
    let reply = upstream.fetch_index(Some(&held)).await.expect("an answer");
    assert_eq!(looked(reply).names(), ["a-1.0.0.tgz", "b-1.0.0.tgz"]);
    fake.heal();
    let reply = upstream.fetch_index(Some(&held)).await.expect("an answer");
    assert_eq!(looked(reply).names(), ["a-1.0.0.tgz", "b-2.0.0.tgz"]);
}

#[tokio::test]
async fn when_nothing_can_be_read_the_bucket_counts_as_away_and_what_was_read_is_kept() {
    let mut fake = FakeS3::new("charts");
    for number in 0..60 {
        fake = fake.chart("p", "app", &format!("1.0.{number:02}"));
    }
    let fake = fake.run();
    let acme = acme(&fake, "p");
    fake.fault(On::Archives, Fault::Status(500));
    let error = index_error(&acme.build()).await;
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    let asked: BTreeSet<String> = fake
        .requests()
        .into_iter()
        .map(|request| request.path)
        .filter(|path| path.ends_with(".tgz"))
        .collect();
    assert!(asked.len() <= 16, "it gives up soon: {asked:?}");
    fake.heal();
    fake.forget();

    // Good for a while, then away: an index with half of the charts would be wrong.
    for number in 40..60 {
        fake.fault(
            On::Get(format!("p/app-1.0.{number}.tgz")),
            Fault::Status(500),
        );
    }
    index_error(&acme.build()).await;
    fake.heal();
    fake.forget();
    let found = look(&acme.build()).await;
    assert_eq!(found.index.versions(), 60);
    assert!(
        fake.count(&On::Archives) <= 30,
        "what was read stays known: {}",
        fake.count(&On::Archives)
    );
}

#[tokio::test]
async fn objects_of_somebody_else_hide_no_others_and_a_bucket_full_of_them_is_refused() {
    let mut fake = FakeS3::new("charts").chart("p", "zebra", "1.0.0");
    for number in 0..20 {
        fake = fake.chart("p", "app", &format!("1.0.{number}"));
    }
    let fake = fake.run();
    let denied = b"<Error><Code>AccessDenied</Code></Error>".to_vec();
    let denied = Fault::Answer(403, Vec::new(), denied);
    for number in 0..20 {
        fake.fault(On::Get(format!("p/app-1.0.{number}.tgz")), denied.clone());
    }
    let acme = acme(&fake, "p");
    let found = look(&acme.build()).await;
    assert_eq!(found.names(), ["zebra-1.0.0.tgz"]);
    assert_eq!(found.broken.len(), 20);

    fake.fault(On::Archives, denied);
    acme.notes.0.lock().expect("no panic").clear();
    let error = index_error(&acme.build()).await;
    assert_eq!(error.kind(), ErrorKind::UpstreamUnauthorized);
}

#[tokio::test]
async fn an_object_that_vanishes_between_list_and_get_is_not_there() {
    let fake = FakeS3::new("charts")
        .chart("p", "a", "1.0.0")
        .chart("p", "b", "1.0.0")
        .run();
    fake.vanish("p/b-1.0.0.tgz");
    let upstream = acme(&fake, "p").build();
    let found = look(&upstream).await;
    assert_eq!(found.names(), ["a-1.0.0.tgz"]);
    assert_eq!(found.broken, []);
    // A store that lists what it does not give yet is asked again.
    fake.heal();
    let reply = upstream.fetch_index(Some(&found.validators)).await;
    assert_eq!(
        looked(reply.expect("an answer")).names(),
        ["a-1.0.0.tgz", "b-1.0.0.tgz"]
    );
}

#[tokio::test]
async fn an_index_that_cannot_be_read_whole_is_none() {
    let text = format!("apiVersion: v1\nentries: {{}}\n{}", "# more\n".repeat(100));
    let fake = FakeS3::new("charts")
        .object("p/index.yaml", text.clone())
        .run();
    let upstream = acme(&fake, "p").impatient().build();
    let index = On::Get("p/index.yaml".to_owned());
    for fault in [
        Fault::CutAfter(60),
        Fault::StallAfter(60),
        Fault::Status(500),
        Fault::LengthTooLong(10),
    ] {
        fake.fault(index.clone(), fault.clone());
        let error = index_error(&upstream).await;
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{fault:?}");
        fake.heal();
    }
    assert_eq!(text_of(&upstream).await.0, text);
}

#[tokio::test]
async fn without_the_right_to_list_an_index_and_archives_are_read_all_the_same() {
    let fake = FakeS3::new("charts")
        .object("p/index.yaml", "apiVersion: v1\nentries: {}\n")
        .object("p/a-1.0.0.tgz", "a")
        .without_listing()
        .run();
    let upstream = acme(&fake, "p").build();
    text_of(&upstream).await;
    let url = "s3://charts/p/a-1.0.0.tgz";
    read(upstream.open(url, 0).await.expect("opens"))
        .await
        .expect("whole");
    // Nobody can tell whether it is absent.
    let error = upstream.open_provenance(url).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnauthorized, "{error:?}");

    let bare = FakeS3::new("charts")
        .chart("p", "a", "1.0.0")
        .without_listing()
        .run();
    let error = index_error(&acme(&bare, "p").build()).await;
    assert_eq!(error.kind(), ErrorKind::UpstreamUnauthorized);
}

#[tokio::test]
async fn a_refusal_is_an_absence_where_the_listing_says_so() {
    let fake = FakeS3::new("charts").chart("p", "a", "1.0.0").run();
    let denied = b"<Error><Code>AccessDenied</Code></Error>".to_vec();
    let fault = Fault::Answer(403, Vec::new(), denied);
    fake.fault(On::Get("p/a-1.0.0.tgz.prov".to_owned()), fault.clone());
    fake.fault(On::Get("p/index.yaml".to_owned()), fault);
    let upstream = acme(&fake, "p").build();
    let url = look(&upstream).await.url("a");
    let error = upstream.open_provenance(&url).await.expect_err("absent");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_says(&error, "a-1.0.0.tgz.prov");

    fake.put("p/a-1.0.0.tgz.prov", "signed");
    let error = upstream.open_provenance(&url).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnauthorized);
}

#[tokio::test]
async fn a_resumed_transfer_never_joins_two_objects() {
    let fake = FakeS3::new("charts").chart("p", "a", "1.0.0").run();
    let key = "p/a-1.0.0.tgz";
    let old = fake.bytes(key).expect("there");
    let upstream = acme(&fake, "p").build();
    let url = look(&upstream).await.url("a");
    fake.fault_times(On::Get(key.to_owned()), 1, Fault::CutAfter(100));
    let error = read(upstream.open(&url, 0).await.expect("a head"))
        .await
        .expect_err("cut");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert_says(&error, "upstream `acme`");
    let rest = upstream.open(&url, 100).await.expect("resumes");
    assert_eq!(
        (rest.length, rest.body.length),
        (Some(old.len() as u64), Some(old.len() as u64 - 100))
    );
    assert_eq!(read(rest).await.expect("whole"), old[100..]);

    fake.put(key, package("a", "1.0.0", &[("x", b"another")]));
    let error = upstream.open(&url, 100).await.expect_err("another");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert_says(&error, "changed an archive");
    fake.put(key, "short");
    assert_says(
        &upstream.open(&url, 100).await.expect_err("shorter"),
        "changed an archive",
    );
}

#[tokio::test]
async fn a_check_reads_one_package_and_not_thousands() {
    let mut fake = FakeS3::new("charts");
    for number in 0..50 {
        fake = fake.chart("p", "app", &format!("1.0.{number}"));
    }
    let fake = fake.run();
    let upstream = acme(&fake, "p").build();
    assert_eq!(
        upstream.check().await.expect("fine"),
        "50 packages without an index"
    );
    assert_eq!(fake.count(&On::Archives), 1);
    fake.refusal(On::Read, 403, "AccessDenied");
    let error = upstream.check().await.expect_err("may not read");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnauthorized);

    fake.heal();
    fake.put("p/index.yaml", "apiVersion: v1\nentries: {}\n");
    assert_eq!(upstream.check().await.expect("fine"), "index of 27 bytes");
}
