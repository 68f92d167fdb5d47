//! Rows of text files with named columns: CSV (quoted where needed), TSV (never quoted), JSON lines.

use std::path::{Path, PathBuf};

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
        Some("csv") => file.table(csv_records(&text), skip),
        _ => file.table(tab_records(&text), skip),
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

    fn table(
        &self,
        mut records: impl Iterator<Item = (usize, Vec<String>)>,
        skip: usize,
    ) -> Result<Vec<Row>, DataError> {
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

fn tab_records(text: &str) -> impl Iterator<Item = (usize, Vec<String>)> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(at, line)| (at + 1, line.split('\t').map(str::to_owned).collect()))
}

/// Fields between commas; one that begins with `"` ends at the next `"` that is not doubled, whatever lies between.
fn csv_records(text: &str) -> impl Iterator<Item = (usize, Vec<String>)> {
    let (mut rest, mut line) = (text, 1);
    std::iter::from_fn(move || {
        while let Some(blank) = rest.split_inclusive('\n').next().filter(|line| line.trim().is_empty()) {
            (rest, line) = (&rest[blank.len()..], line + 1);
        }
        if rest.is_empty() {
            return None;
        }
        let first = line;
        let mut record = Vec::new();
        loop {
            let (field, tail) = csv_field(rest);
            line += rest[..rest.len() - tail.len()].matches('\n').count();
            record.push(field);
            match tail.strip_prefix(',') {
                Some(tail) => rest = tail,
                None => {
                    rest = tail.strip_prefix('\r').unwrap_or(tail);
                    if let Some(tail) = rest.strip_prefix('\n') {
                        (rest, line) = (tail, line + 1);
                    }
                    return Some((first, record));
                }
            }
        }
    })
}

/// The first field, and the text from the comma or the line's end after it.
fn csv_field(text: &str) -> (String, &str) {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find([',', '\n']).unwrap_or(text.len());
        let field = text[..end].strip_suffix('\r').unwrap_or(&text[..end]);
        return (field.to_owned(), &text[field.len()..]);
    };
    let mut field = String::new();
    loop {
        let end = rest.find('"').unwrap_or(rest.len());
        field.push_str(&rest[..end]);
        rest = rest.get(end + 1..).unwrap_or_default();
        match rest.strip_prefix('"') {
            Some(tail) => (field, rest) = (field + "\"", tail),
            None => return (field, rest),
        }
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
