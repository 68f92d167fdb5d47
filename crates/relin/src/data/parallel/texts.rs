//! Parallel texts in files: two files line by line, or two columns of a table.

use std::path::Path;

use super::super::labelled::{Column, Skipped, read_columns};
use super::super::{DataError, hold_out};
use super::{MADE_PAIRS, MadePairs, MadePart, Marks, ParallelTokens};
use crate::nearest::nearest;
use crate::recipe::{DataConfig, Recipe, Sources};
use crate::tokenizer::Tokenizer;

/// Pairs of a source and its target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParallelTexts {
    pairs: Vec<[String; 2]>,
    /// Where each side came from, for messages.
    places: Vec<[String; 2]>,
    skipped: Skipped,
}

impl ParallelTexts {
    /// Pairs with the places they came from.
    pub fn new(pairs: impl IntoIterator<Item = ([String; 2], [String; 2])>) -> Self {
        let (pairs, places) = pairs.into_iter().unzip();
        Self { pairs, places, skipped: Skipped::default() }
    }

    /// What a recipe trains and validates on.
    ///
    /// # Errors
    /// As [`open`](Self::open), or if too few pairs are left on one side.
    pub fn of_recipe(recipe: &Recipe) -> Result<(Self, Self), DataError> {
        let (data, seed) = (&recipe.data, recipe.train.seed);
        let targets = data.validation_target_source.as_ref();
        let validation =
            data.validation_source.as_ref().map(|sources| Self::open(sources, targets, data)).transpose()?;
        if let Some(set) = made(data) {
            let part = |part| set.texts(seed, part, data.validation);
            return Ok((part(MadePart::Training), validation.unwrap_or_else(|| part(MadePart::HeldOut))));
        }
        let all = Self::open(&data.source, data.target_source.as_ref(), data)?;
        if let Some(validation) = validation {
            return Ok((all, validation));
        }
        let (kept, held) = hold_out(all.len(), data.validation, seed, &data.source.0.join(", "))?;
        Ok((Self { skipped: all.skipped.clone(), ..all.subset(&kept) }, all.subset(&held)))
    }

    /// The pairs of all files, in order: with `targets`, line by line those of each file of sources and its file of
    /// targets; without, the rows of tables.
    ///
    /// # Errors
    /// If a file cannot be read, is no table with both columns, or has not as many lines as its partner; if a row is malformed or
    /// lacks a side, unless `data.skip_bad_rows`; if there is no pair.
    pub fn open(sources: &Sources, targets: Option<&Sources>, data: &DataConfig) -> Result<Self, DataError> {
        let mut all = Self::default();
        match targets {
            Some(targets) => {
                if sources.0.len() != targets.0.len() {
                    let reason = format!(
                        "expected as many files as data.source has, {}, found {}",
                        sources.0.len(),
                        targets.0.len()
                    );
                    return Err(DataError::Examples { name: "data.target_source".into(), reason });
                }
                sources.0.iter().zip(&targets.0).try_for_each(|(a, b)| all.append_lines(a, b))?;
            }
            None => sources.0.iter().try_for_each(|file| all.append_table(file, data))?,
        }
        if all.pairs.is_empty() {
            return Err(DataError::Empty { name: sources.0.join(", ") });
        }
        Ok(all)
    }

    fn append_lines(&mut self, source: &str, target: &str) -> Result<(), DataError> {
        let [sources, targets] = [lines(source)?, lines(target)?];
        if sources.len() != targets.len() {
            let reason =
                format!("expected as many lines as {source} has, {}, found {}", sources.len(), targets.len());
            return Err(DataError::Examples { name: target.into(), reason });
        }
        for (line, pair) in (1..).zip(sources.into_iter().zip(targets)) {
            self.pairs.push(pair.into());
            self.places.push([source, target].map(|file| format!("{file}, line {line}")));
        }
        Ok(())
    }

    fn append_table(&mut self, file: &str, data: &DataConfig) -> Result<(), DataError> {
        if !Path::new(file).exists() {
            return Err(DataError::Missing { name: file.into(), hint: hint(file) });
        }
        let names = [data.text_column.as_str(), &data.target_column];
        let columns = names.map(|name| Column { name, required: true });
        for row in read_columns(Path::new(file), &columns, data)? {
            match row.and_then(|(place, values)| admit(names, &place, values)) {
                Ok((pair, places)) => {
                    self.pairs.push(pair);
                    self.places.push(places);
                }
                Err(bad) if data.skip_bad_rows => self.skipped.add(&bad),
                Err(bad) => return Err(bad),
            }
        }
        Ok(())
    }

    /// What was passed over while these were read.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Sources and targets, in order.
    pub fn pairs(&self) -> &[[String; 2]] {
        &self.pairs
    }

    /// Those at `indices`.
    pub fn subset(&self, indices: &[usize]) -> Self {
        let pick = |all: &[[String; 2]]| indices.iter().map(|&at| all[at].clone()).collect();
        Self { pairs: pick(&self.pairs), places: pick(&self.places), skipped: Skipped::default() }
    }

    /// All texts of both sides, a line each, which a tokenizer is trained on.
    pub fn joined(&self) -> String {
        self.pairs.as_flattened().join("\n")
    }

    /// As tokens.
    ///
    /// # Errors
    /// If the tokenizer refuses a text, or a text is empty or has more than `context` tokens with its mark.
    pub fn encode(&self, tokenizer: &Tokenizer, context: usize) -> Result<ParallelTokens, DataError> {
        let mut pairs = Vec::with_capacity(self.pairs.len());
        for (pair, places) in self.pairs.iter().zip(&self.places) {
            let side = |at: usize| encode(tokenizer, &pair[at], SIDES[at], &places[at], context);
            pairs.push([side(0)?, side(1)?]);
        }
        Ok(ParallelTokens::new(pairs, Marks::above(tokenizer.vocab_size())))
    }
}

/// The two sides of a row, each with its place.
fn admit(
    names: [&str; 2],
    place: &str,
    values: Vec<Option<String>>,
) -> Result<([String; 2], [String; 2]), DataError> {
    // What is null is empty.
    let mut values = values.into_iter().map(Option::unwrap_or_default);
    let pair = [(); 2].map(|()| values.next().unwrap_or_default());
    let places = names.map(|name| format!("{place}, `{name}`"));
    match pair.iter().position(String::is_empty) {
        Some(empty) => {
            let reason = format!("the {} is empty", SIDES[empty]);
            Err(DataError::Examples { name: places[empty].clone(), reason })
        }
        None => Ok((pair, places)),
    }
}

/// What messages call the two.
const SIDES: [&str; 2] = ["source", "target"];

fn encode(
    tokenizer: &Tokenizer,
    text: &str,
    side: &str,
    place: &str,
    context: usize,
) -> Result<Vec<u32>, DataError> {
    let wrong = |reason: String| DataError::Examples { name: place.into(), reason };
    let tokens = tokenizer.encode(text).map_err(|error| wrong(error.to_string()))?;
    match tokens.len() + 1 {
        1 => Err(wrong(format!("the {side} is empty"))),
        found if found > context => {
            Err(wrong(format!("the {side} has {found} tokens with its mark, but data.context = {context}")))
        }
        _ => Ok(tokens),
    }
}

/// The made set that a recipe names, if it does.
fn made(data: &DataConfig) -> Option<&'static MadePairs> {
    match &data.source.0[..] {
        [name] if data.target_source.is_none() => MadePairs::find(name),
        _ => None,
    }
}

fn lines(path: &str) -> Result<Vec<String>, DataError> {
    let bytes = std::fs::read(path).map_err(DataError::io("read", Path::new(path)))?;
    let text = String::from_utf8(bytes).map_err(|error| DataError::InvalidUtf8 {
        file: path.into(),
        offset: error.utf8_error().valid_up_to(),
    })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The nearest set, unless `name` is spelled as only a path is.
fn hint(name: &str) -> String {
    if name.contains(['/', '\\', '.']) {
        return String::new();
    }
    let known = || MADE_PAIRS.iter().map(|set| set.name);
    let near = nearest(name, known()).unwrap_or_default();
    format!("; did you mean `{near}`? (known: {})", known().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(paths: &[&Path]) -> Sources {
        Sources(paths.iter().map(|path| path.display().to_string()).collect())
    }

    fn of_lines(source: &str, target: &str) -> Result<ParallelTexts, String> {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a.de", "b.en"].map(|name| folder.path().join(name));
        std::fs::write(&a, source).unwrap();
        std::fs::write(&b, target).unwrap();
        let opened = ParallelTexts::open(&sources(&[&a]), Some(&sources(&[&b])), &DataConfig::default());
        opened.map_err(|error| error.to_string())
    }

    #[track_caller]
    fn holds(message: &str, words: &[&str]) {
        words.iter().for_each(|word| assert!(message.contains(word), "no `{word}` in: {message}"));
    }

    #[test]
    fn lines_of_two_files_are_pairs() {
        let texts = of_lines("ein Haus\r\nzwei\n", "a house\ntwo").unwrap();
        assert_eq!(texts.pairs(), [["ein Haus", "a house"], ["zwei", "two"]]);
        assert_eq!(texts.joined(), "ein Haus\na house\nzwei\ntwo");
        assert_eq!(texts.subset(&[1]).pairs(), [["zwei", "two"]]);
    }

    #[test]
    fn columns_of_tables_and_fields_of_json_lines_are_pairs() {
        let folder = tempfile::tempdir().unwrap();
        let [csv, json] = ["a.csv", "b.jsonl"].map(|name| folder.path().join(name));
        std::fs::write(&csv, "en,n,de\n\"a, b\",1,x\n").unwrap();
        std::fs::write(&json, "{\"de\": \"y\", \"en\": \"c\"}\n").unwrap();
        let data =
            DataConfig { text_column: "de".into(), target_column: "en".into(), ..DataConfig::default() };
        let texts = ParallelTexts::open(&sources(&[&csv, &json]), None, &data).unwrap();
        assert_eq!(texts.pairs(), [["x", "a, b"], ["y", "c"]]);
        let error = ParallelTexts::open(&sources(&[&csv]), None, &DataConfig::default()).unwrap_err();
        holds(&error.to_string(), &["a.csv, line 1", "`text`", "`en`, `n`, `de`"]);
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_line() {
        holds(&of_lines("a\nb\n", "a\n").unwrap_err(), &["b.en", "a.de has, 2", "found 1"]);
        holds(&of_lines("", "").unwrap_err(), &["no text", "a.de"]);
        let refusal = |source: &str, target: &str| {
            let texts = of_lines(source, target).unwrap();
            texts.encode(&Tokenizer::byte(), 4).unwrap_err().to_string()
        };
        holds(&refusal("a\n\nb", "a\nb\nc"), &["a.de, line 2", "source is empty"]);
        holds(&refusal("a\nb", "a\n\n"), &["b.en, line 2", "target is empty"]);
        holds(&refusal("a\nb", "abc\nabcd"), &["b.en, line 2", "5 tokens", "context = 4"]);
        let pairs = of_lines("a", "abc").unwrap().encode(&Tokenizer::byte(), 4).unwrap();
        assert_eq!((pairs.targets(), pairs.source(0)), (4, vec![97, 257]));
    }

    #[test]
    fn files_are_paired_and_missing_ones_named() {
        let two = Sources(vec!["a".into(), "b".into()]);
        let error = ParallelTexts::open(&two, Some(&Sources(vec!["c".into()])), &DataConfig::default());
        holds(&error.unwrap_err().to_string(), &["data.target_source", "2", "found 1"]);
        let open = |name: &str| {
            let opened = ParallelTexts::open(&Sources(vec![name.into()]), None, &DataConfig::default());
            opened.unwrap_err().to_string()
        };
        holds(&open("reversl"), &["`reversl`", "did you mean `reversal`", "number-words"]);
        assert!(!open("none/there.csv").contains("did you mean"));
    }

    #[test]
    fn a_recipe_names_a_made_set_or_holds_out_a_share_of_its_pairs() {
        let mut recipe = Recipe::default();
        recipe.data.source = Sources(vec!["reversal".into()]);
        let (training, held) = ParallelTexts::of_recipe(&recipe).unwrap();
        assert_eq!((training.len(), held.len()), (50_000, 1_000));
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("t.tsv");
        let rows: String = (0..10).map(|i| format!("{i}\t{i}\n")).collect();
        std::fs::write(&table, format!("text\ttarget\n{rows}")).unwrap();
        recipe.data.source = sources(&[&table]);
        recipe.data.validation = 0.3;
        let (training, held) = ParallelTexts::of_recipe(&recipe).unwrap();
        assert_eq!((training.len(), held.len()), (7, 3));
        recipe.data.validation_source = Some(sources(&[&table]));
        let (training, held) = ParallelTexts::of_recipe(&recipe).unwrap();
        assert_eq!((training.len(), held.len()), (10, 10));
    }
}
