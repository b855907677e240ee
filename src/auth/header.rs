//! Reading `Authorization`: which credentials a request shows, in every form that clients send.

use super::api_token::is_marked;
use crate::base64;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{HeaderMap, header};

/// What a request shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    /// User name and password.
    Basic(String, String),
    /// The text of a token.
    Token(String),
}

/// The credentials of `headers`; `None` without the field.
///
/// The scheme's case does not matter (RFC 9110 §11.1). A token may also stand alone, as ChartMuseum takes it. Errors: anything
/// else, two fields included.
pub(super) fn read(headers: &HeaderMap) -> Result<Option<Credentials>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(malformed());
    }
    let value = value.to_str().map_err(|_| malformed())?.trim();
    let Some((scheme, rest)) = value.split_once(' ') else {
        return if is_token(value) || is_marked(value) {
            Ok(Some(Credentials::Token(value.to_owned())))
        } else {
            Err(malformed())
        };
    };
    if scheme.eq_ignore_ascii_case("basic") {
        basic(rest.trim()).map(Some)
    } else if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Some(Credentials::Token(rest.trim().to_owned())))
    } else {
        Err(Error::new(
            ErrorKind::Unauthenticated,
            format!(
                "credentials of the scheme `{scheme:.40}` are not accepted; send `Basic` or `Bearer`"
            ),
        ))
    }
}

/// Whether `text` has the outer form of a signed token (RFC 7515 §3.1): it then is one, or a very odd password.
pub(super) fn is_token(text: &str) -> bool {
    let mut parts = 0;
    let well_formed = text.split('.').all(|part| {
        parts += 1;
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    });
    // How `{` begins in base64.
    well_formed && parts == 3 && text.starts_with("ey")
}

fn basic(encoded: &str) -> Result<Credentials> {
    let text = base64::decode(encoded)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(malformed)?;
    let (name, password) = text.split_once(':').ok_or_else(malformed)?;
    Ok(Credentials::Basic(name.to_owned(), password.to_owned()))
}

fn malformed() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "the `Authorization` header is malformed; send `Basic` with the base64 of `user:password`, or `Bearer` with a token",
    )
}
