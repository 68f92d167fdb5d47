//! What can be typed.

use std::num::NonZeroUsize;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::verbs::{bench, data, eval, generate, inspect, study, train};

const STYLES: Styles =
    Styles::styled().header(AnsiColor::Green.on_default().bold()).usage(AnsiColor::Green.on_default().bold());

const EXAMPLES: &str = "\
Examples:
  relin train                                         a small model on text that relin carries
  relin train my.toml --set train.steps=200           a recipe of yours, one key changed
  relin train --set model.position=rope --out runs/rope
  relin eval runs/quickstart --lengths 128,256,512    score it at three context lengths
  relin generate runs/quickstart --prompt 'Once'      let it write
  relin study basis --dry-run                         what a study would train, and how long
  relin inspect lrpe-unitary --out lrpe-unitary.svg   look at a position encoding

Results go to standard output, everything else to standard error.
Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.";

/// Relative positional encodings for linear attention: train, score and run transformers that cost O(T).
#[derive(Debug, Parser)]
#[command(name = "relin", version, styles = STYLES, after_help = EXAMPLES, propagate_version = true)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Train a model from a recipe
    Train(train::TrainArgs),
    /// Score a trained model
    Eval(eval::EvalArgs),
    /// Write text with a trained model
    Generate(generate::GenerateArgs),
    /// Train every cell of a study with every seed, and report what can be said
    Study(study::StudyArgs),
    /// One run of a study, as `study` starts it
    #[command(hide = true)]
    StudyRun(study::StudyRunArgs),
    /// Measure speed and memory, of results that are checked first
    Bench(bench::BenchArgs),
    /// Look at a position encoding: its kernel measured and drawn
    Inspect(inspect::InspectArgs),
    /// List, fetch and make data sets
    Data(data::DataArgs),
    /// Say what this machine offers and which paths run on it
    Doctor,
}

/// Options of every verb.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Print one JSON object a line to standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Number of threads [default: all]; `bench` takes several, separated by commas
    #[arg(long, global = true, value_name = "N", value_delimiter = ',')]
    pub threads: Vec<NonZeroUsize>,
    /// Seed of all random choices [default: 0, or the recipe's]
    // The recipe is TOML, whose integers end at 2⁶³ − 1.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Where to compute
    #[arg(long, global = true, value_enum, default_value_t = Device::Cpu)]
    pub device: Device,
}

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The processor.
    Cpu,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_does_not_contradict_itself() {
        Cli::command().debug_assert();
    }
}
