//! Real clients that know nothing but user name and password.

use super::*;
use crate::registry_clients::Place;
use crate::support::clients::{Clients, Program};
use crate::support::daemons::Docker;
use crate::support::fake::package;
use crate::support::image::Image;

#[test]
fn helm_with_a_token_as_the_password_of_anybody() {
    for program in [Program::Helm3, Program::Helm4] {
        let Some(clients) = Clients::with(&[program]) else {
            return;
        };
        let gateway = Gateway::start(config());
        let token = create(&gateway, "acme/a", "pull,push", &[]);
        let read = create(&gateway, "acme/a", "pull", &[]);
        let chart = package("app", "1.0.0", &[]);
        let upload = Call::new("POST", "/api/acme/a/charts").body(chart.clone());
        basic(upload, "x", &token).send(gateway.http).expect(201);

        // A chart repository.
        let url = gateway.url("acme/a");
        let add = |token: &str| {
            let password = format!("--password={token}");
            let add = [
                "repo",
                "add",
                "acme",
                &url,
                "--username=whoever",
                &password,
                "--force-update",
            ];
            clients.run(program, &add)
        };
        assert!(!add(&token[..40]).status.success());
        assert!(!add("secret").status.success());
        assert!(add(&read).status.success());
        clients.ok(program, &["pull", "acme/app", "--version=1.0.0"]);
        let pulled = std::fs::read(clients.home().join("app-1.0.0.tgz")).expect("a package");
        assert_eq!(pulled, chart);

        // A registry.
        let place = Place::of(gateway.http, "acme/a");
        let charts = format!("oci://{}", place.repository("charts"));
        let push = ["push", "--plain-http", "app-1.0.0.tgz", charts.as_str()];
        let login = |token: &str| {
            let password = format!("-p={token}");
            let login = [
                "registry",
                "login",
                "--plain-http",
                &place.address,
                "-u=token",
                &password,
            ];
            clients.run(program, &login)
        };
        assert!(!login(&token[..40]).status.success());
        assert!(login(&read).status.success());
        clients.fails(program, &push);
        assert!(login(&token).status.success());
        clients.ok(program, &push);
        let app = format!("{charts}/app");
        let show = [
            "show",
            "chart",
            "--plain-http",
            app.as_str(),
            "--version=1.0.0",
        ];
        clients.ok(program, &show);
        ok(&gateway, &["revoke", id(&token)]);
        until_status(&gateway, "/acme/a/index.yaml", &token, 401);
        clients.fails(program, &show);
        assert!(!login(&token).status.success());
    }
}

#[test]
fn crane_and_podman_log_in_push_and_pull() {
    let Some(clients) = Clients::with(&[Program::Crane, Program::Podman]) else {
        return;
    };
    let gateway = Gateway::start(config());
    let token = create(&gateway, "acme/a", "pull,push", &["--names=team/**"]);
    let place = Place::of(gateway.http, "acme/a");
    let host = place.address.as_str();
    clients.plain_http(&[host]);
    let image = Image::new(71, 50_000);
    image.write(&clients.home().join("one"), "1.0");
    let (at, outside) = (
        place.image("team/app", "1.0"),
        place.image("other/app", "1.0"),
    );

    clients.ok(
        Program::Crane,
        &["auth", "login", host, "-u", "x", "-p", &token],
    );
    clients.ok(Program::Crane, &["push", "one", &at]);
    clients.fails(Program::Crane, &["push", "one", &outside]);
    assert_eq!(clients.ok(Program::Crane, &["digest", &at]), image.digest);
    assert_eq!(
        clients.ok(Program::Crane, &["catalog", host]),
        "acme/a/team/app"
    );
    clients.ok(Program::Crane, &["validate", "--remote", &at]);
    let pinned = place.pinned("team/app", &image.digest);
    clients.fails(Program::Crane, &["delete", &pinned]);

    let login = ["login", host, "-u", "whoever", "-p", &token];
    clients.ok(Program::Podman, &login);
    clients.ok(Program::Podman, &["pull", &at]);
    let copy = place.image("team/copy", "1.0");
    clients.ok(Program::Podman, &["push", &at, &copy]);
    ok(&gateway, &["revoke", id(&token)]);
    until_status(&gateway, "/acme/a/index.yaml", &token, 401);
    clients.ok(Program::Podman, &["rmi", "--all", "--force"]);
    clients.fails(Program::Podman, &["pull", &at]);
    clients.fails(Program::Podman, &login);
    clients.fails(Program::Crane, &["digest", &at]);
}

#[test]
fn docker_logs_in_pushes_and_pulls() {
    let Some(clients) = Clients::with(&[Program::Crane]) else {
        return;
    };
    let gateway = Gateway::start(config());
    let token = create(&gateway, "acme/a", "pull,push", &[]);
    let place = Place::of(gateway.http, "acme/a");
    let host = place.address.as_str();
    let image = Image::new(73, 50_000);
    image.write(&clients.home().join("one"), "1.0");
    let at = place.image("app", "1.0");
    clients.ok(
        Program::Crane,
        &["auth", "login", host, "-u", "x", "-p", &token],
    );
    clients.ok(Program::Crane, &["push", "one", &at]);
    let Some(docker) = Docker::start(&[], &[]) else {
        return;
    };
    docker.fails(&["login", host, "-u", "x", "-p", &token[..40]]);
    docker.fails(&["pull", &at]);
    docker.ok(&["login", host, "-u", "x", "-p", &token]);
    docker.ok(&["pull", &at]);
    docker.ok(&["tag", &at, &place.image("docker/app", "1.0")]);
    docker.ok(&["push", &place.image("docker/app", "1.0")]);
    docker.fails(&[
        "pull",
        &Place::of(gateway.http, "acme/b").image("app", "1.0"),
    ]);
    ok(&gateway, &["revoke", id(&token)]);
    until_status(&gateway, "/acme/a/index.yaml", &token, 401);
    docker.fails(&["push", &place.image("docker/other", "1.0")]);
}
