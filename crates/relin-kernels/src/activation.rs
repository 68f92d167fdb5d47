//! Pointwise nonlinearities, forward and backward.

use crate::elementwise::{map, map_blocks, map2, value_and_gradient};
use crate::fast_math::FastMath;
use crate::real::Real;

/// Which nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `x Φ(x)`, Φ the normal distribution (the exact form, with the error function).
    Gelu,
    /// `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`, the usual approximation.
    GeluTanh,
    /// `x σ(x)`, σ the logistic function.
    Silu,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// `out = f(x)`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn forward<R: FastMath>(self, out: &mut [R], x: &[R]) {
        // One loop per kind, so that the choice stays outside and each loop vectorises.
        match self {
            Self::Gelu => map_blocks(out, x, R::gelu),
            Self::GeluTanh => map(
                out,
                x,
                #[inline(always)]
                |x| x * gelu_tanh_argument(x).0.sigmoid(),
            ),
            Self::Silu => map(
                out,
                x,
                #[inline(always)]
                |x| x * x.sigmoid(),
            ),
            Self::Relu => map(out, x, relu),
        }
    }

    /// `dx = f′(x) dy`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn backward<R: FastMath>(self, dx: &mut [R], dy: &[R], x: &[R]) {
        match self {
            Self::Gelu => map2(
                dx,
                dy,
                x,
                #[inline(always)]
                |dy, x| dy * gelu_slope(x),
            ),
            Self::GeluTanh => map2(
                dx,
                dy,
                x,
                #[inline(always)]
                |dy, x| dy * gelu_tanh_slope(x),
            ),
            Self::Silu => map2(
                dx,
                dy,
                x,
                #[inline(always)]
                |dy, x| dy * silu_slope(x),
            ),
            Self::Relu => map2(
                dx,
                dy,
                x,
                #[inline(always)]
                |dy, x| if x > R::ZERO { dy } else { R::ZERO },
            ),
        }
    }
}

impl Activation {
    /// `y = f(x)` and `dy = f′(x) dy` of a few elements on this thread, which share most of their work.
    pub(crate) fn value_and_gradient<R: FastMath>(self, y: &mut [R], dy: &mut [R], x: &[R]) {
        match self {
            Self::Gelu => R::gelu_and_gradient(y, dy, x),
            Self::GeluTanh => value_and_gradient(
                y,
                dy,
                x,
                #[inline(always)]
                |x| {
                    let (argument, inner) = gelu_tanh_argument(x);
                    let (gate, slope) = argument.sigmoid_and_slope();
                    (x * gate, gate + x * (slope * inner))
                },
            ),
            Self::Silu => value_and_gradient(
                y,
                dy,
                x,
                #[inline(always)]
                |x| {
                    let (gate, slope) = x.sigmoid_and_slope();
                    (x * gate, gate + x * slope)
                },
            ),
            Self::Relu => value_and_gradient(
                y,
                dy,
                x,
                #[inline(always)]
                |x| if x > R::ZERO { (x, R::ONE) } else { (relu(x), R::ZERO) },
            ),
        }
    }
}

/// Keeps NaN, which a maximum would swallow.
#[inline(always)]
fn relu<R: Real>(x: R) -> R {
    if x < R::ZERO { R::ZERO } else { x }
}

/// `Φ + x φ`.
#[inline(always)]
fn gelu_slope<R: FastMath>(x: R) -> R {
    let (cdf, pdf) = x.normal();
    cdf + x * pdf
}

/// `2u` and `2 du/dx` for `u = √(2/π) (x + 0.044715 x³)`; the gate is `(1 + tanh u)/2 = σ(2u)`, which does not
/// cancel for negative `u`.
#[inline(always)]
fn gelu_tanh_argument<R: FastMath>(x: R) -> (R, R) {
    let (slope, cubic) = (R::from_f64(2.0 * 0.797_884_560_802_865_4), R::from_f64(0.044_715));
    // The gate is 0 or 1 long before; the cube must not overflow.
    let limit = R::from_f64(1e3);
    let x = if x > limit { limit } else { x };
    let x = if x < -limit { -limit } else { x };
    let square = cubic * x * x;
    (slope * (x + x * square), slope * (R::ONE + R::from_f64(3.0) * square))
}

/// `σ(2u) + x σ′(2u) 2 du/dx`.
#[inline(always)]
fn gelu_tanh_slope<R: FastMath>(x: R) -> R {
    let (argument, inner) = gelu_tanh_argument(x);
    let (gate, slope) = argument.sigmoid_and_slope();
    gate + x * (slope * inner)
}

/// `σ + x σ′`.
#[inline(always)]
fn silu_slope<R: FastMath>(x: R) -> R {
    let (gate, slope) = x.sigmoid_and_slope();
    gate + x * slope
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, convert, normals, numeric_gradient};

    const ALL: [Activation; 4] = [Activation::Gelu, Activation::GeluTanh, Activation::Silu, Activation::Relu];

    fn printed(kind: Activation, x: f64) -> f64 {
        match kind {
            Activation::Gelu => 0.5 * x * (1.0 + (x / 2f64.sqrt()).fast_erf()),
            Activation::GeluTanh => {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
            }
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Relu => x.max(0.0),
        }
    }

    /// The printed forms cancel for negative arguments, hence an absolute bound.
    fn assert_within<R: Real>(found: &[R], x: &[f64], expected: &[f64], tolerance: f64) {
        for ((found, x), expected) in found.iter().zip(x).zip(expected) {
            let error = (found.to_f64() - expected).abs();
            assert!(error <= tolerance * (1.0 + x.abs()), "f({x}) is off by {error:e}");
        }
    }

    #[test]
    fn forward_is_the_equation_as_printed() {
        for kind in ALL {
            for n in [0, 1, 17, 20_000] {
                let x: Vec<f64> = normals::<f64>(1, n).iter().map(|v| 3.0 * v).collect();
                let expected: Vec<f64> = x.iter().map(|&v| printed(kind, v)).collect();
                let mut out = vec![f64::NAN; n];
                kind.forward(&mut out, &x);
                assert_within(&out, &x, &expected, 1e-15);
                let mut out = vec![f32::NAN; n];
                kind.forward(&mut out, &convert::<f64, f32>(&x));
                assert_within(&out, &x, &expected, 3e-7);
            }
        }
    }

    #[test]
    fn backward_is_the_derivative() {
        let x: Vec<f64> = normals::<f64>(2, 300).iter().map(|v| 2.0 * v).collect();
        let dy: Vec<f64> = normals(3, x.len());
        for kind in ALL {
            let loss = |x: &[f64]| x.iter().zip(&dy).map(|(&x, dy)| printed(kind, x) * dy).sum();
            let expected = numeric_gradient(&x, loss);
            let mut dx = vec![f64::NAN; x.len()];
            kind.backward(&mut dx, &dy, &x);
            assert_close("f64", &dx, &expected, 1e-8);
            let mut narrow = vec![f32::NAN; x.len()];
            kind.backward(&mut narrow, &convert::<f64, f32>(&dy), &convert::<f64, f32>(&x));
            assert_close(&format!("f32 {kind:?}"), &narrow, &dx, 3e-7);
        }
    }

    #[test]
    fn huge_arguments_saturate_and_nan_stays() {
        let x = [1e30f32, -1e30, 150.0, -150.0, 0.0, f32::NAN];
        for kind in ALL {
            let (mut out, mut dx) = ([f32::NAN; 6], [f32::NAN; 6]);
            kind.forward(&mut out, &x);
            kind.backward(&mut dx, &[1.0; 6], &x);
            assert_eq!(out[..5], [1e30, 0.0, 150.0, 0.0, 0.0], "{kind:?}");
            assert_eq!(dx[..4], [1.0, 0.0, 1.0, 0.0], "{kind:?}");
            assert!(out[5].is_nan());
        }
    }
}
