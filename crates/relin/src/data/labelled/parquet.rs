//! Rows of Parquet files, as Hugging Face keeps its sets: columns by name, classes named beside the schema.

use std::fs::File;
use std::path::Path;

use parquet::basic::Compression;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::super::DataError;
use super::table::{Column, Row, Rows};

/// The key of the file's metadata under which Hugging Face describes the columns.
const HUGGING_FACE: &str = "huggingface";

/// The named columns of a file; the `line` of a row is its number, from 1. Where the file says that a column holds
/// classes, their names stand in place of their numbers, and a negative number is no class.
///
/// # Errors
/// If the file cannot be read or is cut off, has not the columns, or keeps them in a way that is not read here.
pub fn read(path: &Path, columns: &[Column]) -> Result<Rows, DataError> {
    let file = File::open(path).map_err(DataError::io("read", path))?;
    let table = Table { path, file: SerializedFileReader::new(file).map_err(|error| broken(path, &error))? };
    let columns = columns.iter().map(|column| table.column(column)).collect::<Result<Vec<_>, _>>()?;
    let mut columns: Vec<_> = columns.into_iter().map(|values| values.map(Vec::into_iter)).collect();
    let row = |at: usize| -> Result<Row, DataError> {
        // Every column moves on, also where one before it is at fault.
        let values: Vec<_> =
            columns.iter_mut().map(|values| values.as_mut().and_then(Iterator::next)).collect();
        let value = |value: Option<Result<Option<String>, String>>| {
            let malformed = |reason| DataError::Examples { name: place(path, at + 1), reason };
            value.transpose().map(Option::flatten).map_err(malformed)
        };
        Ok(Row { line: at + 1, values: values.into_iter().map(value).collect::<Result<_, _>>()? })
    };
    let rows = table.file.metadata().file_metadata().num_rows().max(0) as usize;
    Ok((0..rows).map(row).collect())
}

/// What messages call a row.
pub fn place(path: &Path, row: usize) -> String {
    format!("{}, row {row}", path.display())
}

fn wrong(path: &Path, reason: String) -> DataError {
    DataError::Examples { name: path.display().to_string(), reason }
}

fn broken(path: &Path, error: &ParquetError) -> DataError {
    wrong(path, format!("no whole Parquet file: {error}"))
}

/// A value of each row: text, nothing, or what is wrong with it.
type Values = Vec<Result<Option<String>, String>>;

struct Table<'a> {
    path: &'a Path,
    file: SerializedFileReader<File>,
}

impl Table<'_> {
    fn column(&self, column: &Column) -> Result<Option<Values>, DataError> {
        let schema = self.file.metadata().file_metadata().schema_descr();
        let names: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
        let Some(at) = names.iter().position(|name| name == column.name) else {
            let reason = format!("no column `{}`; there are `{}`", column.name, names.join("`, `"));
            return if column.required { Err(wrong(self.path, reason)) } else { Ok(None) };
        };
        let described = schema.column(at);
        if described.max_rep_level() > 0 || described.max_def_level() > 1 {
            let reason =
                format!("the column `{}` holds lists or records; expected text or numbers", column.name);
            return Err(wrong(self.path, reason));
        }
        let classes = self.classes(column.name);
        let mut values = Vec::new();
        for group in 0..self.file.num_row_groups() {
            values.extend(self.stretch(group, at)?);
        }
        let named = |value: Result<Option<String>, String>| match &classes {
            Some(classes) => value.and_then(|value| name(classes, value)),
            None => value,
        };
        Ok(Some(values.into_iter().map(named).collect()))
    }

    /// A column of one group of rows.
    fn stretch(&self, group: usize, at: usize) -> Result<Values, DataError> {
        let broken = |error| broken(self.path, &error);
        let group = self.file.get_row_group(group).map_err(broken)?;
        let chunk = group.metadata().column(at);
        let codec = chunk.compression();
        if !matches!(codec, Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_)) {
            let name = chunk.column_path().string();
            let reason =
                format!("the column `{name}` is compressed by {codec}; expected SNAPPY, GZIP or none");
            return Err(wrong(self.path, reason));
        }
        let rows = group.metadata().num_rows().max(0) as usize;
        let optional = chunk.column_descr().max_def_level() > 0;
        match group.get_column_reader(at).map_err(broken)? {
            ColumnReader::ByteArrayColumnReader(reader) => values(reader, rows, optional, text),
            ColumnReader::Int64ColumnReader(reader) => values(reader, rows, optional, number),
            ColumnReader::Int32ColumnReader(reader) => values(reader, rows, optional, number),
            ColumnReader::BoolColumnReader(reader) => values(reader, rows, optional, number),
            ColumnReader::DoubleColumnReader(reader) => values(reader, rows, optional, number),
            ColumnReader::FloatColumnReader(reader) => values(reader, rows, optional, number),
            _ => {
                let (name, kind) = (chunk.column_path().string(), chunk.column_type());
                let reason = format!("the column `{name}` is {kind}; expected text, numbers or booleans");
                return Err(wrong(self.path, reason));
            }
        }
        .map_err(broken)
    }

    /// Names of the classes that a column holds, if the file gives them.
    fn classes(&self, column: &str) -> Option<Vec<String>> {
        let metadata = self.file.metadata().file_metadata().key_value_metadata()?;
        let text = metadata.iter().find(|entry| entry.key == HUGGING_FACE)?.value.as_deref()?;
        let document: Value = serde_json::from_str(text).ok()?;
        let names = document["info"]["features"].get(column)?.get("names")?.as_array()?;
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    }
}

fn text(value: &ByteArray) -> Result<String, String> {
    let text = std::str::from_utf8(value.data()).map(str::to_owned);
    text.map_err(|error| format!("invalid UTF-8 at byte {}", error.valid_up_to()))
}

fn number(value: &impl ToString) -> Result<String, String> {
    Ok(value.to_string())
}

/// The name of the class of that number.
fn name(classes: &[String], value: Option<String>) -> Result<Option<String>, String> {
    let Some(number) = value.filter(|number| !number.starts_with('-')) else { return Ok(None) };
    let class = number.parse().ok().and_then(|at: usize| classes.get(at));
    let unknown = || format!("class {number}, but the file names {} classes", classes.len());
    class.cloned().map(Some).ok_or_else(unknown)
}

/// All values of a column of one group of rows; `optional` ones may be absent.
fn values<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
    optional: bool,
    word: impl Fn(&T::T) -> Result<String, String>,
) -> Result<Values, ParquetError> {
    let (mut present, mut levels) = (Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        let (records, ..) =
            reader.read_records(rows - read, optional.then_some(&mut levels), None, &mut present)?;
        if records == 0 {
            return Err(ParquetError::EOF(format!("{read} of {rows} values")));
        }
        read += records;
    }
    let mut present = present.iter();
    let mut next = || present.next().map(&word).transpose();
    if !optional {
        return Ok((0..rows).map(|_| next()).collect());
    }
    Ok(levels.iter().map(|&level| if level > 0 { next() } else { Ok(None) }).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use parquet::data_type::{ByteArrayType, Int64Type};
    use parquet::file::metadata::KeyValue;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    const COLUMNS: [Column; 2] =
        [Column { name: "label", required: true }, Column { name: "text", required: true }];
    const NAMES: &str =
        r#"{"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}, "text": {}}}}"#;

    /// A text and its class.
    pub type Labelled<'a> = (Option<&'a [u8]>, i64);

    /// A file of groups of rows; a text that is absent is null.
    pub fn write(path: &Path, groups: &[&[Labelled]], names: Option<&str>, codec: Compression) {
        let schema = "message m { optional binary text (utf8); required int64 label; }";
        let metadata = names.map(|names| vec![KeyValue::new(HUGGING_FACE.into(), names.to_owned())]);
        let properties =
            WriterProperties::builder().set_key_value_metadata(metadata).set_compression(codec).build();
        let file = File::create(path).unwrap();
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
        for rows in groups {
            let mut group = writer.next_row_group().unwrap();
            let texts: Vec<ByteArray> = rows.iter().flat_map(|(text, _)| text.map(ByteArray::from)).collect();
            let levels: Vec<i16> = rows.iter().map(|(text, _)| i16::from(text.is_some())).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None).unwrap();
            column.close().unwrap();
            let labels: Vec<i64> = rows.iter().map(|(_, label)| *label).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int64Type>().write_batch(&labels, None, None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train-00000-of-00001.parquet");
        (folder, path)
    }

    fn values(path: &Path) -> Vec<Result<Vec<Option<String>>, String>> {
        let rows = read(path, &COLUMNS).unwrap().into_iter();
        rows.map(|row| row.map(|row| row.values).map_err(|error| error.to_string())).collect()
    }

    fn pair(label: Option<&str>, text: Option<&str>) -> Result<Vec<Option<String>>, String> {
        Ok([label, text].map(|value| value.map(str::to_owned)).to_vec())
    }

    #[test]
    fn columns_come_by_name_over_all_groups_of_rows() {
        let (_folder, path) = file();
        for codec in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::GZIP(Default::default())] {
            write(&path, &[&[(Some(b"x"), 1), (None, 0)], &[(Some(b"y z"), 7)]], None, codec);
            let expected = [pair(Some("1"), Some("x")), pair(Some("0"), None), pair(Some("7"), Some("y z"))];
            assert_eq!(values(&path), expected);
        }
    }

    #[test]
    fn classes_have_the_names_that_the_file_gives() {
        let (_folder, path) = file();
        let rows: &[Labelled] = &[(Some(b"x"), 1), (Some(b"y"), -1), (Some(b"z"), 2), (Some(b"\xff"), 0)];
        write(&path, &[rows], Some(NAMES), Compression::SNAPPY);
        let found = values(&path);
        assert_eq!(found[..2], [pair(Some("pos"), Some("x")), pair(None, Some("y"))]);
        let error = found[2].as_ref().unwrap_err();
        assert!(error.contains("row 3: class 2, but the file names 2 classes"), "{error}");
        let error = found[3].as_ref().unwrap_err();
        assert!(error.contains("row 4: invalid UTF-8 at byte 0"), "{error}");
        assert_eq!(read(&path, &COLUMNS).unwrap()[0].as_ref().unwrap().line, 1);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let (_folder, path) = file();
        write(&path, &[&[(Some(b"x"), 1)]], None, Compression::SNAPPY);
        let refusal = |columns: &[Column]| read(&path, columns).unwrap_err().to_string();
        let absent = refusal(&[Column { name: "sentence", required: true }]);
        assert!(absent.contains("no column `sentence`; there are `text`, `label`"), "{absent}");
        let optional = read(&path, &[Column { name: "sentence", required: false }]).unwrap();
        assert_eq!(optional[0].as_ref().unwrap().values, [None]);
        let whole = std::fs::read(&path).unwrap();
        for kept in [0, 3, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..kept]).unwrap();
            let cut = refusal(&COLUMNS);
            assert!(cut.contains("train-00000-of-00001.parquet: no whole Parquet file"), "{cut}");
        }
        // The footer is whole, but some pages are not what it says.
        let mut damaged = whole.clone();
        damaged[4..40].fill(0xff);
        std::fs::write(&path, damaged).unwrap();
        let damaged = refusal(&COLUMNS);
        assert!(damaged.contains("no whole Parquet file"), "{damaged}");
    }
}
