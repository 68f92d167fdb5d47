//! `cos` and `sin` of `2π f_j t + θ_j` at consecutive positions, for many frequencies side by side.

use std::f64::consts::TAU;

use crate::fast_math::sin_cos_of_turns;
use crate::simd::dispatch;

/// Frequencies in cycles per position, and offsets in cycles.
#[derive(Clone, Debug)]
pub(super) struct Phases {
    frequencies: Vec<f64>,
    offsets: Vec<f64>,
    step_cos: Vec<f64>,
    step_sin: Vec<f64>,
}

/// The phases at one position: to the bit a function of it alone, whether asked for or advanced to.
#[derive(Clone, Debug)]
pub(super) struct At {
    position: i64,
    pub cos: Vec<f64>,
    pub sin: Vec<f64>,
}

/// Positions that are a multiple of it are computed from themselves, those between by rotations from there.
const EVERY: i64 = 8;

impl Phases {
    /// `offsets` in radians.
    pub fn new(frequencies: Vec<f64>, offsets: Vec<f64>) -> Self {
        let (step_sin, step_cos) = frequencies.iter().map(|f| (TAU * f).sin_cos()).unzip();
        let offsets = offsets.into_iter().map(|offset| offset / TAU).collect();
        Self { frequencies, offsets, step_cos, step_sin }
    }

    /// At any position.
    pub fn at(&self, position: i64) -> At {
        let n = self.frequencies.len();
        let mut at =
            At { position: position - position.rem_euclid(EVERY), cos: vec![0.0; n], sin: vec![0.0; n] };
        self.compute(&mut at);
        while at.position < position {
            self.advance(&mut at);
        }
        at
    }

    /// To the next position.
    pub fn advance(&self, at: &mut At) {
        at.position += 1;
        if at.position % EVERY == 0 { self.compute(at) } else { self.rotate(at) }
    }

    /// From the position itself: whole turns are dropped from `f·t` before anything is rounded to radians, and the
    /// rounding of the product is carried along.
    fn compute(&self, at: &mut At) {
        let t = at.position as f64;
        dispatch(
            #[inline(always)]
            || {
                let places = at.cos.iter_mut().zip(&mut at.sin);
                for ((cos, sin), (f, offset)) in places.zip(self.frequencies.iter().zip(&self.offsets)) {
                    let turns = f * t;
                    let rest = f.mul_add(t, -turns);
                    let turns = turns - turns.round_ties_even() + (rest + offset);
                    (*sin, *cos) = sin_cos_of_turns(turns - turns.round_ties_even());
                }
            },
        );
    }

    /// By one rotation each.
    fn rotate(&self, at: &mut At) {
        let At { cos, sin, .. } = at;
        let (n, step_cos, step_sin) = (cos.len(), &self.step_cos, &self.step_sin);
        let (sin, step_cos, step_sin) = (&mut sin[..n], &step_cos[..n], &step_sin[..n]);
        dispatch(
            #[inline(always)]
            || {
                for j in 0..n {
                    let (c, s) = (cos[j], sin[j]);
                    cos[j] = c * step_cos[j] - s * step_sin[j];
                    sin[j] = s * step_cos[j] + c * step_sin[j];
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dyadic frequencies: the reference's turns are exact.
    #[test]
    fn exact_at_a_million_and_beyond_and_after_advancing() {
        let offsets = [0.0, 0.5, -1.0, 20.0];
        let phases = Phases::new(vec![0.0, 0.109375, 0.3125, 0.000030517578125], offsets.to_vec());
        for first in [0i64, 1_000_000, 1 << 40, -7] {
            let mut at = phases.at(first);
            for i in 0..64 {
                for j in 0..4 {
                    let turns = (phases.frequencies[j] * (first + i) as f64).rem_euclid(1.0);
                    let (sin, cos) = (TAU * turns + offsets[j]).sin_cos();
                    assert!((at.cos[j] - cos).abs() < 1e-13 && (at.sin[j] - sin).abs() < 1e-13);
                }
                phases.advance(&mut at);
            }
            let again = phases.at(first + 64);
            assert_eq!((at.cos, at.sin), (again.cos, again.sin));
        }
    }
}
