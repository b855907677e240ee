use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chartgate::clock::Clock;
use chartgate::config;
use chartgate::error::ErrorKind;
use chartgate::net::{Clients, EnvironmentProxies, Retries};
use chartgate::upstream::{self, IndexReply, NoNotebook, Upstream};
use tempfile::TempDir;
use url::Url;

use super::{read, text_of};
use crate::support::fake::{FakeBucket, FakeHelm, FakeS3, FakeUpstream, package};

/// One source of any kind, with an index and files that a test changes.
struct Source {
    upstream: Arc<dyn Upstream>,
    place: Place,
}

enum Place {
    Server(FakeUpstream),
    Folder(TempDir),
    Bucket(FakeBucket),
}

fn sources() -> Vec<Source> {
    let fake = FakeHelm::new().run();
    let url = Url::parse(&fake.url()).expect("a URL");
    let folder = tempfile::tempdir().expect("a folder");
    let charts = folder.path().join("charts");
    std::fs::create_dir(&charts).expect("writable");
    let bucket = FakeS3::new("charts").run();
    vec![
        Source {
            upstream: built(config::Source::Helm(url)),
            place: Place::Server(fake),
        },
        Source {
            upstream: built(config::Source::Dir(charts)),
            place: Place::Folder(folder),
        },
        Source {
            upstream: built(super::buckets::source(&bucket, "stable")),
            place: Place::Bucket(bucket),
        },
    ]
}

fn built(source: config::Source) -> Arc<dyn Upstream> {
    let timeout = Duration::from_secs(20);
    let config = config::Upstream {
        name: Arc::from("acme"),
        source,
        refresh: Duration::from_secs(300),
        timeout,
        client: config::Client {
            allow_private: true,
            timeout,
            ..config::Client::default()
        },
        on_digest_mismatch: config::OnDigestMismatch::Reject,
        keep_removed: true,
        max_shrink: 0.5,
    };
    let clients = Clients::with(Retries::never(), EnvironmentProxies::none());
    let upstream = upstream::build(
        &config,
        &clients,
        &Arc::default(),
        &Clock::system(),
        Arc::new(NoNotebook),
    );
    upstream.expect("a valid section")
}

impl Source {
    fn path(&self, name: &str) -> Option<PathBuf> {
        match &self.place {
            Place::Server(_) | Place::Bucket(_) => None,
            Place::Folder(folder) => Some(folder.path().join("charts").join(name)),
        }
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        match &self.place {
            Place::Server(fake) => fake.set_file(&format!("/{name}"), bytes.as_ref()),
            Place::Bucket(fake) => {
                let name = name.replace("%20", " ");
                fake.put(&format!("stable/{name}"), bytes.as_ref().to_vec());
            }
            Place::Folder(folder) => {
                // As careful writers do: whole files appear at once.
                let part = folder.path().join("part");
                std::fs::write(&part, bytes).expect("writable");
                std::fs::rename(part, folder.path().join("charts").join(name)).expect("writable");
            }
        }
    }

    fn leave(&self) {
        match &self.place {
            Place::Server(fake) => fake.refuse(),
            Place::Bucket(fake) => fake.refuse(),
            Place::Folder(folder) => {
                let (there, away) = (folder.path().join("charts"), folder.path().join("away"));
                std::fs::rename(there, away).expect("writable");
            }
        }
    }

    fn come_back(&self) {
        match &self.place {
            Place::Server(fake) => fake.heal(),
            Place::Bucket(fake) => fake.heal(),
            Place::Folder(folder) => {
                let (there, away) = (folder.path().join("charts"), folder.path().join("away"));
                std::fs::rename(away, there).expect("writable");
            }
        }
    }

    /// The absolute URL of what an entry names as `reference`.
    async fn url(&self, reference: &str) -> String {
        let (_, base, _) = text_of(&*self.upstream).await;
        let url: Url = base.join(reference).expect("a reference");
        url.into()
    }
}

const INDEX: &str = "apiVersion: v1\nentries: {}\n";

#[tokio::test]
async fn an_index_comes_whole_then_only_when_it_changed() {
    for source in sources() {
        source.put("index.yaml", INDEX);
        let (text, base, held) = text_of(&*source.upstream).await;
        assert_eq!(text, INDEX);
        assert!(base.path().ends_with('/'));

        let reply = source.upstream.fetch_index(Some(&held)).await;
        assert!(matches!(reply.expect("an answer"), IndexReply::NotModified));

        let changed = format!("{INDEX}generated: now\n");
        source.put("index.yaml", &changed);
        let reply = source.upstream.fetch_index(Some(&held)).await;
        let IndexReply::Text {
            text, validators, ..
        } = reply.expect("an answer")
        else {
            panic!("it changed")
        };
        assert_eq!(text, changed);
        assert_ne!(validators, held);
    }
}

#[tokio::test]
async fn archives_are_read_from_any_byte_on() {
    let archive = package("a", "1.0.0", &[("big", &[7; 1_000_000])]);
    let noise: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
    for source in sources() {
        source.put("index.yaml", INDEX);
        for (name, bytes) in [("a-1.0.0.tgz", &archive[..]), ("b-1.0.0+x.tgz", &noise)] {
            source.put(name, bytes);
            let url = source.url(name).await;
            for offset in [0, 1, 300_000, bytes.len() - 1] {
                if offset >= bytes.len() {
                    continue;
                }
                let download = source
                    .upstream
                    .open(&url, offset as u64)
                    .await
                    .expect("opens");
                assert_eq!(download.length, Some(bytes.len() as u64));
                assert_eq!(download.body.length, Some((bytes.len() - offset) as u64));
                assert_eq!(read(download).await.expect("whole"), bytes[offset..]);
            }
        }
    }
}

#[tokio::test]
async fn encoded_names_are_found() {
    for source in sources() {
        source.put("index.yaml", INDEX);
        if let Some(path) = source.path("keda 1+2.tgz") {
            std::fs::write(path, "bytes").expect("writable");
        } else {
            source.put("keda%201+2.tgz", "bytes");
        }
        let url = source.url("keda%201+2.tgz").await;
        let download = source.upstream.open(&url, 0).await.expect("opens");
        assert_eq!(read(download).await.expect("whole"), b"bytes");
    }
}

#[tokio::test]
async fn provenance_is_there_or_it_is_a_fact_that_it_is_not() {
    for source in sources() {
        source.put("index.yaml", INDEX);
        source.put("a-1.0.0.tgz", "bytes");
        let url = source.url("a-1.0.0.tgz").await;
        let error = source.upstream.open_provenance(&url).await;
        let error = error.expect_err("unsigned");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().contains("`acme`"), "{error}");
        assert!(error.message().contains("a-1.0.0.tgz.prov"), "{error}");

        source.put("a-1.0.0.tgz.prov", "signed");
        let download = source.upstream.open_provenance(&url).await.expect("signed");
        assert_eq!(read(download).await.expect("whole"), b"signed");
    }
}

#[tokio::test]
async fn a_source_that_is_away_tells_nothing_and_comes_back() {
    for source in sources() {
        source.put("index.yaml", INDEX);
        source.put("a-1.0.0.tgz", "bytes");
        let url = source.url("a-1.0.0.tgz").await;
        source.leave();
        for error in [
            source.upstream.fetch_index(None).await.expect_err("away"),
            source.upstream.open(&url, 0).await.expect_err("away"),
        ] {
            assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
            assert!(error.message().contains("`acme`"), "{error}");
        }
        source.come_back();
        text_of(&*source.upstream).await;
    }
}

#[tokio::test]
async fn what_cannot_be_an_index_is_none() {
    for source in sources() {
        for nonsense in [&b"<!DOCTYPE html>"[..], b"\x1f\x8b\x08\0\0\0", b" \n", b""] {
            source.put("index.yaml", nonsense);
            let error = source
                .upstream
                .fetch_index(None)
                .await
                .expect_err("no index");
            assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
            assert!(error.message().contains("`acme` gave"), "{error}");
        }
    }
}

#[tokio::test]
async fn other_kinds_of_urls_are_not_supported() {
    for source in sources() {
        for url in ["oci://ghcr.io/a/b:1", "s3://bucket/a.tgz"] {
            let error = source
                .upstream
                .open(url, 0)
                .await
                .expect_err("another kind");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.message().contains("`acme`"), "{error}");
        }
    }
}
