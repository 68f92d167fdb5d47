//! What the tests of several operators need: reproducible data, comparison, central differences.

use crate::real::Real;
use crate::rng::Rng;

/// `n` standard normal numbers.
pub(crate) fn normals<R: Real>(stream: u64, n: usize) -> Vec<R> {
    let rng = Rng::new(20_230, stream);
    (0..n as u64).map(|i| R::from_f64(rng.normal(i))).collect()
}

/// The same numbers in another precision.
pub(crate) fn convert<A: Real, B: Real>(x: &[A]) -> Vec<B> {
    x.iter().map(|v| B::from_f64(v.to_f64())).collect()
}

/// Fails unless the root mean square of the difference is within `tolerance` of that of `expected`.
#[track_caller]
pub(crate) fn assert_close<A: Real, B: Real>(name: &str, found: &[A], expected: &[B], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{name}: lengths differ");
    assert!(found.iter().all(|v| v.is_finite()), "{name} is not finite everywhere");
    let error: f64 = found.iter().zip(expected).map(|(a, b)| (a.to_f64() - b.to_f64()).powi(2)).sum();
    let size: f64 = expected.iter().map(|b| b.to_f64().powi(2)).sum();
    assert!(
        error.sqrt() <= tolerance * size.sqrt() + 1e-300,
        "{name}: relative error {:e}",
        (error / size).sqrt()
    );
}

/// Central differences of a scalar function of `x`.
pub(crate) fn numeric_gradient(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    let mut moved = x.to_vec();
    (0..x.len())
        .map(|i| {
            moved[i] = x[i] + step;
            let above = f(&moved);
            moved[i] = x[i] - step;
            let below = f(&moved);
            moved[i] = x[i];
            (above - below) / (2.0 * step)
        })
        .collect()
}

/// `Σ x y`.
pub(crate) fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(a, b)| a * b).sum()
}
