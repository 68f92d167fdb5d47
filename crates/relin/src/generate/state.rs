//! A session in a file: all that the model remembers, and which model it is.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use relin_kernels::linear_attention::recurrent::Memory;
use relin_kernels::linear_attention::{LinearAttention, State};

use crate::hub::{HubError, TrainedModel, Weights, read_weights, write_tensors};
use crate::model::{LayerMemory, NamedTensor, Session};
use crate::nn::{Attention, Kind};

const VERSION: &str = "1";

/// Why a session cannot be loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file.
    #[error(transparent)]
    File(#[from] HubError),
    /// Another model's session.
    #[error("{} is a session of the model {found}, not of this one, {expected}", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// SHA-256 of this model.
        expected: String,
        /// SHA-256 of the session's model.
        found: String,
    },
    /// Not a session, or of another version.
    #[error("{} is no session that this build reads: `{field}` is {found}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Which entry.
        field: String,
        /// What it holds.
        found: String,
    },
}

/// Saves a session and the last token, which it has not taken in yet.
///
/// # Errors
/// If the file cannot be written.
pub fn save_session(
    path: &Path,
    trained: &TrainedModel,
    session: &Session<'_>,
    last: u32,
) -> Result<(), StateError> {
    let mut tensors = Vec::new();
    for (layer, memory) in session.memories().into_iter().enumerate() {
        let mut push = |part: &str, data: Vec<f32>| {
            tensors.push(NamedTensor { name: format!("{layer}.{part}"), shape: vec![data.len()], data });
        };
        match memory {
            LayerMemory::Linear(memory) => {
                push("s", memory.state.s);
                push("z", memory.state.z);
                push("waiting_k", memory.waiting_k);
                push("waiting_v", memory.waiting_v);
                push("waiting_z", memory.waiting_z);
            }
            LayerMemory::Softmax { k, v } => {
                push("k", k);
                push("v", v);
            }
        }
    }
    let note = |key: &str, value: String| (key.to_owned(), value);
    let notes = BTreeMap::from([
        note("relin_session", VERSION.into()),
        note("model", trained.hash.clone()),
        note("position", session.position().to_string()),
        note("last_token", last.to_string()),
    ]);
    write_tensors(path, tensors, notes)?;
    Ok(())
}

/// Loads a session of this model, and the token that it has still to take in.
///
/// # Errors
/// If the file is damaged, no session, or another model's.
pub fn load_session<'a>(
    path: &Path,
    trained: &'a TrainedModel,
) -> Result<(Session<'a>, Option<u32>), StateError> {
    let Weights { tensors, notes, .. } = read_weights(path)?;
    let file = File { path, notes, tensors: tensors.into_iter().map(|t| (t.name, t.data)).collect() };
    if file.note("relin_session")? != VERSION {
        return Err(file.unreadable("relin_session", file.note("relin_session")?));
    }
    if file.note("model")? != trained.hash {
        let (expected, found) = (trained.hash.clone(), file.note("model")?.to_owned());
        return Err(StateError::Foreign { path: path.into(), expected, found });
    }
    let position: usize = file.number("position")?;
    let last = file.number::<u32>("last_token")?;
    if last as usize >= trained.tokenizer.vocab_size() {
        return Err(file.unreadable("last_token", &last.to_string()));
    }
    let memories = trained.model.attentions().enumerate();
    let memories = memories.map(|(layer, attention)| file.memory(layer, &attention, position));
    let memories = memories.collect::<Result<_, _>>()?;
    Ok((Session::restore(&trained.model, position, memories), Some(last)))
}

struct File<'a> {
    path: &'a Path,
    notes: BTreeMap<String, String>,
    tensors: HashMap<String, Vec<f32>>,
}

impl File<'_> {
    fn unreadable(&self, field: &str, found: &str) -> StateError {
        StateError::Unreadable { path: self.path.into(), field: field.into(), found: found.into() }
    }

    fn note(&self, key: &str) -> Result<&str, StateError> {
        self.notes.get(key).map(String::as_str).ok_or_else(|| self.unreadable(key, "missing"))
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T, StateError> {
        let note = self.note(key)?;
        note.parse().map_err(|_| self.unreadable(key, note))
    }

    /// A layer's tensor whose length passes the check.
    fn tensor(&self, layer: usize, part: &str, fits: impl Fn(usize) -> bool) -> Result<Vec<f32>, StateError> {
        let name = format!("{layer}.{part}");
        let Some(data) = self.tensors.get(&name) else { return Err(self.unreadable(&name, "missing")) };
        if !fits(data.len()) {
            return Err(self.unreadable(&name, &format!("{} numbers", data.len())));
        }
        Ok(data.clone())
    }

    fn memory(
        &self,
        layer: usize,
        attention: &Attention,
        position: usize,
    ) -> Result<LayerMemory, StateError> {
        match attention.kind() {
            Kind::Linear { .. } => self.linear(layer, &attention.linear(), position),
            Kind::Softmax => {
                let kernel = attention.softmax();
                let k = position * kernel.heads * kernel.key_dim;
                let v = position * kernel.heads * kernel.value_dim;
                Ok(LayerMemory::Softmax {
                    k: self.tensor(layer, "k", |len| len == k)?,
                    v: self.tensor(layer, "v", |len| len == v)?,
                })
            }
        }
    }

    fn linear(
        &self,
        layer: usize,
        kernel: &LinearAttention<f32>,
        position: usize,
    ) -> Result<LayerMemory, StateError> {
        let zero = kernel.zero_state(1);
        let (k, v) = (kernel.heads * kernel.encoded_dim(), kernel.heads * kernel.value_dim);
        let waiting_k = self.tensor(layer, "waiting_k", |len| len % k == 0 && len < k * kernel.chunk)?;
        let waiting = waiting_k.len() / k;
        Ok(LayerMemory::Linear(Memory {
            state: State {
                s: self.tensor(layer, "s", |len| len == zero.s.len())?,
                z: self.tensor(layer, "z", |len| len == zero.z.len())?,
            },
            waiting_v: self.tensor(layer, "waiting_v", |len| len == waiting * v)?,
            waiting_z: self.tensor(layer, "waiting_z", |len| len == zero.z.len())?,
            waiting_k,
            position: position as i64,
        }))
    }
}
