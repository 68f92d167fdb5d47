//! One function applied to every element, in parallel blocks.

use rayon::prelude::*;

use crate::real::Real;
use crate::simd::dispatch;

/// Small enough for the first cache levels, large enough to hide the cost of a task.
const BLOCK: usize = 8192;

/// `out = f(x)`.
pub(crate) fn map<R: Real>(out: &mut [R], x: &[R], f: impl Fn(R) -> R + Sync) {
    assert_eq!(out.len(), x.len(), "output has {} elements, input {}", out.len(), x.len());
    out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(out, x)| {
        dispatch(
            #[inline(always)]
            || {
                for (o, &x) in out.iter_mut().zip(x) {
                    *o = f(x);
                }
            },
        );
    });
}

/// `f` on blocks of `out` and `x`.
pub(crate) fn map_blocks<R: Real>(out: &mut [R], x: &[R], f: impl Fn(&mut [R], &[R]) + Sync) {
    assert_eq!(out.len(), x.len(), "output has {} elements, input {}", out.len(), x.len());
    out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(out, x)| f(out, x));
}

/// `out = f(x, y)`.
pub(crate) fn map2<R: Real>(out: &mut [R], x: &[R], y: &[R], f: impl Fn(R, R) -> R + Sync) {
    assert_eq!(out.len(), x.len(), "output has {} elements, first input {}", out.len(), x.len());
    assert_eq!(out.len(), y.len(), "output has {} elements, second input {}", out.len(), y.len());
    let inputs = x.par_chunks(BLOCK).zip(y.par_chunks(BLOCK));
    out.par_chunks_mut(BLOCK).zip(inputs).for_each(|(out, (x, y))| {
        dispatch(
            #[inline(always)]
            || {
                for (o, (&x, &y)) in out.iter_mut().zip(x.iter().zip(y)) {
                    *o = f(x, y);
                }
            },
        );
    });
}

/// `(y, dy) = (f(x), f′(x) dy)` on this thread, with `f` giving value and slope.
pub(crate) fn value_and_gradient<R: Real>(y: &mut [R], dy: &mut [R], x: &[R], f: impl Fn(R) -> (R, R)) {
    dispatch(
        #[inline(always)]
        || {
            for ((y, dy), &x) in y.iter_mut().zip(dy).zip(x) {
                let (value, slope) = f(x);
                *y = value;
                *dy *= slope;
            }
        },
    );
}
