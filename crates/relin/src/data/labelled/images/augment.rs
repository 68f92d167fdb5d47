//! How training images vary.

use relin_kernels::rng::Rng;
use serde::{Deserialize, Serialize};

use super::rand_augment::RandAugment;
use super::set::ImageSize;

/// How training images vary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Pixels by which an image may move along either axis; what comes in is 0.
    pub shift: usize,
    /// Half of the images are mirrored, left to right.
    pub flip: bool,
    /// Operations drawn for each image.
    pub rand_augment: Option<RandAugment>,
    /// α: an image is blended with another, in shares of Beta(α, α); 0 = never.
    pub mixup: f64,
    /// α: a rectangle of an image is taken from another, its area 1 minus a share of Beta(α, α); 0 = never. Beside
    /// `mixup`, each image gets one of the two.
    pub cutmix: f64,
}

/// Where an image is taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Placing {
    pub down: i64,
    pub right: i64,
    pub mirrored: bool,
}

impl Augment {
    /// How image `row` of a batch is placed.
    pub(super) fn placing(&self, row: usize, rng: Rng) -> Placing {
        let draw = |which: u64, below: u64| rng.below(3 * row as u64 + which, below);
        let by = |which: u64| draw(which, 2 * self.shift as u64 + 1) as i64 - self.shift as i64;
        Placing { down: by(0), right: by(1), mirrored: self.flip && draw(2, 2) == 1 }
    }
}

impl Placing {
    /// Writes a mirrored and moved image to `out`, 0 where nothing comes in.
    pub(super) fn place(self, image: &[u8], size: ImageSize, out: &mut [f32]) {
        let (rows, columns) = (size.rows as i64, size.columns as i64);
        for (at, out) in out.iter_mut().enumerate() {
            let (channel, row, column) =
                (at / (size.rows * size.columns), at / size.columns % size.rows, at % size.columns);
            let (row, column) = (row as i64 - self.down, column as i64 - self.right);
            let column = if self.mirrored { columns - 1 - column } else { column };
            let inside = (0..rows).contains(&row) && (0..columns).contains(&column);
            let from = (channel as i64 * rows + row) * columns + column;
            *out = if inside { f32::from(image[from as usize]) } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: ImageSize = ImageSize { channels: 2, rows: 2, columns: 3 };

    #[test]
    fn images_are_mirrored_and_then_moved() {
        let image: Vec<u8> = (1..=12).collect();
        let mut out = [f32::NAN; 12];
        Placing::default().place(&image, SIZE, &mut out);
        assert_eq!(out, [1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12.]);
        Placing { down: 1, right: -1, mirrored: true }.place(&image, SIZE, &mut out);
        assert_eq!(out, [0., 0., 0., 2., 1., 0., 0., 0., 0., 8., 7., 0.]);
    }

    #[test]
    fn placings_are_drawn_from_all_that_are_allowed() {
        let augment = Augment { shift: 1, flip: true, ..Augment::default() };
        let placing = |stream| augment.placing(1, Rng::new(1, stream));
        let mut seen = std::collections::BTreeSet::new();
        for stream in 0..200 {
            let Placing { down, right, mirrored } = placing(stream);
            seen.insert((down, right, mirrored));
            assert_eq!(placing(stream), placing(stream));
        }
        assert_eq!(seen.len(), 18, "nine places, each mirrored or not");
        assert_eq!(Augment::default().placing(1, Rng::new(1, 5)), Placing::default());
    }
}
