//! Bounded reading of chart archives: at least as strict as Helm's loader, in memory that does not grow with the archive.
//!
//! [`read`] streams a package once and gives its [`Chart`]. An upload is read with [`Strictness::Upload`]: whatever two
//! readers could understand differently is refused. A package that is already there is read with [`Strictness::Stored`]:
//! what Helm accepts is accepted, and what an upload would have been refused for becomes a warning.
//! Texts of errors are those of Helm's loader where it has one, because ChartMuseum's users know them
//! (spec: clients.md §9, chartmuseum.md §1.5). Knows nothing about where archives are kept.

mod contents;
mod flaw;
mod flow;
mod members;
mod path;
mod tree;
mod yaml;

#[cfg(test)]
pub(crate) mod fixture;

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::{GzDecoder, MultiGzDecoder};

pub use self::contents::{File, Wanted, files};
use self::flaw::Flaws;
use self::members::Members;
use self::tree::Tree;
use crate::chart::Metadata;
use crate::error::{Error, Result};

/// How much of an archive is read before it is refused.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one unpacked file, inclusive.
    pub file: u64,
    /// Bytes of all unpacked files, those of packed subcharts included; reaching it is refused, as in Helm.
    pub total: u64,
    /// Files, directories and extension headers in all.
    pub members: usize,
    /// Subcharts inside subcharts, whether packed or as folders.
    pub depth: usize,
    /// Bytes of one Chart.yaml, requirements.yaml or lock file.
    pub metadata: u64,
    /// Bytes of one values.yaml that is checked; a larger one is a flaw.
    pub values: u64,
}

impl Limits {
    /// Helm's limits for uploads: 5 MiB a file, 100 MiB in all; and our own for what Helm leaves open.
    pub const fn helm() -> Self {
        Self {
            file: 5 * MIB,
            total: 100 * MIB,
            members: 50_000,
            depth: 16,
            metadata: MIB,
            values: 5 * MIB,
        }
    }

    /// For packages that others stored: no bound for one file, because public charts exceed Helm's later one and
    /// Helm has dropped it again.
    pub const fn stored() -> Self {
        Self {
            file: u64::MAX,
            ..Self::helm()
        }
    }
}

/// Whose rules count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Nothing that two readers could understand differently.
    Upload,
    /// What Helm's loader accepts.
    Stored,
}

/// What an archive says about itself.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Its Chart.yaml, with the dependencies of a requirements.yaml.
    pub metadata: Metadata,
    /// Whether it is a KubeVela addon: `metadata.yaml` and `template.cue` or `template.yaml` beside Chart.yaml.
    pub is_addon: bool,
    /// What is odd about it, and what an upload would have been refused for; at most a few.
    pub warnings: Vec<String>,
}

/// Reads one gzipped tar archive to the end of its last file (to its very end for an upload) and validates the chart in it.
///
/// Blocking. Memory is bounded by [`Limits::metadata`] and [`Limits::values`], not by the archive. An archive that is not a
/// chart is [`crate::error::ErrorKind::Invalid`]; a `reader` that fails is [`crate::error::ErrorKind::Internal`].
pub fn read(reader: impl Read, limits: &Limits, strictness: Strictness) -> Result<Chart> {
    let mut source = Source {
        reader,
        failure: None,
    };
    let mut flaws = Flaws::new(strictness);
    let mut budget = Budget::new(limits);
    let chart = read_archive(&mut source, &mut budget, &mut flaws);
    match source.failure {
        Some(failure) => Err(Error::internal("the chart archive cannot be read", failure)),
        None => chart.map(|(metadata, is_addon)| Chart {
            metadata,
            is_addon,
            warnings: flaws.into_warnings(),
        }),
    }
}

fn read_archive(
    source: &mut dyn Read,
    budget: &mut Budget,
    flaws: &mut Flaws,
) -> Result<(Metadata, bool)> {
    let mut source = BufReader::with_capacity(32 * 1024, source);
    match source.fill_buf().map_err(members::broken)? {
        // ChartMuseum says `EOF` alone.
        [] => return Err(Error::invalid("EOF: the package is empty")),
        [0x1f, 0x8b, 8, ..] | [0x1f] | [0x1f, 0x8b] => {}
        _ => return Err(Error::invalid("gzip: invalid header")),
    }
    if flaws.strictness() == Strictness::Stored {
        // Go reads on into a second gzip member; what follows the end of the tar archive is never looked at.
        return Tree::read(
            &mut Members::new(MultiGzDecoder::new(source)),
            budget,
            flaws,
        )?
        .finish(flaws);
    }
    let mut gzip = GzDecoder::new(source);
    let mut members = Members::new(&mut gzip as &mut dyn Read);
    let tree = Tree::read(&mut members, budget, flaws)?;
    members.expect_only_padding()?;
    if !gzip
        .into_inner()
        .fill_buf()
        .map_err(members::broken)?
        .is_empty()
    {
        return Err(Error::invalid(
            "chart archive has data after its gzip stream",
        ));
    }
    tree.finish(flaws)
}

/// Keeps a failure of the machine apart from a broken archive.
struct Source<R> {
    reader: R,
    failure: Option<io::Error>,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reader.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let kind = error.kind();
                self.failure = Some(error);
                Err(kind.into())
            }
            other => other,
        }
    }
}

/// What is left of the [`Limits`]; one for an archive and everything packed inside it.
struct Budget {
    limits: Limits,
    bytes: u64,
    members: usize,
    depth: usize,
}

impl Budget {
    fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            bytes: limits.total,
            members: limits.members,
            depth: limits.depth,
        }
    }

    fn member(&mut self) -> Result<()> {
        self.members = self.members.checked_sub(1).ok_or_else(|| {
            Error::invalid(format!(
                "chart archive has more than {} members",
                self.limits.members
            ))
        })?;
        Ok(())
    }

    fn bytes(&mut self, size: u64) -> Result<()> {
        self.bytes = self
            .bytes
            .checked_sub(size)
            .filter(|&left| left > 0)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "decompressed chart is larger than the maximum file size {}",
                    self.limits.total
                ))
            })?;
        Ok(())
    }

    fn file(&mut self, name: &str, size: u64) -> Result<()> {
        if size > self.limits.file {
            return Err(Error::invalid(format!(
                "decompressed chart file \"{name:.200}\" is larger than the maximum file size {}",
                self.limits.file
            )));
        }
        self.bytes(size)
    }
}

const MIB: u64 = 1024 * 1024;

#[cfg(test)]
mod tests;
