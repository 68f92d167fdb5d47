//! `model.safetensors`, and any other set of named tensors.
//!
//! The file is written here rather than by the `safetensors` crate, whose header lists its metadata in an arbitrary
//! order: equal weights must give equal bytes.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::HubError;
use crate::hexadecimal::hexadecimal;
use crate::model::NamedTensor;
use crate::runlog::write_atomic;

/// Named tensors and what stands beside them in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// The tensors, by name.
    pub tensors: Vec<NamedTensor>,
    /// SHA-256 of names, shapes and elements.
    pub hash: String,
    /// Further entries of the file's metadata.
    pub notes: BTreeMap<String, String>,
}

/// Key of the metadata that holds the sum.
const SUM: &str = "sha256";

/// Writes tensors with their SHA-256, whole or not at all, and returns the sum.
///
/// # Errors
/// If the file cannot be written; a former file then stays as it was.
pub fn write_weights(path: &Path, tensors: Vec<NamedTensor>) -> Result<String, HubError> {
    write_tensors(path, tensors, BTreeMap::from([("format".to_owned(), "pt".to_owned())]))
}

/// [`write_weights`] with other notes beside the sum.
///
/// # Errors
/// As [`write_weights`].
pub fn write_tensors(
    path: &Path,
    mut tensors: Vec<NamedTensor>,
    mut notes: BTreeMap<String, String>,
) -> Result<String, HubError> {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let hash = hash(&tensors);
    notes.insert(SUM.into(), hash.clone());
    let mut header = serde_json::Map::from_iter([("__metadata__".to_owned(), json!(notes))]);
    let mut end = 0;
    for NamedTensor { name, shape, data } in &tensors {
        let start = end;
        end += 4 * data.len();
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = Vec::with_capacity(8 + header.len() + end);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    tensors.iter().flat_map(|tensor| &tensor.data).for_each(|x| bytes.extend(x.to_le_bytes()));
    write_atomic(path, &bytes)?;
    Ok(hash)
}

/// Reads tensors and checks them against the sum written with them, if there is one.
///
/// # Errors
/// If the file cannot be read, is truncated or damaged, or holds a type other than f32.
pub fn read_weights(path: &Path) -> Result<Weights, HubError> {
    let bytes = std::fs::read(path).map_err(|source| HubError::Read { path: path.into(), source })?;
    let broken = |source| HubError::Safetensors { path: path.into(), source };
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let mut tensors = Vec::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            let found = format!("{:?}", view.dtype());
            return Err(HubError::Type { path: path.into(), name: name.into(), found });
        }
        let data =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        tensors.push(NamedTensor { name: name.into(), shape: view.shape().to_vec(), data });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let found = hash(&tensors);
    let mut notes: BTreeMap<String, String> =
        metadata.metadata().clone().unwrap_or_default().into_iter().collect();
    match notes.remove(SUM) {
        Some(expected) if expected != found => Err(HubError::Damaged { path: path.into(), expected, found }),
        _ => Ok(Weights { tensors, hash: found, notes }),
    }
}

fn hash(tensors: &[NamedTensor]) -> String {
    let mut sum = Sha256::new();
    for NamedTensor { name, shape, data } in tensors {
        sum.update(format!("{name}{shape:?}"));
        data.iter().for_each(|x| sum.update(x.to_le_bytes()));
    }
    hexadecimal(&sum.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<NamedTensor> {
        let tensor = |name: &str, shape: &[usize]| {
            let len = shape.iter().product::<usize>();
            NamedTensor {
                name: name.into(),
                shape: shape.to_vec(),
                data: (0..len).map(|i| i as f32 - 1.5).collect(),
            }
        };
        vec![tensor("b", &[2, 3]), tensor("a.weight", &[4])]
    }

    #[test]
    fn what_is_written_is_read_and_equal_tensors_give_equal_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let hash = write_weights(&one, tensors()).unwrap();
        let read = read_weights(&one).unwrap();
        assert_eq!(read.hash, hash);
        assert_eq!(read.tensors[1], tensors()[0]);
        write_weights(&two, tensors().into_iter().rev().collect()).unwrap();
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        write_weights(&path, tensors()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let original = read_weights(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            std::fs::write(&path, &flipped).unwrap();
            // A flip in the name of a metadata key hides the sum, but leaves the tensors as they were.
            if let Ok(read) = read_weights(&path) {
                assert_eq!(read.tensors, original.tensors, "byte {at}");
            }
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(read_weights(&path).is_err(), "truncated to {at} bytes");
        }
    }
}
