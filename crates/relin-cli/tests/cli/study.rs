//! `relin study`: trained once, stopped at will, reported from the results alone.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Bench, Said};

/// Two axes, one combination left out, and a rate at which nothing survives.
const STUDY: &str = r#"
title = "Two <axes>"
question = "Does it work?"
base = "tiny.toml"
seeds = [0, 1]
baseline = { encoding = "none", rate = "usual" }
[measure]
lengths = [8, 32]
[[axis]]
name = "encoding"
values = [
    { name = "none", set = { model.position = "none" } },
    { name = "unitary", set = { model.position = { type = "lrpe", seed = "{seed}" }, model.normalizer = "encoded" } },
]
[[axis]]
name = "rate"
values = [{ name = "usual" }, { name = "absurd", set = { train.learning_rate = 1e38, train.grad_clip = 0.0 } }]
[[exclude]]
where = { encoding = "none", rate = "absurd" }
because = "once is enough"
"#;

fn bench() -> Bench {
    let bench = crate::runs::bench();
    bench.write("two.toml", STUDY);
    bench
}

const RUN: [&str; 7] = ["study", "two.toml", "--out", "out", "--jobs", "2", "--quiet"];

fn results(bench: &Bench) -> Vec<Value> {
    let text = std::fs::read_to_string(bench.path().join("out/results.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn a_study_is_trained_once_and_says_what_can_be_said() {
    let bench = bench();
    let said = bench.relin(&[&RUN[..], &["--json"]].concat()).exits(0);
    let lines = said.json();
    assert_eq!(lines.iter().filter(|line| line["event"] == "run").count(), 6);
    let done = lines.last().unwrap();
    assert_eq!(
        (&done["event"], &done["runs"], &done["failed"]),
        (&"done".into(), &6.into(), &2.into()),
        "{done}"
    );

    let rows = results(&bench);
    let (bad, good): (Vec<&Value>, Vec<&Value>) = rows.iter().partition(|row| row["status"] == "diverged");
    assert_eq!((bad.len(), good.len()), (2, 4));
    assert!(bad.iter().all(|row| row["reason"].as_str().unwrap().contains("not finite")), "{bad:?}");
    for row in &good {
        let measured = &row["measured"];
        assert!(
            measured["valid_loss"].as_f64().unwrap() > 0.0 && measured["peak_bytes"].as_u64().unwrap() > 0
        );
        assert_eq!(measured["curve"].as_array().unwrap().len(), 3);
        assert_eq!(
            measured["curve"][0]["clamped"].is_number(),
            row["cell"]["encoding"] == "unitary",
            "{measured}"
        );
        assert_eq!(measured["lengths"][1]["length"], 32);
        assert!(measured["lengths"][1]["loss"].as_f64().unwrap() > 0.0, "{measured}");
        assert_eq!(row["recipe"]["train"]["seed"], row["seed"]);
        assert!(row["command"].as_str().unwrap().starts_with("relin train tiny.toml --set"), "{row}");
    }

    let out = bench.path().join("out");
    let html = read(&out.join("report.html"));
    // Nothing is asked for from anywhere.
    assert!(
        !html.contains("http")
            && !html.contains("src=")
            && !html.contains("@import")
            && !html.contains("url(")
    );
    assert!(html.contains("Two &lt;axes&gt;") && html.contains("<svg") && html.contains("aria-label"));
    let summary = read(&out.join("summary.md"));
    for words in [
        "two seeds",
        "2 runs failed",
        "diverged",
        "once is enough",
        "relin study two.toml",
        "± sd",
        "clamped",
    ] {
        assert!(summary.contains(words) && html.contains(words), "{words}");
    }
    let page = html.split("<script>").next().unwrap();
    assert!(!summary.contains("**better**") && !page.contains("NaN"), "{summary}");
    for figure in ["differences", "grid-1", "curves", "contexts", "kernels"] {
        assert!(read(&out.join(format!("figures/{figure}.svg"))).ends_with("</svg>\n"), "{figure}");
    }

    let before = read(&out.join("results.jsonl"));
    let again = bench.relin(&[&RUN[..], &["--json"]].concat()).exits(0);
    assert!(again.json().iter().all(|line| line["event"] != "run"), "{}", again.out);
    assert_eq!((read(&out.join("results.jsonl")), read(&out.join("report.html"))), (before, html));

    let retried = bench.relin(&[&RUN[..], &["--json", "--retry"]].concat()).exits(0);
    assert_eq!(retried.json().iter().filter(|line| line["event"] == "run").count(), 2);
}

#[test]
fn a_run_of_a_study_is_the_run_of_its_command() {
    let bench = bench();
    bench.relin(&RUN).exits(0);
    let row = results(&bench)
        .into_iter()
        .find(|row| row["cell"]["encoding"] == "unitary" && row["status"] == "finished");
    let row = row.unwrap();
    let script = format!("{} --out alone --quiet --json --threads 1", row["command"].as_str().unwrap());
    let relin = Path::new(env!("CARGO_BIN_EXE_relin")).parent().unwrap();
    let mut command = std::process::Command::new("sh");
    let path = format!("{}:{}", relin.display(), std::env::var("PATH").unwrap());
    let output = command.args(["-c", &script]).env("PATH", path).current_dir(bench.path()).output().unwrap();
    let said = Said::of(output, &[&script]).exits(0);
    assert_eq!(said.json().last().unwrap()["valid_loss"], row["measured"]["valid_loss"]);
}

/// Runs slow enough to be interrupted, saved often.
const SLOW: [&str; 8] = [
    "--set",
    "train.steps=60",
    "--set",
    "train.batch_size=64",
    "--set",
    "train.save_every=5",
    "--set",
    "data.context=64",
];

fn start(bench: &Bench) -> Child {
    let args = [&RUN[..], &SLOW[..]].concat();
    bench.command(&args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A saved state of a run that has no result.
fn half_done(bench: &Bench) -> bool {
    let runs = std::fs::read_dir(bench.path().join("out/runs")).into_iter().flatten().flatten();
    runs.map(|run| run.path().join("state")).any(|state| state.is_dir())
}

#[test]
fn a_killed_study_goes_on_and_repeats_nothing() {
    let bench = bench();
    let mut child = start(&bench);
    wait_until("no run with a result and another half done", || {
        !results(&bench).is_empty() && half_done(&bench)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let before = read(&bench.path().join("out/results.jsonl"));
    // Its runs notice, save, and leave; whoever comes next waits for them.
    assert!(start(&bench).wait_with_output().unwrap().status.success());
    let after = read(&bench.path().join("out/results.jsonl"));
    assert!(after.starts_with(&before), "what was there has changed");
    let ids: Vec<String> =
        results(&bench).iter().map(|row| row["run"].as_str().unwrap().to_owned()).collect();
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (6, 6), "{ids:?}");

    // As if it had never been stopped.
    let whole = Bench::new();
    for name in ["tiny.toml", "text.txt", "two.toml"] {
        whole.write(name, &read(&bench.path().join(name)));
    }
    assert!(start(&whole).wait_with_output().unwrap().status.success());
    let losses = |bench: &Bench| -> BTreeSet<(String, String)> {
        let of = |row: &Value| (row["run"].to_string(), row["measured"]["valid_loss"].to_string());
        results(bench).iter().map(of).collect()
    };
    assert_eq!(losses(&bench), losses(&whole));
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_a_study_and_its_runs() {
    let bench = bench();
    let child = start(&bench);
    wait_until("nothing half done", || half_done(&bench));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let said = Said::of(child.wait_with_output().unwrap(), &["study"]).exits(130);
    assert!(said.err.contains("the same command goes on"), "{}", said.err);
    assert!(results(&bench).len() < 6);
}

#[test]
fn a_folder_is_used_by_one_study_at_a_time() {
    let bench = bench();
    let report = || bench.relin(&[&RUN[..], &SLOW[..], &["--report-only"]].concat());
    report().exits(1).complains(&["no results", "out"]);
    let mut child = start(&bench);
    let lines = bench.path().join("out/results.jsonl");
    wait_until("no result", || std::fs::read_to_string(&lines).is_ok_and(|text| text.ends_with('\n')));
    // Reading is free.
    let said = report().exits(0);
    assert!(said.err.contains("have no result yet"), "{}", said.err);
    assert!(bench.path().join("out/report.html").is_file());
    bench.relin(&RUN).exits(1).complains(&["out", "being used", &format!("process {}", child.id())]);
    child.kill().unwrap();
    child.wait().unwrap();
    // A dead process holds nothing.
    bench.relin(&RUN).exits(0);
}

#[test]
fn results_that_were_edited_are_refused() {
    let bench = bench();
    bench.relin(&RUN).exits(0);
    let path = bench.path().join("out/results.jsonl");
    let text = read(&path);
    let second: Vec<&str> = text.lines().collect();
    let edited = text.replacen(second[1], &second[1].replace("\"seed\":0", "\"seed\":1"), 1);
    std::fs::write(&path, edited).unwrap();
    bench.relin(&RUN).exits(1).complains(&["results.jsonl", "line 2", "checksum"]);
    std::fs::write(&path, text.replace("\"format\":1", "\"format\":2")).unwrap();
    bench.relin(&RUN).exits(1).complains(&["format 2", "format 1"]);
}

#[test]
fn bad_studies_are_refused_before_anything_trains() {
    let bench = bench();
    for (from, to, words) in [
        (
            "\"none\" }",
            "\"nome\" }",
            &["axis `encoding`", "value `none`", "model.position", "did you mean `none`"][..],
        ),
        (
            "train.learning_rate = 1e38",
            "model.position = \"rope\"",
            &["`encoding` and `rate`", "model.position"],
        ),
        ("baseline = { encoding = \"none\"", "baseline = { encoding = \"non\"", &["did you mean `none`"]),
        ("seeds = [0, 1]", "seed = [0, 1]", &["two.toml", "line 5", "seed"]),
        ("base = \"tiny.toml\"", "base = \"tony.toml\"", &["tony.toml"]),
    ] {
        assert!(STUDY.contains(from), "{from}");
        bench.write("two.toml", &STUDY.replacen(from, to, 1));
        let said = bench.relin(&RUN).complains(words);
        assert!(matches!(said.code, Some(1 | 2)), "{:?}", said.code);
        assert!(!bench.path().join("out").exists());
    }
    bench.write("two.toml", STUDY);
    for (args, words) in [
        (&["--set", "model.position=rope"][..], &["axis `encoding` sets it"][..]),
        (&["--seeds", "1,1"], &["--seeds", "1 twice"]),
        (&["--size", "huge"], &["huge", "small"]),
        (&["--set", "train.stepz=1"], &["train.stepz", "train.steps"]),
    ] {
        bench.relin(&[&RUN[..], args].concat()).exits(2).complains(words);
    }
    bench.relin(&["study", "bassis"]).exits(2).complains(&["basis"]);
    bench.write("bad.toml", "title = \"t\"\nquestion = \"q\"\nseeds = [0]\n[[bench]]\nname = \"b\"\nrun = \"attention --lengthz 3\"\n");
    bench.relin(&["study", "bad.toml"]).exits(2).complains(&["bench `b`", "--lengthz"]);
}

#[test]
fn a_run_without_data_ends_the_study_with_its_reason() {
    let bench = bench();
    let args = [&RUN[..], &["--set", "data.source=nowhere.txt"]].concat();
    bench.relin(&args).exits(1).complains(&["usual, seed 0", "nowhere.txt"]);
    assert!(results(&bench).is_empty());
}

#[test]
fn time_that_is_over_is_a_result() {
    let bench = bench();
    bench.write("two.toml", &STUDY.replace("[measure]", "[budget]\nseconds = 1e-3\n[measure]"));
    bench.relin(&RUN).exits(0);
    let rows = results(&bench);
    assert!(rows.iter().any(|row| row["status"] == "out-of-time"), "{rows:?}");
    assert!(read(&bench.path().join("out/summary.md")).contains("of 24 updates"));
}

#[test]
fn a_retry_has_its_time_anew() {
    let bench = bench();
    let late =
        |seconds: &str| STUDY.replace("[measure]", &format!("[budget]\nseconds = {seconds}\n[measure]"));
    bench.write("two.toml", &late("1e-3"));
    bench.relin(&RUN).exits(0);
    let clock = |bench: &Bench| {
        let rows = results(bench);
        let late =
            rows.iter().find(|row| row["status"] == "out-of-time").unwrap_or_else(|| panic!("{rows:?}"));
        let log = bench.path().join("out/runs").join(late["run"].as_str().unwrap()).join("metrics.jsonl");
        (late["measured"]["seconds"].as_f64(), std::fs::metadata(log).unwrap().modified().unwrap())
    };
    let (seconds, before) = clock(&bench);
    assert_eq!(seconds, Some(1e-3));
    bench.relin(&[&RUN[..], &["--retry"]].concat()).exits(0);
    assert!(clock(&bench).1 > before, "it did not begin anew");

    bench.write("two.toml", &late("600"));
    bench.relin(&[&RUN[..], &["--retry"]].concat()).exits(0);
    let rows = results(&bench);
    let last: HashMap<_, _> = rows.iter().map(|row| (row["run"].to_string(), &row["status"])).collect();
    assert!(last.values().all(|status| *status != "out-of-time"), "{rows:?}");
}

#[test]
fn a_dry_run_says_what_would_be_made_and_makes_nothing() {
    let bench = bench();
    let said = bench.relin(&["study", "two.toml", "--out", "out", "--dry-run", "--json"]).exits(0);
    let plan = &said.json()[0];
    assert_eq!(
        (&plan["runs"], &plan["missing"], &plan["excluded"]),
        (&6.into(), &6.into(), &1.into()),
        "{plan}"
    );
    assert!(plan["estimated_seconds"].as_f64().unwrap() > 0.0, "{plan}");
    assert!(!bench.path().join("out").exists());
}

#[test]
fn measurements_are_a_study_too() {
    let bench = Bench::new();
    bench.write(
        "speed.toml",
        "title = \"Speed\"\nquestion = \"How fast?\"\nseeds = [0, 1]\n[[bench]]\nname = \"attention\"\nrun = \"attention --lengths 32,64,128 --positions none,rope --directions forward --heads 1 --key-dim 8 --threads 1 --seconds-per-measurement 0.001\"\n",
    );
    let said = bench.relin(&["study", "speed.toml", "--out", "out", "--quiet", "--json"]).exits(0);
    assert_eq!(said.json().iter().filter(|line| line["event"] == "run").count(), 2);
    let summary = read(&bench.path().join("out/summary.md"));
    for words in ["exponent of time", "softmax, rope", "T = 128", "forward, 1 thread, K = 8"] {
        assert!(summary.contains(words), "{words}: {summary}");
    }
    assert!(bench.path().join("out/figures/scaling-1-time.svg").is_file());
}

/// A file-size limit stands in for a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_ends_the_study_and_keeps_its_results() {
    let bench = bench();
    bench.relin(&[&RUN[..], &["--seeds", "0"]].concat()).exits(0);
    let before = read(&bench.path().join("out/results.jsonl"));
    let relin = env!("CARGO_BIN_EXE_relin");
    let script = format!("trap '' XFSZ; ulimit -f 8; exec {relin} {}", RUN.join(" "));
    let output =
        std::process::Command::new("sh").args(["-c", &script]).current_dir(bench.path()).output().unwrap();
    Said::of(output, &["study (full disk)"]).exits(1).complains(&["cannot write"]);
    assert_eq!(read(&bench.path().join("out/results.jsonl")), before);
    bench.relin(&RUN).exits(0);
    assert_eq!(results(&bench).len(), 6);
}

#[test]
fn built_in_studies_are_listed() {
    let said = Bench::new().relin(&["study", "--list", "--json"]).exits(0);
    let names: Vec<String> =
        said.json().iter().map(|line| line["name"].as_str().unwrap().to_owned()).collect();
    assert!(["basis", "efficiency", "tasks"].iter().all(|name| names.iter().any(|n| n == name)), "{names:?}");
}
