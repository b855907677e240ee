//! Documents and blobs that belong together: how they are made, pushed, looked at and removed.

use serde_json::{Value, json};

use super::subject::{Algorithm, Checked, Must as _, Repository, ensure};
use crate::support::http::Reply;
use crate::support::image::{IMAGE, INDEX};

/// A manifest.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) media_type: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) digest: String,
    /// Tags that it is pushed under; by digest, if none.
    pub(super) tags: Vec<String>,
    /// Pushed by digest with the tags in the query.
    pub(super) tags_in_query: bool,
}

impl Document {
    /// `value` as a document.
    pub(super) fn new(algorithm: Algorithm, media_type: &'static str, value: &Value) -> Self {
        let bytes = value.to_string().into_bytes();
        Self {
            media_type,
            digest: algorithm.of(&bytes),
            bytes,
            tags: Vec::new(),
            tags_in_query: false,
        }
    }

    /// Pushed under this tag.
    pub(super) fn tagged(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self
    }

    /// What others name it by.
    pub(super) fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }

    fn value(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("made from JSON")
    }

    fn subject(&self) -> Option<String> {
        let subject = self.value()["subject"]["digest"]
            .as_str()
            .map(str::to_owned);
        subject
    }

    /// How a list of referrers must describe it.
    fn referrer(&self) -> Value {
        let value = self.value();
        let mut descriptor = self.descriptor();
        let kind = match value.get("artifactType") {
            None if self.media_type == IMAGE => value["config"].get("mediaType"),
            kind => kind,
        };
        if let Some(kind) = kind {
            descriptor["artifactType"] = kind.clone();
        }
        if let Some(annotations) = value.get("annotations") {
            descriptor["annotations"] = annotations.clone();
        }
        descriptor
    }
}

/// What one check pushes.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) algorithm: Algorithm,
    pub(super) blobs: Vec<(String, Vec<u8>)>,
    /// In the order in which they are pushed.
    pub(super) documents: Vec<Document>,
}

impl Set {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            blobs: Vec::new(),
            documents: Vec::new(),
        }
    }

    /// Adds a blob; its descriptor.
    pub(super) fn blob(&mut self, media_type: &str, bytes: impl Into<Vec<u8>>) -> Value {
        let bytes = bytes.into();
        let digest = self.algorithm.of(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        if !self.blobs.iter().any(|(held, _)| *held == digest) {
            self.blobs.push((digest, bytes));
        }
        descriptor
    }

    /// Adds a document; its descriptor.
    pub(super) fn document(&mut self, media_type: &'static str, value: &Value, tag: &str) -> Value {
        let mut document = Document::new(self.algorithm, media_type, value);
        if !tag.is_empty() {
            document = document.tagged(tag);
        }
        let descriptor = document.descriptor();
        self.documents.push(document);
        descriptor
    }

    /// All of it: pushed, listed, read, referred to, removed.
    pub(super) fn check(&self, repository: &Repository) -> Checked {
        for (digest, bytes) in &self.blobs {
            repository.push_blob_as(digest, bytes)?;
        }
        for document in &self.documents {
            push(repository, document)?;
        }
        self.listed(repository)?;
        for document in &self.documents {
            for reference in document.tags.iter().chain([&document.digest]) {
                read(repository, document, reference)?;
            }
        }
        for (digest, bytes) in &self.blobs {
            let reply = repository
                .ask("GET", &format!("blobs/{digest}"))?
                .must(200)?;
            ensure(reply.body == *bytes, || {
                format!("other bytes under {digest}")
            })?;
        }
        self.referred(repository)?;
        self.removed(repository)
    }

    fn listed(&self, repository: &Repository) -> Checked {
        let mut expected: Vec<_> = self.documents.iter().flat_map(|one| &one.tags).collect();
        expected.sort();
        let reply = repository.ask("GET", "tags/list")?.must(200)?.json();
        ensure(
            reply["tags"] == json!(expected) && reply["name"] == repository.name,
            || format!("{reply} instead of {expected:?}"),
        )
    }

    fn referred(&self, repository: &Repository) -> Checked {
        let mut subjects: Vec<_> = self
            .documents
            .iter()
            .filter_map(Document::subject)
            .collect();
        subjects.sort();
        subjects.dedup();
        for subject in subjects {
            let of_it = self
                .documents
                .iter()
                .filter(|one| one.subject().as_ref() == Some(&subject));
            let all: Vec<_> = of_it.map(Document::referrer).collect();
            let (found, _) = referrers(repository, &subject, "")?;
            same(&found, &all)?;
            let kinds: Vec<_> = all
                .iter()
                .filter_map(|one| one["artifactType"].as_str())
                .collect();
            for kind in kinds {
                let (found, filtered) = referrers(repository, &subject, kind)?;
                ensure(filtered, || "a filter that was not applied".to_owned())?;
                let some = all.iter().filter(|one| one["artifactType"] == kind);
                same(&found, &some.cloned().collect::<Vec<_>>())?;
            }
        }
        Ok(())
    }

    /// Newest first, as nothing may be taken away from under something else.
    fn removed(&self, repository: &Repository) -> Checked {
        for document in self.documents.iter().rev() {
            for tag in &document.tags {
                let path = format!("manifests/{tag}");
                repository.ask("DELETE", &path)?.must(202)?;
                repository.manifest("HEAD", tag)?.must(404)?;
            }
            // A tag is a name, not the thing.
            repository.manifest("HEAD", &document.digest)?.must(200)?;
            let path = format!("manifests/{}", document.digest);
            repository.ask("DELETE", &path)?.must(202)?;
            repository.manifest("HEAD", &document.digest)?.must(404)?;
            if let Some(subject) = document.subject() {
                let (found, _) = referrers(repository, &subject, "")?;
                let still = found.iter().any(|one| one["digest"] == document.digest);
                ensure(!still, || "a removed referrer that is listed".to_owned())?;
            }
        }
        for (digest, _) in &self.blobs {
            let path = format!("blobs/{digest}");
            repository.ask("DELETE", &path)?.must(202)?;
            repository.ask("HEAD", &path)?.must(404)?;
        }
        Ok(())
    }
}

/// Pushes a document in the way that it wants.
pub(super) fn push(repository: &Repository, document: &Document) -> Checked {
    if document.tags_in_query {
        let query: Vec<_> = document
            .tags
            .iter()
            .map(|tag| format!("tag={tag}"))
            .collect();
        let reference = format!("{}?{}", document.digest, query.join("&"));
        let reply = put(repository, document, &reference)?;
        let named = |value: &str| {
            let named: Vec<_> = value.split(',').map(str::trim).collect();
            document
                .tags
                .iter()
                .all(|tag| named.contains(&tag.as_str()))
        };
        return reply.must_have("oci-tag", named).map(drop);
    }
    if document.tags.is_empty() {
        put(repository, document, &document.digest)?;
    }
    for tag in &document.tags {
        put(repository, document, tag)?;
    }
    Ok(())
}

fn put(repository: &Repository, document: &Document, reference: &str) -> Checked<Reply> {
    let reply = repository.push_manifest(reference, document.media_type, &document.bytes)?;
    let reply = reply.must(201)?;
    // By tag, the registry chooses the algorithm.
    if reference.contains(':') {
        reply.must_have("docker-content-digest", |value| value == document.digest)?;
        let expected = format!("/v2/{}/manifests/{}", repository.name, document.digest);
        reply.must_have("location", |value| value.ends_with(&expected))?;
    } else {
        reply.must_have("docker-content-digest", |value| value.contains(':'))?;
        reply.must_have("location", |value| value.contains("/manifests/"))?;
    }
    if let Some(subject) = document.subject() {
        reply.must_have("oci-subject", |value| value == subject)?;
    }
    Ok(reply)
}

fn read(repository: &Repository, document: &Document, reference: &str) -> Checked {
    for method in ["HEAD", "GET"] {
        let reply = repository.manifest(method, reference)?.must(200)?;
        reply.must_have("content-type", |value| value == document.media_type)?;
        let length = document.bytes.len().to_string();
        reply.must_have("content-length", |value| value == length)?;
        let by_digest = reference.contains(':');
        reply.must_have("docker-content-digest", |value| {
            !by_digest || value == reference
        })?;
        ensure(method == "HEAD" || reply.body == document.bytes, || {
            format!("other bytes under {reference}")
        })?;
    }
    Ok(())
}

/// What refers to a digest, and whether a filter was applied.
pub(super) fn referrers(
    repository: &Repository,
    subject: &str,
    kind: &str,
) -> Checked<(Vec<Value>, bool)> {
    let mut path = format!("referrers/{subject}");
    if !kind.is_empty() {
        path.push_str(&format!("?artifactType={kind}"));
    }
    let reply = repository.ask("GET", &path)?.must(200)?;
    reply.must_have("content-type", |value| value == INDEX)?;
    let filtered = reply.header("oci-filters-applied") == Some("artifactType");
    let index = reply.json();
    ensure(
        index["schemaVersion"] == 2 && index["mediaType"] == INDEX,
        || format!("{index} is no index"),
    )?;
    let list = index["manifests"].as_array().cloned();
    Ok((list.ok_or_else(|| format!("no list in {index}"))?, filtered))
}

/// Whether two lists hold the same, in any order.
fn same(found: &[Value], expected: &[Value]) -> Checked {
    let sorted = |list: &[Value]| {
        let mut texts: Vec<_> = list.iter().map(ToString::to_string).collect();
        texts.sort();
        texts
    };
    ensure(sorted(found) == sorted(expected), || {
        format!("{found:?} instead of {expected:?}")
    })
}
