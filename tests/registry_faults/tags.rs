//! What becomes of a tag when its upstream says something, something strange, or nothing.

use serde_json::json;

use super::{always, assert_away, assert_is, assert_stale, gateway, start, tag};
use crate::support::fake::{FakeRegistry, Fault, HeadStyle, Row, RunningRegistry, Spot};
use crate::support::registries::{oci, oci_as};

fn fake() -> RunningRegistry {
    FakeRegistry::open().image("a/b", "1").run()
}

fn slow_down() -> Fault {
    let seconds = ("Retry-After".to_owned(), "90".to_owned());
    Fault::StatusWith(429, vec![seconds])
}

/// Everything that says nothing about whether a tag exists.
fn silences() -> Vec<(&'static str, Fault)> {
    vec![
        ("429", slow_down()),
        ("500", Fault::Status(500)),
        ("502", Fault::Status(502)),
        ("503", Fault::Status(503)),
        ("closed", Fault::Close),
        ("silent", Fault::Silence),
        ("a loop", Fault::RedirectLoop),
        ("a web page", Fault::Html),
        ("garbage", Fault::Garbage(100_000)),
        ("an endless document", Fault::EndlessText(30 << 20)),
    ]
}

#[test]
fn a_fresh_tag_costs_the_upstream_nothing() {
    let fake = fake();
    let (_gateway, place) = start(&oci(&fake.url()));
    let image = fake.image("a/b", "1");
    assert_is(&tag(&place, "a/b", "1"), &image);
    fake.forget();
    for _ in 0..5 {
        assert_is(&tag(&place, "a/b", "1"), &image);
        assert_is(&tag(&place, "a/b", &image.digest), &image);
        assert_eq!(place.digest("a/b", "1"), image.digest);
    }
    assert_eq!(fake.count(Spot::All), 0);
}

#[test]
fn an_old_tag_costs_one_head_and_a_moved_one_one_get() {
    let fake = fake();
    let (_gateway, place) = gateway(&fake);
    let old = fake.image("a/b", "1");
    assert_is(&tag(&place, "a/b", "1"), &old);
    fake.forget();
    assert_is(&tag(&place, "a/b", "1"), &old);
    assert_eq!(
        (fake.count(Spot::Heads), fake.count(Spot::Manifests)),
        (1, 0)
    );
    let new = fake.add("a/b", "1", 60_000);
    assert_ne!(new.digest, old.digest);
    fake.forget();
    assert_is(&tag(&place, "a/b", "1"), &new);
    assert_eq!(
        (fake.count(Spot::Heads), fake.count(Spot::Manifests)),
        (1, 1)
    );
    assert_is(&tag(&place, "a/b", &old.digest), &old);
}

#[test]
fn heads_that_are_good_for_nothing_are_made_up_for() {
    for style in [
        HeadStyle::WithoutDigest,
        HeadStyle::Status(405),
        HeadStyle::Status(501),
        HeadStyle::Status(400),
    ] {
        let fake = FakeRegistry::open().image("a/b", "1").head(style).run();
        let (_gateway, place) = gateway(&fake);
        assert_is(&tag(&place, "a/b", "1"), &fake.image("a/b", "1"));
        let new = fake.add("a/b", "1", 70_000);
        assert_is(&tag(&place, "a/b", "1"), &new);
    }
}

#[test]
fn what_is_held_is_served_while_nobody_can_say() {
    for (what, fault) in silences() {
        let fake = fake();
        let (_gateway, place) = gateway(&fake);
        let image = fake.image("a/b", "1");
        assert_is(&tag(&place, "a/b", "1"), &image);
        fake.fault(Spot::All, fault);
        eprintln!("{what}");
        assert_stale(&tag(&place, "a/b", "1"), &image);
        let fresh = tag(&place, "a/b", &image.digest);
        assert_is(&fresh, &image);
        assert_eq!(fresh.header("warning"), None, "a digest cannot get old");
    }
}

#[test]
fn what_nobody_could_say_is_never_absent() {
    for (what, fault) in silences() {
        let fake = fake();
        fake.fault(Spot::All, fault);
        let (_gateway, place) = gateway(&fake);
        let image = fake.image("a/b", "1");
        for path in [
            "manifests/1".to_owned(),
            format!("manifests/{}", image.digest),
            format!("blobs/{}", image.layer),
            "tags/list".to_owned(),
        ] {
            for method in ["GET", "HEAD"] {
                let reply = place.ask(method, "a/b", &path);
                eprintln!("{what}: {method} {path}: {}", reply.status);
                // Nobody knows how long a blob is before its end: this one never ends well.
                if path.starts_with("blobs") && reply.status == 200 {
                    assert!(what == "an endless document" && method == "GET" && !reply.complete);
                    continue;
                }
                assert!(matches!(reply.status, 429 | 502..=504));
                if method == "GET" {
                    assert_away(&reply);
                    assert!(!reply.text().contains("<html"), "{}", reply.text());
                }
            }
        }
        if what == "429" {
            let reply = tag(&place, "a/b", "1");
            assert_eq!(reply.status, 429);
            assert!(reply.text().contains("TOOMANYREQUESTS"), "{}", reply.text());
            let wait: u64 = reply
                .header("retry-after")
                .expect("when")
                .parse()
                .expect("seconds");
            assert!((1..=90).contains(&wait), "{wait}");
        }
    }
}

/// An upstream that says "slow down" is left alone for as long as it says.
#[test]
fn an_upstream_that_limits_is_left_alone() {
    let fake = fake();
    let (_gateway, place) = gateway(&fake);
    let image = fake.image("a/b", "1");
    assert_is(&tag(&place, "a/b", "1"), &image);
    fake.fault(Spot::Heads, slow_down());
    fake.forget();
    for _ in 0..20 {
        assert_stale(&tag(&place, "a/b", "1"), &image);
    }
    assert!(fake.count(Spot::Heads) <= 1, "{}", fake.count(Spot::Heads));
}

#[test]
fn a_tag_that_was_removed_is_gone_unless_it_is_to_stay() {
    for keep in [false, true] {
        let fake = fake();
        let mut hub = always(&fake);
        hub["keep_removed"] = json!(keep);
        let (_gateway, place) = start(&hub);
        let image = fake.image("a/b", "1");
        assert_is(&tag(&place, "a/b", "1"), &image);
        fake.fault(Spot::Heads, Fault::Status(404));
        fake.fault(Spot::Manifests, Fault::Status(404));
        let reply = tag(&place, "a/b", "1");
        match keep {
            true => assert_is(&reply, &image),
            false => {
                assert_eq!(reply.status, 404);
                assert!(
                    reply.text().contains("MANIFEST_UNKNOWN"),
                    "{}",
                    reply.text()
                );
                // Once is enough for a while.
                fake.forget();
                for _ in 0..10 {
                    assert_eq!(tag(&place, "a/b", "1").status, 404);
                }
                assert_eq!(fake.count(Spot::All), 0);
            }
        }
        assert_is(&tag(&place, "a/b", &image.digest), &image);
    }
}

/// Refused although the gateway has credentials: not for this client either, and not an outage.
#[test]
fn a_refusal_is_an_absence_for_clients() {
    for status in [401, 403] {
        let fake = FakeRegistry::of(Row::Plain)
            .user("me", "s3cret")
            .image("a/b", "1")
            .run();
        let mut hub = oci_as(&fake.url(), "me", "s3cret");
        hub["tag_ttl"] = json!("0s");
        let (_gateway, place) = start(&hub);
        fake.fault(Spot::Heads, Fault::Status(status));
        fake.fault(Spot::Manifests, Fault::Status(status));
        let reply = tag(&place, "a/b", "1");
        match status {
            403 => assert_eq!(reply.status, 404, "{}", reply.text()),
            _ => assert!(matches!(reply.status, 404 | 502..=504), "{}", reply.status),
        }
        assert!(!reply.text().contains("s3cret"));
    }
}

/// Whatever HEAD claims: only bytes that were seen count.
#[test]
fn a_lie_about_a_digest_is_found_out() {
    let fake = fake();
    let (_gateway, place) = gateway(&fake);
    let image = fake.image("a/b", "1");
    let lie = format!("sha256:{}", "0".repeat(64));
    let header = Fault::Header("Docker-Content-Digest".to_owned(), lie.clone());
    fake.fault(Spot::Heads, header.clone());
    fake.fault(Spot::Manifests, header);
    let reply = tag(&place, "a/b", "1");
    assert_ne!(reply.header("docker-content-digest"), Some(lie.as_str()));
    assert!(reply.status != 200 || reply.body == image.manifest);
    fake.heal();
    assert_is(&tag(&place, "a/b", &image.digest), &image);
}

/// Bytes that are not what was asked for are never shown, and spoil nothing.
#[test]
fn wrong_bytes_are_never_shown() {
    for fault in [
        Fault::WrongBytes,
        Fault::CutAfter(50),
        Fault::Shortened(50),
        Fault::CutChunkedAfter(50),
        Fault::LengthTooShort(20),
        Fault::LengthTooLong(20),
        Fault::StallAfter(50),
        Fault::Body(b"{}".to_vec()),
    ] {
        let fake = fake();
        let (_gateway, place) = gateway(&fake);
        let image = fake.image("a/b", "1");
        fake.fault(Spot::Manifests, fault.clone());
        for reference in ["1", &image.digest] {
            let reply = tag(&place, "a/b", reference);
            assert_ne!(reply.status, 200, "{fault:?}: {}", reply.text());
            assert_ne!(reply.status, 404, "{fault:?}: {}", reply.text());
        }
        fake.heal();
    }
}

/// The first schema cannot be verified by digest as others are: it is not served, and the reason is said.
#[test]
fn the_first_schema_is_not_served() {
    let document = r#"{"schemaVersion":1,"name":"a/b","tag":"old","fsLayers":[],"history":[],"signatures":[]}"#;
    let kind = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let fake = FakeRegistry::open()
        .manifest("a/b", "old", kind, document)
        .run();
    let (_gateway, place) = gateway(&fake);
    let reply = tag(&place, "a/b", "old").expect(404);
    assert!(reply.text().contains("schema"), "{}", reply.text());
}

#[test]
fn lists_are_whole_and_survive_the_upstream() {
    let mut fake = FakeRegistry::of(Row::Quay);
    for number in 0..9 {
        fake = fake.image("a/b", &format!("1.{number}"));
    }
    let fake = fake.run();
    let (_gateway, place) = gateway(&fake);
    let list = |query: &str| place.ask("GET", "a/b", &format!("tags/list{query}"));
    let all = list("").expect(200).json();
    assert_eq!(all["tags"].as_array().expect("tags").len(), 9);
    assert_eq!(all["name"], "acme/hub/a/b");
    let page = list("?n=4&last=1.2").expect(200);
    assert_eq!(page.json()["tags"], json!(["1.3", "1.4", "1.5", "1.6"]));
    let link = page.header("link").expect("there is more");
    assert!(link.starts_with("</v2/acme/hub/a/b/tags/list?"), "{link}");
    fake.fault(Spot::All, Fault::Close);
    let stale = list("").expect(200);
    assert_eq!(stale.json(), all);
    assert!(stale.header("warning").is_some());
}

#[test]
fn referrers_come_from_the_api_or_from_the_tag() {
    for row in [Row::Plain, Row::Gar] {
        let seed = FakeRegistry::of(row).image("a/b", "1").run();
        let subject = seed.image("a/b", "1").digest;
        let fake = FakeRegistry::of(row)
            .image("a/b", "1")
            .referrer("a/b", &subject, "application/vnd.example.sbom")
            .referrer("a/b", &subject, "application/vnd.example.signature")
            .run();
        let (_gateway, place) = gateway(&fake);
        let list = |query: &str| {
            let path = format!("referrers/{subject}{query}");
            place.ask("GET", "a/b", &path).expect(200)
        };
        let all = list("");
        assert_eq!(
            all.json()["manifests"].as_array().expect("a list").len(),
            2,
            "{row:?}"
        );
        let some = list("?artifactType=application/vnd.example.sbom");
        assert_eq!(
            some.json()["manifests"].as_array().expect("a list").len(),
            1
        );
        assert_eq!(some.header("oci-filters-applied"), Some("artifactType"));
        fake.fault(Spot::All, Fault::Status(503));
        assert_eq!(list("").json(), all.json(), "{row:?}");
    }
}
