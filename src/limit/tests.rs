use super::rate::{COUNT_EVERY, CROWD, MAX_CLIENTS};
use super::*;
use crate::auth::Identity;
use crate::http::{Body, ByteStream, Method, RequestBody, Response, StatusCode};
use bytes::Bytes;
use futures_util::FutureExt as _;
use jiff::Timestamp;

const HOUR: u64 = 3_600;

fn limit(what: Limited, amount: u64, seconds: u64, burst: u64, by: LimitBy) -> Limit {
    Limit {
        what,
        amount,
        period: Duration::from_secs(seconds),
        burst,
        by,
    }
}

fn requests(amount: u64, seconds: u64, burst: u64, by: LimitBy) -> Limit {
    limit(Limited::Requests, amount, seconds, burst, by)
}

fn user(name: &str) -> Identity {
    Identity::User { name: name.into() }
}

fn start() -> Clock {
    Clock::manual(Timestamp::from_second(1_800_000_000).expect("a time"))
}

/// Without redis there is nothing to wait for.
fn ask(limits: &Limits, key: Key<'_>, demand: Demand) -> Result<Meter, Box<Refused>> {
    limits
        .admit(key, demand)
        .now_or_never()
        .expect("decided at once")
}

fn at<'a>(address: &str, identity: &'a Identity) -> Key<'a> {
    Key {
        address: Some(address.parse().expect("an address")),
        identity,
        tenant: "acme",
    }
}

fn passes(limits: &Limits, address: &str, identity: &Identity) -> bool {
    ask(limits, at(address, identity), Demand::Request).is_ok()
}

fn wait(refused: Result<Meter, Box<Refused>>) -> u64 {
    let error = refused.expect_err("over it").error;
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    error.retry_after().expect("a time").as_secs()
}

#[test]
fn a_burst_passes_then_the_rate() {
    let clock = start();
    let limits = Limits::with_clock(&[requests(60, 60, 3, LimitBy::Address)], clock.clone());
    let anonymous = Identity::Anonymous;
    for _ in 0..3 {
        assert!(passes(&limits, "10.0.0.1", &anonymous));
    }
    let refused = ask(&limits, at("10.0.0.1", &anonymous), Demand::Request);
    let error = refused.expect_err("over it").error;
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(
        error.message(),
        "`10.0.0.1` may ask `acme` 60 times in a minute; try again in 1 s"
    );
    assert!(passes(&limits, "10.0.0.2", &anonymous), "another address");
    clock.advance(Duration::from_secs(1));
    assert!(passes(&limits, "10.0.0.1", &anonymous));
    assert!(!passes(&limits, "10.0.0.1", &anonymous));
    clock.advance(Duration::from_secs(HOUR));
    for _ in 0..3 {
        assert!(passes(&limits, "10.0.0.1", &anonymous));
    }
    assert!(
        !passes(&limits, "10.0.0.1", &anonymous),
        "no more than the burst"
    );
}

#[test]
fn waiting_as_told_is_enough() {
    let clock = start();
    let identity = user("ci");
    let key = at("10.0.0.1", &identity);
    // Whoever waits as long as one limit wants must not be refused by another.
    let all = [
        requests(7, HOUR, 2, LimitBy::Tenant),
        requests(3, 60, 1, LimitBy::Address),
        requests(1_000_000_007, 86_400, 3, LimitBy::Identity),
    ];
    let limits = Limits::with_clock(&all, clock.clone());
    for _ in 0..30 {
        if let Err(refused) = ask(&limits, key, Demand::Request) {
            clock.advance(refused.error.retry_after().expect("a time"));
            ask(&limits, key, Demand::Request).expect("waited as told");
        }
    }
}

#[test]
fn a_refused_request_takes_nothing_from_other_limits() {
    let clock = start();
    let all = [
        requests(5, HOUR, 5, LimitBy::Tenant),
        requests(2, HOUR, 2, LimitBy::Identity),
        requests(3, HOUR, 3, LimitBy::Address),
    ];
    let limits = Limits::with_clock(&all, clock);
    let (a, b, c) = (user("a"), user("b"), user("c"));
    assert!(passes(&limits, "10.0.0.1", &a));
    assert!(passes(&limits, "10.0.0.1", &a));
    for _ in 0..50 {
        assert!(!passes(&limits, "10.0.0.1", &a), "his own are used up");
    }
    assert!(
        passes(&limits, "10.0.0.1", &b),
        "neither the address nor the tenant paid for what was refused"
    );
    assert!(
        !passes(&limits, "10.0.0.1", &c),
        "the address has had three"
    );
    assert!(passes(&limits, "10.0.0.2", &b));
    assert!(passes(&limits, "10.0.0.2", &c));
    let refused = ask(&limits, at("10.0.0.3", &c), Demand::Request).expect_err("five");
    assert_eq!(refused.labels(), ("requests", "tenant"));
    assert!(
        refused
            .error
            .message()
            .starts_with("everybody in this tenant together may ask `acme` 5 times")
    );
}

#[test]
fn who_shares_an_allowance() {
    let one = |by| Limits::with_clock(&[requests(1, HOUR, 1, by)], start());
    let (a, b, anonymous) = (user("a"), user("b"), Identity::Anonymous);
    let certificate = Identity::Certificate {
        subject: "a".into(),
    };

    let by_address = one(LimitBy::Address);
    assert!(passes(&by_address, "2001:db8:0:1::1", &a));
    assert!(
        !passes(&by_address, "2001:db8:0:1:ffff::2", &b),
        "the same /64"
    );
    assert!(passes(&by_address, "2001:db8:0:2::1", &b), "another /64");
    assert!(passes(&by_address, "10.0.0.1", &a));
    assert!(!passes(&by_address, "::ffff:10.0.0.1", &a), "the same IPv4");

    let by_identity = one(LimitBy::Identity);
    assert!(passes(&by_identity, "10.0.0.1", &a));
    assert!(!passes(&by_identity, "10.0.0.2", &a), "the same user");
    assert!(passes(&by_identity, "10.0.0.1", &b));
    assert!(
        passes(&by_identity, "10.0.0.1", &certificate),
        "not the user of that name"
    );
    assert!(passes(&by_identity, "10.0.0.1", &anonymous));
    assert!(!passes(&by_identity, "10.0.0.1", &anonymous));
    assert!(passes(&by_identity, "10.0.0.2", &anonymous));

    let by_tenant = one(LimitBy::Tenant);
    assert!(passes(&by_tenant, "10.0.0.1", &a));
    assert!(!passes(&by_tenant, "10.0.0.2", &b));
}

#[test]
fn uploads_count_for_themselves_where_they_are_limited() {
    let identity = user("ci");
    let key = at("10.0.0.1", &identity);
    let all = [
        requests(2, HOUR, 2, LimitBy::Identity),
        limit(Limited::Uploads, 1, 60, 1, LimitBy::Identity),
    ];
    let limits = Limits::with_clock(&all, start());
    ask(&limits, key, Demand::Upload).expect("the first upload");
    let refused = ask(&limits, key, Demand::Upload).expect_err("the second");
    assert_eq!(
        refused.error.message(),
        "`ci` may upload 1 times to `acme` in a minute; try again in 60 s"
    );
    ask(&limits, key, Demand::Piece).expect("its pieces are requests");
    ask(&limits, key, Demand::Request).expect("the upload was none");
    assert!(wait(ask(&limits, key, Demand::Request)) > 60);

    let limits = Limits::with_clock(&all[..1], start());
    ask(&limits, key, Demand::Upload).expect("a request as any other");
    ask(&limits, key, Demand::Upload).expect("another");
    ask(&limits, key, Demand::Request).expect_err("three");
}

async fn drain(response: Response) -> u64 {
    let Body::Stream(mut stream) = response.body else {
        return 0;
    };
    let mut bytes = 0;
    while let Some(chunk) = stream.next().await {
        bytes += chunk.expect("a chunk").len() as u64;
    }
    bytes
}

fn stream(chunks: usize, length: usize) -> Response {
    let chunk = Bytes::from(vec![0; length]);
    let chunks = (0..chunks).map(move |_| Ok(chunk.clone()));
    let stream = ByteStream::new(futures_util::stream::iter(chunks), None);
    Response::new(StatusCode::OK, stream)
}

#[tokio::test]
async fn bytes_count_as_they_pass_and_debts_are_paid() {
    let clock = start();
    let all = [limit(Limited::Bytes, 1_000, 10, 2_000, LimitBy::Tenant)];
    let limits = Limits::with_clock(&all, clock.clone());
    let identity = user("ci");
    let key = at("10.0.0.1", &identity);
    let meter = ask(&limits, key, Demand::Request).expect("nothing was taken yet");

    // A HEAD takes nothing, and neither does what nobody reads.
    let head = meter.outgoing(
        &Method::HEAD,
        Response::new(StatusCode::OK, Bytes::from(vec![0; 9_000])),
    );
    assert_eq!(head.body.length(), Some(9_000));
    drop(meter.outgoing(&Method::GET, stream(90, 100)));
    let meter = ask(&limits, key, Demand::Request).expect("nothing was taken");

    // Half of it is in debt already, and it goes on to its end.
    let whole = meter.outgoing(&Method::GET, stream(50, 100));
    assert_eq!(drain(whole).await, 5_000);
    // 2,000 were allowed at once: 3,000 bytes of debt are 30 s.
    assert_eq!(wait(ask(&limits, key, Demand::Request)), 30);
    ask(&limits, key, Demand::Upload).expect("what is sent is not what is taken");
    ask(&limits, key, Demand::Piece).expect("what has begun goes on");
    clock.advance(Duration::from_secs(29));
    assert_eq!(wait(ask(&limits, key, Demand::Request)), 1);
    clock.advance(Duration::from_secs(1));
    let meter = ask(&limits, key, Demand::Request).expect("paid");

    // What lies in memory counts at once.
    let small = Response::new(StatusCode::OK, Bytes::from(vec![0; 500]));
    assert_eq!(meter.outgoing(&Method::GET, small).body.length(), Some(500));
    let refused = ask(&limits, key, Demand::Request).expect_err("500 bytes");
    assert_eq!(
        refused.error.message(),
        "everybody in this tenant together may take 1000 bytes from `acme` in 10 s; try again in 5 s"
    );
}

struct Chunks(u64);

#[async_trait::async_trait]
impl RequestBody for Chunks {
    async fn chunk(&mut self) -> crate::error::Result<Option<Bytes>> {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        Ok(left.map(|_| Bytes::from_static(&[0; 1_024])))
    }

    fn length(&self) -> Option<u64> {
        None
    }
}

#[tokio::test]
async fn bytes_of_uploads_count_and_what_has_begun_is_finished() {
    let clock = start();
    let all = [limit(
        Limited::UploadBytes,
        1 << 20,
        HOUR,
        1 << 20,
        LimitBy::Identity,
    )];
    let limits = Limits::with_clock(&all, clock.clone());
    let identity = user("ci");
    let key = at("10.0.0.1", &identity);
    for _ in 0..2 {
        let meter = ask(&limits, key, Demand::Piece).expect("never refused");
        let mut body = Chunks(1_024);
        let mut body = meter.incoming(&mut body);
        while body.chunk().await.expect("a chunk").is_some() {}
    }
    ask(&limits, key, Demand::Request).expect("nothing is sent");
    let refused = ask(&limits, key, Demand::Upload).expect_err("1 MiB of debt");
    assert_eq!(
        refused.error.message(),
        "`ci` may send 1 MiB to `acme` in an hour; try again in 3600 s"
    );
    clock.advance(Duration::from_secs(HOUR));
    ask(&limits, key, Demand::Upload).expect("paid");
}

#[test]
fn unchanged_limits_go_on_after_a_reload() {
    let (kept, gone) = (
        requests(2, HOUR, 2, LimitBy::Identity),
        requests(1, HOUR, 1, LimitBy::Address),
    );
    let before = Limits::new(&[kept, gone], "acme", None, None);
    let identity = user("ci");
    assert!(passes(&before, "10.0.0.1", &identity));
    let after = Limits::new(&[kept], "acme", None, Some(&before));
    assert!(passes(&after, "10.0.0.1", &identity));
    assert!(!passes(&after, "10.0.0.1", &identity), "two in an hour");
    let changed = requests(3, HOUR, 3, LimitBy::Identity);
    let anew = Limits::new(&[changed], "acme", None, Some(&after));
    assert!(passes(&anew, "10.0.0.1", &identity), "another limit");
}

#[test]
fn clients_are_forgotten_and_floods_bounded() {
    let clock = start();
    let limits = Limits::with_clock(&[requests(10, 1, 10, LimitBy::Identity)], clock.clone());
    for number in 0..MAX_CLIENTS + 20_000 {
        passes(&limits, "10.0.0.1", &user(&number.to_string()));
    }
    let crowd = usize::try_from(CROWD).expect("few");
    assert!(limits.clients() <= MAX_CLIENTS + COUNT_EVERY + crowd);
    clock.advance(Duration::from_secs(60));
    limits.sweep();
    assert_eq!(limits.clients(), 0);
}

#[test]
fn extreme_rates_are_rates() {
    let most = u64::from(u32::MAX);
    for limit in [
        requests(most, 1, most, LimitBy::Tenant),
        requests(1, 86_400, 1, LimitBy::Tenant),
        requests(0, 0, 0, LimitBy::Tenant),
        limit(Limited::Bytes, u64::MAX, 1, u64::MAX, LimitBy::Tenant),
        limit(Limited::Bytes, 1, 86_400, 1, LimitBy::Tenant),
    ] {
        let limits = Limits::new(&[limit], "acme", None, None);
        let identity = Identity::Anonymous;
        let meter = ask(&limits, at("10.0.0.1", &identity), Demand::Request).expect("the first");
        let huge = stream(3, 1 << 20);
        drain(meter.outgoing(&Method::GET, huge)).now_or_never();
        ask(&limits, at("10.0.0.1", &identity), Demand::Request).ok();
    }
}
