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

#[cfg(test)]
mod tests {
    use super::super::fixture::Tar;
    use super::*;

    const ALL: Wanted = Wanted {
        path: |path| path == "values.yaml" || path.starts_with("templates/"),
        files: usize::MAX,
        bytes: 100,
    };

    fn chart() -> Vec<u8> {
        let tar = Tar::default()
            .file("x/Chart.yaml", "name: x")
            .file("x/templates/b.yaml", "bb")
            .file("x/charts/sub/values.yaml", "no: no")
            .file("x/charts/sub/templates/n.yaml", "no: no")
            .file("x/values.yaml", "\u{feff}# why\na: 1\n")
            .file("x/templates/tests/a.yaml", "")
            .file("x/README.md", "read me");
        tar.finish()
    }

    fn found(archive: &[u8], wanted: Wanted) -> Result<Vec<(String, String)>> {
        let files = files(archive, &Limits::stored(), wanted)?;
        let text = |(name, bytes)| (name, String::from_utf8(bytes).expect("text"));
        Ok(files.into_iter().map(text).collect())
    }

    #[test]
    fn wanted_files_of_the_chart_itself_in_order() {
        let expected = [
            ("templates/b.yaml", "bb"),
            ("values.yaml", "# why\na: 1\n"),
            ("templates/tests/a.yaml", ""),
        ];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(found(&chart(), ALL).expect("files"), expected);
        let values = Wanted {
            path: |path| path == "values.yaml",
            files: 1,
            ..ALL
        };
        assert_eq!(found(&chart(), values).expect("files"), expected[1..2]);
        let none = Wanted {
            path: |path| path == "none",
            ..ALL
        };
        assert_eq!(found(&chart(), none).expect("nothing"), []);
    }

    #[test]
    fn more_than_is_wanted_is_refused_and_not_held() {
        let few = Wanted { bytes: 3, ..ALL };
        let error = found(&chart(), few).expect_err("too many");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        // The size that a header promises is judged before anything is read.
        let bomb = Tar::default().header(tar::EntryType::Regular, "x/values.yaml", 1 << 40);
        assert!(found(&bomb.finish(), ALL).is_err());
    }

    #[test]
    fn broken_archives_are_errors() {
        let whole = chart();
        for cut in [0, 5, whole.len() / 2] {
            let error = found(&whole[..cut], ALL);
            assert!(error.is_err() || cut == 0, "{cut}");
        }
        assert!(found(b"not an archive at all", ALL).is_err());
    }
}
