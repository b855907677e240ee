//! Archives for tests, good and bad.

use std::io::Write as _;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

/// A tar archive under construction.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.member(EntryType::Regular, name, content.as_ref())
    }

    /// Any member, with a name that is not checked and may be too long for a header.
    pub(crate) fn member(self, kind: EntryType, name: &str, content: &[u8]) -> Self {
        self.header(kind, name, content.len() as u64).bytes(content)
    }

    /// A header that promises `size` bytes, and nothing else.
    pub(crate) fn header(mut self, kind: EntryType, name: &str, size: u64) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        let bytes = name.as_bytes();
        let length = bytes.len().min(100);
        header.as_old_mut().name[..length].copy_from_slice(&bytes[..length]);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self
    }

    /// Content, padded to a block.
    pub(crate) fn bytes(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Bytes as they are.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A PAX header with these records.
    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut content = String::new();
        for (key, value) in records {
            let body = format!(" {key}={value}\n");
            let mut length = body.len() + 1;
            while body.len() + length.to_string().len() != length {
                length += 1;
            }
            content += &format!("{length}{body}");
        }
        self.member(EntryType::XHeader, "pax", content.as_bytes())
    }

    /// The end of the archive, gzipped.
    pub(crate) fn finish(self) -> Vec<u8> {
        gzip(&self.raw(&[0; 1024]).0)
    }

    /// Gzipped without an end.
    pub(crate) fn unfinished(self) -> Vec<u8> {
        gzip(&self.0)
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

/// The smallest valid package of a chart.
pub(crate) fn package(name: &str, version: &str) -> Vec<u8> {
    package_with(name, version, "")
}

/// A valid package with a description, so that two of one version differ.
pub(crate) fn package_with(name: &str, version: &str, description: &str) -> Vec<u8> {
    let chart = format!(
        "apiVersion: v2\nname: {name}\nversion: \"{version}\"\ndescription: {description:?}\n"
    );
    Tar::default()
        .file(&format!("{name}/Chart.yaml"), chart)
        .file(&format!("{name}/values.yaml"), "a: 1\n")
        .finish()
}

/// The folder of real charts, where the machine has it.
pub(crate) fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("CHARTGATE_CORPUS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"),
        PathBuf::from,
    );
    let charts = folder.join("charts");
    if charts.is_dir() {
        return Some(charts);
    }
    eprintln!("not run: no corpus of charts; set CHARTGATE_CORPUS");
    None
}
