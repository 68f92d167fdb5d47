//! `relin inspect`: what an encoding's kernel looks like, and whether it is what it claims to be, all measured.

mod error;
mod figure;
mod findings;
mod form;
mod subject;
mod trained;
mod words;

use std::path::{Path, PathBuf};

use clap::Args;
use relin::hub::CONFIG_FILE;
use relin::runlog::write_atomic;
use relin_kernels::encoding::Place;

pub use self::error::InspectError;
use self::subject::Subject;
use crate::args::Globals;
use crate::failure::Failure;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  relin inspect lrpe-unitary --out lrpe-unitary.svg
  relin inspect '{ type = \"lrpe\", family = \"permutation\", cycle = \"longest\" }' --head-dim 32
  relin inspect sine-spe --head-dim 16 --json
  relin inspect alibi --heads 4 --lags 100
  relin inspect runs/quickstart --layer 2 --out learned.svg

POSITION is a preset, a table as a recipe's `model.position`, one of the biases of softmax attention (t5, alibi, shaw),
or a run's folder. Everything printed is measured, of head 0 unless it says otherwise, and every deviation stands beside
what is tolerated. A preset goes before a folder of the same name; write ./NAME for the folder.";

/// Heads and their size, where nothing says otherwise.
const HEADS: usize = 8;
const HEAD_DIM: usize = 64;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InspectArgs {
    /// A preset, a table, a bias, or the folder of a run
    position: String,
    /// K, the size of a head [default: 64, or the run's]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..=512))]
    head_dim: Option<u64>,
    /// H [default: 8, or the run's]
    #[arg(long, value_name = "H", value_parser = clap::value_parser!(u64).range(1..=256))]
    heads: Option<u64>,
    /// Index of the layer: its random choices, or what it learned
    #[arg(long, value_name = "L", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=65534))]
    layer: u64,
    /// The longest lag, either way
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    lags: u64,
    /// Draw the figure there
    #[arg(long, value_name = "FILE.svg")]
    out: Option<PathBuf>,
}

/// What the measurements need to know.
#[derive(Clone, Copy, Debug)]
struct Options {
    lags: usize,
    seed: u64,
}

pub fn run(args: &InspectArgs, globals: &Globals, output: &Output) -> Result<(), Failure> {
    Ok(inspect(args, globals, output)?)
}

fn inspect(args: &InspectArgs, globals: &Globals, output: &Output) -> Result<(), InspectError> {
    let subject = subject(args, globals.seed)?;
    let options = Options { lags: args.lags as usize, seed: globals.seed.unwrap_or(0) };
    let found = findings::measure(&subject, &options)?;
    if let Some(path) = &args.out {
        write_atomic(path, figure::draw(&subject, &found, &options).svg().as_bytes())?;
        output.note(format_args!("figure: {}", path.display()));
    }
    output.text(&words::in_words(&found));
    output.event(&found);
    Ok(())
}

fn subject(args: &InspectArgs, seed: Option<u64>) -> Result<Subject, InspectError> {
    let layer = args.layer as usize;
    match subject::parse(&args.position, seed)? {
        Some(config) => {
            let of = |option: Option<u64>, default| option.map_or(default, |option| option as usize);
            let place = Place { key_dim: of(args.head_dim, HEAD_DIM), heads: of(args.heads, HEADS), layer };
            Subject::new(args.position.trim(), config, place)
        }
        None => {
            let folder = Path::new(&args.position);
            for (option, given) in [("--head-dim", args.head_dim), ("--heads", args.heads)] {
                if let Some(found) = given {
                    let (path, found) = (folder.join(CONFIG_FILE), found as usize);
                    return Err(InspectError::FixedByRun { option, path, found });
                }
            }
            trained::read(folder, layer)
        }
    }
}
