//! Reading, overriding, refusing, writing back.

use relin_kernels::encoding::EncodingConfig;
use relin_kernels::encoding::bias::{BiasConfig, T5Config};

use super::*;
use crate::tokenizer::TokenizerKind;

fn read(text: &str, sets: &[&str]) -> Result<Recipe, RecipeError> {
    let sets: Vec<Override> = sets.iter().map(|set| set.parse().unwrap()).collect();
    Recipe::parse(&SourceText::new("a.toml", text), &sets)
}

fn refusal(text: &str, sets: &[&str]) -> String {
    let error = read(text, sets).unwrap_err();
    match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[track_caller]
fn refuses(text: &str, sets: &[&str], words: &[&str]) {
    let refusal = refusal(text, sets);
    for word in words {
        assert!(refusal.contains(word), "no `{word}` in: {refusal}");
    }
}

#[test]
fn an_empty_recipe_is_the_default_one() {
    assert_eq!(read("", &[]).unwrap(), Recipe::default());
}

#[test]
fn every_built_in_recipe_is_read_and_every_file_is_built_in() {
    for builtin in BUILTIN {
        Recipe::find(builtin.name, &[]).unwrap_or_else(|e| panic!("{}: {e}", builtin.name));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        Recipe::read(&path, &[]).unwrap_or_else(|e| panic!("{e}"));
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(BUILTIN.iter().any(|builtin| builtin.name == name), "{name} is not built in");
    }
}

#[test]
fn no_decay_between_a_source_and_its_target() {
    let text = "task = \"sequence-to-sequence\"\n[model]\nposition = \"lrpe-decay\"";
    refuses(text, &[], &["`model.cross_position`", "without decay", "source", "lrpe-decay"]);
    read(text, &["model.attention=softmax"]).unwrap();
    read(text, &["model.cross_position=rope"]).unwrap();
    read(text, &["task=text-classification"]).unwrap();
}

#[test]
fn positions_between_source_and_target_are_those_of_either_unless_told() {
    let text = "task = \"sequence-to-sequence\"\n[model]\nposition = \"rope\"";
    assert_eq!(read(text, &[]).unwrap().model.cross_position(), &Position::Preset("rope".into()));
    let none = read(text, &["model.cross_position=none"]).unwrap();
    assert_eq!(none.model.cross_position(), &Position::Preset("none".into()));
    let table = read(text, &["model.cross_position={ type = \"cosformer\" }"]).unwrap();
    for recipe in [read(text, &[]).unwrap(), none, table] {
        let written = SourceText::new("b.toml", recipe.to_toml().unwrap());
        assert_eq!(Recipe::parse(&written, &[]).unwrap(), recipe);
    }
    refuses(text, &["model.cross_position=lrpe-decay"], &["`model.cross_position`", "without decay"]);
    refuses(text, &["model.cross_position=sinusoidal"], &["`model.cross_position`", "sinusoidal"]);
    refuses(text, &["model.cross_position=rop"], &["model.cross_position", "`rope`"]);
    refuses(text, &["model.cross_position=t5"], &["t5", "softmax"]);
    read(text, &["model.cross_position=t5", "model.attention=softmax"]).unwrap();
    let files = ["data.target_source=b", "data.validation_source=c"];
    refuses(text, &files, &["`data.validation_target_source`", "none"]);
    read(text, &[&files[..], &["data.validation_target_source=d"]].concat()).unwrap();
}

#[test]
fn a_probe_needs_something_to_ask() {
    let task = "task = \"probe\"";
    read(task, &[]).unwrap();
    refuses(task, &["data.context=7"], &["`data.context`", "at least 8", "7"]);
    refuses(task, &["data.probe.symbols=1"], &["`data.probe.symbols`", "at least 2", "1"]);
    refuses(task, &["data.probe.lags=0"], &["`data.probe.lags`", "0"]);
    refuses(task, &["data.probe.kind=coppy"], &["`data.probe`", "coppy", "did you mean `copy`"]);
    let recall = ["data.probe.kind=associative-recall", "data.probe.items=17"];
    refuses(task, &recall, &["`data.probe.items`", "at most", "16", "17"]);
    let selective = ["data.probe.kind=selective-copy", "data.probe.items=20", "data.context=39"];
    refuses(task, &selective, &["`data.context`", "at least 40", "39"]);
}

#[test]
fn expressions_of_listops_fit_their_shape_and_the_context() {
    let task = "task = \"listops\"\n[data]\ncontext = 2000";
    assert_eq!(read(task, &[]).unwrap().warnings(), [""; 0]);
    refuses(task, &["data.context=1998"], &["`data.context`", "1999", "whole", "1998"]);
    refuses(
        task,
        &["data.listops.min_length=2000"],
        &["`data.listops.min_length`", "at most", "1999", "2000"],
    );
    refuses(task, &["data.listops.max_args=1"], &["`data.listops.max_args`", "at least 2", "1"]);
    for key in ["max_depth", "examples", "held_out"] {
        refuses(task, &[&format!("data.listops.{key}=0")], &[&format!("`data.listops.{key}`"), "0"]);
    }
    let warnings = read(task, &["data.listops.tokens=published"]).unwrap().warnings();
    assert!(
        warnings[0].contains("published") && warnings[0].contains("no single right answer"),
        "{warnings:?}"
    );
}

#[test]
fn pictures_of_pathfinder_have_a_size_and_a_contour() {
    let task = "task = \"pathfinder\"\n[model]\npatch_size = 4";
    read(task, &[]).unwrap();
    refuses("task = \"pathfinder\"", &[], &["`model.patch_size`", "none"]);
    refuses(task, &["data.pathfinder.size=31"], &["`data.pathfinder.size`", "32 to 256", "31"]);
    for key in ["contour_length", "distractor_length", "examples", "held_out"] {
        refuses(task, &[&format!("data.pathfinder.{key}=0")], &[&format!("`data.pathfinder.{key}`"), "0"]);
    }
}

#[test]
fn images_need_a_patch_size() {
    let task = "task = \"image-classification\"";
    refuses(task, &[], &["`model.patch_size`", "side of a patch", "none"]);
    refuses(task, &["model.patch_size=0"], &["`model.patch_size`", "0"]);
    assert_eq!(read(task, &["model.patch_size=4"]).unwrap().model.patch_dim(), Some(16));
}

#[test]
fn a_leading_vector_needs_a_classifier_and_room_among_positions() {
    let cls = "model.pooling=cls";
    refuses("", &[cls], &["`model.pooling`", "mean", "cls"]);
    refuses("task = \"probe\"", &[cls], &["`model.pooling`"]);
    let task = "task = \"text-classification\"";
    let mut recipe = read(task, &[cls, "data.context=17", "model.absolute=learned"]).unwrap();
    recipe.resolve(Some(5));
    assert_eq!(recipe.model.max_position_embeddings, Some(18));
    let tight = [cls, "model.absolute=learned", "data.context=17", "model.max_position_embeddings=17"];
    refuses(task, &tight, &["`model.max_position_embeddings`", "`data.context` = 17 and 1 before it", "17"]);
    let grid = "model.position={ type = \"grid\", shape = [4, 4], inner = { type = \"lrpe\", family = \"orthogonal\" } }";
    refuses(task, &[cls, grid], &["`model.pooling`", "grid"]);
    read(task, &[grid]).unwrap();
}

#[test]
fn two_towers_need_two_texts_and_joined_ones_room() {
    let task = "task = \"text-classification\"";
    let (column, towers) = ("data.text_pair_column=b", "model.pair=two-tower");
    refuses(task, &[towers], &["`model.pair`", "joined", "`data.text_pair_column`"]);
    refuses("", &[towers, column], &["`model.pair`", "text-classification"]);
    refuses(task, &[column, "data.context=2"], &["`data.context`", "at least 3", "2"]);
    let own = |sets: &[&str]| read(task, sets).unwrap().own_tokens();
    assert_eq!((own(&[]), own(&[column]), own(&[column, towers, "data.context=2"])), (0, 1, 0));
    assert_eq!(read("", &[column]).unwrap().own_tokens(), 0, "only classifiers read pairs");
    refuses(task, &["data.columns=[]"], &["`data.columns`", "names", "nothing"]);
}

/// So a key that is added later, with a default that changes nothing, leaves the states of former runs usable.
#[test]
fn a_fingerprint_is_made_of_what_differs_from_the_defaults() {
    let print = |sets: &[&str]| read("task = \"text-classification\"", sets).unwrap().fingerprint();
    assert_eq!(
        print(&[
            "model.pooling=mean",
            "train.steps=1000",
            "data.skip_bad_rows=true",
            "data.augment.mixup=0.0"
        ]),
        print(&[])
    );
    for set in
        ["model.pooling=cls", "data.columns=[\"text\",\"label\"]", "data.quoting=true", "train.steps=999"]
    {
        assert_ne!(print(&[set]), print(&[]), "{set}");
    }
}

/// As a build saved it that knew no such key: its states are still those of the same run, said in full.
#[test]
fn a_key_whose_default_is_new_can_say_what_was() {
    let former = ["train.steps=1", "train.warmup_steps=0", "train.angle_optimizer=adamw"];
    let print = |sets: &[&str]| read("", sets).unwrap().fingerprint();
    assert_eq!(print(&former), "cf1b94144a3f829519e576c9b6750ba31b186ec725b7cf9008e88e27436ee04d");
    assert_ne!(print(&former[..2]), print(&former));
}

#[test]
fn overrides_win_over_the_file_and_the_last_one_wins() {
    let recipe =
        read("[train]\nsteps = 5", &["train.steps=6", "train.steps=7", "model.position=rope"]).unwrap();
    assert_eq!(recipe.train.steps, 7);
    assert_eq!(recipe.model.position, Position::Preset("rope".into()));
    let recipe = read("", &["data.source=[\"a.txt\", \"b.txt\"]", "train.learning_rate=1"]).unwrap();
    assert_eq!(recipe.data.source, Sources(vec!["a.txt".into(), "b.txt".into()]));
    assert_eq!(recipe.train.learning_rate, 1.0);
}

#[test]
fn an_override_below_a_preset_changes_one_key_of_its_table() {
    let table = read("[model]\nposition = \"rope\"", &["model.position.learn_theta=true"]).unwrap();
    let (Position::Table(EncodingConfig::Lrpe(changed)), EncodingConfig::Lrpe(rope)) =
        (table.model.position, Position::Preset("rope".into()).encoding())
    else {
        panic!("not LRPE")
    };
    assert!(changed.learn_theta && !rope.learn_theta);
    assert_eq!(relin_kernels::encoding::LrpeConfig { learn_theta: false, ..changed }, rope);
    assert!(read("", &["model.position.learn_theta=true"]).is_ok(), "the default preset too");
}

#[test]
fn biases_are_positions_of_softmax_attention() {
    let softmax =
        |sets: &[&str]| read("", &[&["model.attention=softmax"], sets].concat()).map(|r| r.model.position);
    let t5 = |buckets, max_distance| {
        Position::Bias(BiasConfig::T5(T5Config { buckets, max_distance, ..T5Config::default() }))
    };
    for name in BIAS_PRESETS {
        let position = softmax(&[&format!("model.position={name}")]).unwrap();
        assert_eq!(position, Position::Preset((*name).into()));
        assert_eq!(position.in_full(), Position::Bias(BiasConfig::named(name).unwrap()));
        refuses("", &[&format!("model.position={name}")], &[name, "no product", "attention = \"softmax\""]);
    }
    let table = "model.position={ type = \"t5\", buckets = 16, max_distance = 50 }";
    assert_eq!(softmax(&[table]).unwrap(), t5(16, 50));
    assert_eq!(softmax(&["model.position=t5", "model.position.buckets=16"]).unwrap(), t5(16, 128));
    let alibi = softmax(&["model.position={ type = \"alibi\" }"]).unwrap();
    assert_eq!(alibi, Position::Bias(BiasConfig::Alibi));
    let refuses = |set: &str, words: &[&str]| refuses("", &["model.attention=softmax", set], words);
    refuses("model.position=alibbi", &["did you mean `alibi`"]);
    refuses("model.position={ type = \"shwa\" }", &["did you mean `shaw`"]);
    refuses("model.position={ type = \"t5\", bucket = 16 }", &["`model.position.bucket`", "`buckets`"]);
    refuses(
        "model.position={ type = \"t5\", buckets = 5 }",
        &["a table", "buckets must be a positive multiple of 2"],
    );
    refuses("model.position={ type = \"alibi\", slope = 3 }", &["`model.position.slope`"]);
    refuses("model.position={ type = \"shaw\", max_distance = -1 }", &["max_distance", "-1"]);
    refuses("model.position={ type = \"shaw\", max_distance = 0 }", &["max_distance", "from 1"]);
}

#[test]
fn an_unknown_key_names_the_nearest_with_its_path_and_line() {
    refuses(
        "\n[model]\nhiden_size = 3",
        &[],
        &["`model.hiden_size`", "a.toml, line 3", "`model.hidden_size`"],
    );
    refuses("[trian]\nsteps = 3", &[], &["`trian`", "line 1", "`train`"]);
    refuses("steps = 3", &[], &["`steps`", "did you mean `train.steps`"]);
    refuses("", &["model.steps=3"], &["`model.steps`", "--set model.steps", "did you mean `train.steps`"]);
    refuses("", &["train.max_stepz=3"], &["`train.max_stepz`", "did you mean `train."]);
}

#[test]
fn a_wrong_kind_names_field_line_expected_and_found() {
    refuses(
        "[model]\nbias = true\nhidden_size = \"big\"",
        &[],
        &["`model.hidden_size`", "a.toml, line 3", "a whole number of at least 0", "the string \"big\""],
    );
    refuses("[train]\nsteps = -1", &[], &["`train.steps`", "at least 0", "the integer -1"]);
    refuses("[train]\nsteps = 1.5", &[], &["`train.steps`", "the float 1.5"]);
    refuses("model = 3", &[], &["`model`", "a table", "the integer 3"]);
    refuses("[data]\nsource = 3", &[], &["`data.source`", "a string or a list of strings"]);
    refuses(
        "[train]\nlearning_rate = \"x\"",
        &["train.learning_rate=y"],
        &["--set train.learning_rate", "a number"],
    );
}

#[test]
fn an_unknown_word_names_the_nearest() {
    refuses("[train]\nschedule = \"cosin\"", &[], &["`train.schedule`", "line 2", "did you mean `cosine`"]);
    refuses("task = \"causal\"", &[], &["`task`", "causal-lm"]);
    refuses("[data]\ntokenizer = \"bpee\"", &[], &["`data.tokenizer`", "did you mean `bpe`"]);
    refuses(
        "[model]\nposition = \"lrpe-unitry\"",
        &[],
        &["`model.position`", "line 2", "did you mean `lrpe-unitary`"],
    );
    refuses("[data]\ntokenizer = \"bpe:4096\"", &[], &["`data.tokenizer`", "did you mean `bpe`"]);
}

#[test]
fn a_tokenizer_is_its_name_and_for_bpe_its_size() {
    let kind = |name: &str| {
        read("[data]\nvocab_size = 300", &[&format!("data.tokenizer={name}")]).unwrap().data.tokenizer_kind()
    };
    assert_eq!(kind("byte"), TokenizerKind::Byte);
    assert_eq!(kind("char"), TokenizerKind::Char);
    assert_eq!(kind("bpe"), TokenizerKind::Bpe { vocab_size: 300 });
    for path in ["my/tokenizer.json", "tokenizer.json", "my/folder"] {
        assert_eq!(kind(path), TokenizerKind::File(path.into()));
    }
}

#[test]
fn a_wrong_key_inside_a_position_table_is_found() {
    let table = |inner: &str| format!("[model.position]\ntype = \"lrpe\"\n{inner}");
    refuses(
        &table("famly = \"unitary\""),
        &[],
        &["`model.position.famly`", "line 3", "did you mean `family`"],
    );
    refuses(&table("family = \"unitry\""), &[], &["`model.position.family`", "did you mean `unitary`"]);
    refuses(&table("theta_base = \"x\""), &[], &["`model.position.theta_base`", "line 3", "a number"]);
    refuses("[model]\nposition = { type = \"lrp\" }", &[], &["`model.position", "did you mean `lrpe`"]);
    refuses("[model]\nposition = { type = \"none\", seed = 3 }", &[], &["`model.position.seed`", "line 2"]);
    refuses("[model]\nposition = { family = \"unitary\" }", &[], &["`model.position`", "type"]);
}

#[test]
fn bad_syntax_names_the_line() {
    refuses("[model]\nhidden_size = = 3", &[], &["a.toml, line 2"]);
    refuses("a = 1\na = 2", &[], &["a.toml, line 2"]);
}

#[test]
fn values_that_make_no_sense_are_refused_with_expected_and_found() {
    for (set, words) in [
        ("data.context=0", ["`data.context`", "at least 1", "found 0"]),
        ("train.batch_size=0", ["`train.batch_size`", "at least 1", "found 0"]),
        ("train.steps=0", ["`train.steps`", "at least 1", "found 0"]),
        ("model.num_attention_heads=0", ["`model.num_attention_heads`", "at least 1", "found 0"]),
        (
            "model.num_attention_heads=3",
            ["`model.num_attention_heads`", "`model.hidden_size` = 256", "found 3"],
        ),
        ("train.dropout=1.0", ["`train.dropout`", "not including, 1", "found 1"]),
        ("train.dropout=-0.1", ["`train.dropout`", "from 0", "found -0.1"]),
        ("data.validation=1.5", ["`data.validation`", "below 1", "found 1.5"]),
        ("data.validation=0", ["`data.validation`", "above 0", "found 0"]),
        ("train.learning_rate=nan", ["`train.learning_rate`", "above 0", "found NaN"]),
        ("train.beta2=1.0", ["`train.beta2`", "from 0", "found 1"]),
        ("data.source=[]", ["`data.source`", "a path or a name", "nothing"]),
        ("model.position.theta_base=-1.0", ["`model.position`", "heads of size 64", "theta_base"]),
    ] {
        refuses("", &[set], &words);
    }
    refuses("", &["data.tokenizer=bpe", "data.vocab_size=100"], &["`data.vocab_size`", "257", "100"]);
    refuses(
        "",
        &["model.absolute=learned", "model.max_position_embeddings=8"],
        &["at least `data.context` = 256", "8"],
    );
    refuses(
        "",
        &["model.position=sinusoidal", "model.absolute=learned"],
        &["`model.absolute`", "sinusoidal"],
    );
    refuses(
        "[model]\nhidden_size = 20\nposition = \"rope\"",
        &[],
        &["rope", "heads of size 5", "must be even"],
    );
}

#[test]
fn a_name_that_is_nothing_names_the_nearest_built_in_recipe() {
    let error = Recipe::find("quikstart", &[]).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("did you mean `quickstart`"), "{error}");
    let error = Recipe::find("no/such.toml", &[]).unwrap_err();
    assert!(!error.is_usage() && error.to_string().contains("no/such.toml"), "{error}");
}

#[test]
fn a_resolved_recipe_survives_toml_and_json() {
    let full = "[model]\nposition = { type = \"lrpe\", family = \"orthogonal\", theta = [0.1, 0.2] }\nhidden_size = 16";
    let bias = "[model]\nattention = \"softmax\"\nposition = { type = \"shaw\", max_distance = 4 }";
    for text in [full, bias, "", BUILTIN[2].text] {
        let mut recipe = read(text, &["data.source=[\"a\", \"b\"]", "train.learning_rate=1"]).unwrap();
        recipe.resolve(Some(300));
        let toml = recipe.to_toml().unwrap();
        assert_eq!(read(&toml, &[]).unwrap_or_else(|e| panic!("{e}\n{toml}")), recipe);
        let json = serde_json::to_string(&recipe).unwrap();
        assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
    }
}

#[test]
fn derived_values_are_filled_once() {
    let mut recipe = read("[model]\nhidden_size = 32\nnormalizer = \"plain\"", &["data.context=17"]).unwrap();
    recipe.resolve(Some(99));
    let model = &recipe.model;
    assert_eq!(
        (model.intermediate_size, model.vocab_size, model.max_position_embeddings),
        (Some(128), Some(99), Some(17))
    );
    assert_eq!(model.output_norm, Some(OutputNorm::None));
    assert_eq!(model.initializer_range, Some(32f64.powf(-0.5)));
    assert_eq!(Recipe::default().model.output_norm(), OutputNorm::Layer);
}

#[test]
fn fingerprints_tell_runs_apart_but_not_spellings_or_watching() {
    let print = |sets: &[&str]| read("", sets).unwrap().fingerprint();
    let base = print(&[]);
    assert_eq!(base.len(), 64);
    for same in [
        "train.log_every=1",
        "train.save_every=1",
        "train.keep_checkpoints=9",
        "train.gradient_checkpointing=true",
        "model.intermediate_size=1024",
        "model.output_norm=layer",
        "model.position={ type = \"lrpe\" }",
    ] {
        assert_eq!(print(&[same]), base, "{same}");
    }
    for other in
        ["train.seed=1", "train.steps=5", "model.position=rope", "data.source=x", "train.eval_every=7"]
    {
        assert_ne!(print(&[other]), base, "{other}");
    }
    let mut resolved = Recipe::default();
    resolved.resolve(Some(256));
    assert_eq!(resolved.fingerprint(), base);
}

#[test]
fn what_no_image_can_be_is_refused() {
    let task = "task = \"image-classification\"";
    refuses(task, &[], &["`model.patch_size`", "none"]);
    read(task, &["model.pixels=tokens"]).unwrap();
    let patches = "task = \"image-classification\"\n[model]\npatch_size = 4";
    for (set, words) in [
        ("data.augment.mixup=1.5", ["`data.augment.mixup`", "from 0 (never) to 1", "1.5"]),
        ("data.augment.cutmix=-0.1", ["`data.augment.cutmix`", "to 1", "-0.1"]),
        ("data.augment.rand_augment={ magnitude = 11 }", ["rand_augment.magnitude", "from 0 to 10", "11"]),
        ("data.augment.rand_augment={ operations = 0 }", ["rand_augment.operations", "at least 1", "0"]),
        ("data.augment={ turn = 1 }", ["data.augment", "turn", "shift"]),
        ("data.image_size=0", ["`data.image_size`", "at least 1", "0"]),
        ("model.image_mean=[0.5]", ["`data.normalize`", "model.image_mean", "false"]),
        ("train.label_smoothing=1.0", ["`train.label_smoothing`", "from 0", "1"]),
        ("train.drop_path=1.0", ["`train.drop_path`", "from 0", "1"]),
    ] {
        refuses(patches, &[set], &words);
    }
    refuses("", &["train.label_smoothing=0.1"], &["`train.label_smoothing`", "classifiers", "0.1"]);
}

#[test]
fn stems_and_ngrams_are_for_classifiers() {
    let images = "task = \"image-classification\"\n[model]\npatch_size = 4";
    let stem = "model.stem=[8, 16]";
    read(images, &[stem]).unwrap();
    let text = read("task = \"text-classification\"", &[stem]).unwrap();
    assert_eq!((text.model.embedding_width(), text.model.hidden_size), (8, 256));
    refuses("", &[stem], &["`model.stem`", "classifiers", "[8, 16]"]);
    refuses(images, &["model.stem=[8]"], &["`model.patch_size`", "2 for a `model.stem` of 1 stages", "4"]);
    refuses(images, &[stem, "model.patch_margin=1"], &["`model.patch_margin`", "`model.stem`", "1"]);
    let ngrams = "model.ngrams=[2, 3]";
    read("task = \"text-classification\"", &[ngrams]).unwrap();
    read(images, &["model.pixels=tokens", ngrams]).unwrap();
    refuses(images, &[ngrams], &["`model.ngrams`", "of tokens", "[2, 3]"]);
    refuses("", &[ngrams], &["`model.ngrams`", "classifiers", "[2, 3]"]);
    refuses("task = \"text-classification\"", &["model.ngrams=[1]"], &["`model.ngrams`", "2 to 64", "1"]);
    refuses(
        "task = \"text-classification\"",
        &["model.ngram_buckets=0"],
        &["`model.ngram_buckets`", "at least 1", "0"],
    );
    refuses(images, &["model.stem=[8, 0]"], &["`model.stem`", "at least 1", "0"]);
    refuses(
        "task = \"text-classification\"",
        &["model.stem=[1,1,1,1,1,1,1,1,1]"],
        &["`model.stem`", "at most 8", "9"],
    );
}

#[test]
fn differences_name_the_keys() {
    let (one, other) = (read("", &["train.seed=1"]).unwrap(), read("", &["train.log_every=3"]).unwrap());
    assert_eq!(one.differences(&other), ["train.seed: 1, 0"]);
}
