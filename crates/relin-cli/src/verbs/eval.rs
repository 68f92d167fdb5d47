//! `relin eval`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use relin::eval::{EvalOptions, Evaluation, evaluate};

use super::run_folder;
use crate::args::Globals;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::grouped;

const EXAMPLES: &str = "\
Examples:
  relin eval runs/quickstart
  relin eval runs/quickstart --lengths 128,512,2048 --json
  relin eval runs/quickstart --data other.txt";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArgs {
    /// Folder of a trained model
    run: PathBuf,
    /// Score on this file, folder or glob instead of the run's own data
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Which part of the data [default: validation, or all of --data]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Context lengths, separated by commas [default: the length trained on]
    #[arg(long, value_name = "T,...", value_delimiter = ',')]
    lengths: Vec<NonZeroUsize>,
}

pub fn run(args: &EvalArgs, _: &Globals, output: &Output) -> Result<(), Failure> {
    let options = EvalOptions {
        data: args.data.clone(),
        split: args.split.clone(),
        lengths: args.lengths.iter().map(|length| length.get()).collect(),
    };
    evaluate(&run_folder(&args.run)?, &options, &mut |evaluation| {
        output.result(in_words(evaluation));
        output.event(evaluation);
    })?;
    Ok(())
}

fn in_words(evaluation: &Evaluation) -> String {
    format!(
        "{}  length {}  loss {:.4}  perplexity {:.4}  bits per byte {:.4}  accuracy {:.4}  ({} tokens)",
        evaluation.split,
        evaluation.length,
        evaluation.loss,
        evaluation.perplexity,
        evaluation.bits_per_byte,
        evaluation.accuracy,
        grouped(evaluation.tokens)
    )
}
