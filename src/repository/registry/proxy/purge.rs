//! Forgetting on request: what the upstream removed or replaced, before its time is over.

use super::ProxyRegistry;
use super::place::Place;
use crate::error::Result;
use crate::oci::{Digest, Reference, RepoName, Tag};

impl ProxyRegistry {
    /// Forgets what is known about a repository, or about one tag or digest of it; the next request asks the upstream.
    ///
    /// Returns how many records went. Bytes stay until they are evicted: other repositories may have them too. Errors:
    /// `NotFound` for a repository that the rules keep out.
    pub fn purge(&self, name: &RepoName, reference: Option<&Reference>) -> Result<usize> {
        let place = self.place(name)?;
        let gone = match reference {
            None => self.purge_repository(&place),
            Some(Reference::Tag(tag)) => self.purge_tag(&place, tag),
            Some(Reference::Digest(digest)) => self.purge_digest(&place, digest),
        };
        tracing::info!(
            upstream.name = %self.config.name, records = gone,
            "forgot what was known about `{}` of upstream `{}`", place.repository, self.config.name
        );
        Ok(gone)
    }

    fn purge_repository(&self, place: &Place) -> usize {
        let mut gone = 0;
        for prefix in [place.tags_prefix(), place.referrers_prefix()] {
            for rest in self.cache.names_below(&prefix) {
                gone += self.drop_name(&format!("{prefix}{rest}"));
            }
            self.verdicts.forget_below(&prefix);
        }
        gone += self.drop_name(&place.list());
        let links = self.cache.links();
        gone + links.forget_repository(&place.upstream, &place.repository)
    }

    fn purge_tag(&self, place: &Place, tag: &Tag) -> usize {
        self.drop_name(&place.list());
        self.drop_name(&place.tag(tag))
    }

    fn purge_digest(&self, place: &Place, digest: &Digest) -> usize {
        let links = self.cache.links();
        let link = place.link(digest);
        // The name that the cache uses, where that is another one.
        let inner = links.get(&link).and_then(|link| link.digest);
        let inner = inner.map(Digest::Sha256).filter(|inner| inner != digest);
        let mut gone = usize::from(links.forget(&link));
        if let Some(inner) = inner {
            gone += usize::from(links.forget(&place.link(&inner)));
        }
        for name in [
            place.manifest(digest),
            place.blob(digest),
            place.referrers(digest),
        ] {
            gone += self.drop_name(&name);
        }
        gone
    }

    fn drop_name(&self, name: &str) -> usize {
        let known = self.cache.name(name).is_some();
        self.cache.forget(name);
        self.verdicts.forget(name);
        usize::from(known)
    }
}
