//! An encoding of one's own, held to what every encoding must satisfy:
//! `cargo run --release -p relin-kernels --example own_encoding`.
//!
//! A reflection for every other position, `M_t = diag(1, −1, 1, −1, …)^t`: the smallest unitary group there is. It
//! tells odd lags from even ones.

use std::sync::Arc;

use relin_kernels::conformance::Suite;
use relin_kernels::encoding::{Encoder, Encoding, Side};
use relin_kernels::real::Real;

#[derive(Clone, Debug)]
struct Alternating {
    key_dim: usize,
}

impl Alternating {
    fn map<R: Real>(&self, position: i64, x: &[R], out: &mut [R]) {
        for (at, (out, &x)) in out.iter_mut().zip(x).enumerate() {
            let (row, feature) = ((at / self.key_dim) as i64, at % self.key_dim);
            let negative = (position + row).rem_euclid(2) == 1 && feature % 2 == 1;
            *out = if negative { -x } else { x };
        }
    }
}

impl<R: Real> Encoding<R> for Alternating {
    fn key_dim(&self) -> usize {
        self.key_dim
    }

    fn encoded_dim(&self) -> usize {
        self.key_dim
    }

    fn bind(&self, _params: &[R]) -> Box<dyn Encoder<R>> {
        Box::new(self.clone())
    }

    fn kernel(&self, _params: &[R], _head: usize, lag: i64) -> Vec<f64> {
        let k = self.key_dim;
        let sign = |d: usize| if lag % 2 != 0 && d % 2 == 1 { -1.0 } else { 1.0 };
        (0..k * k).map(|at| if at / k == at % k { sign(at / k) } else { 0.0 }).collect()
    }
}

impl<R: Real> Encoder<R> for Alternating {
    fn encode(&self, _side: Side, _head: usize, position: i64, x: &[R], out: &mut [R]) {
        self.map(position, x, out);
    }

    fn vjp(
        &self,
        _side: Side,
        _head: usize,
        position: i64,
        _x: &[R],
        _encoded: &[R],
        d_out: &[R],
        d_x: &mut [R],
        _d_params: &mut [f64],
    ) {
        self.map(position, d_out, d_x);
    }
}

fn main() {
    let heads = 2;
    let encoding = Alternating { key_dim: 6 };
    match Suite::new(Arc::new(encoding.clone()), Arc::new(encoding), heads).check() {
        Ok(()) => println!("the encoding conforms"),
        Err(violations) => {
            violations.iter().for_each(|violation| eprintln!("{violation}"));
            std::process::exit(1);
        }
    }
}
