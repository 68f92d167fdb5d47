//! Timing on a machine that others use too: what is compared alternates, and medians are taken.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::error::BenchError;
use super::machine::Sgemm;

/// Runs once and says how many seconds counted.
pub type Case<'a> = Box<dyn FnMut() -> Result<f64, BenchError> + 'a>;

/// Rounds that are made however long they take.
const ROUNDS: usize = 3;
/// A case is repeated for this long before the next one has its turn.
const TURN: Duration = Duration::from_millis(20);

/// Times of one case.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// Seconds of every call.
    pub calls: Vec<f64>,
    /// Median of each round.
    pub rounds: Vec<f64>,
    /// GFLOP/s of matrix products just before and just after each turn.
    sgemm: Vec<f64>,
}

impl Times {
    pub fn median(&self) -> f64 {
        median(&self.calls)
    }

    pub fn least(&self) -> f64 {
        self.calls.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn sgemm_gflops(&self) -> f64 {
        median(&self.sgemm)
    }

    /// Median over the rounds of how much longer this took than `other` in the same round, as a share of it.
    pub fn overhead(&self, other: &Self) -> f64 {
        let ratios: Vec<f64> =
            self.rounds.iter().zip(&other.rounds).map(|(own, other)| own / other).collect();
        median(&ratios) - 1.0
    }
}

/// Times cases in turn, round after round, until each had `seconds` on average. Every round begins with another case
/// than the one before, and a matrix product is timed between any two turns. The first call of a turn of several
/// warms up and is dropped.
///
/// # Errors
/// The first of the cases' own.
pub fn compare(seconds: f64, sgemm: &Sgemm, cases: &mut [Case<'_>]) -> Result<Vec<Times>, BenchError> {
    let mut times = vec![Times::default(); cases.len()];
    let turn = TURN.min(Duration::from_secs_f64(seconds / ROUNDS as f64));
    let mut spent = Duration::ZERO;
    let budget = Duration::from_secs_f64(seconds).saturating_mul(cases.len() as u32);
    let (mut round, mut before) = (0, sgemm.gflops());
    while round < ROUNDS || spent < budget {
        for i in 0..cases.len() {
            let at = (round + i) % cases.len();
            let begin = Instant::now();
            take_turn(&mut cases[at], turn, &mut times[at])?;
            spent += begin.elapsed();
            let after = sgemm.gflops();
            times[at].sgemm.extend([before, after]);
            before = after;
        }
        round += 1;
    }
    Ok(times)
}

fn take_turn(case: &mut Case<'_>, turn: Duration, times: &mut Times) -> Result<(), BenchError> {
    let begin = Instant::now();
    let mut calls = vec![case()?];
    while begin.elapsed() < turn {
        calls.push(case()?);
    }
    let warm = if calls.len() > 1 { &calls[1..] } else { &calls };
    times.rounds.push(median(warm));
    times.calls.extend(warm);
    Ok(())
}

/// Seconds of a call, the release of its result included.
///
/// # Errors
/// The call's own.
pub fn timed<T>(work: impl FnOnce() -> Result<T, BenchError>) -> Result<f64, BenchError> {
    let begin = Instant::now();
    drop(black_box(work()?));
    Ok(begin.elapsed().as_secs_f64())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn cases_alternate_and_are_compared_within_rounds() {
        let order = std::cell::RefCell::new(Vec::new());
        let case = |name: char, seconds: f64| -> Case<'_> {
            let order = &order;
            let mut calls = 0.0;
            Box::new(move || {
                order.borrow_mut().push(name);
                std::thread::sleep(Duration::from_millis(1));
                calls += 1.0;
                // Drifts with the calls, the same way in both.
                Ok(seconds * (1.0 + calls))
            })
        };
        let mut cases = [case('a', 1.0), case('b', 1.5)];
        let times = compare(1e-9, &Sgemm::new(), &mut cases).unwrap();
        assert_eq!(*order.borrow(), ['a', 'b', 'b', 'a', 'a', 'b']);
        assert!((times[1].overhead(&times[0]) - 0.5).abs() < 1e-12);
        assert_eq!((times[0].median(), times[0].least()), (3.0, 2.0));
        assert!(times[0].sgemm_gflops() > 0.0);
    }
}
