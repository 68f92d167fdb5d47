//! What is said of made-up results.

use super::comparison::LEVEL;
use super::ranking::kendall;
use super::*;
use crate::study::definition::ScoreKind;
use crate::study::ledger::{Measured, Row, Status};
use crate::study::plan::Run;
use crate::study::{SMALL, Study};

const STUDY: &str = r#"
    title = "t"
    question = "q"
    seeds = [0, 1, 2]
    baseline = { a = "x" }
    [[task]]
    name = "text"
    base = "quickstart"
    [[task]]
    name = "lags"
    base = "lag-retrieval"
    [[axis]]
    name = "a"
    values = [{ name = "x" }, { name = "y", set = { train.beta1 = 0.5 } }, { name = "z", set = { train.beta1 = 0.6 } }]
    [[axis]]
    name = "b"
    values = [{ name = "1" }, { name = "2", set = { train.eps = 1e-6 } }]
"#;

fn plan() -> Plan {
    Plan::new(Study::parse("s.toml", STUDY, SMALL, None).unwrap(), &[]).unwrap()
}

/// Rows by what `measured` says of a run.
fn ledger(plan: &Plan, measured: impl Fn(&Run) -> Option<Result<Measured, Status>>) -> Ledger {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path()).unwrap();
    for run in &plan.runs {
        let Some(end) = measured(run) else { continue };
        let (status, measured) = match end {
            Ok(measured) => (Status::Finished, measured),
            Err(status) => (status, Measured::default()),
        };
        let row = Row {
            run: run.id.clone(),
            study: "s".into(),
            size: SMALL.into(),
            task: run.task.clone(),
            cell: Default::default(),
            seed: run.seed,
            status,
            reason: Some("because".into()),
            measured,
            threads: 1,
            version: "0".into(),
            revision: Some("r".into()),
            command: String::new(),
            recipe: None,
        };
        ledger.append(row).unwrap();
    }
    ledger
}

/// y is better than x by 0.5 whatever the seed, z by chance alone; seeds differ by more than both.
fn score(run: &Run) -> Measured {
    let noise = [3.0, 7.0, 4.0][run.seed as usize];
    let own = match run.cell.0[0] {
        0 => 0.0,
        1 => -0.5 + 0.001 * run.seed as f64,
        _ => [0.3, -0.4, 0.05][run.seed as usize],
    };
    match run.task.as_str() {
        "text" => Measured { valid_loss: Some(noise + own), ..Measured::default() },
        _ => {
            Measured { valid_loss: Some(1.0), valid_accuracy: Some(0.5 - 0.01 * own), ..Measured::default() }
        }
    }
}

#[test]
fn pairs_separate_what_means_cannot_and_noise_stays_noise() {
    let plan = plan();
    let analysis = Analysis::new(&plan, &ledger(&plan, |run| Some(Ok(score(run)))));
    let text = &analysis.tasks[0];
    assert_eq!((text.score, analysis.tasks[1].score), (ScoreKind::Loss, ScoreKind::Accuracy));
    let answer = |task: &TaskResult, name: &str| {
        task.cells.iter().find(|cell| cell.name == name).unwrap().comparison.as_ref().map(|c| c.answer)
    };
    assert_eq!(answer(text, "x · 1"), None);
    assert_eq!(answer(text, "y · 2"), Some(Answer::Better));
    assert_eq!(answer(text, "z · 1"), Some(Answer::Undecided));
    // More accuracy is better.
    assert_eq!(answer(&analysis.tasks[1], "y · 1"), Some(Answer::Better));
    let cell = &text.cells[2];
    assert!(cell.summary.unwrap().deviation.unwrap() > 1.0);
    assert!((cell.comparison.as_ref().unwrap().difference.mean + 0.499).abs() < 1e-9);
    assert!(analysis.warnings.iter().any(|w| w.contains("4 of 8 differences")), "{:?}", analysis.warnings);
}

#[test]
fn an_axis_has_an_effect_over_all_cells_that_differ_in_it_alone() {
    let plan = plan();
    let analysis = Analysis::new(&plan, &ledger(&plan, |run| Some(Ok(score(run)))));
    let effects = &analysis.tasks[0].effects;
    assert_eq!(effects.iter().map(|e| (e.value.as_str(), e.pairs)).collect::<Vec<_>>(), [("y", 2), ("z", 2)]);
    assert_eq!(effects[0].comparison.answer, Answer::Better);
    assert_eq!(effects[1].comparison.answer, Answer::Undecided);
}

#[test]
fn ranks_and_their_agreement() {
    let plan = plan();
    let analysis = Analysis::new(&plan, &ledger(&plan, |run| Some(Ok(score(run)))));
    let ranks = analysis.ranks.unwrap();
    assert_eq!(ranks.tasks, ["text", "lags"]);
    assert!(ranks.rows[0].0.starts_with('y') && ranks.rows[0].2 == 1.5, "{ranks:?}");
    assert_eq!(kendall(&[vec![1.0, 2.0, 3.0], vec![1.0, 2.0, 3.0]]), Some(1.0));
    assert_eq!(kendall(&[vec![1.0, 2.0, 3.0], vec![3.0, 2.0, 1.0]]), Some(0.0));
}

#[test]
fn what_failed_is_listed_and_in_no_mean() {
    let plan = plan();
    let analysis = Analysis::new(
        &plan,
        &ledger(&plan, |run| match (run.cell.0[0], run.seed) {
            (1, 0) => Some(Err(Status::Diverged)),
            (2, 2) => None,
            _ => Some(Ok(score(run))),
        }),
    );
    let cell = analysis.tasks[0].cells.iter().find(|cell| cell.name == "y · 1").unwrap();
    assert_eq!((cell.failed, cell.scores.len()), (1, 2));
    assert_eq!(cell.comparison.as_ref().unwrap().difference.n, 2);
    assert_eq!(analysis.failures.len(), 4);
    assert!(analysis.failures[0].how == "diverged" && analysis.failures[0].reason == "because");
    assert_eq!(analysis.missing, 4);
    assert!(
        analysis.warnings.iter().any(|w| w.contains("4 of 36 runs have no result")),
        "{:?}",
        analysis.warnings
    );
}

#[test]
fn one_seed_separates_nothing() {
    let mut study = Study::parse("s.toml", STUDY, SMALL, None).unwrap();
    study.seeds = vec![1];
    let plan = Plan::new(study, &[]).unwrap();
    let analysis = Analysis::new(&plan, &ledger(&plan, |run| Some(Ok(score(run)))));
    let cell = analysis.tasks[0].cells.iter().find(|cell| cell.name == "y · 1").unwrap();
    assert_eq!(cell.comparison.as_ref().unwrap().answer, Answer::TooFewSeeds);
    assert!(analysis.warnings.iter().any(|w| w.contains("one seed")), "{:?}", analysis.warnings);
    assert!(analysis.tasks[0].resolution.is_none());
}

/// Differences that happen to be nearly equal make any interval narrow.
#[test]
fn two_seeds_are_sure_of_nothing() {
    let mut study = Study::parse("s.toml", STUDY, SMALL, None).unwrap();
    study.seeds = vec![0, 1];
    let plan = Plan::new(study, &[]).unwrap();
    let analysis = Analysis::new(&plan, &ledger(&plan, |run| Some(Ok(score(run)))));
    let cell = analysis.tasks[0].cells.iter().find(|cell| cell.name == "y · 1").unwrap();
    let comparison = cell.comparison.as_ref().unwrap();
    assert!(comparison.adjusted.unwrap() < LEVEL);
    assert_eq!(comparison.answer, Answer::PerhapsBetter);
}

#[test]
fn results_of_several_revisions_are_pointed_out() {
    let plan = plan();
    let mut ledger = ledger(&plan, |run| Some(Ok(score(run))));
    let folder = tempfile::tempdir().unwrap();
    let mut mixed = Ledger::open(folder.path()).unwrap();
    for (at, row) in ledger.rows().to_vec().into_iter().enumerate() {
        mixed.append(Row { revision: Some(format!("r{}", at % 2)), ..row }).unwrap();
    }
    ledger = mixed;
    let warnings = Analysis::new(&plan, &ledger).warnings;
    assert!(warnings.iter().any(|w| w.contains("r0, r1")), "{warnings:?}");
}
