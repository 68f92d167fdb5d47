//! Where text comes from: files, folders, globs and sets, read as one run of bytes.

use std::fs::{self, Metadata};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use memmap2::Mmap;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{DataError, catalogue, files};
use crate::hexadecimal::hexadecimal;

/// The text of the set `quickstart`: this repository's documents and sources.
pub const QUICKSTART: &str = include_str!(concat!(env!("OUT_DIR"), "/quickstart.txt"));

/// Smaller files are read, not mapped: the system limits the number of mappings.
const SMALL: u64 = 64 * 1024;

/// A run of text over one or more files, mapped. Cloning and slicing share the mappings.
#[derive(Clone, Debug)]
pub struct TextSource {
    parts: Vec<Part>,
}

/// A stretch of one file.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) name: Arc<str>,
    /// Changes when the file does.
    identity: Arc<str>,
    content: Content,
    pub(super) range: Range<usize>,
}

#[derive(Clone, Debug)]
enum Content {
    Mapped(Arc<Mmap>),
    Read(Arc<[u8]>),
    Carried(&'static [u8]),
}

impl Part {
    pub(super) fn bytes(&self) -> &[u8] {
        let whole = match &self.content {
            Content::Mapped(map) => &map[..],
            Content::Read(bytes) => bytes,
            Content::Carried(bytes) => bytes,
        };
        &whole[self.range.clone()]
    }

    fn file(path: &Path) -> Result<Option<Self>, DataError> {
        let metadata = fs::metadata(path).map_err(DataError::io("read", path))?;
        let content = match metadata.len() {
            0 => return Ok(None),
            1..=SMALL => Content::Read(fs::read(path).map_err(DataError::io("read", path))?.into()),
            _ => Content::Mapped(Arc::new(files::map(path)?)),
        };
        let mut part = Self {
            name: path.to_string_lossy().into(),
            identity: identity(path, &metadata),
            content,
            range: 0..0,
        };
        part.range = 0..match &part.content {
            Content::Mapped(map) => map.len(),
            Content::Read(bytes) => bytes.len(),
            Content::Carried(bytes) => bytes.len(),
        };
        Ok(Some(part))
    }
}

fn identity(path: &Path, metadata: &Metadata) -> Arc<str> {
    let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("{}\0{}\0{:?}", place.display(), metadata.len(), changed).into()
}

impl TextSource {
    /// Opens a file, a folder (every file below it, hidden ones left out), a glob, or a set of the catalogue by its
    /// name. A name of the catalogue goes before a file called so; `./NAME` means the file.
    ///
    /// # Errors
    /// Nothing there, no match, no text.
    pub fn open(name: &str) -> Result<Self, DataError> {
        Self::open_all(&[name])
    }

    /// Opens several, joined in the order of the files' paths, each file once; sets go first.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_all<S: AsRef<str>>(names: &[S]) -> Result<Self, DataError> {
        let (mut paths, mut parts) = (Vec::new(), Vec::new());
        for name in names {
            match catalogue::locate(name.as_ref(), &catalogue::folder())? {
                Some(catalogue::Place::Carried(text)) => {
                    parts.extend(Self::carried(name.as_ref(), text).parts)
                }
                Some(catalogue::Place::File(path)) => paths.push(path),
                None => paths.extend(expand(name.as_ref())?),
            }
        }
        paths.sort();
        paths.dedup();
        for path in paths {
            parts.extend(Part::file(&path)?);
        }
        if parts.is_empty() {
            let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
            return Err(DataError::Empty { name: names.join(", ") });
        }
        Ok(Self { parts })
    }

    /// A text that is in memory for good.
    pub fn carried(name: &str, text: &'static str) -> Self {
        let identity = format!("{name}\0{}", hexadecimal(&Sha256::digest(text))).into();
        let content = Content::Carried(text.as_bytes());
        Self { parts: vec![Part { name: name.into(), identity, content, range: 0..text.len() }] }
    }

    /// All bytes of `sources`, one after another.
    pub fn join(sources: &[&Self]) -> Self {
        Self { parts: sources.iter().flat_map(|source| source.parts.iter().cloned()).collect() }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.range.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The files' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| &*part.name)
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The bytes of `range`, of every file that it touches.
    ///
    /// # Panics
    /// If `range` goes beyond the end, as slicing does.
    pub fn stretches(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        assert!(range.end <= self.len(), "byte {} of {}", range.end, self.len());
        self.overlaps(range).map(|(part, within)| &part.bytes()[within])
    }

    /// The bytes of `range` as a source of their own.
    ///
    /// # Panics
    /// If `range` goes beyond the end, as slicing does.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.end <= self.len(), "byte {} of {}", range.end, self.len());
        let cut = |(part, within): (&Part, Range<usize>)| {
            let start = part.range.start;
            Part { range: start + within.start..start + within.end, ..part.clone() }
        };
        Self { parts: self.overlaps(range).map(cut).collect() }
    }

    /// The parts that `range` touches, each with the touched range inside it.
    fn overlaps(&self, range: Range<usize>) -> impl Iterator<Item = (&Part, Range<usize>)> {
        let mut end = 0;
        self.parts.iter().filter_map(move |part| {
            let start = end;
            end += part.range.len();
            let within = range.start.clamp(start, end) - start..range.end.clamp(start, end) - start;
            (!within.is_empty()).then_some((part, within))
        })
    }

    /// Cuts off the last `share` of the characters: `(first, last)`. With `n` characters the first part has
    /// `⌊n·(1 − share)⌋`; a byte that continues a UTF-8 character counts nothing, so that every tokenizer gets
    /// the same cut. Looks at every byte once.
    ///
    /// # Errors
    /// `share` is not between 0 and 1.
    pub fn split(&self, share: f64) -> Result<(Self, Self), DataError> {
        if !(share > 0.0 && share < 1.0) {
            return Err(DataError::Share { found: share });
        }
        let counts = self.character_counts();
        let total: usize = counts.iter().sum();
        let at = self.character_offset((total as f64 * (1.0 - share)) as usize, &counts);
        Ok((self.slice(0..at), self.slice(at..self.len())))
    }

    /// How many characters begin in each block of each part.
    fn character_counts(&self) -> Vec<usize> {
        let of_part =
            |part: &Part| -> Vec<usize> { part.bytes().par_chunks(BLOCK).map(characters).collect() };
        self.parts.iter().flat_map(of_part).collect()
    }

    /// Where character number `index` begins.
    fn character_offset(&self, index: usize, counts: &[usize]) -> usize {
        let blocks = self.parts.iter().flat_map(|part| part.bytes().chunks(BLOCK));
        let (mut left, mut offset) = (index, 0);
        for (block, &count) in blocks.zip(counts) {
            if left < count {
                let begins = block.iter().enumerate().filter(|&(_, &byte)| begins_character(byte));
                return offset + begins.map(|(at, _)| at).nth(left).unwrap_or_default();
            }
            left -= count;
            offset += block.len();
        }
        offset
    }

    /// Adds to `hash` what changes whenever this text may have.
    pub(super) fn identify(&self, hash: &mut Sha256) {
        for part in &self.parts {
            hash.update(format!("{}\0{:?}\0", part.identity, part.range));
        }
    }
}

/// Bytes counted at a time.
const BLOCK: usize = 1 << 20;

fn begins_character(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

fn characters(bytes: &[u8]) -> usize {
    // Sums of 255 bytes fit into a byte: so the loop is vectorised over bytes.
    let of_run = |run: &[u8]| run.iter().map(|&byte| u8::from(begins_character(byte))).sum::<u8>();
    bytes.chunks(255).map(|run| usize::from(of_run(run))).sum()
}

/// The files that a path, a folder or a glob stands for.
pub(super) fn expand(name: &str) -> Result<Vec<PathBuf>, DataError> {
    let path = Path::new(name);
    if path.is_dir() {
        let mut found = Vec::new();
        gather(path, &mut found)?;
        return Ok(found);
    }
    if path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    if !name.contains(['*', '?', '[']) {
        return Err(DataError::Missing { name: name.to_owned(), hint: hint(name) });
    }
    let malformed =
        |e: glob::PatternError| DataError::Pattern { pattern: name.to_owned(), reason: e.to_string() };
    let matches = glob::glob(name).map_err(malformed)?.filter_map(Result::ok);
    let found: Vec<PathBuf> = matches.filter(|path| path.is_file()).collect();
    match found.is_empty() {
        true => Err(DataError::NoMatch { pattern: name.to_owned() }),
        false => Ok(found),
    }
}

/// The nearest set, unless `name` is spelled as only a path is.
fn hint(name: &str) -> String {
    if name.contains(['/', '\\', '.']) { String::new() } else { catalogue::hint(name) }
}

/// Every file below a folder. Hidden entries are left out, links to folders not followed (they may form a ring).
pub(super) fn gather(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for entry in fs::read_dir(folder).map_err(DataError::io("read", folder))? {
        let entry = entry.map_err(DataError::io("read", folder))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(DataError::io("read", &path))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if kind.is_dir() {
            gather(&path, found)?;
        } else if path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
