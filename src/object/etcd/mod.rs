//! etcd, version 3: an object is a value, in ChartMuseum's layout.
//!
//! ```text
//! /<prefix>/<key>             the content
//! /<prefix>/<key>/timestamp   when it was written, in seconds since 1970
//! /<prefix>/<key>/size        how long the content is; written with it, so valid only while both have the same revision
//! ```
//!
//! The last one is ours. ChartMuseum ignores it; without it a listing would have to read every value to know its length.
//! Through etcd's JSON gateway rather than gRPC: every etcd since 3.4 has it, and it needs no code made from its schema.

mod gateway;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde_json::{Value, json};

use self::gateway::{Again, Gateway};
use super::place::Place;
use super::{Content, Existing, Object, Opened, Stamp, stamp};
use crate::base64;
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, Result};
use crate::http::ByteStream;
use crate::net::Transport;

pub(super) const CREDENTIALS: &str = "`username`, `password` and the client certificate in `tls`";

/// Values behind one prefix.
#[derive(Debug)]
pub(super) struct Etcd {
    gateway: Gateway,
    place: Arc<Place>,
    clock: Clock,
    /// Stamps that cost a look to find out, by key; good while neither the value nor its time changes.
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    revision: u64,
    time_revision: u64,
    stamp: Stamp,
}

/// A key of a listing with the revision of its last change.
struct Listed {
    key: String,
    revision: u64,
}

impl Etcd {
    pub(super) fn new(
        config: &config::Etcd,
        place: Arc<Place>,
        net: Transport,
        clock: Clock,
    ) -> Self {
        Self {
            gateway: Gateway::new(net, Arc::clone(&place), config),
            place,
            clock,
            known: Mutex::default(),
        }
    }

    /// See [`super::Bucket::list`].
    pub(super) fn list(self: Arc<Self>, folder: &str) -> BoxStream<'static, Result<Vec<Object>>> {
        let prefix = match folder {
            "" => "/".to_owned(),
            folder => format!("/{folder}/"),
        };
        let etcd = Arc::clone(&self);
        let listed = async move { etcd.keys(&prefix).await };
        stream::once(listed)
            .map_ok(move |(objects, times)| {
                let etcd = Arc::clone(&self);
                let times = Arc::new(times);
                let mut pages: Vec<Vec<Listed>> = Vec::new();
                let mut objects = objects.into_iter().peekable();
                while objects.peek().is_some() {
                    pages.push(objects.by_ref().take(BATCH).collect());
                }
                stream::iter(pages).then(move |page| {
                    let (etcd, times) = (Arc::clone(&etcd), Arc::clone(&times));
                    async move { etcd.page(page, &times).await }
                })
            })
            .try_flatten()
            .boxed()
    }

    /// The objects directly behind `prefix`, and the revisions of their times.
    ///
    /// One snapshot: all pages are of the first one's revision.
    async fn keys(&self, prefix: &str) -> Result<(Vec<Listed>, HashMap<String, u64>)> {
        let end = successor(prefix);
        let (mut objects, mut times) = (Vec::new(), HashMap::new());
        let (mut from, mut revision) = (prefix.as_bytes().to_vec(), None);
        loop {
            let mut arguments = json!({
                "key": base64::encode(&from),
                "range_end": base64::encode(&end),
                "keys_only": true,
                "limit": PAGE,
            });
            if let Some(revision) = revision {
                arguments["revision"] = json!(format!("{revision}"));
            }
            let answer = self
                .gateway
                .call("kv/range", &arguments, Again::Always)
                .await?;
            revision = revision.or_else(|| number(&answer["header"]["revision"]));
            let found = answer["kvs"].as_array().map_or(&[][..], Vec::as_slice);
            for entry in found {
                let key = bytes_of(&entry["key"]);
                from = [&key[..], b"\0"].concat();
                let Ok(key) = String::from_utf8(key) else {
                    continue;
                };
                let revision = number(&entry["mod_revision"]).unwrap_or_default();
                let Some(rest) = key.strip_prefix(prefix) else {
                    continue;
                };
                match rest.split_once('/') {
                    None if !rest.is_empty() => objects.push(Listed { key, revision }),
                    Some((name, "timestamp")) => {
                        times.insert(format!("{prefix}{name}"), revision);
                    }
                    _ => {}
                }
            }
            if !answer["more"].as_bool().unwrap_or(false) {
                return Ok((objects, times));
            }
            if found.is_empty() {
                return Err(self.nonsense("promised more of a listing and sent nothing"));
            }
        }
    }

    /// Stamps for a few listed objects.
    async fn page(&self, listed: Vec<Listed>, times: &HashMap<String, u64>) -> Result<Vec<Object>> {
        let mut stamps: HashMap<&str, Stamp> = HashMap::new();
        let mut unknown = Vec::new();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for object in &listed {
                let time_revision = times.get(&object.key).copied().unwrap_or_default();
                match known.get(&object.key) {
                    Some(known)
                        if known.revision == object.revision
                            && known.time_revision == time_revision =>
                    {
                        stamps.insert(&object.key, known.stamp);
                    }
                    _ => unknown.push(object.key.as_str()),
                }
            }
        }
        let looked_up = self.look(&unknown).await?;
        for (key, found) in unknown.into_iter().zip(looked_up) {
            // Absent: removed since the listing began.
            if let Some(found) = found {
                stamps.insert(key, found.stamp);
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(key.to_owned(), found);
            }
        }
        let objects = listed.iter().filter_map(|object| {
            let name = object.key.rsplit('/').next().unwrap_or(&object.key);
            Some(Object {
                name: name.into(),
                stamp: *stamps.get(object.key.as_str())?,
            })
        });
        Ok(objects.collect())
    }

    /// What is known of the objects with these keys, in their order.
    async fn look(&self, keys: &[&str]) -> Result<Vec<Option<Known>>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let reads = keys.iter().flat_map(|key| {
            [
                range(key, true),
                range(&format!("{key}/timestamp"), false),
                range(&format!("{key}/size"), false),
            ]
        });
        let answers = self.read_all(reads.collect()).await?;
        let mut found = Vec::with_capacity(keys.len());
        for (key, answers) in keys.iter().zip(answers.chunks(3)) {
            let [Some(value), time, size] = answers else {
                found.push(None);
                continue;
            };
            let size = match size.as_ref().filter(|size| size.revision == value.revision) {
                Some(size) => String::from_utf8_lossy(&size.value).parse().ok(),
                None => None,
            };
            let size = match size {
                Some(size) => size,
                // ChartMuseum wrote it: only the value itself knows.
                None => match self
                    .read_all(vec![range(key, false)])
                    .await?
                    .pop()
                    .flatten()
                {
                    Some(whole) if whole.revision == value.revision => whole.value.len() as u64,
                    _ => {
                        found.push(None);
                        continue;
                    }
                },
            };
            found.push(Some(known(value.revision, time.as_ref(), size)));
        }
        Ok(found)
    }

    /// Several reads of one moment.
    async fn read_all(&self, reads: Vec<Value>) -> Result<Vec<Option<Found>>> {
        let count = reads.len();
        let arguments = json!({ "success": reads });
        let answer = self
            .gateway
            .call("kv/txn", &arguments, Again::Always)
            .await?;
        let answers = answer["responses"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        if answers.len() != count {
            return Err(self.nonsense("left answers out"));
        }
        let found = answers.iter().map(|answer| {
            let entry = answer["response_range"]["kvs"].get(0)?;
            Some(Found {
                revision: number(&entry["mod_revision"])?,
                value: bytes_of(&entry["value"]),
            })
        });
        Ok(found.collect())
    }

    /// See [`super::Bucket::stat`].
    pub(super) async fn stat(&self, key: &str) -> Result<Option<Stamp>> {
        let found = self.look(&[&absolute(key)]).await?.pop().flatten();
        Ok(found.map(|found| found.stamp))
    }

    /// See [`super::Bucket::read`].
    pub(super) async fn read(
        &self,
        key: &str,
        wanted: Option<Range<u64>>,
    ) -> Result<Option<Opened>> {
        let Some((stamp, value)) = self.value(&absolute(key)).await? else {
            return Ok(None);
        };
        let piece = match wanted {
            None => value,
            Some(wanted) if wanted.end <= stamp.size => {
                let bound = |at: u64| usize::try_from(at).unwrap_or(value.len()).min(value.len());
                value.slice(bound(wanted.start)..bound(wanted.end))
            }
            Some(_) => {
                return Err(Error::invalid(format!(
                    "the range does not lie within `{key}` in {}",
                    self.place.label
                )));
            }
        };
        Ok(Some(Opened {
            stamp,
            body: ByteStream::once(piece),
        }))
    }

    async fn value(&self, key: &str) -> Result<Option<(Stamp, Bytes)>> {
        let reads = vec![range(key, false), range(&format!("{key}/timestamp"), false)];
        let mut answers = self.read_all(reads).await?;
        let time = answers.pop().flatten();
        let Some(Some(found)) = answers.pop() else {
            return Ok(None);
        };
        let known = known(found.revision, time.as_ref(), found.value.len() as u64);
        Ok(Some((known.stamp, found.value.into())))
    }

    /// See [`super::Bucket::write`].
    pub(super) async fn write(
        &self,
        key: &str,
        content: Content,
        existing: Existing,
    ) -> Result<Stamp> {
        let key = absolute(key);
        let content = Arc::new(content);
        // A value is one message, so it is in memory either way.
        let bytes = content.piece(0..content.len()).await?;
        let modified = stamp::floor(self.clock.now());
        let mut arguments = json!({
            "success": [
                put(&key, &bytes),
                put(&format!("{key}/timestamp"), modified.as_second().to_string().as_bytes()),
                put(&format!("{key}/size"), bytes.len().to_string().as_bytes()),
            ],
        });
        let refuse = existing == Existing::Refuse;
        if refuse {
            arguments["compare"] = json!([{
                "key": base64::encode(key.as_bytes()),
                "target": "CREATE",
                "result": "EQUAL",
                "create_revision": "0",
            }]);
        }
        let again = match refuse {
            true => Again::IfUndone,
            false => Again::Always,
        };
        let answer = match self.gateway.call("kv/txn", &arguments, again).await {
            // The answer got lost, not necessarily the write.
            Err(error) if refuse && error.is_transient() => {
                return match self.value(&key).await {
                    Ok(Some((stamp, held))) if held == bytes => Ok(stamp),
                    _ => Err(error),
                };
            }
            answer => answer?,
        };
        if !answer["succeeded"].as_bool().unwrap_or(false) {
            return Err(self.place.taken(key.trim_start_matches('/')));
        }
        let revision = number(&answer["header"]["revision"])
            .ok_or_else(|| self.nonsense("did not say at which revision it wrote"))?;
        Ok(Stamp {
            size: bytes.len() as u64,
            modified,
            tag: revision,
        })
    }

    /// See [`super::Bucket::remove`].
    pub(super) async fn remove(&self, key: &str) -> Result<()> {
        let key = absolute(key);
        let remove = |key: &str| json!({ "request_delete_range": { "key": base64::encode(key.as_bytes()) } });
        let arguments = json!({
            "success": [
                remove(&key),
                remove(&format!("{key}/timestamp")),
                remove(&format!("{key}/size")),
            ],
        });
        self.gateway
            .call("kv/txn", &arguments, Again::Always)
            .await?;
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&key);
        Ok(())
    }

    /// See [`super::Bucket::check`].
    pub(super) async fn check(&self, prefix: &str) -> Result<()> {
        let prefix = format!("/{prefix}");
        let arguments = json!({
            "key": base64::encode(prefix.as_bytes()),
            "range_end": base64::encode(&successor(&prefix)),
            "count_only": true,
        });
        self.gateway
            .call("kv/range", &arguments, Again::Always)
            .await
            .map(drop)
    }

    fn nonsense(&self, what: &str) -> Error {
        Error::unavailable(format!("{} {what}", self.place.label))
    }
}

/// A value as it was read.
struct Found {
    revision: u64,
    value: Vec<u8>,
}

fn known(revision: u64, time: Option<&Found>, size: u64) -> Known {
    let seconds = time.and_then(|time| String::from_utf8_lossy(&time.value).trim().parse().ok());
    Known {
        revision,
        time_revision: time.map_or(0, |time| time.revision),
        stamp: Stamp {
            size,
            // Without one ChartMuseum says the same.
            modified: seconds
                .and_then(|seconds| Timestamp::from_second(seconds).ok())
                .unwrap_or(Timestamp::UNIX_EPOCH),
            tag: revision,
        },
    }
}

/// ChartMuseum's keys begin with a slash.
fn absolute(key: &str) -> String {
    format!("/{key}")
}

fn range(key: &str, keys_only: bool) -> Value {
    json!({ "request_range": { "key": base64::encode(key.as_bytes()), "keys_only": keys_only } })
}

fn put(key: &str, value: &[u8]) -> Value {
    json!({ "request_put": { "key": base64::encode(key.as_bytes()), "value": base64::encode(value) } })
}

/// The first key after all that begin with `prefix`.
fn successor(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    // Everything: etcd's sign for it.
    vec![0]
}

/// A 64-bit number, which JSON has as text.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_u64(),
        _ => None,
    }
}

/// Bytes, which JSON has as base64 and leaves out when there are none.
fn bytes_of(value: &Value) -> Vec<u8> {
    value.as_str().and_then(base64::decode).unwrap_or_default()
}

/// Keys of one answer; each has up to 1 KiB.
const PAGE: u32 = 5_000;

/// Objects of one look: three reads each, and a transaction has at most 128 operations.
const BATCH: usize = 40;
