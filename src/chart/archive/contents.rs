//! Files out of an archive that is already trusted to be a chart.

use std::io::{BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::flaw::Flaws;
use super::members::{self, Kind, Members};
use super::{Budget, Limits, Source, Strictness, path};
use crate::error::{Error, ErrorKind, Result};

/// A file of the chart itself, by its path below the chart's folder.
pub type File = (String, Vec<u8>);

/// Which files are wanted, and how much of them.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Says by a path such as `templates/a.yaml` whether a file is wanted.
    pub path: fn(&str) -> bool,
    /// After this many the rest of the archive is not read.
    pub files: usize,
    /// Their bytes in all; more is [`ErrorKind::Unsupported`].
    pub bytes: u64,
}

/// Reads the wanted files in the order of the archive, as Helm loads them: without a byte order mark.
///
/// Blocking. Errors as [`super::read`]; the chart is not validated again.
pub fn files(reader: impl Read, limits: &Limits, wanted: Wanted) -> Result<Vec<File>> {
    let mut source = Source {
        reader,
        failure: None,
    };
    let found = collect(&mut source, limits, wanted);
    match source.failure {
        Some(failure) => Err(Error::internal("the chart archive cannot be read", failure)),
        None => found,
    }
}

fn collect(source: &mut dyn Read, limits: &Limits, wanted: Wanted) -> Result<Vec<File>> {
    let mut budget = Budget::new(limits);
    let mut flaws = Flaws::new(Strictness::Stored);
    let source = BufReader::with_capacity(32 * 1024, source);
    let mut members = Members::new(MultiGzDecoder::new(source));
    let mut left = wanted.bytes;
    let mut files = Vec::new();
    while files.len() < wanted.files
        && let Some(member) = members.next(&mut budget, &mut flaws)?
    {
        if member.kind == Kind::Directory {
            budget.bytes(member.size)?;
            continue;
        }
        let place = path::place(&member.name, &mut flaws)?;
        budget.file(&member.name, member.size)?;
        if !(wanted.path)(&place.path) {
            continue;
        }
        left = left.checked_sub(member.size).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the chart has more than {} bytes of such files; download it instead",
                    wanted.bytes
                ),
            )
        })?;
        let mut bytes = Vec::new();
        (&mut members)
            .take(member.size)
            .read_to_end(&mut bytes)
            .map_err(members::broken)?;
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        files.push((place.path, bytes));
    }
    Ok(files)
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
