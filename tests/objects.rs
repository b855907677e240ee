//! Object stores: one behaviour suite against real servers, and what is special about each.

use chartgate::clock::Clock;
use chartgate::config::{ObjectStore, Secret, Service};
use chartgate::error::ErrorKind;
use chartgate::object::{Content, Existing};

use serde_json::json;

use crate::suites::bucket::{behaves, bytes, listing, open, refuses, unreachable};
use crate::support::fake::{Authority, package};
use crate::support::http::Call;
use crate::support::port::Port;
use crate::support::stores::{ChartMuseum, Store};
use crate::support::tools;

/// More than a request takes.
const LARGE: Option<usize> = Some(40 << 20);

fn with(config: &ObjectStore, change: impl FnOnce(&mut Service)) -> ObjectStore {
    let mut config = config.clone();
    change(&mut config.service);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_behaves() {
    let Some(store) = Store::minio() else { return };
    behaves(&store.config, 2_500, LARGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_refuses_and_goes_away() {
    let Some(mut store) = Store::minio() else {
        return;
    };
    let wrong = with(&store.config, |service| {
        let Service::S3(s3) = service else { panic!() };
        s3.secret_access_key = Some(Secret::new("wrong-secret"));
    });
    refuses(
        &wrong,
        ErrorKind::UpstreamUnauthorized,
        &["SignatureDoesNotMatch", "`secret_access_key`"],
    )
    .await;
    let missing = with(&store.config, |service| {
        let Service::S3(s3) = service else { panic!() };
        s3.bucket = "no-such-bucket".into();
    });
    refuses(
        &missing,
        ErrorKind::UpstreamUnavailable,
        &["does not exist", "`bucket`"],
    )
    .await;
    store.kill();
    unreachable(&store.config, "connection refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_behaves() {
    let Some(store) = Store::azurite() else {
        return;
    };
    behaves(&store.config, 600, LARGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_refuses_and_goes_away() {
    let Some(mut store) = Store::azurite() else {
        return;
    };
    let wrong = with(&store.config, |service| {
        let Service::Azblob(azblob) = service else {
            panic!()
        };
        azblob.account_key = Some(Secret::new("d3Jvbmctc2VjcmV0"));
    });
    refuses(
        &wrong,
        ErrorKind::UpstreamUnauthorized,
        &["AuthorizationFailure", "`account_key`"],
    )
    .await;
    let missing = with(&store.config, |service| {
        let Service::Azblob(azblob) = service else {
            panic!()
        };
        azblob.container = "no-such-container".into();
    });
    refuses(
        &missing,
        ErrorKind::UpstreamUnavailable,
        &["does not exist", "`container`"],
    )
    .await;
    store.kill();
    unreachable(&store.config, "connection refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_behaves() {
    let Some(store) = Store::fake_gcs() else {
        return;
    };
    behaves(&store.config, 2_500, LARGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_refuses_and_goes_away() {
    let Some(mut store) = Store::fake_gcs() else {
        return;
    };
    let missing = with(&store.config, |service| {
        let Service::Gcs(gcs) = service else { panic!() };
        gcs.bucket = "no-such-bucket".into();
    });
    refuses(
        &missing,
        ErrorKind::UpstreamUnavailable,
        &["does not exist", "`bucket`"],
    )
    .await;
    store.kill();
    unreachable(&store.config, "connection refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_behaves() {
    let Some(store) = Store::etcd() else { return };
    behaves(&store.config, 2_500, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_behind_tls_behaves() {
    let authority = Authority::new();
    let Some(store) = Store::etcd_with(Some(&authority)) else {
        return;
    };
    behaves(&store.config, 100, None).await;
    // Without a certificate nobody is let in.
    let mut stranger = store.config.clone();
    stranger.client.identity = None;
    let error = open(&stranger).check().await.expect_err("no certificate");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
    stranger.client.ca_file = None;
    let error = open(&stranger).check().await.expect_err("not trusted");
    assert!(error.message().contains("`tls.ca_file`"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_with_users_behaves() {
    let Some(store) = Store::etcd() else { return };
    for (method, arguments) in [
        (
            "auth/user/add",
            r#"{"name": "root", "password": "right-secret"}"#,
        ),
        ("auth/role/add", r#"{"name": "root"}"#),
        ("auth/user/grant", r#"{"user": "root", "role": "root"}"#),
        ("auth/enable", "{}"),
    ] {
        Call::new("POST", &format!("/v3/{method}"))
            .body(arguments)
            .send(store.address())
            .expect(200);
    }
    let as_user = |name: Option<&str>, password: &str| {
        with(&store.config, |service| {
            let Service::Etcd(etcd) = service else {
                panic!()
            };
            etcd.username = name.map(str::to_owned);
            etcd.password = Some(Secret::new(password));
        })
    };
    behaves(&as_user(Some("root"), "right-secret"), 100, None).await;
    for stranger in [as_user(Some("root"), "wrong-secret"), as_user(None, "")] {
        refuses(&stranger, ErrorKind::UpstreamUnauthorized, &["`password`"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_says_which_limit_was_hit_and_goes_away() {
    let Some(mut store) = Store::etcd() else {
        return;
    };
    let bucket = open(&store.config);
    for size in [1_600_000, 5_000_000] {
        let content = Content::Bytes(vec![7; size].into());
        let error = bucket
            .write("large", content, Existing::Refuse)
            .await
            .expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
        assert!(error.message().contains("--max-request-bytes"), "{error:?}");
    }
    assert_eq!(bucket.stat("large").await.expect("answered"), None);
    store.kill();
    unreachable(&store.config, "connection refused").await;
}

/// A member that is away is passed over, for reads and writes.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_has_members() {
    let Some(store) = Store::etcd() else { return };
    let nobody = Port::reserve();
    let config = with(&store.config, |service| {
        let Service::Etcd(etcd) = service else {
            panic!()
        };
        let gone = format!("http://{}", nobody.address);
        etcd.endpoints.insert(0, gone.clone());
        etcd.endpoints.push(gone);
    });
    behaves(&config, 10, None).await;
}

/// ChartMuseum and chartgate read what the other wrote into etcd.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_shared_with_chartmuseum() {
    let authority = Authority::new();
    let (Some(store), Some(program)) = (Store::etcd_with(Some(&authority)), tools::chartmuseum())
    else {
        return;
    };
    let bucket = open(&store.config);
    let ours = package("ours", "1.0.0", &[]);
    let upload = Content::Bytes(ours.clone());
    let stamp = bucket
        .write("org1/ours-1.0.0.tgz", upload, Existing::Refuse)
        .await
        .expect("written");

    let folder = store.folder();
    let museum = ChartMuseum::start(
        &program,
        &[
            ("STORAGE", "etcd"),
            (
                "STORAGE_ETCD_ENDPOINT",
                &format!("https://{}", store.address()),
            ),
            ("STORAGE_ETCD_PREFIX", &store.config.prefix),
            (
                "STORAGE_ETCD_CAFILE",
                &folder.join("ca.pem").to_string_lossy(),
            ),
            (
                "STORAGE_ETCD_CERTFILE",
                &folder.join("client.crt").to_string_lossy(),
            ),
            (
                "STORAGE_ETCD_KEYFILE",
                &folder.join("client.key").to_string_lossy(),
            ),
            ("DEPTH", "1"),
        ],
    );
    let index = Call::get("/org1/index.yaml")
        .send(museum.address())
        .expect(200)
        .text();
    assert!(index.contains("ours-1.0.0.tgz"), "{index}");
    let read = Call::get("/org1/charts/ours-1.0.0.tgz")
        .send(museum.address())
        .expect(200);
    assert!(read.body == ours);
    let theirs = package("theirs", "2.0.0", &[]);
    Call::new("POST", "/api/org1/charts")
        .body(theirs.clone())
        .send(museum.address())
        .expect(201);

    let (found, _) = listing(&bucket, "org1").await.expect("listed");
    assert_eq!(found["ours-1.0.0.tgz"], stamp);
    let listed = found["theirs-2.0.0.tgz"];
    assert_eq!(listed.size, theirs.len() as u64);
    assert!(
        Clock::system().since(listed.modified).as_secs() < 120,
        "{listed:?}"
    );
    let opened = bucket
        .read("org1/theirs-2.0.0.tgz", None)
        .await
        .expect("answered")
        .expect("there");
    assert_eq!(opened.stamp, listed);
    assert!(bytes(opened).await.expect("whole") == theirs);
    assert_eq!(
        bucket
            .stat("org1/theirs-2.0.0.tgz")
            .await
            .expect("answered"),
        Some(listed)
    );

    bucket
        .remove("org1/theirs-2.0.0.tgz")
        .await
        .expect("removed");
    Call::get("/org1/charts/theirs-2.0.0.tgz")
        .send(museum.address())
        .expect(404);
}

/// `check --connect` tries the bucket and says what to do.
#[test]
fn check_connects_to_the_bucket() {
    let Some(store) = Store::minio() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let check = |bucket: &str| {
        let file = folder.path().join("chartgate.yaml");
        let text = json!({
            "store": {
                "type": "s3", "bucket": bucket, "endpoint": format!("http://{}", store.address()),
                "access_key_id": "minio-user", "secret_access_key": "minio-password",
            },
            "tenants": { "/": { "hosted": true } },
        });
        std::fs::write(&file, text.to_string()).expect("written");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_chartgate"))
            .args(["check", "--connect", "--config"])
            .arg(&file)
            .output()
            .expect("chartgate runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let (success, text) = check("charts");
    assert!(
        success && text.contains("store s3 bucket `charts`  ok"),
        "{text}"
    );
    let (success, text) = check("no-such-bucket");
    assert!(
        !success && text.contains("failed") && text.contains("check `bucket`"),
        "{text}"
    );
}
