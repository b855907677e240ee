//! Several machines on one bucket share their tokens, and what happens while it does not answer.

use super::*;
use crate::support::fake::{FakeBucket, FakeS3, On};
use crate::support::stores::BUCKET;

fn start(bucket: &FakeBucket, refresh: &str) -> Gateway {
    let mut config = config();
    config["store"] = json!({
        "type": "s3", "bucket": BUCKET, "endpoint": bucket.url(), "prefix": "team", "refresh": refresh,
        "access_key_id": "key", "secret_access_key": "secret",
    });
    Gateway::start(config)
}

#[test]
fn what_one_makes_counts_on_the_other_and_what_one_revokes_does_not() {
    let bucket = FakeS3::new(BUCKET).run();
    let (here, there) = (start(&bucket, "1s"), start(&bucket, "1s"));
    let token = create(&here, "acme/*", "pull", &[]);
    get(&here, "/acme/a/index.yaml", &token).expect(200);
    get(&there, "/acme/a/index.yaml", &token).expect(200);
    let keys = bucket.keys();
    let kept = format!("team/.chartgate/tokens/{}.json", id(&token));
    assert!(keys.contains(&kept), "{keys:?}");
    let text = bucket.bytes(&kept).expect("there");
    assert!(!String::from_utf8_lossy(&text).contains(&token[17..]));
    assert!(!here.data().join("tokens").exists());
    // No repository shows what is kept there.
    assert!(
        !get(&here, "/acme/a/index.yaml", &token)
            .text()
            .contains("chartgate")
    );

    let revoke = Call::new("DELETE", &format!("/tokens/{}", id(&token)));
    revoke.send(here.admin).expect(200);
    get(&here, "/acme/a/index.yaml", &token).expect(401);
    until_status(&there, "/acme/a/index.yaml", &token, 401);
    assert!(!bucket.keys().contains(&kept));
}

#[test]
fn a_bucket_that_is_away_keeps_out_only_those_nobody_knows() {
    let bucket = FakeS3::new(BUCKET).run();
    let gateway = start(&bucket, "1s");
    let token = create(&gateway, "acme/*", "pull", &[]);
    let removed = create(&gateway, "acme/*", "pull", &[]);
    get(&gateway, "/v2/acme/a/x/tags/list", &token).expect(404);
    let elsewhere = Gateway::prepare(tempfile::tempdir().expect("a folder"), config());
    let unknown = create(&elsewhere, "acme/*", "pull", &[]);
    get(&gateway, "/v2/", &unknown).expect(401);
    bucket.refusal(On::All, 403, "AccessDenied");
    until("a warning", A_SECOND, || {
        // Whoever is known stays so.
        get(&gateway, "/v2/", &token).expect(200);
        let log = gateway.log();
        let told = log.lines().filter(|line| line.contains("the tokens in"));
        (told.count() > 0).then_some(())
    });
    until("nobody can say", A_SECOND, || {
        let status = get(&gateway, "/v2/", &unknown).status;
        assert!(matches!(status, 401 | 502), "{status}");
        (status == 502).then_some(())
    });
    get(&gateway, "/v2/", &token).expect(200);
    let revoke = Call::new("DELETE", &format!("/tokens/{}", id(&removed)));
    let failed = revoke.send(gateway.admin);
    assert!(failed.status >= 500, "{} {}", failed.status, failed.text());
    bucket.heal();
    revoke.send(gateway.admin).expect(200);
    get(&gateway, "/v2/", &removed).expect(401);
    get(&gateway, "/v2/", &token).expect(200);
}
