//! `relin study`.

mod estimate;
mod launcher;
mod live;
mod report;
mod worker;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use relin::recipe::Override;
use relin::study::{
    Analysis, BUILTIN_STUDIES, Bench, Ledger, Options, Plan, RESULTS_FILE, SMALL, Study, StudyError,
    StudyFolder,
};
use serde::Serialize;

use self::launcher::Children;
use self::live::Live;
pub use self::worker::{StudyRunArgs, run_one};
use crate::args::{Cli, Globals};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  relin study --list
  relin study basis --dry-run                     what would be trained, and about how long it takes
  relin study basis --out basis --jobs 2          train what is missing, then report
  relin study my-study.toml --seeds 0,1,2,3,4 --set data.source=my.txt
  relin study field --size paper --dry-run

How it works:
  - A study is a TOML file: a recipe, axes to cross, seeds. studies/*.toml are examples, which the binary carries.
  - Every run is a process of its own: one that diverges, crashes or takes too long is a result, listed with its reason.
  - Stopped in any way, the same command goes on; finished runs are never made again, half-done ones continue.
  - results.jsonl has a line a run, with its whole recipe; summary.md, report.html and figures/ are made from it alone.
  - Runs with the same seed are pairs: same data in the same order, same initial weights where shapes agree.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StudyArgs {
    /// A TOML file, or the name of a built-in study
    #[arg(required_unless_present = "list")]
    study: Option<String>,
    /// List the built-in studies
    #[arg(long)]
    list: bool,
    /// Change a key of every run's recipe, for example train.steps=20 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of the study [default: runs/study-NAME, or runs/study-NAME-SIZE]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Which of the sizes that the study has
    #[arg(long, value_name = "NAME", default_value = SMALL)]
    size: String,
    /// Seeds instead of the study's own, separated by commas
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seeds: Vec<u64>,
    /// Runs at a time [default: the threads of this machine / --threads, which is 1]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// List what would be made and estimate how long it takes, from a few steps of some runs; make nothing
    #[arg(long)]
    dry_run: bool,
    /// Make runs again that diverged, crashed or took too long
    #[arg(long)]
    retry: bool,
    /// Write the report of what there is, also of a study at work, and make no further run
    #[arg(long, conflicts_with = "dry_run")]
    report_only: bool,
}

pub fn run(args: &StudyArgs, globals: &Globals, output: &Output) -> Result<(), Failure> {
    let Some(name) = args.study.as_ref().filter(|_| !args.list) else {
        return list(output);
    };
    let plan = plan(name, args)?;
    let out = args.out.clone().unwrap_or_else(|| default_folder(&plan.study));
    let options = options(args, globals, &plan);
    if args.dry_run {
        return estimate::dry_run(&plan, &out, &options, output);
    }
    if args.report_only {
        // Lines are whole or not there, so the results of a study that is at work can be read.
        let ledger = Ledger::open(&out)?;
        if ledger.rows().is_empty() {
            return Err(StudyError::NoResults { folder: out }.into());
        }
        return report(&plan, &ledger, &command(name, args), &out, output);
    }
    let mut folder = StudyFolder::open(&out)?;
    let children = Children::new(&out, options.threads)?;
    interrupt::stop_gracefully();
    let mut live = Live::new(&plan, *output);
    let made = folder.run(&plan, &children, &options, &mut live);
    live.finish();
    made?;
    report(&plan, folder.ledger(), &command(name, args), &out, output)?;
    match interrupt::requested() {
        true => Err(Failure::Paused { missing: folder.missing(&plan, args.retry).len() }),
        false => Ok(()),
    }
}

fn report(plan: &Plan, ledger: &Ledger, command: &str, out: &Path, output: &Output) -> Result<(), Failure> {
    let analysis = Analysis::new(plan, ledger);
    let files = report::write(out, plan, ledger, &analysis, command)?;
    say(&analysis, out, &files, output);
    Ok(())
}

fn plan(name: &str, args: &StudyArgs) -> Result<Plan, Failure> {
    let sets = args.set.iter().map(|set| set.parse()).collect::<Result<Vec<Override>, _>>()?;
    let mut study = Study::find(name, &args.size)?;
    if !args.seeds.is_empty() {
        if let Some(twice) = (1..args.seeds.len()).find(|&at| args.seeds[..at].contains(&args.seeds[at])) {
            let found = format!("{} twice", args.seeds[twice]);
            return Err(Failure::BadOption { option: "--seeds", expected: "different seeds", found });
        }
        study.seeds = args.seeds.clone();
    }
    study.benches.iter().try_for_each(|bench| check_bench(&study, bench))?;
    Ok(Plan::new(study, &sets)?)
}

/// What a measurement says is read as the command line reads it.
fn check_bench(study: &Study, bench: &Bench) -> Result<(), StudyError> {
    let words = ["relin", "bench"].into_iter().chain(bench.run.split_whitespace());
    Cli::try_parse_from(words).map(drop).map_err(|error| {
        let said = error.to_string();
        let problem = said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        StudyError::Contradiction {
            name: study.place.clone(),
            field: format!("bench `{}`", bench.name),
            problem,
        }
    })
}

fn default_folder(study: &Study) -> PathBuf {
    let size = if study.size == SMALL { String::new() } else { format!("-{}", study.size) };
    Path::new("runs").join(format!("study-{}{size}", study.name))
}

fn options(args: &StudyArgs, globals: &Globals, plan: &Plan) -> Options {
    let threads = globals.threads.first().map_or(1, |threads| threads.get());
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    // What is timed has the machine for itself.
    let alone = !plan.study.benches.is_empty();
    let jobs = if alone { 1 } else { args.jobs.map_or((cores / threads).max(1), NonZeroUsize::get) };
    Options {
        jobs,
        threads,
        retry: args.retry,
        version: env!("CARGO_PKG_VERSION").into(),
        revision: option_env!("RELIN_REVISION").map(str::to_owned),
    }
}

/// What makes the study, and its figures, again.
fn command(name: &str, args: &StudyArgs) -> String {
    let mut line = format!("relin study {name}");
    if args.size != SMALL {
        line += &format!(" --size {}", args.size);
    }
    if !args.seeds.is_empty() {
        let seeds: Vec<String> = args.seeds.iter().map(u64::to_string).collect();
        line += &format!(" --seeds {}", seeds.join(","));
    }
    args.set.iter().fold(line, |line, set| line + &format!(" --set '{set}'"))
}

fn list(output: &Output) -> Result<(), Failure> {
    for carried in BUILTIN_STUDIES {
        let study = Study::find(carried.name, SMALL)?;
        output.result(format!("{:<14} {}", carried.name, study.title));
        output.event(&Listed { name: carried.name, title: &study.title, question: &study.question });
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(tag = "event", rename = "study")]
struct Listed<'a> {
    name: &'a str,
    title: &'a str,
    question: &'a str,
}

/// The end of a study, as `--json` prints it.
#[derive(Serialize)]
#[serde(tag = "event", rename = "done")]
struct Done<'a> {
    study: &'a Path,
    runs: usize,
    missing: usize,
    failed: usize,
    warnings: &'a [String],
}

fn say(analysis: &Analysis, out: &Path, files: &report::Files, output: &Output) {
    analysis.warnings.iter().for_each(|warning| output.warning(warning));
    if !output.is_quiet() {
        output.result(&files.table);
    }
    output.result(format!(
        "report: {}   summary: {}   results: {}",
        files.html.display(),
        files.markdown.display(),
        out.join(RESULTS_FILE).display()
    ));
    let failed = analysis.failures.iter().filter(|failure| failure.how != "no score").count();
    output.event(&Done {
        study: out,
        runs: analysis.done,
        missing: analysis.missing,
        failed,
        warnings: &analysis.warnings,
    });
}
