use super::*;

const TEXT: &str = "To be, or not to be: that is the question.\nÄpfel & 日本語 🦀 don't\r\n\tto be\n";

fn train(kind: TokenizerKind, text: &'static str) -> Tokenizer {
    Tokenizer::train(&kind, &TextSource::carried("t", text)).unwrap()
}

fn each() -> [Tokenizer; 3] {
    [Tokenizer::byte(), train(TokenizerKind::Char, TEXT), train(TokenizerKind::Bpe { vocab_size: 300 }, TEXT)]
}

#[test]
fn a_saved_tokenizer_is_the_same_here_and_in_the_tokenizers_crate() {
    let folder = tempfile::tempdir().unwrap();
    for tokenizer in each() {
        let path = folder.path().join("tokenizer.json");
        tokenizer.save(&path).unwrap();
        let ids = tokenizer.encode(TEXT).unwrap();
        for loaded in [Tokenizer::load(&path).unwrap(), Tokenizer::load(folder.path()).unwrap()] {
            assert_eq!(loaded.kind(), tokenizer.kind());
            assert_eq!(loaded.vocab_size(), tokenizer.vocab_size());
            assert_eq!(loaded.encode(TEXT).unwrap(), ids);
            assert_eq!(loaded.document().unwrap(), tokenizer.document().unwrap());
        }
        let theirs = tokenizers::Tokenizer::from_file(&path).unwrap();
        assert_eq!(theirs.encode(TEXT, false).unwrap().get_ids(), ids, "{:?}", tokenizer.kind());
        assert_eq!(theirs.decode(&ids, false).unwrap(), TEXT);
        assert_eq!(theirs.get_vocab_size(true), tokenizer.vocab_size());
        assert_eq!(tokenizer.decode(&ids), TEXT);
        assert_eq!(tokenizer.decode_bytes(&ids), TEXT.as_bytes());
    }
}

#[test]
fn ids_are_as_documented() {
    assert_eq!(Tokenizer::byte().encode("aÄ").unwrap(), [97, 0xC3, 0x84]);
    let chars = train(TokenizerKind::Char, "béa\nb");
    assert_eq!(chars.encode("\nabé").unwrap(), [0, 1, 2, 3]);
    assert_eq!(chars.vocab_size(), 4);
    let [.., bpe] = each();
    assert_eq!(bpe.vocab_size(), 300);
    assert_eq!(bpe.encode(" to be").unwrap().len(), 2);
}

#[test]
fn a_short_text_gives_a_smaller_vocabulary() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = train(TokenizerKind::Bpe { vocab_size: 5000 }, "abab");
    assert_eq!(tokenizer.kind(), TokenizerKind::Bpe { vocab_size: tokenizer.vocab_size() });
    let small = Tokenizer::train(&TokenizerKind::Bpe { vocab_size: 255 }, &TextSource::carried("t", "abab"));
    assert!(small.unwrap_err().to_string().contains("vocab_size = 255"));
    assert!((257..300).contains(&tokenizer.vocab_size()));
    tokenizer.save(folder.path().join("tokenizer.json")).unwrap();
    assert_eq!(Tokenizer::load(folder.path()).unwrap().kind(), tokenizer.kind());
}

#[test]
fn training_is_deterministic() {
    let verse = |i: usize| format!("verse {i} of {} rhymes with the {}th\n", i * i % 97, i * 31 % 89);
    let text: &'static str = (0..3000).map(verse).collect::<String>().leak();
    let [a, b] = [0, 1].map(|_| train(TokenizerKind::Bpe { vocab_size: 512 }, text));
    assert_eq!(a.document().unwrap(), b.document().unwrap());
    assert!(a.encode(text).unwrap().len() < text.len() / 2);
}

#[test]
fn unknown_characters_are_named() {
    let [_, chars, _] = each();
    let error = chars.encode("to Ω").unwrap_err().to_string();
    for part in ["'Ω'", "U+03A9", "character 3"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn only_bytes_take_any_bytes() {
    for tokenizer in each() {
        let result = tokenizer.encode_bytes(b"to be\xE6\x97");
        match tokenizer.kind() {
            TokenizerKind::Byte => {
                let ids = result.unwrap();
                assert_eq!(tokenizer.decode_bytes(&ids), b"to be\xE6\x97");
                assert_eq!(tokenizer.decode(&ids), "to be\u{FFFD}");
            }
            _ => assert!(result.unwrap_err().to_string().contains("invalid UTF-8 at byte 5")),
        }
        assert_eq!(tokenizer.encode_bytes(TEXT.as_bytes()).unwrap(), tokenizer.encode(TEXT).unwrap());
    }
}

#[test]
fn bytes_are_counted_for_any_run_of_tokens() {
    for tokenizer in each() {
        let ids = tokenizer.encode(TEXT).unwrap();
        for at in 0..=ids.len() {
            let (head, tail) = ids.split_at(at);
            assert_eq!(tokenizer.byte_count(head) + tokenizer.byte_count(tail), TEXT.len());
            assert_eq!(tokenizer.byte_count(head), tokenizer.decode_bytes(head).len());
        }
        assert_eq!(tokenizer.byte_count(&[u32::MAX]), 0);
        assert_eq!(tokenizer.decode(&[u32::MAX]), "");
    }
}

#[test]
fn a_stream_withholds_unfinished_characters() {
    for tokenizer in each() {
        let mut stream = tokenizer.stream();
        let told: Vec<String> =
            tokenizer.encode(TEXT).unwrap().into_iter().filter_map(|id| stream.push(id)).collect();
        assert_eq!(told.concat(), TEXT);
        assert!(told.iter().all(|text| !text.contains('\u{FFFD}')));
        assert_eq!(stream.finish(), None);
    }
    let byte = Tokenizer::byte();
    let mut stream = byte.stream();
    let told: Vec<Option<String>> =
        [0xE6, 0x97, 0xA5, 0xFF, 0xE6, 0x41, 0xF0].map(|id| stream.push(id)).into();
    let expected = [None, None, Some("日"), Some("\u{FFFD}"), None, Some("\u{FFFD}A"), None];
    assert_eq!(told, expected.map(|text| text.map(str::to_owned)));
    assert_eq!(stream.finish().unwrap(), "\u{FFFD}");
}

/// A tokenizer whose decoder looks at neighbours: words joined by spaces.
fn words(folder: &Path) -> Tokenizer {
    let path = folder.join("words.json");
    let document = serde_json::json!({
        "version": "1.0", "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": null, "added_tokens": [], "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": false},
        "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "to": 1, "be": 2, "or": 3, "not": 9}, "unk_token": "<unk>"},
    });
    fs::write(&path, document.to_string()).unwrap();
    Tokenizer::load(path).unwrap()
}

#[test]
fn any_tokenizer_json_serves() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = words(folder.path());
    assert_eq!(tokenizer.kind(), TokenizerKind::File(folder.path().join("words.json")));
    assert_eq!(tokenizer.vocab_size(), 10, "ids with holes: one more than the largest");
    let ids = tokenizer.encode("To be or NOT to be").unwrap();
    assert_eq!(ids, [1, 2, 3, 9, 1, 2], "truncation is dropped");
    assert_eq!(tokenizer.decode(&ids), "to be or not to be");
    assert_eq!(tokenizer.byte_count(&ids), 18);
    let mut stream = tokenizer.stream();
    let told: Vec<String> = ids.iter().filter_map(|&id| stream.push(id)).collect();
    assert_eq!(told, ["to", " be", " or", " not", " to", " be"]);
    let kind = TokenizerKind::File(folder.path().join("words.json"));
    assert_eq!(train(kind, "").encode("be").unwrap(), [2]);
}

#[test]
fn files_that_are_no_tokenizers_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Tokenizer::load(folder.path()).unwrap_err().to_string();
    assert!(missing.contains("cannot read") && missing.contains("tokenizer.json"), "{missing}");
    for content in ["no json", "{}", r#"{"model": {"type": "Mystery"}}"#, "[]"] {
        let path = folder.path().join("bad.json");
        fs::write(&path, content).unwrap();
        let error = Tokenizer::load(&path).unwrap_err().to_string();
        assert!(error.contains("bad.json is not a tokenizer.json"), "{error}");
    }
}

#[test]
fn long_runs_without_words_come_back_whole() {
    let [.., bpe] = each();
    for text in [" ".repeat(1_500_000), "ß".repeat(300_000), "\n ".repeat(300_000)] {
        assert_eq!(bpe.decode(&bpe.encode(&text).unwrap()), text);
    }
}
