//! Pathfinder: whether two marked ends belong to the same dashed contour.

mod contours;
mod drawing;
mod files;

use std::path::Path;

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use relin_kernels::rng::Rng;
use serde::{Deserialize, Serialize};

use super::Part;
use crate::data::{DataError, Examples, Labelled, LabelledImages};
use crate::recipe::Recipe;
use contours::{Contours, Geometry};
use drawing::Canvas;
pub(in crate::data) use files::write;

/// Which pictures are made. The defaults are the published ones, those of the hard set of 32×32 pixels.
///
/// # Reference
/// Linsley et al. 2018, "Learning long-range spatial dependencies with horizontal gated recurrent units"; numbers as in
/// the Long-Range Arena. The drawing is our own: statistics agree with the published pictures, pixels do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PathfinderConfig {
    /// Pixels along a side. Lengths of paddles, gaps and markers are those that were published for 32, 64, 128 or 256
    /// pixels, whichever is the next below.
    pub size: usize,
    /// Paddles of each of the two contours: 14 is hard, 9 intermediate, 6 easy.
    pub contour_length: usize,
    /// Most paddles of a distractor; a third of `contour_length` if not given.
    pub distractor_length: Option<usize>,
    /// Distractors; if not given, as many as have about 20 paddles together (22, 35 and 30 in larger windows).
    pub distractors: Option<usize>,
    /// Pictures to train on.
    pub examples: usize,
    /// Pictures to validate on, and as many to test on.
    pub held_out: usize,
}

impl Default for PathfinderConfig {
    fn default() -> Self {
        Self {
            size: 32,
            contour_length: 14,
            distractor_length: None,
            distractors: None,
            examples: 160_000,
            held_out: 20_000,
        }
    }
}

/// Smallest and largest window.
pub const PATHFINDER_SIZES: (usize, usize) = (32, 256);

/// Of each published window: side; paddles of all distractors; then paddle, thickness, margin, distance of the seeds,
/// marker and continuity.
const PUBLISHED: [(usize, usize, [f64; 6]); 4] = [
    (32, 20, [2.0, 0.5, 1.0, 7.0, 1.5, 1.0]),
    (64, 22, [5.0, 1.0, 1.0, 12.0, 2.5, 1.8]),
    (128, 35, [5.0, 1.5, 2.5, 20.0, 3.0, 1.8]),
    (256, 30, [5.0, 2.0, 3.0, 20.0, 5.0, 1.8]),
];

/// Brightness of paddles; markers have 1.
const PADDLES: f32 = 0.75;
/// Contours that are begun before none is thought to fit.
const ATTEMPTS: u64 = 1000;
/// The stream of random numbers that the pictures' own seeds come from.
const STREAM: u64 = u64::from_le_bytes(*b"pathfind");

impl PathfinderConfig {
    fn geometry(&self) -> Geometry {
        let row = PUBLISHED.iter().rev().find(|row| row.0 <= self.size).unwrap_or(&PUBLISHED[0]);
        let &(_, paddles, [paddle, thickness, margin, seeds, marker, continuity]) = row;
        let length = self.distractor_length.unwrap_or(self.contour_length / 3);
        let count = self.distractors.unwrap_or(paddles / length.max(1));
        Geometry {
            size: self.size as f64,
            contour: self.contour_length,
            distractors: (count, length),
            paddle,
            thickness,
            margin,
            seeds,
            marker,
            continuity,
        }
    }

    /// A picture, `[size, size]`, and whether its marks are joined: every second one's are. A pure function of the seed
    /// and the picture's number. `None` if no contours fit the window.
    pub(super) fn draw(&self, seed: u64, number: u64) -> Option<(Vec<u8>, bool)> {
        let (geometry, own) = (self.geometry(), Rng::new(seed, STREAM).word(number));
        let contours = (0..ATTEMPTS).find_map(|at| Contours::grow(&geometry, Rng::new(own, at)))?;
        let joined = number % 2 == 1;
        let mut canvas = Canvas::new(self.size);
        for paddle in contours.contours.iter().chain(&contours.distractors).flatten() {
            let segment = [paddle.tail, paddle.head(geometry.paddle)];
            canvas.stroke(segment, geometry.thickness / 2.0, PADDLES);
        }
        for end in contours.marked(joined, geometry.paddle) {
            canvas.stroke([end; 2], geometry.marker, 1.0);
        }
        Some((canvas.bytes().collect(), joined))
    }

    /// The pixels of some pictures, end to end, and their labels.
    ///
    /// # Errors
    /// If contours do not fit the window.
    fn pictures(&self, seed: u64, numbers: std::ops::Range<u64>) -> Result<(Vec<u8>, Vec<u32>), DataError> {
        let drawn: Option<Vec<_>> = numbers.into_par_iter().map(|number| self.draw(seed, number)).collect();
        let Some(drawn) = drawn else {
            let (size, length) = (self.size, self.contour_length);
            let reason = format!("no two contours of {length} paddles fit into {size}x{size} pixels");
            return Err(DataError::Examples { name: "data.pathfinder".into(), reason });
        };
        let labels = drawn.iter().map(|(_, joined)| u32::from(*joined)).collect();
        Ok((drawn.into_iter().flat_map(|(pixels, _)| pixels).collect(), labels))
    }
}

/// Pictures in patches, and whether their marks are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pathfinder(LabelledImages);

impl Pathfinder {
    /// A part of what the recipe's `[data]` names: of a folder of published pictures, or, without a source, of pictures
    /// made by rule, the first to test on, the next to validate on, the others to train on.
    ///
    /// # Errors
    /// If pictures cannot be read or made, or do not suit the recipe.
    pub fn open(recipe: &Recipe, part: Part) -> Result<Self, DataError> {
        match recipe.data.folder()? {
            Some(folder) => Self::read(&folder, recipe, Some(part)),
            None => Self::make(recipe, part),
        }
    }

    fn make(recipe: &Recipe, part: Part) -> Result<Self, DataError> {
        let config = &recipe.data.pathfinder;
        let (examples, held) = (config.examples as u64, config.held_out as u64);
        let numbers = match part {
            Part::Test => 0..held,
            Part::Validation => held..2 * held,
            Part::Training => 2 * held..2 * held + examples,
        };
        let (pixels, labels) = config.pictures(recipe.train.seed, numbers)?;
        Self::new("data.pathfinder", pixels, config.size, labels, recipe)
    }

    /// A part of a folder of published pictures, or all of them.
    ///
    /// # Errors
    /// If pictures cannot be read or do not suit the recipe.
    pub fn read(folder: &Path, recipe: &Recipe, part: Option<Part>) -> Result<Self, DataError> {
        let (pixels, size, labels) = files::read(folder, &recipe.data.pathfinder, part)?;
        Self::new(&folder.display().to_string(), pixels, size, labels, recipe)
    }

    fn new(
        name: &str,
        pixels: Vec<u8>,
        size: usize,
        labels: Vec<u32>,
        recipe: &Recipe,
    ) -> Result<Self, DataError> {
        let (patch, context) = (recipe.model.patch_size.unwrap_or(0), recipe.data.context);
        let augment = recipe.data.augment;
        let images = LabelledImages::from_pixels(name, pixels, (size, size), labels, patch, augment)?;
        let patches = images.patches();
        if patches > context {
            let reason = format!("an image has {patches} patches, but data.context = {context}");
            return Err(DataError::Examples { name: name.into(), reason });
        }
        Ok(Self(images))
    }

    /// The names of the classes.
    pub fn classes() -> Vec<String> {
        ["apart", "joined"].map(str::to_owned).to_vec()
    }
}

impl Labelled for Pathfinder {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn tokens(&self) -> usize {
        self.0.tokens()
    }

    fn label(&self, index: usize) -> u32 {
        self.0.label(index)
    }

    fn batch(&self, indices: &[usize], rng: Option<Rng>) -> Examples {
        self.0.batch(indices, rng)
    }
}

#[cfg(test)]
mod tests;
