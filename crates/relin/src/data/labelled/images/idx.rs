//! The idx files of MNIST and its successors, plain or `.gz`.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::super::super::DataError;
use super::set::{ImageSize, ImageSplit, Images, wrong};

/// The images and labels of a split. Classes are the numbers from 0 to the largest label.
pub(super) fn read(folder: &Path, split: ImageSplit) -> Result<Images, DataError> {
    let part = if split == ImageSplit::Test { "t10k" } else { "train" };
    let (path, bytes) = read_idx(folder, part, "images", 3)?;
    let [n, rows, columns] = sizes::<3>(&path, &bytes)?;
    let (labels_path, label_bytes) = read_idx(folder, part, "labels", 1)?;
    let [labels] = sizes::<1>(&labels_path, &label_bytes)?;
    if labels != n {
        let reason = format!("{labels} labels for the {n} images of {}", path.display());
        return Err(wrong(&labels_path, reason));
    }
    if rows * columns == 0 {
        return Err(wrong(&path, format!("images of {rows}x{columns} pixels")));
    }
    let labels: Vec<u32> = label_bytes[8..].iter().map(|&label| u32::from(label)).collect();
    let last = labels.iter().copied().max().unwrap_or(0);
    let classes = (0..=last).map(|label| label.to_string()).collect();
    let size = ImageSize { channels: 1, rows, columns };
    Ok(Images { pixels: bytes[16..].to_vec(), size, labels, classes })
}

/// The bytes of `PART-WHATdash-or-dot-idxN-ubyte`, unpacked.
fn read_idx(folder: &Path, part: &str, what: &str, axes: usize) -> Result<(PathBuf, Vec<u8>), DataError> {
    let names = ["-", "."].map(|dash| format!("{part}-{what}{dash}idx{axes}-ubyte"));
    let candidates = names.iter().flat_map(|name| [name.clone(), format!("{name}.gz")]);
    let Some(path) = candidates.map(|name| folder.join(name)).find(|path| path.is_file()) else {
        let reason = format!("there is no {} (or .gz)", names.join(" or "));
        return Err(wrong(folder, reason));
    };
    let io = |source| DataError::Io { action: "read", path: path.clone(), source };
    let bytes = std::fs::read(&path).map_err(io)?;
    if path.extension().is_none_or(|ending| ending != "gz") {
        return Ok((path, bytes));
    }
    let mut unpacked = Vec::new();
    GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).map_err(io)?;
    Ok((path, unpacked))
}

/// The sizes that an idx file of bytes states, checked against its own.
fn sizes<const N: usize>(path: &Path, bytes: &[u8]) -> Result<[usize; N], DataError> {
    let wrong = |reason: String| DataError::Examples { name: path.display().to_string(), reason };
    let word =
        |at: usize| bytes.get(4 * at..4 * at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let magic = 0x0800 + N as u32;
    if word(0) != Some(magic) {
        let found =
            word(0).map_or_else(|| format!("{} bytes", bytes.len()), |found| format!("{found:#010x}"));
        return Err(wrong(format!("expected the magic number {magic:#010x} of an idx file, found {found}")));
    }
    let mut sizes = [0; N];
    for (axis, size) in sizes.iter_mut().enumerate() {
        *size = word(1 + axis).ok_or_else(|| wrong("the header is cut short".into()))? as usize;
    }
    let (expected, found) = (sizes.iter().map(|&size| size as u128).product(), bytes.len() - 4 * (N + 1));
    if found as u128 != expected {
        return Err(wrong(format!("the header states {expected} bytes of data, the file has {found}")));
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idx(sizes: &[u32], data: &[u8]) -> Vec<u8> {
        let header = [0x0800 + sizes.len() as u32].into_iter().chain(sizes.iter().copied());
        header.flat_map(u32::to_be_bytes).chain(data.iter().copied()).collect()
    }

    fn folder(images: &[u8], labels: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("train-images-idx3-ubyte"), images).unwrap();
        std::fs::write(folder.path().join("train-labels.idx1-ubyte"), labels).unwrap();
        folder
    }

    #[test]
    fn images_and_labels_are_those_of_the_files() {
        let pixels: Vec<u8> = (0..16).collect();
        let folder = folder(&idx(&[2, 2, 4], &pixels), &idx(&[2], &[3, 1]));
        let images = read(folder.path(), ImageSplit::Training).unwrap();
        assert_eq!((&images.pixels, &images.labels[..]), (&pixels, &[3, 1][..]));
        assert_eq!(images.size, ImageSize { channels: 1, rows: 2, columns: 4 });
        assert_eq!(images.classes, ["0", "1", "2", "3"]);
    }

    #[test]
    fn damaged_files_are_named_with_what_they_have() {
        let refusal = |images: &[u8], labels: &[u8]| {
            read(folder(images, labels).path(), ImageSplit::Training).unwrap_err().to_string()
        };
        let (good, labels) = (idx(&[2, 2, 4], &[0; 16]), idx(&[2], &[0, 1]));
        for (error, words) in [
            (refusal(&good[..20], &labels), ["images", "16 bytes", "has 4"]),
            (refusal(b"PNG", &labels), ["images", "magic number", "3 bytes"]),
            (refusal(&good, &idx(&[3], &[0; 3])), ["labels", "3 labels", "2 images"]),
            (refusal(&idx(&[2, 0, 0], &[]), &labels), ["images", "0x0", "pixels"]),
            (refusal(&idx(&[u32::MAX; 3], &[0; 9]), &labels), ["images", "header states", "has 9"]),
        ] {
            words.iter().for_each(|word| assert!(error.contains(word), "no `{word}` in: {error}"));
        }
        let empty = tempfile::tempdir().unwrap();
        let missing = read(empty.path(), ImageSplit::Test).unwrap_err().to_string();
        assert!(missing.contains("t10k-images-idx3-ubyte"), "{missing}");
    }
}
