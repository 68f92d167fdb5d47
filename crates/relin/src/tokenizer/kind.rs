//! The kinds of tokenizers.

use std::path::PathBuf;

/// Which tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenizerKind {
    /// One token a byte, 256 of them; takes any bytes.
    Byte,
    /// One token a character (Unicode scalar value) that occurs in the text.
    Char,
    /// Byte-level byte-pair encoding, trained on the text.
    Bpe {
        /// How many tokens to aim at, the 256 bytes included.
        vocab_size: usize,
    },
    /// A Hugging Face `tokenizer.json`, or a folder that holds one.
    File(PathBuf),
}
