//! Named documents that are kept until they are replaced: the last good index of an upstream. Never evicted, not under the
//! cap. A file is `sha256:<hex>` and a line feed, then the document: what was damaged later is noticed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::folder::Folder;
use crate::digest::Digest;

/// Replaces a document: atomic, and durable when it returns. Blocking.
pub(super) fn put(folder: &Folder, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (mut file, temporary) = folder.create_temporary()?;
    let target = path(folder, name);
    let written = file
        .write_all(header(bytes).as_bytes())
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_data())
        .and_then(|()| folder.publish(&temporary, &target))
        .and_then(|()| File::open(folder.documents())?.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// The document, or `None` where there is none. Errors: it cannot be read or is damaged. Blocking.
pub(super) fn get(folder: &Folder, name: &str) -> io::Result<Option<Bytes>> {
    let content = match fs::read(path(folder, name)) {
        Ok(content) => Bytes::from(content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the document is damaged");
    if content.len() < HEADER {
        return Err(damaged());
    }
    let document = content.slice(HEADER..);
    if *header(&document).as_bytes() != content[..HEADER] {
        return Err(damaged());
    }
    Ok(Some(document))
}

fn header(bytes: &[u8]) -> String {
    format!("{}\n", Digest::of(bytes))
}

/// A readable file name where that fits, else a digest of the name. Never a dot name: the suffix sees to that.
fn path(folder: &Folder, name: &str) -> PathBuf {
    let readable = utf8_percent_encode(name, ESCAPED).to_string();
    let stem = if readable.len() <= LONGEST {
        readable
    } else {
        Digest::of(name.as_bytes()).to_hex()
    };
    Path::new(&folder.documents()).join(stem + ".doc")
}

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// File systems allow 255 bytes.
const LONGEST: usize = 200;

/// `sha256:`, 64 characters and a line feed.
const HEADER: usize = 72;

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::open(dir.path().to_owned()).expect("folder");
        (dir, folder)
    }

    #[test]
    fn any_name_keeps_its_own_document() {
        let (dir, folder) = folder();
        let long = "n".repeat(4000);
        let names = [
            "",
            ".",
            "..",
            "../../x",
            "a/b",
            "a%2Fb",
            "ingress-nginx",
            &long,
            "ü\0",
        ];
        for name in names {
            assert_eq!(get(&folder, name).expect("readable"), None);
            put(&folder, name, name.as_bytes()).expect("written");
        }
        for name in names {
            assert_eq!(
                get(&folder, name).expect("readable").as_deref(),
                Some(name.as_bytes())
            );
        }
        let files = fs::read_dir(dir.path().join("index"))
            .expect("folder")
            .count();
        assert_eq!(files, names.len());
    }

    #[test]
    fn a_document_is_replaced_whole_and_a_damaged_one_is_an_error() {
        let (dir, folder) = folder();
        put(&folder, "a", b"first").expect("written");
        put(&folder, "a", b"second").expect("written");
        assert_eq!(
            get(&folder, "a").expect("readable").as_deref(),
            Some(&b"second"[..])
        );
        let file = dir.path().join("index/a.doc");
        let whole = fs::read(&file).expect("file");
        for damaged in [&whole[..whole.len() - 1], &whole[..10], b""] {
            fs::write(&file, damaged).expect("written");
            assert!(get(&folder, "a").is_err());
        }
    }
}
