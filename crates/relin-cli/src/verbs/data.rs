//! `relin data`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use relin::data::catalogue::{self, MakeOptions, Row, Written};

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
    /// Write a set that is made by rule or carried by relin
    Make {
        /// Name of the set
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
        Action::Make { name, out, lines, size } => {
            let out = out.clone().unwrap_or_else(catalogue::folder);
            let options = MakeOptions { lines: *lines, size: *size, seed: globals.seed.unwrap_or(0) };
            written(&catalogue::make(name, &options, &out)?, output);
        }
    }
    Ok(())
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
