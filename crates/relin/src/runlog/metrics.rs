//! `metrics.jsonl`: one event a line, written as it happens.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{RunlogError, write_atomic};
use crate::train::events::Event;

/// Name of the file in a run's folder.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// The open metrics of a run.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Metrics that begin anew.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: &Path) -> Result<Self, RunlogError> {
        write_atomic(path, b"")?;
        Self::append_to(path)
    }

    /// Metrics that go on after update `step`: later lines, and the end of the run, are removed.
    ///
    /// # Errors
    /// If the file cannot be read or written, or is damaged before its last line.
    pub fn resume(path: &Path, step: usize) -> Result<Self, RunlogError> {
        let mut kept = Vec::new();
        for event in read_metrics(path)? {
            if event.step() <= step && !matches!(event, Event::Done(_)) {
                kept.extend(line(&event).map_err(|source| RunlogError::Write { path: path.into(), source })?);
            }
        }
        write_atomic(path, &kept)?;
        Self::append_to(path)
    }

    fn append_to(path: &Path) -> Result<Self, RunlogError> {
        let unwritable = |source| RunlogError::Write { path: path.into(), source };
        let file = OpenOptions::new().append(true).open(path).map_err(unwritable)?;
        Ok(Self { path: path.into(), file })
    }

    /// Adds a line; it is in the file when this returns.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, event: &Event) -> Result<(), RunlogError> {
        let written = line(event).and_then(|line| self.file.write_all(&line));
        written.map_err(|source| RunlogError::Write { path: self.path.clone(), source })
    }
}

/// One line in one write, so that a crash tears at most the last one.
fn line(event: &Event) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(line)
}

/// All events of a file; a missing file has none, and a last line that a crash tore is left out.
///
/// # Errors
/// If the file cannot be read, or a line before the last is not an event.
pub fn read_metrics(path: &Path) -> Result<Vec<Event>, RunlogError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(RunlogError::Read { path: path.into(), source }),
    };
    let mut events = Vec::new();
    for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let torn = !line.ends_with(b"\n");
        match serde_json::from_slice(line) {
            Ok(event) => events.push(event),
            Err(_) if torn || line.trim_ascii().is_empty() => {}
            Err(source) => return Err(RunlogError::BadLine { path: path.into(), line: number + 1, source }),
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::events::{Done, Eval, Step};

    fn step(step: usize) -> Event {
        Event::Step(Step { step, loss: 1.0 / step as f64, learning_rate: 1e-3, tokens_per_second: 1e4 })
    }

    fn eval(step: usize) -> Event {
        Event::Eval(Eval { step, valid_loss: 2.0, valid_accuracy: None, clamped: None })
    }

    fn done(steps: usize) -> Event {
        Event::Done(Done {
            run: "r".into(),
            steps,
            train_loss: 1.0,
            valid_loss: 2.0,
            valid_accuracy: Some(0.5),
            tokens_per_second: 1.0,
            seconds: 1.0,
            parameters: 1,
        })
    }

    #[test]
    fn what_is_written_is_read_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS_FILE);
        assert_eq!(read_metrics(&path).unwrap(), []);
        let mut log = MetricsLog::create(&path).unwrap();
        let events = [step(10), eval(10), done(10)];
        for (i, event) in events.iter().enumerate() {
            log.write(event).unwrap();
            assert_eq!(read_metrics(&path).unwrap(), events[..=i]);
        }
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_a_torn_middle_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS_FILE);
        MetricsLog::create(&path).unwrap().write(&step(1)).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{}", &whole[..20])).unwrap();
        assert_eq!(read_metrics(&path).unwrap(), [step(1)]);
        fs::write(&path, format!("{}\n{whole}", &whole[..20])).unwrap();
        let error = read_metrics(&path).unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
    }

    #[test]
    fn resuming_removes_what_came_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS_FILE);
        let mut log = MetricsLog::create(&path).unwrap();
        [step(10), eval(10), step(20), eval(20), done(20)].iter().for_each(|event| log.write(event).unwrap());
        drop(log);
        MetricsLog::resume(&path, 10).unwrap().write(&step(20)).unwrap();
        assert_eq!(read_metrics(&path).unwrap(), [step(10), eval(10), step(20)]);
        MetricsLog::resume(&path, 20).unwrap();
        assert_eq!(read_metrics(&path).unwrap().len(), 3);
    }
}
