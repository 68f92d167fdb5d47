//! What can be wrong with a recipe.

use std::path::PathBuf;

use relin_kernels::encoding::EncodingError;

use super::BUILTIN;
use crate::nearest::nearest;

/// What is wrong with a recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read the recipe {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Neither a file nor a built-in recipe.
    #[error("no file and no built-in recipe is called `{name}`; did you mean `{near}`? (built in: {known})")]
    UnknownRecipe {
        /// The name given.
        name: String,
        /// The nearest built-in one.
        near: String,
        /// All built-in ones.
        known: String,
    },
    /// Not TOML.
    #[error("{name}, line {line}: {message}")]
    Syntax {
        /// Name of the text.
        name: String,
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A key that no recipe has.
    #[error("unknown key `{key}` ({place}); did you mean `{near}`?")]
    UnknownKey {
        /// Full path of the key.
        key: String,
        /// Where it stands.
        place: String,
        /// Full path of the nearest key.
        near: String,
    },
    /// A value of the wrong kind.
    #[error("`{field}` ({place}): {problem}")]
    WrongValue {
        /// Full path of the key.
        field: String,
        /// Where it stands.
        place: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// An override without key or value.
    #[error("`--set {text}`: expected KEY=VALUE, for example `--set train.steps=200`")]
    MalformedOverride {
        /// As given.
        text: String,
    },
    /// An override below a key that holds a plain value.
    #[error("`--set {path}`: `{parent}` holds a value, not a table, so nothing can be set below it")]
    NotATable {
        /// Path given.
        path: String,
        /// The part that holds a plain value.
        parent: String,
    },
    /// A value that makes no sense, alone or with others.
    #[error("`{field}`: expected {expected}, found {found}")]
    BadValue {
        /// Full path of the key.
        field: &'static str,
        /// What is allowed.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The encoding does not fit the model.
    #[error(
        "`model.position` ({position}) does not fit heads of size {head_dim} = `model.hidden_size` / `model.num_attention_heads`"
    )]
    Encoding {
        /// Which encoding.
        position: String,
        /// Size of a head.
        head_dim: usize,
        /// Why.
        source: EncodingError,
    },
    /// A bias on logits, without logits.
    #[error("`model.position` ({position}) does not go with `model.attention` = \"linear\"")]
    NeedsSoftmax {
        /// Which bias.
        position: String,
        /// Why, and what does.
        source: EncodingError,
    },
    /// TOML cannot hold it.
    #[error("cannot write the recipe as TOML: {reason}")]
    Unwritable {
        /// Why.
        reason: String,
    },
}

impl RecipeError {
    pub(super) fn unknown_recipe(name: &str) -> Self {
        let known: Vec<_> = BUILTIN.iter().map(|builtin| builtin.name).collect();
        let near = nearest(name, known.iter().copied()).unwrap_or_default().into();
        Self::UnknownRecipe { name: name.into(), near, known: known.join(", ") }
    }

    /// Full path of the key at fault, if a single one is.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { key: field, .. }
            | Self::WrongValue { field, .. }
            | Self::NotATable { path: field, .. } => Some(field),
            Self::BadValue { field, .. } => Some(field),
            Self::Encoding { .. } | Self::NeedsSoftmax { .. } => Some("model.position"),
            _ => None,
        }
    }

    /// Whether what the user wrote is at fault, rather than the file system.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Unreadable { .. } | Self::Unwritable { .. })
    }
}
