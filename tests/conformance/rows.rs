//! All rows, and against whom they are held.

use std::collections::BTreeSet;

use chartgate::auth::bcrypt_line;
use serde_json::json;

use super::subject::Algorithm::{Sha256, Sha512};
use super::subject::{Algorithm, Checked, Repository, Subject};
use super::{blobs, data, lists, manifests, uploads};
use crate::support::clients::basic;
use crate::support::distribution::Distribution;
use crate::support::gateway::Gateway;
use crate::support::registries::{hosted, hosted_for, minio};
use crate::support::stores::Store;

type Row = fn(&Repository) -> Checked;
type BlobRow = fn(&Repository, Algorithm) -> Checked;

/// What the specification says of blobs, for both algorithms, in the order of the official suite.
const BLOBS: &[(&str, BlobRow)] = &[
    ("get what is missing", blobs::missing),
    ("post only", blobs::post_only),
    ("post and put", blobs::post_and_put),
    ("one piece", uploads::one_piece),
    ("stream", uploads::stream),
    ("mount", uploads::mount),
    ("mount from anywhere", uploads::mount_from_anywhere),
    ("mount what is missing", uploads::mount_missing),
    ("cancel", uploads::cancel),
    ("fresh session", uploads::fresh_session),
    ("pieces", uploads::pieces),
    ("last piece with put", uploads::last_piece_with_put),
    ("out of order patch", uploads::out_of_order_patch),
    ("out of order put", uploads::out_of_order_put),
    ("ranges", blobs::ranges),
    ("empty blob", blobs::empty),
    ("empty object", blobs::empty_object),
    ("wrong digests of blobs", blobs::wrong_digests),
    ("malformed digests of blobs", blobs::malformed_digests),
];

/// What else it says.
const OTHERS: &[(&str, Row)] = &[
    ("nothing there", lists::nothing),
    ("referrers of no digest", lists::referrers_of_no_digest),
    ("tags in pages", lists::pages),
    ("bounds of pages", lists::bounds),
    ("missing manifest", manifests::missing),
    ("wrong digests of manifests", manifests::wrong_digests),
    ("tags move", manifests::tags_move),
];

/// What this project promises beyond it.
const OURS: &[(&str, Row)] = &[
    ("refused documents", manifests::refused),
    ("incomplete documents", manifests::incomplete),
    ("whatever is accepted", manifests::whatever_is_accepted),
    ("unchanged", manifests::unchanged),
    ("manifests are blobs", manifests::manifests_are_blobs),
    ("as it is", manifests::as_it_is),
    ("locations are paths", manifests::locations_are_paths),
    ("bad names", manifests::bad_names),
    ("strange ranges", manifests::strange_ranges),
];

/// Every row with the repository that it uses, and what is wrong.
fn failures(subject: &Subject) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut note = |row: String, checked: Checked| {
        if let Err(sentence) = checked {
            found.push((row, sentence));
        }
    };
    for algorithm in [Sha256, Sha512] {
        for (name, row) in BLOBS {
            let name = format!("{algorithm:?} {name}").to_lowercase();
            let repository = repository(subject, &name);
            note(name, row(&repository, algorithm));
        }
    }
    for (name, row) in OTHERS.iter().chain(OURS) {
        note((*name).to_owned(), row(&repository(subject, name)));
    }
    for (name, set) in data::SETS {
        let checked = data::check(&repository(subject, name), *set);
        note((*name).to_owned(), checked);
    }
    found
}

fn repository(subject: &Subject, row: &str) -> Repository {
    subject.repository(&row.replace(' ', "-"))
}

/// What the reference registry (3.1.2) does otherwise: no referrers, no single POST, no anonymous mount, sha512 renamed to sha256, a link
/// after the last tag. The official suite finds the same.
const OF_DISTRIBUTION: &[&str] = &[
    "artifacts with a subject",
    "artifacts with a subject by sha512",
    "bad names",
    "bounds of pages",
    "index by sha512",
    "index with a subject",
    "layers that are not distributed",
    "locations are paths",
    "manifests are blobs",
    "nothing there",
    "referrers of no digest",
    "sha256 mount from anywhere",
    "sha256 post only",
    "sha256 wrong digests of blobs",
    "sha512 empty blob",
    "sha512 empty object",
    "sha512 last piece with put",
    "sha512 mount",
    "sha512 mount from anywhere",
    "sha512 mount what is missing",
    "sha512 one piece",
    "sha512 out of order patch",
    "sha512 out of order put",
    "sha512 pieces",
    "sha512 post and put",
    "sha512 post only",
    "sha512 stream",
    "sha512 wrong digests of blobs",
    "strange ranges",
    "subject that is missing",
    "tags in pages",
    "tags in the query",
    "tags in the query by sha512",
];

#[test]
fn rows_tell_what_the_reference_registry_does_otherwise() {
    let Some(registry) = Distribution::start() else {
        return;
    };
    let address = registry.address().parse().expect("an address");
    let failures = failures(&Subject::at(address, "some/where"));
    let found: BTreeSet<_> = failures.iter().map(|(row, _)| row.as_str()).collect();
    let expected: BTreeSet<_> = OF_DISTRIBUTION.iter().copied().collect();
    assert_eq!(found, expected, "{failures:#?}");
}

#[test]
fn the_hosted_registry_keeps_every_row() {
    let gateway = Gateway::start(json!({"tenants": {"acme/team": hosted()}}));
    let failures = failures(&Subject::at(gateway.http, "acme/team/conf"));
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn the_hosted_registry_keeps_every_row_on_a_bucket() {
    let Some(store) = Store::minio() else {
        return;
    };
    let gateway = Gateway::start(json!({
        "store": minio(store.address()), "tenants": {"acme/team": hosted()},
    }));
    let failures = failures(&Subject::at(gateway.http, "acme/team/conf"));
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn the_hosted_registry_keeps_every_row_for_its_users_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let users = bcrypt_line("ci", "s3cret").expect("a line");
    std::fs::write(folder.path().join("users"), users).expect("writable");
    let gateway = Gateway::start_in(
        folder,
        json!({"auth": {"users_file": "users"}, "tenants": {"acme": hosted_for(&["ci"])}}),
    );
    let subject = Subject::at(gateway.http, "acme/conf");
    let known = subject.clone().authorized(&basic("ci", "s3cret"));
    let found = failures(&known);
    assert!(found.is_empty(), "{found:#?}");
    // Strangers get nothing of it, and a wrong password is no better.
    let all = failures(&known.authorized(&basic("ci", "wrong")));
    let strangers = failures(&subject);
    let rows = 2 * BLOBS.len() + OTHERS.len() + OURS.len() + data::SETS.len();
    // Names that are none are refused before anybody asks who asks.
    assert!(all.len() >= rows - 2, "{all:#?}");
    assert!(strangers.len() >= rows - 2, "{strangers:#?}");
}

/// For people who want to know about another registry.
#[test]
#[ignore = "needs a registry: CHARTGATE_CONFORMANCE=127.0.0.1:5000/some/where"]
fn against_any_registry() {
    let place =
        std::env::var("CHARTGATE_CONFORMANCE").expect("CHARTGATE_CONFORMANCE=host:port/path");
    let (address, below) = place.split_once('/').unwrap_or((&place, ""));
    let mut subject = Subject::at(address.parse().expect("an IP address and a port"), below);
    if let Ok(value) = std::env::var("CHARTGATE_CONFORMANCE_AUTHORIZATION") {
        subject = subject.authorized(&value);
    }
    let failures = failures(&subject);
    assert!(failures.is_empty(), "{failures:#?}");
}
