//! Where an entry's archive is: chart URLs as Helm resolves them.

use url::Url;

/// The absolute form of a chart URL. Helm's rule: a relative one takes over the query of the repository's URL.
///
/// Schemes other than http, https and oci count only where the index itself came from there, so that a remote index
/// cannot name local files.
pub(super) fn resolve(base: &Url, text: &str) -> Option<Box<str>> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            let mut url = base.join(text).ok()?;
            if base.query().is_some() {
                url.set_query(base.query());
            }
            url
        }
        Err(_) => return None,
    };
    let usable = matches!(url.scheme(), "http" | "https" | "oci") || url.scheme() == base.scheme();
    (usable && url.as_str().len() <= 8192).then(|| url.as_str().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: &str, text: &str, expected: Option<&str>) {
        let base = Url::parse(base).expect(base);
        assert_eq!(resolve(&base, text).as_deref(), expected, "{text}");
    }

    #[test]
    fn relative_urls_follow_the_final_url_of_the_index() {
        let base = "https://h/r/index.yaml";
        check(base, "a.tgz", Some("https://h/r/a.tgz"));
        check(
            base,
            "charts/a+1.tgz?x=1",
            Some("https://h/r/charts/a+1.tgz?x=1"),
        );
        check(base, "/a.tgz", Some("https://h/a.tgz"));
        check(base, "//other/a.tgz", Some("https://other/a.tgz"));
        check(base, " a b.tgz ", Some("https://h/r/a%20b.tgz"));
        check(
            "https://h/r/index.yaml?t=1",
            "a.tgz?x=1",
            Some("https://h/r/a.tgz?t=1"),
        );
        check(
            "https://h/r/index.yaml?t=1",
            "https://o/a.tgz?x=1",
            Some("https://o/a.tgz?x=1"),
        );
    }

    #[test]
    fn schemes_of_this_machine_are_for_indexes_of_this_machine() {
        check("https://h/index.yaml", "oci://h/a:1", Some("oci://h/a:1"));
        for bad in [
            "file:///etc/passwd",
            "ftp://h/a.tgz",
            "",
            "https://",
            "javascript:x",
        ] {
            check("https://h/index.yaml", bad, None);
        }
        check(
            "file:///srv/charts/index.yaml",
            "a.tgz",
            Some("file:///srv/charts/a.tgz"),
        );
    }
}
