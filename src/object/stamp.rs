//! What tells an object's content from another's without reading it.

use std::sync::Arc;

use jiff::Timestamp;

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The last segment of its key.
    pub name: Arc<str>,
    /// What is known of it.
    pub stamp: Stamp,
}

/// What tells an object's content from another's without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// When it was written, as the place says; many know whole seconds only.
    pub modified: Timestamp,
    /// Another one for another content: a hash of the ETag, an inode. Zero where it is not known.
    pub tag: u64,
}

impl Stamp {
    /// Whether an object with this stamp and one with `other` hold the same bytes, as far as can be told.
    pub fn agrees(&self, other: &Self) -> bool {
        self.size == other.size
            && self.modified == other.modified
            && (self.tag == other.tag || self.tag == 0 || other.tag == 0)
    }
}

/// The whole second before.
pub(super) fn floor(time: Timestamp) -> Timestamp {
    let whole = time.as_nanosecond().div_euclid(NANOS) * NANOS;
    Timestamp::from_nanosecond(whole).unwrap_or(time)
}

/// The whole second after.
pub(super) fn ceil(time: Timestamp) -> Timestamp {
    let down = floor(time);
    if down == time {
        return time;
    }
    Timestamp::from_nanosecond(down.as_nanosecond() + NANOS).unwrap_or(down)
}

const NANOS: i128 = 1_000_000_000;

/// A number for a text that is another one for another content; never zero. Quotes and the mark of weakness do not count:
/// services put them into one answer and leave them out of another.
pub(super) fn tag(text: &str) -> u64 {
    let text = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
    match text {
        "" => 0,
        text => xxhash_rust::xxh3::xxh3_64(text.as_bytes()).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn fractions_are_cut_off_or_filled_up() {
        let fraction = time("2026-11-20T15:59:01.000001Z");
        assert_eq!(floor(fraction), time("2026-11-20T15:59:01Z"));
        assert_eq!(ceil(fraction), time("2026-11-20T15:59:02Z"));
        let whole = time("2026-11-20T15:59:01Z");
        assert_eq!((floor(whole), ceil(whole)), (whole, whole));
        assert_eq!(
            floor(time("1969-12-31T23:59:59.5Z")),
            time("1969-12-31T23:59:59Z")
        );
    }

    #[test]
    fn a_tag_is_what_stands_between_the_quotes() {
        assert_eq!(tag("\"abc\""), tag("abc"));
        assert_eq!(tag("W/\"abc\""), tag("abc"));
        assert_ne!(tag("abc"), tag("abd"));
        assert_eq!(tag("\"\""), 0);
    }

    #[test]
    fn stamps_agree_as_far_as_is_known() {
        let stamp = Stamp {
            size: 1,
            modified: Timestamp::UNIX_EPOCH,
            tag: 7,
        };
        assert!(stamp.agrees(&stamp));
        assert!(stamp.agrees(&Stamp { tag: 0, ..stamp }));
        assert!(!stamp.agrees(&Stamp { tag: 8, ..stamp }));
        assert!(!stamp.agrees(&Stamp { size: 2, ..stamp }));
        assert!(!stamp.agrees(&Stamp {
            modified: ceil(time("2026-01-01T00:00:00.5Z")),
            ..stamp
        }));
    }
}
