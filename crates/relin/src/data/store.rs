//! The tokens of a text: its bytes themselves, or a file of ids.
//!
//! Token file, little-endian: magic `RELINTOK`, version u32, bytes a token u32 (2 or 4), number of tokens u64,
//! SHA-256 of source and tokenizer (32 bytes), 8 zero bytes; then the tokens.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{DataError, Piece, TextSource, files};
use crate::hexadecimal::hexadecimal;
use crate::tokenizer::{Tokenizer, TokenizerKind};

const MAGIC: [u8; 8] = *b"RELINTOK";
const VERSION: u32 = 1;
const HEADER: usize = 64;
/// Pieces encoded at a time, in parallel.
const GROUP: usize = 32;

/// The tokens of one split, mapped; cloning shares the mapping.
#[derive(Clone, Debug)]
pub struct TokenStore {
    split: Arc<str>,
    tokens: Tokens,
}

#[derive(Clone, Debug)]
enum Tokens {
    Bytes { text: TextSource, len: usize },
    File { map: Arc<Mmap>, header: Header },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    /// Bytes a token.
    width: usize,
    len: usize,
    hash: [u8; 32],
}

impl TokenStore {
    /// The tokens of `text`. `byte` maps the text itself; other tokenizers write a file into `cache` once, named
    /// after `split`, and take it again as long as neither the text's files nor the tokenizer change.
    ///
    /// # Errors
    /// Invalid UTF-8 or an unknown character (file and byte), a cache that cannot be written.
    pub fn open(
        text: &TextSource,
        tokenizer: &Tokenizer,
        cache: &Path,
        split: &str,
    ) -> Result<Self, DataError> {
        let tokens = match tokenizer.kind() {
            TokenizerKind::Byte => Tokens::Bytes { text: text.clone(), len: text.len() },
            _ => from_cache(text, tokenizer, cache, split)?,
        };
        Ok(Self { split: split.into(), tokens })
    }

    /// `training`, `validation` or another name.
    pub fn split(&self) -> &str {
        &self.split
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        match &self.tokens {
            Tokens::Bytes { len, .. } => *len,
            Tokens::File { header, .. } => header.len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the tokens of `range` into `out`.
    ///
    /// # Panics
    /// If `range` goes beyond the end, or `out` has another length, as slicing does.
    pub fn read(&self, range: Range<usize>, out: &mut [u32]) {
        assert_eq!(range.len(), out.len(), "tokens of {range:?} into another length");
        match &self.tokens {
            Tokens::Bytes { text, .. } => {
                let bytes = text.stretches(range).flatten();
                out.iter_mut().zip(bytes).for_each(|(token, &byte)| *token = byte.into());
            }
            Tokens::File { map, header } => {
                let bytes = &map[HEADER + range.start * header.width..HEADER + range.end * header.width];
                match header.width {
                    2 => fill(out, bytes, |two| u16::from_le_bytes(two).into()),
                    _ => fill(out, bytes, u32::from_le_bytes),
                }
            }
        }
    }

    /// Checks that there is one window: `context` inputs and the target after the last.
    ///
    /// # Errors
    /// There are fewer than `context + 1` tokens, or `context` is zero.
    pub fn check_context(&self, context: usize) -> Result<(), DataError> {
        if context == 0 {
            return Err(DataError::Zero { name: "context" });
        }
        if self.len() <= context {
            return Err(DataError::TooShort { split: self.split.to_string(), tokens: self.len(), context });
        }
        Ok(())
    }
}

fn fill<const WIDTH: usize>(out: &mut [u32], bytes: &[u8], token: fn([u8; WIDTH]) -> u32) {
    let (words, _) = bytes.as_chunks::<WIDTH>();
    out.iter_mut().zip(words).for_each(|(out, &word)| *out = token(word));
}

fn from_cache(
    text: &TextSource,
    tokenizer: &Tokenizer,
    cache: &Path,
    split: &str,
) -> Result<Tokens, DataError> {
    let path = cache_path(text, tokenizer, cache, split);
    let width = if tokenizer.vocab_size() <= 1 << 16 { 2 } else { 4 };
    let hash = content_hash(text, tokenizer)?;
    let header = match Header::of_file(&path) {
        Some(found) if found.hash == hash && found.width == width => found,
        _ => build(text, tokenizer, &path, width, hash)?,
    };
    Ok(Tokens::File { map: Arc::new(files::map(&path)?), header })
}

/// One file for each set of source files, kind of tokenizer and split: a changed text replaces its old tokens.
fn cache_path(text: &TextSource, tokenizer: &Tokenizer, cache: &Path, split: &str) -> PathBuf {
    let mut hash = Sha256::new();
    hash.update(format!("{:?}", tokenizer.kind()));
    text.names().for_each(|name| hash.update(format!("\0{name}")));
    let key = hexadecimal(&hash.finalize()[..6]);
    cache.join(format!("{split}-{key}.tokens"))
}

fn content_hash(text: &TextSource, tokenizer: &Tokenizer) -> Result<[u8; 32], DataError> {
    let mut hash = Sha256::new();
    text.identify(&mut hash);
    hash.update(tokenizer.document()?);
    Ok(hash.finalize().into())
}

fn build(
    text: &TextSource,
    tokenizer: &Tokenizer,
    path: &Path,
    width: usize,
    hash: [u8; 32],
) -> Result<Header, DataError> {
    files::replace_file(path, |file| {
        file.write_all(&[0; HEADER]).map_err(DataError::io("write", path))?;
        let len = write_tokens(text, tokenizer, width, file, path)?;
        let header = Header { width, len, hash };
        // The header comes last: only now is the number of tokens known.
        file.seek(SeekFrom::Start(0)).map_err(DataError::io("write", path))?;
        file.write_all(&header.bytes()).map_err(DataError::io("write", path))?;
        Ok(header)
    })
}

fn write_tokens(
    text: &TextSource,
    tokenizer: &Tokenizer,
    width: usize,
    file: &mut BufWriter<File>,
    path: &Path,
) -> Result<usize, DataError> {
    let encode = |piece: &Piece<'_>| {
        let placed = |source| DataError::Encode { file: piece.file.to_owned(), offset: piece.offset, source };
        tokenizer.encode(piece.text).map_err(placed)
    };
    let (mut pieces, mut len) = (text.pieces(), 0);
    loop {
        let group: Vec<Piece<'_>> = pieces.by_ref().take(GROUP).collect::<Result<_, _>>()?;
        if group.is_empty() {
            return Ok(len);
        }
        let encoded: Vec<Vec<u32>> = group.par_iter().map(encode).collect::<Result<_, _>>()?;
        for id in encoded.iter().flatten() {
            file.write_all(&id.to_le_bytes()[..width]).map_err(DataError::io("write", path))?;
        }
        len += encoded.iter().map(Vec::len).sum::<usize>();
    }
}

impl Header {
    fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.width as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&(self.len as u64).to_le_bytes());
        bytes[24..56].copy_from_slice(&self.hash);
        bytes
    }

    /// The header of a token file that is whole; anything else is `None` and gets built again.
    fn of_file(path: &Path) -> Option<Self> {
        let mut bytes = [0; HEADER];
        let mut file = File::open(path).ok()?;
        file.read_exact(&mut bytes).ok()?;
        let width = u32::from_le_bytes(bytes[12..16].try_into().ok()?) as usize;
        let len = usize::try_from(u64::from_le_bytes(bytes[16..24].try_into().ok()?)).ok()?;
        let header = Self { width, len, hash: bytes[24..56].try_into().ok()? };
        let size = len.checked_mul(width)?.checked_add(HEADER)?;
        let whole = fs::metadata(path).ok()?.len() == size as u64;
        (whole && header.bytes() == bytes).then_some(header)
    }
}

#[cfg(test)]
mod tests;
