//! One process a folder: a file that the operating system locks for as long as the process lives.
//!
//! A process that dies, however it dies, leaves the file and not the lock, so a stale one needs no cleaning up.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::StudyError;

/// Name of the file.
pub const LOCK_FILE: &str = "lock";

/// A folder that is this process's until the value is dropped.
#[derive(Debug)]
pub struct Lock {
    /// Held for its lock.
    _file: File,
}

impl Lock {
    /// Takes the folder.
    ///
    /// # Errors
    /// If another process has it (by its number, where the platform tells), or the file cannot be made.
    pub fn take(folder: &Path) -> Result<Self, StudyError> {
        Self::take_within(folder, Duration::ZERO)
    }

    /// Takes the folder, waiting for a process that is about to leave it.
    ///
    /// # Errors
    /// As [`Lock::take`], after that time.
    pub fn take_within(folder: &Path, patience: Duration) -> Result<Self, StudyError> {
        let path = folder.join(LOCK_FILE);
        let unusable = |source| StudyError::Folder { path: path.clone(), source };
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(unusable)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if began.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(StudyError::Locked { folder: folder.into(), pid: holder(&path) });
                }
                Err(TryLockError::Error(source)) => return Err(unusable(source)),
            }
        }
        let pid = std::process::id().to_string();
        let written =
            file.rewind().and_then(|()| file.set_len(0)).and_then(|()| file.write_all(pid.as_bytes()));
        written.map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

fn holder(path: &PathBuf) -> Option<u32> {
    let mut text = String::new();
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder_and_what_a_dead_one_left_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(LOCK_FILE), "4194999").unwrap();
        let held = Lock::take(folder.path()).unwrap();
        let refusal = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(refusal.contains(&format!("process {}", std::process::id())), "{refusal}");
        drop(held);
        Lock::take(folder.path()).unwrap();
    }

    #[test]
    fn one_who_waits_gets_what_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let held = Lock::take(folder.path()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(60));
                drop(held);
            });
            Lock::take_within(folder.path(), Duration::from_secs(60)).unwrap();
        });
    }
}
