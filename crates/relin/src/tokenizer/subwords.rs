//! Tokenizers run by the `tokenizers` crate: BPE trained here, and any `tokenizer.json`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::{TokenizerError, TokenizerKind, bytes};
use crate::data::{DataError, TextSource};

/// A tokenizer of the crate, with what each of its tokens stands for where tokens are bytes.
#[derive(Clone, Debug)]
pub(super) struct Subwords {
    inner: tokenizers::Tokenizer,
    kind: TokenizerKind,
    vocab_size: usize,
    spellings: Option<Vec<Box<[u8]>>>,
}

impl Subwords {
    /// Byte-level BPE trained on `text`, read piece by piece.
    pub(super) fn train(vocab_size: usize, text: &TextSource) -> Result<Self, DataError> {
        if vocab_size < 256 {
            return Err(TokenizerError::VocabularyTooSmall { found: vocab_size }.into());
        }
        let mut inner = parse(&bytes::bpe_document(Map::new(), true))?;
        let alphabet: HashSet<char> = ByteLevel::alphabet().into_iter().collect();
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .show_progress(false)
            .initial_alphabet(alphabet)
            .build();
        let mut unreadable = None;
        let pieces =
            text.pieces().map_while(|piece| piece.map(|p| p.text).map_err(|e| unreadable = Some(e)).ok());
        inner.train(&mut TrainerWrapper::BpeTrainer(trainer), pieces).map_err(failed)?;
        match unreadable {
            Some(error) => Err(error),
            None => Ok(Self::new(inner, None, true)),
        }
    }

    /// The tokenizer of a parsed `tokenizer.json`.
    pub(super) fn from_document(document: &Value, path: &Path) -> Result<Self, TokenizerError> {
        let mut inner = parse(document)?;
        // A training text is never cut or filled up, whatever the file says about sentences.
        inner.with_truncation(None).map_err(failed)?;
        inner.with_padding(None);
        let level = |key: &str| document[key]["type"] == "ByteLevel";
        let is_bpe = document["model"]["type"] == "BPE" && level("pre_tokenizer") && level("decoder");
        let file = (!is_bpe).then(|| path.to_owned());
        Ok(Self::new(inner, file, level("decoder")))
    }

    /// `file` names a tokenizer that is no byte-level BPE.
    fn new(inner: tokenizers::Tokenizer, file: Option<PathBuf>, byte_level: bool) -> Self {
        let vocabulary = inner.get_vocab(true);
        let vocab_size = vocabulary.values().max().map_or(0, |&id| id as usize + 1);
        // The size there is, not the one asked for: a short text has fewer pairs to merge.
        let kind = file.map_or(TokenizerKind::Bpe { vocab_size }, TokenizerKind::File);
        let spellings = byte_level.then(|| bytes::spellings(&vocabulary, vocab_size));
        Self { inner, kind, vocab_size, spellings }
    }

    pub(super) fn kind(&self) -> &TokenizerKind {
        &self.kind
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(self.inner.encode_fast(text, false).map_err(failed)?.get_ids().to_vec())
    }

    /// What each token stands for, where tokens are bytes.
    pub(super) fn spellings(&self) -> Option<&[Box<[u8]>]> {
        self.spellings.as_deref()
    }

    /// The text of `ids`, by the file's own decoder.
    pub(super) fn decode(&self, ids: &[u32]) -> String {
        // The decoders report errors through a `Result`, yet none of them has a text that it refuses.
        self.inner.decode(ids, false).unwrap_or_default()
    }

    pub(super) fn document(&self) -> Result<String, TokenizerError> {
        self.inner.to_string(true).map_err(failed)
    }
}

fn parse(document: &Value) -> Result<tokenizers::Tokenizer, TokenizerError> {
    tokenizers::Tokenizer::from_bytes(document.to_string()).map_err(failed)
}

fn failed(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Subwords(error.to_string())
}
