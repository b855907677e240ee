//! Bodies that are small: forms and documents, read whole.

use bytes::{Bytes, BytesMut};

use crate::error::{Error, ErrorKind, Result};
use crate::http::RequestBody;

/// The whole of `body`, which is a `what` of at most `most` bytes. Errors: it has more ([`ErrorKind::TooLarge`]); the client left.
pub(super) async fn read(body: &mut dyn RequestBody, most: usize, what: &str) -> Result<Bytes> {
    let too_large = || {
        Error::new(
            ErrorKind::TooLarge,
            format!("the {what} is larger than {most} bytes"),
        )
    };
    if body.length().is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    let mut text = BytesMut::new();
    while let Some(chunk) = body.chunk().await? {
        if text.len() + chunk.len() > most {
            return Err(too_large());
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text.freeze())
}
