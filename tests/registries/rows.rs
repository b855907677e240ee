use chartgate::error::ErrorKind;
use chartgate::oci::ManifestType;
use chartgate::upstream::registry::{Head, Part, Registry};
use url::Url;

use super::{PASSWORD, assert_error, digest, hub, hub_at, name, read, reference, user};
use crate::support::fake::{Authority, FakeProxy, FakeRegistry, Row, RunningRegistry, Spot};

const TAGS: [&str; 7] = ["1.0", "1.1", "1.2", "2.0", "2.1", "edge", "latest"];

fn fake(row: Row) -> RunningRegistry {
    let mut fake = FakeRegistry::of(row).user("me", PASSWORD);
    for tag in TAGS {
        fake = fake.image("acme/app", tag);
    }
    fake.image("acme/secret", "1.0")
        .private("acme/secret")
        .run()
}

/// Everything that a client of a registry wants, in the order of a pull.
async fn pull(registry: &Registry, fake: &RunningRegistry, repository: &str, row: Row) {
    let image = fake.image(repository, "1.0");
    let (repository, tag) = (name(repository), reference("1.0"));
    let head = registry
        .head_manifest(&repository, &tag)
        .await
        .expect("a head");
    let Head::Known(head) = head else {
        panic!("{row:?} says which manifest it is")
    };
    assert_eq!(head.digest, digest(&image.digest), "{row:?}");
    assert_eq!(head.size, Some(image.manifest.len() as u64), "{row:?}");

    for reference in [tag, reference(&image.digest)] {
        let fetched = registry.get_manifest(&repository, &reference).await;
        let fetched = fetched.unwrap_or_else(|error| panic!("{row:?}: {error:?}"));
        assert_eq!(fetched.bytes, image.manifest, "{row:?}");
        assert_eq!(fetched.digest, digest(&image.digest), "{row:?}");
        assert_eq!(fetched.manifest.media_type, ManifestType::Image, "{row:?}");
    }

    let layer = digest(&image.layer);
    let head = registry
        .head_blob(&repository, &layer)
        .await
        .expect("a layer");
    assert_eq!(head.size, Some(image.bytes.len() as u64), "{row:?}");
    let download = registry.open_blob(&repository, &layer, &Part::Whole).await;
    let download = download.expect("a layer");
    assert_eq!(download.length, Some(image.bytes.len() as u64));
    assert_eq!(read(download).await.expect("whole"), image.bytes, "{row:?}");
}

#[tokio::test]
async fn strangers_pull_from_every_registry_that_lets_them() {
    for row in Row::ALL {
        let fake = fake(row);
        let registry = hub(&fake).build();
        if row == Row::Ecr {
            let error = registry
                .head_manifest(&name("acme/app"), &reference("1.0"))
                .await;
            let error = error.expect_err("nobody is anonymous there");
            assert_error(
                &error,
                ErrorKind::UpstreamUnauthorized,
                "check `upstreams.hub.auth`",
            );
            continue;
        }
        pull(&registry, &fake, "acme/app", row).await;
        let tags = registry.tags(&name("acme/app")).await.expect("tags");
        let tags: Vec<_> = tags.iter().map(ToString::to_string).collect();
        assert_eq!(tags, TAGS, "{row:?}");
        let subject = digest(&fake.image("acme/app", "1.0").digest);
        let none = registry.referrers(&name("acme/app"), &subject).await;
        assert_eq!(none.expect("no referrers"), [], "{row:?}");
        assert!(
            fake.count(Spot::Token) <= 1,
            "{row:?}: one token for one repository"
        );
        assert!(
            fake.asked(Spot::All)
                .iter()
                .all(
                    |asked| asked.head.header("accept-encoding") == Some("identity")
                        || asked.head.path.contains("token")
                        || asked.head.path.contains("auth")
                ),
            "{row:?}: bytes are wanted as they are"
        );
    }
}

#[tokio::test]
async fn private_repositories_open_with_credentials_everywhere() {
    for row in Row::ALL {
        let fake = fake(row);
        let registry = hub(&fake).known().build();
        pull(&registry, &fake, "acme/secret", row).await;
        pull(&registry, &fake, "acme/app", row).await;
        for asked in fake.asked(Spot::Elsewhere) {
            assert_eq!(asked.head.header("authorization"), None, "{row:?}");
        }
    }
}

#[tokio::test]
async fn what_strangers_may_not_see_is_absent_or_denied_and_never_a_failure() {
    for row in Row::ALL {
        let fake = fake(row);
        let registry = hub(&fake).build();
        for repository in ["acme/secret", "no/such"] {
            let error = registry
                .get_manifest(&name(repository), &reference("1.0"))
                .await;
            let kind = error.expect_err("not for strangers").kind();
            let expected: &[ErrorKind] = match row {
                // Without a name there one learns nothing at all.
                Row::Ecr => &[ErrorKind::UpstreamUnauthorized],
                _ => &[ErrorKind::UpstreamDenied, ErrorKind::NotFound],
            };
            assert!(expected.contains(&kind), "{row:?} {repository}: {kind:?}");
        }
        // With a name, what does not exist is told as what it is, or as denied.
        let registry = hub(&fake).known().build();
        let error = registry
            .get_manifest(&name("no/such"), &reference("1.0"))
            .await;
        let kind = error.expect_err("absent").kind();
        assert!(
            matches!(kind, ErrorKind::NotFound | ErrorKind::UpstreamDenied),
            "{row:?}: {kind:?}"
        );
        let error = registry
            .get_manifest(&name("acme/app"), &reference("9.9"))
            .await;
        assert_error(
            &error.expect_err("absent"),
            ErrorKind::NotFound,
            "`acme/app/manifests/9.9`",
        );
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_as_such() {
    for row in Row::ALL {
        let fake = fake(row);
        let wrong = hub(&fake).with(|settings| settings.credentials = Some(user("s3cret")));
        let error = wrong
            .build()
            .get_manifest(&name("acme/secret"), &reference("1.0"))
            .await;
        let error = error.expect_err("refused");
        assert_error(
            &error,
            ErrorKind::UpstreamUnauthorized,
            "check `upstreams.hub.auth`",
        );
        assert!(!error.chain().contains("s3cret"), "{row:?}");
    }
}

/// Docker Hub by its real names: API, token server and CDN are three hosts, and only two of them may know the password.
#[tokio::test]
async fn docker_hub_under_its_real_names() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let names = [
        "registry-1.docker.io",
        "auth.docker.io",
        "production.cloudflare.docker.com",
    ];
    let fake = FakeRegistry::of(Row::DockerHub)
        .user("me", PASSWORD)
        .realm("https://auth.docker.io/token")
        .image("library/nginx", "1.0")
        .tls(&authority, &names)
        .run();
    fake.known_as(
        "https://registry-1.docker.io",
        "https://production.cloudflare.docker.com",
    );
    let hosts = names.map(|host| format!("{host}:443"));
    let hosts: Vec<_> = hosts
        .iter()
        .map(|host| (host.as_str(), fake.address()))
        .collect();
    let proxy = FakeProxy::run(&hosts);
    let proxy_url = Url::parse(&proxy.url()).expect("a URL");
    let docker = hub_at("https://docker.io/").known().with(|settings| {
        settings.client.proxy = Some(proxy_url);
        settings.client.allow_private = false;
        settings.client.ca_file = Some(authority.write(folder.path()));
    });
    let registry = docker.build();
    let nginx = registry.repository(&name("nginx")).expect("short");
    assert_eq!(nginx, name("library/nginx"));
    pull(&registry, &fake, nginx.as_str(), Row::DockerHub).await;

    let knows = |host: &str| {
        fake.asked(Spot::All).iter().any(|asked| {
            asked.head.header("host") == Some(host)
                && asked
                    .head
                    .header("authorization")
                    .is_some_and(|value| value.starts_with("Basic"))
        })
    };
    assert!(knows("auth.docker.io"));
    assert!(!knows("registry-1.docker.io") && !knows("production.cloudflare.docker.com"));
    let token = &fake.asked(Spot::Token)[0].head;
    assert_eq!(
        token.query.as_deref(),
        Some("service=registry.docker.io&scope=repository%3Alibrary%2Fnginx%3Apull&account=me")
    );
    let allowance = registry.allowance().expect("said with every manifest");
    assert_eq!((allowance.limit, allowance.remaining), (Some(100), 98));
}
