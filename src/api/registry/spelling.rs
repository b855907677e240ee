//! How a client writes a repository, so that what it is told to ask next is written the same way.
//!
//! Locations and links are paths without scheme and host: behind a TLS terminator we know neither for certain, and every client
//! resolves them (spec: oci.md §1.5, §4). A prefix in front of `/v2` and `?ns=` are kept, because without them the next request
//! would mean another repository.

use std::fmt::Display;

use url::form_urlencoded;

use crate::oci::Digest;

/// The client's way to write a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spelling {
    /// Everything up to and with `/v2`, percent-encoded.
    prefix: String,
    /// What stands between `/v2/` and the call, decoded; empty where there is no repository.
    name: String,
    /// `?ns=`, decoded.
    ns: Option<String>,
}

impl Spelling {
    /// From the decoded parts of a path and query.
    pub(super) fn new(prefix: &str, name: &str, ns: Option<String>) -> Self {
        Self {
            prefix: encode(prefix),
            name: name.to_owned(),
            ns,
        }
    }

    /// The repository as the client names it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What `?ns=` says.
    pub(crate) fn ns(&self) -> Option<&str> {
        self.ns.as_deref()
    }

    /// The scope of a token that allows `actions` (`pull`, `pull,push`, `delete`) on the repository.
    pub(crate) fn scope(&self, actions: &str) -> String {
        format!("repository:{}:{actions}", self.name)
    }

    /// Where a manifest is.
    pub(crate) fn manifest(&self, digest: &Digest) -> String {
        self.path("manifests", digest, &[])
    }

    /// Where a blob is.
    pub(crate) fn blob(&self, digest: &Digest) -> String {
        self.path("blobs", digest, &[])
    }

    /// Where an upload goes on.
    pub(crate) fn upload(&self, id: impl Display) -> String {
        self.path("blobs/uploads", id, &[])
    }

    /// The next page of tags.
    pub(crate) fn next_tags(&self, count: usize, last: &str) -> String {
        self.path("tags", "list", &[("n", &count.to_string()), ("last", last)])
    }

    /// The next page of referrers.
    pub(crate) fn next_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: &Digest,
    ) -> String {
        let last = last.to_string();
        match artifact_type {
            Some(kind) => self.path(
                "referrers",
                subject,
                &[("artifactType", kind), ("last", &last)],
            ),
            None => self.path("referrers", subject, &[("last", &last)]),
        }
    }

    /// The next page of the catalog.
    pub(crate) fn next_catalog(&self, count: usize, last: &str) -> String {
        let query = self.query(&[("n", &count.to_string()), ("last", last)]);
        format!("{}/_catalog{query}", self.prefix)
    }

    fn path(&self, kind: &str, last: impl Display, pairs: &[(&str, &str)]) -> String {
        let (prefix, name, query) = (&self.prefix, encode(&self.name), self.query(pairs));
        format!("{prefix}/{name}/{kind}/{last}{query}")
    }

    /// With the question mark; empty where there is nothing to say.
    fn query(&self, pairs: &[(&str, &str)]) -> String {
        let ns = self.ns.as_deref().map(|ns| ("ns", ns));
        if pairs.is_empty() && ns.is_none() {
            return String::new();
        }
        let mut query = form_urlencoded::Serializer::for_suffix(String::from("?"), 1);
        query.extend_pairs(pairs).extend_pairs(ns);
        query.finish()
    }
}

/// Slashes and everything that a path may hold stay.
fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, PATH).to_string()
}

/// RFC 3986 §3.3, `pchar` and `/`, for text that is decoded.
const PATH: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@');

#[cfg(test)]
mod tests {
    use super::*;

    /// The same repository in every way to write it, and what each is told.
    #[test]
    fn every_scheme_gets_its_own_words_back() {
        let digest: Digest = format!("sha256:{}", "0".repeat(64))
            .parse()
            .expect("a digest");
        for (prefix, name, ns, before, behind) in [
            (
                "/v2",
                "acme/hub/library/nginx",
                None,
                "/v2/acme/hub/library/nginx",
                "",
            ),
            (
                "/acme/hub/v2",
                "library/nginx",
                None,
                "/acme/hub/v2/library/nginx",
                "",
            ),
            ("/ctx/acme/v2", "app", None, "/ctx/acme/v2/app", ""),
            (
                "/v2",
                "library/nginx",
                Some("docker.io"),
                "/v2/library/nginx",
                "ns=docker.io",
            ),
            (
                "/v2",
                "app",
                Some("Reg.example:5000"),
                "/v2/app",
                "ns=Reg.example%3A5000",
            ),
            (
                "/v2",
                "Team A/app",
                Some("a b&c"),
                "/v2/Team%20A/app",
                "ns=a+b%26c",
            ),
        ] {
            let spelling = Spelling::new(prefix, name, ns.map(str::to_owned));
            let alone = match behind {
                "" => String::new(),
                ns => format!("?{ns}"),
            };
            let joined = match behind {
                "" => String::new(),
                ns => format!("&{ns}"),
            };
            assert_eq!(
                spelling.manifest(&digest),
                format!("{before}/manifests/{digest}{alone}")
            );
            assert_eq!(
                spelling.blob(&digest),
                format!("{before}/blobs/{digest}{alone}")
            );
            assert_eq!(
                spelling.upload("0123"),
                format!("{before}/blobs/uploads/0123{alone}")
            );
            assert_eq!(
                spelling.next_tags(2, "v1.0_x"),
                format!("{before}/tags/list?n=2&last=v1.0_x{joined}")
            );
            let last = digest.to_string().replace(':', "%3A");
            assert_eq!(
                spelling.next_referrers(&digest, Some("a/b+c"), &digest),
                format!("{before}/referrers/{digest}?artifactType=a%2Fb%2Bc&last={last}{joined}")
            );
            assert_eq!(
                spelling.next_referrers(&digest, None, &digest),
                format!("{before}/referrers/{digest}?last={last}{joined}")
            );
            assert_eq!(
                spelling.next_catalog(5, "a/b"),
                format!("{prefix}/_catalog?n=5&last=a%2Fb{joined}")
            );
            assert_eq!(
                spelling.scope("pull,push"),
                format!("repository:{name}:pull,push")
            );
        }
    }
}
