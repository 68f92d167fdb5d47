use super::*;

/// SHA-256 of `abc\n`.
const ABC: &str = "edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb";
const PLAIN: Remote = Remote { url: "", sha256: ABC, bytes: 4, unpack: &[] };
const COPYING: [Downloader; 2] = [
    Downloader { program: "relin-no-such-program", arguments: &[] },
    Downloader { program: "cp", arguments: &["URL", "FILE"] },
];

fn entries(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn the_list_is_complete_and_structured() {
    let rows = list();
    assert_eq!(rows.len(), SETS.len() + MADE_PAIRS.len());
    for row in &rows {
        assert!(
            !row.about.is_empty()
                && !row.licence.is_empty()
                && row.url.is_some() == (row.origin == "fetched")
        );
    }
    let json = serde_json::to_value(&rows[1]).unwrap();
    assert_eq!(json["name"], "tinyshakespeare");
    assert_eq!(json["bytes"], 1_115_394);
    assert!(rows.last().unwrap().here);
    let refused = make("reversal", &MakeOptions::default(), Path::new("nowhere")).unwrap_err().to_string();
    assert!(refused.contains("reversal") && refused.contains("no file"), "{refused}");
}

#[test]
fn every_checksum_could_be_one_and_every_name_a_file() {
    for set in SETS {
        assert!(
            set.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
            "{}",
            set.name
        );
        if let Origin::Fetched(remote) = set.origin {
            assert!(remote.sha256.len() == 64 && remote.sha256.chars().all(|c| c.is_ascii_hexdigit()));
        }
    }
}

#[test]
fn a_local_copy_is_checked_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, out) = (folder.path().join("copy"), folder.path().join("out"));
    fs::write(&copy, "abc\n").unwrap();
    let written = fetch("set", &PLAIN, &out, Some(&copy), &[]).unwrap();
    assert_eq!(written, Written { name: "set", path: out.join("set.txt"), bytes: 4, sha256: ABC.to_owned() });
    assert_eq!(entries(&out), ["set.txt"]);
    assert!(copy.exists());
}

#[test]
fn a_wrong_checksum_says_both_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, out) = (folder.path().join("copy"), folder.path().join("out"));
    fs::write(&copy, "abd\n").unwrap();
    let error = get("tinyshakespeare", &out, Some(&copy)).unwrap_err().to_string();
    for part in ["86c4e6aa", &hash_file(&copy).unwrap(), "copy", "tinyshakespeare"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(entries(&out), [""; 0]);
    let missing = get("tinyshakespeare", &out, Some(Path::new("not/here"))).unwrap_err().to_string();
    assert!(missing.contains("not/here"), "{missing}");
}

#[cfg(unix)]
#[test]
fn the_first_program_that_is_installed_fetches() {
    let folder = tempfile::tempdir().unwrap();
    let (remote, out) = (folder.path().join("remote"), folder.path().join("out"));
    fs::write(&remote, "abc\n").unwrap();
    let url = Box::leak(remote.to_str().unwrap().to_owned().into_boxed_str());
    assert!(fetch("set", &Remote { url, ..PLAIN }, &out, None, &COPYING).is_ok());
    fs::remove_file(&remote).unwrap();
    let failed = fetch("other", &Remote { url, ..PLAIN }, &out, None, &COPYING).unwrap_err().to_string();
    assert!(failed.contains("cp failed") && failed.contains(&*url), "{failed}");
    let none = fetch("other", &Remote { url, ..PLAIN }, &out, None, &COPYING[..1]).unwrap_err().to_string();
    assert!(none.contains("relin-no-such-program") && none.contains("--from"), "{none}");
    assert_eq!(entries(&out), ["set.txt"]);
}

#[cfg(unix)]
#[test]
fn packed_files_are_unpacked_after_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, out) = (folder.path().join("copy"), folder.path().join("out"));
    fs::write(&copy, "abc\n").unwrap();
    // `tr`-like filters would do as well: what counts is a command that reads the named file and writes text.
    let packed = Remote { unpack: &["head", "-c", "2"], ..PLAIN };
    let written = fetch("set", &packed, &out, Some(&copy), &[]).unwrap();
    assert_eq!((written.bytes, fs::read_to_string(&written.path).unwrap().as_str()), (2, "ab"));
    for unpack in [&["relin-no-such-program"][..], &["head", "--no-such-option"]] {
        let error =
            fetch("other", &Remote { unpack, ..PLAIN }, &out, Some(&copy), &[]).unwrap_err().to_string();
        assert!(error.contains(unpack[0]), "{error}");
    }
    assert_eq!(entries(&out), ["set.txt"]);
}

#[test]
fn made_sets_depend_on_seed_and_options_alone() {
    let folder = tempfile::tempdir().unwrap();
    let make_text = |name: &str, options: MakeOptions| {
        let written = make(name, &options, folder.path()).unwrap();
        assert_eq!(written.path, folder.path().join(format!("{name}.txt")));
        fs::read_to_string(written.path).unwrap()
    };
    let options = MakeOptions { lines: Some(50), seed: 1, size: Some(3) };
    for name in ["addition", "copy"] {
        let text = make_text(name, options);
        assert_eq!(text.lines().count(), 50);
        assert_eq!(text, make_text(name, options));
        assert_ne!(text, make_text(name, MakeOptions { seed: 2, ..options }));
        // More lines only add lines.
        assert!(make_text(name, MakeOptions { lines: Some(60), ..options }).starts_with(&text));
    }
    assert_eq!(make_text("quickstart", MakeOptions::default()), QUICKSTART);
    let named = make("addition", &options, &folder.path().join("deep/sums.txt")).unwrap();
    assert!(named.path.ends_with("deep/sums.txt"));
    let inside = make("addition", &options, &folder.path().join("new/")).unwrap();
    assert!(inside.path.ends_with("new/addition.txt"));
}

#[test]
fn wrong_names_verbs_and_options_are_refused() {
    let out = Path::new("never-written");
    let options = MakeOptions::default();
    let message = |result: Result<Written, DataError>| result.unwrap_err().to_string();
    assert!(message(get("tinyshakespear", out, None)).contains("did you mean `tinyshakespeare`?"));
    assert!(message(get("addition", out, None)).contains("relin data make addition"));
    assert!(message(make("tinyshakespeare", &options, out)).contains("relin data get tinyshakespeare"));
    let size = |size| MakeOptions { size: Some(size), ..options };
    assert!(message(make("addition", &size(19), out)).contains("size = 19 for `addition`: expected 1 to 18"));
    assert!(message(make("copy", &size(0), out)).contains("size = 0"));
    assert!(message(make("copy", &MakeOptions { lines: Some(0), ..options }, out)).contains("lines = 0"));
    let carried = message(make("quickstart", &size(3), out));
    assert!(carried.contains("`quickstart`") && carried.contains("`size`"), "{carried}");
    assert!(get("wikipedia", out, None).unwrap_err().is_usage());
    assert!(!out.exists());
}

#[test]
fn names_lead_to_texts() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(locate("quickstart", folder.path()).unwrap(), Some(Place::Carried(QUICKSTART)));
    assert_eq!(locate("elsewhere", folder.path()).unwrap(), None);
    let error = locate("copy", folder.path()).unwrap_err().to_string();
    assert!(error.contains("relin data make copy") && error.contains("copy.txt"), "{error}");
    let written = make("copy", &MakeOptions::default(), folder.path()).unwrap();
    assert_eq!(locate("copy", folder.path()).unwrap(), Some(Place::File(written.path)));
    assert!(row(find("copy").unwrap(), folder.path()).here);
}
