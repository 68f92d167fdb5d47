use std::fs;
use std::path::Path;

use crate::harness::{Bench, Said};

#[test]
fn the_list_has_every_set_in_words_or_one_object_a_line() {
    let bench = Bench::new();
    let words = bench.relin(&["data", "list"]).exits(0);
    let json = bench.relin(&["data", "list", "--json"]).exits(0);
    assert_eq!((words.out.as_str(), json.err.as_str()), ("", ""));
    let rows = json.json();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    let files = ["quickstart", "tinyshakespeare", "addition", "copy", "listops", "pathfinder"];
    assert_eq!(names, [&files[..], &["reversal", "number-words"]].concat());
    assert_eq!(words.err.lines().count(), rows.len());
    for (row, line) in rows.iter().zip(words.err.lines()) {
        assert_eq!(row["event"], "data");
        assert!(line.starts_with(row["name"].as_str().unwrap()), "{line}");
        assert!(line.contains(row["licence"].as_str().unwrap()), "{line}");
        let carried = ["quickstart", "reversal", "number-words"].contains(&row["name"].as_str().unwrap());
        assert_eq!(row["here"], carried);
    }
}

#[test]
fn made_sets_depend_on_the_seed_alone() {
    let bench = Bench::new();
    let make = |name: &str, out: &str, seed: &str| {
        let args = ["data", "make", name, "--lines", "30", "--out", out, "--seed", seed, "--json"];
        let said = bench.relin(&args).exits(0).json();
        assert_eq!((said[0]["event"].as_str(), said[0]["path"].as_str()), (Some("written"), Some(out)));
        fs::read_to_string(bench.path().join(out)).unwrap()
    };
    for name in ["addition", "copy"] {
        let first = make(name, "a.txt", "7");
        assert_eq!(first.lines().count(), 30);
        assert_eq!(first, make(name, "deep/b.txt", "7"));
        assert_ne!(first, make(name, "c.txt", "8"));
    }
    let table = make("listops", "l.tsv", "7");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((lines.len(), lines[0]), (31, "Source\tTarget"));
    assert!(lines[1..].iter().all(|line| line.starts_with('[')), "{}", lines[1]);
    assert_eq!(table, make("listops", "l2.tsv", "7"));
    let quickstart = |out: &str, seed: &str| {
        bench.relin(&["data", "make", "quickstart", "--out", out, "--seed", seed]).exits(0);
        fs::read_to_string(bench.path().join(out)).unwrap()
    };
    assert_eq!(quickstart("q1.txt", "1"), quickstart("q2.txt", "2"));
}

#[test]
fn a_set_goes_where_recipes_look_for_it_unless_told() {
    let bench = Bench::new();
    let here = || {
        let rows = bench.relin(&["data", "list", "--json"]).exits(0).json();
        rows.iter().any(|row| row["name"] == "copy" && row["here"] == true)
    };
    assert!(!here());
    bench.relin(&["data", "make", "copy"]).exits(0);
    assert!(bench.path().join("data/copy.txt").is_file() && here());
    bench.relin(&["data", "make", "copy", "--out", "new/"]).exits(0);
    assert!(bench.path().join("new/copy.txt").is_file());
    bench.relin(&["data", "make", "copy", "--out", "data"]).exits(0);
}

#[test]
fn a_copy_that_is_another_file_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    bench.write("wrong.txt", "not Shakespeare");
    let get = |from: &str| bench.relin(&["data", "get", "tinyshakespeare", "--from", from]).exits(1);
    get("wrong.txt").complains(&["SHA-256", "wrong.txt", "expected 86c4e6aa", "found "]);
    get("none.txt").complains(&["none.txt"]);
    assert_eq!(files(&bench.path().join("data")), [""; 0]);
}

#[test]
fn wrong_names_verbs_and_options_are_usage_errors() {
    let bench = Bench::new();
    let data = |args: &[&str]| bench.relin(&[&["data"], args].concat()).exits(2);
    data(&["get", "tinyshakespear"]).complains(&["`tinyshakespear`", "did you mean `tinyshakespeare`?"]);
    data(&["make", "adition"]).complains(&["`adition`", "did you mean `addition`?", "known: quickstart"]);
    data(&["get", "copy"]).complains(&["relin data make copy"]);
    data(&["make", "tinyshakespeare"]).complains(&["relin data get tinyshakespeare"]);
    data(&["make", "addition", "--size", "19"]).complains(&["size = 19", "1 to 18"]);
    data(&["make", "quickstart", "--lines", "3"]).complains(&["`quickstart`", "`lines`"]);
    assert!(files(bench.path()).is_empty());
}

#[test]
fn without_a_program_to_download_with_both_are_named_and_the_way_out() {
    let bench = Bench::new();
    let args = ["data", "get", "tinyshakespeare"];
    let output = bench.command(&args).env("PATH", bench.path()).output().unwrap();
    let words = ["curl, wget", "is installed", "https://", "--from FILE"];
    Said::of(output, &args).exits(1).complains(&words);
    assert_eq!(files(&bench.path().join("data")), [""; 0]);
}

#[cfg(unix)]
#[test]
fn a_download_that_is_killed_leaves_the_old_file() {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    let bench = Bench::new();
    // Writes half to the file named after `-o`, says so, and hangs; `exec` so that nothing outlives the test long.
    let script = "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\nprintf half > \"$2\"\n: > started\nexec /bin/sleep 3\n";
    bench.write("curl", script);
    fs::set_permissions(bench.path().join("curl"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(bench.path().join("data")).unwrap();
    bench.write("data/tinyshakespeare.txt", "old");
    let mut command = bench.command(&["data", "get", "tinyshakespeare"]);
    let mut child = command.env("PATH", bench.path()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !bench.path().join("started").exists() {
        assert!(Instant::now() < deadline, "the download did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fs::read_to_string(bench.path().join("data/tinyshakespeare.txt")).unwrap(), "old");
    let visible = files(&bench.path().join("data")).into_iter().filter(|name| !name.starts_with('.'));
    assert_eq!(visible.collect::<Vec<_>>(), ["tinyshakespeare.txt"]);
}

/// Names of what is in a folder, hidden files included.
fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}
