//! Real indexes and charts. They are not part of this repository: `CHARTGATE_CORPUS` or `../shared/corpus` is where they lie.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The corpus folder, or `None` (with a note) where there is none. A `CHARTGATE_CORPUS` that does not exist fails the test.
pub(crate) fn folder() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CHARTGATE_CORPUS") {
        let path = PathBuf::from(path);
        assert!(
            path.join("indexes").is_dir(),
            "CHARTGATE_CORPUS={} holds no `indexes`",
            path.display()
        );
        return Some(path);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if path.join("indexes").is_dir() {
        return Some(path);
    }
    eprintln!("did not run: no corpus of real indexes; set CHARTGATE_CORPUS");
    None
}

/// Every index file of the corpus by its name without endings, unpacked.
pub(crate) fn indexes(corpus: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(corpus.join("indexes"))
        .expect("the corpus' indexes")
        .map(|entry| entry.expect("a folder that can be listed").path())
        .filter_map(|path| {
            let file = path.file_name()?.to_str()?;
            let name = file.strip_suffix(".gz").unwrap_or(file);
            let name = name
                .strip_suffix(".yaml")
                .or_else(|| name.strip_suffix(".json"))?;
            Some((name.to_owned(), read(&path)))
        })
        .collect()
}

/// A file, unpacked where its name ends in `.gz`.
pub(crate) fn read(path: &Path) -> Vec<u8> {
    let bytes =
        std::fs::read(path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
    if path.extension().is_none_or(|ending| ending != "gz") {
        return bytes;
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_end(&mut plain)
        .unwrap_or_else(|error| panic!("unpacking {}: {error}", path.display()));
    plain
}

/// A packaged chart, by its path below `charts/`.
pub(crate) fn chart(corpus: &Path, path: &str) -> Vec<u8> {
    read(&corpus.join("charts").join(path))
}

/// The folders of packaged charts, by name.
pub(crate) fn chart_folders(corpus: &Path) -> BTreeMap<String, PathBuf> {
    std::fs::read_dir(corpus.join("charts"))
        .expect("the corpus' charts")
        .map(|entry| entry.expect("a folder that can be listed").path())
        .filter(|path| path.is_dir())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            // Names of upstreams are simpler than names of folders.
            Some((name.replace('+', "-").to_lowercase(), path))
        })
        .collect()
}

/// The sha256 of `bytes` in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
