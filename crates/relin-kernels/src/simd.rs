//! Plain loops compiled for the best instruction set of the machine they run on.

/// Runs `f` with AVX-512 or AVX2 enabled where the processor has them; everything that inlines into `f` is then
/// vectorised for it (hence `for` loops inside `f`: the closure of a `for_each` may stay a call). The same IEEE operations run in the same order, so the bits do not depend on the choice.
#[inline]
pub fn dispatch<T>(f: impl FnOnce() -> T) -> T {
    pulp::Arch::new().dispatch(f)
}

/// The instruction set that [`dispatch`] chooses here, for people.
pub fn instruction_set() -> &'static str {
    let arch = format!("{:?}", pulp::Arch::new());
    match arch.split('(').next().unwrap_or_default() {
        "V4" => "AVX-512 (x86-64-v4)",
        "V3" => "AVX2 and FMA (x86-64-v3)",
        "Neon" | "NeonFcma" => "NEON",
        _ => "the compiler's baseline",
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
