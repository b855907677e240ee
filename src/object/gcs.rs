//! Google Cloud Storage. Without a key file the application default credentials count.

use opendal::services::Gcs as Builder;
use opendal::{Operator, Result};

use super::service::{LARGEST_PUT, Seconds, Tag, Traits};
use crate::config::Gcs;

pub(super) const TRAITS: Traits = Traits {
    tag: Tag::Generation,
    seconds: Seconds::Floor,
    largest_put: LARGEST_PUT,
};

pub(super) const CREDENTIALS: &str = "`credential_file`, or GOOGLE_APPLICATION_CREDENTIALS and what the machine's service account gives";

pub(super) fn operator(config: &Gcs) -> Result<Operator> {
    let mut builder = Builder::default().bucket(&config.bucket);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint(endpoint.trim_end_matches('/'));
    }
    if let Some(path) = &config.credential_file {
        builder = builder.credential_path(&path.to_string_lossy());
    }
    if config.anonymous {
        builder = builder.skip_signature();
    }
    Operator::new(builder)
}
