//! Generation, one token at a time, in constant memory.
//!
//! The recurrence `S ← S + k̃ v^T`, `o = q̃^T S` is applied in blocks: the newest tokens wait in a short buffer and
//! are read as scores, `o = q̃^T S + Σ_j (q̃ · k̃_j) v_j`, and every C-th token folds the buffer into S. So the state is
//! read but seldom written, and the sums are formed in the order of the chunked form: rounding does not grow with
//! the number of tokens as it does when every token is added to a long sum.

use super::denominator::{axpy, dot};
use super::{Inputs, LinearAttention, Normalizer, State};
use crate::encoding::{Encoder, Side};
use crate::fast_math::FastMath;
use crate::matmul::{Into, Mat, matmul};
use crate::segments::{Mask, Segment};

/// One sequence in the middle of its generation, all heads of one layer.
#[derive(Debug)]
pub struct Recurrent<R: FastMath> {
    attention: LinearAttention<R>,
    params: Vec<R>,
    encoder: Box<dyn Encoder<R>>,
    memory: Memory<R>,
}

/// What a [`Recurrent`] remembers; saving and restoring it continues the sequence to the bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory<R> {
    /// The folded state of one sequence.
    pub state: State<R>,
    /// Encoded keys not folded yet, `[n, H, K']`.
    pub waiting_k: Vec<R>,
    /// Their values, `[n, H, V]`.
    pub waiting_v: Vec<R>,
    /// The sum of their normaliser features, `[H, Z]`.
    pub waiting_z: Vec<R>,
    /// Position of the next token.
    pub position: i64,
}

impl<R: FastMath> Memory<R> {
    /// Starts from a state, with nothing waiting.
    pub fn new(attention: &LinearAttention<R>, state: State<R>, position: i64) -> Self {
        let waiting_z = vec![R::ZERO; attention.heads * attention.normalizer_dim()];
        Self { state, waiting_k: Vec::new(), waiting_v: Vec::new(), waiting_z, position }
    }
}

impl<R: FastMath> Recurrent<R> {
    /// Continues from `memory`, with the encoding's parameters bound once.
    pub fn new(attention: LinearAttention<R>, params: &[R], memory: Memory<R>) -> Self {
        let encoder = attention.encoding.bind(params);
        Self { attention, params: params.to_vec(), encoder, memory }
    }

    /// What has been seen so far.
    pub fn memory(&self) -> &Memory<R> {
        &self.memory
    }

    /// The state with all waiting tokens folded in: what [`LinearAttention::forward`] would have returned.
    pub fn state(&self) -> State<R> {
        let mut memory = self.memory.clone();
        fold(&self.attention, &mut memory);
        memory.state
    }

    /// Takes one token and gives its output.
    ///
    /// # Shapes
    /// - `q`, `k`: `[H, K]`; `v`: `[H, V]`; `out`: `[H, V]`, overwritten
    ///
    /// # Cost
    /// `4·K'·V + (K' + V)·C` FLOPs a head on average: half for reading S, half for folding every C-th token.
    pub fn step(&mut self, q: &[R], k: &[R], v: &[R], out: &mut [R]) {
        let (heads, encoded) = (self.attention.heads, self.attention.encoded_dim());
        let q = self.rows(Side::Query, q);
        let k = self.rows(Side::Key, k);
        let memory = &mut self.memory;
        memory.waiting_k.extend_from_slice(&k.encoded);
        memory.waiting_v.extend_from_slice(v);
        axpy(R::ONE, k.summed(self.attention.normalizer), &mut memory.waiting_z);
        for (head, out) in out.chunks_mut(self.attention.value_dim).enumerate() {
            output(&self.attention, memory, head, &q, out);
        }
        memory.position += 1;
        if memory.waiting_k.len() == self.attention.chunk * heads * encoded {
            fold(&self.attention, memory);
        }
    }

    /// Takes `n` tokens at once, in the chunked form, and gives their outputs.
    ///
    /// # Shapes
    /// - `q`, `k`: `[n, H, K]`; `v`: `[n, H, V]`; result: `[n, H, V]`
    pub fn steps(&mut self, q: &[R], k: &[R], v: &[R]) -> Vec<R> {
        let attention = &self.attention;
        fold(attention, &mut self.memory);
        let len = v.len() / (attention.heads * attention.value_dim);
        let segments = [Segment { start: 0, len, offset: self.memory.position }];
        let inputs = Inputs { q, k, v, params: &self.params, initial: Some(&self.memory.state) };
        let output = attention.forward(Mask::causal(&segments), inputs);
        self.memory.state = output.state;
        self.memory.position += len as i64;
        output.out
    }

    fn rows(&self, side: Side, raw: &[R]) -> Token<R> {
        let (k, encoded_dim) = (self.attention.key_dim(), self.attention.encoded_dim());
        let mut features = vec![R::ZERO; raw.len()];
        self.attention.feature_map.apply(k, raw, &mut features);
        let mut encoded = vec![R::ZERO; self.attention.heads * encoded_dim];
        let rows = features.chunks(k).zip(encoded.chunks_mut(encoded_dim)).enumerate();
        rows.for_each(|(head, (x, out))| self.encoder.encode(side, head, self.memory.position, x, out));
        Token { features, encoded }
    }
}

/// One token's queries or keys, all heads.
struct Token<R> {
    features: Vec<R>,
    encoded: Vec<R>,
}

impl<R> Token<R> {
    fn summed(&self, normalizer: Normalizer) -> &[R] {
        match normalizer {
            Normalizer::Encoded => &self.encoded,
            Normalizer::Plain => &self.features,
            Normalizer::None => &[],
        }
    }
}

fn output<R: FastMath>(
    attention: &LinearAttention<R>,
    memory: &Memory<R>,
    head: usize,
    q: &Token<R>,
    out: &mut [R],
) {
    let (heads, encoded, v) = (attention.heads, attention.encoded_dim(), attention.value_dim);
    let query = &q.encoded[head * encoded..][..encoded];
    out.fill(R::ZERO);
    let waiting = memory.waiting_k.chunks(heads * encoded).zip(memory.waiting_v.chunks(heads * v));
    for (k, values) in waiting {
        axpy(dot(query, &k[head * encoded..][..encoded]), &values[head * v..][..v], out);
    }
    let state = &memory.state.s[head * encoded * v..][..encoded * v];
    query.iter().zip(state.chunks(v)).for_each(|(&q, row)| axpy(q, row, out));
    let z = attention.normalizer_dim();
    if z > 0 {
        let f = &q.summed(attention.normalizer)[head * z..][..z];
        let sum = dot(f, &memory.state.z[head * z..][..z]) + dot(f, &memory.waiting_z[head * z..][..z]);
        let (divisor, _) = attention.divisor(sum);
        out.iter_mut().for_each(|x| *x = *x / divisor);
    }
}

fn fold<R: FastMath>(attention: &LinearAttention<R>, memory: &mut Memory<R>) {
    let (heads, encoded, v) = (attention.heads, attention.encoded_dim(), attention.value_dim);
    let n = memory.waiting_k.len() / (heads * encoded);
    if n == 0 {
        return;
    }
    for head in 0..heads {
        let keys = Mat::strided(&memory.waiting_k[head * encoded..], n, encoded, heads * encoded);
        let values = Mat::strided(&memory.waiting_v[head * v..], n, v, heads * v);
        let state = &mut memory.state.s[head * encoded * v..][..encoded * v];
        matmul(state, Into::Accumulate, keys.t(), values);
    }
    axpy(R::ONE, &memory.waiting_z, &mut memory.state.z);
    memory.waiting_k.clear();
    memory.waiting_v.clear();
    memory.waiting_z.fill(R::ZERO);
}
