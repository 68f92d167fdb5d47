//! Text read piece by piece, cut where no tokenizer joins across.

use super::source::Part;
use super::{DataError, TextSource};

/// A stretch of one file's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The text.
    pub text: &'a str,
    /// The file's name.
    pub file: &'a str,
    /// Where in the file it begins, in bytes.
    pub offset: usize,
}

/// The pieces of a source, in order; they make up the whole text. Ends after the first error.
#[derive(Debug)]
pub struct Pieces<'a> {
    parts: std::slice::Iter<'a, Part>,
    part: Option<&'a Part>,
    at: usize,
    size: usize,
}

/// Bytes in a piece, at most.
const SIZE: usize = 256 * 1024;

impl TextSource {
    /// The text in pieces of at most 256 KiB, none across files.
    ///
    /// Tokens of the pieces are those of the whole text as long as a space between two letters begins a token, as in
    /// byte-level BPE: pieces are cut there if at all possible.
    pub fn pieces(&self) -> Pieces<'_> {
        self.pieces_of(SIZE)
    }

    pub(super) fn pieces_of(&self, size: usize) -> Pieces<'_> {
        let mut parts = self.parts().iter();
        Pieces { part: parts.next(), parts, at: 0, size }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.part.is_some_and(|part| self.at == part.range.len()) {
            self.part = self.parts.next();
            self.at = 0;
        }
        let part = self.part?;
        let rest = &part.bytes()[self.at..];
        let bytes = &rest[..cut(rest, self.size)];
        let offset = part.range.start + self.at;
        self.at += bytes.len();
        Some(match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Piece { text, file: &part.name, offset }),
            Err(error) => {
                self.part = None;
                Err(DataError::InvalidUtf8 {
                    file: part.name.to_string(),
                    offset: offset + error.valid_up_to(),
                })
            }
        })
    }
}

/// Where to end a piece: before a space between two letters, else before a line feed, else between characters.
fn cut(bytes: &[u8], size: usize) -> usize {
    if bytes.len() <= size {
        return bytes.len();
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80;
    let between_words = |&i: &usize| bytes[i] == b' ' && letter(bytes[i - 1]) && letter(bytes[i + 1]);
    let line_end = |&i: &usize| bytes[i] == b'\n' && !bytes[i - 1].is_ascii_whitespace();
    let between_characters = |&i: &usize| bytes[i] & 0xC0 != 0x80;
    let candidates = || (size / 2 + 1..size).rev();
    candidates()
        .find(between_words)
        .or_else(|| candidates().find(line_end))
        .or_else(|| (1..=size).rev().find(between_characters))
        .unwrap_or(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(text: &'static str, size: usize) -> Vec<usize> {
        let source = TextSource::carried("t", text);
        let pieces: Vec<Piece<'_>> = source.pieces_of(size).map(Result::unwrap).collect();
        assert_eq!(pieces.iter().map(|p| p.text).collect::<String>(), text);
        pieces.iter().map(|p| p.text.len()).collect()
    }

    #[test]
    fn pieces_end_between_words_or_lines_or_characters() {
        assert_eq!(lengths("one two three", 9), [7, 6]);
        assert_eq!(lengths("1+2=3;\n(4+5)\n", 9), [6, 7]);
        assert_eq!(lengths("äöüß", 3), [2, 2, 2, 2]);
        assert_eq!(lengths("日本語", 4), [3, 3, 3]);
        assert_eq!(lengths("", 4), [0; 0]);
    }

    #[test]
    fn invalid_text_is_placed_in_its_file_and_ends_the_pieces() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "fine text").unwrap();
        std::fs::write(folder.path().join("b"), b"so far so good \xFF here").unwrap();
        let source = TextSource::open(folder.path().to_str().unwrap()).unwrap();
        let mut pieces = source.pieces_of(4).skip_while(Result::is_ok);
        match pieces.next().unwrap().unwrap_err() {
            DataError::InvalidUtf8 { file, offset } => {
                assert!(file.ends_with('b') && offset == 15, "{file} {offset}")
            }
            other => panic!("{other}"),
        }
        assert!(pieces.next().is_none());
        // A slice counts from the beginning of the file, not of the slice.
        let tail = source.slice(14..source.len());
        let error = tail.pieces().find_map(Result::err).unwrap().to_string();
        assert!(error.contains("at byte 15"), "{error}");
    }
}
