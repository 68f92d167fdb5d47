//! A window into an encoding: what its kernel looks like, and whether it is what it claims to be, all measured.
//!
//! A [`Head`] is one head of any [`Encoding`] with values for its parameters. It measures symmetry in the lag, relativity
//! under shifts, lengths of encoded rows and the effective kernel between random features. [`Spectrum`] says how fast an
//! encoding turns or when it repeats; [`convergence`] how far a stochastic one is from its limit; [`BiasHead`] looks at
//! the biases of softmax attention.
//!
//! ```
//! use relin_kernels::encoding::{Encoding, Place, preset};
//! use relin_kernels::inspect::Head;
//!
//! let place = Place { key_dim: 8, heads: 1, layer: 0 };
//! let encoding = preset("lrpe-unitary").expect("a preset").config().build::<f64>(place)?;
//! let head = Head { encoding: &*encoding, params: &[], head: 0 };
//! assert!(head.symmetry(&[1, 2, 3]).is_even());
//! # Ok::<(), relin_kernels::encoding::EncodingError>(())
//! ```

mod bias;
mod effective;
mod measures;
mod spectrum;
mod stochastic;

pub use bias::BiasHead;
pub use effective::{Effective, Probe};
pub use measures::{RELATIVITY_LAGS, Relativity, SHIFTS, Symmetry, TOLERANCE};
pub use spectrum::Spectrum;
pub use stochastic::{Convergence, ErrorAt, EstimateAt, convergence, estimate};

use crate::encoding::{Encoding, Parameter, Side};
use crate::rng::Rng;

/// One head of an encoding, with values for its parameters.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The encoding.
    pub encoding: &'a dyn Encoding<f64>,
    /// Its parameters, flat, of all heads.
    pub params: &'a [f64],
    /// Which head.
    pub head: usize,
}

impl Head<'_> {
    /// `W_lag`, `[K, K]`, times what makes the noisy or widened features of an encoding count like K plain ones: so that
    /// `logit = q^T W k / √K` holds for every encoding.
    ///
    /// # Cost
    /// O(K³) where P is dense.
    pub fn kernel(&self, lag: i64) -> Vec<f64> {
        self.kernel_between(0, lag)
    }

    /// [`kernel`](Self::kernel) between two positions.
    pub fn kernel_between(&self, query: i64, key: i64) -> Vec<f64> {
        let scale = self.scale();
        let mut w = self.encoding.kernel_between(self.params, self.head, query, key);
        w.iter_mut().for_each(|w| *w *= scale);
        w
    }

    /// What turns inner products of encoded rows into `q^T W k`: 1, but for encodings before the feature map.
    fn scale(&self) -> f64 {
        self.encoding.logit_scale() * (self.encoding.key_dim() as f64).sqrt()
    }

    /// `M^T` at a position, `[K, K']`: the encoded unit rows.
    pub fn map(&self, side: Side, position: i64) -> Vec<f64> {
        let (k, encoded) = (self.encoding.key_dim(), self.encoding.encoded_dim());
        let encoder = self.encoding.bind(self.params);
        let mut map = vec![0.0; k * encoded];
        let mut unit = vec![0.0; k];
        for (d, row) in map.chunks_mut(encoded).enumerate() {
            unit[d] = 1.0;
            encoder.encode(side, self.head, position, &unit, row);
            unit[d] = 0.0;
        }
        map
    }

    /// `‖M_0 − I‖ / ‖I‖` (Frobenius): how far P is from the identity, for the encodings that have one. 0 for P = I, 2/√K for one
    /// reflection, at most 2.
    pub fn basis_deviation(&self) -> f64 {
        let encoded = self.encoding.encoded_dim();
        let identity = |at: usize| f64::from(u8::from(at % encoded == at / encoded));
        self.distance(&self.map(Side::Key, 0), identity)
    }

    /// `‖M_0 − M'_0‖ / ‖I‖`, of M' with other parameters: how far learning moved P.
    pub fn basis_moved(&self, from: &[f64]) -> f64 {
        let before = Head { params: from, ..*self }.map(Side::Key, 0);
        self.distance(&self.map(Side::Key, 0), |at| before[at])
    }

    fn distance(&self, map: &[f64], other: impl Fn(usize) -> f64) -> f64 {
        let sum: f64 = map.iter().enumerate().map(|(at, m)| (m - other(at)).powi(2)).sum();
        (sum / self.encoding.key_dim() as f64).sqrt()
    }
}

/// The initial values of an encoding's parameters, flat.
pub fn initial_parameters(encoding: &dyn Encoding<f64>) -> Vec<f64> {
    encoding.parameters().into_iter().flat_map(|parameter| parameter.init).collect()
}

/// One head's rows of flat parameters; what the heads share stays whole.
fn rows_of_head(parameters: &[Parameter], params: &[f64], heads: usize, head: usize) -> Vec<f64> {
    let mut rest = params;
    let mut rows = Vec::new();
    for parameter in parameters {
        let (own, tail) = rest.split_at(parameter.len());
        rest = tail;
        let width = own.len() / heads;
        let shared = parameter.shape.first() != Some(&heads);
        rows.extend_from_slice(if shared { own } else { &own[head * width..][..width] });
    }
    rows
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn normals(rng: Rng, n: usize) -> Vec<f64> {
    (0..n as u64).map(|i| rng.normal(i)).collect()
}
