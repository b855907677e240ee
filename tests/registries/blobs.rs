use std::time::Duration;

use chartgate::error::ErrorKind;
use chartgate::oci::{Algorithm, Digest};
use chartgate::upstream::registry::{Part, Registry};
use url::Url;

use super::{PASSWORD, assert_error, digest, hub, hub_at, name, read, reference};
use crate::support::fake::{
    Authority, FakeImage, FakeProxy, FakeRegistry, Fault, Row, RunningRegistry, Spot,
};

fn stored(fake: FakeRegistry) -> (RunningRegistry, FakeImage) {
    let fake = fake.image("a/b", "1").run();
    let image = fake.image("a/b", "1");
    (fake, image)
}

async fn part(
    registry: &Registry,
    image: &FakeImage,
    part: Part,
) -> chartgate::error::Result<Vec<u8>> {
    let download = registry
        .open_blob(&name("a/b"), &digest(&image.layer), &part)
        .await?;
    let announced = download.length;
    let bytes = read(download).await?;
    if part == Part::Whole {
        assert_eq!(announced, Some(bytes.len() as u64));
    }
    Ok(bytes)
}

#[tokio::test]
async fn parts_with_and_without_ranges() {
    for fake in [
        FakeRegistry::open(),
        FakeRegistry::open().without_ranges(),
        FakeRegistry::open().blobs_elsewhere(),
    ] {
        let (fake, image) = stored(fake);
        let registry = hub(&fake).build();
        let whole = part(&registry, &image, Part::Whole).await.expect("whole");
        assert_eq!(whole, image.bytes);
        let rest = part(&registry, &image, Part::From(40_000))
            .await
            .expect("the rest");
        assert_eq!(rest, image.bytes[40_000..]);
        let middle = part(&registry, &image, Part::Bytes(100..200)).await;
        assert_eq!(middle.expect("a part"), image.bytes[100..200]);
    }
}

#[tokio::test]
async fn other_bytes_than_those_asked_for_are_refused() {
    let (fake, image) = stored(FakeRegistry::open());
    let registry = hub(&fake).build();
    for headers in [
        vec![("Content-Range".to_owned(), "bytes 5-7/9".to_owned())],
        vec![("Content-Range".to_owned(), "nonsense".to_owned())],
        vec![],
    ] {
        fake.heal();
        fake.fault(Spot::Blobs, Fault::StatusWith(206, headers));
        for asked in [Part::From(100), Part::Whole] {
            let error = part(&registry, &image, asked)
                .await
                .expect_err("other bytes");
            assert_error(&error, ErrorKind::UpstreamUnavailable, "sent other bytes");
        }
    }
    fake.heal();
    let error = part(&registry, &image, Part::From(1_000_000))
        .await
        .expect_err("behind the end");
    assert_error(&error, ErrorKind::UpstreamUnavailable, "answered 416");
}

#[tokio::test]
async fn a_transfer_that_breaks_is_an_error_and_can_be_resumed() {
    let (fake, image) = stored(FakeRegistry::of(Row::DockerHub));
    let registry = hub(&fake).build();
    for fault in [
        Fault::CutAfter(30_000),
        Fault::LengthTooLong(10),
        Fault::CutChunkedAfter(30_000),
    ] {
        fake.heal();
        fake.fault_times(Spot::Elsewhere, 1, fault);
        let download = registry
            .open_blob(&name("a/b"), &digest(&image.layer), &Part::Whole)
            .await;
        let mut body = download.expect("it starts").body;
        let mut got = Vec::new();
        let error = loop {
            match body.next().await.expect("an end") {
                Ok(bytes) => got.extend_from_slice(&bytes),
                Err(error) => break error,
            }
        };
        assert_error(&error, ErrorKind::UpstreamUnavailable, "broke off");
        let rest = part(&registry, &image, Part::From(got.len() as u64 / 2)).await;
        got.truncate(got.len() / 2);
        got.extend(rest.expect("the rest"));
        assert_eq!(got, image.bytes);
    }
}

#[tokio::test]
async fn a_transfer_that_stalls_is_an_error() {
    let (fake, image) = stored(FakeRegistry::open());
    let registry = hub(&fake).impatient().build();
    fake.fault(Spot::Blobs, Fault::StallAfter(1000));
    let error = part(&registry, &image, Part::Whole)
        .await
        .expect_err("it stalls");
    assert_error(
        &error,
        ErrorKind::UpstreamUnavailable,
        "stopped in the middle",
    );
}

#[tokio::test]
async fn a_transfer_that_is_slow_and_goes_on_is_none() {
    let (fake, image) = stored(FakeRegistry::open());
    let registry = hub(&fake).impatient().build();
    fake.fault(
        Spot::Blobs,
        Fault::Trickle(5000, Duration::from_millis(100)),
    );
    let bytes = part(&registry, &image, Part::Whole).await;
    assert_eq!(
        bytes.expect("whole, in more than the time for one piece"),
        image.bytes
    );
}

#[tokio::test]
async fn wrong_bytes_are_for_the_caller_to_find() {
    let (fake, image) = stored(FakeRegistry::open());
    fake.fault(Spot::Blobs, Fault::WrongBytes);
    let bytes = part(&hub(&fake).build(), &image, Part::Whole)
        .await
        .expect("some bytes");
    assert!(!digest(&image.layer).names(&bytes));
}

/// The cache computes sha256 only, so the other kind is checked on the way.
#[tokio::test]
async fn a_sha512_is_checked_on_the_way() {
    let right = Digest::of(Algorithm::Sha512, b"some bytes");
    let wrong = Digest::of(Algorithm::Sha512, b"other bytes");
    let fake = FakeRegistry::open()
        .blob_named("a/b", &right.to_string(), "some bytes")
        .blob_named("a/b", &wrong.to_string(), "some bytes")
        .run();
    let registry = hub(&fake).build();
    let open = async |digest: &Digest| {
        let download = registry.open_blob(&name("a/b"), digest, &Part::Whole).await;
        read(download.expect("it starts")).await
    };
    assert_eq!(open(&right).await.expect("whole"), b"some bytes");
    let error = open(&wrong).await.expect_err("others");
    assert_error(&error, ErrorKind::DigestMismatch, &right.to_string());
}

#[tokio::test]
async fn the_place_of_the_bytes_never_sees_credentials() {
    let (fake, image) = stored(FakeRegistry::of(Row::Ecr).user("me", PASSWORD));
    let registry = hub(&fake).known().build();
    part(&registry, &image, Part::Whole).await.expect("whole");
    let asked = fake.asked(Spot::Elsewhere);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].head.header("authorization"), None);
    assert_eq!(asked[0].head.header("cookie"), None);
    // A redirect back home does not bring them back either.
    let home = format!("{}cdn/{}?method=GET&sig=s3cret", fake.url(), image.layer);
    fake.fault(Spot::Elsewhere, Fault::Redirect(home));
    fake.forget();
    let error = part(&registry, &image, Part::Whole)
        .await
        .expect_err("the fault is there too");
    assert!(
        fake.asked(Spot::Elsewhere)
            .iter()
            .all(|asked| asked.head.header("authorization").is_none())
    );
    assert!(!error.chain().contains("s3cret"), "{}", error.chain());
}

#[tokio::test]
async fn what_the_place_of_the_bytes_says_is_no_fact_about_the_blob() {
    let (fake, image) = stored(FakeRegistry::of(Row::DockerHub));
    for status in [400, 401, 403, 404, 410, 429, 500, 503] {
        fake.heal();
        fake.fault(Spot::Elsewhere, Fault::Status(status));
        let registry = hub(&fake).build();
        let error = part(&registry, &image, Part::Whole)
            .await
            .expect_err("no bytes");
        assert_error(&error, ErrorKind::UpstreamUnavailable, "where it sent us");
        assert!(!error.chain().contains("s3cret"), "{}", error.chain());
    }
    fake.heal();
    let registry = hub(&fake).build();
    let none = digest(&fake.image("a/b", "1").digest);
    let error = registry
        .open_blob(&name("a/b"), &none, &Part::Whole)
        .await
        .expect_err("none");
    assert_error(&error, ErrorKind::NotFound, "answered 404");
}

#[tokio::test]
async fn a_head_that_says_no_is_checked_with_one_byte() {
    let (fake, image) = stored(FakeRegistry::of(Row::Harbor).blob("a/b", ""));
    let registry = hub(&fake).build();
    let (repository, layer) = (name("a/b"), digest(&image.layer));
    let size = |head: chartgate::error::Result<chartgate::upstream::registry::BlobHead>| {
        head.expect("there").size
    };
    assert_eq!(
        size(registry.head_blob(&repository, &layer).await),
        Some(50_000)
    );
    let asked = fake.asked(Spot::Blobs);
    assert_eq!(
        asked.last().expect("a GET").head.header("range"),
        Some("bytes=0-0")
    );
    for status in [403, 404, 405, 501] {
        fake.heal();
        fake.fault_times(Spot::Blobs, 1, Fault::Status(status));
        assert_eq!(
            size(registry.head_blob(&repository, &layer).await),
            Some(50_000),
            "{status}"
        );
    }
    let empty = digest("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(size(registry.head_blob(&repository, &empty).await), Some(0));
    let error = registry
        .head_blob(&repository, &digest(&image.digest))
        .await;
    assert_error(
        &error.expect_err("a manifest is no blob"),
        ErrorKind::NotFound,
        "answered 404",
    );
    fake.fault(Spot::Blobs, Fault::Status(503));
    let error = registry
        .head_blob(&repository, &layer)
        .await
        .expect_err("away");
    assert_error(&error, ErrorKind::UpstreamUnavailable, "answered 503");

    let (fake, image) = stored(FakeRegistry::open().without_ranges());
    fake.fault_times(Spot::Blobs, 1, Fault::Status(404));
    let head = hub(&fake)
        .build()
        .head_blob(&repository, &digest(&image.layer))
        .await;
    assert_eq!(size(head), Some(50_000));
}

#[tokio::test]
async fn redirects_are_guarded_at_every_hop() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let (bare, _) = stored(FakeRegistry::open());
    let (fake, image) = stored(FakeRegistry::open().tls(&authority, &["127.0.0.1"]));
    fake.fault(Spot::Blobs, Fault::Redirect(format!("{}x", bare.url())));
    let hub =
        hub(&fake).with(|settings| settings.client.ca_file = Some(authority.write(folder.path())));
    let error = part(&hub.build(), &image, Part::Whole)
        .await
        .expect_err("refused");
    assert_error(
        &error,
        ErrorKind::UpstreamUnavailable,
        "from https to plain http",
    );
    assert_eq!(bare.count(Spot::All), 0);

    let (fake, image) = stored(FakeRegistry::open());
    let proxy = FakeProxy::run(&[("registry.example.com:80", fake.address())]);
    let url = Url::parse(&proxy.url()).expect("a URL");
    let public = hub_at("http://registry.example.com/").with(|settings| {
        settings.client.proxy = Some(url);
        settings.client.allow_private = false;
    });
    fake.fault(
        Spot::Blobs,
        Fault::Redirect("http://169.254.169.254/latest/meta-data".to_owned()),
    );
    let error = part(&public.build(), &image, Part::Whole)
        .await
        .expect_err("refused");
    assert_error(&error, ErrorKind::UpstreamUnavailable, "private address");

    fake.heal();
    fake.fault(Spot::Blobs, Fault::RedirectLoop);
    let error = part(&public.build(), &image, Part::Whole)
        .await
        .expect_err("refused");
    assert_error(&error, ErrorKind::UpstreamUnavailable, "in a circle");
    // The manifest is still to be had.
    public
        .build()
        .get_manifest(&name("a/b"), &reference("1"))
        .await
        .expect("there");
}
