//! Challenges: one of them, to the very host that the client speaks to, and with the reason where a token was shown.

use chartgate::auth::TokenProblem;
use chartgate::oci::challenge::{self, Bearer, Challenge};

use super::*;

const SCOPE: &str = "repository:acme/a:pull";

fn asked(world: &World, request: &Request, scope: Option<&str>) -> Bearer {
    let line = world.authenticator.registry_challenge(request, scope, None);
    match challenge::parse(&line).as_slice() {
        [Challenge::Bearer(bearer)] => bearer.clone(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_exact_words() {
    let world = World::new();
    let plain = request("GET", "/v2/", None);
    let challenge = |scope, problem| {
        world
            .authenticator
            .registry_challenge(&plain, scope, problem)
    };
    assert_eq!(
        challenge(None, None),
        r#"Bearer realm="http://gw.example:5000/token",service="gw.example:5000""#
    );
    assert_eq!(
        challenge(
            Some("repository:acme/a:pull,push repository:acme/b:pull"),
            Some(TokenProblem::InsufficientScope)
        ),
        r#"Bearer realm="http://gw.example:5000/token",service="gw.example:5000",scope="repository:acme/a:pull,push repository:acme/b:pull",error="insufficient_scope""#
    );
    assert!(
        challenge(Some(SCOPE), Some(TokenProblem::Invalid)).ends_with(r#",error="invalid_token""#)
    );
}

#[test]
fn whoever_showed_a_token_is_told_what_is_wrong_with_it() {
    let world = World::new();
    for (authorization, scope, error) in [
        (None, Some(SCOPE), None),
        (Some("Basic Y2k6eA=="), Some(SCOPE), None),
        (Some("basic Y2k6eA=="), None, None),
        (Some("Bearer x"), Some(SCOPE), Some("insufficient_scope")),
        (Some("bearer x"), None, Some("invalid_token")),
        (Some("ey.ey.ey"), None, Some("invalid_token")),
    ] {
        let bearer = asked(&world, &request("GET", "/v2/", authorization), scope);
        assert_eq!(bearer.error.as_deref(), error, "{authorization:?}");
        assert_eq!(bearer.scopes.first().map(String::as_str), scope);
    }
}

/// Listener, `Host` and configuration; realm and service.
#[test]
fn the_realm_is_where_the_client_is() {
    let bare = "";
    let front = "server: {external_url: 'https://gw.example'}";
    let virtual_hosts = "server: {external_url: 'https://gw.example'}";
    for (keys, secure, host, realm, service) in [
        (
            bare,
            false,
            Some("gw.example:5000"),
            "http://gw.example:5000/token",
            "gw.example:5000",
        ),
        (
            bare,
            true,
            Some("gw.example:8443"),
            "https://gw.example:8443/token",
            "gw.example:8443",
        ),
        (
            bare,
            true,
            Some("gw.example"),
            "https://gw.example/token",
            "gw.example",
        ),
        (
            bare,
            true,
            Some("gw.example:443"),
            "https://gw.example/token",
            "gw.example",
        ),
        (
            bare,
            false,
            Some("gw.example:80"),
            "http://gw.example/token",
            "gw.example",
        ),
        (
            bare,
            false,
            Some("GW.Example"),
            "http://gw.example/token",
            "gw.example",
        ),
        (
            bare,
            false,
            Some("10.0.0.9:8080"),
            "http://10.0.0.9:8080/token",
            "10.0.0.9:8080",
        ),
        (
            bare,
            false,
            Some("[::1]:8080"),
            "http://[::1]:8080/token",
            "[::1]:8080",
        ),
        (
            bare,
            true,
            Some("[2001:DB8::1]"),
            "https://[2001:db8::1]/token",
            "[2001:db8::1]",
        ),
        // Behind a server that ends TLS.
        (
            front,
            false,
            Some("gw.example"),
            "https://gw.example/token",
            "gw.example",
        ),
        (
            front,
            false,
            Some("GW.EXAMPLE:443"),
            "https://gw.example/token",
            "gw.example",
        ),
        (
            front,
            false,
            Some("gw.example:8443"),
            "https://gw.example:8443/token",
            "gw.example:8443",
        ),
        // Past it, as pods of the same cluster come.
        (
            front,
            false,
            Some("gateway.default.svc:8080"),
            "http://gateway.default.svc:8080/token",
            "gateway.default.svc:8080",
        ),
        (
            front,
            true,
            Some("other.example"),
            "https://other.example/token",
            "other.example",
        ),
        (
            virtual_hosts,
            false,
            Some("evil-gw.example"),
            "http://evil-gw.example/token",
            "evil-gw.example",
        ),
        // A host that nobody can dial stands in no URL.
        (
            front,
            false,
            Some("evil\"x"),
            "https://gw.example/token",
            "gw.example",
        ),
        (
            front,
            false,
            Some("user@gw.example"),
            "https://gw.example/token",
            "gw.example",
        ),
        (front, false, None, "https://gw.example/token", "gw.example"),
        (bare, false, Some("a,b"), "/token", "chartgate"),
        (bare, false, None, "/token", "chartgate"),
    ] {
        let world = World::with(&format!("{keys}\nauth: {{users_file: htpasswd}}"));
        let mut request = request("GET", "/v2/", None);
        request.secure = secure;
        request.host = host.map(str::to_owned);
        let bearer = asked(&world, &request, None);
        assert_eq!(
            (bearer.realm.as_str(), bearer.service.as_deref()),
            (realm, Some(service)),
            "{keys} {host:?}"
        );
    }
}

#[test]
fn virtual_hosts_are_behind_the_same_server() {
    let mut world =
        World::with("server: {external_url: 'https://gw.example'}\nauth: {users_file: htpasswd}");
    for host in ["hub.gw.example", "*.acme.gw.example"] {
        let virtual_host = config::VirtualHost {
            tenant: TenantPath::parse("acme").expect("a path"),
            upstream: None,
        };
        world
            .config
            .registry
            .hosts
            .insert(host.to_owned(), virtual_host);
    }
    world.authenticator = Authenticator::build(
        &world.config,
        &world.clock,
        &Clients::new(),
        &Arc::new(Metrics::new()),
    )
    .expect("built");
    for (host, scheme) in [
        ("hub.gw.example", "https"),
        ("HUB.gw.example", "https"),
        ("ghcr.io.acme.gw.example", "https"),
        ("acme.gw.example", "http"),
        (".acme.gw.example", "http"),
        ("xhub.gw.example", "http"),
    ] {
        let mut request = request("GET", "/v2/", None);
        request.host = Some(host.to_owned());
        let bearer = asked(&world, &request, None);
        let realm = format!("{scheme}://{}/token", host.to_ascii_lowercase());
        if host.starts_with('.') {
            assert_eq!(bearer.realm, "https://gw.example/token", "no host");
        } else {
            assert_eq!(bearer.realm, realm);
        }
    }
}

#[test]
fn below_the_context_path_the_endpoint_is_there_too() {
    let world = World::with("server: {context_path: /helm}\nauth: {users_file: htpasswd}");
    for (path, realm) in [
        ("/helm/v2/", "http://gw.example:5000/helm/token"),
        ("/helm", "http://gw.example:5000/helm/token"),
        ("/v2/", "http://gw.example:5000/token"),
        ("/helmet/v2/", "http://gw.example:5000/token"),
    ] {
        assert_eq!(
            asked(&world, &request("GET", path, None), None).realm,
            realm,
            "{path}"
        );
    }
}

/// The realm is on the host that the token is for: a client that goes where it is told gets a token that counts there.
#[tokio::test]
async fn a_token_counts_on_the_host_that_it_was_fetched_from() {
    let world = World::new();
    let token = world
        .token("service=whatever", Some(&basic("ci", "secret")))
        .await;
    for (host, counts) in [
        ("gw.example:5000", true),
        ("GW.EXAMPLE:5000", true),
        ("gw.example", false),
        ("gw.example:5001", false),
        ("other.example:5000", false),
    ] {
        let mut request = request("GET", "/v2/", Some(&format!("Bearer {token}")));
        request.host = Some(host.to_owned());
        let known = world.authenticator.authenticate_registry(&request).await;
        assert_eq!(known.is_ok(), counts, "{host}");
    }
}
