//! Replacing a file as a whole or not at all.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::open::kind;
use super::temporary;
use crate::error::FileError;

/// Writes the file at `path` so that it holds either all that `write` wrote, or what it held before.
///
/// The bytes go to a temporary file in the same folder, are forced to the disk, and take the name
/// `path` in one step; an error, a panic or a power cut in between leaves the old file as it was.
/// The temporary file is removed, by the next save into the folder if this program was killed.
///
/// A file that is replaced keeps its owner, group and permissions, and a symbolic link goes on
/// pointing where it points, to a file that may not exist yet. What cannot be kept is not replaced:
/// read-only files, files with several names (hard links), devices and named pipes are errors.
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
/// If the folder does not exist or cannot be written, if `path` names something that is not
/// replaced, if the disk is full, or if `write` fails.
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), FileError> {
    let path = path.as_ref();
    let replaced = replaceable(path)?;
    if path.file_name().is_none() {
        return Err(FileError::new(path, "names no file").fix("add a file name"));
    }
    // A link is followed here, because renaming onto it would replace the link itself.
    let target = follow_links(path)?;
    let folder = folder_of(&target);
    if !folder.is_dir() {
        let cause = format!("the folder {} does not exist", folder.display());
        return Err(FileError::new(path, cause).fix("create the folder or choose another"));
    }

    temporary::remove_left_overs(&folder);
    let temporary = temporary::create_in(&folder).map_err(|source| {
        FileError::io(
            path,
            &format!("create a file in {}", folder.display()),
            source,
        )
        .fix("choose a folder that you may write to")
    })?;
    if let Some(replaced) = replaced {
        keep_owner(temporary.as_file(), &replaced).map_err(|source| {
            FileError::io(path, "keep its owner and group", source)
                .fix("choose another name, or remove the file first")
        })?;
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

/// What is known of the file at `path`, if there is one; an error if it must not be replaced.
fn replaceable(path: &Path) -> Result<Option<Metadata>, FileError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::io(path, "write", error)),
    };
    if !metadata.is_file() {
        let cause = format!("is {}, not a file", kind(metadata.file_type()));
        return Err(FileError::new(path, cause).fix(match metadata.is_dir() {
            true => "add a file name",
            false => "choose the name of a file",
        }));
    }
    if metadata.permissions().readonly() {
        return Err(FileError::new(path, "is read-only").fix("choose another name"));
    }
    // Whether one may write into the folder says nothing about the file.
    if let Err(error) = OpenOptions::new().write(true).open(path) {
        return Err(FileError::io(path, "write", error).fix("choose another name"));
    }
    #[cfg(unix)]
    {
        let names = std::os::unix::fs::MetadataExt::nlink(&metadata);
        if names > 1 {
            let cause = format!(
                "is one of {names} names of a file, which would go on holding the old contents under the others"
            );
            return Err(
                FileError::new(path, cause).fix("choose another name, or remove this one first")
            );
        }
    }
    Ok(Some(metadata))
}

/// The path that is written when `path` is; nothing needs to be there.
fn follow_links(path: &Path) -> Result<PathBuf, FileError> {
    // What Linux follows.
    const MOST_LINKS: usize = 40;
    let mut target = path.to_path_buf();
    for _ in 0..=MOST_LINKS {
        match fs::read_link(&target) {
            Ok(next) => target = folder_of(&target).join(next),
            Err(_) => return Ok(target),
        }
    }
    Err(FileError::new(path, "is a link in a circle").fix("choose another name"))
}

/// The folder that holds `file`; the current one for a bare name.
fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Gives `file` to the owner and group of `replaced`.
#[cfg(unix)]
fn keep_owner(file: &File, replaced: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let own = file.metadata()?;
    // To ask for no change would be refused to ordinary users on some systems.
    let owner = Some(replaced.uid()).filter(|&owner| owner != own.uid());
    let group = Some(replaced.gid()).filter(|&group| group != own.gid());
    match (owner, group) {
        (None, None) => Ok(()),
        _ => fchown(file, owner, group),
    }
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &Metadata) -> io::Result<()> {
    Ok(())
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

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_creates_the_file_that_it_points_to() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("runs")).unwrap();
        symlink("runs/latest", at("link")).unwrap();
        // From here on relative to the folder of the second link.
        symlink("../model", at("runs/latest")).unwrap();
        write_atomically(at("link"), |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(at("model")).unwrap(), "new");
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_eq!(names(&at("runs")), ["latest"]);

        symlink("nowhere/model", at("astray")).unwrap();
        let error = write_atomically(at("astray"), |_| Ok(())).unwrap_err();
        assert!(error.cause().contains("nowhere does not exist"), "{error}");
        symlink("circle", at("circle")).unwrap();
        let error = write_atomically(at("circle"), |_| Ok(())).unwrap_err();
        assert!(error.cause().starts_with("cannot write: "), "{error}");
    }

    /// Saving to `path` is refused with these words, and changes nothing.
    #[cfg(unix)]
    #[track_caller]
    fn refuses(path: &Path, words: &str) {
        let before = fs::symlink_metadata(path).unwrap();
        let error = write_atomically(path, |file| file.write_all(b"new")).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        use std::os::unix::fs::MetadataExt;
        let after = fs::symlink_metadata(path).unwrap();
        assert_eq!(before.ino(), after.ino());
        assert_eq!(before.mode(), after.mode());
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let pipe = at("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        refuses(&pipe, "is a named pipe, not a file");
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        refuses(&at("socket"), "is a socket, not a file");
        refuses(Path::new("/dev/null"), "is a device, not a file");
        for (name, target) in [("a", "/dev/full"), ("b", "pipe"), ("c", "/dev/stdin")] {
            std::os::unix::fs::symlink(target, at(name)).unwrap();
            if fs::metadata(at(name)).is_ok_and(|found| !found.is_file()) {
                refuses(&at(name), ", not a file");
            }
        }
        assert_eq!(names(folder.path()), ["a", "b", "c", "pipe", "socket"]);
    }

    #[cfg(unix)]
    #[test]
    fn read_only_files_and_files_with_several_names_are_not_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("protected"), "old").unwrap();
        fs::set_permissions(at("protected"), fs::Permissions::from_mode(0o444)).unwrap();
        std::os::unix::fs::symlink("protected", at("link")).unwrap();
        refuses(&at("protected"), "is read-only");
        refuses(&at("link"), "is read-only");
        fs::write(at("one"), "old").unwrap();
        fs::hard_link(at("one"), at("other")).unwrap();
        refuses(&at("one"), "is one of 2 names of a file");
        for name in ["protected", "one", "other"] {
            assert_eq!(fs::read_to_string(at(name)).unwrap(), "old");
        }
        assert_eq!(names(folder.path()), ["link", "one", "other", "protected"]);
    }

    #[cfg(unix)]
    #[test]
    fn owner_and_group_are_kept() {
        use std::os::unix::fs::{MetadataExt, chown};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        // Only the superuser can give files away.
        let given = chown(&path, Some(12345), Some(54321)).is_ok();
        let before = fs::metadata(&path).unwrap();
        write_atomically(&path, |file| file.write_all(b"new")).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!((before.uid(), before.gid()), (after.uid(), after.gid()));
        assert_eq!(given, after.uid() == 12345 && after.gid() == 54321);
        assert_ne!(before.ino(), after.ino());
    }

    #[test]
    fn names_may_be_as_long_as_the_file_system_takes_them() {
        let folder = tempfile::tempdir().unwrap();
        for length in [250, 255] {
            let path = folder.path().join("n".repeat(length));
            write_atomically(&path, |file| file.write_all(b"x")).unwrap();
            write_atomically(&path, |file| file.write_all(b"new")).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        }
        assert_eq!(names(folder.path()).len(), 2);
        let error = write_atomically(folder.path().join("n".repeat(256)), |_| Ok(())).unwrap_err();
        assert!(error.cause().starts_with("cannot write: "), "{error}");
    }

    #[test]
    fn many_writers_of_one_file_leave_one_of_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::thread::scope(|scope| {
            for writer in 0..4_u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        write_atomically(path, |file| file.write_all(&[writer; 5000])).unwrap();
                        let found = fs::read(path).unwrap();
                        assert_eq!(found, vec![found[0]; 5000]);
                    }
                });
            }
        });
        assert_eq!(names(folder.path()), ["file"]);
    }
}
