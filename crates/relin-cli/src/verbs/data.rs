//! `relin data`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use relin::data::catalogue::{self, MakeOptions, Row, Written};
use relin::data::music::{Report, make_music};
use relin::recipe::{MusicConfig, Tokenization};
use serde::Serialize;

use super::{refuse, shown};
use crate::args::Globals;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::grouped;

#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the sets that recipes can name
    List,
    /// Fetch a set from where it is published
    Get {
        /// Name of the set
        name: String,
        /// Folder to write to [default: $RELIN_DATA, else data]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// A copy of the published file, taken instead of the network
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
    },
    /// Write a set that is made by rule or carried by relin, or the tokens of your own music
    Make {
        /// Name of the set; `music` for the tokens of all music below the folder --from
        name: String,
        /// File or folder to write to [default: $RELIN_DATA, else data]
        #[arg(long, value_name = "PATH")]
        out: Option<PathBuf>,
        /// Lines, or pictures, to write [default: 20000]
        #[arg(long, value_name = "N")]
        lines: Option<u64>,
        /// How large the problems are: `relin data list` says what it means
        #[arg(long, value_name = "N")]
        size: Option<u64>,
        /// Folder or file of music (`music`)
        #[arg(long, value_name = "PATH")]
        from: Option<PathBuf>,
        /// What the tokens say (`music`) [default: remi]
        #[arg(long, value_enum)]
        tokenization: Option<TokenizationChoice>,
        /// Tell instruments and drums (`music` with `remi`)
        #[arg(long)]
        programs: bool,
    },
}

pub fn run(args: &DataArgs, globals: &Globals, output: &Output) -> Result<(), Failure> {
    match &args.action {
        Action::List => {
            for set in catalogue::list() {
                output.result(line(&set));
                output.event(&set);
            }
        }
        Action::Get { name, out, from } => {
            let out = out.clone().unwrap_or_else(catalogue::folder);
            written(&catalogue::get(name, &out, from.as_deref())?, output);
        }
        Action::Make { name, out, lines, size, from, tokenization, programs } if name == MUSIC => {
            let options =
                [("--lines", lines.map(|n| n.to_string())), ("--size", size.map(|n| n.to_string()))];
            refuse("a set that is made by rule", options)?;
            let (expected, found) = ("a folder of MIDI files or chorales in JSON", "nothing".into());
            let from = from.as_ref().ok_or(Failure::BadOption { option: "--from", expected, found })?;
            let tokenization = tokenization.map_or(Tokenization::Remi, Tokenization::from);
            if *programs && tokenization != Tokenization::Remi {
                let expected = "`--tokenization remi`: other tokens say no instrument";
                return Err(Failure::BadOption { option: "--programs", expected, found: "another".into() });
            }
            let out = out.clone().unwrap_or_else(|| catalogue::folder().join(MUSIC));
            let music = MusicConfig { tokenization, programs: *programs, ..MusicConfig::default() };
            report(&make_music(from, &music, &out)?, &out, output);
        }
        Action::Make { name, out, lines, size, from, tokenization, programs } => {
            let options = [
                ("--from", shown(from)),
                ("--tokenization", tokenization.map(|which| format!("{which:?}"))),
                ("--programs", programs.then(|| "it".to_owned())),
            ];
            refuse("`relin data make music`", options)?;
            let out = out.clone().unwrap_or_else(catalogue::folder);
            let options = MakeOptions { lines: *lines, size: *size, seed: globals.seed.unwrap_or(0) };
            written(&catalogue::make(name, &options, &out)?, output);
        }
    }
    Ok(())
}

/// Name of what is made of the user's own files.
const MUSIC: &str = "music";

/// [`Tokenization`] as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TokenizationChoice {
    /// Four voices on a grid of sixteenth notes
    Grid,
    /// Bars, beats, and notes of pitch, velocity and duration
    Remi,
    /// Notes on and off, and shifts of time
    Events,
}

impl From<TokenizationChoice> for Tokenization {
    fn from(choice: TokenizationChoice) -> Self {
        match choice {
            TokenizationChoice::Grid => Self::Grid,
            TokenizationChoice::Remi => Self::Remi,
            TokenizationChoice::Events => Self::Events,
        }
    }
}

/// A folder of tokens that was written.
#[derive(Serialize)]
#[serde(tag = "event", rename = "written")]
struct WrittenMusic<'a> {
    name: &'static str,
    path: &'a Path,
    #[serde(flatten)]
    report: &'a Report,
}

fn report(report: &Report, out: &Path, output: &Output) {
    if let Some(skipped) = report.warning() {
        output.warning(skipped);
    }
    let Report { files, pieces, notes, tokens, skipped, others } = report;
    output.result(format!(
        "{}: {} pieces of {} files, {} notes, {} tokens; {} files skipped, {} of other kinds",
        out.display(),
        grouped(*pieces),
        grouped(*files),
        grouped(*notes),
        grouped(*tokens),
        grouped(skipped.len()),
        grouped(others.len())
    ));
    output.event(&WrittenMusic { name: MUSIC, path: out, report });
}

fn line(set: &Row) -> String {
    let bytes = set.bytes.map_or(String::new(), |bytes| format!("{} bytes", grouped(bytes as usize)));
    let here = if set.here { "here" } else { "" };
    let size = set.size.as_ref().map_or(String::new(), |size| format!("; --size: {size}"));
    let Row { name, origin, about, licence, .. } = set;
    format!("{name:<18} {origin:<8} {bytes:>16}  {here:<4}  {about} ({licence}){size}")
}

fn written(written: &Written, output: &Output) {
    let bytes = grouped(written.bytes as usize);
    output.result(format!("{}: {bytes} bytes, sha256 {}", written.path.display(), written.sha256));
    output.event(written);
}
