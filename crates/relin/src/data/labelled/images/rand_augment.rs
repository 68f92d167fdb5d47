//! Operations drawn for each training image, all of one strength.

use relin_kernels::rng::Rng;
use serde::{Deserialize, Serialize};

use super::set::ImageSize;

/// A number of operations, drawn one by one from a list, on each image.
///
/// # Reference
/// Cubuk et al. 2020 (arXiv 1909.13719), without the operations that need a histogram or act on colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandAugment {
    /// Operations an image.
    pub operations: usize,
    /// Their strength, from 0 to 10.
    pub magnitude: f64,
}

impl Default for RandAugment {
    fn default() -> Self {
        Self { operations: 2, magnitude: 9.0 }
    }
}

/// What may be done to an image. Where an operation has a direction, it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Identity,
    /// By up to 30 degrees.
    Rotate,
    /// By up to 0.3 of the distance from the middle.
    ShearRows,
    ShearColumns,
    /// By up to 0.3 of the side.
    TranslateRows,
    TranslateColumns,
    /// Factors from 0.1 to 1.9: on pixels, on their distance from the mean, on that from a smoothed image.
    Brightness,
    Contrast,
    Sharpness,
    /// To 8 bits down to 4.
    Posterize,
    /// Inverts what is above 255 down to 0.
    Solarize,
}

const OPERATIONS: [Operation; 11] = [
    Operation::Identity,
    Operation::Rotate,
    Operation::ShearRows,
    Operation::ShearColumns,
    Operation::TranslateRows,
    Operation::TranslateColumns,
    Operation::Brightness,
    Operation::Contrast,
    Operation::Sharpness,
    Operation::Posterize,
    Operation::Solarize,
];

impl RandAugment {
    /// Changes an image, `[channels, rows, columns]` with values from 0 to 255.
    pub(super) fn apply(&self, rng: Rng, size: ImageSize, image: &mut [f32]) {
        for at in 0..self.operations as u64 {
            let operation = OPERATIONS[rng.below(2 * at, OPERATIONS.len() as u64) as usize];
            let sign = if rng.below(2 * at + 1, 2) == 0 { 1.0 } else { -1.0 };
            operation.apply((self.magnitude / 10.0) as f32, sign, size, image);
        }
    }
}

impl Operation {
    /// `share` of its greatest strength, in the direction of `sign`.
    fn apply(self, share: f32, sign: f32, size: ImageSize, image: &mut [f32]) {
        let by = sign * share;
        let factor = 1.0 + 0.9 * by;
        match self {
            Self::Identity => {}
            Self::Rotate => {
                let (sin, cos) = (by * 30f32.to_radians()).sin_cos();
                warp(size, image, [[cos, -sin], [sin, cos]], [0.0, 0.0]);
            }
            Self::ShearRows => warp(size, image, [[1.0, 0.3 * by], [0.0, 1.0]], [0.0, 0.0]),
            Self::ShearColumns => warp(size, image, [[1.0, 0.0], [0.3 * by, 1.0]], [0.0, 0.0]),
            Self::TranslateRows => warp(size, image, UNMOVED, [0.3 * by * size.rows as f32, 0.0]),
            Self::TranslateColumns => warp(size, image, UNMOVED, [0.0, 0.3 * by * size.columns as f32]),
            Self::Brightness => away_from(image, |_| 0.0, factor),
            Self::Contrast => {
                let mean = image.iter().sum::<f32>() / image.len() as f32;
                away_from(image, |_| mean, factor);
            }
            Self::Sharpness => {
                let smooth = smoothed(size, image);
                away_from(image, |at| smooth[at], factor);
            }
            Self::Posterize => {
                let step = 2f32.powi((4.0 * share).round() as i32);
                image.iter_mut().for_each(|x| *x = (*x / step).floor() * step);
            }
            Self::Solarize => {
                let threshold = 256.0 * (1.0 - share);
                image.iter_mut().filter(|x| **x >= threshold).for_each(|x| *x = 255.0 - *x);
            }
        }
    }
}

const UNMOVED: [[f32; 2]; 2] = [[1.0, 0.0], [0.0, 1.0]];

/// `x ← base + factor (x − base)`, between 0 and 255.
fn away_from(image: &mut [f32], base: impl Fn(usize) -> f32, factor: f32) {
    for (at, x) in image.iter_mut().enumerate() {
        let base = base(at);
        *x = (base + factor * (*x - base)).clamp(0.0, 255.0);
    }
}

/// The pixel at `p` (row and column from the middle) becomes that at `matrix p + shift`, between pixels the bilinear mean of
/// four; outside the image all is 0.
fn warp(size: ImageSize, image: &mut [f32], matrix: [[f32; 2]; 2], shift: [f32; 2]) {
    let plane = size.rows * size.columns;
    let middle = [size.rows, size.columns].map(|side| (side as f32 - 1.0) / 2.0);
    for image in image.chunks_mut(plane) {
        let source = image.to_vec();
        for (at, out) in image.iter_mut().enumerate() {
            let p = [(at / size.columns) as f32 - middle[0], (at % size.columns) as f32 - middle[1]];
            let [row, column] = [0, 1]
                .map(|axis| matrix[axis][0] * p[0] + matrix[axis][1] * p[1] + shift[axis] + middle[axis]);
            *out = between(&source, size, row, column);
        }
    }
}

fn between(plane: &[f32], size: ImageSize, row: f32, column: f32) -> f32 {
    let (top, left) = (row.floor(), column.floor());
    let (down, right) = (row - top, column - left);
    let pixel = |row: f32, column: f32| {
        let inside = row >= 0.0 && row < size.rows as f32 && column >= 0.0 && column < size.columns as f32;
        if inside { plane[row as usize * size.columns + column as usize] } else { 0.0 }
    };
    let across = |row: f32| (1.0 - right) * pixel(row, left) + right * pixel(row, left + 1.0);
    (1.0 - down) * across(top) + down * across(top + 1.0)
}

/// Each pixel's mean with its eight neighbours, itself counted five times; the border as it is.
fn smoothed(size: ImageSize, image: &[f32]) -> Vec<f32> {
    let (rows, columns) = (size.rows, size.columns);
    let mut smooth = image.to_vec();
    for (smooth, image) in smooth.chunks_mut(rows * columns).zip(image.chunks(rows * columns)) {
        for row in 1..rows.saturating_sub(1) {
            for column in 1..columns.saturating_sub(1) {
                let of_row = |row: usize| image[row * columns + column - 1..][..3].iter().sum::<f32>();
                let sum: f32 = (row - 1..row + 2).map(of_row).sum();
                smooth[row * columns + column] = (sum + 4.0 * image[row * columns + column]) / 13.0;
            }
        }
    }
    smooth
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: ImageSize = ImageSize { channels: 1, rows: 5, columns: 5 };

    /// A single bright pixel.
    fn dot(row: usize, column: usize) -> Vec<f32> {
        let mut image = vec![0.0; 25];
        image[5 * row + column] = 200.0;
        image
    }

    fn close(found: &[f32], expected: &[f32]) {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3), "{found:?}, {expected:?}");
    }

    fn applied(operation: Operation, share: f32, sign: f32, mut image: Vec<f32>) -> Vec<f32> {
        operation.apply(share, sign, SIZE, &mut image);
        image
    }

    #[test]
    fn nothing_happens_at_strength_zero() {
        let image: Vec<f32> = (0..25).map(|at| (at * 10) as f32).collect();
        for operation in OPERATIONS {
            close(&applied(operation, 0.0, 1.0, image.clone()), &image);
        }
    }

    #[test]
    fn pixels_go_where_the_geometry_says() {
        // 0.3 of 5 pixels are one and a half: half of the light falls on either neighbour.
        let moved = applied(Operation::TranslateColumns, 1.0, -1.0, dot(2, 1));
        let mut expected = vec![0.0; 25];
        (expected[5 * 2 + 2], expected[5 * 2 + 3]) = (100.0, 100.0);
        close(&moved, &expected);
        // A quarter turn moves the middle of the upper side to the middle of a lateral one.
        let mut turned = dot(0, 2);
        warp(SIZE, &mut turned, [[0.0, -1.0], [1.0, 0.0]], [0.0, 0.0]);
        close(&turned, &dot(2, 4));
        // The rows away from the middle slide by 0.3 pixels a row.
        let sheared = applied(Operation::ShearColumns, 1.0, 1.0, dot(1, 2));
        close(&sheared[5..10], &[0.0, 0.0, 140.0, 60.0, 0.0]);
        // By 30 degrees each neighbour of the middle comes to lie 1 − cos and 1 − sin of it away.
        let turned = applied(Operation::Rotate, 1.0, 1.0, dot(2, 2));
        let share = 200.0 * (1.0 - 0.75f32.sqrt()) * 0.5;
        let mut expected = dot(2, 2);
        [7, 11, 13, 17].iter().for_each(|&at| expected[at] = share);
        close(&turned, &expected);
    }

    #[test]
    fn values_follow_their_formulas() {
        let image = vec![100.0; 25];
        close(&applied(Operation::Brightness, 1.0, 1.0, image.clone()), &[190.0; 25]);
        close(&applied(Operation::Brightness, 1.0, -1.0, image.clone()), &[10.0; 25]);
        close(&applied(Operation::Contrast, 1.0, 1.0, image.clone()), &image);
        close(&applied(Operation::Sharpness, 1.0, -1.0, image.clone()), &image);
        close(&applied(Operation::Posterize, 1.0, 1.0, image.clone()), &[96.0; 25]);
        close(&applied(Operation::Solarize, 0.5, 1.0, image.clone()), &image);
        close(&applied(Operation::Solarize, 0.7, 1.0, image), &[155.0; 25]);
        // Blurred by 0.9: the middle keeps 0.1 of itself and 0.9 of 5/13.
        let blurred = applied(Operation::Sharpness, 1.0, -1.0, dot(2, 2));
        close(&[blurred[12], blurred[6]], &[200.0 * (0.1 + 0.9 * 5.0 / 13.0), 200.0 * 0.9 / 13.0]);
    }

    #[test]
    fn draws_are_pure_and_reach_every_operation() {
        // No straight slope, which smoothing would leave as it is.
        let image: Vec<f32> = (0..25).map(|at| (at * at * 7 % 256) as f32).collect();
        let varied = |stream| {
            let mut image = image.clone();
            RandAugment { operations: 1, magnitude: 7.0 }.apply(Rng::new(1, stream), SIZE, &mut image);
            image
        };
        let mut seen: Vec<Vec<f32>> = Vec::new();
        for stream in 0..300 {
            assert_eq!(varied(stream), varied(stream));
            assert!(varied(stream).iter().all(|x| (0.0..=255.0).contains(x)));
            if !seen.contains(&varied(stream)) {
                seen.push(varied(stream));
            }
        }
        // Identity, posterize and solarize have one direction, the others two.
        assert_eq!(seen.len(), 3 + 2 * 8);
    }
}
