//! The tasks of the Long-Range Arena that are made by rule.

use crate::harness::Bench;

const LISTOPS: &str = r#"
task = "listops"
[model]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
position = "lrpe-orthogonal"
[data]
context = 12
listops = { min_length = 4, max_length = 12, max_depth = 3, max_args = 4, examples = 400, held_out = 30 }
[train]
steps = 20
batch_size = 8
learning_rate = 1e-2
eval_every = 10
log_every = 10
"#;

#[test]
fn listops_is_made_trained_and_scored_on_each_part() {
    let bench = Bench::new();
    bench.write("recipe.toml", LISTOPS);
    let done = bench.relin(&["train", "recipe.toml", "--out", "run", "--json", "--quiet"]).exits(0).json();
    assert_eq!(done.last().unwrap()["event"], "done");
    for (split, examples) in [("training", 400), ("validation", 30), ("test", 30)] {
        let scored = bench.relin(&["eval", "run", "--split", split, "--json"]).exits(0).json().remove(0);
        assert_eq!((scored["split"].as_str(), scored["examples"].as_u64()), (Some(split), Some(examples)));
        assert_eq!(scored["classes"][9]["label"], "9");
    }
    let args = ["eval", "run", "--split", "dev"];
    bench.relin(&args).exits(1).complains(&["`dev`", "`training`, `validation` and `test`"]);

    bench.relin(&["data", "make", "listops", "--size", "12", "--lines", "50", "--out", "l.tsv"]).exits(0);
    let args = ["eval", "run", "--data", "l.tsv", "--predictions", "p.tsv", "--json"];
    let scored = bench.relin(&args).exits(0).json().remove(0);
    assert_eq!((scored["split"].as_str(), scored["examples"].as_u64()), (Some("all"), Some(50)));
    assert_eq!(std::fs::read_to_string(bench.path().join("p.tsv")).unwrap().lines().count(), 51);
}

#[test]
fn listops_reads_the_published_files_and_warns_of_the_published_tokens() {
    let bench = Bench::new();
    bench.write("recipe.toml", LISTOPS);
    std::fs::create_dir_all(bench.path().join("lra/listops-1000")).unwrap();
    for (part, rows) in [("train", 20), ("val", 7), ("test", 9)] {
        let rows = "( ( ( [MAX 2 ) 9 ) ] )\t9\n( ( ( [MIN 2 ) 9 ) ] )\t2\n".repeat(rows);
        bench.write(&format!("lra/listops-1000/basic_{part}.tsv"), &format!("Source\tTarget\n{rows}"));
    }
    let published = "data.listops.tokens=published";
    let args =
        ["train", "recipe.toml", "--out", "run", "--quiet", "--set", "data.source=lra", "--set", published];
    let said = bench.relin(&args).exits(0);
    assert!(said.err.contains("warning") && said.err.contains("no single right answer"), "{}", said.err);
    let scored = bench.relin(&["eval", "run", "--split", "test", "--json"]).exits(0).json().remove(0);
    assert_eq!(scored["examples"], 18);
    let missing = ["train", "recipe.toml", "--out", "b", "--quiet", "--set", "data.source=none"];
    bench.relin(&missing).exits(1).complains(&["data.source", "folder", "none"]);
}

const PATHFINDER: &str = r#"
task = "pathfinder"
[model]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
patch_size = 8
position = "lrpe-orthogonal"
[data]
context = 16
pathfinder = { contour_length = 6, examples = 60, held_out = 10 }
[train]
steps = 10
batch_size = 8
eval_every = 10
log_every = 10
"#;

#[test]
fn pathfinder_is_made_trained_and_scored_and_its_pictures_are_read_again() {
    let bench = Bench::new();
    bench.write("recipe.toml", PATHFINDER);
    bench.relin(&["train", "recipe.toml", "--out", "run", "--quiet"]).exits(0);
    for (split, examples) in [("training", 60), ("validation", 10), ("test", 10)] {
        let scored = bench.relin(&["eval", "run", "--split", split, "--json"]).exits(0).json().remove(0);
        assert_eq!((scored["split"].as_str(), scored["examples"].as_u64()), (Some(split), Some(examples)));
        assert_eq!(scored["classes"][1]["label"], "joined");
    }
    let make = ["data", "make", "pathfinder", "--lines", "20", "--out", "pictures", "--json"];
    let said = bench.relin(&make).exits(0).json().remove(0);
    assert_eq!((said["name"].as_str(), said["path"].as_str()), (Some("pathfinder"), Some("pictures")));
    assert!(bench.path().join("pictures/imgs/0/sample_19.png").is_file());
    let args = ["eval", "run", "--data", "pictures", "--json"];
    assert_eq!(bench.relin(&args).exits(0).json().remove(0)["examples"], 20);
    let train = ["train", "recipe.toml", "--out", "read", "--quiet", "--set", "data.source=pictures"];
    bench.relin(&train).exits(0);
    let scored = bench.relin(&["eval", "read", "--split", "training", "--json"]).exits(0).json().remove(0);
    assert_eq!(scored["examples"], 16);
    let small = ["data", "make", "pathfinder", "--size", "31"];
    bench.relin(&small).exits(2).complains(&["size = 31", "32 to 256"]);
}

/// Contours of one paddle: marks on either side of it are joined. One guess in two would be right.
#[test]
fn joined_marks_are_told_from_others() {
    let bench = Bench::new();
    bench.write("recipe.toml", PATHFINDER);
    let sets = [
        "model.hidden_size=32",
        "model.patch_size=4",
        "model.feature_map=silu",
        "model.absolute=learned",
        "model.initializer_range=0.18",
        "data.context=64",
        "data.pathfinder={contour_length=1, distractors=0, examples=4000, held_out=200}",
        "train.steps=1000",
        "train.batch_size=16",
        "train.learning_rate=1e-2",
        "train.warmup_steps=20",
        "train.eval_every=0",
    ];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let args: Vec<&str> =
        ["train", "recipe.toml", "--out", "run", "--quiet", "--json"].into_iter().chain(sets).collect();
    let done = bench.relin(&args).exits(0).json().pop().unwrap();
    assert!(done["valid_accuracy"].as_f64().unwrap() > 0.8, "{done}");
}
