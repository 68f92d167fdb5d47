//! φ: the feature maps that turn the exponential kernel into an inner product.

use serde::{Deserialize, Serialize};

use crate::fast_math::FastMath;
use crate::real::Real;
use crate::reduce::max;
use crate::simd::dispatch;

/// An elementwise feature map (`exp` also shifts by the row's maximum).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureMap {
    /// `1 + elu(x)`, written as `x ≥ 0 ? x + 1 : e^x`: exact in every precision, positive, gradient 1 at 0.
    Elu1,
    /// `max(x, 0)`; its features can all be 0.
    Relu,
    /// `x · sigmoid(x)`.
    Silu,
    /// `e^(x − max x)`, the maximum over the row's features taken as a constant by the gradient.
    Exp,
    /// `x`.
    Identity,
}

impl FeatureMap {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Elu1, Self::Relu, Self::Silu, Self::Exp, Self::Identity];

    /// `out = φ(x)` for rows of `width` features.
    pub fn apply<R: FastMath>(self, width: usize, x: &[R], out: &mut [R]) {
        self.apply_strided(width, x, width, out);
    }

    /// [`apply`](Self::apply) to rows that begin `stride` elements apart; the results lie end to end.
    ///
    /// # Panics
    /// If `x` has fewer rows than `out`.
    pub fn apply_strided<R: FastMath>(self, width: usize, x: &[R], stride: usize, out: &mut [R]) {
        match self {
            Self::Elu1 => R::elu1_rows(width, x, stride, out),
            Self::Relu => map(
                width,
                x,
                stride,
                out,
                #[inline(always)]
                |x| if x > R::ZERO { x } else { R::ZERO },
            ),
            Self::Silu => map(
                width,
                x,
                stride,
                out,
                #[inline(always)]
                |x| x * x.sigmoid(),
            ),
            Self::Identity => map(
                width,
                x,
                stride,
                out,
                #[inline(always)]
                |x| x,
            ),
            Self::Exp => exp_below_max(width, x, stride, out),
        }
    }

    /// `d_x = φ'(x) · d_out`, in place: `d` holds `d_out` on entry and `d_x` on return. `features` is `φ(x)`.
    pub fn vjp<R: FastMath>(self, x: &[R], features: &[R], d: &mut [R]) {
        self.vjp_strided(x.len(), x, x.len(), features, d);
    }

    /// [`vjp`](Self::vjp) where the rows of `x` begin `stride` elements apart.
    pub fn vjp_strided<R: FastMath>(self, width: usize, x: &[R], stride: usize, features: &[R], d: &mut [R]) {
        // Of the slope at x, given φ(x).
        macro_rules! scale_by {
            (|$x:ident, $f:ident| $slope:expr) => {
                dispatch(
                    #[inline(always)]
                    || {
                        let rows = d.chunks_mut(width).zip(features.chunks(width)).zip(x.chunks(stride));
                        for ((d, features), x) in rows {
                            for ((d, &$f), &$x) in d.iter_mut().zip(features).zip(x) {
                                *d *= $slope;
                            }
                        }
                    },
                )
            };
        }
        match self {
            Self::Elu1 => scale_by!(|x, f| if x >= R::ZERO { R::ONE } else { f }),
            Self::Relu => scale_by!(|x, _f| if x > R::ZERO { R::ONE } else { R::ZERO }),
            Self::Silu => scale_by!(|x, f| {
                let s = x.sigmoid();
                s + f * (R::ONE - s)
            }),
            Self::Exp => scale_by!(|_x, f| f),
            Self::Identity => {}
        }
    }

    /// True if no feature is ever negative, so that an un-encoded denominator cannot cancel.
    pub fn is_non_negative(self) -> bool {
        matches!(self, Self::Elu1 | Self::Relu | Self::Exp)
    }
}

fn map<R: Real>(width: usize, x: &[R], stride: usize, out: &mut [R], f: impl Fn(R) -> R) {
    dispatch(
        #[inline(always)]
        || {
            for (out, x) in out.chunks_mut(width).zip(x.chunks(stride)) {
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = f(x);
                }
            }
        },
    );
}

fn exp_below_max<R: FastMath>(width: usize, x: &[R], stride: usize, out: &mut [R]) {
    dispatch(
        #[inline(always)]
        || {
            for (out, x) in out.chunks_mut(width).zip(x.chunks(stride)) {
                let max = max(&x[..out.len()]);
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = (x - max).fast_exp();
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elu1_is_exact_where_the_textbook_form_cancels() {
        let x = [-20.0f32, -4.0, -1e-8, 0.0, 2.0];
        let mut out = [f32::NAN; 5];
        FeatureMap::Elu1.apply(5, &x, &mut out);
        assert_eq!(out[0], (-20.0f32).exp());
        assert!(out[0] > 0.0 && (-20.0f32).exp_m1() + 1.0 == 0.0, "elu(x) + 1 would be 0 here");
        assert_eq!(&out[3..], &[1.0, 3.0]);
    }

    #[test]
    fn elu1_has_gradient_one_at_zero() {
        let mut d = [3.0f64];
        FeatureMap::Elu1.vjp(&[0.0], &[1.0], &mut d);
        assert_eq!(d, [3.0]);
    }

    #[test]
    fn vjp_matches_central_differences() {
        let x = [-2.0, -0.3, 0.4, 1.7];
        let d_out = [0.5, -1.0, 2.0, 0.7];
        for map in FeatureMap::ALL {
            // The row's maximum is a constant of the gradient: hold it with a fifth, larger feature.
            let value = |x: &[f64]| {
                let mut row = x.to_vec();
                row.push(3.0);
                let mut out = [0.0; 5];
                map.apply(5, &row, &mut out);
                out.iter().zip(d_out).map(|(a, b)| a * b).sum::<f64>()
            };
            let mut row = x.to_vec();
            row.push(3.0);
            let mut features = [0.0; 5];
            map.apply(5, &row, &mut features);
            let mut d = d_out;
            map.vjp(&x, &features[..4], &mut d);
            for i in 0..4 {
                let shifted = |by: f64| {
                    let mut x = x;
                    x[i] += by;
                    value(&x)
                };
                let expected = (shifted(1e-6) - shifted(-1e-6)) / 2e-6;
                assert!((d[i] - expected).abs() < 1e-8, "{map:?} at {}: {} vs {expected}", x[i], d[i]);
            }
        }
    }
}
