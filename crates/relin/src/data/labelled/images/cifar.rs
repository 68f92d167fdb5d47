//! The binary files of CIFAR-10 and CIFAR-100: records of labels and 32×32 pixels, red, then green, then blue.

use std::path::Path;

use super::super::super::DataError;
use super::set::{ImageSize, ImageSplit, Images, wrong};

const SIZE: ImageSize = ImageSize { channels: 3, rows: 32, columns: 32 };

/// Which of the two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Ten,
    /// Its fine labels; the coarse one before each of them is passed over.
    Hundred,
}

impl Set {
    /// Bytes of a record before its pixels; the last of them is the label.
    fn labels(self) -> usize {
        match self {
            Self::Ten => 1,
            Self::Hundred => 2,
        }
    }

    fn names(self) -> &'static str {
        match self {
            Self::Ten => "batches.meta.txt",
            Self::Hundred => "fine_label_names.txt",
        }
    }

    fn files(self, split: ImageSplit) -> Vec<String> {
        match (self, split) {
            (Self::Ten, ImageSplit::Test) => vec!["test_batch.bin".into()],
            (Self::Ten, _) => (1..=5).map(|batch| format!("data_batch_{batch}.bin")).collect(),
            (Self::Hundred, ImageSplit::Test) => vec!["test.bin".into()],
            (Self::Hundred, _) => vec!["train.bin".into()],
        }
    }
}

/// The images of a split.
pub(super) fn read(folder: &Path, split: ImageSplit, set: Set) -> Result<Images, DataError> {
    let names = folder.join(set.names());
    let text = std::fs::read_to_string(&names).map_err(DataError::io("read", &names))?;
    let classes = text.lines().map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect();
    let mut images = Images { pixels: Vec::new(), size: SIZE, labels: Vec::new(), classes };
    for file in set.files(split) {
        append(&mut images, &folder.join(file), set)?;
    }
    Ok(images)
}

fn append(images: &mut Images, path: &Path, set: Set) -> Result<(), DataError> {
    let bytes = std::fs::read(path).map_err(DataError::io("read", path))?;
    let record = set.labels() + SIZE.len();
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        return Err(wrong(path, format!("expected records of {record} bytes, found {} bytes", bytes.len())));
    }
    for (at, record) in bytes.chunks(record).enumerate() {
        let (labels, pixels) = record.split_at(set.labels());
        let label = labels[set.labels() - 1];
        if usize::from(label) >= images.classes.len() {
            let reason = format!(
                "record {at} is of class {label}, but {} names {} classes",
                set.names(),
                images.classes.len()
            );
            return Err(wrong(path, reason));
        }
        images.labels.push(u32::from(label));
        images.pixels.extend_from_slice(pixels);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(labels: &[u8], value: u8) -> Vec<u8> {
        let pixels = (0..SIZE.len()).map(|at| value + (at / 1024) as u8);
        labels.iter().copied().chain(pixels).collect()
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
        folder
    }

    #[test]
    fn batches_follow_each_other_and_names_come_from_the_meta_file() {
        let mut files: Vec<(String, Vec<u8>)> = (1..=5u8)
            .map(|batch| (format!("data_batch_{batch}.bin"), record(&[batch % 2], 10 * batch)))
            .collect();
        files.push(("test_batch.bin".into(), [record(&[1], 3), record(&[0], 4)].concat()));
        files.push(("batches.meta.txt".into(), b"airplane\nautomobile\n\n".to_vec()));
        let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        let folder = folder(&files);
        let images = read(folder.path(), ImageSplit::Training, Set::Ten).unwrap();
        assert_eq!(
            (&images.labels[..], &images.classes[..]),
            (&[1, 0, 1, 0, 1][..], &["airplane", "automobile"].map(String::from)[..])
        );
        assert_eq!((images.pixels[0], images.pixels[SIZE.len() + 1024]), (10, 21), "green follows red");
        let test = read(folder.path(), ImageSplit::Test, Set::Ten).unwrap();
        assert_eq!((&test.labels[..], test.pixels[0]), (&[1, 0][..], 3));
    }

    #[test]
    fn fine_labels_are_read_and_coarse_ones_are_not() {
        let names = b"apple\naquarium_fish\nbaby\n".to_vec();
        let train = [record(&[9, 2], 1), record(&[7, 0], 2)].concat();
        let folder = folder(&[("train.bin", train), ("fine_label_names.txt", names)]);
        let images = read(folder.path(), ImageSplit::Training, Set::Hundred).unwrap();
        assert_eq!((&images.labels[..], images.classes.len()), (&[2, 0][..], 3));
    }

    #[test]
    fn damaged_files_are_named() {
        let names = ("batches.meta.txt", b"a\nb\n".to_vec());
        let refused = |bytes: Vec<u8>| {
            let folder = folder(&[("test_batch.bin", bytes), names.clone()]);
            read(folder.path(), ImageSplit::Test, Set::Ten).unwrap_err().to_string()
        };
        for (error, words) in [
            (refused(record(&[0], 1)[..3000].to_vec()), ["test_batch.bin", "records of 3073", "found 3000"]),
            (refused(Vec::new()), ["test_batch.bin", "3073", "found 0"]),
            (refused(record(&[2], 1)), ["test_batch.bin", "class 2", "2 classes"]),
        ] {
            words.iter().for_each(|word| assert!(error.contains(word), "no `{word}` in: {error}"));
        }
        let empty = tempfile::tempdir().unwrap();
        let missing = read(empty.path(), ImageSplit::Test, Set::Ten).unwrap_err().to_string();
        assert!(missing.contains("batches.meta.txt"), "{missing}");
    }
}
