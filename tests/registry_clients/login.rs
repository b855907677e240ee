//! Logging in with every real client: right and wrong passwords, what a user may and may not, and what everybody may.

use serde_json::json;

use super::{Place, containerd};
use crate::support::clients::{Clients, Program};
use crate::support::daemons::{Containerd, Docker};
use crate::support::gateway::Gateway;
use crate::support::http::Call;
use crate::support::image::Image;

/// `acme` is for `ci` (everything) and `dev` (pulling), `open` for everybody to pull and for users to push.
fn gateway() -> (Gateway, Place, Place) {
    let gateway = Gateway::start(json!({
        "auth": {"users": {"ci": {"password": "s3cret:x"}, "dev": {"password": "word"}}},
        "tenants": {
            "acme": {
                "hosted": {"delete": true},
                "access": {"rules": [
                    {"subjects": "user:ci", "actions": ["pull", "push", "delete"]},
                    {"subjects": "user:dev", "actions": "pull"},
                ]},
            },
            "open": {
                "hosted": {},
                "access": {"anonymous": "pull", "rules": [{"subjects": "user:*", "actions": "push"}]},
            },
        },
    }));
    let address = gateway.http;
    (
        gateway,
        Place::of(address, "acme"),
        Place::of(address, "open"),
    )
}

fn image(clients: &Clients) -> Image {
    let image = Image::new(61, 50_000);
    image.write(&clients.home().join("one"), "1.0");
    image
}

#[test]
fn helm_logs_in_and_pushes_what_it_may() {
    for program in [Program::Helm3, Program::Helm4] {
        let Some(clients) = Clients::with(&[program]) else {
            return;
        };
        let (_gateway, acme, _) = gateway();
        let host = acme.address.as_str();
        let login = |user: &str, password: &str| {
            let (user, password) = (format!("-u={user}"), format!("-p={password}"));
            clients.run(
                program,
                &["registry", "login", "--plain-http", host, &user, &password],
            )
        };
        let chart = crate::support::fake::package("app", "1.0.0", &[]);
        std::fs::write(clients.home().join("app-1.0.0.tgz"), &chart).expect("writable");
        let charts = format!("oci://{}", acme.repository("charts"));
        let push = ["push", "--plain-http", "app-1.0.0.tgz", charts.as_str()];
        let pull = format!("{charts}/app");
        let pull = [
            "pull",
            "--plain-http",
            pull.as_str(),
            "--version=1.0.0",
            "-d=out",
        ];

        let error = clients.fails(program, &push);
        assert!(
            error.contains("401") || error.contains("unauthorized"),
            "{error}"
        );
        assert!(!login("ci", "wrong").status.success());
        assert!(!login("stranger", "s3cret:x").status.success());
        let done = login("ci", "s3cret:x");
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        clients.ok(program, &push);
        std::fs::create_dir_all(clients.home().join("out")).expect("a folder");
        clients.ok(program, &pull);
        let pulled = std::fs::read(clients.home().join("out/app-1.0.0.tgz"));
        assert_eq!(pulled.expect("a package"), chart);

        assert!(login("dev", "word").status.success());
        let error = clients.fails(program, &push);
        assert!(error.contains("403") || error.contains("denied"), "{error}");
        clients.ok(
            program,
            &["show", "chart", "--plain-http", pull[2], "--version=1.0.0"],
        );
        clients.ok(program, &["registry", "logout", host]);
        clients.fails(program, &pull);
    }
}

#[test]
fn crane_logs_in() {
    const CRANE: Program = Program::Crane;
    let Some(clients) = Clients::with(&[CRANE]) else {
        return;
    };
    let (_gateway, acme, open) = gateway();
    let host = acme.address.as_str();
    let login = |user: &str, password: &str| {
        clients.ok(CRANE, &["auth", "login", host, "-u", user, "-p", password]);
    };
    let image = image(&clients);
    let (at, copy) = (acme.image("app", "1.0"), acme.image("copies/app", "1.0"));
    let public = open.image("app", "1.0");

    clients.fails(CRANE, &["push", "one", &at]);
    login("ci", "wrong");
    clients.fails(CRANE, &["push", "one", &at]);
    clients.fails(CRANE, &["digest", &at]);
    login("ci", "s3cret:x");
    clients.ok(CRANE, &["push", "one", &at]);
    // Mounts the layers: two repositories in one token.
    clients.ok(CRANE, &["copy", &at, &copy]);
    clients.ok(CRANE, &["copy", &at, &public]);
    assert_eq!(clients.ok(CRANE, &["digest", &copy]), image.digest);
    assert_eq!(clients.ok(CRANE, &["ls", &acme.repository("app")]), "1.0");
    let listed = clients.ok(CRANE, &["catalog", host]);
    assert_eq!(
        listed.lines().collect::<Vec<_>>(),
        ["acme/app", "acme/copies/app", "open/app"]
    );

    login("dev", "word");
    clients.ok(CRANE, &["validate", "--remote", &at]);
    let error = clients.fails(CRANE, &["tag", &at, "2.0"]);
    assert!(error.contains("DENIED") || error.contains("403"), "{error}");
    let pinned = acme.pinned("copies/app", &image.digest);
    let error = clients.fails(CRANE, &["delete", &pinned]);
    assert!(error.contains("DENIED") || error.contains("403"), "{error}");
    login("ci", "s3cret:x");
    clients.ok(CRANE, &["delete", &pinned]);
    clients.fails(CRANE, &["digest", &copy]);

    // Nobody: only what everybody may.
    clients.ok(CRANE, &["auth", "logout", host]);
    clients.ok(CRANE, &["validate", "--remote", &public]);
    let listed = clients.ok(CRANE, &["catalog", host]);
    assert_eq!(listed, "open/app");
    let error = clients.fails(CRANE, &["digest", &at]);
    assert!(
        error.contains("UNAUTHORIZED") || error.contains("401"),
        "{error}"
    );
    let error = clients.fails(CRANE, &["tag", &public, "2.0"]);
    assert!(
        error.contains("UNAUTHORIZED") || error.contains("401"),
        "{error}"
    );
}

#[test]
fn oras_logs_in() {
    const ORAS: Program = Program::Oras;
    let Some(clients) = Clients::with(&[ORAS]) else {
        return;
    };
    let (_gateway, acme, open) = gateway();
    let host = acme.address.as_str();
    let login = |user: &str, password: &str| {
        clients.run(
            ORAS,
            &["login", "--plain-http", host, "-u", user, "-p", password],
        )
    };
    std::fs::write(clients.home().join("note.txt"), "hello").expect("writable");
    let at = acme.image("notes", "1");
    let push = ["push", "--plain-http", &at, "note.txt:text/plain"];
    clients.fails(ORAS, &push);
    assert!(!login("ci", "wrong").status.success());
    assert!(login("ci", "s3cret:x").status.success());
    clients.ok(ORAS, &push);
    let attached = [
        "attach",
        "--plain-http",
        "--artifact-type=text/x-note",
        &at,
        "note.txt:text/plain",
    ];
    clients.ok(ORAS, &attached);
    let public = open.image("notes", "1");
    clients.ok(
        ORAS,
        &[
            "cp",
            "--from-plain-http",
            "--to-plain-http",
            "-r",
            &at,
            &public,
        ],
    );
    assert!(login("dev", "word").status.success());
    clients.ok(ORAS, &["pull", "--plain-http", &at, "-o", "out"]);
    clients.fails(ORAS, &push);
    clients.fails(
        ORAS,
        &["manifest", "delete", "--plain-http", "--force", &at],
    );
    assert!(login("ci", "s3cret:x").status.success());
    clients.ok(
        ORAS,
        &["manifest", "delete", "--plain-http", "--force", &at],
    );
    clients.ok(ORAS, &["logout", host]);
    clients.ok(ORAS, &["pull", "--plain-http", &public, "-o", "out"]);
    clients.fails(ORAS, &["pull", "--plain-http", &at, "-o", "out"]);
}

#[test]
fn skopeo_logs_in() {
    const SKOPEO: Program = Program::Skopeo;
    let Some(clients) = Clients::with(&[SKOPEO]) else {
        return;
    };
    let (_gateway, acme, open) = gateway();
    let host = acme.address.as_str();
    clients.plain_http(&[host]);
    let login = |user: &str, password: &str| {
        clients.run(
            SKOPEO,
            &[
                "login",
                "--tls-verify=false",
                host,
                "-u",
                user,
                "-p",
                password,
            ],
        )
    };
    let image = image(&clients);
    let (at, public) = (
        format!("docker://{}", acme.image("app", "1.0")),
        format!("docker://{}", open.image("app", "1.0")),
    );
    let push = ["copy", "--preserve-digests", "oci:one:1.0", &at];
    clients.fails(SKOPEO, &push);
    assert!(!login("ci", "wrong").status.success());
    assert!(login("ci", "s3cret:x").status.success());
    clients.ok(SKOPEO, &push);
    clients.ok(SKOPEO, &["copy", "--preserve-digests", &at, &public]);
    let shown = clients.ok(SKOPEO, &["inspect", "--format={{.Digest}}", &at]);
    assert_eq!(shown, image.digest);
    assert!(login("dev", "word").status.success());
    clients.ok(SKOPEO, &["inspect", &at]);
    let error = clients.fails(SKOPEO, &push);
    assert!(
        error.contains("denied") || error.contains("may not push"),
        "{error}"
    );
    clients.fails(SKOPEO, &["delete", &at]);
    assert!(login("ci", "s3cret:x").status.success());
    // Asks for `*`.
    clients.ok(SKOPEO, &["delete", &at]);
    clients.ok(SKOPEO, &["logout", host]);
    clients.ok(SKOPEO, &["inspect", &public]);
    let error = clients.fails(SKOPEO, &["inspect", &at]);
    assert!(
        error.contains("unauthorized") || error.contains("authentication required"),
        "{error}"
    );
}

#[test]
fn podman_logs_in() {
    const PODMAN: Program = Program::Podman;
    let Some(clients) = Clients::with(&[PODMAN]) else {
        return;
    };
    let (_gateway, acme, _) = gateway();
    let host = acme.address.as_str();
    clients.plain_http(&[host]);
    let login = |user: &str, password: &str| {
        clients.run(PODMAN, &["login", host, "-u", user, "-p", password])
    };
    image(&clients);
    let id = clients.ok(PODMAN, &["pull", "oci:one:1.0"]);
    let id = id.lines().next_back().expect("the image's id").to_owned();
    let at = acme.image("app", "1.0");
    let push = ["push", &id, &at];
    clients.fails(PODMAN, &push);
    assert!(!login("ci", "wrong").status.success());
    let done = login("ci", "s3cret:x");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    clients.ok(PODMAN, &push);
    assert!(login("dev", "word").status.success());
    clients.fails(PODMAN, &push);
    clients.ok(PODMAN, &["rmi", "--all", "--force"]);
    clients.ok(PODMAN, &["pull", &at]);
    clients.ok(PODMAN, &["logout", host]);
    clients.ok(PODMAN, &["rmi", "--all", "--force"]);
    clients.fails(PODMAN, &["pull", &at]);
}

/// Docker sends its login to a daemon, which asks for tokens itself; containerd has no login, but credentials for each command.
#[test]
fn docker_and_containerd_log_in() {
    let Some(clients) = Clients::with(&[Program::Crane]) else {
        return;
    };
    let (_gateway, acme, open) = gateway();
    let host = acme.address.as_str();
    let image = image(&clients);
    let login = ["auth", "login", host, "-u", "ci", "-p", "s3cret:x"];
    clients.ok(Program::Crane, &login);
    let (at, other, public) = (
        acme.image("app", "1.0"),
        acme.image("other", "1.0"),
        open.image("app", "1.0"),
    );
    for place in [&at, &other, &public] {
        clients.ok(Program::Crane, &["push", "one", place]);
    }
    let Some(docker) = Docker::start(&[], &[]) else {
        return;
    };
    let error = docker.fails(&["login", host, "-u", "ci", "-p", "wrong"]);
    assert!(
        error.contains("401") || error.contains("unauthorized"),
        "{error}"
    );
    docker.fails(&["pull", &at]);
    docker.ok(&["pull", &public]);
    docker.ok(&["login", host, "-u", "dev", "-p", "word"]);
    docker.ok(&["pull", &at]);
    docker.ok(&["tag", &at, &acme.image("docker/app", "1.0")]);
    let error = docker.fails(&["push", &acme.image("docker/app", "1.0")]);
    assert!(
        error.contains("denied") || error.contains("may not push"),
        "{error}"
    );
    docker.ok(&["login", host, "-u", "ci", "-p", "s3cret:x"]);
    docker.ok(&["push", &acme.image("docker/app", "1.0")]);
    docker.ok(&["logout", host]);
    docker.fails(&["push", &acme.image("docker/app", "2.0")]);
    drop(docker);

    let Some(daemon) = Containerd::start() else {
        return;
    };
    let ci = ["--plain-http", "--user=ci:s3cret:x"];
    containerd::pull(&daemon, &public, &["--plain-http"]);
    for image in [&at, &other] {
        containerd::pull(&daemon, image, &ci);
    }
    assert_eq!(daemon.digest(&at), image.digest);
    let copy = acme.image("containerd/app", "1.0");
    daemon.ok(&["images", "push", ci[0], ci[1], &copy, &at]);
    assert_eq!(clients.ok(Program::Crane, &["digest", &copy]), image.digest);
    // Under a name that is not there yet: what is there already needs no push.
    let new = acme.image("containerd/new", "1.0");
    for (user, image) in [("dev:word", &new), ("ci:wrong", &new)] {
        let user = format!("--user={user}");
        let output = daemon.run(&["images", "push", "--plain-http", &user, image, &at]);
        assert!(!output.status.success(), "{user}");
    }
}

/// What curl, Flux and Argo send: the password itself, at the registry.
#[test]
fn passwords_are_accepted_without_a_token() {
    let (gateway, _, _) = gateway();
    let ask = |path: &str, user: Option<&str>| {
        let mut call = Call::get(path);
        if let Some(user) = user {
            let text = chartgate::base64::encode(user.as_bytes());
            call = call.header("Authorization", &format!("Basic {text}"));
        }
        call.send(gateway.http)
    };
    ask("/v2/", Some("ci:s3cret:x")).expect(200);
    ask("/v2/acme/none/tags/list", Some("dev:word")).expect(404);
    ask("/v2/open/none/tags/list", None).expect(404);
    ask("/v2/open/none/tags/list", Some(":")).expect(404);
    for (path, user) in [
        ("/v2/", None),
        ("/v2/", Some(":")),
        ("/v2/", Some("ci:wrong")),
        ("/v2/acme/none/tags/list", None),
        ("/v2/acme/none/tags/list", Some("ci:wrong")),
    ] {
        let reply = ask(path, user).expect(401);
        assert_eq!(
            reply.header("docker-distribution-api-version"),
            Some("registry/2.0")
        );
        let challenge = reply.header("www-authenticate").expect("a challenge");
        let realm = "Bearer realm=\"http://gateway.test/token\",service=\"gateway.test\"";
        assert!(challenge.starts_with(realm), "{challenge}");
        let stranger = user.is_none_or(|user| user == ":");
        assert!(!stranger || !challenge.contains("error="), "{challenge}");
        let fields = reply.headers.iter();
        assert_eq!(
            fields
                .filter(|(name, _)| name == "www-authenticate")
                .count(),
            1
        );
    }
    let reply = Call::get("/v2/acme/none/tags/list")
        .header("Authorization", "Bearer nonsense")
        .send(gateway.http)
        .expect(401);
    let challenge = reply.header("www-authenticate").expect("a challenge");
    assert!(
        challenge.ends_with(r#",scope="repository:acme/none:pull",error="invalid_token""#),
        "{challenge}"
    );
}
