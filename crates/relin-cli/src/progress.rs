//! How a training run is watched: a bar on a terminal, plain lines elsewhere, machine lines on request.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use relin::train::events::{Eval, Event, Observer, Start, Step};

use crate::interrupt;
use crate::output::Output;

/// Between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Shows a run's events.
pub struct Progress {
    output: Output,
    show: Show,
    steps: usize,
    began: Instant,
    /// Updates of this call begin here.
    first: usize,
    last_valid: Option<f64>,
}

enum Show {
    Nothing,
    Bar(ProgressBar),
    Lines { last: Option<Instant> },
}

impl Show {
    /// `last` is when the last plain line was said.
    fn new(output: &Output, last: Option<Instant>) -> Self {
        match (output.is_quiet(), std::io::stderr().is_terminal()) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Bar(bar()),
            (false, false) => Self::Lines { last },
        }
    }
}

impl Progress {
    pub fn new(output: Output) -> Self {
        let show = Show::new(&output, None);
        Self { output, show, steps: 0, began: Instant::now(), first: 0, last_valid: None }
    }

    /// Leaves the terminal to others.
    pub fn finish(&self) {
        if let Show::Bar(bar) = &self.show {
            bar.finish_and_clear();
        }
    }

    fn say(&self, words: String) {
        match &self.show {
            Show::Nothing => {}
            Show::Bar(bar) => bar.suspend(|| self.output.note(words)),
            Show::Lines { .. } => self.output.note(words),
        }
    }

    fn eta(&self, step: usize) -> String {
        let made = step.saturating_sub(self.first).max(1) as f64;
        let left = self.steps.saturating_sub(step) as f64;
        in_words(self.began.elapsed().as_secs_f64() * left / made)
    }
}

impl Observer for Progress {
    fn started(&mut self, start: &Start) {
        (self.steps, self.first, self.began) = (start.steps, start.step, Instant::now());
        let from =
            if start.step > 0 { format!(", going on after step {}", start.step) } else { String::new() };
        self.say(format!(
            "{} parameters, {} steps of {} tokens{from}",
            grouped(start.parameters),
            start.steps,
            grouped(start.tokens_per_step)
        ));
        if let Show::Bar(bar) = &self.show {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.set_length(start.steps as u64);
            bar.set_position(start.step as u64);
        }
    }

    fn warning(&mut self, text: &str) {
        self.output.warning(text);
    }

    fn step(&mut self, step: &Step) {
        self.output.event(&Event::Step(step.clone()));
        let rate = format!("{} tokens/s", grouped(step.tokens_per_second.max(0.0) as usize));
        let eta = self.eta(step.step);
        match &mut self.show {
            Show::Nothing => {}
            Show::Bar(bar) => {
                let valid = self.last_valid.map_or(String::new(), |loss| format!("  valid {loss:.4}"));
                bar.set_message(format!("loss {:.4}{valid}  {rate}  {eta} left", step.loss));
                bar.set_position(step.step as u64);
            }
            Show::Lines { last } => {
                let due = last.is_none_or(|last| last.elapsed() >= PLAIN_EVERY) || step.step == self.steps;
                if due {
                    *last = Some(Instant::now());
                    let (loss, number, steps) = (step.loss, step.step, self.steps);
                    self.output.note(format!("step {number}/{steps}  loss {loss:.4}  {rate}  {eta} left"));
                }
            }
        }
    }

    fn eval(&mut self, eval: &Eval) {
        self.output.event(&Event::Eval(eval.clone()));
        self.last_valid = Some(eval.valid_loss);
        let accuracy = eval.valid_accuracy.map_or(String::new(), |share| format!("  accuracy {share:.4}"));
        let clamped = eval
            .clamped
            .filter(|share| *share > 0.0)
            .map_or(String::new(), |share| format!("  {:.1} % of the denominators below eps", 100.0 * share));
        self.say(format!("step {}  validation loss {:.4}{accuracy}{clamped}", eval.step, eval.valid_loss));
    }

    fn should_stop(&self) -> bool {
        interrupt::requested()
    }
}

/// Shows how many of a number of things are done.
pub struct Count {
    output: Output,
    what: &'static str,
    show: Show,
}

impl Count {
    /// Of `what`, in the plural.
    pub fn new(output: &Output, what: &'static str) -> Self {
        // What takes less time is not worth a line.
        Self { output: *output, what, show: Show::new(output, Some(Instant::now())) }
    }

    /// To be told how many are done and how many there are.
    pub fn watch(mut self) -> impl FnMut(usize, usize) {
        move |done, all| match &mut self.show {
            Show::Nothing => {}
            Show::Bar(bar) => {
                if bar.length() != Some(all as u64) {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                    bar.set_length(all as u64);
                    bar.set_message(self.what);
                }
                bar.set_position(done as u64);
            }
            Show::Lines { last } => {
                if last.is_none_or(|last| last.elapsed() >= PLAIN_EVERY) {
                    *last = Some(Instant::now());
                    self.output.note(format!("{} of {} {}", grouped(done), grouped(all), self.what));
                }
            }
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        if let Show::Bar(bar) = &self.show {
            bar.finish_and_clear();
        }
    }
}

/// Hidden until the run begins, so that nothing is drawn over a refusal.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30.green/dim} {pos}/{len}  {msg}");
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━─"))
}

/// `1234567` as `1 234 567`.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `3725.0` as `1 h 02 min`.
pub fn in_words(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_in_words() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(in_words(59.4), "59 s");
        assert_eq!(in_words(61.0), "1 min 01 s");
        assert_eq!(in_words(3725.0), "1 h 02 min");
    }
}
