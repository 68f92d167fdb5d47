//! What a recipe's `tokenizer` key can say.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::TokenizerError;
use crate::data::names::nearest;

/// Which tokenizer: `"byte"`, `"char"`, `"bpe:4096"`, `"path/tokenizer.json"`, or the same as a table
/// (`{ type = "bpe", vocab_size = 4096 }`, `{ type = "file", path = "…" }`).
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

const WORDS: [&str; 3] = ["byte", "char", "bpe"];

impl FromStr for TokenizerKind {
    type Err = TokenizerError;

    fn from_str(text: &str) -> Result<Self, TokenizerError> {
        match text {
            "byte" => Ok(Self::Byte),
            "char" => Ok(Self::Char),
            "bpe" => Err(TokenizerError::NoVocabularySize),
            _ => match text.strip_prefix("bpe:") {
                Some(size) => bpe(size.trim().parse().map_err(|_| TokenizerError::Kind {
                    found: text.to_owned(),
                    hint: "a number must follow `bpe:`, as in `bpe:4096`".to_owned(),
                })?),
                None if text.ends_with(".json") || text.contains(['/', '\\']) => Ok(Self::File(text.into())),
                None => Err(unknown(text)),
            },
        }
    }
}

fn bpe(vocab_size: usize) -> Result<TokenizerKind, TokenizerError> {
    if vocab_size < 256 {
        return Err(TokenizerError::VocabularyTooSmall { found: vocab_size });
    }
    Ok(TokenizerKind::Bpe { vocab_size })
}

fn unknown(found: &str) -> TokenizerError {
    let hint = match nearest(found, WORDS) {
        Some(word) => format!("did you mean `{word}`?"),
        None => "valid are `byte`, `char`, `bpe:SIZE` and the path of a tokenizer.json".to_owned(),
    };
    TokenizerError::Kind { found: found.to_owned(), hint }
}

impl fmt::Display for TokenizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte => f.write_str("byte"),
            Self::Char => f.write_str("char"),
            Self::Bpe { vocab_size } => write!(f, "bpe:{vocab_size}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Serialize for TokenizerKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenizerKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Table {
    Byte,
    Char,
    Bpe { vocab_size: usize },
    File { path: PathBuf },
}

impl<'de> Visitor<'de> for KindVisitor {
    type Value = TokenizerKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`byte`, `char`, `bpe:SIZE`, the path of a tokenizer.json, or a table with `type`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TokenizerKind, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TokenizerKind, A::Error> {
        match Table::deserialize(MapAccessDeserializer::new(map))? {
            Table::Byte => Ok(TokenizerKind::Byte),
            Table::Char => Ok(TokenizerKind::Char),
            Table::Bpe { vocab_size } => bpe(vocab_size).map_err(A::Error::custom),
            Table::File { path } => Ok(TokenizerKind::File(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Recipe {
        tokenizer: TokenizerKind,
    }

    fn parse(value: &str) -> Result<TokenizerKind, String> {
        toml::from_str::<Recipe>(&format!("tokenizer = {value}"))
            .map(|r| r.tokenizer)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn strings_and_tables_say_the_same() {
        for (a, b) in [
            ("\"byte\"", "{ type = \"byte\" }"),
            ("\"char\"", "{ type = \"char\" }"),
            ("\"bpe:300\"", "{ type = \"bpe\", vocab_size = 300 }"),
            ("\"a/tokenizer.json\"", "{ type = \"file\", path = \"a/tokenizer.json\" }"),
        ] {
            let kind = parse(a).unwrap();
            assert_eq!(kind, parse(b).unwrap());
            let written = toml::to_string(&Recipe { tokenizer: kind.clone() }).unwrap();
            assert_eq!(toml::from_str::<Recipe>(&written).unwrap().tokenizer, kind);
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (value, says) in [
            ("\"bite\"", "did you mean `byte`?"),
            ("\"bpe\"", "vocab_size"),
            ("\"bpe:many\"", "a number must follow `bpe:`"),
            ("\"bpe:255\"", "255"),
            ("{ type = \"bpe\", vocab_size = 7 }", "7"),
            ("{ type = \"bpe\" }", "vocab_size"),
            ("{ type = \"bpe\", vocab_size = 300, size = 1 }", "size"),
            ("{ type = \"words\" }", "words"),
            ("3", "byte"),
        ] {
            let error = parse(value).unwrap_err();
            assert!(error.contains(says), "{value}: {error}");
        }
    }
}
