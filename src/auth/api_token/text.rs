//! How a token is written: `cgt_<id>_<secret><checksum>`.
//!
//! The prefix and the checksum are for programs that look for secrets in texts, and tell a typing error from a token that does not
//! count, without a look-up. Only the digest of the whole text is kept. It needs no slow hash and no salt: the secret has 178
//! random bits, so nobody can try them all, and no two tokens are alike.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// What every token starts with.
const PREFIX: &str = "cgt_";
/// The lengths of the parts, in characters.
const ID: usize = 12;
const SECRET: usize = 30;
const CHECKSUM: usize = 6;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Of ids, which are names of files: some file systems do not know lower from upper case.
const SMALL: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The name of a token: it stands in its text, in lists and in logs, and says nothing about the secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; ID]);

impl TokenId {
    pub(super) fn new() -> Result<Self> {
        Ok(Self(random(SMALL)?))
    }

    fn of(text: &str) -> Option<Self> {
        let id: [u8; ID] = text.as_bytes().try_into().ok()?;
        let small = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
        id.iter().all(small).then_some(Self(id))
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("ids are made of ASCII only")
    }
}

impl FromStr for TokenId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::of(text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Error::invalid(format!(
                "`{}` is not the id of a token, which has {ID} lower-case letters and digits",
                shown.escape_debug()
            ))
        })
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a text says that has the form of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) id: TokenId,
    pub(super) digest: Digest,
}

/// Whether `text` begins as our tokens do: it then is one, whole or not.
pub(in crate::auth) fn is_marked(text: &str) -> bool {
    text.starts_with(PREFIX)
}

impl Shown {
    /// Reads `text`. `None`: it does not begin like a token of ours. Errors: it does, and is cut or mistyped.
    pub(super) fn read(text: &str) -> Option<Result<Self>> {
        is_marked(text).then(|| Self::of(text).ok_or_else(mistyped))
    }

    fn of(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let id = TokenId::of(id)?;
        let is_one =
            secret.len() == SECRET + CHECKSUM && secret.bytes().all(|b| b.is_ascii_alphanumeric());
        let (body, sum) = text.split_at_checked(text.len() - CHECKSUM)?;
        (is_one && checksum(body) == sum.as_bytes()).then(|| Self {
            id,
            digest: Digest::of(text.as_bytes()),
        })
    }
}

fn mistyped() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "the token is cut or mistyped: its checksum is wrong; copy it again",
    )
}

/// A new token of this id. Errors: the system has no randomness.
pub(super) fn generate(id: TokenId) -> Result<String> {
    let secret: [u8; SECRET] = random(DIGITS)?;
    let mut text = format!("{PREFIX}{id}_");
    text.extend(secret.map(char::from));
    text.extend(checksum(&text).map(char::from));
    Ok(text)
}

/// Random characters of `alphabet`, each as likely as the others.
fn random<const N: usize>(alphabet: &[u8]) -> Result<[u8; N]> {
    let fair = 256 - 256 % alphabet.len();
    let mut text = [0; N];
    let mut filled = 0;
    while filled < N {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes)
            .map_err(|error| Error::internal("the system gives no random numbers", error))?;
        let fitting = bytes.iter().map(|byte| usize::from(*byte));
        for byte in fitting.filter(|byte| *byte < fair).take(N - filled) {
            text[filled] = alphabet[byte % alphabet.len()];
            filled += 1;
        }
    }
    Ok(text)
}

/// The CRC-32 (IEEE) of `body`, as six digits.
fn checksum(body: &str) -> [u8; CHECKSUM] {
    let step = |sum: u32, byte: u8| TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8);
    let mut rest = !body.bytes().fold(!0, step);
    let mut text = [b'0'; CHECKSUM];
    for digit in text.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    text
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = (sum >> 1) ^ (0xedb8_8320 * (sum & 1));
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> (TokenId, String) {
        let id = TokenId::new().expect("an id");
        (id, generate(id).expect("a token"))
    }

    #[test]
    fn the_checksum_is_the_crc_that_everybody_knows() {
        // CRC-32/ISO-HDLC of `123456789` is 0xcbf43926, which is 3421780262.
        let digits = checksum("123456789");
        let number = digits.iter().fold(0_u64, |number, digit| {
            let value = DIGITS.iter().position(|one| one == digit).expect("a digit");
            number * 62 + value as u64
        });
        assert_eq!(number, 3_421_780_262);
        assert_eq!(&checksum(""), b"000000");
    }

    #[test]
    fn a_token_has_the_form_that_scanners_look_for() {
        let pattern = |text: &str| {
            // cgt_[0-9a-z]{12}_[0-9A-Za-z]{36}
            let (id, secret) = text
                .strip_prefix("cgt_")
                .and_then(|rest| rest.split_once('_'))?;
            let plain = secret.bytes().all(|b| b.is_ascii_alphanumeric());
            let small = id
                .bytes()
                .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
            (id.len() == 12 && secret.len() == 36 && plain && small).then_some(())
        };
        for _ in 0..100 {
            let (id, text) = new();
            assert_eq!(pattern(&text), Some(()), "{text}");
            let shown = Shown::read(&text).expect("the form").expect("right");
            assert_eq!((shown.id, shown.digest), (id, Digest::of(text.as_bytes())));
        }
    }

    #[test]
    fn every_wrong_character_is_noticed() {
        let (_, text) = new();
        for at in 17..text.len() {
            for digit in DIGITS.iter().map(|digit| char::from(*digit)) {
                let mut typed = text.clone();
                typed.replace_range(at..=at, digit.encode_utf8(&mut [0; 4]));
                if typed != text {
                    let error = Shown::read(&typed)
                        .expect("the form")
                        .expect_err("mistyped");
                    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
                    assert!(error.message().contains("checksum"), "{error}");
                    assert!(!error.message().contains(&typed[20..30]), "{error}");
                }
            }
        }
        let (mut left, right) = (text.clone().into_bytes(), text.as_bytes());
        left.swap(20, 21);
        if left != right {
            let swapped = String::from_utf8(left).expect("ASCII");
            assert!(Shown::read(&swapped).expect("the form").is_err());
        }
    }

    #[test]
    fn what_is_cut_is_mistyped_and_what_begins_otherwise_is_not_ours() {
        let (_, text) = new();
        for cut in [
            "cgt_",
            "cgt_x",
            &text[..text.len() - 1],
            &text[..20],
            &format!("{text}0"),
            &format!("{text}\n"),
            &text.replace('_', "-").replacen('-', "_", 1),
            &format!("cgt_0123456789ab_{}", "\u{e4}".repeat(18)),
            &format!("cgt_{}", "\u{1f600}".repeat(20)),
        ] {
            assert!(
                Shown::read(cut).is_some_and(|read| read.is_err()),
                "{cut:?}"
            );
        }
        for other in [
            "",
            "secret",
            "cgt",
            &text[1..],
            &format!(" {text}"),
            &text.to_uppercase(),
        ] {
            assert!(Shown::read(other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn ids_are_read_back() {
        let (id, _) = new();
        assert_eq!(id.to_string().parse::<TokenId>().expect("an id"), id);
        for wrong in [
            "",
            "abc",
            "0123456789AB",
            "0123456789a/",
            "0123456789abc",
            "../../../etc",
        ] {
            assert!(wrong.parse::<TokenId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn characters_are_spread_evenly() {
        let mut seen = [0_u32; 256];
        for _ in 0..500 {
            let secret: [u8; SECRET] = random(DIGITS).expect("random");
            secret.iter().for_each(|byte| seen[usize::from(*byte)] += 1);
        }
        // 15,000 characters, 242 of each: five deviations are 78.
        for digit in DIGITS {
            let count = seen[usize::from(*digit)];
            assert!(
                (140..345).contains(&count),
                "{} {count}",
                char::from(*digit)
            );
        }
    }
}
