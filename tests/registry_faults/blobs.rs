//! Blobs that are cut, wrong, elsewhere, wanted in pieces, or wanted by many at once.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{assert_away, assert_is, blob, gateway, start, tag};
use crate::registry_clients::Place;
use crate::support::fake::{FakeRegistry, Fault, Row, RunningRegistry, Spot};
use crate::support::http::{Call, Reply};
use crate::support::registries::oci;
use crate::support::until;

const MEGABYTE: usize = 1 << 20;

fn fake(size: usize) -> RunningRegistry {
    FakeRegistry::open().image_of("a/b", "1", size).run()
}

fn range(place: &Place, digest: &str, range: &str) -> Reply {
    let address: SocketAddr = place.address.parse().expect("an address");
    Call::get(&format!("/v2/{}/blobs/{digest}", place.name("a/b")))
        .header("Range", range)
        .send(address)
}

#[test]
fn a_cold_blob_is_fetched_once_for_a_crowd() {
    let fake = fake(8 * MEGABYTE);
    let (_gateway, place) = gateway(&fake);
    let image = fake.image("a/b", "1");
    tag(&place, "a/b", "1").expect(200);
    fake.forget();
    let hold = fake.hold(Spot::Blobs);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..40)
            .map(|_| scope.spawn(|| blob(&place, "a/b", &image.layer)))
            .collect();
        until(
            "the first reader's request",
            Duration::from_secs(20),
            || (hold.arrived() > 0).then_some(()),
        );
        hold.release();
        for reader in readers {
            let reply = reader.join().expect("a reader").expect(200);
            assert!(reply.complete);
            assert!(reply.body == image.bytes);
        }
    });
    let gets = fake.asked(Spot::Blobs);
    let gets = gets.iter().filter(|asked| asked.head.method == "GET");
    assert_eq!(gets.count(), 1);
}

#[test]
fn a_client_that_leaves_does_not_stop_the_fetch() {
    let fake = fake(4 * MEGABYTE);
    let (_gateway, place) = gateway(&fake);
    let image = fake.image("a/b", "1");
    tag(&place, "a/b", "1").expect(200);
    fake.fault_times(
        Spot::Blobs,
        1,
        Fault::Trickle(200_000, Duration::from_millis(20)),
    );
    let address: SocketAddr = place.address.parse().expect("an address");
    let mut stream = TcpStream::connect(address).expect("listening");
    let request = format!(
        "GET /v2/acme/hub/a/b/blobs/{} HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
        image.layer
    );
    stream.write_all(request.as_bytes()).expect("listening");
    let mut first = [0; 1_000];
    stream.read_exact(&mut first).expect("the beginning");
    drop(stream);
    // The rest comes from the same fetch.
    let reply = blob(&place, "a/b", &image.layer).expect(200);
    assert!(reply.body == image.bytes);
    let gets = fake.asked(Spot::Blobs);
    let gets = gets.iter().filter(|asked| asked.head.method == "GET");
    assert_eq!(gets.count(), 1);
}

#[test]
fn a_cut_transfer_goes_on_where_it_was() {
    let fake = fake(6 * MEGABYTE);
    let (_gateway, place) = gateway(&fake);
    let image = fake.image("a/b", "1");
    fake.fault_times(Spot::Blobs, 2, Fault::CutAfter(2 * MEGABYTE));
    let reply = blob(&place, "a/b", &image.layer).expect(200);
    assert!(reply.complete && reply.body == image.bytes);
    let asked = fake.asked(Spot::Blobs);
    let ranges: Vec<_> = asked
        .iter()
        .filter_map(|asked| asked.head.header("range"))
        .collect();
    assert!(!ranges.is_empty(), "it began again");
}

#[test]
fn an_upstream_without_ranges_is_begun_again() {
    let fake = FakeRegistry::open()
        .image_of("a/b", "1", 3 * MEGABYTE)
        .without_ranges()
        .run();
    let (_gateway, place) = gateway(&fake);
    let image = fake.image("a/b", "1");
    fake.fault_times(Spot::Blobs, 1, Fault::CutAfter(MEGABYTE));
    let reply = blob(&place, "a/b", &image.layer).expect(200);
    assert!(reply.complete && reply.body == image.bytes);
}

/// Other bytes never arrive whole, are not kept, and are not asked for again and again.
#[test]
fn other_bytes_never_arrive_whole() {
    for size in [10_000, 3 * MEGABYTE] {
        for fault in [
            Fault::WrongBytes,
            Fault::Shortened(size / 2),
            Fault::Body(vec![b'x'; size]),
            Fault::Html,
            Fault::Garbage(2 * size),
        ] {
            let fake = fake(size);
            let (gateway, place) = gateway(&fake);
            let image = fake.image("a/b", "1");
            tag(&place, "a/b", "1").expect(200);
            fake.fault(Spot::Blobs, fault.clone());
            let sent = Call::get(&format!("/v2/acme/hub/a/b/blobs/{}", image.layer));
            match sent.try_send(gateway.http) {
                Ok(reply) if reply.status == 200 => {
                    assert!(!reply.complete, "{fault:?} of {size} arrived whole");
                }
                Ok(reply) => assert_away(&reply),
                Err(_) => {}
            }
        }
    }
}

#[test]
fn ranges_of_cold_and_warm_blobs() {
    let fake = fake(24 * MEGABYTE);
    let (_gateway, place) = gateway(&fake);
    let image = fake.image("a/b", "1");
    tag(&place, "a/b", "1").expect(200);
    let end = image.bytes.len();
    for _ in 0..2 {
        for (asked, first, last) in [
            ("bytes=0-99", 0, 99),
            ("bytes=-100", end - 100, end - 1),
            ("bytes=20000000-20000999", 20_000_000, 20_000_999),
            ("bytes=1000-", 1_000, end - 1),
        ] {
            let reply = range(&place, &image.layer, asked).expect(206);
            let expected = format!("bytes {first}-{last}/{end}");
            assert_eq!(reply.header("content-range"), Some(expected.as_str()));
            assert!(reply.body == image.bytes[first..=last], "{asked}");
        }
        assert_eq!(range(&place, &image.layer, "bytes=99999999-").status, 416);
        assert_eq!(range(&place, &image.layer, "bytes=500-0").status, 416);
    }
}

/// HEAD fetches nothing, whether a manifest said the size or nobody did.
#[test]
fn head_of_a_cold_blob_fetches_nothing() {
    let fake = fake(MEGABYTE);
    let (_gateway, place) = gateway(&fake);
    let image = fake.image("a/b", "1");
    for known in [false, true] {
        if known {
            tag(&place, "a/b", "1").expect(200);
        }
        fake.forget();
        let head = place.ask("HEAD", "a/b", &format!("blobs/{}", image.layer));
        let head = head.expect(200);
        let length = image.bytes.len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()));
        let digest = image.layer.as_str();
        assert_eq!(head.header("docker-content-digest"), Some(digest));
        let asked = fake.asked(Spot::Blobs);
        assert!(asked.iter().all(|asked| asked.head.method == "HEAD"));
    }
}

/// Harbor says 404 to HEAD until somebody asked for the bytes: that is not to be believed.
#[test]
fn a_head_that_says_no_is_not_believed() {
    let fake = FakeRegistry::of(Row::Harbor).image("a/b", "1").run();
    let (_gateway, place) = gateway(&fake);
    let image = fake.image("a/b", "1");
    let head = place.ask("HEAD", "a/b", &format!("blobs/{}", image.layer));
    assert_eq!(head.status, 200);
    let absent = format!("sha256:{}", "1".repeat(64));
    assert_eq!(blob(&place, "a/b", &absent).status, 404);
    assert_eq!(
        place.ask("HEAD", "a/b", &format!("blobs/{absent}")).status,
        404
    );
}

#[test]
fn redirects_are_followed_for_clients_and_end_somewhere() {
    let fake = FakeRegistry::open()
        .image("a/b", "1")
        .image("a/b", "2")
        .blobs_elsewhere()
        .run();
    let (_gateway, place) = gateway(&fake);
    let image = fake.image("a/b", "1");
    let reply = blob(&place, "a/b", &image.layer).expect(200);
    assert_eq!(reply.body, image.bytes);
    assert!(
        !reply
            .headers
            .iter()
            .any(|(_, value)| value.contains("s3cret"))
    );
    fake.fault(Spot::Elsewhere, Fault::RedirectLoop);
    assert_away(&blob(&place, "a/b", &fake.image("a/b", "2").layer));
}

/// A redirect to an address that only this machine can reach is refused.
#[test]
fn redirects_into_the_network_are_refused() {
    let inner = FakeRegistry::open().image("a/b", "1").run();
    let image = inner.image("a/b", "1");
    // The upstream itself may be private; what it points to may not be an http URL when it is https, nor another scheme.
    let fake = fake(1_000);
    let (_gateway, place) = gateway(&fake);
    tag(&place, "a/b", "1").expect(200);
    for target in [
        "file:///etc/passwd",
        "gopher://127.0.0.1/1",
        "http://169.254.169.254/latest",
    ] {
        fake.fault(Spot::Blobs, Fault::Redirect(target.to_owned()));
        let reply = blob(&place, "a/b", &fake.image("a/b", "1").layer);
        assert_away(&reply);
        assert!(!reply.text().contains("root:"), "{}", reply.text());
    }
    drop(image);
}

#[test]
fn an_upstream_that_fails_is_healthy_again_when_it_is() {
    let fake = fake(50_000);
    let (_gateway, place) = start(&oci(&fake.url()));
    let image = fake.image("a/b", "1");
    fake.fault_times(Spot::Blobs, 1, Fault::Status(503));
    let _ = blob(&place, "a/b", &image.layer);
    fake.heal();
    until("the blob", Duration::from_secs(20), || {
        (blob(&place, "a/b", &image.layer).status == 200).then_some(())
    });
    assert_is(&tag(&place, "a/b", "1"), &image);
}
