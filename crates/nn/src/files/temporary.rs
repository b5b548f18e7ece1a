//! Temporary files beside those that they will replace, and what killed programs left of them.
//!
//! A temporary file is locked as long as its writer lives; the system unlocks it when the writer
//! dies. So one that can be locked belongs to nobody any more.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

const PREFIX: &str = ".tapir-";
const SUFFIX: &str = ".tmp";
/// Letters and digits between prefix and suffix.
const RANDOM: usize = 12;

/// A new temporary file in `folder`, with the permissions of any new file.
pub(super) fn create_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM);
    // Temporary files are private by default, but this one becomes an ordinary file of the user's,
    // whose mask then applies.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    loop {
        let temporary = builder.tempfile_in(folder)?;
        match temporary.as_file().try_lock() {
            // Another program may have taken it for a left-over before it was locked.
            Ok(()) if !temporary.path().exists() => {}
            Err(TryLockError::WouldBlock) => {}
            // Where files cannot be locked, no left-overs are removed either.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(temporary),
        }
    }
}

/// Removes the temporary files in `folder` whose writers have died.
pub(super) fn remove_left_overs(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_file || !is_ours(&entry.file_name()) {
            continue;
        }
        if let Ok(file) = OpenOptions::new().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether [`create_in`] gives such names.
fn is_ours(name: &OsStr) -> bool {
    name.to_str()
        .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX))
        .is_some_and(|random| {
            random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn left_overs_of_the_dead_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let others = [
            ".tapir-0123456789a.tmp",
            ".tapir-0123456789abc.tmp",
            ".tapir-0123456789-b.tmp",
            "tapir-0123456789ab.tmp",
            ".tapir-0123456789ab",
            ".model.h5x1Y2z3.tmp",
        ];
        others.iter().for_each(|name| drop(File::create(at(name))));
        fs::create_dir(at(".tapir-foldersstays.tmp")).unwrap();
        let living = create_in(folder.path()).unwrap();
        // What a dead writer leaves: a file that nobody has locked.
        let (_, dead) = create_in(folder.path()).unwrap().keep().unwrap();
        remove_left_overs(folder.path());
        assert!(!dead.exists());
        assert!(living.path().exists());
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            others.len() + 2
        );
        drop(living);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            others.len() + 1
        );
    }

    #[test]
    fn files_made_while_others_clean_up_stay() {
        let folder = tempfile::tempdir().unwrap();
        let cleaning = std::sync::atomic::AtomicBool::new(true);
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while cleaning.load(relaxed) {
                    remove_left_overs(folder.path());
                }
            });
            for _ in 0..300 {
                let mine = create_in(folder.path()).unwrap();
                assert!(mine.path().exists());
            }
            cleaning.store(false, relaxed);
        });
    }
}
