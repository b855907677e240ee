use std::time::Duration;

use chartgate::config::{Secret, UpstreamAuth};
use chartgate::error::{Error, ErrorKind};
use chartgate::net::EnvironmentProxies;
use chartgate::upstream::Upstream as _;
use url::Url;

use super::{Acme, acme, acme_at, read, text_of};
use crate::support::fake::{Authority, FakeHelm, FakeProxy, FakeUpstream, Fault, Target};

async fn index_error(acme: &Acme) -> Error {
    let error = acme.build().fetch_index(None).await.expect_err("no index");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
    assert!(error.message().contains("`acme`"), "{error:?}");
    error
}

fn assert_says(error: &Error, words: &str) {
    assert!(error.message().contains(words), "{error:?}");
}

/// An upstream that is reached under a public name, through a proxy, and may not dial private addresses.
fn public(fake: &FakeUpstream) -> (Acme, FakeProxy) {
    let proxy = FakeProxy::run(&[
        ("charts.example:80", fake.address()),
        ("files.example:80", fake.address()),
    ]);
    let url = Url::parse(&proxy.url()).expect("a URL");
    let acme = acme_at("http://charts.example/").with(|client| {
        client.allow_private = false;
        client.proxy = Some(url);
    });
    (acme, proxy)
}

#[tokio::test]
async fn redirects_are_followed_and_relative_ones_resolved() {
    let fake = FakeHelm::new().chart("nginx", "15.1.0").run();
    for status in [301, 302, 303, 307, 308] {
        let to = |target: &str| {
            let headers = vec![("Location".to_owned(), target.to_owned())];
            Fault::StatusWith(status, headers)
        };
        fake.fault(Target::Path("/r/index.yaml".to_owned()), to("../x?y#z"));
        fake.fault(Target::Path("/x".to_owned()), to(&fake.at("/index.yaml")));
        let (text, ..) = text_of(&acme_at(&fake.at("/r/")).build()).await;
        assert_eq!(text, fake.index_text(), "{status}");
        let middle = fake.last("/x").expect("the second hop");
        assert_eq!(middle.query.as_deref(), Some("y"));
    }
}

#[tokio::test]
async fn redirects_in_a_circle_without_end_or_to_nowhere() {
    let fake = FakeHelm::new().run();
    fake.fail_index(Fault::RedirectLoop);
    let error = index_error(&acme(&fake)).await;
    assert_says(&error, "redirects in a circle for index.yaml");
    assert_eq!(fake.total(), 1);

    fake.heal();
    fake.fault(Target::Index, Fault::Redirect("/0".to_owned()));
    for hop in 0..20 {
        let next = Fault::Redirect(format!("/{}", hop + 1));
        fake.fault(Target::Path(format!("/{hop}")), next);
    }
    let error = index_error(&acme(&fake)).await;
    assert_says(&error, "redirects too often for index.yaml");
    assert_eq!(fake.total(), 1 + 11);

    for nowhere in [vec![], vec![("Location".to_owned(), "http://".to_owned())]] {
        fake.heal();
        fake.fail_index(Fault::StatusWith(302, nowhere));
        let error = index_error(&acme(&fake)).await;
        assert_says(&error, "redirects index.yaml to nowhere");
    }
}

#[tokio::test]
async fn redirects_to_other_schemes_are_refused() {
    let fake = FakeHelm::new().run();
    fake.fail_index(Fault::Redirect("file:///etc/passwd".to_owned()));
    let error = acme(&fake).build().fetch_index(None).await;
    let error = error.expect_err("no file");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_says(&error, "`file://`");
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_refused() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let plain = FakeHelm::new().chart("nginx", "15.1.0").run();
    let fake = FakeHelm::new().tls(&authority, &["127.0.0.1"]).run();
    fake.fail_index(Fault::Redirect(plain.at("/index.yaml")));
    let acme = acme(&fake).with(|client| client.ca_file = Some(authority.write(folder.path())));
    let error = index_error(&acme).await;
    assert_says(&error, "from https to plain http");
    assert_eq!(plain.total(), 0);
}

#[tokio::test]
async fn private_addresses_are_refused_by_number_and_by_name() {
    let fake = FakeHelm::new().chart("nginx", "15.1.0").run();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
    ] {
        let acme = acme_at(&fake.at_host(host, "/")).with(|client| client.allow_private = false);
        let error = index_error(&acme).await;
        assert_says(&error, "leads to a private address for index.yaml");
        assert_says(&error, "`upstreams.acme.allow_private: true`");
    }
    assert_eq!(fake.total(), 0);
}

#[tokio::test]
async fn a_redirect_or_an_index_cannot_reach_private_addresses() {
    let fake = FakeHelm::new().chart("nginx", "15.1.0").run();
    let (acme, proxy) = public(&fake);
    text_of(&acme.build()).await;
    assert_eq!(proxy.requests(), ["GET http://charts.example/index.yaml"]);

    for target in [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        &fake.at("/index.yaml"),
        &proxy.url(),
    ] {
        fake.fail_index(Fault::Redirect(target.to_owned()));
        let error = index_error(&acme).await;
        assert_says(&error, "private address");

        let error = acme.build().open(target, 0).await.expect_err("private");
        assert_says(&error, "private address");
    }
}

#[tokio::test]
async fn the_name_of_the_proxy_opens_no_door() {
    let fake = FakeHelm::new().chart("nginx", "15.1.0").run();
    let (acme, proxy) = public(&fake);
    let port = Url::parse(&proxy.url()).expect("a URL").port();
    let mut named = Url::parse("http://localhost/").expect("a URL");
    named.set_port(port).expect("a host");
    let acme = acme.with(|client| client.proxy = Some(named));
    // The proxy itself may be a private machine ...
    text_of(&acme.build()).await;
    // ... but no index may name it.
    let error = acme.build().open(&fake.at_host("localhost", "/x"), 0).await;
    assert_says(&error.expect_err("refused"), "egress proxy itself");
}

#[tokio::test]
async fn credentials_stay_at_home() {
    let other = FakeHelm::new().chart("b", "1.0.0").run();
    let auths = [
        (
            UpstreamAuth::Basic("me".to_owned(), Secret::new("pä ss")),
            "Basic bWU6cMOkIHNz",
        ),
        (UpstreamAuth::Bearer(Secret::new("tok")), "Bearer tok"),
    ];
    for (auth, value) in auths {
        let fake = FakeHelm::new()
            .chart("a", "1.0.0")
            .require_authorization(value)
            .run();
        let acme = acme(&fake).with(|client| client.auth = Some(auth));
        let upstream = acme.build();
        text_of(&upstream).await;
        let own = upstream.open(&fake.at("/charts/a-1.0.0.tgz"), 0).await;
        read(own.expect("with credentials")).await.expect("whole");

        // A chart elsewhere, and a redirect elsewhere: another port is another origin.
        let foreign = upstream.open(&other.at("/charts/b-1.0.0.tgz"), 0).await;
        read(foreign.expect("without credentials"))
            .await
            .expect("whole");
        fake.fail_archives(Fault::Redirect(other.at("/charts/b-1.0.0.tgz")));
        let moved = upstream.open(&fake.at("/charts/a-1.0.0.tgz"), 0).await;
        read(moved.expect("without credentials"))
            .await
            .expect("whole");
        for request in other.requests() {
            assert_eq!(request.header("authorization"), None);
            assert_eq!(request.header("referer"), None);
        }
    }

    let fake = FakeHelm::new().require_authorization("Basic x").run();
    let error = acme(&fake).build().fetch_index(None).await;
    let error = error.expect_err("no credentials");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnauthorized);
    assert_says(&error, "check `upstreams.acme.auth`");
}

#[tokio::test]
async fn credentials_in_a_url_are_sent_and_never_shown() {
    let fake = FakeHelm::new()
        .chart("a", "1.0.0")
        .require_authorization("Basic bWU6czNjcmV0")
        .run();
    let with_user = fake.url().replace("http://", "http://me:s3cret@");
    let upstream = acme_at(&with_user).build();
    let (_, base, held) = text_of(&upstream).await;
    assert!(!format!("{upstream:?} {base} {held:?}").contains("s3cret"));
    // What the index names relative to it is at home.
    let url = base.join("charts/a-1.0.0.tgz").expect("a URL");
    let own = upstream.open(url.as_str(), 0).await.expect("opens");
    read(own).await.expect("whole");

    fake.refuse();
    let error = upstream.fetch_index(None).await.expect_err("refused");
    assert!(!error.chain().contains("s3cret"), "{}", error.chain());
    let url = format!("{}?signature=s3cret", fake.at("/x.tgz"));
    let error = upstream.open(&url, 0).await.expect_err("refused");
    assert!(!error.chain().contains("s3cret"), "{}", error.chain());
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_when_it_is_named() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = authority.write(folder.path());
    let fake = FakeHelm::new()
        .chart("nginx", "15.1.0")
        .tls(&authority, &["127.0.0.1"])
        .run();

    let error = index_error(&acme(&fake)).await;
    assert_says(
        &error,
        "an authority that is not trusted; name it in `tls.ca_file`",
    );
    assert_eq!(fake.total(), 0, "nothing was said, and nothing twice");

    text_of(
        &acme(&fake)
            .with(|client| client.ca_file = Some(ca_file))
            .build(),
    )
    .await;
    text_of(
        &acme(&fake)
            .with(|client| client.insecure_skip_verify = true)
            .build(),
    )
    .await;
}

#[tokio::test]
async fn a_certificate_for_other_names_is_refused() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let fake = FakeHelm::new().tls(&authority, &["charts.example"]).run();
    let acme = acme(&fake).with(|client| client.ca_file = Some(authority.write(folder.path())));
    let error = index_error(&acme).await;
    assert_says(&error, "its certificate is for other names");
}

#[tokio::test]
async fn a_client_certificate_is_shown_at_home_only() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = authority.write(folder.path());
    let (cert, key) = authority.write_client(folder.path(), "chartgate");
    let guarded = || {
        FakeHelm::new()
            .chart("nginx", "15.1.0")
            .tls(&authority, &["127.0.0.1"])
            .require_client_certificate(&authority)
            .run()
    };
    let (fake, other) = (guarded(), guarded());
    let without = acme(&fake).with(|client| client.ca_file = Some(ca_file.clone()));
    index_error(&without).await;

    let with = without.with(|client| client.identity = Some((cert, key)));
    let upstream = with.build();
    text_of(&upstream).await;
    let url = other.at("/charts/nginx-15.1.0.tgz");
    upstream
        .open(&url, 0)
        .await
        .expect_err("no certificate for others");
    assert_eq!(other.total(), 0);
}

#[tokio::test]
async fn unreadable_certificate_files_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").expect("writable");
    let missing = folder.path().join("missing.pem");
    for (path, words) in [
        (&missing, "cannot be read"),
        (&empty, "holds no PEM certificate"),
    ] {
        let acme = acme_at("https://h/").with(|client| client.ca_file = Some(path.clone()));
        let error = acme.try_build().expect_err("unusable");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_says(&error, "upstream `acme`: `tls.ca_file`");
        assert_says(&error, words);
    }
    let acme = acme_at("https://h/").with(|client| client.identity = Some((empty, missing)));
    let error = acme.try_build().expect_err("unusable");
    assert_says(&error, "`tls.key_file`");
}

#[tokio::test]
async fn https_goes_through_a_proxy_with_connect() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let fake = FakeHelm::new()
        .chart("nginx", "15.1.0")
        .tls(&authority, &["charts.example"])
        .run();
    let proxy = FakeProxy::run(&[("charts.example:443", fake.address())]);
    let url = Url::parse(&proxy.url()).expect("a URL");
    let acme = acme_at("https://charts.example/").with(|client| {
        client.allow_private = false;
        client.ca_file = Some(authority.write(folder.path()));
        client.proxy = Some(url);
    });
    text_of(&acme.build()).await;
    assert_eq!(proxy.requests(), ["CONNECT charts.example:443"]);

    let unknown = Acme {
        url: Url::parse("https://unknown.example/").expect("a URL"),
        ..acme
    };
    index_error(&unknown).await;
}

#[tokio::test]
async fn a_proxy_that_is_away_is_told() {
    let fake = FakeHelm::new().run();
    let (acme, proxy) = public(&fake);
    drop(proxy);
    let acme = acme.with(|client| client.timeout = Duration::from_secs(5));
    index_error(&acme).await;
}

#[tokio::test]
async fn proxies_of_the_environment_count_except_for_loopback_and_no_proxy() {
    let fake = FakeHelm::new().chart("nginx", "15.1.0").run();
    let proxy = FakeProxy::run(&[("charts.example:80", fake.address())]);
    let environment = |no_proxy: &str| {
        EnvironmentProxies::read(|name| match name {
            "http_proxy" => Some(proxy.url()),
            "NO_PROXY" => Some(no_proxy.to_owned()),
            _ => None,
        })
    };
    let mut acme = acme_at("http://charts.example/");
    acme.proxies = environment("");
    text_of(&acme.build()).await;
    assert_eq!(proxy.requests().len(), 1);

    acme.proxies = environment("other.example, .example");
    let error = index_error(&acme).await;
    assert_says(&error, "`charts.example` cannot be resolved");

    acme.proxies = environment("");
    acme.url = Url::parse(&fake.url()).expect("a URL");
    text_of(&acme.build()).await;
    assert_eq!(proxy.requests().len(), 1, "loopback is reached directly");
}
