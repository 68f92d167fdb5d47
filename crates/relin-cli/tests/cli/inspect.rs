use std::path::Path;

use serde_json::Value;

use crate::harness::{Bench, Said};
use crate::runs::{TRAIN, bench};

/// Sizes that take no time.
const SMALL: [&str; 6] = ["--head-dim", "8", "--heads", "2", "--lags", "12"];

/// Every name that the table of encodings must have.
fn names() -> Vec<&'static str> {
    let presets = relin_kernels::encoding::PRESETS.iter().map(|preset| preset.name);
    presets.chain(["t5", "alibi", "shaw"]).collect()
}

fn inspect(bench: &Bench, rest: &[&str]) -> Said {
    bench.relin(&[&["inspect"], rest].concat())
}

fn found(bench: &Bench, rest: &[&str]) -> Value {
    let said = inspect(bench, &[rest, &["--json", "--quiet"]].concat()).exits(0);
    let [found] = &said.json()[..] else { panic!("one line expected: {}", said.out) };
    found.clone()
}

/// Tags open and close in order, attributes are quoted, and something is drawn.
#[track_caller]
fn is_a_figure(path: &Path, panels: usize) {
    let svg = std::fs::read_to_string(path).unwrap();
    let mut open: Vec<&str> = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap_or_else(|| panic!("no end: {tag}"));
        assert!(!text.contains('&') || text.contains(';'), "unescaped: {text}");
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes: {tag}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "{}", path.display()),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split(' ').next().unwrap()),
        }
    }
    assert!(open.is_empty() && svg.starts_with("<svg xmlns="), "{}: {open:?}", path.display());
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", path.display());
    assert!(svg.contains("prefers-color-scheme: dark"));
    assert_eq!(svg.matches("<g transform").count(), panels, "{}", path.display());
    assert!(
        svg.matches("<polyline class").count() >= 2 && svg.contains("<path class=\"h"),
        "{}",
        path.display()
    );
    assert_eq!(svg.matches("rotate(-90)").count(), panels, "an axis without a label");
}

#[test]
fn every_position_is_measured_and_drawn() {
    let bench = Bench::new();
    for name in names() {
        let said = inspect(&bench, &[&[name, "--out", "figure.svg"], &SMALL[..]].concat()).exits(0);
        for word in [name, "kernel", "symmetric", "relative    yes", "lag t − s"] {
            assert!(said.out.contains(word), "{name}: no {word} in {}", said.out);
        }
        assert!(said.err.contains("figure.svg"));
        let panels = match name {
            "none" | "t5" | "alibi" | "shaw" => 3,
            "permuteformer" | "lrpe-decay" | "xpos" => 5,
            name if name.contains("spe") => 6,
            _ => 4,
        };
        is_a_figure(&bench.path().join("figure.svg"), panels);
    }
}

#[test]
fn json_has_what_the_words_say() {
    let bench = Bench::new();
    for name in names() {
        let found = found(&bench, &[&[name], &SMALL[..]].concat());
        assert_eq!((found["event"].as_str(), found["position"].as_str()), (Some("inspect"), Some(name)));
        assert_eq!((found["head_dim"].as_u64(), found["heads"].as_u64()), (Some(8), Some(2)));
        assert_eq!(found["relative"], true, "{found}");
        assert!(
            found["symmetry"]["even_deviation"].is_number() && found["relativity"]["deviation"].is_number()
        );
        let lags: Vec<_> =
            found["effective"].as_array().unwrap().iter().map(|at| at["lag"].as_i64().unwrap()).collect();
        assert_eq!(lags, [-12, -8, -4, -2, -1, 0, 1, 2, 4, 8, 12]);
        let noisy = name.contains("-spe");
        assert_eq!(found["convergence"].is_object(), noisy, "{name}");
        if noisy {
            let slope = found["convergence"]["variance_slope"].as_f64().unwrap();
            assert!((slope + 1.0).abs() < 0.1, "{name}: {slope}");
        }
    }
}

#[test]
fn facts_of_single_encodings() {
    let bench = Bench::new();
    let unitary = found(&bench, &["lrpe-unitary"]);
    assert_eq!((&unitary["even"], &unitary["encoded_dim"]), (&true.into(), &128.into()));
    assert_eq!(unitary["unitary"]["holds"], true);
    let rope = found(&bench, &["rope"]);
    assert_eq!((&rope["even"], &rope["transposed"]), (&false.into(), &true.into()));
    assert_eq!(rope["basis_deviation"].as_f64(), Some(0.0));
    let longest = r#"{ type = "lrpe", family = "permutation", cycle = "longest" }"#;
    // Landau's function of 64 (OEIS A000793).
    assert_eq!(found(&bench, &[longest])["spectra"][0]["period"].as_u64(), Some(2_042_040));
    let decay = found(&bench, &["decay", "--heads", "4"])["decay"].as_array().unwrap().clone();
    assert!((decay[0].as_f64().unwrap() - (-0.25f64).exp()).abs() < 1e-15 && decay.len() == 4);
    let alibi = found(&bench, &["alibi"]);
    assert_eq!((&alibi["even"], &alibi["attention"]), (&true.into(), &serde_json::json!(["softmax"])));
    let sine = found(&bench, &["sine-spe", "--head-dim", "8"]);
    assert_eq!(sine["acts"], "before the feature map, on q and k");
    assert_eq!(sine["parameters"][0]["shape"], serde_json::json!([8, 8, 10]));
}

#[test]
fn seed_and_layer_choose_what_is_drawn() {
    let bench = Bench::new();
    let spectrum = |rest: &[&str]| found(&bench, &[&["lrpe-permutation"], rest].concat())["spectra"].clone();
    let first = spectrum(&[]);
    assert_eq!(first, spectrum(&["--seed", "0"]));
    assert_ne!(first, spectrum(&["--seed", "1"]));
    assert_ne!(first, spectrum(&["--layer", "1"]));
}

#[test]
fn what_is_no_position_is_named() {
    let bench = Bench::new();
    let refused = |rest: &[&str], words: &[&str]| {
        inspect(&bench, &[rest, &["--out", "figure.svg"]].concat()).exits(2).complains(words);
        assert!(!bench.path().join("figure.svg").exists());
    };
    refused(&["rpoe"], &["`rpoe`", "`rope`", "conv-spe", "alibi"]);
    refused(&["sinusoidal"], &["`sinusoidal`", "absolute"]);
    refused(&["{ type = \"lrpe\", famly = \"unitary\" }"], &["famly", "family"]);
    refused(&["{ type = \"lrp\" }"], &["`lrp`", "`lrpe`"]);
    refused(&["{ type = \"t5\", buckets = 5 }"], &["buckets", "5"]);
    refused(&["{ type = "], &["POSITION"]);
    refused(&["rope", "--head-dim", "7"], &["rope", "even", "7"]);
    refused(&["{ type = \"sine-spe\", realizations = 0 }"], &["realizations", "0"]);
    refused(&["rope", "--head-dim", "0"], &["--head-dim", "0"]);
    refused(&["rope", "--lags", "0"], &["--lags", "0"]);
    refused(&["rope", "--heads", "x"], &["--heads", "x"]);
    inspect(&bench, &[]).exits(2);
    inspect(&bench, &["rope", "--out", "no/such/folder/f.svg"]).exits(1).complains(&["no/such/folder"]);
}

#[test]
fn a_run_shows_what_its_layers_learned() {
    let bench = bench();
    bench.relin(&TRAIN).exits(0);
    for layer in ["0", "1"] {
        let found = found(&bench, &["run", "--layer", layer]);
        assert_eq!(
            (&found["trained"], &found["heads"], &found["head_dim"]),
            (&true.into(), &2.into(), &8.into())
        );
        let theta = &found["parameters"][0];
        assert_eq!(theta["name"], "theta");
        assert!(theta["moved"].as_f64().unwrap() > 0.0, "{theta}");
        assert_eq!(found["relative"], true);
    }
    let said = inspect(&bench, &["run", "--out", "run.svg"]).exits(0);
    assert!(said.out.contains("moved by") && said.out.contains("layer 0"), "{}", said.out);
    is_a_figure(&bench.path().join("run.svg"), 4);
    let svg = std::fs::read_to_string(bench.path().join("run.svg")).unwrap();
    assert!(svg.contains("initial") && svg.contains("learned"));

    inspect(&bench, &["run", "--layer", "2"]).exits(2).complains(&["--layer", "0 to 1", "found 2"]);
    inspect(&bench, &["run", "--head-dim", "8"]).exits(2).complains(&["--head-dim", "config.json", "8"]);
    inspect(&bench, &["text.txt"]).exits(1).complains(&["text.txt", "config.json"]);
    let config = bench.path().join("run/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("lrpe-orthogonal", "lrpe-unitary-learned")).unwrap();
    inspect(&bench, &["run"]).exits(1).complains(&["model.safetensors", "theta", "[1, 8]", "[1, 4]"]);
    std::fs::remove_file(bench.path().join("run/model.safetensors")).unwrap();
    inspect(&bench, &["run"]).exits(1).complains(&["run", "model.safetensors"]);
}

#[test]
fn a_run_with_softmax_attention_shows_its_bias() {
    let bench = bench();
    let softmax = ["--set", "model.attention=softmax", "--set", "model.position=t5"];
    bench.relin(&[&TRAIN[..], &softmax].concat()).exits(0);
    let found = found(&bench, &["run", "--layer", "1"]);
    let table = &found["parameters"][0];
    assert_eq!((&found["trained"], &table["name"]), (&true.into(), &"table".into()));
    assert!(table["moved"].as_f64().unwrap() > 0.0, "{table}");
}

/// The table of `docs/encodings.md` names every position, and each figure it shows is there.
#[test]
fn the_documented_encodings_are_all() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let page = std::fs::read_to_string(docs.join("encodings.md")).unwrap();
    let table: String = page.lines().filter(|line| line.starts_with('|')).collect();
    for name in names() {
        assert!(table.contains(&format!("`{name}`")), "no `{name}` in the table of docs/encodings.md");
    }
    let figures: Vec<_> =
        page.split("](figures/").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(figures.len() >= 15);
    for figure in figures {
        assert!(docs.join("figures").join(figure).is_file(), "no {figure}");
        assert!(page.contains(&format!("--out docs/figures/{figure}")), "no command draws {figure}");
    }
}
