//! Labelled images: the idx files of MNIST and its successors, cut into patches.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use relin_kernels::rng::Rng;
use serde::{Deserialize, Serialize};

use super::super::DataError;
use super::{Examples, Input, Labelled};

/// How training images vary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Pixels by which an image may move along either axis; what comes in is 0.
    pub shift: usize,
    /// Half of the images are mirrored, left to right.
    pub flip: bool,
}

/// Images of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledImages {
    /// `[n, rows, columns]`.
    pixels: Vec<u8>,
    rows: usize,
    columns: usize,
    labels: Vec<u32>,
    patch: usize,
    augment: Augment,
}

impl LabelledImages {
    /// The images and labels of one part, `train` or `t10k`, of a folder of idx files, plain or `.gz`, in patches of
    /// `patch × patch` pixels.
    ///
    /// # Errors
    /// If a file is missing, damaged or no idx file, the two differ in number, or patches do not tile an image.
    pub fn open_idx(folder: &Path, part: &str, patch: usize, augment: Augment) -> Result<Self, DataError> {
        let (path, bytes) = read_idx(folder, part, "images", 3)?;
        let [n, rows, columns] = sizes::<3>(&path, &bytes)?;
        let (labels_path, label_bytes) = read_idx(folder, part, "labels", 1)?;
        let [labels] = sizes::<1>(&labels_path, &label_bytes)?;
        let wrong = |path: &Path, reason: String| {
            Err(DataError::Examples { name: path.display().to_string(), reason })
        };
        if labels != n {
            return wrong(&labels_path, format!("{labels} labels for the {n} images of {}", path.display()));
        }
        if rows * columns == 0 {
            return wrong(&path, format!("images of {rows}x{columns} pixels"));
        }
        let labels = label_bytes[8..].iter().map(|&label| u32::from(label)).collect();
        let name = path.display().to_string();
        Self::from_pixels(&name, bytes[16..].to_vec(), (rows, columns), labels, patch, augment)
    }

    /// Images in memory, `[n, rows, columns]`, one for each label; `name` is for messages.
    ///
    /// # Errors
    /// If patches do not tile an image.
    ///
    /// # Panics
    /// If there are more or fewer pixels than that.
    pub fn from_pixels(
        name: &str,
        pixels: Vec<u8>,
        (rows, columns): (usize, usize),
        labels: Vec<u32>,
        patch: usize,
        augment: Augment,
    ) -> Result<Self, DataError> {
        assert_eq!(pixels.len(), labels.len() * rows * columns, "pixels of {name}");
        if patch == 0 || !rows.is_multiple_of(patch) || !columns.is_multiple_of(patch) {
            let reason =
                format!("images of {rows}x{columns} pixels are not tiled by model.patch_size = {patch}");
            return Err(DataError::Examples { name: name.into(), reason });
        }
        Ok(Self { pixels, rows, columns, labels, patch, augment })
    }

    /// The names of the classes: the numbers from 0 to the largest label.
    pub fn classes(&self) -> Vec<String> {
        (0..=self.labels.iter().copied().max().unwrap_or(0)).map(|label| label.to_string()).collect()
    }

    /// Those at `indices`.
    pub fn subset(&self, indices: &[usize]) -> Self {
        let size = self.rows * self.columns;
        Self {
            pixels: indices.iter().flat_map(|&at| &self.pixels[at * size..][..size]).copied().collect(),
            labels: indices.iter().map(|&at| self.labels[at]).collect(),
            ..*self
        }
    }

    /// Number of patches of an image.
    pub fn patches(&self) -> usize {
        self.rows / self.patch * (self.columns / self.patch)
    }

    /// A pixel of an image that was moved and perhaps mirrored; 0 outside.
    fn pixel(&self, image: usize, row: i64, column: i64, flip: bool) -> u8 {
        let column = if flip { self.columns as i64 - 1 - column } else { column };
        let inside = (0..self.rows as i64).contains(&row) && (0..self.columns as i64).contains(&column);
        if !inside {
            return 0;
        }
        self.pixels[(image * self.rows + row as usize) * self.columns + column as usize]
    }

    /// Patches row by row, the pixels of each row by row, 0 … 255 as −1 … 1.
    fn append_patches(&self, image: usize, (down, right): (i64, i64), flip: bool, values: &mut Vec<f32>) {
        let (patch, across) = (self.patch, self.columns / self.patch);
        for at in 0..self.patches() {
            let corner = (at / across * patch, at % across * patch);
            for (row, column) in (0..patch * patch).map(|i| (corner.0 + i / patch, corner.1 + i % patch)) {
                let pixel = self.pixel(image, row as i64 - down, column as i64 - right, flip);
                values.push(f32::from(pixel) / 127.5 - 1.0);
            }
        }
    }
}

impl Labelled for LabelledImages {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn tokens(&self) -> usize {
        self.len() * self.patches()
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn batch(&self, indices: &[usize], rng: Option<Rng>) -> Examples {
        let (length, width) = (self.patches(), self.patch * self.patch);
        let mut values = Vec::with_capacity(indices.len() * length * width);
        for (row, &image) in indices.iter().enumerate() {
            let Augment { shift, flip } = self.augment;
            let draw = |which: u64, below: u64| rng.map_or(0, |rng| rng.below(3 * row as u64 + which, below));
            let by = |which: u64| match rng {
                Some(_) => draw(which, 2 * shift as u64 + 1) as i64 - shift as i64,
                None => 0,
            };
            self.append_patches(image, (by(0), by(1)), flip && draw(2, 2) == 1, &mut values);
        }
        let labels = indices.iter().map(|&at| self.labels[at]).collect();
        Examples {
            input: Input::Patches { values, width },
            length,
            lengths: vec![length; indices.len()],
            labels,
        }
    }
}

/// The bytes of `PART-WHATdash-or-dot-idxN-ubyte`, unpacked.
fn read_idx(folder: &Path, part: &str, what: &str, axes: usize) -> Result<(PathBuf, Vec<u8>), DataError> {
    let names = ["-", "."].map(|dash| format!("{part}-{what}{dash}idx{axes}-ubyte"));
    let candidates = names.iter().flat_map(|name| [name.clone(), format!("{name}.gz")]);
    let Some(path) = candidates.map(|name| folder.join(name)).find(|path| path.is_file()) else {
        let reason = format!("there is no {} (or .gz)", names.join(" or "));
        return Err(DataError::Examples { name: folder.display().to_string(), reason });
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

    /// Two images of 2×4 pixels, 0 … 7 and 8 … 15.
    fn small(augment: Augment) -> LabelledImages {
        let pixels: Vec<u8> = (0..16).collect();
        let folder = folder(&idx(&[2, 2, 4], &pixels), &idx(&[2], &[3, 1]));
        LabelledImages::open_idx(folder.path(), "train", 2, augment).unwrap()
    }

    fn pixels(batch: &Examples) -> Vec<i32> {
        let Input::Patches { values, .. } = &batch.input else { panic!("images are patches") };
        values.iter().map(|x| ((x + 1.0) * 127.5).round() as i32).collect()
    }

    #[test]
    fn patches_are_cut_row_by_row() {
        let images = small(Augment::default());
        let batch = images.batch(&[1, 0], None);
        assert_eq!((batch.length, &batch.lengths[..], &batch.labels[..]), (2, &[2, 2][..], &[1, 3][..]));
        assert_eq!(pixels(&batch), [8, 9, 12, 13, 10, 11, 14, 15, 0, 1, 4, 5, 2, 3, 6, 7]);
        assert_eq!(images.classes(), ["0", "1", "2", "3"]);
        assert_eq!(pixels(&images.subset(&[1]).batch(&[0], None))[..4], [8, 9, 12, 13]);
    }

    #[test]
    fn images_move_and_mirror_as_the_generator_says_and_not_without() {
        let images = small(Augment { shift: 1, flip: true });
        assert_eq!(images.batch(&[0], None), small(Augment::default()).batch(&[0], None));
        let mut seen = std::collections::BTreeSet::new();
        for stream in 0..200 {
            let found = pixels(&images.batch(&[1], Some(Rng::new(1, stream))));
            assert_eq!(found, pixels(&images.batch(&[1], Some(Rng::new(1, stream)))));
            seen.insert(found);
        }
        assert_eq!(seen.len(), 18, "nine places, each mirrored or not");
        assert!(seen.contains(&vec![11, 10, 15, 14, 9, 8, 13, 12]), "mirrored and not moved");
    }

    #[test]
    fn damaged_files_are_named_with_what_they_have() {
        let refusal = |images: &[u8], labels: &[u8], patch| {
            let folder = folder(images, labels);
            LabelledImages::open_idx(folder.path(), "train", patch, Augment::default())
                .unwrap_err()
                .to_string()
        };
        let (good, labels) = (idx(&[2, 2, 4], &[0; 16]), idx(&[2], &[0, 1]));
        for (error, words) in [
            (refusal(&good[..20], &labels, 2), ["images", "16 bytes", "has 4"]),
            (refusal(b"PNG", &labels, 2), ["images", "magic number", "3 bytes"]),
            (refusal(&good, &idx(&[3], &[0; 3]), 2), ["labels", "3 labels", "2 images"]),
            (refusal(&good, &labels, 3), ["2x4", "patch_size", "3"]),
            (refusal(&idx(&[2, 0, 0], &[]), &labels, 2), ["images", "0x0", "pixels"]),
            (refusal(&idx(&[u32::MAX; 3], &[0; 9]), &labels, 2), ["images", "header states", "has 9"]),
        ] {
            words.iter().for_each(|word| assert!(error.contains(word), "no `{word}` in: {error}"));
        }
        let empty = tempfile::tempdir().unwrap();
        let missing =
            LabelledImages::open_idx(empty.path(), "t10k", 2, Augment::default()).unwrap_err().to_string();
        assert!(missing.contains("t10k-images-idx3-ubyte"), "{missing}");
    }
}
