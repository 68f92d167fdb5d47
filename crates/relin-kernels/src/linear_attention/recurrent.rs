//! Generation, one token at a time, in constant memory.
//!
//! The recurrence `S ← S + k̃ v^T`, `o = q̃^T S` is applied in blocks: the newest tokens wait in a short buffer and
//! are read as scores, `o = q̃^T S + Σ_j (q̃ · k̃_j) v_j`, and every B-th token folds the buffer into S. So the state is
//! read but seldom written, and the sums are formed block by block as in the chunked form: rounding does not grow with
//! the number of tokens as it does when every token is added to a long sum.

use super::denominator::{axpy, dot};
use super::fade::Fade;
use super::maps::Maps;
use super::{Inputs, LinearAttention, Normalizer, State};
use crate::encoding::{Encoder, Side, Stage};
use crate::fast_math::FastMath;
use crate::matmul::{Into, Mat, matmul};
use crate::segments::{Mask, Segment};
use crate::simd::dispatch;
use crate::tiles::weighted_rows;

/// One sequence in the middle of its generation, all heads of one layer.
#[derive(Debug)]
pub struct Recurrent<R: FastMath> {
    attention: LinearAttention<R>,
    params: Vec<R>,
    encoder: Box<dyn Encoder<R>>,
    /// Of every head, or of none.
    fades: Vec<Fade<R>>,
    state: State<R>,
    waiting: Waiting<R>,
    /// Position of the next token.
    position: i64,
    /// One token's queries and keys: between φ and the encoding, `[H, L]` each, and after both, `[H, K']` each.
    middle: [Vec<R>; 2],
    encoded: [Vec<R>; 2],
    /// Where single rows are dear to encode.
    maps: Option<Maps<R>>,
}

/// Tokens that wait before they are folded into the state, B. A step reads the state, `K'·V` numbers a head, and what
/// waits, `(K' + V)·B/2`; the state is written once in B steps. Both are small beside the reading of the state at 16.
const WAITING: usize = 16;

/// Tokens not folded into the state yet, in the layout in which a query reads them.
#[derive(Debug)]
struct Waiting<R> {
    len: usize,
    /// B: how many have room.
    room: usize,
    /// Encoded keys, `[H, K', B]`.
    k: Vec<R>,
    /// Values, `[H, B, V]`.
    v: Vec<R>,
    /// The sum of their normaliser features, `[H, Z]`.
    z: Vec<R>,
    /// Scores of one query, `[B]`.
    scores: Vec<R>,
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
    ///
    /// # Panics
    /// If the memory has as many tokens waiting as the attention has in a chunk, or more.
    pub fn new(attention: LinearAttention<R>, params: &[R], memory: Memory<R>) -> Self {
        let attention = attention.with_fitting_chunk().into_owned();
        let (heads, middle, encoded) = (attention.heads, attention.middle_dim(), attention.encoded_dim());
        let two = |width: usize| [vec![R::ZERO; heads * width], vec![R::ZERO; heads * width]];
        Self {
            encoder: attention.encoding.bind(params),
            params: params.to_vec(),
            waiting: Waiting::new(&attention, &memory),
            state: memory.state,
            position: memory.position,
            fades: Fade::of_heads(&attention),
            middle: two(middle),
            encoded: two(encoded),
            maps: Maps::new(&attention),
            attention,
        }
    }

    /// What has been seen so far.
    pub fn memory(&self) -> Memory<R> {
        let (waiting_k, waiting_v) = self.waiting.tokens(&self.attention);
        Memory {
            state: self.state.clone(),
            waiting_k,
            waiting_v,
            waiting_z: self.waiting.z.clone(),
            position: self.position,
        }
    }

    /// The state with all waiting tokens folded in: what [`LinearAttention::forward`] would have returned.
    pub fn state(&self) -> State<R> {
        let mut state = self.state.clone();
        self.waiting.fold(&self.attention, &self.fades, &mut state);
        state
    }

    /// Takes one token and gives its output.
    ///
    /// # Shapes
    /// - `q`, `k`: `[H, K]`; `v`: `[H, V]`; `out`: `[H, V]`, overwritten
    ///
    /// # Cost
    /// `4·K'·V + (K' + V)·B` FLOPs a head on average: half for reading S, half for folding every B-th token. No memory is
    /// allocated but by random features and stochastic encodings. An encoding with a [`halo`](crate::encoding::Encoding::halo)
    /// is asked for its maps of 32 positions at once, which are kept: `64·K·K'` numbers a head.
    pub fn step(&mut self, q: &[R], k: &[R], v: &[R], out: &mut [R]) {
        self.encode(q, k);
        if self.attention.normalizer != Normalizer::None {
            let plain = self.attention.sums_plain_features();
            axpy(R::ONE, if plain { &self.middle[1] } else { &self.encoded[1] }, &mut self.waiting.z);
        }
        self.waiting.push(&self.encoded[1], v, self.attention.value_dim);
        for (head, out) in out.chunks_mut(self.attention.value_dim).enumerate() {
            self.output(head, out);
        }
        self.position += 1;
        if self.waiting.len == self.waiting.room {
            self.fold();
        }
    }

    /// Takes `n` tokens at once, in the chunked form, and gives their outputs.
    ///
    /// # Shapes
    /// - `q`, `k`: `[n, H, K]`; `v`: `[n, H, V]`; result: `[n, H, V]`
    pub fn steps(&mut self, q: &[R], k: &[R], v: &[R]) -> Vec<R> {
        self.fold();
        let attention = &self.attention;
        let len = v.len() / (attention.heads * attention.value_dim);
        let segments = [Segment { start: 0, len, offset: self.position }];
        let inputs = Inputs { q, k, v, params: &self.params, initial: Some(&self.state) };
        let output = attention.forward(Mask::causal(&segments), inputs);
        self.state = output.state;
        self.position += len as i64;
        output.out
    }

    fn encode(&mut self, q: &[R], k: &[R]) {
        let Self { attention, encoder, fades, waiting, middle, encoded, maps, position, .. } = self;
        let (map, heads) = (&attention.feature_map, attention.heads);
        let mut encode = |x: [&[R]; 2], out: [&mut [R]; 2]| match maps {
            Some(maps) => maps.encode_token(&**encoder, heads, *position, x, out),
            None => encoder.encode_token(heads, *position, x, out),
        };
        let [middle_q, middle_k] = middle;
        let [encoded_q, encoded_k] = encoded;
        match attention.stage {
            Stage::AfterFeatureMap => {
                map.apply(Side::Query, q, middle_q);
                map.apply(Side::Key, k, middle_k);
                encode([middle_q, middle_k], [encoded_q, encoded_k]);
            }
            Stage::BeforeFeatureMap => {
                encode([q, k], [middle_q, middle_k]);
                map.apply(Side::Query, middle_q, encoded_q);
                map.apply(Side::Key, middle_k, encoded_k);
            }
        }
        for (side, encoded, middle) in [(Side::Query, encoded_q, middle_q), (Side::Key, encoded_k, middle_k)]
        {
            let rows =
                encoded.chunks_mut(attention.encoded_dim()).zip(middle.chunks_mut(attention.middle_dim()));
            for (fade, (encoded, middle)) in fades.iter().zip(rows) {
                fade.apply(side, waiting.len, [encoded].into_iter());
                if attention.sums_plain_features() {
                    fade.apply(side, waiting.len, [middle].into_iter());
                }
            }
        }
    }

    fn output(&mut self, head: usize, out: &mut [R]) {
        let Waiting { len, room, k, v, z, scores } = &mut self.waiting;
        let (attention, state, room) = (&self.attention, &self.state, *room);
        let (encoded, width) = (attention.encoded_dim(), attention.value_dim);
        let query = &self.encoded[0][head * encoded..][..encoded];
        // Scores of places where no token waits cost nothing: a register holds them all.
        weighted_rows(query, &k[head * encoded * room..], room, scores, Into::Overwrite);
        weighted_rows(query, &state.s[head * encoded * width..], width, out, Into::Overwrite);
        weighted_rows(&scores[..*len], &v[head * room * width..], width, out, Into::Accumulate);
        let f = match attention.normalizer {
            Normalizer::None => return,
            _ if attention.sums_plain_features() => {
                &self.middle[0][head * attention.middle_dim()..][..attention.middle_dim()]
            }
            _ => query,
        };
        let sum = dispatch(
            #[inline(always)]
            || dot(f, &state.z[head * f.len()..]) + dot(f, &z[head * f.len()..]),
        );
        let factor = R::ONE / attention.divisor(sum).0;
        out.iter_mut().for_each(|x| *x *= factor);
    }

    fn fold(&mut self) {
        self.waiting.fold(&self.attention, &self.fades, &mut self.state);
        self.waiting.len = 0;
        self.waiting.z.fill(R::ZERO);
    }
}

impl<R: FastMath> Waiting<R> {
    fn new(attention: &LinearAttention<R>, memory: &Memory<R>) -> Self {
        let (heads, encoded, width) = (attention.heads, attention.encoded_dim(), attention.value_dim);
        let len = memory.waiting_k.len() / (heads * encoded);
        assert!(
            len < attention.chunk,
            "{len} tokens wait, which is no less than the chunk of {}",
            attention.chunk
        );
        let room = attention.chunk.min(WAITING).max(len + 1);
        let mut waiting = Self {
            len: 0,
            room,
            k: vec![R::ZERO; heads * encoded * room],
            v: vec![R::ZERO; heads * room * width],
            z: memory.waiting_z.clone(),
            scores: vec![R::ZERO; room],
        };
        let values = memory.waiting_v.chunks(heads * width);
        for (k, v) in memory.waiting_k.chunks(heads * encoded).zip(values) {
            waiting.push(k, v, width);
        }
        waiting
    }

    fn push(&mut self, k: &[R], v: &[R], width: usize) {
        for (column, &k) in self.k.chunks_mut(self.room).zip(k) {
            column[self.len] = k;
        }
        for (rows, v) in self.v.chunks_mut(self.room * width).zip(v.chunks(width)) {
            rows[self.len * width..][..width].copy_from_slice(v);
        }
        self.len += 1;
    }

    /// Keys `[n, H, K']` and values `[n, H, V]`, as they came.
    fn tokens(&self, attention: &LinearAttention<R>) -> (Vec<R>, Vec<R>) {
        let (room, width) = (self.room, attention.value_dim);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for i in 0..self.len {
            keys.extend(self.k.chunks(room).map(|column| column[i]));
            self.v
                .chunks(room * width)
                .for_each(|rows| values.extend_from_slice(&rows[i * width..][..width]));
        }
        (keys, values)
    }

    /// Adds the waiting tokens to a state.
    fn fold(&self, attention: &LinearAttention<R>, fades: &[Fade<R>], state: &mut State<R>) {
        let (room, encoded, width) = (self.room, attention.encoded_dim(), attention.value_dim);
        if self.len == 0 {
            return;
        }
        let heads = self.k.chunks(encoded * room).zip(self.v.chunks(room * width));
        for ((k, v), s) in heads.zip(state.s.chunks_mut(encoded * width)) {
            let keys = Mat::strided(k, encoded, self.len, room);
            matmul(s, Into::Accumulate, keys, Mat::new(v, self.len, width));
        }
        axpy(R::ONE, &self.z, &mut state.z);
        let z_dim = attention.normalizer_dim();
        for (head, fade) in fades.iter().enumerate() {
            let s = &mut state.s[head * encoded * width..][..encoded * width];
            fade.pass_state(self.len, s, width, &mut state.z[head * z_dim..][..z_dim]);
        }
    }
}
