//! Opening the file of an object and making sure that it is the object.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use super::lru::{Entry, Trust};
use super::tier::{Held, SMALL};
use crate::digest::{Digest, Hasher};

/// Opens a file and convinces itself of its bytes: the length always, the digest of small objects once per process, of
/// large ones where no earlier process recorded that it had checked it. The flag says whether the digest was checked now. Blocking.
pub(super) fn open(path: &Path, digest: &Digest, entry: &Entry) -> io::Result<(Held, bool)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length != entry.length {
        let lengths = format!("it has {length} bytes instead of {}", entry.length);
        return Err(io::Error::new(io::ErrorKind::InvalidData, lengths));
    }
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "its bytes have another digest");
    if length <= SMALL {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, 0)?;
        let check = entry.trust != Trust::Checked;
        if check && Digest::of(&bytes) != *digest {
            return Err(wrong());
        }
        return Ok((Held::Bytes(bytes.into()), check));
    }
    let check = entry.trust == Trust::Found;
    if check && digest_of(&file, length)? != *digest {
        return Err(wrong());
    }
    Ok((Held::File(Arc::new(file), length), check))
}

fn digest_of(file: &File, length: u64) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 256 * 1024];
    let mut at = 0;
    while at < length {
        let part = buffer
            .len()
            .min(usize::try_from(length - at).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..part], at)?;
        hasher.update(&buffer[..part]);
        at += part as u64;
    }
    Ok(hasher.finish())
}
