//! `relin train`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use relin::generate::{GenerateOptions, MusicOptions, SamplerOptions, generate, generate_music};
use relin::recipe::{Override, Recipe, Task};
use relin::runlog::{METRICS_FILE, Resume, Standing, read_metrics, standing, write_atomic};
use relin::train::events::{Done, Event, Outcome};
use relin::train::train;

use super::check_skipping;
use crate::args::Globals;
use crate::chart_of_run::loss_chart;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::Output;
use crate::piece;
use crate::progress::{Progress, grouped, in_words};

const EXAMPLES: &str = "\
Examples:
  relin train
  relin train tinyshakespeare-char --set data.source=shakespeare.txt
  relin train my.toml --set model.position=lrpe-unitary --set train.steps=200 --out runs/unitary
  relin train --set model.position='{ type = \"lrpe\", family = \"orthogonal\", basis = \"dct\" }'";

/// Name of the plot in a run's folder.
const PLOT_FILE: &str = "loss.svg";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    /// A TOML file, or the name of a built-in recipe
    #[arg(default_value = "quickstart")]
    recipe: String,
    /// Change a key of the recipe, for example train.steps=200 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of the run [default: runs/NAME, with the recipe's name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What to do with an unfinished run in that folder
    #[arg(long, value_enum, default_value_t = ResumeChoice::Auto)]
    resume: ResumeChoice,
    /// Pass over bad rows of tables of texts, and list them (data.skip_bad_rows=true)
    #[arg(long)]
    skip_bad_rows: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ResumeChoice {
    /// Go on where it stopped
    Auto,
    /// Begin anew
    None,
}

impl From<ResumeChoice> for Resume {
    fn from(choice: ResumeChoice) -> Self {
        match choice {
            ResumeChoice::Auto => Self::Auto,
            ResumeChoice::None => Self::None,
        }
    }
}

pub fn run(args: &TrainArgs, globals: &Globals, output: &Output) -> Result<(), Failure> {
    let recipe = recipe(args, globals)?;
    let out = args.out.clone().unwrap_or_else(|| default_folder(&args.recipe));
    let resume = args.resume.into();
    if let Standing::Finished(done) = standing(&out, &recipe, resume)? {
        output.note(format!("{} is finished; `--resume none` begins it anew", out.display()));
        // The folder may have moved since the line was written.
        return report(output, &Done { run: out, ..done });
    }
    let mut progress = Progress::new(*output);
    interrupt::stop_gracefully();
    let outcome = train(&recipe, &out, resume, &mut progress);
    progress.finish();
    match outcome? {
        Outcome::Finished(done) => {
            plot(&out)?;
            sample(&out, &recipe, output)?;
            report(output, &done)
        }
        Outcome::Stopped { step } => {
            plot(&out)?;
            Err(Failure::Interrupted { step })
        }
    }
}

fn recipe(args: &TrainArgs, globals: &Globals) -> Result<Recipe, Failure> {
    let mut sets = args.set.iter().map(|set| set.parse()).collect::<Result<Vec<Override>, _>>()?;
    if let Some(seed) = globals.seed {
        sets.push(format!("train.seed={seed}").parse()?);
    }
    if args.skip_bad_rows {
        sets.push("data.skip_bad_rows=true".parse()?);
    }
    let recipe = Recipe::find(&args.recipe, &sets)?;
    if args.skip_bad_rows {
        check_skipping(recipe.task)?;
    }
    Ok(recipe)
}

fn default_folder(recipe: &str) -> PathBuf {
    Path::new("runs").join(Path::new(recipe).file_stem().unwrap_or_default())
}

fn plot(out: &Path) -> Result<(), Failure> {
    let events = read_metrics(&out.join(METRICS_FILE))?;
    let chart = loss_chart(&out.file_name().unwrap_or_default().to_string_lossy(), &events);
    Ok(write_atomic(&out.join(PLOT_FILE), chart.svg().as_bytes())?)
}

/// A taste of what was learned.
fn sample(out: &Path, recipe: &Recipe, output: &Output) -> Result<(), Failure> {
    if output.is_quiet() || output.is_json() {
        return Ok(());
    }
    let sampler = SamplerOptions { temperature: 0.8, top_k: None, top_p: None, seed: recipe.train.seed };
    match recipe.task {
        Task::CausalLm => {}
        Task::Music => return sample_of_music(out, sampler, output),
        _ => return Ok(()),
    }
    let options = GenerateOptions {
        prompt: String::new(),
        max_new_tokens: 200,
        sampler,
        stop: Vec::new(),
        load_state: None,
        save_state: None,
    };
    let sample = generate(out, &options, &mut |_| {})?;
    output.note(format!("a sample:\n{}\n", sample.text.trim_end()));
    Ok(())
}

fn sample_of_music(out: &Path, sampler: SamplerOptions, output: &Output) -> Result<(), Failure> {
    let options = MusicOptions {
        prompt: None,
        prompt_tokens: None,
        max_new_tokens: 512,
        sampler,
        load_state: None,
        save_state: None,
    };
    output.note("a sample:");
    piece::write(&generate_music(out, &options, &mut |_| {})?, &out.join("sample.mid"), output)
}

fn report(output: &Output, done: &Done) -> Result<(), Failure> {
    let accuracy = done.valid_accuracy.map_or(String::new(), |accuracy| format!(", accuracy {accuracy:.4}"));
    output.result(format!(
        "validation loss {:.4}{accuracy} after {} steps in {} ({} tokens/s, {} parameters)\nrun: {}   plot: {}",
        done.valid_loss,
        done.steps,
        in_words(done.seconds),
        grouped(done.tokens_per_second.max(0.0) as usize),
        grouped(done.parameters),
        done.run.display(),
        done.run.join(PLOT_FILE).display()
    ));
    output.event(&Event::Done(done.clone()));
    Ok(())
}
