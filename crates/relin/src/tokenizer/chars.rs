//! A vocabulary of single characters.

use serde_json::{Map, Value, json};

use super::TokenizerError;
use crate::data::{DataError, TextSource};

const ABSENT: u32 = u32::MAX;
const CODE_POINTS: usize = char::MAX as usize + 1;

/// Characters by id, and ids by code point.
#[derive(Clone, Debug)]
pub(super) struct Characters {
    by_id: Vec<char>,
    ids: Vec<u32>,
}

impl Characters {
    /// The distinct characters of a text, sorted by code point.
    pub(super) fn of(text: &TextSource) -> Result<Self, DataError> {
        let mut seen = vec![false; CODE_POINTS];
        for piece in text.pieces() {
            piece?.text.chars().for_each(|c| seen[c as usize] = true);
        }
        Ok(Self::new(('\0'..=char::MAX).filter(|&c| seen[c as usize]).collect()))
    }

    fn new(by_id: Vec<char>) -> Self {
        let mut ids = vec![ABSENT; by_id.iter().max().map_or(0, |&c| c as usize + 1)];
        for (id, &c) in by_id.iter().enumerate() {
            ids[c as usize] = id as u32;
        }
        Self { by_id, ids }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn get(&self, id: u32) -> Option<char> {
        self.by_id.get(id as usize).copied()
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut encoded = Vec::with_capacity(text.len());
        for (index, character) in text.chars().enumerate() {
            match self.ids.get(character as usize) {
                Some(&id) if id != ABSENT => encoded.push(id),
                _ => return Err(TokenizerError::UnknownCharacter { character, index }),
            }
        }
        Ok(encoded)
    }

    /// `tokenizer.json`: words of one character each. The unknown token is in no vocabulary, so that the Python
    /// library refuses an unknown character too.
    pub(super) fn document(&self) -> Value {
        let vocabulary: Map<String, Value> =
            self.by_id.iter().enumerate().map(|(id, c)| (c.to_string(), id.into())).collect();
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": every_character(), "post_processor": null, "decoder": {"type": "Fuse"},
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
        })
    }

    /// The characters of a `tokenizer.json` that [`Self::document`] could have written.
    pub(super) fn from_document(document: &Value) -> Option<Self> {
        let no_added = document["added_tokens"].as_array().is_none_or(Vec::is_empty);
        let shape = document["pre_tokenizer"] == every_character() && document["decoder"]["type"] == "Fuse";
        if !shape
            || !no_added
            || !document["normalizer"].is_null()
            || document["model"]["type"] != "WordLevel"
        {
            return None;
        }
        let vocabulary = document["model"]["vocab"].as_object()?;
        let mut by_id = vec![None; vocabulary.len()];
        for (token, id) in vocabulary {
            let mut characters = token.chars();
            let (Some(character), None) = (characters.next(), characters.next()) else { return None };
            *by_id.get_mut(usize::try_from(id.as_u64()?).ok()?)? = Some(character);
        }
        by_id.into_iter().collect::<Option<Vec<char>>>().map(Self::new)
    }
}

/// `[\s\S]` and not a dot: what makes a dot match a line feed is written differently in each regex dialect.
fn every_character() -> Value {
    json!({"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": false})
}
