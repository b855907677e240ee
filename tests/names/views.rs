use std::time::Duration;

use super::*;
use crate::support::until;

fn entries(world: &World, user: &str) -> Vec<String> {
    let index = world.get(user, "/acme/index.yaml").expect(200);
    names(&index.json()["entries"])
}

const TEAM: [&str; 3] = ["app-api", "app-up", "app-web"];

#[test]
fn lists_show_what_may_be_pulled() {
    let world = world();
    let everything = ["app-api", "app-up", "app-web", "secret", "secret-up"];
    for user in ["all", "reader"] {
        assert_eq!(entries(&world, user), everything, "{user}");
    }
    assert_eq!(entries(&world, "team"), TEAM);
    assert!(entries(&world, "hubber").is_empty());
    let charts = |query: &str| {
        let path = format!("/api/acme/charts{query}");
        names(&world.get("team", &path).expect(200).json())
    };
    assert_eq!(charts(""), TEAM);
    // Pages are cut from what he sees.
    assert_eq!(charts("?limit=2"), TEAM[..2]);
    assert_eq!(charts("?offset=2&limit=2"), TEAM[2..]);
    assert!(charts("?offset=3").is_empty());
    world.get("pusher", "/acme/index.yaml").expect(403);
    world.get("anonymous", "/acme/index.yaml").expect(401);
    world.get("outsider", "/acme/index.yaml").expect(404);
}

#[test]
fn a_part_of_an_index_behaves_like_an_index() {
    let world = world();
    let path = "/acme/index.yaml";
    // Until it is quiet, so that nothing is rebuilt in between.
    let gzip = |user: &str| {
        let call = Call::get(path).header("Accept-Encoding", "gzip");
        let reply = world.as_(user, call).expect(200);
        (reply.header("content-encoding") == Some("gzip")).then_some(reply)
    };
    let encoded = until("a compressed part", Duration::from_secs(30), || {
        gzip("team")
    });
    let plain = world.get("team", path).expect(200);
    let mut text = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(encoded.body.as_slice()),
        &mut text,
    )
    .expect("gzip");
    assert_eq!(text, plain.body);
    assert!(!plain.text().contains("secret"));
    let etag = plain.header("etag").expect("a tag").to_owned();
    assert_ne!(encoded.header("etag"), Some(etag.as_str()));
    assert_ne!(world.get("all", path).header("etag"), Some(etag.as_str()));
    // Those who see the same share it.
    assert_eq!(world.get("twin", path).header("etag"), Some(etag.as_str()));
    let again = Call::get(path).header("If-None-Match", &etag);
    world.as_("team", again.clone()).expect(304);
    world.as_("all", again).expect(200);
    let head = world.as_("team", Call::new("HEAD", path)).expect(200);
    let length = plain.body.len().to_string();
    assert_eq!(head.header("content-length"), Some(length.as_str()));
    assert_eq!(head.header("etag"), Some(etag.as_str()));

    // What he may not see changes nothing for him, not even a date; what he may see does at once.
    let modified = plain.header("last-modified").expect("a date").to_owned();
    world.push_chart("all", "secret", "9.0.0").expect(201);
    let after = world.get("team", path).expect(200);
    assert_eq!(after.header("etag"), Some(etag.as_str()));
    assert_eq!(after.header("last-modified"), Some(modified.as_str()));
    world.push_chart("all", "app-new", "1.0.0").expect(201);
    let after = world.get("team", path).expect(200);
    assert_ne!(after.header("etag"), Some(etag.as_str()));
    assert_eq!(
        entries(&world, "team"),
        ["app-api", "app-new", "app-up", "app-web"]
    );
    let gone = Call::new("DELETE", "/api/acme/charts/app-new/1.0.0");
    world.as_("all", gone).expect(200);
    assert_eq!(entries(&world, "team"), TEAM);
}

/// `app` `1-secret-2.0.0` and `app-1-secret` `2.0.0` would have one file name; only the index says whose it is.
#[test]
fn a_file_belongs_to_the_chart_that_the_index_names() {
    let world = world();
    // Of two charts that it could be, the one with the longer name counts for those who see both.
    world.push_chart("all", "app-x", "1.0.0-secret").expect(201);
    let file = "/acme/charts/app-x-1.0.0-secret.tgz";
    world.get("team", file).expect(200);
    // A file that lies there under another name is known to nobody but those who see everything.
    let folder = world.gateway.data().join("hosted").join("acme");
    std::fs::write(
        folder.join("app-stray.tgz"),
        package("secret", "7.0.0", &[]),
    )
    .expect("written");
    until("the stray package", Duration::from_secs(60), || {
        let reply = world.get("all", "/api/acme/charts/secret/7.0.0");
        (reply.status == 200).then_some(())
    });
    world.get("all", "/acme/charts/app-stray.tgz").expect(200);
    world.get("team", "/acme/charts/app-stray.tgz").expect(404);
    world
        .get("all", "/acme/charts/secret-7.0.0.tgz")
        .expect(200);
    world
        .get("team", "/acme/charts/secret-7.0.0.tgz")
        .expect(404);
}

#[test]
fn the_catalog_shows_what_may_be_pulled_on_every_page() {
    let world = world();
    // Known of an upstream is what was pulled.
    for name in ["app-hub", "secret-hub"] {
        let path = format!("/v2/acme/hub/{name}/manifests/v1");
        world.get("all", &path).expect(200);
    }
    let all = [
        "app-api",
        "app-web",
        "hub/app-hub",
        "hub/secret-hub",
        "secret",
    ];
    let team = ["app-api", "app-web", "hub/app-hub"];
    for (user, expected) in [
        ("all", &all[..]),
        ("reader", &all),
        ("team", &team),
        ("hubber", &all[2..4]),
        ("pusher", &[]),
        ("outsider", &[]),
    ] {
        let prefixed: Vec<_> = expected.iter().map(|name| format!("acme/{name}")).collect();
        let whole = world.get(user, "/v2/_catalog").expect(200);
        assert_eq!(names(&whole.json()["repositories"]), prefixed, "{user}");
        let mut collected = Vec::new();
        let mut path = "/v2/_catalog?n=1".to_owned();
        loop {
            let page = world.get(user, &path).expect(200);
            let shown = names(&page.json()["repositories"]);
            assert!(shown.len() <= 1);
            collected.extend(shown);
            let Some(link) = page.header("link") else {
                break;
            };
            let next = link.split(['<', '>']).nth(1).expect("a link");
            path = next.to_owned();
        }
        assert_eq!(collected, prefixed, "{user}");
    }
    let at = |user: &str, path: &str| {
        let reply = world.get(user, path);
        match reply.status {
            200 => names(&reply.json()["repositories"]),
            status => vec![status.to_string()],
        }
    };
    assert_eq!(at("team", "/acme/v2/_catalog"), team);
    assert_eq!(at("hubber", "/acme/v2/_catalog"), all[2..4]);
    assert_eq!(at("pusher", "/acme/v2/_catalog"), ["403"]);
    assert_eq!(at("team", "/acme/hub/v2/_catalog"), ["app-hub"]);
    assert_eq!(
        at("hubber", "/acme/hub/v2/_catalog"),
        ["app-hub", "secret-hub"]
    );
}

/// A repository of an upstream has two names, and through the group only one.
#[test]
fn nobody_sees_through_the_group_what_he_may_not_see_directly() {
    let world = world();
    for (user, name, directly, through_the_group) in [
        ("all", "secret-hub", 200, 200),
        ("team", "app-hub", 200, 200),
        ("team", "secret-hub", 404, 404),
        // Which upstream answers is the group's choice: rules about one upstream say nothing about it.
        ("hubber", "app-hub", 200, 404),
        ("hubber", "secret-hub", 200, 404),
    ] {
        let direct = [
            "/v2/acme/hub/NAME/manifests/v1",
            "/acme/hub/v2/NAME/manifests/v1",
        ];
        let group = ["/v2/acme/NAME/manifests/v1", "/acme/v2/NAME/manifests/v1"];
        for path in direct {
            let path = path.replace("NAME", name);
            assert_eq!(world.get(user, &path).status, directly, "{user} {path}");
        }
        for path in group {
            let path = path.replace("NAME", name);
            assert_eq!(
                world.get(user, &path).status,
                through_the_group,
                "{user} {path}"
            );
        }
    }
    // Nothing was asked there for those who may not see it.
    assert!(world.hub.url().starts_with("http"));
}

#[test]
fn blobs_are_mounted_from_what_may_be_pulled() {
    let world = world();
    let mount = |user: &str, of: &str, from: &str| {
        let digest = sha256(&blob(of));
        let path = format!("/v2/acme/app-web-2/blobs/uploads/?mount={digest}{from}");
        world.as_(user, Call::new("POST", &path).body("")).status
    };
    assert_eq!(mount("team", "secret", "&from=acme/secret"), 202);
    assert_eq!(mount("team", "secret", "&from=acme/ghost"), 202);
    assert_eq!(mount("team", "secret", "&from=acme/app-api"), 202);
    assert_eq!(mount("team", "secret", ""), 202);
    assert_eq!(mount("team", "app-api", "&from=acme/app-api"), 201);
    assert_eq!(mount("team", "app-web", ""), 201);
    assert_eq!(mount("all", "secret", "&from=acme/secret"), 201);
}

#[test]
fn tokens_are_made_for_names() {
    let world = world();
    let granted = |user: &str, scope: &str| {
        let path = format!("/token?service=gateway.test&scope={scope}");
        let reply = world.get(user, &path).expect(200).json();
        reply["scope"].as_str().expect("a scope").to_owned()
    };
    for (user, scope, expected) in [
        (
            "team",
            "repository:acme/app-web:pull,push,delete",
            "repository:acme/app-web:pull,push,delete",
        ),
        (
            "team",
            "repository:acme/app-api:pull,push",
            "repository:acme/app-api:pull",
        ),
        ("team", "repository:acme/secret:pull,push", ""),
        ("team", "repository:acme/ghost:pull", ""),
        (
            "team",
            "repository:acme/hub/app-hub:pull",
            "repository:acme/hub/app-hub:pull",
        ),
        (
            "hubber",
            "repository:acme/hub/app-hub:pull",
            "repository:acme/hub/app-hub:pull",
        ),
        // It could be `acme/app-web` at the upstream, asked for as `/acme/hub/v2/acme/app-web`.
        (
            "hubber",
            "repository:acme/app-web:pull",
            "repository:acme/app-web:pull",
        ),
        ("hubber", "repository:acme/app-web:push", ""),
        (
            "pusher",
            "repository:acme/app-api:pull,push",
            "repository:acme/app-api:push",
        ),
        ("outsider", "repository:acme/app-api:pull,push", ""),
        ("team", "registry:catalog:*", "registry:catalog:*"),
        // Below a prefix the token server sees the rest of the name only.
        ("team", "repository:app-web:push", "repository:app-web:push"),
        ("team", "repository:secret:push", ""),
    ] {
        assert_eq!(granted(user, scope), expected, "{user} {scope}");
    }
    // And such a token is worth what the rules say where it is used.
    let path = "/token?service=gateway.test&scope=repository:acme/app-web:pull,push";
    let token = world.get("team", path).expect(200).json()["token"].clone();
    let bearer = format!("Bearer {}", token.as_str().expect("a token"));
    for (method, path, status) in [
        ("GET", "/v2/acme/app-web/manifests/v1", 200),
        ("GET", "/v2/acme/secret/manifests/v1", 404),
        ("POST", "/v2/acme/app-web/blobs/uploads/", 202),
        ("POST", "/v2/acme/app-api/blobs/uploads/", 403),
        ("POST", "/v2/acme/secret/blobs/uploads/", 404),
    ] {
        let call = match method {
            "GET" => Call::get(path),
            _ => Call::new(method, path).body(""),
        };
        let reply = world.gateway.send(&call.header("Authorization", &bearer));
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
    }
}
