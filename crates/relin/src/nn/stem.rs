//! Convolutions before the blocks, which join neighbours and leave fewer tokens to attend to.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use relin_kernels::activation::Activation;
use relin_kernels::norm::NormKind;
use relin_kernels::windows::{Axis, Windows};

use super::{FeedForward, FeedForwardConfig, Norm, NormConfig};
use crate::ops;

/// How tokens lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In a row, as those of a text.
    Line,
    /// In so many rows and columns, as the pixels of an image, row by row.
    Grid([usize; 2]),
}

impl Layout {
    fn axes(self, tokens: usize) -> [Axis; 2] {
        let halved = |length| Axis { length, stride: 2, margin: 1 };
        match self {
            Self::Line => [Axis::SINGLE, halved(tokens)],
            Self::Grid(sides) => sides.map(halved),
        }
    }

    /// After a stage.
    fn halved(self) -> Self {
        match self {
            Self::Line => Self::Line,
            Self::Grid(sides) => Self::Grid(sides.map(|side| side.div_ceil(2))),
        }
    }

    /// Of so many tokens, those that are left after a stage.
    fn left(self, tokens: usize) -> usize {
        match self.halved() {
            Self::Line => tokens.div_ceil(2),
            Self::Grid([rows, columns]) => rows * columns,
        }
    }
}

/// Configuration of a [`Stem`].
#[derive(Clone, Debug)]
pub struct StemConfig {
    /// Width of a token that comes in.
    pub inputs: usize,
    /// Width of each stage.
    pub widths: Vec<usize>,
    /// Width of a token that goes out.
    pub outputs: usize,
    /// Whether tokens lie in a grid, or else in a line.
    pub grid: bool,
    /// Between the layers of a stage.
    pub activation: Activation,
    /// Before every stage but the first.
    pub norm: NormKind,
    /// ε of the norm.
    pub norm_eps: f64,
}

impl StemConfig {
    /// Builds the module.
    pub fn init(&self, device: &Device) -> Stem {
        // Tokens of a window: two, or two by two, and one more on every side.
        let window = if self.grid { 16 } else { 4 };
        let stage = |(stage, &inner): (usize, &usize)| {
            let width = if stage == 0 { self.inputs } else { self.widths[stage - 1] };
            let last = stage + 1 == self.widths.len();
            let norm = NormConfig { kind: self.norm, width, eps: self.norm_eps };
            let mlp = FeedForwardConfig {
                width: window * width,
                inner,
                outputs: if last { self.outputs } else { inner },
                activation: self.activation,
                gated: false,
                bias: true,
            };
            Stage { norm: (stage > 0).then(|| norm.init(device)), mlp: mlp.init(device) }
        };
        Stem { stages: self.widths.iter().enumerate().map(stage).collect() }
    }
}

/// Stages that halve a sequence, or both sides of a grid: `y_i = W₂ act(W₁ [x_{2i−1} … x_{2i+2}])` of the normed x, in a grid
/// of the 4×4 tokens around each four. n stages make one token of 2ⁿ, or of 2ⁿ×2ⁿ.
///
/// # Reference
/// In place of the one linear map of a patch: Xiao et al., "Early Convolutions Help Transformers See Better" (arXiv 2106.14881).
#[derive(Module, Debug)]
pub struct Stem {
    stages: Vec<Stage>,
}

#[derive(Module, Debug)]
struct Stage {
    norm: Option<Norm>,
    mlp: FeedForward,
}

impl Stem {
    /// What becomes of sequences of which `lens` tokens count.
    ///
    /// # Shapes
    /// `[B, T, inputs]` to `[B, T', outputs]`
    ///
    /// # Panics
    /// If a grid has other than T tokens.
    pub fn forward(&self, mut x: Tensor<3>, mut layout: Layout, mut lens: Vec<usize>) -> Tensor<3> {
        for Stage { norm, mlp } in &self.stages {
            let [_, tokens, channels] = x.dims();
            let windows = Windows { axes: layout.axes(tokens), channels };
            let normed = norm.as_ref().map_or_else(|| x.clone(), |norm| norm.forward(x.clone()));
            x = mlp.forward(ops::windows(normed, windows, lens.clone()));
            lens.iter_mut().for_each(|len| *len = layout.left(*len));
            layout = layout.halved();
        }
        x
    }

    /// T' of sequences of T tokens.
    pub fn left(&self, mut layout: Layout, mut tokens: usize) -> usize {
        for _ in &self.stages {
            tokens = layout.left(tokens);
            layout = layout.halved();
        }
        tokens
    }
}
