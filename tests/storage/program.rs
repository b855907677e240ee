//! The whole program on a bucket.

use std::time::Duration;

use chartgate::digest::Digest;
use serde_json::{Value, json};

use crate::suites::hosted::{plain, provenance};
use crate::support::fake::{FakeHelm, FakeS3, On};
use crate::support::gateway::Gateway;
use crate::support::http::Call;
use crate::support::stores::{BUCKET, Store};
use crate::support::{pause, until};

fn config(endpoint: &str) -> Value {
    json!({
        "store": {
            "type": "s3", "bucket": BUCKET, "endpoint": endpoint, "prefix": "museum", "refresh": "1s",
            "access_key_id": "minio-user", "secret_access_key": "minio-password",
        },
        "tenants": {"acme/team": {
            "hosted": {"overwrite": "force", "max_versions": 3},
            "access": {"anonymous": ["pull", "push", "delete"]},
        }},
    })
}

fn versions(gateway: &Gateway, chart: &str) -> Vec<String> {
    let index = gateway.index("acme/team");
    let entries = index["entries"][chart].as_array().cloned();
    let version = |entry: &Value| entry["version"].as_str().expect("a version").to_owned();
    entries.unwrap_or_default().iter().map(version).collect()
}

/// Uploads, downloads, replaces, evicts, deletes; ends as it began.
fn push_and_pull(gateway: &Gateway) {
    let upload = |version: &str| {
        let call = Call::new("POST", "/api/acme/team/charts").body(plain("app", version).to_vec());
        gateway.send(&call)
    };
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        upload(version).expect(201);
        // What was answered is visible at once.
        assert!(versions(gateway, "app").contains(&version.to_owned()));
    }
    upload("1.2.0").expect(409);
    let again =
        Call::new("POST", "/api/acme/team/charts?force").body(plain("app", "1.2.0").to_vec());
    gateway.send(&again).expect(201);
    assert_eq!(versions(gateway, "app").len(), 3);
    let bytes = plain("app", "1.1.0");
    for _ in 0..2 {
        let reply = gateway.get("/acme/team/charts/app-1.1.0.tgz").expect(200);
        assert_eq!(reply.body, bytes);
        let etag = format!("\"{}\"", Digest::of(&bytes));
        assert_eq!(reply.header("etag"), Some(etag.as_str()));
    }
    let part = Call::get("/acme/team/charts/app-1.1.0.tgz").header("Range", "bytes=10-19");
    assert_eq!(gateway.send(&part).expect(206).body, bytes[10..20]);
    let prov = provenance("app", "1.1.0", &bytes);
    let call = Call::new("POST", "/api/acme/team/prov").body(prov.as_bytes());
    gateway.send(&call).expect(201);
    let reply = gateway
        .get("/acme/team/charts/app-1.1.0.tgz.prov")
        .expect(200);
    assert_eq!(reply.text(), prov);
    gateway.get("/acme/team/charts/app-9.9.9.tgz").expect(404);
    gateway
        .send(&Call::new("DELETE", "/api/acme/team/charts/app/1.1.0"))
        .expect(200);
    gateway.get("/acme/team/charts/app-1.1.0.tgz").expect(404);
    gateway
        .get("/acme/team/charts/app-1.1.0.tgz.prov")
        .expect(404);
    gateway
        .send(&Call::new("DELETE", "/api/acme/team/charts/app/1.1.0"))
        .expect(404);
    assert_eq!(versions(gateway, "app"), ["1.2.0", "1.0.0"]);
}

#[test]
fn a_gateway_on_minio() {
    let Some(minio) = Store::minio() else { return };
    let config = config(&format!("http://{}", minio.address()));
    let mut gateway = Gateway::start(config.clone());
    push_and_pull(&gateway);
    let before = gateway.get("/acme/team/index.yaml").expect(200).body;
    // A second replica shows the same bytes, and sees what comes later.
    let second = Gateway::start(config);
    let theirs = |gateway: &Gateway| gateway.get("/acme/team/index.yaml").expect(200).json();
    assert_eq!(theirs(&second)["entries"], theirs(&gateway)["entries"]);
    let call = Call::new("POST", "/api/acme/team/charts").body(plain("late", "1.0.0").to_vec());
    gateway.send(&call).expect(201);
    second.get("/acme/team/charts/late-1.0.0.tgz").expect(200);
    until(
        "the other replica to list it",
        Duration::from_secs(20),
        || (versions(&second, "late").len() == 1).then_some(()),
    );
    gateway
        .send(&Call::new("DELETE", "/api/acme/team/charts/late/1.0.0"))
        .expect(200);
    gateway.stop();
    gateway.run();
    gateway.wait_ready();
    let entries = |bytes: &[u8]| -> Value {
        serde_json::from_slice::<Value>(bytes).expect("an index")["entries"].clone()
    };
    let after = gateway.get("/acme/team/index.yaml").expect(200).body;
    assert_eq!(entries(&after), entries(&before));
}

/// Whoever asks for many charts at once costs a bounded amount of memory.
#[test]
fn few_archives_are_unpacked_at_a_time() {
    const FEW: usize = 8;
    let s3 = (0..2 * FEW)
        .fold(FakeS3::new(BUCKET).credentials("minio-user"), |s3, at| {
            s3.chart("museum/acme/team", "app", &format!("1.0.{at}"))
        })
        .run();
    let gateway = Gateway::start(config(&s3.url()));
    until("all versions", Duration::from_secs(20), || {
        (versions(&gateway, "app").len() == 2 * FEW).then_some(())
    });
    s3.forget();
    let hold = s3.hold(On::Archives);
    std::thread::scope(|scope| {
        for at in 0..2 * FEW {
            let gateway = &gateway;
            scope.spawn(move || {
                let path = format!("/api/acme/team/charts/app/1.0.{at}/templates");
                gateway.get(&path).expect(200)
            });
        }
        until("the first of them", Duration::from_secs(20), || {
            (s3.count(&On::Archives) >= FEW).then_some(())
        });
        // Time for the others, if they were let in.
        pause(Duration::from_millis(300));
        let count = s3.count(&On::Archives);
        hold.release();
        assert_eq!(count, FEW);
    });
    assert_eq!(s3.count(&On::Archives), 2 * FEW);
}

#[test]
fn a_gateway_without_its_bucket() {
    let s3 = FakeS3::new(BUCKET)
        .credentials("minio-user")
        .chart("museum/acme/team", "app", "1.0.0")
        .run();
    let upstream = FakeHelm::new()
        .chart("app", "9.9.9")
        .chart("web", "1.0.0")
        .run();
    let mut config = config(&s3.url());
    config["upstreams"] =
        json!({"up": {"type": "helm", "url": upstream.url(), "allow_private": true}});
    config["tenants"]["acme/team"]["charts"] = json!(["up"]);
    s3.refuse();
    let mut gateway = Gateway::start_despite(&["acme/team"], config);
    // Who hosts which names is not known, so nobody else's are shown.
    gateway.get("/acme/team/index.yaml").expect(502);
    // Nor is it known what does not exist.
    gateway.get("/acme/team/charts/app-9.9.9.tgz").expect(502);
    let call = Call::new("POST", "/api/acme/team/charts").body(plain("new", "1.0.0").to_vec());
    let reply = gateway.send(&call);
    assert!(matches!(reply.status, 502..=504), "{}", reply.text());
    assert!(
        reply.json()["error"]
            .as_str()
            .is_some_and(|text| text.contains(BUCKET))
    );

    s3.heal();
    gateway.wait_all_ready();
    // An upstream that failed twice on a busy machine is asked again after 5 and 10 s, besides what the attempts took.
    until("both members", Duration::from_secs(90), || {
        (versions(&gateway, "web").len() == 1).then_some(())
    });
    assert_eq!(
        versions(&gateway, "app"),
        ["1.0.0"],
        "a hosted name is reserved"
    );
    gateway.get("/acme/team/charts/app-1.0.0.tgz").expect(200);
    gateway.stop();

    // With what it knew, it serves without the bucket: the index, and archives that it has.
    s3.refuse();
    gateway.run();
    gateway.wait_ready();
    assert_eq!(versions(&gateway, "app"), ["1.0.0"]);
    gateway.get("/acme/team/charts/app-1.0.0.tgz").expect(200);
    let warned = gateway.get("/acme/team/index.yaml").expect(200);
    assert!(warned.header("warning").is_some());
    s3.heal();
    s3.forget();
    until("a look at the bucket", Duration::from_secs(20), || {
        (s3.count(&On::List) > 0).then_some(())
    });
    assert_eq!(s3.count(&On::Archives), 0, "nothing is fetched twice");
}
