//! The readers of what strangers write about who they are, one function each, for the fuzz targets (`fuzz/`). Not part of any
//! interface: it changes with what it reads.

use super::header::{self, Credentials};
use super::token;
use crate::http::{HeaderMap, HeaderValue};

/// User and password of an `Authorization` field, or the text of a token without a user. `None`: it is refused, or no field could
/// have this value.
pub fn credentials(value: &[u8]) -> Option<(Option<String>, String)> {
    let value = HeaderValue::from_bytes(value).ok()?;
    let headers = HeaderMap::from_iter([(crate::http::header::AUTHORIZATION, value)]);
    match header::read(&headers).ok()?? {
        Credentials::Basic(user, password) => Some((Some(user), password)),
        Credentials::Token(token) => Some((None, token)),
    }
}

/// The algorithm that a token names before anything of it is verified, if one may verify it by that.
pub fn token(text: &str) -> Option<String> {
    token::algorithm_of(text)
}

/// How many keys of a set (RFC 7517 §5) can be used. Errors: none, with the reason.
pub fn key_set(bytes: &[u8]) -> Result<usize, String> {
    token::count_keys(bytes)
}
