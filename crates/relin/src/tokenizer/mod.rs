//! Text to tokens and back: bytes, characters, byte-pair encoding, or any Hugging Face `tokenizer.json`.
//!
//! Every kind is saved as a `tokenizer.json` that the Python `tokenizers` library loads with the same ids.

mod bytes;
mod chars;
mod kind;
mod stream;
mod subwords;

use std::path::{Path, PathBuf};
use std::{fs, io, io::Write};

use serde_json::Value;
use thiserror::Error;

pub use kind::TokenizerKind;
pub use stream::DecodeStream;

use crate::data::files::replace_file;
use crate::data::{DataError, TextSource};
use chars::Characters;
use subwords::Subwords;

/// Why text could not be tokenized, or a tokenizer not be had.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// Fewer tokens than bytes.
    #[error("vocab_size = {found} is too small: byte-pair encoding starts from the 256 bytes")]
    VocabularyTooSmall {
        /// The size asked for.
        found: usize,
    },
    /// A character that the text behind the vocabulary did not have.
    #[error("unknown character {character:?} (U+{:04X}) at character {index}: it is not in the vocabulary",
        u32::from(*character))]
    UnknownCharacter {
        /// The character.
        character: char,
        /// How many characters stand before it.
        index: usize,
    },
    /// Bytes given to a tokenizer of text.
    #[error("invalid UTF-8 at byte {offset}")]
    InvalidUtf8 {
        /// How many bytes stand before it.
        offset: usize,
    },
    /// The file cannot be read.
    #[error("cannot read the tokenizer {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no `tokenizer.json`.
    #[error("{} is not a tokenizer.json: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// The `tokenizers` crate refused.
    #[error("tokenizer: {0}")]
    Subwords(String),
}

/// A tokenizer with its vocabulary.
#[derive(Clone, Debug)]
pub struct Tokenizer(Model);

#[derive(Clone, Debug)]
enum Model {
    Byte,
    Char(Characters),
    Subwords(Box<Subwords>),
}

impl Tokenizer {
    /// The tokenizer of one token a byte.
    pub fn byte() -> Self {
        Self(Model::Byte)
    }

    /// The tokenizer that `kind` asks for, its vocabulary taken from `text`: the distinct characters sorted by code
    /// point, or byte-pair merges. The kinds `byte` and `file` do not look at the text.
    ///
    /// # Errors
    /// Invalid UTF-8 in the text (file and byte), a vocabulary smaller than the bytes, an unreadable
    /// `tokenizer.json`.
    pub fn train(kind: &TokenizerKind, text: &TextSource) -> Result<Self, DataError> {
        Ok(Self(match kind {
            TokenizerKind::Byte => Model::Byte,
            TokenizerKind::Char => Model::Char(Characters::of(text)?),
            TokenizerKind::Bpe { vocab_size } => Model::Subwords(Subwords::train(*vocab_size, text)?.into()),
            TokenizerKind::File(path) => return Ok(Self::load(path)?),
        }))
    }

    /// The tokenizer of a `tokenizer.json`, or of the folder that holds one. Its settings for truncation and
    /// padding are dropped.
    ///
    /// # Errors
    /// The file cannot be read, or is no `tokenizer.json`.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let mut path = path.as_ref().to_owned();
        if path.is_dir() {
            path.push("tokenizer.json");
        }
        let text = fs::read(&path).map_err(|source| TokenizerError::Read { path: path.clone(), source })?;
        let format = |reason: String| TokenizerError::Format { path: path.clone(), reason };
        let document: Value = serde_json::from_slice(&text).map_err(|e| format(e.to_string()))?;
        if bytes::is_byte_document(&document) {
            return Ok(Self::byte());
        }
        if let Some(characters) = Characters::from_document(&document) {
            return Ok(Self(Model::Char(characters)));
        }
        let subwords = Subwords::from_document(&document, &path).map_err(|e| format(e.to_string()))?;
        Ok(Self(Model::Subwords(subwords.into())))
    }

    /// Writes `tokenizer.json` to `path`, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), DataError> {
        let (document, path) = (self.document()?, path.as_ref());
        replace_file(path, |file| file.write_all(document.as_bytes()).map_err(DataError::io("write", path)))
    }

    /// The text of this tokenizer's `tokenizer.json`.
    ///
    /// # Errors
    /// The `tokenizers` crate cannot write the model.
    pub fn document(&self) -> Result<String, TokenizerError> {
        match &self.0 {
            Model::Byte => Ok(format!("{:#}\n", bytes::document())),
            Model::Char(characters) => Ok(format!("{:#}\n", characters.document())),
            Model::Subwords(subwords) => subwords.document(),
        }
    }

    /// What kind it is. A file with byte-level BPE inside is `bpe`.
    pub fn kind(&self) -> TokenizerKind {
        match &self.0 {
            Model::Byte => TokenizerKind::Byte,
            Model::Char(_) => TokenizerKind::Char,
            Model::Subwords(subwords) => subwords.kind().clone(),
        }
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        match &self.0 {
            Model::Byte => 256,
            Model::Char(characters) => characters.len(),
            Model::Subwords(subwords) => subwords.vocab_size(),
        }
    }

    /// The tokens of `text`.
    ///
    /// # Errors
    /// `char`: an unknown character.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match &self.0 {
            Model::Byte => Ok(text.bytes().map(u32::from).collect()),
            Model::Char(characters) => characters.encode(text),
            Model::Subwords(subwords) => subwords.encode(text),
        }
    }

    /// The tokens of `text`; the kind `byte` takes any bytes.
    ///
    /// # Errors
    /// Every other kind: invalid UTF-8. `char`: an unknown character.
    pub fn encode_bytes(&self, text: &[u8]) -> Result<Vec<u32>, TokenizerError> {
        if let Model::Byte = self.0 {
            return Ok(text.iter().copied().map(u32::from).collect());
        }
        let invalid = |e: std::str::Utf8Error| TokenizerError::InvalidUtf8 { offset: e.valid_up_to() };
        self.encode(std::str::from_utf8(text).map_err(invalid)?)
    }

    /// The text of `ids`; bytes that are no UTF-8 become U+FFFD, ids outside the vocabulary nothing.
    pub fn decode(&self, ids: &[u32]) -> String {
        match self.whole_decoder() {
            Some(subwords) => subwords.decode(ids),
            None => String::from_utf8_lossy(&self.decode_bytes(ids)).into_owned(),
        }
    }

    /// The bytes of `ids`, as they are; ids outside the vocabulary are nothing.
    pub fn decode_bytes(&self, ids: &[u32]) -> Vec<u8> {
        if let Some(subwords) = self.whole_decoder() {
            return subwords.decode(ids).into_bytes();
        }
        let mut bytes = Vec::with_capacity(ids.len());
        for &id in ids {
            self.append_bytes(id, &mut bytes);
        }
        bytes
    }

    /// How many UTF-8 bytes `ids` stand for: what bits per byte divides by.
    pub fn byte_count(&self, ids: &[u32]) -> usize {
        match (&self.0, self.whole_decoder()) {
            (Model::Byte, _) => ids.iter().filter(|&&id| id < 256).count(),
            (_, Some(subwords)) => subwords.decode(ids).len(),
            (Model::Char(characters), _) => {
                ids.iter().filter_map(|&id| characters.get(id)).map(char::len_utf8).sum()
            }
            (Model::Subwords(subwords), _) => {
                let spellings = subwords.spellings().unwrap_or_default();
                ids.iter().filter_map(|&id| spellings.get(id as usize)).map(|bytes| bytes.len()).sum()
            }
        }
    }

    /// A decoder that takes one token at a time.
    pub fn stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }

    /// The tokenizer whose tokens have no bytes of their own: text comes from its decoder, over whole runs.
    fn whole_decoder(&self) -> Option<&Subwords> {
        match &self.0 {
            Model::Subwords(subwords) if subwords.spellings().is_none() => Some(subwords),
            _ => None,
        }
    }

    /// Appends the bytes of one token; `false` where tokens have none of their own.
    fn append_bytes(&self, id: u32, bytes: &mut Vec<u8>) -> bool {
        match &self.0 {
            Model::Byte => bytes.extend(u8::try_from(id).ok()),
            Model::Char(characters) => {
                bytes.extend_from_slice(characters.get(id).map(String::from).unwrap_or_default().as_bytes());
            }
            Model::Subwords(subwords) => match subwords.spellings() {
                Some(spellings) => bytes.extend(spellings.get(id as usize).into_iter().flatten()),
                None => return false,
            },
        }
        true
    }
}

#[cfg(test)]
mod tests;
