//! Any text as `WWW-Authenticate`: no panic, no endless loop; what we write of what we read is read the same.

#![no_main]

use chartgate::oci::{Challenge, challenge};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    for challenge in challenge::parse(line) {
        let Challenge::Bearer(mut bearer) = challenge else {
            continue;
        };
        let without_controls = |text: &mut String| text.retain(|c| !c.is_control());
        without_controls(&mut bearer.realm);
        for text in [&mut bearer.service, &mut bearer.error]
            .into_iter()
            .flatten()
        {
            without_controls(text);
        }
        bearer.service = bearer.service.filter(|text| !text.is_empty());
        bearer.error = bearer.error.filter(|text| !text.is_empty());
        bearer.scopes.iter_mut().for_each(without_controls);
        bearer.scopes.retain(|text| !text.is_empty());
        let written = bearer.to_string();
        if written.len() <= 16 << 10 {
            assert_eq!(challenge::parse(&written), [Challenge::Bearer(bearer)]);
        }
    }
});
