//! Opening files to be read: ordinary ones alone, whose length bounds what is read of them.

use std::fs::{self, File, FileType};
use std::io::Read;
use std::path::Path;

use crate::error::FileError;

/// Opens an ordinary file; also its length. Links are followed.
///
/// Nothing else is opened, since opening a named pipe can wait for ever, and a device may have no
/// end.
pub(crate) fn open(path: &Path) -> Result<(File, u64), FileError> {
    let failed = |error| FileError::io(path, "open", error);
    let ordinary = |metadata: fs::Metadata| match metadata.is_file() {
        true => Ok(metadata.len()),
        false => {
            let cause = format!("is {}, not a file", kind(metadata.file_type()));
            Err(FileError::new(path, cause).fix("copy its contents to a file"))
        }
    };
    ordinary(fs::metadata(path).map_err(failed)?)?;
    let file = File::open(path).map_err(failed)?;
    // Asked again, in case that something else has the name by now.
    let length = ordinary(file.metadata().map_err(failed)?)?;
    Ok((file, length))
}

/// The contents of an ordinary file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let (file, length) = open(path)?;
    let mut bytes = Vec::new();
    usize::try_from(length)
        .ok()
        .and_then(|length| bytes.try_reserve_exact(length).ok())
        .ok_or_else(|| {
            let cause = format!("memory for its {length} bytes could not be allocated");
            FileError::new(path, cause)
        })?;
    file.take(length)
        .read_to_end(&mut bytes)
        .map_err(|error| FileError::io(path, "read", error))?;
    Ok(bytes)
}

/// What a path names that is no ordinary file, with its article.
pub(super) fn kind(file_type: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if file_type.is_fifo() {
            return "a named pipe";
        }
        if file_type.is_socket() {
            return "a socket";
        }
        if file_type.is_char_device() || file_type.is_block_device() {
            return "a device";
        }
    }
    match file_type.is_dir() {
        true => "a folder",
        false => "something else",
    }
}
