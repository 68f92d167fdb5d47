//! Heap memory: the allocator of the whole binary counts what is in use.

use std::alloc::System;

use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc, PeakMemAllocTrait};

#[global_allocator]
static ALLOCATOR: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The result of `work`, and the most bytes that it had in use beyond those in use before.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    ALLOCATOR.reset_peak_memory();
    let result = work();
    (result, ALLOCATOR.get_peak_memory())
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    /// Other tests allocate meanwhile, hence the sizes and the margin.
    #[test]
    fn notices_an_allocation_and_what_was_freed_meanwhile() {
        let mib = 1 << 20;
        let (kept, peak) = peak_of(|| {
            drop(black_box(vec![1u8; 256 * mib]));
            black_box(vec![0u8; 64 * mib])
        });
        assert_eq!(kept.len(), 64 * mib);
        assert!((256 * mib..512 * mib).contains(&peak), "{peak}");
    }
}
