//! OpenStack Swift.
use std::sync::Arc;

use opendal::services::Swift as Builder;
use opendal::{Operator, Result};

use super::place::Place;
use super::service::{Seconds, Tag, Traits};
use crate::clock::Clock;
use crate::config::Swift;
use crate::error;
use crate::net::{Answer, Failure, Outgoing, Transport};

pub(super) const TRAITS: Traits = Traits {
    tag: Tag::Md5,
    seconds: Seconds::Ceil,
    // Larger ones would become two objects, of which a listing shows the smaller.
    largest_put: 5 << 30,
};

pub(super) const CREDENTIALS: &str =
    "`username`, `password` and `project`, or the OS_* or ST_* variables";

/// A token and where the account's objects are, fetched when needed.
#[derive(Debug)]
pub(super) struct Session;

impl Session {
    pub(super) fn new(_config: &Swift, _place: &Arc<Place>, _clock: Clock) -> error::Result<Self> {
        Ok(Self)
    }

    pub(super) async fn send(&self, net: &Transport, request: Outgoing) -> Result<Answer, Failure> {
        net.send(request).await
    }
}

pub(super) fn operator(config: &Swift) -> Result<Operator> {
    let builder = Builder::default()
        .container(&config.container)
        .endpoint(PLACEHOLDER);
    Operator::new(builder)
}

const PLACEHOLDER: &str = "https://account.invalid";
