//! Cross entropy of targets that are distributions: blends of labels, smoothed labels.

use rayon::prelude::*;

use super::MeanLoss;
use crate::fast_math::FastMath;
use crate::reduce::{map_sum, max};
use crate::simd::dispatch;

/// `−Σ_j y_j log softmax(l)_j` of each row, averaged over the rows.
///
/// # Shapes
/// - `losses`: `[N]`, overwritten; `logits` and `targets` y: `[N, classes]`, each row of y summing to 1
/// - `dlogits = (softmax(l) − y)/N`, the mean's gradient: `[N, classes]`, overwritten
///
/// # Panics
/// If the shapes do not fit.
pub fn soft_cross_entropy<R: FastMath>(
    losses: &mut [R],
    dlogits: &mut [R],
    logits: &[R],
    targets: &[R],
    classes: usize,
) -> MeanLoss {
    let (rows, size) = (losses.len(), losses.len() * classes);
    let found = [dlogits.len(), logits.len(), targets.len()];
    assert_eq!(found, [size; 3], "{rows} rows of {classes} classes");
    let factor = R::from_f64(1.0 / rows.max(1) as f64);
    let width = classes.max(1);
    let given = logits.par_chunks(width).zip(targets.par_chunks(width));
    let results = losses.par_iter_mut().zip(dlogits.par_chunks_mut(width));
    results.zip(given).for_each(|((loss, dlogits), (logits, targets))| {
        *loss = row(dlogits, logits, targets, factor);
    });
    super::mean_loss(losses, rows)
}

/// The loss of a row, whose gradient it writes.
fn row<R: FastMath>(dlogits: &mut [R], logits: &[R], targets: &[R], factor: R) -> R {
    dispatch(
        #[inline(always)]
        || {
            let top = max(logits);
            dlogits.copy_from_slice(logits);
            let total = map_sum(
                dlogits,
                #[inline(always)]
                |l| (l - top).fast_exp(),
            );
            let scale = factor / total;
            dlogits.iter_mut().zip(targets).for_each(|(d, &y)| *d = scale * *d - factor * y);
            let log_total = total.ln() + top;
            let pairs = logits.iter().zip(targets);
            pairs.fold(R::ZERO, |loss, (&l, &y)| loss + y * (log_total - l))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::super::CrossEntropy;
    use super::*;
    use crate::testing::{assert_close, convert, normals, numeric_gradient};

    /// Rows of non-negative numbers that sum to 1.
    fn distributions(rows: usize, classes: usize) -> Vec<f64> {
        let draws: Vec<f64> = normals::<f64>(5, rows * classes).iter().map(|x| x * x).collect();
        let shares = |row: &[f64]| {
            let total: f64 = row.iter().sum();
            row.iter().map(|x| x / total).collect::<Vec<_>>()
        };
        draws.chunks(classes).flat_map(shares).collect()
    }

    fn run<R: FastMath>(logits: &[R], targets: &[R], classes: usize) -> (MeanLoss, Vec<R>, Vec<R>) {
        let rows = logits.len() / classes;
        let (mut losses, mut dlogits) = (vec![R::NAN; rows], vec![R::NAN; logits.len()]);
        let mean = soft_cross_entropy(&mut losses, &mut dlogits, logits, targets, classes);
        (mean, losses, dlogits)
    }

    #[test]
    fn matches_its_formula_and_central_differences() {
        for (rows, classes) in [(1, 1), (3, 10), (7, 100), (2, 1000)] {
            let (logits, targets) = (normals::<f64>(1, rows * classes), distributions(rows, classes));
            let (mean, losses, dlogits) = run(&logits, &targets, classes);
            let plain = |row: usize| -> f64 {
                let at = row * classes..(row + 1) * classes;
                let total: f64 = logits[at.clone()].iter().map(|l| l.exp()).sum();
                at.map(|i| -targets[i] * (logits[i].exp() / total).ln()).sum()
            };
            let expected: Vec<f64> = (0..rows).map(plain).collect();
            assert_close("losses", &losses, &expected, 1e-12);
            let numeric = numeric_gradient(&logits, |logits| run(logits, &targets, classes).0.mean);
            assert!(dlogits.iter().zip(&numeric).all(|(a, b)| (a - b).abs() < 1e-9), "{rows}x{classes}");
            assert!((mean.mean * rows as f64 - expected.iter().sum::<f64>()).abs() < 1e-10);
            let (_, narrow, _) = run(&convert::<f64, f32>(&logits), &convert::<f64, f32>(&targets), classes);
            assert_close("f32", &narrow, &expected, 1e-5);
        }
    }

    /// With all weight on one class it is the cross entropy of that class.
    #[test]
    fn a_certain_target_is_a_label() {
        let (labels, classes) = ([2u32, 0, 3], 5);
        let logits = normals::<f64>(3, 15);
        let one_hot: Vec<f64> =
            (0..15).map(|at| f64::from(u8::from(labels[at / classes] as usize == at % classes))).collect();
        let (_, losses, dlogits) = run(&logits, &one_hot, classes);
        let hard = CrossEntropy { vocab: classes, ignore: u32::MAX };
        let (mut expected, mut gradient) = ([0.0; 3], [0.0; 15]);
        hard.forward(&mut expected, &logits, &labels).unwrap();
        hard.backward(&mut gradient, &logits, &labels, 1.0).unwrap();
        assert_close("losses", &losses, &expected, 1e-13);
        assert_close("gradient", &dlogits, &gradient, 1e-12);
    }

    #[test]
    fn large_logits_stay_finite() {
        let (_, losses, dlogits) = run(&[1e30f32, -1e30, 0.0, 1e4], &[0.5, 0.5, 0.25, 0.75], 2);
        assert!(losses.iter().chain(&dlogits).all(|x| x.is_finite()), "{losses:?} {dlogits:?}");
    }
}
