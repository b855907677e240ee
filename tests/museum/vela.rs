//! What `vela addon push` sends, byte for byte, and addons as its packages.
//!
//! KubeVela pushes with the library of helm's push plugin. So the plugin's own request is recorded from a socket, and these
//! tests send the same bytes: one of them checks that they still are.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::index::strict;
use super::packages::{gzip, package};
use super::program::{Program, Which};
use crate::support::http::{Reply, exchange};
use crate::support::{corpus, files_below, tools};

/// One push, as Go's HTTP client writes it.
struct Push<'a> {
    /// Path and query.
    target: &'a str,
    /// `user:password` in base64.
    basic: Option<&'a str>,
    boundary: &'a str,
    /// The package's full path on the sender's machine.
    file: &'a str,
    package: &'a [u8],
}

impl Push<'_> {
    fn bytes(&self, host: &str) -> Vec<u8> {
        let boundary = self.boundary;
        let authorization = self
            .basic
            .map(|basic| format!("Authorization: Basic {basic}\r\n"))
            .unwrap_or_default();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\nTransfer-Encoding: chunked\r\n{authorization}\
             Content-Type: multipart/form-data; boundary={boundary}\r\nAccept-Encoding: gzip\r\n\r\n",
            self.target
        );
        let mut form = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"chart\"; filename=\"{}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            self.file
        )
        .into_bytes();
        form.extend_from_slice(self.package);
        form.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        // One chunk holds it all.
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(format!("{:x}\r\n", form.len()).as_bytes());
        bytes.extend_from_slice(&form);
        bytes.extend_from_slice(b"\r\n0\r\n\r\n");
        bytes
    }

    /// Sends it. Go keeps the connection, so it is cut after the answer.
    fn send(&self, to: SocketAddr) -> Reply {
        exchange(to, &self.bytes(&to.to_string()), false).expect("an answer")
    }
}

const BOUNDARY: &str = "7581d0b997be6ff533966e605b39c5719b82ed3b3fdabde2fa8004d4488e";

#[test]
fn the_library_sends_what_these_tests_send() {
    let Some(plugin) = tools::cm_push() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(
        folder.path().join("addon-1.0.0.tgz"),
        package("addon", "1.0.0"),
    )
    .expect("a package");
    for (flags, target, basic) in [
        (
            vec!["-u", "u", "-p", "p", "--force"],
            "/api/org/repo/charts?force",
            Some("dTpw"),
        ),
        (vec![], "/api/org/repo/charts", None),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("a bound socket").to_string();
        let recorder = std::thread::spawn(move || record(&listener));
        let status = Command::new(&plugin)
            .args([
                "addon-1.0.0.tgz",
                &format!("http://{host}/org/repo"),
                "--context-path",
                "/",
            ])
            .args(&flags)
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .stdout(std::process::Stdio::null())
            .status()
            .expect("running the plugin");
        assert!(status.success());
        let sent = recorder.join().expect("a recording");
        let text = String::from_utf8_lossy(&sent).into_owned();
        let boundary = between(&text, "boundary=", "\r\n");
        let file = between(&text, "filename=\"", "\"");
        assert!(
            file.ends_with("/addon-1.0.0.tgz") && file.starts_with('/'),
            "{file}"
        );
        let start = find(&sent, b"application/octet-stream\r\n\r\n") + 28;
        let end = find(&sent, format!("\r\n--{boundary}--").as_bytes());
        let ours = Push {
            target,
            basic,
            boundary,
            file,
            package: &sent[start..end],
        };
        assert!(
            ours.bytes(&host) == sent,
            "the library sends otherwise:\n{}",
            text.chars().take(900).collect::<String>()
        );
    }
}

/// Reads one chunked request to its end and answers that it is saved.
fn record(listener: &TcpListener) -> Vec<u8> {
    let (mut stream, _): (TcpStream, _) = listener.accept().expect("a connection");
    let mut bytes = Vec::new();
    let mut part = [0; 65536];
    while !bytes.ends_with(b"\r\n0\r\n\r\n") {
        let read = stream.read(&mut part).expect("the request");
        assert!(read > 0, "the request ended early");
        bytes.extend_from_slice(&part[..read]);
    }
    let answer = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"saved\":true}";
    stream.write_all(answer).expect("the plugin listens");
    bytes
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).expect("what comes before").1;
    rest.split_once(after).expect("what comes after").0
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes
        .windows(part.len())
        .position(|window| window == part)
        .expect("the part")
}

#[test]
fn the_request_reaches_every_depth_and_is_answered_as_vela_reads_it() {
    for (flags, target, stored) in [
        (&["--depth", "0"][..], "/api/charts", "addon-v1.0.0.tgz"),
        (
            &["--depth", "2"],
            "/api/org/repo/charts",
            "org/repo/addon-v1.0.0.tgz",
        ),
        // vela reads no context path from the index: who pushes must know it.
        (
            &["--depth", "1", "--context-path", "/helm"],
            "/helm/api/org/charts",
            "org/addon-v1.0.0.tgz",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut all = flags.to_vec();
        all.extend(["--basic-auth-user", "u", "--basic-auth-pass", "p"]);
        let server = Program::on_folder(&Which::Chartgate, folder.path(), &all);
        let bytes = package("addon", "v1.0.0");
        let forced = format!("{target}?force");
        let push = |target, basic, package| {
            Push {
                target,
                basic,
                boundary: BOUNDARY,
                file: "/tmp/helm-push-4247676884/addon-v1.0.0.tgz",
                package,
            }
            .send(server.http)
        };
        let reply = push(target, None, &bytes[..]).expect(401);
        assert_eq!(reply.json(), json!({"error": "unauthorized"}));
        push(target, Some("dTpw"), &bytes).expect(201);
        let reply = push(target, Some("dTpw"), &bytes).expect(409);
        assert_eq!(reply.json(), json!({"error": "chart already exists"}));
        push(&forced, Some("dTpw"), &bytes).expect(201);
        let reply = push(target, Some("dTpw"), b"nonsense").expect(400);
        assert!(reply.json()["error"].is_string());
        assert_eq!(super::pair::stored(folder.path()), [stored]);
        let kept = std::fs::read(folder.path().join(stored)).expect("the package");
        assert_eq!(kept, bytes);
    }
}

/// The folders of the corpus that are addons.
fn addons(corpus: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["addons/addons", "addons/experimental/addons"]
        .iter()
        .flat_map(|root| std::fs::read_dir(corpus.join(root)).expect("the corpus' addons"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("metadata.yaml").is_file())
        .collect();
    found.sort();
    found
}

/// An addon as vela packages it: a library chart made of its metadata, and every file of its folder.
fn addon(folder: &Path) -> (Value, Vec<u8>) {
    let metadata = std::fs::read(folder.join("metadata.yaml")).expect("metadata.yaml");
    let metadata: Value = serde_yaml::from_slice(&metadata).expect("YAML");
    let name = metadata["name"].as_str().expect("a name");
    let mut annotations = json!({"addon.name": name});
    for system in ["vela", "kubernetes"] {
        if let Some(need) = metadata["system"][system].as_str() {
            annotations[format!("system.{system}")] = json!(need);
        }
    }
    let version = metadata["version"].as_str().expect("a version");
    let mut chart = json!({
        "apiVersion": "v2", "type": "library", "name": name, "version": version, "appVersion": version,
        "annotations": annotations,
    });
    for (key, field) in [
        ("description", "description"),
        ("icon", "icon"),
        ("url", "home"),
        ("tags", "keywords"),
    ] {
        if !metadata[key].is_null() {
            chart[field] = metadata[key].clone();
        }
    }
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: String, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content)
            .expect("memory takes it");
    };
    let text = serde_yaml::to_string(&chart).expect("YAML");
    add(format!("{name}/Chart.yaml"), text.as_bytes());
    for file in files_below(folder) {
        let path = file.strip_prefix(folder).expect("below the folder");
        if path != Path::new("Chart.yaml") {
            let content = std::fs::read(&file).expect("a file of the addon");
            add(format!("{name}/{}", path.display()), &content);
        }
    }
    let bytes = gzip(&tar.into_inner().expect("memory takes it"));
    (chart, bytes)
}

#[test]
fn every_addon_of_the_catalogue_goes_in_and_comes_back() {
    let Some(corpus) = corpus::folder() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Program::on_folder(&Which::Chartgate, folder.path(), &["--depth", "1"]);
    let all = addons(&corpus);
    assert!(all.len() >= 20, "only {} addons", all.len());
    let mut pushed = Vec::new();
    for path in &all {
        let (chart, package) = addon(path);
        let push = Push {
            target: "/api/addons/charts",
            basic: None,
            boundary: BOUNDARY,
            file: "/tmp/helm-push-1/addon.tgz",
            package: &package,
        };
        let reply = push.send(server.http);
        assert_eq!(reply.status, 201, "{}: {}", path.display(), reply.text());
        pushed.push((chart, package));
    }
    // `vela addon registry add`: the index, strictly.
    let index = strict(&server.get("/addons/index.yaml").expect(200).body);
    assert_eq!(
        index["entries"].as_object().map(serde_json::Map::len),
        Some(pushed.len())
    );
    for (chart, package) in &pushed {
        let name = chart["name"].as_str().expect("a name");
        let entry = &index["entries"][name][0];
        for field in [
            "name",
            "version",
            "appVersion",
            "type",
            "annotations",
            "description",
            "icon",
            "home",
            "keywords",
        ] {
            assert_eq!(entry.get(field), chart.get(field), "{name}: {field}");
        }
        // vela joins a relative URL to the path of the registry.
        let url = entry["urls"][0].as_str().expect("a URL");
        assert!(url.starts_with("charts/"), "{url}");
        let encoded = url.replace('+', "%2B");
        let back = server.get(&format!("/addons/{encoded}")).expect(200);
        assert!(back.body == *package, "{name} came back changed");
        assert_eq!(entry["digest"], corpus::sha256(package).as_str());
    }
}
