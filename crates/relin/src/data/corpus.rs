//! Text, split, tokenizer and tokens of a run, from what its recipe says.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{DataError, TextSource, TokenStore};
use crate::tokenizer::{Tokenizer, TokenizerKind};

/// One source, or several joined: `source = "a.txt"` or `source = ["a.txt", "more/*.txt"]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sources {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Sources {
    /// The text of all of them.
    ///
    /// # Errors
    /// As [`TextSource::open`].
    pub fn open(&self) -> Result<TextSource, DataError> {
        match self {
            Self::One(name) => TextSource::open(name),
            Self::Many(names) => TextSource::open_all(names),
        }
    }
}

/// What a recipe says about its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusSpec {
    /// Files, folders, globs, sets.
    pub source: Sources,
    /// How text becomes tokens.
    pub tokenizer: TokenizerKind,
    /// The last share of the characters, to validate on; 0.1 unless `validation_source` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<f64>,
    /// Text to validate on; `source` is then trained on whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_source: Option<Sources>,
}

const DEFAULT_VALIDATION: f64 = 0.1;

impl CorpusSpec {
    /// The two texts: `(training, validation)`.
    ///
    /// # Errors
    /// As [`TextSource::open`]; a share out of bounds; both ways to validate at once.
    pub fn split(&self) -> Result<(TextSource, TextSource), DataError> {
        match (self.validation, &self.validation_source) {
            (Some(_), Some(_)) => Err(DataError::TwoValidations),
            (None, Some(validation)) => Ok((self.source.open()?, validation.open()?)),
            (share, None) => self.source.open()?.split(share.unwrap_or(DEFAULT_VALIDATION)),
        }
    }
}

/// The tokens to train and to validate on.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// How the text became tokens.
    pub tokenizer: Tokenizer,
    /// The split called `training`.
    pub training: TokenStore,
    /// The split called `validation`.
    pub validation: TokenStore,
}

impl Corpus {
    /// Opens the texts, trains the tokenizer unless one is given (a resumed run has its own), and tokenizes into
    /// files in `cache`. Characters are taken from both splits, byte-pair merges from the training split alone.
    ///
    /// # Errors
    /// As [`CorpusSpec::split`], [`Tokenizer::train`] and [`TokenStore::open`]; a split shorter than one window.
    pub fn open(
        spec: &CorpusSpec,
        tokenizer: Option<Tokenizer>,
        context: usize,
        cache: &Path,
    ) -> Result<Self, DataError> {
        let (training, validation) = spec.split()?;
        let tokenizer = match (tokenizer, &spec.tokenizer) {
            (Some(tokenizer), _) => tokenizer,
            (None, TokenizerKind::Char) => {
                Tokenizer::train(&spec.tokenizer, &TextSource::join(&[&training, &validation]))?
            }
            (None, kind) => Tokenizer::train(kind, &training)?,
        };
        let open = |text, split| {
            let store = TokenStore::open(text, &tokenizer, cache, split)?;
            store.check_context(context).map(|()| store)
        };
        let (training, validation) = (open(&training, "training")?, open(&validation, "validation")?);
        Ok(Self { tokenizer, training, validation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn spec(text: &str) -> CorpusSpec {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_char_text_is_split_by_characters_and_its_vocabulary_is_of_both_splits() {
        let folder = tempfile::tempdir().unwrap();
        let text = "ä".repeat(89) + "bc" + &"ö".repeat(9);
        let path = folder.path().join("t.txt");
        fs::write(&path, &text).unwrap();
        let spec = spec(&format!("source = {path:?}\ntokenizer = \"char\""));
        let corpus = Corpus::open(&spec, None, 8, folder.path()).unwrap();
        assert_eq!((corpus.training.len(), corpus.validation.len()), (90, 10));
        let mut last = vec![0; 10];
        corpus.validation.read(0..10, &mut last);
        assert_eq!(corpus.tokenizer.decode(&last), "cööööööööö");
        assert_eq!(corpus.tokenizer.encode("bcäö").unwrap(), [0, 1, 2, 3]);
        let too_long = Corpus::open(&spec, None, 10, folder.path()).unwrap_err().to_string();
        assert!(
            too_long.contains("validation split has 10 tokens") && too_long.contains("needs 11"),
            "{too_long}"
        );
    }

    #[test]
    fn validation_can_be_a_text_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a.txt", "b.txt"].map(|name| folder.path().join(name));
        fs::write(&a, "all of this").unwrap();
        fs::write(&b, "other").unwrap();
        let text = format!("source = [{a:?}]\ntokenizer = \"byte\"\nvalidation_source = {b:?}");
        let corpus = Corpus::open(&spec(&text), None, 4, folder.path()).unwrap();
        assert_eq!((corpus.training.len(), corpus.validation.len()), (11, 5));
        let both = spec(&format!("{text}\nvalidation = 0.5"));
        assert!(both.split().unwrap_err().to_string().contains("exclude"));
    }

    #[test]
    fn a_tokenizer_that_is_given_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec("source = \"quickstart\"\ntokenizer = \"char\"");
        let corpus = Corpus::open(&spec, Some(Tokenizer::byte()), 64, folder.path()).unwrap();
        assert_eq!(corpus.tokenizer.kind(), TokenizerKind::Byte);
        assert_eq!(corpus.training.len() + corpus.validation.len(), crate::data::QUICKSTART.len());
    }

    #[test]
    fn shares_out_of_bounds_are_refused() {
        for share in ["0.0", "1.0", "-0.5", "nan"] {
            let spec = spec(&format!("source = \"quickstart\"\ntokenizer = \"byte\"\nvalidation = {share}"));
            assert!(spec.split().unwrap_err().to_string().contains("above 0 and below 1"), "{share}");
        }
    }
}
