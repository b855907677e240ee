//! Credentials in URLs: read, and taken out so that they are neither kept nor shown.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::{Secret, UpstreamAuth};

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
