use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{PASSWORD, ci, config, line, lines, log_of};
use crate::support::gateway::Gateway;
use crate::support::http::Call;

/// A deletion that fails and has a line of its own, whoever does it how often.
fn deletion(number: usize) -> Call {
    let call = Call::new("DELETE", "/api/acme/charts/absent/1.0.0");
    // Long, so that few of them fill a pipe.
    let id = format!("{number:0>100}");
    ci(call, PASSWORD).header("X-Request-Id", &id)
}

#[test]
fn a_log_that_nobody_reads_slows_no_request_and_no_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new("mkfifo")
        .arg(folder.path().join("audit.log"))
        .status();
    assert!(made.expect("mkfifo").success());
    let mut gateway = Gateway::start_in(folder, config());
    // A pipe takes 64 KiB, which is less than these; whoever waited for it would wait for ever.
    let begun = Instant::now();
    for number in 0..400 {
        gateway.send(&deletion(number)).expect(404);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
    let begun = Instant::now();
    gateway.stop();
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        gateway
            .log()
            .contains("the audit log could not be written in time"),
        "{}",
        gateway.log()
    );
}

#[test]
fn a_full_disk_is_told_and_its_gap_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    // A disk without any room.
    std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
    let gateway = Gateway::start_in(folder, config());
    for number in 0..20 {
        gateway.send(&deletion(number)).expect(404);
    }
    gateway.wait_log(&["the audit log cannot be written"]);
    std::fs::remove_file(&path).expect("ours");
    gateway.signal("HUP");
    let mut number = 20;
    crate::support::until("a line", Duration::from_secs(10), || {
        number += 1;
        gateway.send(&deletion(number)).expect(404);
        std::fs::metadata(log_of(&gateway))
            .is_ok_and(|found| found.len() > 0)
            .then_some(())
    });
    let gap = line(&gateway, "the gap", |line| line["result"] == "lost");
    assert!(gap["lost"].as_u64().is_some_and(|lost| lost >= 20), "{gap}");
    let metrics = gateway.admin("/metrics").text();
    assert!(
        metrics.contains("chartgate_audit_lines_total{result=\"lost\"}"),
        "{metrics}"
    );
}

#[test]
fn a_log_that_is_removed_is_begun_again() {
    let gateway = Gateway::start(config());
    gateway.send(&deletion(1)).expect(404);
    line(&gateway, "a line", |line| line["action"] == "delete");
    std::fs::remove_file(log_of(&gateway)).expect("ours");
    gateway.send(&deletion(2)).expect(404);
    crate::support::until("a new file", Duration::from_secs(10), || {
        log_of(&gateway).exists().then_some(())
    });
    line(&gateway, "the next line", |line| line["action"] == "delete");
}

#[test]
fn rotation_under_load_loses_nothing() {
    let mut config = config();
    config["audit"] = json!({"file": "audit.log", "max_size": "64KiB", "keep": 100});
    let mut gateway = Gateway::start(config);
    let (threads, each) = (4, 300);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let gateway = &gateway;
            scope.spawn(move || {
                for number in 0..each {
                    gateway.send(&deletion(thread * each + number)).expect(404);
                }
            });
        }
    });
    gateway.stop();
    let mut ids: Vec<String> = lines(&gateway)
        .iter()
        .map(|line| line["request_id"].to_string())
        .collect();
    let mut files = 1;
    while let Ok(text) =
        std::fs::read_to_string(gateway.folder().join(format!("audit.log.{files}")))
    {
        assert!(text.len() <= 64 << 10, "{files}: {}", text.len());
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            ids.push(line["request_id"].to_string());
        }
        files += 1;
    }
    assert!(files > 4, "only {files} files");
    assert_eq!(ids.len(), threads * each);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), threads * each);
}
