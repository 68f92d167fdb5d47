//! Tensors to measure with: uniform random numbers of mean 0 and variance 1, the same for every operator.

use rayon::prelude::*;
use relin_kernels::real::Real;
use relin_kernels::rng::Rng;
use relin_kernels::segments::{Segment, dense};

use super::definition::Shape;

/// Sizes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub batch: usize,
    pub heads: usize,
    pub key_dim: usize,
    pub value_dim: usize,
    pub chunk: usize,
    pub length: usize,
}

impl Sizes {
    pub fn new(shape: &Shape, length: usize) -> Self {
        Self {
            batch: shape.batch.get(),
            heads: shape.heads.get(),
            key_dim: shape.key_dim.get(),
            value_dim: shape.value_dim.get(),
            chunk: shape.chunk.get(),
            length,
        }
    }

    pub fn tokens(&self) -> usize {
        self.batch * self.length
    }

    pub fn segments(&self) -> Vec<Segment> {
        dense(self.batch, self.length, 0)
    }
}

/// q, k, v and the gradient of the output.
#[derive(Clone, Debug)]
pub struct Tensors<R> {
    /// `[N, H, K]`.
    pub q: Vec<R>,
    /// `[N, H, K]`.
    pub k: Vec<R>,
    /// `[N, H, V]`.
    pub v: Vec<R>,
    /// `[N, H, V]`.
    pub d_out: Vec<R>,
}

impl Tensors<f32> {
    pub fn random(sizes: &Sizes, seed: u64) -> Self {
        let rows = sizes.tokens() * sizes.heads;
        let tensor = |stream, width| uniform(Rng::new(seed, stream), rows * width);
        let (k, v) = (sizes.key_dim, sizes.value_dim);
        Self { q: tensor(0, k), k: tensor(1, k), v: tensor(2, v), d_out: tensor(3, v) }
    }

    /// Head 0 of sequence 0 in double precision.
    pub fn first_head(&self, sizes: &Sizes) -> Tensors<f64> {
        let of = |tensor: &[f32], width| first_head(tensor, sizes, width);
        Tensors {
            q: of(&self.q, sizes.key_dim),
            k: of(&self.k, sizes.key_dim),
            v: of(&self.v, sizes.value_dim),
            d_out: of(&self.d_out, sizes.value_dim),
        }
    }

    /// All of it in double precision.
    pub fn widened(&self) -> Tensors<f64> {
        let of = |tensor: &[f32]| tensor.iter().map(|x| x.to_f64()).collect();
        Tensors { q: of(&self.q), k: of(&self.k), v: of(&self.v), d_out: of(&self.d_out) }
    }
}

/// Head 0 of sequence 0, `[T, width]`, of a tensor `[N, H, width]`.
pub fn first_head(tensor: &[f32], sizes: &Sizes, width: usize) -> Vec<f64> {
    let rows = tensor.chunks(sizes.heads * width).take(sizes.length);
    rows.flat_map(|row| row[..width].iter().map(|x| x.to_f64())).collect()
}

/// Philox gives four numbers a block.
fn uniform(rng: Rng, len: usize) -> Vec<f32> {
    const BLOCKS: usize = 1024;
    let mut numbers = vec![0.0; len];
    numbers.par_chunks_mut(4 * BLOCKS).enumerate().for_each(|(part, numbers)| {
        for (block, numbers) in numbers.chunks_mut(4).enumerate() {
            let words = rng.block((part * BLOCKS + block) as u64);
            for (number, word) in numbers.iter_mut().zip(words) {
                *number = ((f64::from(word) / f64::from(1u32 << 31) - 1.0) * 3f64.sqrt()) as f32;
            }
        }
    });
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_mean_0_and_variance_1() {
        let numbers = uniform(Rng::new(1, 2), 100_003);
        let mean = numbers.iter().map(|x| x.to_f64()).sum::<f64>() / numbers.len() as f64;
        let square = numbers.iter().map(|x| x.to_f64().powi(2)).sum::<f64>() / numbers.len() as f64;
        assert!(mean.abs() < 0.02 && (square - 1.0).abs() < 0.02, "{mean} {square}");
        assert_eq!(numbers[..100], uniform(Rng::new(1, 2), 100));
    }

    #[test]
    fn the_first_head_is_taken_from_every_row() {
        let sizes = Sizes { batch: 2, heads: 2, key_dim: 1, value_dim: 1, chunk: 4, length: 3 };
        let tensor: Vec<f32> = (0..12u8).map(f32::from).collect();
        assert_eq!(first_head(&tensor, &sizes, 1), [0.0, 2.0, 4.0]);
    }
}
