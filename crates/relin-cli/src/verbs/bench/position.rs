//! The name of a relative encoding, as definitions and options give it.

use std::str::FromStr;

use relin::nearest::nearest;
use relin_kernels::encoding::{PRESETS, Preset, preset};
use serde::Deserialize;

/// A relative encoding by name.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Position(&'static Preset);

impl Position {
    pub fn name(self) -> &'static str {
        self.0.name
    }

    pub fn preset(self) -> &'static Preset {
        self.0
    }

    /// No relative encoding: what the others are compared with.
    pub fn none() -> Self {
        Self(preset("none").unwrap_or(&PRESETS[0]))
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        preset(name).map(Self).ok_or_else(|| {
            let names = || PRESETS.iter().map(|preset| preset.name);
            let near = nearest(name, names()).unwrap_or_default();
            let known: Vec<_> = names().collect();
            format!("unknown preset `{name}`, did you mean `{near}`? (known: {})", known.join(", "))
        })
    }
}

impl TryFrom<String> for Position {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_presets() {
        assert_eq!(Position::none().name(), "none");
        assert_eq!("rope".parse::<Position>().unwrap().name(), "rope");
        let error = "rpoe".parse::<Position>().unwrap_err();
        assert!(error.contains("`rope`"), "{error}");
    }
}
