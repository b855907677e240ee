//! Any bytes as a manifest, pushed or from an upstream: no panic, and nothing that is accepted is two things at once.

#![no_main]

use chartgate::oci::{MAX_MANIFEST, Manifest, ManifestType, referrers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for kind in [
        ManifestType::Image,
        ManifestType::Index,
        ManifestType::DockerImage,
        ManifestType::Artifact,
    ] {
        if let Ok(manifest) = Manifest::inspect(Some(kind.as_str()), bytes, MAX_MANIFEST) {
            assert_eq!(manifest.media_type, kind);
            assert!(manifest.manifests.is_empty() || manifest.config.is_none());
        }
    }
    if let Ok(manifest) = Manifest::receive(None, bytes, MAX_MANIFEST) {
        // What is listed of it can be read again.
        let digest = chartgate::oci::Digest::of(chartgate::oci::Algorithm::Sha256, bytes);
        let one = referrers::describe(&manifest, digest, bytes.len() as u64);
        let text = referrers::render(std::slice::from_ref(&one), None);
        assert_eq!(referrers::read(&text).expect("our own text"), [one]);
    }
});
