//! Cross entropy: of integer targets, from logits or fused with the matrix product that makes them; and of distributions.

mod fused;
mod logits;
mod soft;

pub use fused::Head;
pub use soft::soft_cross_entropy;

/// `−log softmax(logits)[target]`, averaged over the targets that are not ignored (0 if all are).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossEntropy {
    /// Classes.
    pub vocab: usize,
    /// Target of tokens that count for nothing: their loss and gradients are 0 and their inputs are never read.
    pub ignore: u32,
}

/// Mean loss and the number of tokens that it is the mean of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanLoss {
    /// Mean over counted tokens, in nats.
    pub mean: f64,
    /// Counted tokens.
    pub count: usize,
}

/// A target that is neither a class nor the ignored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "target {target} of token {index} is neither below the vocabulary size {vocab} nor the ignored value {ignore}"
)]
pub struct TargetOutOfRange {
    /// Which token.
    pub index: usize,
    /// Its target.
    pub target: u32,
    /// Classes that there are.
    pub vocab: usize,
    /// The value that would be ignored.
    pub ignore: u32,
}

impl CrossEntropy {
    /// Indices of the tokens that count.
    fn counted(&self, targets: &[u32]) -> Result<Vec<usize>, TargetOutOfRange> {
        let &Self { vocab, ignore } = self;
        let counted: Vec<usize> = (0..targets.len()).filter(|&i| targets[i] != ignore).collect();
        match counted.iter().find(|&&i| targets[i] as usize >= vocab) {
            Some(&index) => Err(TargetOutOfRange { index, target: targets[index], vocab, ignore }),
            None => Ok(counted),
        }
    }
}

/// The mean in `f64`, summed in the order of the tokens.
fn mean_loss<R: crate::real::Real>(losses: &[R], count: usize) -> MeanLoss {
    let total: f64 = losses.iter().map(|l| l.to_f64()).sum();
    MeanLoss { mean: if count == 0 { 0.0 } else { total / count as f64 }, count }
}
