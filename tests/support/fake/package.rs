//! Chart packages made in memory.

use std::io::Write as _;

use bytes::Bytes;
use chartgate::digest::Digest;

/// A chart of a fake upstream.
#[derive(Clone, Debug)]
pub(crate) struct FakeChart {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) archive: Bytes,
    pub(super) provenance: Option<Bytes>,
    pub(super) digest: Option<String>,
    pub(super) url: Option<String>,
    pub(super) path: String,
    pub(super) created: String,
    pub(super) extra: String,
}

impl FakeChart {
    /// A small valid chart under `/charts/<name>-<version>.tgz`, listed with a relative URL and its digest.
    pub(crate) fn new(name: &str, version: &str) -> Self {
        let archive = package(name, version, &[]);
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            digest: Some(Digest::of(&archive).to_hex()),
            archive,
            provenance: None,
            url: None,
            path: format!("/charts/{name}-{version}.tgz"),
            created: "2026-01-02T03:04:05Z".to_owned(),
            extra: String::new(),
        }
    }

    /// Adds about `bytes` bytes that do not compress.
    pub(crate) fn size(mut self, bytes: usize) -> Self {
        let noise = noise(bytes, 7);
        self.archive = package(&self.name, &self.version, &[("files/noise.bin", &noise)]);
        self.digest = Some(Digest::of(&self.archive).to_hex());
        self
    }

    /// Other content under the same name and version.
    pub(crate) fn content(mut self, text: &str) -> Self {
        let files: &[(&str, &[u8])] = &[("templates/NOTES.txt", text.as_bytes())];
        self.archive = package(&self.name, &self.version, files);
        self.digest = Some(Digest::of(&self.archive).to_hex());
        self
    }

    /// Serves these bytes as archive and lists their digest.
    pub(crate) fn archive(mut self, bytes: impl Into<Bytes>) -> Self {
        self.archive = bytes.into();
        self.digest = Some(Digest::of(&self.archive).to_hex());
        self
    }

    /// Lists this digest, true or not.
    pub(crate) fn digest(mut self, digest: &str) -> Self {
        self.digest = Some(digest.to_owned());
        self
    }

    /// Lists no digest.
    pub(crate) fn without_digest(mut self) -> Self {
        self.digest = None;
        self
    }

    /// Lists this URL (any form) instead of the relative one.
    pub(crate) fn url(mut self, url: &str) -> Self {
        self.url = Some(url.to_owned());
        self
    }

    /// Serves the archive under this path, exactly as the request line must have it.
    pub(crate) fn path(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// Serves this provenance file beside the archive.
    pub(crate) fn provenance(mut self, text: &str) -> Self {
        self.provenance = Some(Bytes::copy_from_slice(text.as_bytes()));
        self
    }

    /// The entry's `created`.
    pub(crate) fn created(mut self, time: &str) -> Self {
        self.created = time.to_owned();
        self
    }

    /// A line of YAML added to the entry, such as `appVersion: "1.0"`.
    pub(crate) fn field(mut self, line: &str) -> Self {
        self.extra.push_str("    ");
        self.extra.push_str(line);
        self.extra.push('\n');
        self
    }

    /// The archive.
    pub(crate) fn bytes(&self) -> Bytes {
        self.archive.clone()
    }

    /// Its entry in an index.
    pub(super) fn entry(&self) -> String {
        let url = self
            .url
            .clone()
            .unwrap_or_else(|| self.path.trim_start_matches('/').to_owned());
        let digest = self
            .digest
            .as_ref()
            .map(|digest| format!("    digest: {digest}\n"))
            .unwrap_or_default();
        format!(
            "  - apiVersion: v2\n    created: \"{}\"\n    description: a fake of {}\n{digest}{}    name: {}\n    urls:\n    - \"{url}\"\n    version: \"{}\"\n",
            self.created, self.name, self.extra, self.name, self.version
        )
    }
}

/// A valid chart package: Chart.yaml, values.yaml, one template and `files` (paths inside the chart's folder).
/// The same arguments give the same bytes.
pub(crate) fn package(name: &str, version: &str, files: &[(&str, &[u8])]) -> Bytes {
    let chart_yaml = format!(
        "apiVersion: v2\nname: {name}\nversion: \"{version}\"\ndescription: a fake of {name}\n"
    );
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  colour: {{ .Values.colour | quote }}\n";
    let mut all: Vec<(&str, &[u8])> = vec![
        ("Chart.yaml", chart_yaml.as_bytes()),
        ("values.yaml", b"colour: blue\n"),
        ("templates/configmap.yaml", template.as_bytes()),
    ];
    all.extend_from_slice(files);
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in all {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("{name}/{path}"), content)
            .expect("memory takes it");
    }
    gzip(&tar.into_inner().expect("memory takes it"))
}

/// `bytes` compressed.
pub(super) fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it").into()
}

/// Bytes that look random and are the same for the same seed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
