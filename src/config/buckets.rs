//! `type: s3` upstreams: the keys that only buckets have, and whose credentials are used. What a URL means: `bucket_url.rs`.

use super::bucket_url::{Overrides, bucket_name, endpoint_url, locate, region};
use super::section::{Section, Value};
use super::{Client, ObjectStore, S3, Service, Source};

/// Reads the keys that only buckets have. `url` has been taken from `section` already.
pub(super) fn read(
    section: &mut Section<'_>,
    url: Option<&Value<'_>>,
    client: &Client,
) -> Option<Source> {
    let bucket = section
        .take("bucket")
        .map(|value| value.parsed(bucket_name));
    let endpoint = section
        .take("endpoint")
        .map(|value| value.parsed(endpoint_url));
    let region = section.take("region").map(|value| value.parsed(region));
    let path_style = section
        .take("path_style")
        .map(|value| value.parsed(super::units::boolean));
    let credentials = match section.take("auth") {
        Some(value) => credentials(&value),
        // Whoever may write a chartgate.yaml must not get, unsaid, what the machine may read: its instance role or the
        // AWS_* variables of the process are for the hosted store. So nothing is sent unless `auth` says so.
        None => Some(S3 {
            anonymous: true,
            ..S3::default()
        }),
    };
    let overrides = Overrides {
        bucket: settled(bucket)?,
        endpoint: settled(endpoint)?,
        region: settled(region)?,
        path_style: settled(path_style)?,
    };
    let location = url?.parsed_secretly(|text| locate(text, &overrides))?;
    Some(Source::Bucket(Box::new(ObjectStore {
        service: Service::S3(S3 {
            bucket: location.bucket,
            region: Some(location.region),
            endpoint: location.endpoint,
            path_style: location.path_style,
            ..credentials?
        }),
        prefix: location.prefix,
        client: client.clone(),
    })))
}

/// `None` where the key is there and wrong, which was told already.
#[expect(clippy::option_option, reason = "absent and wrong are different here")]
fn settled<T>(key: Option<Option<T>>) -> Option<Option<T>> {
    match key {
        None => Some(None),
        Some(None) => None,
        Some(value) => Some(value),
    }
}

/// `upstreams.<name>.auth` of a bucket.
fn credentials(value: &Value<'_>) -> Option<S3> {
    let mut section = value.section()?;
    let key = section.take("access_key_id");
    let secret = section.secret("secret_access_key", "secret_access_key_file");
    let token = section.secret("session_token", "session_token_file");
    let default_chain = section.boolean("default_chain", false);
    for other in [
        "username",
        "password",
        "password_file",
        "token",
        "token_file",
    ] {
        section.refuse(
            other,
            "a bucket is read with `access_key_id` and `secret_access_key_file`",
        );
    }
    let key = settled(key.map(|value| value.parsed(access_key)));
    let read = key.and_then(|key| Some((key, secret.ok()?, token.ok()?)));
    let credentials = read.and_then(|read| match (read, default_chain) {
        ((None, None, None), true) => Some(S3::default()),
        (_, true) => {
            section.mistake("`default_chain` and keys contradict each other; keep one");
            None
        }
        ((Some(key), Some(secret), token), false) => Some(S3 {
            access_key_id: Some(key),
            secret_access_key: Some(secret),
            session_token: token,
            ..S3::default()
        }),
        ((None, None, None), false) => {
            section.mistake(
                "give `access_key_id` and `secret_access_key_file`, or `default_chain: true` for the machine's own \
                 credentials; without `auth` nothing is sent",
            );
            None
        }
        ((Some(_), None, _), false) => {
            section
                .mistake("`access_key_id` needs `secret_access_key_file` or `secret_access_key`");
            None
        }
        ((None, ..), false) => {
            section.mistake("`access_key_id` is missing");
            None
        }
    });
    section.finish();
    credentials
}

fn access_key(text: &str) -> Result<String, String> {
    match !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b','))
    {
        true => Ok(text.to_owned()),
        false => Err("an access key has no spaces, `/` or `,`".into()),
    }
}
