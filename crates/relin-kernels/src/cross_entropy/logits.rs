//! Loss and gradient when the logits exist.

use rayon::prelude::*;

use super::{CrossEntropy, MeanLoss, TargetOutOfRange, mean_loss};
use crate::fast_math::FastMath;
use crate::reduce::{map_sum, max, sum};
use crate::simd::dispatch;

impl CrossEntropy {
    /// Per-token losses (0 where ignored) and their mean.
    ///
    /// # Shapes
    /// losses `[N]`, logits `[N, vocab]`, targets `[N]`.
    ///
    /// # Errors
    /// If a target is out of range.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn forward<R: FastMath>(
        &self,
        losses: &mut [R],
        logits: &[R],
        targets: &[u32],
    ) -> Result<MeanLoss, TargetOutOfRange> {
        let count = self.check(logits.len(), losses.len(), targets)?;
        let rows = logits.par_chunks(self.vocab.max(1)).zip(targets);
        losses.par_iter_mut().zip(rows).for_each(|(loss, (logits, &target))| {
            *loss = if target == self.ignore { R::ZERO } else { row_loss(logits, target as usize) };
        });
        Ok(mean_loss(losses, count))
    }

    /// `dlogits = upstream/count (softmax(logits) − onehot(target))`, 0 where ignored: the gradient of
    /// `upstream · mean`.
    ///
    /// # Shapes
    /// As in [`CrossEntropy::forward`]; dlogits `[N, vocab]`.
    ///
    /// # Errors
    /// If a target is out of range.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn backward<R: FastMath>(
        &self,
        dlogits: &mut [R],
        logits: &[R],
        targets: &[u32],
        upstream: f64,
    ) -> Result<(), TargetOutOfRange> {
        let count = self.check(logits.len(), targets.len(), targets)?;
        assert_eq!(
            dlogits.len(),
            logits.len(),
            "dlogits has {} elements, logits {}",
            dlogits.len(),
            logits.len()
        );
        let factor = R::from_f64(upstream / count.max(1) as f64);
        let width = self.vocab.max(1);
        let rows = dlogits.par_chunks_mut(width).zip(logits.par_chunks(width)).zip(targets);
        rows.for_each(|((dlogits, logits), &target)| {
            if target == self.ignore {
                dlogits.fill(R::ZERO);
            } else {
                row_gradient(dlogits, logits, target as usize, factor);
            }
        });
        Ok(())
    }

    fn check(&self, logits: usize, rows: usize, targets: &[u32]) -> Result<usize, TargetOutOfRange> {
        assert_eq!(rows, targets.len(), "{rows} rows, but {} targets", targets.len());
        assert_eq!(logits, rows * self.vocab, "logits have {logits} elements, not {rows} x {}", self.vocab);
        Ok(self.counted(targets)?.len())
    }
}

/// `log Σ e^(l − max) + max − l[target]`, the difference first: at large logits the sum alone would round.
fn row_loss<R: FastMath>(logits: &[R], target: usize) -> R {
    dispatch(
        #[inline(always)]
        || {
            let top = max(logits);
            sum(
                logits,
                #[inline(always)]
                |l| (l - top).fast_exp(),
            )
            .ln()
                + (top - logits[target])
        },
    )
}

fn row_gradient<R: FastMath>(dlogits: &mut [R], logits: &[R], target: usize, factor: R) {
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
            dlogits.iter_mut().for_each(|d| *d *= scale);
            dlogits[target] -= factor;
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, convert, normals, numeric_gradient};

    const IGNORE: u32 = u32::MAX;

    fn printed(logits: &[f64], targets: &[u32], vocab: usize) -> Vec<f64> {
        let row = |(l, &t): (&[f64], &u32)| {
            if t == IGNORE { 0.0 } else { l.iter().map(|v| v.exp()).sum::<f64>().ln() - l[t as usize] }
        };
        logits.chunks(vocab).zip(targets).map(row).collect()
    }

    #[test]
    fn losses_and_gradients_match_the_definition() {
        for (n, vocab) in [(0, 3), (1, 1), (5, 2), (7, 50)] {
            let logits: Vec<f64> = normals::<f64>(1, n * vocab).iter().map(|v| 3.0 * v).collect();
            let targets: Vec<u32> =
                (0..n).map(|i| if i % 3 == 2 { IGNORE } else { (i * 7 % vocab) as u32 }).collect();
            let count = targets.iter().filter(|&&t| t != IGNORE).count();
            let head = CrossEntropy { vocab, ignore: IGNORE };
            let mut losses = vec![f64::NAN; n];
            let loss = head.forward(&mut losses, &logits, &targets).unwrap();
            let expected = printed(&logits, &targets, vocab);
            assert_close("losses", &losses, &expected, 1e-13);
            assert!((loss.mean - expected.iter().sum::<f64>() / count.max(1) as f64).abs() < 1e-13);
            assert_eq!(loss.count, count);
            let mut dlogits = vec![f64::NAN; n * vocab];
            head.backward(&mut dlogits, &logits, &targets, 0.7).unwrap();
            let mean =
                |l: &[f64]| 0.7 * printed(l, &targets, vocab).iter().sum::<f64>() / count.max(1) as f64;
            let numeric = numeric_gradient(&logits, mean);
            assert!(dlogits.iter().zip(&numeric).all(|(a, b)| (a - b).abs() < 1e-9));
            let mut narrow = vec![f32::NAN; n * vocab];
            head.backward(&mut narrow, &convert::<f64, f32>(&logits), &targets, 0.7).unwrap();
            assert_close("f32", &narrow, &dlogits, 1e-6);
        }
    }

    #[test]
    fn large_logits_stay_exact() {
        let head = CrossEntropy { vocab: 3, ignore: IGNORE };
        let logits = [1e4f32, -1e4, 1e4, -1e30, 0.0, 1e30];
        let mut losses = [f32::NAN; 2];
        head.forward(&mut losses, &logits, &[0, 2]).unwrap();
        assert_eq!(losses, [2f32.ln(), 0.0]);
        let mut dlogits = [f32::NAN; 6];
        head.backward(&mut dlogits, &logits, &[0, 2], 2.0).unwrap();
        assert_eq!(dlogits, [-0.5, 0.0, 0.5, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn ignored_tokens_are_never_read() {
        let head = CrossEntropy { vocab: 2, ignore: 9 };
        let logits = [f32::NAN, f32::NAN, 0.0, 0.0];
        let (mut losses, mut dlogits) = ([f32::NAN; 2], [f32::NAN; 4]);
        let loss = head.forward(&mut losses, &logits, &[9, 1]).unwrap();
        head.backward(&mut dlogits, &logits, &[9, 1], 1.0).unwrap();
        assert_eq!((losses, loss.count), ([0.0, 2f32.ln()], 1));
        assert_eq!(dlogits, [0.0, 0.0, 0.5, -0.5]);
        let all = head.forward(&mut losses, &logits, &[9, 9]).unwrap();
        assert_eq!(all, MeanLoss { mean: 0.0, count: 0 });
    }

    #[test]
    fn targets_out_of_range_are_named() {
        let head = CrossEntropy { vocab: 2, ignore: 9 };
        let error = head.forward(&mut [0.0f32; 2], &[0.0; 4], &[9, 2]).unwrap_err();
        assert_eq!(error, TargetOutOfRange { index: 1, target: 2, vocab: 2, ignore: 9 });
    }
}
