//! Upstreams that fail in every way: nothing bad is cached or published, what is held stays served, and the operator is told.

use std::time::Duration;

use serde_json::{Value, json};

use crate::oracle::{local, pairs, tenant};
use crate::support::corpus::sha256;
use crate::support::fake::{FakeChart, FakeHelm, FakeUpstream, Fault, Target};
use crate::support::gateway::Gateway;
use crate::support::http::Call;
use crate::support::{files_below, until};

/// One upstream `up` in tenant `t`, with patience for tests and no refresh of its own accord.
fn gateway(upstream: &FakeUpstream) -> Gateway {
    Gateway::start(config(&impatient(upstream)))
}

fn config(upstream: &Value) -> Value {
    json!({"upstreams": {"up": upstream}, "tenants": {"t": tenant(&["up"])}})
}

fn impatient(upstream: &FakeUpstream) -> Value {
    let mut one = local(&upstream.url());
    one["timeout"] = json!("500ms");
    one["refresh"] = json!("1h");
    one
}

/// Waits until the disk holds these bytes: a copy is kept after it was sent.
#[track_caller]
fn wait_kept(gateway: &Gateway, bytes: &[u8]) {
    until("a copy to be on disk", Duration::from_secs(20), || {
        files_below(&gateway.data().join("cache/blobs"))
            .iter()
            .any(|path| {
                let same =
                    std::fs::metadata(path).is_ok_and(|data| data.len() == bytes.len() as u64);
                same && std::fs::read(path).is_ok_and(|content| content == bytes)
            })
            .then_some(())
    });
}

#[test]
fn a_failed_refresh_keeps_the_held_index_and_names_the_fault() {
    const MEGABYTE: usize = 1 << 20;
    let upstream = FakeHelm::new()
        .chart("app", "1.0.0")
        .chart("web", "2.0.0")
        // Otherwise a 304 without a body would be all that an unchanged index needs.
        .without_validators()
        .run();
    let gateway = gateway(&upstream);
    let held = gateway.get("/t/index.yaml").expect(200);
    assert_eq!(pairs(&held.json()).len(), 2);

    let status = |code: u16| (Fault::Status(code), vec![code.to_string()]);
    let says = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    let faults: Vec<(Fault, Vec<String>)> = vec![
        (
            Fault::Close,
            says(&["connection", "closed", "reached", "answer"]),
        ),
        (Fault::Silence, says(&["did not answer", "500ms"])),
        (
            Fault::StallAfter(100),
            says(&["time", "stall", "progress", "nothing"]),
        ),
        (
            Fault::CutAfter(100),
            says(&[
                "cut",
                "end",
                "incomplete",
                "closed",
                "short",
                "body",
                "broke",
            ]),
        ),
        (
            Fault::CutChunkedAfter(100),
            says(&[
                "cut",
                "end",
                "incomplete",
                "closed",
                "short",
                "body",
                "broke",
            ]),
        ),
        (
            Fault::LengthTooLong(1000),
            says(&[
                "cut",
                "end",
                "incomplete",
                "closed",
                "short",
                "body",
                "broke",
            ]),
        ),
        (
            Fault::Html,
            says(&["html", "HTML", "not an index", "index"]),
        ),
        status(401),
        status(403),
        status(404),
        status(429),
        status(500),
        status(503),
        (
            Fault::StatusWith(503, vec![("Retry-After".to_owned(), "1".to_owned())]),
            says(&["503"]),
        ),
        (Fault::RedirectLoop, says(&["redirect"])),
        (
            Fault::Redirect("ftp://example.com/index.yaml".to_owned()),
            says(&["redirect", "ftp", "scheme"]),
        ),
        (
            Fault::Redirect("http://127.0.0.1:1/index.yaml".to_owned()),
            says(&["127.0.0.1:1", "refused", "connect", "reached"]),
        ),
        (Fault::Body(Vec::new()), says(&["empty", "index"])),
        (
            Fault::Body(b"entries: [this, is, no, index".to_vec()),
            says(&["index", "YAML"]),
        ),
        (
            Fault::Body(b"../../charts/index.yaml".to_vec()),
            says(&["index", "YAML"]),
        ),
        (
            Fault::Body(b"apiVersion: v1\nentries: {}\n".to_vec()),
            says(&["shr", "lost", "fewer", "versions"]),
        ),
        (
            Fault::Garbage(100 * MEGABYTE),
            says(&["index", "large", "limit", "bytes"]),
        ),
        (
            Fault::EndlessText(100 * MEGABYTE),
            says(&["index", "large", "limit", "bytes"]),
        ),
        (
            Fault::GzipBomb(400 * MEGABYTE),
            says(&["index", "large", "limit", "bytes"]),
        ),
    ];
    for (fault, words) in faults {
        let name: String = format!("{fault:?}").chars().take(60).collect();
        let logged = gateway.log().len();
        upstream.fail_index(fault);
        let answer = gateway.refresh("up");
        assert!(
            matches!(answer.status, 429 | 500..=504),
            "{name}: {} {}",
            answer.status,
            answer.text()
        );
        let now = gateway.get("/t/index.yaml").expect(200);
        assert_eq!(now.body, held.body, "{name} changed the index");
        assert_eq!(now.header("etag"), held.header("etag"), "{name}");

        let said = gateway.upstream("up");
        let error = said["last_error"].to_string();
        assert!(
            words.iter().any(|word| error.contains(word.as_str())),
            "{name}: none of {words:?} in {said}"
        );
        until(
            &format!("a log line about {name}"),
            Duration::from_secs(5),
            || gateway.log()[logged..].contains("up").then_some(()),
        );
        upstream.heal();
        // More than once, because half a second may be too short for a busy machine.
        until(
            &format!("recovery from {name}"),
            Duration::from_secs(20),
            || (gateway.refresh("up").status == 200).then_some(()),
        );
    }
    let memory = gateway.resident();
    assert!(
        memory < 400 << 20,
        "{memory} bytes are resident after garbage and bombs"
    );

    upstream.refuse();
    gateway.refresh("up");
    assert_eq!(gateway.get("/t/index.yaml").expect(200).body, held.body);
    assert!(!gateway.upstream("up")["last_error"].is_null());
    upstream.heal();
    upstream.add(FakeChart::new("new", "1.0.0"));
    gateway.refresh("up").expect(200);
    assert_eq!(pairs(&gateway.index("t")).len(), 3, "healed");
    assert!(gateway.upstream("up")["last_error"].is_null());
}

#[test]
fn a_failed_archive_is_an_error_and_never_kept() {
    let faults: Vec<Fault> = vec![
        Fault::Close,
        Fault::Silence,
        Fault::StallAfter(1000),
        Fault::CutAfter(1000),
        Fault::CutChunkedAfter(1000),
        Fault::LengthTooLong(1000),
        Fault::LengthTooShort(1000),
        Fault::Html,
        Fault::Status(401),
        Fault::Status(403),
        Fault::Status(429),
        Fault::Status(500),
        Fault::Status(503),
        Fault::RedirectLoop,
        Fault::WrongBytes,
        Fault::Body(Vec::new()),
        Fault::Garbage(100 << 20),
        Fault::EndlessText(100 << 20),
        Fault::GzipBomb(100 << 20),
    ];
    // Small archives are verified before their first byte; large ones stream and are cut. Both must hold.
    for size in [20_000, 3_000_000] {
        let mut fake = FakeHelm::new();
        for number in 0..faults.len() {
            fake = fake.with(FakeChart::new("app", &format!("1.{number}.0")).size(size));
        }
        let upstream = fake.run();
        let mut gateway = gateway(&upstream);
        for (number, fault) in faults.iter().enumerate() {
            let path = format!("/t/charts/app-1.{number}.0.tgz");
            let name: String = format!("{size} {fault:?}").chars().take(60).collect();
            upstream.fail_archives(fault.clone());
            let reply = gateway.get(&path);
            if reply.status == 200 {
                let right = upstream.archive("app", &format!("1.{number}.0"));
                let whole = reply.complete && reply.body == right;
                // A proxy that resumes may succeed against a fault that only cuts.
                let cut = !reply.complete;
                assert!(
                    whole || cut,
                    "{name}: {} wrong bytes arrived as if complete",
                    reply.body.len()
                );
            } else {
                assert!(
                    matches!(reply.status, 404 | 429 | 502..=504),
                    "{name}: {} {}",
                    reply.status,
                    reply.text()
                );
                assert!(
                    reply.text().contains("app") || reply.text().contains("up"),
                    "{name}: {}",
                    reply.text()
                );
            }
            upstream.heal();
        }
        // The digest refuses what lies; a mismatch is counted by the upstream's name.
        let metrics = gateway.admin("/metrics").expect(200).text();
        assert!(
            metrics.contains("chartgate_digest_mismatch_total{upstream=\"up\"}"),
            "{metrics}"
        );
        assert!(
            gateway.resident() < 300 << 20,
            "{} bytes resident",
            gateway.resident()
        );

        for (number, fault) in faults.iter().enumerate() {
            let path = format!("/t/charts/app-1.{number}.0.tgz");
            let right = sha256(&upstream.archive("app", &format!("1.{number}.0")));
            until(
                &format!("{path} after {fault:?}"),
                Duration::from_secs(15),
                || {
                    let reply = gateway.get(&path);
                    if reply.status == 200 && reply.complete {
                        assert_eq!(sha256(&reply.body), right, "{path} was kept wrong");
                        return Some(());
                    }
                    None
                },
            );
        }
        for number in 0..faults.len() {
            wait_kept(&gateway, &upstream.archive("app", &format!("1.{number}.0")));
        }
        upstream.refuse();
        gateway.stop();
        gateway.run();
        gateway.wait_ready();
        for number in 0..faults.len() {
            let path = format!("/t/charts/app-1.{number}.0.tgz");
            let right = sha256(&upstream.archive("app", &format!("1.{number}.0")));
            assert_eq!(
                sha256(&gateway.get(&path).expect(200).body),
                right,
                "{path} after a restart"
            );
        }
    }
}

#[test]
fn an_archive_that_is_gone_is_not_asked_for_again_and_again() {
    let upstream = FakeHelm::new().chart("app", "1.0.0").run();
    let gateway = gateway(&upstream);
    upstream.fail_archives(Fault::Status(404));
    for _ in 0..3 {
        let reply = gateway.get("/t/charts/app-1.0.0.tgz").expect(404);
        assert!(reply.text().contains("app-1.0.0.tgz"), "{}", reply.text());
    }
    assert_eq!(upstream.count("/charts/app-1.0.0.tgz"), 1);
    gateway.get("/t/charts/app-9.9.9.tgz").expect(404);
    gateway.get("/t/charts/other-1.0.0.tgz").expect(404);
    assert_eq!(
        upstream.count("/charts/app-9.9.9.tgz"),
        0,
        "no index lists it"
    );
}

#[test]
fn wrong_bytes_are_served_only_where_the_operator_says_so_and_are_not_kept() {
    let upstream = FakeHelm::new()
        .with(FakeChart::new("app", "1.0.0").digest(&"ab".repeat(32)))
        .run();
    let mut lenient = impatient(&upstream);
    lenient["on_digest_mismatch"] = json!("serve");
    let gateway = Gateway::start(json!({
        "upstreams": {"strict": impatient(&upstream), "lenient": lenient},
        "tenants": {"strict": tenant(&["strict"]), "lenient": tenant(&["lenient"])},
    }));
    let path = |tenant: &str| format!("/{tenant}/charts/app-1.0.0.tgz");
    let reply = gateway.get(&path("strict")).expect(502);
    assert!(reply.text().contains("digest"), "{}", reply.text());
    for _ in 0..2 {
        let reply = gateway.get(&path("lenient")).expect(200);
        assert_eq!(reply.body, upstream.archive("app", "1.0.0"));
        assert_ne!(
            reply.header("etag"),
            Some(format!("\"{}\"", "ab".repeat(32)).as_str())
        );
    }
    gateway.get(&path("strict")).expect(502);
    let metrics = gateway.admin("/metrics").expect(200).text();
    for name in ["strict", "lenient"] {
        assert!(
            metrics.contains(&format!(
                "chartgate_digest_mismatch_total{{upstream=\"{name}\"}}"
            )),
            "{metrics}"
        );
    }
}

#[test]
fn an_index_that_lost_most_of_its_versions_is_not_published() {
    let mut fake = FakeHelm::new();
    for number in 0..10 {
        fake = fake.chart("app", &format!("1.{number}.0"));
    }
    let upstream = fake.run();
    let gateway = gateway(&upstream);
    assert_eq!(pairs(&gateway.index("t")).len(), 10);
    for number in 0..8 {
        upstream.remove("app", &format!("1.{number}.0"));
    }
    assert_ne!(gateway.refresh("up").status, 404);
    assert_eq!(
        pairs(&gateway.index("t")).len(),
        10,
        "the last good one stays"
    );
    let said = gateway.upstream("up");
    assert!(said["last_error"].is_string(), "{said}");

    for number in 2..8 {
        upstream.add(FakeChart::new("app", &format!("1.{number}.0")));
    }
    gateway.refresh("up").expect(200);
    let listed = pairs(&gateway.index("t"));
    assert_eq!(
        listed.len(),
        8,
        "two of ten may go, and nothing of them is held"
    );
}

#[test]
fn a_version_that_the_upstream_removed_stays_while_its_bytes_are_held() {
    let fake = FakeHelm::new()
        .chart("app", "1.0.0")
        .chart("app", "2.0.0")
        .chart("app", "3.0.0");
    let upstream = fake.run();
    let mut forgetful = impatient(&upstream);
    forgetful["keep_removed"] = json!(false);
    let mut gateway = Gateway::start(json!({
        "upstreams": {"keeping": impatient(&upstream), "forgetful": forgetful},
        "tenants": {"keeping": tenant(&["keeping"]), "forgetful": tenant(&["forgetful"])},
    }));
    let held = upstream.archive("app", "1.0.0");
    for tenant in ["keeping", "forgetful"] {
        gateway
            .get(&format!("/{tenant}/charts/app-1.0.0.tgz"))
            .expect(200);
    }
    upstream.remove("app", "1.0.0");
    for name in ["keeping", "forgetful"] {
        gateway.refresh(name).expect(200);
    }
    for _ in 0..2 {
        assert_eq!(pairs(&gateway.index("keeping")).len(), 3);
        assert_eq!(
            gateway
                .get("/keeping/charts/app-1.0.0.tgz")
                .expect(200)
                .body,
            held
        );
        assert_eq!(pairs(&gateway.index("forgetful")).len(), 2);
        gateway.get("/forgetful/charts/app-1.0.0.tgz").expect(404);
        wait_kept(&gateway, &held);
        gateway.stop();
        gateway.run();
        gateway.wait_ready();
    }
}

#[test]
fn a_restart_with_every_upstream_dead_serves_what_is_held() {
    let upstreams: Vec<FakeUpstream> = ["a", "b", "c"]
        .into_iter()
        .map(|name| {
            FakeHelm::new()
                .chart(name, "1.0.0")
                .chart(name, "2.0.0")
                .run()
        })
        .collect();
    let mut gateway = Gateway::start(json!({
        "upstreams": {
            "a": impatient(&upstreams[0]),
            "b": impatient(&upstreams[1]),
            "c": impatient(&upstreams[2]),
        },
        "tenants": {"t": tenant(&["a", "b", "c"])},
    }));
    let index = gateway.get("/t/index.yaml").expect(200);
    assert_eq!(pairs(&index.json()).len(), 6);
    gateway.get("/t/charts/b-1.0.0.tgz").expect(200);
    for upstream in &upstreams {
        upstream.refuse();
    }
    // Once in good order, once as after a power cut.
    gateway.stop();
    gateway.run();
    gateway.wait_ready();
    gateway.restart();
    let again = gateway.get("/t/index.yaml").expect(200);
    assert_eq!(again.body, index.body);
    assert_eq!(again.header("etag"), index.header("etag"));
    let reply = gateway.get("/t/charts/b-1.0.0.tgz").expect(200);
    assert_eq!(reply.body, upstreams[1].archive("b", "1.0.0"));
    let reply = gateway.get("/t/charts/a-1.0.0.tgz");
    assert!(
        matches!(reply.status, 502..=504),
        "{} {}",
        reply.status,
        reply.text()
    );
    for name in ["a", "b", "c"] {
        gateway.refresh(name);
        assert!(
            gateway.upstream(name)["last_error"].is_string(),
            "{}",
            gateway.upstream(name)
        );
    }
    assert_eq!(gateway.get("/t/index.yaml").expect(200).body, index.body);
}

#[test]
fn an_upstream_that_was_never_reached_hides_no_other() {
    let dead = FakeHelm::new().chart("dead", "1.0.0").run();
    dead.refuse();
    let silent = FakeHelm::new().chart("silent", "1.0.0").run();
    silent.fault(Target::All, Fault::Silence);
    let well = FakeHelm::new().chart("well", "1.0.0").run();
    let gateway = Gateway::start(json!({
        "upstreams": {
            "dead": impatient(&dead),
            "silent": impatient(&silent),
            "well": impatient(&well),
            "nowhere": {"type": "helm", "url": "http://no-such-host.invalid/charts", "timeout": "2s"},
        },
        "tenants": {"t": tenant(&["dead", "silent", "nowhere", "well"])},
    }));
    until("the one that is well", Duration::from_secs(20), || {
        (pairs(&gateway.index("t")).len() == 1).then_some(())
    });
    gateway.get("/t/charts/well-1.0.0.tgz").expect(200);
    until("all errors to be told", Duration::from_secs(30), || {
        ["dead", "silent", "nowhere"]
            .iter()
            .all(|name| gateway.upstream(name)["last_error"].is_string())
            .then_some(())
    });
    let log = gateway.log();
    for name in ["dead", "silent", "nowhere"] {
        assert!(log.contains(name), "the log does not name `{name}`:\n{log}");
    }
    dead.heal();
    gateway.refresh("dead").expect(200);
    assert_eq!(pairs(&gateway.index("t")).len(), 2);
}

#[test]
fn a_tenant_without_any_index_yet_keeps_the_gateway_unready_until_it_has_one() {
    let upstream = FakeHelm::new().chart("app", "1.0.0").run();
    upstream.refuse();
    let mut gateway = Gateway::start_despite(&["t"], config(&impatient(&upstream)));
    let reply = gateway.get("/t/index.yaml").expect(502);
    assert!(reply.text().contains("up"), "{}", reply.text());
    upstream.heal();
    gateway.refresh("up").expect(200);
    assert_eq!(gateway.admin("/readyz").status, 200);
    assert_eq!(pairs(&gateway.index("t")).len(), 1);

    // From now on a copy is held, which counts.
    upstream.refuse();
    gateway.stop();
    gateway.run();
    gateway.wait_all_ready();
    assert_eq!(pairs(&gateway.index("t")).len(), 1);
}

#[test]
fn a_private_address_is_not_dialled_unless_allowed() {
    let upstream = FakeHelm::new().chart("app", "1.0.0").run();
    let gateway = Gateway::start_despite(
        &["t"],
        json!({
            "upstreams": {
                "literal": {"type": "helm", "url": upstream.url(), "timeout": "500ms"},
                "named": {"type": "helm", "url": upstream.at_host("localhost", "/"), "timeout": "500ms"},
            },
            "tenants": {"t": tenant(&["literal", "named"])},
        }),
    );
    for name in ["literal", "named"] {
        gateway.refresh(name);
        let said = gateway.upstream(name);
        assert!(said["last_error"].to_string().contains("private"), "{said}");
    }
    assert_eq!(upstream.total(), 0, "not even one request went out");
}

#[test]
fn requests_are_answered_while_a_refresh_hangs_and_refreshes_are_one() {
    let upstream = FakeHelm::new().chart("app", "1.0.0").run();
    let mut patient = impatient(&upstream);
    patient["timeout"] = json!("30s");
    let gateway = Gateway::start(config(&patient));
    let before = upstream.count("/index.yaml");
    let hold = upstream.hold(Target::Index);
    upstream.add(FakeChart::new("app", "2.0.0"));
    std::thread::scope(|scope| {
        let refreshes: Vec<_> = (0..5)
            .map(|_| scope.spawn(|| gateway.refresh("up").status))
            .collect();
        until("a refresh to be under way", Duration::from_secs(10), || {
            (hold.arrived() > 0).then_some(())
        });
        assert_eq!(pairs(&gateway.index("t")).len(), 1);
        gateway.get("/t/charts/app-1.0.0.tgz").expect(200);
        hold.release();
        for refresh in refreshes {
            assert_eq!(refresh.join().expect("a refresh"), 200);
        }
    });
    assert_eq!(pairs(&gateway.index("t")).len(), 2, "answered when done");
    // One that was under way, and at most one more for those who came while it was.
    let asked = upstream.count("/index.yaml") - before;
    assert!(
        (1..=2).contains(&asked),
        "{asked} requests for five refreshes"
    );
}

#[test]
fn many_readers_of_a_missing_archive_cause_one_transfer() {
    let upstream = FakeHelm::new()
        .with(FakeChart::new("app", "1.0.0").size(2_000_000))
        .run();
    let gateway = gateway(&upstream);
    let hold = upstream.hold(Target::Archives);
    let right = sha256(&upstream.archive("app", "1.0.0"));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| gateway.get("/t/charts/app-1.0.0.tgz").expect(200)))
            .collect();
        until("the transfer to start", Duration::from_secs(10), || {
            (hold.arrived() > 0).then_some(())
        });
        hold.release();
        for reader in readers {
            let reply = reader.join().expect("a reader");
            assert!(reply.complete);
            assert_eq!(sha256(&reply.body), right);
        }
    });
    assert_eq!(upstream.count("/charts/app-1.0.0.tgz"), 1);
    // The last byte is sent before the copy has its name; until then the transfer is still the source.
    let reply = until("the copy", Duration::from_secs(10), || {
        let reply = gateway.get("/t/charts/app-1.0.0.tgz").expect(200);
        (reply.header("x-cache") == Some("hit")).then_some(reply)
    });
    let part = gateway
        .send(&Call::get("/t/charts/app-1.0.0.tgz").header("Range", "bytes=1000-1999"))
        .expect(206);
    assert_eq!(part.body, reply.body[1000..2000]);
    let etag = reply.header("etag").expect("an ETag").to_owned();
    gateway
        .send(&Call::get("/t/charts/app-1.0.0.tgz").header("If-None-Match", &etag))
        .expect(304);
}

#[test]
fn wrong_upstream_credentials_are_named_and_right_ones_work() {
    // user:pass
    let upstream = FakeHelm::new()
        .chart("app", "1.0.0")
        .require_authorization("Basic dXNlcjpwYXNz")
        .run();
    let with = |password: &str| {
        let mut one = impatient(&upstream);
        one["auth"] = json!({"username": "user", "password": password});
        one
    };
    let gateway = Gateway::start_despite(
        &["wrong"],
        json!({
            "upstreams": {"right": with("pass"), "wrong": with("word-that-is-wrong"), "none": impatient(&upstream)},
            "tenants": {"t": tenant(&["right"]), "wrong": tenant(&["wrong", "none"])},
        }),
    );
    assert_eq!(pairs(&gateway.index("t")).len(), 1);
    gateway.get("/t/charts/app-1.0.0.tgz").expect(200);
    for name in ["wrong", "none"] {
        gateway.refresh(name);
        let said = gateway.upstream(name)["last_error"].to_string();
        assert!(
            said.contains("401") || said.contains("credentials"),
            "{said}"
        );
    }
    let everything = gateway.log() + &gateway.admin("/upstreams").text();
    assert!(
        !everything.contains("word-that-is-wrong"),
        "a password was printed"
    );
}

#[test]
fn archives_come_from_wherever_the_index_says() {
    let other = FakeHelm::new().run();
    let far = FakeChart::new("far", "1.0.0");
    other.set_file("/download/v1/blob", far.bytes().to_vec());
    let upstream = FakeHelm::new()
        .with(far.url(&other.at("/download/v1/blob?name=far&sig=a%2Fb%3D")))
        .with(FakeChart::new("spaced", "1.0.0").path("/charts/spaced%20copy.tgz"))
        .with(FakeChart::new("plus", "1.0.0+1").path("/charts/plus-1.0.0+1.tgz"))
        .with(FakeChart::new("moved", "1.0.0"))
        .with(FakeChart::new("rooted", "1.0.0").url("/charts/rooted-1.0.0.tgz"))
        .run();
    let target = upstream.archive("moved", "1.0.0");
    other.set_file("/elsewhere/moved.tgz", target.to_vec());
    upstream.fault(
        Target::Path("/charts/moved-1.0.0.tgz".to_owned()),
        Fault::Redirect(other.at("/elsewhere/moved.tgz")),
    );
    let gateway = gateway(&upstream);
    assert_eq!(pairs(&gateway.index("t")).len(), 5);
    for (file, name, version) in [
        ("far-1.0.0.tgz", "far", "1.0.0"),
        ("spaced-1.0.0.tgz", "spaced", "1.0.0"),
        ("plus-1.0.0+1.tgz", "plus", "1.0.0+1"),
        ("plus-1.0.0%2B1.tgz", "plus", "1.0.0+1"),
        ("moved-1.0.0.tgz", "moved", "1.0.0"),
        ("rooted-1.0.0.tgz", "rooted", "1.0.0"),
    ] {
        let reply = gateway.get(&format!("/t/charts/{file}")).expect(200);
        assert_eq!(reply.body, upstream.archive(name, version), "{file}");
    }
    let asked = other.last("/download/v1/blob").expect("it was asked");
    assert_eq!(
        asked.query.as_deref(),
        Some("name=far&sig=a%2Fb%3D"),
        "the query goes as it is"
    );
}
