//! Wrong passwords on every surface: one account of them all, and who goes on meanwhile.

use serde_json::json;

use super::{basic, failed};
use crate::support::gateway::Gateway;
use crate::support::http::Call;

/// bcrypt of `secret`.
const USERS: &str = "ci:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\ndev:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

fn gateway(attempts: u32) -> Gateway {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("htpasswd"), USERS).expect("written");
    Gateway::start_in(
        folder,
        json!({
            "auth": {"users_file": "htpasswd", "attempts": attempts},
            "tenants": {"acme": {
                "hosted": {},
                "access": {"rules": [{"subjects": "user:*", "actions": ["pull", "push"]}]},
            }},
        }),
    )
}

/// One request of each surface.
fn surfaces() -> [Call; 4] {
    [
        Call::get("/acme/index.yaml"),
        Call::get("/api/acme/charts"),
        Call::get("/v2/"),
        Call::get("/token?service=x&scope=repository:acme/a:push"),
    ]
}

#[test]
fn all_surfaces_count_together() {
    let gateway = gateway(4);
    for call in surfaces() {
        gateway.send(&basic(call, "dev", "secret")).expect(200);
    }
    for (number, call) in surfaces().into_iter().enumerate() {
        gateway
            .send(&basic(call, "ci", &format!("guess {number}")))
            .expect(401);
    }
    for (number, call) in surfaces().into_iter().enumerate() {
        // The pause is a second and a bit: each of these is another guess, which makes it longer once it is over.
        let mut more = 0;
        let reply = loop {
            let guess = format!("more {number} {more}");
            let reply = gateway.send(&basic(call.clone(), "ci", &guess));
            if reply.status == 429 {
                break reply;
            }
            more += 1;
            assert!(more < 20, "no pause at {}", call.line());
        };
        let after = reply.header("retry-after").expect("when to come back");
        let after: u64 = after.parse().expect("seconds");
        assert!((1..=376).contains(&after), "{after}");
        assert!(
            reply.text().contains("too many wrong passwords"),
            "{}",
            reply.text()
        );
        // Right, never seen: not looked at. Another user of the same address: as ever.
        gateway
            .send(&basic(call.clone(), "ci", "secret"))
            .expect(429);
        gateway.send(&basic(call, "dev", "secret")).expect(200);
    }
    let metrics = gateway.admin("/metrics");
    for (surface, least) in [("charts", 2), ("registry", 1), ("token", 1)] {
        assert!(failed(&metrics, surface, "wrong") >= least, "{surface}");
        assert!(failed(&metrics, surface, "paused") >= least, "{surface}");
    }
}

#[test]
fn a_known_password_goes_on_and_a_changed_one_counts_at_once() {
    let gateway = gateway(2);
    let ci = |password: &str| basic(Call::get("/acme/index.yaml"), "ci", password);
    gateway.send(&ci("secret")).expect(200);
    for guess in ["a", "b"] {
        gateway.send(&ci(guess)).expect(401);
    }
    gateway.send(&ci("c")).expect(429);
    for _ in 0..50 {
        gateway.send(&ci("secret")).expect(200);
    }
    // `pass:word` from now on.
    let users = "ci:{SHA}JfOwpCDy5ASLqp0M24rdutzyYk8=\n";
    std::fs::write(gateway.folder().join("htpasswd"), users).expect("written");
    let limit = std::time::Duration::from_secs(10);
    crate::support::until("the old password to end", limit, || {
        (gateway.send(&ci("secret")).status != 200).then_some(())
    });
}

#[test]
fn a_robot_with_an_old_password_does_not_stop_those_with_the_new_one() {
    let gateway = gateway(3);
    let ci = |password: &str| basic(Call::get("/acme/index.yaml"), "ci", password);
    let mut paused = 0;
    for _ in 0..30 {
        paused += u32::from(gateway.send(&ci("old")).status == 429);
    }
    assert!(paused > 10, "{paused}");
    gateway.send(&ci("secret")).expect(200);
}

/// Each takes a good part of a second in a debug build; together they would take a minute.
#[test]
fn a_swarm_with_one_password_is_one_computation() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = crate_line("ci", "secret");
    std::fs::write(folder.path().join("htpasswd"), line).expect("written");
    let gateway = Gateway::start_in(
        folder,
        json!({
            "auth": {"users_file": "htpasswd"},
            "tenants": {"acme": {"hosted": {}, "access": {"rules": [{"subjects": "user:ci", "actions": "pull"}]}}},
        }),
    );
    let start = std::time::Instant::now();
    gateway
        .send(&basic(Call::get("/acme/index.yaml"), "ci", "wrong"))
        .expect(401);
    let one = start.elapsed();
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| {
                gateway
                    .send(&basic(Call::get("/acme/index.yaml"), "ci", "secret"))
                    .expect(200)
            });
        }
    });
    let all = start.elapsed();
    assert!(all < one * 20, "one: {one:?}, sixty: {all:?}");
}

fn crate_line(user: &str, password: &str) -> String {
    chartgate::auth::bcrypt_line(user, password).expect("a line")
}
