//! Decoding one token at a time.

use super::Tokenizer;

/// Turns tokens into text as they come, and withholds bytes until their character is complete.
#[derive(Clone, Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Bytes of an unfinished character.
    pending: Vec<u8>,
    /// For tokenizers whose text depends on neighbours: the last tokens, and how many of them are told already.
    recent: Vec<u32>,
    told: usize,
}

impl<'a> DecodeStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, pending: Vec::new(), recent: Vec::new(), told: 0 }
    }

    /// The text that `id` completes; `None` while a character is unfinished. Bytes that can start no character
    /// become U+FFFD.
    pub fn push(&mut self, id: u32) -> Option<String> {
        if self.tokenizer.append_bytes(id, &mut self.pending) {
            let complete = complete_length(&self.pending);
            let text = String::from_utf8_lossy(&self.pending[..complete]).into_owned();
            self.pending.drain(..complete);
            return (!text.is_empty()).then_some(text);
        }
        self.recent.push(id);
        let text = self.untold();
        if text.is_empty() || text.ends_with('\u{FFFD}') {
            return None;
        }
        self.recent.drain(..self.told);
        self.told = self.recent.len();
        Some(text)
    }

    /// What is left when no more tokens come: U+FFFD for an unfinished character.
    pub fn finish(self) -> Option<String> {
        let text = match self.recent.len() > self.told {
            true => self.untold(),
            false => String::from_utf8_lossy(&self.pending).into_owned(),
        };
        (!text.is_empty()).then_some(text)
    }

    /// The text of the tokens not told yet, decoded behind those before them, since spaces depend on them.
    fn untold(&self) -> String {
        let before = self.tokenizer.decode(&self.recent[..self.told]);
        let whole = self.tokenizer.decode(&self.recent);
        whole.get(before.len()..).unwrap_or_default().to_owned()
    }
}

/// How many of `bytes` are settled: all but the beginning of a character at the end.
fn complete_length(bytes: &[u8]) -> usize {
    let mut settled = 0;
    loop {
        match std::str::from_utf8(&bytes[settled..]) {
            Ok(_) => return bytes.len(),
            Err(error) => match error.error_len() {
                None => return settled + error.valid_up_to(),
                Some(bad) => settled += error.valid_up_to() + bad,
            },
        }
    }
}
