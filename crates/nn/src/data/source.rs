//! Bytes with a place: a file or a slice that knows its name, its length and where it is read.

use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Error, FileError, Result};

trait ReadSeek: Read + Seek {}
impl<R: Read + Seek> ReadSeek for R {}

/// A seekable stream whose length is known, so that no length inside it is believed before it is
/// compared with the bytes that exist.
pub(crate) struct Source<'a> {
    reader: BufReader<Box<dyn ReadSeek + 'a>>,
    name: PathBuf,
    position: u64,
    length: u64,
}

impl<'a> Source<'a> {
    /// Opens an ordinary file.
    pub(crate) fn open(path: &Path) -> Result<Source<'static>> {
        let (file, length) = crate::files::open(path)?;
        Ok(Source::new(Box::new(file), path, length))
    }

    /// Reads `bytes`; errors call them `name`.
    pub(crate) fn bytes(bytes: &'a [u8], name: &Path) -> Self {
        let length = bytes.len() as u64;
        Source::new(Box::new(Cursor::new(bytes)), name, length)
    }

    fn new(reader: Box<dyn ReadSeek + 'a>, name: &Path, length: u64) -> Self {
        Source {
            reader: BufReader::with_capacity(1 << 16, reader),
            name: name.to_path_buf(),
            position: 0,
            length,
        }
    }

    /// Where the next byte is read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The number of bytes in all.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The number of bytes from here to the end.
    pub(crate) fn remaining(&self) -> u64 {
        self.length.saturating_sub(self.position)
    }

    /// An error about the byte at `position`.
    #[cold]
    pub(crate) fn error_at(&self, position: u64, cause: impl Into<String>) -> FileError {
        FileError::new(&self.name, cause).at(format!("byte {position} of {}", self.length))
    }

    /// An error about the file as a whole.
    #[cold]
    pub(crate) fn error(&self, cause: impl Into<String>) -> FileError {
        FileError::new(&self.name, cause)
    }

    /// Fails unless `count` bytes of `what` follow.
    pub(crate) fn expect(&self, count: u64, what: &str) -> Result<()> {
        if count <= self.remaining() {
            return Ok(());
        }
        Err(self
            .error_at(
                self.position,
                format!(
                    "the file is truncated: {what} needs {count} bytes, {} are left",
                    self.remaining()
                ),
            )
            .fix("copy or write the file again")
            .into())
    }

    /// Fills `buffer`.
    pub(crate) fn fill(&mut self, buffer: &mut [u8], what: &str) -> Result<()> {
        self.expect(buffer.len() as u64, what)?;
        self.reader
            .read_exact(buffer)
            .map_err(|error| self.io_error(error))?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// The next `count` bytes.
    pub(crate) fn vec(&mut self, count: u64, what: &str) -> Result<Vec<u8>> {
        self.expect(count, what)?;
        let mut bytes = vec![0; count as usize];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// The bytes up to the next line feed, which is passed over; `None` if they are more than
    /// `most`.
    pub(crate) fn line(&mut self, most: u64, what: &str) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let limit = most.saturating_add(1).min(self.remaining());
        self.reader
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut line)
            .map_err(|error| self.io_error(error))?;
        self.position += line.len() as u64;
        if line.pop_if(|byte| *byte == b'\n').is_some() {
            return Ok(Some(line));
        }
        if line.len() as u64 > most {
            return Ok(None);
        }
        self.expect(self.remaining() + 1, what).map(|()| None)
    }

    /// Goes over `count` bytes without reading them.
    pub(crate) fn skip(&mut self, count: u64, what: &str) -> Result<()> {
        self.expect(count, what)?;
        self.seek(self.position + count)
    }

    /// Goes to byte `position`.
    pub(crate) fn seek(&mut self, position: u64) -> Result<()> {
        let moved = match i64::try_from(i128::from(position) - i128::from(self.position)) {
            // Keeps what is buffered where the target lies within it.
            Ok(distance) => self.reader.seek_relative(distance),
            Err(_) => self.reader.seek(SeekFrom::Start(position)).map(drop),
        };
        moved.map_err(|error| self.io_error(error))?;
        self.position = position;
        Ok(())
    }

    #[cold]
    fn io_error(&self, error: io::Error) -> Error {
        FileError::io(&self.name, "read", error)
            .at(format!("byte {} of {}", self.position, self.length))
            .into()
    }
}
