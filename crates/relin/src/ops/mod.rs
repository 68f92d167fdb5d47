//! The kernels as differentiable burn operators.

mod bridge;
mod linear_attention;

pub use bridge::{AnyTensor, Kernel, Operand, apply};
pub use linear_attention::{AttentionState, linear_attention, linear_attention_with_state};
