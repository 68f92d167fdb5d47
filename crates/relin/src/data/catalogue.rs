//! The sets that have a name: carried by the binary, fetched, or made. What `relin data` shows and does.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use relin_kernels::rng::Rng;
use serde::Serialize;

pub use super::generators::Generator;

use super::arena::write_pathfinder;
use super::download::{self, DOWNLOADERS, Downloader};
use super::files::{hash_file, replace_file, temporary_beside};
use super::generators::{ADDITION, COPY, LISTOPS};
use super::{DataError, MADE_PAIRS, MadePairs, PATHFINDER_SIZES, QUICKSTART};
use crate::nearest::nearest;

/// A set of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    /// What recipes and `relin data` call it; its file is `NAME.txt`.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// Licence of the text, or what is known of it.
    pub licence: &'static str,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a set comes from.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// The binary.
    Carried(&'static str),
    /// The network.
    Fetched(Remote),
    /// A rule.
    Made(Generator),
    /// A rule for pictures, which fill a folder.
    Drawn(Gallery),
}

/// Pictures made by rule.
#[derive(Clone, Copy, Debug)]
pub struct Gallery {
    /// What `size` means for these pictures.
    pub size_means: &'static str,
    /// `size` unless told.
    pub default_size: u64,
    /// The smallest and the largest `size`.
    pub sizes: (u64, u64),
    /// What writes them.
    pub write: WritePictures,
}

/// Writes to a folder so many pictures of a size, from a seed; gives their bytes and their SHA-256, one after another.
pub type WritePictures = fn(&Path, u64, u64, u64) -> Result<(u64, String), DataError>;

/// A file on the network.
#[derive(Clone, Copy, Debug)]
pub struct Remote {
    /// Its address.
    pub url: &'static str,
    /// SHA-256 of the file as it lies there.
    pub sha256: &'static str,
    /// Its size.
    pub bytes: u64,
    /// The command that reads it (named last) and writes the text, such as `["gzip", "-dc"]`; empty for plain text.
    pub unpack: &'static [&'static str],
}

/// The catalogue: a new set is a new entry.
pub const SETS: &[Set] = &[
    Set {
        name: "quickstart",
        about: "documents and sources of relin itself, carried by the binary",
        licence: "MIT OR Apache-2.0",
        origin: Origin::Carried(QUICKSTART),
    },
    Set {
        name: "tinyshakespeare",
        about: "40 000 lines of Shakespeare's plays, as collected for char-rnn",
        licence: "public domain (text); collected by Andrej Karpathy",
        origin: Origin::Fetched(Remote {
            url: "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            sha256: "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            bytes: 1_115_394,
            unpack: &[],
        }),
    },
    Set {
        name: "addition",
        about: "sums, one a line: 37+85=122",
        licence: "none: made by rule",
        origin: Origin::Made(ADDITION),
    },
    Set {
        name: "copy",
        about: "words to repeat, one a line: abcde|abcde",
        licence: "none: made by rule",
        origin: Origin::Made(COPY),
    },
    Set {
        name: "listops",
        about: "nested lists of digits and their values, a table as the Long-Range Arena publishes it",
        licence: "none: made by rule",
        origin: Origin::Made(LISTOPS),
    },
    Set {
        name: "pathfinder",
        about: "pictures of two dashed contours, a folder as the Long-Range Arena publishes it",
        licence: "none: made by rule",
        origin: Origin::Drawn(Gallery {
            size_means: "pixels along a side",
            default_size: 32,
            sizes: (PATHFINDER_SIZES.0 as u64, PATHFINDER_SIZES.1 as u64),
            write: write_pathfinder,
        }),
    },
];

/// A line of `relin data list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename = "data")]
pub struct Row {
    /// The set.
    pub name: &'static str,
    /// `carried`, `fetched` or `made`.
    pub origin: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Licence of the text.
    pub licence: &'static str,
    /// Size of the text or of the file to fetch; absent where it depends on options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Address of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<&'static str>,
    /// What `size` means to `make`, and its default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Whether recipes can name it now: always for a carried one, else if its file is in the data folder.
    pub here: bool,
}

/// What `get` and `make` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename = "written")]
pub struct Written {
    /// The set.
    pub name: &'static str,
    /// The file, or the folder of pictures.
    pub path: PathBuf,
    /// Its size, or that of the pictures.
    pub bytes: u64,
    /// SHA-256 of the text, or of the pictures one after another.
    pub sha256: String,
}

/// Options of `make`. A set that is carried by the binary has neither lines nor a size to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MakeOptions {
    /// Lines, or pictures, to write; [`DEFAULT_LINES`] unless told.
    pub lines: Option<u64>,
    /// Same seed, same text.
    pub seed: u64,
    /// How large the problems are: see [`Row::size`].
    pub size: Option<u64>,
}

/// Lines of a made set, unless told.
pub const DEFAULT_LINES: u64 = 20_000;

/// The folder where recipes find sets by name: the variable `RELIN_DATA`, else `data`.
pub fn folder() -> PathBuf {
    env::var_os("RELIN_DATA").filter(|value| !value.is_empty()).map_or_else(|| "data".into(), PathBuf::from)
}

/// All sets, and the pairs of texts that recipes can name as well.
pub fn list() -> Vec<Row> {
    SETS.iter().map(|set| row(set, &folder())).chain(MADE_PAIRS.iter().map(pairs)).collect()
}

fn pairs(pairs: &MadePairs) -> Row {
    let MadePairs { name, about, .. } = *pairs;
    let licence = "none: made by rule while a recipe trains on it";
    Row { name, origin: "made", about, licence, bytes: None, url: None, size: None, here: true }
}

fn row(set: &Set, folder: &Path) -> Row {
    let Set { name, about, licence, origin } = *set;
    let here = match origin {
        Origin::Drawn(_) => folder.join(name).is_dir(),
        _ => folder.join(file_name(name)).is_file(),
    };
    let row = Row { name, origin: "carried", about, licence, bytes: None, url: None, size: None, here };
    match origin {
        Origin::Carried(text) => Row { bytes: Some(text.len() as u64), here: true, ..row },
        Origin::Fetched(remote) => {
            Row { origin: "fetched", bytes: Some(remote.bytes), url: Some(remote.url), ..row }
        }
        Origin::Made(Generator { size_means, default_size, .. })
        | Origin::Drawn(Gallery { size_means, default_size, .. }) => {
            let size = format!("{size_means}, {default_size} by default");
            Row { origin: "made", size: Some(size), ..row }
        }
    }
}

/// Fetches a set into the folder `out` as `NAME.txt`; `from` is a copy of the remote file, to take instead of the
/// network. Whatever stops it, that file is whole or as it was before.
///
/// # Errors
/// No such set, a set that is made, no program to download with, a failed download, a wrong checksum.
pub fn get(name: &str, out: &Path, from: Option<&Path>) -> Result<Written, DataError> {
    let set = find(name)?;
    match set.origin {
        Origin::Fetched(remote) => fetch(set.name, &remote, out, from, &DOWNLOADERS),
        _ => Err(DataError::WrongVerb { name: name.to_owned(), verb: "make" }),
    }
}

/// Writes a set that needs no network to `out`: a file, or a folder that then gets `NAME.txt`. A folder is one that
/// is there already, a path that ends like one, or the [`folder`] of the sets. Pictures fill the folder `out`, or the
/// folder `NAME` in that of the sets.
///
/// # Errors
/// No such set, a set that is fetched, options out of bounds, a file that cannot be written.
pub fn make(name: &str, options: &MakeOptions, out: &Path) -> Result<Written, DataError> {
    let set = find(name)?;
    let path = match set.origin {
        Origin::Drawn(_) if out == folder() => out.join(set.name),
        Origin::Drawn(_) => out.to_owned(),
        _ if is_folder(out) => out.join(file_name(set.name)),
        _ => out.to_owned(),
    };
    let write_error = || DataError::io("write", &path);
    match set.origin {
        Origin::Fetched(_) => return Err(DataError::WrongVerb { name: name.to_owned(), verb: "get" }),
        Origin::Carried(text) => {
            check_no_options(set.name, options)?;
            replace_file(&path, |file| file.write_all(text.as_bytes()).map_err(write_error()))?;
        }
        Origin::Drawn(gallery) => {
            let Gallery { default_size, sizes, write, .. } = gallery;
            let (pictures, size) = checked_options(set.name, default_size, sizes, options)?;
            let (bytes, sha256) = write(&path, pictures, size, options.seed)?;
            return Ok(Written { name: set.name, path, bytes, sha256 });
        }
        Origin::Made(generator) => {
            let Generator { default_size, least_size, largest_size, .. } = generator;
            let (lines, size) = checked_options(set.name, default_size, (least_size, largest_size), options)?;
            replace_file(&path, |file| {
                let header = generator.header.map(str::to_owned).into_iter();
                let made = (0..lines).map(|line| (generator.line)(&Rng::new(options.seed, line), size));
                header.chain(made).try_for_each(|line| writeln!(file, "{line}")).map_err(write_error())
            })?;
        }
    }
    written(set.name, path)
}

fn is_folder(path: &Path) -> bool {
    path.is_dir() || path == folder() || path.to_string_lossy().ends_with(std::path::is_separator)
}

fn check_no_options(name: &str, options: &MakeOptions) -> Result<(), DataError> {
    let given = [("lines", options.lines), ("size", options.size)];
    match given.into_iter().find(|(_, value)| value.is_some()) {
        Some((option, _)) => Err(DataError::NoOption { name: name.to_owned(), option }),
        None => Ok(()),
    }
}

/// Lines and size.
fn checked_options(
    name: &str,
    default_size: u64,
    (least, most): (u64, u64),
    options: &MakeOptions,
) -> Result<(u64, u64), DataError> {
    let lines = options.lines.unwrap_or(DEFAULT_LINES);
    let size = options.size.unwrap_or(default_size);
    let checks = [("size", size, least, most), ("lines", lines, 1, u64::MAX)];
    match checks.into_iter().find(|&(_, found, least, most)| !(least..=most).contains(&found)) {
        Some((option, found, least, most)) => {
            Err(DataError::OptionRange { name: name.to_owned(), option, found, least, most })
        }
        None => Ok((lines, size)),
    }
}

fn fetch(
    name: &'static str,
    remote: &Remote,
    out: &Path,
    from: Option<&Path>,
    downloaders: &[Downloader],
) -> Result<Written, DataError> {
    let path = out.join(file_name(name));
    let (packed, text) = (temporary_beside(&path)?, temporary_beside(&path)?);
    let fetched = || {
        let origin = match from {
            Some(file) => {
                fs::copy(file, &packed).map_err(DataError::io("copy", file))?;
                file.display().to_string()
            }
            None => download::download(remote.url, &packed, downloaders).map(|()| remote.url.to_owned())?,
        };
        let (name, expected, found) = (name.to_owned(), remote.sha256.to_owned(), hash_file(&packed)?);
        if found != expected {
            return Err(DataError::Checksum { name, origin, expected, found });
        }
        download::unpack(remote.unpack, &packed, &text)?;
        fs::rename(&text, &path).map_err(DataError::io("replace", &path))
    };
    let result = fetched();
    for partial in [packed, text] {
        // Either may be gone already, by renaming or because nothing was fetched.
        drop(fs::remove_file(partial));
    }
    result.and_then(|()| written(name, path))
}

fn written(name: &'static str, path: PathBuf) -> Result<Written, DataError> {
    let bytes = fs::metadata(&path).map_err(DataError::io("read", &path))?.len();
    let sha256 = hash_file(&path)?;
    Ok(Written { name, path, bytes, sha256 })
}

fn file_name(name: &str) -> String {
    format!("{name}.txt")
}

fn find(name: &str) -> Result<&'static Set, DataError> {
    if MadePairs::find(name).is_some() {
        let reason = "pairs that are made while a recipe trains on them, and no file".into();
        return Err(DataError::Examples { name: name.to_owned(), reason });
    }
    let found = SETS.iter().find(|set| set.name == name);
    found.ok_or_else(|| DataError::UnknownSet { name: name.to_owned(), hint: hint(name) })
}

/// `; did you mean …?` and all names.
pub(super) fn hint(name: &str) -> String {
    let known: Vec<&str> = SETS.iter().map(|set| set.name).collect();
    let near = nearest(name, known.iter().copied()).unwrap_or_default();
    format!("; did you mean `{near}`? (known: {})", known.join(", "))
}

/// Where the text of a set is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Carried(&'static str),
    File(PathBuf),
}

/// The text of the set `name`, files looked for in `folder`; `None` if no set is called so.
pub(super) fn locate(name: &str, folder: &Path) -> Result<Option<Place>, DataError> {
    let Some(set) = SETS.iter().find(|set| set.name == name) else { return Ok(None) };
    let path = folder.join(file_name(name));
    let verb = match set.origin {
        Origin::Carried(text) => return Ok(Some(Place::Carried(text))),
        Origin::Fetched(_) => "get",
        Origin::Made(_) => "make",
        Origin::Drawn(_) => {
            let reason = "pictures, and no text".into();
            return Err(DataError::Examples { name: name.to_owned(), reason });
        }
    };
    if path.is_file() {
        return Ok(Some(Place::File(path)));
    }
    Err(DataError::NotHere { name: name.to_owned(), path, verb })
}

#[cfg(test)]
mod tests;
