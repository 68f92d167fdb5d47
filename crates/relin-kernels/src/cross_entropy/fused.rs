//! Loss and gradients straight from the hidden states: the logits exist one slice of tokens at a time.
//!
//! For each slice: every block of the vocabulary makes its logits, `e^(l − block max)` in place of them, and their
//! row sums; the sums of all blocks combine into each row's maximum and total; every block then turns into
//! `dlogits` and adds `dlogitsᵀ · hidden` to its own rows of dweight; last, blocks of rows sum `dlogits · weight`
//! over the vocabulary. Each number is written by one task and summed in a fixed order, whatever the threads.

use rayon::prelude::*;

use super::{CrossEntropy, MeanLoss, TargetOutOfRange, mean_loss};
use crate::fast_math::FastMath;
use crate::matmul::{Into, Mat, matmul};
use crate::reduce::{map_sum, max};
use crate::simd::dispatch;

/// Tokens of a slice.
const SLICE: usize = 512;
/// Classes that one task handles.
const CLASSES: usize = 512;
/// Tokens of a slice whose dhidden one task sums.
const ROWS: usize = 128;

/// The output layer: `logits = hidden · weightᵀ`.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a, R> {
    /// `[N, width]`.
    pub hidden: &'a [R],
    /// `[vocab, width]`.
    pub weight: &'a [R],
    /// Width of a hidden state.
    pub width: usize,
}

/// What a block of classes knows of a row: the softmax in parts.
#[derive(Clone, Copy)]
struct Part<R> {
    max: R,
    /// `Σ e^(l − max)` over the block.
    sum: R,
    /// The target's logit, if the target is in this block.
    target: Option<R>,
}

/// One slice of tokens, its hidden states gathered.
struct Slice<'a, R> {
    tokens: &'a [usize],
    targets: Vec<u32>,
    hidden: Vec<R>,
}

impl CrossEntropy {
    /// Per-token losses, their mean, and the gradients of the mean, in one pass; the `[N, vocab]` logits never exist.
    ///
    /// # Shapes
    /// losses `[N]`, dhidden `[N, width]`, dweight `[vocab, width]`, targets `[N]`; all outputs are overwritten.
    ///
    /// # Cost
    /// `6 · N · vocab · width` FLOPs; `512 · vocab` numbers of scratch memory.
    ///
    /// # Errors
    /// If a target is out of range.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn fused<R: FastMath>(
        &self,
        losses: &mut [R],
        dhidden: &mut [R],
        dweight: &mut [R],
        head: Head<'_, R>,
        targets: &[u32],
    ) -> Result<MeanLoss, TargetOutOfRange> {
        self.check_head(losses.len(), dhidden.len(), dweight.len(), head, targets.len());
        let counted = self.counted(targets)?;
        losses.fill(R::ZERO);
        dhidden.fill(R::ZERO);
        dweight.fill(R::ZERO);
        if counted.is_empty() || head.width == 0 {
            counted.iter().for_each(|&i| losses[i] = R::from_f64((self.vocab as f64).ln()));
            return Ok(mean_loss(losses, counted.len()));
        }
        let factor = R::from_f64(1.0 / counted.len() as f64);
        let mut scratch = vec![R::ZERO; SLICE.min(counted.len()) * self.vocab];
        for tokens in counted.chunks(SLICE) {
            let slice = Slice::new(tokens, targets, head);
            let parts = slice.exponentials(&mut scratch, head);
            let rows = slice.combine(losses, &parts, factor);
            slice.weight_gradient(&mut scratch, dweight, &parts, &rows, head.width, factor);
            slice.hidden_gradient(dhidden, &scratch, head);
        }
        Ok(mean_loss(losses, counted.len()))
    }

    fn check_head<R>(&self, losses: usize, dhidden: usize, dweight: usize, head: Head<'_, R>, tokens: usize) {
        let (hidden, weight) = (tokens * head.width, self.vocab * head.width);
        assert_eq!(losses, tokens, "losses has {losses} elements for {tokens} targets");
        for (name, found, expected) in [
            ("hidden", head.hidden.len(), hidden),
            ("dhidden", dhidden, hidden),
            ("weight", head.weight.len(), weight),
            ("dweight", dweight, weight),
        ] {
            assert_eq!(found, expected, "{name} has {found} elements, expected {expected}");
        }
    }
}

impl<'a, R: FastMath> Slice<'a, R> {
    fn new(tokens: &'a [usize], targets: &[u32], head: Head<'_, R>) -> Self {
        let row = |&i: &usize| head.hidden[i * head.width..][..head.width].iter().copied();
        Self {
            tokens,
            targets: tokens.iter().map(|&i| targets[i]).collect(),
            hidden: tokens.iter().flat_map(row).collect(),
        }
    }

    fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// Fills each block of `scratch` (`[classes of the block]` by row) with `e^(l − max)`; returns `[block][row]`.
    fn exponentials(&self, scratch: &mut [R], head: Head<'_, R>) -> Vec<Vec<Part<R>>> {
        let rows = self.rows();
        let weights = head.weight.par_chunks(CLASSES * head.width);
        let blocks = scratch.par_chunks_mut(CLASSES * rows).zip(weights).enumerate();
        let of_block = |(block, (logits, weight)): (usize, (&mut [R], &[R]))| {
            let classes = weight.len() / head.width;
            let (hidden, weight) =
                (Mat::new(&self.hidden, rows, head.width), Mat::new(weight, classes, head.width));
            matmul(logits, Into::Overwrite, hidden, weight.t());
            let in_block = |target: u32| (target as usize).wrapping_sub(block * CLASSES);
            let rows = logits.chunks_exact_mut(classes).zip(&self.targets);
            rows.map(|(logits, &target)| exponential_row(logits, in_block(target))).collect()
        };
        blocks.map(of_block).collect()
    }

    /// Writes the losses; returns each row's maximum and `factor / Σ e^(l − max)`.
    fn combine(&self, losses: &mut [R], parts: &[Vec<Part<R>>], factor: R) -> Vec<(R, R)> {
        let row = |(r, &token): (usize, &usize)| {
            let of_row = || parts.iter().map(move |block| block[r]);
            let top = of_row().fold(R::NEG_INFINITY, |best, p| if p.max > best { p.max } else { best });
            let total = of_row().fold(R::ZERO, |sum, p| sum + p.sum * (p.max - top).fast_exp());
            let target = of_row().find_map(|p| p.target).unwrap_or(R::NAN);
            losses[token] = total.ln() + (top - target);
            (top, factor / total)
        };
        self.tokens.iter().enumerate().map(row).collect()
    }

    /// Turns `scratch` into dlogits and adds this slice's share to dweight.
    fn weight_gradient(
        &self,
        scratch: &mut [R],
        dweight: &mut [R],
        parts: &[Vec<Part<R>>],
        rows: &[(R, R)],
        width: usize,
        factor: R,
    ) {
        let blocks =
            scratch.par_chunks_mut(CLASSES * self.rows()).zip(dweight.par_chunks_mut(CLASSES * width));
        blocks.zip(parts).enumerate().for_each(|(block, ((dlogits, dweight), parts))| {
            let classes = dweight.len() / width;
            for (r, dlogits) in dlogits.chunks_exact_mut(classes).take(self.rows()).enumerate() {
                let (top, scale) = rows[r];
                let scale = scale * (parts[r].max - top).fast_exp();
                dispatch(
                    #[inline(always)]
                    || dlogits.iter_mut().for_each(|d| *d *= scale),
                );
                if let Some(d) = dlogits.get_mut((self.targets[r] as usize).wrapping_sub(block * CLASSES)) {
                    *d -= factor;
                }
            }
            let hidden = Mat::new(&self.hidden, self.rows(), width);
            matmul(dweight, Into::Accumulate, Mat::new(dlogits, self.rows(), classes).t(), hidden);
        });
    }

    fn hidden_gradient(&self, dhidden: &mut [R], dlogits: &[R], head: Head<'_, R>) {
        let mut gathered = vec![R::ZERO; self.hidden.len()];
        gathered.par_chunks_mut(ROWS * head.width).enumerate().for_each(|(part, out)| {
            let rows = out.len() / head.width;
            let blocks = dlogits.chunks(CLASSES * self.rows()).zip(head.weight.chunks(CLASSES * head.width));
            for (dlogits, weight) in blocks {
                let classes = weight.len() / head.width;
                let dlogits = Mat::new(&dlogits[part * ROWS * classes..], rows, classes);
                matmul(out, Into::Accumulate, dlogits, Mat::new(weight, classes, head.width));
            }
        });
        for (&token, row) in self.tokens.iter().zip(gathered.chunks_exact(head.width)) {
            dhidden[token * head.width..][..head.width].copy_from_slice(row);
        }
    }
}

fn exponential_row<R: FastMath>(logits: &mut [R], target: usize) -> Part<R> {
    let target = logits.get(target).copied();
    dispatch(
        #[inline(always)]
        || {
            let top = max(logits);
            Part {
                max: top,
                sum: map_sum(
                    logits,
                    #[inline(always)]
                    |l| (l - top).fast_exp(),
                ),
                target,
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, convert, normals, numeric_gradient};

    const IGNORE: u32 = u32::MAX;

    struct Case {
        vocab: usize,
        width: usize,
        hidden: Vec<f64>,
        weight: Vec<f64>,
        targets: Vec<u32>,
    }

    impl Case {
        fn new(n: usize, vocab: usize, width: usize) -> Self {
            let target = |i: usize| if i % 5 == 3 { IGNORE } else { (i * 131 % vocab) as u32 };
            Self {
                vocab,
                width,
                hidden: normals(1, n * width),
                weight: normals(2, vocab * width),
                targets: (0..n).map(target).collect(),
            }
        }

        /// Through the full logits: losses, dhidden, dweight.
        fn composed(&self) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
            let (n, loss) = (self.targets.len(), CrossEntropy { vocab: self.vocab, ignore: IGNORE });
            let hidden = Mat::new(&self.hidden, n, self.width);
            let weight = Mat::new(&self.weight, self.vocab, self.width);
            let mut logits = vec![0.0; n * self.vocab];
            matmul(&mut logits, Into::Overwrite, hidden, weight.t());
            let (mut losses, mut dlogits) = (vec![0.0; n], vec![0.0; logits.len()]);
            loss.forward(&mut losses, &logits, &self.targets).unwrap();
            loss.backward(&mut dlogits, &logits, &self.targets, 1.0).unwrap();
            let dlogits = Mat::new(&dlogits, n, self.vocab);
            let (mut dhidden, mut dweight) = (vec![0.0; self.hidden.len()], vec![0.0; self.weight.len()]);
            matmul(&mut dhidden, Into::Overwrite, dlogits, weight);
            matmul(&mut dweight, Into::Overwrite, dlogits.t(), hidden);
            (losses, dhidden, dweight)
        }

        fn fused<R: FastMath>(&self, hidden: &[R], weight: &[R]) -> (MeanLoss, Vec<R>, Vec<R>, Vec<R>) {
            let poisoned = |n: usize| vec![R::NAN; n];
            let (mut losses, mut dhidden, mut dweight) =
                (poisoned(self.targets.len()), poisoned(hidden.len()), poisoned(weight.len()));
            let head = Head { hidden, weight, width: self.width };
            let loss = CrossEntropy { vocab: self.vocab, ignore: IGNORE }
                .fused(&mut losses, &mut dhidden, &mut dweight, head, &self.targets)
                .unwrap();
            (loss, losses, dhidden, dweight)
        }
    }

    #[test]
    fn equals_the_composition_over_slices_and_blocks() {
        for (n, vocab, width) in
            [(0, 5, 3), (1, 1, 1), (4, 5, 3), (SLICE + 200, CLASSES + 7, 8), (2 * SLICE, 2 * CLASSES, 4)]
        {
            let case = Case::new(n, vocab, width);
            let (losses, dhidden, dweight) = case.composed();
            let (loss, found_losses, found_dhidden, found_dweight) = case.fused(&case.hidden, &case.weight);
            assert_close("losses", &found_losses, &losses, 1e-13);
            assert_close("dhidden", &found_dhidden, &dhidden, 1e-12);
            assert_close("dweight", &found_dweight, &dweight, 1e-12);
            assert!((loss.mean * loss.count as f64 - losses.iter().sum::<f64>()).abs() < 1e-10);
            let (_, narrow_losses, narrow_dhidden, narrow_dweight) =
                case.fused(&convert::<f64, f32>(&case.hidden), &convert::<f64, f32>(&case.weight));
            assert_close("losses f32", &narrow_losses, &losses, 1e-6);
            assert_close("dhidden f32", &narrow_dhidden, &dhidden, 2e-6);
            assert_close("dweight f32", &narrow_dweight, &dweight, 2e-6);
        }
    }

    #[test]
    fn gradients_match_central_differences() {
        let case = Case::new(6, 7, 3);
        let (_, _, dhidden, dweight) = case.fused(&case.hidden, &case.weight);
        let numeric = numeric_gradient(&case.hidden, |hidden| case.fused(hidden, &case.weight).0.mean);
        assert_close("dhidden", &dhidden, &numeric, 1e-8);
        let numeric = numeric_gradient(&case.weight, |weight| case.fused(&case.hidden, weight).0.mean);
        assert_close("dweight", &dweight, &numeric, 1e-8);
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let case = Case::new(300, 1100, 16);
        let (hidden, weight) = (convert::<f64, f32>(&case.hidden), convert::<f64, f32>(&case.weight));
        let in_pool = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| case.fused(&hidden, &weight))
        };
        assert_eq!(in_pool(1), in_pool(3));
    }

    #[test]
    fn ignored_tokens_may_hold_anything_and_large_logits_stay_finite() {
        let mut case = Case::new(9, 600, 4);
        case.hidden.iter_mut().for_each(|h| *h *= 1e4);
        let clean = case.fused(&case.hidden, &case.weight);
        assert!(clean.3.iter().chain(&clean.2).all(|g| g.is_finite()));
        case.hidden[3 * 4..4 * 4].fill(f64::NAN);
        assert_eq!(case.fused(&case.hidden, &case.weight), clean);
    }

    #[test]
    fn a_target_out_of_range_is_named() {
        let loss = CrossEntropy { vocab: 2, ignore: IGNORE };
        let head = Head { hidden: &[1.0f32], weight: &[1.0, 2.0], width: 1 };
        let error = loss.fused(&mut [0.0], &mut [0.0], &mut [0.0; 2], head, &[2]).unwrap_err();
        assert_eq!((error.index, error.target), (0, 2));
    }
}
