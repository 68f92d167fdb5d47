//! The command line of relin: relative positional encodings for linear attention.

mod args;
mod chart_of_eval;
mod chart_of_run;
mod failure;
mod interrupt;
mod output;
mod piece;
mod plot;
mod progress;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Verb};
use failure::Failure;
use output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.globals.json, cli.globals.quiet);
    let result = prepare(&cli).and_then(|()| run(&cli, &output));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.code()
        }
    }
}

fn prepare(cli: &Cli) -> Result<(), Failure> {
    relin_kernels::simd::check_override()?;
    interrupt::install()?;
    set_threads(cli)
}

fn run(cli: &Cli, output: &Output) -> Result<(), Failure> {
    match &cli.verb {
        Verb::Train(args) => verbs::train::run(args, &cli.globals, output),
        Verb::Eval(args) => verbs::eval::run(args, &cli.globals, output),
        Verb::Generate(args) => verbs::generate::run(args, &cli.globals, output),
        Verb::Study(args) => verbs::study::run(args, &cli.globals, output),
        Verb::StudyRun(args) => verbs::study::run_one(args, output),
        Verb::Bench(args) => verbs::bench::run(args, &cli.globals, output),
        Verb::Inspect(args) => verbs::inspect::run(args, &cli.globals, output),
        Verb::Data(args) => verbs::data::run(args, &cli.globals, output),
        Verb::Doctor => verbs::doctor::run(output),
    }
}

/// One pool for the kernels and the backend; it must be made before either uses it.
fn set_threads(cli: &Cli) -> Result<(), Failure> {
    let threads = match (cli.globals.threads.as_slice(), &cli.verb) {
        // Measured in pools of their own.
        ([], _) | (_, Verb::Bench(_)) => return Ok(()),
        ([threads], _) => threads.get(),
        (several, _) => {
            let found = several.iter().map(|threads| threads.to_string()).collect::<Vec<_>>().join(",");
            return Err(Failure::BadOption { option: "--threads", expected: "one number", found });
        }
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().map_err(|source| Failure::Threads { threads, source })
}
