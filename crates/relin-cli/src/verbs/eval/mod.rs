//! `relin eval`.

mod examples;
mod music;
mod tokens;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use relin::recipe::{Recipe, Task};
use relin::runlog::{RECIPE_FILE, write_atomic};

use self::examples::{classifier, regression, sequences};
use self::music::{music, style};
use self::tokens::{language_model, probe};
use super::{check_skipping, refuse, run_folder};
use crate::args::Globals;
use crate::failure::Failure;
use crate::output::Output;
use crate::plot::Chart;

const EXAMPLES: &str = "\
Examples:
  relin eval runs/quickstart
  relin eval runs/quickstart --lengths 128,512,2048 --json
  relin eval runs/quickstart --data other.txt
  relin eval runs/cola --data test.tsv --predictions cola.tsv --skip-bad-rows
  relin eval runs/mnist --split test --predictions mnist.tsv --plot mnist.svg
  relin eval runs/reversal --predictions reversal.tsv
  relin eval runs/music-jsb --lengths 256,512,1024,2048 --concatenate
  relin eval runs/music-jsb --style 10";

/// Names of the plots in a run's folder.
const CONFUSION_FILE: &str = "confusion.svg";
const LENGTHS_FILE: &str = "lengths.svg";
const SCATTER_FILE: &str = "scatter.svg";
const POSITIONS_FILE: &str = "positions.svg";

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
    /// Write the class chosen or the target written for each example, with its probability, as a table (not language
    /// models)
    #[arg(long, value_name = "FILE.tsv")]
    predictions: Option<PathBuf>,
    /// Pass over bad rows of a table, and list them (texts that are classified, graded or translated)
    #[arg(long)]
    skip_bad_rows: bool,
    /// Join pieces of music, so that lengths beyond theirs are reached
    #[arg(long)]
    concatenate: bool,
    /// Go on from N pieces of music, and compare each quarter of the continuations with the pieces
    #[arg(long, value_name = "N")]
    style: Option<NonZeroUsize>,
    /// Where to draw what classes were taken for, predictions over numbers, or the scores at several lengths [default:
    /// confusion.svg, scatter.svg or lengths.svg in the run's folder]
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

pub fn run(args: &EvalArgs, globals: &Globals, output: &Output) -> Result<(), Failure> {
    let run = run_folder(&args.run)?;
    let recipe = Recipe::read(&run.join(RECIPE_FILE), &[])?;
    if args.skip_bad_rows {
        check_skipping(recipe.task)?;
    }
    let trained = recipe.data.context;
    if recipe.task != Task::Music {
        refuse_music(args)?;
    }
    match recipe.task {
        Task::CausalLm | Task::MaskedLm => language_model(args, &run, trained, output),
        Task::TextClassification | Task::ImageClassification | Task::ListOps | Task::Pathfinder => {
            classifier(args, &run, output)
        }
        Task::TextRegression => regression(args, &run, output),
        Task::Probe => probe(args, &run, trained, output),
        Task::SequenceToSequence => sequences(args, &run, output),
        Task::Music => match args.style {
            Some(pieces) => style(args, globals, &run, (pieces.get(), trained), output),
            None => music(args, &run, trained, output),
        },
    }
}

fn refuse_music(args: &EvalArgs) -> Result<(), Failure> {
    let given = [
        ("--concatenate", args.concatenate.then(|| "it".to_owned())),
        ("--style", args.style.map(|n| n.to_string())),
    ];
    refuse("a model of music", given)
}

fn name(run: &Path) -> String {
    let folder = run.canonicalize().unwrap_or_else(|_| run.into());
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Where it was asked for, or in the run's folder, which perhaps cannot be written to: scores are no worse for that.
fn draw(args: &EvalArgs, usual: &Path, svg: &str, output: &Output) -> Result<(), Failure> {
    let path = args.plot.as_deref().unwrap_or(usual);
    match write_atomic(path, svg.as_bytes()) {
        Ok(()) => output.note(format!("plot: {}", path.display())),
        Err(error) if args.plot.is_none() => output.warning(format_args!("no plot: {error}")),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// A further plot in the run's folder, as far as it can be written to.
fn draw_beside(path: &Path, svg: &str, output: &Output) {
    match write_atomic(path, svg.as_bytes()) {
        Ok(()) => output.note(format!("plot: {}", path.display())),
        Err(error) => output.warning(format_args!("no plot: {error}")),
    }
}

/// A single length is no curve, unless it was asked for.
fn draw_lengths(args: &EvalArgs, run: &Path, chart: &Chart, output: &Output) -> Result<(), Failure> {
    if args.lengths.len() < 2 && args.plot.is_none() {
        return Ok(());
    }
    draw(args, &run.join(LENGTHS_FILE), &chart.svg(), output)
}
