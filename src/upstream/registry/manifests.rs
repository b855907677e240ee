//! Manifests: which one a tag is, and its bytes, checked.

use bytes::Bytes;

use super::{Lane, Question, Registry};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use crate::net::Response;
use crate::oci::{ACCEPT, Algorithm, Digest, Manifest, ManifestType, Reference, RepoName};

/// What a HEAD tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// This manifest.
    Known(ManifestHead),
    /// The registry does not answer HEAD, or not with a digest: only a GET can tell.
    Silent,
}

/// A manifest without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// Its digest, as the upstream says; to be believed only when the bytes agree.
    pub digest: Digest,
    /// Its type, where the upstream says one that is known.
    pub media_type: Option<ManifestType>,
    /// Bytes, where the upstream says it.
    pub size: Option<u64>,
}

/// A manifest: bytes exactly as the upstream has them, whose digest was computed here.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The digest of `bytes`: in the algorithm that was asked for, or that the upstream uses.
    pub digest: Digest,
    /// The document.
    pub bytes: Bytes,
    /// What it says.
    pub manifest: Manifest,
}

/// What has become of a tag.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// It is still the manifest that is held.
    Same,
    /// It is this manifest now; its bytes were not fetched.
    Moved(ManifestHead),
    /// It is this manifest now; a HEAD could not tell.
    Fetched(Box<Fetched>),
}

impl Registry {
    /// Asks for a manifest without its bytes. `repository` as the upstream calls it (see [`Registry::repository`]).
    ///
    /// Docker Hub does not count these requests.
    pub async fn head_manifest(
        &self,
        repository: &RepoName,
        reference: &Reference,
    ) -> Result<Head> {
        let question = self.manifest(Lane::Heads, Method::HEAD, repository, reference);
        let (answer, identity) = self.ask(&question).await?;
        match answer.status.as_u16() {
            200 => {}
            // Some know GET only.
            400 | 405 | 501 => return Ok(Head::Silent),
            _ => return Err(self.refusal(&answer, identity, &question.object())),
        }
        let Some(digest) = told_digest(&answer) else {
            return Ok(Head::Silent);
        };
        if reference
            .digest()
            .is_some_and(|asked| asked.algorithm() == digest.algorithm() && *asked != digest)
        {
            return Err(self.mismatch(&question, &digest));
        }
        let size = answer.header(header::CONTENT_LENGTH);
        Ok(Head::Known(ManifestHead {
            digest,
            media_type: answer
                .header(header::CONTENT_TYPE)
                .and_then(ManifestType::parse),
            size: size.and_then(|text| text.parse().ok()),
        }))
    }

    /// Fetches a manifest and checks it: its digest is the one asked for, or, for a tag, the one that the upstream names; it is a
    /// manifest of a known type. The type is taken from the document where the header is of no use.
    ///
    /// Errors besides those of all calls: `DigestMismatch`; `UpstreamUnavailable` for what is no manifest (a web page, garbage,
    /// too many bytes); `Unsupported` for schema 1.
    pub async fn get_manifest(
        &self,
        repository: &RepoName,
        reference: &Reference,
    ) -> Result<Fetched> {
        let question = self.manifest(Lane::Manifests, Method::GET, repository, reference);
        match self.fetch(&question, reference).await? {
            Some(fetched) => Ok(fetched),
            None => Err(self
                .client
                .useless(format!("answered 304 for {} unasked", question.object()))),
        }
    }

    /// What the tag is now, where `held` is what it was. One HEAD as a rule; a conditional GET where that cannot tell.
    pub async fn resolve(
        &self,
        repository: &RepoName,
        reference: &Reference,
        held: Option<&Digest>,
    ) -> Result<Resolved> {
        if let Head::Known(head) = self.head_manifest(repository, reference).await? {
            return Ok(match held == Some(&head.digest) {
                true => Resolved::Same,
                false => Resolved::Moved(head),
            });
        }
        let mut question = self.manifest(Lane::Manifests, Method::GET, repository, reference);
        let condition = held.and_then(|held| HeaderValue::from_str(&format!("\"{held}\"")).ok());
        if let Some(condition) = condition {
            question.headers.insert(header::IF_NONE_MATCH, condition);
        }
        Ok(match self.fetch(&question, reference).await? {
            Some(fetched) if held == Some(&fetched.digest) => Resolved::Same,
            Some(fetched) => Resolved::Fetched(Box::new(fetched)),
            None => Resolved::Same,
        })
    }

    /// The manifest, or `None` where it is still the one of `If-None-Match`.
    async fn fetch(
        &self,
        question: &Question<'_>,
        reference: &Reference,
    ) -> Result<Option<Fetched>> {
        let object = question.object();
        let (answer, identity) = self.ask(question).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if question.headers.contains_key(header::IF_NONE_MATCH) => {
                return Ok(None);
            }
            _ => return Err(self.refusal(&answer, identity, &object)),
        }
        let told = told_digest(&answer);
        let content_type = answer.header(header::CONTENT_TYPE).map(str::to_owned);
        let limit = self.settings.max_manifest;
        let Some(bytes) = answer.bytes(limit).await? else {
            let what = format!("sent more than {limit} bytes for {object}");
            return Err(self.client.useless(what));
        };
        let expected = reference.digest().or(told.as_ref());
        let algorithm = expected.map_or(Algorithm::Sha256, Digest::algorithm);
        let digest = Digest::of(algorithm, &bytes);
        // The type first: the digest of a signed schema 1 document is not that of its bytes.
        let manifest = Manifest::receive(content_type.as_deref(), &bytes, limit);
        let manifest = manifest.map_err(|error| match error.kind() {
            ErrorKind::Unsupported => Error::new(
                ErrorKind::Unsupported,
                format!(
                    "upstream `{}` has {object} as {}",
                    self.name,
                    error.message()
                ),
            ),
            _ => self.client.useless(format!(
                "answered 200 for {object} without a manifest: {}",
                error.message()
            )),
        })?;
        if expected.is_some_and(|expected| *expected != digest) {
            return Err(self.mismatch(question, &digest));
        }
        Ok(Some(Fetched {
            digest,
            bytes,
            manifest,
        }))
    }

    fn manifest<'a>(
        &self,
        lane: Lane,
        method: Method,
        repository: &'a RepoName,
        reference: &Reference,
    ) -> Question<'a> {
        let url = self.url(repository, &format!("manifests/{reference}"));
        let mut question = self.question(lane, method, url, repository);
        let accept = HeaderValue::from_static(ACCEPT);
        question.headers.insert(header::ACCEPT, accept);
        question
    }

    fn mismatch(&self, question: &Question<'_>, got: &Digest) -> Error {
        Error::new(
            ErrorKind::DigestMismatch,
            format!(
                "upstream `{}` sent bytes with the digest `{got}` for {}, which promises others",
                self.name,
                question.object()
            ),
        )
    }
}

/// `Docker-Content-Digest`, where it is one.
fn told_digest(answer: &Response) -> Option<Digest> {
    answer.header(DIGEST)?.trim().parse().ok()
}

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
