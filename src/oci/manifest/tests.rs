use proptest::prelude::*;

use super::*;

const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn descriptor(media_type: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{EMPTY}","size":0}}"#)
}

fn image(more: &str) -> String {
    let config = descriptor("application/vnd.cncf.helm.config.v1+json");
    let layer = descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip");
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]{more}}}"#)
}

fn index(more: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"manifests":[{}]{more}}}"#,
        descriptor(IMAGE)
    )
}

fn inspect(media_type: &str, text: &str) -> Result<Manifest> {
    Manifest::inspect(Some(media_type), text.as_bytes(), MAX_MANIFEST)
}

#[track_caller]
fn refused(media_type: &str, text: &str, words: &str) {
    let error = inspect(media_type, text).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert!(error.message().contains(words), "{error:?}");
}

#[test]
fn a_chart_has_its_type_from_the_header_only() {
    let chart = inspect(&format!("{IMAGE}; charset=utf-8"), &image("")).expect("a chart");
    assert_eq!(chart.media_type, ManifestType::Image);
    assert_eq!(chart.blobs().count(), 2);
    assert_eq!(
        chart.referrer_type().as_deref(),
        Some("application/vnd.cncf.helm.config.v1+json")
    );
    assert!(chart.subject.is_none() && chart.annotations.is_empty());
}

#[test]
fn every_accepted_type_is_accepted() {
    for (kind, text) in [
        (ManifestType::Image, image("")),
        (ManifestType::DockerImage, image("")),
        (ManifestType::Index, index("")),
        (ManifestType::DockerList, index("")),
        (
            ManifestType::Artifact,
            r#"{"artifactType":"a/b"}"#.to_owned(),
        ),
        (
            ManifestType::Artifact,
            format!(r#"{{"blobs":[{}]}}"#, descriptor("a/b")),
        ),
    ] {
        let manifest = inspect(kind.as_str(), &text).expect(&text);
        assert_eq!(manifest.media_type, kind);
        assert_eq!(kind.is_index(), !manifest.manifests.is_empty());
        // A document that repeats its type is the same.
        let repeated = text.replacen('{', &format!(r#"{{"mediaType":"{kind}","#), 1);
        inspect(kind.as_str(), &repeated).expect(&repeated);
    }
}

#[test]
fn what_is_legal_and_looks_odd() {
    let config = descriptor("application/vnd.oci.empty.v1+json");
    for text in [
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#),
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":null,"subject":null}}"#),
        format!(r#"{{"schemaVersion":2,"config":{config},"mediaType":""}}"#),
        image(r#","org.example":{"x":[1]},"org.example":2"#),
        image(r#","annotations":{}"#),
    ] {
        inspect(IMAGE, &text).expect(&text);
    }
    for text in [
        r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(),
        r#"{"schemaVersion":2,"manifests":null}"#.to_owned(),
        format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            descriptor(INDEX)
        ),
        index(r#","artifactType":"a/b""#),
    ] {
        inspect(INDEX, &text).expect(&text);
    }
}

#[test]
fn documents_that_could_be_two_things_are_refused() {
    let config = descriptor("a/b");
    for more in [
        format!(r#","config":{config}"#),
        r#","layers":[]"#.to_owned(),
        r#","fsLayers":[]"#.to_owned(),
    ] {
        refused(INDEX, &index(&more), "ambiguous");
        refused(DOCKER, &index(&more), "ambiguous");
    }
    refused(INDEX, &index(r#","Layers":[]"#), "in case only");
    refused(IMAGE, &image(r#","MediaType":"x/y""#), "in case only");
    refused(IMAGE, &image(r#","layers":[]"#), "twice");
    refused(IMAGE, &image(r#","l\u0061yers":[]"#), "twice");
}

#[test]
fn types_must_agree_with_the_document() {
    let claims = |kind: &str| format!(r#","mediaType":"{kind}""#);
    refused(IMAGE, &image(&claims(DOCKER)), "was sent as");
    refused(INDEX, &index(&claims(IMAGE)), "was sent as");
    refused(IMAGE, &image(&claims("text/plain")), "was sent as");
    refused(IMAGE, &index(""), "no `config`");
    refused(INDEX, &image(""), "no `manifests`");
    refused("text/plain", &image(""), "not the media type");
    refused("", &image(""), "not the media type");
    let error = Manifest::inspect(None, image("").as_bytes(), 100_000).expect_err("no type");
    assert!(error.message().contains("Content-Type"), "{error:?}");
}

#[test]
fn schema_1_is_refused_and_named() {
    for kind in [ManifestType::Schema1, ManifestType::Schema1Signed] {
        refused(
            kind.as_str(),
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
            "schema 1",
        );
        let error = Manifest::receive(Some(kind.as_str()), b"{}", 10).expect_err("schema 1");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    refused(IMAGE, &image("").replace(":2,", ":1,"), "schemaVersion");
    refused(
        IMAGE,
        &image("").replace(r#""schemaVersion":2,"#, ""),
        "schemaVersion",
    );
    let old = br#"{"schemaVersion":1,"fsLayers":[]}"#;
    let error = Manifest::receive(Some("text/plain"), old, 100).expect_err("schema 1");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn malformed_documents_are_refused() {
    for text in [
        "",
        "null",
        "[]",
        "\"x\"",
        "{",
        "{}{}",
        "<html>",
        "\u{feff}{}",
        r#"{"schemaVersion":"2"}"#,
        r#"{"schemaVersion":2,"config":"x"}"#,
        r#"{"schemaVersion":2,"config":{"digest":"sha256:x","size":1}}"#,
        r#"{"schemaVersion":2,"config":[]}"#,
    ] {
        refused(IMAGE, text, "the manifest cannot be read");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    inspect(IMAGE, &image(&format!(r#","x":{deep}"#))).expect("unknown fields are skipped");
    let deep = image(&format!(r#","annotations":{deep}"#));
    refused(IMAGE, &deep, "the manifest cannot be read");
}

#[test]
fn size_is_limited() {
    let text = image("");
    Manifest::inspect(Some(IMAGE), text.as_bytes(), text.len()).expect("just fits");
    let error = Manifest::inspect(Some(IMAGE), text.as_bytes(), text.len() - 1);
    assert_eq!(error.expect_err("too large").kind(), ErrorKind::TooLarge);
    // What the conformance suite pushes: 390 annotations of 10,000 bytes.
    let value = "x".repeat(10_000);
    let many: Vec<String> = (0..390).map(|n| format!(r#""{n}":"{value}""#)).collect();
    let text = image(&format!(r#","annotations":{{{}}}"#, many.join(",")));
    let manifest = inspect(IMAGE, &text).expect("large and legal");
    assert_eq!(manifest.annotations.to_map().len(), 390);
}

#[test]
fn layers_that_lie_elsewhere_are_not_needed_here() {
    let foreign = descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
    let config = descriptor("application/vnd.oci.image.config.v1+json");
    let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{foreign}]}}"#);
    let manifest = inspect(IMAGE, &text).expect("legal");
    assert_eq!((manifest.layers.len(), manifest.blobs().count()), (1, 1));
}

#[test]
fn the_type_is_found_where_an_upstream_does_not_say_it() {
    let docker = image("").replace(
        "application/vnd.cncf.helm.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    );
    for (text, kind) in [
        (image(""), ManifestType::Image),
        (docker, ManifestType::DockerImage),
        (index(""), ManifestType::Index),
        (
            index(&format!(r#","mediaType":"{}""#, ManifestType::DockerList)),
            ManifestType::DockerList,
        ),
    ] {
        for header in [None, Some("text/plain"), Some("application/json")] {
            let read = Manifest::receive(header, text.as_bytes(), MAX_MANIFEST);
            assert_eq!(read.expect("repaired").media_type, kind);
        }
    }
    for text in ["{}", "<html></html>", r#"{"errors":[]}"#] {
        let read = Manifest::receive(Some("application/json"), text.as_bytes(), 100);
        assert_eq!(read.expect_err(text).kind(), ErrorKind::Invalid);
    }
}

#[test]
fn the_kind_of_a_referrer() {
    let own = inspect(IMAGE, &image(r#","artifactType":"a/b""#)).expect("legal");
    assert_eq!(own.referrer_type().as_deref(), Some("a/b"));
    let none = inspect(IMAGE, &image(r#","artifactType":"""#)).expect("legal");
    assert!(
        none.referrer_type()
            .is_some_and(|kind| kind.contains("helm"))
    );
    let list = inspect(INDEX, &index("")).expect("legal");
    assert_eq!(list.referrer_type(), None);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::inspect(Some(IMAGE), &bytes, 1000);
        let _ = Manifest::receive(None, &bytes, 1000);
    }

    /// Documents put together from known keys and odd values: never both an index and an image.
    #[test]
    fn nothing_accepted_is_ambiguous(
        parts in proptest::collection::vec(
            (
                prop_oneof!["schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers", "subject", "Config"],
                prop_oneof![
                    Just("2".to_owned()), Just("null".to_owned()), Just("[]".to_owned()),
                    Just(descriptor("a/b")), Just(format!("[{}]", descriptor("a/b"))),
                    Just(format!("\"{IMAGE}\"")), Just(format!("\"{INDEX}\"")),
                ],
            ),
            0..6,
        ),
        kind in prop_oneof![Just(IMAGE), Just(INDEX), Just(DOCKER)],
    ) {
        let fields: Vec<String> = parts.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let text = format!("{{{}}}", fields.join(","));
        if let Ok(manifest) = inspect(kind, &text) {
            prop_assert_eq!(manifest.media_type.as_str(), kind);
            prop_assert!(manifest.manifests.is_empty() || manifest.config.is_none() && manifest.layers.is_empty());
            prop_assert!(manifest.media_type.is_index() || manifest.manifests.is_empty());
        }
    }
}
