//! Content codings for prepared response variants. Never applied to archives: their bytes are what users trust.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, header};

use crate::error::{Error, Result};

/// A content coding that a response may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`
    Gzip,
    /// `zstd`
    Zstd,
}

impl Coding {
    /// The value of `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The codings that the client asks for by name (RFC 9110 §12.5.3), best first. `*` does not count: helm-like
    /// clients that ask for nothing must never get an encoded body, and nobody sends a lone `*` meaning "compress".
    pub fn accepted(headers: &HeaderMap) -> impl Iterator<Item = Self> {
        let accepts = |coding: &str| {
            headers
                .get_all(header::ACCEPT_ENCODING)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(','))
                .any(|item| names(item, coding))
        };
        let (zstd, gzip) = (accepts("zstd"), accepts("gzip"));
        [(zstd, Self::Zstd), (gzip, Self::Gzip)].into_iter().filter_map(|(accepted, coding)| accepted.then_some(coding))
    }

    /// Compresses `pieces` in order. Blocking: about 100 MB/s.
    pub fn encode(self, pieces: &[Bytes]) -> Result<Bytes> {
        let encoded = match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                pieces.iter().try_for_each(|piece| encoder.write_all(piece)).and_then(|()| encoder.finish())
            }
            Self::Zstd => zstd::Encoder::new(Vec::new(), 3).and_then(|mut encoder| {
                pieces.iter().try_for_each(|piece| encoder.write_all(piece))?;
                encoder.finish()
            }),
        };
        encoded.map(Bytes::from).map_err(|error| Error::internal("compressing in memory failed", error))
    }
}

/// Whether `item` (`gzip`, `gzip;q=0.5`) allows `coding`.
fn names(item: &str, coding: &str) -> bool {
    let (name, weight) = item.split_once(';').unwrap_or((item, ""));
    let refused = weight
        .trim()
        .strip_prefix("q=")
        .is_some_and(|q| q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0));
    name.trim().eq_ignore_ascii_case(coding) && !refused
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn accepted(value: &'static str) -> Vec<Coding> {
        let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, header::HeaderValue::from_static(value))]);
        Coding::accepted(&headers).collect()
    }

    #[test]
    fn only_what_is_asked_for_by_name() {
        assert_eq!(accepted("gzip, deflate"), [Coding::Gzip]);
        assert_eq!(accepted("zstd;q=1.0, gzip;q=0.8"), [Coding::Zstd, Coding::Gzip]);
        assert_eq!(accepted("gzip;q=0"), []);
        assert_eq!(accepted("*"), []);
        assert_eq!(Coding::accepted(&HeaderMap::new()).count(), 0);
    }

    #[test]
    fn both_codings_give_the_bytes_back() {
        let pieces = [Bytes::from_static(b"hello "), Bytes::from_static(b"world")];
        let mut text = String::new();
        let gzip = Coding::Gzip.encode(&pieces).expect("gzip");
        flate2::read::GzDecoder::new(&*gzip).read_to_string(&mut text).expect("gunzip");
        assert_eq!(text, "hello world");
        let zstd = Coding::Zstd.encode(&pieces).expect("zstd");
        assert_eq!(zstd::decode_all(&*zstd).expect("unzstd"), b"hello world");
    }
}
