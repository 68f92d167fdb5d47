//! One run of a study, in a process of its own: what it prints is for the process that started it.

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use relin::recipe::Recipe;
use relin::runlog::{Resume, Standing, standing};
use relin::study::{Ended, Lock, Measured, Status, score_lengths, train_trial};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::interrupt;
use crate::output::Output;
use crate::progress::Progress;
use crate::verbs::bench::memory::peak_of;

/// How long a former process of the same run may take to save and leave.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub struct StudyRunArgs {
    /// The complete recipe
    recipe: PathBuf,
    /// Folder of the run
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Contexts at which to score the trained model
    #[arg(long, value_name = "T,...", value_delimiter = ',')]
    lengths: Vec<NonZeroUsize>,
    /// Seconds that it may train
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Save and stop when the standard input ends
    #[arg(long)]
    attached: bool,
}

/// The last line of the output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Last {
    /// The run has a result.
    Ended {
        status: Status,
        #[serde(default)]
        reason: Option<String>,
        measured: Box<Measured>,
    },
    /// It was asked to stop.
    Stopped,
}

pub fn run_one(args: &StudyRunArgs, _: &Output) -> Result<(), Failure> {
    let recipe = Recipe::read(&args.recipe, &[])?;
    let _lock = Lock::take_within(&args.out, PATIENCE)?;
    interrupt::stop_gracefully();
    if args.attached {
        std::thread::spawn(stop_at_the_end_of_input);
    }
    let output = Output::new(true, true);
    let mut progress = Progress::new(output);
    let trained_before = matches!(standing(&args.out, &recipe, Resume::Auto), Ok(Standing::Finished(_)));
    let (ended, peak) = peak_of(|| train_trial(&recipe, &args.out, args.seconds, &mut progress));
    let last = match ended? {
        Ended::Stopped => Last::Stopped,
        Ended::Result { status, reason, mut measured } => {
            // What is only scored further has no peak of training.
            measured.peak_bytes = (!trained_before).then_some(peak as u64);
            if status == Status::Finished {
                let lengths: Vec<usize> = args.lengths.iter().map(|length| length.get()).collect();
                measured.lengths = score_lengths(&recipe, &args.out, &lengths)?;
                tidy(&args.out);
            }
            Last::Ended { status, reason, measured }
        }
    };
    output.event(&last);
    Ok(())
}

/// Whoever started this holds the other end open for as long as it lives.
fn stop_at_the_end_of_input() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    interrupt::request();
}

/// What only an unfinished run needs; a study has many.
fn tidy(folder: &Path) {
    for part in ["state", "cache"] {
        let _ = std::fs::remove_dir_all(folder.join(part));
    }
}
