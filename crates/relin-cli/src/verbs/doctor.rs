//! `relin doctor`: what this machine offers, which paths run on it, and why.

use std::path::{Path, PathBuf};

use relin::data::catalogue;
use relin_kernels::simd;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;
use crate::progress::grouped;

/// The findings, as `--json` prints them.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename = "doctor")]
struct Findings {
    version: &'static str,
    /// Operating system and architecture.
    platform: String,
    backend: &'static str,
    cpu_features: Vec<&'static str>,
    paths: Vec<RunningPath>,
    threads: usize,
    memory_available_bytes: Option<u64>,
    data_folder: PathBuf,
    data_folder_exists: bool,
    working_folder: Option<PathBuf>,
    working_folder_writable: bool,
}

/// An implementation that was chosen, and why.
#[derive(Debug, Serialize)]
struct RunningPath {
    what: &'static str,
    path: &'static str,
    why: &'static str,
}

pub fn run(output: &Output) -> Result<(), Failure> {
    let findings = findings();
    output.result(in_words(&findings));
    output.event(&findings);
    Ok(())
}

fn findings() -> Findings {
    let cpu_features = cpu_features();
    let working_folder = std::env::current_dir().ok();
    let data_folder = catalogue::folder();
    Findings {
        version: env!("CARGO_PKG_VERSION"),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        backend: "burn flex (CPU)",
        paths: vec![matrix_products(&cpu_features), kernels()],
        cpu_features,
        threads: rayon::current_num_threads(),
        memory_available_bytes: memory_available(),
        data_folder_exists: data_folder.is_dir(),
        data_folder,
        working_folder_writable: working_folder.as_deref().is_some_and(writable),
        working_folder,
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<&'static str> {
    let known = [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    known.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

#[cfg(target_arch = "aarch64")]
fn cpu_features() -> Vec<&'static str> {
    if std::arch::is_aarch64_feature_detected!("neon") { vec!["neon"] } else { Vec::new() }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_features() -> Vec<&'static str> {
    Vec::new()
}

/// The rule by which the matrix product crate chooses at run time.
fn matrix_products(features: &[&str]) -> RunningPath {
    let has = |name: &str| features.contains(&name);
    let (path, why) = if has("avx512f") {
        ("AVX-512", "the processor has avx512f")
    } else if has("avx2") && has("fma") {
        ("AVX2 + FMA", "the processor has avx2 and fma, not avx512f")
    } else if has("neon") {
        ("NEON", "the processor has neon")
    } else {
        ("scalar", "the processor has none of avx512f, avx2 with fma, neon")
    };
    RunningPath { what: "matrix products", path, why }
}

/// The kernels choose once, when they first run.
fn kernels() -> RunningPath {
    let forced = std::env::var_os(simd::OVERRIDE).is_some_and(|value| !value.is_empty());
    let why = if forced { "RELIN_SIMD says so" } else { "the best that the processor has" };
    RunningPath { what: "kernels around them", path: simd::instruction_set(), why }
}

/// What can still be had, on systems that say it: the machine's, or less where a control group sets a limit.
fn memory_available() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine = line.split_whitespace().next()?.parse::<u64>().ok()? * 1024;
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limit = number("/sys/fs/cgroup/memory.max");
    let used = number("/sys/fs/cgroup/memory.current").unwrap_or(0);
    Some(limit.map_or(machine, |limit| machine.min(limit.saturating_sub(used))))
}

fn writable(folder: &Path) -> bool {
    let probe = folder.join(format!(".relin-doctor-{}.tmp", std::process::id()));
    let made = std::fs::File::create_new(&probe).is_ok();
    made && std::fs::remove_file(&probe).is_ok()
}

fn in_words(findings: &Findings) -> String {
    let features = match findings.cpu_features.as_slice() {
        [] => "none that relin uses".into(),
        some => some.join(" "),
    };
    let memory = findings.memory_available_bytes.map_or("unknown on this system".into(), |bytes| {
        format!("{} MiB available", grouped(bytes as usize >> 20))
    });
    let data = if findings.data_folder_exists { "there" } else { "not there yet" };
    let working =
        findings.working_folder.as_deref().map_or("unknown".into(), |path| path.display().to_string());
    let access =
        if findings.working_folder_writable { "writable" } else { "NOT writable: give --out elsewhere" };
    let mut lines = vec![
        row("relin", format!("{} on {}", findings.version, findings.platform)),
        row("backend", findings.backend.into()),
        row("processor", features),
    ];
    lines.extend(findings.paths.iter().map(|it| row(it.what, format!("{} ({})", it.path, it.why))));
    lines.extend([
        row("threads", findings.threads.to_string()),
        row("memory", memory),
        row("data folder", format!("{} ({data})", findings.data_folder.display())),
        row("working folder", format!("{working} ({access})")),
    ]);
    lines.join("\n")
}

fn row(name: &str, words: String) -> String {
    format!("{name:<20} {words}")
}
