//! Reading an index text from the wire: bounded, unpacked, and given up as soon as it cannot be one.
//!
//! A captive portal's page, a hundred megabytes of noise or a few kilobytes that unpack to gigabytes must cost little and
//! reach no parser.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::http::{ByteStream, header};
use crate::net::Reply;

/// How large an index may be.
#[derive(Clone, Copy, Debug)]
pub struct TextLimits {
    /// Bytes on the wire. Default 128 MiB.
    pub encoded: usize,
    /// Bytes of text. Default 256 MiB.
    pub decoded: usize,
}

impl Default for TextLimits {
    fn default() -> Self {
        Self {
            encoded: 128 << 20,
            decoded: 256 << 20,
        }
    }
}

/// How the bytes of a text are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Plain,
    Gzip,
}

/// Reads the whole text of an index. Every error is an `UpstreamUnavailable` that names the upstream.
pub(super) async fn read(upstream: &str, reply: Reply, limits: &TextLimits) -> Result<Bytes> {
    let coding = reply.header(header::CONTENT_ENCODING).unwrap_or_default();
    let coding = match coding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Coding::Plain,
        "gzip" | "x-gzip" => Coding::Gzip,
        other => {
            return Err(Error::unavailable(format!(
                "upstream `{upstream}` encoded index.yaml as `{other:.40}`, which was not asked for"
            )));
        }
    };
    read_stream(upstream, reply.body, coding, limits).await
}

/// Reads the whole text of an index from a stream of known coding, under the same rules. Errors of the stream are passed on.
pub(super) async fn read_stream(
    upstream: &str,
    mut body: ByteStream,
    coding: Coding,
    limits: &TextLimits,
) -> Result<Bytes> {
    let wrong = |what: String| Error::unavailable(format!("upstream `{upstream}` {what}"));
    let too_large = || {
        wrong(format!(
            "gave an index.yaml of more than {} bytes",
            limits.encoded
        ))
    };
    let announced = body.length.unwrap_or_default();
    if announced > limits.encoded as u64 {
        return Err(too_large());
    }
    let mut text = Text::new(limits.decoded);
    let mut decoder = match coding {
        Coding::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(text))),
        Coding::Plain => {
            // A liar gets no more than a modest piece of memory in advance.
            let expected = usize::try_from(announced).unwrap_or(0);
            text.bytes.reserve_exact(expected.min(MODEST));
            Decoder::Plain(text)
        }
    };
    let mut received = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        received += chunk.len();
        if received > limits.encoded {
            return Err(too_large());
        }
        for piece in chunk.chunks(PIECE) {
            decoder
                .write(piece)
                .map_err(|flaw| wrong(flaw.to_string()))?;
        }
    }
    let text = decoder.finish().map_err(|flaw| wrong(flaw.to_string()))?;
    Ok(text.bytes.into())
}

/// Reads the whole text of an index from a file, under the same rules.
pub(super) fn read_file(
    upstream: &str,
    file: &mut impl Read,
    limits: &TextLimits,
) -> Result<Bytes> {
    let mut text = Text::new(limits.decoded);
    let read = io::copy(file, &mut text).and_then(|_| text.look(true));
    match read {
        Ok(()) => Ok(text.bytes.into()),
        Err(error) if is_finding(&error) => {
            Err(Error::unavailable(format!("upstream `{upstream}` {error}")))
        }
        Err(error) => Err(Error::unavailable(format!(
            "upstream `{upstream}` cannot read its index.yaml"
        ))
        .with_source(error)),
    }
}

enum Decoder {
    Plain(Text),
    Gzip(Box<MultiGzDecoder<Text>>),
}

impl Decoder {
    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(text) => text.write_all(piece),
            Self::Gzip(decoder) => decoder.write_all(piece).map_err(unpacking),
        }
    }

    /// The whole text; fails where the last gzip member has no end.
    fn finish(self) -> io::Result<Text> {
        let mut text = match self {
            Self::Plain(text) => text,
            Self::Gzip(decoder) => decoder.finish().map_err(unpacking)?,
        };
        text.look(true)?;
        // It lives as long as it takes to parse it; room for growth would count twice.
        text.bytes.shrink_to_fit();
        Ok(text)
    }
}

/// Our own findings pass through the decoder as they are; its own are told as what they are.
fn unpacking(error: io::Error) -> io::Error {
    match is_finding(&error) {
        true => error,
        false => io::Error::other(Finding(format!(
            "gave an index.yaml whose gzip is broken: {error}"
        ))),
    }
}

fn is_finding(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Finding>())
}

/// What arrived so far, and whether its start was looked at.
struct Text {
    bytes: Vec<u8>,
    limit: usize,
    looked: bool,
}

impl Text {
    fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
            looked: false,
        }
    }

    /// Looks at the first bytes once there are enough of them.
    fn look(&mut self, complete: bool) -> io::Result<()> {
        if self.looked || (self.bytes.len() < START && !complete) {
            return Ok(());
        }
        self.looked = true;
        let start = &self.bytes[..self.bytes.len().min(START)];
        let visible = start
            .strip_prefix(b"\xef\xbb\xbf")
            .unwrap_or(start)
            .trim_ascii_start();
        if visible.starts_with(b"<") {
            return Err(finding("gave a web page instead of index.yaml"));
        }
        if start
            .iter()
            .any(|&byte| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r'))
        {
            return Err(finding("gave binary data instead of index.yaml"));
        }
        if complete && visible.is_empty() {
            return Err(finding("gave an empty index.yaml"));
        }
        Ok(())
    }
}

impl Write for Text {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > self.limit {
            let limit = self.limit;
            return Err(io::Error::other(Finding(format!(
                "gave an index.yaml that unpacks to more than {limit} bytes"
            ))));
        }
        if memchr::memchr(0, piece).is_some() {
            return Err(finding("gave binary data instead of index.yaml"));
        }
        self.bytes.extend_from_slice(piece);
        self.look(false)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is wrong with a text, as the rest of a sentence about the upstream.
#[derive(Debug)]
struct Finding(String);

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Finding {}

fn finding(text: &str) -> io::Error {
    io::Error::other(Finding(text.to_owned()))
}

/// How much of the start is looked at.
const START: usize = 1024;
/// Memory reserved on the word of a server.
const MODEST: usize = 32 << 20;
/// How much is decoded between two looks at the limits.
const PIECE: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(pieces: &[&[u8]], limit: usize) -> io::Result<Vec<u8>> {
        let mut decoder = Decoder::Plain(Text::new(limit));
        for piece in pieces {
            decoder.write(piece)?;
        }
        decoder.finish().map(|text| text.bytes)
    }

    #[test]
    fn an_index_passes_untouched() {
        let text = "\u{feff}apiVersion: v1\r\nentries: {}\n# \u{85} and \t are fine\n";
        let (one, two) = text.as_bytes().split_at(5);
        assert_eq!(feed(&[one, two], 1000).expect("text"), text.as_bytes());
    }

    #[test]
    fn pages_noise_and_nothing_are_found() {
        for (body, expected) in [
            (&b" \n\t<!doctype html>"[..], "web page"),
            (b"<?xml version=\"1.0\"?><Error/>", "web page"),
            (b"\x1f\x8b\x08\x00", "binary"),
            (b"apiVersion: v1\x01", "binary"),
            (b" \n", "empty"),
            (b"", "empty"),
        ] {
            let error = feed(&[body], 1000).expect_err("no index");
            assert!(error.to_string().contains(expected), "{error}");
        }
        let late = [&b"a: b\n".repeat(1000)[..], b"\0"].concat();
        assert!(feed(&[&late], 100_000).is_err(), "a NUL anywhere");
    }

    #[test]
    fn the_limit_is_exact() {
        assert!(feed(&[b"12345"], 5).is_ok());
        assert!(feed(&[b"123456"], 5).is_err());
    }

    proptest::proptest! {
        /// However the network cuts it, packed or not, the text is the text.
        #[test]
        fn pieces_make_the_same_text(
            text in "[!-;=-~][ -~\n]{0,3000}",
            size in 1_usize..400,
            packed in proptest::bool::ANY,
        ) {
            let mut decoder = Decoder::Plain(Text::new(4000));
            let mut wire = text.clone().into_bytes();
            if packed {
                decoder = Decoder::Gzip(Box::new(MultiGzDecoder::new(Text::new(4000))));
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&wire).expect("memory takes it");
                wire = encoder.finish().expect("memory takes it");
            }
            for piece in wire.chunks(size) {
                decoder.write(piece).expect("an index");
            }
            assert_eq!(decoder.finish().expect("whole").bytes, text.as_bytes());
        }
    }

    #[test]
    fn a_packed_text_without_its_end_is_broken() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder
            .write_all(&b"a: b\n".repeat(500))
            .expect("memory takes it");
        let wire = encoder.finish().expect("memory takes it");
        let mut decoder = Decoder::Gzip(Box::new(MultiGzDecoder::new(Text::new(4000))));
        decoder
            .write(&wire[..wire.len() - 9])
            .expect("so far so good");
        let error = decoder.finish().err().expect("no end");
        assert!(error.to_string().contains("gzip is broken"), "{error}");
    }
}
