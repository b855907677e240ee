//! Requests with tokens: every way in which they are shown, on every protocol, and what they may not.

use chartgate::digest::Digest;

use super::*;
use crate::support::fake::package;

const OFF: &str = "eyJhbGciOiJub25lIn0.e30.x";

/// The package of a chart, pushed to a tenant.
fn upload(gateway: &Gateway, tenant: &str, chart: &str, token: &str) -> Reply {
    let call =
        Call::new("POST", &format!("/api/{tenant}/charts")).body(package(chart, "1.0.0", &[]));
    basic(call, "anybody", token).send(gateway.http)
}

#[test]
fn tokens_are_shown_in_every_way_and_count_on_every_protocol() {
    let gateway = Gateway::start(config());
    let token = create(&gateway, "acme/*", "pull,push", &[]);
    upload(&gateway, "acme/a", "app", &token).expect(201);
    for path in [
        "/acme/a/index.yaml",
        "/acme/a/charts/app-1.0.0.tgz",
        "/api/acme/a/charts",
        "/v2/",
        // Who only wants to pull is let in as a stranger, whatever he shows.
        "/token?scope=repository:acme/a/x:push",
    ] {
        bearer(Call::get(path), &token)
            .send(gateway.http)
            .expect(200);
        basic(Call::get(path), "x", &token)
            .send(gateway.http)
            .expect(200);
        basic(Call::get(path), "", &token)
            .send(gateway.http)
            .expect(200);
        let mistyped = format!(
            "{}{}",
            &token[..52],
            if token.ends_with('0') { '1' } else { '0' }
        );
        for wrong in [mistyped.as_str(), &token[..30], &format!("{token}0"), OFF] {
            let reply = bearer(Call::get(path), wrong).send(gateway.http);
            assert_eq!(reply.status, 401, "{path} {wrong}");
            assert!(reply.header("www-authenticate").is_some());
        }
        let reply = basic(Call::get(path), "x", &mistyped)
            .send(gateway.http)
            .expect(401);
        assert!(reply.text().contains("checksum"), "{}", reply.text());
    }
    // Alone, as ChartMuseum takes them.
    let alone = Call::get("/acme/a/index.yaml").header("Authorization", &token);
    alone.send(gateway.http).expect(200);
    // It may not delete, and another tenant is not there for it.
    let delete = Call::new("DELETE", "/api/acme/a/charts/app/1.0.0");
    let refused = bearer(delete.clone(), &token)
        .send(gateway.http)
        .expect(403);
    assert!(
        refused.text().contains("`ci` may not delete"),
        "{}",
        refused.text()
    );
    upload(&gateway, "pub", "app", &token).expect(403);
    get(&gateway, "/other/index.yaml", &token).expect(404);
    let admin = create(&gateway, "acme/a", "admin", &[]);
    until_status(&gateway, "/acme/a/index.yaml", &admin, 200);
    bearer(delete, &admin).send(gateway.http).expect(200);
    get(&gateway, "/acme/b/index.yaml", &admin).expect(404);
}

#[test]
fn a_token_is_kept_to_its_names() {
    let gateway = Gateway::start(config());
    let all = create(&gateway, "**", "admin", &[]);
    upload(&gateway, "acme/a", "app-web", &all).expect(201);
    upload(&gateway, "acme/a", "secret", &all).expect(201);
    let some = create(&gateway, "acme/a", "pull,push", &["--names=app-*"]);
    until_status(&gateway, "/acme/a/charts/app-web-1.0.0.tgz", &some, 200);
    get(&gateway, "/acme/a/charts/secret-1.0.0.tgz", &some).expect(404);
    get(&gateway, "/api/acme/a/charts/secret", &some).expect(404);
    upload(&gateway, "acme/a", "app-api", &some).expect(201);
    let refused = upload(&gateway, "acme/a", "other", &some);
    assert!(matches!(refused.status, 403 | 404), "{}", refused.status);
    get(&gateway, "/acme/a/charts/other-1.0.0.tgz", &all).expect(404);
    for list in ["/acme/a/index.yaml", "/api/acme/a/charts"] {
        let text = get(&gateway, list, &some).expect(200).text();
        assert!(
            text.contains("app-web") && !text.contains("secret"),
            "{list}: {text}"
        );
    }
    // And over the registry's protocol.
    let blob = b"layer";
    let push = |name: &str, token: &str| {
        let path = format!(
            "/v2/acme/a/{name}/blobs/uploads/?digest={}",
            Digest::of(blob)
        );
        bearer(Call::new("POST", &path).body(&blob[..]), token).send(gateway.http)
    };
    push("app-img", &some).expect(201);
    let refused = push("img", &some);
    assert!(matches!(refused.status, 403 | 404), "{}", refused.status);
}

/// The token of a registry client is worth as much as what it was made from.
#[test]
fn registry_tokens_end_with_what_they_were_made_from() {
    let gateway = Gateway::start(config());
    let token = create(&gateway, "acme/a", "pull,push", &[]);
    let other = create(&gateway, "acme/a", "pull", &[]);
    let login = |token: &str| {
        let path = "/token?service=x&scope=repository:acme/a/x:pull,push,delete";
        let reply = basic(Call::get(path), "x", token)
            .send(gateway.http)
            .expect(200)
            .json();
        let access = reply["scope"].as_str().expect("text").to_owned();
        (reply["token"].as_str().expect("text").to_owned(), access)
    };
    until_status(&gateway, "/acme/a/index.yaml", &other, 200);
    let (session, access) = login(&token);
    assert_eq!(access, "repository:acme/a/x:pull,push");
    let (others, access) = login(&other);
    assert_eq!(access, "repository:acme/a/x:pull");
    assert!(!session.contains(&token[17..]));
    let start = |session: &str| {
        let call = Call::new("POST", "/v2/acme/a/x/blobs/uploads/").body("");
        bearer(call, session).send(gateway.http)
    };
    let upload = start(&session).expect(202);
    start(&others).expect(403);
    // An upload belongs to the token that began it, not to every one of its name.
    let place = upload.header("location").expect("a place").to_owned();
    let third = create(&gateway, "acme/a", "pull,push", &[]);
    until_status(&gateway, "/acme/a/index.yaml", &third, 200);
    get(&gateway, &place, &third).expect(404);
    get(&gateway, &place, &session).expect(204);

    ok(&gateway, &["revoke", id(&token)]);
    until_status(&gateway, "/v2/acme/a/x/tags/list", &session, 401);
    start(&session).expect(401);
    get(&gateway, &place, &session).expect(401);
    basic(Call::get("/token"), "x", &token)
        .send(gateway.http)
        .expect(401);
    get(&gateway, "/v2/acme/a/x/tags/list", &others).expect(404);
}

/// Without the key nothing is looked at that was not looked at before.
#[test]
fn tokens_count_only_where_they_are_switched_on() {
    let mut config = config();
    let gateway = Gateway::start(config.clone());
    let token = create(&gateway, "acme/a", "pull", &[]);
    get(&gateway, "/acme/a/index.yaml", &token).expect(200);
    let session = bearer(Call::get("/token?scope=repository:acme/a/x:pull"), &token);
    let session = session.send(gateway.http).expect(200).json();
    let session = session["token"].as_str().expect("text");
    get(&gateway, "/v2/acme/a/x/tags/list", session).expect(404);

    config["auth"] = json!({"users": {"u": {"password": "p"}}});
    gateway.configure(&config);
    gateway.signal("HUP");
    gateway.wait_log(&["reloaded"]);
    get(&gateway, "/acme/a/index.yaml", &token).expect(401);
    get(&gateway, "/v2/acme/a/x/tags/list", session).expect(401);
    bearer(Call::get("/token"), &token)
        .send(gateway.http)
        .expect(401);
}
