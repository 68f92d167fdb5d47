//! Embeddings of n-grams beside those of single tokens: what a tokenizer's longer tokens are to words, for models of bytes.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::{Embedding, EmbeddingConfig};

/// Configuration of an [`Ngrams`].
#[derive(Clone, Debug)]
pub struct NgramsConfig {
    /// Each n.
    pub lengths: Vec<usize>,
    /// Rows of the table.
    pub buckets: usize,
    /// `D`.
    pub width: usize,
}

impl NgramsConfig {
    /// Builds the module.
    pub fn init(&self, device: &Device) -> Ngrams {
        let table = EmbeddingConfig { count: self.buckets, width: self.width }.init(device);
        Ngrams { table, lengths: self.lengths.clone() }
    }
}

/// `Σ_n E[hash(n, x_{t−n+1} … x_t) mod rows]`: one table for the n tokens that end at each token, for every n; near the beginning, of
/// the tokens that there are. n-grams of one hash share a row.
///
/// # Reference
/// Pagnoni et al. 2024, "Byte Latent Transformer" (arXiv 2412.09871) §3.2.1, where every n has its table.
#[derive(Module, Debug)]
pub struct Ngrams {
    table: Embedding,
    #[module(skip)]
    lengths: Vec<usize>,
}

impl Ngrams {
    /// # Shapes
    /// `B·T` tokens to `[B, T, D]`
    pub fn forward(&self, tokens: &[u32], shape: [usize; 2]) -> Tensor<3> {
        let buckets = self.table.weight.dims()[0];
        let of_length = |&n: &usize| self.table.forward(rows(tokens, shape[1], n, buckets), shape);
        let sum = self.lengths.iter().map(of_length).reduce(|sum, more| sum + more);
        sum.expect("n-grams have a length")
    }
}

/// The row of the n tokens that end at each token of sequences of `time` tokens.
fn rows(tokens: &[u32], time: usize, n: usize, buckets: usize) -> Vec<u32> {
    let sequences = tokens.chunks(time.max(1));
    let row = |ngram: &[u32]| (hash(n, ngram) % buckets as u64) as u32;
    sequences
        .flat_map(|tokens| (1..=tokens.len()).map(|end| row(&tokens[end.saturating_sub(n)..end])))
        .collect()
}

/// FNV-1a over whole tokens, its high bits folded onto the low ones, which a power of two of rows would take alone.
fn hash(n: usize, ngram: &[u32]) -> u64 {
    let seed = 0xcbf2_9ce4_8422_2325 ^ n as u64;
    let hash =
        ngram.iter().fold(seed, |hash, &token| (hash ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3));
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ngram_has_one_row_wherever_it_is_and_sees_nothing_after_it() {
        let text = |text: &str| text.bytes().map(u32::from).collect::<Vec<u32>>();
        let rows = |tokens: &[u32], n| super::rows(tokens, tokens.len(), n, 1 << 20);
        let (long, other) = (rows(&text("the cat, the dog"), 3), rows(&text("see the"), 3));
        assert_eq!(long.len(), 16);
        assert_eq!((long[2], long[11]), (long[11], other[6]), "the");
        assert_eq!(rows(&text("the"), 3), long[..3]);
        assert_ne!(long[0], rows(&text("the"), 2)[0], "another length has other rows");
        let distinct: std::collections::BTreeSet<u32> = long.iter().copied().collect();
        assert_eq!(distinct.len(), 14, "`the` and `he ` come twice: {long:?}");
    }

    #[test]
    fn sequences_are_apart_and_rows_are_in_the_table() {
        let tokens: Vec<u32> = (0..400).map(|t| t % 7).collect();
        let both = rows(&tokens, 200, 4, 13);
        assert!(both.iter().all(|&row| row < 13));
        assert_eq!(both[200..], rows(&tokens[200..], 200, 4, 13)[..]);
    }
}
