//! No relative encoding: `M_s = I`, `W = I`.

use super::{Encoder, Encoding, Side};
use crate::real::Real;

/// The identity encoding, the baseline `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    key_dim: usize,
}

impl Absent {
    /// The identity of width `K`.
    pub fn new(key_dim: usize) -> Self {
        Self { key_dim }
    }
}

impl<R: Real> Encoding<R> for Absent {
    fn key_dim(&self) -> usize {
        self.key_dim
    }

    fn encoded_dim(&self) -> usize {
        self.key_dim
    }

    fn bind(&self, _params: &[R]) -> Box<dyn Encoder<R>> {
        Box::new(self.clone())
    }

    fn kernel(&self, _params: &[R], _head: usize, _lag: i64) -> Vec<f64> {
        let k = self.key_dim;
        (0..k * k).map(|i| f64::from(u8::from(i / k == i % k))).collect()
    }
}

impl<R: Real> Encoder<R> for Absent {
    fn encode(&self, _side: Side, _head: usize, _position: i64, x: &[R], out: &mut [R]) {
        out.copy_from_slice(x);
    }

    fn vjp(
        &self,
        _side: Side,
        _head: usize,
        _position: i64,
        _x: &[R],
        _encoded: &[R],
        d_out: &[R],
        d_x: &mut [R],
        _d_params: &mut [f64],
    ) {
        d_x.copy_from_slice(d_out);
    }
}
