use chartgate::error::ErrorKind;
use chartgate::repository::registry::{ProxyRegistry, RegistryRepository as _};
use url::Url;

use super::{World, assert_error, blob, digest, manifest, name, pull, reference, upstream};
use crate::support::fake::{FakeProxy, FakeRegistry, Row, Spot};

/// All four questions, which must agree about whether the repository is there.
async fn is_there(hub: &ProxyRegistry, repository: &str, layer: &str, image: &str) -> bool {
    let answers = [
        manifest(hub, repository, "1").await.map(drop),
        manifest(hub, repository, image).await.map(drop),
        blob(hub, repository, layer).await.map(drop),
        hub.tags(&name(repository)).await.map(drop),
    ];
    let there = answers.iter().filter(|answer| answer.is_ok()).count();
    for error in answers.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    }
    let referrers = hub.referrers(&name(repository), &digest(image)).await;
    let referrers = referrers.expect("never absent").items.len();
    match there {
        4 => assert_eq!(referrers, 1),
        0 => assert_eq!(referrers, 0),
        some => unreachable!("{some} of 4 say that `{repository}` is there"),
    }
    there == 4
}

#[tokio::test]
async fn rules_hold_for_every_question_even_for_what_is_held() {
    let world = World::new().await;
    let fake = FakeRegistry::open()
        .image("open/a", "1")
        .image("closed/a", "1")
        .run();
    let images = ["open/a", "closed/a"].map(|repository| (repository, fake.image(repository, "1")));
    let fake = images.iter().fold(
        FakeRegistry::open()
            .image("open/a", "1")
            .image("closed/a", "1"),
        |fake, (repository, image)| fake.referrer(repository, &image.digest, "x/y"),
    );
    let fake = fake.run();
    let all = world.hub(&fake);
    for (repository, image) in &images {
        assert!(is_there(&all, repository, &image.layer, &image.digest).await);
        pull(&all, repository, &image.layer).await.expect("there");
    }
    let owned = |text: &str| vec![text.to_owned()];
    let include = world.open(upstream(&fake).with(|oci| oci.include = owned("open/**")));
    let exclude = world.open(upstream(&fake).with(|oci| oci.exclude = owned("closed/**")));
    fake.forget();
    for hub in [include, exclude] {
        for (repository, image) in &images {
            let expected = *repository == "open/a";
            let there = is_there(&hub, repository, &image.layer, &image.digest).await;
            assert_eq!(there, expected, "{repository}");
            let known = hub.links(&name(repository), &digest(&image.layer));
            assert_eq!(known, expected, "{repository}");
        }
        assert_eq!(hub.catalog().await.expect("known"), [name("open/a")]);
    }
    assert_eq!(fake.count(Spot::All), 0, "all of it is held");
}

#[tokio::test]
async fn docker_hubs_own_images_have_two_names() {
    let world = World::new().await;
    let fake = FakeRegistry::of(Row::DockerHub)
        .image("library/nginx", "1")
        .run();
    let proxy = FakeProxy::run(&[
        ("registry-1.docker.io:80", fake.address()),
        ("elsewhere.example.com:80", elsewhere(&fake.elsewhere())),
    ]);
    fake.known_as(
        "http://registry-1.docker.io",
        "http://elsewhere.example.com",
    );
    let hub = |exclude: &str| {
        let mut hub = upstream(&fake);
        hub.oci.url = Url::parse("http://docker.io/").expect("a URL");
        hub.oci.exclude = vec![exclude.to_owned()];
        hub.proxied(Url::parse(&proxy.url()).expect("a URL"))
    };
    let open = world.open(hub("none"));
    let image = fake.image("library/nginx", "1");
    for repository in ["nginx", "library/nginx"] {
        let found = manifest(&open, repository, "1").await.expect("there");
        assert_eq!(found.bytes, image.manifest);
    }
    assert_eq!(fake.count(Spot::Manifests), 1, "one repository");
    assert_eq!(open.catalog().await.expect("known"), [name("nginx")]);
    // Kept out under one name is kept out.
    for rule in ["nginx", "library/*"] {
        let closed = world.open(hub(rule));
        for repository in ["nginx", "library/nginx"] {
            let none = manifest(&closed, repository, "1").await;
            assert_error(none, ErrorKind::NotFound, "nginx");
        }
    }
}

fn elsewhere(url: &str) -> std::net::SocketAddr {
    let address = url.strip_prefix("http://").expect("plain http");
    address.parse().expect("an address")
}

#[tokio::test]
async fn a_prefix_stands_in_front_and_is_not_seen() {
    let world = World::new().await;
    let fake = FakeRegistry::open()
        .image("proxy/hub/a/b", "1")
        .image("a/b", "1")
        .run();
    let hub = world.open(upstream(&fake).with(|oci| oci.prefix = Some(name("proxy/hub"))));
    let found = manifest(&hub, "a/b", "1").await.expect("there");
    assert_eq!(found.bytes, fake.image("proxy/hub/a/b", "1").manifest);
    assert_eq!(hub.catalog().await.expect("known"), [name("a/b")]);
}

#[tokio::test]
async fn what_is_forgotten_is_asked_for_again() {
    let world = World::new().await;
    let fake = FakeRegistry::open()
        .image("a/b", "1")
        .image("a/b", "2")
        .image("c/d", "1")
        .run();
    let hub = world.hub(&fake);
    let image = fake.image("a/b", "1");
    for (repository, tag) in [("a/b", "1"), ("a/b", "2"), ("c/d", "1")] {
        manifest(&hub, repository, tag).await.expect("there");
    }
    pull(&hub, "a/b", &image.layer).await.expect("there");
    hub.tags(&name("a/b")).await.expect("there");
    world.cache.idle().await;

    let gone = hub.purge(&name("a/b"), Some(&reference("1")));
    assert_eq!(gone.expect("known"), 1);
    fake.forget();
    manifest(&hub, "a/b", "1").await.expect("there");
    manifest(&hub, "a/b", "2").await.expect("held");
    assert_eq!(
        (fake.count(Spot::Heads), fake.count(Spot::Manifests)),
        (1, 0)
    );

    let gone = hub.purge(&name("a/b"), Some(&reference(&image.layer)));
    assert_eq!(gone.expect("known"), 1);
    assert!(!hub.links(&name("a/b"), &digest(&image.layer)));

    hub.purge(&name("a/b"), None).expect("known");
    fake.forget();
    for (repository, tag) in [("a/b", "1"), ("a/b", "2"), ("c/d", "1")] {
        manifest(&hub, repository, tag).await.expect("there");
    }
    hub.tags(&name("a/b")).await.expect("there");
    assert_eq!(
        (fake.count(Spot::Heads), fake.count(Spot::Manifests)),
        (2, 2)
    );
    assert_eq!(fake.count(Spot::Tags), 1);
    assert_eq!(hub.purge(&name("e/f"), None).expect("nothing"), 0);
}
