//! Studies that the binary carries.

/// A study that the binary carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltinStudy {
    /// Its name.
    pub name: &'static str,
    /// TOML.
    pub text: &'static str,
}

macro_rules! builtin {
    ($($name:literal,)*) => {
        &[$(BuiltinStudy { name: $name, text: include_str!(concat!("../../../../studies/", $name, ".toml")) }),*]
    };
}

/// Every study in `studies/`, by the name of its file.
pub const BUILTIN_STUDIES: &[BuiltinStudy] = builtin![
    "angles",
    "basis",
    "classifiers",
    "efficiency",
    "encodings",
    "extrapolation",
    "family",
    "field",
    "lags",
    "learnable",
    "mail",
    "music",
    "normalizer",
    "shakespeare",
    "stages",
    "tasks",
];

/// The built-in study of that name.
pub(super) fn builtin(name: &str) -> Option<&'static BuiltinStudy> {
    BUILTIN_STUDIES.iter().find(|study| study.name == name)
}
