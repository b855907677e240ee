//! The buckets that stores live in, opened once for all tenants.

use std::sync::{Mutex, PoisonError};

use crate::clock::Clock;
use crate::config::ObjectStore;
use crate::error::Result;
use crate::net::Clients;
use crate::object::Bucket;

/// The bucket that was opened last, with what it was opened from: all tenants share its connections and its bounds.
#[derive(Debug, Default)]
pub struct Places(Mutex<Option<(ObjectStore, Bucket)>>);

impl Places {
    /// The bucket that `config` names. Connects to nothing. Errors as [`Bucket::open`].
    pub(super) fn bucket(
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
