use std::process::Stdio;

use crate::harness::{Bench, Said};

#[test]
fn help_explains_with_examples() {
    let bench = Bench::new();
    let help = bench.relin(&["--help"]).exits(0);
    for word in [
        "train",
        "eval",
        "generate",
        "bench",
        "inspect",
        "data",
        "doctor",
        "Examples:",
        "--json",
        "--threads",
        "--seed",
    ] {
        assert!(help.out.contains(word), "no {word} in {}", help.out);
    }
    for verb in ["train", "eval", "generate", "inspect"] {
        let help = bench.relin(&[verb, "--help"]).exits(0);
        assert!(help.out.contains("Examples:"), "{verb}: {}", help.out);
    }
    bench.relin(&["data", "--help"]).exits(0);
    bench.relin(&[]).exits(2);
}

#[test]
fn version_is_the_package_version() {
    let said = Bench::new().relin(&["--version"]).exits(0);
    assert_eq!(said.out, format!("relin {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_unknown_verb_option_or_choice_names_the_nearest() {
    let bench = Bench::new();
    bench.relin(&["trian"]).exits(2).complains(&["trian", "'train'"]);
    bench.relin(&["train", "--sett", "a=1"]).exits(2).complains(&["--sett", "--set"]);
    bench.relin(&["train", "--resume", "aut"]).exits(2).complains(&["aut", "'auto'"]);
    bench.relin(&["doctor", "--device", "cpuu"]).exits(2).complains(&["cpuu", "'cpu'"]);
    bench.relin(&["doctor", "--threads", "0"]).exits(2).complains(&["--threads"]);
    bench.relin(&["data", "lst"]).exits(2).complains(&["'list'"]);
}

#[test]
fn an_unknown_recipe_key_or_value_names_the_nearest() {
    let bench = Bench::new();
    let train = |rest: &[&str]| bench.relin(&[&["train"], rest].concat());
    train(&["quickstrat"]).exits(2).complains(&["`quickstrat`", "`quickstart`"]);
    train(&["--set", "model.hiden_size=8"])
        .exits(2)
        .complains(&["`model.hiden_size`", "`model.hidden_size`"]);
    train(&["--set", "model.position=lrpe-unitry"]).exits(2).complains(&["`lrpe-unitry`", "`lrpe-unitary`"]);
    train(&["--set", "train.schedule=cosin"]).exits(2).complains(&["`cosin`", "`cosine`"]);
    train(&["--set", "train.steps=many"]).exits(2).complains(&["train.steps", "a whole number", "\"many\""]);
    train(&["--set", "train.steps"]).exits(2).complains(&["KEY=VALUE"]);
    train(&["--set", "model.num_attention_heads=5"]).exits(2).complains(&["`model.hidden_size`", "found 5"]);
    bench.write("mine.toml", "[train]\nsteps = 3\nstpes = 3\n");
    train(&["mine.toml"]).exits(2).complains(&["`train.stpes`", "mine.toml, line 3", "`train.steps`"]);
    bench.write("broken.toml", "[train\n");
    train(&["broken.toml"]).exits(2).complains(&["broken.toml, line 1"]);
    assert!(!bench.path().join("runs").exists(), "a refused recipe leaves no folder");
}

#[test]
fn what_is_not_there_exits_with_1_and_names_the_path() {
    let bench = Bench::new();
    bench.relin(&["train", "no/such.toml"]).exits(1).complains(&["no/such.toml", "because: "]);
    bench.relin(&["eval", "no-run"]).exits(1).complains(&["no-run", "config.json"]);
    bench.relin(&["generate", "no-run"]).exits(1).complains(&["no-run", "config.json"]);
    bench.relin(&["generate", "no-run", "--prompt-file", "none.txt"]).exits(1).complains(&["none.txt"]);
}

#[test]
fn options_out_of_range_are_refused() {
    let bench = Bench::new();
    for (option, value) in [
        ("--temperature", "-1"),
        ("--temperature", "nan"),
        ("--top-p", "0"),
        ("--top-p", "1.5"),
        ("--top-k", "0"),
        ("--stop", ""),
    ] {
        let option_value = format!("{option}={value}");
        bench.relin(&["generate", "run", &option_value]).exits(2).complains(&[option]);
    }
    bench.relin(&["eval", "run", "--lengths", "128,0"]).exits(2).complains(&["--lengths"]);
    bench
        .relin(&["generate", "run", "--prompt", "a", "--prompt-file", "b"])
        .exits(2)
        .complains(&["--prompt-file"]);
    bench.relin(&["doctor", "--seed", "99999999999999999999"]).exits(2).complains(&["--seed"]);
}

#[test]
fn a_folder_of_another_recipe_is_not_overwritten() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path().join("run")).unwrap();
    // Recorded recipes are complete: one without this key is of a build that did not know it.
    bench.write("run/recipe.toml", "[train]\nseed = 5\nangle_optimizer = \"adamw-squared\"\n");
    let done = r#"{"event":"done","run":"x","steps":7,"train_loss":1.0,"valid_loss":1.0,"tokens_per_second":1.0,"seconds":1.0,"parameters":1}"#;
    bench.write("run/metrics.jsonl", &format!("{done}\n"));
    let words = ["a finished run of another recipe", "--out", "train.seed: 5"];
    bench.relin(&["train", "--out", "run"]).exits(1).complains(&words);
    bench.relin(&["train", "--out", "run", "--resume", "none"]).exits(1).complains(&words);

    bench.write("mine.toml", "[train]\nseed = 5\n");
    let said = bench.relin(&["train", "mine.toml", "--out", "run", "--json"]).exits(0);
    let [line] = &said.json()[..] else { panic!("one line expected: {}", said.out) };
    assert_eq!((line["event"].as_str(), line["run"].as_str()), (Some("done"), Some("run")));
    let seeded = bench.relin(&["train", "mine.toml", "--out", "run", "--seed", "6"]).exits(1);
    seeded.complains(&["train.seed: 5, 6"]);
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let bench = Bench::new();
    let args = ["doctor", "--json"];
    let mut child = bench.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = Said::of(output, &args).exits(0);
    assert_eq!(said.err, "");
}
