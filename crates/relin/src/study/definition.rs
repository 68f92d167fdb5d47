//! A study as its file states it.
//!
//! ```toml
//! title = "Which basis?"
//! question = "Does the choice of P matter, and for which Λ?"
//! base = "tinyshakespeare-char"            # a recipe: a built-in one, or a file beside the study
//! seeds = [0, 1, 2]
//! baseline = { basis = "identity" }        # each cell is compared with the one that differs from it in the basis alone
//!
//! [set]                                    # keys of every run's recipe; "{seed}" stands for the seed of the run
//! train.steps = 400
//!
//! [budget]
//! seconds = 600                            # a run that takes longer is stopped, and listed as such
//!
//! [measure]
//! lengths = [64, 256, 1024]                # contexts at which every trained model is scored
//!
//! [[axis]]
//! name = "basis"
//! values = [
//!     { name = "identity", set = { "model.position.basis" = "identity" } },
//!     { name = "fourier", set = { "model.position.basis" = "fourier" } },
//! ]
//!
//! [[exclude]]                              # combinations that do not exist, and why
//! where = { basis = "fourier", family = ["orthogonal", "permutation"] }
//! because = "its P is complex"
//!
//! [size.paper]                             # `--size paper`: what replaces these keys there, each as a whole
//! base = "wikitext103-paper"
//! seeds = [0, 1, 2, 3, 4]
//! ```
//!
//! Instead of `base`, several tasks (`[[task]]`, each with `name`, `base`, and its own `set`, `lengths`, `score`, `rename`)
//! cross with all axes; scores of different tasks are never compared, their ranks are. Instead of recipes, `[[bench]]`
//! (`name` and `run`, the words after `relin bench`) makes a study of measurements, repeated for every seed. `cells` lists
//! the combinations to make, one name an axis each, where not all are wanted.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use super::StudyError;
use super::builtin::{BUILTIN_STUDIES, builtin};
use super::settings::{overlap, settings};
use crate::nearest::nearest;
use crate::recipe::Override;

/// The size that a file states without `[size.…]`.
pub const SMALL: &str = "small";

/// Before the name of a study that the binary carries.
const CARRIED: &str = "built-in study ";

/// A study, its names resolved.
#[derive(Clone, Debug)]
pub struct Study {
    /// Name of its file, without ending.
    pub name: String,
    /// What errors call it: a path, or words.
    pub place: String,
    /// Which of its sizes.
    pub size: String,
    /// In a few words.
    pub title: String,
    /// What it is to answer.
    pub question: String,
    /// The file's text.
    pub text: String,
    /// Seeds of the runs of every cell, or repetitions of every measurement.
    pub seeds: Vec<u64>,
    /// Keys set in every run.
    pub settings: Vec<Override>,
    /// Seconds that one run may train.
    pub seconds: Option<f64>,
    /// What is crossed.
    pub axes: Vec<Axis>,
    /// The combinations that are made.
    pub cells: Vec<Cell>,
    /// Those that are not, and why.
    pub exclusions: Vec<Exclusion>,
    /// The recipes that are trained.
    pub tasks: Vec<StudyTask>,
    /// What cells are compared with.
    pub baseline: Option<Baseline>,
    /// Measurements.
    pub benches: Vec<Bench>,
}

/// What is crossed with the other axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub values: Vec<AxisValue>,
}

/// A value of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisValue {
    /// Its name.
    pub name: String,
    /// What it means for the recipe.
    pub settings: Vec<Override>,
}

/// A combination: the index of a value for every axis.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell(pub Vec<usize>);

/// Combinations that are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Exclusion {
    /// For some of the axes (or `task`), the values concerned.
    pub place: BTreeMap<String, Vec<String>>,
    /// Why.
    pub because: String,
}

/// A recipe that all cells are trained on.
#[derive(Clone, Debug, PartialEq)]
pub struct StudyTask {
    /// Its name.
    pub name: String,
    /// A recipe's name or path.
    pub base: String,
    /// Keys that it sets.
    pub settings: Vec<Override>,
    /// Contexts at which trained models are scored.
    pub lengths: Vec<usize>,
    /// What is compared; accuracy where there is one, if not given.
    pub score: Option<ScoreKind>,
    /// What keys of the axes are called here.
    pub rename: Vec<(String, String)>,
}

/// What cells are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreKind {
    /// Nats a target on the validation split; less is better.
    Loss,
    /// Share of right answers; more is better.
    Accuracy,
}

/// What cells are compared with: on some axes one value, on the others their own.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline(pub Vec<Option<usize>>);

/// A measurement by `relin bench`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bench {
    /// Its name.
    pub name: String,
    /// The words after `relin bench`.
    pub run: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    title: String,
    question: String,
    base: Option<String>,
    seeds: Vec<u64>,
    baseline: Option<Value>,
    #[serde(default)]
    set: Table,
    #[serde(default)]
    budget: Budget,
    #[serde(default)]
    measure: Measure,
    #[serde(default)]
    axis: Vec<AxisDocument>,
    cells: Option<Vec<Vec<String>>>,
    #[serde(default)]
    exclude: Vec<ExcludeDocument>,
    #[serde(default)]
    task: Vec<TaskDocument>,
    #[serde(default)]
    bench: Vec<Bench>,
    #[serde(default)]
    size: BTreeMap<String, Table>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    steps: Option<i64>,
    seconds: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Measure {
    #[serde(default)]
    lengths: Vec<usize>,
    score: Option<ScoreKind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AxisDocument {
    name: String,
    values: Vec<ValueDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueDocument {
    name: String,
    #[serde(default)]
    set: Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExcludeDocument {
    r#where: BTreeMap<String, Names>,
    because: String,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskDocument {
    name: String,
    base: String,
    #[serde(default)]
    set: Table,
    lengths: Option<Vec<usize>>,
    score: Option<ScoreKind>,
    #[serde(default)]
    rename: BTreeMap<String, String>,
}

impl Study {
    /// The study of a file, or the built-in one of that name, in one of its sizes; a file wins.
    ///
    /// # Errors
    /// If there is neither, or as [`Study::parse`].
    pub fn find(name: &str, size: &str) -> Result<Self, StudyError> {
        let path = Path::new(name);
        if path.is_file() || name.contains(['/', '\\']) || path.extension().is_some_and(|e| e == "toml") {
            let unreadable = |source| StudyError::Unreadable { path: path.into(), source };
            let text = std::fs::read_to_string(path).map_err(unreadable)?;
            return Self::parse(name, &text, size, path.parent());
        }
        let Some(found) = builtin(name) else {
            let known: Vec<_> = BUILTIN_STUDIES.iter().map(|study| study.name).collect();
            let near = nearest(name, known.iter().copied()).unwrap_or_default().into();
            return Err(StudyError::Unknown { name: name.into(), near, known: known.join(", ") });
        };
        Self::parse(&format!("{CARRIED}{name}"), found.text, size, None)
    }

    /// The study that a text states; `folder` is where the recipes that it names may lie.
    ///
    /// # Errors
    /// On bad syntax, unknown keys and names, and parts that contradict each other. Recipes are checked by
    /// [`Plan::new`](super::Plan::new).
    pub fn parse(place: &str, text: &str, size: &str, folder: Option<&Path>) -> Result<Self, StudyError> {
        let reader = Reader { place, folder };
        let document: Document = toml::from_str(text).map_err(|e| syntax(place, text, &e))?;
        let document = reader.resized(text, document, size)?;
        reader.study(document, text, size)
    }

    /// The name of a cell: those of its values.
    pub fn cell_name(&self, cell: &Cell) -> String {
        self.value_names(cell).join(" · ")
    }

    /// The names of a cell's values, one an axis.
    pub fn value_names(&self, cell: &Cell) -> Vec<&str> {
        self.axes.iter().zip(&cell.0).map(|(axis, &at)| axis.values[at].name.as_str()).collect()
    }

    /// What the cell is compared with, if that is made; the baseline itself is compared with nothing.
    pub fn baseline_of(&self, cell: &Cell) -> Option<Cell> {
        let Baseline(fixed) = self.baseline.as_ref()?;
        let other = Cell(fixed.iter().zip(&cell.0).map(|(fixed, &own)| fixed.unwrap_or(own)).collect());
        (other != *cell && self.cells.contains(&other)).then_some(other)
    }

    /// Whether others are compared with the cell.
    pub fn is_baseline(&self, cell: &Cell) -> bool {
        self.baseline.as_ref().is_some_and(|Baseline(fixed)| {
            fixed.iter().zip(&cell.0).all(|(fixed, own)| fixed.is_none_or(|fixed| fixed == *own))
        })
    }

    /// Why a cell is not made on a task, if it is not.
    pub fn excluded(&self, task: &str, cell: &Cell) -> Option<&str> {
        let names = self.value_names(cell);
        let concerns = |exclusion: &&Exclusion| {
            exclusion.place.iter().all(|(axis, values)| {
                let own = match self.axes.iter().position(|known| known.name == *axis) {
                    Some(at) => names[at],
                    None => task,
                };
                values.iter().any(|value| value == own)
            })
        };
        self.exclusions.iter().find(concerns).map(|exclusion| exclusion.because.as_str())
    }
}

fn syntax(place: &str, text: &str, error: &toml::de::Error) -> StudyError {
    let before = error.span().map_or(0, |span| span.start);
    let line = text.bytes().take(before).filter(|&byte| byte == b'\n').count() + 1;
    StudyError::Syntax { name: place.into(), line, message: error.message().trim().into() }
}

struct Reader<'a> {
    place: &'a str,
    folder: Option<&'a Path>,
}

impl Reader<'_> {
    fn wrong(&self, field: impl Into<String>, problem: impl Into<String>) -> StudyError {
        StudyError::Contradiction { name: self.place.into(), field: field.into(), problem: problem.into() }
    }

    /// The document with the keys of a size in the place of its own.
    fn resized(&self, text: &str, document: Document, size: &str) -> Result<Document, StudyError> {
        let Some(keys) = document.size.get(size) else {
            if size == SMALL {
                return Ok(document);
            }
            let known: Vec<_> = [SMALL].into_iter().chain(document.size.keys().map(String::as_str)).collect();
            return Err(self.wrong("size", format!("there is no `{size}`, only {}", known.join(", "))));
        };
        let mut table: Table = toml::from_str(text).map_err(|e| syntax(self.place, text, &e))?;
        for (key, value) in keys {
            if matches!(key.as_str(), "title" | "question" | "size") {
                return Err(self.wrong(format!("size.{size}"), format!("`{key}` is the same for all sizes")));
            }
            // A base and tasks stand for each other.
            match key.as_str() {
                "base" => drop(table.remove("task")),
                "task" => drop(table.remove("base")),
                _ => {}
            }
            table.insert(key.clone(), value.clone());
        }
        let wrong = |e: toml::de::Error| self.wrong(format!("size.{size}"), e.message().trim());
        Value::Table(table).try_into().map_err(wrong)
    }

    fn study(&self, document: Document, text: &str, size: &str) -> Result<Study, StudyError> {
        let mut own = settings(&document.set);
        if let Some(steps) = document.budget.steps {
            own.insert(0, Override { path: "train.steps".into(), value: Value::Integer(steps) });
        }
        let seconds = document.budget.seconds;
        if let Some(seconds) = seconds.filter(|seconds| !(seconds.is_finite() && *seconds > 0.0)) {
            return Err(self.wrong("budget.seconds", format!("expected a number above 0, found {seconds}")));
        }
        self.check_seeds(&document.seeds)?;
        let axes = self.axes(document.axis)?;
        let tasks = self.tasks(&document.base, document.task, &document.measure, &document.bench)?;
        let exclusions = self.exclusions(document.exclude, &axes, &tasks)?;
        let baseline = document.baseline.map(|value| self.baseline(&value, &axes)).transpose()?;
        let cells = if tasks.is_empty() { Vec::new() } else { self.cells(document.cells, &axes)? };
        let file = Path::new(self.place.strip_prefix(CARRIED).unwrap_or(self.place));
        Ok(Study {
            name: file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            place: self.place.into(),
            size: size.into(),
            title: document.title,
            question: document.question,
            text: text.into(),
            seeds: document.seeds,
            settings: own,
            seconds,
            axes,
            cells,
            exclusions,
            tasks,
            baseline,
            benches: document.bench,
        })
    }

    fn check_seeds(&self, seeds: &[u64]) -> Result<(), StudyError> {
        let wrong = |found: String| {
            Err(self.wrong("seeds", format!("expected different seeds, at least one, found {found}")))
        };
        match seeds {
            [] => wrong("none".into()),
            _ => match seeds.iter().enumerate().find(|(at, seed)| seeds[..*at].contains(seed)) {
                Some((_, twice)) => wrong(format!("{twice} twice")),
                None => Ok(()),
            },
        }
    }

    fn axes(&self, documents: Vec<AxisDocument>) -> Result<Vec<Axis>, StudyError> {
        let mut axes: Vec<Axis> = Vec::new();
        for document in documents {
            let field = format!("axis `{}`", document.name);
            if document.name == "task" || axes.iter().any(|axis| axis.name == document.name) {
                return Err(self.wrong(field, "the name is taken"));
            }
            if document.values.is_empty() {
                return Err(self.wrong(field, "it has no values"));
            }
            let value = |value: ValueDocument| AxisValue { name: value.name, settings: settings(&value.set) };
            let axis = Axis { name: document.name, values: document.values.into_iter().map(value).collect() };
            self.check_axis(&axis, &axes)?;
            axes.push(axis);
        }
        Ok(axes)
    }

    fn check_axis(&self, axis: &Axis, others: &[Axis]) -> Result<(), StudyError> {
        let field = || format!("axis `{}`", axis.name);
        for (at, value) in axis.values.iter().enumerate() {
            if axis.values[..at].iter().any(|other| other.name == value.name) {
                return Err(self.wrong(field(), format!("two values are called `{}`", value.name)));
            }
            if value.settings.iter().any(|set| overlap(&set.path, "train.seed")) {
                return Err(
                    self.wrong(field(), "it sets `train.seed`, which `seeds` sets: pairs of runs share it")
                );
            }
        }
        let keys = |axis: &Axis| -> Vec<String> {
            axis.values.iter().flat_map(|value| value.settings.iter().map(|set| set.path.clone())).collect()
        };
        let own = keys(axis);
        for other in others {
            let theirs = keys(other);
            if let Some(key) = own.iter().find(|own| theirs.iter().any(|their| overlap(own, their))) {
                return Err(StudyError::SharedKey {
                    name: self.place.into(),
                    first: other.name.clone(),
                    second: axis.name.clone(),
                    key: key.clone(),
                });
            }
        }
        Ok(())
    }

    fn tasks(
        &self,
        base: &Option<String>,
        documents: Vec<TaskDocument>,
        measure: &Measure,
        benches: &[Bench],
    ) -> Result<Vec<StudyTask>, StudyError> {
        let kinds = usize::from(base.is_some())
            + usize::from(!documents.is_empty())
            + usize::from(!benches.is_empty());
        if kinds != 1 {
            return Err(self.wrong("base", "a study has either a `base`, or `[[task]]`s, or `[[bench]]`es"));
        }
        if let Some(base) = base {
            let (lengths, score) = (measure.lengths.clone(), measure.score);
            let (name, base) = (base.clone(), self.base(base));
            return Ok(vec![StudyTask {
                name,
                base,
                settings: Vec::new(),
                lengths,
                score,
                rename: Vec::new(),
            }]);
        }
        let task = |task: TaskDocument| StudyTask {
            base: self.base(&task.base),
            settings: settings(&task.set),
            lengths: task.lengths.unwrap_or_else(|| measure.lengths.clone()),
            score: task.score.or(measure.score),
            rename: task.rename.into_iter().collect(),
            name: task.name,
        };
        let tasks: Vec<StudyTask> = documents.into_iter().map(task).collect();
        let twice =
            tasks.iter().enumerate().find(|(at, task)| tasks[..*at].iter().any(|o| o.name == task.name));
        match twice {
            Some((_, task)) => Err(self.wrong("task", format!("two are called `{}`", task.name))),
            None => Ok(tasks),
        }
    }

    /// A recipe's file may lie beside the study's.
    fn base(&self, base: &str) -> String {
        let beside = self.folder.map(|folder| folder.join(base)).filter(|path| path.is_file());
        beside.map_or_else(|| base.into(), |path| path.to_string_lossy().into_owned())
    }

    fn index(&self, field: &str, axis: &Axis, name: &str) -> Result<usize, StudyError> {
        axis.values.iter().position(|value| value.name == name).ok_or_else(|| {
            let near = nearest(name, axis.values.iter().map(|value| value.name.as_str())).unwrap_or_default();
            let problem = format!("axis `{}` has no value `{name}`; did you mean `{near}`?", axis.name);
            self.wrong(field, problem)
        })
    }

    fn axis<'a>(&self, field: &str, axes: &'a [Axis], name: &str) -> Result<(usize, &'a Axis), StudyError> {
        axes.iter().enumerate().find(|(_, axis)| axis.name == name).ok_or_else(|| {
            let near = nearest(name, axes.iter().map(|axis| axis.name.as_str())).unwrap_or_default();
            self.wrong(field, format!("there is no axis `{name}`; did you mean `{near}`?"))
        })
    }

    fn exclusions(
        &self,
        documents: Vec<ExcludeDocument>,
        axes: &[Axis],
        tasks: &[StudyTask],
    ) -> Result<Vec<Exclusion>, StudyError> {
        let mut exclusions = Vec::new();
        for document in documents {
            let mut place = BTreeMap::new();
            for (name, values) in document.r#where {
                let values = match values {
                    Names::One(value) => vec![value],
                    Names::Several(values) => values,
                };
                if name == "task" {
                    if let Some(unknown) = values.iter().find(|v| tasks.iter().all(|task| task.name != **v)) {
                        return Err(self.wrong("exclude.where", format!("there is no task `{unknown}`")));
                    }
                } else {
                    let (_, axis) = self.axis("exclude.where", axes, &name)?;
                    values.iter().try_for_each(|value| self.index("exclude.where", axis, value).map(drop))?;
                }
                place.insert(name, values);
            }
            exclusions.push(Exclusion { place, because: document.because });
        }
        Ok(exclusions)
    }

    fn baseline(&self, value: &Value, axes: &[Axis]) -> Result<Baseline, StudyError> {
        let mut fixed = vec![None; axes.len()];
        match (value, axes) {
            (Value::String(name), [axis]) => fixed[0] = Some(self.index("baseline", axis, name)?),
            (Value::Table(names), _) => {
                for (axis, name) in names {
                    let (at, axis) = self.axis("baseline", axes, axis)?;
                    let name =
                        name.as_str().ok_or_else(|| self.wrong("baseline", "expected names of values"))?;
                    fixed[at] = Some(self.index("baseline", axis, name)?);
                }
            }
            _ => {
                let expected =
                    "expected a table such as { axis = \"value\" }, or, with a single axis, a value's name";
                return Err(self.wrong("baseline", expected));
            }
        }
        Ok(Baseline(fixed))
    }

    fn cells(&self, listed: Option<Vec<Vec<String>>>, axes: &[Axis]) -> Result<Vec<Cell>, StudyError> {
        let Some(listed) = listed else { return Ok(crossed(axes)) };
        let mut cells = Vec::new();
        for names in listed {
            if names.len() != axes.len() {
                let problem =
                    format!("[{}] has {} names for {} axes", names.join(", "), names.len(), axes.len());
                return Err(self.wrong("cells", problem));
            }
            let values = axes.iter().zip(&names).map(|(axis, name)| self.index("cells", axis, name));
            let cell = Cell(values.collect::<Result<_, _>>()?);
            if cells.contains(&cell) {
                return Err(self.wrong("cells", format!("[{}] stands there twice", names.join(", "))));
            }
            cells.push(cell);
        }
        Ok(cells)
    }
}

/// All combinations; the last axis turns fastest.
fn crossed(axes: &[Axis]) -> Vec<Cell> {
    axes.iter().fold(vec![Cell(Vec::new())], |cells, axis| {
        let longer = |cell: &Cell| -> Vec<Cell> {
            (0..axis.values.len()).map(|at| Cell([&cell.0[..], &[at]].concat())).collect()
        };
        cells.iter().flat_map(longer).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_AXES: &str = r#"
        title = "t"
        question = "q"
        base = "quickstart"
        seeds = [0, 1]
        baseline = { a = "x" }
        [set]
        train.steps = 5
        [[axis]]
        name = "a"
        values = [{ name = "x" }, { name = "y", set = { "train.beta1" = 0.8 } }]
        [[axis]]
        name = "b"
        values = [{ name = "1", set = { train.beta2 = 0.9 } }, { name = "2" }]
        [[exclude]]
        where = { a = "y", b = ["2"] }
        because = "no"
        [size.paper]
        seeds = [3]
        set = { "train.steps" = 7 }
    "#;

    fn parse(text: &str, size: &str) -> Result<Study, StudyError> {
        Study::parse("s.toml", text, size, None)
    }

    #[track_caller]
    fn refused(text: &str, words: &[&str]) {
        let error = parse(text, SMALL).map(drop).unwrap_err();
        let said = error.to_string();
        assert!(words.iter().all(|word| said.contains(word)) && error.is_usage(), "{said}");
    }

    #[test]
    fn axes_cross_and_cells_find_what_they_are_compared_with() {
        let study = parse(TWO_AXES, SMALL).unwrap();
        let names: Vec<String> = study.cells.iter().map(|cell| study.cell_name(cell)).collect();
        assert_eq!(names, ["x · 1", "x · 2", "y · 1", "y · 2"]);
        assert_eq!(study.baseline_of(&Cell(vec![1, 1])), Some(Cell(vec![0, 1])));
        assert_eq!(study.baseline_of(&Cell(vec![0, 1])), None);
        assert!(study.is_baseline(&Cell(vec![0, 1])) && !study.is_baseline(&Cell(vec![1, 0])));
        assert_eq!(study.excluded("quickstart", &Cell(vec![1, 1])), Some("no"));
        assert_eq!(study.excluded("quickstart", &Cell(vec![1, 0])), None);
        assert_eq!((study.name.as_str(), study.seeds.len()), ("s", 2));
    }

    #[test]
    fn a_size_replaces_keys() {
        let study = parse(TWO_AXES, "paper").unwrap();
        assert_eq!(study.seeds, [3]);
        let steps: Vec<_> = study.settings.iter().filter_map(|set| set.value.as_integer()).collect();
        assert_eq!(steps, [7]);
        let error = parse(TWO_AXES, "huge").unwrap_err().to_string();
        assert!(error.contains("huge") && error.contains("small, paper"), "{error}");
    }

    #[test]
    fn cells_may_be_listed() {
        let listed = TWO_AXES.replace("[set]", "cells = [[\"y\", \"1\"], [\"x\", \"1\"]]\n[set]");
        assert_eq!(parse(&listed, SMALL).unwrap().cells, [Cell(vec![1, 0]), Cell(vec![0, 0])]);
        refused(&listed.replace("[\"y\", \"1\"]", "[\"y\"]"), &["cells", "1 names for 2 axes"]);
        refused(&listed.replace("[\"y\", \"1\"]", "[\"x\", \"1\"]"), &["twice"]);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let shared = TWO_AXES.replace("train.beta2 = 0.9", "\"train.beta1\" = 0.9");
        refused(&shared, &["`a` and `b`", "train.beta1"]);
        let above = TWO_AXES.replace("\"train.beta1\" = 0.8", "\"model.position.basis\" = \"dct\"");
        let above = above.replace("train.beta2 = 0.9", "model.position = { type = \"lrpe\" }");
        refused(&above, &["`a` and `b`", "model.position"]);
        refused(&TWO_AXES.replace("seeds = [0, 1]", "seeds = []"), &["seeds", "none"]);
        refused(&TWO_AXES.replace("seeds = [0, 1]", "seeds = [1, 1]"), &["1 twice"]);
        refused(&TWO_AXES.replace("\"train.beta1\" = 0.8", "\"train.seed\" = 8"), &["train.seed"]);
        refused(
            &TWO_AXES.replace("baseline = { a = \"x\" }", "baseline = { a = \"z\" }"),
            &["`z`", "did you mean `x`"],
        );
        refused(&TWO_AXES.replace("baseline = { a = \"x\" }", "baseline = \"x\""), &["baseline"]);
        refused(&TWO_AXES.replace("a = \"y\", b", "c = \"y\", b"), &["no axis `c`"]);
        refused(&TWO_AXES.replace("base = \"quickstart\"", ""), &["[[task]]"]);
        refused(&TWO_AXES.replace("title", "titel"), &["titel", "line 2"]);
        refused("title = ", &["line 1"]);
        refused(&TWO_AXES.replace("[set]", "[budget]\nseconds = -1\n[set]"), &["budget.seconds", "-1"]);
    }

    #[test]
    fn an_unknown_study_names_the_nearest() {
        let error = Study::find("bassis", SMALL).unwrap_err().to_string();
        assert!(error.contains("did you mean `basis`"), "{error}");
    }
}
