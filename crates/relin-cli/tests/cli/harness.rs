//! A fresh folder, the binary, and what it said.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A fresh folder in which the binary runs.
pub struct Bench {
    folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relin"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null()).env_remove("RELIN_DATA");
        command
    }

    pub fn relin(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap(), args)
    }
}

/// What a run of the binary said.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    args: String,
}

impl Said {
    pub fn of(output: Output, args: &[&str]) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            args: args.join(" "),
        }
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "relin {}\nout: {}\nerr: {}", self.args, self.out, self.err);
        assert!(!self.err.contains("panicked"), "relin {}\n{}", self.args, self.err);
        self
    }

    /// Standard error holds every word, and says `error:` once.
    #[track_caller]
    pub fn complains(self, words: &[&str]) -> Self {
        assert_eq!(self.err.matches("error:").count(), 1, "relin {}\n{}", self.args, self.err);
        assert_eq!(self.out, "", "relin {}", self.args);
        for word in words {
            assert!(self.err.contains(word), "relin {}: no `{word}` in\n{}", self.args, self.err);
        }
        self
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }
}
