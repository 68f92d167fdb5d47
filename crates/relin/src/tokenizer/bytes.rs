//! Byte-level vocabularies: each byte is spelled as one printable character.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// The character that spells each byte in byte-level vocabularies (the table introduced by GPT-2): printable
/// Latin-1 stands for itself, the other bytes take the code points from 256 on, in order.
pub(super) fn alphabet() -> [char; 256] {
    let mut spare = ('\u{100}'..).take(68);
    std::array::from_fn(|byte| match byte as u8 {
        b @ (b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) => char::from(b),
        _ => spare.next().expect("68 bytes are not printable"),
    })
}

/// The bytes of each token of a byte-level vocabulary. A token with a character outside the alphabet stands for
/// its own UTF-8, as in the Python decoder.
pub(super) fn spellings(vocabulary: &HashMap<String, u32>, vocab_size: usize) -> Vec<Box<[u8]>> {
    let byte_of: HashMap<char, u8> = alphabet().into_iter().zip(0..=255).collect();
    let mut table = vec![Box::default(); vocab_size];
    for (token, &id) in vocabulary {
        let spelled: Option<Vec<u8>> = token.chars().map(|c| byte_of.get(&c).copied()).collect();
        table[id as usize] = spelled.unwrap_or_else(|| token.as_bytes().to_vec()).into();
    }
    table
}

/// `tokenizer.json` of the byte tokenizer: byte-pair encoding without merges, whose ids are the byte values.
pub(super) fn document() -> Value {
    let vocabulary = alphabet().into_iter().enumerate().map(|(id, c)| (c.to_string(), id.into())).collect();
    bpe_document(vocabulary, false)
}

/// `tokenizer.json` of a byte-level BPE without merges. `words` cuts the text into words before the merges.
pub(super) fn bpe_document(vocabulary: Map<String, Value>, words: bool) -> Value {
    let level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": words});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": [],
        },
    })
}

/// Whether a `tokenizer.json` is the byte tokenizer.
pub(super) fn is_byte_document(document: &Value) -> bool {
    let expected = self::document();
    let same = |key: &str| document.get(key).unwrap_or(&Value::Null) == &expected[key];
    let model = &document["model"];
    let no_added = document["added_tokens"].as_array().is_none_or(Vec::is_empty);
    let is_merging = model["merges"].as_array().is_some_and(|merges| !merges.is_empty());
    let plain = model["dropout"].is_null() && model["type"] == "BPE" && !is_merging;
    let levels = same("pre_tokenizer") && document["decoder"]["type"] == "ByteLevel";
    no_added && plain && levels && same("normalizer") && model["vocab"] == expected["model"]["vocab"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_that_of_the_tokenizers_crate() {
        let ours: std::collections::HashSet<char> = alphabet().into_iter().collect();
        let theirs = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
        assert_eq!(ours, theirs);
        assert_eq!((alphabet()[b'A' as usize], alphabet()[b' ' as usize], alphabet()[0xAD]), ('A', 'Ġ', 'Ń'));
    }

    #[test]
    fn other_documents_are_not_taken_for_the_byte_tokenizer() {
        assert!(is_byte_document(&document()));
        let changes: [(&str, Value); 4] = [
            ("/model/vocab/A", json!(7)),
            ("/model/merges", json!([["A", "B"]])),
            ("/pre_tokenizer/add_prefix_space", json!(true)),
            ("/normalizer", json!({"type": "Lowercase"})),
        ];
        for (place, value) in changes {
            let mut other = document();
            *other.pointer_mut(place).unwrap() = value;
            assert!(!is_byte_document(&other), "{place}");
        }
    }
}
