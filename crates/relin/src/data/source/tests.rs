use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use super::*;

fn text(source: &TextSource) -> String {
    let bytes: Vec<u8> = source.stretches(0..source.len()).flatten().copied().collect();
    String::from_utf8(bytes).unwrap()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in
        [("b.txt", "bb"), ("a.txt", "a"), ("sub/c.md", "ccc"), (".hidden", "no"), ("empty.txt", "")]
    {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

#[test]
fn files_folders_globs_and_lists_are_joined_in_sorted_order() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    assert_eq!(text(&TextSource::open(&at("b.txt")).unwrap()), "bb");
    assert_eq!(text(&TextSource::open(&at("")).unwrap()), "abbccc");
    assert_eq!(text(&TextSource::open(&at("*.txt")).unwrap()), "abb");
    assert_eq!(text(&TextSource::open(&at("**/*.md")).unwrap()), "ccc");
    let several = TextSource::open_all(&[at("sub"), at("b.txt"), at("*.txt")]).unwrap();
    assert_eq!(text(&several), "abbccc");
    assert_eq!(several.names().count(), 3);
}

#[test]
fn what_is_not_there_is_named() {
    let folder = folder();
    fs::create_dir(folder.path().join("void")).unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (name, says) in [
        (at("d.txt"), "no file, folder or built-in set"),
        (at("*.rs"), "no file matches"),
        (at("empty.txt"), "no text in"),
        (at("void"), "no text in"),
    ] {
        let error = TextSource::open(&name).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(&name), "{error}");
        assert!(!error.contains("did you mean"), "{error}");
    }
    let malformed = TextSource::open("[a").unwrap_err().to_string();
    assert!(malformed.contains("malformed") && malformed.contains("[a"), "{malformed}");
    let near = TextSource::open("quikstart").unwrap_err().to_string();
    assert!(near.contains("did you mean `quickstart`?"), "{near}");
    let empty: [&str; 0] = [];
    assert!(TextSource::open_all(&empty).is_err());
}

#[test]
fn the_set_quickstart_is_a_source() {
    let source = TextSource::open("quickstart").unwrap();
    assert_eq!(text(&source), QUICKSTART);
    assert!(QUICKSTART.len() > 50_000 && QUICKSTART.len() <= 500_000, "{} bytes", QUICKSTART.len());
}

#[test]
fn slices_and_joins_cross_files() {
    let [a, b] = [TextSource::carried("a", "one"), TextSource::carried("b", "two")];
    let both = TextSource::join(&[&a, &b]);
    for start in 0..=6 {
        for end in start..=6 {
            let slice = both.slice(start..end);
            assert_eq!(text(&slice), "onetwo"[start..end]);
            assert_eq!(text(&TextSource::join(&[&slice, &both.slice(end..6)])), "onetwo"[start..]);
        }
    }
    assert_eq!(text(&both.slice(1..5).slice(1..3)), "et");
}

#[test]
fn the_cut_is_at_nine_tenths_of_the_characters() {
    let (first, last) = TextSource::carried("t", "0123456789").split(0.1).unwrap();
    assert_eq!((text(&first), text(&last)), ("012345678".into(), "9".into()));
    // 20 characters in 31 bytes, over two files: 18 and 2.
    let parts = [TextSource::carried("a", "äöüäöüäöüä"), TextSource::carried("b", "xyzxyzxyzß")];
    let (first, last) = TextSource::join(&[&parts[0], &parts[1]]).split(0.1).unwrap();
    assert_eq!((text(&first), text(&last)), ("äöüäöüäöüäxyzxyzxy".into(), "zß".into()));
    // As the usual 90 % of a text of 1,115,394 ASCII characters.
    let long: &'static str = Box::leak("x".repeat(1_115_394).into_boxed_str());
    let (first, last) = TextSource::carried("long", long).split(0.1).unwrap();
    assert_eq!((first.len(), last.len()), (1_003_854, 111_540));
}

#[test]
fn cuts_fall_between_characters_in_every_block() {
    let long: &'static str = Box::leak("aä日🦀".repeat(300_000).into_boxed_str());
    let source = TextSource::carried("long", long);
    for share in [0.001, 0.3, 0.5, 0.77, 0.9] {
        let (first, last) = source.split(share).unwrap();
        let expected = (1_200_000.0 * (1.0 - share)) as usize;
        assert_eq!(text(&first).chars().count(), expected);
        assert_eq!(text(&last).chars().count(), 1_200_000 - expected);
    }
}

/// 3 GiB of holes with a word at the end: only the pages that are read take memory.
#[cfg(unix)]
#[test]
fn a_large_file_is_mapped_and_not_read() {
    const SIZE: u64 = 3 << 30;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    let mut file = File::create(&path).unwrap();
    file.set_len(SIZE).unwrap();
    file.seek(SeekFrom::End(-5)).unwrap();
    file.write_all(b"there").unwrap();
    let source = TextSource::open(path.to_str().unwrap()).unwrap();
    assert_eq!(source.len() as u64, SIZE);
    assert_eq!(text(&source.slice(source.len() - 5..source.len())), "there");
    let store =
        crate::data::TokenStore::open(&source, &crate::tokenizer::Tokenizer::byte(), &path, "all").unwrap();
    let mut tokens = [1; 6];
    store.read(store.len() - 6..store.len(), &mut tokens);
    assert_eq!(tokens, b"\0there".map(u32::from));
    assert!(store.training_batch(0, 0, 0, 4, 128).unwrap().inputs.iter().all(|&token| token == 0));
}
