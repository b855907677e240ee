//! The last good answer of a server of keys, kept in the data folder for the time after a restart.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

use super::set::MAX_BYTES;
use crate::auth::private;
use crate::digest::Digest;

/// Its folder in the data folder.
const FOLDER: &str = "jwks";

/// The file of one URL.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    path: PathBuf,
    url: String,
}

impl Kept {
    pub(super) fn new(data_dir: &Path, url: &Url) -> Self {
        let name = format!("{}.json", Digest::of(url.as_str().as_bytes()).to_hex());
        Self {
            path: data_dir.join(FOLDER).join(name),
            url: url.to_string(),
        }
    }

    /// The answer, and when it was fetched; `None` where there is none that can be read. Blocking.
    pub(super) fn read(&self) -> Option<(Vec<u8>, Timestamp)> {
        let bytes = match read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.warn("read", &error);
                return None;
            }
        };
        let Some(found) = self.parse(&bytes) else {
            self.warn("used", &"it is damaged");
            return None;
        };
        Some(found)
    }

    fn parse(&self, bytes: &[u8]) -> Option<(Vec<u8>, Timestamp)> {
        let file: Value = serde_json::from_slice(bytes).ok()?;
        if file.get("url")?.as_str()? != self.url {
            return None;
        }
        let fetched = file.get("fetched")?.as_str()?.parse().ok()?;
        Some((file.get("answer")?.as_str()?.as_bytes().to_vec(), fetched))
    }

    /// Keeps `answer`, which is a set and so text. Failing costs an answer after a restart, so it only warns. Blocking.
    pub(super) fn write(&self, answer: &[u8], fetched: Timestamp) {
        let text = json!({
            "url": self.url,
            "fetched": fetched.to_string(),
            "answer": String::from_utf8_lossy(answer),
        });
        if let Err(error) = write(&self.path, &text.to_string()) {
            self.warn("written", &error);
        }
    }

    fn warn(&self, what: &str, error: &dyn std::fmt::Display) {
        tracing::warn!(
            file.path = %self.path.display(),
            "the keys of `{}` that are kept in `{}` cannot be {what}: {error}",
            self.url,
            self.path.display()
        );
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Twice: what stands in quotes grows.
    let limit = 2 * MAX_BYTES as u64 + 4096;
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The first `limit` bytes of a small file that others write. Blocking.
pub(super) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

/// Whole or not at all, also where two replicas share the folder.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let scratch = private::unfinished(folder, &format!("{name}."))?;
    let written = private::create(&scratch)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&scratch, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&scratch);
    }
    written?;
    File::open(folder)?.sync_all()
}
