use super::*;

/// What somebody is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// 2xx
    Done,
    /// 401
    Asked,
    /// 403
    Refused,
    /// 404
    Absent,
}

use Class::{Absent, Asked, Done, Refused};

#[track_caller]
fn class(reply: &Reply) -> Class {
    match reply.status {
        200..=299 => Done,
        401 => Asked,
        403 => Refused,
        404 => Absent,
        other => panic!("{other}: {}", reply.text()),
    }
}

const USERS: [&str; 9] = [
    "anonymous",
    "all",
    "reader",
    "pusher",
    "hubber",
    "team",
    "job",
    "token",
    "outsider",
];

/// What there is in `acme` that `team` may change, may see, may not see; and what is not there, within his sight and out of it.
const NAMES: [&str; 5] = ["app-web", "app-api", "secret", "app-none", "ghost"];

/// Who may pull, push and delete what: the rules, written once more.
fn may(user: &str, action: &str, name: &str) -> bool {
    match (user, action) {
        ("all", _) | ("reader", "pull") => true,
        ("pusher", "push") => name.starts_with("app-"),
        ("team" | "job" | "token", "pull") => name.starts_with("app-"),
        ("team" | "job", "push" | "delete") => name.starts_with("app-web"),
        _ => false,
    }
}

/// What `user` is answered who asks for `action` on `name`, where `found` is the answer of those who may.
fn table(user: &str, action: &str, name: &str, found: Class) -> Class {
    match user {
        _ if may(user, action, name) => found,
        "anonymous" => Asked,
        // The tenant is not there for him.
        "outsider" => Absent,
        // He may see other things here: this one may be there or not.
        "team" | "job" | "token" | "hubber" if !may(user, "pull", name) => Absent,
        _ => Refused,
    }
}

/// Reads about one name, and whether they find something where there is nothing.
fn reads(name: &str) -> Vec<(&'static str, String, bool)> {
    let (digest, subject) = (sha256(&blob(name)), sha256(&manifest(name, "v1")));
    let chart = format!("/api/acme/charts/{name}");
    vec![
        ("GET", format!("/acme/charts/{name}-1.0.0.tgz"), false),
        ("HEAD", format!("/acme/charts/{name}-1.0.0.tgz"), false),
        ("GET", chart.clone(), false),
        ("HEAD", chart.clone(), false),
        ("GET", format!("{chart}/1.0.0"), false),
        ("HEAD", format!("{chart}/1.0.0"), false),
        ("GET", format!("{chart}/^1"), false),
        ("GET", format!("{chart}/1.0.0/values"), false),
        ("GET", format!("{chart}/1.0.0/templates"), false),
        ("GET", format!("/v2/acme/{name}/manifests/v1"), false),
        ("HEAD", format!("/v2/acme/{name}/manifests/v1"), false),
        ("GET", format!("/acme/v2/{name}/manifests/{subject}"), false),
        ("GET", format!("/v2/acme/{name}/blobs/{digest}"), false),
        ("HEAD", format!("/v2/acme/{name}/blobs/{digest}"), false),
        ("GET", format!("/v2/acme/{name}/tags/list"), false),
        ("GET", format!("/v2/acme/{name}/referrers/{subject}"), true),
    ]
}

#[test]
fn every_read_is_answered_as_the_table_says() {
    let world = world();
    for name in NAMES {
        for (method, path, always) in reads(name) {
            let found = if always || HOSTED.contains(&name) {
                Done
            } else {
                Absent
            };
            for user in USERS {
                let reply = world.as_(user, Call::new(method, &path));
                let expected = table(user, "pull", name, found);
                assert_eq!(class(&reply), expected, "{user} {method} {path}");
            }
        }
        // Provenance files are nowhere, and looked for like archives.
        let path = format!("/acme/charts/{name}-1.0.0.tgz.prov");
        for user in USERS {
            let expected = table(user, "pull", name, Absent);
            assert_eq!(class(&world.get(user, &path)), expected, "{user} {path}");
        }
    }
}

/// What is answered, without what differs from one answer to the next; `name` is a word of the question.
fn looks(reply: &Reply, name: &str) -> String {
    let headers = reply
        .headers
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "date" | "x-request-id" | "content-length"));
    let headers: Vec<_> = headers
        .map(|(key, value)| format!("{key}: {}", value.replace(name, "NAME")))
        .collect();
    let digests = [sha256(&blob(name)), sha256(&manifest(name, "v1"))];
    let text = digests
        .iter()
        .fold(reply.text(), |text, digest| text.replace(digest, "DIGEST"));
    format!(
        "{} {headers:?} {}",
        reply.status,
        text.replace(name, "NAME")
    )
}

/// `secret` is there and `ghost` is not: nobody who may not see either can tell, on any route.
#[test]
fn forbidden_and_absent_look_alike() {
    let world = world();
    let pairs = reads("secret").into_iter().zip(reads("ghost"));
    let mut rows: Vec<_> = pairs
        .map(|((method, secret, _), (_, ghost, _))| (method, secret, ghost))
        .collect();
    for row in [
        ("DELETE", "/api/acme/charts/NAME/1.0.0"),
        ("DELETE", "/v2/acme/NAME/manifests/v1"),
        ("POST", "/v2/acme/NAME/blobs/uploads/"),
        ("PUT", "/v2/acme/NAME/manifests/v1"),
        (
            "PATCH",
            "/v2/acme/NAME/blobs/uploads/0123456789abcdef0123456789abcdef",
        ),
        (
            "GET",
            "/v2/acme/NAME/blobs/uploads/0123456789abcdef0123456789abcdef",
        ),
        (
            "DELETE",
            "/v2/acme/NAME/blobs/uploads/0123456789abcdef0123456789abcdef",
        ),
        ("GET", "/v2/acme/hub/NAME-hub/manifests/v1"),
        ("GET", "/v2/acme/NAME-hub/manifests/v1"),
        ("GET", "/acme/charts/NAME-up-1.0.0.tgz"),
    ] {
        let (method, path) = row;
        rows.push((
            method,
            path.replace("NAME", "secret"),
            path.replace("NAME", "ghost"),
        ));
    }
    for (method, secret, ghost) in rows {
        let call = |path: &str| match method {
            "GET" | "HEAD" => Call::new(method, path),
            _ => Call::new(method, path).body(""),
        };
        for user in [
            "anonymous",
            "outsider",
            "team",
            "job",
            "token",
            "hubber",
            "pusher",
        ] {
            // It is named after the upstream, so he may see it.
            if user == "hubber" && secret.contains("/hub/") {
                continue;
            }
            let (hidden, absent) = (
                world.as_(user, call(&secret)),
                world.as_(user, call(&ghost)),
            );
            assert_eq!(
                looks(&hidden, "secret"),
                looks(&absent, "ghost"),
                "{user} {method} {secret}"
            );
            assert_ne!(class(&hidden), Done, "{user} {method} {secret}");
        }
    }
}

#[test]
fn every_change_is_answered_as_the_table_says() {
    let world = world();
    for (number, user) in USERS.into_iter().enumerate() {
        for name in NAMES {
            let version = format!("2.0.{number}");
            let reply = world.push_chart(user, name, &version);
            let expected = match user {
                // He may push nothing at all: the package, which has the name, is not even read.
                "hubber" | "token" => Refused,
                _ => table(user, "push", name, Done),
            };
            assert_eq!(class(&reply), expected, "{user} pushes the chart {name}");
            let stored = world.get("all", &format!("/acme/charts/{name}-{version}.tgz"));
            assert_eq!(class(&stored) == Done, expected == Done, "{user} {name}");
            // Whoever may not push it, may not replace it either.
            let chart = format!("/api/acme/charts/{name}/{version}");
            world.push_chart("all", name, &version).expect(201);
            let reply = world.push_chart(user, name, &version);
            assert_eq!(class(&reply), expected, "{user} replaces the chart {name}");
            let reply = world.as_(user, Call::new("DELETE", &chart));
            let expected = table(user, "delete", name, Done);
            assert_eq!(class(&reply), expected, "{user} deletes the chart {name}");
            let left = class(&world.get("all", &chart)) == Done;
            assert_eq!(left, expected != Done, "{user} {name}");

            let tag = format!("v2-{number}");
            let uploads = format!("/v2/acme/{name}/blobs/uploads/");
            let expected = table(user, "push", name, Done);
            let reply = world.as_(user, Call::new("POST", &uploads).body(""));
            assert_eq!(class(&reply), expected, "{user} uploads to {name}");
            let unknown = format!("{uploads}0123456789abcdef0123456789abcdef");
            let nothing = table(user, "push", name, Absent);
            for method in ["GET", "DELETE"] {
                let reply = world.as_(user, Call::new(method, &unknown));
                assert_eq!(
                    class(&reply),
                    nothing,
                    "{user} {method} an upload to {name}"
                );
            }
            let reply = world.put_manifest(user, name, &tag);
            assert_eq!(class(&reply), expected, "{user} pushes {name}:{tag}");
            world.push_image("all", name, &tag);
            let expected = table(user, "delete", name, Done);
            let bytes = sha256(&blob(name));
            for what in [format!("manifests/{tag}"), format!("blobs/{bytes}")] {
                let call = Call::new("DELETE", &format!("/v2/acme/{name}/{what}"));
                let reply = world.as_(user, call);
                assert_eq!(class(&reply), expected, "{user} deletes {what} of {name}");
            }
        }
    }
}

/// Provenance files name their chart themselves, and a form may bring them along.
#[test]
fn a_provenance_file_is_about_the_chart_that_it_names() {
    let world = world();
    let of = |name: &str| {
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nname: {name}\nversion: 1.0.0\n\n...\nfiles:\n  {name}-1.0.0.tgz: {}\n-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n",
            sha256(&package(name, "1.0.0", &[]))
        )
    };
    for (user, name, expected) in [
        ("team", "app-web", Done),
        ("team", "app-api", Refused),
        ("team", "secret", Absent),
        ("pusher", "app-api", Done),
        ("pusher", "secret", Refused),
        ("reader", "secret", Refused),
    ] {
        let text = of(name);
        let call = Call::new("POST", "/api/acme/prov").body(text.clone());
        let reply = world.as_(user, call);
        assert_eq!(class(&reply), expected, "{user} {name}: {}", reply.text());
        let form = Call::new("POST", "/api/acme/charts").form(&[
            ("chart", "c.tgz", &package(name, "1.0.0", &[])),
            ("prov", "c.tgz.prov", text.as_bytes()),
        ]);
        assert_eq!(class(&world.as_(user, form)), expected, "{user} {name}");
        let form =
            Call::new("POST", "/api/acme/charts").form(&[("prov", "c.tgz.prov", text.as_bytes())]);
        assert_eq!(class(&world.as_(user, form)), expected, "{user} {name}");
        let file = format!("/acme/charts/{name}-1.0.0.tgz.prov");
        assert_eq!(
            class(&world.get("all", &file)) == Done,
            name != "secret" && (expected == Done || name == "app-web")
        );
    }
}
