//! The angles t·θ of consecutive positions, exact at any length.

use crate::real::Real;

/// Rows after which the recurrence is restarted from the position itself.
const RESTART: usize = 64;

/// cos and sin of `t·θ_j` for consecutive t.
///
/// # Numerics
/// Each 64th row is computed from the position itself, with the product `t·θ` carried beyond double precision; the
/// rows between are advanced by one rotation each. The error stays below 1e-13 at any position, where angles in
/// single precision would lose `6e-8·t·θ`.
#[derive(Clone, Debug)]
pub struct Angles {
    theta: Vec<f64>,
    step: Vec<(f64, f64)>,
}

impl Angles {
    /// For the frequencies θ.
    pub fn new(theta: Vec<f64>) -> Self {
        let step = theta.iter().map(|angle| (angle.cos(), angle.sin())).collect();
        Self { theta, step }
    }

    /// Calls `row(i, cos, sin)` for the positions `first + i`, `i < rows`.
    pub fn for_each_row<R: Real>(&self, first: i64, rows: usize, mut row: impl FnMut(usize, &[R], &[R])) {
        let n = self.theta.len();
        let mut at: Vec<(f64, f64)> = vec![(1.0, 0.0); n];
        let (mut cos, mut sin) = (vec![R::ZERO; n], vec![R::ZERO; n]);
        for i in 0..rows {
            if i % RESTART == 0 {
                self.restart(first + i as i64, &mut at);
            }
            for j in 0..n {
                cos[j] = R::from_f64(at[j].0);
                sin[j] = R::from_f64(at[j].1);
            }
            row(i, &cos, &sin);
            for (angle, step) in at.iter_mut().zip(&self.step) {
                *angle = (angle.0 * step.0 - angle.1 * step.1, angle.1 * step.0 + angle.0 * step.1);
            }
        }
    }

    fn restart(&self, position: i64, at: &mut [(f64, f64)]) {
        for (angle, theta) in at.iter_mut().zip(&self.theta) {
            let product = position as f64 * theta;
            let rest = (position as f64).mul_add(*theta, -product);
            let (sin, cos) = product.sin_cos();
            *angle = (cos - rest * sin, sin + rest * cos);
        }
    }
}

/// `θ_i = base^(−span·i / n)` for `i < n`.
pub fn geometric(base: f64, span: f64, n: usize) -> Vec<f64> {
    (0..n).map(|i| base.powf(-span * i as f64 / n as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dyadic frequencies, so that the reference angle `t·θ` is itself exact.
    #[test]
    fn exact_at_a_million_and_beyond() {
        let theta = [1.0, 0.75, 0.109375, 3.0517578125e-5];
        let angles = Angles::new(theta.to_vec());
        for first in [0i64, 1_000_000, 1 << 40, -5] {
            angles.for_each_row::<f64>(first, 200, |i, cos, sin| {
                for j in 0..theta.len() {
                    let angle = (first + i as i64) as f64 * theta[j];
                    assert!((cos[j] - angle.cos()).abs() < 1e-13, "cos at {first}+{i}");
                    assert!((sin[j] - angle.sin()).abs() < 1e-13, "sin at {first}+{i}");
                }
            });
        }
    }

    /// A frequency with 53 significant bits: `t·θ` rounds, here by about 1e-8. The reference splits θ into two halves
    /// whose products with t are exact, and adds the angles.
    #[test]
    fn the_rounding_of_the_product_is_carried() {
        let theta = 10_000f64.powf(-1.0 / 8.0);
        let position = (1i64 << 26) - 1;
        let high = f64::from_bits(theta.to_bits() & !((1 << 27) - 1));
        let (sin_high, cos_high) = (position as f64 * high).sin_cos();
        let (sin_low, cos_low) = (position as f64 * (theta - high)).sin_cos();
        let (cos_sum, sin_sum) =
            (cos_high * cos_low - sin_high * sin_low, sin_high * cos_low + cos_high * sin_low);
        Angles::new(vec![theta]).for_each_row::<f64>(position, 1, |_, cos, sin| {
            assert!((cos[0] - cos_sum).abs() < 1e-14 && (sin[0] - sin_sum).abs() < 1e-14);
        });
    }
}
