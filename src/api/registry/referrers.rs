//! `GET …/referrers/<digest>`: what refers to a manifest, as an image index (distribution-spec, "Listing Referrers").

use std::io;

use super::respond::with_source;
use super::spelling::Spelling;
use crate::error::Result;
use crate::http::{HeaderName, Request, Response, StatusCode, header};
use crate::oci::{Descriptor, Digest, ManifestType, RepoName, link, referrers};
use crate::repository::registry::RegistryRepository;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// Clients refuse longer lists (oras: 4 MiB), so what is longer is cut into pages well below that.
const MAX_BYTES: usize = 2 << 20;

/// The page behind `last` of the list, filtered where asked. A manifest that is not there has no referrers, which is no error.
pub(super) async fn list(
    repository: &dyn RegistryRepository,
    name: &RepoName,
    subject: &Digest,
    spelling: &Spelling,
    request: &Request,
) -> Result<Response> {
    let wanted = Wanted::of(request);
    let kind = wanted.artifact_type.as_deref();
    let listed = repository.referrers(name, subject).await?;
    let (page, more) = wanted.page(&listed.items);
    let mut response = Response::new(StatusCode::OK, referrers::render(page, kind))
        .with_header(header::CONTENT_TYPE, ManifestType::Index.as_str());
    if kind.is_some() {
        response = response.with_header(FILTERS_APPLIED, "artifactType");
    }
    if let Some(last) = page.last().filter(|_| more) {
        let next = spelling.next_referrers(subject, kind, &last.digest);
        response = response.with_header(header::LINK, link::render(&next));
    }
    Ok(with_source(response, &listed.source))
}

/// What the query asks for.
#[derive(Debug, Default)]
struct Wanted {
    artifact_type: Option<String>,
    last: Option<Digest>,
}

impl Wanted {
    fn of(request: &Request) -> Self {
        let mut wanted = Self::default();
        for (key, value) in request.query_pairs() {
            match &*key {
                "artifactType" if !value.is_empty() && wanted.artifact_type.is_none() => {
                    wanted.artifact_type = Some(value.into_owned());
                }
                // Our own parameter; what was never one of ours starts the list anew.
                "last" => wanted.last = value.parse().ok(),
                _ => {}
            }
        }
        wanted
    }

    fn fits(&self, referrer: &Descriptor) -> bool {
        let wanted = self.artifact_type.as_deref();
        wanted.is_none_or(|wanted| referrer.artifact_type.as_deref() == Some(wanted))
    }

    /// The next items, those included that the filter leaves out later, and whether more that fit follow.
    fn page<'a>(&self, all: &'a [Descriptor]) -> (&'a [Descriptor], bool) {
        let rest = match &self.last {
            None => all,
            Some(last) => match all.iter().position(|one| one.digest == *last) {
                Some(position) => &all[position + 1..],
                // Removed meanwhile: lists are sorted by digest.
                None => &all[all.partition_point(|one| one.digest <= *last)..],
            },
        };
        let mut bytes = 0;
        for (position, referrer) in rest.iter().enumerate() {
            if !self.fits(referrer) {
                continue;
            }
            bytes += size(referrer);
            if bytes > MAX_BYTES && position > 0 {
                return (&rest[..position], true);
            }
        }
        (rest, false)
    }
}

/// How many bytes it has in the answer.
fn size(referrer: &Descriptor) -> usize {
    let mut count = Count(1);
    // Counting fails nowhere.
    let _ = serde_json::to_writer(&mut count, referrer);
    count.0
}

struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn referrer(number: u32, text: usize) -> Descriptor {
        let json = serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": Digest::of(Algorithm::Sha256, &number.to_be_bytes()),
            "size": 3,
            "artifactType": if number.is_multiple_of(2) { "even" } else { "odd" },
            "annotations": {"text": "x".repeat(text)},
        });
        serde_json::from_value(json).expect("a descriptor")
    }

    fn list(count: u32, text: usize) -> Vec<Descriptor> {
        let mut all: Vec<_> = (0..count).map(|number| referrer(number, text)).collect();
        all.sort_by_key(|one| one.digest);
        all
    }

    /// Every referrer that fits comes once, and no answer is too long.
    #[test]
    fn pages_cover_everything_once() {
        let all = list(60, 200_000);
        for kind in [None, Some("even"), Some("none")] {
            let mut wanted = Wanted {
                artifact_type: kind.map(str::to_owned),
                last: None,
            };
            let (mut seen, mut pages) = (Vec::new(), 0);
            loop {
                let (page, more) = wanted.page(&all);
                assert!(referrers::render(page, kind).len() < MAX_BYTES + 200);
                seen.extend(
                    page.iter()
                        .filter(|one| wanted.fits(one))
                        .map(|one| one.digest),
                );
                pages += 1;
                if !more {
                    break;
                }
                wanted.last = page.last().map(|one| one.digest);
            }
            let fitting = all
                .iter()
                .filter(|one| wanted.fits(one))
                .map(|one| one.digest);
            assert!(fitting.eq(seen.iter().copied()), "{kind:?}");
            assert_eq!(pages > 2, kind != Some("none"), "{kind:?}");
        }
    }

    #[test]
    fn a_page_goes_on_behind_one_that_was_removed() {
        let mut all = list(9, 1);
        let last = all.remove(4).digest;
        let wanted = Wanted {
            artifact_type: None,
            last: Some(last),
        };
        assert_eq!(wanted.page(&all), (&all[4..], false));
    }

    #[test]
    fn one_that_is_too_long_alone_is_sent_alone() {
        let all = list(3, MAX_BYTES);
        let (page, more) = Wanted::default().page(&all);
        assert_eq!((page.len(), more), (1, true));
    }
}
