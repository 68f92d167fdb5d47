//! A stochastic encoding beside its limit: estimates from encoded rows, and how their error falls with R.

use rayon::prelude::*;
use serde::Serialize;

use super::spectrum::with_realizations;
use super::{Head, dot, normals, rows_of_head};
use crate::encoding::{Encoding, EncodingConfig, EncodingError, Place, Side};
use crate::rng::Rng;

/// Rows of queries and of keys that give one draw's errors.
const ROWS: usize = 24;

/// The error of estimated logits at a number of realizations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ErrorAt {
    /// `R`.
    pub realizations: usize,
    /// Root mean square of `q̂·k̂/√R − q^T W k/√K`, over standard normal q, k.
    pub rms_error: f64,
}

/// How the error falls with the number of realizations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Convergence {
    /// One for each number of realizations.
    pub errors: Vec<ErrorAt>,
    /// Slope of the error's logarithm over that of R: −½ in theory.
    pub error_slope: f64,
    /// Slope of the variance's logarithm: −1 in theory.
    pub variance_slope: f64,
    /// Draws of the noise behind each error.
    pub draws: usize,
}

/// A covariance and what one draw of the noise makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EstimateAt {
    /// `t − s`.
    pub lag: i64,
    /// `P'_d(s − t)`.
    pub exact: f64,
    /// Of the first draw.
    pub draw: f64,
    /// Mean over all draws.
    pub mean: f64,
    /// Standard deviation of one draw.
    pub deviation: f64,
}

/// The encoding of one head alone, its parameters, and draws of its noise.
struct Draws {
    encoding: std::sync::Arc<dyn Encoding<f64>>,
    params: Vec<f64>,
}

impl Draws {
    fn new(
        config: &EncodingConfig,
        place: Place,
        params: &[f64],
        head: usize,
        realizations: usize,
    ) -> Result<Option<Self>, EncodingError> {
        let Some(config) = with_realizations(config, realizations) else { return Ok(None) };
        let all = config.build::<f64>(place)?;
        let params = rows_of_head(&all.parameters(), params, place.heads, head);
        let encoding = config.build::<f64>(Place { heads: 1, ..place })?;
        Ok(Some(Self { encoding, params }))
    }

    /// Encoded rows of one draw.
    fn encode(&self, draw: usize, side: Side, position: i64, x: &[f64]) -> Vec<f64> {
        let drawn = self.encoding.redrawn(draw as u64).unwrap_or_else(|| self.encoding.clone());
        let rows = x.len() / drawn.key_dim();
        let mut out = vec![0.0; rows * drawn.encoded_dim()];
        drawn.bind(&self.params).encode(side, 0, position, x, &mut out);
        out
    }

    fn mean_square_error(&self, draws: usize, seed: u64) -> f64 {
        let (k, encoded) = (self.encoding.key_dim(), self.encoding.encoded_dim());
        let (q, keys) = (normals(Rng::new(seed, 4), ROWS * k), normals(Rng::new(seed, 5), ROWS * k));
        let head = Head { encoding: &*self.encoding, params: &self.params, head: 0 };
        let mut exact = vec![0.0; ROWS * ROWS];
        for lag in 1 - ROWS as i64..ROWS as i64 {
            let w = head.kernel(lag);
            for s in (0..ROWS).filter(|s| (0..ROWS as i64).contains(&(*s as i64 + lag))) {
                let t = (s as i64 + lag) as usize;
                let key = &keys[t * k..][..k];
                let score: f64 = w.chunks(k).zip(&q[s * k..]).map(|(row, q)| q * dot(row, key)).sum();
                exact[s * ROWS + t] = score / (k as f64).sqrt();
            }
        }
        let scale = self.encoding.logit_scale();
        let of_draw = |draw| {
            let (left, right) =
                (self.encode(draw, Side::Query, 0, &q), self.encode(draw, Side::Key, 0, &keys));
            let error = |(at, exact): (usize, &f64)| {
                let (s, t) = (at / ROWS, at % ROWS);
                (scale * dot(&left[s * encoded..][..encoded], &right[t * encoded..][..encoded]) - exact)
                    .powi(2)
            };
            exact.iter().enumerate().map(error).sum::<f64>() / exact.len() as f64
        };
        // Collected first: a parallel sum would depend on the number of threads.
        let errors: Vec<f64> = (0..draws).into_par_iter().map(of_draw).collect();
        errors.iter().sum::<f64>() / draws as f64
    }
}

/// The error of the logits of one head at several numbers of realizations; `None` if the encoding has no noise.
///
/// # Cost
/// `draws` draws of the noise for each number of realizations.
///
/// # Errors
/// As [`EncodingConfig::build`].
pub fn convergence(
    config: &EncodingConfig,
    place: Place,
    params: &[f64],
    head: usize,
    realizations: &[usize],
    draws: usize,
    seed: u64,
) -> Result<Option<Convergence>, EncodingError> {
    let mut errors = Vec::new();
    for &realizations in realizations {
        let Some(drawn) = Draws::new(config, place, params, head, realizations)? else { return Ok(None) };
        errors.push(ErrorAt { realizations, rms_error: drawn.mean_square_error(draws, seed).sqrt() });
    }
    let points = errors.iter().map(|at| ((at.realizations as f64).ln(), at.rms_error.ln()));
    let error_slope = slope(points.collect());
    Ok(Some(Convergence { errors, error_slope, variance_slope: 2.0 * error_slope, draws }))
}

/// Feature `d`'s covariance at lags from `−reach` to `reach`, as encoded rows estimate it with `realizations`, over several
/// draws; `None` if the encoding has no noise.
///
/// # Errors
/// As [`EncodingConfig::build`].
pub fn estimate(
    config: &EncodingConfig,
    place: Place,
    params: &[f64],
    (head, d): (usize, usize),
    realizations: usize,
    reach: usize,
    draws: usize,
) -> Result<Option<Vec<EstimateAt>>, EncodingError> {
    let Some(drawn) = Draws::new(config, place, params, head, realizations)? else { return Ok(None) };
    let k = place.key_dim;
    let unit: Vec<f64> = (0..k).map(|at| f64::from(u8::from(at == d))).collect();
    let keys = unit.repeat(2 * reach + 1);
    let scale = drawn.encoding.logit_scale() * (k as f64).sqrt();
    let of_draw = |draw| {
        let query = drawn.encode(draw, Side::Query, reach as i64, &unit);
        let encoded = drawn.encode(draw, Side::Key, 0, &keys);
        encoded.chunks(query.len()).map(|key| scale * dot(&query, key)).collect()
    };
    let all: Vec<Vec<f64>> = (0..draws).into_par_iter().map(of_draw).collect();
    let head = Head { encoding: &*drawn.encoding, params: &drawn.params, head: 0 };
    let at = |i: usize| {
        let lag = i as i64 - reach as i64;
        let mean = all.iter().map(|draw| draw[i]).sum::<f64>() / draws as f64;
        let variance =
            all.iter().map(|draw| (draw[i] - mean).powi(2)).sum::<f64>() / (draws as f64 - 1.0).max(1.0);
        EstimateAt {
            lag,
            exact: head.kernel(lag)[d * k + d],
            draw: all[0][i],
            mean,
            deviation: variance.sqrt(),
        }
    };
    Ok(Some((0..=2 * reach).map(at).collect()))
}

/// Of the line of least squares.
fn slope(points: Vec<(f64, f64)>) -> f64 {
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / n, y + point.1 / n));
    let (mut above, mut below) = (0.0, 0.0);
    for point in &points {
        above += (point.0 - x) * (point.1 - y);
        below += (point.0 - x).powi(2);
    }
    above / below
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::preset;
    use crate::inspect::initial_parameters;

    const PLACE: Place = Place { key_dim: 8, heads: 2, layer: 0 };

    fn with(name: &str) -> (EncodingConfig, Vec<f64>) {
        let config = preset(name).unwrap().config();
        let params = initial_parameters(&*config.build::<f64>(PLACE).unwrap());
        (config, params)
    }

    #[test]
    fn the_variance_falls_as_one_over_r() {
        for name in ["sine-spe", "sine-spe-ungated", "conv-spe", "conv-spe-ungated"] {
            let (config, params) = with(name);
            let found =
                convergence(&config, PLACE, &params, 1, &[16, 64, 256, 1024], 16, 0).unwrap().unwrap();
            assert!((found.variance_slope + 1.0).abs() < 0.1, "{name}: {found:?}");
        }
    }

    /// The closed form of the variance, `(AB + S²)/(RK)`, averaged over content, is of the order of `V²K/R`; the exact
    /// value for q = k = e_d is `(V^Q V^K + P²)/R`, and V^Q = Σ w_q², V^K = Σ w_k² for filters.
    #[test]
    fn the_deviation_of_an_estimate_is_the_closed_form() {
        let (config, params) = with("conv-spe-ungated");
        let (d, head, filters) = (3, 1, 128);
        let found = estimate(&config, PLACE, &params, (head, d), 64, 10, 400).unwrap().unwrap();
        let filter = |which: usize| &params[((which * 2 + head) * 8 + d) * filters..][..filters];
        let (v_q, v_k) = (dot(filter(0), filter(0)), dot(filter(1), filter(1)));
        for at in &found {
            let deviation = ((v_q * v_k + at.exact.powi(2)) / 64.0).sqrt();
            // The standard error of a deviation over 400 draws is 3.5 %, a little more for products of normals.
            assert!((at.deviation / deviation - 1.0).abs() < 0.2, "{at:?} {deviation}");
            assert!((at.mean - at.exact).abs() < 5.0 * deviation / 20.0, "{at:?}");
        }
    }

    #[test]
    fn without_noise_there_is_nothing_to_estimate() {
        for name in ["rope", "sine-exact", "decay"] {
            let (config, params) = with(name);
            assert_eq!(convergence(&config, PLACE, &params, 0, &[4], 1, 0).unwrap(), None);
            assert_eq!(estimate(&config, PLACE, &params, (0, 0), 4, 2, 1).unwrap(), None);
        }
    }

    #[test]
    fn slope_of_a_line() {
        assert_eq!(slope(vec![(0.0, 1.0), (2.0, 0.0), (4.0, -1.0)]), -0.5);
    }
}
