//! Requests that no decent client sends: each gets a clear 4xx, none a panic, none a file that it should not see.

use serde_json::json;

use crate::oracle::tenant;
use crate::support::corpus;
use crate::support::fake::package;
use crate::support::gateway::Gateway;
use crate::support::http::{Call, Reply, exchange};

/// Lies beside the data folder, in it, and in every path that a traversal could reach.
const SECRET: &str = "canary-5b1e0c";

fn gateway() -> Gateway {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for place in ["", "data", "data/hosted", "packages"] {
        let place = folder.path().join(place);
        std::fs::create_dir_all(&place).expect("a folder");
        std::fs::write(place.join("secret.txt"), SECRET).expect("writing a file");
        std::fs::write(place.join("secret.tgz"), SECRET).expect("writing a file");
    }
    std::fs::write(
        folder.path().join("packages/web-1.0.0.tgz"),
        package("web", "1.0.0", &[]),
    )
    .expect("writing a package");
    let mut one = tenant(&["local"]);
    one["hosted"] = json!({"max_upload": "256KiB"});
    one["access"] = json!({"anonymous": ["pull", "push", "delete"]});
    let packages = folder.path().join("packages");
    Gateway::start_in(
        folder,
        json!({
            "upstreams": {"local": {"type": "dir", "url": packages}},
            "tenants": {"t": one, "deep/er": {"hosted": {}, "access": {"anonymous": ["pull", "push"]}}},
        }),
    )
}

/// Sends `head` (lines without their ends) and expects one of `allowed`, or, with 0 among them, no answer at all.
#[track_caller]
fn expect(gateway: &Gateway, head: &[&str], allowed: &[u16]) {
    let mut bytes = head.join("\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    expect_raw(gateway, &bytes, allowed);
}

#[track_caller]
fn expect_raw(gateway: &Gateway, bytes: &[u8], allowed: &[u16]) {
    let shown: String = String::from_utf8_lossy(bytes).chars().take(120).collect();
    let head_only = bytes.starts_with(b"HEAD ");
    match exchange(gateway.http, bytes, head_only) {
        Ok(reply) => {
            assert!(
                allowed.contains(&reply.status),
                "{shown:?} was answered {}: {}",
                reply.status,
                reply.text()
            );
            no_secret(&shown, &reply);
        }
        Err(error) => assert!(allowed.contains(&0), "{shown:?} was not answered: {error}"),
    }
    gateway.get("/t/index.yaml").expect(200);
}

#[track_caller]
fn no_secret(request: &str, reply: &Reply) {
    assert!(
        !reply.text().contains(SECRET),
        "{request:?} shows a file that is not ours to show"
    );
}

#[test]
fn paths_that_climb_are_refused() {
    let gateway = gateway();
    for path in [
        "/../secret.txt",
        "/t/../secret.txt",
        "/t/../../../../../../etc/passwd",
        "/t/charts/../secret.tgz",
        "/t/charts/../../secret.tgz",
        "/t/charts/..%2fsecret.tgz",
        "/t/charts/..%2F..%2Fsecret.tgz",
        "/t/charts/%2e%2e/secret.tgz",
        "/t/charts/%2e%2e%2fsecret.tgz",
        "/t/charts/%252e%252e%252fsecret.tgz",
        "/t/charts/..%5csecret.tgz",
        "/t/charts/..\\secret.tgz",
        "/t/charts/./web-1.0.0.tgz/../secret.tgz",
        "/t/charts//etc/passwd.tgz",
        "/t/charts/%2fetc%2fpasswd.tgz",
        "/t%2f..%2f..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/t/charts/secret.tgz",
        "/t/charts/.tgz",
        "/t/charts/..tgz",
        "/t/charts/...tgz.prov",
        "/t/charts/web-1.0.0%00.tgz",
        "/t/charts/%00",
        "/t%00/index.yaml",
        "/t/charts/web-1.0.0.tgz%0d%0aX-Injected:%20yes",
        "/t/charts/%ff%fe.tgz",
        "/t/charts/%zz.tgz",
        "/t/charts/%",
        "/t/charts/",
        "/t/charts",
        "/api/t/charts/../../secret",
        "/api/../t/charts",
        "/api/t%2f..%2fdeep%2fer/charts",
        "/v2/../secret.txt",
        "/deep/er/../../t/charts/../secret.tgz",
        "/index.yaml",
        "/nobody/index.yaml",
        "/t",
    ] {
        expect(
            &gateway,
            &[&format!("GET {path} HTTP/1.1"), "Host: a"],
            &[400, 404],
        );
    }
    for path in [
        "/api/t/charts/../x/1.0.0",
        "/api/t/charts/..%2fsecret/1.0.0",
        "/api/t/charts/secret/..%2f1",
    ] {
        expect(
            &gateway,
            &[
                &format!("DELETE {path} HTTP/1.1"),
                "Host: a",
                "Content-Length: 0",
            ],
            &[400, 404, 405],
        );
    }
    for place in [
        "secret.txt",
        "data/secret.tgz",
        "data/hosted/secret.tgz",
        "packages/secret.tgz",
    ] {
        assert!(
            gateway.folder().join(place).is_file(),
            "{place} was deleted"
        );
    }
}

#[test]
fn equivalent_spellings_of_a_path_are_answered_alike() {
    let gateway = gateway();
    for path in [
        "/t/charts/web-1.0.0.tgz",
        "/t//charts/web-1.0.0.tgz",
        "//t/charts//web-1.0.0.tgz",
        "/t/charts/web%2D1.0.0.tgz",
        "/t/charts/web-1.0.0.tgz?cache=no",
    ] {
        let reply = gateway.get(path).expect(200);
        assert_eq!(reply.body, package("web", "1.0.0", &[]), "{path}");
    }
    expect(
        &gateway,
        &["GET http://a/t/index.yaml HTTP/1.1", "Host: a"],
        &[200],
    );
}

#[test]
fn methods_that_a_route_does_not_have_are_refused() {
    let gateway = gateway();
    for method in [
        "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "BREW", "get",
    ] {
        for path in ["/t/index.yaml", "/t/charts/web-1.0.0.tgz", "/health"] {
            expect(
                &gateway,
                &[
                    &format!("{method} {path} HTTP/1.1"),
                    "Host: a",
                    "Content-Length: 0",
                ],
                &[400, 405, 501],
            );
        }
    }
    let reply = gateway.send(&Call::new("PUT", "/t/index.yaml").body("x"));
    assert_eq!(reply.status, 405);
    assert!(
        reply
            .header("allow")
            .is_some_and(|allow| allow.contains("GET")),
        "405 says what would work: {:?}",
        reply.headers
    );
    expect(
        &gateway,
        &["CONNECT a:443 HTTP/1.1", "Host: a:443"],
        &[400, 405, 501],
    );
    expect(&gateway, &["GET * HTTP/1.1", "Host: a"], &[400, 404]);
    expect(
        &gateway,
        &[
            "HEAD /t/charts/none-1.0.0.tgz HTTP/1.1",
            "Host: a",
            "Connection: close",
        ],
        &[404],
    );
}

#[test]
fn malformed_heads_are_refused() {
    let gateway = gateway();
    let long = "a".repeat(20_000);
    let get = "GET /t/index.yaml HTTP/1.1";
    expect(&gateway, &[get], &[400]);
    expect(&gateway, &[get, "Host: a", "Host: b"], &[400]);
    expect(&gateway, &[get, "Host: a/../b"], &[400]);
    expect(&gateway, &[get, "Host: a b"], &[400]);
    expect(
        &gateway,
        &[&format!("GET /t/charts/{long}.tgz HTTP/1.1"), "Host: a"],
        &[400, 404, 414, 431],
    );
    expect(
        &gateway,
        &[&format!("GET /{} HTTP/1.1", "a/".repeat(9_000)), "Host: a"],
        &[400, 404, 414, 431],
    );
    let huge = format!("X-Long: {}", "b".repeat(200_000));
    expect(&gateway, &[get, "Host: a", &huge], &[400, 431, 0]);
    let many: Vec<String> = (0..2_000).map(|number| format!("X-{number}: 1")).collect();
    let mut head = vec![get, "Host: a"];
    head.extend(many.iter().map(String::as_str));
    expect(&gateway, &head, &[400, 431, 0]);
    expect(&gateway, &[get, "Host: a", "No colon here"], &[400, 0]);
    expect(&gateway, &[get, "Host: a", "Bad name: x"], &[400, 0]);
    expect(&gateway, &[get, "Host: a", "X: a\0b"], &[400, 0]);
    expect(
        &gateway,
        &["GET /t/index.yaml HTTP/9.9", "Host: a"],
        &[400, 505, 0],
    );
    expect(
        &gateway,
        &["GET  /t/index.yaml  HTTP/1.1", "Host: a"],
        &[400, 404, 0],
    );
    expect(&gateway, &["GET /t/index.yaml"], &[400, 0]);
    for bytes in [
        &b"\r\n\r\n\r\n"[..],
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /t/\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /t/\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        // Who sends no HTTP may be hung up on.
        exchange_quickly(&gateway, bytes);
    }
}

/// Sends garbage and closes the sending side, so that a server that waits for more sees its end.
fn exchange_quickly(gateway: &Gateway, bytes: &[u8]) -> Option<Vec<u8>> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(gateway.http).expect("it listens");
    stream.write_all(bytes).ok()?;
    stream.shutdown(std::net::Shutdown::Write).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.0 4"),
        "{:?} was answered {text:?}",
        String::from_utf8_lossy(bytes)
    );
    gateway.get("/t/index.yaml").expect(200);
    Some(answer)
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    let gateway = gateway();
    let post = "POST /api/t/charts HTTP/1.1";
    let bad = [400, 411, 413, 501, 0];
    expect(&gateway, &[post, "Host: a", "Content-Length: -1"], &bad);
    expect(&gateway, &[post, "Host: a", "Content-Length: many"], &bad);
    expect(
        &gateway,
        &[post, "Host: a", "Content-Length: 99999999999999999999"],
        &bad,
    );
    expect(
        &gateway,
        &[post, "Host: a", "Content-Length: 4", "Content-Length: 5"],
        &bad,
    );
    expect(
        &gateway,
        &[
            post,
            "Host: a",
            "Content-Length: 4",
            "Transfer-Encoding: chunked",
        ],
        &bad,
    );
    expect(
        &gateway,
        &[post, "Host: a", "Transfer-Encoding: gzip, identity"],
        &bad,
    );
    expect_raw(
        &gateway,
        b"POST /api/t/charts HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nXYZ\r\nabc\r\n0\r\n\r\n",
        &bad,
    );
    expect_raw(
        &gateway,
        b"POST /api/t/charts HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        &bad,
    );
    expect_raw(
        &gateway,
        b"POST /api/t/charts HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        &[400],
    );
}

#[test]
fn an_upload_over_the_limit_is_told_so_and_the_connection_is_drained() {
    let gateway = gateway();
    let large = vec![0x1f; 400_000];
    let reply = gateway.send(&Call::new("POST", "/api/t/charts").body(large.clone()));
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert!(reply.json()["error"].is_string(), "{}", reply.text());
    let reply =
        gateway.send(&Call::new("POST", "/api/t/charts").form(&[("chart", "a-1.0.0.tgz", &large)]));
    assert_eq!(reply.status, 413, "{}", reply.text());
    // To a tenant that does not exist: answered at once, read to its end.
    let reply = gateway.send(&Call::new("POST", "/api/nobody/charts").body(large));
    assert!(matches!(reply.status, 401 | 404), "{}", reply.text());
}

#[test]
fn packages_that_climb_or_lie_are_refused_and_leave_nothing() {
    let gateway = gateway();
    let chart =
        |name: &str, version: &str| format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
    let web = chart("bad", "1.0.0");
    let web = web.as_bytes();
    let long_name = "n".repeat(300);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("text", b"hello".to_vec()),
        ("no members", archive(&[])),
        ("no Chart.yaml", archive(&[("bad/values.yaml", b"a: 1\n")])),
        ("Chart.yaml at the top", archive(&[("Chart.yaml", web)])),
        (
            "a member that climbs",
            archive(&[("bad/Chart.yaml", web), ("bad/../../../secret.txt", b"x")]),
        ),
        (
            "an absolute member",
            archive(&[("bad/Chart.yaml", web), ("/etc/passwd", b"x")]),
        ),
        (
            "a drive letter",
            archive(&[("bad/Chart.yaml", web), ("bad/C:/x", b"x")]),
        ),
        (
            "two charts",
            archive(&[
                ("bad/Chart.yaml", web),
                ("good/Chart.yaml", chart("good", "1.0.0").as_bytes()),
            ]),
        ),
        (
            "two Chart.yaml",
            archive(&[
                ("bad/Chart.yaml", web),
                ("bad/Chart.yaml", chart("good", "1.0.0").as_bytes()),
            ]),
        ),
        (
            "two top folders",
            archive(&[("bad/Chart.yaml", web), ("good/x", b"")]),
        ),
        (
            "a name that climbs",
            archive(&[("bad/Chart.yaml", chart("../../secret", "1.0.0").as_bytes())]),
        ),
        (
            "a name with a slash",
            archive(&[("bad/Chart.yaml", chart("a/b", "1.0.0").as_bytes())]),
        ),
        (
            "a name with a line break",
            archive(&[("bad/Chart.yaml", chart("\"a\\nb\"", "1.0.0").as_bytes())]),
        ),
        (
            "a name with NUL",
            archive(&[("bad/Chart.yaml", chart("\"a\\0b\"", "1.0.0").as_bytes())]),
        ),
        (
            "an endless name",
            archive(&[("bad/Chart.yaml", chart(&long_name, "1.0.0").as_bytes())]),
        ),
        (
            "no name",
            archive(&[("bad/Chart.yaml", b"apiVersion: v2\nversion: 1.0.0\n")]),
        ),
        (
            "no version",
            archive(&[("bad/Chart.yaml", b"apiVersion: v2\nname: bad\n")]),
        ),
        (
            "a version that is none",
            archive(&[("bad/Chart.yaml", chart("bad", "latest").as_bytes())]),
        ),
        (
            "a version that climbs",
            archive(&[("bad/Chart.yaml", chart("bad", "1.0.0-../../x").as_bytes())]),
        ),
        (
            "a version that is a number",
            archive(&[("bad/Chart.yaml", chart("bad", "1.10").as_bytes())]),
        ),
        (
            "Chart.yaml that is no mapping",
            archive(&[("bad/Chart.yaml", b"- 1\n- 2\n")]),
        ),
        (
            "Chart.yaml that is no YAML",
            archive(&[("bad/Chart.yaml", b"a: [b\n")]),
        ),
        (
            "Chart.yaml that is no text",
            archive(&[("bad/Chart.yaml", b"\xff\xfe\x00")]),
        ),
        (
            "values.yaml that is no mapping",
            archive(&[("bad/Chart.yaml", web), ("bad/values.yaml", b"- 1\n")]),
        ),
        (
            "a bomb",
            archive(&[("bad/Chart.yaml", web), ("bad/zeros", &vec![0; 7 << 20])]),
        ),
        ("half a package", {
            let whole = package("bad", "1.0.0", &[]);
            whole[..whole.len() / 2].to_vec()
        }),
        ("trailing bytes", {
            let mut whole = package("bad", "1.0.0", &[]).to_vec();
            whole.extend_from_slice(b"and more");
            whole
        }),
    ];
    for (what, bytes) in &cases {
        for call in [
            Call::new("POST", "/api/t/charts").body(bytes.clone()),
            Call::new("POST", "/api/t/charts").form(&[("chart", "../../bad-1.0.0.tgz", bytes)]),
        ] {
            let reply = gateway.send(&call);
            assert_eq!(reply.status, 400, "{what}: {}", reply.text());
            let error = reply.json()["error"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            // ChartMuseum's words for an empty body, which its clients know, are short.
            assert!(
                error == "EOF" || error.len() > 10,
                "{what}: {error:?} says too little"
            );
        }
    }
    if let Some(corpus) = corpus::folder() {
        for file in [
            "helm+helm/corrupted-compressed-chart.tgz",
            "helm+helm/empty-0.0.1.tgz",
            "fluxcd+source-controller/empty.tgz",
            "fluxcd+source-controller/helmchart-badname-0.1.0.tgz",
            "stakater+stakater-charts/tenant-operator-0.2.22.tgz",
        ] {
            let bytes = corpus::chart(&corpus, file);
            let reply = gateway.send(&Call::new("POST", "/api/deep/er/charts").body(bytes));
            assert_eq!(reply.status, 400, "{file}: {}", reply.text());
        }
    }
    let index = gateway.index("t");
    assert_eq!(
        index["entries"].as_object().map(|charts| charts.len()),
        Some(1),
        "{index}"
    );
    let hosted: Vec<String> = list(&gateway.data().join("hosted"));
    assert_eq!(
        hosted,
        ["secret.tgz", "secret.txt"],
        "refused uploads left files"
    );
}

#[test]
fn provenance_that_belongs_to_nothing_is_refused() {
    let gateway = gateway();
    for (file, content) in [
        (
            "../../x-1.0.0.tgz.prov",
            &b"-----BEGIN PGP SIGNED MESSAGE-----\n"[..],
        ),
        ("", b""),
        ("none-1.0.0.tgz.prov", b"not a signature"),
    ] {
        let call = Call::new("POST", "/api/t/prov").form(&[("prov", file, content)]);
        assert_eq!(gateway.send(&call).status, 400, "{file:?}");
    }
}

/// The files below `folder`, by name, without folders and without the program's own bookkeeping.
fn list(folder: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !name.starts_with('.') {
                names.push(name);
            }
        }
    }
    names.sort();
    names
}

/// A gzipped tar of these members; names are written as they are, which no decent library does.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::Write as _;
    let mut tar = Vec::new();
    for (name, content) in members {
        let mut header = tar::Header::new_ustar();
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).expect("memory takes it");
    gzip.finish().expect("memory takes it")
}
