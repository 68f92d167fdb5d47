//! Fetching a file by a program of the system, and unpacking it by another.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::DataError;

/// A program that fetches; `URL` and `FILE` in its arguments are replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Downloader {
    pub(super) program: &'static str,
    pub(super) arguments: &'static [&'static str],
}

/// The first one installed is used.
pub(super) const DOWNLOADERS: [Downloader; 2] = [
    Downloader { program: "curl", arguments: &["-fsSL", "--retry", "3", "-o", "FILE", "URL"] },
    Downloader { program: "wget", arguments: &["-q", "-O", "FILE", "URL"] },
];

/// Fetches `url` into `file`.
pub(super) fn download(url: &str, file: &Path, downloaders: &[Downloader]) -> Result<(), DataError> {
    for downloader in downloaders {
        let mut command = Command::new(downloader.program);
        command.stdout(Stdio::null());
        for &argument in downloader.arguments {
            match argument {
                "URL" => command.arg(url),
                "FILE" => command.arg(file),
                _ => command.arg(argument),
            };
        }
        if let Some(output) = run(command)? {
            return check(downloader.program, url, &output);
        }
    }
    let tried: Vec<&str> = downloaders.iter().map(|d| d.program).collect();
    Err(DataError::NoDownloader { url: url.to_owned(), tried: tried.join(", ") })
}

/// Runs `command`, which reads the packed file named last and writes the text to its output, into `text`.
pub(super) fn unpack(command: &[&str], packed: &Path, text: &Path) -> Result<(), DataError> {
    let Some((&program, arguments)) = command.split_first() else {
        return fs::rename(packed, text).map_err(DataError::io("replace", text));
    };
    let file = File::create(text).map_err(DataError::io("create", text))?;
    let mut process = Command::new(program);
    process.args(arguments).arg(packed).stdout(file);
    let subject = packed.display().to_string();
    match run(process)? {
        Some(output) => check(program, &subject, &output),
        None => Err(failed(program, "not installed", &subject, "")),
    }
}

/// The output of a command; `None` if there is no such program.
fn run(mut command: Command) -> Result<Option<Output>, DataError> {
    let spawned = match command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        spawned => spawned,
    };
    let program = Path::new(command.get_program());
    let output = spawned.and_then(std::process::Child::wait_with_output);
    output.map(Some).map_err(DataError::io("run", program))
}

fn check(program: &str, subject: &str, output: &Output) -> Result<(), DataError> {
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    // After retries, a program has said the same several times.
    let last = message.lines().last().unwrap_or_default();
    Err(failed(program, &output.status.to_string(), subject, last.trim()))
}

fn failed(program: &str, status: &str, subject: &str, message: &str) -> DataError {
    let [program, status, subject, message] = [program, status, subject, message].map(str::to_owned);
    DataError::Program { program, status, subject, message }
}
