//! The mathematics of relin on plain slices, in `f32` and `f64`: relative positional encodings that factorise,
//! linear attention in its five forms, exact softmax attention beside it, and the fused operators that a training
//! step needs. No framework and no input or output; every operator has a hand-written backward.
//!
//! Letters used throughout: `N` tokens (all sequences of a batch laid end to end), `H` heads, `K` key width, `K'`
//! encoded key width, `V` value width, `C` chunk length. A `lag` is key position minus query position, `t − s`.

pub mod activation;
pub mod adamw;
pub mod buffers;
mod columns;
pub mod conformance;
pub mod cross_entropy;
pub mod dropout;
mod elementwise;
pub mod embedding;
pub mod encoding;
pub mod fast_math;
pub mod feature_map;
pub mod feed_forward;
mod gelu;
pub mod inspect;
pub mod linear;
pub mod linear_attention;
pub mod matmul;
pub mod norm;
mod parallel;
pub mod pooling;
pub mod real;
mod reduce;
pub mod rng;
pub mod segments;
pub mod simd;
pub mod softmax_attention;
#[cfg(test)]
mod testing;
mod tiles;
pub mod windows;
