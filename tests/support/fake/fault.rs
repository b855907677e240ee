//! What can go wrong, with which requests, and requests that wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Which requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// All of them.
    All,
    /// `…/index.yaml`
    Index,
    /// `….tgz`
    Archives,
    /// `….tgz.prov`
    Provenance,
    /// Exactly this path.
    Path(String),
}

impl Target {
    /// Whether a request for `path` is meant.
    pub(super) fn covers(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Index => path.ends_with("index.yaml"),
            Self::Archives => path.ends_with(".tgz"),
            Self::Provenance => path.ends_with(".prov"),
            Self::Path(exact) => exact == path,
        }
    }
}

/// One way to go wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Reads the request and closes the connection.
    Close,
    /// Answers with this status and a short text.
    Status(u16),
    /// Answers with this status and these header fields.
    StatusWith(u16, Vec<(String, String)>),
    /// Answers with this status, these header fields and this body.
    Answer(u16, Vec<(String, String)>, Vec<u8>),
    /// Reads the request and never answers.
    Silence,
    /// Does what was asked, waits so long, then answers as if nothing were.
    Late(Duration),
    /// Sends head and this many bytes of the body, then nothing more; the connection stays open.
    StallAfter(usize),
    /// Sends the body in pieces of so many bytes with a pause before each: slow, but always making progress.
    Trickle(usize, Duration),
    /// Sends head and this many bytes of the body, then closes the connection.
    CutAfter(usize),
    /// Sends this many bytes of the body as if they were all of it.
    Shortened(usize),
    /// Reads this many bytes of the *request's* body and closes the connection; nothing is done.
    CutUpload(usize),
    /// The right answer with this header field in place of its own.
    Header(String, String),
    /// As [`Fault::CutAfter`] with chunked framing, so that no length gives it away.
    CutChunkedAfter(usize),
    /// Announces this many bytes less than it sends.
    LengthTooShort(usize),
    /// Announces this many bytes more than it sends, then closes the connection.
    LengthTooLong(usize),
    /// 200 with a web page, as captive portals and single-page sites answer.
    Html,
    /// 302 to this URL (or relative reference).
    Redirect(String),
    /// 302 to itself.
    RedirectLoop,
    /// The right length, other bytes.
    WrongBytes,
    /// 200 with this body and nothing strange about it.
    Body(Vec<u8>),
    /// 200 with so many pseudo-random bytes, chunked.
    Garbage(usize),
    /// 200 with so many bytes of harmless-looking text without an end in sight, chunked.
    EndlessText(usize),
    /// 200 with `Content-Encoding: gzip` and a body that unpacks to so many bytes.
    GzipBomb(usize),
}

impl Fault {
    /// Whether the request takes effect, whatever becomes of the answer.
    pub(super) fn is_carried_out(&self) -> bool {
        match self {
            Self::Close
            | Self::Status(_)
            | Self::StatusWith(..)
            | Self::Answer(..)
            | Self::Silence
            | Self::CutUpload(_)
            | Self::Html
            | Self::Redirect(_)
            | Self::RedirectLoop
            | Self::Body(_)
            | Self::Garbage(_)
            | Self::EndlessText(_)
            | Self::GzipBomb(_) => false,
            Self::StallAfter(_)
            | Self::Late(_)
            | Self::Trickle(..)
            | Self::CutAfter(_)
            | Self::Shortened(_)
            | Self::Header(..)
            | Self::CutChunkedAfter(_)
            | Self::LengthTooShort(_)
            | Self::LengthTooLong(_)
            | Self::WrongBytes => true,
        }
    }
}

/// Requests that wait. Clones are the same hold.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    state: Arc<watch::Sender<(usize, bool)>>,
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            state: Arc::new(watch::Sender::new((0, false))),
        }
    }
}

impl Hold {
    /// Returns when `requests` requests have arrived and wait (or have waited).
    pub(crate) async fn waiting(&self, requests: usize) {
        let mut state = self.state.subscribe();
        state
            .wait_for(|(arrived, _)| *arrived >= requests)
            .await
            .expect("this hold keeps the sender alive");
    }

    /// How many requests have arrived at it.
    pub(crate) fn arrived(&self) -> usize {
        self.state.borrow().0
    }

    /// Lets them, and all later ones, go on.
    pub(crate) fn release(&self) {
        self.state.send_modify(|(_, released)| *released = true);
    }

    pub(super) async fn pass(&self) {
        self.state.send_modify(|(arrived, _)| *arrived += 1);
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|(_, released)| *released).await;
    }
}
