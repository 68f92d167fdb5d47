//! How a study is watched: on a terminal a bar for the study and one for every run that goes on; elsewhere plain lines.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use relin::study::{Audience, Plan, Row, Run, Status, Tick, Work};
use serde::Serialize;

use crate::interrupt;
use crate::output::Output;
use crate::progress::in_words;

/// Shows a study's runs.
pub struct Live<'a> {
    plan: &'a Plan,
    output: Output,
    bars: Option<Bars>,
    began: Instant,
    missing: usize,
    ended: usize,
}

struct Bars {
    all: MultiProgress,
    study: ProgressBar,
    runs: BTreeMap<String, ProgressBar>,
}

/// A recorded run, as `--json` prints it.
#[derive(Serialize)]
#[serde(tag = "event", rename = "run")]
struct Recorded<'a> {
    #[serde(flatten)]
    row: &'a Row,
}

impl<'a> Live<'a> {
    pub fn new(plan: &'a Plan, output: Output) -> Self {
        let bars = (!output.is_quiet() && std::io::stderr().is_terminal()).then(|| {
            let all = MultiProgress::new();
            let study = all.add(bar("{bar:30.green/dim} {pos}/{len} runs  {msg}"));
            Bars { all, study, runs: BTreeMap::new() }
        });
        Self { plan, output, bars, began: Instant::now(), missing: 0, ended: 0 }
    }

    /// Leaves the terminal to others.
    pub fn finish(&self) {
        if let Some(bars) = &self.bars {
            bars.runs.values().for_each(ProgressBar::finish_and_clear);
            bars.study.finish_and_clear();
        }
    }

    fn left(&self) -> String {
        let left = self.missing.saturating_sub(self.ended) as f64;
        in_words(self.began.elapsed().as_secs_f64() * left / self.ended.max(1) as f64)
    }

    fn say(&self, words: String) {
        match &self.bars {
            Some(bars) => bars.all.suspend(|| self.output.note(words)),
            None => self.output.note(words),
        }
    }
}

impl Audience for Live<'_> {
    fn began(&mut self, missing: usize, all: usize) {
        self.missing = missing;
        let there = all - missing.min(all);
        self.say(format!("{}: {missing} runs to make, {there} of {all} are there", self.plan.study.title));
        if let Some(bars) = &self.bars {
            bars.study.set_length(missing as u64);
        }
    }

    fn started(&mut self, run: &Run) {
        let steps = match &run.work {
            Work::Train { recipe, .. } => recipe.train.steps,
            Work::Bench { .. } => 1,
        };
        if let Some(bars) = &mut self.bars {
            let own = bars
                .all
                .insert_before(&bars.study, bar("  {prefix:40!} {bar:20.green/dim} {pos}/{len}  {msg}"));
            own.set_prefix(self.plan.run_name(run));
            own.set_length(steps as u64);
            bars.runs.insert(run.id.clone(), own);
        }
    }

    fn tick(&mut self, run: &Run, tick: Tick) {
        if let Some(own) = self.bars.as_ref().and_then(|bars| bars.runs.get(&run.id)) {
            own.set_position(tick.step as u64);
            own.set_message(format!("loss {:.4}", tick.loss));
        }
    }

    fn ended(&mut self, run: &Run, row: &Row) {
        self.ended += 1;
        self.output.event(&Recorded { row });
        let left = self.left();
        if let Some(bars) = &mut self.bars {
            if let Some(own) = bars.runs.remove(&run.id) {
                own.finish_and_clear();
            }
            bars.study.inc(1);
            bars.study.set_message(format!("{left} left"));
        }
        self.say(format!(
            "{:>4}/{}  {:<48} {}  {left} left",
            self.ended,
            self.missing,
            self.plan.run_name(run),
            outcome(row)
        ));
    }

    fn should_stop(&self) -> bool {
        interrupt::requested()
    }
}

fn outcome(row: &Row) -> String {
    let seconds = row.measured.seconds.map_or(String::new(), |seconds| format!("  {}", in_words(seconds)));
    let number = |name: &str, value: Option<f64>| value.map(|value| format!("{name} {value:.4}"));
    match row.status {
        Status::Finished => {
            let scores = [
                number("loss", row.measured.valid_loss),
                number("accuracy", row.measured.valid_accuracy),
                (!row.measured.measurements.is_empty())
                    .then(|| format!("{} measurements", row.measured.measurements.len())),
            ];
            format!("{}{seconds}", scores.into_iter().flatten().collect::<Vec<_>>().join("  "))
        }
        status => format!("{}: {}", status.words(), row.reason.as_deref().unwrap_or_default()),
    }
}

fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.progress_chars("━━─"))
}
