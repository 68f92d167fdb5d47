//! Plain loops compiled for the best instruction set of the machine they run on.

/// Runs `f` with AVX-512 or AVX2 enabled where the processor has them; everything that inlines into `f` is then
/// vectorised for it. The same IEEE operations run in the same order, so the bits do not depend on the choice.
#[inline]
pub fn dispatch<T>(f: impl FnOnce() -> T) -> T {
    pulp::Arch::new().dispatch(f)
}

/// The instruction set that [`dispatch`] chooses here.
pub fn instruction_set() -> String {
    format!("{:?}", pulp::Arch::new()).split('(').next().unwrap_or_default().to_owned()
}
