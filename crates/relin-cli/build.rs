//! Which revision of the repository this binary is built from, for the records of studies.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a result may depend on, below the repository's root.
const SOURCES: [&str; 5] = ["crates", "recipes", "studies", "Cargo.toml", "Cargo.lock"];

fn main() {
    let root = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    // It grows with every commit and every change of branch.
    if let Some(log) = git(&root, &["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={}", PathBuf::from(log).display());
    }
    if let Some(revision) = revision(&root) {
        println!("cargo::rustc-env=RELIN_REVISION={revision}");
    }
}

/// Its first twelve digits, with `+` after them if a source differs from it. None outside a repository.
fn revision(root: &Path) -> Option<String> {
    let revision = git(root, &["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(root, &[&["status", "--porcelain", "--"], &SOURCES[..]].concat())?;
    Some(if changed.is_empty() { revision } else { format!("{revision}+") })
}

fn git(root: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
