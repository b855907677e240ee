//! What a fake registry holds and how it would answer if nothing went wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use bytes::Bytes;
use chartgate::oci::{Algorithm, Digest};
use url::form_urlencoded;

use super::super::fault::{Fault, Hold};
use super::super::site::{Answer, Recorded};
use super::rows::{Absent, HeadStyle, Links, Manners, Post, ScopeStyle};
use super::{Asked, Spot};

/// A repository.
#[derive(Debug, Default)]
pub(super) struct Repository {
    pub(super) private: bool,
    /// Media type and bytes by digest.
    pub(super) manifests: BTreeMap<String, (String, Bytes)>,
    pub(super) blobs: BTreeMap<String, Bytes>,
    pub(super) tags: BTreeMap<String, String>,
    /// Descriptors (JSON) by subject.
    pub(super) referrers: BTreeMap<String, Vec<String>>,
}

/// The state behind one fake registry.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) manners: Manners,
    pub(super) user: Option<(String, String)>,
    pub(super) refresh_token: Option<String>,
    pub(super) repositories: BTreeMap<String, Repository>,
    pub(super) faults: Vec<(Spot, Fault, usize)>,
    pub(super) holds: Vec<(Spot, Hold)>,
    pub(super) log: Vec<Asked>,
    /// Scopes of valid tokens, and whether they were given to somebody known.
    tokens: HashMap<String, (Vec<String>, bool)>,
    issued: usize,
    /// Scopes that challenges have named.
    named: BTreeSet<String>,
    /// Blobs whose bytes were asked for.
    touched: BTreeSet<String>,
    remaining: u64,
    /// Where this registry, and the place of its blobs, are reached.
    pub(super) here: String,
    pub(super) elsewhere: String,
}

impl Site {
    pub(super) fn new(manners: Manners) -> Self {
        Self {
            manners,
            user: None,
            refresh_token: None,
            repositories: BTreeMap::new(),
            faults: Vec::new(),
            holds: Vec::new(),
            log: Vec::new(),
            tokens: HashMap::new(),
            issued: 0,
            named: BTreeSet::new(),
            touched: BTreeSet::new(),
            remaining: 100,
            here: String::new(),
            elsewhere: String::new(),
        }
    }

    pub(super) fn revoke(&mut self) {
        self.tokens.clear();
    }

    /// The fault for a request, using it up.
    pub(super) fn next_fault(&mut self, request: &Recorded) -> Option<Fault> {
        let token_path = self.manners.token_path;
        let (_, fault, left) = self
            .faults
            .iter_mut()
            .rev()
            .find(|(spot, _, left)| *left > 0 && spot.covers(request, token_path))?;
        if *left != usize::MAX {
            *left -= 1;
        }
        Some(fault.clone())
    }

    pub(super) fn holds_for(&self, request: &Recorded) -> Vec<Hold> {
        let token_path = self.manners.token_path;
        let mine = self.holds.iter();
        mine.filter(|(spot, _)| spot.covers(request, token_path))
            .map(|(_, hold)| hold.clone())
            .collect()
    }

    /// The answer to a request when all is well.
    pub(super) fn answer(&mut self, request: &Recorded, body: &[u8]) -> Answer {
        if request.path == self.manners.token_path {
            return self.token(request, body);
        }
        if let Some(digest) = request.path.strip_prefix("/cdn/") {
            return self.elsewhere(request, digest);
        }
        let Some(rest) = request.path.strip_prefix("/v2/") else {
            return Answer::new(404, "<html>no such page</html>").with("Content-Type", "text/html");
        };
        let mut answer = self.registry(request, rest);
        answer = answer.with("Docker-Distribution-Api-Version", "registry/2.0");
        if self.manners.rate && request.path.contains("/manifests/") {
            if request.method == "GET" {
                self.remaining = self.remaining.saturating_sub(1);
            }
            answer = answer
                .with("RateLimit-Limit", "100;w=21600")
                .with("RateLimit-Remaining", format!("{};w=21600", self.remaining))
                .with("Docker-RateLimit-Source", "192.0.2.1");
        }
        answer
    }

    fn registry(&mut self, request: &Recorded, rest: &str) -> Answer {
        if rest.is_empty() {
            let right = self.right(request, None);
            return match right {
                Ok(()) => Answer::new(200, "{}"),
                Err(error) => self.challenge(None, error),
            };
        }
        if rest == "_catalog" {
            let names: Vec<String> = self.repositories.keys().cloned().collect();
            return json(200, &serde_json::json!({ "repositories": names }));
        }
        let Some((name, kind, last)) = split(rest) else {
            return error(404, "NAME_UNKNOWN");
        };
        let known = self.repositories.get(&name);
        let exists = known.is_some();
        if let Err(denied) = self.right(request, Some(&name)) {
            let stranger = request.header("authorization").is_none();
            if self.manners.absent == Absent::Hidden && stranger {
                return error(404, "NAME_UNKNOWN");
            }
            return self.challenge(Some(&name), denied);
        }
        if !exists {
            return match self.manners.absent {
                Absent::Denied | Absent::NoToken => {
                    self.challenge(Some(&name), Some("insufficient_scope"))
                }
                Absent::Unknown | Absent::Hidden => error(404, "NAME_UNKNOWN"),
            };
        }
        match kind {
            "manifests" => self.manifest(request, &name, &last),
            "blobs" => self.blob(request, &name, &last),
            "tags" => self.tags(request, &name),
            _ => self.referrers(&name, &last),
        }
    }

    /// Whether a request may see a repository; the error is the one of the challenge.
    fn right(&self, request: &Recorded, name: Option<&str>) -> Result<(), Option<&'static str>> {
        let manners = &self.manners;
        if !manners.basic && !manners.bearer {
            return Ok(());
        }
        let private = name.is_some_and(|name| {
            self.repositories
                .get(name)
                .is_none_or(|repository| repository.private)
        });
        let Some(shown) = request.header("authorization") else {
            let open = manners.absent == Absent::Hidden && name.is_some() && !private;
            return if open { Ok(()) } else { Err(None) };
        };
        if let Some(token) = shown.strip_prefix("Bearer ") {
            let (scopes, known) = self.tokens.get(token).ok_or(Some("invalid_token"))?;
            let wanted = name.map(|name| format!("repository:{name}:pull"));
            let fits = match manners.scope {
                ScopeStyle::Own(own) => {
                    scopes.iter().any(|scope| scope == own) && (*known || !private)
                }
                ScopeStyle::Asked | ScopeStyle::None => {
                    wanted.is_none_or(|wanted| scopes.contains(&wanted))
                }
            };
            return if fits {
                Ok(())
            } else {
                Err(Some("insufficient_scope"))
            };
        }
        if manners.basic && self.is_user(shown) {
            return Ok(());
        }
        Err(None)
    }

    fn is_user(&self, authorization: &str) -> bool {
        self.user
            .as_ref()
            .is_some_and(|(user, password)| authorization == basic(user, password))
    }

    fn challenge(&mut self, name: Option<&str>, error_code: Option<&str>) -> Answer {
        let mut answer = error(401, "UNAUTHORIZED");
        if self.manners.bearer {
            let realm = self
                .manners
                .realm
                .clone()
                .unwrap_or_else(|| format!("{}{}", self.here, self.manners.token_path));
            let mut text = format!("Bearer realm=\"{realm}\"");
            if let Some(service) = self.manners.service {
                let _ = write!(text, ",service=\"{service}\"");
            }
            let scope = match (self.manners.scope, name) {
                (ScopeStyle::Own(own), _) => Some(own.to_owned()),
                (ScopeStyle::Asked, Some(name)) => Some(format!("repository:{name}:pull")),
                (ScopeStyle::Asked | ScopeStyle::None, _) => None,
            };
            if let Some(scope) = scope {
                let _ = write!(text, ",scope=\"{scope}\"");
                self.named.insert(scope);
            }
            if let Some(code) = error_code {
                let _ = write!(text, ",error=\"{code}\"");
            }
            answer = answer.with("WWW-Authenticate", text);
        }
        if self.manners.basic {
            answer = answer.with("WWW-Authenticate", "Basic realm=\"a registry\"");
        }
        answer
    }

    fn token(&mut self, request: &Recorded, body: &[u8]) -> Answer {
        let fields: Vec<(String, String)> = match request.method.as_str() {
            "POST" => form_urlencoded::parse(body),
            _ => form_urlencoded::parse(request.query.as_deref().unwrap_or_default().as_bytes()),
        }
        .into_owned()
        .collect();
        let all = |name: &str| -> Vec<String> {
            fields
                .iter()
                .filter(|(key, _)| key == name)
                .flat_map(|(_, value)| value.split(' ').map(str::to_owned))
                .filter(|value| !value.is_empty())
                .collect()
        };
        let mut known = request
            .header("authorization")
            .is_some_and(|shown| self.is_user(shown));
        if request.method == "POST" {
            let right = self.refresh_token.is_some()
                && all("refresh_token") == [self.refresh_token.clone().unwrap_or_default()];
            match self.manners.post {
                Post::Status(status) => return error(status, "UNSUPPORTED"),
                Post::RefreshOnly if all("grant_type") != ["refresh_token"] => {
                    return error(400, "UNSUPPORTED");
                }
                Post::Works | Post::RefreshOnly if right => known = true,
                Post::Works | Post::RefreshOnly => return error(401, "UNAUTHORIZED"),
            }
        } else if !known && (request.header("authorization").is_some() || !self.manners.anonymous) {
            return error(401, "UNAUTHORIZED");
        }
        if self
            .manners
            .service
            .is_some_and(|service| all("service") != [service])
        {
            return error(400, "UNSUPPORTED");
        }
        let scopes = all("scope");
        if self.manners.strict_scopes && scopes.iter().any(|scope| !self.named.contains(scope)) {
            return error(403, "DENIED");
        }
        let granted: Vec<String> = scopes
            .into_iter()
            .filter(|scope| known || !self.is_private(scope))
            .collect();
        if self.manners.absent == Absent::NoToken && granted.is_empty() {
            return error(403, "DENIED");
        }
        self.issued += 1;
        let token = format!("token-{}", self.issued);
        self.tokens.insert(token.clone(), (granted, known));
        let mut reply = serde_json::json!({ "token": token });
        if let Some(expires_in) = self.manners.expires_in {
            reply["expires_in"] = expires_in.into();
            reply["access_token"] = token.into();
        }
        json(200, &reply)
    }

    fn is_private(&self, scope: &str) -> bool {
        let name = scope
            .strip_prefix("repository:")
            .and_then(|rest| rest.rsplit_once(':'));
        name.is_some_and(|(name, _)| self.repositories.get(name).is_none_or(|held| held.private))
    }

    fn manifest(&mut self, request: &Recorded, name: &str, reference: &str) -> Answer {
        let repository = &self.repositories[name];
        let digest = repository
            .tags
            .get(reference)
            .map_or(reference, String::as_str);
        let Some((media_type, bytes)) = repository.manifests.get(digest) else {
            return error(404, "MANIFEST_UNKNOWN");
        };
        let mut answer = Answer::new(200, bytes.clone());
        let media_type = self.manners.manifest_type.unwrap_or(media_type);
        answer = answer.with("Content-Type", media_type);
        let mut shows_digest = true;
        if request.method == "HEAD" {
            match self.manners.head {
                HeadStyle::Full => {}
                HeadStyle::WithoutDigest => shows_digest = false,
                HeadStyle::Status(status) => return error(status, "UNSUPPORTED"),
            }
        }
        let etag = format!("\"{digest}\"");
        if request.method == "GET" && request.header("if-none-match") == Some(&etag) {
            return Answer::new(304, Bytes::new());
        }
        if shows_digest && self.manners.head != HeadStyle::WithoutDigest {
            answer = answer.with("Docker-Content-Digest", digest);
        }
        answer.with("ETag", etag)
    }

    fn blob(&mut self, request: &Recorded, name: &str, digest: &str) -> Answer {
        let Some(bytes) = self.repositories[name].blobs.get(digest).cloned() else {
            return error(404, "BLOB_UNKNOWN");
        };
        if request.method == "HEAD"
            && self.manners.head_blob_unknown
            && !self.touched.contains(digest)
        {
            return error(404, "BLOB_UNKNOWN");
        }
        if request.method == "GET" {
            self.touched.insert(digest.to_owned());
        }
        if self.manners.blobs_elsewhere {
            let target = format!(
                "{}/cdn/{digest}?method={}&sig=s3cret",
                self.elsewhere, request.method
            );
            return Answer::new(307, Bytes::new()).with("Location", target);
        }
        self.piece(request, bytes)
    }

    /// The place of the bytes: a signed URL, good for one method, and nothing but it.
    fn elsewhere(&self, request: &Recorded, digest: &str) -> Answer {
        let signed = "method=GET&sig=s3cret";
        if request.header("authorization").is_some() {
            return Answer::new(400, "only one way of authorization is allowed");
        }
        if request.query.as_deref() != Some(signed) || request.method != "GET" {
            return Answer::new(403, "the signature does not match");
        }
        let found = self
            .repositories
            .values()
            .find_map(|repository| repository.blobs.get(digest));
        match found {
            Some(bytes) => self.piece(request, bytes.clone()),
            None => Answer::new(404, "no such key"),
        }
    }

    fn piece(&self, request: &Recorded, bytes: Bytes) -> Answer {
        let length = bytes.len();
        let answer = Answer::new(200, bytes).with("Content-Type", "application/octet-stream");
        let range = request
            .header("range")
            .and_then(|range| range.strip_prefix("bytes="));
        let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
            return answer;
        };
        let (Ok(first), true) = (first.parse::<usize>(), self.manners.ranges) else {
            return answer;
        };
        if first >= length {
            return Answer::new(416, Bytes::new())
                .with("Content-Range", format!("bytes */{length}"));
        }
        let end = last
            .parse::<usize>()
            .map_or(length, |last| (last + 1).min(length));
        let body = answer.body.slice(first..end);
        Answer {
            status: 206,
            body,
            ..answer
        }
        .with(
            "Content-Range",
            format!("bytes {first}-{}/{length}", end - 1),
        )
    }

    fn tags(&self, request: &Recorded, name: &str) -> Answer {
        let manners = &self.manners;
        let query: HashMap<String, String> =
            form_urlencoded::parse(request.query.as_deref().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let asked: usize = query
            .get("n")
            .and_then(|n| n.parse().ok())
            .unwrap_or(usize::MAX);
        if manners
            .most_tags
            .is_some_and(|most| asked > most && asked != usize::MAX)
        {
            return error(400, "UNSUPPORTED");
        }
        if manners.links == Links::Cursor && query.contains_key("last") {
            return error(405, "UNSUPPORTED");
        }
        let all: Vec<&String> = self.repositories[name].tags.keys().collect();
        let cursor = query
            .get("next")
            .and_then(|cursor| cursor.strip_prefix("opaque-"));
        let start = match (cursor, query.get("last")) {
            (Some(cursor), _) => cursor.parse().unwrap_or(0),
            (None, Some(last)) => all.partition_point(|tag| *tag <= last),
            (None, None) => 0,
        };
        let count = match manners.page {
            0 => all.len(),
            page => page.min(asked),
        };
        let end = (start + count).min(all.len());
        let mut body = serde_json::json!({ "name": name, "tags": &all[start..end] });
        if manners.extra_tag_fields {
            body["child"] = serde_json::json!([]);
            body["manifest"] = serde_json::json!({ "sha256:0": { "tag": &all[start..end] } });
        }
        let mut answer = json(200, &body);
        if let Some(target) = &manners.forced_link {
            return answer.with("Link", format!("<{target}>; rel=\"next\""));
        }
        if end < all.len() {
            let last = all[end - 1];
            let path = format!("/v2/{name}/tags/list?n={asked}&last={last}");
            let target = match manners.links {
                Links::Path => path,
                Links::RelativeToFile => format!("list?n={asked}&last={last}"),
                Links::Absolute => format!("{}{path}", self.here),
                Links::WrongScheme => {
                    let host = self.here.split("://").nth(1).unwrap_or_default();
                    let host = host.split(':').next().unwrap_or_default();
                    let scheme = if self.here.starts_with("https") {
                        "http"
                    } else {
                        "https"
                    };
                    format!("{scheme}://{host}{path}")
                }
                Links::Cursor => format!("/v2/{name}/tags/list?n={asked}&next=opaque-{end}"),
            };
            answer = answer.with("Link", format!("<{target}>; rel=\"next\""));
        }
        answer
    }

    fn referrers(&self, name: &str, digest: &str) -> Answer {
        if !self.manners.referrers {
            return Answer::new(404, "404 page not found\n");
        }
        let held = &self.repositories[name].referrers;
        let all = held
            .get(digest)
            .map(|all| all.join(","))
            .unwrap_or_default();
        let body = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{all}]}}"#
        );
        Answer::new(200, body).with("Content-Type", "application/vnd.oci.image.index.v1+json")
    }
}

/// `a/b/manifests/latest` from its right end.
fn split(rest: &str) -> Option<(String, &'static str, String)> {
    for kind in ["manifests", "blobs", "tags", "referrers"] {
        if let Some((name, last)) = rest.rsplit_once(&format!("/{kind}/"))
            && !last.contains('/')
        {
            return Some((name.to_owned(), kind, last.to_owned()));
        }
    }
    None
}

fn json(status: u16, value: &serde_json::Value) -> Answer {
    Answer::new(status, value.to_string()).with("Content-Type", "application/json")
}

fn error(status: u16, code: &str) -> Answer {
    json(
        status,
        &serde_json::json!({ "errors": [{ "code": code, "message": "a fake says no" }] }),
    )
}

/// As a client writes it.
pub(crate) fn basic(user: &str, password: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{user}:{password}");
    let mut out = String::from("Basic ");
    for group in text.as_bytes().chunks(3) {
        let bits = group
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            match place <= group.len() {
                true => out.push(char::from(
                    ALPHABET[(bits >> (18 - 6 * place) & 63) as usize],
                )),
                false => out.push('='),
            }
        }
    }
    out
}

/// The digest that names `bytes`.
pub(super) fn digest(bytes: &[u8]) -> String {
    Digest::of(Algorithm::Sha256, bytes).to_string()
}
