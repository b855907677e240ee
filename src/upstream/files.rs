//! Objects behind http and https URLs, as indexes name them: which bytes, resumed how.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use url::Url;

use super::Download;
use super::edition::{Edition, Editions, content_range};
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
            _ => skipped(reply.body, offset - start),
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

/// Reads over the first `skip` bytes of a server that does not know ranges.
fn skipped(body: ByteStream, skip: u64) -> ByteStream {
    let length = body.length.map(|length| length.saturating_sub(skip));
    let chunks = body.stream.scan(skip, |left, chunk| {
        let chunk = chunk.map(|mut bytes: Bytes| {
            let over = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
            *left -= over as u64;
            bytes.split_off(over)
        });
        std::future::ready(Some(chunk))
    });
    ByteStream::new(chunks, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn skipping_counts_across_chunks() {
        let chunks = ["abc", "de", "fgh"].map(|text| Ok(Bytes::from(text)));
        let body = ByteStream::new(stream::iter(chunks), Some(8));
        let mut rest = skipped(body, 4);
        assert_eq!(rest.length, Some(4));
        let mut text = Vec::new();
        while let Some(chunk) = rest.next().await {
            text.extend_from_slice(&chunk.expect("no error"));
        }
        assert_eq!(text, b"efgh");
    }
}
