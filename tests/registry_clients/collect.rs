//! `chartgate gc` beside a gateway that serves: what nobody needs goes, and nothing else.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::Place;
use crate::support::clients::{Clients, Program};
use crate::support::corpus::sha256;
use crate::support::files_below;
use crate::support::gateway::Gateway;
use crate::support::http::Call;
use crate::support::image::Image;
use crate::support::registries::hosted;

const CRANE: Program = Program::Crane;

/// Runs the command with the gateway's own configuration; what it prints.
#[track_caller]
fn collect(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_chartgate"))
        .args(["gc", "--config", "gateway.yaml"])
        .args(arguments)
        .current_dir(gateway.folder())
        .output()
        .expect("running the program");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
    text
}

/// How many files hold these bytes.
fn copies(gateway: &Gateway, bytes: &[u8]) -> usize {
    let name = sha256(bytes);
    files_below(&gateway.data().join("hosted/v2/blobs"))
        .iter()
        .filter(|path| path.ends_with(&name))
        .count()
}

/// Makes everything that is stored three days old, uploads excepted.
fn grow_old(gateway: &Gateway) {
    let then = SystemTime::now() - Duration::from_hours(72);
    for path in files_below(&gateway.data().join("hosted/v2")) {
        if !path.components().any(|part| part.as_os_str() == "uploads") {
            let file = File::options().write(true).open(&path).expect("a file");
            file.set_modified(then).expect("ours");
        }
    }
}

#[test]
fn what_was_removed_is_collected_and_what_is_needed_stays() {
    let Some(clients) = Clients::with(&[CRANE, Program::Oras]) else {
        return;
    };
    let gateway = Gateway::start(json!({"tenants": {"acme": hosted(), "other": hosted()}}));
    let place = Place::of(gateway.http, "acme");
    let (gone, kept) = (Image::new(201, 30_000), Image::index(202, 20_000));
    for (image, folder) in [(&gone, "gone"), (&kept, "kept")] {
        image.write(&clients.home().join(folder), "1");
    }
    clients.ok(CRANE, &["push", "gone", &place.image("gone", "1")]);
    clients.ok(CRANE, &["push", "kept", &place.image("kept", "1")]);
    // The same layers in another tenant, which removes its link.
    let other = Place::of(gateway.http, "other");
    clients.ok(CRANE, &["push", "kept", &other.image("copy", "1")]);
    clients.ok(CRANE, &["delete", &other.pinned("copy", &kept.digest)]);
    // Something refers to what is kept.
    std::fs::write(clients.home().join("sbom"), "{}").expect("writable");
    let at = place.image("kept", "1");
    let kind = "--artifact-type=application/vnd.example.sbom";
    clients.ok(
        Program::Oras,
        &["attach", "--plain-http", kind, &at, "sbom"],
    );
    // An upload is under way.
    let reply = gateway.send(&Call::new("POST", "/v2/acme/kept/blobs/uploads/").body(""));
    let reply = reply.expect(202);
    let location = reply.header("location").expect("where").to_owned();
    gateway
        .send(&Call::new("PATCH", &location).body("half "))
        .expect(202);

    let pinned = place.pinned("gone", &gone.digest);
    clients.ok(CRANE, &["delete", &pinned]);
    for bytes in &gone.blobs {
        let path = format!("blobs/sha256:{}", sha256(bytes));
        place.ask("DELETE", "gone", &path).expect(202);
    }
    let text = collect(&gateway, &["--delete"]);
    assert!(text.contains("younger than"), "{text}");
    for bytes in gone.blobs.iter().chain([&gone.manifest]) {
        assert_eq!(copies(&gateway, bytes), 1, "too young to go: {text}");
    }

    grow_old(&gateway);
    let text = collect(&gateway, &[]);
    assert!(text.contains("nothing was removed"), "{text}");
    for bytes in gone.blobs.iter().chain([&gone.manifest]) {
        assert_eq!(copies(&gateway, bytes), 1, "{text}");
    }
    let text = collect(&gateway, &["--delete"]);
    for bytes in gone.blobs.iter().chain([&gone.manifest]) {
        assert_eq!(copies(&gateway, bytes), 0, "{text}");
    }
    place.assert_holds("kept", "1", &kept);
    let listed = place.ask("GET", "kept", &format!("referrers/{}", kept.digest));
    let listed = listed.expect(200).json();
    assert_eq!(
        listed["manifests"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
    let sbom = listed["manifests"][0]["digest"].as_str().expect("a digest");
    place
        .ask("GET", "kept", &format!("manifests/{sbom}"))
        .expect(200);
    let digest = sha256(b"half and half");
    let mark = if location.contains('?') { '&' } else { '?' };
    let end = Call::new("PUT", &format!("{location}{mark}digest=sha256:{digest}"));
    gateway.send(&end.body("and half")).expect(201);
    // What was collected can be pushed again, and is there.
    clients.ok(CRANE, &["push", "gone", &place.image("gone", "1")]);
    place.assert_holds("gone", "1", &gone);
}
