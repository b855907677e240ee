//! Hosted registries: one behaviour suite for folders and buckets, replicas, and reading through the cache.

mod collect;
mod ground;
mod manifests;
mod many;
mod reading;
mod referrers;
mod removal;
mod replicas;
mod rights;
mod tags;
mod uploads;

use self::ground::World;
use crate::suites::hosted::Ground;
use crate::support::fake::FakeS3;
use crate::support::stores::{BUCKET, Store};

/// Every case, each in a tenant of its own.
async fn behaves(ground: &Ground) {
    let world = |tenant: &'static str| World::new(ground, tenant);
    manifests::are_read_back_as_they_came(&world("bytes").await).await;
    manifests::of_charts_keep_the_type_of_their_header(&world("charts").await).await;
    manifests::may_be_named_by_sha512(&world("sha512").await).await;
    manifests::may_be_as_empty_as_the_specification_lets_them(&world("empty").await).await;
    manifests::that_are_none_leave_nothing(&world("wrong").await).await;
    manifests::need_what_they_name(&world("needs").await).await;
    tags::move_and_are_sorted(&world("tags").await).await;
    tags::of_one_push_are_set_together(&world("several").await).await;
    tags::stay_where_they_may_not_change(&world("immutable").await).await;
    referrers::are_listed_and_go(&world("referrers").await).await;
    referrers::of_old_clients_are_listed_too(&world("fallback").await).await;
    removal::takes_effect_at_once(&world("removal").await).await;
    removal::of_a_manifest_takes_all_its_tags(&world("all-tags").await).await;
    removal::may_be_switched_off(&world("no-removal").await).await;
    removal::of_everything_ends_the_repository(&world("catalog").await).await;
    rights::to_bytes_come_from_links_alone(&world("rights").await).await;
    rights::come_with_a_mount(&world("mounts").await).await;
    rights::end_with_the_quota(&world("quota").await).await;
    rights::of_tenants_are_their_own(&world("one/tenant").await).await;
    uploads::end_as_blobs(&world("uploads").await).await;
    uploads::of_what_is_there_are_blobs_too(&world("twice").await).await;
    uploads::that_are_wrong_leave_nothing(&world("refused").await).await;
    uploads::go_on_after_a_restart(&world("resumed").await).await;
    many::changes_at_a_time_end_in_one_order(&world("order").await).await;
}

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

/// Collecting in a folder: its times are those of the clock.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_collected() {
    let ground = Ground::folder();
    collect::takes_what_nobody_needs(&ground).await;
    collect::crosses_no_push(&ground).await;
}

/// In a bucket, whose times are its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_collected() {
    let s3 = FakeS3::new(BUCKET)
        .credentials("minio-user")
        .page_size(3)
        .run();
    collect::takes_what_nobody_needs(&Ground::fake(&s3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_is_collected() {
    let Some(store) = Store::minio() else { return };
    collect::takes_what_nobody_needs(&Ground::real(store.config.clone())).await;
}
