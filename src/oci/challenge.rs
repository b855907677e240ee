//! `WWW-Authenticate`: what servers demand, read from every form in which they write it; and ours, written in one.

use std::fmt;

use crate::http::{HeaderMap, header};

/// One challenge of a 401.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A token from a token server.
    Bearer(Bearer),
    /// User and password.
    Basic,
    /// A scheme that we do not speak, in lower case.
    Other(String),
}

/// Where a token is to be had, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bearer {
    /// The token server's URL, as it was written.
    pub realm: String,
    /// The name of the service that the token is for.
    pub service: Option<String>,
    /// What it has to allow; usually one [`Scope`](super::Scope), but servers have words of their own.
    pub scopes: Vec<String>,
    /// `invalid_token` or `insufficient_scope`, after a token that was not good enough.
    pub error: Option<String>,
}

/// All challenges in all `WWW-Authenticate` lines, in order.
pub fn read(headers: &HeaderMap) -> Vec<Challenge> {
    headers
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .flat_map(|value| parse(&String::from_utf8_lossy(value.as_bytes())))
        .collect()
}

/// The challenges of one line. Nothing is an error: what cannot be understood is left out, a line without end too.
pub fn parse(line: &str) -> Vec<Challenge> {
    if line.len() > MAX_LINE {
        return Vec::new();
    }
    let mut reader = Reader { rest: line };
    let mut found: Vec<Parts> = Vec::new();
    while let Some(word) = reader.word() {
        if reader.skip_equals() {
            let (value, quoted) = reader.value();
            if let Some(parts) = found.last_mut() {
                parts.set(word, value, quoted);
            }
        } else if let Some(parts) = found.last_mut().filter(|parts| parts.continues(&reader)) {
            parts.extend_scope(word);
        } else {
            found.push(Parts::new(word));
        }
    }
    found.into_iter().map(Parts::finish).collect()
}

/// A challenge while it is being read.
struct Parts {
    scheme: String,
    fields: Vec<(String, String)>,
    /// The last field was `scope` without quotes: a comma in it looks like the end.
    open_scope: bool,
}

impl Parts {
    fn new(scheme: &str) -> Self {
        Self {
            scheme: scheme.to_ascii_lowercase(),
            fields: Vec::new(),
            open_scope: false,
        }
    }

    fn set(&mut self, name: &str, value: String, quoted: bool) {
        let name = name.to_ascii_lowercase();
        self.open_scope = name == "scope" && !quoted;
        self.fields.push((name, value));
    }

    /// Whether a lone word belongs to an unquoted scope: `scope=repository:a:pull,push`.
    fn continues(&self, reader: &Reader<'_>) -> bool {
        self.open_scope && matches!(reader.rest.trim_start().bytes().next(), None | Some(b','))
    }

    fn extend_scope(&mut self, word: &str) {
        if let Some((_, scope)) = self.fields.last_mut() {
            scope.push(',');
            scope.push_str(word);
        }
    }

    fn finish(self) -> Challenge {
        match self.scheme.as_str() {
            "basic" => Challenge::Basic,
            "bearer" => {
                let field = |name: &str| {
                    let mut fields = self.fields.iter();
                    let found = fields.find(|(key, _)| key == name);
                    found.map(|(_, value)| value.clone())
                };
                let some = |name: &str| field(name).filter(|text| !text.is_empty());
                Challenge::Bearer(Bearer {
                    realm: field("realm").unwrap_or_default(),
                    service: some("service"),
                    scopes: field("scope")
                        .unwrap_or_default()
                        .split_ascii_whitespace()
                        .take(MAX_SCOPES)
                        .map(str::to_owned)
                        .collect(),
                    error: some("error"),
                })
            }
            _ => Challenge::Other(self.scheme),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// The next scheme or parameter name.
    fn word(&mut self) -> Option<&'a str> {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
            let end = self
                .rest
                .find([' ', '\t', ',', '=', '"'])
                .unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            if !word.is_empty() {
                return Some(word);
            }
            // A stray `=` or `"`: over it, or this would never end.
            let mut chars = self.rest.chars();
            chars.next()?;
            self.rest = chars.as_str();
        }
    }

    fn skip_equals(&mut self) -> bool {
        let rest = self.rest.trim_start_matches([' ', '\t']).strip_prefix('=');
        match rest {
            Some(rest) => {
                self.rest = rest.trim_start_matches([' ', '\t']);
                true
            }
            None => false,
        }
    }

    /// A quoted string without its quotes, or everything up to a comma or a space; and whether it was quoted.
    fn value(&mut self) -> (String, bool) {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([' ', '\t', ',']).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            return (value.to_owned(), false);
        };
        let mut value = String::new();
        let mut chars = quoted.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => value.extend(chars.next()),
                c => value.push(c),
            }
        }
        self.rest = chars.as_str();
        (value, true)
    }
}

/// The value of our own `WWW-Authenticate`.
impl fmt::Display for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bearer realm={}", Quoted(&self.realm))?;
        if let Some(service) = &self.service {
            write!(f, ",service={}", Quoted(service))?;
        }
        if !self.scopes.is_empty() {
            write!(f, ",scope={}", Quoted(&self.scopes.join(" ")))?;
        }
        if let Some(error) = &self.error {
            write!(f, ",error={}", Quoted(error))?;
        }
        Ok(())
    }
}

/// A quoted string without what a header cannot hold.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars().filter(|c| !c.is_control()) {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

const MAX_LINE: usize = 16 << 10;
const MAX_SCOPES: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(line: &str) -> Bearer {
        let found = parse(line)
            .into_iter()
            .find_map(|challenge| match challenge {
                Challenge::Bearer(bearer) => Some(bearer),
                Challenge::Basic | Challenge::Other(_) => None,
            });
        found.unwrap_or_else(|| panic!("no bearer challenge in {line}"))
    }

    #[test]
    fn every_way_of_writing_the_same() {
        let expected = Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: Some("registry.example".to_owned()),
            scopes: vec!["repository:a/b:pull,push".to_owned()],
            error: None,
        };
        for line in [
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
            r#"bearer REALM="https://auth.example/token", Service="registry.example" , SCOPE="repository:a/b:pull,push""#,
            r"Bearer realm=https://auth.example/token,service=registry.example,scope=repository:a/b:pull,push",
            r"Bearer scope=repository:a/b:pull,push,realm=https://auth.example/token,service=registry.example",
            r#"Bearer realm = "https://auth.example/token" ,, service	=	"registry.example", scope="repository:a/b:pull,push","#,
            r#"Bearer realm="https://auth.example/tok\en",service="registry.example",scope="repository:a/b:pull,push" "#,
            r#"Negotiate, Basic realm="x, y", Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push",realm="https://evil.example/""#,
            r#"NTLM TlRMTVNTUAAC==, Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push", Digest qop="auth""#,
        ] {
            assert_eq!(bearer(line), expected, "{line}");
        }
    }

    #[test]
    fn what_may_be_missing_or_several() {
        let bare = bearer(r#"Bearer realm="https://h/token""#);
        assert_eq!((bare.service, bare.scopes.len()), (None, 0));
        let two = bearer(r#"Bearer realm="r",scope="repository:a:pull repository:b:pull""#);
        assert_eq!(two.scopes, ["repository:a:pull", "repository:b:pull"]);
        let own = bearer(
            r#"Bearer realm="https://public.ecr.aws/token/",service="public.ecr.aws",scope="aws""#,
        );
        assert_eq!(own.scopes, ["aws"]);
        let error = bearer(r#"Bearer realm="r",error="insufficient_scope",scope="""#);
        assert_eq!(error.error.as_deref(), Some("insufficient_scope"));
        assert_eq!(parse(r#"Basic realm="Sonatype Nexus""#), [Challenge::Basic]);
        assert_eq!(
            parse("Basic, Negotiate"),
            [Challenge::Basic, Challenge::Other("negotiate".to_owned())]
        );
        for nothing in ["", " , ,", "=", "\"", "==\"\"=,"] {
            assert_eq!(parse(nothing), [], "{nothing}");
        }
        assert_eq!(bearer("Bearer").realm, "");
        assert!(parse(&format!("Bearer realm=\"{}\"", "x".repeat(20_000))).is_empty());
    }

    #[test]
    fn challenges_of_several_lines_are_read_in_order() {
        let lines = [r#"Basic realm="x""#, r#"Bearer realm="y""#].map(|line| {
            let value = crate::http::HeaderValue::from_static(line);
            (header::WWW_AUTHENTICATE, value)
        });
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        let found = read(&headers);
        assert!(matches!(
            found.as_slice(),
            [Challenge::Basic, Challenge::Bearer(_)]
        ));
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in "\\PC{0,200}") {
            let _ = parse(&line);
        }

        #[test]
        fn what_was_read_of_any_line_is_written_and_read_the_same(line in "Bearer [a-z=\", \\\\:,]{0,80}") {
            for challenge in parse(&line) {
                if let Challenge::Bearer(read) = challenge {
                    prop_assert_eq!(bearer(&read.to_string()), read);
                }
            }
        }

        #[test]
        fn what_we_write_we_read(
            realm in "[ -~]{1,30}",
            service in proptest::option::of("[ -~]{1,20}"),
            scopes in proptest::collection::vec("[!#-~]{1,20}", 0..3),
        ) {
            let written = Bearer { realm, service, scopes, error: Some("invalid_token".to_owned()) };
            prop_assert_eq!(bearer(&written.to_string()), written);
        }
    }
}
