//! A set of keys as it is written (RFC 7517 §5), read with suspicion: it may come from a server that lies.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::auth::token::key::{Head, Key};
use crate::digest::Digest;

/// The largest sets of public issuers have a few keys and a few kilobytes.
pub(super) const MAX_BYTES: usize = 512 << 10;
/// More keys than this are nobody's rotation.
const MAX_KEYS: usize = 100;

/// Keys, and what tokens call them.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    kid: Option<String>,
    /// Of the entry's text: the same key stays the same through every fetch.
    id: Digest,
    key: Arc<Key>,
}

impl KeySet {
    /// Reads a set. Keys that `known` has are taken from there, so that what was verified with them stays verified.
    ///
    /// Entries that cannot be used are left out: sets may hold keys of every kind. Errors: it is no set, or nothing in it can be
    /// used.
    pub(super) fn read(bytes: &[u8], known: &Self) -> Result<Self, String> {
        if bytes.len() > MAX_BYTES {
            return Err(format!("it has more than {MAX_BYTES} bytes"));
        }
        let set: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|_| "it is no JSON object".to_owned())?;
        let Some(Value::Array(entries)) = set.get("keys") else {
            return Err("it has no list `keys`".to_owned());
        };
        if entries.len() > MAX_KEYS {
            return Err(format!(
                "it has {} keys; at most {MAX_KEYS} are read",
                entries.len()
            ));
        }
        let mut keys = Vec::new();
        let mut reason = "it is empty";
        for entry in entries {
            match Entry::read(entry, known) {
                Ok(entry) => keys.push(entry),
                Err(why) => {
                    tracing::debug!("a key of a set is left out: {why}");
                    reason = why;
                }
            }
        }
        match keys.is_empty() {
            true => Err(format!("no key in it can be used: {reason}")),
            false => Ok(Self { keys }),
        }
    }

    /// The keys that the token with this head may be signed for. A token that names a key counts for keys of that name only; one
    /// that names none, for the only key, or for those without a name.
    pub(super) fn fitting(&self, head: &Head) -> Vec<Arc<Key>> {
        let is_only = self.keys.len() == 1;
        let is_meant = |entry: &&Entry| match &head.kid {
            Some(kid) => entry.kid.as_ref() == Some(kid),
            None => is_only || entry.kid.is_none(),
        };
        let takes = |entry: &&Entry| entry.key.takes(head.algorithm);
        let keys = self.keys.iter().filter(is_meant).filter(takes);
        keys.map(|entry| Arc::clone(&entry.key)).collect()
    }

    /// Whether it holds this very key.
    pub(super) fn holds(&self, key: &Arc<Key>) -> bool {
        self.keys.iter().any(|entry| Arc::ptr_eq(&entry.key, key))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys it has.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

impl Entry {
    fn read(entry: &Value, known: &KeySet) -> Result<Self, &'static str> {
        let Value::Object(jwk) = entry else {
            return Err("it is no object");
        };
        let kid = match jwk.get("kid") {
            None | Some(Value::Null) => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err("its `kid` is no text"),
        };
        let id = Digest::of(entry.to_string().as_bytes());
        let same = known.keys.iter().find(|entry| entry.id == id);
        let key = match same {
            Some(entry) => Arc::clone(&entry.key),
            None => Arc::new(Key::from_jwk(jwk)?),
        };
        Ok(Self { kid, id, key })
    }
}
