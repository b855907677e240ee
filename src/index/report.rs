//! What cleaning dropped and repaired, in a closed list of reasons.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Notes that one list holds; the totals count all.
const MAX_ITEMS: usize = 1000;

/// Why an entry was dropped or what was repaired. The labels are stable names in metrics and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Dropped: an element of the version list is not an object.
    NotAnObject,
    /// Dropped: the text of the entry cannot be parsed.
    Syntax,
    /// Dropped: it is not UTF-8.
    Encoding,
    /// Dropped: a field has a list or object where a text belongs, or the other way round.
    FieldType,
    /// Dropped: larger than an entry may be.
    TooLarge,
    /// Dropped: too many brackets or aliases to be parsed safely.
    TooComplex,
    /// Dropped: the index has more versions than are read.
    TooMany,
    /// Dropped: the key under `entries` cannot be part of a file name.
    KeyInvalid,
    /// Dropped: `name` is missing; Helm drops it too.
    NameMissing,
    /// Dropped: `name` is a path; Helm drops it too.
    NameInvalid,
    /// Dropped: `version` is missing; Helm drops it too.
    VersionMissing,
    /// Dropped: `version` is not semantic; Helm drops it too.
    VersionInvalid,
    /// Dropped: `type` is neither application nor library; Helm drops it too.
    TypeInvalid,
    /// Dropped: a null in `maintainers`; Helm drops it too.
    MaintainersInvalid,
    /// Dropped: a null or a bad alias in `dependencies`; Helm drops it too.
    DependenciesInvalid,
    /// Dropped: there is no URL to fetch it from.
    UrlsMissing,
    /// Dropped: no URL can be used.
    UrlInvalid,
    /// Dropped: the same version came twice from one source.
    Duplicate,
    /// Repaired: a number or boolean where text belongs; its text is kept.
    UnquotedScalar,
    /// Repaired: `created` was not RFC 3339; rewritten where it can be read, else left out.
    CreatedInvalid,
    /// Repaired: `digest` was not a SHA-256; left out.
    DigestInvalid,
    /// Repaired: `deprecated` or `removed` was not a boolean.
    FlagText,
    /// Repaired: a key that Helm does not know was left out.
    UnknownField,
    /// Repaired: a key came twice; the last one counts.
    DuplicateField,
    /// Repaired: a value that cannot be shown was left out.
    FieldDropped,
    /// Repaired: one of several URLs cannot be used.
    UrlDropped,
}

impl Reason {
    /// Every reason, in order.
    pub const ALL: [Self; 26] = [
        Self::NotAnObject,
        Self::Syntax,
        Self::Encoding,
        Self::FieldType,
        Self::TooLarge,
        Self::TooComplex,
        Self::TooMany,
        Self::KeyInvalid,
        Self::NameMissing,
        Self::NameInvalid,
        Self::VersionMissing,
        Self::VersionInvalid,
        Self::TypeInvalid,
        Self::MaintainersInvalid,
        Self::DependenciesInvalid,
        Self::UrlsMissing,
        Self::UrlInvalid,
        Self::Duplicate,
        Self::UnquotedScalar,
        Self::CreatedInvalid,
        Self::DigestInvalid,
        Self::FlagText,
        Self::UnknownField,
        Self::DuplicateField,
        Self::FieldDropped,
        Self::UrlDropped,
    ];

    /// The stable snake_case label.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotAnObject => "not_an_object",
            Self::Syntax => "syntax",
            Self::Encoding => "encoding",
            Self::FieldType => "field_type",
            Self::TooLarge => "too_large",
            Self::TooComplex => "too_complex",
            Self::TooMany => "too_many",
            Self::KeyInvalid => "key_invalid",
            Self::NameMissing => "name_missing",
            Self::NameInvalid => "name_invalid",
            Self::VersionMissing => "version_missing",
            Self::VersionInvalid => "version_invalid",
            Self::TypeInvalid => "type_invalid",
            Self::MaintainersInvalid => "maintainers_invalid",
            Self::DependenciesInvalid => "dependencies_invalid",
            Self::UrlsMissing => "urls_missing",
            Self::UrlInvalid => "url_invalid",
            Self::Duplicate => "duplicate",
            Self::UnquotedScalar => "unquoted_scalar",
            Self::CreatedInvalid => "created_invalid",
            Self::DigestInvalid => "digest_invalid",
            Self::FlagText => "flag_text",
            Self::UnknownField => "unknown_field",
            Self::DuplicateField => "duplicate_field",
            Self::FieldDropped => "field_dropped",
            Self::UrlDropped => "url_dropped",
        }
    }

    /// The number under which it is kept on disk; never reuse one.
    pub(super) fn code(self) -> u8 {
        self as u8
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.label())
    }
}

/// One dropped or repaired entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The key under `entries`.
    pub chart: Arc<str>,
    /// The version as written; empty where there is none.
    pub version: Box<str>,
    /// Why.
    pub reason: Reason,
    /// A few words for people.
    pub detail: Box<str>,
}

/// Totals, and a bounded list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// All of them.
    pub total: usize,
    /// All of them by reason.
    pub by_reason: BTreeMap<Reason, usize>,
    /// The first 1000, in order of chart name.
    pub items: Vec<Note>,
}

impl Tally {
    pub(super) fn add(&mut self, chart: &Arc<str>, version: &str, reason: Reason, detail: &str) {
        self.total += 1;
        *self.by_reason.entry(reason).or_default() += 1;
        if self.items.len() < MAX_ITEMS {
            self.items.push(Note {
                chart: Arc::clone(chart),
                version: version.into(),
                reason,
                detail: detail.into(),
            });
        }
    }
}

/// What was done to one source's entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceReport {
    /// Entries that are not published.
    pub dropped: Tally,
    /// Entries that are published otherwise than written.
    pub repaired: Tally,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_labels_and_the_list_agree() {
        for (code, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(reason.code()), code);
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
        let labels: std::collections::BTreeSet<_> = Reason::ALL.map(Reason::label).into();
        assert_eq!(labels.len(), Reason::ALL.len());
    }

    #[test]
    fn a_tally_counts_more_than_it_lists() {
        let mut tally = Tally::default();
        for _ in 0..MAX_ITEMS + 5 {
            tally.add(&Arc::from("a"), "1", Reason::Syntax, "x");
        }
        assert_eq!((tally.total, tally.items.len()), (MAX_ITEMS + 5, MAX_ITEMS));
        let json = serde_json::to_value(&tally).expect("json");
        assert_eq!(json["by_reason"]["syntax"], 1005);
    }
}
