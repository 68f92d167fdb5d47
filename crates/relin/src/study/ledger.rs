//! `results.jsonl`: a line for every run that ended, with a checksum, never changed and never lost.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::StudyError;
use super::plan::training;
use crate::hexadecimal::hexadecimal;
use crate::recipe::Recipe;
use crate::runlog::RunlogError;

/// Name of the file in a study's folder.
pub const RESULTS_FILE: &str = "results.jsonl";

/// Layout of a line.
const FORMAT: u64 = 1;

/// How a run ended, and what it gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// [`Run::id`](super::Run::id).
    pub run: String,
    /// Name of the study.
    pub study: String,
    /// Its size.
    pub size: String,
    /// Name of the task or of the measurement.
    pub task: String,
    /// Names of its values by those of their axes.
    pub cell: BTreeMap<String, String>,
    /// Its seed.
    pub seed: u64,
    /// How it ended.
    pub status: Status,
    /// Why it ended like that, unless it finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was measured.
    #[serde(default)]
    pub measured: Measured,
    /// Threads of the run.
    pub threads: usize,
    /// Version of relin.
    pub version: String,
    /// Revision of the repository that the binary was built from, with `+` after it if files had been changed.
    pub revision: Option<String>,
    /// What makes the run by itself.
    pub command: String,
    /// The complete recipe, as it was trained.
    pub recipe: Option<Json>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// As planned.
    Finished,
    /// With numbers that are not finite.
    Diverged,
    /// By the study's limit of time.
    OutOfTime,
    /// By a crash: a panic, or the operating system.
    Crashed,
}

impl Status {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Diverged => "diverged",
            Self::OutOfTime => "out of time",
            Self::Crashed => "crashed",
        }
    }
}

/// The numbers of a run, as far as it came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Measured {
    /// Updates made.
    pub steps: usize,
    /// Loss of the last report.
    pub train_loss: Option<f64>,
    /// Best validation loss.
    pub valid_loss: Option<f64>,
    /// Share of right answers of the weights that had it.
    pub valid_accuracy: Option<f64>,
    /// Targets a second.
    pub tokens_per_second: Option<f64>,
    /// Seconds of training and evaluation.
    pub seconds: Option<f64>,
    /// Scalars that are learned.
    pub parameters: Option<usize>,
    /// Most heap memory in use while training.
    pub peak_bytes: Option<u64>,
    /// Evaluations on the way.
    pub curve: Vec<CurvePoint>,
    /// Scores at other contexts.
    pub lengths: Vec<AtLength>,
    /// Lines of `relin bench`.
    pub measurements: Vec<Json>,
}

/// An evaluation on the way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Updates before it.
    pub step: usize,
    /// Validation loss.
    pub loss: Option<f64>,
    /// Share of right answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Share of encoded denominators that did not reach ε, where the model has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clamped: Option<f64>,
}

/// A score at a context, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtLength {
    /// Tokens.
    pub length: usize,
    /// Nats a target.
    pub loss: Option<f64>,
    /// Share of right answers.
    pub accuracy: Option<f64>,
    /// The loss by how many tokens of the context had been seen, of tasks that tell it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<AtPosition>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// The loss at some positions of a context.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtPosition {
    /// The first of them.
    pub from: usize,
    /// The position after the last.
    pub to: usize,
    /// Nats a target.
    pub loss: f64,
}

/// The results of a study, open for more.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    rows: Vec<Row>,
    /// Bytes of whole lines.
    len: u64,
}

impl Ledger {
    /// Reads what is there.
    ///
    /// # Errors
    /// If the file cannot be read, a line was edited, or is of another format. A last line that a crash tore is no line.
    pub fn open(folder: &Path) -> Result<Self, StudyError> {
        let path = folder.join(RESULTS_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(RunlogError::Read { path, source }.into()),
        };
        let (mut rows, mut len) = (Vec::new(), 0);
        for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
            if !line.ends_with(b"\n") {
                break;
            }
            rows.push(known_today(parse(&path, number + 1, &line[..line.len() - 1])?));
            len += line.len() as u64;
        }
        Ok(Self { path, rows, len })
    }

    /// The last row of a run.
    pub fn row(&self, run: &str) -> Option<&Row> {
        self.rows.iter().rev().find(|row| row.run == run)
    }

    /// All rows, in the order in which they were written.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Adds a row; it is on the disk when this returns, or the file is as it was.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn append(&mut self, row: Row) -> Result<(), StudyError> {
        let unwritable = |source| RunlogError::Write { path: self.path.clone(), source };
        let line = render(&row).map_err(|e| unwritable(e.into()))?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.path);
        let mut file = file.map_err(unwritable)?;
        if let Err(source) = self.write(&mut file, &line) {
            let _ = file.set_len(self.len);
            return Err(unwritable(source).into());
        }
        self.len += line.len() as u64;
        self.rows.push(row);
        Ok(())
    }

    /// After the last whole line, whatever a crash left there.
    fn write(&self, file: &mut File, line: &[u8]) -> io::Result<()> {
        use io::Seek;
        file.set_len(self.len)?;
        file.seek(io::SeekFrom::Start(self.len))?;
        file.write_all(line)?;
        file.sync_data()
    }
}

/// `{"checksum":"…",` and the row with its format.
fn render(row: &Row) -> Result<Vec<u8>, serde_json::Error> {
    let body = serde_json::to_string(row)?;
    let body = format!("\"format\":{FORMAT},{}", body.trim_start_matches('{'));
    Ok(format!("{{\"checksum\":\"{}\",{body}\n", checksum(body.as_bytes())).into_bytes())
}

fn parse(path: &Path, line: usize, bytes: &[u8]) -> Result<Row, StudyError> {
    let damaged = |problem: String| StudyError::DamagedLine { path: path.into(), line, problem };
    let not_ours = || damaged("this is no result of a run".into());
    let text = std::str::from_utf8(bytes).map_err(|_| not_ours())?;
    // The format first: other layouts may have other checksums.
    let json: Json = serde_json::from_str(text).map_err(|_| not_ours())?;
    let found = json.get("format").and_then(Json::as_u64).ok_or_else(not_ours)?;
    if found != FORMAT {
        return Err(StudyError::OtherFormat { path: path.into(), line, found, known: FORMAT });
    }
    let rest =
        text.strip_prefix("{\"checksum\":\"").and_then(|rest| rest.split_once("\",")).ok_or_else(not_ours)?;
    if checksum(rest.1.as_bytes()) != rest.0 {
        return Err(damaged("its checksum does not match".into()));
    }
    serde_json::from_value(json).map_err(|e| damaged(e.to_string()))
}

/// The row under the identity that its recipe has today, or under none if that cannot be read any more: identities leave out
/// default values, and a default that was changed must not make a run another.
fn known_today(mut row: Row) -> Row {
    if let Some(recipe) = &row.recipe {
        let recipe = Recipe::from_recorded_json(recipe);
        row.run = recipe.map_or_else(|_| String::new(), |recipe| training(&recipe));
    }
    row
}

/// The first 64 bits of SHA-256.
fn checksum(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes)[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::AngleOptimizer;

    fn row(run: &str) -> Row {
        Row {
            run: run.into(),
            study: "s".into(),
            size: "small".into(),
            task: "t".into(),
            cell: [("a".to_string(), "x".to_string())].into(),
            seed: 1,
            status: Status::Finished,
            reason: None,
            measured: Measured { valid_loss: Some(0.1 + 0.2), steps: 3, ..Measured::default() },
            threads: 1,
            version: "0".into(),
            revision: None,
            command: "relin".into(),
            recipe: None,
        }
    }

    #[test]
    fn what_is_written_is_read_and_the_last_row_of_a_run_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        ledger.append(Row { status: Status::Crashed, ..row("a") }).unwrap();
        ledger.append(row("b")).unwrap();
        ledger.append(row("a")).unwrap();
        let again = Ledger::open(folder.path()).unwrap();
        assert_eq!(again.rows(), ledger.rows());
        assert_eq!(again.row("a"), Some(&row("a")));
        assert_eq!(again.row("c"), None);
    }

    #[test]
    fn a_run_is_known_by_the_recipe_that_it_had_whatever_its_identity_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        let recipe = Recipe::default();
        let stated = serde_json::to_value(&recipe).unwrap();
        ledger.append(Row { recipe: Some(stated), ..row("of former defaults") }).unwrap();
        ledger.append(Row { recipe: Some(serde_json::json!({ "forgotten": 1 })), ..row("b") }).unwrap();
        let mut before_the_key = serde_json::to_value(&recipe).unwrap();
        before_the_key["train"].as_object_mut().unwrap().remove("angle_optimizer").unwrap();
        ledger.append(Row { recipe: Some(before_the_key), seed: 7, ..row("c") }).unwrap();
        let again = Ledger::open(folder.path()).unwrap();
        assert_eq!(again.row(&training(&recipe)).unwrap().seed, row("").seed);
        let mut then = recipe;
        then.train.angle_optimizer = AngleOptimizer::Adamw;
        assert_eq!(again.row(&training(&then)).unwrap().seed, 7);
        assert_eq!((again.row("of former defaults"), again.row("b"), again.rows().len()), (None, None, 3));
    }

    #[test]
    fn a_torn_last_line_is_passed_over_and_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RESULTS_FILE);
        Ledger::open(folder.path()).unwrap().append(row("a")).unwrap();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &whole[..50]].concat()).unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        assert_eq!(ledger.rows().len(), 1);
        ledger.append(row("b")).unwrap();
        assert_eq!(Ledger::open(folder.path()).unwrap().rows().len(), 2);
    }

    #[test]
    fn an_edited_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RESULTS_FILE);
        let mut ledger = Ledger::open(folder.path()).unwrap();
        ["a", "b", "c"].into_iter().for_each(|run| ledger.append(row(run)).unwrap());
        let text = fs::read_to_string(&path).unwrap();
        for (from, to) in
            [("\"seed\":1", "\"seed\":2"), ("0.30000000000000004", "0.3"), ("\"run\":\"b\"", "\"run\":\"d\"")]
        {
            let at = text.match_indices('\n').next().unwrap().0 + 1;
            let edited = format!("{}{}", &text[..at], text[at..].replacen(from, to, 1));
            assert_ne!(edited, text);
            fs::write(&path, edited).unwrap();
            let error = Ledger::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains("checksum"), "{error}");
        }
        for nonsense in ["nonsense\n", "{}\n", "\n"] {
            fs::write(&path, format!("{nonsense}{text}")).unwrap();
            let error = Ledger::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains("line 1"), "{error}");
        }
        fs::write(&path, text.replacen("\"format\":1", "\"format\":9", 1)).unwrap();
        let error = Ledger::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("format 9") && error.contains("format 1"), "{error}");
    }

    #[test]
    fn what_cannot_be_written_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        fs::create_dir(folder.path().join(RESULTS_FILE)).unwrap();
        let error = ledger.append(row("a")).unwrap_err().to_string();
        assert!(error.contains(RESULTS_FILE), "{error}");
        assert!(ledger.rows().is_empty());
    }
}
