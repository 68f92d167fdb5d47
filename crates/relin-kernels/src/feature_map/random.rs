//! Random features: positive estimates of kernels by random directions.
//!
//! ```text
//! x' = x · K^−¼            so that E[φ(q)·φ(k)] = e^{q·k/√K}: softmax attention's own temperature
//! softmax     φ(x)_m = (e^{ω_m·x' − ‖x'‖²/2 − c} + ε) / √M                      ε = 1e-6
//! hyperbolic  the same for ω_m and −ω_m, M/2 directions
//! relu        φ(x)_m = max(ω_m·x', 0) + 0.001
//! ```
//!
//! K is the width of the rows that arrive: after stochastic positional encoding its R. The directions are orthogonal in blocks of K and
//! as long as Gaussian vectors.
//!
//! # Numerics
//! With `stabilize`, c of a query is the largest `ω_m·x'` of its row, which cancels in any quotient. A key's c must be the same for all
//! keys of a sequence, those to come included, so it is 0; the exponent is at most `‖ω_m‖²/2` by itself and is cut at 60.
//!
//! # Reference
//! Choromanski et al., "Rethinking attention with Performers" (arXiv 2009.14794), FAVOR+, Lemma 1 and §2.4.

use serde::{Deserialize, Serialize};

use super::RELU_EPSILON;
use crate::encoding::Side;
use crate::fast_math::FastMath;
use crate::matmul::{Into, Mat, matmul};
use crate::rng::Rng;

const EPSILON: f64 = 1e-6;
const LARGEST_EXPONENT: f64 = 60.0;

/// Which kernel the features estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RandomKernel {
    /// `e^{q·k/√K}` by positive features.
    Softmax,
    /// `e^{q·k/√K}` by positive features of each direction and its opposite.
    Hyperbolic,
    /// The arc-cosine kernel of first order, by rectified projections.
    Relu,
}

/// Options of random features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, try_from = "Unchecked")]
pub struct RandomFeatures {
    /// Which kernel.
    pub kernel: RandomKernel,
    /// `M`; even for `hyperbolic`.
    pub features: usize,
    /// Shift queries' exponents by their largest.
    pub stabilize: bool,
    /// Steps of training after which the directions are drawn anew; 0 keeps them for good.
    pub redraw_every: u64,
    /// Seed of the directions.
    pub seed: u64,
    /// Number of the draw.
    #[serde(skip)]
    pub draw: u64,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Unchecked {
    kernel: RandomKernel,
    features: usize,
    stabilize: bool,
    redraw_every: u64,
    seed: u64,
}

impl Default for Unchecked {
    fn default() -> Self {
        Self { kernel: RandomKernel::Softmax, features: 256, stabilize: true, redraw_every: 0, seed: 0 }
    }
}

/// Why random features cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RandomFeaturesError {
    /// None at all.
    #[error("features must be at least 1; it is 0")]
    NoFeatures,
    /// Half a pair.
    #[error(
        "features must be even with kernel \"hyperbolic\", which uses each direction twice; it is {features}"
    )]
    OddFeatures {
        /// Number given.
        features: usize,
    },
}

impl TryFrom<Unchecked> for RandomFeatures {
    type Error = RandomFeaturesError;

    fn try_from(from: Unchecked) -> Result<Self, RandomFeaturesError> {
        let Unchecked { kernel, features, stabilize, redraw_every, seed } = from;
        match (features, kernel) {
            (0, _) => Err(RandomFeaturesError::NoFeatures),
            (odd, RandomKernel::Hyperbolic) if odd % 2 == 1 => {
                Err(RandomFeaturesError::OddFeatures { features })
            }
            _ => Ok(Self { kernel, features, stabilize, redraw_every, seed, draw: 0 }),
        }
    }
}

impl Default for RandomFeatures {
    fn default() -> Self {
        Self::try_from(Unchecked::default()).expect("the defaults are sound")
    }
}

impl RandomFeatures {
    /// With the directions of a step of training.
    pub fn at_step(self, step: u64) -> Self {
        let draw = step.checked_div(self.redraw_every).unwrap_or(0);
        Self { draw, ..self }
    }

    fn directions(self) -> usize {
        match self.kernel {
            RandomKernel::Hyperbolic => self.features / 2,
            RandomKernel::Softmax | RandomKernel::Relu => self.features,
        }
    }
}

/// Random features with their directions.
#[derive(Clone, Debug)]
pub struct RandomMap<R> {
    options: RandomFeatures,
    width: usize,
    /// `[directions, K]`, times `K^−¼`.
    directions: Vec<R>,
}

impl<R: FastMath> RandomMap<R> {
    /// For rows of `width`, with directions drawn from the options' seed.
    pub fn new(options: RandomFeatures, width: usize) -> Self {
        Self::with_directions(options, width, &orthogonal(options, width))
    }

    /// With given directions, `[directions, K]`.
    pub fn with_directions(options: RandomFeatures, width: usize, directions: &[f64]) -> Self {
        assert_eq!(directions.len(), options.directions() * width, "directions are not [directions, K]");
        let scale = (width as f64).powf(-0.25);
        Self { options, width, directions: directions.iter().map(|&w| R::from_f64(w * scale)).collect() }
    }

    /// What it was made from.
    pub fn options(&self) -> RandomFeatures {
        self.options
    }

    /// K.
    pub fn width(&self) -> usize {
        self.width
    }

    /// M.
    pub fn feature_dim(&self) -> usize {
        self.options.features
    }

    /// `out = φ(x)`: `[n, K]` to `[n, M]`.
    ///
    /// # Cost
    /// `2·n·K·M` FLOPs and as many exponentials as features.
    pub fn apply(&self, side: Side, x: &[R], out: &mut [R]) {
        let (k, m, n) = (self.width, self.options.features, self.options.directions());
        let rows = x.len() / k;
        let mut u = vec![R::ZERO; rows * n];
        matmul(&mut u, Into::Overwrite, Mat::new(x, rows, k), Mat::new(&self.directions, n, k).t());
        for ((x, u), out) in x.chunks(k).zip(u.chunks(n)).zip(out.chunks_mut(m)) {
            match self.options.kernel {
                RandomKernel::Relu => {
                    out.iter_mut()
                        .zip(u)
                        .for_each(|(out, &u)| *out = u.max(R::ZERO) + R::from_f64(RELU_EPSILON));
                }
                RandomKernel::Softmax => self.exponentials(side, x, u, out),
                RandomKernel::Hyperbolic => {
                    out[..n].copy_from_slice(u);
                    out[n..].iter_mut().zip(u).for_each(|(out, &u)| *out = -u);
                    let both = out.to_vec();
                    self.exponentials(side, x, &both, out);
                }
            }
        }
    }

    fn exponentials(&self, side: Side, x: &[R], u: &[R], out: &mut [R]) {
        let half: R = x.iter().map(|&x| x * x).sum::<R>() * R::from_f64(0.5 / (self.width as f64).sqrt());
        let shift = match side {
            Side::Query if self.options.stabilize => u.iter().copied().fold(R::NEG_INFINITY, R::max),
            _ => R::ZERO,
        };
        let (ratio, epsilon, largest) = self.constants();
        for (out, &u) in out.iter_mut().zip(u) {
            *out = ratio * ((u - half - shift).min(largest).fast_exp() + epsilon);
        }
    }

    /// `1/√M`, ε, and the exponent's limit.
    fn constants(&self) -> (R, R, R) {
        let ratio = (self.options.features as f64).powf(-0.5);
        (R::from_f64(ratio), R::from_f64(EPSILON), R::from_f64(LARGEST_EXPONENT))
    }

    /// `d_x = φ'(x)^T d_features`, the shift taken as a constant.
    pub fn vjp(&self, _side: Side, x: &[R], features: &[R], d_features: &[R], d_x: &mut [R]) {
        let (k, m, n) = (self.width, self.options.features, self.options.directions());
        let rows = x.len() / k;
        let mut d_u = vec![R::ZERO; rows * n];
        let mut d_half = vec![R::ZERO; rows];
        let (ratio, epsilon, largest) = self.constants();
        let top = ratio * (largest.fast_exp() + epsilon);
        for (row, (f, d)) in features.chunks(m).zip(d_features.chunks(m)).enumerate() {
            let d_u = &mut d_u[row * n..][..n];
            for j in 0..m {
                let slope = match self.options.kernel {
                    RandomKernel::Relu if f[j] > R::from_f64(RELU_EPSILON) => R::ONE,
                    RandomKernel::Relu => R::ZERO,
                    _ if f[j] >= top => R::ZERO,
                    _ => f[j] - ratio * epsilon,
                };
                d_u[j % n] += if j < n { d[j] * slope } else { -(d[j] * slope) };
                d_half[row] += d[j] * slope;
            }
        }
        matmul(d_x, Into::Overwrite, Mat::new(&d_u, rows, n), Mat::new(&self.directions, n, k));
        if self.options.kernel != RandomKernel::Relu {
            let scale = R::from_f64((k as f64).powf(-0.5));
            for ((d_x, x), &d) in d_x.chunks_mut(k).zip(x.chunks(k)).zip(&d_half) {
                d_x.iter_mut().zip(x).for_each(|(d_x, &x)| *d_x -= d * scale * x);
            }
        }
    }
}

/// Directions that are orthogonal in blocks of `width`, each as long as a Gaussian vector of its own.
fn orthogonal(options: RandomFeatures, width: usize) -> Vec<f64> {
    let seed = Rng::new(options.seed, 32).word(options.draw);
    let (angles, lengths) = (Rng::new(seed, 33), Rng::new(seed, 34));
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for m in 0..options.directions() {
        let gaussian = |rng: Rng| (0..width).map(move |i| rng.normal((m * width + i) as u64));
        let mut row: Vec<f64> = gaussian(angles).collect();
        // Twice: a single pass leaves what rounding put back.
        for _ in 0..2 {
            for other in &rows[m - m % width..] {
                let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
            let length = row.iter().map(|a| a * a).sum::<f64>().sqrt();
            row.iter_mut().for_each(|a| *a /= length);
        }
        rows.push(row);
    }
    let length = |m: usize| {
        let square = |i| lengths.normal((m * width + i) as u64).powi(2);
        (0..width).map(square).sum::<f64>().sqrt()
    };
    rows.iter()
        .enumerate()
        .flat_map(|(m, row)| {
            let length = length(m);
            row.iter().map(move |a| a * length)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{dot, normals, numeric_gradient};

    const KERNELS: [RandomKernel; 3] = [RandomKernel::Softmax, RandomKernel::Hyperbolic, RandomKernel::Relu];

    fn options(kernel: RandomKernel, features: usize) -> RandomFeatures {
        RandomFeatures { kernel, features, ..RandomFeatures::default() }
    }

    #[test]
    fn directions_are_orthogonal_in_blocks_and_change_with_the_draw() {
        let options = options(RandomKernel::Softmax, 20);
        let rows = orthogonal(options, 8);
        for (a, b) in (0..20).flat_map(|a| (0..a).map(move |b| (a, b))).filter(|(a, b)| a / 8 == b / 8) {
            assert!(dot(&rows[a * 8..][..8], &rows[b * 8..][..8]).abs() < 1e-12, "{a}, {b}");
        }
        let every = RandomFeatures { redraw_every: 40, ..options };
        assert_eq!(orthogonal(every.at_step(39), 8), rows);
        assert_ne!(orthogonal(every.at_step(40), 8), rows);
        assert_eq!(orthogonal(options.at_step(1000), 8), rows, "0 keeps them");
    }

    /// `E[φ(q)·φ(k)] = e^{q·k/√K}` over draws; the estimate's standard error is measured by the draws themselves.
    #[test]
    fn softmax_features_estimate_the_softmax_kernel() {
        let k = 8;
        let [q, key] =
            [1, 2].map(|stream| normals::<f64>(stream, k).iter().map(|x| 0.7 * x).collect::<Vec<_>>());
        let expected = (dot(&q, &key) / (k as f64).sqrt()).exp();
        for kernel in [RandomKernel::Softmax, RandomKernel::Hyperbolic] {
            let estimates: Vec<f64> = (0..400)
                .map(|draw| {
                    let options = RandomFeatures { draw, stabilize: false, ..options(kernel, 64) };
                    let map = RandomMap::<f64>::new(options, k);
                    let (mut a, mut b) = (vec![0.0; 64], vec![0.0; 64]);
                    map.apply(Side::Query, &q, &mut a);
                    map.apply(Side::Key, &key, &mut b);
                    dot(&a, &b)
                })
                .collect();
            let n = estimates.len() as f64;
            let mean = estimates.iter().sum::<f64>() / n;
            let error = (estimates.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n * (n - 1.0))).sqrt();
            let z = (mean - expected) / error;
            assert!(z.abs() < 4.0, "{kernel:?}: {mean} ± {error} against {expected}");
            assert!(error < 0.05 * expected, "the test has power");
        }
    }

    #[test]
    fn a_query_shift_is_one_factor_of_the_row_and_nothing_overflows() {
        for kernel in [RandomKernel::Softmax, RandomKernel::Hyperbolic] {
            let x: Vec<f32> = normals::<f32>(3, 64).iter().map(|x| x * 100.0).collect();
            for side in [Side::Query, Side::Key] {
                let map = RandomMap::<f32>::new(options(kernel, 128), 64);
                let (mut out, mut d_x) = (vec![f32::NAN; 128], vec![f32::NAN; 64]);
                map.apply(side, &x, &mut out);
                map.vjp(side, &x, &out, &[1.0; 128], &mut d_x);
                assert!(out.iter().chain(&d_x).all(|x| x.is_finite()), "{kernel:?} {side:?}");
            }
        }
    }

    #[test]
    fn vjp_matches_central_differences() {
        let (k, m, rows) = (6, 10, 3);
        for kernel in KERNELS {
            for side in [Side::Query, Side::Key] {
                // The shift is a constant of the gradient: without it, as with keys, nothing is held.
                let options = RandomFeatures { stabilize: false, ..options(kernel, m) };
                let map = RandomMap::<f64>::new(options, k);
                let (x, d): (Vec<f64>, Vec<f64>) = (normals(4, rows * k), normals(5, rows * m));
                let features = |x: &[f64]| {
                    let mut out = vec![f64::NAN; rows * m];
                    map.apply(side, x, &mut out);
                    out
                };
                let mut d_x = vec![f64::NAN; rows * k];
                map.vjp(side, &x, &features(&x), &d, &mut d_x);
                let expected = numeric_gradient(&x, |x| dot(&features(x), &d));
                crate::testing::assert_close("d_x", &d_x, &expected, 1e-8);
            }
        }
    }
}
