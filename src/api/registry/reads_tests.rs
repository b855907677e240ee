//! The reading handlers over a repository made by hand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::spelling::Spelling;
use super::{blobs, manifests, referrers, tags};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Body, HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use crate::oci::{Algorithm, Descriptor, Digest, ManifestType, Reference, RepoName, Tag};
use crate::repository::registry::{FoundManifest, Listed, RegistryRepository, Source};
use crate::repository::{Artifact, Content, Origin};

const TEXT: &[u8] = b"0123456789";

/// Has one blob, one manifest and what else a test puts into it.
#[derive(Debug)]
struct Made {
    label: Arc<str>,
    tags: Vec<Tag>,
    referrers: Vec<Descriptor>,
    source: Source,
    /// How manifests fail.
    failure: Option<ErrorKind>,
    asked: Mutex<Vec<&'static str>>,
}

fn made() -> Made {
    Made {
        label: "made".into(),
        tags: Vec::new(),
        referrers: Vec::new(),
        source: Source::of(Origin::Hit),
        failure: None,
        asked: Mutex::default(),
    }
}

impl Made {
    fn note(&self, what: &'static str) {
        self.asked.lock().expect("no writer panics").push(what);
    }
}

fn document() -> Bytes {
    Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#)
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

#[async_trait]
impl RegistryRepository for Made {
    fn label(&self) -> &Arc<str> {
        &self.label
    }

    fn links(&self, _: &RepoName, _: &Digest) -> bool {
        true
    }

    async fn manifest(&self, _: &RepoName, reference: &Reference) -> Result<FoundManifest> {
        self.note("manifest");
        if let Some(kind) = self.failure {
            return Err(Error::new(kind, "no manifest for you"));
        }
        let digest = digest(&document());
        match reference {
            Reference::Digest(wanted) if *wanted != digest => Err(Error::not_found("other")),
            _ => Ok(FoundManifest {
                digest,
                media_type: ManifestType::Index,
                bytes: document(),
                source: self.source.clone(),
            }),
        }
    }

    async fn blob(&self, _: &RepoName, wanted: &Digest) -> Result<Artifact> {
        self.note("blob");
        if *wanted != digest(TEXT) {
            return Err(Error::not_found("no such blob"));
        }
        Ok(Artifact {
            content: Content::Bytes(Bytes::from_static(TEXT)),
            origin: Origin::Hosted,
            digest: None,
            warning: None,
        })
    }

    async fn tags(&self, _: &RepoName) -> Result<Listed<Tag>> {
        Ok(Listed {
            items: self.tags.clone().into(),
            source: self.source.clone(),
        })
    }

    async fn referrers(&self, _: &RepoName, _: &Digest) -> Result<Listed<Descriptor>> {
        Ok(Listed {
            items: self.referrers.clone().into(),
            source: self.source.clone(),
        })
    }

    async fn catalog(&self) -> Result<Vec<RepoName>> {
        Ok(Vec::new())
    }
}

fn request(method: Method, query: Option<&str>, headers: &[(&'static str, &str)]) -> Request {
    let field = |(name, value): &(&'static str, &str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_str(value).expect("a field"),
        )
    };
    Request {
        method,
        path: "/v2/x".into(),
        query: query.map(str::to_owned),
        headers: headers.iter().map(field).collect::<HeaderMap>(),
        host: None,
        secure: false,
        peer: None,
        certificate_subject: None,
        id: "test".into(),
        account: std::sync::OnceLock::new(),
    }
}

fn name() -> RepoName {
    RepoName::parse("acme/app").expect("a name")
}

fn spelling() -> Spelling {
    Spelling::new("/acme/v2", "app", Some("docker.io".into()))
}

fn text(body: Body) -> Vec<u8> {
    body.into_pieces().concat()
}

fn field<'r>(response: &'r Response, name: &str) -> &'r str {
    response
        .headers
        .get(name)
        .map_or("", |value| value.to_str().expect("text"))
}

async fn blob(method: Method, headers: &[(&'static str, &str)]) -> Response {
    let request = request(method, None, headers);
    let repository: &dyn RegistryRepository = &made();
    blobs::read(repository, &name(), &digest(TEXT), &request)
        .await
        .expect("an answer")
}

#[tokio::test]
async fn blobs_whole_and_in_part() {
    let whole = blob(Method::GET, &[]).await;
    assert_eq!(whole.status, 200);
    assert_eq!(field(&whole, "content-type"), "application/octet-stream");
    assert_eq!(
        field(&whole, "docker-content-digest"),
        digest(TEXT).to_string()
    );
    assert_eq!(field(&whole, "etag"), format!("\"{}\"", digest(TEXT)));
    assert_eq!(field(&whole, "accept-ranges"), "bytes");
    assert_eq!(field(&whole, "x-cache"), "hosted");
    assert_eq!(text(whole.body), TEXT);
    // The six cases of the conformance suite, and those that mean everything.
    for (range, status, expected, named) in [
        ("bytes=0-4", 206, "01234", "bytes 0-4/10"),
        ("bytes=3-3", 206, "3", "bytes 3-3/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=8-500", 206, "89", "bytes 8-9/10"),
        ("bytes=500-0", 416, "", "bytes */10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=0-1,3-4", 200, "0123456789", ""),
        ("bytes=x", 200, "0123456789", ""),
    ] {
        let part = blob(Method::GET, &[("range", range)]).await;
        assert_eq!(part.status, status, "{range}");
        assert_eq!(field(&part, "content-range"), named, "{range}");
        if status == 416 {
            let body = String::from_utf8(text(part.body)).expect("text");
            assert!(
                body.starts_with(r#"{"errors":[{"code":"SIZE_INVALID""#),
                "{body}"
            );
        } else {
            assert_eq!(text(part.body), expected.as_bytes(), "{range}");
        }
    }
}

#[tokio::test]
async fn head_of_a_blob_says_the_length_and_opens_nothing() {
    let head = blob(Method::HEAD, &[("range", "bytes=0-1")]).await;
    assert_eq!(
        (head.status.as_u16(), field(&head, "content-length")),
        (200, "10")
    );
    assert_eq!(
        field(&head, "docker-content-digest"),
        digest(TEXT).to_string()
    );
    assert!(matches!(head.body, Body::Empty));
}

#[tokio::test]
async fn conditions_on_blobs() {
    let etag = format!("W/\"x\", \"{}\"", digest(TEXT));
    let same = blob(Method::GET, &[("if-none-match", &etag)]).await;
    assert_eq!(same.status, 304);
    assert_eq!(field(&same, "etag"), format!("\"{}\"", digest(TEXT)));
    assert!(matches!(same.body, Body::Empty));
    let other = blob(Method::GET, &[("if-none-match", "\"x\"")]).await;
    assert_eq!(other.status, 200);
    let changed = blob(
        Method::GET,
        &[("range", "bytes=0-1"), ("if-range", "\"x\"")],
    )
    .await;
    assert_eq!(changed.status, 200);
}

#[tokio::test]
async fn manifests_are_blobs_too() {
    let repository = made();
    let request = request(Method::GET, None, &[]);
    let wanted = digest(&document());
    let found = blobs::read(&repository, &name(), &wanted, &request).await;
    let found = found.expect("a manifest");
    assert_eq!(field(&found, "content-type"), "application/octet-stream");
    assert_eq!(text(found.body), document());
    assert_eq!(
        *repository.asked.lock().expect("no panic"),
        ["blob", "manifest"]
    );
}

/// That there is no such blob is said only if nobody could have meant a manifest.
#[tokio::test]
async fn an_upstream_that_cannot_say_is_no_absence() {
    for (failure, kind) in [
        (ErrorKind::NotFound, ErrorKind::NotFound),
        (ErrorKind::UpstreamDenied, ErrorKind::NotFound),
        (ErrorKind::Unsupported, ErrorKind::NotFound),
        (
            ErrorKind::UpstreamUnavailable,
            ErrorKind::UpstreamUnavailable,
        ),
        (ErrorKind::RateLimited, ErrorKind::RateLimited),
    ] {
        let repository = Made {
            failure: Some(failure),
            ..made()
        };
        let request = request(Method::GET, None, &[]);
        let error = blobs::read(&repository, &name(), &digest(b"x"), &request).await;
        assert_eq!(error.expect_err("none").kind(), kind, "{failure:?}");
    }
}

#[tokio::test]
async fn manifests_come_as_they_were_stored() {
    let repository = Made {
        source: Source {
            origin: Origin::Hit,
            age: Some(Duration::from_secs(700)),
            stale: Some("`hub` is away".into()),
        },
        ..made()
    };
    let latest = Reference::parse("latest").expect("a tag");
    // What the client would rather have counts for nothing.
    let wishes = [("accept", "text/html"), ("accept-encoding", "zstd, gzip")];
    let request = request(Method::GET, None, &wishes);
    let found = manifests::read(&repository, &name(), &latest, &request).await;
    let found = found.expect("a manifest");
    assert_eq!(
        field(&found, "content-type"),
        "application/vnd.oci.image.index.v1+json"
    );
    assert_eq!(
        field(&found, "docker-content-digest"),
        digest(&document()).to_string()
    );
    assert_eq!(field(&found, "x-cache"), "stale");
    assert_eq!(field(&found, "age"), "700");
    assert_eq!(field(&found, "warning"), "299 - \"`hub` is away\"");
    assert!(!found.headers.contains_key("content-encoding") && !found.headers.contains_key("vary"));
    let etag = field(&found, "etag").to_owned();
    assert_eq!(text(found.body), document());
    let request = self::request(Method::HEAD, None, &[("if-none-match", &etag)]);
    let same = manifests::read(&repository, &name(), &latest, &request).await;
    assert_eq!(same.expect("an answer").status, 304);
}

/// Docker's schema 1 of an upstream: there is no manifest for the client, and it hears why.
#[tokio::test]
async fn what_is_not_passed_on_is_absent() {
    let repository = Made {
        failure: Some(ErrorKind::Unsupported),
        ..made()
    };
    let latest = Reference::parse("latest").expect("a tag");
    let request = request(Method::GET, None, &[]);
    let error = manifests::read(&repository, &name(), &latest, &request).await;
    let error = error.expect_err("none");
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::NotFound, "no manifest for you")
    );
}

async fn list(query: Option<&str>) -> Result<Response> {
    let tags = ["1.0", "1.1", "latest", "v2"].map(|text| Tag::parse(text).expect("a tag"));
    let repository = Made {
        tags: tags.to_vec(),
        ..made()
    };
    let page = tags::page(&request(Method::GET, query, &[]))?;
    tags::list(&repository, &name(), &spelling(), &page).await
}

#[tokio::test]
async fn tags_page_by_page() {
    for (query, tags, link) in [
        (None, r#"["1.0","1.1","latest","v2"]"#, ""),
        (
            Some("n=2"),
            r#"["1.0","1.1"]"#,
            "</acme/v2/app/tags/list?n=2&last=1.1&ns=docker.io>; rel=\"next\"",
        ),
        (Some("n=2&last=1.1"), r#"["latest","v2"]"#, ""),
        (Some("last=1.05"), r#"["1.1","latest","v2"]"#, ""),
        (Some("n=0"), "[]", ""),
        (Some("n=4"), r#"["1.0","1.1","latest","v2"]"#, ""),
        (Some("n=1000"), r#"["1.0","1.1","latest","v2"]"#, ""),
    ] {
        let response = list(query).await.expect("a list");
        assert_eq!(field(&response, "link"), link, "{query:?}");
        assert_eq!(field(&response, "content-type"), "application/json");
        // Named as the client names it.
        let expected = format!(r#"{{"name":"app","tags":{tags}}}"#);
        assert_eq!(text(response.body), expected.as_bytes(), "{query:?}");
    }
    for wrong in ["n=-1", "n=x", "n="] {
        let error = list(Some(wrong)).await.expect_err(wrong);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}");
    }
}

#[tokio::test]
async fn referrers_filtered_and_empty() {
    let one: Descriptor = serde_json::from_value(serde_json::json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest(b"signature"),
        "size": 9,
        "artifactType": "application/vnd.sig",
    }))
    .expect("a descriptor");
    let repository = Made {
        referrers: vec![one],
        ..made()
    };
    for (query, count, filters) in [
        (None, 1, ""),
        (Some("artifactType=application/vnd.sig"), 1, "artifactType"),
        (
            Some("artifactType=application%2Fvnd.sig"),
            1,
            "artifactType",
        ),
        (Some("artifactType=other"), 0, "artifactType"),
        (Some("artifactType="), 1, ""),
    ] {
        let request = request(Method::GET, query, &[]);
        let listed =
            referrers::list(&repository, &name(), &digest(TEXT), &spelling(), &request).await;
        let listed = listed.expect("a list");
        assert_eq!(listed.status, 200);
        assert_eq!(
            field(&listed, "content-type"),
            "application/vnd.oci.image.index.v1+json"
        );
        assert_eq!(field(&listed, "oci-filters-applied"), filters, "{query:?}");
        assert_eq!(field(&listed, "link"), "");
        let index: serde_json::Value = serde_json::from_slice(&text(listed.body)).expect("json");
        assert_eq!(
            index["mediaType"],
            "application/vnd.oci.image.index.v1+json"
        );
        assert_eq!(
            index["manifests"].as_array().expect("a list").len(),
            count,
            "{query:?}"
        );
    }
}
