//! Objects behind http and https URLs, as indexes name them: which bytes, resumed how.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use url::Url;

use super::Download;
use super::edition::{Edition, Editions, content_range};
use super::stream::cut;
use crate::error::{Error, Result};
use crate::http::{ByteStream, HeaderMap, HeaderValue, StatusCode, header};
use crate::net::{Client, GetOptions};

/// Opens what an upstream's index names by http and https URLs.
pub(super) struct HttpFiles {
    name: Arc<str>,
    client: Client,
    opened: Editions<Edition>,
}

impl HttpFiles {
    /// Reads through `client` on behalf of the upstream `name`.
    pub(super) fn new(name: Arc<str>, client: Client) -> Self {
        Self {
            name,
            client,
            opened: Editions::default(),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Opens the object behind `url` from byte `offset` on; see [`super::Upstream::open`].
    pub(super) async fn open(&self, url: &str, offset: u64) -> Result<Download> {
        let parsed = Url::parse(url).map_err(|error| {
            self.useless("has an index entry whose URL cannot be understood")
                .with_source(error)
        })?;
        let known = (offset > 0).then(|| self.opened.recall(url)).flatten();
        let mut headers = HeaderMap::new();
        // Digests and lengths are those of the bytes that are there.
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        if offset > 0 {
            if let Ok(range) = HeaderValue::from_str(&format!("bytes={offset}-")) {
                headers.insert(header::RANGE, range);
            }
            if let Some(etag) = known.as_ref().and_then(Edition::strong_etag) {
                headers.insert(header::IF_RANGE, etag.clone());
            }
        }
        let options = GetOptions {
            headers,
            ..GetOptions::default()
        };
        let reply = self.client.get(&parsed, options).await?;
        let range = reply.header(header::CONTENT_RANGE).and_then(content_range);
        let (start, length) = match (reply.status, range) {
            (StatusCode::OK, _) => (0, reply.body.length),
            (StatusCode::PARTIAL_CONTENT, Some((start, total)))
                if start == offset && offset > 0 =>
            {
                (start, total)
            }
            (status, _) => {
                let answer = format!("answered {} to a request for other bytes", status.as_u16());
                return Err(self.useless(&answer));
            }
        };
        let edition = Edition::of(&reply, length);
        match &known {
            Some(known) if known.differs(&edition) => {
                return Err(self.useless("changed an archive while it was being read"));
            }
            _ if offset == 0 => self.opened.remember(url, edition),
            _ => {}
        }
        let body = match offset {
            0 => self.sniffed(reply.body).await?,
            _ => cut(reply.body, offset - start..u64::MAX),
        };
        Ok(Download { length, body })
    }

    /// Looks at the first bytes: nothing in a chart repository starts like a web page, and nothing is empty.
    async fn sniffed(&self, mut body: ByteStream) -> Result<ByteStream> {
        let length = body.length;
        let first = loop {
            match body.next().await.transpose()? {
                Some(chunk) if chunk.is_empty() => {}
                other => break other,
            }
        };
        let Some(first) = first else {
            return Err(self.useless("answered 200 with nothing where an archive should be"));
        };
        if first.trim_ascii_start().starts_with(b"<") {
            return Err(self.useless("answered 200 with a web page where an archive should be"));
        }
        let chunks = stream::iter([Ok(first)]).chain(body.stream);
        Ok(ByteStream::new(chunks, length))
    }

    fn useless(&self, what: &str) -> Error {
        useless(&self.name, what)
    }
}

/// An upstream that answered, and not what it was asked for.
pub(super) fn useless(name: &str, what: &str) -> Error {
    Error::unavailable(format!("upstream `{name}` {what}"))
}
