//! A session in a file: all that the model remembers, and which model it is.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use relin_kernels::linear_attention::recurrent::Memory;
use relin_kernels::linear_attention::{LinearAttention, State};

use crate::hub::{HubError, TrainedModel, Weights, read_weights, write_tensors};
use crate::model::{CausalLm, LayerMemory, NamedTensor, Session};
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
    save(path, &trained.hash, session, last, &[])
}

/// Saves a session of the model of that hash, the last token, which it has not taken in yet, and what else it goes with.
pub(super) fn save(
    path: &Path,
    hash: &str,
    session: &Session<'_>,
    last: u32,
    more: &[(&str, String)],
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
    let own = [
        note("relin_session", VERSION.into()),
        note("model", hash.into()),
        note("position", session.position().to_string()),
        note("last_token", last.to_string()),
    ];
    let notes: BTreeMap<String, String> =
        own.into_iter().chain(more.iter().map(|(key, value)| note(key, value.clone()))).collect();
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
    let saved = open(path, &trained.model, &trained.hash, trained.tokenizer.vocab_size())?;
    Ok((saved.session, Some(saved.last)))
}

/// A session from a file.
pub(super) struct Saved<'a> {
    pub session: Session<'a>,
    /// The token that it has still to take in.
    pub last: u32,
    /// What stands beside it.
    notes: BTreeMap<String, String>,
    path: PathBuf,
}

impl Saved<'_> {
    /// A list of tokens beside the session, each below `vocabulary`.
    pub fn tokens(&self, key: &str, vocabulary: usize) -> Result<Vec<u32>, StateError> {
        let unreadable = |found: &str| StateError::Unreadable {
            path: self.path.clone(),
            field: key.into(),
            found: found.into(),
        };
        let note = self.notes.get(key).ok_or_else(|| unreadable("missing"))?;
        let token = |word: &str| {
            let token = word.parse().ok().filter(|&token: &u32| (token as usize) < vocabulary);
            token.ok_or_else(|| unreadable(word))
        };
        note.split_whitespace().map(token).collect()
    }
}

/// Loads a session of a model, whose hash and number of tokens are known.
pub(super) fn open<'a>(
    path: &Path,
    model: &'a CausalLm,
    hash: &str,
    vocabulary: usize,
) -> Result<Saved<'a>, StateError> {
    let Weights { tensors, notes, .. } = read_weights(path)?;
    let file = File { path, notes, tensors: tensors.into_iter().map(|t| (t.name, t.data)).collect() };
    if file.note("relin_session")? != VERSION {
        return Err(file.unreadable("relin_session", file.note("relin_session")?));
    }
    if file.note("model")? != hash {
        let (expected, found) = (hash.to_owned(), file.note("model")?.to_owned());
        return Err(StateError::Foreign { path: path.into(), expected, found });
    }
    let position: usize = file.number("position")?;
    let last = file.number::<u32>("last_token")?;
    if last as usize >= vocabulary {
        return Err(file.unreadable("last_token", &last.to_string()));
    }
    let memories = model.attentions().enumerate();
    let memories = memories.map(|(layer, attention)| file.memory(layer, &attention, position));
    let memories = memories.collect::<Result<_, _>>()?;
    let session = Session::restore(model, position, memories);
    Ok(Saved { session, last, notes: file.notes, path: path.into() })
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
