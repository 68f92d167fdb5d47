//! Sums and maxima over a slice in a fixed order: sixteen running values side by side, which is what the vector
//! units want and also keeps rounding errors small.

use crate::real::Real;

const LANES: usize = 16;

/// `Σ f(x)`.
#[inline(always)]
pub(crate) fn sum<R: Real>(x: &[R], f: impl Fn(R) -> R) -> R {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [R::ZERO; LANES];
    for chunk in chunks {
        for l in 0..LANES {
            lanes[l] += f(chunk[l]);
        }
    }
    rest.iter().fold(fold_lanes(lanes), |total, &v| total + f(v))
}

/// `Σ f(x, y)` over the common length.
#[inline(always)]
pub(crate) fn sum2<R: Real>(x: &[R], y: &[R], f: impl Fn(R, R) -> R) -> R {
    let n = x.len().min(y.len());
    let ((xs, x_rest), (ys, y_rest)) = (x[..n].as_chunks::<LANES>(), y[..n].as_chunks::<LANES>());
    let mut lanes = [R::ZERO; LANES];
    for (a, b) in xs.iter().zip(ys) {
        for l in 0..LANES {
            lanes[l] += f(a[l], b[l]);
        }
    }
    x_rest.iter().zip(y_rest).fold(fold_lanes(lanes), |total, (&a, &b)| total + f(a, b))
}

/// Replaces `x` by `f(x)` and returns the sum of the new values.
#[inline(always)]
pub(crate) fn map_sum<R: Real>(x: &mut [R], f: impl Fn(R) -> R) -> R {
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    let mut lanes = [R::ZERO; LANES];
    for chunk in chunks {
        for l in 0..LANES {
            chunk[l] = f(chunk[l]);
            lanes[l] += chunk[l];
        }
    }
    let mut total = fold_lanes(lanes);
    for v in rest {
        *v = f(*v);
        total += *v;
    }
    total
}

/// The largest element, −∞ of nothing; a NaN loses.
#[inline(always)]
pub(crate) fn max<R: Real>(x: &[R]) -> R {
    let larger = |a: R, b: R| if b > a { b } else { a };
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [R::NEG_INFINITY; LANES];
    for chunk in chunks {
        for l in 0..LANES {
            lanes[l] = larger(lanes[l], chunk[l]);
        }
    }
    lanes.iter().chain(rest).fold(R::NEG_INFINITY, |best, &v| larger(best, v))
}

#[inline(always)]
fn fold_lanes<R: Real>(mut lanes: [R; LANES]) -> R {
    let mut half = LANES / 2;
    while half > 0 {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_match_plain_loops_at_every_length() {
        for n in 0..70 {
            let x: Vec<f64> = (0..n).map(|i| ((i * 37) % 23) as f64 - 11.0).collect();
            let y: Vec<f64> = (0..n).map(|i| ((i * 5) % 7) as f64).collect();
            assert_eq!(sum(&x, |v| v * v), x.iter().map(|v| v * v).sum::<f64>());
            assert_eq!(sum2(&x, &y, |a, b| a * b), x.iter().zip(&y).map(|(a, b)| a * b).sum::<f64>());
            assert_eq!(max(&x), x.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            let mut z = x.clone();
            assert_eq!(map_sum(&mut z, |v| 2.0 * v), 2.0 * x.iter().sum::<f64>());
            assert!(z.iter().zip(&x).all(|(a, b)| *a == 2.0 * b));
        }
    }

    #[test]
    fn a_nan_loses_the_maximum() {
        assert_eq!(max(&[f32::NAN, 1.0, f32::NAN]), 1.0);
        assert_eq!(max(&[f32::NAN]), f32::NEG_INFINITY);
    }
}
