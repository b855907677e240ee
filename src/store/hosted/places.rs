//! The buckets that stores live in, opened once for all tenants.

use std::sync::{Mutex, PoisonError};

use crate::clock::Clock;
use crate::config::{ObjectStore, Service};
use crate::error::Result;
use crate::net::Clients;
use crate::object::Bucket;

/// The bucket that was opened last, with what it was opened from: all tenants share its connections and its bounds.
#[derive(Debug, Default)]
pub struct Places(Mutex<Option<(ObjectStore, Bucket)>>);

impl Places {
    /// The bucket that `config` names. Connects to nothing. Errors as [`Bucket::open`].
    pub(in crate::store) fn bucket(
        &self,
        config: &ObjectStore,
        clients: &Clients,
        clock: &Clock,
    ) -> Result<Bucket> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((opened, bucket)) = &*last
            && opened == config
        {
            return Ok(bucket.clone());
        }
        let bucket = Bucket::open(config, clients, clock)?;
        *last = Some((config.clone(), bucket.clone()));
        Ok(bucket)
    }
}

/// Tells one place in the world from another, whatever credentials are used.
pub(in crate::store) fn identity(config: &ObjectStore) -> String {
    let at = |endpoint: &Option<String>| endpoint.clone().unwrap_or_default();
    let (kind, endpoint, bucket) = match &config.service {
        Service::S3(s3) => ("s3", at(&s3.endpoint), &s3.bucket),
        Service::Gcs(gcs) => ("gcs", at(&gcs.endpoint), &gcs.bucket),
        Service::Azblob(azblob) => {
            let account = azblob.account_name.clone().unwrap_or_default();
            (
                "azblob",
                at(&azblob.endpoint) + "#" + &account,
                &azblob.container,
            )
        }
        Service::Oss(oss) => ("oss", at(&oss.endpoint), &oss.bucket),
        Service::Swift(swift) => ("swift", at(&swift.endpoint), &swift.container),
        Service::Cos(cos) => ("cos", at(&cos.endpoint), &cos.bucket),
        Service::Etcd(etcd) => ("etcd", etcd.endpoints.join(","), &config.prefix),
    };
    format!("{kind}\n{endpoint}\n{bucket}\n{}", config.prefix)
}
