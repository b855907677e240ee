//! What registries hold: images, indexes, artifacts, and whatever refers to them.

use serde_json::{Value, json};

use super::set::Set;
use super::subject::Algorithm::{self, Sha256, Sha512};
use super::subject::{Checked, Repository};
use crate::support::fake::noise;
use crate::support::image::{CONFIG, IMAGE, INDEX, LAYER};

const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const THING: &str = "application/vnd.example.thing";
const OTHER: &str = "application/vnd.example.other";

/// All sets with their names.
pub(super) const SETS: &[(&str, fn() -> Set)] = &[
    ("image", || of(Sha256, |set| image(set, 1, LAYER, "image"))),
    ("image without compression", || {
        of(Sha256, |set| image(set, 2, PLAIN_LAYER, "image"))
    }),
    ("image with a large manifest", large),
    ("index", || of(Sha256, |set| index(set, 4, "index"))),
    ("index of indexes", || {
        of(Sha256, |set| {
            let children = vec![index(set, 5, ""), index(set, 6, "")];
            index_of(set, children, "index-of-indexes")
        })
    }),
    ("empty index", || {
        of(Sha256, |set| index_of(set, Vec::new(), "empty"))
    }),
    ("artifact", || {
        of(Sha256, |set| artifact(set, 7, THING, None, "artifact"))
    }),
    ("index of artifacts", || {
        of(Sha256, |set| {
            let children = vec![
                artifact(set, 8, THING, None, ""),
                artifact(set, 9, THING, None, ""),
            ];
            index_of(set, children, "artifacts")
        })
    }),
    ("artifact without layers", || of(Sha256, bare_artifact)),
    ("artifacts with a subject", || of(Sha256, with_subject)),
    ("index with a subject", || of(Sha256, index_with_subject)),
    ("subject that is missing", || {
        of(Sha256, |set| {
            let digest = Sha256.of(b"nobody has pushed this");
            let subject = json!({"mediaType": IMAGE, "digest": digest, "size": 123});
            artifact(set, 14, THING, Some(subject), "first")
        })
    }),
    ("descriptors with data", || of(Sha256, data_field)),
    ("layers that are not distributed", || {
        of(Sha256, non_distributable)
    }),
    ("fields that nobody knows", || of(Sha256, custom_fields)),
    ("image without layers", || {
        of(Sha256, |set| {
            let config = set.blob(CONFIG, config(17));
            let image = manifest(&config, &[]);
            set.document(IMAGE, &image, "no-layers")
        })
    }),
    ("index by sha512", || of(Sha512, |set| index(set, 18, ""))),
    ("artifacts with a subject by sha512", || {
        // By tag alone, the registry chooses the algorithm.
        in_query(of(Sha512, with_subject))
    }),
    ("tags in the query", || tags_in_query(Sha256)),
    ("tags in the query by sha512", || tags_in_query(Sha512)),
];

/// Holds a registry against a set.
pub(super) fn check(repository: &Repository, set: fn() -> Set) -> Checked {
    set().check(repository)
}

fn of(algorithm: Algorithm, fill: impl FnOnce(&mut Set) -> Value) -> Set {
    let mut set = Set::new(algorithm);
    fill(&mut set);
    set
}

fn config(seed: u64) -> Vec<u8> {
    let text = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "seed": seed});
    text.to_string().into_bytes()
}

fn manifest(config: &Value, layers: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers})
}

fn image(set: &mut Set, seed: u64, layer: &str, tag: &str) -> Value {
    let config = set.blob(CONFIG, config(seed));
    let layers = [
        set.blob(layer, noise(900, seed * 10)),
        set.blob(layer, noise(700, seed * 10 + 1)),
    ];
    set.document(IMAGE, &manifest(&config, &layers), tag)
}

fn index_of(set: &mut Set, children: Vec<Value>, tag: &str) -> Value {
    let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
    set.document(INDEX, &document, tag)
}

fn index(set: &mut Set, seed: u64, tag: &str) -> Value {
    let children = ["amd64", "arm64"].into_iter().zip(seed * 100..);
    let children = children.map(|(architecture, seed)| {
        let mut child = image(set, seed, LAYER, "");
        child["platform"] = json!({"os": "linux", "architecture": architecture});
        child
    });
    let children = children.collect();
    index_of(set, children, tag)
}

fn artifact(set: &mut Set, seed: u64, kind: &str, subject: Option<Value>, tag: &str) -> Value {
    let config = set.blob(EMPTY, "{}");
    let layer = set.blob(kind, noise(300, seed));
    let mut document = manifest(&config, &[layer]);
    document["artifactType"] = kind.into();
    document["annotations"] = json!({"org.example.seed": seed.to_string()});
    if let Some(subject) = subject {
        document["subject"] = subject;
    }
    set.document(IMAGE, &document, tag)
}

/// Close to the largest manifest that every registry must take.
fn large() -> Set {
    of(Sha256, |set| {
        let config = set.blob(CONFIG, config(3));
        let mut document = manifest(&config, &[]);
        let long = "A".repeat(10_000);
        let annotations: serde_json::Map<_, _> = (0..390)
            .map(|number| (format!("large-{number}"), json!(long)))
            .collect();
        document["annotations"] = annotations.into();
        set.document(IMAGE, &document, "large")
    })
}

fn bare_artifact(set: &mut Set) -> Value {
    let empty = set.blob(EMPTY, "{}");
    let mut document = manifest(&empty, std::slice::from_ref(&empty));
    document["artifactType"] = THING.into();
    set.document(IMAGE, &document, "bare")
}

/// One that takes its type from its config, and two with types of their own.
fn with_subject(set: &mut Set) -> Value {
    let subject = image(set, 10, LAYER, "image");
    let config = set.blob("application/vnd.example.config", config(11));
    let mut untyped = manifest(&config, &[]);
    untyped["subject"] = subject.clone();
    set.document(IMAGE, &untyped, "");
    artifact(set, 12, THING, Some(subject.clone()), "artifact-1");
    artifact(set, 13, OTHER, Some(subject), "artifact-2")
}

fn index_with_subject(set: &mut Set) -> Value {
    let subject = index(set, 15, "index");
    let child = artifact(set, 16, THING, None, "");
    let typed = json!({
        "schemaVersion": 2, "mediaType": INDEX, "artifactType": THING, "manifests": [child],
        "subject": subject, "annotations": {"org.example.note": "hello"},
    });
    set.document(INDEX, &typed, "typed");
    let untyped = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": subject,
    });
    set.document(INDEX, &untyped, "")
}

fn data_field(set: &mut Set) -> Value {
    let mut config = set.blob(EMPTY, "{}");
    config["data"] = "e30=".into();
    let document = manifest(&config, std::slice::from_ref(&config));
    set.document(IMAGE, &document, "data")
}

/// Layers that lie elsewhere: nobody has pushed them.
fn non_distributable(set: &mut Set) -> Value {
    let config = set.blob(CONFIG, config(19));
    let mut layers = vec![set.blob(LAYER, noise(200, 19))];
    for media_type in [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
    ] {
        let digest = Sha256.of(media_type.as_bytes());
        let url = format!("https://store.example.com/{digest}");
        let layer =
            json!({"mediaType": media_type, "digest": digest, "size": 12_345, "urls": [url]});
        layers.push(layer);
    }
    set.document(IMAGE, &manifest(&config, &layers), "elsewhere")
}

fn custom_fields(set: &mut Set) -> Value {
    let mut text: Value = serde_json::from_slice(&config(20)).expect("made as JSON");
    text["org.example.field"] = json!({"a": [1, 2, null]});
    let config = set.blob(CONFIG, text.to_string());
    let mut document = manifest(&config, &[]);
    document["org.example.field"] = "a value".into();
    let mut child = set.document(IMAGE, &document, "");
    child["org.example.field"] = true.into();
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [child], "org.example.field": 1.5,
    });
    set.document(INDEX, &index, "custom")
}

fn in_query(mut set: Set) -> Set {
    for document in &mut set.documents {
        document.tags_in_query = !document.tags.is_empty();
    }
    set
}

fn tags_in_query(algorithm: Algorithm) -> Set {
    let mut set = of(algorithm, |set| index(set, 21, ""));
    for (number, document) in set.documents.iter_mut().enumerate() {
        document.tags_in_query = true;
        let many = if number == 2 { 12 } else { 1 };
        document.tags = (0..many).map(|tag| format!("tag-{number}-{tag}")).collect();
    }
    set
}
