use chartgate::base64;
use serde_json::{Value, json};

use super::{assert_error, location, post, push_image, sha256, with_query};
use crate::support::gateway::Gateway;
use crate::support::http::{Call, Reply};

/// `closed` is for `reader` and `ci`, `open` may be pulled by everybody, `secret` is for `ci` alone.
fn world() -> Gateway {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hash = |password: &str| bcrypt::hash(password, 4).expect("a bcrypt hash");
    let users = format!("reader:{}\nci:{}\n", hash("read"), hash("write"));
    std::fs::write(folder.path().join("htpasswd"), users).expect("writing htpasswd");
    let ci = json!({"subjects": ["user:ci"], "actions": ["pull", "push", "delete"]});
    let reader = json!({"subjects": ["user:reader"], "actions": ["pull"]});
    let tenant = |access: Value| json!({"hosted": {"overwrite": "allow"}, "access": access});
    Gateway::start_in(
        folder,
        json!({
            "auth": {"users_file": "htpasswd"},
            "tenants": {
                "closed": tenant(json!({"rules": [ci, reader]})),
                "open": tenant(json!({"anonymous": ["pull"], "rules": [ci, reader]})),
                "secret": tenant(json!({"rules": [ci]})),
            },
        }),
    )
}

fn basic(call: Call, user: &str, password: &str) -> Call {
    let text = base64::encode(format!("{user}:{password}").as_bytes());
    call.header("Authorization", &format!("Basic {text}"))
}

fn ci(call: Call) -> Call {
    basic(call, "ci", "write")
}

fn reader(call: Call) -> Call {
    basic(call, "reader", "read")
}

/// As `push_image`, with credentials.
#[track_caller]
fn push(gateway: &Gateway, repository: &str, tag: &str) -> String {
    let (text, digest) = super::image(b"{}", &[]);
    let started = ci(post(&format!("{repository}/blobs/uploads/")));
    let put = with_query(
        &location(&gateway.send(&started).expect(202)),
        &format!("digest={}", sha256(b"{}")),
    );
    gateway
        .send(&ci(Call::new("PUT", &put).body("{}")))
        .expect(201);
    let put = Call::new("PUT", &format!("{repository}/manifests/{tag}"));
    let put = put.header("Content-Type", super::IMAGE).body(text);
    gateway.send(&ci(put)).expect(201);
    digest
}

#[track_caller]
fn challenge(reply: &Reply) -> String {
    assert_error(reply, 401, "UNAUTHORIZED");
    let all: Vec<_> = reply
        .headers
        .iter()
        .filter(|(name, _)| name == "www-authenticate")
        .collect();
    assert_eq!(all.len(), 1, "exactly one challenge: {all:?}");
    all[0].1.clone()
}

/// Clients that are told 200 here never send credentials later.
#[test]
fn the_door_asks_who_is_there() {
    let gateway = world();
    for path in ["/v2/", "/closed/v2/", "/open/v2/"] {
        let refused = challenge(&gateway.get(path));
        assert!(
            refused.starts_with("Bearer realm=\"http://gateway.test/token\""),
            "{refused}"
        );
        assert!(refused.contains("service=\"gateway.test\""), "{refused}");
        assert!(
            !refused.contains("scope=") && !refused.contains("error="),
            "{refused}"
        );
        gateway.send(&reader(Call::get(path))).expect(200);
        challenge(&gateway.send(&basic(Call::get(path), "reader", "wrong")));
        // podman says so that it has nobody to be.
        let empty = Call::get(path).header("Authorization", "Basic Og==");
        challenge(&gateway.send(&empty));
    }
    let wrong = Call::get("/v2/").header("Authorization", "Bearer nonsense");
    let refused = challenge(&gateway.send(&wrong));
    assert!(refused.contains("error=\"invalid_token\""), "{refused}");
}

#[test]
fn rules_count_for_every_call() {
    let gateway = world();
    for tenant in ["closed", "open", "secret"] {
        push(&gateway, &format!("/v2/{tenant}/app"), "v1");
    }
    let read = |tenant: &str| Call::get(&format!("/v2/{tenant}/app/manifests/v1"));
    gateway.send(&read("open")).expect(200);
    let refused = challenge(&gateway.send(&read("closed")));
    assert!(
        refused.contains("scope=\"repository:closed/app:pull\""),
        "{refused}"
    );
    for tenant in ["open", "closed"] {
        gateway.send(&reader(read(tenant))).expect(200);
    }
    // What somebody may not even see is not there for him, as if it did not exist.
    let hidden = gateway.send(&reader(read("secret")));
    let absent = gateway.send(&reader(read("nobody")));
    assert_error(&hidden, 404, "NAME_UNKNOWN");
    assert_error(&absent, 404, "NAME_UNKNOWN");
    // Strangers cannot tell, either.
    for tenant in ["secret", "nobody", "closed"] {
        challenge(&gateway.send(&read(tenant)));
    }
    for (method, what, scope) in [
        ("POST", "blobs/uploads/".to_owned(), "pull,push"),
        ("PUT", "manifests/v1".to_owned(), "pull,push"),
        ("DELETE", "manifests/v1".to_owned(), "delete"),
        ("DELETE", format!("blobs/{}", sha256(b"{}")), "delete"),
    ] {
        let call = Call::new(method, &format!("/v2/open/app/{what}")).body("");
        let refused = challenge(&gateway.send(&call));
        assert!(
            refused.contains(&format!("scope=\"repository:open/app:{scope}\"")),
            "{refused}"
        );
        assert_error(&gateway.send(&reader(call)), 403, "DENIED");
    }
}

#[test]
fn catalogs_show_what_may_be_pulled() {
    let gateway = world();
    for tenant in ["closed", "open", "secret"] {
        push(&gateway, &format!("/v2/{tenant}/app"), "v1");
    }
    let list = |call: Call| gateway.send(&call).expect(200).json()["repositories"].clone();
    let path = "/v2/_catalog";
    assert_eq!(
        list(ci(Call::get(path))),
        json!(["closed/app", "open/app", "secret/app"])
    );
    assert_eq!(
        list(reader(Call::get(path))),
        json!(["closed/app", "open/app"])
    );
    let refused = challenge(&gateway.get(path));
    assert!(
        refused.contains("scope=\"registry:catalog:*\""),
        "{refused}"
    );
    assert_error(
        &gateway.send(&reader(Call::get("/secret/v2/_catalog"))),
        404,
        "NAME_UNKNOWN",
    );
}

/// The token that a client gets for what the challenge asked for.
#[track_caller]
fn token(gateway: &Gateway, scope: &str, user: Option<(&str, &str)>) -> String {
    let call = Call::get(&format!("/token?service=gateway.test&scope={scope}"));
    let call = match user {
        Some((user, password)) => basic(call, user, password),
        None => call,
    };
    let reply = gateway.send(&call).expect(200).json();
    reply["token"].as_str().expect("a token").to_owned()
}

#[test]
fn tokens_say_who_and_rules_say_what() {
    let gateway = world();
    push(&gateway, "/v2/closed/app", "v1");
    push(&gateway, "/v2/open/app", "v1");
    let with = |token: &str, call: Call| {
        gateway.send(&call.header("Authorization", &format!("Bearer {token}")))
    };
    // Nobody in particular.
    let nobody = token(&gateway, "repository:open/app:pull", None);
    with(&nobody, Call::get("/v2/open/app/manifests/v1")).expect(200);
    let refused = challenge(&with(&nobody, Call::get("/v2/closed/app/manifests/v1")));
    assert!(
        refused.contains("error=\"insufficient_scope\""),
        "{refused}"
    );
    assert!(
        refused.contains("scope=\"repository:closed/app:pull\""),
        "{refused}"
    );
    // A token for another repository still says who pulls.
    let known = token(
        &gateway,
        "repository:closed/other:pull",
        Some(("ci", "write")),
    );
    with(&known, Call::get("/v2/")).expect(200);
    with(&known, Call::get("/v2/closed/app/manifests/v1")).expect(200);
    // To push, it must have been made for that.
    let start = || post("/v2/closed/app/blobs/uploads/");
    let refused = challenge(&with(&known, start()));
    assert!(
        refused.contains("error=\"insufficient_scope\""),
        "{refused}"
    );
    assert!(
        refused.contains("scope=\"repository:closed/app:pull,push\""),
        "{refused}"
    );
    let push = token(
        &gateway,
        "repository:closed/app:pull,push",
        Some(("ci", "write")),
    );
    with(&push, start()).expect(202);
    challenge(&with(
        &push,
        Call::new("DELETE", "/v2/closed/app/manifests/v1"),
    ));
    let delete = token(
        &gateway,
        "repository:closed/app:delete",
        Some(("ci", "write")),
    );
    with(&delete, Call::new("DELETE", "/v2/closed/app/manifests/v1")).expect(202);
    // Asking for more than one may gives no more.
    let reader = token(
        &gateway,
        "repository:closed/app:pull,push",
        Some(("reader", "read")),
    );
    assert_error(&with(&reader, start()), 403, "DENIED");
}

/// One name is another repository by another address: what a push with a token is told depends on where it goes.
#[test]
fn pushes_with_tokens_by_every_address() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hash = bcrypt::hash("write", 4).expect("a bcrypt hash");
    std::fs::write(folder.path().join("htpasswd"), format!("ci:{hash}\n")).expect("written");
    let tenant = |actions: Value| json!({"hosted": {}, "access": {"anonymous": ["pull"], "rules": [{"subjects": ["user:ci"], "actions": actions}]}});
    let mut team = tenant(json!(["pull", "push"]));
    team["registries"] = json!(["hub"]);
    let gateway = Gateway::start_in(
        folder,
        json!({
            "auth": {"users_file": "htpasswd"},
            "upstreams": {"hub": {"type": "oci", "url": "http://127.0.0.1:1", "allow_private": true, "hosts": ["hub.example"]}},
            "tenants": {"team": team, "closed": tenant(json!(["pull"]))},
            "registry": {"default_tenant": "closed"},
        }),
    );
    let push = |name: &str, path: &str, query: &str| {
        let scope = format!("repository:{name}:pull,push");
        let token = token(&gateway, &scope, Some(("ci", "write")));
        let call = post(&format!("{path}/blobs/uploads/{query}"));
        gateway.send(&call.header("Authorization", &format!("Bearer {token}")))
    };
    // The same name belongs to the default tenant where no prefix is, which takes no pushes of his.
    push("app", "/team/v2/app", "").expect(202);
    push("team/app", "/v2/team/app", "").expect(202);
    for (name, path) in [("app", "/v2/app"), ("closed/app", "/v2/closed/app")] {
        assert_error(&push(name, path, ""), 403, "DENIED");
    }
    // He may push, and an upstream takes nothing: another token would not help.
    for (name, path, query) in [
        ("team/hub/app", "/v2/team/hub/app", ""),
        ("hub/app", "/team/v2/hub/app", ""),
        ("app", "/team/hub/v2/app", ""),
        ("app", "/team/v2/app", "?ns=hub.example"),
    ] {
        assert_error(&push(name, path, query), 405, "UNSUPPORTED");
    }
}

/// A session is of whoever began it.
#[test]
fn uploads_belong_to_somebody() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hash = |password: &str| bcrypt::hash(password, 4).expect("a bcrypt hash");
    let users = format!("a:{}\nb:{}\n", hash("a"), hash("b"));
    std::fs::write(folder.path().join("htpasswd"), users).expect("writing htpasswd");
    let both = json!({"subjects": ["user:a", "user:b"], "actions": ["pull", "push"]});
    let gateway = Gateway::start_in(
        folder,
        json!({
            "auth": {"users_file": "htpasswd"},
            "tenants": {"t": {"hosted": {}, "access": {"rules": [both]}}},
        }),
    );
    let started = gateway
        .send(&basic(post("/v2/t/app/blobs/uploads/"), "a", "a"))
        .expect(202);
    let place = location(&started);
    let others = gateway.send(&basic(Call::get(&place), "b", "b"));
    assert_error(&others, 404, "BLOB_UPLOAD_UNKNOWN");
    gateway
        .send(&basic(Call::get(&place), "a", "a"))
        .expect(204);
}

/// Where nobody can be anybody, nobody is asked.
#[test]
fn a_registry_for_everybody_asks_nobody() {
    let gateway = super::hosting();
    gateway.get("/v2/").expect(200);
    gateway.send(&reader(Call::get("/v2/"))).expect(200);
    push_image(&gateway, "/v2/acme/app", "v1", b"layer");
}
