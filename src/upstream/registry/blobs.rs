//! Blobs: whether there is one, and its bytes, which the caller checks.

use std::ops::Range;

use super::answer::Object;
use super::{Lane, Registry};
use crate::error::Result;
use crate::http::{HeaderValue, Method, StatusCode, header};
use crate::net::Response;
use crate::oci::{Digest, RepoName};
use crate::upstream::Download;
use crate::upstream::edition::content_range;
use crate::upstream::stream::{checked, cut};

/// Which bytes of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    Whole,
    /// Those from here on: a transfer that broke is resumed.
    From(u64),
    /// These.
    Bytes(Range<u64>),
}

/// A blob that the upstream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobHead {
    /// Bytes, where the upstream says it.
    pub size: Option<u64>,
}

impl Registry {
    /// Whether the upstream has a blob. `repository` as the upstream calls it (see [`Registry::repository`]).
    ///
    /// A HEAD that says no is not believed: some proxies say it until somebody has asked for the bytes, and signed URLs of object
    /// stores hold for one method. The first byte is asked for then.
    pub async fn head_blob(&self, repository: &RepoName, digest: &Digest) -> Result<BlobHead> {
        let url = self.url(repository, &format!("blobs/{digest}"));
        let question = self.question(Lane::Blobs, Method::HEAD, url, repository);
        let (answer, identity) = self.ask(&question).await?;
        match answer.status.as_u16() {
            200 => {
                let size = answer.header(header::CONTENT_LENGTH);
                return Ok(BlobHead {
                    size: size.and_then(|text| text.parse().ok()),
                });
            }
            401 | 429 => return Err(self.refusal(&answer, identity, &question.object())),
            400..=499 | 501 => {}
            _ => return Err(self.refusal(&answer, identity, &question.object())),
        }
        let first = self
            .open(repository, digest, Some("bytes=0-0"), false)
            .await?;
        Ok(BlobHead {
            size: match first.status {
                StatusCode::PARTIAL_CONTENT => total(&first),
                StatusCode::RANGE_NOT_SATISFIABLE => Some(0),
                _ => first.body.length,
            },
        })
    }

    /// Opens a blob. Its length is for the caller to check, and so is a sha256, which the cache computes anyway; with a sha512 a
    /// whole blob comes complete only if it is the right one.
    ///
    /// A server that does not know ranges sends everything, and what was not asked for is read over.
    pub async fn open_blob(
        &self,
        repository: &RepoName,
        digest: &Digest,
        part: &Part,
    ) -> Result<Download> {
        let range = match part {
            Part::Whole => None,
            Part::From(first) => Some(format!("bytes={first}-")),
            Part::Bytes(range) => Some(format!(
                "bytes={}-{}",
                range.start,
                range.end.saturating_sub(1)
            )),
        };
        let answer = self
            .open(repository, digest, range.as_deref(), true)
            .await?;
        let wanted = match part {
            Part::Whole => 0..u64::MAX,
            Part::From(first) => *first..u64::MAX,
            Part::Bytes(range) => range.clone(),
        };
        let (start, length) = match answer.status {
            StatusCode::OK => (0, answer.body.length),
            _ => match answer.header(header::CONTENT_RANGE).and_then(content_range) {
                Some((start, total)) if start == wanted.start && range.is_some() => (start, total),
                _ => {
                    let object = Object::of(&self.url(repository, &format!("blobs/{digest}")));
                    let what = format!("sent other bytes of {object} than those asked for");
                    return Err(self.client.useless(what));
                }
            },
        };
        let body = cut(
            answer.body,
            wanted.start - start..wanted.end.saturating_sub(start),
        );
        let body = match (part, digest) {
            (Part::Whole, Digest::Sha512(_)) => {
                let what = format!("a blob of upstream `{}`", self.name);
                checked(body, *digest, what)
            }
            _ => body,
        };
        Ok(Download { length, body })
    }

    /// GETs a blob: 200 or 206, and 416 where the caller can use it.
    async fn open(
        &self,
        repository: &RepoName,
        digest: &Digest,
        range: Option<&str>,
        wants_bytes: bool,
    ) -> Result<Response> {
        let url = self.url(repository, &format!("blobs/{digest}"));
        let mut question = self.question(Lane::Blobs, Method::GET, url, repository);
        if let Some(range) = range.and_then(|range| HeaderValue::from_str(range).ok()) {
            question.headers.insert(header::RANGE, range);
        }
        let (answer, identity) = self.ask(&question).await?;
        match answer.status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
            StatusCode::RANGE_NOT_SATISFIABLE if !wants_bytes => Ok(answer),
            _ => Err(self.refusal(&answer, identity, &question.object())),
        }
    }
}

/// The number behind the slash of `Content-Range`.
fn total(answer: &Response) -> Option<u64> {
    content_range(answer.header(header::CONTENT_RANGE)?)?.1
}
