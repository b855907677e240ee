//! How the service answers when all is well.

use bytes::Bytes;
use md5::{Digest as _, Md5};

use super::meaning::{Meaning, Operation};
use super::{State, Stored, Upload, hex};
use crate::support::fake::Recorded;
use crate::support::fake::site::Answer;

impl State {
    /// Does what the request asks for.
    pub(super) fn answer(&mut self, request: &Recorded, meaning: &Meaning, body: Bytes) -> Answer {
        if let Some(refusal) = self.unsigned(request) {
            return refusal;
        }
        if meaning.bucket != self.bucket {
            return refusal(404, "NoSuchBucket", "no such bucket");
        }
        let key = &meaning.key;
        match meaning.operation {
            Operation::List { .. } if !self.may_list => denied(),
            Operation::List { page } => self.listing(meaning, page),
            Operation::HeadBucket => Answer::new(200, Bytes::new()),
            Operation::Get | Operation::Head => self.read(request, key),
            Operation::Put => self.write(request, key, body),
            Operation::Initiate => {
                self.started += 1;
                let id = format!("upload-{}", self.started);
                let text = format!(
                    "<InitiateMultipartUploadResult><Bucket>{}</Bucket><Key>{}</Key><UploadId>{id}</UploadId>\
                     </InitiateMultipartUploadResult>",
                    escaped(&self.bucket),
                    escaped(key)
                );
                let upload = Upload {
                    key: key.clone(),
                    ..Upload::default()
                };
                self.uploads.insert(id, upload);
                xml(200, &text)
            }
            Operation::Part => self.part(meaning, body),
            Operation::Complete => self.complete(request, meaning),
            Operation::Abort => {
                let id = meaning.query("uploadId").unwrap_or_default();
                match self.uploads.remove(id) {
                    Some(_) => Answer::new(204, Bytes::new()),
                    None => refusal(404, "NoSuchUpload", "no such upload"),
                }
            }
            Operation::Delete => {
                self.objects.remove(key);
                Answer::new(204, Bytes::new())
            }
            Operation::DeleteMany => {
                for key in texts(&String::from_utf8_lossy(&body), "Key") {
                    self.objects.remove(&key);
                }
                xml(200, "<DeleteResult></DeleteResult>")
            }
            Operation::Other => refusal(501, "NotImplemented", "the fake does not do this"),
        }
    }

    /// The refusal of a request that is not signed as it must be.
    fn unsigned(&self, request: &Recorded) -> Option<Answer> {
        let expected = self.access_key.as_deref()?;
        let Some(authorization) = request.header("authorization") else {
            return Some(denied());
        };
        let field = |name: &str| {
            let (_, rest) = authorization.split_once(name)?;
            rest.split([',', ' ']).next()
        };
        let scope: Vec<&str> = field("Credential=")
            .unwrap_or_default()
            .split('/')
            .collect();
        let signature = field("Signature=").unwrap_or_default();
        let well_formed = authorization.starts_with("AWS4-HMAC-SHA256 ")
            && matches!(scope[..], [_, _, _, "s3", "aws4_request"])
            && field("SignedHeaders=")
                .is_some_and(|names| names.split(';').any(|name| name == "host"))
            && signature.len() == 64
            && signature.bytes().all(|byte| byte.is_ascii_hexdigit())
            && request.header("x-amz-date").is_some()
            && request.header("x-amz-content-sha256").is_some();
        if !well_formed {
            return Some(refusal(400, "AuthorizationHeaderMalformed", "not SigV4"));
        }
        (scope[0] != expected).then(|| refusal(403, "InvalidAccessKeyId", "no such access key"))
    }

    fn read(&self, request: &Recorded, key: &str) -> Answer {
        let Some(object) = self.objects.get(key).filter(|object| !object.gone) else {
            return match self.may_list {
                true => refusal(404, "NoSuchKey", "no such key"),
                false => denied(),
            };
        };
        let stamped = |answer: Answer| {
            answer
                .with("ETag", &object.etag)
                .with(
                    "Last-Modified",
                    object
                        .modified
                        .strftime("%a, %d %b %Y %H:%M:%S GMT")
                        .to_string(),
                )
                .with("Accept-Ranges", "bytes")
        };
        if request
            .header("if-match")
            .is_some_and(|tag| tag != object.etag)
        {
            return refusal(412, "PreconditionFailed", "another edition");
        }
        if request.header("if-none-match") == Some(&object.etag) {
            return stamped(Answer::new(304, Bytes::new()));
        }
        ranged(object, request.header("range"), stamped)
    }

    fn write(&mut self, request: &Recorded, key: &str, body: Bytes) -> Answer {
        if request.header("content-length").is_none() {
            return refusal(411, "MissingContentLength", "no length");
        }
        if let Some(refusal) = self.exists(request, key) {
            return refusal;
        }
        self.put(key, body);
        Answer::new(200, Bytes::new()).with("ETag", &self.objects[key].etag)
    }

    /// The refusal of a write that wants to be the first.
    fn exists(&self, request: &Recorded, key: &str) -> Option<Answer> {
        let create_only = request.header("if-none-match") == Some("*");
        (create_only && self.objects.contains_key(key))
            .then(|| refusal(412, "PreconditionFailed", "the key exists"))
    }

    fn part(&mut self, meaning: &Meaning, body: Bytes) -> Answer {
        let id = meaning.query("uploadId").unwrap_or_default();
        let number = meaning.query("partNumber").and_then(|n| n.parse().ok());
        match (self.uploads.get_mut(id), number) {
            (Some(upload), Some(number)) => {
                let etag = format!("\"{}\"", hex(&Md5::digest(&body)));
                upload.parts.insert(number, body);
                Answer::new(200, Bytes::new()).with("ETag", etag)
            }
            _ => refusal(404, "NoSuchUpload", "no such upload"),
        }
    }

    fn complete(&mut self, request: &Recorded, meaning: &Meaning) -> Answer {
        let id = meaning.query("uploadId").unwrap_or_default();
        if let Some(refusal) = self.exists(request, &meaning.key) {
            return refusal;
        }
        let Some(upload) = self.uploads.remove(id) else {
            return refusal(404, "NoSuchUpload", "no such upload");
        };
        let mut hashes = Md5::new();
        let mut bytes = Vec::new();
        for part in upload.parts.values() {
            hashes.update(Md5::digest(part));
            bytes.extend_from_slice(part);
        }
        let etag = format!("\"{}-{}\"", hex(&hashes.finalize()), upload.parts.len());
        let text = format!(
            "<CompleteMultipartUploadResult><Key>{}</Key><ETag>{}</ETag></CompleteMultipartUploadResult>",
            escaped(&upload.key),
            escaped(&etag)
        );
        self.put_as(&upload.key, bytes.into(), etag);
        xml(200, &text)
    }
}

/// `bytes=a-b`, `bytes=a-` and `bytes=-n`.
fn ranged(object: &Stored, range: Option<&str>, stamped: impl Fn(Answer) -> Answer) -> Answer {
    let length = object.bytes.len();
    let bounds = range
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'));
    let Some((first, last)) = bounds else {
        return stamped(Answer::new(200, object.bytes.clone()));
    };
    let (start, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(start), Ok(last)) => (start, last.saturating_add(1).min(length)),
        (Ok(start), Err(_)) => (start, length),
        (Err(_), Ok(suffix)) => (length.saturating_sub(suffix), length),
        (Err(_), Err(_)) => return stamped(Answer::new(200, object.bytes.clone())),
    };
    if start >= end {
        return refusal(416, "InvalidRange", "no such bytes");
    }
    stamped(Answer::new(206, object.bytes.slice(start..end))).with(
        "Content-Range",
        format!("bytes {start}-{}/{length}", end - 1),
    )
}

/// An error of the protocol.
pub(super) fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let text = format!(
        "<Error><Code>{code}</Code><Message>{message}</Message><RequestId>fake</RequestId></Error>"
    );
    xml(status, &text)
}

fn denied() -> Answer {
    refusal(403, "AccessDenied", "access denied")
}

pub(super) fn xml(status: u16, text: &str) -> Answer {
    let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    Answer::new(status, format!("{head}{text}")).with("Content-Type", "application/xml")
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The contents of every element called `name`.
fn texts(xml: &str, name: &str) -> Vec<String> {
    xml.split(&format!("<{name}>"))
        .skip(1)
        .filter_map(|rest| rest.split('<').next())
        .map(|text| {
            text.replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&quot;", "\"")
                .replace("&apos;", "'")
                .replace("&amp;", "&")
        })
        .collect()
}
