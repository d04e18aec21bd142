//! Atomic file replacement: a file is written under a temporary name in its own folder, synced and renamed over the old
//! one, and then the folder is synced, so that after a crash or power loss the path holds the old content or the new.
//! Nothing is known of what is written.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// Temporary files are hidden and end in this, by which [`remove_leftovers`] recognises them.
const TEMPORARY_SUFFIX: &str = ".vqgen-tmp";
/// Large enough to write a model in few system calls.
const BUFFER_BYTES: usize = 1 << 20;

/// Creates a folder and its parents; an existing one is fine.
///
/// # Errors
/// I/O errors; the message names the folder.
pub fn create_dir(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    fs::create_dir_all(path).map_err(|e| Error::io("create", path, e))
}

/// Checks that `folder` is writable, by creating and removing a file in it.
///
/// # Errors
/// I/O errors; the message names the folder.
pub fn probe(folder: impl AsRef<Path>) -> Result<()> {
    let folder = folder.as_ref();
    let cannot = |e| Error::io("write into", folder, e);
    fill_temporary(folder, |_| Ok(())).map_err(cannot)?.close().map_err(cannot)
}

/// Replaces the file `path` with `bytes`. The folder must exist.
///
/// # Errors
/// I/O errors; the message names `path`, which keeps its content.
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// Replaces the file `path` with what `fill` writes. If `fill` or the system fails, `path` keeps its content and the
/// temporary file is removed. The folder must exist.
///
/// # Errors
/// Errors of `fill` and I/O errors; the message names `path`.
pub fn write_with(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    let cannot = |e| Error::io("write", path, e);
    let folder = folder_of(path)?;
    let temporary = fill_temporary(&folder, fill).map_err(cannot)?;
    temporary.persist(path).map_err(|e| cannot(e.error))?;
    sync_folder(&folder).map_err(cannot)
}

/// Replaces the file `path` with what `fill` writes, and keeps the old one under the name `before`, if given, in the
/// same folder. The new file must pass `check` first; otherwise both keep their content. After a crash at any moment,
/// `path` or `before` is a whole file that passed its check, if there was one.
///
/// # Errors
/// Errors of `fill` and `check` and I/O errors; the message names `path`.
pub fn write_keeping(
    path: impl AsRef<Path>,
    before: Option<&Path>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    let cannot = |e| Error::io("write", path, e);
    let folder = folder_of(path)?;
    let temporary = fill_temporary(&folder, fill).map_err(cannot)?;
    // The message names the file that the user knows, not the temporary one.
    check(temporary.path()).map_err(|error| {
        cannot(io::Error::other(format!("the new file does not read back: {error}")))
    })?;
    if let Some(before) = before.filter(|_| path.exists()) {
        keep_as(path, before, &folder).map_err(cannot)?;
    }
    temporary.persist(path).map_err(|e| cannot(e.error))?;
    sync_folder(&folder).map_err(cannot)
}

/// Gives the file `path` the additional name `before`, replacing what has that name.
fn keep_as(path: &Path, before: &Path, folder: &Path) -> io::Result<()> {
    let link = folder.join(format!(".before{TEMPORARY_SUFFIX}"));
    let remove_link = || match fs::remove_file(&link) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    };
    remove_link()?;
    // A hard link, so that a file exists at `path` at every moment. On file systems without hard links it is missing
    // between two renames.
    if fs::hard_link(path, &link).is_err() {
        return fs::rename(path, before);
    }
    fs::rename(&link, before)?;
    // A rename onto another link to the same file does nothing; both names are left if a crash occurs right here.
    remove_link()
}

/// A temporary file in `folder`, written by `fill` and synced.
fn fill_temporary(
    folder: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(TEMPORARY_SUFFIX);
    // The crate's default is readable by the owner only; a result should follow the umask, as other files do.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = builder.tempfile_in(folder)?;
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, temporary.as_file());
    fill(&mut file)?;
    file.flush()?;
    drop(file);
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

/// Syncs `folder`, so that renames in it survive a power loss. Windows has no such call and does not need it.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The folder a file lives in; "." for a bare name.
fn folder_of(path: &Path) -> Result<PathBuf> {
    if path.file_name().is_none() {
        return Err(Error::invalid(format!("{} does not name a file", path.display())));
    }
    Ok(match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    })
}

/// Deletes temporary files that a killed process left in `folder` and returns their number. Files last written less
/// than `age` ago stay: where other processes write to the folder, one may still be in use.
///
/// # Errors
/// I/O errors.
pub fn remove_leftovers(folder: impl AsRef<Path>, age: Duration) -> Result<usize> {
    let folder = folder.as_ref();
    let now = SystemTime::now();
    let mut n_removed = 0;
    for entry in fs::read_dir(folder).map_err(|e| Error::io("read", folder, e))? {
        let entry = entry.map_err(|e| Error::io("read", folder, e))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') || !name.ends_with(TEMPORARY_SUFFIX) {
            continue;
        }
        // A time that is unreadable or in the future is no reason to delete.
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = |written| now.duration_since(written).is_ok_and(|since| since >= age);
        if age.is_zero() || written.is_ok_and(is_old) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|e| Error::io("delete", &path, e))?;
            n_removed += 1;
        }
    }
    Ok(n_removed)
}

/// Deletes a file.
///
/// # Errors
/// I/O errors; a missing file is fine.
pub fn remove_file(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("delete", path, e)),
        _ => Ok(()),
    }
}

/// Reads a whole regular file. Pipes and devices are refused: they may never end.
///
/// # Errors
/// The file is missing, not a regular file, or unreadable.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let metadata = fs::metadata(path).map_err(|e| Error::io("read", path, e))?;
    if !metadata.is_file() {
        return Err(Error::file(path, "is not a regular file"));
    }
    fs::read(path).map_err(|e| Error::io("read", path, e))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_writer_that_fails_leaves_the_old_file_and_no_temporary_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"old").unwrap();
        let error = write_with(&path, |file| {
            file.write_all(b"half of the n")?;
            Err(io::Error::other("no space left"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("a.json"), "{error}");
        assert!(error.to_string().contains("no space left"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_fails_its_check_replaces_nothing_and_a_good_one_keeps_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (path, before) = (folder.path().join("new"), folder.path().join("old"));
        for text in ["1", "2", "3"] {
            let check = |path: &Path| {
                assert_eq!(
                    fs::read_to_string(path).unwrap(),
                    text,
                    "the new file is whole when it is checked"
                );
                Ok(())
            };
            write_keeping(&path, Some(&before), |file| file.write_all(text.as_bytes()), check)
                .unwrap();
        }
        let refuse = |_: &Path| Err(Error::invalid("it is unreadable"));
        let error = write_keeping(&path, Some(&before), |file| file.write_all(b"4"), refuse);
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot write {}", path.display())), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "3");
        assert_eq!(fs::read_to_string(&before).unwrap(), "2");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);

        // A crash right after hard-linking leaves both names on one file.
        fs::remove_file(&before).unwrap();
        fs::hard_link(&path, &before).unwrap();
        write_keeping(&path, Some(&before), |file| file.write_all(b"4"), |_| Ok(())).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "4");
        assert_eq!(fs::read_to_string(&before).unwrap(), "3");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(folder.path().join("no/where/a.json"), b"x").unwrap_err();
        assert!(error.to_string().starts_with("cannot write"), "{error}");
        assert!(error.to_string().contains("a.json"), "{error}");
        assert!(write(folder.path().join(".."), b"x").is_err());
    }

    #[test]
    fn leftovers_of_a_killed_process_are_removed_and_other_files_kept() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".a1b2c3.vqgen-tmp", "kept.json", ".hidden"] {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        assert_eq!(remove_leftovers(folder.path(), Duration::from_secs(60)).unwrap(), 0);
        assert_eq!(remove_leftovers(folder.path(), Duration::ZERO).unwrap(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);

        let path = folder.path().join(".d4e5f6.vqgen-tmp");
        let old = SystemTime::now() - Duration::from_secs(61);
        File::create(&path).unwrap().set_modified(old).unwrap();
        assert_eq!(remove_leftovers(folder.path(), Duration::from_secs(60)).unwrap(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_is_not_read_as_a_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_written_file_is_not_private_to_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("ours");
        let theirs = folder.path().join("theirs");
        write(&ours, b"x").unwrap();
        fs::write(&theirs, b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&theirs));
    }
}
