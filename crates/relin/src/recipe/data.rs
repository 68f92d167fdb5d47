//! `[data]`: what the model reads.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{MusicConfig, ProbeConfig};
use crate::data::{Augment, DataError, ListOpsConfig, PathfinderConfig};
use crate::nearest::nearest;
use crate::tokenizer::TokenizerKind;

/// What the model reads.
///
/// Paths are relative to the current folder, also in a recipe's file: moving a recipe does not move its text, and
/// `--set data.source=a.txt` means what the shell means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// File, folder or glob, or the name of a set (`relin data list`); or several.
    pub source: Sources,
    /// How text becomes tokens.
    pub tokenizer: TokenizerChoice,
    /// Number of tokens of a tokenizer that is trained here (`bpe`).
    pub vocab_size: usize,
    /// T: tokens in one training sequence.
    pub context: usize,
    /// Share of the source's characters, its last ones, held out for validation; without meaning where
    /// `validation_source` is given.
    pub validation: f64,
    /// What to validate on; the source is then trained on whole.
    pub validation_source: Option<Sources>,
    /// Column of a table, or field of JSON lines, that holds the texts to classify.
    pub text_column: String,
    /// That which holds the second texts, where pairs of texts are classified.
    pub text_pair_column: Option<String>,
    /// That which holds their classes.
    pub label_column: String,
    /// That which holds the targets of a sequence-to-sequence task, whose sources are the texts.
    pub target_column: String,
    /// Files of targets, line by line beside those of `source`; `source` is then no table.
    pub target_source: Option<Sources>,
    /// The same beside `validation_source`.
    pub validation_target_source: Option<Sources>,
    /// Names of the columns of a table without a header.
    pub columns: Option<Vec<String>>,
    /// Whether the fields of a table may stand in quotes; of `.csv` they may, of other tables not, if not given.
    pub quoting: Option<bool>,
    /// Rows after the header of a table that are no examples.
    pub skip_rows: usize,
    /// Pass over rows that are malformed or empty instead of refusing the table.
    pub skip_bad_rows: bool,
    /// How training images vary.
    pub augment: Augment,
    /// Share of the tokens that a masked language model has to tell (`masked-lm`).
    pub mask_share: f64,
    /// Whether images are normalized by the mean and the deviation of each channel over the images trained on; else
    /// 0 … 255 become −1 … 1.
    pub normalize: bool,
    /// Whether coloured images are made grey.
    pub grayscale: bool,
    /// Pixels along a side to which the images of a folder are resized.
    pub image_size: Option<usize>,
    /// How music becomes tokens.
    pub music: MusicConfig,
    /// What a probe asks.
    pub probe: ProbeConfig,
    /// Which expressions are made.
    pub listops: ListOpsConfig,
    /// Which pictures are made.
    pub pathfinder: PathfinderConfig,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: Sources(vec!["quickstart".into()]),
            tokenizer: TokenizerChoice::Byte,
            vocab_size: 4096,
            context: 256,
            validation: 0.1,
            validation_source: None,
            text_column: "text".into(),
            text_pair_column: None,
            label_column: "label".into(),
            target_column: "target".into(),
            target_source: None,
            validation_target_source: None,
            columns: None,
            quoting: None,
            skip_rows: 0,
            skip_bad_rows: false,
            augment: Augment::default(),
            mask_share: 0.15,
            normalize: false,
            grayscale: false,
            image_size: None,
            music: MusicConfig::default(),
            probe: ProbeConfig::default(),
            listops: ListOpsConfig::default(),
            pathfinder: PathfinderConfig::default(),
        }
    }
}

impl DataConfig {
    /// The tokenizer meant: `tokenizer`, and for `bpe` its `vocab_size`.
    pub fn tokenizer_kind(&self) -> TokenizerKind {
        match &self.tokenizer {
            TokenizerChoice::Byte => TokenizerKind::Byte,
            TokenizerChoice::Char => TokenizerKind::Char,
            TokenizerChoice::Bpe => TokenizerKind::Bpe { vocab_size: self.vocab_size },
            TokenizerChoice::File(path) => TokenizerKind::File(path.clone()),
        }
    }

    /// The folder of files that a task reads which can also make its examples: the source, if there is one other than
    /// the default.
    ///
    /// # Errors
    /// If the source is no folder.
    pub(crate) fn folder(&self) -> Result<Option<PathBuf>, DataError> {
        if self.source == Self::default().source {
            return Ok(None);
        }
        match &self.source.0[..] {
            [folder] if Path::new(folder).is_dir() => Ok(Some(folder.into())),
            sources => Err(DataError::Examples {
                name: "data.source".into(),
                reason: format!("expected one folder, or no source at all, found {}", sources.join(", ")),
            }),
        }
    }
}

/// One source or several; a single one is written as a plain string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources(pub Vec<String>);

impl Serialize for Sources {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(one),
            many => serializer.collect_seq(many),
        }
    }
}

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourcesVisitor)
    }
}

struct SourcesVisitor;

impl<'de> Visitor<'de> for SourcesVisitor {
    type Value = Sources;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E: Error>(self, one: &str) -> Result<Sources, E> {
        Ok(Sources(vec![one.into()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sources, A::Error> {
        let mut many = Vec::new();
        while let Some(one) = seq.next_element()? {
            many.push(one);
        }
        Ok(Sources(many))
    }
}

/// The key `tokenizer` as it is spelled; [`DataConfig::tokenizer_kind`] is what it means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TokenizerChoice {
    /// The 256 bytes.
    Byte,
    /// The characters that occur in the text.
    Char,
    /// Byte-pair encoding trained on the training text.
    Bpe,
    /// A `tokenizer.json`, or a folder that holds one.
    File(PathBuf),
}

const TOKENIZERS: [&str; 3] = ["byte", "char", "bpe"];

impl TryFrom<String> for TokenizerChoice {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Ok(match name.as_str() {
            "byte" => Self::Byte,
            "char" => Self::Char,
            "bpe" => Self::Bpe,
            path if is_file_name(path) => Self::File(path.into()),
            _ => {
                let near = nearest(&name, TOKENIZERS).unwrap_or_default();
                return Err(format!(
                    "unknown tokenizer `{name}`, did you mean `{near}`? (known: {}, or the path of a tokenizer.json)",
                    TOKENIZERS.join(", ")
                ));
            }
        })
    }
}

impl From<TokenizerChoice> for String {
    fn from(choice: TokenizerChoice) -> String {
        match choice {
            TokenizerChoice::Byte => "byte".into(),
            TokenizerChoice::Char => "char".into(),
            TokenizerChoice::Bpe => "bpe".into(),
            TokenizerChoice::File(path) => path.to_string_lossy().into_owned(),
        }
    }
}

fn is_file_name(name: &str) -> bool {
    name.contains(['/', '\\']) || Path::new(name).extension().is_some_and(|ext| ext == "json")
}
