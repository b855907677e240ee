//! The hosted store: one behaviour suite for folders and buckets, and what can go wrong with a bucket.

mod faults;
mod program;
mod reading;
mod replicas;
mod starts;

use crate::suites::hosted::{Ground, behaves};
use crate::support::fake::FakeS3;
use crate::support::stores::{BUCKET, Store};

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_behaves() {
    behaves(&Ground::folder()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_behaves() {
    let s3 = FakeS3::new(BUCKET)
        .credentials("minio-user")
        .page_size(3)
        .run();
    behaves(&Ground::fake(&s3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_behaves() {
    let Some(store) = Store::minio() else { return };
    behaves(&Ground::real(store.config.clone())).await;
}
