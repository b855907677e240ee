//! curl, as ChartMuseum's documentation and people's scripts use it.

use std::path::Path;
use std::process::Command;

use super::packages::{package, provenance};
use super::program::{Program, Which};
use crate::support::tools;

/// What `curl arguments` prints, with the status in a line of its own at the end.
fn curl(folder: &Path, arguments: &[&str]) -> Option<(String, u16)> {
    let output = Command::new(tools::find("curl")?)
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--noproxy",
            "*",
            "-w",
            "\n%{http_code}",
        ])
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("running curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "curl {arguments:?}: {error}");
    let (body, status) = text.rsplit_once('\n').expect("a line with the status");
    Some((body.to_owned(), status.parse().expect("a status")))
}

#[test]
fn curl_uploads_lists_and_deletes_in_every_form() {
    let files = tempfile::tempdir().expect("a temporary folder");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Program::on_folder(&Which::Chartgate, folder.path(), &[]);
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0"] {
        let file = files.path().join(format!("mychart-{version}.tgz"));
        std::fs::write(&file, package("mychart", version)).expect("a package");
        let file = files.path().join(format!("mychart-{version}.tgz.prov"));
        std::fs::write(file, provenance("mychart", version)).expect("a provenance file");
    }
    // A package of 3 MB, for which curl waits until the server wants it.
    let noise: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let big = super::packages::Package::of("name: big\nversion: 1.0.0\n").file("noise", noise);
    std::fs::write(files.path().join("big.tgz"), big.build()).expect("a package");

    let charts = server.url("/api/charts");
    let prov = server.url("/api/prov");
    let version = |version: &str| format!("{charts}/mychart/{version}");
    let saved = ("{\"saved\":true}", 201);
    for (arguments, expected) in [
        (vec!["--data-binary", "@mychart-0.1.0.tgz", &charts], saved),
        (
            vec!["--data-binary", "@mychart-0.1.0.tgz.prov", &prov],
            saved,
        ),
        (
            vec!["--data-binary", "@mychart-0.1.0.tgz", &charts],
            ("{\"error\":\"file already exists\"}", 409),
        ),
        (
            vec![
                "--data-binary",
                "@mychart-0.1.0.tgz",
                &format!("{charts}?force"),
            ],
            saved,
        ),
        (
            vec![
                "-F",
                "chart=@mychart-0.2.0.tgz",
                "-F",
                "prov=@mychart-0.2.0.tgz.prov",
                &charts,
            ],
            saved,
        ),
        (
            vec!["-F", "chart=@mychart-0.2.0.tgz", &charts],
            ("{\"error\":\"chart already exists\"}", 409),
        ),
        (
            vec!["-X", "POST", "-T", "mychart-0.3.0.tgz", &charts],
            saved,
        ),
        (
            vec![
                "-X",
                "POST",
                "-H",
                "Transfer-Encoding: chunked",
                "-H",
                "Content-Type: application/gzip",
                "--data-binary",
                "@mychart-0.4.0.tgz",
                &charts,
            ],
            saved,
        ),
        (
            vec![
                "-H",
                "Expect: 100-continue",
                "--data-binary",
                "@big.tgz",
                &charts,
            ],
            saved,
        ),
        (
            vec!["--http1.0", "--data-binary", "@mychart-0.5.0.tgz", &charts],
            saved,
        ),
        (
            vec!["-X", "DELETE", &version("0.1.0")],
            ("{\"deleted\":true}", 200),
        ),
        (
            vec!["--data", "this is no package at all", &charts],
            ("{\"error\":\"gzip: invalid header\"}", 400),
        ),
        (
            vec!["-d", "@mychart-0.1.0.tgz.prov", &prov],
            ("{\"error\":\"invalid provenance file\"}", 500),
        ),
    ] {
        let Some((body, status)) = curl(files.path(), &arguments) else {
            return;
        };
        assert_eq!((body.as_str(), status), expected, "{arguments:?}");
    }
    let stored = super::pair::stored(folder.path());
    assert_eq!(
        stored,
        [
            "big-1.0.0.tgz",
            "mychart-0.2.0.tgz",
            "mychart-0.2.0.tgz.prov",
            "mychart-0.3.0.tgz",
            "mychart-0.4.0.tgz",
            "mychart-0.5.0.tgz"
        ]
    );
    for name in &stored {
        let kept = std::fs::read(folder.path().join(name)).expect("what is stored");
        let source = if name.starts_with("big") {
            "big.tgz"
        } else {
            name
        };
        let sent = std::fs::read(files.path().join(source)).expect("what was sent");
        assert!(kept == sent, "{name} is not what was sent");
    }
    let list = curl(files.path(), &["-f", &version("0.4.0")]).expect("curl");
    assert!(list.0.contains("\"version\":\"0.4.0\""), "{list:?}");
    let head = curl(files.path(), &["-I", "-f", &version("0.4.0")]).expect("curl");
    assert_eq!(head.1, 200);
    let index = server.url("/index.yaml");
    let zipped = curl(files.path(), &["--compressed", &index]).expect("curl");
    assert!(zipped.0.contains("mychart-0.4.0.tgz"), "{zipped:?}");
    let page = curl(
        files.path(),
        &["-G", "-d", "offset=1", "-d", "limit=1", &charts],
    )
    .expect("curl");
    assert!(page.0.starts_with("{\"mychart\":["), "{page:?}");
}
