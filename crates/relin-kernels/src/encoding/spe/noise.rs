//! Gaussian noise in bulk: each number is a pure function of (seed, draw, layer or shared, head, feature,
//! component or position, realization), so that any chunk, step or layer can draw its part alone.

use crate::real::Real;
use crate::rng::Rng;
use crate::simd::dispatch;

/// What a number is drawn for; different purposes are independent.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Purpose {
    Code = 16,
    Gate = 17,
    Parameter = 18,
}

/// Counters treated side by side; each gives four numbers.
const LANES: usize = 16;
/// Numbers of one counter.
const NORMALS: usize = 4;
/// Layer number of noise that all layers share.
const SHARED: u64 = 0xFFFF;

/// The noise of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Noise {
    seed: u64,
    layer: u64,
}

impl Noise {
    /// Noise number `draw`, of one layer or (`None`) of all.
    pub fn new(seed: u64, draw: u64, layer: Option<usize>) -> Self {
        let seed = Rng::new(seed, Purpose::Code as u64).word(draw);
        Self { seed, layer: layer.map_or(SHARED, |layer| layer as u64 % SHARED) }
    }

    fn rng(&self, purpose: Purpose, head: usize, feature: usize) -> Rng {
        let stream = self.layer << 48 | (head as u64 & 0xFFFF) << 32 | (feature as u64 & 0xFF_FFFF) << 8;
        Rng::new(self.seed, stream | purpose as u64)
    }

    /// Standard normal rows of `realizations` numbers at the components or positions `first ..`.
    ///
    /// Lane l of counter group g gives the realizations `64 g + 16 w + l`, w = 0 … 3, so that 64 of them are one batch.
    pub fn rows<R: Real>(
        &self,
        purpose: Purpose,
        head: usize,
        feature: usize,
        first: i64,
        realizations: usize,
        out: &mut [R],
    ) {
        let rng = self.rng(purpose, head, feature);
        dispatch(
            #[inline(always)]
            || {
                for (position, row) in (first..).zip(out.chunks_mut(realizations)) {
                    for (group, out) in row.chunks_mut(LANES * NORMALS).enumerate() {
                        let base = (position as u64) << 16 | (group * LANES) as u64;
                        let mut counters = [base; LANES];
                        for l in 0..LANES {
                            counters[l] += l as u64;
                        }
                        let normals = normals(rng.blocks(counters));
                        let normals = normals.as_flattened();
                        for (out, &normal) in out.iter_mut().zip(normals) {
                            *out = R::from_f64(f64::from(normal));
                        }
                    }
                }
            },
        );
    }

    /// Standard normal numbers of double precision, for initial parameters.
    pub fn initial(&self, head: usize, feature: usize, n: usize) -> Vec<f64> {
        let rng = self.rng(Purpose::Parameter, head, feature);
        (0..n as u64).map(|i| rng.normal(i)).collect()
    }

    /// Uniform numbers in [0, 1), for initial parameters.
    pub fn initial_uniform(&self, head: usize, feature: usize, n: usize) -> Vec<f64> {
        let rng = self.rng(Purpose::Parameter, head, feature);
        (0..n as u64).map(|i| rng.uniform(i)).collect()
    }
}

/// Four standard normal numbers of each counter: two pairs by Box and Muller's transform in single precision.
#[inline(always)]
fn normals(words: [[u32; LANES]; NORMALS]) -> [[f32; LANES]; NORMALS] {
    let mut out = [[0.0; LANES]; NORMALS];
    for pair in 0..2 {
        for l in 0..LANES {
            let radius = (-2.0 * ln(unit(words[2 * pair][l]))).sqrt();
            let turns = words[2 * pair + 1][l] as i32 as f32 * (1.0 / 4_294_967_296.0);
            out[2 * pair][l] = radius * sin_turns(0.25 - turns.abs());
            out[2 * pair + 1][l] = radius * sin_turns(fold(turns));
        }
    }
    out
}

/// A word as a number in (0, 1].
#[inline(always)]
fn unit(word: u32) -> f32 {
    (word as f32 + 0.5) * (1.0 / 4_294_967_296.0)
}

/// The turn in [−¼, ¼] with the same sine.
#[inline(always)]
fn fold(turns: f32) -> f32 {
    if turns > 0.25 {
        0.5 - turns
    } else if turns < -0.25 {
        -0.5 - turns
    } else {
        turns
    }
}

/// `sin 2πt` for |t| ≤ ¼; Taylor's series, error below 1e-7.
#[inline(always)]
fn sin_turns(turns: f32) -> f32 {
    let x = turns * std::f32::consts::TAU;
    let y = x * x;
    let series = -1.0 / 39_916_800.0;
    let series = series * y + 1.0 / 362_880.0;
    let series = series * y - 1.0 / 5_040.0;
    let series = series * y + 1.0 / 120.0;
    let series = series * y - 1.0 / 6.0;
    x + x * y * series
}

/// `ln u` for normal positive u, from `u = 2^e m` and `ln m = 2 artanh((m − 1)/(m + 1))`; relative error below 1e-6.
#[inline(always)]
fn ln(u: f32) -> f32 {
    let bits = u.to_bits().wrapping_sub(0x3f35_04f3);
    let exponent = (bits as i32 >> 23) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff) + 0x3f35_04f3);
    let s = (m - 1.0) / (m + 1.0);
    let y = s * s;
    let series = 1.0 + y * (1.0 / 3.0 + y * (1.0 / 5.0 + y * (1.0 / 7.0 + y * (1.0 / 9.0))));
    exponent * std::f32::consts::LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_and_the_sine_are_those_of_the_library() {
        for i in 0..2000u32 {
            let u = unit(i.wrapping_mul(2_147_483) ^ i << 9);
            assert!((ln(u) - u.ln()).abs() <= 1e-6 * u.ln().abs() + 1e-9, "ln {u}");
            let turns = (i as f32 - 1000.0) / 2000.0;
            let (sin, cos) = (turns * std::f32::consts::TAU).sin_cos();
            assert!((sin_turns(fold(turns)) - sin).abs() < 1e-6, "sin of {turns} turns");
            assert!((sin_turns(0.25 - turns.abs()) - cos).abs() < 1e-6, "cos of {turns} turns");
        }
    }

    /// First four moments, and correlations between neighbours in every index that makes a number.
    #[test]
    fn normals_are_normal_and_independent() {
        let draw = |draw, layer, head, feature, first| {
            let mut out = vec![0.0f64; 4096 * 8];
            Noise::new(3, draw, Some(layer)).rows(Purpose::Code, head, feature, first, 8, &mut out);
            out
        };
        let z = draw(0, 0, 0, 0, 0);
        let n = z.len() as f64;
        // Standard errors of the means of z, z², z³, z⁴ are √(1, 2, 15, 96)/√n.
        for (power, (mean, variance)) in
            [(0.0, 1.0), (1.0, 2.0), (0.0, 15.0), (3.0, 96.0f64)].into_iter().enumerate()
        {
            let found = z.iter().map(|z| z.powi(power as i32 + 1)).sum::<f64>() / n;
            assert!((found - mean).abs() < 4.0 * (variance / n).sqrt(), "moment {}: {found}", power + 1);
        }
        let others = [
            draw(1, 0, 0, 0, 0),
            draw(0, 1, 0, 0, 0),
            draw(0, 0, 1, 0, 0),
            draw(0, 0, 0, 1, 0),
            draw(0, 0, 0, 0, 1),
            [&z[1..], &z[..1]].concat(),
        ];
        for (which, other) in others.iter().enumerate() {
            let correlation = z.iter().zip(other).map(|(a, b)| a * b).sum::<f64>() / n;
            assert!(correlation.abs() < 4.0 / n.sqrt(), "neighbour {which}: {correlation}");
        }
    }

    #[test]
    fn a_number_depends_on_nothing_but_its_indices() {
        let noise = Noise::new(7, 2, None);
        let rows = |first, n: usize, realizations| {
            let mut out = vec![f32::NAN; n * realizations];
            noise.rows(Purpose::Code, 1, 5, first, realizations, &mut out);
            out
        };
        let all = rows(-3, 40, 7);
        for (i, row) in all.chunks(7).enumerate() {
            assert_eq!(rows(i as i64 - 3, 1, 7), row, "alone");
            assert_eq!(&rows(i as i64 - 3, 1, 30)[..7], row, "among more realizations");
        }
    }
}
