//! Attention to all keys with a decay: `λ^|lag|` is a product of powers on either side of a query.
//!
//! ```text
//! O_c = tril(Q⁺ K⁺^T) V + Q⁺ P_c  +  (tril(K⁻ Q⁻^T) − diag)^T V + Q⁻ F_c
//! P_{c+1} = λ^n (P_c + K⁺^T V)            F_{c−1} = λ^n (F_c + K⁻^T V)
//! ```
//!
//! The past, with the token itself, is the causal form. The future is its mirror image: in a chunk of n rows, row i has the
//! powers of λ that row n − 1 − i has there, keys and queries change places in the scores, and what a chunk leaves is for
//! the one before it. F belongs to the position of its first key.

use std::slice;

use super::LinearAttention;
use super::border::{Border, KeysAndValues};
use super::call::{Cotangent, chunks};
use super::chunked::{self, BackwardTask, Task};
use super::denominator::SummedGradient;
use super::head::{Head, Rows, add};
use crate::encoding::Side;
use crate::fast_math::FastMath;
use crate::tiles::{Onto, Part, Term, Tile, product};

/// What a thread needs for one chunk, forward.
#[derive(Debug)]
pub(super) struct Workspace<R: FastMath> {
    past: chunked::Workspace<R>,
    future: Future<R>,
}

impl<R: FastMath> Workspace<R> {
    pub fn new(attention: &LinearAttention<R>) -> Self {
        Self { past: chunked::Workspace::new(attention), future: Future::new(attention) }
    }
}

/// What a chunk needs to look ahead.
#[derive(Debug)]
struct Future<R: FastMath> {
    queries: Rows<R>,
    keys: Rows<R>,
    /// `K' × n`.
    queries_t: Tile<R>,
    /// `n × n`, keys by queries, below the diagonal.
    scores: Tile<R>,
    /// F of each chunk. The list keeps the room it once needed.
    borders: Vec<Border<R>>,
}

impl<R: FastMath> Future<R> {
    fn new(attention: &LinearAttention<R>) -> Self {
        Self {
            queries: Rows::new(attention),
            keys: Rows::new(attention),
            queries_t: Tile::new(attention.encoded_dim(), attention.chunk),
            scores: Tile::new(attention.chunk, attention.chunk),
            borders: Vec::new(),
        }
    }

    /// F of every chunk of the head's tokens.
    fn find_borders(&mut self, head: &Head<'_, R>, kv: &mut KeysAndValues<R>) {
        let Head { attention, tokens, .. } = head;
        let Self { keys, borders, .. } = self;
        clear(borders, head);
        let all = chunks(tokens.len, attention.chunk).enumerate();
        for (c, (from, n)) in all.skip(1).rev() {
            kv.load(head, from, n);
            keys.turn(head, Side::Key, &kv.keys);
            let (before, after) = borders.split_at_mut(c);
            before[c - 1].copy_from(&after[0]);
            before[c - 1].add(head, keys, &kv.values, head.before(from, 0, 1));
        }
    }

    /// The rows that a chunk has loaded, as they look ahead, and what that adds to the sums of their scores.
    fn load(&mut self, head: &Head<'_, R>, chunk: usize, past: &mut chunked::Workspace<R>) {
        self.queries.turn(head, Side::Query, &past.queries);
        self.keys.turn(head, Side::Key, &past.kv.keys);
        let sums = &mut past.sums[..self.queries.len()];
        head.attention.later_sums(&self.borders[chunk].z, &self.queries, &self.keys, sums);
    }

    /// `tril(K⁻ Q⁻^T) − diag`.
    fn score(&mut self) {
        self.queries_t.transpose_of(&self.queries.encoded);
        let n = self.queries.len();
        chunked::lower_product(&self.keys.encoded, &self.queries_t, n, &mut self.scores, []);
        self.scores.clear_diagonal();
    }
}

/// Makes room for a border of every chunk, each of them zero.
fn clear<R: FastMath>(borders: &mut Vec<Border<R>>, head: &Head<'_, R>) {
    let Head { attention, tokens, .. } = head;
    let count = tokens.len.div_ceil(attention.chunk);
    borders.resize_with(count.max(borders.len()), || Border::zero(attention));
    borders[..count].iter_mut().for_each(Border::clear);
}

/// Writes one head's outputs, chunk by chunk.
pub(super) fn forward<R: FastMath>(workspace: &mut Workspace<R>, task: &mut Task<'_, R>) {
    let Task { head, border, out } = task;
    let Head { attention, tokens, .. } = *head;
    let Workspace { past, future } = workspace;
    future.find_borders(head, &mut past.kv);
    for (c, (from, n)) in chunks(tokens.len, attention.chunk).enumerate() {
        past.load(head, from, n, &border.z);
        future.load(head, c, past);
        past.score(n, []);
        future.score();
        let chunked::Workspace { queries, kv, scores, out: values, sums, .. } = past;
        values.resize(n, attention.value_dim);
        let terms = [
            Term::lower(scores, &kv.values),
            Term::new(&queries.encoded, &border.s),
            Term::lower_transposed(&future.scores, &kv.values),
            Term::new(&future.queries.encoded, &future.borders[c].s),
        ];
        product(values, Part::Full, Onto::Zero, terms);
        attention.divide(&sums[..n], values, from, out);
        border.add(head, &kv.keys, &kv.values, head.after(from + n, 0, 1));
    }
}

/// What a thread needs for one chunk, backward.
#[derive(Debug)]
pub(super) struct BackwardWorkspace<R: FastMath> {
    past: chunked::BackwardWorkspace<R>,
    future: Future<R>,
    /// For each chunk, the gradient of the F that its keys join, as of its last key.
    d_borders: Vec<Border<R>>,
    /// `V × n`.
    d_out_t: Tile<R>,
    /// `n × n`, keys by queries, below the diagonal.
    d_scores: Tile<R>,
    /// `n × K'`.
    d_queries: Tile<R>,
    d_keys: Tile<R>,
    /// `V × K'`: the transpose of F, then of its gradient.
    state_t: Tile<R>,
    /// `[n, L]` each: the normaliser's gradients for un-encoded features.
    d_features: [Vec<R>; 2],
}

impl<R: FastMath> BackwardWorkspace<R> {
    pub fn new(attention: &LinearAttention<R>) -> Self {
        let (chunk, k, v) = (attention.chunk, attention.encoded_dim(), attention.value_dim);
        let features = || vec![R::ZERO; chunk * attention.middle_dim()];
        Self {
            past: chunked::BackwardWorkspace::new(attention),
            future: Future::new(attention),
            d_borders: Vec::new(),
            d_out_t: Tile::new(v, chunk),
            d_scores: Tile::new(chunk, chunk),
            d_queries: Tile::new(chunk, k),
            d_keys: Tile::new(chunk, k),
            state_t: Tile::new(v, k),
            d_features: [features(), features()],
        }
    }

    /// What the queries of the chunks before give to the gradients of F.
    fn find_d_borders(&mut self, task: &BackwardTask<'_, R>, cotangent: Cotangent<'_, R>) {
        let (head, Head { attention, tokens, .. }) = (&task.head, task.head);
        let Self { past, future, d_borders, .. } = self;
        clear(d_borders, head);
        let next_chunks = chunks(tokens.len, attention.chunk).skip(1);
        for (c, ((from, n), (_, next))) in chunks(tokens.len, attention.chunk).zip(next_chunks).enumerate() {
            past.forward.load(head, from, n, &past.borders[c].z);
            future.load(head, c, &mut past.forward);
            past.weigh(head, cotangent, from, n);
            let (before, after) = d_borders.split_at_mut(c + 1);
            let d_border = &mut after[0];
            d_border.copy_from(&before[c]);
            let own = Term::transposed(&future.queries.encoded, &past.d_out);
            product(&mut d_border.s, Part::Full, Onto::Itself, [own]);
            attention.add_weighted(&past.forward.sums[..n], &future.queries, &mut d_border.z);
            if let Some(fade) = head.fade {
                fade.pass_border(next, d_border);
            }
        }
    }

    /// Adds to the gradients of a chunk's rows and values what comes from looking ahead.
    fn add_row_gradients(&mut self, head: &Head<'_, R>, chunk: usize, n: usize) {
        let attention = head.attention;
        let Self { past, future, d_out_t, d_scores, d_queries, d_keys, state_t, .. } = self;
        let (border, d_border) = (&future.borders[chunk], &mut self.d_borders[chunk]);
        let (d_out, values) = (&past.d_out, &past.forward.kv.values);
        let (q, k) = (&future.queries.encoded, &future.keys.encoded);
        d_out_t.transpose_of(d_out);
        chunked::lower_product(values, d_out_t, n, d_scores, []);
        d_scores.clear_diagonal();
        d_queries.resize(n, attention.encoded_dim());
        state_t.transpose_of(&border.s);
        let terms = [Term::lower_transposed(d_scores, k), Term::new(d_out, state_t)];
        product(d_queries, Part::Full, Onto::Zero, terms);
        d_keys.resize(n, attention.encoded_dim());
        state_t.transpose_of(&d_border.s);
        let terms = [Term::lower(d_scores, q), Term::new(values, state_t)];
        product(d_keys, Part::Full, Onto::Zero, terms);
        let terms = [Term::lower(&future.scores, d_out), Term::new(k, &d_border.s)];
        product(&mut past.d_values, Part::Full, Onto::Itself, terms);

        let [d_f, d_g] = self.d_features.each_mut().map(|d| &mut d[..n * attention.middle_dim()]);
        attention.later_sums_vjp(
            &border.z,
            &mut d_border.z,
            [&future.queries, &future.keys],
            &past.forward.sums[..n],
            &mut SummedGradient::new(attention, d_queries, d_f),
            &mut SummedGradient::new(attention, d_keys, d_g),
        );
        let [past_f, past_g] = past.d_features.each_mut();
        add_turned(head, Side::Query, n, [d_queries, &mut past.d_queries], [d_f, past_f]);
        add_turned(head, Side::Key, n, [d_keys, &mut past.d_keys], [d_g, past_g]);
    }
}

/// Adds gradients of rows that look ahead to those of the same rows as they look back.
fn add_turned<R: FastMath>(
    head: &Head<'_, R>,
    side: Side,
    n: usize,
    [ahead, back]: [&mut Tile<R>; 2],
    [ahead_features, back_features]: [&mut [R]; 2],
) {
    head.turn(side, ahead.rows_mut().take(n));
    add(back.data_mut(), ahead.data());
    if head.attention.sums_plain_features() {
        head.turn(side, ahead_features.chunks_mut(head.attention.middle_dim()));
        add(back_features, ahead_features);
    }
}

/// Writes one head's gradients, chunk by chunk.
pub(super) fn backward<R: FastMath>(
    workspace: &mut BackwardWorkspace<R>,
    cotangent: Cotangent<'_, R>,
    task: &mut BackwardTask<'_, R>,
) {
    let Head { attention, tokens, .. } = task.head;
    workspace.past.find_borders(slice::from_ref(task));
    workspace.future.find_borders(&task.head, &mut workspace.past.forward.kv);
    workspace.find_d_borders(task, cotangent);
    for (c, (from, n)) in chunks(tokens.len, attention.chunk).enumerate().rev() {
        let BackwardWorkspace { past, future, .. } = workspace;
        past.load(task, c, from, n);
        future.load(&task.head, c, &mut past.forward);
        past.weigh(&task.head, cotangent, from, n);
        past.find_row_gradients(task, cotangent, c, task.head.before(from, 0, 1), n);
        future.score();
        workspace.add_row_gradients(&task.head, c, n);
        workspace.past.give_back(task, from, n);
    }
}
