//! Files: mapped, replaced whole, hashed.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::DataError;
use crate::hexadecimal::hexadecimal;

/// A read-only mapping of a file that is not empty.
pub(crate) fn map(path: &Path) -> Result<Mmap, DataError> {
    let file = File::open(path).map_err(DataError::io("read", path))?;
    // SAFETY: the mapping is read-only and private to this process. Should another program shorten the file
    // meanwhile, the system ends this process by a signal; our own files are replaced by renaming, never shortened.
    unsafe { Mmap::map(&file) }.map_err(DataError::io("map", path))
}

/// Writes a file under a temporary name beside `path` and renames it: `path` is whole or untouched. Folders are
/// created as needed.
pub(crate) fn replace_file<T>(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<T, DataError>,
) -> Result<T, DataError> {
    let partial = temporary_beside(path)?;
    let write = || {
        let mut file = BufWriter::new(File::create(&partial).map_err(DataError::io("create", &partial))?);
        let value = fill(&mut file)?;
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(DataError::io("write", &partial))?;
        fs::rename(&partial, path).map_err(DataError::io("replace", path))?;
        Ok(value)
    };
    write().inspect_err(|_| drop(fs::remove_file(&partial)))
}

/// A name beside `path` that no other call in any process uses; its folder is created.
pub(crate) fn temporary_beside(path: &Path) -> Result<PathBuf, DataError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().unwrap_or(Path::new(""));
    if folder != Path::new("") {
        fs::create_dir_all(folder).map_err(DataError::io("create", folder))?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unique = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(folder.join(format!(".{name}.{}-{unique}.partial", std::process::id())))
}

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn hash_file(path: &Path) -> Result<String, DataError> {
    let mut hash = Sha256::new();
    let mut file = File::open(path).map_err(DataError::io("read", path))?;
    std::io::copy(&mut file, &mut hash).map_err(DataError::io("read", path))?;
    Ok(hexadecimal(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_replacement_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/file");
        replace_file(&path, |file| file.write_all(b"old").map_err(DataError::io("write", &path))).unwrap();
        let failed = replace_file(&path, |file| {
            file.write_all(b"half").map_err(DataError::io("write", &path))?;
            Err::<(), _>(DataError::Zero { name: "context" })
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(
            hash_file(&path).unwrap(),
            "cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = map(Path::new("no/such/file")).unwrap_err().to_string();
        assert!(error.contains("no/such/file"), "{error}");
    }
}
