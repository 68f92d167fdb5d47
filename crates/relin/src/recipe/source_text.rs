//! The text of a recipe with the name under which errors speak of it.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{Builtin, RecipeError};

/// The text of a recipe and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// A path, or words such as `built-in recipe quickstart`.
    pub name: String,
    /// TOML.
    pub text: String,
}

impl SourceText {
    /// A text with the name under which errors speak of it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// The text of a file.
    ///
    /// # Errors
    /// If it cannot be read as UTF-8.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let unreadable = |source| RecipeError::Unreadable { path: path.into(), source };
        Ok(Self::new(path.display().to_string(), std::fs::read_to_string(path).map_err(unreadable)?))
    }

    pub(super) fn builtin(builtin: &Builtin) -> Self {
        Self::new(format!("built-in recipe {}", builtin.name), builtin.text)
    }

    /// The line, from 1, on which the key at `path` stands.
    pub(super) fn line_of(&self, path: &str) -> Option<usize> {
        let document = DeTable::parse(&self.text).ok()?;
        let mut table = document.get_ref();
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            let (key, value) = table.iter().find(|(key, _)| key.get_ref() == part)?;
            match value.get_ref() {
                DeValue::Table(inner) if parts.peek().is_some() => table = inner,
                _ => return Some(self.line_at(key.span().start)),
            }
        }
        None
    }

    /// The line, from 1, of a byte offset.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
    }
}
