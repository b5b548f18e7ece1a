//! Replacing a file as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::FileError;

/// Writes the file at `path` so that it holds either all that `write` wrote, or what it held before.
///
/// The bytes go to a temporary file in the same folder, are forced to the disk, and take the name
/// `path` in one step; an error, a panic or a power cut in between leaves the old file as it was
/// and removes the temporary one (after a power cut it stays behind as `.NAME….tmp`). A file that
/// is replaced keeps its permissions, and a symbolic link goes on pointing where it pointed.
///
/// ```
/// use std::io::Write;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("history.csv");
/// nn::files::write_atomically(&path, |file| writeln!(file, "epoch,loss"))?;
/// assert_eq!(std::fs::read_to_string(&path)?, "epoch,loss\n");
///
/// let nowhere = folder.path().join("runs/history.csv");
/// let error = nn::files::write_atomically(&nowhere, |file| writeln!(file, "epoch,loss"));
/// assert!(error.unwrap_err().to_string().contains("does not exist"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the folder does not exist or cannot be written, if `path` is a folder, if the disk is full,
/// or if `write` fails.
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), FileError> {
    let path = path.as_ref();
    if path.is_dir() {
        return Err(FileError::new(path, "is a folder, not a file").fix("add a file name"));
    }
    let Some(name) = path.file_name() else {
        return Err(FileError::new(path, "names no file").fix("add a file name"));
    };
    // A link is followed here, because renaming onto it would replace the link itself.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = folder_of(&target);
    if !folder.is_dir() {
        let cause = format!("the folder {} does not exist", folder.display());
        return Err(FileError::new(path, cause).fix("create the folder or choose another"));
    }

    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    let temporary = new_temporary(&folder, &prefix).map_err(|source| {
        FileError::io(
            path,
            &format!("create a file in {}", folder.display()),
            source,
        )
        .fix("choose a folder that you may write to")
    })?;
    if let Ok(replaced) = fs::metadata(&target) {
        temporary
            .as_file()
            .set_permissions(replaced.permissions())
            .map_err(|source| FileError::io(path, "keep its permissions", source))?;
    }
    let handle = temporary.as_file().try_clone();
    handle
        .and_then(|file| {
            let mut buffered = BufWriter::with_capacity(1 << 18, file);
            write(&mut buffered)?;
            buffered.flush()?;
            // Without this the new name could reach the disk before the bytes do.
            buffered.get_ref().sync_all()
        })
        .map_err(|source| FileError::io(path, "write", source))?;
    temporary
        .persist(&target)
        .map_err(|failed| FileError::io(path, "replace", failed.error))?;
    // The contents are safe by now; not every file system can force a folder to the disk.
    #[cfg(unix)]
    if let Ok(folder) = File::open(&folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// The folder that holds `file`; the current one for a bare name.
fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn new_temporary(folder: &Path, prefix: &std::ffi::OsStr) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(".tmp");
    // Temporary files are private by default, but this one becomes an ordinary file of the user's,
    // whose mask then applies.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_a_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        for content in ["first", "second, longer", "3rd"] {
            write_atomically(&path, |file| file.write_all(content.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_failing_writer_leaves_the_old_file_and_no_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        fs::write(&path, "old").unwrap();
        let error = write_atomically(&path, |file| {
            file.write_all(&[7; 1 << 20])?;
            Err(io::Error::other("the disk is full"))
        })
        .unwrap_err();
        assert_eq!(error.cause(), "cannot write: the disk is full");
        assert_eq!(error.path(), path);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_panicking_writer_leaves_no_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let panicked = std::panic::catch_unwind(|| {
            write_atomically(&path, |_| -> io::Result<()> { panic!("on purpose") })
        });
        assert!(panicked.is_err());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn folders_that_cannot_take_a_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = write_atomically(missing.join("a.bin"), |_| Ok(())).unwrap_err();
        assert!(
            error.cause().contains(&missing.display().to_string()),
            "{error}"
        );
        assert!(!missing.exists());

        let error = write_atomically(folder.path(), |_| Ok(())).unwrap_err();
        assert_eq!(error.cause(), "is a folder, not a file");

        let error = write_atomically("", |_| Ok(())).unwrap_err();
        assert_eq!(error.cause(), "names no file");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_without_write_access_is_named() {
        // Not even the superuser can create a file there.
        let error = write_atomically("/proc/self/a.bin", |_| Ok(())).unwrap_err();
        assert!(
            error.cause().starts_with("cannot create a file in /proc/"),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn new_files_are_readable_by_others_as_the_mask_says() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_atomically(&ours, |file| file.write_all(b"x")).unwrap();
        fs::write(&plain, b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_are_kept() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let link = folder.path().join("link");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomically(&link, |file| file.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }
}
