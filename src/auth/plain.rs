//! Users whose passwords stand in the configuration.
//!
//! Only keyed hashes are compared: how long that takes says nothing about a password, nor whether the user exists.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::config::Secret;
use crate::digest::Digest;
use crate::error::{Error, Result};

/// The users of `auth.users`.
pub(super) struct PlainUsers {
    /// Chosen at the start: nobody outside can steer what the hashes look like.
    key: [u8; 32],
    users: HashMap<Digest, Arc<str>>,
    /// Of each user's password; the same in every process, so it never leaves this one.
    fingerprints: HashMap<Arc<str>, Digest>,
}

impl PlainUsers {
    /// Takes them from the configuration; `None` where there are none. Errors: the system has no randomness.
    pub(super) fn new(users: &BTreeMap<String, Secret>) -> Result<Option<Self>> {
        if users.is_empty() {
            return Ok(None);
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key)
            .map_err(|error| Error::internal("the system gives no random numbers", error))?;
        let mut known = Self {
            key,
            users: HashMap::new(),
            fingerprints: HashMap::new(),
        };
        for (name, password) in users {
            let shared: Arc<str> = name.as_str().into();
            let fingerprint = Digest::of(password.reveal().as_bytes());
            known.fingerprints.insert(shared.clone(), fingerprint);
            let digest = digest(&key, name, password.reveal());
            known.users.insert(digest, shared);
        }
        Ok(Some(known))
    }

    /// The user's name as shared text, where the password is right.
    pub(super) fn verify(&self, name: &str, password: &str) -> Option<Arc<str>> {
        self.users.get(&digest(&self.key, name, password)).cloned()
    }

    /// Tells one password of a user from the next, in every process alike. A secret.
    pub(super) fn fingerprint(&self, name: &str) -> Option<Digest> {
        self.fingerprints.get(name).copied()
    }
}

/// Of both together, with the length of the name, so that the parts cannot be shifted against each other.
fn digest(key: &[u8; 32], name: &str, password: &str) -> Digest {
    let mut text = Vec::with_capacity(key.len() + 8 + name.len() + password.len());
    text.extend_from_slice(key);
    text.extend_from_slice(&(name.len() as u64).to_le_bytes());
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(password.as_bytes());
    Digest::of(&text)
}

impl std::fmt::Debug for PlainUsers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.users.values()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_pair_is_right() {
        let configured = BTreeMap::from([
            ("ci".to_owned(), Secret::new("pass:word")),
            ("c".to_owned(), Secret::new("other")),
        ]);
        let users = PlainUsers::new(&configured).expect("made").expect("some");
        assert_eq!(users.verify("ci", "pass:word").as_deref(), Some("ci"));
        assert_eq!(users.verify("c", "other").as_deref(), Some("c"));
        for (name, password) in [
            ("ci", "other"),
            ("c", "pass:word"),
            ("c", "ipass:word"),
            ("ci", "pass:wor"),
            ("ci", "pass:word "),
            ("CI", "pass:word"),
            ("ci", ""),
            ("", ""),
        ] {
            assert_eq!(users.verify(name, password), None, "{name}:{password}");
        }
        assert!(!format!("{users:?}").contains("pass"));
        assert!(PlainUsers::new(&BTreeMap::new()).expect("made").is_none());
    }
}
