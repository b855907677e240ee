//! Object stores: one behaviour suite against real servers, and what is special about each.

use chartgate::config::{ObjectStore, Secret, Service};
use chartgate::error::ErrorKind;

use crate::suites::bucket::{behaves, refuses, unreachable};
use crate::support::stores::Store;

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
