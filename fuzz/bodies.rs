//! What each target does with its input. Used by the fuzzer (`fuzz_targets/`) and, for a bounded number of inputs, by the tests of
//! the product (`tests/fuzzing/`).

use std::cmp::Ordering;
use std::path::Path;

use chartgate::api::{self, Route};
use chartgate::chart::archive::{Limits, Strictness, read};
use chartgate::chart::{Constraint, Version, provenance};
use chartgate::config::{self, ForwardedHeader, Network, TrustedProxies};
use chartgate::http::{Authority, HeaderMap, HeaderValue, Method, header, range};
use chartgate::index::SourceIndex;
use chartgate::names::FileName;
use chartgate::oci::{
    Challenge, MAX_MANIFEST, Manifest, ManifestType, Scope, challenge, link, referrers,
};
use chartgate::{auth, server};

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

/// The value of `Authorization`: no panic; a user has no colon in his name, and what was read is read again from how it is written.
pub(crate) fn credentials(bytes: &[u8]) {
    let Some((Some(user), password)) = auth::untrusted::credentials(bytes) else {
        return;
    };
    assert!(!user.contains(':'), "{user:?}");
    let text = chartgate::base64::encode(format!("{user}:{password}").as_bytes());
    let again = auth::untrusted::credentials(format!("Basic {text}").as_bytes());
    assert_eq!(again, Some((Some(user), password)));
}

/// A token before anything of it is verified: no panic, and no algorithm without a public key.
pub(crate) fn token(bytes: &[u8]) {
    if let Some(algorithm) = auth::untrusted::token(&String::from_utf8_lossy(bytes)) {
        let public = ["RS", "PS", "ES", "Ed"];
        assert!(
            public.iter().any(|family| algorithm.starts_with(family)),
            "{algorithm}"
        );
    }
}

/// What a server says its keys are: no panic, and neither none nor too many of them.
pub(crate) fn keys(bytes: &[u8]) {
    if let Ok(count) = auth::untrusted::key_set(bytes) {
        assert!((1..=100).contains(&count), "{count}");
    }
}

/// The start of a connection of a load balancer: no panic; a header ends where it says, and nothing behind it changes it.
pub(crate) fn proxy(bytes: &[u8]) {
    let Some((client, length)) = server::untrusted::proxy_header(bytes) else {
        return;
    };
    assert!((1..=16 + 4096).contains(&length), "{length}");
    for rest in [&b""[..], b"GET / HTTP/1.1\r\n"] {
        let again = [&bytes[..length], rest].concat();
        let read = server::untrusted::proxy_header(&again);
        assert_eq!(read, Some((client, length)));
    }
}

/// What a client writes into the fields that trusted proxies append to: no panic, and it never becomes the address.
pub(crate) fn forwarded(bytes: &[u8]) {
    let trusted = TrustedProxies {
        networks: vec![Network::parse("10.0.0.0/8").expect("a network")],
        unix: false,
    };
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (first, second, third) = (line(), line(), line());
    for (kind, fields) in [
        (
            ForwardedHeader::XForwarded,
            vec![
                ("x-forwarded-for", first),
                ("x-forwarded-proto", second),
                ("x-forwarded-host", third),
                ("x-forwarded-for", b"203.0.113.9"),
            ],
        ),
        (
            ForwardedHeader::Standard,
            vec![
                ("forwarded", first),
                ("forwarded", second),
                ("forwarded", b"for=203.0.113.9"),
            ],
        ),
    ] {
        let Some((address, _, host)) = server::untrusted::forwarded(&fields, kind, &trusted) else {
            continue;
        };
        let address = address.map(|address| address.to_string());
        assert_eq!(address.as_deref(), Some("203.0.113.9:0"), "{kind:?}");
        if let Some(host) = host {
            assert!(Authority::parse(&host).is_some(), "{host:?}");
        }
    }
}

/// A path of a registry (the first byte is the method): no panic, and no name with empty, dot or control components.
pub(crate) fn registry(bytes: &[u8]) {
    let Some((choice, path)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(path);
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*text, None),
    };
    let method = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ][usize::from(*choice) % 6]
        .clone();
    let Some((name, base)) = api::untrusted::registry_path(&method, path, query) else {
        return;
    };
    assert!(["", "acme", "acme/hub"].contains(&&*base), "{base:?}");
    let odd = |part: &str| matches!(part, "" | "." | "..");
    assert!(name.is_empty() || !name.split('/').any(odd), "{name:?}");
    let bad = |c: char| c == '\\' || c.is_control();
    assert!(!name.contains(bad), "{name:?}");
}

/// `Link`, `Range` and scopes, all of the same text: no panic; ranges lie within what they are ranges of, scopes are read again
/// from how they are written.
pub(crate) fn fields(bytes: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let headers = HeaderMap::from_iter([(header::LINK, value.clone())]);
        if let Some(target) = link::next(&headers) {
            assert!(!target.contains('>'), "{target:?}");
        }
        let headers = HeaderMap::from_iter([(header::RANGE, value)]);
        for length in [0, 1, 1000, u64::MAX] {
            for selection in [
                range::select(&headers, length, None),
                range::select_strictly(&headers, length, None),
            ] {
                if let range::Selection::Part(part) = selection {
                    assert!(part.start < part.end && part.end <= length, "{part:?}");
                }
            }
        }
    }
    for scope in Scope::parse_list(&String::from_utf8_lossy(bytes)) {
        assert_eq!(Scope::parse(&scope.to_string()), Some(scope));
    }
}

/// A provenance file: no panic, and its name is safe as a file name.
pub(crate) fn prov(bytes: &[u8]) {
    let digest = chartgate::digest::Digest::of(b"");
    let _ = provenance::speaks_of(bytes, digest);
    if let Ok(name) = provenance::parse(bytes) {
        assert!(FileName::parse(&name.file_name).is_ok(), "{name:?}");
    }
}

/// A configuration: no panic, and every mistake says where it is.
pub(crate) fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(mistakes) = config::parse(&text, Path::new("/nowhere"), &|_| None) {
        assert!(!mistakes.0.is_empty());
        assert!(mistakes.0.iter().all(|mistake| !mistake.message.is_empty()));
    }
}
