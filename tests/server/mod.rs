//! The front on real sockets: framing, refusals, early answers, TLS, drain and hand-over.

mod bad_requests;
mod certificates;
mod desk;
mod floods;
mod http1;
mod http2;
mod lifecycle;
mod neighbours;
mod patience;
mod raw;
mod tls;
mod world;
