//! Labelled texts as tokens.

use std::path::Path;

use relin_kernels::rng::Rng;

use super::super::DataError;
use super::table::{self, Row};
use super::{Examples, Input, Labelled};
use crate::recipe::DataConfig;
use crate::tokenizer::Tokenizer;

/// Texts with the names of their classes, as tables state them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    texts: Vec<String>,
    classes: Vec<String>,
    /// Where each came from, for messages.
    places: Vec<String>,
}

impl Texts {
    /// The rows of all files, in order.
    ///
    /// # Errors
    /// If a file cannot be read, lacks a column, has a malformed row, or has no rows.
    pub fn open(files: &[String], data: &DataConfig) -> Result<Self, DataError> {
        let mut all = Self { texts: Vec::new(), classes: Vec::new(), places: Vec::new() };
        for file in files {
            let columns = [data.text_column.as_str(), &data.label_column];
            for Row { line, mut values } in table::read(Path::new(file), &columns, data.skip_rows)? {
                all.classes.extend(values.pop());
                all.texts.extend(values.pop());
                all.places.push(format!("{file}, line {line}"));
            }
        }
        if all.texts.is_empty() {
            return Err(DataError::Empty { name: files.join(", ") });
        }
        Ok(all)
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is none; [`open`](Self::open) gives none such.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Those at `indices`.
    pub fn subset(&self, indices: &[usize]) -> Self {
        let pick = |all: &[String]| indices.iter().map(|&at| all[at].clone()).collect();
        Self { texts: pick(&self.texts), classes: pick(&self.classes), places: pick(&self.places) }
    }

    /// The texts end to end, a line each, which a tokenizer is trained on.
    pub fn joined(&self) -> String {
        self.texts.join("\n")
    }

    /// The classes that occur, in alphabetical order.
    pub fn labels(&self) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = self.classes.iter().collect();
        names.into_iter().cloned().collect()
    }

    /// As tokens, the first `context` of each text, and indices of classes.
    ///
    /// # Errors
    /// If the tokenizer refuses a text, a text is empty, or a class is none of `labels`.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        labels: &[String],
        context: usize,
    ) -> Result<LabelledTexts, DataError> {
        let mut encoded = LabelledTexts { tokens: Vec::new(), labels: Vec::new() };
        for ((text, class), place) in self.texts.iter().zip(&self.classes).zip(&self.places) {
            let wrong = |reason: String| DataError::Examples { name: place.clone(), reason };
            let label = labels.iter().position(|label| label == class).ok_or_else(|| {
                wrong(format!("the class `{class}` is none of the {} that were trained", labels.len()))
            })?;
            let mut tokens = tokenizer.encode(text).map_err(|error| wrong(error.to_string()))?;
            tokens.truncate(context);
            if tokens.is_empty() {
                return Err(wrong("the text is empty".into()));
            }
            encoded.tokens.push(tokens);
            encoded.labels.push(label as u32);
        }
        Ok(encoded)
    }
}

/// Texts as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledTexts {
    tokens: Vec<Vec<u32>>,
    labels: Vec<u32>,
}

impl Labelled for LabelledTexts {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn tokens(&self) -> usize {
        self.tokens.iter().map(Vec::len).sum()
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    /// Nothing varies.
    fn batch(&self, indices: &[usize], _rng: Option<Rng>) -> Examples {
        let lengths: Vec<usize> = indices.iter().map(|&at| self.tokens[at].len()).collect();
        let length = lengths.iter().copied().max().unwrap_or(0);
        let mut ids = Vec::with_capacity(indices.len() * length);
        for &at in indices {
            ids.extend_from_slice(&self.tokens[at]);
            ids.resize(ids.len().next_multiple_of(length.max(1)), 0);
        }
        let labels = indices.iter().map(|&at| self.labels[at]).collect();
        Examples { input: Input::Tokens(ids), length, lengths, labels, second: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> (tempfile::TempDir, Result<Texts, DataError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.tsv");
        std::fs::write(&path, text).unwrap();
        let texts = Texts::open(&[path.display().to_string()], &DataConfig::default());
        (folder, texts)
    }

    #[test]
    fn a_batch_is_padded_to_its_longest_text() {
        let (_folder, texts) = texts("label\ttext\nb\tab\na\tabcde\nb\tx\n");
        let texts = texts.unwrap();
        assert_eq!(texts.labels(), ["a", "b"]);
        let encoded = texts.encode(&Tokenizer::byte(), &texts.labels(), 4).unwrap();
        let batch = encoded.batch(&[2, 1], None);
        assert_eq!((batch.length, &batch.lengths[..], &batch.labels[..]), (4, &[1, 4][..], &[1, 0][..]));
        assert_eq!(batch.input, Input::Tokens(b"x\0\0\0abcd".map(u32::from).to_vec()));
        let one = texts.subset(&[1]);
        assert_eq!((one.len(), one.labels()), (1, vec!["a".to_owned()]));
    }

    #[test]
    fn unknown_classes_and_empty_texts_are_named_with_their_line() {
        let (_folder, texts) = texts("label\ttext\nb\tab\na\t\n");
        let texts = texts.unwrap();
        let refusal = |labels: &[&str]| {
            let labels: Vec<String> = labels.iter().map(|&label| label.into()).collect();
            texts.encode(&Tokenizer::byte(), &labels, 4).unwrap_err().to_string()
        };
        let unknown = refusal(&["a"]);
        assert!(unknown.contains("line 2") && unknown.contains("`b`"), "{unknown}");
        let empty = refusal(&["a", "b"]);
        assert!(empty.contains("line 3") && empty.contains("empty"), "{empty}");
    }
}
