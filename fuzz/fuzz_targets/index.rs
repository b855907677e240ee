//! Any bytes as an upstream's index: no panic, and what is taken out of them can be merged and read back.

#![no_main]

use chartgate::index::SourceIndex;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let base = "https://charts.example.com/repo/index.yaml"
        .parse()
        .expect("a valid URL");
    let Ok(index) = SourceIndex::ingest(text, &base, None) else {
        return;
    };
    // What was read once is read again from its memory of itself, with the same result.
    let again = SourceIndex::ingest(text, &base, Some(&index)).expect("it was read a moment ago");
    assert_eq!(index.versions(), again.versions());
    assert_eq!(index.chart_count(), again.chart_count());
});
