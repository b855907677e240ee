//! Alibaba Cloud OSS. Without keys in the configuration `ALIBABA_CLOUD_ACCESS_KEY_ID` and `…_SECRET` count, then the default
//! chain.

use opendal::services::Oss as Builder;
use opendal::{Operator, Result};

use super::service::{LARGEST_PUT, Seconds, Tag, Traits};
use crate::config::Oss;

pub(super) const TRAITS: Traits = Traits {
    tag: Tag::Etag,
    seconds: Seconds::Floor,
    largest_put: LARGEST_PUT,
};

pub(super) const CREDENTIALS: &str = "`access_key_id` and `access_key_secret`, or ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET";

pub(super) fn operator(config: &Oss) -> Result<Operator> {
    let endpoint = config.endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT);
    let mut builder = Builder::default()
        .bucket(&config.bucket)
        .endpoint(&super::with_scheme(endpoint));
    if let Some(id) = &config.access_key_id {
        builder = builder.access_key_id(id);
    }
    if let Some(secret) = &config.access_key_secret {
        builder = builder.access_key_secret(secret.reveal());
    }
    if let Some(encryption) = &config.server_side_encryption {
        builder = builder.server_side_encryption(encryption);
    }
    Operator::new(builder)
}

/// As ChartMuseum's.
const DEFAULT_ENDPOINT: &str = "https://oss-cn-hangzhou.aliyuncs.com";
