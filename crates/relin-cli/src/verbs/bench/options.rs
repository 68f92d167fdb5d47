//! What the command line changes in a definition.

use std::num::NonZeroUsize;

use clap::Args;

use super::definition::{
    AttentionDefinition, BatchShape, DecodeDefinition, Direction, Shape, TrainDefinition,
};
use super::position::Position;

/// Sizes of an attention.
#[derive(Debug, Args)]
pub struct SizeOptions {
    /// Heads
    #[arg(long, value_name = "H")]
    heads: Option<NonZeroUsize>,
    /// Width of a head's queries and keys
    #[arg(long, value_name = "K")]
    key_dim: Option<NonZeroUsize>,
    /// Width of a head's values [default: --key-dim, if given]
    #[arg(long, value_name = "V")]
    value_dim: Option<NonZeroUsize>,
    /// Tokens that the causal form treats at once
    #[arg(long, value_name = "C")]
    chunk: Option<NonZeroUsize>,
}

impl SizeOptions {
    fn apply(&self, shape: &mut Shape) {
        shape.heads = self.heads.unwrap_or(shape.heads);
        shape.key_dim = self.key_dim.unwrap_or(shape.key_dim);
        shape.value_dim = self.value_dim.or(self.key_dim).unwrap_or(shape.value_dim);
        shape.chunk = self.chunk.unwrap_or(shape.chunk);
    }

    fn fixes_widths(&self) -> bool {
        self.key_dim.is_some()
    }
}

/// Options of `attention` and `encoding`.
#[derive(Debug, Args)]
pub struct AttentionOptions {
    /// Numbers of tokens, separated by commas
    #[arg(long, value_name = "T,...", value_delimiter = ',')]
    lengths: Vec<NonZeroUsize>,
    /// Presets of relative encodings, separated by commas
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    positions: Vec<Position>,
    /// Passes, separated by commas
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_enum)]
    directions: Vec<Direction>,
    /// Sequences
    #[arg(long, value_name = "B")]
    batch: Option<NonZeroUsize>,
    #[command(flatten)]
    sizes: SizeOptions,
    /// Leave softmax attention out
    #[arg(long)]
    no_softmax: bool,
}

impl AttentionOptions {
    pub fn apply(&self, definition: &mut AttentionDefinition) {
        replace(&mut definition.lengths, &self.lengths);
        replace(&mut definition.positions, &self.positions);
        replace(&mut definition.directions, &self.directions);
        if self.sizes.fixes_widths() {
            definition.shape.truncate(1);
        }
        for shape in &mut definition.shape {
            self.sizes.apply(shape);
            shape.batch = self.batch.unwrap_or(shape.batch);
        }
        if self.no_softmax {
            definition.softmax = None;
        }
    }
}

/// Options of `decode`.
#[derive(Debug, Args)]
pub struct DecodeOptions {
    /// Numbers of tokens before those that are timed, separated by commas
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    prefixes: Vec<NonZeroUsize>,
    /// Presets of relative encodings, separated by commas
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    positions: Vec<Position>,
    #[command(flatten)]
    sizes: SizeOptions,
}

impl DecodeOptions {
    pub fn apply(&self, definition: &mut DecodeDefinition) {
        replace(&mut definition.prefixes, &self.prefixes);
        replace(&mut definition.positions, &self.positions);
        self.sizes.apply(&mut definition.shape);
    }
}

/// Options of `train`.
#[derive(Debug, Args)]
pub struct TrainOptions {
    /// Context lengths, separated by commas; each replaces the shapes of the definition
    #[arg(long, value_name = "T,...", value_delimiter = ',')]
    lengths: Vec<NonZeroUsize>,
    /// Sequences of a step [default with --lengths: as many as keep the tokens of the definition's first shape]
    #[arg(long, value_name = "B")]
    batch: Option<NonZeroUsize>,
}

impl TrainOptions {
    pub fn apply(&self, definition: &mut TrainDefinition) {
        if let (false, Some(first)) = (self.lengths.is_empty(), definition.shape.first()) {
            let tokens = first.batch.get() * first.length.get();
            let batch =
                |length: NonZeroUsize| NonZeroUsize::new(tokens / length.get()).unwrap_or(NonZeroUsize::MIN);
            let shape = |&length| BatchShape { batch: batch(length), length };
            definition.shape = self.lengths.iter().map(shape).collect();
        }
        for shape in &mut definition.shape {
            shape.batch = self.batch.unwrap_or(shape.batch);
        }
    }
}

fn replace<T: Clone>(list: &mut Vec<T>, given: &[T]) {
    if !given.is_empty() {
        *list = given.to_vec();
    }
}

/// Seconds of a measurement.
pub fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    // A year; durations have an end.
    if seconds > 0.0 && seconds < 3.2e7 {
        Ok(seconds)
    } else {
        Err("expected a number of seconds above 0".into())
    }
}
