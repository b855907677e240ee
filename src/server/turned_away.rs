//! Why the server ends a connection by itself.

/// A reason for which a connection is refused or cut, or a body given up. A closed list: they are labels of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TurnedAway {
    /// As many connections are open as may be.
    TooMany,
    /// Its address has as many as it may.
    PerAddress,
    /// It came to a listener for trusted proxies and is none.
    Untrusted,
    /// It began without a usable PROXY protocol header.
    ProxyHeader,
    /// The TLS handshake failed.
    Handshake,
    /// Its client certificate does not count any more: it has expired, or its authority was withdrawn.
    Certificate,
    /// It took too long to begin: PROXY header, TLS handshake and first head.
    Slow,
    /// It had a request and no other for a while.
    Idle,
    /// The body of a request came too slowly. Over HTTP/2 the connection goes on.
    SlowBody,
    /// It reset streams faster than their requests could end.
    Flood,
    /// The process ends.
    End,
}

impl TurnedAway {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::PerAddress => "per_address",
            Self::Untrusted => "untrusted",
            Self::ProxyHeader => "proxy_header",
            Self::Handshake => "handshake",
            Self::Certificate => "certificate",
            Self::Slow => "slow",
            Self::Idle => "idle",
            Self::SlowBody => "slow_body",
            Self::Flood => "flood",
            Self::End => "end",
        }
    }
}
