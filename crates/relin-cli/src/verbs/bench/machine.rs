//! What the machine can do: matrix products and memory traffic, on the threads of the current pool.

use std::hint::black_box;
use std::sync::Mutex;
use std::time::Instant;

use rayon::prelude::*;
use relin_kernels::matmul::{Into, Mat, matmul};

const SIDE: usize = 1024;

/// Single-precision products of 1024 × 1024 matrices, one for each thread at the same time.
pub struct Sgemm {
    /// a, b and their product, for each thread.
    matrices: Vec<Mutex<[Vec<f32>; 3]>>,
}

impl Sgemm {
    /// For the threads of the current pool.
    pub fn new() -> Self {
        let matrix = |from: f32| (0..SIDE * SIDE).map(|i| from + (i % 7) as f32).collect::<Vec<_>>();
        let matrices = || Mutex::new([matrix(-3.0), matrix(-2.0), vec![0.0; SIDE * SIDE]]);
        let sgemm = Self { matrices: (0..rayon::current_num_threads()).map(|_| matrices()).collect() };
        sgemm.gflops();
        sgemm
    }

    /// GFLOP/s of all threads together, from one product on each.
    pub fn gflops(&self) -> f64 {
        let begin = Instant::now();
        rayon::broadcast(|thread| {
            // A thread that panicked left its numbers as they are: nothing to protect.
            let mut own = self.matrices[thread.index()].lock().unwrap_or_else(|poison| poison.into_inner());
            let [a, b, c] = &mut *own;
            matmul(c, Into::Overwrite, Mat::new(a, SIDE, SIDE), Mat::new(b, SIDE, SIDE));
            black_box(&mut *c);
        });
        let flops = 2 * SIDE * SIDE * SIDE * self.matrices.len();
        flops as f64 / begin.elapsed().as_secs_f64() / 1e9
    }
}

/// GB/s of `a = b + 3c` over three arrays of `mib` MiB together, the best of three passes: 12 bytes for each element,
/// not counting that some processors read a line before they write it. `None` for 0 MiB.
pub fn bandwidth(mib: usize) -> Option<f64> {
    let len = mib.checked_mul(1 << 20)? / (3 * size_of::<f32>());
    if len == 0 {
        return None;
    }
    let block = 1 << 16;
    let (mut a, b, c) = (vec![1.0f32; len], vec![2.0f32; len], vec![3.0f32; len]);
    let mut pass = || {
        let begin = Instant::now();
        let rows = a.par_chunks_mut(block).zip(b.par_chunks(block)).zip(c.par_chunks(block));
        rows.for_each(|((a, b), c)| {
            a.iter_mut().zip(b).zip(c).for_each(|((a, b), c)| *a = b + 3.0 * c);
        });
        black_box(&mut a);
        (3 * len * size_of::<f32>()) as f64 / begin.elapsed().as_secs_f64() / 1e9
    };
    Some((0..3).map(|_| pass()).fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_plausible() {
        let gflops = Sgemm::new().gflops();
        assert!((0.1..1e6).contains(&gflops), "{gflops}");
        let rate = bandwidth(16).unwrap();
        assert!((0.01..1e5).contains(&rate), "{rate}");
        assert_eq!(bandwidth(0), None);
    }
}
