//! Powers of a signed permutation, `U = D Π` with `D = diag(±1)`: orthogonal, exact at every position, and with cycles
//! whose signs multiply to −1 of twice the period of Π.
//!
//! ```text
//! (U^t x)_i = σ_t(i) x_{π^t(i)},    σ_t(i) = Π_{u<t} d_{π^u(i)}
//! ```

use serde::{Deserialize, Serialize};

use super::lrpe::{Cycle, Cycles};
use super::{Encoder, Encoding, EncodingError, Place, Side};
use crate::real::Real;
use crate::rng::Rng;

/// A signed permutation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignedPermutationConfig {
    /// Cycle structure of Π.
    pub cycle: Cycle,
    /// Own permutation and signs for every head, instead of shared ones.
    pub per_head: bool,
    /// Seed of both.
    pub seed: u64,
}

impl Default for SignedPermutationConfig {
    fn default() -> Self {
        Self { cycle: Cycle::Single, per_head: false, seed: 0 }
    }
}

/// A signed permutation in one layer.
#[derive(Clone, Debug)]
pub struct SignedPermutation {
    key_dim: usize,
    /// One entry if the heads share it.
    heads: Vec<Head>,
}

#[derive(Clone, Debug)]
struct Head {
    /// Acts on 2K indices: `i` stands for `x_i` and `K + i` for `−x_i`, so that signs need no bookkeeping.
    lifted: Cycles,
}

impl SignedPermutation {
    /// Builds the encoding of one layer.
    ///
    /// # Errors
    /// If the width is 0.
    pub fn new(config: &SignedPermutationConfig, place: Place) -> Result<Self, EncodingError> {
        let k = place.key_dim;
        if k == 0 {
            return Err(EncodingError::TooNarrow { family: "signed-permutation", needed: 1, key_dim: 0 });
        }
        let sharers = if config.per_head { place.heads } else { 1 };
        let head = |head: usize| {
            let stream = (place.layer as u64) << 32 | (head as u64) << 8;
            let next = Cycles::draw(config.cycle, k, Rng::new(config.seed, stream | 3)).power(1);
            let signs = Rng::new(config.seed, stream | 4);
            let lift = |i: usize| {
                let flip = (i / k + signs.below((i % k) as u64, 2) as usize) % 2;
                next[i % k] + flip * k
            };
            Head {
                lifted: Cycles::new((0..2 * k).map(lift).collect()).expect("lifts of a permutation are one"),
            }
        };
        Ok(Self { key_dim: k, heads: (0..sharers).map(head).collect() })
    }

    fn lifted(&self, head: usize) -> &Cycles {
        &self.heads[if self.heads.len() == 1 { 0 } else { head }].lifted
    }

    /// The order of U: positions that far apart are encoded alike.
    pub fn period(&self, head: usize) -> u128 {
        self.lifted(head).period()
    }

    /// Calls `row(i, source index and sign of every feature)`.
    fn for_each_row(&self, head: usize, position: i64, rows: usize, mut row: impl FnMut(usize, &[usize])) {
        let lifted = self.lifted(head);
        let mut power = lifted.power(position);
        for i in 0..rows {
            row(i, &power[..self.key_dim]);
            lifted.advance(&mut power);
        }
    }
}

impl<R: Real> Encoding<R> for SignedPermutation {
    fn key_dim(&self) -> usize {
        self.key_dim
    }

    fn encoded_dim(&self) -> usize {
        self.key_dim
    }

    fn bind(&self, _params: &[R]) -> Box<dyn Encoder<R>> {
        Box::new(self.clone())
    }

    fn kernel(&self, _params: &[R], head: usize, lag: i64) -> Vec<f64> {
        let k = self.key_dim;
        let mut w = vec![0.0; k * k];
        for (i, &at) in self.lifted(head).power(lag)[..k].iter().enumerate() {
            w[i * k + at % k] = if at < k { 1.0 } else { -1.0 };
        }
        w
    }
}

impl<R: Real> Encoder<R> for SignedPermutation {
    fn encode(&self, _side: Side, head: usize, position: i64, x: &[R], out: &mut [R]) {
        let k = self.key_dim;
        self.for_each_row(head, position, x.len() / k, |row, sources| {
            let (x, out) = (&x[row * k..][..k], &mut out[row * k..][..k]);
            out.iter_mut().zip(sources).for_each(|(out, &at)| *out = if at < k { x[at] } else { -x[at - k] });
        });
    }

    fn vjp(
        &self,
        _side: Side,
        head: usize,
        position: i64,
        _x: &[R],
        _encoded: &[R],
        d_out: &[R],
        d_x: &mut [R],
        _d_params: &mut [f64],
    ) {
        let k = self.key_dim;
        self.for_each_row(head, position, d_x.len() / k, |row, sources| {
            let (d_x, d_out) = (&mut d_x[row * k..][..k], &d_out[row * k..][..k]);
            sources.iter().zip(d_out).for_each(|(&at, &d)| d_x[at % k] = if at < k { d } else { -d });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `W_2 = W_1 W_1`, and a period that is the permutation's or twice as long.
    #[test]
    fn powers_and_periods() {
        let place = Place { key_dim: 9, heads: 1, layer: 0 };
        let mut periods = Vec::new();
        for seed in 0..20 {
            let config = SignedPermutationConfig { seed, ..SignedPermutationConfig::default() };
            let encoding = SignedPermutation::new(&config, place).unwrap();
            let w = |lag| Encoding::<f64>::kernel(&encoding, &[], 0, lag);
            let (once, twice) = (w(1), w(2));
            for at in 0..81 {
                let product: f64 = (0..9).map(|j| once[at / 9 * 9 + j] * once[j * 9 + at % 9]).sum();
                assert_eq!(product, twice[at]);
            }
            let period = encoding.period(0);
            assert_eq!(w(period as i64), w(0));
            periods.push(period);
        }
        periods.sort_unstable();
        periods.dedup();
        assert_eq!(periods, [9, 18]);
    }
}
