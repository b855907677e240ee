//! What each target does with its input. Used by the fuzzer (`fuzz_targets/`) and, for a bounded number of inputs, by the tests of
//! the product (`tests/fuzzing/`).

use std::cmp::Ordering;

use chartgate::api::Route;
use chartgate::chart::archive::{Limits, Strictness, read};
use chartgate::chart::{Constraint, Version};
use chartgate::http::Method;
use chartgate::index::SourceIndex;
use chartgate::names::FileName;
use chartgate::oci::{Challenge, MAX_MANIFEST, Manifest, ManifestType, challenge, referrers};

/// Any bytes as an uploaded package: no panic, and whatever is accepted has a name and version that are safe as a file name.
pub(crate) fn archive(bytes: &[u8]) {
    if let Ok(chart) = read(bytes, &Limits::helm(), Strictness::Upload) {
        let file = format!("{}-{}.tgz", chart.metadata.name, chart.metadata.version);
        assert!(FileName::parse(&file).is_ok(), "{file:?}");
    }
}

/// Any bytes as an upstream's index: no panic, and what is taken out of them can be merged and read back.
pub(crate) fn index(text: &[u8]) {
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
}

/// Any text as `WWW-Authenticate`: no panic, no endless loop; what we write of what we read is read the same.
pub(crate) fn challenge(bytes: &[u8]) {
    let line = &String::from_utf8_lossy(bytes);
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
}

/// Any bytes as a manifest, pushed or from an upstream: no panic, and nothing that is accepted is two things at once.
pub(crate) fn manifest(bytes: &[u8]) {
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
}

/// Any method (the first byte) and path (the others): no panic, and no route that holds a separator, a dot segment or a control
/// character.
pub(crate) fn route(bytes: &[u8]) {
    let Some((choice, path)) = bytes.split_first() else {
        return;
    };
    let path = &String::from_utf8_lossy(path);
    let method = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
    ][usize::from(*choice) % 5]
        .clone();
    let Ok(route) = Route::parse(&method, path) else {
        return;
    };
    let (tenant, file) = match route {
        Route::Index { tenant }
        | Route::Charts { tenant }
        | Route::Upload { tenant }
        | Route::UploadProvenance { tenant } => (tenant, String::new()),
        Route::File { tenant, file } => (tenant, file.as_str().to_owned()),
        Route::Version {
            tenant,
            name,
            version,
        }
        | Route::Delete {
            tenant,
            name,
            version,
        } => (tenant, format!("{name}-{version}")),
        _ => return,
    };
    assert!(
        !tenant.split('/').any(|part| part == ".." || part == "."),
        "{tenant:?}"
    );
    for text in [&tenant, &file] {
        assert!(!text.contains(['\0', '\\', '\n', '\r']), "{text:?}");
    }
    assert!(!file.contains('/'), "{file:?}");
}

/// Two versions and a constraint, a line each: no panic; comparing is a total order.
pub(crate) fn version(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (left, right, constraint) = (line(), line(), line());
    let left = Version::parse(left);
    if let (Ok(left), Ok(right)) = (&left, &Version::parse(right)) {
        assert_eq!(left.compare(right), right.compare(left).reverse());
        assert_eq!(left.compare(left), Ordering::Equal);
    }
    if let (Ok(version), Ok(constraint)) = (&left, Constraint::parse(constraint)) {
        let _ = constraint.matches(version);
    }
}
