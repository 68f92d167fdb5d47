//! `relin data`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::args::Globals;
use crate::failure::Failure;
use crate::library::{self, DataSet, MakeOptions, Written};
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
        /// Lines to write
        #[arg(long, value_name = "N")]
        lines: Option<u64>,
        /// How large the problems are
        #[arg(long, value_name = "N")]
        size: Option<u64>,
    },
}

pub fn run(args: &DataArgs, globals: &Globals, output: &Output) -> Result<(), Failure> {
    match &args.action {
        Action::List => {
            for set in library::data_list()? {
                output.result(line(&set));
                output.event(&set);
            }
        }
        Action::Get { name, out, from } => {
            let out = out.clone().unwrap_or_else(data_folder);
            written(library::data_get(name, &out, from.as_deref())?, output);
        }
        Action::Make { name, out, lines, size } => {
            let out = out.clone().unwrap_or_else(data_folder);
            let options = MakeOptions { lines: *lines, size: *size, seed: globals.seed.unwrap_or(0) };
            written(library::data_make(name, options, &out)?, output);
        }
    }
    Ok(())
}

/// Where recipes find sets by name.
pub fn data_folder() -> PathBuf {
    let named = std::env::var_os("RELIN_DATA").filter(|folder| !folder.is_empty());
    named.map_or_else(|| Path::new("data").into(), PathBuf::from)
}

fn line(set: &DataSet) -> String {
    let bytes = set.bytes.map_or(String::new(), |bytes| format!("{} bytes", grouped(bytes as usize)));
    let here = if set.here { "here" } else { "" };
    format!("{:<18} {:<8} {:>20}  {here:<4}  {} ({})", set.name, set.origin, bytes, set.about, set.licence)
}

fn written(written: Written, output: &Output) {
    let bytes = grouped(written.bytes as usize);
    output.result(format!("{}: {bytes} bytes, sha256 {}", written.path.display(), written.sha256));
    output.event(&written);
}
