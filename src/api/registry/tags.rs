//! `GET …/tags/list`: the tags of a repository, page by page.

use super::respond::with_source;
use super::spelling::Spelling;
use crate::error::Result;
use crate::http::{Request, Response, StatusCode, header};
use crate::oci::tags::{Page, render};
use crate::oci::{RepoName, link};
use crate::repository::registry::RegistryRepository;

/// The page that the request asks for, of a list that is complete. The repository is called as the client calls it.
pub(super) async fn list(
    repository: &dyn RegistryRepository,
    name: &RepoName,
    spelling: &Spelling,
    page: &Page,
) -> Result<Response> {
    let listed = repository.tags(name).await?;
    let (tags, more) = page.of(&listed.items);
    let response = Response::new(StatusCode::OK, render(spelling.name(), tags))
        .with_header(header::CONTENT_TYPE, "application/json");
    let response = match (tags.last(), page.count) {
        (Some(last), Some(count)) if more => {
            let next = spelling.next_tags(count, last.as_str());
            response.with_header(header::LINK, link::render(&next))
        }
        _ => response,
    };
    Ok(with_source(response, &listed.source))
}

/// `n` and `last` of a request. Errors: `n` is no number.
pub(super) fn page(request: &Request) -> Result<Page> {
    let (mut count, mut last) = (None, None);
    for (key, value) in request.query_pairs() {
        match &*key {
            "n" => count = count.or(Some(value)),
            "last" => last = last.or(Some(value)),
            _ => {}
        }
    }
    Page::parse(count.as_deref(), last.as_deref())
}
