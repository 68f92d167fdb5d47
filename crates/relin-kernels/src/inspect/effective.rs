//! What a kernel does to typical content: the mean score at each lag, beside that without positions.

use serde::Serialize;

use super::{Head, dot, normals};
use crate::encoding::Stage;
use crate::feature_map::FeatureMap;
use crate::rng::Rng;

/// Between which rows scores are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// `φ(q)`, `φ(k)` of independent standard normal q, k, with φ = 1 + elu: for encodings after the feature map.
    Features,
    /// k = q, standard normal: for encodings before the feature map, where independent rows have mean score 0.
    Matching,
}

/// The effective kernel at a lag, as a share of the mean score without positions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Effective {
    /// `t − s`.
    pub lag: i64,
    /// The mean.
    pub mean: f64,
    /// A tenth of the scores lie below.
    pub low: f64,
    /// A tenth of the scores lie above.
    pub high: f64,
}

impl Effective {
    /// From the scores at one lag, already divided by what they are shares of.
    pub(super) fn of(lag: i64, mut scores: Vec<f64>) -> Self {
        scores.sort_by(f64::total_cmp);
        let (n, last) = (scores.len() as f64, scores.len() - 1);
        let at = |share: f64| scores[(share * last as f64).round() as usize];
        Self { lag, mean: scores.iter().sum::<f64>() / n, low: at(0.1), high: at(0.9) }
    }
}

impl Head<'_> {
    /// The rows that [`effective_kernel`](Self::effective_kernel) compares.
    pub fn probe(&self) -> Probe {
        match self.encoding.stage() {
            Stage::AfterFeatureMap => Probe::Features,
            Stage::BeforeFeatureMap => Probe::Matching,
        }
    }

    /// `q^T W_lag k` of random rows, divided by the mean of `q^T k`.
    ///
    /// # Cost
    /// O(`draws`·K²) a lag.
    pub fn effective_kernel(&self, lags: &[i64], draws: usize, seed: u64) -> Vec<Effective> {
        let k = self.encoding.key_dim();
        let (queries, keys) = self.rows(draws, seed);
        let mean = dot(&queries, &keys) / draws as f64;
        let at = |&lag: &i64| {
            let w = self.kernel(lag);
            let score = |(q, key): (&[f64], &[f64])| {
                w.chunks(k).zip(q).map(|(row, q)| q * dot(row, key)).sum::<f64>() / mean
            };
            Effective::of(lag, queries.chunks(k).zip(keys.chunks(k)).map(score).collect())
        };
        lags.iter().map(at).collect()
    }

    fn rows(&self, draws: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
        let k = self.encoding.key_dim();
        let queries = normals(Rng::new(seed, 1), draws * k);
        match self.probe() {
            Probe::Matching => (queries.clone(), queries),
            Probe::Features => {
                let keys = normals(Rng::new(seed, 2), draws * k);
                let features = |x: Vec<f64>| {
                    let mut out = vec![0.0; x.len()];
                    FeatureMap::Elu1.apply(k, &x, &mut out);
                    out
                };
                (features(queries), features(keys))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{Place, preset};
    use crate::inspect::initial_parameters;

    fn effective(name: &str, lags: &[i64]) -> Vec<Effective> {
        let place = Place { key_dim: 32, heads: 1, layer: 0 };
        let encoding = preset(name).unwrap().config().build::<f64>(place).unwrap();
        Head { encoding: &*encoding, params: &initial_parameters(&*encoding), head: 0 }
            .effective_kernel(lags, 500, 3)
    }

    #[test]
    fn without_positions_it_is_one() {
        for at in effective("none", &[-5, 0, 9]) {
            assert!((at.mean - 1.0).abs() < 1e-12 && at.low < 1.0 && at.high > 1.0, "{at:?}");
        }
    }

    /// Scalars times the identity: the mean is the scalar.
    #[test]
    fn of_cosformer_and_decay_it_is_their_scalar() {
        for at in effective("cosformer", &[-1024, 0, 700, 2048]) {
            let expected = (std::f64::consts::FRAC_PI_2 * at.lag as f64 / 2048.0).cos();
            assert!((at.mean - expected).abs() < 1e-12, "{at:?}");
        }
        // One head: λ = exp(−2^−8).
        for at in effective("decay", &[0, 256, -512]) {
            assert!((at.mean - (-(at.lag.abs() as f64) / 256.0).exp()).abs() < 1e-12, "{at:?}");
        }
    }

    /// Every permutation of independent, equal features has the same mean score.
    #[test]
    fn a_permutation_keeps_the_mean() {
        for at in effective("lrpe-type7", &[1, 5, 1_000_000]) {
            assert!((at.mean - 1.0).abs() < 0.05, "{at:?}");
        }
    }

    /// For k = q it is the mean diagonal of W: P_d averaged over the features.
    #[test]
    fn before_the_feature_map_it_is_the_mean_covariance() {
        let place = Place { key_dim: 32, heads: 1, layer: 0 };
        let encoding = preset("conv-spe-ungated").unwrap().config().build::<f64>(place).unwrap();
        let params = initial_parameters(&*encoding);
        let head = Head { encoding: &*encoding, params: &params, head: 0 };
        for at in head.effective_kernel(&[0, 40, -64, 128], 4000, 0) {
            let trace: f64 = head.kernel(at.lag).iter().step_by(33).sum::<f64>() / 32.0;
            assert!((at.mean - trace).abs() < 0.01 * trace.abs() + 1e-12, "{at:?} {trace}");
        }
    }
}
