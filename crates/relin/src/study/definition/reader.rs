//! From the keys of a file to a study: names resolved, and contradictions refused.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use super::document::{AxisDocument, Document, ExcludeDocument, Measure, Names, TaskDocument, ValueDocument};
use super::{Axis, AxisValue, Baseline, Bench, CARRIED, Cell, Exclusion, SMALL, Study, StudyTask};
use crate::nearest::nearest;
use crate::recipe::Override;
use crate::study::StudyError;
use crate::study::settings::{overlap, settings};

pub(super) fn syntax(place: &str, text: &str, error: &toml::de::Error) -> StudyError {
    let before = error.span().map_or(0, |span| span.start);
    let line = text.bytes().take(before).filter(|&byte| byte == b'\n').count() + 1;
    StudyError::Syntax { name: place.into(), line, message: error.message().trim().into() }
}

pub(super) struct Reader<'a> {
    pub place: &'a str,
    pub folder: Option<&'a Path>,
}

impl Reader<'_> {
    fn wrong(&self, field: impl Into<String>, problem: impl Into<String>) -> StudyError {
        StudyError::Contradiction { name: self.place.into(), field: field.into(), problem: problem.into() }
    }

    /// The document with the keys of a size in the place of its own.
    pub fn resized(&self, text: &str, document: Document, size: &str) -> Result<Document, StudyError> {
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

    pub fn study(&self, document: Document, text: &str, size: &str) -> Result<Study, StudyError> {
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
