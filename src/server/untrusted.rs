//! The readers of what stands before and beside a request, one function each, for the fuzz targets (`fuzz/`). Not part of any
//! interface: it changes with what it reads.

use std::net::SocketAddr;

use futures_util::FutureExt as _;
use http::HeaderName;

use super::{forwarded, proxy_protocol};
use crate::config::{ForwardedHeader, TrustedProxies};
use crate::http::{HeaderMap, HeaderValue};

/// Whom a PROXY protocol header at the start of `bytes` announces, and how long it is. `None`: the connection is not served.
pub fn proxy_header(bytes: &[u8]) -> Option<(Option<SocketAddr>, usize)> {
    let mut rest = bytes;
    // A slice is never waited for.
    let read = proxy_protocol::read(&mut rest).now_or_never()?;
    Some((read.ok()?, bytes.len() - rest.len()))
}

/// Address, scheme (whether it is https) and host of the client that the `fields` name, in the order in which they came. `None`:
/// no request has such fields.
pub fn forwarded(
    fields: &[(&'static str, &[u8])],
    kind: ForwardedHeader,
    trusted: &TrustedProxies,
) -> Option<(Option<SocketAddr>, Option<bool>, Option<String>)> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value).ok()?;
        headers.append(HeaderName::from_static(name), value);
    }
    let client = forwarded::read(&headers, kind, trusted);
    Some((client.address, client.secure, client.host))
}
