use serde_json::Value;

use crate::harness::{Bench, Said};

/// Sizes that take no time; the bandwidth is left out by definitions of one's own.
const TINY: [&str; 8] =
    ["--heads", "2", "--key-dim", "8", "--chunk", "4", "--seconds-per-measurement", "0.001"];

fn bench(what: &str, rest: &[&str]) -> Said {
    let folder = Bench::new();
    define(&folder);
    let file = format!("{what}.toml");
    folder.relin(&[&["bench", what, "--file", &file, "--json"], rest].concat())
}

/// The repository's definitions, without the bandwidth's memory.
fn define(folder: &Bench) {
    for name in ["attention", "encoding", "decode", "train"] {
        let path = format!("{}/../../benchmarks/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        folder.write(&format!("{name}.toml"), &text.replace("bandwidth_mib = 1024", "bandwidth_mib = 12"));
    }
}

#[track_caller]
fn number(line: &Value, field: &str) -> f64 {
    line[field].as_f64().unwrap_or_else(|| panic!("no number {field} in {line}"))
}

/// Every measurement has the documented fields, and they fit together.
#[track_caller]
fn consistent(line: &Value, tokens: f64) {
    let [median, gflops, sgemm] =
        ["median_seconds", "gflops", "sgemm_gflops"].map(|field| number(line, field));
    assert!(median > 0.0 && gflops > 0.0 && sgemm > 0.0, "{line}");
    assert!((number(line, "fraction_of_sgemm") / (gflops / sgemm) - 1.0).abs() < 1e-9, "{line}");
    assert!((number(line, "tokens_per_second") / (tokens / median) - 1.0).abs() < 1e-9, "{line}");
    assert!(number(line, "min_seconds") <= median && number(line, "calls") >= 3.0, "{line}");
    assert!(number(line, "memory_gigabytes_per_second") > 0.0 && line["peak_bytes"].is_u64(), "{line}");
    assert!(line["name"].is_string() && line["position"].is_string() && line["threads"].is_u64());
    assert!(["forward", "forward-backward"].contains(&line["direction"].as_str().unwrap()), "{line}");
}

#[test]
fn attention_prints_one_object_for_each_measurement() {
    let said = bench("attention", &[&TINY[..], &["--lengths", "3,33", "--threads", "1,2"]].concat()).exits(0);
    let lines = said.json();
    // Two numbers of threads, two directions, two lengths, three positions and softmax.
    assert_eq!(lines.len(), 2 * 2 * 2 * 4);
    for line in &lines {
        let length = number(&line["shape"], "length");
        consistent(line, length);
        assert!(number(line, "relative_error") < 1e-5, "{line}");
        assert_eq!(
            (line["shape"]["heads"].as_u64(), line["shape"]["value_dim"].as_u64()),
            (Some(2), Some(8))
        );
    }
    assert!(lines.iter().any(|line| line["name"] == "softmax-attention" && line["threads"] == 2));
    // Twice 33 tokens of 2 heads: 8 chunks of 4 tokens and one of 1, K' = V = 8.
    let none = lines.iter().find(|line| {
        line["position"] == "none" && line["direction"] == "forward" && line["shape"]["length"] == 33
    });
    let none = none.unwrap();
    let flops = 2 * (8 * (4 * 5 * 16 + 4 * 4 * 64) + (2 * 16 + 4 * 64));
    let found = number(none, "gflops") * number(none, "median_seconds") * 1e9;
    assert!((found / f64::from(flops) - 1.0).abs() < 1e-9, "{found} {flops}");
}

#[test]
fn encoding_compares_each_position_with_none_of_its_width() {
    let rest = ["--lengths", "16", "--threads", "1", "--directions", "forward"];
    let positions = ["--positions", "rope,lrpe-unitary"];
    let said = bench("encoding", &[&TINY[..], &rest, &positions].concat()).exits(0);
    let lines = said.json();
    let names: Vec<_> = lines.iter().map(|line| line["position"].as_str().unwrap()).collect();
    assert_eq!(names, ["none", "rope", "lrpe-unitary"]);
    assert!(lines[0].get("overhead").is_none());
    for line in &lines[1..] {
        assert!(number(line, "overhead") > -1.0, "{line}");
    }
    assert_eq!(lines[2]["shape"]["encoded_dim"], 16);
}

#[test]
fn decode_and_train_are_measured() {
    let said = bench("decode", &[&TINY[..], &["--prefixes", "1,100", "--positions", "none,rope"]].concat());
    let lines = said.exits(0).json();
    assert_eq!(lines.len(), 4);
    lines.iter().for_each(|line| consistent(line, 1.0));

    let folder = Bench::new();
    define(&folder);
    let text = std::fs::read_to_string(folder.path().join("train.toml")).unwrap();
    let text = text.replace("= 256", "= 16").replace("= 6", "= 1").replace("= 8192", "= 32");
    folder.write("small.toml", &text);
    let args =
        ["bench", "train", "--file", "small.toml", "--lengths", "12", "--batch", "3", "--threads", "1"];
    let said =
        folder.relin(&[&args[..], &["--seconds-per-measurement", "0.001", "--json"]].concat()).exits(0);
    let lines = said.json();
    assert_eq!(lines.iter().map(|line| &line["name"]).collect::<Vec<_>>(), ["train-linear", "train-softmax"]);
    for line in &lines {
        consistent(line, 36.0);
        assert!(number(line, "peak_bytes") > 1000.0);
    }
}

#[test]
fn a_table_and_plots_for_people() {
    let folder = Bench::new();
    define(&folder);
    let args = [
        "bench",
        "attention",
        "--file",
        "attention.toml",
        "--lengths",
        "4,8",
        "--out",
        "plots",
        "--threads",
        "1",
    ];
    let said = folder.relin(&[&args[..], &TINY].concat()).exits(0);
    assert_eq!(said.out, "");
    for word in ["GFLOP/s", "lrpe-unitary", "softmax-attention", "sgemm of 1024³", "plots"] {
        assert!(said.err.contains(word), "no {word} in {}", said.err);
    }
    let mut plots: Vec<_> = std::fs::read_dir(folder.path().join("plots")).unwrap().collect();
    assert_eq!(plots.len(), 4);
    let plot = std::fs::read_to_string(plots.remove(0).unwrap().path()).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains("lrpe-orthogonal") && !plot.contains("NaN"));
}

#[test]
fn bad_input_is_named() {
    let folder = Bench::new();
    let attention = |rest: &[&str]| folder.relin(&[&["bench", "attention"], rest].concat());
    attention(&["--positions", "lrpe-unitry"]).exits(2).complains(&["`lrpe-unitry`", "`lrpe-unitary`"]);
    attention(&["--lengths", "512,0"]).exits(2).complains(&["--lengths", "0"]);
    attention(&["--lengths", "many"]).exits(2).complains(&["--lengths", "many"]);
    attention(&["--directions", "forwards"]).exits(2).complains(&["forwards", "'forward'"]);
    attention(&["--threads", "1,0"]).exits(2).complains(&["--threads"]);
    attention(&["--seconds-per-measurement=-1"]).exits(2).complains(&["--seconds-per-measurement"]);
    attention(&["--file", "none.toml"]).exits(1).complains(&["none.toml", "because: "]);
    attention(&["--key-dim", "7", "--positions", "rope"]).exits(2);
    folder.relin(&["bench", "atention"]).exits(2).complains(&["'attention'"]);
    folder.relin(&["doctor", "--threads", "1,2"]).exits(2).complains(&["`--threads`", "1,2"]);
    folder.write("mine.toml", "lenghts = [4]\n");
    attention(&["--file", "mine.toml"]).exits(2).complains(&["mine.toml, line 1", "`lenghts`", "`lengths`"]);
    define(&folder);
    let text = std::fs::read_to_string(folder.path().join("decode.toml")).unwrap();
    folder.write("two.toml", &text.replace("batch = 1", "batch = 2"));
    folder
        .relin(&["bench", "decode", "--file", "two.toml"])
        .exits(2)
        .complains(&["`shape.batch`", "found 2"]);
}

#[test]
fn help_says_how_it_measures() {
    let help = Bench::new().relin(&["bench", "--help"]).exits(0);
    for word in
        ["attention", "encoding", "decode", "train", "Examples:", "peak_bytes", "sgemm_gflops", "--file"]
    {
        assert!(help.out.contains(word), "no {word} in {}", help.out);
    }
    let help = Bench::new().relin(&["bench", "attention", "--help"]).exits(0);
    for word in ["--lengths", "--key-dim", "--positions", "--seconds-per-measurement", "--threads"] {
        assert!(help.out.contains(word), "no {word} in {}", help.out);
    }
}
