//! What is refused, and what else this project promises about manifests and requests.

use serde_json::json;

use super::blobs::content;
use super::set::{Set, push};
use super::subject::{Algorithm, Checked, Must as _, Repository, ensure};
use crate::support::image::{CONFIG, IMAGE, INDEX, LAYER};

/// A manifest that nobody has pushed.
pub(super) fn missing(repository: &Repository) -> Checked {
    let digest = Algorithm::Sha256.of(b"no such manifest");
    for reference in ["no-such-tag", &digest] {
        repository.manifest("HEAD", reference)?.must(404)?;
        let reply = repository.manifest("GET", reference)?;
        // Its repository does not exist either, which may be what is said.
        let reply = reply.must(404)?;
        let said = reply.must_say("MANIFEST_UNKNOWN");
        said.or_else(|_| reply.must_say("NAME_UNKNOWN"))?;
    }
    Ok(())
}

/// A digest that is none, and one that is another document's.
pub(super) fn wrong_digests(repository: &Repository) -> Checked {
    let index = empty_index();
    repository
        .manifest("GET", "sha256:baddigeststring")?
        .must_be(&[400, 404])?;
    let reply = repository.push_manifest("sha256:baddigeststring", INDEX, &index)?;
    reply.must(400)?;
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let digest = algorithm.of(b"another document");
        let reply = repository.push_manifest(&digest, INDEX, &index)?;
        reply.must(400)?.must_say("DIGEST_INVALID")?;
        repository.manifest("HEAD", &digest)?.must(404)?;
        let mut longer = index.clone();
        longer.extend_from_slice(b"  ");
        let reply = repository.push_manifest(&algorithm.of(&index), INDEX, &longer)?;
        reply.must(400)?;
    }
    Ok(())
}

fn empty_index() -> Vec<u8> {
    let value = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
    value.to_string().into_bytes()
}

/// Documents that no registry should take.
pub(super) fn refused(repository: &Repository) -> Checked {
    let digest = repository.push_blob(Algorithm::Sha256, b"{}")?;
    let config = json!({"mediaType": CONFIG, "digest": digest, "size": 2});
    let image = json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": []});
    let mut both = image.clone();
    both["manifests"] = json!([]);
    let schema_1 = json!({"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [], "history": [], "signatures": []});
    for (what, media_type, document) in [
        ("another type in the header", INDEX, &image),
        ("an image and an index at once", IMAGE, &both),
        ("a type that is no manifest", "text/plain", &image),
        (
            "the first schema",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            &schema_1,
        ),
    ] {
        let bytes = document.to_string();
        let reply = repository.push_manifest("refused", media_type, bytes.as_bytes())?;
        ensure(reply.status == 400, || format!("{what}: {}", reply.status))?;
        reply.must_say("MANIFEST_INVALID")?;
    }
    for text in ["", "no JSON", "[]", "{\"schemaVersion\":2"] {
        let reply = repository.push_manifest("refused", IMAGE, text.as_bytes())?;
        ensure(reply.status == 400, || {
            format!("{text:?}: {}", reply.status)
        })?;
    }
    repository.manifest("HEAD", "refused")?.must(404).map(drop)
}

/// What a manifest needs must be there first: config, layers, children.
pub(super) fn incomplete(repository: &Repository) -> Checked {
    let missing = Algorithm::Sha256.of(b"nobody has pushed this");
    let digest = repository.push_blob(Algorithm::Sha256, b"{}")?;
    let descriptor = |media_type: &str, digest: &str| json!({"mediaType": media_type, "digest": digest, "size": 2});
    let image = |config: &str, layer: &str| {
        json!({
            "schemaVersion": 2, "mediaType": IMAGE, "config": descriptor(CONFIG, config),
            "layers": [descriptor(LAYER, layer)],
        })
    };
    let index =
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(IMAGE, &missing)]});
    for (media_type, document) in [
        (IMAGE, image(&missing, &digest)),
        (IMAGE, image(&digest, &missing)),
        (INDEX, index),
    ] {
        let bytes = document.to_string();
        let reply = repository.push_manifest("incomplete", media_type, bytes.as_bytes())?;
        reply.must(400)?.must_say("MANIFEST_BLOB_UNKNOWN")?;
    }
    // A blob of another repository does not count.
    let document = image(&digest, &digest).to_string();
    let beside = repository.beside("other");
    let reply = beside.push_manifest("incomplete", IMAGE, document.as_bytes())?;
    reply.must(400)?.must_say("MANIFEST_BLOB_UNKNOWN")
}

/// A tag that moves: the old manifest stays, by digest. Removing it takes all its tags along.
pub(super) fn tags_move(repository: &Repository) -> Checked {
    let mut set = Set::new(Algorithm::Sha256);
    for number in [1, 2] {
        let value = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"n": number.to_string()}});
        set.document(INDEX, &value, "moving");
    }
    let (old, new) = (&set.documents[0], &set.documents[1]);
    for document in [old, new] {
        push(repository, document)?;
        let reply = repository.manifest("GET", "moving")?.must(200)?;
        ensure(reply.body == document.bytes, || {
            "the tag is another's".to_owned()
        })?;
    }
    repository.manifest("GET", &old.digest)?.must(200)?;
    let reply = repository.push_manifest("second", INDEX, &new.bytes)?;
    reply.must(201)?;
    let path = format!("manifests/{}", new.digest);
    repository.ask("DELETE", &path)?.must(202)?;
    for tag in ["moving", "second"] {
        repository.manifest("HEAD", tag)?.must(404)?;
    }
    repository.manifest("GET", &old.digest)?.must(200)?;
    repository.ask("DELETE", &path)?.must(404).map(drop)
}

/// The stored document, whatever `Accept` says.
pub(super) fn whatever_is_accepted(repository: &Repository) -> Checked {
    let index = empty_index();
    repository.push_manifest("one", INDEX, &index)?.must(201)?;
    for accept in ["", "*/*", IMAGE, "application/json", "text/html;q=0.1"] {
        let mut call = repository.call("GET", "manifests/one");
        if !accept.is_empty() {
            call = call.header("Accept", accept);
        }
        let reply = repository.send(&call)?.must(200)?;
        reply.must_have("content-type", |value| value == INDEX)?;
        ensure(reply.body == index, || {
            format!("other bytes for {accept:?}")
        })?;
    }
    Ok(())
}

/// A client that has it already is told so.
pub(super) fn unchanged(repository: &Repository) -> Checked {
    repository
        .push_manifest("one", INDEX, &empty_index())?
        .must(201)?;
    let bytes = content("unchanged", Algorithm::Sha256);
    let digest = repository.push_blob(Algorithm::Sha256, &bytes)?;
    for path in ["manifests/one".to_owned(), format!("blobs/{digest}")] {
        let etag = repository.ask("GET", &path)?.must(200)?;
        let etag = etag.must_have("etag", |value| value.contains("sha256:"))?;
        let call = repository.call("GET", &path).header("If-None-Match", &etag);
        repository.send(&call)?.must(304)?;
    }
    Ok(())
}

/// A manifest can be read as the blob that it is.
pub(super) fn manifests_are_blobs(repository: &Repository) -> Checked {
    let index = empty_index();
    repository.push_manifest("one", INDEX, &index)?.must(201)?;
    let digest = Algorithm::Sha256.of(&index);
    let reply = repository
        .ask("GET", &format!("blobs/{digest}"))?
        .must(200)?;
    ensure(reply.body == index, || "other bytes".to_owned())
}

/// Nothing is compressed on the way, and everything says which API it is.
pub(super) fn as_it_is(repository: &Repository) -> Checked {
    let bytes = vec![b' '; 20_000];
    let digest = repository.push_blob(Algorithm::Sha256, &bytes)?;
    let call = repository.call("GET", &format!("blobs/{digest}"));
    let call = call.header("Accept-Encoding", "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5");
    let reply = repository.send(&call)?.must(200)?;
    ensure(reply.header("content-encoding").is_none(), || {
        "compressed".to_owned()
    })?;
    ensure(reply.body == bytes, || "other bytes".to_owned())?;
    for path in [
        "tags/list",
        "manifests/none",
        "blobs/sha256:none",
        "no-such-thing",
    ] {
        let reply = repository.ask("GET", path)?;
        reply.must_have("docker-distribution-api-version", |value| {
            value == "registry/2.0"
        })?;
    }
    Ok(())
}

/// `Location` never names a scheme or a host, which are wrong behind a proxy.
pub(super) fn locations_are_paths(repository: &Repository) -> Checked {
    let location = repository.start()?;
    ensure(location.starts_with('/'), || location.clone())?;
    let reply = repository.push_manifest("one", INDEX, &empty_index())?;
    reply
        .must(201)?
        .must_have("location", |value| value.starts_with('/'))
        .map(drop)
}

/// Names that are none.
pub(super) fn bad_names(repository: &Repository) -> Checked {
    for name in [
        "UPPER",
        "a..b",
        "a/-b",
        "a%2Fb",
        "a%5Cb",
        "a/%2E%2E/b",
        "a//b",
        ".hidden",
    ] {
        let call = repository.call("GET", "tags/list");
        let path = call.line().trim_start_matches("GET ");
        let path = path.replace("/tags/list", &format!("/{name}/tags/list"));
        let reply = repository.send(&crate::support::http::Call::get(&path))?;
        ensure(reply.status == 400, || format!("{name}: {}", reply.status))?;
        reply.must_say("NAME_INVALID")?;
    }
    Ok(())
}

/// A range whose end lies before its start is refused; several ranges are answered with everything.
pub(super) fn strange_ranges(repository: &Repository) -> Checked {
    let bytes = content("strange ranges", Algorithm::Sha256);
    let digest = repository.push_blob(Algorithm::Sha256, &bytes)?;
    for (range, status) in [
        ("bytes=500-0", 416),
        ("bytes=0-1,5-6", 200),
        ("lines=1-2", 200),
        ("bytes=x-y", 200),
    ] {
        let call = repository.call("GET", &format!("blobs/{digest}"));
        let reply = repository.send(&call.header("Range", range))?;
        ensure(reply.status == status, || {
            format!("{range}: {}", reply.status)
        })?;
    }
    Ok(())
}
