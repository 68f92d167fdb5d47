//! Files of music as pieces of tokens, read here and now or kept in a folder.
//!
//! A folder of tokens holds `music.json` (the vocabulary), `pieces.json` (what lies where, and which files were skipped) and
//! `pieces.tokens` (two bytes a token, little-endian, piece after piece).

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::jsb::{Chorale, read_jsb};
use super::midi::read_midi;
use super::{MusicError, Pieces, VOCABULARY_FILE, Vocabulary};
use crate::data::{DataError, files, hold_out, source};
use crate::recipe::{DataConfig, MusicConfig, Sources};

const PIECES_FILE: &str = "pieces.json";
const TOKENS_FILE: &str = "pieces.tokens";
/// Files read at a time, in parallel.
const GROUP: usize = 64;

/// What came of files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Files that were read.
    pub files: usize,
    /// Pieces in them.
    pub pieces: usize,
    /// Notes of the pieces, as their tokens say them.
    pub notes: usize,
    /// Tokens.
    pub tokens: usize,
    /// MIDI and JSON files that are no music, and why.
    pub skipped: Vec<SkippedFile>,
    /// Files of other kinds, which were passed over.
    pub others: Vec<PathBuf>,
}

/// A file that was passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedFile {
    /// Which.
    pub file: PathBuf,
    /// Why.
    pub reason: String,
}

/// How many are listed one by one in a warning.
const LISTED: usize = 20;

impl Report {
    /// What was skipped, the first of it one by one, and how many files of other kinds there are; nothing if nothing was.
    pub fn warning(&self) -> Option<String> {
        let count = self.skipped.len();
        let mut text = format!("{count} {} skipped:", if count == 1 { "file" } else { "files" });
        for SkippedFile { file, reason } in self.skipped.iter().take(LISTED) {
            text += &format!("\n  {}: {reason}", file.display());
        }
        if count > LISTED {
            text += &format!("\n  and {} more", count - LISTED);
        }
        if !self.others.is_empty() {
            let kinds = format!("{} of other kinds (neither MIDI nor JSON)", self.others.len());
            text += &format!("\n  and {kinds}, the first {}", self.others[0].display());
        }
        (count > 0).then_some(text)
    }
}

/// Where a piece lies in a folder of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    split: Option<String>,
    tokens: usize,
    notes: usize,
}

#[derive(Serialize, Deserialize)]
struct Index {
    report: Report,
    pieces: Vec<Entry>,
}

/// A piece of a file as tokens.
struct Encoded {
    entry: Entry,
    tokens: Vec<u16>,
}

/// Pieces with the splits that their files name.
#[derive(Debug)]
struct Collection {
    pieces: Pieces,
    splits: Vec<Option<String>>,
    report: Report,
}

/// Pieces to train, to validate and to test on.
#[derive(Debug)]
pub struct Music {
    /// Their tokens.
    pub vocabulary: Vocabulary,
    /// Those to train on.
    pub training: Pieces,
    /// Those held out.
    pub validation: Pieces,
    /// Those that files call `test`.
    pub test: Option<Pieces>,
    /// What came of the files.
    pub report: Report,
}

impl Music {
    /// Reads what a recipe names. Files that say which pieces are to be trained and validated on are believed; of others, a
    /// share is held out by the seed. `known` is the vocabulary of a former run; without one the ranges are those of the
    /// pieces to train on.
    ///
    /// # Errors
    /// If there is nothing to read, or nothing to validate on, or a folder of tokens is of other tokens than the recipe's.
    pub fn open(data: &DataConfig, seed: u64, known: Option<Vocabulary>) -> Result<Self, DataError> {
        let fresh = known.is_none();
        let mut vocabulary = known.unwrap_or_else(|| Vocabulary::new(&data.music));
        let name = data.source.0.join(", ");
        let all = Collection::open(&data.source, &vocabulary)?;
        let mut report = all.report.clone();
        let test = all.of_split("test");
        let (training, validation) = match &data.validation_source {
            Some(sources) => {
                let other = Collection::open(sources, &vocabulary)?;
                report.skipped.extend(other.report.skipped.clone());
                report.others.extend(other.report.others.clone());
                let validation = other.of_split("valid").unwrap_or_else(|| other.pieces.clone());
                (all.of_split("train").unwrap_or_else(|| all.pieces.clone()), validation)
            }
            None => match (all.of_split("train"), all.of_split("valid")) {
                (Some(training), Some(validation)) => (training, validation),
                _ => all.held_out(data.validation, seed, &name)?,
            },
        };
        if fresh {
            vocabulary.ranges = training.extents(vocabulary.parts().len());
        }
        Ok(Self { vocabulary, training, validation, test, report })
    }

    /// All pieces of other data than a run's own.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn others(path: &Path, vocabulary: &Vocabulary) -> Result<Pieces, DataError> {
        let sources = Sources(vec![path.display().to_string()]);
        Ok(Collection::open(&sources, vocabulary)?.pieces)
    }
}

impl Collection {
    fn open(sources: &Sources, vocabulary: &Vocabulary) -> Result<Self, DataError> {
        if let [folder] = &sources.0[..]
            && Path::new(folder).join(PIECES_FILE).is_file()
        {
            return Self::of_tokens(Path::new(folder), vocabulary);
        }
        let (mut all, mut report) = (Vec::new(), Report::default());
        encode(&files_of(sources)?, vocabulary, &mut report, |encoded| {
            all.push(encoded);
            Ok(())
        })?;
        if all.is_empty() {
            return Err(nothing(&sources.0.join(", "), &report));
        }
        let (entries, tokens): (Vec<Entry>, Vec<Vec<u16>>) =
            all.into_iter().map(|Encoded { entry, tokens }| (entry, tokens)).unzip();
        let splits = entries.into_iter().map(|entry| entry.split).collect();
        Ok(Self { pieces: Pieces::held(&tokens, vocabulary), splits, report })
    }

    fn of_tokens(folder: &Path, vocabulary: &Vocabulary) -> Result<Self, DataError> {
        let path = folder.join(VOCABULARY_FILE);
        let wrong =
            |path: &Path, reason: String| DataError::Examples { name: path.display().to_string(), reason };
        let found = Vocabulary::load(&path).map_err(|reason| wrong(&path, reason))?;
        if (found.tokenization, found.programs) != (vocabulary.tokenization, vocabulary.programs) {
            let say = |of: &Vocabulary| format!("{:?} with programs = {}", of.tokenization, of.programs);
            let reason = format!("expected tokens of {}, found {}", say(vocabulary), say(&found));
            return Err(wrong(&path, reason));
        }
        let path = folder.join(PIECES_FILE);
        let text = std::fs::read(&path).map_err(DataError::io("read", &path))?;
        let index: Index = serde_json::from_slice(&text).map_err(|e| wrong(&path, e.to_string()))?;
        let tokens_path = folder.join(TOKENS_FILE);
        let map = files::map(&tokens_path)?;
        let mut end = 0usize;
        let place = |entry: &Entry| -> Range<usize> {
            end = end.saturating_add(entry.tokens);
            end - entry.tokens.min(end)..end
        };
        let ranges: Vec<Range<usize>> = index.pieces.iter().map(place).collect();
        if end.checked_mul(2) != Some(map.len()) || ranges.iter().any(Range::is_empty) {
            let reason = format!("expected {end} tokens of two bytes, found {} bytes", map.len());
            return Err(wrong(&tokens_path, reason));
        }
        let size = vocabulary.size();
        let (pairs, _) = map.as_chunks::<2>();
        if let Some(token) =
            pairs.iter().map(|&pair| u16::from_le_bytes(pair)).find(|&t| usize::from(t) >= size)
        {
            return Err(wrong(&tokens_path, format!("expected tokens below {size}, found {token}")));
        }
        let splits = index.pieces.iter().map(|entry| entry.split.clone()).collect();
        Ok(Self { pieces: Pieces::mapped(Arc::new(map), ranges, vocabulary), splits, report: index.report })
    }

    /// The pieces of a split, if there are any.
    fn of_split(&self, name: &str) -> Option<Pieces> {
        let is = |&at: &usize| self.splits[at].as_deref() == Some(name);
        let indices: Vec<usize> = (0..self.splits.len()).filter(is).collect();
        (!indices.is_empty()).then(|| self.pieces.select(&indices))
    }

    /// Pieces to train on, of which a share is held out; what is called `test` is in neither.
    fn held_out(&self, share: f64, seed: u64, name: &str) -> Result<(Pieces, Pieces), DataError> {
        let usable: Vec<usize> =
            (0..self.splits.len()).filter(|&at| self.splits[at].as_deref() != Some("test")).collect();
        let (training, validation) = hold_out(usable.len(), share, seed, name)?;
        let of = |indices: Vec<usize>| {
            self.pieces.select(&indices.into_iter().map(|at| usable[at]).collect::<Vec<_>>())
        };
        Ok((of(training), of(validation)))
    }
}

fn nothing(name: &str, report: &Report) -> DataError {
    let reason = match &report.skipped[..] {
        [] if report.others.is_empty() => "there is no file".into(),
        [] => format!("there is no music in it, only {} files of other kinds", report.others.len()),
        [SkippedFile { file, reason }, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            format!("there is no music in it; {}: {reason}{more}", file.display())
        }
    };
    DataError::Examples { name: name.to_owned(), reason }
}

/// Every file that the sources stand for, in the order of their paths.
fn files_of(sources: &Sources) -> Result<Vec<PathBuf>, DataError> {
    let mut all = Vec::new();
    for name in &sources.0 {
        all.extend(source::expand(name)?);
    }
    all.sort();
    all.dedup();
    Ok(all)
}

/// Encodes files in parallel and hands over their pieces in order.
fn encode(
    files: &[PathBuf],
    vocabulary: &Vocabulary,
    report: &mut Report,
    mut take: impl FnMut(Encoded) -> Result<(), DataError>,
) -> Result<(), DataError> {
    for group in files.chunks(GROUP) {
        let read: Vec<_> = group.par_iter().map(|path| encode_file(path, vocabulary)).collect();
        for (file, pieces) in group.iter().zip(read) {
            match pieces {
                Ok(pieces) => {
                    report.files += 1;
                    for piece in pieces {
                        report.pieces += 1;
                        report.notes += piece.entry.notes;
                        report.tokens += piece.entry.tokens;
                        take(piece)?;
                    }
                }
                Err(DataError::Music { source: MusicError::Unknown, .. }) => report.others.push(file.clone()),
                Err(error) => {
                    report.skipped.push(SkippedFile { file: file.clone(), reason: reason(error) });
                }
            }
        }
    }
    Ok(())
}

/// Without the file's name, which stands beside it.
fn reason(error: DataError) -> String {
    match error {
        DataError::Music { source, .. } => source.to_string(),
        DataError::Io { source, .. } => source.to_string(),
        error => error.to_string(),
    }
}

fn encode_file(path: &Path, vocabulary: &Vocabulary) -> Result<Vec<Encoded>, DataError> {
    let music = |source| DataError::Music { path: path.into(), source };
    let entry = |split: Option<&str>, tokens: &[u32]| Entry {
        file: path.into(),
        split: split.map(str::to_owned),
        tokens: tokens.len(),
        notes: vocabulary.decode(tokens).notes().count(),
    };
    let short = |tokens: Vec<u32>| tokens.into_iter().map(|token| token as u16).collect();
    match Kind::of(path)? {
        Kind::Midi => {
            let tokens = vocabulary.encode(&read_midi(path)?).map_err(music)?;
            Ok(vec![Encoded { entry: entry(None, &tokens), tokens: short(tokens) }])
        }
        Kind::Json => {
            let encode = |chorale: Chorale| {
                let tokens = vocabulary.encode_steps(&chorale.steps).map_err(music)?;
                Ok(Encoded { entry: entry(chorale.split, &tokens), tokens: short(tokens) })
            };
            read_jsb(path)?.into_iter().map(encode).collect()
        }
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A MIDI file.
    Midi,
    /// Four voices as JSON.
    Json,
}

impl Kind {
    /// By its first bytes, and else by its name.
    ///
    /// # Errors
    /// If it cannot be read, or is neither.
    pub fn of(path: &Path) -> Result<Self, DataError> {
        let mut first = [0; 4];
        let mut file = std::fs::File::open(path).map_err(DataError::io("read", path))?;
        let read = std::io::Read::read(&mut file, &mut first).map_err(DataError::io("read", path))?;
        let ends = |endings: &[&str]| {
            let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
            endings.contains(&&*ending)
        };
        match &first[..read] {
            b"MThd" | b"RIFF" => Ok(Self::Midi),
            _ if ends(&["mid", "midi", "kar"]) => Ok(Self::Midi),
            _ if ends(&["json"]) => Ok(Self::Json),
            _ => Err(DataError::Music { path: path.into(), source: MusicError::Unknown }),
        }
    }
}

/// Writes the tokens of all music below a file or folder to the folder `out`, where recipes can name it as their source. Files
/// that are no music are skipped and listed.
///
/// # Errors
/// If there is no music at all, or the folder cannot be written to.
pub fn make_music(from: &Path, music: &MusicConfig, out: &Path) -> Result<Report, DataError> {
    let mut vocabulary = Vocabulary::new(music);
    let sources = Sources(vec![from.display().to_string()]);
    let (mut entries, mut report) = (Vec::new(), Report::default());
    let mut ranges = vec![None; vocabulary.parts().len()];
    let tokens_path = out.join(TOKENS_FILE);
    files::replace_file(&tokens_path, |file| {
        encode(&files_of(&sources)?, &vocabulary, &mut report, |Encoded { entry, tokens }| {
            for &token in &tokens {
                file.write_all(&token.to_le_bytes()).map_err(DataError::io("write", &tokens_path))?;
            }
            let piece = Pieces::held(&[tokens], &vocabulary).extents(ranges.len());
            ranges.iter_mut().zip(piece).for_each(|(all, one)| super::pieces::widen_by(all, one));
            entries.push(entry);
            Ok(())
        })?;
        if entries.is_empty() { Err(nothing(&from.display().to_string(), &report)) } else { Ok(()) }
    })?;
    vocabulary.ranges = ranges;
    let index = Index { pieces: entries, report: report.clone() };
    let index = serde_json::to_string_pretty(&index).unwrap_or_default();
    for (name, text) in [(VOCABULARY_FILE, vocabulary.document()), (PIECES_FILE, index + "\n")] {
        let path = out.join(name);
        files::replace_file(&path, |file| {
            file.write_all(text.as_bytes()).map_err(DataError::io("write", &path))
        })?;
    }
    Ok(report)
}
