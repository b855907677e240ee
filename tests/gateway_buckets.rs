//! Buckets as upstreams, through the whole program: a real MinIO, real helm, and a fake that counts and fails.

use std::time::Duration;

use chartgate::clock::Clock;
use chartgate::net::Clients;
use chartgate::object::{Bucket, Content, Existing};
use serde_json::{Value, json};

use crate::oracle::tenant;
use crate::support::fake::{Authority, FakeBucket, FakeProxy, FakeS3, Fault, On, package};
use crate::support::gateway::Gateway;
use crate::support::http::Call;
use crate::support::stores::{BUCKET, Store};
use crate::support::tools::Helm;
use crate::support::until;

/// Puts objects into a real bucket.
fn fill(store: &Store, objects: &[(&str, &[u8])]) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let bucket = Bucket::open(&store.config, &Clients::new(), &Clock::system());
        let bucket = bucket.expect("a bucket");
        for (key, bytes) in objects {
            let content = Content::Bytes(bytes.to_vec().into());
            let written = bucket.write(key, content, Existing::Replace).await;
            written.expect("a bucket that takes it");
        }
    });
}

/// The keys of a bucket upstream on this machine, with MinIO's credentials.
fn minio(url: &str) -> Value {
    json!({
        "type": "s3", "url": url, "allow_private": true, "refresh": "1h", "timeout": "2s",
        "auth": {"access_key_id": "minio-user", "secret_access_key": "minio-password"},
    })
}

/// The same without credentials, as fakes want it.
fn fake(bucket: &FakeBucket, prefix: &str) -> Value {
    json!({
        "type": "s3", "url": format!("{}/charts/{prefix}", bucket.url()), "allow_private": true,
        "refresh": "1h", "timeout": "1s",
    })
}

fn one(upstream: &Value) -> Value {
    json!({"upstreams": {"up": upstream}, "tenants": {"t": tenant(&["up"])}})
}

#[test]
fn helm_pulls_from_minio_however_the_bucket_is_written() {
    let (Some(store), Some(helm3), Some(helm4)) =
        (Store::minio(), Helm::find("helm3"), Helm::find("helm4"))
    else {
        return;
    };
    let at = store.address();
    let app = package("app", "1.0.0+build.7", &[]);
    let web = package("web", "2.0.0", &[]);
    let index = format!(
        "apiVersion: v1\nentries:\n  app:\n  - {{apiVersion: v2, name: app, version: 1.0.0+build.7, urls: [charts/app.tgz]}}\n  \
         web:\n  - {{apiVersion: v2, name: web, version: 2.0.0, urls: ['http://{at}/{BUCKET}/indexed/web-2.0.0.tgz']}}\n  \
         own:\n  - {{apiVersion: v2, name: web, version: 2.0.0, urls: ['s3://{BUCKET}/indexed/web-2.0.0.tgz']}}\n"
    );
    fill(
        &store,
        &[
            ("bare/app-1.0.0+build.7.tgz", &app),
            ("bare/app-1.0.0+build.7.tgz.prov", b"a signature"),
            ("bare/web-2.0.0.tgz", &web),
            ("bare/broken-1.0.0.tgz", b"no chart"),
            ("bare/deeper/app-9.0.0.tgz", &app),
            ("bare-1.0.0.tgz", &web),
            ("indexed/index.yaml", index.as_bytes()),
            ("indexed/charts/app.tgz", &app),
            ("indexed/web-2.0.0.tgz", &web),
        ],
    );
    let mut beside = minio(&format!("s3://{BUCKET}/bare"));
    beside["endpoint"] = json!(format!("http://{at}"));
    let mut named = minio(&format!("http://{at}/bare/"));
    named["bucket"] = json!(BUCKET);
    let gateway = Gateway::start(json!({
        "upstreams": {
            "kubesphere": minio(&format!("s3://{at}/{BUCKET}/bare")),
            "path": minio(&format!("http://{at}/{BUCKET}/bare/")),
            "beside": beside,
            "named": named,
            "indexed": minio(&format!("s3://{at}/{BUCKET}/indexed/")),
        },
        "tenants": {
            "kubesphere": tenant(&["kubesphere"]), "path": tenant(&["path"]), "beside": tenant(&["beside"]),
            "named": tenant(&["named"]), "indexed": tenant(&["indexed"]),
        },
    }));
    for bare in ["kubesphere", "path", "beside", "named"] {
        let entries = gateway.index(bare)["entries"].clone();
        let names: Vec<_> = entries.as_object().expect("entries").keys().collect();
        assert_eq!(names, ["app", "web"], "{bare}");
        let report = gateway.report(bare);
        assert!(report.to_string().contains("broken-1.0.0.tgz"), "{report}");
    }
    let shown = gateway.index("kubesphere")["entries"].clone();
    for same in ["path", "beside", "named"] {
        assert_eq!(gateway.index(same)["entries"], shown, "{same}");
    }

    for (helm, name) in [(&helm3, "helm3"), (&helm4, "helm4")] {
        for tenant in ["kubesphere", "indexed"] {
            helm.ok(&["repo", "add", tenant, &gateway.url(tenant)]);
            for (chart, version, bytes) in [("app", "1.0.0+build.7", &app), ("web", "2.0.0", &web)]
            {
                helm.ok(&["pull", &format!("{tenant}/{chart}"), "--version", version]);
                let file = helm.folder().join(format!("{chart}-{version}.tgz"));
                assert_eq!(std::fs::read(&file).expect("pulled"), bytes[..], "{name}");
                std::fs::remove_file(file).expect("ours");
            }
        }
        helm.ok(&[
            "pull",
            "kubesphere/app",
            "--version",
            "1.0.0+build.7",
            "--prov",
        ]);
        let prov = helm.folder().join("app-1.0.0+build.7.tgz.prov");
        assert_eq!(std::fs::read(prov).expect("pulled"), b"a signature");
    }
    assert_eq!(
        gateway.get("/kubesphere/charts/web-2.0.0.tgz.prov").status,
        404
    );
    assert_eq!(
        gateway
            .get("/indexed/charts/own-2.0.0.tgz")
            .expect(200)
            .body,
        web
    );
}

#[test]
fn a_bucket_that_is_down_is_served_from_what_is_held() {
    let Some(store) = Store::minio() else { return };
    let held = package("held", "1.0.0", &[]);
    fill(
        &store,
        &[
            ("held-1.0.0.tgz", &held),
            ("other-1.0.0.tgz", &package("other", "1.0.0", &[])),
        ],
    );
    let mut gateway = Gateway::start(one(&minio(&format!("http://{}/{BUCKET}", store.address()))));
    let index = gateway.get("/t/index.yaml").expect(200);
    gateway.get("/t/charts/held-1.0.0.tgz").expect(200);

    store.signal("STOP");
    // A process may still answer for a moment after the signal.
    until("the bucket to be down", Duration::from_secs(20), || {
        (gateway.refresh("up").status == 502).then_some(())
    });
    let status = gateway.upstream("up");
    assert_eq!(status["state"], "stale", "{status}");
    assert!(
        status["last_error"]
            .to_string()
            .contains("s3 bucket `charts`"),
        "{status}"
    );
    let stale = gateway.get("/t/index.yaml").expect(200);
    assert_eq!(stale.body, index.body);
    assert!(stale.header("warning").is_some(), "{:?}", stale.headers);
    assert_eq!(
        gateway.get("/t/charts/held-1.0.0.tgz").expect(200).body,
        held
    );
    assert_eq!(gateway.get("/t/charts/other-1.0.0.tgz").status, 502);
    // A start with a bucket that is away serves the same.
    gateway.restart();
    assert_eq!(gateway.get("/t/index.yaml").expect(200).body, index.body);
    assert_eq!(
        gateway.get("/t/charts/held-1.0.0.tgz").expect(200).body,
        held
    );

    store.signal("CONT");
    gateway.refresh("up").expect(200);
    assert_eq!(gateway.upstream("up")["state"], "fresh");
    gateway.get("/t/charts/other-1.0.0.tgz").expect(200);
}

#[test]
fn wrong_credentials_and_a_missing_bucket_are_told_by_their_keys() {
    let Some(store) = Store::minio() else { return };
    let at = store.address();
    let mut wrong = minio(&format!("http://{at}/{BUCKET}"));
    wrong["auth"]["secret_access_key"] = json!("not-the-password");
    let mut silent = minio(&format!("http://{at}/{BUCKET}"));
    silent.as_object_mut().expect("keys").remove("auth");
    let upstreams = json!({"wrong": wrong, "silent": silent, "missing": minio(&format!("http://{at}/missing"))});
    let gateway = Gateway::start_despite(
        &["t"],
        json!({"upstreams": upstreams, "tenants": {"t": tenant(&["wrong", "silent", "missing"])}}),
    );
    for (name, words) in [
        ("wrong", "`secret_access_key`"),
        ("silent", "`upstreams.silent.auth`"),
        ("missing", "s3 bucket `missing` does not exist"),
    ] {
        let error = until("a first attempt", Duration::from_secs(20), || {
            let error = &gateway.upstream(name)["last_error"];
            error.as_str().map(str::to_owned)
        });
        assert!(error.contains(words), "{name}: {error}");
        assert!(!error.contains("not-the-password"), "{error}");
    }
    assert!(!gateway.log().contains("not-the-password"));
}

#[test]
fn qingstors_hosts_are_one_bucket_behind_tls_and_an_egress_proxy() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    authority.write(folder.path());
    let app = package("app", "1.0.0", &[]);
    let index = "apiVersion: v1\nentries:\n  app:\n  - {apiVersion: v2, name: app, version: 1.0.0, \
                 urls: ['http://charts.pek3a.qingstor.com/stable/app-1.0.0.tgz']}\n";
    let bucket = FakeS3::new("charts")
        .object("stable/index.yaml", index)
        .object("stable/app-1.0.0.tgz", app.clone())
        .credentials("QYACCESSKEYID")
        .tls(&authority, &["s3.pek3a.qingstor.com"])
        .run();
    let proxy = FakeProxy::run(&[("s3.pek3a.qingstor.com:443", bucket.address())]);
    let upstream = |url: &str| {
        json!({
            "type": "s3", "url": url, "proxy": proxy.url(), "tls": {"ca_file": "ca.pem"},
            "auth": {"access_key_id": "QYACCESSKEYID", "secret_access_key": "secret"},
        })
    };
    let forms = [
        ("scheme", "s3://s3.pek3a.qingstor.com/charts/stable"),
        ("path", "https://s3.pek3a.qingstor.com/charts/stable/"),
        ("host", "https://charts.pek3a.qingstor.com/stable"),
        ("plain", "http://charts.pek3a.qingstor.com/stable"),
    ];
    let upstreams: serde_json::Map<String, Value> = forms
        .iter()
        .map(|(name, url)| ((*name).to_owned(), upstream(url)))
        .collect();
    let tenants: serde_json::Map<String, Value> = forms
        .iter()
        .map(|(name, _)| ((*name).to_owned(), tenant(&[name])))
        .collect();
    let gateway = Gateway::start_in(folder, json!({"upstreams": upstreams, "tenants": tenants}));
    for (name, _) in forms {
        let reply = gateway
            .get(&format!("/{name}/charts/app-1.0.0.tgz"))
            .expect(200);
        assert_eq!(reply.body, app, "{name}");
    }
    assert!(
        proxy
            .requests()
            .iter()
            .all(|line| line == "CONNECT s3.pek3a.qingstor.com:443")
    );
    let scope = "/pek3a/s3/aws4_request";
    assert!(bucket.requests().iter().all(|request| {
        request
            .header("authorization")
            .is_some_and(|value| value.contains(scope))
    }));
}

#[test]
fn a_restart_fetches_no_package_for_the_index_and_only_the_new_one_later() {
    let mut bucket = FakeS3::new("charts");
    for number in 0..300 {
        bucket = bucket.chart("p", "app", &format!("1.0.{number}"));
    }
    let bucket = bucket.object("p/broken-1.0.0.tgz", "no chart").run();
    let mut gateway = Gateway::start(one(&fake(&bucket, "p")));
    let before = gateway.get("/t/index.yaml").expect(200);
    assert_eq!(bucket.count(&On::Archives), 301);
    let report = gateway.report("t")["dropped"].clone();
    assert!(report.to_string().contains("broken-1.0.0.tgz"), "{report}");

    gateway.stop();
    bucket.forget();
    gateway.run();
    gateway.wait_ready();
    gateway.refresh("up").expect(200);
    assert_eq!(gateway.get("/t/index.yaml").expect(200).body, before.body);
    assert_eq!(bucket.count(&On::Archives), 0);
    assert_eq!(gateway.report("t")["dropped"], report);

    gateway.kill();
    bucket.put(
        "p/app-1.0.7.tgz",
        package("app", "1.0.7", &[("x", b"other")]),
    );
    bucket.put("p/app-2.0.0.tgz", package("app", "2.0.0", &[]));
    gateway.run();
    gateway.wait_ready();
    gateway.refresh("up").expect(200);
    let index = gateway.index("t");
    assert_eq!(index["entries"]["app"][0]["version"], "2.0.0");
    assert_eq!(bucket.count(&On::Archives), 2);

    // The whole cache may go.
    gateway.kill();
    std::fs::remove_dir_all(gateway.data().join("cache")).expect("ours");
    gateway.run();
    gateway.wait_ready();
    assert_eq!(
        gateway.index("t")["entries"]["app"]
            .as_array()
            .map(Vec::len),
        Some(301)
    );
}

#[test]
fn faults_of_a_bucket_never_shrink_what_is_shown() {
    let bucket = FakeS3::new("charts")
        .chart("p", "app", "1.0.0")
        .chart("p", "web", "1.0.0")
        .page_size(1)
        .run();
    let gateway = Gateway::start(one(&fake(&bucket, "p")));
    let held = gateway.get("/t/index.yaml").expect(200).body;
    let denied = Fault::Answer(
        403,
        Vec::new(),
        b"<Error><Code>AccessDenied</Code></Error>".to_vec(),
    );
    for (on, fault) in [
        (On::All, Fault::Status(503)),
        (On::All, Fault::Status(429)),
        (On::All, denied),
        (On::All, Fault::Close),
        (On::All, Fault::Html),
        (On::List, Fault::Html),
        (On::List, Fault::Shortened(300)),
        (On::Page(2), Fault::Shortened(300)),
        (On::Page(2), Fault::Status(500)),
        (On::Page(2), Fault::StallAfter(100)),
    ] {
        bucket.fault(on.clone(), fault.clone());
        assert_eq!(gateway.refresh("up").status, 502, "{on:?} {fault:?}");
        assert_eq!(
            gateway.get("/t/index.yaml").expect(200).body,
            held,
            "{on:?} {fault:?}"
        );
        bucket.heal();
    }
    gateway.refresh("up").expect(200);

    // An archive that breaks off is resumed, and one that was replaced is not joined with the other.
    bucket.fault_times(
        On::Get("p/app-1.0.0.tgz".to_owned()),
        1,
        Fault::CutAfter(100),
    );
    let reply = gateway.get("/t/charts/app-1.0.0.tgz").expect(200);
    assert_eq!(reply.body, bucket.bytes("p/app-1.0.0.tgz").expect("there"));
    bucket.put(
        "p/web-1.0.0.tgz",
        package("web", "1.0.0", &[("x", b"another")]),
    );
    assert_eq!(
        gateway.get("/t/charts/web-1.0.0.tgz").status,
        502,
        "not the bytes of the index"
    );
    gateway.refresh("up").expect(200);
    let reply = gateway.send(&Call::get("/t/charts/web-1.0.0.tgz"));
    assert_eq!(
        reply.expect(200).body,
        bucket.bytes("p/web-1.0.0.tgz").expect("there")
    );
}

/// Slow is not away, as long as something moves.
#[test]
fn a_slow_bucket_is_waited_for() {
    let bucket = FakeS3::new("charts").chart("p", "app", "1.0.0").run();
    bucket.fault(On::List, Fault::Late(Duration::from_millis(400)));
    let archive = On::Get("p/app-1.0.0.tgz".to_owned());
    bucket.fault(archive, Fault::Trickle(64, Duration::from_millis(100)));
    let gateway = Gateway::start(one(&fake(&bucket, "p")));
    let reply = gateway.get("/t/charts/app-1.0.0.tgz").expect(200);
    assert_eq!(reply.body, bucket.bytes("p/app-1.0.0.tgz").expect("there"));
}
