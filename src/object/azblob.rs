//! Azure Blob Storage. Without an account key Azure's default chain counts: environment, workload and managed identity.

use opendal::services::Azblob as Builder;
use opendal::{Operator, Result};

use super::service::{LARGEST_PUT, Seconds, Tag, Traits};
use super::variable;
use crate::config::Azblob;

pub(super) const TRAITS: Traits = Traits {
    tag: Tag::Etag,
    seconds: Seconds::Floor,
    largest_put: LARGEST_PUT,
};

pub(super) const CREDENTIALS: &str =
    "`account_name` and `account_key`, or AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_ACCESS_KEY";

/// The account's URL; `None` where neither it nor the account is known.
pub(super) fn endpoint(config: &Azblob) -> Option<String> {
    let from_account = || {
        let account = account(config)?;
        // ChartMuseum's variable for Azure's clouds of single countries.
        let base = variable("AZURE_BASE_URL").unwrap_or_else(|| "core.windows.net".to_owned());
        Some(format!("https://{account}.blob.{base}"))
    };
    let endpoint = config.endpoint.clone().or_else(from_account)?;
    Some(endpoint.trim_end_matches('/').to_owned())
}

pub(super) fn operator(config: &Azblob, endpoint: &str) -> Result<Operator> {
    let mut builder = Builder::default()
        .container(&config.container)
        .endpoint(endpoint);
    if let Some(account) = account(config) {
        builder = builder.account_name(&account);
    }
    let key = config
        .account_key
        .as_ref()
        .map(|key| key.reveal().to_owned());
    if let Some(key) = key.or_else(|| variable("AZURE_STORAGE_ACCESS_KEY")) {
        builder = builder.account_key(&key);
    }
    Operator::new(builder)
}

fn account(config: &Azblob) -> Option<String> {
    config
        .account_name
        .clone()
        .or_else(|| variable("AZURE_STORAGE_ACCOUNT"))
}
