//! What commands change has lines in the audit log, as what requests change has.

use std::sync::Arc;

use super::failure::Failure;
use crate::audit::{Audit, Event, Outcome};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Result};

/// The audit log, for one command. A running gateway may write to the same file at the same time.
#[derive(Debug)]
pub(super) struct Noted {
    audit: Audit,
    route: &'static str,
}

impl Noted {
    /// Opens the log that the configuration names, if it names one, for what messages and lines call `route`. To be called before
    /// anything is changed. Errors: it cannot be written.
    pub(super) fn open(config: &Config, route: &'static str) -> Result<Self> {
        let audit = Audit::open(config.audit.as_ref(), Arc::default(), Clock::system())?;
        Ok(Self { audit, route })
    }

    /// Writes one line about something that was done, `action` being `admin` or `delete`; `more` says what it was about. Blocking,
    /// for a moment.
    pub(super) fn note(
        &self,
        action: &'static str,
        result: Outcome,
        more: impl FnOnce(&mut Event),
    ) {
        if self.audit.is_on() {
            let mut event = Event::by_operator(self.audit.now(), action, self.route, result);
            more(&mut event);
            self.audit.record_patiently(event);
        }
    }

    /// Ends the log. Errors: lines are missing, which whoever called the command must know.
    pub(super) fn close(self) -> Result<(), Failure> {
        self.audit.close();
        match self.audit.missing() {
            0 => Ok(()),
            missing => Err(Failure::Running(Error::new(
                crate::error::ErrorKind::Internal,
                format!(
                    "`{}` was done, but {missing} lines about it are missing in the audit log, which could not be written; look at `audit.file`",
                    self.route
                ),
            ))),
        }
    }
}
