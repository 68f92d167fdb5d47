//! Rows of text files with named columns: CSV (quoted where needed), TSV (never quoted), JSON lines.

use std::path::{Path, PathBuf};

use csv::ReaderBuilder;

use super::super::DataError;

/// The columns that are read, a value each and row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// In the file, from 1, the header included.
    pub line: usize,
    /// In the order in which the columns were asked for.
    pub values: Vec<String>,
}

/// The named columns of a file, whose kind its ending tells: `csv`, `jsonl`, or, of any other, TSV. `skip` rows after
/// the header say nothing of examples. Blank lines count for nothing.
///
/// # Errors
/// If the file cannot be read, has not the columns, or a row is malformed.
pub fn read(path: &Path, columns: &[&str], skip: usize) -> Result<Vec<Row>, DataError> {
    let text =
        std::fs::read(path).map_err(|source| DataError::Io { action: "read", path: path.into(), source })?;
    let text = String::from_utf8(text).map_err(|error| DataError::InvalidUtf8 {
        file: path.display().to_string(),
        offset: error.utf8_error().valid_up_to(),
    })?;
    let file = File { path: path.into(), columns };
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("jsonl" | "ndjson") => file.json_lines(&text),
        Some("csv") => file.table(ReaderBuilder::new().delimiter(b','), &text, skip),
        _ => file.table(ReaderBuilder::new().delimiter(b'\t').quoting(false), &text, skip),
    }
}

struct File<'a> {
    path: PathBuf,
    columns: &'a [&'a str],
}

impl File<'_> {
    fn malformed(&self, line: usize, reason: String) -> DataError {
        DataError::Row { path: self.path.clone(), line, reason }
    }

    fn table(&self, kind: &mut ReaderBuilder, text: &str, skip: usize) -> Result<Vec<Row>, DataError> {
        let mut reader = kind.has_headers(false).flexible(true).from_reader(text.as_bytes());
        let mut lines = Lines { text: text.as_bytes(), read: 0, line: 1 };
        let mut records = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| {
                let line = error.position().map_or(1, |place| place.line() as usize);
                self.malformed(line, error.to_string())
            })?;
            let line = lines.at(record.position().map_or(0, |place| place.byte() as usize));
            // Of a line of spaces alone there is one field, of spaces.
            if record.len() > 1 || !record.iter().all(|field| field.trim().is_empty()) {
                records.push((line, record.iter().map(str::to_owned).collect::<Vec<_>>()));
            }
        }
        let mut records = records.into_iter();
        let Some((line, header)) = records.next() else {
            return Err(self.malformed(1, "expected a header, found nothing".into()));
        };
        let place = |column: &&str| {
            header.iter().position(|name| name.trim() == *column).ok_or_else(|| {
                self.malformed(line, format!("no column `{column}`; there are `{}`", header.join("`, `")))
            })
        };
        let places = self.columns.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let row = |(line, mut record): (usize, Vec<String>)| {
            if record.len() != header.len() {
                let reason = format!("expected {} columns, found {}", header.len(), record.len());
                return Err(self.malformed(line, reason));
            }
            Ok(Row { line, values: places.iter().map(|&at| std::mem::take(&mut record[at])).collect() })
        };
        records.skip(skip).map(row).collect()
    }

    fn json_lines(&self, text: &str) -> Result<Vec<Row>, DataError> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let row = |(at, line): (usize, &str)| {
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(line).map_err(|error| self.malformed(at + 1, error.to_string()))?;
            let value = |column: &&str| match object.get(*column) {
                Some(serde_json::Value::String(text)) => Ok(text.clone()),
                Some(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => {
                    Ok(value.to_string())
                }
                Some(_) => {
                    Err(self.malformed(at + 1, format!("`{column}` is neither text, number nor boolean")))
                }
                None => Err(self.malformed(at + 1, format!("no field `{column}`"))),
            };
            let values = self.columns.iter().map(value).collect::<Result<_, _>>()?;
            Ok(Row { line: at + 1, values })
        };
        lines.map(row).collect()
    }
}

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

    fn rows(name: &str, text: &str, columns: &[&str], skip: usize) -> Result<Vec<Row>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path, columns, skip).map_err(|error| error.to_string())
    }

    fn row(line: usize, values: [&str; 2]) -> Row {
        Row { line, values: values.map(str::to_owned).to_vec() }
    }

    #[test]
    fn every_kind_gives_the_columns_asked_for_with_their_lines() {
        let expected = Ok(vec![row(2, ["a", "x y"]), row(4, ["b", "z"])]);
        assert_eq!(rows("t.tsv", "text\tn\tlabel\nx y\t1\ta\n\nz\t2\tb\n", &["label", "text"], 0), expected);
        assert_eq!(rows("t.csv", "text,n,label\r\nx y,1,a\r\n\r\nz,2,b", &["label", "text"], 0), expected);
        let json = "\n{\"text\": \"x y\", \"label\": \"a\"}\n\n{\"label\": \"b\", \"text\": \"z\"}\n";
        assert_eq!(rows("t.jsonl", json, &["label", "text"], 0), expected);
        let skipped = rows("t.tab", "label\ttext\nd\tstring\nclass\tmeta\na\tb\n", &["label", "text"], 2);
        assert_eq!(skipped, Ok(vec![row(4, ["a", "b"])]));
    }

    #[test]
    fn quoted_fields_hold_commas_quotes_and_line_ends() {
        let text = "text,label\n\"a, \"\"b\"\"\nc\",1\n\"\",2\nq\"q,3\n";
        let found = rows("t.csv", text, &["text", "label"], 0).unwrap();
        assert_eq!(found, [row(2, ["a, \"b\"\nc", "1"]), row(4, ["", "2"]), row(5, ["q\"q", "3"])]);
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
            let error = rows(name, text, &["text", "label"], 0).unwrap_err();
            words.iter().for_each(|word| assert!(error.contains(word), "no `{word}` in: {error}"));
        }
    }
}
