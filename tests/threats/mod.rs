//! SECURITY.md names the tests that cover each threat; here is what keeps it honest, and the tests that have no other home.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::http::Call;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of the table of threats: the threat, and the last column.
fn rows(text: &str) -> Vec<(String, String)> {
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| threat |"));
    rows.skip(2)
        .take_while(|line| line.starts_with("| "))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            assert_eq!(cells.len(), 3, "{line}");
            (cells[0].to_owned(), cells[2].to_owned())
        })
        .collect()
}

/// The tests that a text names: `file::test` in back-ticks.
fn named(text: &str) -> Vec<(&str, &str)> {
    let words = text.split('`').skip(1).step_by(2);
    words.filter_map(|word| word.split_once("::")).collect()
}

/// Whether `source` has a test of this name: a function with an attribute that makes it one.
fn has_test(source: &str, name: &str) -> bool {
    let wanted = format!("fn {name}(");
    source.match_indices(&wanted).any(|(at, _)| {
        let before = &source[..at];
        // Up to whatever stands before the attributes.
        let start = before.rfind("\n\n").unwrap_or_default();
        let attributes = &before[start..];
        let is_test = ["#[test]", "#[tokio::test"].iter();
        is_test
            .clone()
            .any(|attribute| attributes.contains(attribute))
            && !attributes.contains("#[ignore")
    })
}

#[test]
fn every_test_that_is_named_exists() {
    let text = std::fs::read_to_string(root().join("SECURITY.md")).expect("SECURITY.md");
    let rows = rows(&text);
    assert!(rows.len() >= 20, "the table was not found");
    let mut problems = Vec::new();
    let mut threats = BTreeSet::new();
    for (threat, tests) in &rows {
        assert!(threats.insert(threat), "`{threat}` stands there twice");
        let tests_named = named(tests);
        if tests_named.is_empty() && !tests.contains("**not covered**") {
            problems.push(format!(
                "`{threat}` has no test and is not marked as not covered"
            ));
        }
        for (file, name) in tests_named {
            match std::fs::read_to_string(root().join(file)) {
                Ok(source) if has_test(&source, name) => {}
                Ok(_) => problems.push(format!("`{threat}`: there is no test `{name}` in {file}")),
                Err(error) => problems.push(format!("`{threat}`: {file}: {error}")),
            }
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn the_reader_of_tests_reads_tests() {
    let source = "fn helper() {}\n\n#[test]\nfn one() {}\n\n    #[tokio::test(start_paused = true)]\n    async fn two() {}\n\n#[test]\n#[ignore = \"slow\"]\nfn three() {}\n";
    assert!(has_test(source, "one") && has_test(source, "two"));
    for name in ["helper", "three", "on", "four"] {
        assert!(!has_test(source, name), "{name}");
    }
    assert_eq!(
        named("see `a.rs::b` and `c` and `d.rs::e`"),
        [("a.rs", "b"), ("d.rs", "e")]
    );
}

/// The most memory that the process has had so far, in bytes.
fn peak(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid()));
    let status = status.expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number
        .expect("VmHWM")
        .trim()
        .parse::<u64>()
        .expect("a number")
        << 10
}

#[test]
fn forms_are_not_kept_in_memory_whatever_their_parts_say() {
    const LARGE: usize = 48 << 20;
    let gateway = Gateway::start(json!({
        "tenants": {"acme": {"hosted": {"max_upload": "64MiB"}, "access": {"anonymous": ["pull", "push"]}}},
    }));
    let file = "Content-Disposition: form-data; name=\"chart\"; filename=\"a.tgz\"";
    let other = "Content-Disposition: form-data; name=\"note\"";
    let long = "a".repeat(LARGE);
    let before = peak(&gateway);
    for (body, says) in [
        // A head that does not end, a beginning that is no part, and what nobody asked for between two parts.
        (format!("--b\r\n{file}\r\nX: {long}"), "fields of a part"),
        (long.clone(), "fields of a part"),
        // Contents may be long, wanted or not; this one is no package.
        (
            format!("--b\r\n{other}\r\n\r\n{long}\r\n--b--\r\n"),
            "no package",
        ),
        (format!("--b\r\n{file}\r\n\r\n{long}\r\n--b--\r\n"), ""),
    ] {
        let call = Call::new("POST", "/api/acme/charts")
            .header("Content-Type", "multipart/form-data; boundary=b");
        let reply = call.body(body).send(gateway.http).expect(400);
        assert!(reply.text().contains(says), "{}", reply.text());
    }
    let grown = peak(&gateway).saturating_sub(before);
    assert!(
        grown < LARGE as u64 / 2,
        "{grown} bytes for a form of {LARGE}"
    );
}

/// What a careless server would take for the end of a line.
const ENDS: [&str; 6] = ["%0d%0a", "%0a", "%0d", "%c0%8a", "%e2%80%a8", "%c2%85"];

#[test]
fn nothing_of_a_request_becomes_a_header_or_a_line_of_the_log() {
    let mut gateway = Gateway::start(json!({
        "tenants": {"acme": {"hosted": true, "access": {"anonymous": ["pull", "push"]}}},
    }));
    for end in ENDS {
        let evil = format!("x{end}X-Injected:%20yes{end}{end}%7B%22level%22:%22FORGED%22%7D");
        for path in [
            format!("/acme/charts/{evil}.tgz"),
            format!("/acme/{evil}/index.yaml"),
            format!("/{evil}"),
            format!("/api/acme/charts/{evil}/1"),
            format!("/v2/acme/{evil}/manifests/1"),
            format!("/v2/acme/o/app/manifests/{evil}"),
            format!("/v2/acme/o/app/tags/list?n=1&last={evil}"),
            format!("/v2/acme/o/app/tags/list?ns={evil}"),
            format!("/token?service={evil}&scope=repository:{evil}:pull"),
        ] {
            for method in ["GET", "POST", "PUT", "DELETE"] {
                let call =
                    Call::new(method, &path).header("X-Request-Id", "a\tb{\"level\":\"FORGED\"}");
                let reply = gateway.send(&call.body(""));
                let injected = reply.headers.iter().find(|(name, value)| {
                    name == "x-injected" || value.contains(['\r', '\n', '\0'])
                });
                assert!(injected.is_none(), "{method} {path}: {injected:?}");
                assert!(reply.status < 500, "{method} {path}: {}", reply.status);
            }
        }
    }
    gateway.stop();
    let log = gateway.log();
    let mut requests = 0;
    for line in log.lines() {
        let value: Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("a line that is not JSON ({error}): {line}"));
        assert_ne!(value["level"], "FORGED", "{line}");
        requests += usize::from(value["target"] == "chartgate::access");
    }
    assert!(requests > 100, "only {requests} requests were logged");
}
