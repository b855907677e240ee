//! `/tokens` on the admin listener.

use super::*;

fn post(gateway: &Gateway, body: impl Into<Vec<u8>>) -> Reply {
    let call = Call::new("POST", "/tokens").header("Content-Type", "application/json");
    call.body(body).send(gateway.admin)
}

fn delete(gateway: &Gateway, id: &str) -> Reply {
    Call::new("DELETE", &format!("/tokens/{id}")).send(gateway.admin)
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let gateway = Gateway::start(config());
    let wish = json!({"name": "deploy", "tenants": ["acme/a"], "actions": ["pull", "push"], "names": ["app-*"], "expires": "1h"});
    let reply = post(&gateway, wish.to_string()).expect(201);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let made = reply.json();
    let (token, id) = (
        made["token"].as_str().expect("text"),
        made["id"].as_str().expect("text"),
    );
    assert_eq!(
        reply.header("location"),
        Some(format!("/tokens/{id}").as_str())
    );
    assert_eq!(made["names"], json!(["app-*"]));
    // At once, and on the command line as well.
    get(&gateway, "/acme/a/index.yaml", token).expect(200);
    assert!(ok(&gateway, &["list"]).contains(id));

    let mut expected = made.clone();
    expected.as_object_mut().expect("a mapping").remove("token");
    let mut shown = gateway.admin(&format!("/tokens/{id}")).expect(200).json();
    assert!(shown["last_used"].is_string());
    shown["last_used"] = Value::Null;
    assert_eq!(shown, expected);
    let listed = gateway.admin("/tokens").expect(200);
    assert!(!listed.text().contains(&token[17..]));
    assert_eq!(listed.json()["tokens"][0]["id"], id);

    assert_eq!(
        delete(&gateway, id).expect(200).json(),
        json!({"revoked": id})
    );
    get(&gateway, "/acme/a/index.yaml", token).expect(401);
    delete(&gateway, id).expect(404);
    gateway.admin(&format!("/tokens/{id}")).expect(404);
    assert_eq!(
        gateway.admin("/tokens").expect(200).json(),
        json!({"tokens": []})
    );

    until("three lines", A_SECOND, || {
        (audited(&gateway).len() == 3).then_some(())
    });
    let lines = audited(&gateway);
    for (line, (route, result, status)) in lines.iter().zip([
        ("token_create", "done", 201),
        ("token_revoke", "done", 200),
        ("token_revoke", "failed", 404),
    ]) {
        assert_eq!(line["route"], route);
        assert_eq!(line["result"], result);
        assert_eq!(line["status"], status);
        assert_eq!(line["who"]["kind"], "operator");
        assert_eq!(line["object"]["kind"], "api_token");
        assert_eq!(line["object"]["reference"], id);
    }
    assert_eq!(lines[0]["object"]["name"], "deploy");
}

#[test]
fn bad_input_is_told_and_makes_nothing() {
    let mut config = config();
    config["auth"]["api_tokens"] = json!({"max_age": "30d"});
    let gateway = Gateway::start(config);
    let good = json!({"name": "ci", "tenants": ["acme/a"], "actions": ["pull"]});
    let with = |key: &str, value: Value| {
        let mut wish = good.clone();
        wish[key] = value;
        wish.to_string()
    };
    let many: Vec<_> = (0..65).map(|number| format!("t{number}")).collect();
    for (body, word) in [
        (String::new(), "description"),
        ("{".into(), "description"),
        ("[]".into(), "description"),
        ("null".into(), "description"),
        (json!({"name": "ci"}).to_string(), "tenants"),
        (with("scope", json!("x")), "scope"),
        (with("name", json!("")), "name"),
        (with("name", json!("a\nb")), "name"),
        (with("name", json!(7)), "description"),
        (with("tenants", json!([])), "tenants"),
        (with("tenants", json!(["../x"])), "not the path"),
        (with("tenants", json!(many)), "at most"),
        (with("actions", json!([])), "actions"),
        (with("actions", json!(["fly"])), "fly"),
        (with("names", json!(["a["])), "pattern"),
        (with("expires", json!("soon")), "expires"),
        (with("expires", json!("never")), "max_age"),
        (with("expires", json!("31d")), "max_age"),
    ] {
        let reply = post(&gateway, body.as_bytes()).expect(400);
        let told = reply.json()["error"]
            .as_str()
            .expect("a sentence")
            .to_owned();
        assert!(told.contains(word), "{body}: {told}");
    }
    post(&gateway, vec![b' '; 200 << 10]).expect(413);
    let plain = Call::new("POST", "/tokens")
        .body(good.to_string())
        .send(gateway.admin);
    assert!(plain.expect(400).text().contains("Content-Type"));
    for (method, path, status) in [
        ("PUT", "/tokens", 405),
        ("DELETE", "/tokens", 405),
        ("POST", "/tokens/0123456789ab", 405),
        ("DELETE", "/tokens/nobody", 400),
        ("DELETE", "/tokens/..%2fx", 400),
        ("GET", "/tokens/0123456789ab/x", 404),
    ] {
        let reply = Call::new(method, path).body("").send(gateway.admin);
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
    }
    assert!(!gateway.data().join("tokens").exists());
    assert_eq!(
        gateway.admin("/tokens").expect(200).json(),
        json!({"tokens": []})
    );
}

/// A page in the operator's browser reaches the listener by any name that it likes.
#[test]
fn pages_in_browsers_manage_nothing() {
    let gateway = Gateway::start(config());
    let good = json!({"name": "ci", "tenants": ["**"], "actions": ["admin"]}).to_string();
    for (name, value) in [
        ("Origin", "http://gateway.test"),
        ("Origin", "null"),
        ("Sec-Fetch-Mode", "cors"),
    ] {
        let call = Call::new("POST", "/tokens").header("Content-Type", "application/json");
        let reply = call
            .header(name, value)
            .body(good.as_str())
            .send(gateway.admin);
        assert_eq!(reply.status, 403, "{}", reply.text());
        Call::get("/tokens")
            .header(name, value)
            .send(gateway.admin)
            .expect(403);
    }
    assert!(!gateway.data().join("tokens").exists());
}

#[test]
fn there_is_nothing_where_tokens_are_off() {
    let mut config = config();
    config["auth"] = json!({});
    let gateway = Gateway::start(config);
    let reply = gateway.admin("/tokens").expect(404);
    assert!(reply.text().contains("auth.api_tokens"));
    post(&gateway, "{}").expect(404);
}
