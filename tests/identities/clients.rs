//! Real clients, each with every identity: helm 3 and 4 with charts over HTTP and in registries, crane, podman, skopeo.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use super::{ISSUER, config, issuer};
use crate::support::clients::{Clients, Program};
use crate::support::fake::jwks::{FakeJwks, SigningKey, github, gitlab, kubernetes, lasting};
use crate::support::fake::{Authority, package};
use crate::support::gateway::Gateway;
use crate::support::http::Call;
use crate::support::image::Image;
use crate::support::port::Port;
use crate::support::tools::{self, Helm};

const HELMS: [(&str, Program); 2] = [("helm3", Program::Helm3), ("helm4", Program::Helm4)];

/// Users with the kinds of hashes that htpasswd files have; made by other programs.
const USERS: &[(&str, &str, &str)] = &[
    (
        "bcrypt",
        "secret",
        "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
    ),
    (
        "argon2",
        "password",
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    ),
    (
        "sha256",
        "secret",
        "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.",
    ),
    (
        "sha512",
        "secret",
        "$6$abcdefghijklmnop$J/AWykHqo2Tx5UtavGnFc3ytI33la50JpzLTarSWVhkIXK6wOjNwwZjsrIw2UgmrER2EKrSHCeQyAINEEXAk1/",
    ),
    ("apr1", "secret", "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0"),
    ("sha1", "pass:word", "{SHA}JfOwpCDy5ASLqp0M24rdutzyYk8="),
];

/// Charts over HTTP: an index, a package of it, and a refusal for a wrong password.
fn charts_by(helm: &Helm, url: &str, user: &str, password: &str) {
    let login = |password: &str| {
        helm.run(&[
            "repo",
            "add",
            "--force-update",
            "mine",
            url,
            "--username",
            user,
            "--password",
            password,
        ])
    };
    refused(&login(&format!("{password}x")));
    succeeded(&login(password));
    helm.ok(&["pull", "mine/app", "--version", "1.0.0"]);
    helm.ok(&["show", "chart", "mine/app"]);
}

/// Charts in a registry: log in, push, pull.
fn registry_by(clients: &Clients, program: Program, host: &str, user: &str, password: &str) {
    let login = |password: &str| {
        let (user, password) = (format!("-u={user}"), format!("-p={password}"));
        clients.run(
            program,
            &["registry", "login", "--plain-http", host, &user, &password],
        )
    };
    refused(&login(&format!("{password}x")));
    succeeded(&login(password));
    let chart = package("app", "1.0.0", &[]);
    std::fs::write(clients.home().join("app-1.0.0.tgz"), chart).expect("writable");
    let charts = format!("oci://{host}/acme/charts-{user}");
    clients.ok(program, &["push", "--plain-http", "app-1.0.0.tgz", &charts]);
    let app = format!("{charts}/app");
    clients.ok(
        program,
        &["show", "chart", "--plain-http", &app, "--version=1.0.0"],
    );
    clients.ok(program, &["registry", "logout", host]);
}

/// Images: log in, push, read; then without.
fn images_by(clients: &Clients, host: &str, user: &str, password: &str) {
    let crane = Program::Crane;
    let image = Image::new(91, 20_000);
    let folder = clients.home().join("one");
    if !folder.exists() {
        image.write(&folder, "1.0");
    }
    let at = format!("{host}/acme/image-{user}:1.0");
    clients.fails(crane, &["push", "one", &at]);
    clients.ok(crane, &["auth", "login", host, "-u", user, "-p", password]);
    clients.ok(crane, &["push", "one", &at]);
    assert_eq!(clients.ok(crane, &["digest", &at]), image.digest);
    clients.ok(crane, &["auth", "logout", host]);
    clients.fails(crane, &["digest", &at]);
}

/// podman's own login, which asks the registry.
fn podman_by(clients: &Clients, host: &str, user: &str, password: &str) {
    let login = |password: &str| {
        let arguments = [
            "login",
            "--tls-verify=false",
            host,
            "-u",
            user,
            "-p",
            password,
        ];
        clients.run(Program::Podman, &arguments)
    };
    refused(&login(&format!("{password}x")));
    succeeded(&login(password));
    clients.ok(Program::Podman, &["logout", host]);
}

#[track_caller]
fn succeeded(output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

#[track_caller]
fn refused(output: &Output) {
    assert!(!output.status.success(), "it was let in");
    let text = String::from_utf8_lossy(&output.stderr).to_lowercase();
    let words = ["401", "unauthorized", "invalid username/password", "denied"];
    assert!(words.iter().any(|word| text.contains(word)), "{text}");
}

/// A chart for those who read, put there by somebody who may.
fn publish(gateway: &Gateway, authorization: &str) {
    let push = Call::new("POST", "/api/acme/charts")
        .header("Authorization", authorization)
        .body(package("app", "1.0.0", &[]));
    gateway.send(&push).expect(201);
}

/// Every client as each of these.
fn everybody(gateway: &Gateway, who: &[(&str, &str)]) {
    let host = gateway.http.to_string();
    let url = gateway.url("acme");
    for (name, program) in HELMS {
        let (Some(helm), Some(clients)) = (Helm::find(name), Clients::with(&[program])) else {
            return;
        };
        for (user, password) in who {
            charts_by(&helm, &url, user, password);
            registry_by(&clients, program, &host, user, password);
        }
    }
    let Some(clients) = Clients::with(&[Program::Crane]) else {
        return;
    };
    for (user, password) in who {
        images_by(&clients, &host, user, password);
    }
    let Some(clients) = Clients::with(&[Program::Podman]) else {
        return;
    };
    for (user, password) in who {
        podman_by(&clients, &host, user, password);
    }
}

#[test]
fn users_of_every_kind_of_hash() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = USERS
        .iter()
        .map(|(user, _, hash)| format!("{user}:{hash}\n"));
    std::fs::write(folder.path().join("htpasswd"), lines.collect::<String>()).expect("written");
    let gateway = Gateway::start_in(
        folder,
        json!({
            "auth": {"users_file": "htpasswd"},
            "tenants": {"acme": {
                "hosted": {"overwrite": "allow"},
                "access": {"rules": [{"subjects": "user:*", "actions": ["pull", "push"]}]},
            }},
        }),
    );
    publish(
        &gateway,
        &crate::support::clients::basic("bcrypt", "secret"),
    );
    let who: Vec<_> = USERS
        .iter()
        .map(|(user, password, _)| (*user, *password))
        .collect();
    everybody(&gateway, &who);
}

#[test]
fn tokens_by_a_key_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    std::fs::write(folder.path().join("tokens.pem"), pair.public_key_pem()).expect("written");
    let key = jsonwebtoken::EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes());
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
    let claims = lasting(600, json!({"aud": "charts", "sub": "robot"}));
    let token = jsonwebtoken::encode(&header, &claims, &key.expect("a key")).expect("signed");
    let gateway = Gateway::start_in(
        folder,
        json!({
            "auth": {"jwt": {"public_key_file": "tokens.pem", "audience": "charts", "subject_claim": "sub"}},
            "tenants": {"acme": {
                "hosted": {"overwrite": "allow"},
                "access": {"rules": [{"subjects": "user:robot", "actions": ["pull", "push"]}]},
            }},
        }),
    );
    publish(&gateway, &format!("Bearer {token}"));
    everybody(&gateway, &[("any-name", &token)]);
}

#[test]
fn jobs_of_github_and_gitlab_and_service_accounts() {
    let key = SigningKey::rsa("2026");
    let server = FakeJwks::run(&[&key]);
    let gateway = Gateway::start(config(&json!([issuer(&server.url())])));
    let tokens = [
        ("github", key.sign(&github(ISSUER, "acme/app"))),
        ("gitlab", key.sign(&gitlab(ISSUER, "acme/app"))),
        (
            "kubernetes",
            key.sign(&kubernetes(ISSUER, "build", "builder")),
        ),
    ];
    publish(&gateway, &format!("Bearer {}", tokens[0].1));
    let who: Vec<_> = tokens
        .iter()
        .map(|(user, token)| (*user, token.as_str()))
        .collect();
    everybody(&gateway, &who);
    // Those of somebody else's repository are known, and may nothing.
    let Some(helm) = Helm::find("helm3") else {
        return;
    };
    let other = key.sign(&github(ISSUER, "other/app"));
    let url = gateway.url("acme");
    let add = [
        "repo",
        "add",
        "mine",
        &url,
        "--username=x",
        "--password",
        &other,
    ];
    helm.fails(&add);
}

/// What ChartMuseum's token servers give out: the token itself says what it allows.
#[test]
fn chartmuseum_access_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = include_bytes!("../museum/keys/token-signing.pem");
    let public = include_bytes!("../museum/keys/token-public.pem");
    std::fs::write(folder.path().join("server.pem"), public).expect("written");
    let allowing = |actions: &[&str]| {
        let claims = json!({"access": [{"type": "artifact-repository", "name": "acme", "actions": actions}]});
        let key = jsonwebtoken::EncodingKey::from_rsa_pem(key).expect("a key");
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
        jsonwebtoken::encode(&header, &lasting(600, claims), &key).expect("signed")
    };
    let gateway = Gateway::start_in(
        folder,
        json!({
            "auth": {"jwt": {"public_key_file": "server.pem"}},
            "tenants": {"acme": {"hosted": {"overwrite": "allow"}, "access": {}}},
        }),
    );
    let (both, reader) = (allowing(&["pull", "push"]), allowing(&["pull"]));
    publish(&gateway, &format!("Bearer {both}"));
    everybody(&gateway, &[("anyone", &both)]);
    for (name, _) in HELMS {
        let (Some(helm), Some(plugin)) = (Helm::find(name), tools::cm_push()) else {
            return;
        };
        helm.install_plugin("cm-push", &plugin, (name == "helm3").then_some("cm"));
        std::fs::write(
            helm.folder().join("b-1.0.0.tgz"),
            package("b", "1.0.0", &[]),
        )
        .expect("writable");
        let url = gateway.url("acme");
        let push = |variables: &[(&str, &str)], more: &[&str]| {
            let output = helm.run_with(
                variables,
                &[&["cm-push", "b-1.0.0.tgz", &url, "--force"], more].concat(),
            );
            output.status.success()
        };
        assert!(!push(&[], &[]), "{name}");
        assert!(!push(&[], &["--access-token", &reader]), "{name}");
        assert!(push(&[], &["--access-token", &both]), "{name}");
        assert!(push(&[("HELM_REPO_ACCESS_TOKEN", &both)], &[]), "{name}");
    }
}

#[test]
fn client_certificates() {
    let (authority, clients_authority) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        path
    };
    let (server, client, stranger) = (at("server"), at("client"), at("stranger"));
    let ca = authority.write(&server);
    let clients_ca = clients_authority.write(&client);
    let (certificate, key) = authority.write_server(&server, &["127.0.0.1", "localhost"]);
    let own = clients_authority.write_client(&client, "robot.example.com");
    let others = Authority::new().write_client(&stranger, "robot.example.com");
    let port = Port::reserve();
    let gateway = Gateway::start(json!({
        "server": {"https": {
            "listen": port.address.to_string(), "cert_file": certificate, "key_file": key, "client_ca_file": clients_ca,
        }},
        "tenants": {"acme": {
            "hosted": {"overwrite": "allow"},
            "access": {"rules": [{"subjects": "user:CN=rcgen self signed cert", "actions": ["pull", "push"]}]},
        }},
    }));
    let ca = text(&ca);
    let url = format!("https://{}/acme", port.address);
    let oci = format!("oci://{}/acme/charts", port.address);
    for (name, _) in HELMS {
        let Some(helm) = Helm::find(name) else {
            return;
        };
        std::fs::write(
            helm.folder().join("app-1.0.0.tgz"),
            package("app", "1.0.0", &[]),
        )
        .expect("writable");
        let by = |(certificate, key): &(std::path::PathBuf, std::path::PathBuf), rest: &[&str]| {
            let flags = [
                "--ca-file",
                &ca,
                "--cert-file",
                &text(certificate),
                "--key-file",
                &text(key),
            ];
            helm.run(&[rest, &flags].concat())
        };
        // A registry by certificate: pushed and shown.
        succeeded(&by(&own, &["push", "app-1.0.0.tgz", &oci]));
        succeeded(&by(
            &own,
            &["show", "chart", &format!("{oci}/app"), "--version=1.0.0"],
        ));
        // Charts over HTTP.
        succeeded(&by(&own, &["repo", "add", "--force-update", "mine", &url]));
        assert!(
            !by(&others, &["repo", "add", "other", &url])
                .status
                .success()
        );
        helm.fails(&["repo", "add", "none", &url, "--ca-file", &ca]);
    }
    let Some(skopeo) = Clients::with(&[Program::Skopeo]) else {
        return;
    };
    // What podman and skopeo call a folder of certificates.
    let certs = |name: &str, pair: Option<&(std::path::PathBuf, std::path::PathBuf)>| {
        let folder = skopeo.home().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::copy(&ca, folder.join("ca.crt")).expect("copied");
        if let Some((certificate, key)) = pair {
            std::fs::copy(certificate, folder.join("client.cert")).expect("copied");
            std::fs::copy(key, folder.join("client.key")).expect("copied");
        }
        text(&folder)
    };
    let image = Image::new(92, 20_000);
    image.write(&skopeo.home().join("one"), "1.0");
    let target = format!("docker://{}/acme/image:1.0", port.address);
    let (own, nobody) = (certs("own", Some(&own)), certs("nobody", None));
    let copy = ["copy", "--dest-cert-dir", &own, "oci:one:1.0", &target];
    skopeo.ok(Program::Skopeo, &copy);
    let shown = skopeo.ok(Program::Skopeo, &["inspect", "--cert-dir", &own, &target]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["Digest"], json!(image.digest));
    skopeo.fails(
        Program::Skopeo,
        &["inspect", "--cert-dir", &nobody, &target],
    );
    drop(gateway);
}

fn text(path: &Path) -> String {
    path.to_str().expect("a UTF-8 path").to_owned()
}
