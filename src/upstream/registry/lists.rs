//! Lists: tags, repositories, referrers; all pages of them.

use std::collections::HashSet;

use bytes::Bytes;
use url::Url;

use super::{Lane, Question, Registry};
use crate::error::{ErrorKind, Result};
use crate::http::{HeaderValue, Method, StatusCode, header};
use crate::oci::{
    Descriptor, Digest, ManifestType, Reference, RepoName, Tag, essence, link, referrers, tags,
};

impl Registry {
    /// All tags of a repository, in the order of bytes, each once.
    ///
    /// Texts that are no tags are left out. A list that cannot be read to its end is an error, never a part of one.
    pub async fn tags(&self, repository: &RepoName) -> Result<Vec<Tag>> {
        let mut url = self.url(repository, "tags/list");
        url.set_query(Some(&format!("n={PAGE}")));
        let question = self.question(Lane::Lists, Method::GET, url, repository);
        let mut all = self.pages(question, tags::read).await?;
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// All repositories that the registry names; many name none, or refuse.
    pub async fn catalog(&self) -> Result<Vec<RepoName>> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}v2/_catalog", self.base.path()));
        url.set_query(Some(&format!("n={PAGE}")));
        let question = Question {
            lane: Lane::Lists,
            method: Method::GET,
            url,
            headers: Default::default(),
            repository: None,
            max_redirects: super::MAX_REDIRECTS,
        };
        let mut all = self.pages(question, tags::read_catalog).await?;
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// Everything that refers to a manifest, from the registry's own list or, where it has no such API, from the tag that takes
    /// its place. Nothing is an empty list, not an error.
    pub async fn referrers(
        &self,
        repository: &RepoName,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>> {
        let url = self.url(repository, &format!("referrers/{subject}"));
        let mut question = self.question(Lane::Lists, Method::GET, url, repository);
        let index = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
        question.headers.insert(header::ACCEPT, index);
        if let Some(found) = self.listed(question).await? {
            return Ok(found);
        }
        let tag = Reference::Tag(referrers::fallback_tag(subject));
        match self.get_manifest(repository, &tag).await {
            Ok(fetched) if fetched.manifest.media_type.is_index() => {
                Ok(referrers::merge([fetched.manifest.manifests]))
            }
            // Somebody uses the tag for something else.
            Ok(_) => Ok(Vec::new()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The answer of the referrers API. `None`: the registry has none.
    async fn listed(&self, question: Question<'_>) -> Result<Option<Vec<Descriptor>>> {
        let mut question = question;
        let (mut all, mut seen) = (Vec::new(), HashSet::new());
        loop {
            let object = question.object();
            let (answer, identity) = self.ask(&question).await?;
            let is_index = answer
                .header(header::CONTENT_TYPE)
                .is_some_and(|text| ManifestType::parse(text) == Some(ManifestType::Index));
            match answer.status.as_u16() {
                200 if is_index => {}
                // Those who do not know the path answer with whatever they have; 200 is a web page or a proxy's own view.
                200 | 400 | 404 | 405 | 406 | 501 if seen.is_empty() => {
                    answer.discard().await;
                    return Ok(None);
                }
                _ => return Err(self.refusal(&answer, identity, &object)),
            }
            let next = link::next(&answer.headers);
            let page = self.page(answer, &question).await?;
            let found = referrers::read(&page).map_err(|error| {
                self.client
                    .useless(format!("answered for {object}: {}", error.message()))
            })?;
            all.extend(found);
            match self.follow(&mut question, next, &mut seen, all.len())? {
                true => {}
                false => return Ok(Some(referrers::merge([all]))),
            }
        }
    }

    /// All pages of a list.
    async fn pages<T>(
        &self,
        mut question: Question<'_>,
        read: impl Fn(&[u8]) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let (mut all, mut seen) = (Vec::new(), HashSet::new());
        loop {
            let object = question.object();
            let (answer, identity) = self.ask(&question).await?;
            if answer.status != StatusCode::OK {
                return Err(self.refusal(&answer, identity, &object));
            }
            let next = link::next(&answer.headers);
            let html = answer
                .header(header::CONTENT_TYPE)
                .is_some_and(|text| essence(text) == "text/html");
            let page = self.page(answer, &question).await?;
            let found = match html {
                true => Err("it is a web page".to_owned()),
                false => read(&page).map_err(|error| error.message().to_owned()),
            };
            let found = found.map_err(|why| {
                self.client
                    .useless(format!("answered 200 for {object} without a list: {why}"))
            })?;
            all.extend(found);
            if !self.follow(&mut question, next, &mut seen, all.len())? {
                return Ok(all);
            }
        }
    }

    async fn page(&self, answer: crate::net::Response, question: &Question<'_>) -> Result<Bytes> {
        match answer.bytes(MAX_PAGE).await? {
            Some(bytes) => Ok(bytes),
            None => Err(self.client.useless(format!(
                "sent more than {MAX_PAGE} bytes for a page of {}",
                question.object()
            ))),
        }
    }

    /// Turns to the next page, if there is one.
    ///
    /// Its address is opaque but for one thing: it is on the registry. Servers behind a proxy often name themselves with another
    /// scheme or port, so only the host is compared, and what is asked is always our own.
    fn follow(
        &self,
        question: &mut Question<'_>,
        next: Option<String>,
        seen: &mut HashSet<Url>,
        found: usize,
    ) -> Result<bool> {
        let Some(next) = next else {
            return Ok(false);
        };
        let target = question.url.join(&next).ok();
        let target = target.filter(|target| target.host() == question.url.host());
        let Some(target) = target else {
            let what = format!(
                "continues {} on another host, which is refused",
                question.object()
            );
            return Err(self.client.useless(what));
        };
        let mut url = self.base.clone();
        url.set_path(target.path());
        url.set_query(target.query());
        let previous = std::mem::replace(&mut question.url, url);
        seen.insert(previous);
        if seen.contains(&question.url) || seen.len() >= MAX_PAGES || found > MAX_ENTRIES {
            let what = format!("has a list without end for {}", question.object());
            return Err(self.client.useless(what));
        }
        Ok(true)
    }
}

/// Entries a page: more is an error at some.
const PAGE: usize = 1000;
const MAX_PAGES: usize = 10_000;
const MAX_ENTRIES: usize = 1_000_000;
const MAX_PAGE: usize = 32 << 20;
