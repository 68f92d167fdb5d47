//! A study as a list of runs, every recipe of which was read and checked.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::StudyError;
use super::definition::{Axis, Cell, Study, StudyTask};
use super::settings::{moved, overlap, with_seed};
use crate::hexadecimal::hexadecimal;
use crate::recipe::{Override, Recipe, RecipeError, Task};

/// All runs of a study.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whose.
    pub study: Study,
    /// In the order in which they are made: all cells with the first seed, then all with the second, so that a study that is
    /// cut short has whole pairs.
    pub runs: Vec<Run>,
    /// Combinations that are not made.
    pub excluded: Vec<Excluded>,
}

/// One training, or one measurement.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it is, whatever it is called: equal recipes with equal seeds are one run.
    pub id: String,
    /// Name of its task, or of its measurement.
    pub task: String,
    /// Its combination; empty for measurements.
    pub cell: Cell,
    /// Its seed.
    pub seed: u64,
    /// Seconds that it may train.
    pub seconds: Option<f64>,
    /// What makes it by itself.
    pub command: String,
    /// What is done.
    pub work: Work,
}

/// What a run does.
#[derive(Clone, Debug)]
pub enum Work {
    /// Trains a recipe, and scores it at some contexts.
    Train {
        /// The recipe, its seed included.
        recipe: Box<Recipe>,
        /// The contexts.
        lengths: Vec<usize>,
    },
    /// Measures.
    Bench {
        /// Words after `relin bench`.
        words: Vec<String>,
    },
}

/// A combination that is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// Of which task.
    pub task: String,
    /// Its name.
    pub cell: String,
    /// Why.
    pub because: String,
}

impl Plan {
    /// The runs of a study, with `sets` changed in all of them.
    ///
    /// # Errors
    /// If a recipe cannot be read, does not make sense, or an override contradicts an axis.
    pub fn new(study: Study, sets: &[Override]) -> Result<Self, StudyError> {
        let planner = Planner { study: &study, sets };
        planner.check_sets()?;
        let (mut runs, mut excluded) = (planner.benches(), Vec::new());
        let mut made = Vec::new();
        for task in &study.tasks {
            for cell in &study.cells {
                match study.excluded(&task.name, cell) {
                    None => made.push((task, cell)),
                    Some(because) => excluded.push(Excluded {
                        task: task.name.clone(),
                        cell: study.cell_name(cell),
                        because: because.into(),
                    }),
                }
            }
        }
        for &seed in &study.seeds {
            for (task, cell) in &made {
                runs.push(planner.run(task, cell, seed)?);
            }
        }
        Ok(Self { runs, excluded, study })
    }

    /// A run in words: its task where there are several, its cell, its seed.
    pub fn run_name(&self, run: &Run) -> String {
        let several = self.study.tasks.len() + self.study.benches.len() > 1;
        let task = (several || run.cell.0.is_empty()).then(|| run.task.clone());
        let cell = (!run.cell.0.is_empty()).then(|| self.study.cell_name(&run.cell));
        let parts: Vec<String> = task.into_iter().chain(cell).collect();
        format!("{}, seed {}", parts.join(" · "), run.seed)
    }
}

/// `relin train` with everything that the study sets.
fn command(base: &str, settings: &[Override]) -> String {
    let replaced = |at: usize| settings[at + 1..].iter().any(|later| later.path == settings[at].path);
    let kept = settings.iter().enumerate().filter(|(at, _)| !replaced(*at));
    kept.fold(format!("relin train {base}"), |mut line, (_, set)| {
        let word = format!("{}={}", set.path, set.value);
        let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._-=/+".contains(c));
        // A shell takes everything between single quotes as it is, but for the quote itself.
        let word = if plain { word } else { format!("'{}'", word.replace('\'', "'\\''")) };
        let _ = write!(line, " --set {word}");
        line
    })
}

struct Planner<'a> {
    study: &'a Study,
    sets: &'a [Override],
}

impl Planner<'_> {
    fn wrong(&self, field: String, problem: impl Into<String>) -> StudyError {
        StudyError::Contradiction { name: self.study.place.clone(), field, problem: problem.into() }
    }

    /// An override is for all cells: it may neither undo an axis nor part the pairs.
    fn check_sets(&self) -> Result<(), StudyError> {
        for set in self.sets {
            let field = || format!("--set {}", set.path);
            if overlap(&set.path, "train.seed") {
                return Err(self.wrong(field(), "the seeds are those of the study, or of `--seeds`"));
            }
            let sets_it = |axis: &&Axis| {
                axis.values.iter().flat_map(|value| &value.settings).any(|own| overlap(&own.path, &set.path))
            };
            if let Some(axis) = self.study.axes.iter().find(sets_it) {
                return Err(self.wrong(field(), format!("axis `{}` sets it", axis.name)));
            }
        }
        Ok(())
    }

    fn benches(&self) -> Vec<Run> {
        let repeated =
            self.study.seeds.iter().flat_map(|seed| self.study.benches.iter().map(move |b| (*seed, b)));
        let run = |(seed, bench): (u64, &super::Bench)| Run {
            seconds: None,
            command: format!("relin bench {} --seed {seed}", bench.run),
            id: identity(&["bench", &bench.run, &seed.to_string()]),
            task: bench.name.clone(),
            cell: Cell(Vec::new()),
            seed,
            work: Work::Bench { words: bench.run.split_whitespace().map(str::to_owned).collect() },
        };
        repeated.map(run).collect()
    }

    fn run(&self, task: &StudyTask, cell: &Cell, seed: u64) -> Result<Run, StudyError> {
        let settings = self.settings(task, cell, seed);
        let recipe =
            Recipe::find(&task.base, &settings).map_err(|source| self.explained(task, cell, source))?;
        if !task.lengths.is_empty() && !has_lengths(recipe.task) {
            let problem = "examples of this task have lengths of their own: no `lengths` can be scored";
            return Err(self.wrong(format!("task `{}`", task.name), problem));
        }
        Ok(Run {
            id: training(&recipe),
            seconds: self.study.seconds,
            command: command(&task.base, &settings),
            task: task.name.clone(),
            cell: cell.clone(),
            seed,
            work: Work::Train { recipe: Box::new(recipe), lengths: task.lengths.clone() },
        })
    }

    /// Later ones win.
    fn settings(&self, task: &StudyTask, cell: &Cell, seed: u64) -> Vec<Override> {
        let mut all = [&self.study.settings[..], &task.settings].concat();
        for (axis, at) in self.study.axes.iter().zip(&cell.0) {
            all.extend(renamed(task, &axis.values[*at].settings));
        }
        all.extend_from_slice(self.sets);
        all.push(Override { path: "train.seed".into(), value: toml::Value::Integer(seed as i64) });
        with_seed(&all, seed)
    }

    /// Names the axis at fault, where a single one can be.
    fn explained(&self, task: &StudyTask, cell: &Cell, source: RecipeError) -> StudyError {
        let name = self.study.place.clone();
        let cell_name = match (self.study.cell_name(cell), self.study.tasks.len()) {
            (own, 1) if own.is_empty() => format!("recipe {}", task.base),
            (own, 1) => format!("cell {own}"),
            (own, _) => format!("task {}, cell {own}", task.name),
        };
        let field = source.field().unwrap_or_default();
        let mut guilty = Vec::new();
        for (axis, at) in self.study.axes.iter().zip(&cell.0) {
            let value = &axis.values[*at];
            let keys = renamed(task, &value.settings).into_iter().map(|set| set.path);
            guilty.extend(keys.filter(|key| overlap(key, field)).map(|key| (axis, value, key)));
        }
        let source = Box::new(source);
        match &guilty[..] {
            [(axis, value, key)] => StudyError::AxisValue {
                name,
                axis: axis.name.clone(),
                value: value.name.clone(),
                key: key.clone(),
                cell: cell_name,
                source,
            },
            _ => StudyError::Cell { name, cell: cell_name, source },
        }
    }
}

fn renamed(task: &StudyTask, settings: &[Override]) -> Vec<Override> {
    task.rename.iter().fold(settings.to_vec(), |settings, (from, to)| moved(&settings, from, to))
}

/// Whether a trained model can be scored at any length.
fn has_lengths(task: Task) -> bool {
    matches!(task, Task::CausalLm | Task::MaskedLm | Task::Music | Task::Probe)
}

/// [`Run::id`] of training a recipe.
pub(super) fn training(recipe: &Recipe) -> String {
    identity(&["train", &recipe.fingerprint()])
}

fn identity(parts: &[&str]) -> String {
    hexadecimal(&Sha256::digest(parts.join("\n"))[..6])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::{BUILTIN_STUDIES, SMALL};

    const STUDY: &str = r#"
        title = "t"
        question = "q"
        base = "quickstart"
        seeds = [0, 1]
        [set]
        "model.position" = { type = "lrpe", seed = "{seed}" }
        [[axis]]
        name = "basis"
        values = [
            { name = "identity", set = { "model.position.basis" = "identity" } },
            { name = "dct", set = { "model.position.basis" = "dct" } },
        ]
        [[axis]]
        name = "family"
        values = [
            { name = "unitary", set = { "model.position.family" = "unitary" } },
            { name = "orthogonal", set = { "model.position.family" = "orthogonal" } },
        ]
    "#;

    fn plan(text: &str, sets: &[&str]) -> Result<Plan, StudyError> {
        let sets: Vec<Override> = sets.iter().map(|set| set.parse().unwrap()).collect();
        Plan::new(Study::parse("s.toml", text, SMALL, None)?, &sets)
    }

    fn recipe(run: &Run) -> &Recipe {
        let Work::Train { recipe, .. } = &run.work else { panic!("{run:?}") };
        recipe
    }

    #[test]
    fn every_cell_has_every_seed_and_pairs_share_it() {
        let plan = plan(STUDY, &["train.steps=3"]).unwrap();
        assert_eq!(plan.runs.len(), 8);
        let seeds: Vec<u64> = plan.runs.iter().map(|run| run.seed).collect();
        assert_eq!(seeds, [0, 0, 0, 0, 1, 1, 1, 1]);
        for run in &plan.runs {
            let recipe = recipe(run);
            assert_eq!((recipe.train.seed, recipe.train.steps), (run.seed, 3));
            let position = serde_json::to_value(recipe.model.position.in_full()).unwrap();
            assert_eq!(position["seed"], run.seed);
        }
    }

    #[test]
    fn a_run_is_what_it_does_not_what_it_is_called() {
        let ids = |text: &str| -> Vec<String> {
            plan(text, &[]).unwrap().runs.into_iter().map(|run| run.id).collect()
        };
        let (own, renamed) = (ids(STUDY), ids(&STUDY.replace("name = \"dct\"", "name = \"cosines\"")));
        assert_eq!(own, renamed);
        let watched = ids(&STUDY.replace("[set]", "[set]\n\"train.log_every\" = 3"));
        assert_eq!(own, watched);
        let mut all = [own, ids(&STUDY.replace("[set]", "[set]\n\"train.beta1\" = 0.5"))].concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 16);
    }

    #[test]
    fn a_value_that_no_recipe_takes_is_named_before_anything_runs() {
        let said = |text: &str| {
            let error = plan(text, &[]).unwrap_err();
            assert!(error.is_usage());
            let mut causes: Vec<String> = Vec::new();
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(own) = cause {
                causes.push(own.to_string());
                cause = own.source();
            }
            causes.join(": ")
        };
        let unknown =
            said(&STUDY.replace("\"model.position.basis\" = \"dct\"", "\"model.position.basis\" = \"dcd\""));
        for word in ["axis `basis`", "value `dct`", "model.position.basis", "did you mean `dct`"] {
            assert!(unknown.contains(word), "{unknown}");
        }
        let key = said(&STUDY.replace("\"model.position.basis\" = \"dct\"", "\"model.positon\" = \"dct\""));
        assert!(key.contains("axis `basis`") && key.contains("did you mean `model.position`"), "{key}");
        // Nothing is wrong with either value by itself.
        let together = said(&STUDY.replace("\"dct\" }", "\"fourier\" }"));
        assert!(together.contains("cell dct · orthogonal") && together.contains("ourier"), "{together}");
    }

    #[test]
    fn overrides_may_not_undo_a_study() {
        let said = |set: &str| plan(STUDY, &[set]).unwrap_err().to_string();
        assert!(said("model.position=rope").contains("axis `basis` sets it"));
        assert!(said("train.seed=3").contains("--seeds"));
        let lengths =
            STUDY.replace("quickstart", "listops").replace("[set]", "[measure]\nlengths = [8]\n[set]");
        assert!(plan(&lengths, &[]).unwrap_err().to_string().contains("lengths"));
    }

    #[test]
    fn a_task_may_call_keys_by_other_names() {
        let text = STUDY.replace("base = \"quickstart\"", "").replace(
            "\"model.position\" = { type = \"lrpe\", seed = \"{seed}\" }",
            "[[task]]\nname = \"images\"\nbase = \"pathfinder\"\nrename = { \"model.position\" = \"model.position.inner\" }",
        );
        let plan = plan(&text, &[]).unwrap();
        let position = serde_json::to_value(recipe(&plan.runs[2]).model.position.in_full()).unwrap();
        assert_eq!((&position["type"], &position["inner"]["basis"]), (&"grid".into(), &"dct".into()));
    }

    #[test]
    fn every_study_can_be_planned_in_both_sizes() {
        let mut files: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../studies"))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let names: Vec<_> = BUILTIN_STUDIES.iter().map(|study| study.name).collect();
        assert_eq!(files, names);
        for name in names {
            for size in [SMALL, "paper"] {
                let plan = Study::find(name, size).and_then(|study| Plan::new(study, &[]));
                let plan = plan.unwrap_or_else(|e| {
                    panic!(
                        "{name}, {size}: {e}: {:?}",
                        std::error::Error::source(&e).map(ToString::to_string)
                    )
                });
                assert!(plan.runs.len() >= 3 && plan.study.seeds.len() >= 3, "{name}, {size}");
                let mut ids: Vec<&str> = plan.runs.iter().map(|run| run.id.as_str()).collect();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), plan.runs.len(), "{name}, {size}: cells that are one run");
            }
        }
    }
}
