//! Announcements of what is being removed, so that removing and using again never cross unseen, whichever machine does what.
//!
//! Whoever removes contents announces them first and looks at their age afterwards; whoever uses old contents again makes them
//! young first and looks at the announcements afterwards. One of the two sees the other: either the contents are spared, or
//! their user waits until they are gone and knows it. An announcement is a promise with an end: nothing is removed under one
//! that is almost over, so one that a dead process left behind stops nobody for long.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::uploads::Random;
use super::{RegistryStore, layout};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::object::Existing;
use crate::oci;

/// Contents that are being removed.
#[derive(Debug, Serialize, Deserialize)]
struct Doomed {
    /// Nothing is removed after this time.
    until: Timestamp,
    contents: Vec<oci::Digest>,
}

/// The right to remove what was announced.
#[derive(Debug)]
pub(super) struct Announcement {
    key: String,
    until: Timestamp,
}

impl Announcement {
    /// Whether there is time to remove something more. A single removal takes less than what is left then.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

impl RegistryStore {
    /// Tells everybody that `contents` are going to be removed. Whoever calls this looks at the age of each afterwards.
    pub(super) async fn announce(&self, contents: &[Digest]) -> Result<Announcement> {
        let key = format!("{}/{}", layout::DOOMED, Random::system().id()?);
        let until = self.after(LEASE);
        let doomed = Doomed {
            until,
            contents: contents.iter().copied().map(oci::Digest::from).collect(),
        };
        let text = serde_json::to_vec(&doomed)
            .map_err(|error| Error::internal("an announcement cannot be written", error))?;
        let place = &self.place;
        place.write(&key, text.into(), Existing::Refuse).await?;
        Ok(Announcement { key, until })
    }

    /// Ends an announcement: what was to be removed is gone, or stays.
    pub(super) async fn withdraw(&self, announcement: &Announcement) -> Result<()> {
        self.place.remove(&announcement.key).await
    }

    /// Waits until nobody is removing `content`; whether somebody was. To be called after the content was made young.
    ///
    /// Errors: `UpstreamUnavailable` where it takes too long; the same request may succeed later.
    pub(super) async fn spared(&self, content: &Digest) -> Result<bool> {
        let give_up = Instant::now() + PATIENCE;
        let mut waited = false;
        while self.is_doomed(content).await? {
            waited = true;
            if Instant::now() >= give_up {
                return Err(Error::unavailable(format!(
                    "unused bytes of `{content}` are being removed just now; push again in a minute"
                ))
                .with_retry_after(PATIENCE));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(waited)
    }

    async fn is_doomed(&self, content: &Digest) -> Result<bool> {
        let content = oci::Digest::from(*content);
        for object in self.place.list(layout::DOOMED).await? {
            let key = format!("{}/{}", layout::DOOMED, object.name);
            let Some((text, _)) = self.place.read(&key, MAX_ANNOUNCEMENT).await? else {
                continue;
            };
            // Somebody else's file; what it says cannot be known, and nobody of ours acts on it.
            let Ok(doomed) = serde_json::from_slice::<Doomed>(&text) else {
                continue;
            };
            let is_over = self.clock.since(doomed.until) > MARGIN;
            if !is_over && doomed.contents.contains(&content) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes announcements of dead processes; how many.
    pub(super) async fn forget_announcements(&self) -> Result<u64> {
        let mut count = 0;
        for object in self.place.list(layout::DOOMED).await? {
            if self.clock.since(object.stamp.modified) > LEASE + 2 * MARGIN {
                let key = format!("{}/{}", layout::DOOMED, object.name);
                self.place.remove(&key).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn after(&self, time: Duration) -> Timestamp {
        let now = self.clock.now();
        SignedDuration::try_from(time)
            .ok()
            .and_then(|time| now.checked_add(time).ok())
            .unwrap_or(now)
    }
}

/// How long one announcement allows to remove.
const LEASE: Duration = Duration::from_mins(3);
/// How much longer than a removal may take, and than clocks of machines differ, an announcement is heeded.
const MARGIN: Duration = Duration::from_mins(5);
/// How long a push waits for the end of a removal.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// An announcement has at most some thousand digests.
const MAX_ANNOUNCEMENT: u64 = 4 << 20;
