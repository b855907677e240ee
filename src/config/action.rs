//! What somebody may do.

use std::fmt;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Read indexes, archives and provenance files.
    Pull,
    /// Upload.
    Push,
    /// Delete.
    Delete,
    /// All of it, and administration.
    Admin,
}

/// All of them, as they are written.
pub(super) const ACTIONS: [(&str, Action); 4] = [
    ("pull", Action::Pull),
    ("push", Action::Push),
    ("delete", Action::Delete),
    ("admin", Action::Admin),
];

impl Action {
    /// The action of this name. Errors: the names that there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found = ACTIONS.iter().find(|(word, _)| *word == text);
        found.map(|(_, action)| *action).ok_or_else(|| {
            format!("`{text:.40}` is no action; write `pull`, `push`, `delete` or `admin`")
        })
    }

    /// How it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::Admin => "admin",
        }
    }

    /// What somebody does, in sentences.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Admin => "administer",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
