use chartgate::error::ErrorKind;
use chartgate::oci::Tag;
use chartgate::upstream::registry::Registry;

use super::{assert_error, digest, hub, name};
use crate::support::fake::{FakeRegistry, Fault, Row, RunningRegistry, Spot};

fn tagged(mut fake: FakeRegistry, count: usize) -> RunningRegistry {
    for n in 0..count {
        fake = fake.image("a/b", &format!("v{n}"));
    }
    fake.run()
}

async fn tags(registry: &Registry) -> chartgate::error::Result<Vec<String>> {
    let tags = registry.tags(&name("a/b")).await?;
    Ok(tags.iter().map(Tag::to_string).collect())
}

#[tokio::test]
async fn all_pages_are_read_and_sorted() {
    let fake = tagged(FakeRegistry::open().page(2), 7);
    let all = tags(&hub(&fake).build()).await.expect("a list");
    assert_eq!(all, ["v0", "v1", "v2", "v3", "v4", "v5", "v6"]);
    assert_eq!(fake.count(Spot::Tags), 4);
    let first = fake.asked(Spot::Tags)[0].head.query.clone();
    assert_eq!(first.as_deref(), Some("n=1000"), "more is refused by some");
}

#[tokio::test]
async fn a_list_that_breaks_is_not_a_list() {
    for fault in [
        Fault::Status(500),
        Fault::Status(404),
        Fault::Html,
        Fault::Body(b"[]".to_vec()),
        Fault::CutAfter(5),
    ] {
        let fake = tagged(FakeRegistry::open().page(2), 5);
        let hold = fake.hold(Spot::Tags);
        let registry = hub(&fake).build();
        let list = tags(&registry);
        let script = async {
            hold.waiting(1).await;
            // The request that waits has its answer chosen already; the next one goes wrong.
            fake.fault(Spot::Tags, fault);
            hold.release();
        };
        let (list, ()) = tokio::join!(list, script);
        assert!(list.is_err());
        assert_eq!(fake.count(Spot::Tags), 2);
    }
}

#[tokio::test]
async fn pages_stay_on_the_registry_and_end() {
    for (link, words) in [
        ("https://evil.example/v2/a/b/tags/list?x", "on another host"),
        ("//evil.example/x", "on another host"),
        ("file:///etc/passwd", "on another host"),
        ("http://[", "on another host"),
        ("/v2/a/b/tags/list?n=1000", "without end"),
        ("?again", "without end"),
    ] {
        let fake = tagged(FakeRegistry::open().next_page(link), 2);
        let error = tags(&hub(&fake).build()).await.expect_err("no list");
        assert_error(&error, ErrorKind::UpstreamUnavailable, words);
        let asked = fake.asked(Spot::All);
        assert!(asked.len() <= 2, "{link}");
        assert!(
            asked
                .iter()
                .all(|asked| asked.head.path == "/v2/a/b/tags/list")
        );
    }
}

#[tokio::test]
async fn lists_of_every_shape() {
    let fake = tagged(FakeRegistry::open(), 1);
    let registry = hub(&fake).build();
    for (body, expected) in [
        (r#"{"name":"a/b","tags":null}"#, vec![]),
        (r#"{"name":"a/b"}"#, vec![]),
        (
            r#"{"tags":["b","a","b","no tag","B"]}"#,
            vec!["B", "a", "b"],
        ),
    ] {
        fake.heal();
        fake.fault(Spot::Tags, Fault::Body(body.as_bytes().to_vec()));
        assert_eq!(tags(&registry).await.expect("a list"), expected);
    }
    fake.heal();
    let error = registry.tags(&name("no/such")).await.expect_err("none");
    assert_error(&error, ErrorKind::NotFound, "answered 404");
    assert_eq!(registry.catalog().await.expect("a list"), [name("a/b")]);
}

#[tokio::test]
async fn referrers_from_the_api_or_from_the_tag_in_its_place() {
    for row in [Row::Plain, Row::Ghcr, Row::RedHat, Row::Gar] {
        let fake = FakeRegistry::of(row).image("a/b", "1").run();
        let subject = fake.image("a/b", "1").digest;
        let fake = FakeRegistry::of(row)
            .image("a/b", "1")
            .referrer("a/b", &subject, "application/vnd.example.sbom")
            .referrer("a/b", &subject, "application/vnd.example.signature")
            .run();
        let registry = hub(&fake).build();
        let all = registry
            .referrers(&name("a/b"), &digest(&subject))
            .await
            .expect("a list");
        let kinds: Vec<_> = all
            .iter()
            .filter_map(|one| one.artifact_type.as_deref())
            .collect();
        assert_eq!(
            kinds,
            [
                "application/vnd.example.sbom",
                "application/vnd.example.signature"
            ],
            "{row:?}"
        );
        let other = digest(&format!("sha256:{}", "0".repeat(64)));
        assert_eq!(
            registry
                .referrers(&name("a/b"), &other)
                .await
                .expect("none"),
            []
        );
    }
}

#[tokio::test]
async fn an_api_that_is_none_is_passed_over_and_a_failure_is_not() {
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let subject = digest(&fake.image("a/b", "1").digest);
    for fault in [
        Fault::Html,
        Fault::Status(400),
        Fault::Status(405),
        Fault::Status(501),
    ] {
        fake.heal();
        fake.fault(Spot::Referrers, fault);
        let registry = hub(&fake).build();
        assert_eq!(
            registry
                .referrers(&name("a/b"), &subject)
                .await
                .expect("none"),
            []
        );
    }
    for fault in [Fault::Status(500), Fault::Status(429), Fault::Close] {
        fake.heal();
        fake.fault(Spot::Referrers, fault);
        let registry = hub(&fake).build();
        let error = registry
            .referrers(&name("a/b"), &subject)
            .await
            .expect_err("away");
        assert!(error.is_transient(), "{error:?}");
    }
    fake.heal();
    fake.fault(Spot::Referrers, Fault::Status(404));
    fake.fault(Spot::Manifests, Fault::Status(503));
    let error = hub(&fake).build().referrers(&name("a/b"), &subject).await;
    assert_eq!(
        error.expect_err("not empty, unknown").kind(),
        ErrorKind::UpstreamUnavailable
    );
}
