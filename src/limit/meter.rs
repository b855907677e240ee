//! Bytes that pass, counted where they pass: no body is ever cut for a limit.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;

use super::rate::{Rate, Who};
use super::replicas::{Name, Replicas, Tag};
use crate::config::Limited;
use crate::error::Result;
use crate::http::{Body, ByteStream, Method, RequestBody, Response};

/// Where the bytes of one request count. Costs nothing where they do not.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    counts: Option<Arc<[Count]>>,
}

/// One limit of bytes.
pub(super) struct Count {
    pub(super) rate: Arc<Rate>,
    pub(super) who: Who,
    /// Where the other replicas are to be told.
    pub(super) shared: Option<(Arc<Replicas>, Tag, Name)>,
}

impl Meter {
    /// A meter that counts nothing.
    pub fn none() -> Self {
        Self::default()
    }

    pub(super) fn new(counts: Vec<Count>) -> Self {
        let counts = Some(counts).filter(|counts| !counts.is_empty());
        Self {
            counts: counts.map(Arc::from),
        }
    }

    /// `response`, whose bytes are counted as the client takes them; those that lie in memory already count at once. A HEAD has
    /// none.
    #[must_use]
    pub fn outgoing(&self, method: &Method, mut response: Response) -> Response {
        if *method == Method::HEAD || !self.counts_any(Limited::Bytes) {
            return response;
        }
        response.body = match response.body {
            Body::Stream(stream) => {
                let (meter, length) = (self.clone(), stream.length);
                let counted = stream.stream.inspect(move |chunk| {
                    if let Ok(chunk) = chunk {
                        meter.count(Limited::Bytes, chunk.len() as u64);
                    }
                });
                ByteStream::new(counted, length).into()
            }
            body => {
                self.count(Limited::Bytes, body.length().unwrap_or(0));
                body
            }
        };
        response
    }

    /// `body`, whose bytes are counted as they arrive.
    pub fn incoming<'a>(&'a self, body: &'a mut dyn RequestBody) -> Metered<'a> {
        Metered { body, meter: self }
    }

    fn counts_any(&self, what: Limited) -> bool {
        let mut counts = self.counts.iter().flat_map(|counts| counts.iter());
        counts.any(|count| count.rate.limit().what == what)
    }

    fn count(&self, what: Limited, amount: u64) {
        let Some(counts) = self.counts.as_ref().filter(|_| amount > 0) else {
            return;
        };
        for Count { rate, who, shared } in counts.iter() {
            if rate.limit().what == what {
                rate.charge(*who, amount);
                if let Some((replicas, tag, name)) = shared {
                    replicas.note(tag, rate, *who, *name, amount);
                }
            }
        }
    }
}

/// A request body whose bytes are counted.
pub struct Metered<'a> {
    body: &'a mut dyn RequestBody,
    meter: &'a Meter,
}

#[async_trait]
impl RequestBody for Metered<'_> {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let chunk = self.body.chunk().await?;
        if let Some(chunk) = &chunk {
            self.meter.count(Limited::UploadBytes, chunk.len() as u64);
        }
        Ok(chunk)
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

impl std::fmt::Debug for Metered<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metered")
            .field("meter", self.meter)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Count")
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}
