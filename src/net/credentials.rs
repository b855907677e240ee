//! Credentials: those in URLs, taken out so that they are neither kept nor shown, and those in `Authorization`.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::{Secret, UpstreamAuth};
use crate::error::{Error, Result};
use crate::http::HeaderValue;

/// The value of `Authorization` for a user and a password (RFC 7617). Errors: none that text can cause.
pub fn basic(user: &str, password: &Secret) -> Result<HeaderValue> {
    let text = format!("{user}:{}", password.reveal());
    sensitive(&format!("Basic {}", base64(text.as_bytes())))
}

/// The value of `Authorization` for a token. Errors: it holds what no header can.
pub fn bearer(token: &Secret) -> Result<HeaderValue> {
    sensitive(&format!("Bearer {}", token.reveal()))
}

fn sensitive(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text).map_err(|error| {
        Error::invalid("credentials hold what no header can").with_source(error)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// RFC 4648 §4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for place in 0..4 {
            if place > group.len() {
                text.push('=');
            } else {
                let six = (bits >> (18 - 6 * place)) & 63;
                text.push(char::from(ALPHABET[six as usize]));
            }
        }
    }
    text
}

/// The credentials in a URL (`https://user:password@host/`).
pub(super) fn userinfo(url: &Url) -> Option<UpstreamAuth> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some(UpstreamAuth::Basic(
        decode(url.username()),
        Secret::new(decode(url.password().unwrap_or_default())),
    ))
}

/// The URL without its credentials.
pub(super) fn anonymous(url: &Url) -> Url {
    let mut url = url.clone();
    // Both fail only for URLs without a host, which have no credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        let value = basic("me", &Secret::new("p\u{e4} ss")).expect("a header");
        assert_eq!(value, "Basic bWU6cMOkIHNz");
        assert!(value.is_sensitive() && bearer(&Secret::new("a\nb")).is_err());
    }

    #[test]
    fn credentials_are_decoded_and_taken_out() {
        let url = Url::parse("https://me%40corp:p%3Aw@h:8443/a%20b?c").expect("a URL");
        let Some(UpstreamAuth::Basic(user, password)) = userinfo(&url) else {
            panic!("there are some")
        };
        assert_eq!((user.as_str(), password.reveal()), ("me@corp", "p:w"));
        assert_eq!(anonymous(&url).as_str(), "https://h:8443/a%20b?c");
        assert!(userinfo(&anonymous(&url)).is_none());
    }
}
