//! Amazon S3 and everything that speaks its protocol.
//!
//! Without credentials in the configuration the AWS default chain counts: environment, shared files, SSO, web identity,
//! container and instance metadata.

use opendal::services::S3 as Builder;
use opendal::{Operator, Result};

use super::service::{LARGEST_PUT, Seconds, Tag, Traits};
use super::variable;
use crate::config::S3;

pub(super) const TRAITS: Traits = Traits {
    tag: Tag::Etag,
    seconds: Seconds::Floor,
    largest_put: LARGEST_PUT,
};

pub(super) const CREDENTIALS: &str =
    "`access_key_id` and `secret_access_key`, or what AWS_* variables, files and roles give";

/// The region that requests are signed for; `None`: nobody says.
pub(super) fn region(config: &S3) -> Option<String> {
    let fallback = config.endpoint.as_ref().map(|_| "us-east-1".to_owned());
    config
        .region
        .clone()
        .or_else(|| variable("AWS_REGION"))
        .or_else(|| variable("AWS_DEFAULT_REGION"))
        .or(fallback)
}

pub(super) fn operator(config: &S3, region: &str) -> Result<Operator> {
    let mut builder = Builder::default().bucket(&config.bucket).region(region);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint(endpoint);
    }
    if let Some(id) = &config.access_key_id {
        builder = builder.access_key_id(id);
    }
    if let Some(secret) = &config.secret_access_key {
        builder = builder.secret_access_key(secret.reveal());
    }
    if let Some(token) = &config.session_token {
        builder = builder.session_token(token.reveal());
    }
    if let Some(encryption) = &config.server_side_encryption {
        builder = builder.server_side_encryption(encryption);
    }
    if !config.path_style {
        builder = builder.enable_virtual_host_style();
    }
    if config.anonymous {
        builder = builder.skip_signature();
    }
    Operator::new(builder)
}
