//! Tencent COS. Without keys in the configuration `TENCENT_CLOUD_COS_SECRET_ID` and `…_KEY` count, then the default chain.

use opendal::services::Cos as Builder;
use opendal::{Operator, Result};

use super::service::{LARGEST_PUT, Seconds, Tag, Traits};
use super::variable;
use crate::config::Cos;

pub(super) const TRAITS: Traits = Traits {
    tag: Tag::Etag,
    seconds: Seconds::Floor,
    largest_put: LARGEST_PUT,
};

pub(super) const CREDENTIALS: &str =
    "`secret_id` and `secret_key`, or TENCENT_CLOUD_COS_SECRET_ID and TENCENT_CLOUD_COS_SECRET_KEY";

pub(super) fn operator(config: &Cos, endpoint: &str) -> Result<Operator> {
    let mut builder = Builder::default()
        .bucket(&config.bucket)
        .endpoint(&super::with_scheme(endpoint));
    let id = config
        .secret_id
        .clone()
        .or_else(|| variable("TENCENT_CLOUD_COS_SECRET_ID"));
    if let Some(id) = id {
        builder = builder.secret_id(&id);
    }
    let key = config
        .secret_key
        .as_ref()
        .map(|key| key.reveal().to_owned());
    if let Some(key) = key.or_else(|| variable("TENCENT_CLOUD_COS_SECRET_KEY")) {
        builder = builder.secret_key(&key);
    }
    Operator::new(builder)
}
