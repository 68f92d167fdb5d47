//! The machine's vector instructions: run-time choice, and the few vector operations that tiled products need.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

use crate::real::Real;

/// Name of the environment variable that forces a set of instructions: `avx512`, `avx2`, `neon` or `baseline`.
pub const OVERRIDE: &str = "RELIN_SIMD";

static ARCH: LazyLock<Arch> = LazyLock::new(|| chosen().unwrap_or_else(|error| panic!("{error}")));

/// Runs `f` with AVX-512 or AVX2 enabled where the processor has them; everything that inlines into `f` is then
/// vectorised for it (hence `for` loops inside `f`: the closure of a `for_each` may stay a call). The same IEEE
/// operations run in the same order, so the bits do not depend on the choice.
#[inline]
pub fn dispatch<T>(f: impl FnOnce() -> T) -> T {
    ARCH.dispatch(f)
}

/// Runs `op` with the chosen instructions as a type.
#[inline]
pub(crate) fn with_simd<Op: WithSimd>(op: Op) -> Op::Output {
    ARCH.dispatch(op)
}

/// The chosen instructions as a value.
#[inline]
pub(crate) fn arch() -> Arch {
    *ARCH
}

/// The instruction set that [`dispatch`] chooses here, for people.
pub fn instruction_set() -> &'static str {
    let arch = format!("{:?}", *ARCH);
    match arch.split('(').next().unwrap_or_default() {
        "V4" => "AVX-512 (x86-64-v4)",
        "V3" => "AVX2 and FMA (x86-64-v3)",
        "Neon" | "NeonFcma" => "NEON",
        _ => "the compiler's baseline",
    }
}

/// Why a forced instruction set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{OVERRIDE}={value} cannot be used: {reason}")]
pub struct OverrideError {
    value: String,
    reason: &'static str,
}

/// Checks the environment's override; call it before any kernel, which would panic.
///
/// # Errors
/// If the variable names no instruction set, or one that this processor has not.
pub fn check_override() -> Result<(), OverrideError> {
    chosen().map(|_| ())
}

fn chosen() -> Result<Arch, OverrideError> {
    let Some(value) = std::env::var_os(OVERRIDE) else { return Ok(Arch::new()) };
    let value = value.to_string_lossy().into_owned();
    let found = match value.as_str() {
        "" => Some(Arch::new()),
        #[cfg(target_arch = "x86_64")]
        "avx512" => pulp::x86::V4::try_new().map(Arch::V4),
        #[cfg(target_arch = "x86_64")]
        "avx2" => pulp::x86::V3::try_new().map(Arch::V3),
        #[cfg(target_arch = "aarch64")]
        "neon" => pulp::aarch64::Neon::try_new().map(Arch::Neon),
        "baseline" => Some(Arch::Scalar),
        #[cfg(not(target_arch = "x86_64"))]
        "avx512" | "avx2" => None,
        #[cfg(not(target_arch = "aarch64"))]
        "neon" => None,
        _ => {
            let reason = "expected avx512, avx2, neon or baseline";
            return Err(OverrideError { value, reason });
        }
    };
    found.ok_or(OverrideError { value, reason: "this processor has not those instructions" })
}

/// Asks the memory for `len` elements from `first` on. A hint: nothing is read, and nothing happens where the processor
/// takes none.
#[inline(always)]
pub(crate) fn prefetch<R>(first: *const R, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..len).step_by(64 / size_of::<R>()) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(first.wrapping_add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (first, len);
}

/// A real number of which vector registers hold several.
pub trait Lanes: Real + crate::tiles::TransposeBlocks {
    /// A register full of them.
    type Vector<S: Simd>: Copy;

    /// How many a register holds.
    fn lanes<S: Simd>() -> usize {
        size_of::<Self::Vector<S>>() / size_of::<Self>()
    }

    /// The same number in every lane.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;

    /// `a + b` in every lane.
    fn add_lanes<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// `a·b + c` in every lane, rounded once where the processor can.
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
}

impl Lanes for f32 {
    type Vector<S: Simd> = S::f32s;

    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> S::f32s {
        simd.splat_f32s(x)
    }

    #[inline(always)]
    fn add_lanes<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
        simd.add_f32s(a, b)
    }

    #[inline(always)]
    fn mul_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(a, b, c)
    }
}

impl Lanes for f64 {
    type Vector<S: Simd> = S::f64s;

    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> S::f64s {
        simd.splat_f64s(x)
    }

    #[inline(always)]
    fn add_lanes<S: Simd>(simd: S, a: S::f64s, b: S::f64s) -> S::f64s {
        simd.add_f64s(a, b)
    }

    #[inline(always)]
    fn mul_add<S: Simd>(simd: S, a: S::f64s, b: S::f64s, c: S::f64s) -> S::f64s {
        simd.mul_add_e_f64s(a, b, c)
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::fast_math::FastMath;
    use crate::reduce::sum;

    /// Compiled for the baseline and for the machine's best instruction set, the same loop must give the same bits.
    #[test]
    fn the_bits_do_not_depend_on_the_instruction_set() {
        let x: Vec<f32> = (-20_000..20_000).map(|i| i as f32 * 6e-3).collect();
        #[inline(always)]
        fn body(x: &[f32]) -> (Vec<[u32; 5]>, u32) {
            let mut out = vec![[0; 5]; x.len()];
            for (o, &x) in out.iter_mut().zip(x) {
                let (cdf, pdf) = x.normal();
                *o = [x.fast_exp(), x.fast_erf(), cdf, pdf, x.sigmoid_and_slope().1].map(f32::to_bits);
            }
            (
                out,
                sum(
                    x,
                    #[inline(always)]
                    |v| v.sigmoid(),
                )
                .to_bits(),
            )
        }
        assert!(
            dispatch(
                #[inline(always)]
                || body(&x)
            ) == body(&x)
        );
    }
}
