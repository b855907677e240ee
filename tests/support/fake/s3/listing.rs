//! Pages of a listing, in both versions of the protocol.

use std::fmt::Write as _;
use std::ops::Bound;

use super::State;
use super::answers::{escaped, xml};
use super::meaning::Meaning;
use crate::support::fake::site::Answer;

impl State {
    /// One page. Keys and common prefixes share it, in the order of their names.
    pub(super) fn listing(&self, request: &Meaning, page: usize) -> Answer {
        let prefix = request.query("prefix").unwrap_or_default();
        let delimiter = request.query("delimiter").unwrap_or_default();
        let version2 = request.query("list-type") == Some("2");
        let asked = request.query("max-keys").and_then(|keys| keys.parse().ok());
        let room = self.page_size.min(asked.unwrap_or(1000));
        let after = match version2 {
            true => request
                .query("continuation-token")
                .and_then(|token| token.split_once(':'))
                .map(|(_, last)| last)
                .or_else(|| request.query("start-after")),
            false => request.query("marker"),
        };

        let mut items = String::new();
        let (mut count, mut last, mut more) = (0, String::new(), false);
        let start = match after {
            // Behind all of a common prefix that ended the page before.
            Some(after) if !delimiter.is_empty() && after.ends_with(delimiter) => {
                Bound::Excluded(format!("{after}\u{10ffff}"))
            }
            Some(after) => Bound::Excluded(after.to_owned()),
            None => Bound::Unbounded,
        };
        let mut common = String::new();
        for (key, object) in self.objects.range((start, Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(prefix) else {
                continue;
            };
            let folder = (!delimiter.is_empty())
                .then(|| rest.split_once(delimiter))
                .flatten()
                .map(|(folder, _)| format!("{prefix}{folder}{delimiter}"));
            if folder.as_ref().is_some_and(|folder| *folder == common) {
                continue;
            }
            if count == room {
                more = true;
                break;
            }
            count += 1;
            if let Some(folder) = folder {
                let _ = write!(
                    items,
                    "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>",
                    escaped(&folder)
                );
                last.clone_from(&folder);
                common = folder;
                continue;
            }
            let _ = write!(
                items,
                "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size>\
                 <StorageClass>STANDARD</StorageClass></Contents>",
                escaped(key),
                object.modified.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                escaped(&object.etag),
                object.bytes.len()
            );
            last.clone_from(key);
        }
        let next = match (more, version2) {
            (false, _) => String::new(),
            (true, true) => format!(
                "<NextContinuationToken>{}:{}</NextContinuationToken>",
                page + 1,
                escaped(&last)
            ),
            (true, false) => format!("<NextMarker>{}</NextMarker>", escaped(&last)),
        };
        let text = format!(
            "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{}</Name><Prefix>{}</Prefix>\
             <MaxKeys>{room}</MaxKeys><KeyCount>{count}</KeyCount><IsTruncated>{more}</IsTruncated>{next}{items}\
             </ListBucketResult>",
            escaped(&self.bucket),
            escaped(prefix),
        );
        xml(200, &text)
    }
}
