//! What lies where, and the only maker of keys.
//!
//! ```text
//! v2/blobs/sha256/<ab>/<hex>                    the bytes of a blob or manifest, written once
//! v2/blobs/sha256/<ab>/<hex>.used               empty: when bytes that were there already were used again
//! v2/tenants/<tenant>                           empty: the tenant may have repositories
//! v2/catalog/<tenant>/<repo>                    empty: the repository may hold something
//! v2/repos/<tenant>/<repo>/links/<alg>-<hex>    JSON: this repository shows this digest; see `Link`
//! v2/repos/<tenant>/<repo>/tags/<tag>           JSON: the digest that the tag means; see `TagValue`
//! v2/repos/<tenant>/<repo>/referrers/<alg>-<hex>/<alg>-<hex>    JSON: the descriptor of a manifest (second) with this subject (first)
//! v2/tmp/<random>                               in a folder: what is being written, locked
//! v2/uploads/<id>.part, .json                   in a folder: uploads under way; see `uploads`
//! v2/gc/<random>                                JSON: contents that are being removed just now; see `doom`
//! ```
//!
//! `<tenant>` and `<repo>` are one segment each ([`tenant_segment`], [`repo_segment`]), so that a listing of one level finds
//! everything: tenants, a tenant's repositories, a repository's links. The markers are written before the first link and looked
//! at again after it; whoever removes one looks at the links again afterwards. Bytes of any digest lie under their SHA-256; a
//! link to a SHA-512 says it.

use std::fmt::Write as _;

use crate::digest;
use crate::names::TenantPath;
use crate::oci::{Algorithm, Digest, RepoName, Tag};

/// What everything lies below. No tenant can have this as its first segment.
pub(super) const ROOT: &str = "v2";

/// The folder that lists every tenant that may have repositories, by its segment.
pub(super) const TENANTS: &str = "v2/tenants";

/// Where uploads into a folder are spooled: on the file system that their blobs will lie on.
pub(super) const UPLOADS: &str = "v2/uploads";

/// What is being removed just now.
pub(super) const DOOMED: &str = "v2/gc";

/// The folder of the blobs whose SHA-256 starts with `first`.
pub(super) fn blob_folder(first: u8) -> String {
    format!("{ROOT}/blobs/sha256/{first:02x}")
}

/// The bytes with this SHA-256.
pub(super) fn blob(content: &digest::Digest) -> String {
    let hex = content.to_hex();
    format!("{ROOT}/blobs/sha256/{}/{hex}", &hex[..2])
}

/// The mark whose time says when bytes that were there already were used again: sweeping must not judge them by their own age.
pub(super) fn blob_used(content: &digest::Digest) -> String {
    format!("{}.used", blob(content))
}

/// The content behind a name in a [`blob_folder`]; `None` for marks and for what is not ours.
pub(super) fn read_blob(name: &str) -> Option<digest::Digest> {
    read_hex(Algorithm::Sha256, name).and_then(|digest| match digest {
        Digest::Sha256(content) => Some(content),
        Digest::Sha512(_) => None,
    })
}

/// A tenant as one segment: `/` becomes `+`; what is neither a letter, a digit, `.`, `_` nor `-` becomes `%XX`.
pub(super) fn tenant_segment(tenant: &TenantPath) -> String {
    let path = tenant.as_str();
    if path.is_empty() {
        return ROOT_TENANT.to_owned();
    }
    let mut segment = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' => segment.push('+'),
            b'.' | b'_' | b'-' => segment.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => segment.push(char::from(byte)),
            byte => {
                // Writing to a string cannot fail.
                let _ = write!(segment, "%{byte:02X}");
            }
        }
    }
    if segment == ROOT_TENANT {
        return segment.replacen('_', "%5F", 1);
    }
    if segment.len() > MAX_SEGMENT {
        return format!("={}", digest::Digest::of(path.as_bytes()).to_hex());
    }
    segment
}

/// The tenant behind a name in [`TENANTS`]; `None` for those whose path is too long to be written there, and for what is not ours.
pub(super) fn read_tenant(segment: &str) -> Option<TenantPath> {
    let path = match segment {
        ROOT_TENANT => return Some(TenantPath::root()),
        _ => segment.replace('+', "/"),
    };
    let path = percent_encoding::percent_decode_str(&path)
        .decode_utf8()
        .ok()?;
    let path = TenantPath::parse_any(&path).ok()?;
    (tenant_segment(&path) == segment).then_some(path)
}

/// A repository as one segment: `/` becomes `+`, which no name has.
pub(super) fn repo_segment(name: &RepoName) -> String {
    name.as_str().replace('/', "+")
}

/// The repository behind a name in a [`catalog`]; `None` for what is not ours.
pub(super) fn read_repo(segment: &str) -> Option<RepoName> {
    RepoName::parse(&segment.replace('+', "/")).ok()
}

/// The mark of a tenant.
pub(super) fn tenant(segment: &str) -> String {
    format!("{TENANTS}/{segment}")
}

/// The folder that lists the repositories of a tenant.
pub(super) fn catalog(tenant: &str) -> String {
    format!("{ROOT}/catalog/{tenant}")
}

/// The keys of one repository.
#[derive(Clone, Debug)]
pub(super) struct Repo {
    /// Its mark in the catalog.
    pub(super) mark: String,
    folder: String,
}

impl Repo {
    /// The repository `repo` of `tenant`, both segments.
    pub(super) fn new(tenant: &str, repo: &str) -> Self {
        Self {
            mark: format!("{}/{repo}", catalog(tenant)),
            folder: format!("{ROOT}/repos/{tenant}/{repo}"),
        }
    }

    /// The folder of all links.
    pub(super) fn links(&self) -> String {
        format!("{}/links", self.folder)
    }

    /// One link.
    pub(super) fn link(&self, digest: &Digest) -> String {
        format!("{}/links/{}", self.folder, digest_segment(digest))
    }

    /// The folder of all tags.
    pub(super) fn tags(&self) -> String {
        format!("{}/tags", self.folder)
    }

    /// One tag.
    pub(super) fn tag(&self, tag: &Tag) -> String {
        format!("{}/tags/{tag}", self.folder)
    }

    /// The folder of all that refers to `subject`.
    pub(super) fn referrers(&self, subject: &Digest) -> String {
        format!("{}/referrers/{}", self.folder, digest_segment(subject))
    }

    /// One of them.
    pub(super) fn referrer(&self, subject: &Digest, referrer: &Digest) -> String {
        format!("{}/{}", self.referrers(subject), digest_segment(referrer))
    }
}

/// A digest as a segment: a `-` in place of the colon.
pub(super) fn digest_segment(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().as_str(), digest.to_hex())
}

/// The digest behind such a segment; `None` for what is not ours.
pub(super) fn read_digest(segment: &str) -> Option<Digest> {
    let (algorithm, hex) = segment.split_once('-')?;
    read_hex(algorithm.parse().ok()?, hex)
}

fn read_hex(algorithm: Algorithm, hex: &str) -> Option<Digest> {
    format!("{}:{hex}", algorithm.as_str()).parse().ok()
}

/// No other tenant has this segment.
const ROOT_TENANT: &str = "_root";
/// File systems hold 255 bytes.
const MAX_SEGMENT: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(tenant: &str) -> String {
        tenant_segment(&TenantPath::parse_any(tenant).expect("a path"))
    }

    #[test]
    fn every_tenant_has_a_segment_of_its_own() {
        let long = "x/".repeat(120) + "y";
        let tenants = ["", "_root", "a", "A", "a/b", "a+b", "a%2Bb", "é", &long];
        let segments: std::collections::BTreeSet<_> = tenants.map(segment).into_iter().collect();
        assert_eq!(segments.len(), tenants.len(), "{segments:?}");
        for segment in &segments {
            assert!(segment.len() <= 255 && !segment.contains('/'), "{segment}");
        }
        assert_eq!(segment("team/sub-1"), "team+sub-1");
        for tenant in tenants {
            let path = TenantPath::parse_any(tenant).expect("a path");
            let read = read_tenant(&tenant_segment(&path));
            assert_eq!(read, (tenant.len() <= 200).then_some(path));
        }
        for other in ["", "..", "a/b", "%2F", "%FF", "a%62"] {
            assert_eq!(read_tenant(other), None, "{other}");
        }
    }

    #[test]
    fn names_and_digests_are_read_back() {
        for name in ["a", "a/b/c", "a-b__c.d/v2/tags"] {
            let name = RepoName::parse(name).expect("a name");
            assert_eq!(read_repo(&repo_segment(&name)), Some(name));
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Digest::of(algorithm, b"x");
            assert_eq!(read_digest(&digest_segment(&digest)), Some(digest));
        }
        let content = digest::Digest::of(b"x");
        assert_eq!(read_blob(&content.to_hex()), Some(content));
        let mark = format!("{}.used", content.to_hex());
        for other in [mark.as_str(), "", "sha256-x", "x-y", ".", "..", "UPPER"] {
            assert_eq!(read_blob(other), None, "{other}");
            assert_eq!(read_digest(other), None, "{other}");
        }
        assert_eq!(read_repo("UPPER"), None);
        let folder = blob_folder(content.as_bytes()[0]);
        assert!(blob(&content).starts_with(&folder));
    }

    #[test]
    fn the_longest_name_is_a_file_name() {
        let name = RepoName::parse(&"a/".repeat(127)[..253]).expect("a name");
        assert!(repo_segment(&name).len() <= 255);
        let digest = Digest::of(Algorithm::Sha512, b"x");
        assert!(digest_segment(&digest).len() <= 255);
    }
}
