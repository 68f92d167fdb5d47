//! Labelled texts as files state them.

use std::path::Path;

use super::super::{DataError, source};
use super::skipped::Skipped;
use super::table::{Column, Layout, Row};
use super::{class_folders, parquet, table};
use crate::recipe::{DataConfig, TokenizerChoice};

/// A text, or a pair of texts, and the name of its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Example {
    /// Where it came from, for messages.
    pub place: String,
    /// UTF-8, unless it is a file of its own and the tokenizer takes any bytes.
    pub text: Vec<u8>,
    /// The second text of a pair.
    pub pair: Option<Vec<u8>>,
    /// Its class, where it is known.
    pub class: Option<String>,
}

/// Texts, or pairs of texts, with the names of their classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    pub(super) examples: Vec<Example>,
    skipped: Skipped,
}

impl Texts {
    /// All examples of the sources, in order, each with its class. A source is a file, a glob, or a folder; files are
    /// read in the order of their names. A folder stands for the tables in it, or, if it has none, for classes: one
    /// folder each, one text a file.
    ///
    /// # Errors
    /// If a file cannot be read or lacks a column; if a row is malformed, empty or without a class, unless
    /// `data.skip_bad_rows`; if there are no rows.
    pub fn open(sources: &[String], data: &DataConfig) -> Result<Self, DataError> {
        Self::gather(sources, data, true)
    }

    /// As [`open`](Self::open), but examples may be without a class.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_unlabelled(sources: &[String], data: &DataConfig) -> Result<Self, DataError> {
        Self::gather(sources, data, false)
    }

    fn gather(sources: &[String], data: &DataConfig, labelled: bool) -> Result<Self, DataError> {
        let mut all = Self::default();
        for source in sources {
            for example in read(source, data, labelled)? {
                match example.and_then(|example| admit(example, labelled)) {
                    Ok(example) => all.examples.push(example),
                    Err(bad) if data.skip_bad_rows => all.skipped.add(&bad),
                    Err(bad) => return Err(bad),
                }
            }
        }
        if all.examples.is_empty() {
            return Err(DataError::Empty { name: sources.join(", ") });
        }
        Ok(all)
    }

    /// Number of texts, or of pairs.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Whether there is none; [`open`](Self::open) gives none such.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// Those at `indices`, without the account of skipped rows.
    pub fn subset(&self, indices: &[usize]) -> Self {
        let examples = indices.iter().map(|&at| self.examples[at].clone()).collect();
        Self { examples, skipped: Skipped::default() }
    }

    /// Those at `kept`, with the account of skipped rows, and those at `held`.
    pub fn split(&self, kept: &[usize], held: &[usize]) -> (Self, Self) {
        (Self { skipped: self.skipped.clone(), ..self.subset(kept) }, self.subset(held))
    }

    /// What was passed over while these were read.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// The texts end to end, a line each, which a tokenizer is trained on.
    pub fn joined(&self) -> Vec<u8> {
        let texts = self.examples.iter().flat_map(|example| [Some(&example.text), example.pair.as_ref()]);
        texts.flatten().map(Vec::as_slice).collect::<Vec<_>>().join(&b'\n')
    }

    /// The classes that occur, in alphabetical order.
    pub fn labels(&self) -> Vec<String> {
        let names = self.examples.iter().filter_map(|example| example.class.as_ref());
        let names: std::collections::BTreeSet<&String> = names.collect();
        names.into_iter().cloned().collect()
    }
}

/// Files whose ending says that they are tables.
const TABLES: [&str; 6] = ["csv", "tsv", "tab", "jsonl", "ndjson", PARQUET];
const PARQUET: &str = "parquet";

fn ending(path: &Path) -> &str {
    path.extension().and_then(|ending| ending.to_str()).unwrap_or_default()
}

/// The examples of a source, and in place of malformed ones what is wrong with them.
fn read(
    source: &str,
    data: &DataConfig,
    labelled: bool,
) -> Result<Vec<Result<Example, DataError>>, DataError> {
    let (folder, mut files) = (Path::new(source), source::expand(source)?);
    files.sort();
    if folder.is_dir() {
        files.retain(|file| TABLES.contains(&ending(file)));
        if files.is_empty() {
            return read_classes(folder, data);
        }
    }
    let mut examples = Vec::new();
    for file in files {
        examples.extend(read_table(&file, data, labelled)?);
    }
    Ok(examples)
}

fn read_classes(folder: &Path, data: &DataConfig) -> Result<Vec<Result<Example, DataError>>, DataError> {
    if let Some(column) = &data.text_pair_column {
        let reason = format!(
            "a folder of classes has one text a file; data.text_pair_column = `{column}` asks for two"
        );
        return Err(DataError::Examples { name: folder.display().to_string(), reason });
    }
    class_folders::read(folder, data.tokenizer == TokenizerChoice::Byte)
}

fn read_table(
    file: &Path,
    data: &DataConfig,
    labelled: bool,
) -> Result<Vec<Result<Example, DataError>>, DataError> {
    let column = |name, required| Column { name, required };
    let mut columns = vec![column(data.label_column.as_str(), labelled), column(&data.text_column, true)];
    columns.extend(data.text_pair_column.iter().map(|name| column(name, true)));
    let example = |(place, values): Placed| {
        let mut values = values.into_iter();
        let class = values.next().flatten();
        // What is null is empty, and refused as such.
        let mut texts = values.map(|text| text.unwrap_or_default().into_bytes());
        Example { place, text: texts.next().unwrap_or_default(), pair: texts.next(), class }
    };
    Ok(read_columns(file, &columns, data)?.into_iter().map(|row| row.map(example)).collect())
}

/// Where a row stands, and a value of it for each column that was asked for.
type Placed = (String, Vec<Option<String>>);

/// Columns of a table of any kind, row by row.
pub(in crate::data) fn read_columns(
    file: &Path,
    columns: &[Column],
    data: &DataConfig,
) -> Result<Vec<Result<Placed, DataError>>, DataError> {
    let is_parquet = ending(file) == PARQUET;
    let rows = if is_parquet {
        parquet::read(file, columns)?
    } else {
        let layout = Layout { columns: data.columns.as_deref(), quoting: data.quoting, skip: data.skip_rows };
        table::read(file, columns, layout)?
    };
    let placed = |Row { line, values }: Row| match is_parquet {
        true => (parquet::place(file, line), values),
        false => (format!("{}, line {line}", file.display()), values),
    };
    Ok(rows.into_iter().map(|row| row.map(placed)).collect())
}

/// Whether an example can be learned from.
fn admit(mut example: Example, labelled: bool) -> Result<Example, DataError> {
    example.class = example.class.filter(|class| !class.is_empty());
    let reason = if example.text.is_empty() {
        "the text is empty"
    } else if example.pair.as_ref().is_some_and(Vec::is_empty) {
        "the second text is empty"
    } else if labelled && example.class.is_none() {
        "there is no class"
    } else {
        return Ok(example);
    };
    Err(DataError::Examples { name: example.place, reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use ::parquet::basic::Compression;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let name = folder.path().display().to_string();
        (folder, name)
    }

    fn texts(texts: &Texts) -> Vec<&str> {
        texts.examples.iter().map(|example| std::str::from_utf8(&example.text).unwrap()).collect()
    }

    fn refusal(source: &str, data: &DataConfig) -> String {
        Texts::open(&[source.to_owned()], data).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_or_glob_of_tables_is_read_in_the_order_of_its_names() {
        let (_folder, name) = folder(&[
            ("train-2.tsv", "label\ttext\na\tthird\n"),
            ("train-1.csv", "text,label\nfirst,b\nsecond,a\n"),
            ("deep/x.jsonl", "{\"text\": \"deep\", \"label\": 3}"),
            ("README.md", "no table"),
        ]);
        let data = DataConfig::default();
        let all = Texts::open(std::slice::from_ref(&name), &data).unwrap();
        assert_eq!(texts(&all), ["deep", "first", "second", "third"]);
        assert_eq!(all.labels(), ["3", "a", "b"]);
        let some = Texts::open(&[format!("{name}/train-*")], &data).unwrap();
        assert_eq!(texts(&some), ["first", "second", "third"]);
        assert_eq!(texts(&some.subset(&[2, 0])), ["third", "first"]);
        assert_eq!(some.joined(), b"first\nsecond\nthird");
        assert!(refusal(&format!("{name}/none.csv"), &data).contains("none.csv"));
        assert!(refusal(&format!("{name}/none*"), &data).contains("no file matches"));
    }

    #[test]
    fn a_folder_without_tables_is_one_of_classes() {
        let (_folder, name) = folder(&[("ham/1.txt", "hello"), ("spam/1.txt", "win")]);
        let all = Texts::open(std::slice::from_ref(&name), &DataConfig::default()).unwrap();
        assert_eq!((texts(&all), all.labels()), (vec!["hello", "win"], vec!["ham".into(), "spam".into()]));
        let pairs = DataConfig { text_pair_column: Some("other".into()), ..DataConfig::default() };
        let error = refusal(&name, &pairs);
        assert!(error.contains("one text a file") && error.contains("`other`"), "{error}");
    }

    #[test]
    fn shards_of_parquet_are_read_in_the_order_of_their_names() {
        let (_folder, name) = folder(&[("data/README.md", "no table")]);
        let shard = |number: usize, rows: &[parquet::tests::Labelled]| {
            let path = format!("{name}/data/train-0000{number}-of-00002.parquet");
            parquet::tests::write(Path::new(&path), &[rows], None, Compression::SNAPPY);
        };
        shard(1, &[(Some(b"third"), 1), (None, 0)]);
        shard(0, &[(Some(b"first"), 0), (Some(b"second"), 1)]);
        let lenient = DataConfig { skip_bad_rows: true, ..DataConfig::default() };
        for source in [name.clone(), format!("{name}/data/train-*")] {
            let all = Texts::open(&[source], &lenient).unwrap();
            assert_eq!(
                (texts(&all), all.labels()),
                (vec!["first", "second", "third"], vec!["0".into(), "1".into()])
            );
        }
        let error = refusal(&name, &DataConfig::default());
        assert!(error.contains("train-00001-of-00002.parquet, row 2: the text is empty"), "{error}");
    }

    #[test]
    fn pairs_need_their_second_column() {
        let table = "label\ttext\tother\n1\ta b\tc\n0\td\t\n";
        let (_folder, name) = folder(&[("t.tsv", table), ("single.tsv", "label\ttext\n1\ta\n")]);
        let data = DataConfig { text_pair_column: Some("other".into()), ..DataConfig::default() };
        let error = refusal(&format!("{name}/t.tsv"), &data);
        assert!(error.contains("line 3: the second text is empty"), "{error}");
        let data = DataConfig { skip_bad_rows: true, ..data };
        let pairs = Texts::open(&[format!("{name}/t.tsv")], &data).unwrap();
        assert_eq!(pairs.joined(), b"a b\nc");
        let error = refusal(&format!("{name}/single.tsv"), &data);
        assert!(error.contains("no column `other`; there are `label`, `text`"), "{error}");
    }

    #[test]
    fn bad_rows_are_refused_with_their_place_or_skipped_and_counted() {
        let table = "label\ttext\nb\tab\na\t\nc\n\td\na\tz\n";
        let (_folder, name) = folder(&[("t.tsv", table)]);
        let strict = DataConfig::default();
        let error = refusal(&name, &strict);
        assert!(error.contains("t.tsv, line 3: the text is empty"), "{error}");
        let lenient = DataConfig { skip_bad_rows: true, ..strict };
        let all = Texts::open(std::slice::from_ref(&name), &lenient).unwrap();
        assert_eq!(texts(&all), ["ab", "z"]);
        let warning = all.skipped().warning().unwrap();
        for word in
            ["3 bad rows", "line 3: the text is empty", "line 4: expected 2", "line 5: there is no class"]
        {
            assert!(warning.contains(word), "no `{word}` in: {warning}");
        }
        let (_folder, name) = folder(&[("t.tsv", "label\ttext\na\t\n")]);
        assert!(refusal(&name, &lenient).contains("no text"), "nothing is left");
    }

    #[test]
    fn classes_may_be_absent_where_nothing_is_learned() {
        let (_folder, name) = folder(&[("t.tsv", "text\nx\n"), ("u.tsv", "text\tlabel\ny\t\nz\ta\n")]);
        let data = DataConfig::default();
        let all = Texts::open_unlabelled(std::slice::from_ref(&name), &data).unwrap();
        let classes: Vec<Option<&str>> = all.examples.iter().map(|e| e.class.as_deref()).collect();
        assert_eq!(classes, [None, None, Some("a")]);
        assert!(refusal(&name, &data).contains("no column `label`"));
    }
}
