//! What holds for every object store.

use std::collections::BTreeMap;
use std::io::Write as _;

use bytes::Bytes;
use chartgate::clock::Clock;
use chartgate::config::ObjectStore;
use chartgate::error::{ErrorKind, Result};
use chartgate::net::{Clients, EnvironmentProxies, Retries};
use chartgate::object::{Bucket, Content, Existing, Object, Opened, Stamp};
use futures_util::StreamExt as _;

/// Opens a place with the retries of production.
pub(crate) fn open(config: &ObjectStore) -> Bucket {
    let clients = Clients::with(Retries::default(), EnvironmentProxies::none());
    Bucket::open(config, &clients, &Clock::system()).expect("a bucket")
}

/// Opens a place behind `prefix`.
pub(crate) fn open_at(config: &ObjectStore, prefix: &str) -> Bucket {
    open(&ObjectStore {
        prefix: prefix.into(),
        ..config.clone()
    })
}

/// Writes text where nothing is.
pub(crate) async fn put(bucket: &Bucket, key: &str, text: &str) -> Stamp {
    let content = Content::Bytes(Bytes::copy_from_slice(text.as_bytes()));
    let written = bucket.write(key, content, Existing::Refuse).await;
    written.unwrap_or_else(|error| panic!("{key}: {error:?}"))
}

/// The whole content.
pub(crate) async fn text(bucket: &Bucket, key: &str) -> Option<String> {
    let opened = bucket.read(key, None).await.expect("readable")?;
    Some(String::from_utf8(bytes(opened).await.expect("whole")).expect("text"))
}

pub(crate) async fn bytes(mut opened: Opened) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(piece) = opened.body.next().await {
        all.extend_from_slice(&piece?);
    }
    assert_eq!(opened.body.length, Some(all.len() as u64));
    Ok(all)
}

/// A listing, with the number of its items.
pub(crate) async fn listing(
    bucket: &Bucket,
    folder: &str,
) -> Result<(BTreeMap<String, Stamp>, usize)> {
    let mut pages = bucket.list(folder);
    let (mut found, mut count) = (BTreeMap::new(), 0);
    while let Some(page) = pages.next().await {
        count += 1;
        for Object { name, stamp } in page? {
            assert!(
                found.insert(name.to_string(), stamp).is_none(),
                "`{name}` is listed twice"
            );
        }
    }
    Ok((found, count))
}

async fn names(bucket: &Bucket, folder: &str) -> Vec<String> {
    let (found, _) = listing(bucket, folder).await.expect("listed");
    found.into_keys().collect()
}

/// The suite. `many` objects make more than one page; `large` is more than one request takes.
pub(crate) async fn behaves(config: &ObjectStore, many: usize, large: Option<usize>) {
    let base = config.prefix.trim_matches('/').to_owned();
    let below = |name: &str| match base.as_str() {
        "" => name.to_owned(),
        base => format!("{base}/{name}"),
    };
    open(config).check().await.expect("the bucket is there");
    one_object(&open_at(config, &below("one"))).await;
    odd_names(&open_at(config, &below("odd"))).await;
    siblings(&open_at(config, &below("si/blings"))).await;
    writers_meet(&open_at(config, &below("race"))).await;
    many_objects(&open_at(config, &below("many")), many).await;
    if let Some(size) = large {
        large_object(&open_at(config, &below("large")), size).await;
    }
    // Without a prefix, where the place has none of its own.
    let root = open(config);
    put(&root, "at-the-root-1.0.0.tgz", "root").await;
    assert_eq!(names(&root, "").await, ["at-the-root-1.0.0.tgz"]);
    assert_eq!(names(&root, "one").await, ["a-1.0.0.tgz"]);
}

async fn one_object(bucket: &Bucket) {
    let key = "a-1.0.0.tgz";
    assert_eq!(bucket.stat(key).await.expect("answered"), None);
    assert!(bucket.read(key, None).await.expect("answered").is_none());
    bucket.remove(key).await.expect("removed already");
    assert_eq!(names(bucket, "").await, Vec::<String>::new());

    let first = put(bucket, key, "first content").await;
    assert_eq!(first.size, 13);
    let age = Clock::system().since(first.modified);
    assert!(age.as_secs() < 120, "{first:?} is {age:?} old");
    says_everywhere(bucket, key, first).await;

    let again = Content::Bytes(Bytes::from_static(b"other content"));
    let error = bucket
        .write(key, again, Existing::Refuse)
        .await
        .expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    assert_eq!(text(bucket, key).await.as_deref(), Some("first content"));

    // The same length, possibly within the same second: only the tag tells.
    let again = Content::Bytes(Bytes::from_static(b"other content"));
    let second = bucket
        .write(key, again, Existing::Replace)
        .await
        .expect("replaced");
    assert!(!second.agrees(&first), "{first:?} {second:?}");
    says_everywhere(bucket, key, second).await;
    assert_eq!(text(bucket, key).await.as_deref(), Some("other content"));

    let part = bucket
        .read(key, Some(6..9))
        .await
        .expect("answered")
        .expect("there");
    assert_eq!(part.stamp, second);
    assert_eq!(bytes(part).await.expect("whole"), b"con");
    for outside in [10..99, 13..14, 5..5] {
        let error = bucket.read(key, Some(outside)).await.expect_err("outside");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    }
    assert!(
        bucket
            .read("b-1.0.0.tgz", Some(0..1))
            .await
            .expect("answered")
            .is_none()
    );

    bucket.remove(key).await.expect("removed");
    assert_eq!(bucket.stat(key).await.expect("answered"), None);
    assert_eq!(names(bucket, "").await, Vec::<String>::new());

    // Nothing at all, and a file.
    put(bucket, "empty", "").await;
    assert_eq!(text(bucket, "empty").await.as_deref(), Some(""));
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(b"from a file, and more").expect("written");
    let content = Content::File(file, 11);
    let stamp = bucket
        .write(key, content, Existing::Refuse)
        .await
        .expect("written");
    says_everywhere(bucket, key, stamp).await;
    assert_eq!(text(bucket, key).await.as_deref(), Some("from a file"));
    bucket.remove("empty").await.expect("removed");

    for wrong in ["", "/a", "a/", "a//b", "a/../b", " a", "a\nb"] {
        let error = bucket.stat(wrong).await.expect_err("no key");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong:?}");
    }
}

/// Write, stat, read and list agree about an object: its version is dated by it.
async fn says_everywhere(bucket: &Bucket, key: &str, stamp: Stamp) {
    assert_eq!(bucket.stat(key).await.expect("answered"), Some(stamp));
    let opened = bucket
        .read(key, None)
        .await
        .expect("answered")
        .expect("there");
    assert_eq!(opened.stamp, stamp);
    let (found, _) = listing(bucket, "").await.expect("listed");
    assert_eq!(found[key], stamp);
    assert_ne!(stamp.tag, 0);
}

async fn odd_names(bucket: &Bucket) {
    let mut odd = [
        "mychart-0.3.0+build.1.tgz",
        "My Chart-1.0.0.tgz",
        "größe-1.0.0.tgz",
        "图-1.0.0.tgz",
        "UPPER-1.0.0-RC.1.tgz",
        "percent%2F-1.0.0.tgz",
        "a&b=c?d#e-1.0.0.tgz",
        "quo'te-1.0.0.tgz",
        "<xml>-1.0.0.tgz",
        "~tilde_-1.0.0.tgz",
    ];
    for name in odd {
        put(bucket, name, name).await;
    }
    odd.sort_unstable();
    assert_eq!(names(bucket, "").await, odd);
    for name in odd {
        assert_eq!(text(bucket, name).await.as_deref(), Some(name));
        let size = bucket
            .stat(name)
            .await
            .expect("answered")
            .expect("there")
            .size;
        assert_eq!(size, name.len() as u64);
        bucket.remove(name).await.expect("removed");
    }
    assert_eq!(names(bucket, "").await, Vec::<String>::new());
}

async fn siblings(bucket: &Bucket) {
    for key in [
        "org1/a-1.0.0.tgz",
        "org1/deeper/b-1.0.0.tgz",
        "org1-foo-1.0.0.tgz",
        "org1.tgz",
        "org10/c-1.0.0.tgz",
        "org1/deeper/and/d-1.0.0.tgz",
    ] {
        put(bucket, key, key).await;
    }
    assert_eq!(names(bucket, "org1").await, ["a-1.0.0.tgz"]);
    assert_eq!(names(bucket, "org1/deeper").await, ["b-1.0.0.tgz"]);
    assert_eq!(names(bucket, "org10").await, ["c-1.0.0.tgz"]);
    assert_eq!(names(bucket, "").await, ["org1-foo-1.0.0.tgz", "org1.tgz"]);
    assert_eq!(names(bucket, "org").await, Vec::<String>::new());
    assert_eq!(names(bucket, "nowhere").await, Vec::<String>::new());
    assert_eq!(bucket.stat("org1").await.expect("answered"), None);
}

/// Of several writers of a new key one wins, and its content is the one that is there.
async fn writers_meet(bucket: &Bucket) {
    let writes = (0..8).map(|writer| {
        let content = Content::Bytes(Bytes::from(format!("writer {writer}")));
        async move { (writer, bucket.write("new", content, Existing::Refuse).await) }
    });
    let results = futures_util::future::join_all(writes).await;
    let mut winners = Vec::new();
    for (writer, result) in results {
        match result {
            Ok(stamp) => winners.push((writer, stamp)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}"),
        }
    }
    let [(winner, stamp)] = winners.as_slice() else {
        panic!("{} writers won", winners.len())
    };
    let wanted = format!("writer {winner}");
    assert_eq!(text(bucket, "new").await, Some(wanted));
    assert_eq!(bucket.stat("new").await.expect("answered"), Some(*stamp));
}

async fn many_objects(bucket: &Bucket, count: usize) {
    let wanted: Vec<String> = (0..count)
        .map(|n| format!("chart-0.{n:05}.0.tgz"))
        .collect();
    futures_util::stream::iter(&wanted)
        .for_each_concurrent(16, |name| async move {
            put(bucket, name, name).await;
        })
        .await;
    let (found, pages) = listing(bucket, "").await.expect("listed");
    assert!(found.keys().eq(&wanted), "{} of {count}", found.len());
    assert!(pages > count / 1001, "{pages} pages");
}

async fn large_object(bucket: &Bucket, size: usize) {
    let bytes_of = |seed: u8| -> Bytes {
        (0..size)
            .map(|n| (n >> 12) as u8 ^ n as u8 ^ seed)
            .collect()
    };
    let content = bytes_of(0);
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&content).expect("written");
    let upload = Content::File(file, size as u64);
    let stamp = bucket
        .write("large", upload, Existing::Refuse)
        .await
        .expect("written");
    assert_eq!(stamp.size, size as u64);
    says_everywhere(bucket, "large", stamp).await;
    let opened = bucket
        .read("large", None)
        .await
        .expect("answered")
        .expect("there");
    assert!(bytes(opened).await.expect("whole") == content);
    let middle = size as u64 / 2;
    let part = bucket.read("large", Some(middle..middle + 100)).await;
    let part = bytes(part.expect("answered").expect("there"))
        .await
        .expect("whole");
    assert_eq!(part, content[size / 2..size / 2 + 100]);

    let error = bucket
        .write("large", Content::Bytes(bytes_of(1)), Existing::Refuse)
        .await
        .expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    let other = bucket
        .write("large", Content::Bytes(bytes_of(1)), Existing::Replace)
        .await
        .expect("replaced");
    assert!(!other.agrees(&stamp));
    let (found, _) = listing(bucket, "").await.expect("listed");
    assert_eq!(found.keys().collect::<Vec<_>>(), ["large"]);
}

/// A server that went away says so, soon, and is used again when it is back.
pub(crate) async fn unreachable(config: &ObjectStore, told: &str) {
    let bucket = open(config);
    let started = std::time::Instant::now();
    let content = || Content::Bytes(Bytes::from_static(b"x"));
    let errors = [
        bucket.check().await.expect_err("checked"),
        bucket.stat("a").await.expect_err("stat"),
        bucket.read("a", None).await.map(drop).expect_err("read"),
        bucket.remove("a").await.expect_err("removed"),
        bucket
            .write("a", content(), Existing::Refuse)
            .await
            .expect_err("written"),
        bucket
            .write("a", content(), Existing::Replace)
            .await
            .expect_err("written"),
        listing(&bucket, "").await.map(drop).expect_err("listed"),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
        assert!(error.message().contains(told), "{error:?}");
        assert!(error.message().contains(bucket.label()), "{error:?}");
    }
    let took = started.elapsed();
    assert!(took.as_secs() < 40, "{took:?}");
}

/// Every way of asking says `kind`, names the place and tells `told`; no secret is shown.
pub(crate) async fn refuses(config: &ObjectStore, kind: ErrorKind, told: &[&str]) {
    let bucket = open(config);
    let content = Content::Bytes(Bytes::from_static(b"x"));
    let errors = [
        bucket.check().await.expect_err("checked"),
        listing(&bucket, "").await.map(drop).expect_err("listed"),
        bucket
            .write("a", content, Existing::Replace)
            .await
            .expect_err("written"),
    ];
    for error in errors {
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.message().contains(bucket.label()), "{error:?}");
        for word in told {
            assert!(error.message().contains(word), "{error:?} lacks {word}");
        }
        for text in [format!("{error:?}"), error.chain()] {
            assert!(!text.contains("wrong-secret"), "{text}");
        }
    }
}
