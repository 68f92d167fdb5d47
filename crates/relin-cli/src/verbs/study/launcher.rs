//! Runs as processes: what one does to itself, it does to itself alone.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use relin::recipe::Recipe;
use relin::runlog::write_atomic;
use relin::study::{Ended, Launcher, Measured, Run, Status, Tick, Work};
use relin::train::events::Event;
use serde_json::Value;

use super::worker::Last;
use crate::failure::{Failure, INTERRUPTED};
use crate::interrupt;

/// What a process says besides its events, in its run's folder.
const LOG_FILE: &str = "log.txt";
/// Between two looks at whether to stop.
const PULSE: Duration = Duration::from_millis(50);

/// Starts processes of this very program.
pub struct Children {
    program: PathBuf,
    threads: usize,
}

impl Children {
    pub fn new(folder: &Path, threads: usize) -> Result<Self, Failure> {
        let program =
            std::env::current_exe().map_err(|source| Failure::Read { path: folder.into(), source })?;
        Ok(Self { program, threads })
    }

    /// The process that trains a recipe, with its recipe beside its folder.
    pub fn train(
        &self,
        recipe: &Recipe,
        folder: &Path,
        lengths: &[usize],
        seconds: Option<f64>,
    ) -> Result<Command, String> {
        fs::create_dir_all(folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
        let stated = folder.with_extension("toml");
        let text = recipe.to_toml().map_err(|e| e.to_string())?;
        write_atomic(&stated, text.as_bytes()).map_err(|e| whole(&e))?;
        let mut command = self.command();
        command.arg("study-run").arg(&stated).arg("--out").arg(folder).arg("--attached");
        command.args(["--threads", &self.threads.to_string()]);
        if !lengths.is_empty() {
            let lengths: Vec<String> = lengths.iter().map(usize::to_string).collect();
            command.args(["--lengths", &lengths.join(",")]);
        }
        if let Some(seconds) = seconds {
            command.args(["--seconds", &seconds.to_string()]);
        }
        Ok(command)
    }

    fn bench(&self, words: &[String], seed: u64, folder: &Path) -> Result<Command, String> {
        fs::create_dir_all(folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
        let mut command = self.command();
        command.arg("bench").args(words).args(["--json", "--quiet", "--seed", &seed.to_string()]);
        Ok(command)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }
}

impl Launcher for Children {
    fn launch(&self, run: &Run, folder: &Path, watch: &dyn Fn(Tick)) -> Result<Ended, String> {
        match &run.work {
            Work::Train { recipe, lengths } => {
                let command = self.train(recipe, folder, lengths, run.seconds)?;
                trained(command, folder, watch)
            }
            Work::Bench { words } => benched(self.bench(words, run.seed, folder)?, folder),
        }
    }
}

fn trained(command: Command, folder: &Path, watch: &dyn Fn(Tick)) -> Result<Ended, String> {
    let mut last = None;
    let status = attend(command, folder, Stop::Gently, |line| {
        if let Ok(Event::Step(step)) = serde_json::from_str(line) {
            watch(Tick { step: step.step, loss: step.loss });
        } else if let Ok(end) = serde_json::from_str::<Last>(line) {
            last = Some(end);
        }
    })?;
    match last {
        Some(Last::Ended { status, reason, measured }) => Ok(Ended::Result { status, reason, measured }),
        Some(Last::Stopped) => Ok(Ended::Stopped),
        None => without_result(status, folder),
    }
}

fn benched(command: Command, folder: &Path) -> Result<Ended, String> {
    let mut measurements: Vec<Value> = Vec::new();
    let began = std::time::Instant::now();
    let status = attend(command, folder, Stop::AtOnce, |line| {
        measurements.extend(serde_json::from_str::<Value>(line))
    })?;
    if !status.success() {
        return without_result(status, folder);
    }
    let seconds = Some(began.elapsed().as_secs_f64());
    let measured = Box::new(Measured { measurements, seconds, ..Measured::default() });
    Ok(Ended::Result { status: Status::Finished, reason: None, measured })
}

/// How a process is stopped.
enum Stop {
    /// By the end of its standard input, at which it saves.
    Gently,
    /// It has nothing to save.
    AtOnce,
}

/// Listens to a process until it ends.
fn attend(
    mut command: Command,
    folder: &Path,
    stop: Stop,
    mut hear: impl FnMut(&str),
) -> Result<ExitStatus, String> {
    let log = folder.join(LOG_FILE);
    let file = File::create(&log).map_err(|e| format!("cannot write {}: {e}", log.display()))?;
    let mut child = command.stderr(file).spawn().map_err(|e| format!("cannot start a process: {e}"))?;
    let (sender, lines) = std::sync::mpsc::channel();
    let out = child.stdout.take().map(BufReader::new);
    let reader = std::thread::spawn(move || {
        out.into_iter()
            .flat_map(BufRead::lines)
            .map_while(Result::ok)
            .for_each(|line| drop(sender.send(line)));
    });
    loop {
        match lines.recv_timeout(PULSE) {
            Ok(line) => hear(&line),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
        }
        if interrupt::requested() {
            child.stdin = None;
            if let Stop::AtOnce = stop {
                let _ = child.kill();
            }
        }
    }
    let _ = reader.join();
    wait(&mut child)
}

fn wait(child: &mut Child) -> Result<ExitStatus, String> {
    child.stdin = None;
    child.wait().map_err(|e| format!("cannot wait for a process: {e}"))
}

/// A process that ended without a last line: it was stopped, refused its work, or crashed, which is a result.
fn without_result(status: ExitStatus, folder: &Path) -> Result<Ended, String> {
    let said = last_words(&folder.join(LOG_FILE));
    match status.code() {
        Some(code) if code == i32::from(INTERRUPTED) => Ok(Ended::Stopped),
        _ if interrupt::requested() => Ok(Ended::Stopped),
        Some(1 | 2) => Err(said),
        code => {
            let how = code.map_or_else(|| killed(status), |code| format!("it ended with status {code}"));
            let reason = if said.is_empty() { how } else { format!("{how}: {said}") };
            let measured = Box::default();
            Ok(Ended::Result { status: Status::Crashed, reason: Some(reason), measured })
        }
    }
}

#[cfg(unix)]
fn killed(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(9) => "it was killed (signal 9), as a system without memory does".into(),
        Some(signal) => format!("signal {signal} ended it"),
        None => "it ended without a status".into(),
    }
}

#[cfg(not(unix))]
fn killed(_: ExitStatus) -> String {
    "it was ended from outside".into()
}

/// The error, the panic, or whatever came last.
fn last_words(log: &Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = File::open(log) {
        let _ = file.read_to_string(&mut text);
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let begins = lines.iter().rposition(|line| line.starts_with("error:") || line.contains("panicked at"));
    let words = &lines[begins.unwrap_or(lines.len().saturating_sub(1))..];
    words.iter().take(3).copied().collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
}

fn whole(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
