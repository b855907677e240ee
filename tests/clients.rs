//! Real helm clients through one endpoint of twenty upstreams and a hosted store.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::oracle::{entries, local, pairs, tenant};
use crate::support::corpus;
use crate::support::fake::{FakeHelm, FakeUpstream, package};
use crate::support::gateway::Gateway;
use crate::support::http::Call;
use crate::support::tools::Helm;

#[test]
fn helm3_works_through_twenty_upstreams() {
    everyday("helm3");
}

#[test]
fn helm4_works_through_twenty_upstreams() {
    everyday("helm4");
}

/// What a person does in a week: add, update, search, show, pull, verify, template, depend, push, pull back, delete.
fn everyday(program: &str) {
    let (Some(corpus), Some(helm)) = (corpus::folder(), Helm::find(program)) else {
        return;
    };
    let (gateway, _site) = twenty_upstreams(&corpus, &helm);
    let url = gateway.url("acme/platform");

    helm.ok(&["repo", "add", "gw", &url]);
    helm.ok(&["repo", "update"]);
    let listed: BTreeSet<_> = helm
        .listing()
        .into_iter()
        .map(|(name, version)| (name.trim_start_matches("gw/").to_owned(), version))
        .collect();
    assert_eq!(listed, pairs(&gateway.index("acme/platform")));
    assert!(listed.len() > 1000, "only {} versions", listed.len());

    let shown = helm.ok(&["show", "chart", "gw/podinfo", "--version", "6.6.0"]);
    assert!(shown.contains("version: 6.6.0"), "{shown}");
    let values = helm.ok(&["show", "values", "gw/podinfo", "--version", "~6.1"]);
    assert!(values.contains("replicaCount"), "{values}");

    for (chart, version, file) in [
        (
            "podinfo",
            "6.14.1",
            "stefanprodan+podinfo/podinfo-6.14.1.tgz",
        ),
        (
            "csi-driver-nfs",
            "v4.7.0",
            "kubernetes-csi+csi-driver-nfs/csi-driver-nfs-v4.7.0.tgz",
        ),
        (
            "rancher-monitoring",
            "104.1.2+up57.0.3",
            "rancher+charts/rancher-monitoring-104.1.2+up57.0.3.tgz",
        ),
        (
            "tomcat",
            "0.4.1+1",
            "kubesphere+helm-charts/tomcat-0.4.1+1.tgz",
        ),
        ("keda", "2.14.3", "kedacore+charts/keda-2.14.3 copy.tgz"),
        ("common", "3.7.0", "bjw-s+helm-charts/common-3.7.0.tgz"),
    ] {
        helm.ok(&["pull", &format!("gw/{chart}"), "--version", version]);
        let pulled = std::fs::read(helm.folder().join(format!("{chart}-{version}.tgz")))
            .unwrap_or_else(|error| panic!("{chart} {version}: {error}"));
        assert_eq!(pulled, corpus::chart(&corpus, file), "{chart} {version}");
    }
    helm.ok(&[
        "pull",
        "podinfo",
        "--repo",
        &url,
        "--version",
        "5.0.0",
        "--untar",
    ]);
    assert!(helm.folder().join("podinfo/Chart.yaml").is_file());

    let keyring = corpus.join("charts/helm+helm/helm-test-key.pub");
    let keyring = keyring.to_str().expect("a UTF-8 path");
    for (chart, version) in [("signtest", "0.1.0"), ("hashtest", "1.2.3")] {
        helm.ok(&[
            "pull",
            &format!("gw/{chart}"),
            "--version",
            version,
            "--prov",
            "--verify",
            "--keyring",
            keyring,
        ]);
        let file = helm.folder().join(format!("{chart}-{version}.tgz"));
        helm.ok(&[
            "verify",
            "--keyring",
            keyring,
            file.to_str().expect("a UTF-8 path"),
        ]);
    }

    let manifest = helm.ok(&[
        "template",
        "web",
        "gw/podinfo",
        "--version",
        "6.6.0",
        "--kube-version",
        "1.30.0",
    ]);
    assert!(manifest.contains("kind: Deployment"), "{manifest}");

    dependencies(&helm, &url, &corpus);
    publish_and_delete(&helm, &gateway, &corpus);
}

/// An umbrella chart over three upstreams: `dependency update` writes a lock that `dependency build` then follows.
fn dependencies(helm: &Helm, url: &str, corpus: &Path) {
    let umbrella = helm.folder().join("umbrella");
    std::fs::create_dir_all(umbrella.join("templates")).expect("a folder");
    std::fs::write(
        umbrella.join("Chart.yaml"),
        format!(
            "apiVersion: v2\nname: umbrella\nversion: 1.0.0\ndependencies:\n\
             - {{name: podinfo, version: ~6.6, repository: \"@gw\"}}\n\
             - {{name: redis, version: 14.4.0, repository: \"{url}\"}}\n\
             - {{name: common, version: ^3.0.0, repository: \"{url}/\"}}\n"
        ),
    )
    .expect("writing Chart.yaml");
    let path = umbrella.to_str().expect("a UTF-8 path");
    helm.ok(&["dependency", "update", path]);
    assert!(umbrella.join("Chart.lock").is_file());
    std::fs::remove_dir_all(umbrella.join("charts")).expect("the charts that were fetched");
    helm.ok(&["dependency", "build", path]);
    for (file, original) in [
        (
            "podinfo-6.6.0.tgz",
            "stefanprodan+podinfo/podinfo-6.6.0.tgz",
        ),
        ("redis-14.4.0.tgz", "vmware-tanzu+kubeapps/redis-14.4.0.tgz"),
        ("common-3.7.0.tgz", "bjw-s+helm-charts/common-3.7.0.tgz"),
    ] {
        let fetched = std::fs::read(umbrella.join("charts").join(file))
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(fetched, corpus::chart(corpus, original), "{file}");
    }
    helm.ok(&["package", path]);
    assert!(helm.folder().join("umbrella-1.0.0.tgz").is_file());
}

/// Upload as curl does it, raw and as a form with its provenance file; see it, pull it back, delete it.
fn publish_and_delete(helm: &Helm, gateway: &Gateway, corpus: &Path) {
    let archive = std::fs::read(helm.folder().join("umbrella-1.0.0.tgz")).expect("the package");
    let saved = gateway
        .send(&Call::new("POST", "/api/acme/platform/charts").body(archive.clone()))
        .expect(201);
    assert_eq!(saved.json(), json!({"saved": true}));
    let listed = pairs(&gateway.index("acme/platform"));
    assert!(
        listed.contains(&("umbrella".to_owned(), "1.0.0".to_owned())),
        "an upload shows in the very next answer"
    );
    gateway
        .send(&Call::new("POST", "/acme/platform/api/charts").body(archive.clone()))
        .expect(409);

    // A name that an upstream has too: from now on it is ours alone.
    let file = "helm+helm/hashtest-1.2.3.tgz";
    let signed = corpus::chart(corpus, file);
    let provenance = corpus::chart(corpus, &format!("{file}.prov"));
    gateway
        .send(&Call::new("POST", "/api/acme/platform/charts").form(&[
            ("chart", "/home/someone/hashtest-1.2.3.tgz", &signed),
            ("prov", "hashtest-1.2.3.tgz.prov", &provenance),
        ]))
        .expect(201);
    let hosted = gateway
        .get("/acme/platform/charts/hashtest-1.2.3.tgz")
        .expect(200);
    assert_eq!(hosted.header("x-cache"), Some("hosted"));

    helm.ok(&["repo", "update"]);
    std::fs::create_dir(helm.folder().join("back")).expect("a folder");
    helm.ok(&["pull", "gw/umbrella", "--version", "1.0.0", "-d", "back"]);
    let keyring = corpus.join("charts/helm+helm/helm-test-key.pub");
    let keyring = keyring.to_str().expect("a UTF-8 path");
    helm.ok(&[
        "pull",
        "gw/hashtest",
        "--verify",
        "--keyring",
        keyring,
        "-d",
        "back",
    ]);
    let back =
        |file: &str| std::fs::read(helm.folder().join("back").join(file)).expect("pulled back");
    assert_eq!(back("umbrella-1.0.0.tgz"), archive);
    assert_eq!(back("hashtest-1.2.3.tgz"), signed);
    assert_eq!(back("hashtest-1.2.3.tgz.prov"), provenance);

    gateway
        .send(&Call::new(
            "DELETE",
            "/api/acme/platform/charts/umbrella/1.0.0",
        ))
        .expect(200);
    helm.ok(&["repo", "update"]);
    assert!(
        !helm
            .listing()
            .contains(&("gw/umbrella".to_owned(), "1.0.0".to_owned()))
    );
    gateway
        .get("/acme/platform/charts/umbrella-1.0.0.tgz")
        .expect(404);
    helm.fails(&["pull", "gw/umbrella", "--version", "1.0.0"]);
}

#[test]
fn helm3_reads_every_form_of_the_index_alike() {
    forms("helm3");
}

#[test]
fn helm4_reads_every_form_of_the_index_alike() {
    forms("helm4");
}

/// JSON, YAML, slim: the same list. `keep`: the newest of it. Archives behind each.
fn forms(program: &str) {
    let (Some(corpus), Some(helm)) = (corpus::folder(), Helm::find(program)) else {
        return;
    };
    let site = FakeHelm::new().run();
    let names = [
        "openshift-helm-charts",
        "rancher-dev-v2.9",
        "kubesphere-stable",
        "ingress-nginx",
    ];
    let indexes = corpus::indexes(&corpus);
    for name in names {
        site.set_file(&format!("/{name}/index.yaml"), indexes[name].as_slice());
    }
    let podinfo = corpus.join("charts/stefanprodan+podinfo");
    let mut upstreams = json!({"podinfo": {"type": "dir", "url": podinfo}});
    for name in names {
        upstreams[name] = local(&site.at(&format!("/{name}")));
    }
    let members: Vec<&str> = names.into_iter().chain(["podinfo"]).collect();
    let with = |index: Value| {
        let mut one = tenant(&members);
        one["index"] = index;
        one
    };
    let gateway = Gateway::start(json!({
        "upstreams": upstreams,
        "tenants": {
            "full": with(json!({"format": "json"})),
            "yaml": with(json!({"format": "yaml"})),
            "slim": with(json!({"fields": "slim"})),
            "slim-yaml": with(json!({"fields": "slim", "format": "yaml"})),
            "kept": with(json!({"keep": 2})),
        },
    }));

    let listing = |name: &str| {
        let helm = Helm::find(program).expect("found before");
        helm.ok(&["repo", "add", "gw", &gateway.url(name)]);
        helm.ok(&["pull", "gw/podinfo", "--version", "6.6.0"]);
        assert_eq!(
            std::fs::read(helm.folder().join("podinfo-6.6.0.tgz")).ok(),
            Some(corpus::read(&podinfo.join("podinfo-6.6.0.tgz"))),
            "{name}"
        );
        helm.listing()
    };
    let full = listing("full");
    assert!(full.len() > 1000, "only {} versions", full.len());
    for name in ["yaml", "slim", "slim-yaml"] {
        let other = listing(name);
        let differing: Vec<_> = full.symmetric_difference(&other).take(5).collect();
        assert!(differing.is_empty(), "{name} differs: {differing:?}");
    }
    let body = |name: &str| gateway.get(&format!("/{name}/index.yaml")).expect(200).body;
    assert!(body("slim").len() * 2 < body("full").len());
    assert_ne!(body("yaml").first(), Some(&b'{'));

    let kept = gateway.index("kept");
    let everything = gateway.index("full");
    for (chart, versions) in kept["entries"].as_object().expect("a mapping of entries") {
        let all = everything["entries"][chart]
            .as_array()
            .expect("the same chart");
        assert_eq!(
            versions.as_array(),
            Some(&all[..all.len().min(2)].to_vec()),
            "{chart}"
        );
    }
    assert!(entries(&kept).count() < entries(&everything).count());
    helm.ok(&["repo", "add", "gw", &gateway.url("kept")]);
    assert_eq!(helm.listing().len(), pairs(&kept).len());
}

#[test]
fn helm3_is_told_401_by_name() {
    credentials("helm3");
}

#[test]
fn helm4_is_told_401_by_name() {
    credentials("helm4");
}

/// htpasswd users, rules and anonymous access, as helm sees them.
fn credentials(program: &str) {
    let Some(helm) = Helm::find(program) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hash = |password: &str| bcrypt::hash(password, 4).expect("a bcrypt hash");
    std::fs::write(
        folder.path().join("htpasswd"),
        format!("reader:{}\nci:{}\n", hash("read"), hash("write")),
    )
    .expect("writing htpasswd");
    let rules = json!([
        {"subjects": ["user:ci"], "actions": ["pull", "push", "delete"]},
        {"subjects": ["user:reader"], "actions": ["pull"]},
    ]);
    let gateway = Gateway::start_in(
        folder,
        json!({
            "auth": {"users_file": "htpasswd"},
            "tenants": {
                "closed": {"hosted": {}, "access": {"rules": rules}},
                "open": {"hosted": {}, "access": {"anonymous": ["pull"], "rules": rules}},
            },
        }),
    );
    let authorization = |user: &str, password: &str| basic(user, password);
    let archive = package("web", "1.0.0", &[]).to_vec();
    let upload = |path: &str, authorization: Option<String>| {
        let mut call = Call::new("POST", path);
        if let Some(value) = authorization {
            call = call.header("Authorization", &value);
        }
        gateway.send(&call.body(archive.clone()))
    };
    for tenant in ["closed", "open"] {
        let path = format!("/api/{tenant}/charts");
        let anonymous = upload(&path, None).expect(401);
        assert!(anonymous.header("www-authenticate").is_some());
        upload(&path, Some(authorization("ci", "wrong"))).expect(401);
        upload(&path, Some(authorization("reader", "read"))).expect(403);
        upload(&path, Some(authorization("ci", "write"))).expect(201);
    }

    let closed = gateway.url("closed");
    let add = |url: &str, user: &[&str]| {
        let mut arguments = vec!["repo", "add", "gw", url, "--force-update"];
        arguments.extend(user);
        helm.run(&arguments)
    };
    let refused = [
        add(&closed, &[]),
        add(&closed, &["--username", "reader", "--password", "wrong"]),
        add(&closed, &["--username", "nobody", "--password", "read"]),
        // Anonymous access is for those who show nothing, not for those who show something wrong.
        add(
            &gateway.url("open"),
            &["--username", "reader", "--password", "wrong"],
        ),
    ];
    for output in refused {
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && text.contains("401 Unauthorized"),
            "{text}"
        );
    }
    assert!(
        add(&closed, &["--username", "reader", "--password", "read"])
            .status
            .success()
    );
    helm.ok(&["pull", "gw/web", "--version", "1.0.0"]);
    assert_eq!(
        std::fs::read(helm.folder().join("web-1.0.0.tgz")).ok(),
        Some(archive)
    );
    std::fs::create_dir(helm.folder().join("anonymous")).expect("a folder");
    helm.ok(&[
        "pull",
        "web",
        "--repo",
        &gateway.url("open"),
        "-d",
        "anonymous",
    ]);
}

/// The value of an `Authorization` header for HTTP Basic.
fn basic(user: &str, password: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("Basic ");
    for group in format!("{user}:{password}").as_bytes().chunks(3) {
        let bits = group.iter().enumerate().fold(0_u32, |bits, (place, byte)| {
            bits | u32::from(*byte) << (16 - 8 * place)
        });
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) & 63;
            let letter = ALPHABET[usize::try_from(index).expect("six bits")];
            text.push(if place <= group.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

/// Ten repositories over http with archives, nine folders of packages, and bare indexes; the hosted store comes first.
fn twenty_upstreams(corpus: &Path, helm: &Helm) -> (Gateway, FakeUpstream) {
    let site = FakeHelm::new().run();
    let mut upstreams = json!({});
    for (place, (name, folder)) in corpus::chart_folders(corpus).into_iter().enumerate() {
        if place % 2 == 0 {
            upstreams[&name] = json!({"type": "dir", "url": folder});
            continue;
        }
        // `helm repo index` writes beside the packages, so it gets a copy.
        let copy = helm.folder().join("sites").join(&name);
        std::fs::create_dir_all(&copy).expect("a folder");
        for entry in std::fs::read_dir(&folder).expect("a folder that can be listed") {
            let file = entry.expect("a folder that can be listed").path();
            std::fs::write(
                copy.join(file.file_name().expect("a file")),
                corpus::read(&file),
            )
            .expect("copying a package");
        }
        helm.ok(&["repo", "index", copy.to_str().expect("a UTF-8 path")]);
        for entry in std::fs::read_dir(&copy).expect("a folder that can be listed") {
            let file = entry.expect("a folder that can be listed").path();
            let leaf = file
                .file_name()
                .and_then(|leaf| leaf.to_str())
                .expect("UTF-8");
            // `keda-2.14.3 copy.tgz` is the one name that a request line spells differently.
            site.set_file(
                &format!("/{name}/{}", leaf.replace(' ', "%20")),
                corpus::read(&file),
            );
        }
        upstreams[&name] = local(&site.at(&format!("/{name}")));
    }
    let indexes = corpus::indexes(corpus);
    for name in ["sigstore", "metrics-server", "deliveryhero-oci-urls"] {
        site.set_file(
            &format!("/index/{name}/index.yaml"),
            indexes[name].as_slice(),
        );
        upstreams[name] = local(&site.at(&format!("/index/{name}")));
    }
    let names: Vec<String> = upstreams
        .as_object()
        .expect("a mapping")
        .keys()
        .cloned()
        .collect();
    assert!(names.len() >= 20, "only {} upstreams", names.len());
    let gateway = Gateway::start(json!({
        "upstreams": upstreams,
        "tenants": {"acme/platform": {
            "hosted": {"overwrite": "forbid"},
            "charts": names,
            "access": {"anonymous": ["pull", "push", "delete"]},
        }},
    }));
    (gateway, site)
}
