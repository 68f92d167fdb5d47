//! Recipes that the binary carries.

/// A recipe that the binary carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// TOML.
    pub text: &'static str,
}

macro_rules! builtin {
    ($($name:literal,)*) => {
        &[$(Builtin { name: $name, text: include_str!(concat!("../../../../recipes/", $name, ".toml")) }),*]
    };
}

/// Every recipe in `recipes/`, by the name of its file.
pub const BUILTIN: &[Builtin] = builtin![
    "associative-recall",
    "cifar10",
    "copy",
    "direction",
    "fashion-mnist",
    "glue-sts-b",
    "induction",
    "lag-retrieval",
    "lag-retrieval-long",
    "listops",
    "lra-image",
    "lra-listops",
    "lra-pathfinder",
    "lra-retrieval",
    "lra-text",
    "masked-lm",
    "mnist",
    "mnist-sequential",
    "music-groove",
    "music-jsb",
    "music-pop-piano",
    "number-words",
    "pathfinder",
    "quickstart",
    "reuters-r8",
    "reversal",
    "selective-copy",
    "spamassassin",
    "tinyshakespeare-char",
    "wikitext103-paper",
];

/// The built-in recipe of that name.
pub(super) fn builtin(name: &str) -> Option<&'static Builtin> {
    BUILTIN.iter().find(|builtin| builtin.name == name)
}
