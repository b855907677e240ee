//! Who asks, and what they may do.
//!
//! [`Authenticator`] turns a request's credentials into an [`Identity`]; [`Policy`] says what an identity may do in one
//! tenant. Neither knows routes, repositories or how an answer is worded on the wire.

mod hash;
mod policy;
mod users;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

pub use self::hash::{bcrypt_line, check_user_name};
pub use self::policy::{Decision, Granted, Policy};
pub use self::users::Users;
use crate::base64;
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{HeaderMap, Request, header};

/// The value of `WWW-Authenticate` in every 401 (RFC 7617).
pub const CHALLENGE: &str = "Basic realm=\"chartgate\"";

/// Who asks. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Nobody in particular: no credentials were shown.
    Anonymous,
    /// A user of the users file, with the right password.
    User {
        /// The name in the file.
        name: Arc<str>,
    },
    /// The holder of a verified client certificate.
    Certificate {
        /// The certificate's subject.
        subject: Arc<str>,
    },
}

impl Identity {
    /// `anonymous`, `user` or `certificate`: the label for logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::User { .. } => "user",
            Self::Certificate { .. } => "certificate",
        }
    }

    /// What rules call them: the user's name or the certificate's subject.
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Anonymous => None,
            Self::User { name } => Some(name),
            Self::Certificate { subject } => Some(subject),
        }
    }

    /// How the log calls them; owned only where there is a name.
    pub fn log_name(&self) -> Cow<'static, str> {
        self.name()
            .map_or(Cow::Borrowed("anonymous"), |name| name.to_string().into())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().map_or("anonymous", AsRef::as_ref))
    }
}

/// Verifies the credentials of requests. Shared behind an `Arc`, one per gateway.
#[derive(Debug)]
pub struct Authenticator {
    users: Option<Users>,
}

impl Authenticator {
    /// Opens what `auth:` names. Errors: the users file cannot be read. Blocking.
    pub fn open(auth: &config::Auth, clock: &Clock) -> Result<Self> {
        let users = match &auth.users_file {
            Some(path) => Some(Users::open(path, clock.clone())?),
            None => None,
        };
        Ok(Self { users })
    }

    /// Who sends `request`. No credentials: the client certificate's subject, else anonymous.
    ///
    /// Credentials that are malformed or wrong are [`ErrorKind::Unauthenticated`], also where anonymous clients may do the
    /// same: a typing error must not look like a missing chart. Without any users configured, credentials are not looked
    /// at, because then they are meant for somebody else, such as a proxy in front. Cancel-safe.
    pub async fn authenticate(&self, request: &Request) -> Result<Identity> {
        self.identify(&request.headers, request.certificate_subject.as_ref())
            .await
    }

    /// As [`Authenticator::authenticate`], from the parts of a request that count.
    pub async fn identify(
        &self,
        headers: &HeaderMap,
        certificate: Option<&Arc<str>>,
    ) -> Result<Identity> {
        if let Some(users) = &self.users
            && let Some((name, password)) = basic_credentials(headers)?
        {
            let name = users.verify(&name, &password).await?;
            return Ok(Identity::User { name });
        }
        Ok(match certificate {
            Some(subject) => Identity::Certificate {
                subject: Arc::clone(subject),
            },
            None => Identity::Anonymous,
        })
    }
}

/// User name and password of an `Authorization: Basic` field; `None` without the field.
///
/// The scheme's case does not matter (RFC 9110 §11.1). Errors: anything else, two fields included.
fn basic_credentials(headers: &HeaderMap) -> Result<Option<(String, String)>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let malformed = || {
        Error::new(
            ErrorKind::Unauthenticated,
            "the `Authorization` header is malformed; send `Basic` with the base64 of `user:password`",
        )
    };
    if values.next().is_some() {
        return Err(malformed());
    }
    let (scheme, encoded) = value
        .to_str()
        .ok()
        .and_then(|value| value.trim().split_once(' '))
        .ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Error::new(
            ErrorKind::Unauthenticated,
            format!("credentials of the scheme `{scheme:.40}` are not accepted; send `Basic`"),
        ));
    }
    let text = base64::decode(encoded.trim())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(malformed)?;
    let (name, password) = text.split_once(':').ok_or_else(malformed)?;
    Ok(Some((name.to_owned(), password.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeaderValue;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                header::AUTHORIZATION,
                HeaderValue::from_str(value).expect("a value"),
            );
        }
        headers
    }

    async fn with_users() -> (tempfile::TempDir, Authenticator) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("htpasswd");
        // The SHA-1 of `pass:word`; the cheapest scheme keeps the test fast.
        std::fs::write(&file, "ci:{SHA}JfOwpCDy5ASLqp0M24rdutzyYk8=\n").expect("written");
        let auth = config::Auth {
            users_file: Some(file),
            ..config::Auth::default()
        };
        let authenticator = Authenticator::open(&auth, &Clock::system()).expect("opened");
        (folder, authenticator)
    }

    #[tokio::test]
    async fn absent_credentials_are_anonymous_and_bad_ones_are_refused() {
        let (_folder, authenticator) = with_users().await;
        let subject: Arc<str> = Arc::from("CN=node");
        let identity = authenticator.identify(&headers(&[]), None).await;
        assert_eq!(identity.expect("anonymous"), Identity::Anonymous);
        let identity = authenticator.identify(&headers(&[]), Some(&subject)).await;
        assert_eq!(identity.expect("certificate").to_string(), "CN=node");
        for good in [
            "Basic Y2k6cGFzczp3b3Jk",
            "basic  Y2k6cGFzczp3b3Jk ",
            "BASIC Y2k6cGFzczp3b3Jk",
        ] {
            let identity = authenticator
                .identify(&headers(&[good]), Some(&subject))
                .await
                .expect(good);
            assert_eq!(identity.kind(), "user");
            assert_eq!(identity.to_string(), "ci");
        }
        for bad in [
            &["Basic Y2k6d3Jvbmc="][..],
            &["Basic bm9ib2R5OnBhc3M6d29yZA=="],
            &["Basic"],
            &["Basic "],
            &["Basic !!!!"],
            &["Basic Y2k="],
            &["Basic /////w=="],
            &["Bearer abc"],
            &["Y2k6cGFzczp3b3Jk"],
            &[""],
            &["Basic Og=="],
            &["Basic Y2k6cGFzczp3b3Jk", "Basic Y2k6cGFzczp3b3Jk"],
        ] {
            let error = authenticator
                .identify(&headers(bad), Some(&subject))
                .await
                .expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{bad:?}");
            assert!(!error.message().contains("pass:word"), "{error}");
        }
    }

    #[tokio::test]
    async fn credentials_for_somebody_else_are_not_looked_at() {
        let authenticator =
            Authenticator::open(&config::Auth::default(), &Clock::system()).expect("opened");
        let identity = authenticator
            .identify(&headers(&["Bearer for-the-proxy-in-front"]), None)
            .await;
        assert_eq!(identity.expect("anonymous"), Identity::Anonymous);
    }
}
