//! Token embeddings, and absolute positions added to them.

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor, TensorData};

use crate::ops;

/// Configuration of an [`Embedding`].
#[derive(Clone, Debug)]
pub struct EmbeddingConfig {
    /// Rows.
    pub count: usize,
    /// `D`.
    pub width: usize,
}

impl EmbeddingConfig {
    /// Rows of standard deviation 0.02.
    pub fn init(&self, device: &Device) -> Embedding {
        let weight = Tensor::random([self.count, self.width], Distribution::Normal(0.0, 0.02), device);
        Embedding { weight: Param::from_tensor(weight) }
    }
}

/// A table of learned rows; also the output projection, whose logits are inner products with the rows.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[count, D]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Rows by index.
    ///
    /// # Shapes
    /// `B·T` indices to `[B, T, D]`
    pub fn forward(&self, ids: Vec<u32>, shape: [usize; 2]) -> Tensor<3> {
        ops::embedding(self.weight.val(), ids, shape)
    }
}

/// `[time, width]` table of `sin` and `cos` of `(offset + t)·10000^(−2i/width)`, sines in the first half.
///
/// # Reference
/// Vaswani et al. 2017 (arXiv 1706.03762) §3.5, with the halves in fairseq's order.
pub fn sinusoidal(offset: i64, time: usize, width: usize, device: &Device) -> Tensor<2> {
    let half = width / 2;
    let value = |t: usize, i: usize| {
        let rate = 10_000f64.powf(-((i % half.max(1)) as f64) / half.max(1) as f64);
        let angle = (offset + t as i64) as f64 * rate;
        if i >= 2 * half {
            0.0
        } else if i < half {
            angle.sin() as f32
        } else {
            angle.cos() as f32
        }
    };
    let table: Vec<f32> = (0..time * width).map(|at| value(at / width, at % width)).collect();
    Tensor::from_data(TensorData::new(table, [time, width]), device)
}
