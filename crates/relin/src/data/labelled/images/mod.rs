//! Labelled images as batches: read from files, varied, and cut into patches or taken pixel by pixel.

mod augment;
mod cifar;
mod folder;
mod idx;
mod mix;
mod rand_augment;
mod set;

use std::path::Path;

use relin_kernels::rng::Rng;

pub use augment::Augment;
pub use rand_augment::RandAugment;
pub use set::{ImageSize, ImageSplit, Images};

use super::super::DataError;
use super::{Examples, Input, Labelled};
use crate::recipe::{ModelConfig, Pixels, Recipe};

/// Grey values, which are the tokens of images that are read pixel by pixel.
pub const GREY_VALUES: usize = 256;

/// Images as a model takes them.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledImages {
    images: Images,
    form: Form,
    augment: Augment,
}

/// What becomes of an image.
#[derive(Clone, Debug, PartialEq)]
enum Form {
    /// Patches of so many pixels along a side, and a margin around them, their values `pixel/scale − offset` with a pair for
    /// each channel.
    Patches { side: usize, margin: usize, scales: Vec<(f32, f32)> },
    /// Grey values, row by row.
    Tokens,
}

/// The streams of random numbers that vary one image, and that mix two.
const VARY: u64 = u64::from_le_bytes(*b"randaugm");
const MIX: u64 = u64::from_le_bytes(*b"miximage");

impl LabelledImages {
    /// Images in the form that a model takes; `folder` is where they are from.
    ///
    /// # Errors
    /// If patches do not tile an image, or coloured pixels should be tokens.
    pub fn new(
        images: Images,
        model: &ModelConfig,
        augment: Augment,
        folder: &Path,
    ) -> Result<Self, DataError> {
        let ImageSize { channels, rows, columns } = images.size();
        let refuse = |reason| Err(set::wrong(folder, reason));
        let form = match model.pixels {
            Pixels::Tokens if channels > 1 => {
                return refuse(format!(
                    "images of {channels} channels, but model.pixels = \"tokens\" takes grey ones; set data.grayscale = true"
                ));
            }
            Pixels::Tokens => Form::Tokens,
            Pixels::Patches => {
                let side = model.patch_size.unwrap_or(0);
                if side == 0 || !rows.is_multiple_of(side) || !columns.is_multiple_of(side) {
                    return refuse(format!(
                        "images of {rows}x{columns} pixels are not tiled by model.patch_size = {side}"
                    ));
                }
                // A stem makes the patches of pixels.
                let side = if model.stem.is_empty() { side } else { 1 };
                Form::Patches { side, margin: model.patch_margin, scales: scales(model, channels) }
            }
        };
        Ok(Self { images, form, augment })
    }

    /// Images in the form that a recipe's model takes; `name` is where they are from.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if an image has more tokens than `data.context`.
    pub fn for_recipe(images: Images, recipe: &Recipe, name: &str) -> Result<Self, DataError> {
        let labelled = Self::new(images, &recipe.model, recipe.data.augment, Path::new(name))?;
        let ImageSize { rows, columns, .. } = labelled.images.size();
        let side = recipe.model.patch_size.filter(|_| recipe.model.pixels == Pixels::Patches).unwrap_or(1);
        let (length, context) = (rows / side * (columns / side), recipe.data.context);
        if length > context {
            let what = if recipe.model.pixels == Pixels::Tokens { "pixels" } else { "patches" };
            let reason = format!("an image has {length} {what}, but data.context = {context}");
            return Err(DataError::Examples { name: name.into(), reason });
        }
        Ok(labelled)
    }

    /// The images.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// Tokens of an image.
    pub fn length(&self) -> usize {
        self.grid().iter().product()
    }

    /// Rows of tokens, and tokens in a row.
    fn grid(&self) -> [usize; 2] {
        let ImageSize { rows, columns, .. } = self.images.size();
        match self.form {
            Form::Patches { side, .. } => [rows / side, columns / side],
            Form::Tokens => [rows, columns],
        }
    }

    /// Those at `indices`.
    pub fn subset(&self, indices: &[usize]) -> Self {
        Self { images: self.images.subset(indices), form: self.form.clone(), augment: self.augment }
    }

    /// An image of a batch, varied by `rng` if there is one.
    fn draw(&self, row: usize, image: usize, rng: Option<Rng>, out: &mut [f32]) {
        let size = self.images.size();
        let pixels = &self.images.pixels[image * size.len()..][..size.len()];
        let placing = rng.map_or_else(Default::default, |rng| self.augment.placing(row, rng));
        placing.place(pixels, size, out);
        if let (Some(rng), Some(operations)) = (rng, self.augment.rand_augment) {
            operations.apply(Rng::new(rng.word(row as u64), VARY), size, out);
        }
    }

    /// Patches row by row; of each patch one channel after the other, row by row.
    fn append_patches(
        &self,
        image: &[f32],
        [side, margin]: [usize; 2],
        scales: &[(f32, f32)],
        values: &mut Vec<f32>,
    ) {
        let ImageSize { rows, columns, .. } = self.images.size();
        let across = columns / side;
        // Counted from one margin beyond the image.
        let inside = |at: usize, count: usize| at.checked_sub(margin).filter(|&at| at < count);
        let reach = side + 2 * margin;
        for at in 0..self.length() {
            let (top, left) = (at / across * side, at % across * side);
            for (plane, &(scale, offset)) in image.chunks(rows * columns).zip(scales) {
                for row in (top..top + reach).map(|row| inside(row, rows)) {
                    let pixel = |column| Some(plane[row? * columns + inside(column, columns)?]);
                    let value = |column| pixel(column).map_or(0.0, |pixel| pixel / scale - offset);
                    values.extend((left..left + reach).map(value));
                }
            }
        }
    }

    fn input(&self, pixels: &[f32]) -> Input {
        let size = self.images.size();
        match &self.form {
            Form::Tokens => Input::Tokens(pixels.iter().map(|pixel| pixel.round() as u32).collect()),
            Form::Patches { side, margin, scales } => {
                let images = pixels.chunks(size.len());
                let width = (side + 2 * margin).pow(2) * size.channels;
                let mut values = Vec::with_capacity(images.len() * self.length() * width);
                images.for_each(|image| self.append_patches(image, [*side, *margin], scales, &mut values));
                Input::Patches { values, width, grid: self.grid() }
            }
        }
    }
}

/// `pixel/(255 σ) − μ/σ` for each channel; μ = σ = ½, which maps 0 … 255 to −1 … 1, where the model states none.
fn scales(model: &ModelConfig, channels: usize) -> Vec<(f32, f32)> {
    let of = |values: &Option<Vec<f64>>, channel: usize| {
        values.as_ref().and_then(|values| values.get(channel)).copied().unwrap_or(0.5)
    };
    let scale = |channel: usize| {
        // A channel that is the same everywhere has no deviation.
        let deviation = of(&model.image_std, channel).max(1e-3);
        ((255.0 * deviation) as f32, (of(&model.image_mean, channel) / deviation) as f32)
    };
    (0..channels).map(scale).collect()
}

impl Labelled for LabelledImages {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn tokens(&self) -> usize {
        self.len() * self.length()
    }

    fn label(&self, index: usize) -> u32 {
        self.images.labels[index]
    }

    fn batch(&self, indices: &[usize], rng: Option<Rng>) -> Examples {
        let size = self.images.size();
        let labels: Vec<u32> = indices.iter().map(|&at| self.images.labels[at]).collect();
        let mut pixels = vec![0.0; indices.len() * size.len()];
        for ((row, &image), out) in indices.iter().enumerate().zip(pixels.chunks_mut(size.len())) {
            self.draw(row, image, rng, out);
        }
        let mixes = self.augment.mixup > 0.0 || self.augment.cutmix > 0.0;
        let second = rng
            .filter(|_| mixes)
            .map(|rng| mix::mix(&self.augment, Rng::new(rng.word(0), MIX), size, &mut pixels, &labels));
        let length = self.length();
        let lengths = vec![length; indices.len()];
        Examples { input: self.input(&pixels), length, lengths, labels, values: None, second }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two images of 2×4 pixels: 0 … 7 and 8 … 15, in a second channel 100 more.
    fn images(channels: usize) -> Images {
        let plane = |image: u8, channel: usize| (0..8).map(move |at| 8 * image + at + 100 * channel as u8);
        let pixels = (0..2).flat_map(|image| (0..channels).flat_map(move |channel| plane(image, channel)));
        let classes = (0..4).map(|class| class.to_string()).collect();
        let size = ImageSize { channels, rows: 2, columns: 4 };
        Images { pixels: pixels.collect(), size, labels: vec![3, 1], classes }
    }

    fn model(patch: usize) -> ModelConfig {
        ModelConfig { patch_size: Some(patch), ..ModelConfig::default() }
    }

    fn small(channels: usize, augment: Augment) -> LabelledImages {
        LabelledImages::new(images(channels), &model(2), augment, Path::new("f")).unwrap()
    }

    fn pixels(batch: &Examples) -> Vec<i32> {
        let Input::Patches { values, .. } = &batch.input else { panic!("images are patches") };
        values.iter().map(|x| ((x + 1.0) * 127.5).round() as i32).collect()
    }

    #[test]
    fn patches_are_cut_row_by_row() {
        let labelled = small(1, Augment::default());
        let batch = labelled.batch(&[1, 0], None);
        assert_eq!((batch.length, &batch.lengths[..], &batch.labels[..]), (2, &[2, 2][..], &[1, 3][..]));
        assert_eq!(pixels(&batch), [8, 9, 12, 13, 10, 11, 14, 15, 0, 1, 4, 5, 2, 3, 6, 7]);
        assert_eq!(pixels(&labelled.subset(&[1]).batch(&[0], None))[..4], [8, 9, 12, 13]);
        let coloured = small(2, Augment::default()).batch(&[0], None);
        assert_eq!(pixels(&coloured)[..8], [0, 1, 4, 5, 100, 101, 104, 105]);
    }

    #[test]
    fn patches_read_their_neighbours_and_nothing_beyond_the_image() {
        let config = ModelConfig { patch_margin: 1, ..model(2) };
        let labelled = LabelledImages::new(images(1), &config, Augment::default(), Path::new("f")).unwrap();
        let Input::Patches { values, width, .. } = labelled.batch(&[0], None).input else {
            panic!("patches")
        };
        assert_eq!((width, Some(width), values.len()), (16, config.patch_dim(), 32));
        // −1 … 1 of 0 … 255, and 0 where there is no pixel.
        let of = |pixel: Option<u8>| pixel.map_or(0.0, |pixel| f32::from(pixel) / 127.5 - 1.0);
        let none = [None; 4];
        let rows = |a: [Option<u8>; 4], b: [Option<u8>; 4]| [none, a, b, none].concat().into_iter().map(of);
        let first = rows([None, Some(0), Some(1), Some(2)], [None, Some(4), Some(5), Some(6)]);
        let second = rows([Some(1), Some(2), Some(3), None], [Some(5), Some(6), Some(7), None]);
        let expected = first.chain(second);
        assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{values:?}");
    }

    #[test]
    fn pixels_are_tokens_row_by_row() {
        let config = ModelConfig { pixels: Pixels::Tokens, ..ModelConfig::default() };
        let new =
            |channels| LabelledImages::new(images(channels), &config, Augment::default(), Path::new("f"));
        let batch = new(1).unwrap().batch(&[1], None);
        assert_eq!((batch.length, batch.input), (8, Input::Tokens((8..16).collect())));
        let coloured = new(3).unwrap_err().to_string();
        assert!(coloured.contains("f: ") && coloured.contains("data.grayscale"), "{coloured}");
    }

    #[test]
    fn values_are_normalized_by_mean_and_deviation() {
        let config = ModelConfig { image_mean: Some(vec![0.2]), image_std: Some(vec![0.5]), ..model(2) };
        let labelled = LabelledImages::new(images(1), &config, Augment::default(), Path::new("f")).unwrap();
        let Input::Patches { values, .. } = labelled.batch(&[0], None).input else { panic!("patches") };
        assert!((values[3] - (5.0 / 255.0 - 0.2) / 0.5).abs() < 1e-6, "{}", values[3]);
    }

    #[test]
    fn training_images_vary_with_the_generator_and_others_do_not() {
        let augment = Augment {
            shift: 1,
            flip: true,
            rand_augment: Some(RandAugment::default()),
            mixup: 0.8,
            cutmix: 1.0,
        };
        let labelled = small(2, augment);
        assert_eq!(labelled.batch(&[0, 1], None), small(2, Augment::default()).batch(&[0, 1], None));
        let varied = |stream| labelled.batch(&[0, 1], Some(Rng::new(1, stream)));
        assert_eq!(varied(1), varied(1));
        assert_ne!(varied(1), varied(2));
        assert_eq!(varied(1).second.unwrap().iter().map(|second| second.label).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn patches_must_tile_an_image() {
        let new = |patch| LabelledImages::new(images(1), &model(patch), Augment::default(), Path::new("f"));
        let error = new(3).unwrap_err().to_string();
        ["f: ", "2x4", "patch_size = 3"].iter().for_each(|word| assert!(error.contains(word), "{error}"));
        assert!(new(0).is_err());
    }
}
