//! Errors on the wire: the codes of the distribution specification, and which of them an [`ErrorKind`] is.

use bytes::Bytes;
use serde::Serialize;

use super::tags::to_json;
use crate::error::ErrorKind;
use crate::http::{HeaderName, HeaderValue, Response, StatusCode, header};

/// The codes that clients know (distribution-spec, "Error Codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The blob is not in the repository.
    BlobUnknown,
    /// An upload cannot be continued like this.
    BlobUploadInvalid,
    /// The upload does not exist.
    BlobUploadUnknown,
    /// A digest is malformed, or not that of the bytes.
    DigestInvalid,
    /// A manifest names a blob or manifest that is not in the repository.
    ManifestBlobUnknown,
    /// The manifest is malformed or not acceptable.
    ManifestInvalid,
    /// The manifest or tag is not in the repository.
    ManifestUnknown,
    /// The name of a repository is malformed.
    NameInvalid,
    /// There is no such repository.
    NameUnknown,
    /// A length is wrong.
    SizeInvalid,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// The identity may not do this.
    Denied,
    /// Not possible here.
    Unsupported,
    /// Too often.
    TooManyRequests,
    /// Ours, or an upstream's; not in the specification, but in every implementation.
    Unknown,
}

impl Code {
    /// The word in the envelope.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// What a request was about: the same failure has other codes for other objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A repository as a whole, its tags, or the registry.
    Repository,
    /// A digest in a path or query.
    Digest,
    /// A manifest or tag.
    Manifest,
    /// What a pushed manifest names.
    Reference,
    /// A blob.
    Blob,
    /// An upload that is under way.
    Upload,
}

/// Status and code of a failure of `kind` with what the request was `about`.
pub fn wire(kind: ErrorKind, about: About) -> (StatusCode, Code) {
    match kind {
        ErrorKind::NotFound => match about {
            About::Repository | About::Digest => (StatusCode::NOT_FOUND, Code::NameUnknown),
            About::Manifest => (StatusCode::NOT_FOUND, Code::ManifestUnknown),
            About::Reference => (StatusCode::BAD_REQUEST, Code::ManifestBlobUnknown),
            About::Blob => (StatusCode::NOT_FOUND, Code::BlobUnknown),
            About::Upload => (StatusCode::NOT_FOUND, Code::BlobUploadUnknown),
        },
        // Whoever may not see it and whoever asks for nothing get the same answer.
        ErrorKind::UpstreamDenied => wire(ErrorKind::NotFound, about),
        ErrorKind::Invalid => match about {
            About::Repository => (StatusCode::BAD_REQUEST, Code::NameInvalid),
            About::Digest | About::Blob => (StatusCode::BAD_REQUEST, Code::DigestInvalid),
            About::Manifest | About::Reference => (StatusCode::BAD_REQUEST, Code::ManifestInvalid),
            About::Upload => (StatusCode::BAD_REQUEST, Code::BlobUploadInvalid),
        },
        ErrorKind::DigestMismatch => match about {
            // Somebody sends bytes with a wrong name; otherwise an upstream did.
            About::Upload | About::Reference => (StatusCode::BAD_REQUEST, Code::DigestInvalid),
            About::Repository | About::Digest | About::Manifest | About::Blob => {
                (StatusCode::BAD_GATEWAY, Code::Unknown)
            }
        },
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, Code::Unauthorized),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, Code::Denied),
        ErrorKind::QuotaExceeded => (StatusCode::FORBIDDEN, Code::Denied),
        ErrorKind::Conflict => match about {
            // Two requests write into one upload.
            About::Upload => (StatusCode::CONFLICT, Code::BlobUploadInvalid),
            // An immutable tag: clients show the message of a DENIED.
            About::Repository
            | About::Digest
            | About::Manifest
            | About::Reference
            | About::Blob => (StatusCode::CONFLICT, Code::Denied),
        },
        ErrorKind::OutOfOrder(_) => (StatusCode::RANGE_NOT_SATISFIABLE, Code::BlobUploadInvalid),
        ErrorKind::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            match about {
                About::Manifest | About::Reference => Code::ManifestInvalid,
                About::Repository | About::Digest | About::Blob | About::Upload => {
                    Code::SizeInvalid
                }
            },
        ),
        ErrorKind::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported),
        ErrorKind::Unsupported => (StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported),
        ErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests),
        ErrorKind::UpstreamUnavailable | ErrorKind::UpstreamUnauthorized => {
            (StatusCode::BAD_GATEWAY, Code::Unknown)
        }
        ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown),
    }
}

/// The body of an error.
pub fn envelope(code: Code, message: &str) -> Bytes {
    #[derive(Serialize)]
    struct Envelope<'a> {
        errors: [One<'a>; 1],
    }
    #[derive(Serialize)]
    struct One<'a> {
        code: &'a str,
        message: &'a str,
    }
    let code = code.as_str();
    to_json(&Envelope {
        errors: [One { code, message }],
    })
}

/// The envelope as an answer.
pub fn answer(status: StatusCode, code: Code, message: &str) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    Response::new(status, envelope(code, message)).with_header(header::CONTENT_TYPE, JSON)
}

/// Marks an answer as a registry's: old clients take what lacks this field for none.
pub fn marked(response: Response) -> Response {
    const VERSION: HeaderValue = HeaderValue::from_static("registry/2.0");
    response.with_header(API_VERSION, VERSION)
}

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_failure_has_other_codes_for_other_objects() {
        for (kind, about, status, code) in [
            (ErrorKind::NotFound, About::Repository, 404, "NAME_UNKNOWN"),
            (
                ErrorKind::NotFound,
                About::Manifest,
                404,
                "MANIFEST_UNKNOWN",
            ),
            (ErrorKind::NotFound, About::Blob, 404, "BLOB_UNKNOWN"),
            (
                ErrorKind::NotFound,
                About::Upload,
                404,
                "BLOB_UPLOAD_UNKNOWN",
            ),
            (
                ErrorKind::NotFound,
                About::Reference,
                400,
                "MANIFEST_BLOB_UNKNOWN",
            ),
            (
                ErrorKind::UpstreamDenied,
                About::Manifest,
                404,
                "MANIFEST_UNKNOWN",
            ),
            (ErrorKind::Invalid, About::Repository, 400, "NAME_INVALID"),
            (ErrorKind::Invalid, About::Digest, 400, "DIGEST_INVALID"),
            (ErrorKind::Invalid, About::Manifest, 400, "MANIFEST_INVALID"),
            (
                ErrorKind::DigestMismatch,
                About::Upload,
                400,
                "DIGEST_INVALID",
            ),
            (ErrorKind::DigestMismatch, About::Blob, 502, "UNKNOWN"),
            (
                ErrorKind::TooLarge,
                About::Manifest,
                413,
                "MANIFEST_INVALID",
            ),
            (ErrorKind::Unauthenticated, About::Blob, 401, "UNAUTHORIZED"),
            (ErrorKind::Forbidden, About::Manifest, 403, "DENIED"),
            (
                ErrorKind::RateLimited,
                About::Manifest,
                429,
                "TOOMANYREQUESTS",
            ),
            (
                ErrorKind::MethodNotAllowed("GET"),
                About::Repository,
                405,
                "UNSUPPORTED",
            ),
        ] {
            let (got_status, got_code) = wire(kind, about);
            assert_eq!(
                (got_status.as_u16(), got_code.as_str()),
                (status, code),
                "{kind:?} {about:?}"
            );
        }
    }

    /// An upstream that cannot be asked never makes an object absent.
    #[test]
    fn no_information_is_never_404() {
        for about in [
            About::Repository,
            About::Digest,
            About::Manifest,
            About::Reference,
            About::Blob,
            About::Upload,
        ] {
            for kind in [
                ErrorKind::UpstreamUnavailable,
                ErrorKind::UpstreamUnauthorized,
                ErrorKind::RateLimited,
                ErrorKind::Internal,
            ] {
                assert_ne!(wire(kind, about).0, StatusCode::NOT_FOUND);
            }
        }
    }

    #[test]
    fn messages_are_escaped() {
        let text = envelope(Code::NameInvalid, "`<a>\"\n`");
        assert_eq!(
            &text[..],
            br#"{"errors":[{"code":"NAME_INVALID","message":"`<a>\"\n`"}]}"#
        );
    }
}
