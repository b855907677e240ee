//! The official suite: its own program, its own verdict.
//!
//! No package registry has it, so it is built from a checkout: `make conformance SOURCE=<opencontainers/distribution-spec>`. Where it is not there,
//! these tests are listed as ignored, not as passed.

use std::fmt::Write as _;
use std::process::Command;

use chartgate::auth::bcrypt_line;
use serde_json::json;

use crate::registry_clients::Place;
use crate::support::clients::{Clients, Program};
use crate::support::distribution::Distribution;
use crate::support::gateway::Gateway;
use crate::support::image::Image;
use crate::support::registries::{hosted, hosted_for, mirror, oci};
use crate::support::tools;

/// What the suite says in the end.
struct Verdict {
    passed: usize,
    /// Everything that is neither passed nor switched off by the version or mode of the run, a line each.
    others: String,
}

/// Runs the suite with these variables in its environment.
fn run(address: &str, settings: &[(&str, &str)]) -> Verdict {
    let program = tools::find("oci-conformance/conformance");
    let program = program.expect("the suite: make conformance SOURCE=<checkout>");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(program)
        .current_dir(folder.path())
        .env("OCI_REGISTRY", address)
        .env("OCI_TLS", "disabled")
        .env("OCI_RESULTS_DIR", folder.path())
        .envs(settings.iter().copied())
        .output()
        .expect("running the suite");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut verdict = read(&text);
    if !verdict.others.is_empty() {
        verdict
            .others
            .push_str(&String::from_utf8_lossy(&output.stderr));
    }
    verdict
}

/// Reads the tree of results that the suite prints: its files are not written in read-only mode, where it ends with a panic of its own
/// after the verdict.
fn read(text: &str) -> Verdict {
    let mut verdict = Verdict {
        passed: 0,
        others: String::new(),
    };
    for line in text.lines() {
        let Some((name, result)) = line.trim().rsplit_once(": ") else {
            continue;
        };
        if !name.starts_with("OCI Conformance Test") {
            continue;
        }
        match result {
            "Pass" => verdict.passed += 1,
            // By the version or the mode, which `run` was told.
            "Disabled" => {}
            _ => writeln!(verdict.others, "{line}").expect("memory"),
        }
    }
    assert!(
        text.contains("OCI Conformance Result: "),
        "no verdict: {text}"
    );
    verdict
}

#[track_caller]
fn assert_perfect(verdict: &Verdict, at_least: usize) {
    assert!(verdict.others.is_empty(), "{}", verdict.others);
    assert!(verdict.passed >= at_least, "only {} checks", verdict.passed);
}

#[test]
#[ignore = "needs the official suite: make conformance SOURCE=<checkout of opencontainers/distribution-spec>"]
fn the_hosted_registry_passes_the_official_suite() {
    let gateway = Gateway::start(json!({"tenants": {"acme": hosted(), "acme/other": hosted()}}));
    for (version, at_least) in [("1.0", 700), ("1.1", 800), ("dev", 900)] {
        let mut settings = vec![("OCI_VERSION", version), ("OCI_REPO1", "acme/conf/a")];
        settings.push(("OCI_REPO2", "acme/conf/b"));
        assert_perfect(&run(&gateway.http.to_string(), &settings), at_least);
        // In another tenant: mounts by name reach across, those from anywhere stay at home.
        settings.push(("OCI_REPO2", "acme/other/conf/b"));
        settings.push(("OCI_API_BLOBS_MOUNT_ANONYMOUS", "false"));
        assert_perfect(&run(&gateway.http.to_string(), &settings), at_least);
    }
}

/// The same with a login, which the suite does by token.
#[test]
#[ignore = "needs the official suite: make conformance SOURCE=<checkout of opencontainers/distribution-spec>"]
fn the_hosted_registry_passes_the_official_suite_with_a_login() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let users = bcrypt_line("ci", "s3cret").expect("a line");
    std::fs::write(folder.path().join("users"), users).expect("writable");
    let gateway = Gateway::start_in(
        folder,
        json!({"auth": {"users_file": "users"}, "tenants": {"acme": hosted_for(&["ci"])}}),
    );
    for cached in ["true", "false"] {
        let verdict = run(
            &gateway.http.to_string(),
            &[
                ("OCI_VERSION", "dev"),
                ("OCI_REPO1", "acme/conf/a"),
                ("OCI_REPO2", "acme/conf/b"),
                ("OCI_USERNAME", "ci"),
                ("OCI_PASSWORD", "s3cret"),
                ("OCI_CACHE_AUTH", cached),
            ],
        );
        assert_perfect(&verdict, 900);
    }
}

#[test]
#[ignore = "needs the official suite: make conformance SOURCE=<checkout of opencontainers/distribution-spec>"]
fn a_mirror_passes_the_official_suite_as_far_as_it_reads() {
    let Some(upstream) = Distribution::start() else {
        return;
    };
    let Some(clients) = Clients::with(&[Program::Crane]) else {
        return;
    };
    let place = Place::of(upstream.address(), "");
    let image = Image::layers(61, &[50_000, 2_000]);
    let index = Image::index(62, 9_000);
    for (image, tag) in [(&image, "1.0"), (&index, "all")] {
        image.write(&clients.home().join(tag), tag);
        clients.ok(
            Program::Crane,
            &["push", tag, &place.image("library/app", tag)],
        );
    }
    let gateway = Gateway::start(json!({
        "upstreams": {"hub": oci(&upstream.url())},
        "tenants": {"acme": mirror(&["hub"])},
    }));
    let manifests = [
        image.digest.as_str(),
        &index.digest,
        &index.children[0].digest,
        &index.children[1].digest,
    ];
    let (manifests, blobs) = (
        manifests.join(" "),
        format!("{} {}", image.layer(0), image.layer(1)),
    );
    // By its upstream's name, and as one of the tenant's.
    for name in ["acme/hub/library/app", "acme/library/app"] {
        for version in ["1.0", "1.1", "dev"] {
            let verdict = run(
                &gateway.http.to_string(),
                &[
                    ("OCI_VERSION", version),
                    ("OCI_REPO1", name),
                    ("OCI_REPO2", name),
                    ("OCI_API_PUSH", "false"),
                    ("OCI_API_BLOBS_DELETE", "false"),
                    ("OCI_API_MANIFESTS_DELETE", "false"),
                    ("OCI_API_TAGS_DELETE", "false"),
                    // The suite looks at this header of manifests only where it has pushed them, and misses it elsewhere.
                    ("OCI_API_MANIFESTS_DIGEST_HEADER", "false"),
                    ("OCI_RO_DATA_TAGS", "1.0 all"),
                    ("OCI_RO_DATA_MANIFESTS", &manifests),
                    ("OCI_RO_DATA_BLOBS", &blobs),
                    ("OCI_RO_DATA_REFERRERS", &image.digest),
                ],
            );
            assert_perfect(&verdict, 20);
        }
    }
}
