//! `relin bench`: speed and memory, of results that were checked first.

mod attention;
mod charts;
mod check;
mod decode;
mod definition;
mod error;
mod inputs;
mod machine;
pub mod memory;
mod operator;
mod options;
mod position;
mod report;
mod softmax;
mod timing;
mod train;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use self::attention::Question;
use self::definition::{ATTENTION, DECODE, ENCODING, TRAIN, read};
pub use self::error::BenchError;
use self::options::{AttentionOptions, DecodeOptions, TrainOptions, parse_seconds};
use self::report::Measurement;
use crate::args::Globals;
use crate::failure::Failure;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  relin bench attention --lengths 512,8192 --threads 1,2 --out plots
  relin bench attention --key-dim 128 --value-dim 128 --positions none,rope --json
  relin bench encoding --positions lrpe-unitary,lrpe-orthogonal --threads 1
  relin bench decode --prefixes 1024,1048576
  relin bench train --lengths 2048 --batch 2

How it measures:
  - What is measured stands in a definition: benchmarks/*.toml of the repository, which the binary carries, or --file.
  - Nothing is timed before its result is held to the definition of the operator, on a short sequence in double
    precision, and to its own form in double precision at full length, on one head. A failed check ends the command.
  - What is compared alternates in one run, because machines are shared and drift. Times are medians over all calls;
    min_seconds is the fastest. A call includes taking and releasing the memory of its results.
  - sgemm_gflops is the rate of 1024 x 1024 matrix products, one on each thread at the same time, all threads
    together: the median of those just before and just after each turn of the measurement.
  - gflops counts matrix products alone: feature map, encoding and normaliser are extra work that lowers it.
  - overhead is the median over the rounds of the time beyond `none` of the same width K' in the same round.
  - peak_bytes is the most heap memory in use beyond inputs and results, counted by the allocator, in a call apart
    from the timed ones; for `train` it is everything: weights, moments, gradients, activations.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
}

/// What is measured.
#[derive(Debug, Subcommand)]
enum What {
    /// One call of causal attention, linear and softmax, over lengths
    Attention(AttentionOptions),
    /// What each relative encoding adds to linear attention
    Encoding(AttentionOptions),
    /// One token of generation, at several distances from the beginning
    Decode(DecodeOptions),
    /// Training steps of a language model on random tokens
    Train(TrainOptions),
}

/// Options of every benchmark.
#[derive(Debug, Args)]
struct Common {
    /// A definition of your own [default: the one that the binary carries]
    #[arg(long, global = true, value_name = "FILE.toml")]
    file: Option<PathBuf>,
    /// How long to repeat each measurement; at least three rounds are made
    #[arg(long, global = true, value_name = "SECONDS", value_parser = parse_seconds)]
    seconds_per_measurement: Option<f64>,
    /// Write plots of time per token and of extra memory there
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What every benchmark knows.
#[derive(Clone, Copy, Debug)]
struct Setting {
    output: Output,
    seed: u64,
}

pub fn run(args: &BenchArgs, globals: &Globals, output: &Output) -> Result<(), Failure> {
    let setting = Setting { output: *output, seed: globals.seed.unwrap_or(0) };
    let measurements = measure(args, globals, &setting)?;
    if let Some(out) = &args.common.out {
        charts::write(out, &measurements)?;
        output.note(format_args!("plots: {}", out.display()));
    }
    Ok(())
}

fn measure(args: &BenchArgs, globals: &Globals, setting: &Setting) -> Result<Vec<Measurement>, BenchError> {
    let file = args.common.file.as_deref();
    macro_rules! definition {
        ($carried:expr, $options:expr) => {{
            let mut definition = read(file, &$carried)?;
            $options.apply(&mut definition);
            definition.threads = threads(&globals.threads, &definition.threads);
            let seconds = args.common.seconds_per_measurement;
            definition.seconds_per_measurement = seconds.unwrap_or(definition.seconds_per_measurement);
            definition
        }};
    }
    match &args.what {
        What::Attention(options) => {
            attention::run(&definition!(ATTENTION, options), Question::Speed, setting)
        }
        What::Encoding(options) => {
            attention::run(&definition!(ENCODING, options), Question::Overhead, setting)
        }
        What::Decode(options) => decode::run(&definition!(DECODE, options), setting),
        What::Train(options) => train::run(&definition!(TRAIN, options), setting),
    }
}

/// The numbers asked for; else those of the definition that the machine has threads for.
fn threads(asked: &[NonZeroUsize], defined: &[NonZeroUsize]) -> Vec<NonZeroUsize> {
    if !asked.is_empty() {
        return asked.to_vec();
    }
    let available = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut fitting: Vec<_> = defined.iter().copied().filter(|threads| *threads <= available).collect();
    if fitting.is_empty() && !defined.is_empty() {
        fitting.push(available);
    }
    fitting
}

/// Works in pools of the given numbers of threads, one after another.
fn in_pools<T: Send>(
    threads: &[NonZeroUsize],
    work: impl Fn() -> Result<Vec<T>, BenchError> + Sync,
) -> Result<Vec<T>, BenchError> {
    let mut all = Vec::new();
    for threads in threads.iter().map(|threads| threads.get()) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().map_err(|source| BenchError::Threads { threads, source })?;
        all.extend(pool.install(&work)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(numbers: &[usize]) -> Vec<NonZeroUsize> {
        numbers.iter().filter_map(|&n| NonZeroUsize::new(n)).collect()
    }

    #[test]
    fn threads_that_were_asked_for_are_taken_as_they_are() {
        assert_eq!(threads(&counts(&[7]), &counts(&[1, 2])), counts(&[7]));
        assert_eq!(threads(&[], &counts(&[1, 1 << 20])), counts(&[1]));
        assert_eq!(threads(&[], &counts(&[1 << 20])).len(), 1);
        assert!(threads(&[], &[]).is_empty());
    }

    #[test]
    fn each_pool_has_its_threads() {
        let found = in_pools(&counts(&[1, 3]), || Ok(vec![rayon::current_num_threads()])).unwrap();
        assert_eq!(found, [1, 3]);
    }
}
