//! Names of uploads: 128 random bits, which nobody guesses.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The name of an upload: 32 lower-case hexadecimal digits.
///
/// It is no secret that opens anything: an upload also belongs to a repository and a subject ([`super::Owner`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct UploadId(u128);

impl FromStr for UploadId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_plain = text.len() == 32
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let id = is_plain.then(|| u128::from_str_radix(text, 16).ok());
        id.flatten().map(Self).ok_or_else(|| {
            // A name that was never given is as unknown as one that was forgotten.
            Error::not_found("there is no such upload; start a new one")
        })
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<UploadId> for String {
    fn from(id: UploadId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for UploadId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// Where random numbers come from: the system, or a seed that gives the same ones in every run of a test.
#[derive(Clone, Debug, Default)]
pub struct Random(Option<Arc<AtomicU64>>);

impl Random {
    /// The system's.
    pub fn system() -> Self {
        Self::default()
    }

    /// The same sequence for the same seed; for tests only, because anybody could guess it.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(AtomicU64::new(seed))))
    }

    /// A new name.
    pub(in crate::store::registry) fn id(&self) -> Result<UploadId> {
        let mut bytes = [0; 16];
        match &self.0 {
            None => getrandom::fill(&mut bytes).map_err(|error| {
                Error::internal("the system has no random numbers", error.to_string())
            })?,
            Some(state) => {
                for half in bytes.chunks_exact_mut(8) {
                    // splitmix64
                    let step = 0x9e37_79b9_7f4a_7c15_u64;
                    let mut z = state.fetch_add(step, Ordering::SeqCst).wrapping_add(step);
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    half.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes());
                }
            }
        }
        Ok(UploadId(u128::from_be_bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written_and_nothing_else_is() {
        let id = Random::system().id().expect("random");
        let text = id.to_string();
        assert_eq!(text.parse::<UploadId>().expect("an id"), id);
        for wrong in [
            "",
            "x",
            &text[1..],
            &format!("{text}0"),
            &format!("+{}", &text[1..]),
            &"A".repeat(32),
            "../../../../../../../../etc/pass",
        ] {
            assert!(wrong.parse::<UploadId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_names_and_the_system_never_does() {
        let (a, b) = (Random::seeded(7), Random::seeded(7));
        let first = a.id().expect("a number");
        assert_eq!(first, b.id().expect("a number"));
        assert_ne!(first, a.id().expect("a number"));
        let system = Random::system();
        assert_ne!(system.id().expect("random"), system.id().expect("random"));
    }
}
