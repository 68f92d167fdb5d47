//! Gathers the repository's own documents and sources into the text of the built-in set `quickstart`.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// What is gathered, in this order: a folder below the repository's root, the ending, and whether to descend.
/// Not results, which are tables; and only crates that this one is built from anyway: others would make every edit of
/// theirs rebuild this one.
const GATHERED: [(&str, &str, bool); 4] = [
    ("", "md", false),
    ("docs", "md", false),
    ("crates/relin-kernels/src", "rs", true),
    ("crates/relin/src", "rs", true),
];

/// Whole files are taken while the text stays below this many bytes.
const LIMIT: usize = 500_000;

fn main() {
    let root = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let mut text = String::new();
    for (folder, ending, descend) in GATHERED {
        for path in files(&root.join(folder), ending, descend) {
            println!("cargo::rerun-if-changed={}", path.display());
            let file = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            if text.len() + file.len() < LIMIT {
                text.push_str(&file.replace("\r\n", "\n"));
                text.push('\n');
            }
        }
    }
    let out = Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("quickstart.txt");
    fs::write(out, text).expect("cargo's own folder can be written");
}

/// The files of `folder` with `ending`, sorted by path; none when the folder is not there.
fn files(folder: &Path, ending: &str, descend: bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    if descend {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() && descend {
            found.extend(files(&path, ending, true));
        } else if path.is_file() && path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found
}
