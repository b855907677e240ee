//! Real clients of a user who may see some names only.

use super::*;
use crate::registry_clients::Place;
use crate::support::clients::{Clients, Program};
use crate::support::image::Image;

#[test]
fn helm_finds_and_changes_what_it_may() {
    for program in [Program::Helm3, Program::Helm4] {
        let Some(clients) = Clients::with(&[program]) else {
            return;
        };
        let world = world();
        let (url, password) = (
            world.gateway.url("acme"),
            format!("--password={}", password("team")),
        );
        let add = ["repo", "add", "acme", &url, "--username=team", &password];
        clients.ok(program, &add);
        let found = clients.ok(program, &["search", "repo", "acme", "--output=json"]);
        let found: Value = serde_json::from_str(&found).expect("JSON");
        let found = found.as_array().expect("a list").iter();
        let mut found: Vec<_> = found.filter_map(|chart| chart["name"].as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, ["acme/app-api", "acme/app-up", "acme/app-web"]);
        clients.ok(program, &["pull", "acme/app-web"]);
        clients.fails(program, &["pull", "acme/secret"]);
        // By its address, past the index.
        let secret = format!("{url}/charts/secret-1.0.0.tgz");
        let pull = ["pull", &secret, "--username=team", &password];
        assert!(clients.fails(program, &pull).contains("404"));

        let place = Place::of(world.gateway.http, "acme");
        let login = ["registry", "login", "--plain-http", &place.address];
        let user = ["--username=team", password.as_str()];
        clients.ok(program, &[&login[..], &user].concat());
        let charts = format!("oci://{}/acme", place.address);
        let push = |file: &str| ["push", "--plain-http", file, &charts].map(str::to_owned);
        for (name, may) in [("app-web", true), ("app-api", false), ("secret", false)] {
            let file = format!("{name}-2.0.0.tgz");
            let chart = package(name, "2.0.0", &[]);
            std::fs::write(clients.home().join(&file), chart).expect("written");
            let push = push(&file);
            let push: Vec<_> = push.iter().map(String::as_str).collect();
            match may {
                true => drop(clients.ok(program, &push)),
                false => drop(clients.fails(program, &push)),
            }
        }
    }
}

#[test]
fn crane_finds_and_changes_what_it_may() {
    let Some(clients) = Clients::with(&[Program::Crane]) else {
        return;
    };
    let world = world();
    let place = Place::of(world.gateway.http, "acme");
    let host = place.address.as_str();
    let password = password("team");
    let login = ["auth", "login", host, "-u", "team", "-p", &password];
    clients.ok(Program::Crane, &login);
    let catalog = clients.ok(Program::Crane, &["catalog", host]);
    let seen: Vec<_> = catalog.lines().collect();
    assert_eq!(seen, ["acme/app-api", "acme/app-web"]);
    clients.ok(
        Program::Crane,
        &["digest", &place.image("hub/app-hub", "v1")],
    );
    clients.ok(Program::Crane, &["digest", &place.image("app-web", "v1")]);
    for hidden in ["secret", "hub/secret-hub", "secret-hub"] {
        clients.fails(Program::Crane, &["digest", &place.image(hidden, "v1")]);
    }
    let image = Image::new(79, 10_000);
    image.write(&clients.home().join("one"), "2.0");
    let push = |name: &str| ["push", "one", &place.image(name, "2.0")].map(str::to_owned);
    for (name, may) in [("app-web", true), ("app-api", false), ("secret", false)] {
        let push = push(name);
        let push: Vec<_> = push.iter().map(String::as_str).collect();
        match may {
            true => drop(clients.ok(Program::Crane, &push)),
            false => drop(clients.fails(Program::Crane, &push)),
        }
    }
}
