//! What the audit log says about one request: gathered on its way, written when its answer is known.
//!
//! Nothing is gathered where there is no audit log, and nothing is written about pulls that are answered.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::audit::{Audit, Event, Object, Outcome, Who, error_word};
use crate::auth::Identity;
use crate::config::Action;
use crate::error::{Error, ErrorKind};
use crate::gateway::Gateway;
use crate::http::{Request, StatusCode};

/// One request on its way to the audit log. Dropped without an answer (the connection was cut, something broke), a push or deletion
/// is written as one of which nobody knows whether it was done.
pub(super) struct Deed<'a> {
    audit: Option<&'a Audit>,
    gateway: &'a Gateway,
    request: &'a Request,
    action: &'static str,
    route: &'static str,
    changes: bool,
    admitted: bool,
    identity: Option<Identity>,
    operator: bool,
    tenant: Option<Arc<str>>,
    object: Option<Object>,
    digest: Option<String>,
}

impl<'a> Deed<'a> {
    /// A request of the route with this label, which needs `action`.
    pub(super) fn new(
        gateway: &'a Gateway,
        request: &'a Request,
        action: Action,
        route: &'static str,
    ) -> Self {
        Self {
            audit: Some(&*gateway.shared().audit).filter(|audit| audit.is_on()),
            gateway,
            request,
            action: word(action),
            route,
            changes: matches!(action, Action::Push | Action::Delete),
            admitted: false,
            identity: None,
            operator: false,
            tenant: None,
            object: None,
            digest: None,
        }
    }

    /// Somebody asks for a token. The name he gives is not written where it is wrong: people type passwords there.
    pub(super) fn login(gateway: &'a Gateway, request: &'a Request) -> Self {
        let mut deed = Self::new(gateway, request, Action::Pull, "token");
        deed.action = "login";
        deed
    }

    /// An action on the admin listener.
    pub(super) fn operator(
        gateway: &'a Gateway,
        request: &'a Request,
        route: &'static str,
    ) -> Self {
        let mut deed = Self::new(gateway, request, Action::Admin, route);
        deed.operator = true;
        deed.changes = true;
        deed
    }

    /// Who asks.
    pub(super) fn by(&mut self, identity: &Identity) {
        if self.audit.is_some() {
            self.identity = Some(identity.clone());
        }
    }

    /// The gate of the tenant at `path`, if there is one, has not let it through.
    pub(super) fn refused_at(&mut self, path: &str) {
        if self.audit.is_some() {
            self.tenant = self.gateway.label_of(path);
        }
    }

    /// The gate of the tenant with this label has let it through.
    pub(super) fn admitted(&mut self, tenant: &Arc<str>) {
        self.admitted = true;
        self.tenant = Some(tenant.clone());
    }

    /// What it is about is not for who asks: an answer that it is not there is a refusal.
    pub(super) fn out_of_sight(&mut self) {
        self.admitted = false;
    }

    /// Whether it changes something; what it is about is gathered before it is done then, and else where it is refused.
    pub(super) fn changes(&self) -> bool {
        self.changes && self.audit.is_some()
    }

    /// What it is about.
    pub(super) fn about(&mut self, object: impl FnOnce() -> Option<Object>) {
        if self.audit.is_some() {
            self.object = object();
        }
    }

    /// The digest of what was stored.
    pub(super) fn digest(&mut self, digest: impl FnOnce() -> Option<String>) {
        if self.audit.is_some() {
            self.digest = digest();
        }
    }

    /// It is nothing to write about.
    pub(super) fn forget(mut self) {
        self.audit = None;
    }

    /// It was answered. Written, if it was denied; else if it changes something and is `notable`: most requests of a push in many
    /// pieces are not. `object` is what it was about, where nobody has said so.
    pub(super) fn answered(
        mut self,
        status: StatusCode,
        error: Option<&Error>,
        notable: bool,
        object: impl FnOnce() -> Option<Object>,
    ) {
        let Some(audit) = self.audit.take() else {
            return;
        };
        let kind = error.map(Error::kind);
        let result = if self.is_denied(status, kind) {
            if self.object.is_none() {
                self.object = object();
            }
            Outcome::Denied
        } else if !(self.changes && notable) {
            return;
        } else if status.is_success() {
            Outcome::Done
        } else {
            Outcome::Failed
        };
        self.write(audit, result, status.as_u16(), kind);
    }

    /// Whether it was refused because of who asked, or how often. Where that looks like something absent, to a stranger, it is a
    /// refusal all the same.
    fn is_denied(&self, status: StatusCode, kind: Option<ErrorKind>) -> bool {
        match kind {
            Some(ErrorKind::Unauthenticated | ErrorKind::Forbidden | ErrorKind::RateLimited) => {
                true
            }
            Some(ErrorKind::NotFound) => !self.admitted && self.tenant.is_some(),
            Some(_) => false,
            None => matches!(
                status,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
            ),
        }
    }

    fn write(&mut self, audit: &Audit, result: Outcome, status: u16, kind: Option<ErrorKind>) {
        let error = match (kind, result) {
            (Some(kind), _) => Some(error_word(kind)),
            (None, Outcome::Denied) if status == 429 => Some("rate_limited"),
            (None, Outcome::Denied) if status == 403 => Some("forbidden"),
            (None, Outcome::Denied) => Some("unauthenticated"),
            (None, _) => None,
        };
        let who = match &self.identity {
            _ if self.operator => Who::operator(),
            Some(identity) => Who::of(identity),
            None => Who::unknown(),
        };
        audit.record(Event {
            time: audit.now(),
            request_id: crate::audit::cut(&self.request.id).into(),
            action: self.action,
            route: self.route,
            tenant: self.tenant.take(),
            who,
            object: self.object.take(),
            digest: self.digest.take().map(Into::into),
            address: self.request.peer.map(|peer| peer.ip()),
            result,
            status,
            error,
            repeated: 0,
        });
    }
}

/// A request that was refused before anybody knew what it asks for: it is malformed, or its path climbs. Like all denials it has
/// one line and then a count, whoever sends it.
pub fn refused(gateway: &Gateway, peer: Option<SocketAddr>, id: &str, status: StatusCode) {
    let audit = &gateway.shared().audit;
    if !audit.is_on() {
        return;
    }
    let kind = match status {
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            error_word(ErrorKind::TooLarge)
        }
        _ => error_word(ErrorKind::Invalid),
    };
    audit.record(Event {
        time: audit.now(),
        request_id: crate::audit::cut(id).into(),
        action: "request",
        route: "none",
        tenant: None,
        who: Who::unknown(),
        object: None,
        digest: None,
        address: peer.map(|peer| peer.ip()),
        result: Outcome::Denied,
        status: status.as_u16(),
        error: Some(kind),
        repeated: 0,
    });
}

/// The same where its path was parsed and means nothing that may be: not where there simply is nothing.
pub(super) fn refused_path(
    gateway: &Gateway,
    request: &Request,
    error: &Error,
    status: StatusCode,
) {
    if error.kind() == ErrorKind::Invalid {
        refused(gateway, request.peer, &request.id, status);
    }
}

impl Drop for Deed<'_> {
    fn drop(&mut self) {
        if self.changes
            && let Some(audit) = self.audit.take()
        {
            self.write(audit, Outcome::Unknown, 0, None);
        }
    }
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Pull => "pull",
        Action::Push => "push",
        Action::Delete => "delete",
        Action::Admin => "admin",
    }
}
