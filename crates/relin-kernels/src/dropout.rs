//! Inverted dropout whose mask is never stored: it is a pure function of seed, stream and element index.

use rayon::prelude::*;

use crate::real::Real;
use crate::rng::Rng;
use crate::simd::dispatch;

/// A multiple of the four draws that one random block gives.
const BLOCK: usize = 8192;
/// Elements whose draws are made together, which lets the generator's integer arithmetic vectorise.
const GROUP: usize = 64;

/// Sets elements to 0 with probability p and multiplies the others by `1/(1 − p)`.
///
/// The map is linear and diagonal, so that [`Dropout::apply`] is its own backward: give it dy for x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    rng: Rng,
    /// An element is dropped if its 32-bit draw is below this.
    threshold: u32,
    scale: f64,
}

/// The probability is not in `[0, 1)`.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("dropout probability must be at least 0 and below 1, got {0}")]
pub struct InvalidProbability(pub f64);

impl Dropout {
    /// The mask that `rng` gives at probability `p`.
    ///
    /// # Errors
    /// If `p` is not in `[0, 1)`.
    pub fn new(p: f64, rng: Rng) -> Result<Self, InvalidProbability> {
        if !(0.0..1.0).contains(&p) {
            return Err(InvalidProbability(p));
        }
        // The cast saturates, for p so near 1 that it rounds up to 2³².
        Ok(Self { rng, threshold: (p * 2f64.powi(32)).round() as u32, scale: 1.0 / (1.0 - p) })
    }

    /// `out = mask ∘ x/(1 − p)`; the gradient of the same call is `dx = mask ∘ dy/(1 − p)`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn apply<R: Real>(&self, out: &mut [R], x: &[R]) {
        assert_eq!(out.len(), x.len(), "output has {} elements, input {}", out.len(), x.len());
        if self.threshold == 0 {
            out.copy_from_slice(x);
            return;
        }
        let blocks = out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).enumerate();
        blocks.for_each(|(block, (out, x))| {
            dispatch(
                #[inline(always)]
                || {
                    for (group, (out, x)) in out.chunks_mut(GROUP).zip(x.chunks(GROUP)).enumerate() {
                        self.apply_group(out, x, (block * BLOCK + group * GROUP) as u64 / 4);
                    }
                },
            );
        });
    }

    #[inline(always)]
    fn apply_group<R: Real>(&self, out: &mut [R], x: &[R], counter: u64) {
        let mut draws = [[0u32; 4]; GROUP / 4];
        for (i, draw) in draws.iter_mut().enumerate() {
            *draw = self.rng.block(counter + i as u64);
        }
        let scale = R::from_f64(self.scale);
        for ((o, &x), &draw) in out.iter_mut().zip(x).zip(draws.as_flattened()) {
            *o = if draw < self.threshold { R::ZERO } else { x * scale };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normals;

    #[test]
    fn the_mask_is_a_function_of_the_element_alone() {
        let rng = Rng::new(5, 9);
        let dropout = Dropout::new(0.3, rng).unwrap();
        for n in [0, 1, 3, 63, 64, 65, 20_001] {
            let x = normals::<f32>(1, n);
            let mut out = vec![f32::NAN; n];
            dropout.apply(&mut out, &x);
            for (i, (&found, &x)) in out.iter().zip(&x).enumerate() {
                let draw = rng.block(i as u64 / 4)[i % 4];
                let kept = f64::from(draw) / 2f64.powi(32) >= 0.3;
                assert_eq!(found, if kept { x * (1.0 / 0.7) as f32 } else { 0.0 }, "element {i}");
            }
        }
    }

    #[test]
    fn the_kept_share_is_one_minus_p_and_seeds_differ() {
        let n = 400_000;
        let mask = |seed, stream| {
            let mut out = vec![f64::NAN; n];
            Dropout::new(0.25, Rng::new(seed, stream)).unwrap().apply(&mut out, &vec![1.0; n]);
            out
        };
        let a = mask(1, 0);
        let mean = a.iter().sum::<f64>() / n as f64;
        // Standard error: √(p/(1 − p)/n) = 0.00091.
        assert!((mean - 1.0).abs() < 4.0 * 0.000_91, "mean {mean}");
        assert_ne!(a, mask(2, 0));
        assert_ne!(a, mask(1, 1));
        assert_eq!(a, mask(1, 0));
    }

    #[test]
    fn nothing_is_dropped_at_zero_and_dropped_elements_may_be_anything() {
        let x = [1.0f32, f32::NAN, -3.0];
        let mut out = [0.0; 3];
        Dropout::new(0.0, Rng::new(1, 1)).unwrap().apply(&mut out, &x);
        assert_eq!(out.map(f32::to_bits), x.map(f32::to_bits));
        let mut out = vec![f32::NAN; 64];
        Dropout::new(1.0 - 1e-16, Rng::new(1, 1)).unwrap().apply(&mut out, &[f32::NAN; 64]);
        assert_eq!(out, [0.0; 64]);
    }

    #[test]
    fn probabilities_outside_the_range_are_refused() {
        for p in [-0.1, 1.0, f64::NAN] {
            assert!(Dropout::new(p, Rng::new(0, 0)).unwrap_err().to_string().contains(&p.to_string()));
        }
    }
}
