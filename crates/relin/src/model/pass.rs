//! Passes through a trunk: whole, or block by block, of which only the blocks' inputs are kept and each block is run
//! again when its gradient is due.

use burn::module::Module;
use burn::tensor::{Gradients, Tensor};

use super::block::Source;
use super::dropper::Dropper;
use super::trunk::{Loss, Trunk};
use crate::ops::OwnedMask;

/// What the blocks see in one pass, and the step whose noise they use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    pub mask: &'a OwnedMask,
    pub source: Option<&'a Source>,
    pub step: u64,
}

/// What remains of a pass without a graph.
#[derive(Debug)]
pub(super) struct Kept {
    /// Input of each block, and the dropout that follows.
    inputs: Vec<(Tensor<3>, Dropper)>,
    /// Output of the last one.
    pub last: Tensor<3>,
}

/// The way back through what was kept.
pub(super) struct Unwinding {
    /// Gradient of what was last gone through.
    pub flowing: Tensor<3>,
    /// Gradient of the source, once a block looked at one.
    pub source: Option<Tensor<3>>,
    /// One set for each backward pass.
    pub gradients: Vec<Gradients>,
}

impl Unwinding {
    /// Goes back into what made inputs of first blocks, given their gradients.
    pub fn through<const N: usize>(&mut self, embedded: [(Tensor<3>, Tensor<3>); N]) {
        let products = embedded.map(|(x, flowing)| (x * flowing.autodiff()).sum());
        let sum = products.into_iter().reduce(|a, b| a + b);
        self.gradients.extend(sum.map(|sum| sum.backward()));
    }
}

impl Trunk {
    /// The hidden states after the final norm.
    pub fn run(&self, mut x: Tensor<3>, sight: Sight<'_>, dropper: &mut Dropper) -> Tensor<3> {
        let mut source = sight.source.cloned();
        for block in self.blocks(sight.step) {
            x = block.forward(x, sight.mask.clone(), source.as_ref(), dropper);
            source = source.map(Source::handed_on);
        }
        self.finish(x)
    }

    /// A pass without a graph, whose source has none either.
    pub fn keep(&self, x: Tensor<3>, sight: Sight<'_>, dropper: &mut Dropper) -> Kept {
        let frozen = self.valid();
        let mut x = x.inner();
        let mut inputs = Vec::with_capacity(frozen.layers.len());
        for block in frozen.blocks(sight.step) {
            inputs.push((x.clone(), *dropper));
            x = block.forward(x, sight.mask.clone(), sight.source, dropper);
        }
        Kept { inputs, last: x }
    }

    /// The loss that `head` makes of what the final norm makes of the last block's output, and the gradient of that output.
    pub fn above(&self, kept: &Kept, head: impl FnOnce(Tensor<3>) -> Tensor<1>) -> (Loss, Tensor<3>) {
        let last = leaf(&kept.last);
        let mut loss = Loss::of(head(self.finish(last.clone())));
        let flowing = take(&last, &mut loss.gradients);
        (loss, flowing)
    }

    /// Goes back from what the final norm gave, of which the gradient flows, to the last block's output.
    pub fn unwind_norm(&self, kept: &Kept, unwinding: &mut Unwinding) {
        let last = leaf(&kept.last);
        unwinding.gradients.push(pull_back(self.finish(last.clone()), unwinding.flowing.clone()));
        unwinding.flowing = take(&last, &mut unwinding.gradients);
    }

    /// Goes back from the last block's output to the first one's input.
    pub fn unwind(&self, kept: Kept, sight: Sight<'_>, unwinding: &mut Unwinding) {
        for (layer, (input, mut dropper)) in kept.inputs.into_iter().enumerate().rev() {
            let block = self.block(layer, sight.step);
            let input = leaf(&input);
            let source =
                sight.source.map(|source| Source { hidden: leaf(&source.hidden), mask: source.mask.clone() });
            let output = block.forward(input.clone(), sight.mask.clone(), source.as_ref(), &mut dropper);
            unwinding.gradients.push(pull_back(output, unwinding.flowing.clone()));
            unwinding.flowing = take(&input, &mut unwinding.gradients);
            if let Some(source) = source {
                let gradient = take(&source.hidden, &mut unwinding.gradients);
                unwinding.source = Some(match unwinding.source.take() {
                    Some(sum) => sum + gradient,
                    None => gradient,
                });
            }
        }
    }
}

/// Where a graph begins.
fn leaf(x: &Tensor<3>) -> Tensor<3> {
    x.clone().autodiff().require_grad()
}

/// The gradients of `output`, given its own.
fn pull_back(output: Tensor<3>, flowing: Tensor<3>) -> Gradients {
    (output * flowing.autodiff()).sum().backward()
}

/// The gradient of a checkpoint, which the latest pass holds.
fn take(leaf: &Tensor<3>, gradients: &mut [Gradients]) -> Tensor<3> {
    let latest = gradients.last_mut().expect("a pass was made");
    leaf.grad_remove(latest).expect("every block passes a gradient to its input")
}
