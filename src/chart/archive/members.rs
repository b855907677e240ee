//! The members of a tar stream, one after the other, in bounded memory.
//!
//! Follows Go's `archive/tar`, because that is what Helm reads with: a member that the two would read differently could
//! show one chart to us and another to Helm. Only the header format comes from the `tar` crate; its own iteration buffers
//! long names without a bound, stops at a single zero block and expands sparse files.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::{Budget, flaw::Flaws};
use crate::error::{Error, Result};

/// What a member is, as Helm sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// A link, device or pipe: no bytes of its own; Helm reads it as an empty file.
    Special,
}

/// One member's header.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Bytes of content that follow.
    pub(super) size: u64,
}

/// Reads members; the content of the current one is read through [`Read`].
pub(super) struct Members<R> {
    reader: R,
    /// Bytes of the current member that were not read yet.
    remaining: u64,
    /// Zero bytes that follow them up to the next block.
    padding: u64,
}

/// What extension headers said about the next member.
#[derive(Default)]
struct Extensions {
    gnu_name: Option<Vec<u8>>,
    pax_name: Option<Vec<u8>>,
    pax_size: Option<u64>,
}

impl<R: Read> Members<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            remaining: 0,
            padding: 0,
        }
    }

    /// The next member that is not an extension header; `None` at the end of the archive.
    pub(super) fn next(
        &mut self,
        budget: &mut Budget,
        flaws: &mut Flaws,
    ) -> Result<Option<Member>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_content()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            budget.member()?;
            let size = header_size(&header)?;
            match header.entry_type() {
                EntryType::XHeader => self.pax(size, budget, &mut extensions)?,
                EntryType::GNULongName => {
                    let mut name = self.extension(size, budget)?;
                    name.truncate(memchr::memchr(0, &name).unwrap_or(name.len()));
                    extensions.gnu_name = Some(name);
                }
                // Neither a link's target nor defaults for all members matter: Helm looks at names and bytes only.
                EntryType::GNULongLink | EntryType::XGlobalHeader => {
                    self.extension(size, budget)?;
                }
                kind => {
                    return self
                        .member(&header, kind, size, extensions, flaws)
                        .map(Some);
                }
            }
        }
    }

    /// What is left after the end of the archive must be nothing but zeros.
    pub(super) fn expect_only_padding(&mut self) -> Result<()> {
        let mut left = MAX_TRAILING_ZEROS;
        let mut buffer = [0; 4096];
        loop {
            let read = self.reader.read(&mut buffer).map_err(broken)?;
            if read == 0 {
                return Ok(());
            }
            if buffer[..read].iter().any(|&byte| byte != 0) || left < read {
                return Err(Error::invalid("chart archive has data after its last file"));
            }
            left -= read;
        }
    }

    fn member(
        &mut self,
        header: &Header,
        kind: EntryType,
        header_size: u64,
        extensions: Extensions,
        flaws: &mut Flaws,
    ) -> Result<Member> {
        if extensions.gnu_name.is_some() && extensions.pax_name.is_some() {
            flaws.found("chart archive gives one file two long names")?;
        }
        let bytes = extensions
            .gnu_name
            .or(extensions.pax_name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let name = match String::from_utf8(bytes) {
            Ok(name) => name,
            Err(error) => {
                let name = String::from_utf8_lossy(error.as_bytes()).into_owned();
                flaws.found(format!(
                    "chart archive has a file name that is not UTF-8: {name:.200?}"
                ))?;
                name
            }
        };
        let directory_mode = header.mode().unwrap_or(0) & 0o170_000 == 0o040_000;
        let mut size = extensions.pax_size.unwrap_or(header_size);
        let kind = match kind {
            EntryType::GNUSparse => {
                return Err(Error::invalid(format!(
                    "chart archive stores `{name:.200}` as a sparse file; package it with `helm package`"
                )));
            }
            EntryType::Regular if header.as_bytes()[156] == 0 && name.ends_with('/') => {
                Kind::Directory
            }
            EntryType::Directory => Kind::Directory,
            EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Fifo => Kind::Special,
            EntryType::Regular | EntryType::Continuous if directory_mode => {
                flaws.found(format!(
                    "chart archive has `{name:.200}` as a file whose mode says directory"
                ))?;
                Kind::Directory
            }
            EntryType::Regular | EntryType::Continuous => Kind::File,
            other => {
                flaws.found(format!(
                    "chart archive has `{name:.200}` of the unknown type {:?}",
                    other.as_byte() as char
                ))?;
                Kind::File
            }
        };
        // A file that is a directory by its mode alone still has content to pass over.
        let has_no_content = match kind {
            Kind::File => false,
            Kind::Special => true,
            Kind::Directory => header.entry_type().is_dir() || name.ends_with('/'),
        };
        if has_no_content && size != 0 {
            flaws.found(format!(
                "chart archive gives a size to `{name:.200}`, which has no content"
            ))?;
            size = 0;
        }
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        Ok(Member { name, kind, size })
    }

    /// The next header block; `None` at the end: two zero blocks, or the end of the stream between members.
    fn header(&mut self) -> Result<Option<Header>> {
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if block == [0; BLOCK] {
            return match self.block()? {
                Some(second) if second != [0; BLOCK] => {
                    Err(Error::invalid("archive/tar: invalid tar header"))
                }
                _ => Ok(None),
            };
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum = block
            .iter()
            .enumerate()
            .map(|(at, &byte)| u32::from(if (148..156).contains(&at) { b' ' } else { byte }))
            .sum::<u32>();
        if header.cksum().ok() != Some(sum) {
            return Err(Error::invalid("archive/tar: invalid tar header"));
        }
        Ok(Some(header))
    }

    /// One block, or `None` if the stream ends before its first byte.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(Error::invalid(TRUNCATED)),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(Some(block))
    }

    /// The content of an extension header, at most [`MAX_EXTENSION`] bytes.
    fn extension(&mut self, size: u64, budget: &mut Budget) -> Result<Vec<u8>> {
        if size > MAX_EXTENSION {
            return Err(Error::invalid(format!(
                "chart archive has an extension header of {size} bytes; at most {MAX_EXTENSION} are read"
            )));
        }
        budget.bytes(size)?;
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        let mut content = Vec::new();
        Read::take(&mut *self, size)
            .read_to_end(&mut content)
            .map_err(broken)?;
        Ok(content)
    }

    /// A PAX extended header: records of `<length> <key>=<value>\n`.
    fn pax(&mut self, size: u64, budget: &mut Budget, extensions: &mut Extensions) -> Result<()> {
        let content = self.extension(size, budget)?;
        let wrong = || Error::invalid("archive/tar: invalid tar header");
        let mut rest = content.as_slice();
        while !rest.is_empty() {
            let space = memchr::memchr(b' ', rest).ok_or_else(wrong)?;
            let length: usize = std::str::from_utf8(&rest[..space])
                .ok()
                .and_then(|text| text.parse().ok())
                .filter(|&length| length > space + 1 && length <= rest.len())
                .ok_or_else(wrong)?;
            let (record, tail) = rest.split_at(length);
            let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(wrong)?;
            let equals = memchr::memchr(b'=', record).ok_or_else(wrong)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" if memchr::memchr(0, value).is_some() => return Err(wrong()),
                b"path" if !value.is_empty() => extensions.pax_name = Some(value.to_vec()),
                b"size" if !value.is_empty() => {
                    let size = std::str::from_utf8(value)
                        .ok()
                        .and_then(|text| text.parse().ok())
                        .filter(|&size| size <= MAX_SIZE)
                        .ok_or_else(wrong)?;
                    extensions.pax_size = Some(size);
                }
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err(Error::invalid(
                        "chart archive holds a sparse file; package it with `helm package`",
                    ));
                }
                _ => {}
            }
            rest = tail;
        }
        Ok(())
    }

    fn skip_content(&mut self) -> Result<()> {
        let left = self.remaining + self.padding;
        let skipped =
            io::copy(&mut (&mut self.reader).take(left), &mut io::sink()).map_err(broken)?;
        // Go lets the padding of the last member be missing; so does `header`, which then sees the end.
        if skipped < self.remaining {
            return Err(Error::invalid(TRUNCATED));
        }
        (self.remaining, self.padding) = (0, 0);
        Ok(())
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer
            .len()
            .min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let read = self.reader.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.remaining -= read as u64;
        Ok(read)
    }
}

/// Names what is wrong with a compressed stream in Go's words, which ChartMuseum's users know.
pub(super) fn broken(error: io::Error) -> Error {
    let text = match error.kind() {
        io::ErrorKind::UnexpectedEof => TRUNCATED,
        _ if error.to_string().contains("gzip header") => "gzip: invalid header",
        _ if error.to_string().contains("corrupt gzip") => "gzip: invalid checksum",
        _ => "flate: corrupt input",
    };
    Error::invalid(text).with_source(error)
}

fn header_size(header: &Header) -> Result<u64> {
    let field = &header.as_old().size;
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Ok(0);
    }
    let invalid = || Error::invalid("archive/tar: invalid tar header");
    let size = header
        .entry_size()
        .map_err(|error| invalid().with_source(error))?;
    if size > MAX_SIZE {
        return Err(invalid());
    }
    Ok(size)
}

const BLOCK: usize = 512;
const TRUNCATED: &str = "unexpected EOF";
/// The largest size that Go's reader knows; sums with the padding cannot overflow below it.
const MAX_SIZE: u64 = i64::MAX as u64;
/// Go's own bound for PAX and GNU extension headers.
const MAX_EXTENSION: u64 = 1024 * 1024;
/// Writers pad to records of 10 KiB or more; nobody pads by more than this.
const MAX_TRAILING_ZEROS: usize = 1024 * 1024;
