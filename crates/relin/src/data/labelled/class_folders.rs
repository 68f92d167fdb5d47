//! A folder whose subfolders are classes, with one text a file.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::{DataError, source};
use super::texts::Example;

/// The subfolder of texts without a class in the usual layout of film reviews.
const UNLABELLED: &str = "unsup";

/// The texts of all classes, class by class and file by file, both in the order of their names. Files may lie in
/// folders of their own below a class. `any_bytes` says that texts need not be UTF-8.
///
/// # Errors
/// If there is no class, or one without a file; if a folder cannot be read.
pub fn read(folder: &Path, any_bytes: bool) -> Result<Vec<Result<Example, DataError>>, DataError> {
    let classes = classes(folder)?;
    if classes.is_empty() {
        return Err(wrong(folder, "expected tables, or one folder a class; found neither".into()));
    }
    let mut examples = Vec::new();
    for (class, path) in classes {
        let mut files = Vec::new();
        source::gather(&path, &mut files)?;
        files.sort();
        if files.is_empty() {
            return Err(wrong(&path, format!("the folder of the class `{class}` has no file")));
        }
        examples.extend(files.iter().map(|file| example(file, &class, any_bytes)));
    }
    Ok(examples)
}

fn wrong(path: &Path, reason: String) -> DataError {
    DataError::Examples { name: path.display().to_string(), reason }
}

/// The names of the classes and their folders, in order.
fn classes(folder: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let mut classes = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io("read", folder))? {
        let entry = entry.map_err(DataError::io("read", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') && name != UNLABELLED {
            classes.push((name, entry.path()));
        }
    }
    classes.sort();
    Ok(classes)
}

fn example(file: &Path, class: &str, any_bytes: bool) -> Result<Example, DataError> {
    let text = fs::read(file).map_err(DataError::io("read", file))?;
    match std::str::from_utf8(&text) {
        Err(error) if !any_bytes => {
            Err(DataError::InvalidUtf8 { file: file.display().to_string(), offset: error.valid_up_to() })
        }
        _ => Ok(Example { place: file.display().to_string(), text, pair: None, class: Some(class.into()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn folders_are_classes_and_files_texts_in_order() {
        let folder = folder(&[
            ("pos/1_9.txt", b"good"),
            ("neg/deep/2_1.txt", b"dull"),
            ("neg/0_2.txt", b"bad"),
            ("unsup/0_0.txt", b"unknown"),
            (".git/x", b"hidden"),
            ("urls.txt", b"no example"),
        ]);
        let examples = read(folder.path(), false).unwrap();
        let found: Vec<(String, String)> = examples
            .into_iter()
            .map(|example| example.unwrap())
            .map(|example| (example.class.unwrap(), String::from_utf8(example.text).unwrap()))
            .collect();
        let expected = [("neg", "bad"), ("neg", "dull"), ("pos", "good")];
        assert_eq!(found, expected.map(|(class, text)| (class.to_owned(), text.to_owned())));
    }

    #[test]
    fn bytes_that_are_no_text_are_taken_only_where_any_will_do() {
        let folder = folder(&[("a/x", b"caf\xe9"), ("b/y", b"z")]);
        assert_eq!(read(folder.path(), true).unwrap()[0].as_ref().unwrap().text, b"caf\xe9");
        let examples = read(folder.path(), false).unwrap();
        let error = examples[0].as_ref().unwrap_err().to_string();
        assert!(error.contains("invalid UTF-8 at byte 3") && examples[1].is_ok(), "{error}");
    }

    #[test]
    fn classes_without_files_and_folders_without_classes_are_named() {
        let empty = folder(&[("pos/1.txt", b"x")]);
        fs::create_dir(empty.path().join("neg")).unwrap();
        let error = read(empty.path(), false).unwrap_err().to_string();
        assert!(error.contains("class `neg` has no file"), "{error}");
        let none = folder(&[("a.txt", b"x"), ("unsup/1.txt", b"x")]);
        let error = read(none.path(), false).unwrap_err().to_string();
        assert!(error.contains("one folder a class"), "{error}");
    }
}
