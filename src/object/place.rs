//! What a place is called, what answers from it mean, and which keys of the configuration to look at.

use std::sync::Arc;
use std::time::Duration;

use super::{azblob, cos, etcd, gcs, oss, s3, swift};
use crate::config::Service;
use crate::error::{Error, ErrorKind};
use crate::http::{HeaderMap, StatusCode, header};
use crate::net::Failure;

/// A place and the words of its section.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// `` s3 bucket `charts` ``.
    pub(super) label: Arc<str>,
    /// The key that names the bucket.
    pub(super) bucket_key: &'static str,
    /// The keys that hold credentials, and where they come from otherwise.
    pub(super) credentials: &'static str,
}

/// The place that `service` is.
pub(super) fn of(service: &Service) -> Place {
    let (kind, bucket_key, bucket, credentials) = match service {
        Service::S3(config) => ("s3", "bucket", &config.bucket, s3::CREDENTIALS),
        Service::Gcs(config) => ("gcs", "bucket", &config.bucket, gcs::CREDENTIALS),
        Service::Azblob(config) => (
            "azblob",
            "container",
            &config.container,
            azblob::CREDENTIALS,
        ),
        Service::Oss(config) => ("oss", "bucket", &config.bucket, oss::CREDENTIALS),
        Service::Swift(config) => ("swift", "container", &config.container, swift::CREDENTIALS),
        Service::Cos(config) => ("cos", "bucket", &config.bucket, cos::CREDENTIALS),
        Service::Etcd(_) => {
            return Place {
                label: "etcd".into(),
                bucket_key: "endpoints",
                credentials: etcd::CREDENTIALS,
            };
        }
    };
    Place {
        label: format!("{kind} {bucket_key} `{bucket}`").into(),
        bucket_key,
        credentials,
    }
}

impl Place {
    /// What an answer to one of our own requests means where it is not for the protocol to say: `None` for success and for
    /// facts about one object (absent, not modified, condition not met, conflict).
    ///
    /// `body` may be empty (HEAD); it is looked at for the service's error code only.
    pub(super) fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        retry_after: Option<Duration>,
    ) -> Option<Failure> {
        let code = error_code(headers, body);
        let label = &self.label;
        let told = match &code {
            Some(code) => format!("{} ({code})", status.as_u16()),
            None => status.as_u16().to_string(),
        };
        let is = |codes: &[&str]| code.as_deref().is_some_and(|code| codes.contains(&code));
        let failure = match status.as_u16() {
            200..=299 | 304 | 409 | 412 | 416 => return None,
            // Google's answer to a part of an upload.
            308 if !headers.contains_key(header::LOCATION) => return None,
            404 if is(&["NoSuchBucket", "ContainerNotFound"]) || no_gcs_bucket(body) => {
                Failure::lasting(self.missing())
            }
            404 => return None,
            300..=399 => Failure::lasting(Error::unavailable(format!(
                "{label} is elsewhere: the service answered {told}{}; check `region` and `endpoint`",
                region_hint(headers)
            ))),
            400 if is(&[
                "AuthorizationHeaderMalformed",
                "IllegalLocationConstraintException",
            ]) =>
            {
                Failure::lasting(Error::unavailable(format!(
                    "{label} is in another region than `region` says: the service answered {told}{}",
                    region_hint(headers)
                )))
            }
            400 if is(&["InvalidBucketName", "InvalidResourceName"]) => {
                Failure::lasting(self.missing())
            }
            413 | 400 if status.as_u16() == 413 || is(&["EntityTooLarge"]) => {
                Failure::lasting(Error::new(
                    ErrorKind::TooLarge,
                    format!("{label} does not take an object of this size: it answered {told}"),
                ))
            }
            400 if is(&["RequestTimeout"]) => Failure {
                error: Error::unavailable(format!("{label} answered {told}")),
                transient: true,
                undone: true,
            },
            _ if is(&["RequestTimeTooSkewed"]) => Failure::lasting(Error::unavailable(format!(
                "{label} refuses requests because the clock of this machine is wrong"
            ))),
            401 | 403 => Failure::lasting(self.refused(&told)),
            400 if is(&["ExpiredToken", "InvalidToken", "TokenRefreshRequired"]) => {
                Failure::lasting(self.refused(&told))
            }
            code @ (408 | 429 | 500 | 502 | 503 | 504) => {
                let mut error = Error::unavailable(match code {
                    429 | 503 => format!("{label} is overloaded: it answered {told}"),
                    _ => format!("{label} answered {told}"),
                });
                if let Some(after) = retry_after {
                    error = error.with_retry_after(after);
                }
                Failure {
                    error,
                    transient: true,
                    undone: matches!(code, 429 | 503),
                }
            }
            _ => Failure::lasting(Error::unavailable(format!("{label} answered {told}"))),
        };
        Some(failure)
    }

    /// The bucket is not there.
    pub(super) fn missing(&self) -> Error {
        Error::unavailable(format!(
            "{} does not exist; check `{}`, or make it",
            self.label, self.bucket_key
        ))
    }

    /// Credentials are wrong or not enough.
    pub(super) fn refused(&self, told: &str) -> Error {
        Error::new(
            ErrorKind::UpstreamUnauthorized,
            format!(
                "{} refuses the credentials: it answered {told}; check {} and what they are allowed to do",
                self.label, self.credentials
            ),
        )
    }

    /// No credentials were found at all.
    pub(super) fn without_credentials(&self) -> Error {
        Error::new(
            ErrorKind::UpstreamUnauthorized,
            format!(
                "{}: no usable credentials were found; set {}",
                self.label, self.credentials
            ),
        )
    }

    /// Somebody has the key already.
    pub(super) fn taken(&self, key: &str) -> Error {
        Error::new(
            ErrorKind::Conflict,
            format!("`{key}` exists already in {}", self.label),
        )
    }
}

/// The service's word for what is wrong: a header of Azure, `<Code>` of XML, `"reason"` of JSON.
fn error_code(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    if let Some(code) = headers.get("x-ms-error-code") {
        return word(code.to_str().ok()?);
    }
    let text = String::from_utf8_lossy(body.get(..MAX_LOOK).unwrap_or(body));
    if let Some((_, rest)) = text.split_once("<Code>") {
        return word(rest.split('<').next()?);
    }
    let (_, rest) = text.split_once("\"reason\"")?;
    word(rest.split('"').nth(1)?)
}

/// Google's JSON has the same reason for a missing bucket and a missing object.
fn no_gcs_bucket(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body.get(..MAX_LOOK).unwrap_or(body));
    text.contains("bucket does not exist")
}

/// What may stand in a message: it came from outside.
fn word(text: &str) -> Option<String> {
    let text = text.trim();
    let plain = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    plain.then(|| text.to_owned())
}

fn region_hint(headers: &HeaderMap) -> String {
    headers
        .get("x-amz-bucket-region")
        .and_then(|value| value.to_str().ok())
        .and_then(word)
        .map(|region| format!(" and says it is in `{region}`"))
        .unwrap_or_default()
}

const MAX_LOOK: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Option<Failure> {
        let place = Place {
            label: "s3 bucket `b`".into(),
            bucket_key: "bucket",
            credentials: "`access_key_id` and `secret_access_key`",
        };
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    crate::http::HeaderName::from_static(name),
                    crate::http::HeaderValue::from_static(value),
                )
            })
            .collect();
        let status = StatusCode::from_u16(status).expect("a status");
        place.judge(status, &headers, body.as_bytes(), None)
    }

    #[test]
    fn facts_about_one_object_are_not_failures() {
        for status in [200, 204, 206, 304, 404, 409, 412, 416] {
            assert!(judge(status, &[], "").is_none(), "{status}");
        }
        let absent = "<Error><Code>NoSuchKey</Code></Error>";
        assert!(judge(404, &[], absent).is_none());
    }

    /// Status, header fields and body; kind, whether it passes, and a part of the message.
    type Row = (
        u16,
        &'static [(&'static str, &'static str)],
        String,
        ErrorKind,
        bool,
        &'static str,
    );

    #[test]
    fn every_other_answer_says_what_to_look_at() {
        let xml = |code: &str| format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        #[rustfmt::skip]
        let table: &[Row] = &[
            (404, &[], xml("NoSuchBucket"), ErrorKind::UpstreamUnavailable, false, "check `bucket`"),
            (404, &[("x-ms-error-code", "ContainerNotFound")], String::new(), ErrorKind::UpstreamUnavailable, false, "does not exist"),
            (404, &[], r#"{"error":{"message":"The specified bucket does not exist."}}"#.into(), ErrorKind::UpstreamUnavailable, false, "does not exist"),
            (403, &[], xml("SignatureDoesNotMatch"), ErrorKind::UpstreamUnauthorized, false, "`secret_access_key`"),
            (403, &[], xml("RequestTimeTooSkewed"), ErrorKind::UpstreamUnavailable, false, "clock"),
            (401, &[], r#"{"error":{"errors":[{"reason":"authError"}]}}"#.into(), ErrorKind::UpstreamUnauthorized, false, "(authError)"),
            (400, &[], xml("ExpiredToken"), ErrorKind::UpstreamUnauthorized, false, "ExpiredToken"),
            (400, &[("x-amz-bucket-region", "eu-west-1")], xml("AuthorizationHeaderMalformed"), ErrorKind::UpstreamUnavailable, false, "`eu-west-1`"),
            (301, &[("x-amz-bucket-region", "eu-west-1")], xml("PermanentRedirect"), ErrorKind::UpstreamUnavailable, false, "`region`"),
            (503, &[], xml("SlowDown"), ErrorKind::UpstreamUnavailable, true, "overloaded"),
            (500, &[], String::new(), ErrorKind::UpstreamUnavailable, true, "answered 500"),
            (413, &[], String::new(), ErrorKind::TooLarge, false, "size"),
            (400, &[], xml("EntityTooLarge"), ErrorKind::TooLarge, false, "size"),
            (400, &[], "<Code>a\nb</Code>".into(), ErrorKind::UpstreamUnavailable, false, "answered 400"),
        ];
        for (status, headers, body, kind, transient, part) in table {
            let failure =
                judge(*status, headers, body).unwrap_or_else(|| panic!("{status} {body}"));
            let message = failure.error.message();
            assert_eq!(failure.error.kind(), *kind, "{message}");
            assert_eq!(failure.transient, *transient, "{message}");
            assert!(message.contains(part), "{message} lacks {part}");
            assert!(message.contains("s3 bucket `b`"), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
