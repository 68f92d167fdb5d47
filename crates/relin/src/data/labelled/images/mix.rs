//! Training images made of two.

use relin_kernels::rng::Rng;

use super::super::Second;
use super::augment::Augment;
use super::set::ImageSize;

/// Counters of draws that belong to one image.
const DRAWS: u64 = 1 << 20;

/// Puts into each image of a batch a part of the one after it, and says how much its label counts.
///
/// # Reference
/// `mixup`: Zhang et al. 2018 (arXiv 1710.09412); `cutmix`: Yun et al. 2019 (arXiv 1905.04899). Shares are drawn for each
/// image, not once a batch.
pub(super) fn mix(
    augment: &Augment,
    rng: Rng,
    size: ImageSize,
    images: &mut [f32],
    labels: &[u32],
) -> Vec<Second> {
    let before = images.to_vec();
    let mixed = |(row, image): (usize, &mut [f32])| {
        let partner = (row + 1) % labels.len();
        let other = &before[partner * size.len()..][..size.len()];
        let first = row as u64 * DRAWS;
        let cut = match (augment.mixup > 0.0, augment.cutmix > 0.0) {
            (true, true) => rng.below(first, 2) == 1,
            (_, cutmix) => cutmix,
        };
        let alpha = if cut { augment.cutmix } else { augment.mixup };
        let share = beta(alpha, rng, first + 8);
        let weight = if cut {
            let corner = [1, 2].map(|which| rng.uniform(first + which));
            cut_in(size, image, other, share, corner)
        } else {
            image.iter_mut().zip(other).for_each(|(x, &y)| *x = share * *x + (1.0 - share) * y);
            1.0 - share
        };
        Second { label: labels[partner], weight }
    };
    images.chunks_mut(size.len()).enumerate().map(mixed).collect()
}

/// Takes a rectangle from `other`: of the image's shape, `1 − share` of its area, around a point drawn in the image and cut off
/// at its sides. Gives the share of the area that it has.
fn cut_in(size: ImageSize, image: &mut [f32], other: &[f32], share: f32, middle: [f64; 2]) -> f32 {
    let range = |side: usize, middle: f64| {
        let half = side as f64 * f64::from(1.0 - share).sqrt() / 2.0;
        let edge = |at: f64| at.round().clamp(0.0, side as f64) as usize;
        edge(middle * side as f64 - half)..edge(middle * side as f64 + half)
    };
    let (rows, columns) = (range(size.rows, middle[0]), range(size.columns, middle[1]));
    for channel in 0..size.channels {
        for row in rows.clone() {
            let from = (channel * size.rows + row) * size.columns;
            let within = from + columns.start..from + columns.end;
            image[within.clone()].copy_from_slice(&other[within]);
        }
    }
    (rows.len() * columns.len()) as f32 / (size.rows * size.columns) as f32
}

/// A share of Beta(α, α) for 0 < α ≤ 1: with u and v uniform and `u^(1/α) + v^(1/α) ≤ 1`, it is the first term's part of
/// the sum (Jöhnk). Draws from `counter` on.
fn beta(alpha: f64, rng: Rng, counter: u64) -> f32 {
    let mut at = counter;
    loop {
        // Above 0, so that both have logarithms.
        let [u, v] = [at, at + 1].map(|at| (1.0 - rng.uniform(at)).ln() / alpha);
        if u.exp() + v.exp() <= 1.0 {
            return (1.0 / (1.0 + (v - u).exp())) as f32;
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: ImageSize = ImageSize { channels: 2, rows: 4, columns: 6 };

    fn images() -> Vec<f32> {
        (0..3).flat_map(|image| vec![[10.0, 20.0, 40.0][image]; SIZE.len()]).collect()
    }

    fn mixed(augment: Augment, stream: u64) -> (Vec<f32>, Vec<Second>) {
        let mut pixels = images();
        let seconds = mix(&augment, Rng::new(2, stream), SIZE, &mut pixels, &[5, 6, 7]);
        (pixels, seconds)
    }

    #[test]
    fn the_weight_is_the_share_of_the_second_image() {
        let values = [10.0f32, 20.0, 40.0];
        let (mixup, cutmix) =
            (Augment { mixup: 0.8, ..Augment::default() }, Augment { cutmix: 1.0, ..Augment::default() });
        for (augment, cut) in [(mixup, false), (cutmix, true)] {
            for stream in 0..50 {
                let (pixels, seconds) = mixed(augment, stream);
                assert_eq!((&pixels, &seconds), (&mixed(augment, stream).0, &mixed(augment, stream).1));
                for (row, (image, second)) in pixels.chunks(SIZE.len()).zip(&seconds).enumerate() {
                    let (own, other) = (values[row], values[(row + 1) % 3]);
                    assert_eq!(second.label, [6, 7, 5][row]);
                    let mean = image.iter().sum::<f32>() / SIZE.len() as f32;
                    let expected = own + second.weight * (other - own);
                    assert!((mean - expected).abs() < 1e-3, "{mean}, {expected}");
                    assert!(
                        !cut || image.iter().all(|&x| x == own || x == other),
                        "pixels are of one or the other"
                    );
                }
            }
        }
    }

    #[test]
    fn either_happens_where_both_are_asked_for() {
        let both = Augment { mixup: 1.0, cutmix: 1.0, ..Augment::default() };
        let is_cut = |stream| mixed(both, stream).0[..SIZE.len()].iter().all(|&x| x == 10.0 || x == 20.0);
        let cut = (0..400).filter(|&stream| is_cut(stream)).count();
        assert!((160..240).contains(&cut), "{cut} of 400");
    }

    /// Mean 1/2 and variance 1/(4(2α + 1)).
    #[test]
    fn shares_have_the_moments_of_the_distribution() {
        for alpha in [0.2, 0.8, 1.0] {
            let n = 20_000;
            let shares: Vec<f64> = (0..n).map(|i| f64::from(beta(alpha, Rng::new(4, i), 0))).collect();
            let mean = shares.iter().sum::<f64>() / n as f64;
            let variance = shares.iter().map(|x| (x - 0.5).powi(2)).sum::<f64>() / n as f64;
            assert!((mean - 0.5).abs() < 0.014, "{alpha}: {mean}");
            assert!((variance * 4.0 * (2.0 * alpha + 1.0) - 1.0).abs() < 0.03, "{alpha}: {variance}");
        }
        assert!(beta(1e-4, Rng::new(1, 1), 0).is_finite());
    }
}
