//! Blobs: ways to push one, what is then there, and ranges.

use super::subject::{Algorithm, Checked, Must as _, Repository, ensure};
use crate::support::fake::noise;

/// Nobody has pushed it.
pub(super) fn missing(repository: &Repository, algorithm: Algorithm) -> Checked {
    let digest = algorithm.of(b"never pushed");
    let reply = repository.ask("GET", &format!("blobs/{digest}"))?;
    reply.must(404)?.must_say("BLOB_UNKNOWN")?;
    let reply = repository.ask("HEAD", &format!("blobs/{digest}"))?;
    reply.must(404).map(drop)
}

/// `POST …/uploads/?digest=` with the bytes.
pub(super) fn post_only(repository: &Repository, algorithm: Algorithm) -> Checked {
    let bytes = content("post only", algorithm);
    let digest = algorithm.of(&bytes);
    let call = repository.call("POST", &format!("blobs/uploads/?digest={digest}"));
    let call = call.header("Content-Type", "application/octet-stream");
    let reply = repository.send(&call.body(bytes.clone()))?.must(201)?;
    pushed(repository, &reply.must_have("location", |_| true)?, &digest)?;
    come_and_gone(repository, &digest, &bytes)
}

/// POST, then PUT with the bytes.
pub(super) fn post_and_put(repository: &Repository, algorithm: Algorithm) -> Checked {
    whole(repository, algorithm, &content("post and put", algorithm))
}

/// A blob without bytes.
pub(super) fn empty(repository: &Repository, algorithm: Algorithm) -> Checked {
    whole(repository, algorithm, b"")
}

/// The empty JSON object, which many artifacts have as config.
pub(super) fn empty_object(repository: &Repository, algorithm: Algorithm) -> Checked {
    whole(repository, algorithm, b"{}")
}

fn whole(repository: &Repository, algorithm: Algorithm, bytes: &[u8]) -> Checked {
    let digest = algorithm.of(bytes);
    let location = repository.start()?;
    let reply = repository.finish(&location, &digest, bytes)?.must(201)?;
    reply.must_have("docker-content-digest", |value| value == digest)?;
    pushed(repository, &reply.must_have("location", |_| true)?, &digest)?;
    come_and_gone(repository, &digest, bytes)
}

/// The answer to a push names where the blob is.
pub(super) fn pushed(repository: &Repository, location: &str, digest: &str) -> Checked {
    let expected = format!("/v2/{}/blobs/{digest}", repository.name);
    ensure(location.ends_with(&expected), || {
        format!("{location} instead of {expected}")
    })
}

/// It is there, whole, and gone in the moment in which it was removed.
pub(super) fn come_and_gone(repository: &Repository, digest: &str, bytes: &[u8]) -> Checked {
    let path = format!("blobs/{digest}");
    for method in ["HEAD", "GET"] {
        let reply = repository.ask(method, &path)?.must(200)?;
        reply.must_have("content-length", |value| value == bytes.len().to_string())?;
        reply.must_have("docker-content-digest", |value| value == digest)?;
        ensure(method == "HEAD" || reply.body == bytes, || {
            format!("other bytes under {digest}")
        })?;
    }
    repository.ask("DELETE", &path)?.must(202)?;
    for method in ["HEAD", "GET"] {
        repository.ask(method, &path)?.must(404)?;
    }
    Ok(())
}

/// `Range` in its six forms.
pub(super) fn ranges(repository: &Repository, algorithm: Algorithm) -> Checked {
    let bytes = content("ranges", algorithm);
    let length = bytes.len();
    let digest = repository.push_blob(algorithm, &bytes)?;
    let ask = |range: &str| {
        let call = repository.call("GET", &format!("blobs/{digest}"));
        repository.send(&call.header("Range", range))
    };
    for (range, first, last) in [
        ("bytes=0-9", 0, 9),
        ("bytes=100-199", 100, 199),
        ("bytes=500-", 500, length - 1),
        ("bytes=-7", length - 7, length - 1),
        ("bytes=500-999999", 500, length - 1),
    ] {
        let reply = ask(range)?.must(206)?;
        let expected = format!("bytes {first}-{last}/{length}");
        reply.must_have("content-range", |value| value == expected)?;
        ensure(reply.body == bytes[first..=last], || {
            format!("other bytes for {range}")
        })?;
    }
    ask(&format!("bytes={length}-"))?.must(416).map(drop)
}

/// Bytes that are not what was promised are refused on every way, and never shown.
pub(super) fn wrong_digests(repository: &Repository, algorithm: Algorithm) -> Checked {
    let bytes = content("other bytes", algorithm);
    let digest = algorithm.of(b"what was promised");
    let refused = |reply: crate::support::http::Reply| -> Checked {
        reply.must(400)?.must_say("DIGEST_INVALID")?;
        let path = format!("blobs/{digest}");
        repository.ask("HEAD", &path)?.must(404).map(drop)
    };
    let call = repository.call("POST", &format!("blobs/uploads/?digest={digest}"));
    let call = call.header("Content-Type", "application/octet-stream");
    refused(repository.send(&call.body(bytes.clone()))?)?;

    let location = repository.start()?;
    refused(repository.finish(&location, &digest, &bytes)?)?;

    let location = repository.start()?;
    let call = repository.at("PATCH", &location, "");
    let call = call.header("Content-Range", &format!("0-{}", bytes.len() - 1));
    let reply = repository.send(&call.body(bytes.clone()))?.must(202)?;
    let location = reply.must_have("location", |_| true)?;
    refused(repository.finish(&location, &digest, b"")?)?;

    let location = repository.start()?;
    let call = repository.at("PATCH", &location, "").chunked(&bytes, 100);
    let reply = repository.send(&call)?.must(202)?;
    let location = reply.must_have("location", |_| true)?;
    refused(repository.finish(&location, &digest, b"")?)
}

/// What is no digest at all.
pub(super) fn malformed_digests(repository: &Repository, _: Algorithm) -> Checked {
    for digest in ["sha256:baddigeststring", "sha256:", "md5:00", "latest"] {
        let location = repository.start()?;
        let reply = repository.finish(&location, digest, b"bytes")?.must(400)?;
        reply.must_say("DIGEST_INVALID")?;
    }
    let upper = Algorithm::Sha256.of(b"bytes").to_uppercase();
    let upper = upper.replace("SHA256", "sha256");
    let location = repository.start()?;
    repository
        .finish(&location, &upper, b"bytes")?
        .must(400)
        .map(drop)
}

/// Bytes of their own for each check.
pub(super) fn content(name: &str, algorithm: Algorithm) -> Vec<u8> {
    let seed = name.bytes().map(u64::from).sum::<u64>() * 10 + algorithm as u64;
    noise(4_001, seed)
}
