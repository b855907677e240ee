use chartgate::digest::Digest;
use chartgate::error::ErrorKind;
use chartgate::index::SourceIndex;
use chartgate::upstream::{IndexReply, Upstream as _, Validators};
use url::Url;

use super::{acme, acme_at, read, text_of};
use crate::support::fake::{FakeChart, FakeHelm, FakeUpstream, Fault, Target};

fn large() -> FakeUpstream {
    FakeHelm::new()
        .with(FakeChart::new("a", "1.0.0").size(100_000))
        .run()
}

#[tokio::test]
async fn an_index_is_asked_for_again_only_when_it_changed() {
    let fake = FakeHelm::new().chart("nginx", "15.1.0").run();
    let upstream = acme(&fake).build();
    let (text, base, held) = text_of(&upstream).await;
    assert_eq!(text, fake.index_text());
    assert_eq!(base.as_str(), fake.url());

    let reply = upstream.fetch_index(Some(&held)).await.expect("an answer");
    assert!(matches!(reply, IndexReply::NotModified));
    let request = fake.last("/index.yaml").expect("a request");
    assert_eq!(request.header("if-none-match"), held.etag.as_deref());
    assert_eq!(
        request.header("if-modified-since"),
        held.last_modified.as_deref()
    );

    fake.add(FakeChart::new("nginx", "15.2.0"));
    let reply = upstream.fetch_index(Some(&held)).await.expect("an answer");
    assert!(matches!(reply, IndexReply::Text { .. }));
}

#[tokio::test]
async fn validators_of_another_place_are_not_sent() {
    let fake = FakeHelm::new().chart("nginx", "15.1.0").run();
    let upstream = acme(&fake).build();
    let (.., held) = text_of(&upstream).await;
    let held = Validators {
        url: "https://elsewhere/index.yaml".to_owned(),
        ..held
    };
    let reply = upstream.fetch_index(Some(&held)).await.expect("an answer");
    assert!(matches!(reply, IndexReply::Text { .. }));
    let request = fake.last("/index.yaml").expect("a request");
    assert_eq!(request.header("if-none-match"), None);
}

#[tokio::test]
async fn validators_survive_a_restart() {
    let held = Validators {
        url: "https://h/index.yaml".to_owned(),
        etag: Some("W/\"a\"".to_owned()),
        last_modified: None,
    };
    let text = serde_json::to_string(&held).expect("json");
    assert_eq!(text, r#"{"url":"https://h/index.yaml","etag":"W/\"a\""}"#);
    let back: Validators = serde_json::from_str(&text).expect("the same");
    assert_eq!(back, held);
}

#[tokio::test]
async fn a_not_modified_that_nobody_asked_for_is_no_answer() {
    let fake = FakeHelm::new().chart("nginx", "15.1.0").run();
    fake.fail_with(304);
    let error = acme(&fake).build().fetch_index(None).await;
    let error = error.expect_err("nothing is held");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
}

#[tokio::test]
async fn indexes_come_compressed_and_archives_do_not() {
    let fake = FakeHelm::new().chart("nginx", "15.1.0").gzip().run();
    let upstream = acme(&fake).build();
    let (text, ..) = text_of(&upstream).await;
    assert_eq!(text, fake.index_text());
    let request = fake.last("/index.yaml").expect("a request");
    assert_eq!(request.header("accept-encoding"), Some("gzip"));

    let url = fake.at("/charts/nginx-15.1.0.tgz");
    let bytes = read(upstream.open(&url, 0).await.expect("opens")).await;
    assert_eq!(bytes.expect("whole"), fake.archive("nginx", "15.1.0"));
    let request = fake.last("/charts/nginx-15.1.0.tgz").expect("a request");
    assert_eq!(request.header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn chunked_bodies_have_no_length_and_are_whole() {
    let fake = FakeHelm::new().chart("nginx", "15.1.0").chunked().run();
    let upstream = acme(&fake).build();
    text_of(&upstream).await;
    let url = fake.at("/charts/nginx-15.1.0.tgz");
    let download = upstream.open(&url, 0).await.expect("opens");
    assert_eq!(download.length, None);
    let bytes = read(download).await.expect("whole");
    assert_eq!(bytes, fake.archive("nginx", "15.1.0"));
}

#[tokio::test]
async fn urls_are_asked_for_as_they_are_written() {
    let fake = FakeHelm::new().run();
    for target in [
        "/charts/keda-2.14.3%20copy.tgz",
        "/assets/rancher-104.2.0+up1.6.4.tgz",
        "/assets/rancher-104.2.0%2Bup1.6.4.tgz",
        "/blob/master/ibm.tgz?raw=true&a=b%20c+d",
        "/a//b.tgz?",
        "/%E2%9C%93/%7Etilde/x~y.tgz",
        "/sig.tgz?X-Amz-Signature=a%2Fb%3D&x=%zz",
        "/odd|'()*!;:@&=$,[]^.tgz",
    ] {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        fake.set_file(path, "bytes");
        let upstream = acme(&fake).build();
        let download = upstream.open(&fake.at(target), 0).await.expect(target);
        assert_eq!(read(download).await.expect("whole"), b"bytes");
        let request = fake.last(path).expect("as written");
        assert_eq!(request.query.as_deref().unwrap_or(""), query.unwrap_or(""));
    }
}

#[tokio::test]
async fn every_entry_of_an_index_leads_to_the_bytes_of_its_digest() {
    let elsewhere = FakeHelm::new().run();
    let there = FakeChart::new("there", "1.0.0").path("/x/y%20z.tgz");
    let absolute = elsewhere.at("/x/y%20z.tgz?raw=true");
    elsewhere.add(there.clone());
    let fake = FakeHelm::new()
        .chart("plain", "1.0.0")
        .chart("built", "1.0.0+up1.6.4")
        .with(FakeChart::new("copy", "1.0.0").path("/charts/copy-1.0.0%20copy.tgz"))
        .with(FakeChart::new("rooted", "1.0.0").url("/charts/rooted-1.0.0.tgz"))
        .with(FakeChart::new("parent", "1.0.0").url("../charts/parent-1.0.0.tgz"))
        .with(
            FakeChart::new("moved", "1.0.0")
                .path("/new/moved.tgz")
                .url("old/moved.tgz"),
        )
        .with(there.path("/not-here.tgz").url(&absolute))
        .run();
    fake.fault(
        Target::Path("/old/moved.tgz".to_owned()),
        Fault::Redirect("/new/moved.tgz".to_owned()),
    );
    let upstream = acme(&fake).build();
    let (text, base, _) = text_of(&upstream).await;
    let index = SourceIndex::ingest(&text, &base, None).expect("an index");
    assert_eq!(index.versions(), 7);
    for entry in index.charts().flat_map(|(_, chart)| chart.entries()) {
        let download = upstream.open(&entry.urls[0], 0).await.expect("opens");
        let bytes = read(download).await.expect("whole");
        assert_eq!(Some(Digest::of(&bytes)), entry.digest, "{:?}", entry.urls);
    }
}

#[tokio::test]
async fn the_query_of_the_repository_goes_with_its_index_and_its_base() {
    let fake = FakeHelm::new().chart("nginx", "15.1.0").run();
    let acme = acme_at(&fake.at("/?token=a%20b+c"));
    let upstream = acme.build();
    let (_, base, held) = text_of(&upstream).await;
    let request = fake.last("/index.yaml").expect("a request");
    assert_eq!(request.query.as_deref(), Some("token=a%20b+c"));
    assert!(!format!("{held:?} {upstream:?}").contains("token"));
    let reply = upstream.fetch_index(Some(&held)).await.expect("an answer");
    assert!(matches!(reply, IndexReply::NotModified));
    assert_eq!(base.as_str(), fake.at("/?token=a%20b+c"));
}

#[tokio::test]
async fn a_redirected_index_names_charts_where_it_was_configured() {
    let storage = FakeHelm::new().chart("nginx", "15.1.0").run();
    let fake = FakeHelm::new().run();
    fake.fail_index(Fault::Redirect(storage.at("/index.yaml?signature=x")));
    let (text, base, _) = text_of(&acme(&fake).build()).await;
    assert_eq!(text, storage.index_text());
    assert_eq!(base, Url::parse(&fake.url()).expect("a URL"));
}

#[tokio::test]
async fn a_transfer_is_resumed_where_it_broke() {
    let fake = large();
    let upstream = acme(&fake).build();
    let url = fake.at("/charts/a-1.0.0.tgz");
    let whole = fake.archive("a", "1.0.0");
    fake.fault_times(Target::Archives, 1, Fault::CutAfter(30_000));
    let broken = upstream.open(&url, 0).await.expect("opens");
    assert_eq!(broken.length, Some(whole.len() as u64));
    read(broken).await.expect_err("it broke");

    let rest = upstream.open(&url, 30_000).await.expect("resumes");
    assert_eq!(rest.length, Some(whole.len() as u64));
    assert_eq!(read(rest).await.expect("the rest"), whole[30_000..]);
    let request = fake.last("/charts/a-1.0.0.tgz").expect("a request");
    assert_eq!(request.header("range"), Some("bytes=30000-"));
    assert!(request.header("if-range").is_some());
}

#[tokio::test]
async fn a_server_without_ranges_is_read_over() {
    let fake = FakeHelm::new()
        .with(FakeChart::new("a", "1.0.0").size(100_000))
        .without_ranges()
        .without_validators()
        .run();
    let upstream = acme(&fake).build();
    let url = fake.at("/charts/a-1.0.0.tgz");
    let whole = fake.archive("a", "1.0.0");
    let rest = upstream.open(&url, 70_000).await.expect("opens");
    assert_eq!(rest.length, Some(whole.len() as u64));
    assert_eq!(read(rest).await.expect("the rest"), whole[70_000..]);
}

#[tokio::test]
async fn two_editions_of_an_archive_are_never_joined() {
    let fake = large();
    let upstream = acme(&fake).build();
    let url = fake.at("/charts/a-1.0.0.tgz");
    read(upstream.open(&url, 0).await.expect("opens"))
        .await
        .expect("whole");
    fake.add(FakeChart::new("a", "1.0.0").size(100_001));
    let error = upstream
        .open(&url, 30_000)
        .await
        .expect_err("another edition");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert!(error.message().contains("changed an archive"), "{error}");
}

#[tokio::test]
async fn provenance_lies_beside_the_archive() {
    let chart = FakeChart::new("a", "1.0.0").provenance("-----BEGIN PGP SIGNED MESSAGE-----\n");
    let fake = FakeHelm::new().with(chart).chart("b", "1.0.0").run();
    let upstream = acme(&fake).build();
    let url = fake.at("/charts/a-1.0.0.tgz?x=1");
    let bytes = read(upstream.open_provenance(&url).await.expect("is there")).await;
    assert!(bytes.expect("whole").starts_with(b"-----BEGIN"));

    let url = fake.at("/charts/b-1.0.0.tgz");
    let error = upstream.open_provenance(&url).await.expect_err("unsigned");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn other_schemes_are_named_and_not_tried() {
    let fake = FakeHelm::new().run();
    let upstream = acme(&fake).build();
    for url in [
        "oci://ghcr.io/deliveryhero/helm-charts/app:2.17.4",
        "file:///etc/passwd",
        "ftp://h/a.tgz",
        "data:text/plain,x",
    ] {
        let error = upstream.open(url, 0).await.expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{url}");
        assert!(error.message().contains("not supported yet"), "{error}");
    }
    let error = upstream
        .open("charts/a.tgz", 0)
        .await
        .expect_err("relative");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert_eq!(fake.total(), 0);
}
