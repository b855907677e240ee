use super::*;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

fn config(path: &Path) -> config::Audit {
    config::Audit {
        place: AuditPlace::File(path.to_owned()),
        max_size: 100 << 20,
        keep: 3,
    }
}

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

fn event(number: u64, result: Outcome) -> Event {
    Event {
        time: start(),
        request_id: number.to_string().into(),
        action: "push",
        route: "upload",
        tenant: Some("acme".into()),
        who: Who::unknown(),
        object: None,
        digest: None,
        address: None,
        result,
        status: 201,
        error: None,
        repeated: 0,
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn metric(metrics: &Metrics, result: &str) -> u64 {
    let text = String::from_utf8(metrics.render(&[])).expect("text");
    let start = format!("chartgate_audit_lines_total{{result=\"{result}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&start));
    value.map_or(0, |value| value.parse().expect("a number"))
}

#[test]
fn everything_is_written_by_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let metrics = Arc::new(Metrics::new());
    let audit = Audit::open(
        Some(&config(&path)),
        metrics.clone(),
        Clock::manual(start()),
    )
    .expect("a log");
    for number in 0..1_000 {
        audit.record(event(number, Outcome::Done));
    }
    // Denials that were counted are told too.
    for number in 0..10 {
        audit.record(event(number, Outcome::Denied));
    }
    audit.close();
    let lines = lines(&std::fs::read_to_string(&path).expect("a log"));
    assert_eq!(lines.len(), 1_002);
    for (number, line) in lines[..1_000].iter().enumerate() {
        assert_eq!(line["request_id"], number.to_string());
    }
    assert_eq!(lines[1_001]["repeated"], 9);
    assert_eq!(metric(&metrics, "written"), 1_002);
    assert_eq!(metric(&metrics, "lost"), 0);
}

#[test]
fn a_log_that_does_not_keep_up_blocks_nobody_and_says_how_much_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("mkfifo").success());
    // Opened for reading and writing by the log itself, so opening does not wait; nobody reads.
    let metrics = Arc::new(Metrics::new());
    let audit = Audit::with_room(&config(&path), 16, metrics.clone(), Clock::manual(start()))
        .expect("a log");
    let total = 5_000;
    let begun = std::time::Instant::now();
    for number in 0..total {
        audit.record(event(number, Outcome::Done));
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "it waited");
    let lost = metric(&metrics, "lost");
    assert!(lost > 0, "a pipe takes 64 KiB, and these are more");
    // Somebody reads after all.
    let mut pipe = std::fs::File::open(&path).expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("text");
        text
    });
    audit.close();
    drop(audit);
    let lines = lines(&reader.join().expect("a reader"));
    let told: u64 = lines
        .iter()
        .filter(|line| line["result"] == "lost")
        .map(|line| line["lost"].as_u64().expect("a number"))
        .sum();
    let written = lines.iter().filter(|line| line["result"] == "done").count() as u64;
    assert_eq!(told, lost);
    assert_eq!(written + told, total);
}

#[test]
fn without_configuration_nothing_is_written() {
    let audit = Audit::open(None, Arc::default(), Clock::system()).expect("no log");
    assert!(!audit.is_on());
    audit.record(event(1, Outcome::Done));
    audit.reopen();
    audit.close();
}

#[test]
fn a_place_that_cannot_be_written_is_told_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("absent/audit.log");
    let error = Audit::open(Some(&config(&path)), Arc::default(), Clock::system())
        .expect_err("no such folder");
    assert!(error.message().contains("absent/audit.log"), "{error}");
    assert!(error.message().contains("audit.file"), "{error}");
}

#[test]
fn two_processes_share_a_file_and_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let config = config::Audit {
        max_size: 16 << 10,
        keep: 1000,
        ..config(&path)
    };
    let open = || Audit::open(Some(&config), Arc::default(), Clock::manual(start()));
    let logs = [open().expect("a log"), open().expect("a log")];
    let each = 2_000;
    std::thread::scope(|scope| {
        for (number, log) in logs.iter().enumerate() {
            scope.spawn(move || {
                for position in 0..each {
                    let id = number as u64 * each + position;
                    log.record_patiently(event(id, Outcome::Done));
                }
                log.close();
            });
        }
    });
    let mut ids = Vec::new();
    for entry in folder.path().read_dir().expect("a folder") {
        let text = std::fs::read_to_string(entry.expect("a file").path()).expect("text");
        let of = |line: &Value| line["request_id"].as_str().map(str::to_owned);
        ids.extend(lines(&text).iter().filter_map(of));
    }
    assert_eq!(ids.len() as u64, 2 * each);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len() as u64, 2 * each);
    assert!(logs.iter().all(|log| log.missing() == 0));
}

#[test]
fn who_can_wait_loses_nothing_and_not_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let log = Audit::with_room(&config(&path), 4, Arc::default(), Clock::manual(start()));
    let log = log.expect("a log");
    for number in 0..2_000 {
        log.record_patiently(event(number, Outcome::Done));
    }
    log.close();
    assert_eq!(log.missing(), 0);
    let text = std::fs::read_to_string(&path).expect("a log");
    assert_eq!(lines(&text).len(), 2_000);
    // Nobody takes anything any more.
    log.record_patiently(event(0, Outcome::Done));
    assert_eq!(log.missing(), 1);
}
