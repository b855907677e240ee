//! POST charts and prov: raw, as a form, in chunks, with odd fields and file names, again, and with force.

use serde_json::json;

use super::differences::*;
use super::packages::{Package, package, provenance};
use super::pair::Pair;
use crate::support::http::Call;

const CHARTS: &str = "/api/charts";
const PROV: &str = "/api/prov";

fn post(path: &str) -> Call {
    Call::new("POST", path)
}

#[test]
fn a_raw_upload_is_saved_and_listed() {
    let pair = Pair::start(&[]);
    let bytes = package("raw", "0.1.0");
    let reply = pair.send(&post(CHARTS).body(bytes.clone())).expect(201);
    assert_eq!(reply.json(), json!({"saved": true}));
    assert_eq!(
        reply.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(pair.get("/charts/raw-0.1.0.tgz").expect(200).body, bytes);
    let version = pair.get("/api/charts/raw/0.1.0").expect(200).json();
    assert_eq!(version["urls"], json!(["charts/raw-0.1.0.tgz"]));
    assert_eq!(
        version["digest"],
        crate::support::corpus::sha256(&bytes).as_str()
    );
    assert!(pair.get("/index.yaml").text().contains("raw-0.1.0.tgz"));
    assert_eq!(pair.stored(), ["raw-0.1.0.tgz"]);
}

#[test]
fn any_content_type_but_a_form_is_a_raw_body() {
    let pair = Pair::start(&[]);
    for (number, kind) in [
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "application/gzip",
        "text/plain; charset=utf-8",
        "",
        "nonsense",
        "multipart/mixed; boundary=x",
    ]
    .iter()
    .enumerate()
    {
        let version = format!("1.{number}.0");
        let call = post(CHARTS).header("Content-Type", kind);
        pair.send(&call.body(package("typed", &version)))
            .expect(201);
    }
    let call = post(CHARTS).chunked(&package("typed", "2.0.0"), 100);
    pair.send(&call).expect(201);
    assert_eq!(pair.stored().len(), 8);
    let list = pair.get("/api/charts/typed").expect(200).json();
    assert_eq!(list.as_array().map(Vec::len), Some(8));
}

#[test]
fn a_form_carries_a_chart_a_provenance_file_or_both() {
    let pair = Pair::start(&[]);
    let chart = package("form", "0.1.0");
    let prov = provenance("form", "0.1.0");
    let both = [
        ("chart", "form-0.1.0.tgz", &chart[..]),
        ("prov", "form-0.1.0.tgz.prov", &prov[..]),
    ];
    let reply = pair.send(&post(CHARTS).form(&both)).expect(201);
    assert_eq!(reply.json(), json!({"saved": true}));
    assert_eq!(pair.get("/charts/form-0.1.0.tgz").expect(200).body, chart);
    let stored = pair.get("/charts/form-0.1.0.tgz.prov").expect(200);
    assert_eq!(stored.body, prov);
    assert_eq!(
        stored.header("content-type"),
        Some("application/pgp-signature")
    );
    let only = package("form", "0.2.0");
    pair.send(&post(CHARTS).form(&[("chart", "x", &only)]))
        .expect(201);
    let only = provenance("form", "0.2.0");
    pair.send(&post(CHARTS).form(&[("prov", "x", &only)]))
        .expect(201);
    // The provenance file may come first, and of a chart that is not there.
    let early = provenance("later", "1.0.0");
    pair.send(&post(CHARTS).form(&[("prov", "x", &early)]))
        .expect(201);
    let late = package("later", "1.0.0");
    pair.send(&post(CHARTS).form(&[("chart", "x", &late)]))
        .expect(201);
    assert_eq!(
        pair.stored(),
        [
            "form-0.1.0.tgz",
            "form-0.1.0.tgz.prov",
            "form-0.2.0.tgz",
            "form-0.2.0.tgz.prov",
            "later-1.0.0.tgz",
            "later-1.0.0.tgz.prov"
        ]
    );
}

#[test]
fn the_name_of_the_file_is_the_senders_own_business() {
    let pair = Pair::start(&[]);
    for (number, name) in [
        "/home/someone/charts/.helm-push-123/named-1.0.0.tgz",
        "../../../etc/passwd",
        "C:\\Users\\someone\\named.tgz",
        "x",
        "with space.tgz",
        "ünï.tgz",
    ]
    .iter()
    .enumerate()
    {
        let version = format!("1.{number}.0");
        let chart = package("named", &version);
        pair.send(&post(CHARTS).form(&[("chart", name, &chart)]))
            .expect(201);
    }
    assert_eq!(pair.stored().len(), 6);
    assert!(
        pair.stored()
            .iter()
            .all(|name| name.starts_with("named-1."))
    );
}

#[test]
fn a_form_in_chunks_is_what_cm_push_sends() {
    let pair = Pair::start(&[]);
    let chart = package("chunked", "1.0.0");
    let mut body = Vec::new();
    body.extend_from_slice(
        b"--aa\r\nContent-Disposition: form-data; name=\"chart\"; filename=\"/tmp/helm-push-1/chunked-1.0.0.tgz\"\r\n\
          Content-Type: application/octet-stream\r\n\r\n",
    );
    body.extend_from_slice(&chart);
    body.extend_from_slice(b"\r\n--aa--\r\n");
    for (size, expected) in [(4096, 201), (7, 409)] {
        let call = post(CHARTS)
            .header("Content-Type", "multipart/form-data; boundary=aa")
            .chunked(&body, size);
        pair.send(&call).expect(expected);
    }
    assert_eq!(
        pair.get("/charts/chunked-1.0.0.tgz").expect(200).body,
        chart
    );
}

#[test]
fn fields_may_have_names_of_their_own() {
    let flags = [
        "--chart-post-form-field-name",
        "my_chart",
        "--prov-post-form-field-name",
        "my_prov",
    ];
    let pair = Pair::start(&flags);
    let chart = package("field", "0.1.0");
    let prov = provenance("field", "0.1.0");
    pair.send(&post(CHARTS).form(&[("chart", "a", &chart), ("prov", "b", &prov)]))
        .expect(201);
    let chart = package("field", "1.0.0");
    let prov = provenance("field", "1.0.0");
    pair.send(&post(CHARTS).form(&[("my_chart", "a", &chart), ("my_prov", "b", &prov)]))
        .expect(201);
    // Listed at once; ChartMuseum lists it after the next scan.
    let version = pair.get_unlike(&CUSTOM_FIELD_IS_UNLISTED, "/api/charts/field/1.0.0");
    version.expect(200);
    let chart = package("field", "3.0.0");
    let reply = pair
        .send(&post(CHARTS).form(&[("other", "a", &chart)]))
        .expect(400);
    assert_eq!(
        reply.json(),
        json!({"error": "no package or provenance file found in form fields my_chart and my_prov"})
    );
    assert_eq!(pair.stored().len(), 4);
}

#[test]
fn a_form_without_a_usable_part_says_which_fields_count() {
    let pair = Pair::start(&[]);
    let chart = package("none", "1.0.0");
    let text =
        json!({"error": "no package or provenance file found in form fields chart and prov"});
    let reply = pair.send(&post(CHARTS).form(&[("file", "a", &chart)]));
    assert_eq!(reply.expect(400).json(), text);
    let reply = pair.send(&post(CHARTS).form(&[]));
    assert_eq!(reply.expect(400).json(), text);
    // A value is no file.
    let body = "--aa\r\nContent-Disposition: form-data; name=\"chart\"\r\n\r\nvalue\r\n--aa--\r\n";
    let kind = "multipart/form-data; boundary=aa";
    let reply = pair.send(&post(CHARTS).header("Content-Type", kind).body(body));
    assert_eq!(reply.expect(400).json(), text);
    let reply = pair.send(
        &post(CHARTS)
            .header("Content-Type", "multipart/form-data")
            .body(chart.clone()),
    );
    assert_eq!(reply.expect(400).json(), text);
    // Fields that nobody knows are nobody's business.
    let reply = pair.send(&post(CHARTS).form(&[
        ("note", "n", b"hello"),
        ("chart", "a", &chart),
        ("chart", "b", &package("second", "1.0.0")),
    ]));
    reply.expect(201);
    assert_eq!(pair.stored(), ["none-1.0.0.tgz"]);
}

#[test]
fn the_media_type_of_a_form_may_be_written_in_capitals() {
    let pair = Pair::start(&[]);
    let chart = package("capitals", "1.0.0");
    let mut body =
        b"--aa\r\nContent-Disposition: form-data; name=\"chart\"; filename=\"a\"\r\n\r\n".to_vec();
    body.extend_from_slice(&chart);
    body.extend_from_slice(b"\r\n--aa--\r\n");
    let call = post(CHARTS)
        .header("Content-Type", "Multipart/Form-Data; boundary=aa")
        .body(body);
    pair.send_unlike(&FORM_IN_CAPITALS, &call).expect(201);
}

#[test]
fn what_is_there_stays_unless_force_says_otherwise() {
    let pair = Pair::start(&[]);
    let first = package("kept", "1.0.0");
    let second = Package::new("kept", "1.0.0").file("more", "x").build();
    pair.send(&post(CHARTS).body(first.clone())).expect(201);
    let reply = pair.send(&post(CHARTS).body(second.clone())).expect(409);
    assert_eq!(reply.json(), json!({"error": "file already exists"}));
    let reply = pair.send(&post(CHARTS).form(&[("chart", "a", &second)]));
    assert_eq!(
        reply.expect(409).json(),
        json!({"error": "chart already exists"})
    );
    assert_eq!(pair.get("/charts/kept-1.0.0.tgz").expect(200).body, first);
    // The presence of the word counts, not its value.
    for (query, bytes) in [
        ("force", &second),
        ("force=false", &first),
        ("force=1", &second),
        ("force=", &first),
        ("x=1&force", &second),
    ] {
        let path = format!("{CHARTS}?{query}");
        pair.send(&post(&path).body(bytes.clone())).expect(201);
        let stored = pair.get("/charts/kept-1.0.0.tgz").expect(200);
        assert!(stored.body == *bytes, "{query}");
    }
    pair.send(&post("/api/charts?force").form(&[("chart", "a", &first)]))
        .expect(201);
    let index = pair.get("/api/charts/kept").expect(200).json();
    assert_eq!(index.as_array().map(Vec::len), Some(1));
    assert_eq!(
        index[0]["digest"],
        crate::support::corpus::sha256(&first).as_str()
    );
    pair.send(&post("/api/charts?Force").body(second))
        .expect(409);
}

#[test]
fn provenance_files_follow_the_same_rule() {
    let pair = Pair::start(&[]);
    let signed = provenance("signed", "1.0.0");
    let reply = pair.send(&post(PROV).body(signed.clone())).expect(201);
    assert_eq!(reply.json(), json!({"saved": true}));
    let reply = pair.send(&post(PROV).body(signed.clone())).expect(409);
    assert_eq!(reply.json(), json!({"error": "file already exists"}));
    pair.send(&post("/api/prov?force").body(signed.clone()))
        .expect(201);
    // Only the provenance file is there, and the form is refused as a whole.
    let chart = package("signed", "1.0.0");
    let both = [("chart", "a", &chart[..]), ("prov", "b", &signed[..])];
    let reply = pair.send(&post(CHARTS).form(&both)).expect(409);
    assert_eq!(reply.json(), json!({"error": "chart already exists"}));
    assert_eq!(pair.stored(), ["signed-1.0.0.tgz.prov"]);
    pair.send(&post("/api/charts?force").form(&both))
        .expect(201);
    let reply = pair.send(&post(CHARTS).form(&both)).expect(409);
    assert_eq!(reply.json(), json!({"error": "chart already exists"}));
    // Its body is raw whatever the type says.
    let call = post("/api/prov?force").header("Content-Type", "multipart/form-data; boundary=aa");
    pair.send(&call.body(signed)).expect(201);
}

#[test]
fn a_broken_provenance_file_is_refused_in_the_words_of_its_route() {
    let pair = Pair::start(&[]);
    let text = json!({"error": "invalid provenance file"});
    for bytes in [
        &b""[..],
        b"nothing",
        b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n",
        b"-----BEGIN PGP SIGNED MESSAGE-----\n\nname: x\n",
        b"-----BEGIN PGP SIGNED MESSAGE-----\n\nversion: 1.0.0\n",
        b" -----BEGIN PGP SIGNED MESSAGE-----\n\nname: x\nversion: 1.0.0\n",
    ] {
        let reply = pair.send(&post(PROV).body(bytes)).expect(500);
        assert_eq!(reply.json(), text);
        let reply = pair.send(&post(CHARTS).form(&[("prov", "a", bytes)]));
        assert_eq!(reply.expect(400).json(), text);
    }
    let chart = package("x", "1.0.0");
    let reply = pair.send(&post(CHARTS).form(&[("chart", "a", &chart), ("prov", "b", b"bad")]));
    assert_eq!(reply.expect(400).json(), text);
    assert!(pair.stored().is_empty(), "nothing half");
    for (name, version) in [("../x", "1.0.0"), ("a/b", "1.0.0"), ("x", "1.0.0/../..")] {
        let reply = pair.send(&post(PROV).body(provenance(name, version)));
        let file = format!("{name}-{version}.tgz.prov");
        assert_eq!(
            reply.expect(400).json(),
            json!({"error": format!("{file} is improperly formatted")})
        );
    }
    assert!(pair.stored().is_empty());
}

#[test]
fn a_chart_and_the_provenance_file_of_another_do_not_belong_together() {
    let pair = Pair::start(&[]);
    let chart = package("one", "1.0.0");
    let prov = provenance("two", "2.0.0");
    let both = [("chart", "a", &chart[..]), ("prov", "b", &prov[..])];
    let reply = pair.send_unlike(&MISMATCHED_PROVENANCE, &post(CHARTS).form(&both));
    let text = reply.expect(400).json()["error"]
        .as_str()
        .map(str::to_owned);
    assert!(text.is_some_and(|text| text.contains("two")));
}

#[test]
fn overwriting_may_be_allowed_to_everyone_or_forbidden_altogether() {
    let pair = Pair::start(&["--allow-overwrite"]);
    let first = package("over", "1.0.0");
    let second = Package::new("over", "1.0.0").file("more", "x").build();
    pair.send(&post(CHARTS).body(first.clone())).expect(201);
    pair.send(&post(CHARTS).body(second.clone())).expect(201);
    assert_eq!(pair.get("/charts/over-1.0.0.tgz").body, second);
    pair.send(&post(CHARTS).form(&[("chart", "a", &first)]))
        .expect(201);
    let signed = provenance("over", "1.0.0");
    pair.send(&post(PROV).body(signed.clone())).expect(201);
    pair.send(&post(PROV).body(signed)).expect(201);

    let pair = Pair::start(&["--disable-force-overwrite"]);
    pair.send(&post(CHARTS).body(first.clone())).expect(201);
    let reply = pair.send(&post("/api/charts?force").body(second.clone()));
    assert_eq!(
        reply.expect(409).json(),
        json!({"error": "file already exists"})
    );
    let reply = pair.send(&post("/api/charts?force").form(&[("chart", "a", &second)]));
    assert_eq!(
        reply.expect(409).json(),
        json!({"error": "chart already exists"})
    );

    let pair = Pair::start(&["--disable-force-overwrite", "--allow-overwrite"]);
    pair.send(&post(CHARTS).body(first)).expect(201);
    pair.send(&post("/api/charts?force").body(second))
        .expect(201);
}

#[test]
fn versions_are_kept_as_they_are_written() {
    let pair = Pair::start(&[]);
    for version in ["v1.2.3", "1.2", "7", "1.0.0+Build.5", "1.0.0-Alpha.1"] {
        pair.send(&post(CHARTS).body(package("verbatim", &format!("\"{version}\""))))
            .expect(201);
        let path = format!("/charts/verbatim-{version}.tgz");
        pair.get(&path).expect(200);
        let found = pair
            .get(&format!("/api/charts/verbatim/{version}"))
            .expect(200);
        assert_eq!(found.json()["version"], version);
    }
}

#[test]
fn a_request_for_a_hundred_continue_gets_it() {
    let pair = Pair::start(&[]);
    let call = post(CHARTS).header("Expect", "100-continue");
    // curl sends this for bodies above 1 MiB; the client of these tests does not wait for it.
    let reply = pair.send_ours(&call.body(package("expect", "1.0.0")));
    assert!(matches!(reply.status, 100 | 201), "{reply:?}");
}
