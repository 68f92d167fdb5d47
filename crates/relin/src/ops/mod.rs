//! The kernels as differentiable burn operators.

mod activation;
mod bridge;
mod cross_entropy;
mod dropout;
mod embedding;
mod encode;
mod linear_attention;
mod mask;
mod norm;
mod softmax_attention;

pub use activation::activation;
pub use bridge::{AnyTensor, Kernel, Operand, apply};
pub use cross_entropy::{IGNORE, cross_entropy, token_losses};
pub use dropout::dropout;
pub use embedding::embedding;
pub use encode::encode;
pub use linear_attention::{AttentionState, linear_attention, linear_attention_with_state};
pub use mask::OwnedMask;
pub use norm::norm;
pub use softmax_attention::softmax_attention;

/// The elements of a tensor, row-major.
///
/// # Panics
/// If it is not single precision.
pub fn to_vec<const D: usize>(tensor: burn::tensor::Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("tensors here are f32")
}
