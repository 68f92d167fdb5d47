use super::*;

const TEXT: &str = "the cat sat on the mat, the Käse lay on the cat\n";

fn all(store: &TokenStore) -> Vec<u32> {
    let mut tokens = vec![0; store.len()];
    store.read(0..store.len(), &mut tokens);
    tokens
}

fn source(folder: &Path, text: &str) -> TextSource {
    let path = folder.join("text");
    fs::write(&path, text).unwrap();
    TextSource::open(path.to_str().unwrap()).unwrap()
}

fn kinds() -> [TokenizerKind; 3] {
    [TokenizerKind::Byte, TokenizerKind::Char, TokenizerKind::Bpe { vocab_size: 270 }]
}

#[test]
fn a_store_holds_the_tokens_of_its_text() {
    let folder = tempfile::tempdir().unwrap();
    // Several groups of pieces of several files.
    let long = TEXT.repeat(40_000);
    let source = TextSource::join(&[&source(folder.path(), &long), &TextSource::carried("more", TEXT)]);
    for kind in kinds() {
        let tokenizer = Tokenizer::train(&kind, &source).unwrap();
        let store = TokenStore::open(&source, &tokenizer, folder.path(), "training").unwrap();
        let tokens = all(&store);
        assert_eq!(tokens, tokenizer.encode(&(long.clone() + TEXT)).unwrap(), "{kind:?}");
        assert_eq!(tokenizer.byte_count(&tokens), source.len());
        let mut few = [0; 3];
        store.read(4..7, &mut few);
        assert_eq!(few, tokens[4..7]);
        assert_eq!(store.split(), "training");
    }
}

/// Marks the first token on disk, so that a second opening shows whether the file was taken or built again.
fn mark(folder: &Path, byte: u8) -> PathBuf {
    let is_tokens = |path: &PathBuf| path.extension().is_some_and(|e| e == "tokens");
    let files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(is_tokens).collect();
    let [path] = &files[..] else { panic!("{files:?}") };
    let mut bytes = fs::read(path).unwrap();
    bytes[HEADER] = byte;
    fs::write(path, bytes).unwrap();
    path.clone()
}

#[test]
fn a_cached_file_is_reused_until_text_tokenizer_or_file_change() {
    let folder = tempfile::tempdir().unwrap();
    let source_a = source(folder.path(), TEXT);
    let chars = Tokenizer::train(&TokenizerKind::Char, &source_a).unwrap();
    let open = |source: &TextSource, tokenizer: &Tokenizer| {
        all(&TokenStore::open(source, tokenizer, folder.path(), "training").unwrap())
    };
    let tokens = open(&source_a, &chars);
    let path = mark(folder.path(), 99);
    assert_eq!(open(&source_a, &chars)[0], 99, "reused");

    // Another vocabulary of the same kind.
    let more = TextSource::join(&[&source_a, &TextSource::carried("t", "!")]);
    let wider = Tokenizer::train(&TokenizerKind::Char, &more).unwrap();
    assert_eq!(open(&source_a, &wider), wider.encode(TEXT).unwrap());

    // Another text under the same name.
    let source_b = source(folder.path(), &TEXT[4..]);
    mark(folder.path(), 99);
    assert_eq!(open(&source_b, &chars), tokens[4..]);

    // A file cut short, a foreign version, garbage.
    let whole = fs::read(&path).unwrap();
    let mut foreign = whole.clone();
    foreign[8] = 2;
    for bytes in [&whole[..whole.len() - 1], &foreign, b"garbage"] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(open(&source_b, &chars), tokens[4..]);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}

#[test]
fn splits_and_kinds_have_files_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let (first, last) = source(folder.path(), TEXT).split(0.5).unwrap();
    for kind in kinds() {
        let tokenizer = Tokenizer::train(&kind, &TextSource::join(&[&first, &last])).unwrap();
        for (text, split) in [(&first, "training"), (&last, "validation")] {
            TokenStore::open(text, &tokenizer, folder.path(), split).unwrap();
        }
    }
    // The text itself, and two splits of two kinds: bytes need no file.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1 + 2 * 2);
}

#[test]
fn large_vocabularies_take_four_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let every: String = ('\u{20}'..='\u{1_2000}').collect();
    let source = source(folder.path(), &every);
    let tokenizer = Tokenizer::train(&TokenizerKind::Char, &source).unwrap();
    assert!(tokenizer.vocab_size() > 1 << 16);
    let store = TokenStore::open(&source, &tokenizer, folder.path(), "training").unwrap();
    assert_eq!(all(&store), (0..tokenizer.vocab_size() as u32).collect::<Vec<_>>());
}

#[test]
fn text_that_cannot_be_encoded_is_placed_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let chars = Tokenizer::train(&TokenizerKind::Char, &TextSource::carried("t", "abc")).unwrap();
    let source_a = source(folder.path(), "abcxab");
    let error = TokenStore::open(&source_a, &chars, &cache, "training").unwrap_err().to_string();
    for part in ["text", "'x'", "U+0078", "character 3"] {
        assert!(error.contains(part), "{error}");
    }
    fs::write(folder.path().join("text"), b"abc\xC3").unwrap();
    let source_b = TextSource::open(folder.path().join("text").to_str().unwrap()).unwrap();
    let error = TokenStore::open(&source_b, &chars, &cache, "training").unwrap_err().to_string();
    assert!(error.contains("text: invalid UTF-8 at byte 3"), "{error}");
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
    for kind in [TokenizerKind::Char, TokenizerKind::Bpe { vocab_size: 300 }] {
        let error = Tokenizer::train(&kind, &source_b).unwrap_err().to_string();
        assert!(error.contains("text: invalid UTF-8 at byte 3"), "{error}");
    }
    let bytes = TokenStore::open(&source_b, &Tokenizer::byte(), &cache, "training").unwrap();
    assert_eq!(all(&bytes), b"abc\xC3".map(u32::from));
}
