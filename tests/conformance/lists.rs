//! Lists of tags and of referrers.

use serde_json::json;

use super::set::referrers;
use super::subject::{Algorithm, Checked, Must as _, Repository, ensure};
use crate::support::http::Reply;
use crate::support::image::INDEX;

/// A repository in which there is nothing: no tags, or not known; no referrers, and never not known.
pub(super) fn nothing(repository: &Repository) -> Checked {
    repository.ask("GET", "tags/list")?.must_be(&[200, 404])?;
    let (found, _) = referrers(repository, &Algorithm::Sha256.of(b"nothing"), "")?;
    ensure(found.is_empty(), || format!("{found:?}"))
}

/// A digest that is none.
pub(super) fn referrers_of_no_digest(repository: &Repository) -> Checked {
    let reply = repository.ask("GET", "referrers/sha256:nothing")?;
    reply.must(400).map(drop)
}

const TAGS: [&str; 9] = ["1.0", "1.1", "10", "2", "A", "_x", "a", "a-b", "b"];

fn filled(repository: &Repository) -> Checked {
    let empty = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string();
    for tag in TAGS.iter().rev() {
        let reply = repository.push_manifest(tag, INDEX, empty.as_bytes())?;
        reply.must(201)?;
    }
    Ok(())
}

fn tags(reply: &Reply) -> Vec<String> {
    let list = reply.json()["tags"].as_array().cloned().unwrap_or_default();
    let tags = list.iter().filter_map(|tag| tag.as_str());
    tags.map(str::to_owned).collect()
}

/// All tags, in the order of their bytes; and page by page through what answers name as the next page.
pub(super) fn pages(repository: &Repository) -> Checked {
    filled(repository)?;
    let reply = repository.ask("GET", "tags/list")?.must(200)?;
    ensure(tags(&reply) == TAGS, || reply.text())?;
    for size in [1, 2, 4, 8] {
        let mut found = Vec::new();
        let mut reply = repository.ask("GET", &format!("tags/list?n={size}"))?;
        loop {
            reply = reply.must(200)?;
            let page = tags(&reply);
            ensure(page.len() <= size, || format!("{page:?} for n={size}"))?;
            found.extend(page);
            let Some(link) = reply.header("link").map(str::to_owned) else {
                break;
            };
            let target = link.strip_prefix('<').and_then(|rest| rest.split_once('>'));
            let (target, relation) = target.ok_or_else(|| format!("{link} is no link"))?;
            ensure(relation.contains("rel=\"next\""), || link.clone())?;
            ensure(found.len() < TAGS.len(), || {
                format!("{link} after the last tag")
            })?;
            reply = repository.send(&repository.at("GET", target, ""))?;
        }
        ensure(found == TAGS, || format!("{found:?} in pages of {size}"))?;
    }
    Ok(())
}

/// `last` need not exist, `n` may be 0 or more than there are.
pub(super) fn bounds(repository: &Repository) -> Checked {
    filled(repository)?;
    for (query, expected, more) in [
        ("n=3&last=1.1", &TAGS[2..5], true),
        ("n=2&last=10.5", &TAGS[3..5], true),
        ("last=a", &TAGS[7..], false),
        ("n=2&last=a", &TAGS[7..], false),
        ("last=zzz", &TAGS[9..], false),
        ("n=0", &TAGS[..0], false),
        ("n=9", &TAGS[..], false),
        ("n=1000000", &TAGS[..], false),
    ] {
        let reply = repository.ask("GET", &format!("tags/list?{query}"))?;
        let reply = reply.must(200)?;
        ensure(tags(&reply) == expected, || {
            format!("{query}: {}", reply.text())
        })?;
        ensure(!reply.text().contains("null"), || reply.text())?;
        ensure(reply.header("link").is_some() == more, || {
            format!("{query}: link {:?}", reply.header("link"))
        })?;
    }
    for query in ["n=many", "n=-1"] {
        let reply = repository.ask("GET", &format!("tags/list?{query}"))?;
        reply.must(400)?;
    }
    Ok(())
}
