//! `--dry-run`: what would be made, and how long it takes by the measure of a few steps of some runs.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use relin::recipe::Recipe;
use relin::study::{Ledger, Options, Plan, Run, Status, Work};
use relin::train::events::Event;
use serde::Serialize;

use super::launcher::Children;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::in_words;

/// Runs that are tried, at most.
const SAMPLES: usize = 6;
/// Updates of a trial; the first is not counted, because it also makes room.
const STEPS: usize = 5;
/// A trial that takes longer is ended, and judged by what it did.
const PATIENCE: Duration = Duration::from_secs(40);

/// What `--json` prints.
#[derive(Serialize)]
#[serde(tag = "event", rename = "plan")]
struct Planned<'a> {
    study: &'a str,
    size: &'a str,
    runs: usize,
    missing: usize,
    excluded: usize,
    jobs: usize,
    threads: usize,
    /// Absent if nothing could be tried, or nothing is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_seconds: Option<f64>,
}

/// What a run costs.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// Until the first update.
    begin: f64,
    /// One micro-batch.
    step: f64,
    /// One evaluation, if it was reached.
    evaluation: Option<f64>,
}

pub fn dry_run(plan: &Plan, out: &Path, options: &Options, output: &Output) -> Result<(), Failure> {
    let ledger = Ledger::open(out)?;
    let there =
        |run: &&Run| ledger.row(&run.id).is_none_or(|row| options.retry && row.status != Status::Finished);
    let missing: Vec<&Run> = plan.runs.iter().filter(there).collect();
    describe(plan, &missing, out, output);
    let estimated_seconds = estimate(plan, &missing, options, output)?;
    if let Some(seconds) = estimated_seconds {
        output.result(format!(
            "about {} in all, {} runs at a time with {} threads each; runs beside each other slow each other down, so it may be more",
            in_words(seconds),
            options.jobs,
            options.threads
        ));
    }
    output.event(&Planned {
        study: &plan.study.name,
        size: &plan.study.size,
        runs: plan.runs.len(),
        missing: missing.len(),
        excluded: plan.excluded.len(),
        jobs: options.jobs,
        threads: options.threads,
        estimated_seconds,
    });
    Ok(())
}

fn describe(plan: &Plan, missing: &[&Run], out: &Path, output: &Output) {
    let study = &plan.study;
    output.result(format!("{} ({})\n{}", study.title, study.size, study.question));
    for axis in &study.axes {
        let names: Vec<&str> = axis.values.iter().map(|value| value.name.as_str()).collect();
        output.result(format!("  {:<20} {}", axis.name, names.join(", ")));
    }
    let tasks: Vec<&str> = study.tasks.iter().map(|task| task.name.as_str()).collect();
    let benches: Vec<&str> = study.benches.iter().map(|bench| bench.name.as_str()).collect();
    for (name, words) in [("tasks", tasks), ("measurements", benches)] {
        if !words.is_empty() {
            output.result(format!("  {name:<20} {}", words.join(", ")));
        }
    }
    let seeds: Vec<String> = study.seeds.iter().map(u64::to_string).collect();
    output.result(format!("  {:<20} {}", "seeds", seeds.join(", ")));
    for excluded in &plan.excluded {
        output.note(format!("  left out: {} ({})", excluded.cell, excluded.because));
    }
    output.result(format!(
        "{} runs, {} of them to make, in {}",
        plan.runs.len(),
        missing.len(),
        out.display()
    ));
}

/// Seconds that the missing runs take.
fn estimate(
    plan: &Plan,
    missing: &[&Run],
    options: &Options,
    output: &Output,
) -> Result<Option<f64>, Failure> {
    let trainings: Vec<(&Run, &Recipe, usize)> = missing
        .iter()
        .filter_map(|run| match &run.work {
            Work::Train { recipe, lengths } => Some((*run, &**recipe, lengths.len())),
            Work::Bench { .. } => None,
        })
        .collect();
    if trainings.is_empty() {
        if !missing.is_empty() {
            output.result("measurements take as long as they say, `--seconds-per-measurement`: no estimate");
        }
        return Ok(None);
    }
    let folder = Trial(std::env::temp_dir().join(format!("relin-study-{}", std::process::id())));
    let children = Children::new(&folder.0, options.threads)?;
    let mut costs: Vec<(&str, Cost)> = Vec::new();
    for (at, (run, recipe, _)) in sample(&trainings).into_iter().enumerate() {
        match measure(&children, recipe, &folder.0.join(at.to_string())) {
            Ok(cost) => {
                let rate = format!("{:.1} ms a micro-batch", 1e3 * cost.step);
                let evaluation = cost
                    .evaluation
                    .map_or("an evaluation not reached".into(), |s| format!("{s:.1} s an evaluation"));
                output.note(format!("  tried {}: {rate}, {evaluation}", plan.run_name(run)));
                costs.push((&run.task, cost));
            }
            Err(reason) => {
                output.result(format!("no estimate: {} cannot be tried: {reason}", plan.run_name(run)));
                return Ok(None);
            }
        }
    }
    let of = |(run, recipe, lengths): &(&Run, &Recipe, usize)| {
        let own: Vec<Cost> =
            costs.iter().filter(|(task, _)| *task == run.task).map(|(_, cost)| *cost).collect();
        let alike = if own.is_empty() { costs.iter().map(|(_, cost)| *cost).collect() } else { own };
        seconds(recipe, *lengths, &mean(&alike), plan.study.seconds)
    };
    Ok(Some(trainings.iter().map(of).sum::<f64>() / options.jobs as f64))
}

/// One of every task, then others evenly among the rest.
fn sample<'a>(runs: &[(&'a Run, &'a Recipe, usize)]) -> Vec<(&'a Run, &'a Recipe, usize)> {
    let mut chosen: Vec<usize> = Vec::new();
    for (at, (run, ..)) in runs.iter().enumerate() {
        if chosen.iter().all(|&other| runs[other].0.task != run.task) {
            chosen.push(at);
        }
    }
    let more = SAMPLES.saturating_sub(chosen.len()).min(runs.len());
    chosen.extend((0..more).map(|at| (2 * at + 1) * runs.len() / (2 * more.max(1))));
    chosen.sort_unstable();
    chosen.dedup();
    chosen.into_iter().map(|at| runs[at]).collect()
}

fn mean(costs: &[Cost]) -> Cost {
    let of = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let evaluations: Vec<f64> = costs.iter().filter_map(|cost| cost.evaluation).collect();
    Cost {
        begin: of(costs.iter().map(|cost| cost.begin).collect()),
        step: of(costs.iter().map(|cost| cost.step).collect()),
        evaluation: (!evaluations.is_empty()).then(|| of(evaluations)),
    }
}

/// An evaluation at another context costs about what one on the way does.
fn seconds(recipe: &Recipe, lengths: usize, cost: &Cost, limit: Option<f64>) -> f64 {
    let train = &recipe.train;
    let evaluations = match train.eval_every {
        0 => 1,
        every => train.steps.div_ceil(every),
    };
    let updates = (train.steps * train.gradient_accumulation) as f64 * cost.step;
    let evaluation = cost.evaluation.unwrap_or(0.0);
    let training = cost.begin + updates + evaluations as f64 * evaluation;
    limit.map_or(training, |limit| training.min(limit)) + lengths as f64 * evaluation
}

/// The first updates of a recipe, timed as their events arrive.
fn measure(children: &Children, recipe: &Recipe, folder: &Path) -> Result<Cost, String> {
    let mut recipe = recipe.clone();
    recipe.train.steps = STEPS;
    recipe.train.gradient_accumulation = 1;
    (recipe.train.eval_every, recipe.train.save_every, recipe.train.log_every) = (0, 0, 1);
    let mut command = children.train(&recipe, folder, &[], None)?;
    let log = folder.join("log.txt");
    let file = std::fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(file)
        .spawn()
        .map_err(|e| format!("cannot start a process: {e}"))?;
    let (sender, events) = mpsc::channel();
    let out = child.stdout.take().map(BufReader::new);
    std::thread::spawn(move || {
        for line in out.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
            if let Ok(event) = serde_json::from_str::<Event>(&line) {
                let _ = sender.send((began.elapsed().as_secs_f64(), event));
            }
        }
    });
    let mut steps = Vec::new();
    let mut evaluation = None;
    while let Some(left) = PATIENCE.checked_sub(began.elapsed()) {
        match events.recv_timeout(left) {
            Ok((at, Event::Step(_))) => steps.push(at),
            Ok((at, Event::Eval(_))) => evaluation = steps.last().map(|last| at - last),
            Ok((_, Event::Done(_))) => {}
            Err(_) => break,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let said = said.trim().trim_start_matches("error: ").replace('\n', " ");
        let slow = || format!("no update within {} s", PATIENCE.as_secs());
        return Err(if said.is_empty() { slow() } else { said });
    };
    let (begin, step) = match steps.len() {
        1 => (0.0, *first),
        n => (*first, (last - first) / (n - 1) as f64),
    };
    Ok(Cost { begin, step, evaluation })
}

/// A folder that goes when this value does.
struct Trial(PathBuf);

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
