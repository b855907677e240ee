//! `audit:`

use std::path::PathBuf;

use super::section::Value;
use super::{Audit, AuditPlace};

/// Smaller files would be renamed with every other request.
const MIN_SIZE: u64 = 64 << 10;

/// The section; absent: nothing is written.
pub(super) fn read(value: Option<Value<'_>>) -> Option<Audit> {
    let value = value?;
    let mut section = value.section()?;
    let place = super::resolve::required(&mut section, "file", |value| {
        value.parsed(|text| match text {
            "" => Err("write the path of a file, or `stdout`".into()),
            "stdout" => Ok(AuditPlace::Stdout),
            _ => Ok(AuditPlace::File(PathBuf::from(text))),
        })
    });
    let max_size = section.size("max_size", 100 << 20);
    if max_size < MIN_SIZE {
        section.mistake("`max_size`: at least 64KiB");
    }
    let keep = section.parsed_or("keep", 10, |text| match text.parse() {
        Ok(keep @ 0..=1000) => Ok(keep),
        _ => Err("write a number from 0 to 1000".into()),
    });
    section.finish();
    Some(Audit {
        place: place?,
        max_size,
        keep,
    })
}
