//! Whatever interrupts a run, the same command ends with the same bytes.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Bench, Said};
use crate::runs::{TRAIN, bench};

fn weights(bench: &Bench, run: &str) -> Vec<u8> {
    std::fs::read(bench.path().join(run).join("model.safetensors")).unwrap()
}

/// Steps slow enough to be interrupted, saved often.
const SLOW: [&str; 8] = [
    "--set",
    "train.steps=60",
    "--set",
    "train.batch_size=64",
    "--set",
    "train.save_every=7",
    "--set",
    "data.context=64",
];

fn start(bench: &Bench, run: &str) -> Child {
    let args = [&["train", "tiny.toml", "--quiet", "--json", "--out", run], &SLOW[..]].concat();
    bench.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until the run has saved a state beyond `step`.
fn wait_for_state(bench: &Bench, run: &str, step: usize) {
    let began = Instant::now();
    let saved = || {
        let states = std::fs::read_dir(bench.path().join(run).join("state")).into_iter().flatten().flatten();
        let numbers =
            states.filter_map(|state| state.file_name().to_str()?.strip_prefix("step-")?.parse().ok());
        numbers.max().unwrap_or(0usize) > step
    };
    while !saved() {
        assert!(began.elapsed() < Duration::from_secs(120), "no state beyond step {step}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn killed_again_and_again_a_run_ends_with_the_same_bytes() {
    let bench = bench();
    assert!(start(&bench, "whole").wait().unwrap().success());
    for (kill, after) in [0, 7, 21].into_iter().enumerate() {
        let mut child = start(&bench, "killed");
        wait_for_state(&bench, "killed", after);
        std::thread::sleep(Duration::from_millis(17 * kill as u64));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(start(&bench, "killed").wait().unwrap().success());
    assert!(weights(&bench, "killed") == weights(&bench, "whole"), "the weights differ");
    let losses = |run: &str| {
        let text = std::fs::read_to_string(bench.path().join(run).join("metrics.jsonl")).unwrap();
        let number = |line: &str, key: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line[key].as_f64()
        };
        text.lines()
            .map(|line| (number(line, "step"), number(line, "loss"), number(line, "valid_loss")))
            .collect::<Vec<_>>()
    };
    let (killed, whole) = (losses("killed"), losses("whole"));
    assert_eq!(killed[..killed.len() - 1], whole[..whole.len() - 1], "the records differ");
}

#[test]
fn a_half_written_state_is_never_loaded_and_a_damaged_one_is_named() {
    let bench = bench();
    bench.relin(&TRAIN).exits(0);
    let whole = weights(&bench, "run");
    // Back to before the end: as if killed between the last two states.
    let run = bench.path().join("run");
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let unfinished: Vec<&str> = metrics.lines().filter(|line| !line.contains("\"done\"")).collect();
    std::fs::write(run.join("metrics.jsonl"), unfinished.join("\n") + "\n").unwrap();
    std::fs::create_dir(run.join("state/.step-000000099.tmp")).unwrap();
    std::fs::write(run.join("state/.step-000000099.tmp/tensors.safetensors"), b"half").unwrap();
    let newest = run.join("state/step-000000024/tensors.safetensors");
    let mut bytes = std::fs::read(&newest).unwrap();
    let at = bytes.len() - 9;
    bytes[at] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let said = bench.relin(&["train", "tiny.toml", "--out", "run"]).exits(0);
    assert!(said.err.contains("step-000000024") && said.err.contains("damaged"), "{}", said.err);
    assert!(weights(&bench, "run") == whole, "the weights differ");
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let bench = bench();
    let args = [&["train", "tiny.toml", "--out", "run"], &SLOW[..]].concat();
    let mut command = bench.command(&args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_state(&bench, "run", 0);
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let said = Said::of(child.wait_with_output().unwrap(), &args).exits(130);
    assert!(said.err.contains("the same command goes on"), "{}", said.err);
    assert!(start(&bench, "whole").wait().unwrap().success());
    assert!(start(&bench, "run").wait().unwrap().success());
    assert!(weights(&bench, "run") == weights(&bench, "whole"), "the weights differ");
}

/// A file-size limit stands in for a full disk: writing fails in the middle of a file.
#[test]
fn a_disk_that_fills_up_leaves_the_old_checkpoint() {
    let bench = bench();
    bench.relin(&TRAIN).exits(0);
    let whole = weights(&bench, "run");
    let relin = env!("CARGO_BIN_EXE_relin");
    let script =
        format!("trap '' XFSZ; ulimit -f 8; exec {relin} train tiny.toml --out run --resume none --quiet");
    let mut command = std::process::Command::new("sh");
    let output = command.args(["-c", &script]).current_dir(bench.path()).output().unwrap();
    let said = Said::of(output, &["train (full disk)"]).exits(1).complains(&["cannot write"]);
    assert!(said.err.contains("run"), "{}", said.err);
    assert!(weights(&bench, "run") == whole, "the old weights are gone");
    bench.relin(&["eval", "run", "--json"]).exits(0);
}
