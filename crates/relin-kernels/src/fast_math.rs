//! Transcendental functions without branches or calls, so that loops over them vectorise in `f32`; `f64` is for
//! oracles and calls the standard library, or series, instead.
//!
//! # Reference
//! M. M. Shepherd, J. G. Laframboise, "Chebyshev approximation of (1 + 2x) exp(x²) erfc x in 0 ≤ x < ∞",
//! Mathematics of Computation 36 (1981) 249–253: the function named in the title is smooth in
//! `t = (x − 3.75)/(x + 3.75)`. The coefficients here were computed anew, to 60 digits, by Chebyshev interpolation.

use pulp::{Simd, WithSimd};

use crate::gelu::{Gelu, GeluAndGradient};
use crate::simd::{Lanes, with_simd};

/// Functions that cost a few vector instructions an element.
pub trait FastMath: Lanes {
    /// e^x, relative error below 1.5e-7 in `f32`; overflows to ∞, passes through the denormals to 0, keeps NaN.
    fn fast_exp(self) -> Self;

    /// The error function `2/√π ∫₀ˣ e^(−t²) dt`.
    fn fast_erf(self) -> Self;

    /// Distribution Φ(x) and density φ(x) of the standard normal, both with a small *relative* error in the tails.
    fn normal(self) -> (Self, Self);

    /// `x ≥ 0 ? x + 1 : e^x` for rows of `width` that begin `stride` apart in `x` and end to end in `out`.
    fn elu1_rows(width: usize, x: &[Self], stride: usize, out: &mut [Self]);

    /// `out = x Φ(x)`, on this thread; lengths agree.
    fn gelu(out: &mut [Self], x: &[Self]);

    /// `y = x Φ(x)` and `dy = (Φ(x) + x φ(x)) dy`, on this thread; lengths agree.
    fn gelu_and_gradient(y: &mut [Self], dy: &mut [Self], x: &[Self]);

    /// `σ(x) = 1/(1 + e^−x)`.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).fast_exp())
    }

    /// `σ(x)` and `σ′(x) = σ(x) σ(−x)`, the latter without the cancellation of `1 − σ(x)`.
    #[inline(always)]
    fn sigmoid_and_slope(self) -> (Self, Self) {
        let exp = (-self.abs()).fast_exp();
        let inverse = Self::ONE / (Self::ONE + exp);
        let small = exp * inverse;
        (if self < Self::ZERO { small } else { inverse }, small * inverse)
    }
}

const TWO_OVER_SQRT_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI;
pub(crate) const INV_SQRT_TAU: f64 = 0.398_942_280_401_432_7;

impl FastMath for f32 {
    #[inline(always)]
    fn fast_exp(self) -> Self {
        exp_f32(self)
    }

    #[inline(always)]
    fn fast_erf(self) -> Self {
        erf_f32(self)
    }

    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        normal_f32(self)
    }

    fn elu1_rows(width: usize, x: &[Self], stride: usize, out: &mut [Self]) {
        with_simd(Elu1Rows { width, x, stride, out });
    }

    fn gelu(out: &mut [Self], x: &[Self]) {
        with_simd(Gelu { out, x });
    }

    fn gelu_and_gradient(y: &mut [Self], dy: &mut [Self], x: &[Self]) {
        with_simd(GeluAndGradient { y, dy, x });
    }
}

impl FastMath for f64 {
    #[inline(always)]
    fn fast_exp(self) -> Self {
        self.exp()
    }

    #[inline]
    fn fast_erf(self) -> Self {
        erf_f64(self)
    }

    #[inline]
    fn normal(self) -> (Self, Self) {
        let cdf = 0.5 * erfc_f64(-self * std::f64::consts::FRAC_1_SQRT_2);
        (cdf, INV_SQRT_TAU * (-0.5 * self * self).exp())
    }

    fn elu1_rows(width: usize, x: &[Self], stride: usize, out: &mut [Self]) {
        for (out, x) in out.chunks_mut(width).zip(x.chunks(stride)) {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = if x >= 0.0 { x + 1.0 } else { x.exp() };
            }
        }
    }

    fn gelu(out: &mut [Self], x: &[Self]) {
        out.iter_mut().zip(x).for_each(|(out, &x)| *out = x * x.normal().0);
    }

    fn gelu_and_gradient(y: &mut [Self], dy: &mut [Self], x: &[Self]) {
        for ((y, dy), &x) in y.iter_mut().zip(dy).zip(x) {
            let (cdf, pdf) = x.normal();
            *y = x * cdf;
            *dy *= cdf + x * pdf;
        }
    }
}

/// Added to a small number, leaves its nearest integer in the low bits of the mantissa: 1.5·2²³.
const ROUNDER: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has so few bits that its product with an exponent is exact.
const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// Polynomial with coefficients from the highest power down. A loop over an array would have to be unrolled
/// before the caller's loop could be vectorised, which the compiler does not do beyond a few coefficients.
macro_rules! polynomial {
    ($x:expr, [$first:expr $(, $next:expr)* $(,)?]) => {{
        let sum = $first;
        $(let sum = sum * $x + $next;)*
        sum
    }};
}

/// `e^x = 2^n e^r`, `|r| ≤ ln 2 / 2`, by the Taylor polynomial of degree 7 (its remainder is below 6e-9).
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    // Past this point the result is 0; computing it anyway would pay for denormal products.
    let vanishes = x < -104.0;
    let x = if vanishes { 0.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = rounded - ROUNDER;
    let r = (x - n * LN2[0]) - n * LN2[1];
    let q = polynomial!(r, [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5]);
    let mantissa = 1.0 + (r + r * r * q);
    // Two factors, because 2^n alone may be beyond the largest or below the smallest normal number.
    let exponent = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()) as i32;
    let half = exponent >> 1;
    let y = mantissa * power_of_two(half) * power_of_two(exponent.wrapping_sub(half));
    if vanishes { 0.0 } else { y }
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// Sine and cosine of `t` turns (`2πt` radians), `|t|` at most a little above ½, to within 2e-16: the Taylor polynomials
/// of degree 17 and 18 within an eighth of a turn, where their remainders are below 1e-19.
#[inline(always)]
pub(crate) fn sin_cos_of_turns(t: f64) -> (f64, f64) {
    let quarter = (4.0 * t).round_ties_even();
    let x = (t - 0.25 * quarter) * std::f64::consts::TAU;
    let square = x * x;
    let sin = x * polynomial!(
        square,
        [
            1.0 / 355_687_428_096_000.0,
            -1.0 / 1_307_674_368_000.0,
            1.0 / 6_227_020_800.0,
            -1.0 / 39_916_800.0,
            1.0 / 362_880.0,
            -1.0 / 5_040.0,
            1.0 / 120.0,
            -1.0 / 6.0,
            1.0,
        ]
    );
    let cos = polynomial!(
        square,
        [
            -1.0 / 6_402_373_705_728_000.0,
            1.0 / 20_922_789_888_000.0,
            -1.0 / 87_178_291_200.0,
            1.0 / 479_001_600.0,
            -1.0 / 3_628_800.0,
            1.0 / 40_320.0,
            -1.0 / 720.0,
            1.0 / 24.0,
            -0.5,
            1.0,
        ]
    );
    let (odd, half) = (quarter.abs() == 1.0, quarter.abs() == 2.0);
    let (sin, cos) = if odd { (cos, sin) } else { (sin, cos) };
    (if half || quarter == -1.0 { -sin } else { sin }, if half || quarter == 1.0 { -cos } else { cos })
}

/// [`FastMath::elu1_rows`] in registers, with fused products where the processor has them.
struct Elu1Rows<'a> {
    width: usize,
    x: &'a [f32],
    stride: usize,
    out: &'a mut [f32],
}

impl WithSimd for Elu1Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (out, x) in self.out.chunks_mut(self.width).zip(self.x.chunks(self.stride)) {
            let (out, out_rest) = S::as_mut_simd_f32s(out);
            let (x, x_rest) = S::as_simd_f32s(&x[..out.len() * S::F32_LANES + out_rest.len()]);
            for (out, &x) in out.iter_mut().zip(x) {
                *out = elu1_lanes(simd, x);
            }
            if !out_rest.is_empty() {
                let rest = elu1_lanes(simd, simd.partial_load_f32s(x_rest));
                simd.partial_store_f32s(out_rest, rest);
            }
        }
    }
}

/// A NaN compares as not negative and so goes through `x + 1`.
#[inline(always)]
fn elu1_lanes<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let negative = simd.less_than_f32s(x, simd.splat_f32s(0.0));
    let above = simd.add_f32s(x, simd.splat_f32s(1.0));
    simd.select_f32s(negative, exp_of_negative(simd, x), above)
}

/// `e^x` as in [`exp_f32`] for `x < 0`; below −87.33, where the result would be denormal, the smallest normal number.
/// What it gives for other x is of no use.
#[inline(always)]
pub(crate) fn exp_of_negative<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |value: f32| simd.splat_f32s(value);
    let x = simd.max_f32s(x, splat(-87.336_54));
    let rounded = simd.mul_add_e_f32s(x, splat(std::f32::consts::LOG2_E), splat(ROUNDER));
    let n = simd.sub_f32s(rounded, splat(ROUNDER));
    let r = simd.mul_add_e_f32s(n, splat(-LN2[0]), x);
    let r = simd.mul_add_e_f32s(n, splat(-LN2[1]), r);
    let mut y = splat(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        y = simd.mul_add_e_f32s(y, r, splat(coefficient));
    }
    // The integer n stands in the low bits of `rounded`; moved up, it adds to the exponent.
    let exponent = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(23));
    simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(y), exponent))
}

/// Coefficients in `t`, from the highest power down, of `(1 + 2z) e^(z²) erfc z`: off by 1.3e-8.
pub(crate) const ERFCX: [f32; 12] = [
    -0.000_224_116_75,
    0.000_396_307_61,
    0.001_675_912_2,
    -0.009_844_495,
    0.028_409_252,
    -0.058_646_859,
    0.092_290_77,
    -0.108_814_27,
    0.082_278_42,
    0.003_586_270_4,
    -0.140_240_66,
    1.237_512_6,
];

/// `erfc z` given `z ≥ 0` and `e^(−z²)`; the polynomial in `t` for `(1 + 2z) e^(z²) erfc z` is off by 1.3e-8.
#[inline(always)]
fn erfc_with_exp(z: f32, exp: f32) -> f32 {
    // (z − 3.75)/(z + 3.75), written so that ∞ gives 1 without a comparison, which would not vectorise here.
    let t = 1.0 - 7.5 / (z + 3.75);
    let scaled = polynomial!(
        t,
        [
            ERFCX[0], ERFCX[1], ERFCX[2], ERFCX[3], ERFCX[4], ERFCX[5], ERFCX[6], ERFCX[7], ERFCX[8],
            ERFCX[9], ERFCX[10], ERFCX[11],
        ]
    );
    exp * scaled / (1.0 + 2.0 * z)
}

#[inline(always)]
fn normal_f32(x: f32) -> (f32, f32) {
    let exp = exp_f32(-0.5 * x * x);
    let tail = 0.5 * erfc_with_exp(x.abs() * std::f32::consts::FRAC_1_SQRT_2, exp);
    (if x < 0.0 { tail } else { 1.0 - tail }, exp * INV_SQRT_TAU as f32)
}

/// The Maclaurin polynomial, coefficients `(−1)ⁿ / (n! (2n + 1))` from n = 9 down, up to 1, where the next term is
/// 1.3e-8; there `1 − erfc` would cancel.
#[inline(always)]
fn erf_f32(x: f32) -> f32 {
    let z = x.abs();
    let square = z * z;
    let series = polynomial!(
        square,
        [
            -1.0 / 6_894_720.0,
            1.0 / 685_440.0,
            -1.0 / 75_600.0,
            1.0 / 9_360.0,
            -1.0 / 1_320.0,
            1.0 / 216.0,
            -1.0 / 42.0,
            0.1,
            -1.0 / 3.0,
            1.0,
        ]
    );
    let near = TWO_OVER_SQRT_PI as f32 * z * series;
    let far = 1.0 - erfc_with_exp(z, exp_f32(-square));
    let magnitude = if z < 1.0 { near } else { far };
    magnitude.copysign(x)
}

/// Chebyshev coefficients of `(1 + 2z) e^(z²) erfc z` in `t`; the first one counts half.
const ERFCX_F64: [f64; 26] = [
    2.355_157_869_134_803_4,
    -0.004_590_054_580_646_478,
    -0.084_249_133_366_517_92,
    0.059_209_939_998_191_89,
    -0.026_658_668_435_305_753,
    0.009_074_997_670_705_265,
    -0.002_413_163_540_417_608,
    0.000_490_775_836_525_808_6,
    -6.916_973_302_501_207e-5,
    4.139_027_986_073_01e-6,
    7.740_383_066_198_49e-7,
    -2.188_640_104_923_439_7e-7,
    1.076_499_946_567_091e-8,
    4.521_959_811_218_287e-9,
    -7.754_400_208_831_351e-10,
    -6.318_088_340_886_684e-11,
    2.868_795_010_930_67e-11,
    1.945_586_854_577_713_5e-13,
    -9.654_696_748_433_443e-13,
    3.252_548_148_148_74e-14,
    3.347_811_948_286_805_6e-14,
    -1.864_562_880_419_313e-15,
    -1.250_795_053_064_871_4e-15,
    7.418_235_256_624_043e-17,
    5.068_148_904_796_110_4e-17,
    -2.237_056_659_436_007_6e-18,
];

/// `erfc z` for `z ≥ 0.5`.
fn erfc_f64_right(z: f64) -> f64 {
    // Above this erfc is 0 in f64, and ∞ would give NaN.
    let z = if z > 28.0 { 28.0 } else { z };
    let t = (z - 3.75) / (z + 3.75);
    let (mut b1, mut b2) = (0.0, 0.0);
    for &c in ERFCX_F64[1..].iter().rev() {
        (b1, b2) = (2.0 * t * b1 - b2 + c, b1);
    }
    let scaled = t * b1 - b2 + 0.5 * ERFCX_F64[0];
    // e^(−z²) from a head whose square is exact and the rest, lest rounding z² cost 2z² ulps.
    let head = f64::from_bits(z.to_bits() & !0xFFFF_FFFF);
    let exp = (-head * head).exp() * ((head - z) * (head + z)).exp();
    exp * scaled / (1.0 + 2.0 * z)
}

/// `1 − erf x` without cancellation.
fn erfc_f64(x: f64) -> f64 {
    if x < -1.0 {
        2.0 - erfc_f64_right(-x)
    } else if x < 0.5 {
        1.0 - erf_series(x)
    } else {
        erfc_f64_right(x)
    }
}

fn erf_f64(x: f64) -> f64 {
    let z = x.abs();
    if z < 1.0 { erf_series(x) } else { (1.0 - erfc_f64_right(z)).copysign(x) }
}

/// Maclaurin series `2/√π Σ (−1)ⁿ x^(2n+1) / (n! (2n+1))`, for `|x| ≤ 1`.
fn erf_series(x: f64) -> f64 {
    let square = x * x;
    let (mut term, mut sum) = (1.0, 0.0);
    for n in 1..=18 {
        term *= -square / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    TWO_OVER_SQRT_PI * (x + x * sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x, erf x, erfc x, from a 30-digit computation.
    const REFERENCE: [(f64, f64, f64); 16] = [
        (1e-300, 1.128_379_167_095_512_6e-300, 1.0),
        (1e-9, 1.128_379_167_095_512_6e-9, 0.999_999_998_871_620_8),
        (0.1, 0.112_462_916_018_284_9, 0.887_537_083_981_715),
        (0.3, 0.328_626_759_459_127_4, 0.671_373_240_540_872_6),
        (0.5, 0.520_499_877_813_046_5, 0.479_500_122_186_953_5),
        (0.84, 0.765_142_711_454_994_5, 0.234_857_288_545_005_5),
        (0.9, 0.796_908_212_422_832, 0.203_091_787_577_167_9),
        (1.0, 0.842_700_792_949_714_9, 0.157_299_207_050_285_13),
        (1.25, 0.922_900_128_256_458_2, 0.077_099_871_743_541_77),
        (1.9, 0.992_790_429_235_257_5, 0.007_209_570_764_742_533),
        (2.5, 0.999_593_047_982_555, 0.000_406_952_017_444_958_9),
        (4.0, 0.999_999_984_582_742_1, 1.541_725_790_028_002e-8),
        (5.5, 0.999_999_999_999_992_6, 7.357_847_917_974_398e-15),
        (8.0, 1.0, 1.122_429_717_298_292_7e-29),
        (15.0, 1.0, 7.212_994_172_451_207e-100),
        (26.5, 1.0, 2.210_907_664_263_734_3e-307),
    ];

    #[test]
    fn erf_and_erfc_in_f64_are_within_a_few_ulps() {
        for (x, erf, erfc) in REFERENCE {
            assert!(
                (x.fast_erf() / erf - 1.0).abs() <= 2.0 * f64::EPSILON,
                "erf {x}: {} vs {erf}",
                x.fast_erf()
            );
            assert_eq!((-x).fast_erf(), -x.fast_erf());
            let found = erfc_f64(x);
            assert!((found / erfc - 1.0).abs() <= 6.0 * f64::EPSILON, "erfc {x}: {found} vs {erfc}");
            assert!((erfc_f64(-x) - (1.0 + erf)).abs() <= 2.0 * f64::EPSILON);
        }
        assert_eq!((f64::INFINITY.fast_erf(), f64::NEG_INFINITY.fast_erf()), (1.0, -1.0));
        assert!(f64::NAN.fast_erf().is_nan());
    }

    #[test]
    fn exp_in_f32_is_accurate_over_the_whole_range() {
        let mut worst = 0.0f64;
        for i in -870_000..=887_000 {
            let x = i as f32 * 1e-4;
            let expected = f64::from(x).exp();
            worst = worst.max((f64::from(x.fast_exp()) / expected - 1.0).abs());
        }
        assert!(worst < 1.5e-7, "relative error {worst:e}");
    }

    #[test]
    fn exp_in_f32_handles_the_ends() {
        assert_eq!(f32::INFINITY.fast_exp(), f32::INFINITY);
        assert_eq!(f32::NEG_INFINITY.fast_exp(), 0.0);
        assert_eq!(f32::MAX.fast_exp(), f32::INFINITY);
        assert_eq!(f32::MIN.fast_exp(), 0.0);
        assert_eq!((88.8f32.fast_exp(), 0.0f32.fast_exp(), (-0.0f32).fast_exp()), (f32::INFINITY, 1.0, 1.0));
        assert!(f32::NAN.fast_exp().is_nan());
        for x in [-88.0f32, -90.0, -95.5, -100.0, -103.0, -103.9, -104.0, -105.0] {
            let (found, expected) = (f64::from(x.fast_exp()), f64::from(x).exp());
            assert!(
                (found - expected).abs() <= 1.5e-45 + 1.5e-7 * expected,
                "{x}: {found:e} vs {expected:e}"
            );
        }
    }

    #[test]
    fn erf_in_f32_follows_f64() {
        for i in -60_000..=60_000 {
            let x = i as f32 * 1e-4;
            let (found, expected) = (f64::from(x.fast_erf()), f64::from(x).fast_erf());
            assert!((found - expected).abs() <= 2.5e-7 * expected.abs(), "{x}: {found} vs {expected}");
        }
        assert_eq!(
            (f32::INFINITY.fast_erf(), f32::NEG_INFINITY.fast_erf(), f32::MAX.fast_erf()),
            (1.0, -1.0, 1.0)
        );
        assert!(f32::NAN.fast_erf().is_nan() && (-0.0f32).fast_erf().is_sign_negative());
    }

    /// Rounding x² costs x²/2 half-ulps in the exponential, hence the slope of the bound.
    #[test]
    fn the_normal_distribution_in_f32_keeps_its_tail() {
        for i in -1_200..=1_200 {
            let x = i as f32 * 0.01;
            let ((cdf, pdf), (cdf64, pdf64)) = (x.normal(), f64::from(x).normal());
            let bound = 4e-7 + 0.7e-7 * f64::from(x * x);
            assert!((f64::from(cdf) / cdf64 - 1.0).abs() < bound, "cdf {x}: {cdf} vs {cdf64}");
            assert!((f64::from(pdf) / pdf64 - 1.0).abs() < bound, "pdf {x}: {pdf} vs {pdf64}");
        }
        assert_eq!((f32::INFINITY.normal(), f32::MIN.normal()), ((1.0, 0.0), (0.0, 0.0)));
        assert!(f32::NAN.normal().0.is_nan());
    }

    #[test]
    fn the_sigmoid_saturates() {
        assert_eq!((200.0f32.sigmoid(), (-200.0f32).sigmoid(), 0.0f32.sigmoid()), (1.0, 0.0, 0.5));
        for x in [-80.0f32, -20.0, -1.0, 0.0, 0.5, 9.0, 80.0] {
            let (value, slope) = x.sigmoid_and_slope();
            let wide = f64::from(x);
            let (expected, expected_slope) =
                (1.0 / (1.0 + (-wide).exp()), 0.25 / (0.5 * wide).cosh().powi(2));
            assert!((f64::from(value) / expected - 1.0).abs() < 4e-7, "{x}: {value}");
            assert!((f64::from(slope) / expected_slope - 1.0).abs() < 4e-7, "{x}: {slope}");
        }
    }
}
