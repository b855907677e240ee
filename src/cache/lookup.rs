//! Looking before fetching: which tier has it, what a name's record says, and what a reader gets from a fill.

use std::sync::Arc;

use super::Cache;
use super::fill::{FillRequest, Promise};
use super::follow::{Follower, State};
use super::links::Mark;
use super::names::{NameRecord, NameState};
use super::object::{Data, Object, Status};
use super::running::Sharing;
use super::tier::{Held, Tier as _};
use crate::config::OnDigestMismatch;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

impl Cache {
    /// What needs no transfer. Errors: the name is known to be absent.
    pub(super) async fn known(&self, request: &FillRequest) -> Result<Option<Object>> {
        for digest in self.usable(request) {
            if let Some(held) = self.get_local(digest).await {
                let verified = request.expect.is_some();
                return Ok(Some(self.hit(*digest, held, verified)));
            }
        }
        let Some(record) = self.names.get(&request.name) else {
            return Ok(None);
        };
        match record.state {
            NameState::Absent => {
                // The object may still be known elsewhere, though this upstream lost it.
                if let Some(expected) = self.asked_of_redis(request)
                    && let Some(held) = self.get_remote(expected).await
                {
                    return Ok(Some(self.hit(*expected, held, true)));
                }
                Err(absent(&request.name, &record))
            }
            NameState::Held(digest) => {
                if request.expect.is_some() && !self.may_pass(request, &record) {
                    return Ok(None);
                }
                let held = self.get_local(&digest).await;
                Ok(held.map(|held| self.hit(digest, held, false)))
            }
        }
    }

    /// An object that is here already.
    pub(super) fn hit(&self, digest: Digest, held: Held, verified: bool) -> Object {
        let mut object = Object::held(digest, held, Status::Hit, verified);
        object.memory = Some(Arc::clone(&self.memory));
        object
    }

    /// The digests that were promised and whose bytes may be used, whoever brought them.
    fn usable<'a>(&'a self, request: &'a FillRequest) -> impl Iterator<Item = &'a Digest> {
        let promised = request.expect.iter().chain(&request.also_accept);
        promised.filter(|digest| self.is_usable(digest, request))
    }

    fn is_usable(&self, digest: &Digest, request: &FillRequest) -> bool {
        match request.sharing {
            Sharing::Nobody => false,
            Sharing::Sharers => self.links.is_marked(Mark::Shared, digest),
            Sharing::Charts => self.is_for_charts(digest) || self.came_as(digest, &request.name),
            Sharing::Everybody => true,
        }
    }

    /// Whether the bytes with this digest are for all who share charts: all but those that only somebody brought who shares with
    /// nobody. A lost ledger must not make the charts of a gateway without upstreams useless, so it is the private ones that are
    /// marked.
    pub(super) fn is_for_charts(&self, digest: &Digest) -> bool {
        let is_marked = |mark| self.links.is_marked(mark, digest);
        !is_marked(Mark::Private) || is_marked(Mark::Chart) || is_marked(Mark::Shared)
    }

    /// Whether the upstream sent these bytes itself under this name.
    fn came_as(&self, digest: &Digest, name: &str) -> bool {
        let record = self.names.get(name);
        record.is_some_and(|record| record.state == NameState::Held(*digest))
    }

    /// What redis may be asked for. Nothing is there of those who share with nobody.
    fn asked_of_redis<'a>(&self, request: &'a FillRequest) -> Option<&'a Digest> {
        let expected = request.expect.as_ref();
        expected
            .filter(|digest| request.sharing == Sharing::Charts || self.is_usable(digest, request))
    }

    /// Whether bytes with another digest than expected were let pass so recently that asking again would gain nothing.
    fn may_pass(&self, request: &FillRequest, record: &NameRecord) -> bool {
        request.on_mismatch == OnDigestMismatch::Serve
            && self.clock.since(record.at) < request.negative_ttl
    }

    /// What has come into the cache since [`Cache::known`] looked, and what redis has; for the leader, uncounted.
    pub(super) async fn find_again(&self, request: &FillRequest) -> Option<(Digest, Held)> {
        let named = match self.names.get(&request.name) {
            Some(NameRecord {
                state: NameState::Held(digest),
                ..
            }) if request.expect.is_none() => Some(digest),
            _ => None,
        };
        for digest in self.usable(request).chain(&named) {
            if let Some(bytes) = self.memory.peek(digest).await {
                return Some((*digest, Held::Bytes(bytes)));
            }
            if let Some(held) = self.disk.open_object(digest).await {
                return Some((*digest, held));
            }
        }
        let expected = *self.asked_of_redis(request)?;
        let held = self.get_remote(&expected).await?;
        self.note_sharing(request.sharing, &expected);
        Some((expected, held))
    }

    /// The object from this machine.
    pub(super) async fn get_local(&self, digest: &Digest) -> Option<Held> {
        if let Some(bytes) = self.memory.peek(digest).await {
            self.metrics.cache_request("memory", "hit");
            // What is asked for often is in memory, and must not be the first to leave the disk for that.
            self.disk.touch(digest);
            return Some(Held::Bytes(bytes));
        }
        self.metrics.cache_request("memory", "miss");
        let held = self.disk.get(digest).await?;
        if let Held::Bytes(bytes) = &held {
            self.memory.put(digest, bytes.clone()).await;
        }
        Some(held)
    }

    /// The object from redis, kept on this machine too.
    pub(super) async fn get_remote(&self, digest: &Digest) -> Option<Held> {
        let held = self.redis.as_ref()?.get(digest).await?;
        if let Held::Bytes(bytes) = &held {
            self.memory.put(digest, bytes.clone()).await;
            // Nobody waits until it is durable.
            let (disk, digest, bytes) = (Arc::clone(&self.disk), *digest, bytes.clone());
            tokio::spawn(async move { disk.put(&digest, bytes).await });
        }
        Some(held)
    }
}

/// What a reader gets from a fill that has something to hand out.
pub(super) fn object(promise: &Promise, state: State, follower: Follower) -> Result<Object> {
    let object = match state {
        State::Done {
            digest,
            verified,
            hit,
            held,
        } => {
            let status = if hit { Status::Hit } else { Status::Miss };
            Object::held(digest, held, status, verified)
        }
        state => Object {
            digest: promise.certain(),
            length: state.length(),
            status: Status::Miss,
            verified: promise.is_strict(),
            data: Data::Arriving(follower),
            memory: None,
        },
    };
    // Another request's limit may have been higher.
    let max_length = promise.request.max_length;
    if object.length.is_some_and(|length| length > max_length) {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "`{}` is longer than the {max_length} bytes that are allowed",
                promise.request.name
            ),
        ));
    }
    Ok(object)
}

fn absent(name: &str, record: &NameRecord) -> Error {
    Error::not_found(format!(
        "`{name}` does not exist; its upstream said so at {}",
        record.at.strftime("%H:%M:%SZ")
    ))
}
