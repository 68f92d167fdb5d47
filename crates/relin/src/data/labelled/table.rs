//! Rows of text files with named columns: CSV (quoted where needed), TSV (not quoted), JSON lines.

use std::path::{Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use super::super::DataError;

/// A column that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether a file without it is refused.
    pub required: bool,
}

/// The columns that are read, a value each and row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// In the file, from 1, the header included.
    pub line: usize,
    /// In the order in which the columns were asked for; nothing where there is no such column.
    pub values: Vec<Option<String>>,
}

/// Rows in order, and in place of those that are malformed what is wrong with them.
pub type Rows = Vec<Result<Row, DataError>>;

/// How a table is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout<'a> {
    /// Names of the columns of a table that has no header.
    pub columns: Option<&'a [String]>,
    /// Whether fields may stand in quotes; of CSV they may, of TSV not, if not given.
    pub quoting: Option<bool>,
    /// Rows, after the header if there is one, that say nothing of examples.
    pub skip: usize,
}

/// The named columns of a file, whose kind its ending tells: `csv`, `jsonl`, or, of any other, TSV. Blank lines count
/// for nothing.
///
/// # Errors
/// If the file cannot be read, or has not the columns.
pub fn read(path: &Path, columns: &[Column], layout: Layout) -> Result<Rows, DataError> {
    let bytes = std::fs::read(path).map_err(DataError::io("read", path))?;
    let file = File { path: path.into(), columns, layout };
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("jsonl" | "ndjson") => Ok(file.json_lines(&bytes)),
        Some("csv") => file.table(b',', true, &bytes),
        _ => file.table(b'\t', false, &bytes),
    }
}

struct File<'a> {
    path: PathBuf,
    columns: &'a [Column<'a>],
    layout: Layout<'a>,
}

impl File<'_> {
    fn malformed(&self, line: usize, reason: String) -> DataError {
        DataError::Row { path: self.path.clone(), line, reason }
    }

    fn table(&self, delimiter: u8, quoting: bool, bytes: &[u8]) -> Result<Rows, DataError> {
        let mut records = self.records(delimiter, quoting, bytes)?.into_iter();
        let (line, names) = match self.layout.columns {
            Some(names) => (1, names.to_vec()),
            None => {
                let nothing = || self.malformed(1, "expected a header, found nothing".into());
                let (line, header) = records.next().ok_or_else(nothing)?;
                (line, header?.iter().map(|name| name.trim().to_owned()).collect())
            }
        };
        let places = self.columns.iter().map(|column| self.place(column, &names, line));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let row = |(line, record): (usize, Result<StringRecord, DataError>)| {
            let record = record?;
            if record.len() != names.len() {
                let reason = format!("expected {} columns, found {}", names.len(), record.len());
                return Err(self.malformed(line, reason));
            }
            Ok(Row { line, values: places.iter().map(|at| at.map(|at| record[at].to_owned())).collect() })
        };
        Ok(records.skip(self.layout.skip).map(row).collect())
    }

    /// All that is not blank, each with its line.
    fn records(&self, delimiter: u8, quoting: bool, bytes: &[u8]) -> Result<Records, DataError> {
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(self.layout.quoting.unwrap_or(quoting))
            .has_headers(false)
            .flexible(true)
            .from_reader(bytes);
        let mut lines = Lines { text: bytes, read: 0, line: 1 };
        let mut records = Vec::new();
        for record in reader.byte_records() {
            let record: ByteRecord = record.map_err(|error| {
                let line = error.position().map_or(1, |place| place.line() as usize);
                self.malformed(line, error.to_string())
            })?;
            let line = lines.at(record.position().map_or(0, |place| place.byte() as usize));
            // Of a line of spaces alone there is one field, of spaces.
            if record.len() > 1 || !record.iter().all(|field| field.trim_ascii().is_empty()) {
                let text = StringRecord::from_byte_record(record).map_err(|error| {
                    let column = error.utf8_error().field() + 1;
                    self.malformed(line, format!("invalid UTF-8 in column {column}"))
                });
                records.push((line, text));
            }
        }
        Ok(records)
    }

    /// Where a column stands among `names`.
    fn place(&self, column: &Column, names: &[String], line: usize) -> Result<Option<usize>, DataError> {
        let place = names.iter().position(|name| name == column.name);
        if place.is_some() || !column.required {
            return Ok(place);
        }
        let given = if self.layout.columns.is_some() { "data.columns names" } else { "there are" };
        let reason = format!("no column `{}`; {given} `{}`", column.name, names.join("`, `"));
        Err(self.malformed(line, reason))
    }

    fn json_lines(&self, bytes: &[u8]) -> Rows {
        let lines = bytes.split(|&byte| byte == b'\n').enumerate();
        let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
        lines.map(|(at, line)| self.json_line(at + 1, line)).collect()
    }

    fn json_line(&self, line: usize, text: &[u8]) -> Result<Row, DataError> {
        let object: Map<String, Value> =
            serde_json::from_slice(text).map_err(|error| self.malformed(line, error.to_string()))?;
        let value = |column: &Column| match object.get(column.name) {
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            None | Some(Value::Null) if !column.required => Ok(None),
            Some(_) => {
                let reason = format!("`{}` is neither text, number nor boolean", column.name);
                Err(self.malformed(line, reason))
            }
            None => Err(self.malformed(line, format!("no field `{}`", column.name))),
        };
        Ok(Row { line, values: self.columns.iter().map(value).collect::<Result<_, _>>()? })
    }
}

/// Lines, and the record that begins there.
type Records = Vec<(usize, Result<StringRecord, DataError>)>;

/// Counts lines up to where a record begins: the parser gives as its place the end of the record before, with the
/// line ends and blank lines between still to come.
struct Lines<'a> {
    text: &'a [u8],
    read: usize,
    line: usize,
}

impl Lines<'_> {
    fn at(&mut self, place: usize) -> usize {
        let ends = self.text[place..].iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count();
        let begin = place + ends;
        self.line += self.text[self.read..begin].iter().filter(|&&byte| byte == b'\n').count();
        self.read = begin;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL_AND_TEXT: [Column; 2] =
        [Column { name: "label", required: true }, Column { name: "text", required: true }];

    fn all(name: &str, text: &[u8], columns: &[Column], layout: Layout) -> Result<Rows, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path, columns, layout)
    }

    /// The first thing that is wrong, or all rows.
    fn rows(name: &str, text: &str, layout: Layout) -> Result<Vec<Row>, String> {
        let rows = all(name, text.as_bytes(), &LABEL_AND_TEXT, layout);
        rows.and_then(|rows| rows.into_iter().collect()).map_err(|error| error.to_string())
    }

    fn row(line: usize, values: [&str; 2]) -> Row {
        Row { line, values: values.map(|value| Some(value.to_owned())).to_vec() }
    }

    #[test]
    fn every_kind_gives_the_columns_asked_for_with_their_lines() {
        let expected = Ok(vec![row(2, ["a", "x y"]), row(4, ["b", "z"])]);
        let plain = Layout::default();
        assert_eq!(rows("t.tsv", "text\tn\tlabel\nx y\t1\ta\n\nz\t2\tb\n", plain), expected);
        assert_eq!(rows("t.csv", "text,n,label\r\nx y,1,a\r\n\r\nz,2,b", plain), expected);
        let json = "\n{\"text\": \"x y\", \"label\": \"a\"}\n\n{\"label\": \"b\", \"text\": \"z\"}\n";
        assert_eq!(rows("t.jsonl", json, plain), expected);
        let skip = Layout { skip: 2, ..plain };
        let skipped = rows("t.tab", "label\ttext\nd\tstring\nclass\tmeta\na\tb\n", skip);
        assert_eq!(skipped, Ok(vec![row(4, ["a", "b"])]));
    }

    #[test]
    fn a_table_without_a_header_has_the_names_it_is_given() {
        let columns = ["source", "label", "mark", "text"].map(String::from);
        let layout = Layout { columns: Some(&columns), ..Layout::default() };
        let text = "gj04\t1\t\tOur friends.\n\ngj04\t0\t*\tFriends our.\n";
        let expected = [row(1, ["1", "Our friends."]), row(3, ["0", "Friends our."])];
        assert_eq!(rows("t.tsv", text, layout).unwrap(), expected);
        assert_eq!(rows("t.tsv", text, Layout { skip: 1, ..layout }).unwrap(), expected[1..]);
        let error = rows("t.tsv", text, Layout { columns: Some(&columns[..3]), ..layout }).unwrap_err();
        assert!(error.contains("no column `text`; data.columns names `source`, `label`, `mark`"), "{error}");
        let error = rows("t.tsv", "a\tb\n", layout).unwrap_err();
        assert!(error.contains("line 1: expected 4 columns, found 2"), "{error}");
    }

    #[test]
    fn quoted_fields_hold_commas_quotes_and_line_ends() {
        let text = "label,text\n\"a, \"\"b\"\"\nc\",1\n\"\",2\nq\"q,3\n";
        let found = rows("t.csv", text, Layout::default()).unwrap();
        assert_eq!(found, [row(2, ["a, \"b\"\nc", "1"]), row(4, ["", "2"]), row(5, ["q\"q", "3"])]);
    }

    #[test]
    fn quotes_mean_what_the_switch_says() {
        let text = "label\ttext\n1\t\"a\tb\"\n";
        let quoting = |quoting| Layout { quoting, ..Layout::default() };
        let error = rows("t.tsv", text, quoting(None)).unwrap_err();
        assert!(error.contains("expected 2 columns, found 3"), "{error}");
        assert_eq!(rows("t.tsv", text, quoting(Some(true))), Ok(vec![row(2, ["1", "a\tb"])]));
        let commas = "label,text\n1,\"a\n";
        assert_eq!(rows("t.csv", commas, quoting(Some(false))), Ok(vec![row(2, ["1", "\"a"])]));
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_line() {
        for (name, text, words) in [
            ("t.tsv", "text\tlabels\nx\t1\n", ["t.tsv", "line 1", "no column `label`", "`text`, `labels`"]),
            ("t.tsv", "text\tlabel\nx\n", ["t.tsv", "line 2", "expected 2 columns", "found 1"]),
            ("t.csv", "", ["t.csv", "line 1", "header", "nothing"]),
            (
                "t.csv",
                "text,label\na,b\n\"never closed,1\nc,d\n",
                ["t.csv", "line 3", "2 columns", "found 1"],
            ),
            (
                "t.jsonl",
                "{\"text\": \"x\", \"label\": 1}\n{\"text\": \"x\"}",
                ["t.jsonl", "line 2", "no field", "`label`"],
            ),
            ("t.jsonl", "{\"text\"", ["t.jsonl", "line 1", "EOF", "column"]),
        ] {
            let error = rows(name, text, Layout::default()).unwrap_err();
            words.iter().for_each(|word| assert!(error.contains(word), "no `{word}` in: {error}"));
        }
    }

    #[test]
    fn good_rows_are_read_beside_bad_ones() {
        let tsv = b"text\tlabel\na\t1\nb\nc\xff\t1\nd\t2\n";
        let json = b"{\"text\": \"a\", \"label\": 1}\n{\"text\"\n{\"text\": \"\xff\", \"label\": 1}\n{\"text\": \"d\", \"label\": 2}";
        for (name, text) in [("t.tsv", &tsv[..]), ("t.jsonl", &json[..])] {
            let rows = all(name, text, &LABEL_AND_TEXT, Layout::default()).unwrap();
            let good: Vec<&Row> = rows.iter().flatten().collect();
            assert_eq!(
                good.iter().map(|row| row.values[1].as_deref()).collect::<Vec<_>>(),
                [Some("a"), Some("d")]
            );
            let bad: Vec<String> =
                rows.iter().filter_map(|row| row.as_ref().err()).map(|e| e.to_string()).collect();
            let lines = if name == "t.tsv" { ["line 3", "line 4"] } else { ["line 2", "line 3"] };
            assert!(bad.len() == 2 && bad.iter().zip(lines).all(|(bad, line)| bad.contains(line)), "{bad:?}");
            assert!(name != "t.tsv" || bad[1].contains("invalid UTF-8 in column 1"), "{bad:?}");
        }
    }

    #[test]
    fn a_column_that_is_not_required_may_be_absent() {
        let columns = [Column { name: "label", required: false }, LABEL_AND_TEXT[1]];
        for (name, text) in [("t.csv", "text\nx\n"), ("t.jsonl", "{\"text\": \"x\"}")] {
            let rows = all(name, text.as_bytes(), &columns, Layout::default()).unwrap();
            assert_eq!(rows[0].as_ref().unwrap().values, [None, Some("x".to_owned())]);
        }
    }
}
