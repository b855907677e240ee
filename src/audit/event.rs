//! One line of the audit log: what it says, and how it is written so that nothing from outside can forge a second one.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::auth::Identity;
use crate::error::ErrorKind;

/// The longest piece of text in a line, in bytes; the rest is cut. A client chooses names and request ids.
const MAX_TEXT: usize = 512;

/// What was done, or was not: the request itself, a denial, or an action of an operator.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it was answered.
    pub time: Timestamp,
    /// The request's id, as in the access log and in the answer's `X-Request-Id`.
    pub request_id: Box<str>,
    /// `pull`, `push`, `delete`, `admin` or `login`; `request` where a request was none that we know.
    pub action: &'static str,
    /// The route's label, as in metrics and access log; outside of requests what was run: `gc`, `reload`.
    pub route: &'static str,
    /// The tenant's label; absent where the request was about none that exists.
    pub tenant: Option<Arc<str>>,
    /// Who asked.
    pub who: Who,
    /// What it was about, where that is known.
    pub object: Option<Object>,
    /// The digest of what was stored.
    pub digest: Option<Box<str>>,
    /// The client's address; absent on Unix sockets.
    pub address: Option<IpAddr>,
    /// How it ended.
    pub result: Outcome,
    /// The status that was answered; 0: none was.
    pub status: u16,
    /// What went wrong.
    pub error: Option<&'static str>,
    /// How many more like it are not written one by one: see `repeats.rs`.
    pub repeated: u64,
}

/// Who asked. Names and fingerprints, never a secret.
#[derive(Clone, Debug, Serialize)]
pub struct Who {
    /// `anonymous`, `user`, `certificate`, `token`, `api_token`, `operator`; `unknown` where nobody got as far as to ask, or credentials were
    /// wrong.
    pub kind: &'static str,
    /// The name that rules know them by.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "short_name")]
    pub name: Option<Arc<str>>,
    /// Which token: its id, or the beginning of its digest, from which nobody can make the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Box<str>>,
}

impl Who {
    /// Somebody whose credentials were accepted, or who showed none.
    pub fn of(identity: &Identity) -> Self {
        let token = match identity {
            Identity::Token(token) => Some(token.fingerprint().into()),
            Identity::ApiToken(token) => Some(token.id().as_str().into()),
            Identity::Anonymous | Identity::User { .. } | Identity::Certificate { .. } => None,
        };
        Self {
            kind: identity.kind(),
            name: identity.name().cloned(),
            token,
        }
    }

    /// Whoever reaches the admin listener.
    pub fn operator() -> Self {
        Self::named("operator")
    }

    /// Somebody whom we do not know.
    pub fn unknown() -> Self {
        Self::named("unknown")
    }

    fn named(kind: &'static str) -> Self {
        Self {
            kind,
            name: None,
            token: None,
        }
    }
}

/// What a request was about.
#[derive(Clone, Debug, Serialize)]
pub struct Object {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<Box<str>>,
}

impl Object {
    /// A version of a chart.
    pub fn chart(name: &str, version: &str) -> Self {
        Self::new("chart", name, Some(version))
    }

    /// A file of a chart repository by its name.
    pub fn file(name: &str) -> Self {
        Self::new("file", name, None)
    }

    /// A repository of images, and the tag, digest or upload in it.
    pub fn repository(name: &str, reference: Option<&str>) -> Self {
        Self::new("repository", name, reference)
    }

    /// Something of the gateway's own, such as an upstream.
    pub fn own(kind: &'static str, name: &str, reference: Option<&str>) -> Self {
        Self::new(kind, name, reference)
    }

    fn new(kind: &'static str, name: &str, reference: Option<&str>) -> Self {
        let text = |text: &str| (!text.is_empty()).then(|| cut(text).into());
        Self {
            kind,
            name: text(name),
            reference: reference.and_then(text),
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done, and is durable.
    Done,
    /// Refused: who is this, may he, too often.
    Denied,
    /// Allowed, and not done.
    Failed,
    /// The connection was cut, or something broke, before there was an answer: it may have been done or not.
    Unknown,
}

/// The words of [`ErrorKind`]s in the log. Part of its format: do not rename one.
pub fn error_word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "not_found",
        ErrorKind::Unauthenticated => "unauthenticated",
        ErrorKind::Forbidden => "forbidden",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Invalid => "invalid",
        ErrorKind::MethodNotAllowed(_) => "method_not_allowed",
        ErrorKind::OutOfOrder(_) => "out_of_order",
        ErrorKind::TooLarge => "too_large",
        ErrorKind::RateLimited => "rate_limited",
        ErrorKind::QuotaExceeded => "quota_exceeded",
        ErrorKind::UpstreamUnavailable => "upstream_unavailable",
        ErrorKind::UpstreamUnauthorized => "upstream_unauthorized",
        ErrorKind::UpstreamDenied => "upstream_denied",
        ErrorKind::DigestMismatch => "digest_mismatch",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Internal => "internal",
    }
}

/// A line as it is written, in the order of its fields.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
    action: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    route: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    who: &'a Who,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a Object>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    result: Outcome,
    #[serde(skip_serializing_if = "is_zero")]
    status: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    repeated: u64,
}

/// That lines are missing here, and how many.
#[derive(Serialize)]
struct Gap {
    time: String,
    action: &'static str,
    result: &'static str,
    lost: u64,
}

impl Event {
    /// What an operator did otherwise than by a request: a command, a signal.
    pub fn by_operator(
        time: Timestamp,
        action: &'static str,
        route: &'static str,
        result: Outcome,
    ) -> Self {
        Self {
            time,
            request_id: Box::default(),
            action,
            route,
            tenant: None,
            who: Who::operator(),
            object: None,
            digest: None,
            address: None,
            result,
            status: 0,
            error: None,
            repeated: 0,
        }
    }

    /// The line, with its end.
    pub(super) fn render(&self) -> Vec<u8> {
        line(&Line {
            time: time(self.time),
            request_id: cut(&self.request_id),
            action: self.action,
            route: self.route,
            tenant: self.tenant.as_deref().map(cut),
            who: &self.who,
            object: self.object.as_ref(),
            digest: self.digest.as_deref().map(cut),
            address: self.address.map(|address| address.to_canonical()),
            result: self.result,
            status: self.status.into(),
            error: self.error,
            repeated: self.repeated,
        })
    }
}

/// The line that says that `lost` lines could not be written.
pub(super) fn gap(now: Timestamp, lost: u64) -> Vec<u8> {
    line(&Gap {
        time: time(now),
        action: "audit",
        result: "lost",
        lost,
    })
}

/// Milliseconds, always: lines sort as text.
fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// JSON in ASCII. Line ends are more than `\n` to some readers (U+0085, U+2028), and marks of direction make one name look like
/// another, so everything else is escaped.
fn line(value: &impl Serialize) -> Vec<u8> {
    // Strings and numbers only: nothing that could fail.
    let json = serde_json::to_string(value).unwrap_or_default();
    let mut line = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if matches!(c, ' '..='~') {
            line.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(line, "\\u{unit:04x}");
        }
    }
    line.push('\n');
    line.into_bytes()
}

/// As much of `text` as a line holds.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn short_name<S: Serializer>(name: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    name.as_deref().map(cut).serialize(serializer)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            time: Timestamp::from_millisecond(1_800_000_000_007).expect("a time"),
            request_id: "r-1".into(),
            action: "push",
            route: "upload",
            tenant: Some("acme".into()),
            who: Who {
                kind: "user",
                name: Some("ci".into()),
                token: None,
            },
            object: Some(Object::chart("app", "1.2.3")),
            digest: Some("sha256:00".into()),
            address: Some("::ffff:192.0.2.7".parse().expect("an address")),
            result: Outcome::Done,
            status: 201,
            error: None,
            repeated: 0,
        }
    }

    fn text(event: &Event) -> String {
        String::from_utf8(event.render()).expect("text")
    }

    #[test]
    fn a_line_says_who_did_what_where_and_how_it_ended() {
        assert_eq!(
            text(&event()),
            concat!(
                r#"{"time":"2027-01-15T08:00:00.007Z","request_id":"r-1","action":"push","route":"upload","tenant":"acme","#,
                r#""who":{"kind":"user","name":"ci"},"object":{"kind":"chart","name":"app","reference":"1.2.3"},"#,
                r#""digest":"sha256:00","address":"192.0.2.7","result":"done","status":201}"#,
                "\n"
            )
        );
    }

    #[test]
    fn nothing_from_outside_makes_a_second_line_or_field() {
        let evil = "x\",\"result\":\"done\"}\r\n{\"time\":\0\u{7f}\u{85}\u{2028}\u{2029}\u{202e}\u{1b}[2J\u{1f600}\\";
        let mut event = event();
        event.request_id = evil.into();
        event.tenant = Some(evil.into());
        event.who.name = Some(evil.into());
        event.object = Some(Object::chart(evil, evil));
        event.digest = Some(evil.into());
        event.result = Outcome::Denied;
        let line = text(&event);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.ends_with('\n'));
        assert!(line.trim_end().bytes().all(|b| matches!(b, b' '..=b'~')));
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["result"], "denied");
        for found in [
            &value["request_id"],
            &value["tenant"],
            &value["who"]["name"],
            &value["object"]["name"],
            &value["object"]["reference"],
            &value["digest"],
        ] {
            assert_eq!(found, evil);
        }
    }

    #[test]
    fn texts_are_bounded_at_a_character() {
        let long = "\u{e4}".repeat(100_000);
        let mut event = event();
        event.request_id = long.as_str().into();
        event.tenant = Some(long.as_str().into());
        event.who.name = Some(long.as_str().into());
        event.object = Some(Object::repository(&long, Some(&long)));
        event.digest = Some(long.as_str().into());
        // Six bytes for two, six times.
        assert!(event.render().len() < 12_000);
    }

    #[test]
    fn a_gap_is_told() {
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        assert_eq!(
            String::from_utf8(gap(now, 7)).expect("text"),
            "{\"time\":\"2027-01-15T08:00:00.000Z\",\"action\":\"audit\",\"result\":\"lost\",\"lost\":7}\n"
        );
    }
}
