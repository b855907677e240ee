//! Where lines go: a file that is replaced when it is full, or standard output. Blocking; used by one thread.
//!
//! A line is in one file, whole: a process that was killed in the middle of one leaves the rest of it, which the next process
//! ends with a line feed before it writes its own. Two processes may write to one file (a command, a successor): they take turns.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::{Audit, AuditPlace};

/// Lines are gathered up to this many bytes where several wait.
const BATCH: usize = 64 << 10;

#[derive(Debug)]
pub(super) enum Sink {
    Stdout(Vec<u8>),
    File(Rotated),
}

impl Sink {
    /// Opens it, so that a place that cannot be written is told before anything is served.
    pub(super) fn open(config: &Audit) -> io::Result<Self> {
        Ok(match &config.place {
            AuditPlace::Stdout => Self::Stdout(Vec::new()),
            AuditPlace::File(path) => {
                Self::File(Rotated::open(path, config.max_size, config.keep)?)
            }
        })
    }

    /// Takes one line; what was taken is written by [`Sink::flush`] at the latest. An error loses everything since the last flush.
    pub(super) fn line(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(waiting) => {
                waiting.extend_from_slice(line);
                if waiting.len() >= BATCH {
                    return self.flush();
                }
                Ok(())
            }
            Self::File(file) => file.line(line),
        }
    }

    /// Hands what was taken to the system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(waiting) => {
                let mut out = io::stdout().lock();
                let written = out.write_all(waiting).and_then(|()| out.flush());
                waiting.clear();
                written
            }
            Self::File(file) => file.flush(),
        }
    }

    /// Opens the file anew at the next line: somebody may have moved it away, or the one that is open could not be written.
    pub(super) fn reopen(&mut self) {
        if let Self::File(file) = self {
            file.current = None;
        }
    }

    /// To the disk itself.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        match self {
            Self::File(Rotated {
                current: Some(open),
                ..
            }) => match open.file.sync_data() {
                // A pipe.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                other => other,
            },
            Self::File(_) | Self::Stdout(_) => Ok(()),
        }
    }
}

/// A file of at most so many bytes, and those before it: `audit.log`, `audit.log.1`, `audit.log.2`, the oldest last.
#[derive(Debug)]
pub(super) struct Rotated {
    path: PathBuf,
    max_size: u64,
    keep: u32,
    current: Option<Open>,
    waiting: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
    id: (u64, u64),
}

impl Rotated {
    fn open(path: &Path, max_size: u64, keep: u32) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            max_size,
            keep,
            current: Some(Open::at(path)?),
            waiting: Vec::new(),
        })
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let size = self.current.as_ref().map_or(0, |open| open.size);
        let taken = size + self.waiting.len() as u64;
        if taken > 0 && taken + line.len() as u64 > self.max_size {
            self.flush()?;
            self.rotate()?;
        }
        self.waiting.extend_from_slice(line);
        if self.waiting.len() >= BATCH {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut lines = std::mem::take(&mut self.waiting);
        let written = self.usable().and_then(|open| {
            let _turn = Turn::take(&open.file);
            (&open.file).write_all(&lines)?;
            // What others wrote counts, too.
            open.size = open.file.metadata()?.len();
            Ok(())
        });
        lines.clear();
        self.waiting = lines;
        if written.is_err() {
            // Opening it again looks whether a line was begun.
            self.current = None;
        }
        written
    }

    /// The open file, if it is still the one at the path: others may have moved it away, such as logrotate or the process that
    /// takes over from this one.
    fn usable(&mut self) -> io::Result<&mut Open> {
        let there = std::fs::metadata(&self.path).map(|found| (found.dev(), found.ino()));
        let current = self
            .current
            .take()
            .filter(|open| there.is_ok_and(|there| there == open.id));
        let open = match current {
            Some(open) => open,
            None => Open::at(&self.path)?,
        };
        Ok(self.current.insert(open))
    }

    /// Begins a new file. What cannot be renamed is written on: a line too many is better than one too few.
    fn rotate(&mut self) -> io::Result<()> {
        // Also where another process has just done it, or does it while we wait.
        let open = self.usable()?;
        if open.size == 0 {
            return Ok(());
        }
        let (id, file) = (open.id, open.file.try_clone()?);
        let _turn = Turn::take(&file);
        if self.usable()?.id != id {
            return Ok(());
        }
        let renamed = if self.keep == 0 {
            std::fs::remove_file(&self.path)
        } else {
            for number in (1..self.keep).rev() {
                match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
            std::fs::rename(&self.path, self.numbered(1))
        };
        match renamed {
            Ok(()) => {
                if let Some(open) = self.current.take() {
                    open.file.sync_data()?;
                }
            }
            Err(error) => {
                tracing::error!(
                    "`{}` is full and goes on growing, because it cannot be renamed: {error}",
                    self.path.display()
                );
            }
        }
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Open {
    /// Opens or makes the file, for its owner's eyes only, and ends a line that somebody began and did not end.
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(path)?;
        let metadata = file.metadata()?;
        let mut open = Self {
            file,
            size: metadata.len(),
            id: (metadata.dev(), metadata.ino()),
        };
        // Pipes and devices have no end to look at.
        if metadata.is_file() && open.size > 0 {
            let handle = open.file.try_clone()?;
            // Whoever is in the middle of a line now will end it.
            let _turn = Turn::take(&handle);
            let mut last = [0];
            open.file.seek(SeekFrom::End(-1))?;
            open.file.read_exact(&mut last)?;
            if last != *b"\n" {
                open.file.write_all(b"\n")?;
                open.size += 1;
            }
        }
        Ok(open)
    }
}

/// The right to write to a file while no other process does. Ends with the value, and with the process.
#[derive(Debug)]
struct Turn<'f>(Option<&'f File>);

impl<'f> Turn<'f> {
    /// Waits for the others, for a second at most: one that was stopped in its turn must not keep us, and where nobody can take
    /// turns (some network file systems) lines are written all the same.
    #[expect(
        clippy::disallowed_methods,
        reason = "the writer's own thread waits for another process, which cannot wake it"
    )]
    fn take(file: &'f File) -> Self {
        let end = Instant::now() + LONGEST_TURN;
        loop {
            match file.try_lock() {
                Ok(()) => return Self(Some(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < end => {
                    std::thread::sleep(TURN_LOOK);
                }
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return Self(None),
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.0 {
            let _ = file.unlock();
        }
    }
}

const LONGEST_TURN: Duration = Duration::from_secs(1);
const TURN_LOOK: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        (folder, path)
    }

    fn sink(path: &Path, max_size: u64, keep: u32) -> Sink {
        Sink::open(&Audit {
            place: AuditPlace::File(path.to_owned()),
            max_size,
            keep,
        })
        .expect("a sink")
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).expect("a file")
    }

    fn write(sink: &mut Sink, lines: &[&str]) {
        for line in lines {
            sink.line(line.as_bytes()).expect("a line");
        }
        sink.flush().expect("a flush");
    }

    #[test]
    fn a_full_file_is_replaced_and_so_many_are_kept() {
        let (folder, path) = place();
        let mut sink = sink(&path, 20, 2);
        for number in 0..9 {
            write(&mut sink, &[&format!("line {number}\n")]);
        }
        let name = |number: u32| folder.path().join(format!("audit.log.{number}"));
        assert_eq!(text(&path), "line 8\n");
        assert_eq!(text(&name(1)), "line 6\nline 7\n");
        assert_eq!(text(&name(2)), "line 4\nline 5\n");
        assert!(!name(3).exists());
    }

    #[test]
    fn lines_of_one_batch_go_to_their_files_whole() {
        let (folder, path) = place();
        let mut sink = sink(&path, 20, 9);
        let lines: Vec<String> = (0..8).map(|number| format!("line {number}\n")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        write(&mut sink, &lines);
        let oldest = folder.path().join("audit.log.3");
        assert_eq!(text(&oldest), "line 0\nline 1\n");
        assert_eq!(text(&path), "line 6\nline 7\n");
    }

    #[test]
    fn a_line_longer_than_a_file_is_written_all_the_same() {
        let (folder, path) = place();
        let mut sink = sink(&path, 4, 1);
        write(&mut sink, &["a long line\n", "another one\n"]);
        assert_eq!(text(&path), "another one\n");
        assert_eq!(text(&folder.path().join("audit.log.1")), "a long line\n");
    }

    #[test]
    fn with_nothing_to_keep_only_the_current_file_is_there() {
        let (folder, path) = place();
        let mut sink = sink(&path, 10, 0);
        write(&mut sink, &["line 1\n"]);
        write(&mut sink, &["line 2\n"]);
        assert_eq!(text(&path), "line 2\n");
        assert_eq!(folder.path().read_dir().expect("a folder").count(), 1);
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_again() {
        let (folder, path) = place();
        let mut sink = sink(&path, 1 << 20, 1);
        write(&mut sink, &["line 1\n"]);
        let moved = folder.path().join("moved");
        std::fs::rename(&path, &moved).expect("a rename");
        write(&mut sink, &["line 2\n"]);
        assert_eq!(
            (text(&moved), text(&path)),
            ("line 1\n".into(), "line 2\n".into())
        );
    }

    #[test]
    fn a_line_that_was_begun_is_ended_first() {
        let (_folder, path) = place();
        std::fs::write(&path, "{\"time\":\"20").expect("a torn line");
        let mut sink = sink(&path, 1 << 20, 1);
        write(&mut sink, &["line 1\n"]);
        assert_eq!(text(&path), "{\"time\":\"20\nline 1\n");
    }

    #[test]
    fn only_its_owner_reads_it() {
        let (_folder, path) = place();
        write(&mut sink(&path, 1 << 20, 1), &["line\n"]);
        let mode = std::fs::metadata(&path).expect("a file").mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_place_that_comes_back_is_written_again() {
        let (folder, path) = place();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).expect("a folder");
        let path = inner.join(path.file_name().expect("a name"));
        let mut sink = sink(&path, 1 << 20, 1);
        std::fs::remove_dir_all(&inner).expect("no folder");
        sink.line(b"lost\n").expect("taken");
        assert!(sink.flush().is_err());
        std::fs::create_dir(&inner).expect("a folder");
        write(&mut sink, &["line\n"]);
        assert_eq!(text(&path), "line\n");
    }
}
