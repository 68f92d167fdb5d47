//! The kernels as differentiable burn operators.

mod bridge;
mod cross_entropy;
mod dropout;
mod embedding;
mod encode;
mod feed_forward;
mod linear;
mod linear_attention;
mod mask;
mod mean;
mod norm;
mod parameters;
mod scale_rows;
mod self_attention;
mod soft_cross_entropy;
mod softmax_attention;
mod windows;

pub use bridge::{AnyTensor, Kernel, Operand, apply};
pub use cross_entropy::{IGNORE, cross_entropy, token_losses};
pub use dropout::dropout;
pub use embedding::embedding;
pub use encode::encode;
pub use feed_forward::{FeedForwardParameters, feed_forward};
pub use linear::linear;
pub use linear_attention::{AttentionState, linear_attention, linear_attention_with_state};
pub use mask::OwnedMask;
pub use mean::mean;
pub use norm::norm;
pub use parameters::{LinearParameters, NormParameters};
pub use scale_rows::scale_rows;
pub use self_attention::linear_self_attention;
pub use soft_cross_entropy::soft_cross_entropy;
pub use softmax_attention::softmax_attention;
pub use windows::windows;

/// The elements of a tensor, row-major.
///
/// # Panics
/// If it is not single precision.
pub fn to_vec<const D: usize>(tensor: burn::tensor::Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("tensors here are f32")
}
