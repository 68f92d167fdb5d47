//! Symmetry, relativity and lengths, measured.

use serde::Serialize;

use super::{Head, dot, normals};
use crate::encoding::{Agreement, Side};
use crate::rng::Rng;

/// What still counts as equal: double precision, and angles of a million positions.
pub const TOLERANCE: f64 = 1e-9;
/// Lags at which relativity is measured.
pub const RELATIVITY_LAGS: [i64; 4] = [0, 1, -3, 17];
/// Shifts of all positions at which it is measured.
pub const SHIFTS: [i64; 3] = [0, 1_000, 1_000_000];
/// Rows of a stochastic encoding that are compared with its kernel.
const ROWS: usize = 8;
/// Standard errors that the worst of some hundred estimates may be off.
const SIGMAS: f64 = 5.0;

/// What becomes of the kernel when the lag changes its sign.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Symmetry {
    /// `max |W_Δ − W_{−Δ}|`: zero if the encoding cannot tell left from right.
    pub even_deviation: f64,
    /// `max |W_Δ − W_{−Δ}^T|`: zero for every unitary group of real matrices.
    pub transpose_deviation: f64,
    /// What counts as zero.
    pub tolerance: f64,
}

impl Symmetry {
    /// Whether `W_Δ = W_{−Δ}`.
    pub fn is_even(&self) -> bool {
        self.even_deviation <= self.tolerance
    }

    /// Whether `W_Δ = W_{−Δ}^T`.
    pub fn is_transposed(&self) -> bool {
        self.transpose_deviation <= self.tolerance
    }
}

/// How far encoded rows are from the kernel, wherever they stand.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Relativity {
    /// The largest deviation: of an entry of `W` for an exact encoding, in standard errors for a stochastic one.
    pub deviation: f64,
    /// What it may be.
    pub tolerance: f64,
    /// The largest shift of all positions.
    pub largest_shift: i64,
    /// True if the deviation is one of an estimate, in standard errors.
    pub in_standard_errors: bool,
}

impl Relativity {
    /// Whether the deviation is tolerable.
    pub fn holds(&self) -> bool {
        self.deviation <= self.tolerance
    }
}

impl Head<'_> {
    /// Compares `W_Δ` with `W_{−Δ}`, the kernel with query and key changed places, at the given lags.
    pub fn symmetry(&self, lags: &[i64]) -> Symmetry {
        let k = self.encoding.key_dim();
        let mut found = Symmetry { even_deviation: 0.0, transpose_deviation: 0.0, tolerance: TOLERANCE };
        for &lag in lags {
            let (forth, back) = (self.kernel_between(0, lag), self.kernel_between(lag, 0));
            for (at, w) in forth.iter().enumerate() {
                found.even_deviation = found.even_deviation.max((w - back[at]).abs());
                let transposed = back[at % k * k + at / k];
                found.transpose_deviation = found.transpose_deviation.max((w - transposed).abs());
            }
        }
        found
    }

    /// Compares what encoded rows give with the kernel, at several lags with all positions shifted by up to a million.
    pub fn relativity(&self) -> Relativity {
        let exact = self.encoding.agreement() == Agreement::Exact;
        let step = self.encoding.shift_step();
        let shifts = SHIFTS.map(|shift| shift / step * step);
        let deviation = |&shift: &i64| if exact { self.exact_deviation(shift) } else { self.z_score(shift) };
        Relativity {
            deviation: shifts.iter().map(deviation).fold(0.0, f64::max),
            tolerance: if exact { TOLERANCE } else { SIGMAS },
            largest_shift: shifts[SHIFTS.len() - 1],
            in_standard_errors: !exact,
        }
    }

    fn exact_deviation(&self, shift: i64) -> f64 {
        let (k, encoded) = (self.encoding.key_dim(), self.encoding.encoded_dim());
        let query = self.map(Side::Query, shift);
        let decay = self.encoding.decay(self.head);
        let mut worst = 0.0f64;
        for lag in RELATIVITY_LAGS {
            let mut key = self.map(Side::Key, shift + lag);
            for (at, m) in key.iter_mut().enumerate() {
                *m *= self.scale() * decay.factor(at % encoded, lag);
            }
            let expected = self.kernel_between(0, lag);
            for (at, w) in expected.iter().enumerate() {
                let found = dot(&query[at / k * encoded..][..encoded], &key[at % k * encoded..][..encoded]);
                worst = worst.max((found - w).abs());
            }
        }
        worst
    }

    /// The estimate of a score is a sum over realizations: how many of its standard errors is it from the score?
    fn z_score(&self, shift: i64) -> f64 {
        let (k, encoded) = (self.encoding.key_dim(), self.encoding.encoded_dim());
        let encoder = self.encoding.bind(self.params);
        let rows = |side, stream| {
            let x = normals(Rng::new(0, stream), ROWS * k);
            let mut out = vec![0.0; ROWS * encoded];
            encoder.encode(side, self.head, shift, &x, &mut out);
            (x, out)
        };
        let ((q, q_encoded), (key, k_encoded)) = (rows(Side::Query, 1), rows(Side::Key, 2));
        let mut worst = 0.0f64;
        for pair in 0..ROWS * ROWS {
            let (s, t) = (pair / ROWS, pair % ROWS);
            let (left, right) = (&q_encoded[s * encoded..][..encoded], &k_encoded[t * encoded..][..encoded]);
            let terms: Vec<f64> = left.iter().zip(right).map(|(a, b)| self.scale() * a * b).collect();
            let estimate: f64 = terms.iter().sum();
            let mean = estimate / encoded as f64;
            let variance = terms.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
            let w = self.kernel_between(0, t as i64 - s as i64);
            let exact: f64 =
                w.chunks(k).zip(&q[s * k..]).map(|(row, q)| q * dot(row, &key[t * k..][..k])).sum();
            worst = worst.max((estimate - exact).abs() / variance.sqrt().max(f64::MIN_POSITIVE));
        }
        worst
    }

    /// `max |‖M x‖/‖x‖ − 1|` over random rows, near and far: 0 for a unitary encoding.
    pub fn length_deviation(&self) -> f64 {
        let (k, encoded) = (self.encoding.key_dim(), self.encoding.encoded_dim());
        let encoder = self.encoding.bind(self.params);
        let x = normals(Rng::new(0, 3), ROWS * k);
        let length = |row: &[f64]| dot(row, row).sqrt();
        let mut worst = 0.0f64;
        for (shift, side) in SHIFTS.iter().flat_map(|&shift| [(shift, Side::Query), (shift, Side::Key)]) {
            let mut out = vec![0.0; ROWS * encoded];
            encoder.encode(side, self.head, shift, &x, &mut out);
            for (x, out) in x.chunks(k).zip(out.chunks(encoded)) {
                worst = worst.max((length(out) / length(x) - 1.0).abs());
            }
        }
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{EncodingConfig, PRESETS, Place, preset};
    use crate::inspect::initial_parameters;

    const PLACE: Place = Place { key_dim: 16, heads: 2, layer: 0 };

    fn with<T>(name: &str, look: impl Fn(Head<'_>) -> T) -> T {
        let encoding = preset(name).unwrap().config().build::<f64>(PLACE).unwrap();
        look(Head { encoding: &*encoding, params: &initial_parameters(&*encoding), head: 1 })
    }

    #[test]
    fn evenness_is_that_of_the_families() {
        let lags: Vec<i64> = (1..20).collect();
        for even in ["none", "lrpe-unitary", "lrpe-unitary-learned", "cosformer", "decay", "lrpe-decay"] {
            assert!(with(even, |head| head.symmetry(&lags)).is_even(), "{even}");
        }
        for odd in ["rope", "lrpe-orthogonal", "lrpe-type8", "lrpe-permutation", "permuteformer", "xpos"] {
            let symmetry = with(odd, |head| head.symmetry(&lags));
            assert!(!symmetry.is_even() && symmetry.is_transposed(), "{odd}: {symmetry:?}");
        }
        for neither in ["sine-spe", "conv-spe", "sine-exact"] {
            let symmetry = with(neither, |head| head.symmetry(&lags));
            assert!(!symmetry.is_even() && !symmetry.is_transposed(), "{neither}: {symmetry:?}");
        }
    }

    /// Going back to a cell is not going to the cell with the negative number.
    #[test]
    fn of_a_grid_it_is_that_of_its_axes() {
        let config = r#"{"type":"grid","shape":[4,4],"inner":{"type":"lrpe","family":"orthogonal"}}"#;
        let config: EncodingConfig = serde_json::from_str(config).unwrap();
        let encoding = config.build::<f64>(PLACE).unwrap();
        let symmetry = Head { encoding: &*encoding, params: &[], head: 0 }.symmetry(&[1, 3, 5, 9]);
        assert!(!symmetry.is_even() && symmetry.is_transposed(), "{symmetry:?}");
    }

    #[test]
    fn every_preset_is_relative_and_unitary_as_declared() {
        for preset in PRESETS {
            let relativity = with(preset.name, |head| head.relativity());
            assert!(relativity.holds(), "{}: {relativity:?}", preset.name);
            let deviation = with(preset.name, |head| head.length_deviation());
            let unitary = with(preset.name, |head| head.encoding.is_unitary());
            assert_eq!(deviation <= TOLERANCE, unitary, "{}: {deviation}", preset.name);
        }
    }

    #[test]
    fn kernel_and_encoded_rows_move_together_with_a_parameter() {
        let encoding = preset("lrpe-unitary-learned").unwrap().config().build::<f64>(PLACE).unwrap();
        let mut params = initial_parameters(&*encoding);
        let kernel = Head { encoding: &*encoding, params: &params, head: 0 }.kernel(17);
        params[0] += 1e-6;
        let moved = Head { encoding: &*encoding, params: &params, head: 0 };
        assert!(moved.relativity().holds());
        let change =
            moved.kernel(17).iter().zip(&kernel).fold(0.0f64, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(change > TOLERANCE, "{change}");
    }

    #[test]
    fn deviation_of_p_from_the_identity() {
        assert_eq!(with("rope", |head| head.basis_deviation()), 0.0);
        // ‖2uu^T‖ = 2, over ‖I‖ = √16.
        assert!((with("lrpe-unitary", |head| head.basis_deviation()) - 0.5).abs() < 1e-12);
        let moved = with("lrpe-type3", |head| {
            let mut from = head.params.to_vec();
            assert_eq!(head.basis_moved(&from), 0.0);
            // The reflection at −v is that at v.
            from[8..].iter_mut().for_each(|v| *v = -*v);
            assert!(head.basis_moved(&from) < 1e-12);
            from[8] += 1.0;
            head.basis_moved(&from)
        });
        assert!(moved > 0.01, "{moved}");
    }
}
