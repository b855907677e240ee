//! Uploads into a tenant: from pieces to blobs that are shown.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chartgate::config::HostedRegistry as Settings;
use chartgate::error::{Error, ErrorKind, Result};
use chartgate::http::RequestBody;
use chartgate::oci::{Algorithm, Digest};
use chartgate::store::registry::HostedRegistry;

use super::ground::{World, blob, kind, name, put_blob, sha256};

/// A body of these pieces, with or without a length.
struct Pieces(VecDeque<Bytes>, Option<u64>);

fn body(bytes: &[u8]) -> Pieces {
    let length = Some(bytes.len() as u64);
    Pieces([Bytes::copy_from_slice(bytes)].into(), length)
}

fn chunked(bytes: &[u8]) -> Pieces {
    let pieces = bytes.chunks(1000).map(Bytes::copy_from_slice);
    Pieces(pieces.collect(), None)
}

#[async_trait]
impl RequestBody for Pieces {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.pop_front())
    }

    fn length(&self) -> Option<u64> {
        self.1
    }
}

async fn whole(registry: &Arc<HostedRegistry>, digest: &Digest, bytes: &[u8]) -> Result<u64> {
    let mut body = body(bytes);
    let stored = registry
        .put_whole(&name("app"), "ann", digest, &mut body)
        .await?;
    Ok(stored.size)
}

pub(super) async fn end_as_blobs(world: &World<'_>) {
    let registry = &world.registry;
    let repo = name("app");
    let bytes = vec![7; 300_000];
    for (algorithm, text) in [(Algorithm::Sha256, "256"), (Algorithm::Sha512, "512")] {
        for part in [&b""[..], text.as_bytes(), &bytes] {
            let all = [part, text.as_bytes()].concat();
            let digest = Digest::of(algorithm, &all);
            let id = registry
                .start_upload(&repo, "ann", None)
                .await
                .expect("begun");
            let length = registry
                .append(&repo, &id, "ann", None, &mut chunked(part))
                .await
                .expect("taken");
            assert_eq!(length, part.len() as u64);
            let at = Some((length, length + 2));
            let stored = registry
                .finish(&repo, &id, "ann", &digest, at, &mut body(text.as_bytes()))
                .await
                .expect("as promised");
            assert_eq!(stored.size, all.len() as u64);
            assert_eq!(blob(registry, "app", &digest).await.expect("shown"), all);
            let again = registry.upload_status(&repo, &id, "ann").await;
            assert_eq!(kind(again), ErrorKind::NotFound);
            // Nobody else's repository shows it.
            assert!(blob(registry, "other", &digest).await.is_err());
        }
    }
    let again = world.again().await;
    let empty = sha256(b"");
    assert_eq!(whole(&again, &empty, b"").await.expect("stored"), 0);
    assert_eq!(blob(&again, "app", &empty).await.expect("shown"), "");
}

/// The second time the bytes are there already, in this tenant or another one.
pub(super) async fn of_what_is_there_are_blobs_too(world: &World<'_>) {
    let registry = &world.registry;
    put_blob(registry, "first", b"twice").await;
    for _ in 0..2 {
        let digest = sha256(b"twice");
        assert_eq!(whole(registry, &digest, b"twice").await.expect("stored"), 5);
        assert_eq!(
            blob(registry, "app", &digest).await.expect("shown"),
            "twice"
        );
    }
    assert_eq!(registry.uploads().usage(world.tenant), (0, 0));
}

pub(super) async fn that_are_wrong_leave_nothing(world: &World<'_>) {
    let registry = &world.registry;
    let repo = name("app");
    let result = whole(registry, &sha256(b"other"), b"bytes").await;
    assert_eq!(kind(result), ErrorKind::DigestMismatch);
    assert!(blob(registry, "app", &sha256(b"bytes")).await.is_err());
    let small = Settings {
        max_blob: 4,
        quota: Some(6),
        ..Settings::default()
    };
    let registry = world.with(small, true).await;
    let result = whole(&registry, &sha256(b"12345"), b"12345").await;
    assert_eq!(kind(result), ErrorKind::TooLarge);
    let id = registry.start_upload(&repo, "ann", None).await;
    let id = id.expect("begun");
    let result = registry
        .append(&repo, &id, "ann", None, &mut chunked(b"12345"))
        .await;
    assert_eq!(kind(result), ErrorKind::TooLarge);
    registry.cancel(&repo, &id, "ann").await.expect("cancelled");
    assert_eq!(
        whole(&registry, &sha256(b"1234"), b"1234")
            .await
            .expect("stored"),
        4
    );
    let result = whole(&registry, &sha256(b"567"), b"567").await;
    assert_eq!(kind(result), ErrorKind::QuotaExceeded);
    assert_eq!(
        whole(&registry, &sha256(b"56"), b"56")
            .await
            .expect("stored"),
        2
    );
    assert_eq!(registry.uploads().usage(world.tenant), (0, 0));
    let has = registry
        .has(&name("nothing"))
        .await
        .map_err(|error: Error| error.kind());
    assert_eq!(has, Ok(false));
}

pub(super) async fn go_on_after_a_restart(world: &World<'_>) {
    let repo = name("app");
    let id = world
        .registry
        .start_upload(&repo, "ann", Some(Algorithm::Sha512))
        .await
        .expect("begun");
    let first = world
        .registry
        .append(&repo, &id, "ann", None, &mut body(b"first "))
        .await;
    first.expect("taken");
    let registry = world.again().await;
    let status = registry.upload_status(&repo, &id, "ann").await;
    assert_eq!(status.expect("there"), 6);
    let behind = registry
        .append(&repo, &id, "ann", Some((5, 7)), &mut body(b"xxx"))
        .await;
    assert_eq!(kind(behind), ErrorKind::OutOfOrder(6));
    let digest = Digest::of(Algorithm::Sha512, b"first second");
    let stored = registry
        .finish(&repo, &id, "ann", &digest, None, &mut body(b"second"))
        .await;
    assert_eq!(stored.expect("as promised").digest, digest);
    let bytes = blob(&registry, "app", &digest).await.expect("shown");
    assert_eq!(bytes, "first second");
}
