//! Where words go: results to standard output, everything else to standard error.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

/// How the user wants to be spoken to.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A machine line, if asked for. A reader that went away (`| head`) must not kill hours of work, so writing
    /// errors end nothing.
    pub fn event(&self, event: &impl Serialize) {
        if self.json
            && let Ok(mut line) = serde_json::to_vec(event)
        {
            line.push(b'\n');
            let _ = io::stdout().write_all(&line);
            let _ = io::stdout().flush();
        }
    }

    /// What was asked for, in words: a table, a score. Machine lines replace it.
    pub fn result(&self, words: impl Display) {
        if !self.json {
            to_stderr(words);
        }
    }

    /// What happens on the way.
    pub fn note(&self, words: impl Display) {
        if !self.quiet {
            to_stderr(words);
        }
    }

    /// What went wrong without ending the work; said even when quiet.
    pub fn warning(&self, words: impl Display) {
        to_stderr(format_args!("warning: {words}"));
    }

    /// Generated text, as it is, for pipes; machine lines replace it.
    pub fn text(&self, text: &str) {
        if !self.json {
            let _ = io::stdout().write_all(text.as_bytes());
            let _ = io::stdout().flush();
        }
    }
}

fn to_stderr(words: impl Display) {
    let _ = writeln!(io::stderr(), "{words}");
}
