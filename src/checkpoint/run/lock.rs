//! One process per run: while one process trains in a folder, others are locked out. The lock is the operating
//! system's, so it ends with its process, however that ends; the file that remains blocks nobody.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::process;
use std::time::Duration;

use super::run_dir::RunDir;
use crate::checkpoint::disk::atomic;
use crate::error::{Error, Result};

/// More than any process writes about itself.
const MOST_TEXT: u64 = 4096;

/// Exclusive write access to a run folder, until dropped.
#[derive(Debug)]
pub(crate) struct RunLock {
    _file: File,
}

impl RunLock {
    /// Locks `run`, creates its folders, and removes the temporary files of a killed process. `command` is what other
    /// processes are told about this one.
    ///
    /// # Errors
    /// Another process holds the lock (the message names it), or the folder cannot be written.
    pub(crate) fn take(run: &RunDir, command: &str) -> Result<Self> {
        run.create()?;
        let path = run.lock_path();
        let mut options = OpenOptions::new();
        let file = options.create(true).read(true).write(true).truncate(false).open(&path);
        let mut file = file.map_err(|e| Error::io("open", &path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // Where a locked file cannot be read, the message omits the owner.
                let _ = (&file).take(MOST_TEXT).read_to_string(&mut owner);
                let owner = match owner.trim() {
                    "" => "another process",
                    owner => owner,
                };
                return Err(Error::invalid(format!(
                    "{} is in use by {owner}: wait for it, or name another run with --run",
                    run.path().display()
                )));
            }
            // Some network file systems have no locks: better to train there without one than not at all.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path, e)),
        }
        let text = format!("process {} (vqgen {command})\n", process::id());
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(text.as_bytes()));
        written.map_err(|e| Error::io("write", &path, e))?;
        for folder in [run.path(), &run.resume_dir()] {
            atomic::remove_leftovers(folder, Duration::ZERO)?;
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path().join("run"));
        let first = RunLock::take(&run, "train-vqvae").unwrap();
        let refused = RunLock::take(&run, "train-prior").unwrap_err().to_string();
        let owner = format!("in use by process {} (vqgen train-vqvae)", process::id());
        assert!(refused.contains(&owner), "{refused}");
        drop(first);
        RunLock::take(&run, "train-prior").unwrap();
    }

    #[test]
    fn what_a_killed_process_left_blocks_nobody_and_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path().join("run"));
        run.create().unwrap();
        std::fs::write(run.lock_path(), "process 1 (vqgen run) and a longer text\n").unwrap();
        std::fs::write(run.resume_dir().join(".x.vqgen-tmp"), "half").unwrap();
        let _lock = RunLock::take(&run, "run").unwrap();
        assert_eq!(std::fs::read_dir(run.resume_dir()).unwrap().count(), 0);
        let text = std::fs::read_to_string(run.lock_path()).unwrap();
        assert_eq!(text, format!("process {} (vqgen run)\n", process::id()));
    }
}
