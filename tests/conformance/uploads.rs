//! Upload sessions: pieces, streams, mounts, what comes out of order, and the end of it.

use super::blobs::{come_and_gone, content, pushed};
use super::subject::{Algorithm, Checked, Must as _, Repository};
use crate::support::http::{Call, Reply};

/// One PATCH with a range, then PUT without bytes.
pub(super) fn one_piece(repository: &Repository, algorithm: Algorithm) -> Checked {
    let bytes = content("one piece", algorithm);
    let location = repository.start()?;
    let location = next(&patch(repository, &location, 0, &bytes)?, bytes.len())?;
    finish(repository, &location, algorithm, &bytes, None)
}

/// One PATCH of unknown length, then PUT without bytes.
pub(super) fn stream(repository: &Repository, algorithm: Algorithm) -> Checked {
    let bytes = content("stream", algorithm);
    let location = repository.start()?;
    let call = repository.at("PATCH", &location, "").chunked(&bytes, 700);
    let location = next(&repository.send(&call)?.must(202)?, bytes.len())?;
    finish(repository, &location, algorithm, &bytes, None)
}

/// Three pieces, then PUT without bytes; what has arrived can be asked for.
pub(super) fn pieces(repository: &Repository, algorithm: Algorithm) -> Checked {
    let bytes = content("pieces", algorithm);
    let mut location = repository.start()?;
    for start in [0, 1_500, 3_000] {
        let end = (start + 1_500).min(bytes.len());
        let reply = patch(repository, &location, start, &bytes[start..end])?;
        location = next(&reply, end)?;
        status(repository, &location, end)?;
    }
    finish(repository, &location, algorithm, &bytes, None)
}

/// Two pieces, the third with PUT.
pub(super) fn last_piece_with_put(repository: &Repository, algorithm: Algorithm) -> Checked {
    let bytes = content("last piece", algorithm);
    let mut location = repository.start()?;
    for start in [0, 1_500] {
        let reply = patch(repository, &location, start, &bytes[start..start + 1_500])?;
        location = next(&reply, start + 1_500)?;
    }
    finish(repository, &location, algorithm, &bytes, Some(3_000))
}

/// A piece that does not follow is 416; the session goes on where it was.
pub(super) fn out_of_order_patch(repository: &Repository, algorithm: Algorithm) -> Checked {
    let bytes = content("out of order", algorithm);
    let location = repository.start()?;
    let call = piece(
        repository,
        "PATCH",
        &location,
        "",
        1_500,
        &bytes[1_500..3_000],
    );
    repository.send(&call)?.must(416)?;
    let reply = patch(repository, &location, 0, &bytes[..1_500])?;
    let location = next(&reply, 1_500)?;
    for start in [0, 3_000] {
        let call = piece(
            repository,
            "PATCH",
            &location,
            "",
            start,
            &bytes[start..start + 1_000],
        );
        repository.send(&call)?.must(416)?;
        status(repository, &location, 1_500)?;
    }
    let reply = patch(repository, &location, 1_500, &bytes[1_500..])?;
    let location = next(&reply, bytes.len())?;
    finish(repository, &location, algorithm, &bytes, None)
}

/// The same with the last piece, in PUT.
pub(super) fn out_of_order_put(repository: &Repository, algorithm: Algorithm) -> Checked {
    let bytes = content("out of order put", algorithm);
    let digest = algorithm.of(&bytes);
    let location = repository.start()?;
    let reply = patch(repository, &location, 0, &bytes[..1_500])?;
    let location = next(&reply, 1_500)?;
    let query = format!("digest={digest}");
    let call = piece(repository, "PUT", &location, &query, 3_000, &bytes[3_000..]);
    repository.send(&call)?.must(416)?;
    status(repository, &location, 1_500)?;
    finish(repository, &location, algorithm, &bytes, Some(1_500))
}

/// A blob of another repository, named.
pub(super) fn mount(repository: &Repository, algorithm: Algorithm) -> Checked {
    let (digest, bytes) = elsewhere(repository, "mount", algorithm)?;
    let from = repository.beside("source").name;
    let reply = try_mount(repository, &digest, &format!("&from={from}"))?.must(201)?;
    pushed(repository, &reply.must_have("location", |_| true)?, &digest)?;
    come_and_gone(repository, &digest, &bytes)?;
    // Only the link went.
    let path = format!("blobs/{digest}");
    let source = repository.beside("source");
    source.ask("HEAD", &path)?.must(200).map(drop)
}

/// A blob of a repository that is not named.
pub(super) fn mount_from_anywhere(repository: &Repository, algorithm: Algorithm) -> Checked {
    let (digest, bytes) = elsewhere(repository, "mount from anywhere", algorithm)?;
    let reply = try_mount(repository, &digest, "")?.must(201)?;
    pushed(repository, &reply.must_have("location", |_| true)?, &digest)?;
    come_and_gone(repository, &digest, &bytes)
}

/// A blob that nobody has: a session instead, which works.
pub(super) fn mount_missing(repository: &Repository, algorithm: Algorithm) -> Checked {
    let bytes = content("mount missing", algorithm);
    let digest = algorithm.of(&bytes);
    let from = repository.beside("source").name;
    for from in [
        String::new(),
        format!("&from={from}"),
        "&from=no/such".to_owned(),
    ] {
        let reply = try_mount(repository, &digest, &from)?.must(202)?;
        let location = reply.must_have("location", |_| true)?;
        repository.finish(&location, &digest, &bytes)?.must(201)?;
        come_and_gone(repository, &digest, &bytes)?;
    }
    Ok(())
}

/// Puts a blob into the repository beside.
fn elsewhere(
    repository: &Repository,
    name: &str,
    algorithm: Algorithm,
) -> Checked<(String, Vec<u8>)> {
    let bytes = content(name, algorithm);
    let digest = repository.beside("source").push_blob(algorithm, &bytes)?;
    Ok((digest, bytes))
}

fn try_mount(repository: &Repository, digest: &str, from: &str) -> Checked<Reply> {
    let path = format!("blobs/uploads/?mount={digest}{from}");
    repository.send(&repository.call("POST", &path).body(""))
}

/// A session that is no longer wanted is gone.
pub(super) fn cancel(repository: &Repository, _: Algorithm) -> Checked {
    let location = repository.start()?;
    let call = repository.at("DELETE", &location, "");
    repository.send(&call)?.must(204)?;
    for method in ["GET", "DELETE"] {
        let reply = repository.send(&repository.at(method, &location, ""))?;
        reply.must(404)?.must_say("BLOB_UPLOAD_UNKNOWN")?;
    }
    let call = repository.at("PATCH", &location, "").body("bytes");
    repository.send(&call)?.must(404).map(drop)
}

/// A session that has nothing yet says so, also where its URL names a digest already.
pub(super) fn fresh_session(repository: &Repository, algorithm: Algorithm) -> Checked {
    let location = repository.start()?;
    status(repository, &location, 0)?;
    let digest = algorithm.of(b"later");
    let call = repository.at("GET", &location, &format!("digest={digest}"));
    repository.send(&call)?.must(204).map(drop)
}

fn piece(
    repository: &Repository,
    method: &str,
    location: &str,
    query: &str,
    start: usize,
    bytes: &[u8],
) -> Call {
    let range = format!("{start}-{}", start + bytes.len() - 1);
    repository
        .at(method, location, query)
        .header("Content-Type", "application/octet-stream")
        .header("Content-Range", &range)
        .body(bytes)
}

fn patch(repository: &Repository, location: &str, start: usize, bytes: &[u8]) -> Checked<Reply> {
    let call = piece(repository, "PATCH", location, "", start, bytes);
    repository.send(&call)?.must(202)
}

/// What an answer to PATCH says; where to go on.
fn next(reply: &Reply, arrived: usize) -> Checked<String> {
    let expected = format!("0-{}", arrived - 1);
    reply.must_have("range", |value| value == expected)?;
    reply.must_have("location", |_| true)
}

/// What a session says about itself.
fn status(repository: &Repository, location: &str, arrived: usize) -> Checked {
    let reply = repository.send(&repository.at("GET", location, ""))?;
    let reply = reply.must(204)?;
    let expected = format!("0-{}", arrived.saturating_sub(1));
    reply.must_have("range", |value| value == expected)?;
    reply.must_have("location", |_| true).map(drop)
}

/// PUT with the digest, and with the bytes from `start` on.
fn finish(
    repository: &Repository,
    location: &str,
    algorithm: Algorithm,
    bytes: &[u8],
    start: Option<usize>,
) -> Checked {
    let digest = algorithm.of(bytes);
    let query = format!("digest={digest}");
    let call = match start {
        Some(start) => piece(repository, "PUT", location, &query, start, &bytes[start..]),
        None => repository.at("PUT", location, &query).body(""),
    };
    let reply = repository.send(&call)?.must(201)?;
    pushed(repository, &reply.must_have("location", |_| true)?, &digest)?;
    come_and_gone(repository, &digest, bytes)
}
