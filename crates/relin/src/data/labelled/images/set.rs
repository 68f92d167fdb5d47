//! Images of one size with their classes, as bytes in memory, whatever files they came from.

use std::path::Path;

use super::super::super::DataError;
use super::{cifar, folder, idx};
use crate::recipe::DataConfig;

/// Which images of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSplit {
    /// Those to train on, and to hold some out of.
    Training,
    /// Those to validate on, where the folder keeps them apart.
    Validation,
    /// Those to test on.
    Test,
}

/// Sizes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// 1 if grey, 3 if coloured.
    pub channels: usize,
    /// Pixels from top to bottom.
    pub rows: usize,
    /// Pixels from left to right.
    pub columns: usize,
}

impl ImageSize {
    /// Bytes of an image.
    pub fn len(&self) -> usize {
        self.channels * self.rows * self.columns
    }

    /// Whether there is no pixel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Images of one size with their classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// `[n, channels, rows, columns]`.
    pub(super) pixels: Vec<u8>,
    pub(super) size: ImageSize,
    /// Indices into `classes`.
    pub(super) labels: Vec<u32>,
    pub(super) classes: Vec<String>,
}

impl Images {
    /// The images of one split of a folder: idx files (MNIST and its successors), the binary files of CIFAR-10 or
    /// CIFAR-100 (fine labels), or `SPLIT/CLASS/*.{png,jpg}`; grey if `data.grayscale` says so.
    ///
    /// # Errors
    /// If there are none of these, a file is missing or damaged, or sizes differ.
    pub fn open(path: &Path, split: ImageSplit, data: &DataConfig) -> Result<Self, DataError> {
        let images = match kind(path) {
            Some(Kind::Idx) => idx::read(path, split)?,
            Some(Kind::Cifar(set)) => cifar::read(path, split, set)?,
            Some(Kind::Folders) => folder::read(path, split, data.image_size)?,
            None => return Err(nothing(path)),
        };
        let size = images.size;
        if let Some(side) = data.image_size
            && (size.rows, size.columns) != (side, side)
        {
            let reason = format!(
                "images of {}x{} pixels, but data.image_size = {side}, which resizes only folders of png and jpg files",
                size.rows, size.columns
            );
            return Err(wrong(path, reason));
        }
        Ok(if data.grayscale { images.grey() } else { images })
    }

    /// Images in memory, `[n, channels, rows, columns]`, one for each label.
    ///
    /// # Panics
    /// If there are more or fewer pixels than that.
    pub fn of_pixels(pixels: Vec<u8>, size: ImageSize, labels: Vec<u32>, classes: Vec<String>) -> Self {
        assert_eq!(pixels.len(), labels.len() * size.len(), "pixels of {} images", labels.len());
        Self { pixels, size, labels, classes }
    }

    /// Whether a folder keeps images to validate on apart.
    pub fn has_validation(path: &Path) -> bool {
        kind(path) == Some(Kind::Folders) && folder::part(path, ImageSplit::Validation).is_dir()
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Their size.
    pub fn size(&self) -> ImageSize {
        self.size
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Those at `indices`.
    pub fn subset(&self, indices: &[usize]) -> Self {
        let size = self.size.len();
        Self {
            pixels: indices.iter().flat_map(|&at| &self.pixels[at * size..][..size]).copied().collect(),
            labels: indices.iter().map(|&at| self.labels[at]).collect(),
            size: self.size,
            classes: self.classes.clone(),
        }
    }

    /// Mean and standard deviation of each channel over all pixels, 0 … 255 as 0 … 1.
    pub fn statistics(&self) -> (Vec<f64>, Vec<f64>) {
        let plane = self.size.rows * self.size.columns;
        let of_channel = |channel: usize| {
            // Whole numbers, so that the sums are exact.
            let (mut sum, mut squares) = (0u64, 0u64);
            for pixels in self.pixels.chunks(plane).skip(channel).step_by(self.size.channels) {
                for &pixel in pixels {
                    sum += u64::from(pixel);
                    squares += u64::from(pixel) * u64::from(pixel);
                }
            }
            let n = (self.len() * plane) as f64;
            let mean = sum as f64 / n;
            (mean / 255.0, (squares as f64 / n - mean * mean).max(0.0).sqrt() / 255.0)
        };
        (0..self.size.channels).map(of_channel).unzip()
    }

    /// With the classes of a trained model, and as many channels as it takes: grey ones are repeated.
    ///
    /// # Errors
    /// If a class is not among them, or images are coloured that should be grey.
    pub fn suited_to(mut self, name: &str, classes: &[String], channels: usize) -> Result<Self, DataError> {
        let wrong = |reason| DataError::Examples { name: name.into(), reason };
        let known = |class: &String| classes.iter().position(|known| known == class).map(|at| at as u32);
        let found: Vec<Option<u32>> = self.classes.iter().map(known).collect();
        if let Some(&label) = self.labels.iter().find(|&&label| found[label as usize].is_none()) {
            let class = &self.classes[label as usize];
            return Err(wrong(format!(
                "the class `{class}` was not trained (known: {})",
                classes.join(", ")
            )));
        }
        self.labels.iter_mut().for_each(|label| *label = found[*label as usize].unwrap_or(*label));
        self.classes = classes.to_vec();
        match (self.size.channels, channels) {
            (found, expected) if found == expected => Ok(self),
            (1, channels) => Ok(self.repeated(channels)),
            (found, expected) => {
                Err(wrong(format!("images of {found} channels, but the model was trained on {expected}")))
            }
        }
    }

    fn repeated(self, channels: usize) -> Self {
        let plane = self.size.rows * self.size.columns;
        let pixels = self.pixels.chunks(plane).flat_map(|grey| grey.repeat(channels)).collect();
        Self { pixels, size: ImageSize { channels, ..self.size }, ..self }
    }

    /// Luma as ITU-R BT.601 weighs it.
    fn grey(self) -> Self {
        if self.size.channels != 3 {
            return self;
        }
        let plane = self.size.rows * self.size.columns;
        let of_image = |image: &[u8]| {
            let luma = |at: usize| {
                let [r, g, b] = [0, 1, 2].map(|channel| f64::from(image[channel * plane + at]));
                (0.299 * r + 0.587 * g + 0.114 * b).round() as u8
            };
            (0..plane).map(luma).collect::<Vec<_>>()
        };
        let pixels = self.pixels.chunks(3 * plane).flat_map(of_image).collect();
        Self { pixels, size: ImageSize { channels: 1, ..self.size }, ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Idx,
    Cifar(cifar::Set),
    Folders,
}

/// What lies in a folder, told by the names in it.
fn kind(path: &Path) -> Option<Kind> {
    let names = std::fs::read_dir(path).ok()?;
    let names: Vec<String> =
        names.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    let has = |wanted: &[&str]| names.iter().any(|name| wanted.contains(&name.as_str()));
    if names.iter().any(|name| name.contains("idx3-ubyte")) {
        Some(Kind::Idx)
    } else if has(&["data_batch_1.bin", "test_batch.bin"]) {
        Some(Kind::Cifar(cifar::Set::Ten))
    } else if has(&["train.bin", "test.bin"]) {
        Some(Kind::Cifar(cifar::Set::Hundred))
    } else if has(&["train", "val", "test"]) {
        Some(Kind::Folders)
    } else {
        None
    }
}

fn nothing(path: &Path) -> DataError {
    let reason = "no images: expected the idx files train-images-idx3-ubyte and its like, data_batch_1.bin or train.bin of CIFAR, \
                  or folders train/CLASS with png or jpg files";
    wrong(path, reason.into())
}

pub(super) fn wrong(path: &Path, reason: String) -> DataError {
    DataError::Examples { name: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(channels: usize, pixels: &[u8]) -> Images {
        let size = ImageSize { channels, rows: 1, columns: 2 };
        let n = pixels.len() / size.len();
        let classes = vec!["cat".to_string(), "dog".into()];
        Images { pixels: pixels.to_vec(), size, labels: (0..n as u32).map(|at| at % 2).collect(), classes }
    }

    #[test]
    fn statistics_are_those_of_each_channel() {
        let (mean, deviation) = images(3, &[0, 255, 51, 51, 0, 0, 255, 0, 51, 51, 255, 255]).statistics();
        assert_eq!(mean, [0.5, 0.2, 0.5]);
        assert!(deviation.iter().zip([0.5, 0.0, 0.5]).all(|(a, b)| (a - b).abs() < 1e-12), "{deviation:?}");
    }

    #[test]
    fn grey_is_the_weighted_sum_of_the_colours() {
        let grey = images(3, &[255, 0, 0, 255, 0, 100]).grey();
        assert_eq!((grey.size.channels, &grey.pixels[..]), (1, &[76, 161][..]));
    }

    #[test]
    fn classes_and_channels_are_those_of_the_model() {
        let model: Vec<String> = ["bird", "dog", "cat"].map(String::from).to_vec();
        let suited = images(1, &[1, 2, 3, 4]).suited_to("f", &model, 3).unwrap();
        assert_eq!(suited.labels, [2, 1]);
        assert_eq!((suited.size.channels, &suited.pixels[..6]), (3, &[1, 2, 1, 2, 1, 2][..]));
        let refused = |images: Images, classes, channels| {
            images.suited_to("f", classes, channels).unwrap_err().to_string()
        };
        let unknown = refused(images(1, &[1, 2, 3, 4]), &model[..2], 1);
        assert!(unknown.starts_with("f: the class `cat` was not trained"), "{unknown}");
        let coloured = refused(images(3, &[0; 6]), &model, 1);
        assert!(coloured.contains("3 channels") && coloured.contains("on 1"), "{coloured}");
    }
}
