//! Paths of registries: `/v2/…`, and `/<tenant>/v2/…` or `/<tenant>/<upstream>/v2/…` below configured prefixes.
//!
//! A path is decoded exactly once and read from its right end, because a repository's components may be called `manifests`,
//! `blobs`, `tags`, `uploads` or `v2`. What the name stands for is the gateway's to find; here it is text without empty or dot
//! components (spec: oci.md §1.1, §4).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::respond::Failure;
use super::spelling::Spelling;
use crate::error::{Error, ErrorKind};
use crate::http::Method;
use crate::oci::error::About;
use crate::oci::{Digest, Reference};

/// Longer ones are refused: no name, tag and digest together come near it.
const MAX_PATH: usize = 2048;

const READ: &str = "GET, HEAD";

/// What a request asks of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegistryRoute {
    /// The tenant or tenant and upstream in front of `/v2`, without the context path; empty where there is none.
    pub(crate) base: String,
    /// How the client writes all this.
    pub(crate) spelling: Spelling,
    /// What it wants.
    pub(crate) call: Call,
}

/// What is wanted; the repository is the route's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `GET /v2/`: is this a registry, and who am I?
    Ping,
    /// `GET /v2/_catalog`
    Catalog,
    /// `GET …/tags/list`
    Tags,
    /// `GET …/referrers/<digest>`
    Referrers(Digest),
    /// `GET …/manifests/<reference>`
    ReadManifest(Reference),
    /// `PUT …/manifests/<reference>`
    PushManifest(Reference),
    /// `DELETE …/manifests/<reference>`
    DeleteManifest(Reference),
    /// `GET …/blobs/<digest>`
    ReadBlob(Digest),
    /// `DELETE …/blobs/<digest>`
    DeleteBlob(Digest),
    /// `POST …/blobs/uploads/`
    StartUpload,
    /// `PATCH …/blobs/uploads/<id>`
    AppendUpload(String),
    /// `PUT …/blobs/uploads/<id>`
    FinishUpload(String),
    /// `GET …/blobs/uploads/<id>`
    UploadStatus(String),
    /// `DELETE …/blobs/uploads/<id>`
    CancelUpload(String),
}

impl Call {
    /// A short name for metrics and logs.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Ping => "v2",
            Self::Catalog => "catalog",
            Self::Tags => "tags",
            Self::Referrers(_) => "referrers",
            Self::ReadManifest(_) => "manifest",
            Self::PushManifest(_) => "manifest-push",
            Self::DeleteManifest(_) => "manifest-delete",
            Self::ReadBlob(_) => "blob",
            Self::DeleteBlob(_) => "blob-delete",
            Self::StartUpload
            | Self::AppendUpload(_)
            | Self::FinishUpload(_)
            | Self::UploadStatus(_)
            | Self::CancelUpload(_) => "blob-upload",
        }
    }
}

/// Where registries are.
pub(crate) struct RegistryRoutes<'a> {
    /// What every path of the public listeners starts with; empty, or `/` and segments.
    pub(crate) context: &'a str,
    /// How long the longest configured prefix of a decoded path is that stands in front of `/v2`, without slashes around it
    /// ([`Gateway::cut_registry_path`]).
    ///
    /// [`Gateway::cut_registry_path`]: crate::gateway::Gateway::cut_registry_path
    pub(crate) base: &'a dyn Fn(&str) -> Option<usize>,
}

impl RegistryRoutes<'_> {
    /// Reads a request's path as sent, and its query. `None`: it is no registry's.
    ///
    /// `/v2/` is read with and without the context path, because clients cannot put anything in front of it.
    pub(crate) fn parse(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
    ) -> Option<Result<RegistryRoute, Failure>> {
        // Most chart paths end here.
        if !path.contains("/v2") && !path.contains('%') {
            return None;
        }
        let text = if path.len() > MAX_PATH {
            Err(Failure::name(format!(
                "the path has {} bytes; {MAX_PATH} are allowed",
                path.len()
            )))
        } else {
            decode(path)
        };
        let text = match text {
            Ok(text) => text,
            Err(failure) => {
                // Nobody else is to read what may have meant this.
                let start = path.get(..path.len().min(MAX_PATH)).unwrap_or_default();
                return self.split(start).map(|_| Err(failure));
            }
        };
        let place = self.split(&text)?;
        Some(self.read(method, &text, place, query))
    }

    /// Where the base is and where the text behind `/v2` starts.
    fn split(&self, text: &str) -> Option<Place> {
        let is_v2 = |rest: &str| rest == "/v2" || rest.starts_with("/v2/");
        if is_v2(text) {
            return Some(Place::at(0, 0));
        }
        let inner = text.strip_prefix(self.context)?;
        let start = text.len() - inner.len();
        if is_v2(inner) {
            return Some(Place::at(start, start));
        }
        let length = (self.base)(inner)?;
        Some(Place::at(start + 1, start + 1 + length))
    }

    fn read(
        &self,
        method: &Method,
        text: &str,
        place: Place,
        query: Option<&str>,
    ) -> Result<RegistryRoute, Failure> {
        let behind = place.base_end + "/v2".len();
        let (name, call) = call(method, &text[behind..], text)?;
        Ok(RegistryRoute {
            base: text[place.base_start..place.base_end].to_owned(),
            spelling: Spelling::new(&text[..behind], name, namespace(query)),
            call,
        })
    }
}

impl std::fmt::Debug for RegistryRoutes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryRoutes")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

/// The base is `text[base_start..base_end]`; `/v2` stands behind it.
#[derive(Clone, Copy, Debug)]
struct Place {
    base_start: usize,
    base_end: usize,
}

impl Place {
    fn at(base_start: usize, base_end: usize) -> Self {
        Self {
            base_start,
            base_end,
        }
    }
}

/// Decodes once. What would change the number or order of components is refused before.
fn decode(path: &str) -> Result<Cow<'_, str>, Failure> {
    let wrong = |what: &str| Err(Failure::name(format!("the path `{path:.200}` {what}")));
    for (at, _) in path.match_indices('%') {
        let Some(hex) = path.as_bytes().get(at + 1..at + 3) else {
            return wrong("ends within an encoded character");
        };
        if !hex.iter().all(u8::is_ascii_hexdigit) {
            return wrong("has a `%` that no two hexadecimal digits follow");
        }
        if hex.eq_ignore_ascii_case(b"2f") || hex.eq_ignore_ascii_case(b"5c") {
            return wrong("has an encoded separator");
        }
    }
    let Ok(text) = percent_decode_str(path).decode_utf8() else {
        return wrong("is not UTF-8 after decoding");
    };
    if text.chars().any(|c| c == '\\' || c.is_control()) {
        return wrong("has a backslash or a control character");
    }
    Ok(text)
}

/// What stands behind `/v2`, from the right; `path` is for messages.
fn call<'t>(method: &Method, rest: &'t str, path: &str) -> Result<(&'t str, Call), Failure> {
    let Some(rest) = rest.strip_prefix('/').filter(|rest| !rest.is_empty()) else {
        allow(method, READ, path)?;
        return Ok(("", Call::Ping));
    };
    let (starts_upload, components) = match rest.strip_suffix("/blobs/uploads/") {
        Some(name) => (true, name),
        None => (false, rest),
    };
    if let Some(odd) = components
        .split('/')
        .find(|part| matches!(*part, "" | "." | ".."))
    {
        return Err(Failure::name(match odd {
            "" => format!("the path `{path:.200}` has an empty component"),
            _ => format!("the path `{path:.200}` has a dot component"),
        }));
    }
    if starts_upload {
        allow(method, "POST", path)?;
        return Ok((components, Call::StartUpload));
    }
    if rest == "_catalog" {
        allow(method, READ, path)?;
        return Ok(("", Call::Catalog));
    }
    let mut from_right = rest.rsplitn(3, '/');
    let (Some(last), Some(kind), name) = (from_right.next(), from_right.next(), from_right.next())
    else {
        return Err(unknown(path));
    };
    let found = match (kind, last) {
        ("tags", "list") => {
            allow(method, READ, path)?;
            (name, Call::Tags)
        }
        ("manifests", reference) => (name, manifest(method, reference, path)?),
        ("referrers", digest) => {
            allow(method, READ, path)?;
            (name, Call::Referrers(digest_of(digest)?))
        }
        ("blobs", "uploads") => {
            allow(method, "POST", path)?;
            (name, Call::StartUpload)
        }
        ("uploads", id) => {
            let name = match name {
                Some("blobs") => None,
                name => Some(
                    name.and_then(|name| name.strip_suffix("/blobs"))
                        .ok_or_else(|| unknown(path))?,
                ),
            };
            (name, upload(method, id, path)?)
        }
        ("blobs", digest) => {
            let delete = *method == Method::DELETE;
            allow(method, "GET, HEAD, DELETE", path)?;
            let digest = digest_of(digest)?;
            let call = match delete {
                true => Call::DeleteBlob(digest),
                false => Call::ReadBlob(digest),
            };
            (name, call)
        }
        _ => return Err(unknown(path)),
    };
    match found {
        (Some(name), call) => Ok((name, call)),
        (None, _) => Err(Failure::name(format!(
            "the path `{path:.200}` does not name a repository"
        ))),
    }
}

fn manifest(method: &Method, reference: &str, path: &str) -> Result<Call, Failure> {
    allow(method, "GET, HEAD, PUT, DELETE", path)?;
    let parsed = Reference::parse(reference).map_err(|error| match reference.contains(':') {
        true => Failure::new(About::Digest, error),
        // What cannot be a tag is one that is not there, unless somebody wants to make it.
        false if *method == Method::PUT => Failure::new(About::Manifest, error),
        false => Failure::new(
            About::Manifest,
            Error::new(ErrorKind::NotFound, error.message()),
        ),
    })?;
    Ok(match *method {
        Method::PUT => Call::PushManifest(parsed),
        Method::DELETE => Call::DeleteManifest(parsed),
        _ => Call::ReadManifest(parsed),
    })
}

fn upload(method: &Method, id: &str, path: &str) -> Result<Call, Failure> {
    allow(method, "GET, HEAD, PATCH, PUT, DELETE", path)?;
    let id = id.to_owned();
    Ok(match *method {
        Method::PATCH => Call::AppendUpload(id),
        Method::PUT => Call::FinishUpload(id),
        Method::DELETE => Call::CancelUpload(id),
        _ => Call::UploadStatus(id),
    })
}

fn digest_of(text: &str) -> Result<Digest, Failure> {
    text.parse()
        .map_err(|error| Failure::new(About::Digest, error))
}

fn allow(method: &Method, allowed: &'static str, path: &str) -> Result<(), Failure> {
    match allowed.split(", ").any(|name| name == method.as_str()) {
        true => Ok(()),
        false => Err(Failure::new(
            About::Repository,
            Error::method_not_allowed(method.as_str(), path, allowed),
        )),
    }
}

fn unknown(path: &str) -> Failure {
    Failure::new(
        About::Repository,
        Error::not_found(format!("`{path:.200}` is not a path of the registry API")),
    )
}

/// `?ns=`, decoded, where it says something.
fn namespace(query: Option<&str>) -> Option<String> {
    let pairs = url::form_urlencoded::parse(query?.as_bytes());
    let mut values = pairs.filter(|(key, value)| key == "ns" && !value.is_empty());
    values.next().map(|(_, value)| value.into_owned())
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
