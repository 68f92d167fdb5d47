//! Music, as a user would train, score and write it.

use std::path::Path;

use crate::harness::Bench;

const RECIPE: &str = r#"
task = "music"
[model]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
position = "lrpe-orthogonal"
[data]
source = "chorales.json"
context = 32
validation = 0.25
music = { tokenization = "grid", transpose = 2 }
[train]
steps = 6
batch_size = 4
warmup_steps = 2
eval_every = 3
log_every = 3
"#;

const TRAIN: [&str; 5] = ["train", "recipe.toml", "--out", "run", "--quiet"];

/// Chords that change at every second step.
fn piece(steps: usize, base: usize) -> String {
    let step = |at: usize| {
        let root = base + (at / 2) % 5;
        format!(
            "[{}, {}, {}, {}]",
            root + 12,
            root + 7,
            root + 4,
            if at == 3 { -1 } else { root as i32 - 12 }
        )
    };
    format!("[{}]", (0..steps).map(step).collect::<Vec<_>>().join(", "))
}

fn chorales() -> String {
    let pieces =
        |count: usize| (0..count).map(|at| piece(40 + 4 * at, 55 + at)).collect::<Vec<_>>().join(", ");
    format!("{{\"train\": [{}], \"valid\": [{}], \"test\": [{}]}}", pieces(4), pieces(2), pieces(1))
}

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("recipe.toml", RECIPE);
    bench.write("chorales.json", &chorales());
    bench
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A MIDI file of one track with these events, its end added.
fn midi(division: u16, events: &[u8]) -> Vec<u8> {
    let track = [events, &[0, 0xFF, 0x2F, 0]].concat();
    let length = (track.len() as u32).to_be_bytes();
    [b"MThd\0\0\0\x06\0\0\0\x01", &division.to_be_bytes()[..], b"MTrk", &length, &track].concat()
}

/// Four quarter notes.
const TUNE: [u8; 35] = [
    0, 0x90, 60, 64, 96, 0x80, 60, 0, 0, 0x90, 62, 64, 96, 0x80, 62, 0, 0, 0x90, 64, 64, 96, 0x80, 64, 0, 0,
    0x90, 65, 64, 96, 0x80, 65, 0, 0, 0xC0, 5,
];

#[test]
fn music_is_trained_scored_and_written() {
    let bench = bench();
    let done = bench.relin(&[&TRAIN[..], &["--json"]].concat()).exits(0).json().pop().unwrap();
    assert_eq!(done["event"], "done");
    // 517 tokens, all alike: ln 517 = 6.2.
    assert!(done["valid_loss"].as_f64().unwrap() < 6.5 && done["valid_accuracy"].is_number(), "{done}");
    let vocabulary = std::fs::read_to_string(bench.path().join("run/music.json")).unwrap();
    assert!(vocabulary.contains("\"soprano-60\"") && vocabulary.contains("\"ranges\""));

    let whole = bench.relin(&["eval", "run", "--json"]).exits(0).json().remove(0);
    assert_eq!((whole["tokens"].as_u64(), whole["pieces"].as_u64()), (Some(4 * 84), Some(2)));
    assert!((whole["loss_per_step"].as_f64().unwrap() - 4.0 * whole["loss"].as_f64().unwrap()).abs() < 1e-9);
    assert_eq!(whole["positions"].as_array().unwrap().len(), 2);
    assert!(bench.path().join("run/positions.svg").is_file());
    let args = ["eval", "run", "--lengths", "32,128", "--concatenate", "--json"];
    let lengths = bench.relin(&args).exits(0).json();
    assert_eq!(lengths.iter().map(|at| at["length"].as_u64().unwrap()).collect::<Vec<_>>(), [32, 128]);
    assert!(lengths.iter().all(|at| at["concatenated"] == true && at["tokens"] == 4 * 84));
    assert!(bench.path().join("run/lengths.svg").is_file());
    let style = bench.relin(&["eval", "run", "--style", "2", "--json"]).exits(0).json().remove(0);
    assert_eq!((style["event"].as_str(), style["quarters"].as_array().unwrap().len()), (Some("style"), 4));
    let said = bench.relin(&["eval", "run", "--split", "training"]).exits(0);
    for word in ["whole pieces", "per step", "4 pieces"] {
        assert!(said.err.contains(word), "no `{word}` in\n{}", said.err);
    }

    write(bench.path(), "tune.mid", &midi(96, &TUNE));
    for (prompt, given) in [("tune.mid", 64), ("chorales.json", 160)] {
        let args =
            ["generate", "run", "--prompt", prompt, "--max-new-tokens", "48", "--out", "out.mid", "--json"];
        let written = bench.relin(&args).exits(0).json().remove(0);
        assert_eq!((written["tokens"].as_u64(), written["given_tokens"].as_u64()), (Some(48), Some(given)));
        assert_eq!(written["invalid_rate"].as_f64(), Some(0.0));
        assert!(written["text"].as_str().unwrap().starts_with("soprano-"), "{written}");
        assert!(std::fs::read(bench.path().join("out.mid")).unwrap().starts_with(b"MThd"));
        let roll = std::fs::read_to_string(bench.path().join("out.svg")).unwrap();
        assert!(roll.contains("soprano") && roll.contains("given"), "{roll}");
    }
    // What was written is a piece like any other, and goes back into the model.
    let args = ["generate", "run", "--prompt-file", "out.mid", "--max-new-tokens", "4", "--json"];
    let written = bench.relin(&args).exits(0).json().remove(0);
    assert_eq!(written["given_tokens"].as_u64(), Some(160 + 48));
    assert!(bench.path().join("run/generated.mid").is_file());
    let said = bench.relin(&["generate", "run", "--max-new-tokens", "16", "--save-state", "s"]).exits(0);
    assert!(said.err.contains("16 tokens written after 0 given"), "{}", said.err);
    let args = ["generate", "run", "--max-new-tokens", "16", "--load-state", "s"];
    assert!(bench.relin(&args).exits(0).err.contains("16 tokens written after 16 given"));
}

#[test]
fn a_study_draws_the_loss_by_position() {
    let bench = bench();
    bench.write(
        "study.toml",
        "title = \"t\"\nquestion = \"q\"\nbase = \"recipe.toml\"\nseeds = [0, 1]\nbaseline = \"none\"\n\
         [measure]\nlengths = [32, 300]\nscore = \"loss\"\n\
         [[axis]]\nname = \"position\"\nvalues = [{ name = \"none\", set = { model.position = \"none\" } }, { name = \"rope\", set = { model.position = \"rope\" } }]\n",
    );
    bench.relin(&["study", "study.toml", "--out", "out", "--quiet"]).exits(0);
    let figure = std::fs::read_to_string(bench.path().join("out/figures/positions.svg")).unwrap();
    for word in ["rope", "none", "tokens seen"] {
        assert!(figure.contains(word), "no `{word}` in {figure}");
    }
    let rows = std::fs::read_to_string(bench.path().join("out/results.jsonl")).unwrap();
    let row: serde_json::Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    let lengths = row["measured"]["lengths"].as_array().unwrap();
    let positions = |at: usize| {
        let positions = lengths[at]["positions"].as_array().unwrap();
        positions.iter().map(|at| at["from"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((positions(0), positions(1)), (vec![0], vec![0, 128, 256]));
}

#[test]
fn training_validates_on_whole_pieces_or_in_the_windows_asked_for() {
    let bench = bench();
    let trained = |more: &[&str]| {
        std::fs::remove_dir_all(bench.path().join("run")).ok();
        let done = bench.relin(&[&TRAIN[..], &["--json"], more].concat()).exits(0).json().pop().unwrap();
        done["valid_loss"].as_f64().unwrap()
    };
    let scored = |more: &[&str]| {
        let scored = bench.relin(&[&["eval", "run", "--json"], more].concat()).exits(0).json().remove(0);
        scored["loss"].as_f64().unwrap()
    };
    let alike = |a: f64, b: f64| (a - b).abs() < 1e-5;
    let whole = trained(&[]);
    assert!(alike(whole, scored(&[])) && !alike(whole, scored(&["--lengths", "32"])));
    let windows = trained(&["--set", "data.music.validation_context=32"]);
    assert!(alike(windows, scored(&["--lengths", "32"])) && !alike(windows, scored(&[])));
    let said = bench.relin(&[&TRAIN[..], &["--set", "data.music.validation_context=0"]].concat()).exits(2);
    said.complains(&["validation_context", "at least 1"]);
}

#[test]
fn a_folder_of_files_becomes_tokens_and_what_is_no_music_is_listed() {
    let bench = bench();
    let folder = bench.path().join("music");
    for at in 0..4u8 {
        write(&folder, &format!("good/{at}.mid"), &midi(96 + u16::from(at), &TUNE));
    }
    write(&folder, "chorales.json", chorales().as_bytes());
    write(&folder, "text.mid", b"this is no MIDI file");
    write(&folder, "silent.mid", &midi(96, &[0, 0xB0, 7, 1]));
    write(&folder, "resolution.mid", &midi(0, &TUNE));
    write(&folder, "tempo.mid", &midi(96, &[&[0, 0xFF, 0x51, 3, 0, 0, 0], &TUNE[..]].concat()));
    write(&folder, "endless.mid", &midi(1, &[&TUNE[..], &[0xFF, 0xFF, 0xFF, 0x7F, 0x90, 60, 64]].concat()));
    write(&folder, "cut.mid", &midi(96, &TUNE)[..40]);
    write(&folder, "notes.txt", b"buy strings");
    let five = chorales().replacen("[67, 62, 59, 43]", "[67, 62, 59, 43, 31]", 1);
    write(&folder, "five.json", five.as_bytes());
    let high = chorales().replacen("[67, 62, 59, 43]", "[167, 62, 59, 43]", 1);
    write(&folder, "high.json", high.as_bytes());
    std::fs::File::create(folder.join("large.mid")).unwrap().set_len(100 << 20).unwrap();

    for tokenization in ["grid", "remi", "events"] {
        let out = format!("tokens/{tokenization}");
        let args =
            ["data", "make", "music", "--from", "music", "--out", &out, "--tokenization", tokenization];
        let said = bench.relin(&args).exits(0);
        for words in [
            "9 files skipped:",
            "text.mid: not a MIDI file: it begins with neither `MThd` nor `RIFF`",
            "silent.mid: there are no notes in it",
            "resolution.mid: 0 ticks a quarter note",
            "tempo.mid: a tempo of inf quarters a minute at tick 0; expected 5 to 1000",
            "endless.mid: it lasts 268435839 quarter notes",
            "cut.mid: 0 of the 1 tracks that its header declares are whole",
            "and 1 of other kinds (neither MIDI nor JSON), the first music/notes.txt",
            "five.json: train, piece 1, step 1: expected four voices, [soprano, alto, tenor, bass], found 5 numbers",
            "high.json: train, piece 1, step 1, soprano: expected a MIDI pitch of 0 to 127, or -1 for silence, found 167",
            "large.mid: the file has 104857600 bytes; at most 16777216 are read",
            "11 pieces of 5 files",
        ] {
            assert!(said.err.contains(words), "no `{words}` in\n{}", said.err);
        }
        let report = bench.relin(&[&args[..], &["--json"]].concat()).exits(0).json().remove(0);
        assert_eq!((report["files"].as_u64(), report["skipped"].as_array().unwrap().len()), (Some(5), 9));
        assert_eq!(report["others"][0], "music/notes.txt");
        assert!(report["notes"].as_u64().unwrap() > 100 && report["tokens"].as_u64().unwrap() > 300);
        // Recipes name the folder, or the files themselves, whose bad ones are told, and learn the same.
        let losses = [&*out, "music"].map(|source| {
            let run = format!("runs/{tokenization}-of-{}", source.replace('/', "-"));
            let (source, tokens) =
                (format!("data.source={source}"), format!("data.music.tokenization={tokenization}"));
            let sets = ["--set", &source, "--set", &tokens, "--out", &run, "--json"];
            let said = bench.relin(&[&["train", "recipe.toml", "--quiet"][..], &sets].concat()).exits(0);
            assert!(said.err.contains("skipped"), "{}", said.err);
            said.json().pop().unwrap()["valid_loss"].as_f64().unwrap()
        });
        assert_eq!(losses[0], losses[1]);
    }
    let args = ["--set", "data.source=tokens/remi", "--out", "other", "--resume", "none"];
    let said = bench.relin(&[&["train", "recipe.toml", "--quiet"][..], &args].concat()).exits(1);
    said.complains(&["music.json", "expected tokens of Grid", "found Remi"]);
    let index = bench.path().join("tokens/grid/pieces.tokens");
    let whole = std::fs::read(&index).unwrap();
    std::fs::write(&index, &whole[..whole.len() - 2]).unwrap();
    let args = ["--set", "data.source=tokens/grid", "--out", "other", "--resume", "none"];
    let said = bench.relin(&[&["train", "recipe.toml", "--quiet"][..], &args].concat()).exits(1);
    said.complains(&["pieces.tokens", "tokens of two bytes"]);
}

#[test]
fn what_is_no_music_and_what_does_not_fit_is_refused() {
    let bench = bench();
    for (set, words) in [
        ("data.music.tempo=0.1", ["data.music.tempo", "remi"]),
        ("data.music.programs=true", ["data.music.programs", "remi"]),
        ("data.music.transpose=40", ["data.music.transpose", "at most 18"]),
        ("data.music.tokenization=remy", ["data.music", "remi"]),
        ("data.source=quickstart", ["data.source", "MIDI"]),
        ("model.pooling=cls", ["model.pooling", "cls"]),
    ] {
        bench.relin(&[&TRAIN[..], &["--set", set]].concat()).exits(2).complains(&words);
    }
    write(bench.path(), "five.json", b"[[60, 55, 52, 48, 36]]");
    write(bench.path(), "text.mid", b"text");
    for (source, words) in [
        ("five.json", "the piece, step 1: expected four voices"),
        ("text.mid", "not a MIDI file"),
        ("none.mid", "none.mid"),
    ] {
        let set = format!("data.source={source}");
        bench.relin(&[&TRAIN[..], &["--set", &set]].concat()).exits(1).complains(&[source, words]);
    }
    bench.relin(&TRAIN).exits(0);
    let generate =
        |more: &[&str]| bench.relin(&[&["generate", "run", "--max-new-tokens", "4"], more].concat());
    for (prompt, words) in [
        ("five.json", "five.json: the piece, step 1"),
        ("text.mid", "text.mid: not a MIDI file"),
        ("none.mid", "none.mid"),
        ("recipe.toml", "recipe.toml: neither a MIDI file"),
    ] {
        generate(&["--prompt", prompt]).exits(1).complains(&[words]);
    }
    std::fs::File::create(bench.path().join("large.mid")).unwrap().set_len(100 << 20).unwrap();
    generate(&["--prompt", "large.mid"]).exits(1).complains(&["large.mid", "at most 16777216"]);
    generate(&["--stop", "x"]).exits(2).complains(&["--stop", "text"]);
    generate(&["--beam", "2"]).exits(2).complains(&["--beam", "2"]);
    bench.relin(&["eval", "run", "--split", "dev"]).exits(1).complains(&["`dev`", "validation"]);
    bench.relin(&["eval", "run", "--style", "1", "--lengths", "8"]).exits(2).complains(&["--lengths", "8"]);
    bench.relin(&["data", "make", "music"]).exits(2).complains(&["--from", "folder"]);
    bench.relin(&["data", "make", "copy", "--from", "x"]).exits(2).complains(&["--from", "music"]);
    let args = ["data", "make", "music", "--from", "text.mid", "--out", "tokens"];
    bench.relin(&args).exits(1).complains(&["there is no music in it", "text.mid"]);
    assert!(!bench.path().join("tokens/pieces.tokens").exists());
    let mut damaged = std::fs::read_to_string(bench.path().join("run/music.json")).unwrap();
    damaged = damaged.replace("\"relin_music\": 1", "\"relin_music\": 7");
    bench.write("run/music.json", &damaged);
    generate(&[]).exits(1).complains(&["music.json", "version 7"]);
}

#[test]
fn options_of_music_mean_nothing_to_text() {
    let bench = Bench::new();
    let sets = ["train.steps=1", "train.eval_batches=1", "model.num_hidden_layers=1"];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let args: Vec<&str> = ["train", "--out", "run", "--quiet"].into_iter().chain(sets).collect();
    bench.relin(&args).exits(0);
    bench.relin(&["generate", "run", "--out", "x.mid"]).exits(2).complains(&["--out", "a model of music"]);
    let prompt = ["generate", "run", "--prompt-tokens", "3"];
    bench.relin(&prompt).exits(2).complains(&["--prompt-tokens", "a model of music"]);
    bench.relin(&["eval", "run", "--concatenate"]).exits(2).complains(&["--concatenate", "a model of music"]);
    bench.relin(&["eval", "run", "--style", "2"]).exits(2).complains(&["--style", "a model of music"]);
}

/// Tunes in ABC notation are text: characters are tokens enough.
#[test]
fn tunes_in_abc_are_learned_as_characters() {
    let bench = Bench::new();
    let tune = |at: usize| {
        format!("X:{at}\nT:Tune {at}\nM:4/4\nK:G\n|: GABc d2{}2 | e4 d4 :|\n\n", ["B", "c"][at % 2])
    };
    write(bench.path(), "tunes/a.abc", (0..60).map(tune).collect::<String>().as_bytes());
    write(bench.path(), "tunes/b.abc", (60..90).map(tune).collect::<String>().as_bytes());
    let recipe = RECIPE
        .replace("\"music\"", "\"causal-lm\"")
        .replace("chorales.json\"", "tunes\"\ntokenizer = \"char\"");
    bench.write("recipe.toml", &recipe);
    bench.relin(&TRAIN).exits(0);
    let args = ["generate", "run", "--prompt", "X:91\nT:", "--max-new-tokens", "40", "--json"];
    let written = bench.relin(&args).exits(0).json().remove(0);
    assert_eq!(written["text"].as_str().unwrap().chars().count(), 40, "{written}");
}
