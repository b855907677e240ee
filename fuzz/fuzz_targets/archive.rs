//! Any bytes as an uploaded package: no panic, and whatever is accepted has a name and version that are safe as a file name.

#![no_main]

use chartgate::chart::archive::{Limits, Strictness, read};
use chartgate::names::FileName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(chart) = read(bytes, &Limits::helm(), Strictness::Upload) {
        let file = format!("{}-{}.tgz", chart.metadata.name, chart.metadata.version);
        assert!(FileName::parse(&file).is_ok(), "{file:?}");
    }
});
