//! What is no chart: one row for every way to be wrong, and the words that the uploader reads.

use serde_json::json;

use super::differences::*;
use super::packages::{Package, gzip, package};
use super::pair::Pair;
use crate::support::http::Call;

const CHART: &str = "apiVersion: v2\nname: x\nversion: 1.0.0\n";

/// Uploads `bytes` raw and as a form; both must be refused with 400 and this text, as ChartMuseum does.
#[track_caller]
fn refused(pair: &Pair, difference: Option<&Difference>, bytes: &[u8], text: &str) {
    let raw = Call::new("POST", "/api/charts").body(bytes);
    let form = Call::new("POST", "/api/charts").form(&[("chart", "a.tgz", bytes)]);
    for call in [raw, form] {
        let reply = match difference {
            Some(difference) => pair.send_unlike(difference, &call),
            None => pair.send(&call),
        };
        let reply = reply.expect(400);
        let error = reply.json()["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(error.contains(text), "{error:?} does not say {text:?}");
        assert_eq!(reply.json(), json!({"error": error}));
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    let pair = Pair::start(&[]);
    refused(&pair, None, b"", "EOF");
    refused(
        &pair,
        None,
        b"this is no gzip at all",
        "gzip: invalid header",
    );
    refused(&pair, None, b"\x1f\x8b", "unexpected EOF");
    refused(
        &pair,
        Some(&SHORT_NONSENSE),
        b"no gzip",
        "gzip: invalid header",
    );
    let whole = package("x", "1.0.0");
    refused(&pair, None, &whole[..whole.len() / 2], "unexpected EOF");
    // Behind the last byte of the archive ChartMuseum does not look.
    let cut = &whole[..whole.len() - 4];
    refused(&pair, Some(&WORDS_OF_DAMAGE), cut, "unexpected EOF");
    let mut damaged = whole.clone();
    let at = damaged.len() - 6;
    damaged[at] ^= 0xff;
    refused(&pair, Some(&WORDS_OF_DAMAGE), &damaged, "checksum");
    refused(
        &pair,
        None,
        &gzip(
            b"no tar inside, but long enough to be read as one"
                .repeat(30)
                .as_slice(),
        ),
        "tar",
    );
    refused(&pair, None, &gzip(b""), "no files in chart archive");
    refused(&pair, None, &gzip(&[0; 1024]), "no files in chart archive");
    assert!(super::pair::stored(&pair.folder()).is_empty());
}

#[test]
fn files_must_lie_in_one_folder_and_nowhere_else() {
    let pair = Pair::start(&[]);
    let row = |entry: &str, text: &str| {
        let package = Package::of(CHART).entry(entry, "x");
        refused(&pair, None, &package.build(), text);
    };
    row(
        "Chart.yaml",
        "chart illegally contains content outside the base directory: \"Chart.yaml\"",
    );
    row(
        "loose",
        "chart illegally contains content outside the base directory: \"loose\"",
    );
    row("x/../x", "chart illegally references parent directory");
    row(
        "x/a/../../../x",
        "chart illegally references parent directory",
    );
    row("../../x", "chart illegally references parent directory");
    row("x//x", "chart illegally contains absolute paths");
    row("x/C:/x", "chart contains illegally named files");
    refused(
        &pair,
        None,
        &Package::in_folder("x").file("values.yaml", "a: 1").build(),
        "Chart.yaml file is missing",
    );
    refused(
        &pair,
        None,
        &Package::in_folder("x").entry("Chart.yaml", CHART).build(),
        "chart illegally contains content outside the base directory: \"Chart.yaml\"",
    );
    assert!(super::pair::stored(&pair.folder()).is_empty());
    // Odd, and fine.
    for entry in ["x\\sub\\y", "x/./y", "x/a/../y"] {
        let package = Package::of(CHART).entry(entry, "x").build();
        pair.send(&Call::new("POST", "/api/charts?force").body(package))
            .expect(201);
    }
    // Two folders, or none: what two readers could understand differently.
    for entry in ["/y", "other/y"] {
        let package = Package::of(CHART).entry(entry, "x").build();
        let push = Call::new("POST", "/api/charts?force").body(package);
        pair.send_unlike(&UNCLEAN_NAMES, &push).expect(400);
    }
    // The name of the one folder is nobody's business.
    let chart = "apiVersion: v2\nname: named\nversion: 1.0.0\n";
    let other = Package::in_folder("another").file("Chart.yaml", chart);
    pair.send(&Call::new("POST", "/api/charts").body(other.build()))
        .expect(201);
    pair.get("/api/charts/named/1.0.0").expect(200);
}

#[test]
fn chart_yaml_must_be_one() {
    let pair = Pair::start(&[]);
    let row = |difference: Option<&Difference>, chart: &str, text: &str| {
        refused(&pair, difference, &Package::of(chart).build(), text);
    };
    row(None, "version: 1.0.0\n", "chart.metadata.name is required");
    row(
        None,
        "name: ''\nversion: 1.0.0\n",
        "chart.metadata.name is required",
    );
    row(None, "name: x\n", "chart.metadata.version is required");
    row(
        Some(&YOUNGER_RULES),
        "apiVersion: v2\nname: x\nversion: one\n",
        "chart.metadata.version \"one\" is invalid",
    );
    row(
        Some(&YOUNGER_RULES),
        "apiVersion: v2\nname: x\nversion: 1.0.0-03173138\n",
        "chart.metadata.version \"1.0.0-03173138\" is invalid",
    );
    row(
        None,
        "apiVersion: v2\nname: x\nversion: 1.0.0\ntype: module\n",
        "chart.metadata.type must be application or library",
    );
    row(
        Some(&NAMES_WITH_SEPARATORS),
        "apiVersion: v2\nname: a/b\nversion: 1.0.0\n",
        "chart.metadata.name \"a/b\" is invalid",
    );
    row(
        Some(&NAMES_WITH_SEPARATORS),
        "apiVersion: v2\nname: ../x\nversion: 1.0.0\n",
        "chart.metadata.name \"../x\" is invalid",
    );
    row(
        Some(&YOUNGER_RULES),
        "apiVersion: v2\nname: ..\nversion: 1.0.0\n",
        "chart.metadata.name \"..\" is not allowed",
    );
    row(
        Some(&YOUNGER_RULES),
        "apiVersion: v2\nname: x\nversion: 1.0.0\ndependencies:\n- {name: a, version: 1, repository: r}\n- {name: a, version: 2, repository: r}\n",
        "more than one dependency with name or alias \"a\"",
    );
    row(
        None,
        "apiVersion: v2\nname: x\nversion: 1.0.0\ndependencies:\n- {name: a, version: '1', repository: r, alias: 'b c'}\n",
        "dependency \"a\" has disallowed characters in the alias",
    );
    row(
        Some(&YOUNGER_RULES),
        "apiVersion: v2\nname: x\nversion: 1.0.0\nmaintainers: [null]\n",
        "maintainers must not contain empty or null nodes",
    );
    row(
        Some(&YOUNGER_RULES),
        "apiVersion: v2\nname: x\nversion: 1.0.0\ndependencies: [null]\n",
        "dependencies must not contain empty or null nodes",
    );
    for (difference, chart) in [
        (&YAML_WORDS, "name: [\n"),
        (&YAML_WORDS, "name: x\n\tversion: 1.0.0\n"),
        (&YAML_WORDS, "name: {a: 1}\nversion: 1.0.0\n"),
        (&YAML_WORDS, "- a\n- b\n"),
    ] {
        row(Some(difference), chart, "cannot load Chart.yaml");
    }
    assert!(super::pair::stored(&pair.folder()).is_empty());
}

#[test]
fn the_other_files_of_a_chart_must_be_readable_too() {
    let pair = Pair::start(&[]);
    for (file, text) in [
        ("values.yaml", "cannot load values.yaml"),
        ("Chart.lock", "cannot load Chart.lock"),
        ("requirements.yaml", "cannot load requirements.yaml"),
        ("requirements.lock", "cannot load requirements.lock"),
    ] {
        let package = Package::of(CHART).file(file, "a: [\n").build();
        refused(&pair, Some(&YAML_WORDS), &package, text);
    }
    let sub = Package::of(CHART).file("charts/sub/Chart.yaml", "name: sub\n");
    refused(
        &pair,
        Some(&WORDS_OF_SUBCHARTS),
        &sub.build(),
        "chart.metadata.version is required",
    );
    let sub = Package::of(CHART).file("charts/sub.tgz", "this is no gzip");
    refused(&pair, Some(&SUBCHARTS_ARE_CALLED_SO), &sub.build(), "sub");
    let sub = Package::of(CHART).file("charts/sub/values.yaml", "a: 1\n");
    refused(
        &pair,
        Some(&SUBCHARTS_ARE_CALLED_SO),
        &sub.build(),
        "Chart.yaml file is missing",
    );
    let sub = Package::of(CHART).file("charts/README.md", "text");
    refused(
        &pair,
        Some(&SUBCHARTS_ARE_CALLED_SO),
        &sub.build(),
        "README.md",
    );
    assert!(super::pair::stored(&pair.folder()).is_empty());
    // Hidden ones are nobody's subcharts.
    let hidden = Package::of(CHART)
        .file("charts/_sub/Chart.yaml", "nonsense: [")
        .file("charts/.sub/Chart.yaml", "nonsense: [");
    pair.send(&Call::new("POST", "/api/charts").body(hidden.build()))
        .expect(201);
}

#[test]
fn an_archive_that_unpacks_to_too_much_is_refused() {
    let pair = Pair::start(&[]);
    let big = vec![b'x'; 5_242_881];
    let package = Package::of(CHART).file("files/big", &big).build();
    refused(
        &pair,
        Some(&YOUNGER_RULES),
        &package,
        "is larger than the maximum file size 5242880",
    );
    let mut many = Package::of(CHART);
    for number in 0..21 {
        many = many.file(&format!("files/{number}"), &big[..5_242_880]);
    }
    refused(
        &pair,
        Some(&YOUNGER_RULES),
        &many.build(),
        "decompressed chart is larger than the maximum file size 104857600",
    );
    let exact = Package::of("apiVersion: v2\nname: exact\nversion: 1.0.0\n")
        .file("files/big", &big[..5_242_880]);
    pair.send(&Call::new("POST", "/api/charts").body(exact.build()))
        .expect(201);
}

#[test]
fn what_is_odd_but_a_chart_is_accepted() {
    let pair = Pair::start(&[]);
    let bom = "\u{feff}apiVersion: v2\nname: bom\nversion: 1.0.0\n";
    let odd = [
        ("bom", Package::of(bom)),
        ("bare", Package::of("name: bare\nversion: 1.0.0\n")),
        (
            "unknown",
            Package::of("apiVersion: v2\nname: unknown\nversion: 1.0.0\nnobody: knows\n"),
        ),
        (
            "required",
            Package::of("apiVersion: v1\nname: required\nversion: 1.0.0\n").file(
                "requirements.yaml",
                "dependencies:\n- {name: a, version: ~1, repository: 'https://example.com'}\n",
            ),
        ),
        (
            "control",
            Package::of(
                "apiVersion: v2\nname: control\nversion: 1.0.0\ndescription: \"a\\tb\\u0007c\\nd\"\n",
            ),
        ),
        (
            "crlf",
            Package::of("apiVersion: v2\r\nname: crlf\r\nversion: 1.0.0\r\ndescription: d\r\n"),
        ),
        (
            "sub",
            Package::of("apiVersion: v2\nname: sub\nversion: 1.0.0\n")
                .file("charts/a-1.0.0.tgz", package("a", "1.0.0"))
                .file(
                    "charts/b/Chart.yaml",
                    "apiVersion: v2\nname: b\nversion: 2.0.0\n",
                ),
        ),
    ];
    for (name, package) in odd {
        pair.send(&Call::new("POST", "/api/charts").body(package.build()))
            .expect(201);
        let difference = (name == "control").then_some(&CONTROL_CHARACTERS);
        let path = format!("/api/charts/{name}/1.0.0");
        match difference {
            Some(difference) => pair.get_unlike(difference, &path).expect(200),
            None => pair.get(&path).expect(200),
        };
    }
    let version = pair.get("/api/charts/required/1.0.0").json();
    assert_eq!(version["dependencies"][0]["name"], "a");
}
