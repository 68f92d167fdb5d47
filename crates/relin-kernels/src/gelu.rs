//! The exact GELU in registers, `x Φ(x)` and its slope, with fused products where the processor has them.

use pulp::{Simd, WithSimd};

use crate::fast_math::{ERFCX, INV_SQRT_TAU, exp_of_negative};

/// `out = x Φ(x)`.
pub(crate) struct Gelu<'a> {
    pub out: &'a mut [f32],
    pub x: &'a [f32],
}

/// `y = x Φ(x)` and `dy = (Φ(x) + x φ(x)) dy`.
pub(crate) struct GeluAndGradient<'a> {
    pub y: &'a mut [f32],
    pub dy: &'a mut [f32],
    pub x: &'a [f32],
}

impl WithSimd for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (out, out_rest) = S::as_mut_simd_f32s(self.out);
        let (x, x_rest) = S::as_simd_f32s(self.x);
        for (out, &x) in out.iter_mut().zip(x) {
            *out = simd.mul_f32s(x, normal(simd, x).0);
        }
        if !out_rest.is_empty() {
            let x = simd.partial_load_f32s(x_rest);
            simd.partial_store_f32s(out_rest, simd.mul_f32s(x, normal(simd, x).0));
        }
    }
}

impl WithSimd for GeluAndGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (y, y_rest) = S::as_mut_simd_f32s(self.y);
        let (dy, dy_rest) = S::as_mut_simd_f32s(self.dy);
        let (x, x_rest) = S::as_simd_f32s(self.x);
        for ((y, dy), &x) in y.iter_mut().zip(dy).zip(x) {
            (*y, *dy) = value_and_gradient(simd, x, *dy);
        }
        if !x_rest.is_empty() {
            let (x, dy) = (simd.partial_load_f32s(x_rest), simd.partial_load_f32s(dy_rest));
            let (value, gradient) = value_and_gradient(simd, x, dy);
            simd.partial_store_f32s(y_rest, value);
            simd.partial_store_f32s(dy_rest, gradient);
        }
    }
}

#[inline(always)]
fn value_and_gradient<S: Simd>(simd: S, x: S::f32s, dy: S::f32s) -> (S::f32s, S::f32s) {
    let (cdf, pdf) = normal(simd, x);
    (simd.mul_f32s(x, cdf), simd.mul_f32s(dy, simd.mul_add_e_f32s(x, pdf, cdf)))
}

/// Φ(x) and φ(x) as in [`FastMath::normal`](crate::fast_math::FastMath::normal), except that both are 0 where φ
/// would be denormal. What it gives for NaN is of no use, but a product with x is NaN.
#[inline(always)]
fn normal<S: Simd>(simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
    let splat = |value: f32| simd.splat_f32s(value);
    let power = simd.mul_f32s(simd.mul_f32s(x, splat(-0.5)), x);
    let vanishes = simd.less_than_f32s(power, splat(-87.33));
    let exp = simd.select_f32s(vanishes, splat(0.0), exp_of_negative(simd, power));
    // Past 20 the exponential is 0, and ∞ would give NaN below.
    let z =
        simd.min_f32s(simd.mul_f32s(simd.abs_f32s(x), splat(std::f32::consts::FRAC_1_SQRT_2)), splat(20.0));
    // One division serves t = (z − 3.75)/(z + 3.75) and the factor 1/(1 + 2z).
    let (shifted, twice) = (simd.add_f32s(z, splat(3.75)), simd.mul_add_e_f32s(z, splat(2.0), splat(1.0)));
    let inverse = simd.div_f32s(splat(1.0), simd.mul_f32s(shifted, twice));
    let t = simd.mul_f32s(simd.sub_f32s(z, splat(3.75)), simd.mul_f32s(twice, inverse));
    let mut scaled = splat(ERFCX[0]);
    for coefficient in &ERFCX[1..] {
        scaled = simd.mul_add_e_f32s(scaled, t, splat(*coefficient));
    }
    let half = simd.mul_f32s(simd.mul_f32s(exp, splat(0.5)), simd.mul_f32s(shifted, inverse));
    let tail = simd.mul_f32s(half, scaled);
    let negative = simd.less_than_f32s(x, splat(0.0));
    let cdf = simd.select_f32s(negative, tail, simd.sub_f32s(splat(1.0), tail));
    (cdf, simd.mul_f32s(exp, splat(INV_SQRT_TAU as f32)))
}

#[cfg(test)]
mod tests {
    use crate::fast_math::FastMath;

    /// Value and slope in double precision.
    fn expected(x: f64) -> [f64; 2] {
        let (cdf, pdf) = x.normal();
        [x * cdf, cdf + x * pdf]
    }

    #[test]
    fn value_and_slope_match_double_precision_over_ragged_lengths() {
        for len in [0, 1, 15, 16, 17, 40_003] {
            let x: Vec<f32> = (0..len).map(|i| (i as f32 - 0.5 * len as f32) * 4e-4).collect();
            let (mut out, mut y, mut slope) = (vec![f32::NAN; len], vec![f32::NAN; len], vec![1.0f32; len]);
            f32::gelu(&mut out, &x);
            f32::gelu_and_gradient(&mut y, &mut slope, &x);
            assert_eq!(out, y);
            for ((&x, &y), &slope) in x.iter().zip(&y).zip(&slope) {
                let [value, gradient] = expected(f64::from(x));
                // As for Φ, whose x²/2 is rounded, and one product more.
                let bound = 4.6e-7 + 0.7e-7 * f64::from(x * x);
                assert!((f64::from(y) - value).abs() <= bound * value.abs() + 1e-37, "gelu({x}) = {y}");
                assert!((f64::from(slope) - gradient).abs() <= 4e-7, "slope at {x}: {slope}, not {gradient}");
            }
        }
    }

    #[test]
    fn far_values_are_linear_or_vanish_and_nan_stays() {
        let x = [40.0, -40.0, f32::INFINITY, f32::NAN, 1e-30, 0.0];
        let (mut y, mut slope) = ([0.0; 6], [1.0; 6]);
        f32::gelu_and_gradient(&mut y, &mut slope, &x);
        assert_eq!((y[0], slope[0]), (40.0, 1.0));
        assert_eq!((y[1], slope[1]), (0.0, 0.0));
        assert_eq!(y[2], f32::INFINITY);
        assert!(y[3].is_nan() && slope[3].is_nan());
        assert!((y[4] / 0.5e-30 - 1.0).abs() < 4.6e-7 && (slope[5] - 0.5).abs() < 2.3e-7);
        assert_eq!(y[5], 0.0);
    }
}
