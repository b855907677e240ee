//! The reading half of the API: list with paging, versions with constraints, `latest`, templates and values.

use std::path::Path;

use serde_json::{Value, json};

use super::differences::{
    OFFSET_ALONE, TEMPLATES_UNKNOWN, TEMPLATES_WITH_CHART_URL, UNEQUAL_AND_PRERELEASES,
};
use super::packages::{Package, TEMPLATE, VALUES, package};
use super::pair::Pair;
use crate::support::http::Call;

const VERSIONS: &[&str] = &[
    "0.9.9",
    "1.0.0",
    "1.0.1-rc.1",
    "1.2.3",
    "1.10.0",
    "v2.0.0",
    "2.1.0",
    "3.0.0-alpha",
    "3.0.0-beta.2",
];

/// A folder with one chart of many versions, one of prereleases only, and a row of names.
fn fill(folder: &Path) {
    let put = |name: &str, version: &str| {
        let file = folder.join(format!("{name}-{version}.tgz"));
        std::fs::write(file, package(name, version)).expect("a package");
    };
    for version in VERSIONS {
        put("many", version);
    }
    put("early", "0.1.0-alpha.1");
    put("early", "0.1.0-alpha.2");
    for name in ["a", "B", "b", "c-d", "e1"] {
        put(name, "1.0.0");
    }
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_object().expect("a JSON object");
    list.keys().map(String::as_str).collect()
}

#[test]
fn the_list_has_every_chart_and_pages_by_name() {
    let pair = Pair::on(fill, &[]);
    let all = pair.get("/api/charts").expect(200).json();
    assert_eq!(names(&all), ["B", "a", "b", "c-d", "e1", "early", "many"]);
    let versions: Vec<&str> = all["many"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|version| version["version"].as_str())
        .collect();
    assert_eq!(
        versions,
        [
            "3.0.0-beta.2",
            "3.0.0-alpha",
            "2.1.0",
            "v2.0.0",
            "1.10.0",
            "1.2.3",
            "1.0.1-rc.1",
            "1.0.0",
            "0.9.9"
        ]
    );
    for (query, expected) in [
        ("offset=0&limit=2", vec!["B", "a"]),
        ("limit=3", vec!["B", "a", "b"]),
        ("offset=2&limit=2", vec!["b", "c-d"]),
        ("offset=6&limit=5", vec!["many"]),
        ("offset=7&limit=5", vec![]),
        ("offset=100&limit=5", vec![]),
        (
            "limit=1000",
            vec!["B", "a", "b", "c-d", "e1", "early", "many"],
        ),
        ("limit=2&offset=1&unknown=1", vec!["a", "b"]),
    ] {
        let page = pair.get(&format!("/api/charts?{query}")).expect(200).json();
        assert_eq!(names(&page), expected, "{query}");
    }
    for (query, text) in [
        ("offset=-1", "offset is not a valid non-negative integer"),
        (
            "offset=-1&limit=0",
            "offset is not a valid non-negative integer",
        ),
        (
            "offset=x&limit=5",
            "offset is not a valid non-negative integer",
        ),
        (
            "offset=&limit=5",
            "offset is not a valid non-negative integer",
        ),
        (
            "offset=1.5&limit=5",
            "offset is not a valid non-negative integer",
        ),
        ("limit=0", "limit is not a valid positive integer"),
        ("limit=-5", "limit is not a valid positive integer"),
        ("limit=ten", "limit is not a valid positive integer"),
        ("limit=", "limit is not a valid positive integer"),
        ("offset=1&limit=", "limit is not a valid positive integer"),
    ] {
        let reply = pair.get(&format!("/api/charts?{query}")).expect(400);
        assert_eq!(reply.json(), json!({"error": text}), "{query}");
    }
    let rest = pair.get_unlike(&OFFSET_ALONE, "/api/charts?offset=5");
    assert_eq!(names(&rest.expect(200).json()), ["early", "many"]);
}

#[test]
fn an_empty_repository_lists_nothing() {
    let pair = Pair::start(&[]);
    assert_eq!(pair.get("/api/charts").expect(200).text(), "{}");
    assert_eq!(pair.get("/api/charts?limit=5").expect(200).text(), "{}");
}

#[test]
fn versions_resolve_as_constraints() {
    let pair = Pair::on(fill, &[]);
    let list = pair.get("/api/charts/many").expect(200).json();
    assert_eq!(list.as_array().map(Vec::len), Some(VERSIONS.len()));
    for (asked, found) in [
        ("1.2.3", "1.2.3"),
        ("v2.0.0", "v2.0.0"),
        ("2.0.0", "v2.0.0"),
        ("v1.2.3", "1.2.3"),
        ("latest", "2.1.0"),
        ("*", "2.1.0"),
        ("^1", "1.10.0"),
        ("^1.0", "1.10.0"),
        ("~1.2", "1.2.3"),
        ("~1.2.0", "1.2.3"),
        ("1", "1.10.0"),
        ("1.x", "1.10.0"),
        ("1.2.x", "1.2.3"),
        (">1.2.3", "2.1.0"),
        (">=1.0.0,<2.0.0", "1.10.0"),
        (">=1.0.0 <1.5.0", "1.2.3"),
        ("<1.0.0", "0.9.9"),
        ("1.0.0 - 1.3.0", "1.2.3"),
        ("<1.0.0 || ^2", "2.1.0"),
        (">0.0.0-0", "3.0.0-beta.2"),
        (">=3.0.0-alpha", "3.0.0-beta.2"),
        ("~3.0.0-alpha", "3.0.0-beta.2"),
        ("1.0.1-rc.1", "1.0.1-rc.1"),
        ("=1.0.0", "1.0.0"),
        ("1.0", "1.0.0"),
    ] {
        let path = format!("/api/charts/many/{}", encode(asked));
        let reply = pair.get(&path).expect(200).json();
        assert_eq!(reply["version"], found, "{asked}");
        pair.send(&Call::new("HEAD", &path)).expect(200);
    }
    // 0.13.1 lets prereleases through here.
    let reply = pair.get_unlike(&UNEQUAL_AND_PRERELEASES, "/api/charts/many/!=2.1.0");
    assert_eq!(reply.expect(200).json()["version"], "v2.0.0");
    for (asked, text) in [
        ("9.9.9", "no chart version found for many-9.9.9"),
        ("^9", "no chart version found for many-^9"),
        ("1.0.1", "no chart version found for many-1.0.1"),
        (">=3", "no chart version found for many->=3"),
        ("nonsense", "improper constraint: nonsense"),
        ("1.2.3.4", "improper constraint: 1.2.3.4"),
    ] {
        let path = format!("/api/charts/many/{}", encode(asked));
        let reply = pair.get(&path).expect(404);
        assert_eq!(reply.json(), json!({"error": text}), "{asked}");
        pair.send(&Call::new("HEAD", &path)).expect(404);
    }
    let reply = pair.get("/api/charts/early/latest").expect(404);
    assert_eq!(
        reply.json(),
        json!({"error": "no chart version found for early-"})
    );
    let reply = pair.get("/api/charts/none/1.0.0").expect(404);
    assert_eq!(reply.json(), json!({"error": "no chart name found"}));
    let reply = pair.get("/api/charts/none/latest").expect(404);
    assert_eq!(reply.json(), json!({"error": "no chart name found"}));
    let reply = pair.get("/api/charts/none").expect(404);
    assert_eq!(reply.json(), json!({"error": "chart not found"}));
    let only = pair.get("/api/charts/early/0.1.0-alpha.1").expect(200);
    assert_eq!(only.json()["version"], "0.1.0-alpha.1");
}

#[test]
fn build_metadata_is_part_of_the_name() {
    let pair = Pair::on(
        |folder| {
            for version in ["0.3.0+build.1", "0.3.0", "0.4.0+build.2"] {
                let file = folder.join(format!("built-{version}.tgz"));
                std::fs::write(file, package("built", version)).expect("a package");
            }
        },
        &[],
    );
    for path in [
        "/api/charts/built/0.3.0+build.1",
        "/api/charts/built/0.3.0%2Bbuild.1",
        "/api/charts/built/0.4.0",
        "/api/charts/built/0.4.0+build.2",
        "/charts/built-0.3.0+build.1.tgz",
        "/charts/built-0.3.0%2Bbuild.1.tgz",
    ] {
        pair.get(path).expect(200);
    }
    let found = pair.get("/api/charts/built/0.3.0+build.1").expect(200);
    assert_eq!(
        found.json()["urls"],
        json!(["charts/built-0.3.0+build.1.tgz"])
    );
}

#[test]
fn a_version_has_every_field_of_its_chart() {
    let chart_yaml = "apiVersion: v2\nname: full\nversion: 1.2.3-rc.1+b\nkubeVersion: '>=1.20.0'\ndescription: \"a <b> & c: 'd' ü\"\n\
        type: application\nkeywords: [one, two]\nhome: https://example.com/?a=1&b=2\nsources: [https://example.com/s]\n\
        dependencies:\n- name: sub\n  version: ~1.0\n  repository: https://example.com/charts\n  condition: sub.enabled\n  tags: [t]\n\
        \x20 enabled: true\n  import-values: [a, {child: xx, parent: yy}]\n  alias: zub\n\
        maintainers:\n- {name: nn, email: e@example.com, url: https://example.com}\nicon: https://example.com/i.png\nappVersion: '1.10'\n\
        deprecated: true\nannotations: {a.example/b: '1', multi: \"l1\\nl2\"}\nunknown: dropped\ncondition: c\ntags: t\n";
    let pair = Pair::on(
        |folder| {
            let bytes = Package::of(chart_yaml).build();
            std::fs::write(folder.join("full-1.2.3-rc.1+b.tgz"), bytes).expect("a package");
            let bytes = Package::of("name: bare\nversion: 1.0.0\n").build();
            std::fs::write(folder.join("bare-1.0.0.tgz"), bytes).expect("a package");
        },
        &[],
    );
    let version = pair.get("/api/charts/full/1.2.3-rc.1+b").expect(200).json();
    assert_eq!(version["description"], "a <b> & c: 'd' ü");
    assert_eq!(version["appVersion"], "1.10");
    assert_eq!(version["dependencies"][0]["alias"], "zub");
    assert_eq!(version["annotations"]["multi"], "l1\nl2");
    assert!(version.get("unknown").is_none());
    let bare = pair.get("/api/charts/bare/1.0.0").expect(200).json();
    assert_eq!(bare["apiVersion"], "v1");
    for field in ["created", "digest", "urls"] {
        assert!(bare.get(field).is_some(), "{field}");
    }
    pair.get("/api/charts").expect(200);
    pair.get("/index.yaml").expect(200);
}

#[test]
fn templates_and_values_come_from_the_package() {
    let fill = |folder: &Path| {
        let chart = Package::new("full", "1.0.0")
            .file("templates/sub/deep.yaml", "a: 1\n")
            .file("templates/NOTES.txt", [0xff_u8, 0, b'<'])
            .file(
                "charts/x/Chart.yaml",
                "apiVersion: v2\nname: x\nversion: 1.0.0\n",
            )
            .file("charts/x/templates/no.yaml", "no: 1\n")
            .file("charts/x/values.yaml", "no: 1\n");
        let bare = Package::of("apiVersion: v2\nname: bare\nversion: 1.0.0\n");
        let hollow = bare.clone().file("values.yaml", "");
        let hollow = Package::of("apiVersion: v2\nname: hollow\nversion: 1.0.0\n")
            .file("values.yaml", "")
            .file("templates/a.yaml", hollow.build());
        for (file, package) in [
            ("full-1.0.0.tgz", chart),
            ("bare-1.0.0.tgz", bare),
            ("hollow-1.0.0.tgz", hollow),
        ] {
            std::fs::write(folder.join(file), package.build()).expect("a package");
        }
    };
    let pair = Pair::on(fill, &[]);
    let get = |path: &str| pair.get_unlike(&TEMPLATES_UNKNOWN, path);
    for version in ["1.0.0", "latest", "^1"] {
        let reply = get(&format!("/api/charts/full/{version}/templates")).expect(200);
        let reply = reply.json();
        assert_eq!(
            reply["values"]["image"],
            json!({"repository": "busybox", "pull": 3})
        );
        let list = reply["templates"].as_array().expect("a list");
        let names: Vec<_> = list.iter().map(|one| &one["name"]).collect();
        assert_eq!(
            names,
            [
                "templates/pod.yaml",
                "templates/sub/deep.yaml",
                "templates/NOTES.txt"
            ]
        );
        assert_eq!(list[0]["data"], base64(TEMPLATE.as_bytes()));
        assert_eq!(list[2]["data"], base64(&[0xff, 0, b'<']));
        let values = get(&format!("/api/charts/full/{version}/values")).expect(200);
        assert_eq!(values.text(), VALUES);
        assert_eq!(values.header("content-type"), Some("application/yaml"));
    }
    let reply = get("/api/charts/bare/1.0.0/templates").expect(200);
    assert_eq!(reply.json(), json!({"templates": null, "values": null}));
    let reply = get("/api/charts/bare/1.0.0/values").expect(404);
    assert_eq!(reply.json(), json!({"error": "values.yaml not found"}));
    let reply = get("/api/charts/hollow/1.0.0/values").expect(200);
    assert_eq!(reply.text(), "");
    get("/api/charts/hollow/1.0.0/templates").expect(200);
    for kind in ["templates", "values"] {
        let path = format!("/api/charts/full/9.9.9/{kind}");
        let reply = get(&path).expect(404);
        assert_eq!(
            reply.json(),
            json!({"error": "no chart version found for full-9.9.9"})
        );
        let reply = get(&format!("/api/charts/none/1.0.0/{kind}")).expect(404);
        assert_eq!(reply.json(), json!({"error": "no chart name found"}));
    }

    let pair = Pair::newer(fill, &["--chart-url", "https://charts.example.com"]);
    for kind in ["templates", "values"] {
        let path = format!("/api/charts/full/1.0.0/{kind}");
        pair.get_unlike(&TEMPLATES_WITH_CHART_URL, &path)
            .expect(200);
    }
}

/// What a URL does not carry as it is.
fn encode(text: &str) -> String {
    text.replace('%', "%25")
        .replace(' ', "%20")
        .replace('^', "%5E")
        .replace('<', "%3C")
        .replace('>', "%3E")
        .replace('|', "%7C")
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = (0..3).fold(0_u32, |word, at| {
            word << 8 | u32::from(group.get(at).copied().unwrap_or(0))
        });
        for at in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * at)) as usize & 63];
            text.push(if at > group.len() {
                '='
            } else {
                char::from(letter)
            });
        }
    }
    text
}
