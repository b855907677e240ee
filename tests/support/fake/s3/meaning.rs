//! What a request asks of the service.

use percent_encoding::percent_decode_str;

use crate::support::fake::Recorded;

/// Which requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// All of them.
    All,
    /// Any page of a listing.
    List,
    /// This page of a listing, counted from one.
    Page(usize),
    /// GET of any object.
    Read,
    /// GET of a `….tgz`.
    Archives,
    /// HEAD of any object.
    Head,
    /// GET or HEAD of exactly this key.
    Get(String),
    /// Whatever writes an object: PUT, the parts of an upload, its start and its end.
    Write,
    /// PUT of a whole object.
    Put,
    /// PUT of exactly this key.
    PutOf(String),
    /// PUT of a part.
    Part,
    /// The end of a multipart upload, which makes the object.
    Complete,
    /// DELETE of an object.
    Remove,
    /// Everything about exactly this key.
    Key(String),
}

impl On {
    /// Whether a request is meant.
    pub(super) fn covers(&self, request: &Meaning) -> bool {
        use Operation as Op;
        let is = |operation| request.operation == operation;
        match self {
            Self::All => true,
            Self::List => matches!(request.operation, Op::List { .. }),
            Self::Page(number) => matches!(request.operation, Op::List { page } if page == *number),
            Self::Read => is(Op::Get),
            Self::Archives => is(Op::Get) && request.key.ends_with(".tgz"),
            Self::Head => is(Op::Head),
            Self::Get(key) => (is(Op::Get) || is(Op::Head)) && request.key == *key,
            Self::Write => is(Op::Put) || is(Op::Initiate) || is(Op::Part) || is(Op::Complete),
            Self::Put => is(Op::Put),
            Self::PutOf(key) => is(Op::Put) && request.key == *key,
            Self::Part => is(Op::Part),
            Self::Complete => is(Op::Complete),
            Self::Remove => is(Op::Delete) || is(Op::DeleteMany),
            Self::Key(key) => request.key == *key,
        }
    }
}

/// A request in the service's terms.
#[derive(Clone, Debug)]
pub(super) struct Meaning {
    pub(super) bucket: String,
    /// Decoded; empty for the bucket itself.
    pub(super) key: String,
    pub(super) operation: Operation,
    query: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    List { page: usize },
    HeadBucket,
    Get,
    Head,
    Put,
    Initiate,
    Part,
    Complete,
    Abort,
    Delete,
    DeleteMany,
    Other,
}

impl Meaning {
    pub(super) fn of(request: &Recorded, bucket: &str) -> Self {
        let path = request.path.strip_prefix('/').unwrap_or(&request.path);
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let virtual_host = request
            .header("host")
            .and_then(|host| host.strip_prefix(bucket))
            .is_some_and(|rest| rest.starts_with('.'));
        let (bucket, key) = match virtual_host {
            true => (bucket.to_owned(), decode(path)),
            false => {
                let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
                (decode(bucket), decode(key))
            }
        };
        let query = request.query.as_deref().unwrap_or_default();
        let query = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let mut meaning = Self {
            bucket,
            key,
            operation: Operation::Other,
            query,
        };
        meaning.operation = meaning.operation(&request.method);
        meaning
    }

    fn operation(&self, method: &str) -> Operation {
        let has = |name| self.query(name).is_some();
        match (method, self.key.is_empty()) {
            ("HEAD", true) => Operation::HeadBucket,
            ("GET", true) if !has("location") => Operation::List { page: self.page() },
            ("POST", true) if has("delete") => Operation::DeleteMany,
            ("GET", false) => Operation::Get,
            ("HEAD", false) => Operation::Head,
            ("PUT", false) if has("uploadId") => Operation::Part,
            ("PUT", false) => Operation::Put,
            ("POST", false) if has("uploads") => Operation::Initiate,
            ("POST", false) if has("uploadId") => Operation::Complete,
            ("DELETE", false) if has("uploadId") => Operation::Abort,
            ("DELETE", false) => Operation::Delete,
            _ => Operation::Other,
        }
    }

    /// Continuation tokens are `<page>:<last key>`. Listings of version 1 name the last key only.
    fn page(&self) -> usize {
        let token = self.query("continuation-token");
        match (token, self.query("marker")) {
            (Some(token), _) => token
                .split_once(':')
                .and_then(|(page, _)| page.parse().ok())
                .unwrap_or(0),
            (None, Some(marker)) if !marker.is_empty() => 2,
            (None, _) => 1,
        }
    }

    /// The value of a query parameter.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}
