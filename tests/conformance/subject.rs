//! A registry as the rows see it: requests by hand, and answers that are right or told.

use std::net::SocketAddr;

use sha2::Digest as _;

use crate::support::corpus::sha256;
use crate::support::http::{Call, Reply};

/// What is wrong, in a sentence.
pub(super) type Checked<T = ()> = Result<T, String>;

/// How a digest is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    /// The digest of `bytes`.
    pub(super) fn of(self, bytes: &[u8]) -> String {
        match self {
            Self::Sha256 => format!("sha256:{}", sha256(bytes)),
            Self::Sha512 => {
                let digest = sha2::Sha512::digest(bytes);
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("sha512:{hex}")
            }
        }
    }
}

/// A registry, or a part of one, that may be pushed to.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    address: SocketAddr,
    below: String,
    authorization: Option<String>,
}

impl Subject {
    /// All names below `below`, which is empty or a path.
    pub(super) fn at(address: SocketAddr, below: &str) -> Self {
        Self {
            address,
            below: below.to_owned(),
            authorization: None,
        }
    }

    /// Sends this with every request.
    pub(super) fn authorized(mut self, value: &str) -> Self {
        self.authorization = Some(value.to_owned());
        self
    }

    /// A repository that nobody else uses.
    pub(super) fn repository(&self, name: &str) -> Repository {
        let name = match self.below.as_str() {
            "" => name.to_owned(),
            below => format!("{below}/{name}"),
        };
        Repository {
            subject: self.clone(),
            name,
        }
    }

    /// Sends a request.
    pub(super) fn send(&self, call: &Call) -> Checked<Reply> {
        let call = match &self.authorization {
            Some(value) => call.clone().header("Authorization", value),
            None => call.clone(),
        };
        let sent = call.try_send(self.address);
        sent.map_err(|error| format!("no answer to {}: {error}", call.line()))
    }
}

/// One repository of a registry.
#[derive(Clone, Debug)]
pub(super) struct Repository {
    subject: Subject,
    /// As the registry's API spells it.
    pub(super) name: String,
}

impl Repository {
    /// Another one of the same registry, beside it.
    pub(super) fn beside(&self, suffix: &str) -> Self {
        Self {
            subject: self.subject.clone(),
            name: format!("{}-{suffix}", self.name),
        }
    }

    /// `method /v2/<name>/<rest>`
    pub(super) fn call(&self, method: &str, rest: &str) -> Call {
        Call::new(method, &format!("/v2/{}/{rest}", self.name))
    }

    /// Sends a request of any kind.
    pub(super) fn send(&self, call: &Call) -> Checked<Reply> {
        self.subject.send(call)
    }

    /// Sends a request without a body.
    pub(super) fn ask(&self, method: &str, rest: &str) -> Checked<Reply> {
        self.send(&self.call(method, rest))
    }

    /// Sends a request to a `Location` of this registry, with more of a query.
    pub(super) fn at(&self, method: &str, location: &str, query: &str) -> Call {
        let path = match location.split_once("://") {
            Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
            None => location,
        };
        let path = match (query, path.contains('?')) {
            ("", _) => path.to_owned(),
            (query, true) => format!("{path}&{query}"),
            (query, false) => format!("{path}?{query}"),
        };
        Call::new(method, &path)
    }

    /// Starts an upload session; its location.
    pub(super) fn start(&self) -> Checked<String> {
        let reply = self.send(&self.call("POST", "blobs/uploads/").body(""))?;
        let reply = reply.must(202)?;
        reply.must_have("location", |_| true)
    }

    /// Ends an upload session with all bytes of a blob.
    pub(super) fn finish(&self, location: &str, digest: &str, bytes: &[u8]) -> Checked<Reply> {
        let call = self.at("PUT", location, &format!("digest={digest}"));
        let call = call.header("Content-Type", "application/octet-stream");
        self.send(&call.body(bytes))
    }

    /// Pushes a blob in two requests; its digest.
    pub(super) fn push_blob(&self, algorithm: Algorithm, bytes: &[u8]) -> Checked<String> {
        let digest = algorithm.of(bytes);
        self.push_blob_as(&digest, bytes)?;
        Ok(digest)
    }

    pub(super) fn push_blob_as(&self, digest: &str, bytes: &[u8]) -> Checked {
        let location = self.start()?;
        self.finish(&location, digest, bytes)?.must(201).map(drop)
    }

    /// Pushes a manifest under a reference, which may have a query.
    pub(super) fn push_manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Checked<Reply> {
        let call = self.call("PUT", &format!("manifests/{reference}"));
        self.send(&call.header("Content-Type", media_type).body(bytes))
    }

    /// Asks for a manifest as a client that takes all types.
    pub(super) fn manifest(&self, method: &str, reference: &str) -> Checked<Reply> {
        let call = self.call(method, &format!("manifests/{reference}"));
        self.send(&call.header("Accept", &ALL_TYPES.join(", ")))
    }
}

const ALL_TYPES: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// What an answer must be.
pub(super) trait Must: Sized {
    /// It has this status.
    fn must(self, status: u16) -> Checked<Self>;
    /// It has one of these.
    fn must_be(self, statuses: &[u16]) -> Checked<Self>;
    /// It has this header field with a good value, which is returned.
    fn must_have(&self, name: &str, good: impl Fn(&str) -> bool) -> Checked<String>;
    /// It is an error with this code.
    fn must_say(&self, code: &str) -> Checked;
}

impl Must for Reply {
    fn must(self, status: u16) -> Checked<Self> {
        self.must_be(&[status])
    }

    fn must_be(self, statuses: &[u16]) -> Checked<Self> {
        if statuses.contains(&self.status) {
            return Ok(self);
        }
        let text: String = self.text().chars().take(200).collect();
        Err(format!("{} instead of {statuses:?}: {text}", self.status))
    }

    fn must_have(&self, name: &str, good: impl Fn(&str) -> bool) -> Checked<String> {
        match self.header(name) {
            Some(value) if good(value) => Ok(value.to_owned()),
            other => Err(format!("status {}, `{name}: {other:?}`", self.status)),
        }
    }

    fn must_say(&self, code: &str) -> Checked {
        let text = self.text();
        let value: serde_json::Value = serde_json::from_str(&text)
            .map_err(|error| format!("an error that is not JSON ({error}): {text}"))?;
        ensure(value["errors"][0]["code"] == code, || {
            format!("{text} instead of {code}")
        })
    }
}

/// `Err` with a sentence unless `condition` holds.
pub(super) fn ensure(condition: bool, sentence: impl FnOnce() -> String) -> Checked {
    match condition {
        true => Ok(()),
        false => Err(sentence()),
    }
}
