//! What object stores are asked, word for word, and what comes of answers that go wrong.
//!
//! OSS, COS and Swift have no server to install, so these tests are all there is about them: they show the requests as those
//! services document them, not that the services take them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chartgate::config::{Client, Cos, ObjectStore, Oss, Secret, Service, Swift};
use chartgate::error::{Error, ErrorKind};
use chartgate::object::{Bucket, Content, Existing};
use serde_json::json;

use crate::suites::bucket::{bytes, listing, open, put, text};
use crate::support::fake::{Asked, FakeService, Said};
use crate::support::stores::{client, s3};

fn place(service: Service, client: Client) -> ObjectStore {
    ObjectStore {
        service,
        prefix: "team".into(),
        client,
    }
}

/// A bucket of S3's protocol at `service`.
fn bucket_at(service: &FakeService) -> Bucket {
    open(&place(s3(&service.url()), client()))
}

/// Services whose bucket is part of the host are asked through a proxy, which sees the whole URL.
fn through(service: &FakeService) -> Client {
    Client {
        proxy: Some(service.url().parse().expect("a URL")),
        ..client()
    }
}

fn content(text: &'static str) -> Content {
    Content::Bytes(Bytes::from_static(text.as_bytes()))
}

const TAG: &str = "\"9a0364b9e99bb480dd25e1f0284c8555\"";
const TIME: &str = "Fri, 20 Nov 2026 15:59:01 GMT";

/// HEAD and GET of one object that holds `content`.
fn object(content: &str) -> Said {
    Said::new(200, content)
        .with("ETag", TAG)
        .with("Last-Modified", TIME)
}

fn is_list(asked: &Asked) -> bool {
    asked.method == "GET" && asked.target.contains("delimiter=")
}

const PAGE: &str = "<ListBucketResult><IsTruncated>false</IsTruncated>\
    <Contents><Key>team/org1/a-1.0.0.tgz</Key><LastModified>2026-11-20T15:59:01.000Z</LastModified>\
    <ETag>\"9a0364b9e99bb480dd25e1f0284c8555\"</ETag><Size>7</Size></Contents></ListBucketResult>";

/// Writes, lists, reads and removes one object of `team/org1`.
async fn round(bucket: &Bucket) {
    let stamp = put(bucket, "org1/a-1.0.0.tgz", "content").await;
    let (found, _) = listing(bucket, "org1").await.expect("listed");
    assert_eq!(found["a-1.0.0.tgz"], stamp);
    assert_eq!(
        text(bucket, "org1/a-1.0.0.tgz").await.as_deref(),
        Some("content")
    );
    bucket.remove("org1/a-1.0.0.tgz").await.expect("removed");
}

fn answer_a_round(asked: &Asked) -> Said {
    match asked.method.as_str() {
        "GET" if is_list(asked) => Said::new(200, PAGE),
        "PUT" => Said::new(200, "").with("ETag", TAG),
        "DELETE" => Said::new(204, ""),
        _ => object("content"),
    }
}

#[tokio::test]
async fn oss_is_asked_as_it_documents() {
    let service = FakeService::run(answer_a_round);
    let oss = Oss {
        bucket: "charts".into(),
        endpoint: Some("http://oss-cn-beijing.aliyuncs.com".into()),
        access_key_id: Some("the-id".into()),
        access_key_secret: Some(Secret::new("the-secret")),
        server_side_encryption: Some("AES256".into()),
    };
    let bucket = open(&place(Service::Oss(oss), through(&service)));
    assert_eq!(bucket.label(), "oss bucket `charts`");
    round(&bucket).await;
    let asked = service.asked();
    let base = "http://charts.oss-cn-beijing.aliyuncs.com/";
    let object = format!("{base}team/org1/a-1.0.0.tgz");
    let put = asked
        .iter()
        .find(|asked| asked.method == "PUT")
        .expect("a PUT");
    assert_eq!(put.target, object);
    assert_eq!(put.body, b"content");
    assert_eq!(put.header("x-oss-forbid-overwrite"), Some("true"));
    assert_eq!(put.header("x-oss-server-side-encryption"), Some("AES256"));
    let list = asked
        .iter()
        .find(|asked| is_list(asked))
        .expect("a listing");
    assert!(
        list.target.starts_with(&format!("{base}?")),
        "{}",
        list.target
    );
    assert!(
        list.target.contains("prefix=team/org1/") || list.target.contains("prefix=team%2Forg1%2F"),
        "{}",
        list.target
    );
    for asked in &asked {
        let signature = asked.header("authorization").unwrap_or_default();
        assert!(signature.starts_with("OSS"), "{asked:?}");
        assert!(signature.contains("the-id") && !signature.contains("the-secret"));
        assert!(is_list(asked) || asked.target == object, "{asked:?}");
    }
}

#[tokio::test]
async fn cos_is_asked_as_it_documents() {
    let service = FakeService::run(answer_a_round);
    let cos = Cos {
        bucket: "charts-1250000000".into(),
        endpoint: Some("http://cos.ap-guangzhou.myqcloud.com".into()),
        secret_id: Some("the-id".into()),
        secret_key: Some(Secret::new("the-secret")),
    };
    round(&open(&place(Service::Cos(cos), through(&service)))).await;
    let asked = service.asked();
    let base = "http://charts-1250000000.cos.ap-guangzhou.myqcloud.com/";
    let object = format!("{base}team/org1/a-1.0.0.tgz");
    let put = asked
        .iter()
        .find(|asked| asked.method == "PUT")
        .expect("a PUT");
    assert_eq!(
        (put.target.as_str(), &*put.body),
        (&*object, &b"content"[..])
    );
    assert_eq!(put.header("x-cos-forbid-overwrite"), Some("true"));
    for asked in &asked {
        let signature = asked.header("authorization").unwrap_or_default();
        assert!(
            signature.contains("q-ak=the-id") && signature.contains("q-signature="),
            "{asked:?}"
        );
        assert!(!signature.contains("the-secret"));
        assert!(is_list(asked) || asked.target == object, "{asked:?}");
    }
}

const KEYSTONE: &str = r#"{"token": {"expires_at": "2099-01-01T00:00:00.000000Z", "catalog": [
    {"type": "compute", "endpoints": [{"interface": "public", "region": "R", "url": "http://wrong"}]},
    {"type": "object-store", "endpoints": [
        {"interface": "internal", "region": "R", "url": "http://wrong"},
        {"interface": "public", "region": "other", "url": "http://wrong"},
        {"interface": "public", "region": "R", "url": "URL/v1/AUTH_p"}]}]}}"#;

fn swift(service: &FakeService) -> Swift {
    Swift {
        container: "charts".into(),
        auth_url: Some(format!("{}/v3", service.url())),
        username: Some("user".into()),
        password: Some(Secret::new("the-password")),
        project: Some("project".into()),
        region: Some("R".into()),
        ..Swift::default()
    }
}

const SWIFT_PAGE: &str = r#"[{"name": "team/org1/a-1.0.0.tgz", "bytes": 7, "hash": "9a0364b9e99bb480dd25e1f0284c8555",
    "content_type": "application/octet-stream", "last_modified": "2026-11-20T15:59:00.123450"},
    {"subdir": "team/org1/deeper/"}]"#;

/// Swift with tokens that are good for `uses` requests.
fn swift_service(uses: usize) -> FakeService {
    let (logins, used, written) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    FakeService::run(move |asked| {
        if asked.target == "/v3/auth/tokens" {
            used.store(0, Ordering::SeqCst);
            let token = format!("token-{}", logins.fetch_add(1, Ordering::SeqCst));
            let host = asked.header("host").expect("a host");
            let body = KEYSTONE.replace("URL", &format!("http://{host}"));
            return Said::new(201, body).with("X-Subject-Token", &token);
        }
        let expected = format!("token-{}", logins.load(Ordering::SeqCst).wrapping_sub(1));
        if asked.header("x-auth-token") != Some(&expected)
            || used.fetch_add(1, Ordering::SeqCst) >= uses
        {
            return Said::new(401, "");
        }
        let is_written = written.load(Ordering::SeqCst) > 0;
        match asked.method.as_str() {
            "PUT" => {
                written.fetch_add(1, Ordering::SeqCst);
                Said::new(201, "")
            }
            "DELETE" => Said::new(204, ""),
            "HEAD" if !is_written => Said::new(404, ""),
            "GET" if is_list(asked) && asked.target.contains("marker=team") => Said::new(200, "[]"),
            "GET" if is_list(asked) => Said::new(200, SWIFT_PAGE),
            _ => Said::new(200, "content")
                .with("Etag", TAG.trim_matches('"'))
                .with("Last-Modified", TIME),
        }
    })
}

#[tokio::test]
async fn swift_is_asked_with_a_token_of_keystone() {
    let service = swift_service(usize::MAX);
    round(&open(&place(Service::Swift(swift(&service)), client()))).await;
    let asked = service.asked();
    assert_eq!(
        (asked[0].method.as_str(), asked[0].target.as_str()),
        ("POST", "/v3/auth/tokens")
    );
    let login: serde_json::Value = serde_json::from_slice(&asked[0].body).expect("JSON");
    let domain = json!({ "name": "Default" });
    let user = json!({ "name": "user", "domain": domain, "password": "the-password" });
    assert_eq!(
        login,
        json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": user } },
            "scope": { "project": { "name": "project", "domain": domain } },
        } })
    );
    assert_eq!(
        asked
            .iter()
            .filter(|asked| asked.target.contains("tokens"))
            .count(),
        1
    );
    for asked in &asked[1..] {
        assert_eq!(asked.header("x-auth-token"), Some("token-0"));
        let base = "/v1/AUTH_p/charts/";
        assert!(asked.target.starts_with(base), "{asked:?}");
        assert!(
            is_list(asked) || asked.target == format!("{base}team/org1/a-1.0.0.tgz"),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn swift_gets_a_new_token_when_the_old_one_is_refused() {
    let service = swift_service(2);
    round(&open(&place(Service::Swift(swift(&service)), client()))).await;
    let logins = service.asked();
    let logins = logins
        .iter()
        .filter(|asked| asked.target.contains("tokens"));
    assert!(logins.count() >= 3);
}

#[tokio::test]
async fn swift_version_1_and_given_tokens_work_too() {
    let service = FakeService::run(|asked| match asked.target.as_str() {
        "/auth/v1.0" => Said::new(204, "")
            .with("X-Auth-Token", "v1-token")
            .with("X-Storage-Url", "STORAGE"),
        _ => Said::new(404, ""),
    });
    // The storage URL leads nowhere: what matters is that the login was understood.
    let mut config = swift(&service);
    config.auth_url = Some(format!("{}/auth/v1.0", service.url()));
    config.endpoint = Some(format!("{}/v1/AUTH_x", service.url()));
    let bucket = open(&place(Service::Swift(config.clone()), client()));
    assert_eq!(bucket.stat("a").await.expect("answered"), None);
    config.auth_url = None;
    config.username = None;
    config.token = Some(Secret::new("given-token"));
    let bucket = open(&place(Service::Swift(config), client()));
    assert_eq!(bucket.stat("a").await.expect("answered"), None);
    let asked = service.asked();
    assert_eq!(asked[0].header("x-auth-user"), Some("user"));
    assert_eq!(asked[0].header("x-auth-key"), Some("the-password"));
    let tokens: Vec<_> = asked
        .iter()
        .filter_map(|asked| asked.header("x-auth-token"))
        .collect();
    assert_eq!(tokens, ["v1-token", "given-token"]);
}

#[tokio::test]
async fn a_wrong_login_names_its_keys() {
    let service = FakeService::run(|_| Said::new(401, r#"{"error": {"code": 401}}"#));
    let bucket = open(&place(Service::Swift(swift(&service)), client()));
    let error = bucket.check().await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnauthorized);
    assert!(error.message().contains("`password`"), "{error:?}");
    assert!(!error.chain().contains("the-password"), "{error:?}");
}

// ---- answers that go wrong

/// Answers `wrong` to the first `count` requests that `which` picks, and is well otherwise.
fn wrong_at_first(
    count: usize,
    which: impl Fn(&Asked) -> bool + Send + Sync + 'static,
    wrong: Said,
) -> FakeService {
    let left = AtomicUsize::new(count);
    FakeService::run(move |asked| {
        let take = |left: usize| left.checked_sub(1);
        if which(asked)
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                .is_ok()
        {
            return wrong.clone();
        }
        answer_a_round(asked)
    })
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let slow_down = "<Error><Code>SlowDown</Code></Error>";
    for wrong in [
        Said::new(503, slow_down),
        Said::new(500, ""),
        Said::hang_up(),
        Said::new(429, ""),
    ] {
        let service = wrong_at_first(2, |_| true, wrong);
        let bucket = bucket_at(&service);
        let stamp = bucket
            .stat("org1/a-1.0.0.tgz")
            .await
            .expect("the third time");
        assert_eq!(stamp.expect("there").size, 7);
        assert_eq!(service.asked().len(), 3);
    }
    // A listing and its body.
    for wrong in [Said::new(503, slow_down), Said::new(200, PAGE).cut(100)] {
        let service = wrong_at_first(2, is_list, wrong);
        let (found, _) = listing(&bucket_at(&service), "org1")
            .await
            .expect("the third time");
        assert_eq!(found.len(), 1);
    }
}

#[tokio::test]
async fn what_lasts_is_an_error_with_its_time() {
    let service = wrong_at_first(100, |_| true, Said::new(503, "").with("Retry-After", "120"));
    let bucket = bucket_at(&service);
    let error = bucket.stat("a").await.expect_err("overloaded");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(120)));
    assert_eq!(service.asked().len(), 1, "it asked to be left alone");

    let service = wrong_at_first(100, |_| true, Said::new(500, ""));
    let error = bucket_at(&service).stat("a").await.expect_err("broken");
    assert!(
        error.is_transient() && error.message().contains("answered 500"),
        "{error:?}"
    );
    assert_eq!(service.asked().len(), 3);
}

/// A write that may not be repeated is not, and one whose answer got lost is looked for.
#[tokio::test]
async fn a_new_object_is_written_once() {
    let is_put = |asked: &Asked| asked.method == "PUT";
    let count =
        |service: &FakeService| service.asked().iter().filter(|asked| is_put(asked)).count();

    // Nothing can have happened: again.
    let service = wrong_at_first(1, is_put, Said::new(503, ""));
    put(&bucket_at(&service), "org1/a-1.0.0.tgz", "content").await;
    assert_eq!(count(&service), 2);
    let asked = service.asked();
    let conditions = asked
        .iter()
        .filter(|asked| is_put(asked))
        .map(|asked| asked.header("if-none-match"));
    assert!(
        conditions
            .into_iter()
            .all(|condition| condition == Some("*"))
    );

    // The answer got lost, the object is there.
    let service = wrong_at_first(1, is_put, Said::hang_up());
    put(&bucket_at(&service), "org1/a-1.0.0.tgz", "content").await;
    assert_eq!(count(&service), 1);

    // Something else is there: nobody knows what happened, so it is no success.
    let service = wrong_at_first(1, is_put, Said::hang_up());
    let written = bucket_at(&service)
        .write("a", content("another"), Existing::Refuse)
        .await;
    assert!(written.expect_err("unknown").is_transient());
    assert_eq!(count(&service), 1);

    // Replacing may be repeated.
    let service = wrong_at_first(1, is_put, Said::hang_up());
    let bucket = bucket_at(&service);
    bucket
        .write("a", content("content"), Existing::Replace)
        .await
        .expect("written");
    assert_eq!(count(&service), 2);
}

/// A large upload of which a part fails is given up: its parts are removed, and it is never completed.
#[tokio::test]
async fn half_an_upload_leaves_nothing() {
    let service = FakeService::run(
        |asked| match (asked.method.as_str(), asked.target.as_str()) {
            ("POST", target) if target.contains("uploads") => Said::new(
                200,
                "<InitiateMultipartUploadResult><UploadId>the-upload</UploadId></InitiateMultipartUploadResult>",
            ),
            ("PUT", target) if target.contains("partNumber=2") => Said::hang_up(),
            ("PUT", _) => Said::new(200, "").with("ETag", TAG),
            ("DELETE", _) => Said::new(204, ""),
            _ => Said::new(404, ""),
        },
    );
    let upload = Content::Bytes(vec![0; 20 << 20].into());
    let error = bucket_at(&service)
        .write("a", upload, Existing::Refuse)
        .await
        .expect_err("half");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
    let asked = service.asked();
    let aborted =
        |asked: &Asked| asked.method == "DELETE" && asked.target.contains("uploadId=the-upload");
    assert_eq!(asked.iter().filter(|asked| aborted(asked)).count(), 1);
    let completed = |asked: &Asked| asked.method == "POST" && asked.target.contains("uploadId=");
    assert!(!asked.iter().any(completed));
}

/// A listing that breaks off ends with an error, after what came before.
#[tokio::test]
async fn half_a_listing_is_no_listing() {
    let first = PAGE.replace(
        "<IsTruncated>false</IsTruncated>",
        "<IsTruncated>true</IsTruncated><NextContinuationToken>next</NextContinuationToken>",
    );
    let second: [Said; 3] = [
        Said::new(500, ""),
        Said::new(200, PAGE).cut(100),
        Said::new(200, "<ListBuck"),
    ];
    for second in second {
        let first = first.clone();
        let service =
            FakeService::run(
                move |asked| match asked.target.contains("continuation-token=next") {
                    true => second.clone(),
                    false => Said::new(200, first.clone()),
                },
            );
        let error = listing(&bucket_at(&service), "org1")
            .await
            .expect_err("half");
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
        assert!(error.message().contains("s3 bucket `charts`"), "{error:?}");
    }
}

#[tokio::test]
async fn half_an_object_is_no_object() {
    let read = async |said: Said| -> Error {
        let service = FakeService::run(move |_| said.clone());
        let opened = bucket_at(&service)
            .read("a", None)
            .await
            .expect("opened")
            .expect("there");
        bytes(opened).await.expect_err("half")
    };
    let error = read(object("0123456789").cut(4)).await;
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");

    // Ranges: all of it, or another part.
    for said in [
        object("0123456789"),
        Said::new(206, "456").with("Content-Range", "bytes 4-6/10"),
    ] {
        let said = said.with("ETag", TAG).with("Last-Modified", TIME);
        let service = FakeService::run(move |_| said.clone());
        bucket_at(&service)
            .read("a", Some(2..5))
            .await
            .map(drop)
            .expect_err("not that range");
    }
}

/// A server that takes a request and says nothing costs its timeout once.
#[tokio::test]
async fn silence_ends() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let mut config = place(s3(&endpoint), client());
    config.client.timeout = Duration::from_millis(300);
    let bucket = open(&config);
    let started = std::time::Instant::now();
    let error = bucket.stat("a").await.expect_err("silence");
    assert!(error.message().contains("did not answer"), "{error:?}");
    // A large body that nobody takes.
    let upload = Content::Bytes(vec![0; 16 << 20].into());
    let error = bucket
        .write("a", upload, Existing::Replace)
        .await
        .expect_err("silence");
    assert!(error.message().contains("did not answer"), "{error:?}");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn redirects_and_regions_are_explained() {
    let body = "<Error><Code>PermanentRedirect</Code></Error>";
    let said = Said::new(301, body)
        .with("x-amz-bucket-region", "eu-west-1")
        .with("Location", "http://elsewhere.example/");
    let service = FakeService::run(move |_| said.clone());
    let error = bucket_at(&service).check().await.expect_err("elsewhere");
    assert!(
        error.message().contains("`eu-west-1`") && error.message().contains("`region`"),
        "{error:?}"
    );
    assert_eq!(service.asked().len(), 1);
}

/// Where private addresses are not allowed, a bucket at one is not asked.
#[tokio::test]
async fn private_addresses_are_guarded() {
    let service = FakeService::run(answer_a_round);
    let mut config = place(s3(&service.url()), client());
    config.client.allow_private = false;
    let error = open(&config).check().await.expect_err("private");
    assert!(error.message().contains("allow_private"), "{error:?}");
    assert!(service.asked().is_empty());
}
