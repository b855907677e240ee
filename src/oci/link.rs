//! `Link: <…>; rel="next"`: the next page of a list (RFC 8288).

use crate::http::{HeaderMap, header};

/// The target of the first `next` link. It is opaque: a cursor in it may mean nothing to anybody else.
pub fn next(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::LINK)
        .iter()
        .find_map(|value| parse(value.to_str().ok()?))
}

fn parse(line: &str) -> Option<String> {
    let mut rest = line;
    // A comma may stand inside the target, so targets are taken out first.
    while let Some((_, behind)) = rest.split_once('<') {
        let (target, parameters) = behind.split_once('>')?;
        let end = parameters.find('<').unwrap_or(parameters.len());
        let (own, others) = parameters.split_at(end);
        let is_next = own.split([';', ',']).any(|parameter| {
            let Some((name, value)) = parameter.split_once('=') else {
                return false;
            };
            name.trim().eq_ignore_ascii_case("rel")
                && value
                    .trim()
                    .trim_matches('"')
                    .split_ascii_whitespace()
                    .any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target.trim().to_owned());
        }
        rest = others;
    }
    None
}

/// The value of our own header; `target` is path and query, percent-encoded, without scheme and host.
pub fn render(target: &str) -> String {
    format!("<{target}>; rel=\"next\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeaderValue;

    #[test]
    fn the_next_page_in_every_form() {
        for line in [
            r#"</v2/a/tags/list?n=2&last=b>; rel="next""#,
            "</v2/a/tags/list?n=2&last=b>;rel=next",
            r#"</v2/a/tags/list?n=2&last=b> ; title="x"; REL="prev Next""#,
            r#"</first,>; rel="first", </v2/a/tags/list?n=2&last=b>; rel="next""#,
        ] {
            assert_eq!(
                parse(line).as_deref(),
                Some("/v2/a/tags/list?n=2&last=b"),
                "{line}"
            );
        }
        for line in [
            "",
            "<",
            "</x>",
            r#"</x>; rel="prev""#,
            "rel=next",
            "</x; rel=next",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
        let headers =
            HeaderMap::from_iter([(header::LINK, HeaderValue::from_static("</p>; rel=next"))]);
        assert_eq!(next(&headers).as_deref(), Some("/p"));
        assert_eq!(
            parse(&render("/v2/x?last=1")).as_deref(),
            Some("/v2/x?last=1")
        );
    }
}
