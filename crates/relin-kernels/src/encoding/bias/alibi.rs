//! ALiBi: `b(Δ) = −m_h |Δ|`.
//!
//! # Reference
//! Press et al., "Train short, test long" (arXiv 2108.12409), §3.

use super::{Bias, Lags};
use crate::encoding::Parameter;
use crate::real::Real;

/// ALiBi with its slopes.
#[derive(Clone, Debug, PartialEq)]
pub struct Alibi {
    slopes: Vec<f64>,
}

impl Alibi {
    /// `m_h = 2^{−8(h+1)/H}` if H is a power of two; else those of the next smaller power, and then every other one of the next
    /// larger power.
    pub fn new(heads: usize) -> Self {
        let geometric = |n: usize| (1..=n).map(move |h| (-8.0 * h as f64 / n as f64).exp2());
        let below = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
        Self { slopes: geometric(below).chain(geometric(2 * below).step_by(2)).take(heads).collect() }
    }

    /// `m_h`.
    pub fn slopes(&self) -> &[f64] {
        &self.slopes
    }
}

impl<R: Real> Bias<R> for Alibi {
    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    fn at(&self, _params: &[R], head: usize, _q: &[R], lag: i64) -> R {
        R::from_f64(-self.slopes[head] * lag.unsigned_abs() as f64)
    }

    fn add(&self, params: &[R], head: usize, lags: Lags, q: &[R], logits: &mut [R]) {
        let by_lag: Vec<R> = lags.ascending().map(|lag| self.at(params, head, q, lag)).collect();
        lags.add(logits, &by_lag);
    }

    fn vjp(
        &self,
        _params: &[R],
        _head: usize,
        _lags: Lags,
        _q: &[R],
        _d_logits: &[R],
        _d_q: &mut [R],
        _d_params: &mut [f64],
    ) {
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paper's eight heads; for twelve, the authors' rule.
    #[test]
    fn slopes() {
        assert_eq!(
            Alibi::new(8).slopes(),
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0].map(|h: f64| (-h).exp2())
        );
        let twelve = Alibi::new(12);
        assert_eq!(&twelve.slopes()[..8], Alibi::new(8).slopes());
        assert_eq!(&twelve.slopes()[8..], [0.5f64, 1.5, 2.5, 3.5].map(|h| (-h).exp2()));
        let mut logits = [0.0f64; 3];
        Bias::add(&Alibi::new(1), &[], 0, Lags::new(4, 1, 3, 3), &[], &mut logits);
        assert_eq!(logits, [-1.0, 0.0, -1.0].map(|x| x / 256.0));
    }
}
