//! Makes the runs that are missing, several at a time, and records each as it ends.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use super::StudyError;
use super::ledger::{Ledger, Row, Status};
use super::lock::Lock;
use super::plan::{Plan, Run, Work};
use super::trial::Ended;
use crate::runlog::write_atomic;

/// Folder of the runs in a study's folder.
pub const RUNS_FOLDER: &str = "runs";
/// The study's own text in its folder.
pub const STUDY_FILE: &str = "study.toml";

/// How a single run is made: in this process or another.
pub trait Launcher: Sync {
    /// Makes a run in its folder, from wherever a former attempt left it; `watch` hears how far it has come.
    ///
    /// # Errors
    /// In words, if it could not even begin, or could not be recorded: then no other run is begun.
    fn launch(&self, run: &Run, folder: &Path, watch: &dyn Fn(Tick)) -> Result<Ended, String>;
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tick {
    /// Updates made.
    pub step: usize,
    /// Loss of the last report.
    pub loss: f64,
}

/// Watches a study.
pub trait Audience {
    /// So many of all runs will be made now.
    fn began(&mut self, missing: usize, all: usize);
    /// A run begins.
    fn started(&mut self, run: &Run);
    /// A run goes on.
    fn tick(&mut self, run: &Run, tick: Tick);
    /// A run ended and is recorded.
    fn ended(&mut self, run: &Run, row: &Row);
    /// When true, no further run begins.
    fn should_stop(&self) -> bool {
        false
    }
}

/// What is the same for all runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Runs at a time.
    pub jobs: usize,
    /// Threads of a run.
    pub threads: usize,
    /// Whether runs that diverged, crashed or took too long are made again.
    pub retry: bool,
    /// Version of relin.
    pub version: String,
    /// Revision of its repository.
    pub revision: Option<String>,
}

/// A study's folder, this process's own.
#[derive(Debug)]
pub struct StudyFolder {
    path: PathBuf,
    ledger: Ledger,
    _lock: Lock,
}

impl StudyFolder {
    /// Takes the folder and reads its results.
    ///
    /// # Errors
    /// If it cannot be made, another process has it, or its results are damaged.
    pub fn open(path: &Path) -> Result<Self, StudyError> {
        let runs = path.join(RUNS_FOLDER);
        std::fs::create_dir_all(&runs).map_err(|source| StudyError::Folder { path: runs, source })?;
        let lock = Lock::take(path)?;
        Ok(Self { path: path.into(), ledger: Ledger::open(path)?, _lock: lock })
    }

    /// Its results.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The runs of the plan without a result, each once; with `retry`, also those with a bad one.
    pub fn missing<'a>(&self, plan: &'a Plan, retry: bool) -> Vec<&'a Run> {
        let mut missing: Vec<&Run> = Vec::new();
        for run in &plan.runs {
            let there = self.ledger.row(&run.id).is_some_and(|row| answers(run, row, retry));
            if !there && missing.iter().all(|other| other.id != run.id) {
                missing.push(run);
            }
        }
        missing
    }

    /// Makes what is missing. Ends early if the audience asks; finished runs stay, unfinished ones go on the next time.
    ///
    /// # Errors
    /// If a run could not be made at all, or a result not be written.
    pub fn run(
        &mut self,
        plan: &Plan,
        launcher: &dyn Launcher,
        options: &Options,
        audience: &mut dyn Audience,
    ) -> Result<(), StudyError> {
        write_atomic(&self.path.join(STUDY_FILE), plan.study.text.as_bytes())?;
        let missing = self.missing(plan, options.retry);
        audience.began(missing.len(), plan.runs.len());
        let jobs = options.jobs.clamp(1, missing.len().max(1));
        let anew = |run: &Run| self.ledger.row(&run.id).is_some_and(|row| in_vain(run, row));
        let begins: Vec<(&Run, bool)> = missing.into_iter().map(|run| (run, anew(run))).collect();
        let queue = Mutex::new(begins.into_iter());
        let halt = AtomicBool::new(false);
        let path = self.path.clone();
        let mut failure = None;
        std::thread::scope(|scope| {
            let (sender, messages) = mpsc::channel();
            for _ in 0..jobs {
                let (sender, queue, halt, path) = (sender.clone(), &queue, &halt, &path);
                scope.spawn(move || worker(queue, halt, path, launcher, &sender));
            }
            drop(sender);
            loop {
                match messages.recv_timeout(Duration::from_millis(100)) {
                    Ok(message) => {
                        if let Err(error) = self.take(plan, options, message, audience) {
                            failure.get_or_insert(error);
                            halt.store(true, Ordering::SeqCst);
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                if audience.should_stop() {
                    halt.store(true, Ordering::SeqCst);
                }
            }
        });
        failure.map_or(Ok(()), Err)
    }

    fn take(
        &mut self,
        plan: &Plan,
        options: &Options,
        message: Message,
        audience: &mut dyn Audience,
    ) -> Result<(), StudyError> {
        match message {
            Message::Started(run) => audience.started(run),
            Message::Tick(run, tick) => audience.tick(run, tick),
            Message::Ended(_, Ok(Ended::Stopped)) => {}
            Message::Ended(run, Ok(Ended::Result { status, reason, mut measured })) => {
                let former = self.ledger.row(&run.id).and_then(|row| row.measured.peak_bytes);
                measured.peak_bytes = measured.peak_bytes.or(former);
                let row = Row { status, reason, measured: *measured, ..blank_row(plan, options, run) };
                self.ledger.append(row.clone())?;
                remove(std::fs::remove_file, &anew_mark(&self.path.join(RUNS_FOLDER).join(&run.id)))
                    .map_err(|reason| StudyError::Refused { run: plan.run_name(run), reason })?;
                audience.ended(run, &row);
            }
            Message::Ended(run, Err(reason)) => {
                return Err(StudyError::Refused { run: plan.run_name(run), reason });
            }
        }
        Ok(())
    }
}

/// Whether a row is the result that a run would have.
fn answers(run: &Run, row: &Row, retry: bool) -> bool {
    match (&run.work, row.status) {
        (Work::Train { lengths, .. }, Status::Finished) => {
            lengths.iter().all(|length| row.measured.lengths.iter().any(|at| at.length == *length))
        }
        (Work::Bench { .. }, Status::Finished) => true,
        _ => !retry,
    }
}

/// Whether a run that ended badly would end so again, were it to go on where it stands: what is not finite stays so, and
/// time that is over is over.
fn in_vain(run: &Run, row: &Row) -> bool {
    match row.status {
        Status::Diverged => true,
        Status::OutOfTime => {
            let spent = row.measured.seconds.unwrap_or(f64::INFINITY);
            run.seconds.is_some_and(|limit| limit <= spent)
        }
        Status::Finished | Status::Crashed => false,
    }
}

enum Message<'a> {
    Started(&'a Run),
    Tick(&'a Run, Tick),
    Ended(&'a Run, Result<Ended, String>),
}

/// Takes one run after another; those marked begin anew.
fn worker<'a>(
    queue: &Mutex<impl Iterator<Item = (&'a Run, bool)>>,
    halt: &AtomicBool,
    path: &Path,
    launcher: &dyn Launcher,
    sender: &Sender<Message<'a>>,
) {
    // Nobody listens any more only when all is over.
    let say = |message| drop(sender.send(message));
    while !halt.load(Ordering::SeqCst) {
        let next = queue.lock().unwrap_or_else(|poison| poison.into_inner()).next();
        let Some((run, anew)) = next else { return };
        say(Message::Started(run));
        let folder = path.join(RUNS_FOLDER).join(&run.id);
        let ready = if anew { begin_anew(&folder) } else { Ok(()) };
        let ended = ready.and_then(|()| launcher.launch(run, &folder, &|tick| say(Message::Tick(run, tick))));
        say(Message::Ended(run, ended));
    }
}

/// Empties a run's folder, once: a new attempt that was interrupted goes on.
fn begin_anew(folder: &Path) -> Result<(), String> {
    let mark = anew_mark(folder);
    if mark.exists() {
        return Ok(());
    }
    remove(std::fs::remove_dir_all, folder)?;
    std::fs::write(&mark, "").map_err(|error| format!("cannot write {}: {error}", mark.display()))
}

/// The file beside a run's folder that says that a new attempt is in it, later than the last result.
fn anew_mark(folder: &Path) -> PathBuf {
    folder.with_added_extension("anew")
}

fn remove<P: AsRef<Path>>(how: impl FnOnce(P) -> std::io::Result<()>, path: P) -> Result<(), String> {
    let shown = path.as_ref().display().to_string();
    match how(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(format!("cannot remove {shown}: {error}")),
        _ => Ok(()),
    }
}

fn blank_row(plan: &Plan, options: &Options, run: &Run) -> Row {
    let axes = plan.study.axes.iter().map(|axis| axis.name.clone());
    let names = plan.study.value_names(&run.cell).into_iter().map(str::to_owned);
    let recipe = match &run.work {
        Work::Train { recipe, .. } => serde_json::to_value(recipe).ok(),
        Work::Bench { .. } => None,
    };
    Row {
        run: run.id.clone(),
        study: plan.study.name.clone(),
        size: plan.study.size.clone(),
        task: run.task.clone(),
        cell: axes.zip(names).collect(),
        seed: run.seed,
        status: Status::Finished,
        reason: None,
        measured: Default::default(),
        threads: options.threads,
        version: options.version.clone(),
        revision: options.revision.clone(),
        command: run.command.clone(),
        recipe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::{Measured, SMALL, Study};

    const STUDY: &str = "title = \"t\"\nquestion = \"q\"\nbase = \"copy\"\nseeds = [0, 1]\n[[axis]]\nname = \"a\"\nvalues = [{ name = \"x\" }, { name = \"y\", set = { train.beta1 = 0.5 } }]\n";

    fn plan() -> Plan {
        Plan::new(Study::parse("s.toml", STUDY, SMALL, None).unwrap(), &[]).unwrap()
    }

    fn options(retry: bool) -> Options {
        Options { jobs: 2, threads: 1, retry, version: "0".into(), revision: None }
    }

    /// Ends as it is told, and remembers what was asked of it.
    struct Told<F>(F, Mutex<Vec<String>>);

    impl<F: Fn(&Run) -> Result<Ended, String> + Sync> Launcher for Told<F> {
        fn launch(&self, run: &Run, _: &Path, watch: &dyn Fn(Tick)) -> Result<Ended, String> {
            self.1.lock().unwrap().push(run.id.clone());
            watch(Tick { step: 1, loss: 2.0 });
            (self.0)(run)
        }
    }

    fn told<F: Fn(&Run) -> Result<Ended, String> + Sync>(ended: F) -> Told<F> {
        Told(ended, Mutex::new(Vec::new()))
    }

    fn result(status: Status) -> Result<Ended, String> {
        let reason = (status != Status::Finished).then(|| "why".to_string());
        Ok(Ended::Result { status, reason, measured: Box::new(Measured::default()) })
    }

    #[derive(Default)]
    struct Counts(usize, usize, usize);

    impl Audience for Counts {
        fn began(&mut self, missing: usize, _: usize) {
            self.0 = missing;
        }
        fn started(&mut self, _: &Run) {}
        fn tick(&mut self, _: &Run, _: Tick) {
            self.1 += 1;
        }
        fn ended(&mut self, _: &Run, _: &Row) {
            self.2 += 1;
        }
    }

    #[test]
    fn no_finished_run_is_made_again_and_bad_ones_only_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan();
        let bad = plan.runs[1].id.clone();
        let launcher = told(|run| result(if run.id == bad { Status::Diverged } else { Status::Finished }));
        let mut counts = Counts::default();
        let mut study = StudyFolder::open(folder.path()).unwrap();
        study.run(&plan, &launcher, &options(false), &mut counts).unwrap();
        assert_eq!((counts.0, counts.1, counts.2), (4, 4, 4));
        drop(study);

        let mut study = StudyFolder::open(folder.path()).unwrap();
        assert!(study.missing(&plan, false).is_empty());
        assert_eq!(study.missing(&plan, true).iter().map(|run| &run.id).collect::<Vec<_>>(), [&bad]);
        let again = told(|_| result(Status::Finished));
        study.run(&plan, &again, &options(true), &mut counts).unwrap();
        assert_eq!(*again.1.lock().unwrap(), [bad]);
        assert!(study.missing(&plan, true).is_empty());
        assert!(
            study
                .ledger()
                .rows()
                .iter()
                .all(|row| row.recipe.is_some() && row.command.contains("relin train copy"))
        );
    }

    #[test]
    fn a_run_that_cannot_be_made_ends_the_study_and_keeps_what_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan();
        let last = plan.runs[3].id.clone();
        let launcher =
            told(|run| if run.id == last { Err("no data".into()) } else { result(Status::Finished) });
        let mut study = StudyFolder::open(folder.path()).unwrap();
        let options = Options { jobs: 1, ..options(false) };
        let error = study.run(&plan, &launcher, &options, &mut Counts::default()).unwrap_err().to_string();
        assert!(error.contains("y") && error.contains("seed 1") && error.contains("no data"), "{error}");
        assert_eq!(study.missing(&plan, false).len(), 1);
    }

    #[test]
    fn a_new_attempt_begins_empty_and_goes_on_after_an_interruption() {
        /// Leaves a line in the run's folder each time, and ends as told.
        struct Scribe(Status, bool);
        impl Launcher for Scribe {
            fn launch(&self, _: &Run, folder: &Path, _: &dyn Fn(Tick)) -> Result<Ended, String> {
                std::fs::create_dir_all(folder).unwrap();
                let file = folder.join("attempts");
                let before = std::fs::read_to_string(&file).unwrap_or_default();
                std::fs::write(file, format!("{before}+")).unwrap();
                if self.1 { Ok(Ended::Stopped) } else { result(self.0) }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let plan = plan();
        let attempts = || {
            let file = folder.path().join(RUNS_FOLDER).join(&plan.runs[0].id).join("attempts");
            std::fs::read_to_string(file).unwrap()
        };
        let run = |status, interrupted, retry| {
            let mut study = StudyFolder::open(folder.path()).unwrap();
            let scribe = Scribe(status, interrupted);
            study.run(&plan, &scribe, &options(retry), &mut Counts::default()).unwrap();
        };
        run(Status::Diverged, false, false);
        run(Status::Diverged, true, true);
        assert_eq!(attempts(), "+", "what diverged is in the way of the new attempt");
        run(Status::Diverged, true, true);
        assert_eq!(attempts(), "++", "an interrupted attempt began once more");
        run(Status::Diverged, false, true);
        assert_eq!(attempts(), "+++");
        run(Status::Finished, false, true);
        assert_eq!(attempts(), "+", "it diverged twice, and went on");
    }

    #[test]
    fn a_stopped_run_has_no_result() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan();
        let mut study = StudyFolder::open(folder.path()).unwrap();
        study.run(&plan, &told(|_| Ok(Ended::Stopped)), &options(false), &mut Counts::default()).unwrap();
        assert_eq!(study.missing(&plan, false).len(), 4);
    }

    #[test]
    fn more_lengths_take_a_finished_run_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut study = StudyFolder::open(folder.path()).unwrap();
        let trained = told(|_| {
            let measured = Box::new(Measured { peak_bytes: Some(5), ..Measured::default() });
            Ok(Ended::Result { status: Status::Finished, reason: None, measured })
        });
        study.run(&plan(), &trained, &options(false), &mut Counts::default()).unwrap();
        let longer = format!("{STUDY}[measure]\nlengths = [64]\n");
        let longer = Plan::new(Study::parse("s.toml", &longer, SMALL, None).unwrap(), &[]).unwrap();
        assert_eq!(study.missing(&longer, false).len(), 4);

        let scored = told(|_| result(Status::Finished));
        study.run(&longer, &scored, &options(false), &mut Counts::default()).unwrap();
        let again = study.ledger().row(&longer.runs[0].id).unwrap();
        assert_eq!(again.measured.peak_bytes, Some(5), "the peak of training was lost");
    }

    #[test]
    fn a_folder_is_one_processes() {
        let folder = tempfile::tempdir().unwrap();
        let _held = StudyFolder::open(folder.path()).unwrap();
        assert!(matches!(StudyFolder::open(folder.path()), Err(StudyError::Locked { .. })));
    }
}
