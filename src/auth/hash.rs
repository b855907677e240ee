//! One password hash of an htpasswd file: bcrypt, argon2, SHA-crypt, `$apr1$` and `{SHA}`.
//!
//! The home of the password crates. Everything here computes for as long as the hash demands: call it on a blocking
//! thread. Costs that would hold a thread for many seconds are refused when the file is read.

use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash as PhcHash;
use md5::{Digest as _, Md5};
use sha_crypt::ShaCrypt;

use crate::base64;
use crate::digest::Digest;
use crate::error::{Error, Result};

/// What `passwd` writes. 2^10 rounds are what htpasswd's users call slow and the success cache makes cheap.
const BCRYPT_COST: u32 = 10;
/// 2^15 rounds take about 2 seconds.
const MAX_BCRYPT_COST: u32 = 15;
/// Of memory, in KiB.
const MAX_ARGON2_MEMORY: u32 = 1 << 18;
/// Of SHA-crypt.
const MAX_ROUNDS: u32 = 2_000_000;

/// A hash that can be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// `$2a$`, `$2b$`, `$2y$`
    Bcrypt(String),
    /// `$argon2i$`, `$argon2d$`, `$argon2id$`
    Argon2(String),
    /// `$5$`, `$6$`
    ShaCrypt(String),
    /// `$apr1$`: salt and the 22 characters of the result.
    Apr1 { salt: String, result: String },
    /// `{SHA}`
    Sha1([u8; 20]),
}

impl Hash {
    /// Reads the part of a line after the colon. The error says what is wrong, without the hash.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.starts_with("$2") {
            return parse_bcrypt(text);
        }
        if text.starts_with("$argon2") {
            return parse_argon2(text);
        }
        if text.starts_with("$5$") || text.starts_with("$6$") {
            return parse_sha_crypt(text);
        }
        if let Some(rest) = text.strip_prefix("$apr1$") {
            return match rest.split_once('$') {
                Some((salt, result)) if salt.len() <= 8 && result.len() == 22 => Ok(Self::Apr1 {
                    salt: salt.to_owned(),
                    result: result.to_owned(),
                }),
                _ => Err("a broken `$apr1$` hash"),
            };
        }
        if let Some(rest) = text.strip_prefix("{SHA}") {
            return base64::decode(rest)
                .and_then(|bytes| bytes.try_into().ok())
                .map(Self::Sha1)
                .ok_or("a broken `{SHA}` hash");
        }
        Err(
            "neither bcrypt, argon2, SHA-crypt, `$apr1$` nor `{SHA}`; make one with `chartgate passwd`",
        )
    }

    /// Tells it from other hashes, also of the same password.
    pub(super) fn fingerprint(&self) -> Digest {
        match self {
            Self::Bcrypt(text) | Self::Argon2(text) | Self::ShaCrypt(text) => {
                Digest::of(text.as_bytes())
            }
            Self::Apr1 { salt, result } => Digest::of(format!("{salt}${result}").as_bytes()),
            Self::Sha1(bytes) => Digest::of(bytes),
        }
    }

    /// Whether this is the hash of `password`. Takes as long for a wrong one as for the right one.
    pub(super) fn verify(&self, password: &str) -> bool {
        match self {
            Self::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
            Self::Argon2(text) => PhcHash::new(text).is_ok_and(|hash| {
                argon2::Argon2::default()
                    .verify_password(password.as_bytes(), &hash)
                    .is_ok()
            }),
            Self::ShaCrypt(text) => sha_crypt::PasswordHash::new(text.as_str()).is_ok_and(|hash| {
                sha_crypt::PasswordVerifier::verify_password(
                    &ShaCrypt::default(),
                    password.as_bytes(),
                    &hash,
                )
                .is_ok()
            }),
            Self::Apr1 { salt, result } => same(
                apr1(password.as_bytes(), salt.as_bytes()).as_bytes(),
                result.as_bytes(),
            ),
            Self::Sha1(expected) => {
                let found: [u8; 20] = sha1::Sha1::digest(password.as_bytes()).into();
                same(&found, expected)
            }
        }
    }

    /// The scheme with its cost: hashes of one family take the same time for the same password.
    pub(super) fn family(&self) -> String {
        match self {
            Self::Bcrypt(text) => format!("bcrypt {}", text.get(4..6).unwrap_or_default()),
            // `$argon2id$v=19$m=65536,t=2,p=1$salt$hash`; the version is missing in old ones.
            Self::Argon2(text) => {
                let fields = text.split('$').skip(1);
                let cost: Vec<_> = fields
                    .take_while(|field| field.starts_with("argon2") || field.contains('='))
                    .collect();
                cost.join(" ")
            }
            Self::ShaCrypt(text) => {
                let mut fields = text.split('$').skip(1);
                let scheme = fields.next().unwrap_or_default();
                let rounds = fields.next().filter(|field| field.starts_with("rounds="));
                format!("sha-crypt {scheme} {}", rounds.unwrap_or("rounds=5000"))
            }
            Self::Apr1 { .. } => "apr1".to_owned(),
            Self::Sha1(_) => "sha1".to_owned(),
        }
    }

    /// A hash that no password of a client is expected to have: what is computed where there are no users at all.
    pub(super) fn nobody() -> Self {
        Self::Bcrypt("$2b$10$C6UzMDM.H6dfI/f/IKcEeO7ZUNR1ZVEKYbCFPxKcYQbWwEQ0PyeFy".to_owned())
    }
}

/// Whether a line of an htpasswd file can hold this name. Errors say why not.
pub fn check_user_name(user: &str) -> Result<()> {
    if user.is_empty() || user.len() > 255 || user.contains(|c: char| c == ':' || c.is_control()) {
        return Err(Error::invalid(
            "a user name has 1 to 255 bytes, no `:` and no control characters",
        ));
    }
    if user.starts_with('#') || user.trim() != user {
        return Err(Error::invalid(
            "a user name does not start with `#` and has no spaces at its ends",
        ));
    }
    Ok(())
}

/// A line for an htpasswd file: `user:` and the bcrypt hash of `password`. Takes about a tenth of a second.
///
/// Errors: bcrypt ignores what follows the 72nd byte and stops at a NUL, so such passwords are refused.
pub fn bcrypt_line(user: &str, password: &str) -> Result<String> {
    check_user_name(user)?;
    if password.is_empty() {
        return Err(Error::invalid("the password is empty"));
    }
    if password.len() > 71 || password.contains('\0') {
        return Err(Error::invalid(
            "the password has more than 71 bytes or a NUL, which bcrypt would silently ignore; choose another",
        ));
    }
    let hash = bcrypt::non_truncating_hash_with_result(password, BCRYPT_COST)
        .map_err(|error| Error::internal("the password could not be hashed", error))?
        // The prefix that htpasswd itself writes and every reader knows.
        .format_for_version(bcrypt::Version::TwoY);
    Ok(format!("{user}:{hash}"))
}

fn parse_bcrypt(text: &str) -> Result<Hash, &'static str> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| "a broken bcrypt hash")?;
    if parts.get_cost() > MAX_BCRYPT_COST {
        return Err("a bcrypt cost above 15, which would block the server");
    }
    Ok(Hash::Bcrypt(text.to_owned()))
}

fn parse_argon2(text: &str) -> Result<Hash, &'static str> {
    let hash = PhcHash::new(text).map_err(|_| "a broken argon2 hash")?;
    let parameters = argon2::Params::try_from(&hash).map_err(|_| "a broken argon2 hash")?;
    if parameters.m_cost() > MAX_ARGON2_MEMORY
        || parameters.t_cost() > 64
        || parameters.p_cost() > 64
    {
        return Err("an argon2 cost above 256 MiB or 64 passes, which would block the server");
    }
    Ok(Hash::Argon2(text.to_owned()))
}

fn parse_sha_crypt(text: &str) -> Result<Hash, &'static str> {
    let mut fields = text.split('$').skip(2).peekable();
    let rounds = fields.next_if(|field| field.starts_with("rounds="));
    if let Some(rounds) = rounds {
        let rounds: u32 = rounds["rounds=".len()..]
            .parse()
            .map_err(|_| "a broken SHA-crypt hash")?;
        if !(1_000..=MAX_ROUNDS).contains(&rounds) {
            return Err("a SHA-crypt hash with fewer than 1,000 or more than 2,000,000 rounds");
        }
    }
    let (salt, result) = (fields.next(), fields.next());
    let length = if text.starts_with("$5$") { 43 } else { 86 };
    let whole = salt.is_some_and(|salt| salt.len() <= 16)
        && result.is_some_and(|result| result.len() == length)
        && fields.next().is_none()
        && sha_crypt::PasswordHash::new(text).is_ok();
    if !whole {
        return Err("a broken SHA-crypt hash");
    }
    Ok(Hash::ShaCrypt(text.to_owned()))
}

/// Compares without stopping at the first difference.
fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

/// Apache's variant of MD5-crypt (apr_md5.c): 1,000 rounds that mix password, salt and result by the round's number.
fn apr1(password: &[u8], salt: &[u8]) -> String {
    let mut alternate: [u8; 16] = Md5::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize()
        .into();
    let mut context = Md5::new()
        .chain_update(password)
        .chain_update(b"$apr1$")
        .chain_update(salt);
    let mut left = password.len();
    while left > 0 {
        context.update(&alternate[..left.min(16)]);
        left = left.saturating_sub(16);
    }
    alternate.fill(0);
    let mut bits = password.len();
    while bits > 0 {
        context.update(if bits & 1 == 1 {
            &alternate[..1]
        } else {
            &password[..1]
        });
        bits >>= 1;
    }
    let mut result: [u8; 16] = context.finalize().into();
    for round in 0..1_000 {
        let mut context = Md5::new();
        let odd = round % 2 == 1;
        context.update(if odd { password } else { &result });
        if round % 3 != 0 {
            context.update(salt);
        }
        if round % 7 != 0 {
            context.update(password);
        }
        context.update(if odd { &result[..] } else { password });
        result = context.finalize().into();
    }
    encode_apr1(&result)
}

/// crypt's own base64: little groups of bytes in a fixed shuffle, six bits at a time from the low end.
fn encode_apr1(bytes: &[u8; 16]) -> String {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(22);
    let mut push = |mut bits: u32, characters: usize| {
        for _ in 0..characters {
            text.push(char::from(ALPHABET[(bits & 63) as usize]));
            bits >>= 6;
        }
    };
    for [high, middle, low] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        let bits =
            u32::from(bytes[high]) << 16 | u32::from(bytes[middle]) << 8 | u32::from(bytes[low]);
        push(bits, 4);
    }
    push(u32::from(bytes[11]), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by other programs: openssl, libcrypt, the argon2 command line, htpasswd.
    const KNOWN: &[(&str, &str)] = &[
        (
            "secret",
            "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
        ),
        ("secret", "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0"),
        (
            "a much longer password than sixteen bytes ü",
            "$apr1$ab$aYiP4WYFJ.tJHz8MMgobf0",
        ),
        (
            "secret",
            "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.",
        ),
        (
            "secret",
            "$6$abcdefghijklmnop$J/AWykHqo2Tx5UtavGnFc3ytI33la50JpzLTarSWVhkIXK6wOjNwwZjsrIw2UgmrER2EKrSHCeQyAINEEXAk1/",
        ),
        (
            "secret",
            "$6$rounds=1234$saltstring$jEjbdVgI3DJ2.2esJ0sGPhhOCjuOMC3NT4lLq17ZGmWxZHhdBv5MlVgCU2CU8OvKOT9He.hkrN.SUx28Eu6OE0",
        ),
        (
            "password",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        ),
        (
            "password",
            "$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
        ),
        ("pass:word", "{SHA}JfOwpCDy5ASLqp0M24rdutzyYk8="),
    ];

    #[test]
    fn hashes_of_other_programs_verify() {
        for (password, text) in KNOWN {
            let hash = Hash::parse(text).expect(text);
            assert!(hash.verify(password), "{text}");
            for wrong in ["", "Secret", "secret ", "x"] {
                assert!(!hash.verify(wrong), "{text} took `{wrong}`");
            }
        }
        for prefix in ["$2a$", "$2b$"] {
            let text = KNOWN[0].1.replace("$2y$", prefix);
            assert!(Hash::parse(&text).expect("bcrypt").verify("secret"));
        }
    }

    #[test]
    fn a_family_is_the_scheme_and_its_cost() {
        let families: Vec<_> = KNOWN
            .iter()
            .map(|(_, text)| Hash::parse(text).expect(text).family())
            .collect();
        assert_eq!(
            families,
            [
                "bcrypt 05",
                "apr1",
                "apr1",
                "sha-crypt 5 rounds=5000",
                "sha-crypt 6 rounds=5000",
                "sha-crypt 6 rounds=1234",
                "argon2id v=19 m=65536,t=2,p=1",
                "argon2i v=19 m=65536,t=2,p=4",
                "sha1",
            ]
        );
    }

    #[test]
    fn what_cannot_be_verified_is_refused_when_it_is_read() {
        for bad in [
            "",
            "secret",
            "rl.3StKT.4T8M",
            "$1$salt$hash",
            "$2y$05$short",
            "$2y$31$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
            "$2y$16$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
            "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$nonsense",
            "$5$",
            "$5$abcdefgh$short",
            "$6$rounds=999999999$saltstring$jEjbdVgI3DJ2.2esJ0sGPhhOCjuOMC3NT4lLq17ZGmWxZHhdBv5MlVgCU2CU8OvKOT9He.hkrN.SUx28Eu6OE0",
            "$6$rounds=1$saltstring$jEjbdVgI3DJ2.2esJ0sGPhhOCjuOMC3NT4lLq17ZGmWxZHhdBv5MlVgCU2CU8OvKOT9He.hkrN.SUx28Eu6OE0",
            "$apr1$salt",
            "$apr1$saltsalt$short",
            "{SHA}",
            "{SHA}AAAA",
            "{SSHA}JfOwpCDy5ASLqp0M24rdutzyYk8=",
        ] {
            assert!(Hash::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_line_that_was_made_here_is_read_here() {
        let line = bcrypt_line("ci", "correct horse").expect("a line");
        let (user, text) = line.split_once(':').expect("a colon");
        assert_eq!(user, "ci");
        assert!(text.starts_with("$2y$10$"), "{text}");
        let hash = Hash::parse(text).expect("read");
        assert!(hash.verify("correct horse") && !hash.verify("correct"));
        assert_eq!(hash.family(), Hash::nobody().family());
        assert!(
            Hash::parse(match &Hash::nobody() {
                Hash::Bcrypt(text) => text,
                _ => panic!("bcrypt"),
            })
            .is_ok()
        );
        for (user, password) in [
            ("", "x"),
            ("a:b", "x"),
            ("#a", "x"),
            (" a", "x"),
            ("a\n", "x"),
            ("a", ""),
            ("a", &"x".repeat(72)),
            ("a", "x\0y"),
        ] {
            assert!(bcrypt_line(user, password).is_err(), "{user:?}");
        }
    }
}
