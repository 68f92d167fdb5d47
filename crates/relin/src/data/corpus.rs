//! Text, split, tokenizer and tokens of a run, from what its recipe says.

use std::path::Path;

use super::{DataError, TextSource, TokenStore};
use crate::recipe::DataConfig;
use crate::tokenizer::{Tokenizer, TokenizerKind};

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
    /// As [`TextSource::open`], [`TextSource::split`], [`Tokenizer::train`] and [`TokenStore::open`]; a split shorter
    /// than one window.
    pub fn open(data: &DataConfig, tokenizer: Option<Tokenizer>, cache: &Path) -> Result<Self, DataError> {
        let (training, validation) = split(data)?;
        let tokenizer = match (tokenizer, data.tokenizer_kind()) {
            (Some(tokenizer), _) => tokenizer,
            (None, kind @ TokenizerKind::Char) => {
                Tokenizer::train(&kind, &TextSource::join(&[&training, &validation]))?
            }
            (None, kind) => Tokenizer::train(&kind, &training)?,
        };
        let open = |text, split| {
            let store = TokenStore::open(text, &tokenizer, cache, split)?;
            store.check_context(data.context).map(|()| store)
        };
        let (training, validation) = (open(&training, "training")?, open(&validation, "validation")?);
        Ok(Self { tokenizer, training, validation })
    }
}

/// The two texts: `(training, validation)`.
fn split(data: &DataConfig) -> Result<(TextSource, TextSource), DataError> {
    let source = TextSource::open_all(&data.source.0)?;
    match &data.validation_source {
        Some(validation) => Ok((source, TextSource::open_all(&validation.0)?)),
        None => source.split(data.validation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn data(text: &str) -> DataConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_char_text_is_split_by_characters_and_its_vocabulary_is_of_both_splits() {
        let folder = tempfile::tempdir().unwrap();
        let text = "ä".repeat(89) + "bc" + &"ö".repeat(9);
        let path = folder.path().join("t.txt");
        fs::write(&path, &text).unwrap();
        let mut data = data(&format!("source = {path:?}\ntokenizer = \"char\"\ncontext = 8"));
        let corpus = Corpus::open(&data, None, folder.path()).unwrap();
        assert_eq!((corpus.training.len(), corpus.validation.len()), (90, 10));
        let mut last = vec![0; 10];
        corpus.validation.read(0..10, &mut last);
        assert_eq!(corpus.tokenizer.decode(&last), "cööööööööö");
        assert_eq!(corpus.tokenizer.encode("bcäö").unwrap(), [0, 1, 2, 3]);
        data.context = 10;
        let too_long = Corpus::open(&data, None, folder.path()).unwrap_err().to_string();
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
        let text = format!("source = [{a:?}]\ncontext = 4\nvalidation_source = {b:?}");
        let corpus = Corpus::open(&data(&text), None, folder.path()).unwrap();
        assert_eq!((corpus.training.len(), corpus.validation.len()), (11, 5));
    }

    #[test]
    fn a_tokenizer_that_is_given_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let corpus =
            Corpus::open(&data("tokenizer = \"char\""), Some(Tokenizer::byte()), folder.path()).unwrap();
        assert_eq!(corpus.tokenizer.kind(), TokenizerKind::Byte);
        assert_eq!(corpus.training.len() + corpus.validation.len(), crate::data::QUICKSTART.len());
    }

    #[test]
    fn shares_out_of_bounds_are_refused() {
        for share in ["0.0", "1.0", "-0.5", "nan"] {
            let data = data(&format!("validation = {share}"));
            assert!(split(&data).unwrap_err().to_string().contains("above 0 and below 1"), "{share}");
        }
    }
}
