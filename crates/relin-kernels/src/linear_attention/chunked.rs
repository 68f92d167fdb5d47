//! Causal attention in chunks of C tokens: quadratic within a chunk, a state between chunks.
//!
//! ```text
//! O_c = tril(Q̃_c K̃_c^T) V_c + Q̃_c S_c         S_{c+1} = S_c + K̃_c^T V_c
//! ```
//!
//! A chunk's rows are gathered, mapped by φ and encoded into tiles that stay in the second cache level; nothing longer
//! than a chunk is ever encoded.

use super::LinearAttention;
use super::border::{Border, KeysAndValues, add_summed};
use super::call::{Cotangent, HeadGradients, chunks};
use super::denominator::SummedGradient;
use super::head::{Head, Next, Rows, Scratch};
use crate::columns::Columns;
use crate::encoding::Side;
use crate::fast_math::FastMath;
use crate::simd::dispatch;
use crate::tiles::{Ahead, Onto, Part, Term, Tile, product, product_ahead};

/// What a thread needs for one chunk, forward.
#[derive(Debug)]
pub(super) struct Workspace<R> {
    pub queries: Rows<R>,
    pub kv: KeysAndValues<R>,
    /// `K' × n`.
    keys_t: Tile<R>,
    /// `n × n`, its lower triangle.
    pub scores: Tile<R>,
    /// `n × V`.
    pub out: Tile<R>,
    /// `[n]`.
    pub sums: Vec<R>,
}

impl<R: FastMath> Workspace<R> {
    pub fn new(attention: &LinearAttention<R>) -> Self {
        let chunk = attention.chunk;
        Self {
            queries: Rows::new(attention),
            kv: KeysAndValues::new(attention),
            keys_t: Tile::new(attention.encoded_dim(), chunk),
            scores: Tile::new(chunk, chunk),
            out: Tile::new(chunk, attention.value_dim),
            sums: vec![R::ZERO; chunk],
        }
    }

    /// Loads the rows of a chunk, and the sums of scores after `border`.
    pub fn load(&mut self, head: &Head<'_, R>, from: usize, n: usize, before: &[R]) {
        head.load(Side::Query, from, n, &mut self.queries);
        self.kv.load(head, from, n);
        head.attention.causal_sums(before, &self.queries, &self.kv.keys, &mut self.sums[..n]);
    }

    /// `tril(Q̃ K̃^T)`.
    pub fn score<const A: usize>(&mut self, n: usize, ahead: [Ahead<R>; A]) {
        self.keys_t.transpose_of(&self.kv.keys.encoded);
        lower_product(&self.queries.encoded, &self.keys_t, n, &mut self.scores, ahead);
    }
}

/// `tril(A B)`, `n × n`.
pub(super) fn lower_product<R: FastMath, const A: usize>(
    a: &Tile<R>,
    b: &Tile<R>,
    n: usize,
    into: &mut Tile<R>,
    ahead: [Ahead<R>; A],
) {
    into.resize(n, n);
    product_ahead(into, Part::Lower, Onto::Zero, [Term::new(a, b)], ahead);
    into.cut_above_diagonal();
}

/// One head's part of a forward pass.
pub(super) struct Task<'a, R: FastMath> {
    pub head: Head<'a, R>,
    /// The state before the head's tokens; becomes that after them.
    pub border: &'a mut Border<R>,
    pub out: Columns<'a, R>,
}

/// Runs neighbouring heads of the same tokens, chunk by chunk.
pub(super) fn forward<R: FastMath>(workspace: &mut Workspace<R>, tasks: &mut [Task<'_, R>]) {
    let Head { attention, tokens, .. } = tasks[0].head;
    for (from, n) in chunks(tokens.len, attention.chunk) {
        let of = tasks.len();
        for (turn, Task { head, border, out }) in tasks.iter_mut().enumerate() {
            let next = head.after(from + n, turn, of);
            let [q, k] = [head.inputs.q, head.inputs.k].map(|x| next.of(head, x, attention.key_dim()));
            workspace.load(head, from, n, &border.z);
            workspace.score(n, [q]);
            let Workspace { queries, kv, scores, out: values, sums, .. } = workspace;
            values.resize(n, attention.value_dim);
            let own = Term::lower(scores, &kv.values);
            let before = Term::new(&queries.encoded, &border.s);
            product_ahead(values, Part::Full, Onto::Zero, [own, before], [k]);
            attention.divide(&sums[..n], values, from, out);
            border.add(head, &kv.keys, &kv.values, next);
        }
    }
}

impl<R: FastMath> LinearAttention<R> {
    /// Writes `sum / divisor` to the output, row by row.
    pub(super) fn divide(&self, sums: &[R], values: &Tile<R>, from: usize, out: &mut Columns<'_, R>) {
        dispatch(
            #[inline(always)]
            || {
                for (i, &sum) in sums.iter().enumerate() {
                    let (divisor, _) = self.divisor(sum);
                    let factor = R::ONE / divisor;
                    for (out, &value) in out.row(from + i).iter_mut().zip(values.row(i)) {
                        *out = value * factor;
                    }
                }
            },
        );
    }
}

/// What a thread needs for one chunk, backward.
#[derive(Debug)]
pub(super) struct BackwardWorkspace<R: FastMath> {
    pub forward: Workspace<R>,
    /// `V × n`.
    values_t: Tile<R>,
    /// `n × V`, gradient of the weighted sums.
    pub d_out: Tile<R>,
    /// `n × n`, its lower triangle.
    d_scores: Tile<R>,
    /// `n × K'`.
    pub d_queries: Tile<R>,
    pub d_keys: Tile<R>,
    /// `n × V`.
    pub d_values: Tile<R>,
    /// `V × K'`, transpose of the gradient of S after the chunk.
    d_state_t: Tile<R>,
    /// `[n, L]` each: the normaliser's gradients for un-encoded features.
    pub d_features: [Vec<R>; 2],
    scratch: Scratch<R>,
    /// `S^T` and z before each chunk.
    pub borders: Vec<Border<R>>,
}

impl<R: FastMath> BackwardWorkspace<R> {
    pub fn new(attention: &LinearAttention<R>) -> Self {
        let (chunk, k, v) = (attention.chunk, attention.encoded_dim(), attention.value_dim);
        let features = || vec![R::ZERO; chunk * attention.middle_dim()];
        Self {
            forward: Workspace::new(attention),
            values_t: Tile::new(v, chunk),
            d_out: Tile::new(chunk, v),
            d_scores: Tile::new(chunk, chunk),
            d_queries: Tile::new(chunk, k),
            d_keys: Tile::new(chunk, k),
            d_values: Tile::new(chunk, v),
            d_state_t: Tile::new(v, k),
            d_features: [features(), features()],
            scratch: Scratch::new(attention),
            borders: Vec::new(),
        }
    }

    /// `S^T` and z of every task before each chunk. The list keeps the room it once needed.
    pub fn find_borders(&mut self, tasks: &[BackwardTask<'_, R>]) {
        let Head { attention, tokens, .. } = tasks[0].head;
        let Self { forward, borders, .. } = self;
        let count = tokens.len.div_ceil(attention.chunk);
        let spare =
            Border { s: Tile::new(attention.value_dim, attention.encoded_dim()), ..Border::zero(attention) };
        borders.resize((count * tasks.len()).max(borders.len()), spare);
        for (task, borders) in tasks.iter().zip(borders.chunks_mut(count.max(1))) {
            borders[0].s.transpose_of(&task.initial.s);
            borders[0].z.copy_from_slice(&task.initial.z);
        }
        for (c, (from, n)) in chunks(tokens.len, attention.chunk).enumerate().take(count.max(1) - 1) {
            for (turn, (task, borders)) in tasks.iter().zip(borders.chunks_mut(count)).enumerate() {
                let [before, after] = &mut borders[c..c + 2] else {
                    unreachable!("the last chunk is not taken")
                };
                let KeysAndValues { keys, values } = &mut forward.kv;
                task.head.load(Side::Key, from, n, keys);
                task.head.load_values(from, n, values);
                after.s.resize_like(&before.s);
                let (inputs, next) = (task.head.inputs, task.head.after(from + n, turn, tasks.len()));
                let k = next.of(&task.head, inputs.k, attention.key_dim());
                let v = next.of(&task.head, inputs.v, attention.value_dim);
                let own = Term::transposed(values, &keys.encoded);
                product_ahead(&mut after.s, Part::Full, Onto::Tile(&before.s), [own], [k, v]);
                after.z.copy_from_slice(&before.z);
                add_summed(attention, keys, &mut after.z);
                if let Some(fade) = task.head.fade {
                    fade.pass_transposed(n, &mut after.s, &mut after.z);
                }
            }
        }
    }
}

/// One head's part of a backward pass.
pub(super) struct BackwardTask<'a, R: FastMath> {
    pub head: Head<'a, R>,
    /// The state before the head's tokens.
    pub initial: &'a Border<R>,
    /// The gradient of the state after the head's tokens; becomes that of the state before them.
    pub d_border: &'a mut Border<R>,
    pub gradients: HeadGradients<'a, R>,
}

/// Writes the gradients of neighbouring heads of the same tokens, chunk by chunk.
pub(super) fn backward<R: FastMath>(
    workspace: &mut BackwardWorkspace<R>,
    cotangent: Cotangent<'_, R>,
    tasks: &mut [BackwardTask<'_, R>],
) {
    let Head { attention, tokens, .. } = tasks[0].head;
    let count = tokens.len.div_ceil(attention.chunk);
    workspace.find_borders(tasks);
    for (from, n) in chunks(tokens.len, attention.chunk).rev() {
        let of = tasks.len();
        for (turn, task) in tasks.iter_mut().enumerate() {
            let next = task.head.before(from, turn, of);
            chunk_backward(workspace, cotangent, task, turn * count + from / attention.chunk, next, from, n);
        }
    }
}

/// Gradients of one chunk; `d_border` is the gradient of the state after it and becomes that of the state before.
fn chunk_backward<R: FastMath>(
    workspace: &mut BackwardWorkspace<R>,
    cotangent: Cotangent<'_, R>,
    task: &mut BackwardTask<'_, R>,
    border: usize,
    next: Next,
    from: usize,
    n: usize,
) {
    workspace.load(task, border, from, n);
    workspace.weigh(&task.head, cotangent, from, n);
    workspace.find_row_gradients(task, cotangent, border, next, n);
    workspace.give_back(task, from, n);
}

impl<R: FastMath> BackwardWorkspace<R> {
    /// Loads the rows of a chunk and the sums of their scores, and takes the gradient of the state after it to its last key.
    pub fn load(&mut self, task: &mut BackwardTask<'_, R>, border: usize, from: usize, n: usize) {
        if let Some(fade) = task.head.fade {
            fade.pass_border(n, task.d_border);
        }
        self.forward.load(&task.head, from, n, &self.borders[border].z);
    }

    /// Turns the gradient of the outputs into that of the weighted sums, and the sums of scores into their gradient.
    pub fn weigh(&mut self, head: &Head<'_, R>, cotangent: Cotangent<'_, R>, from: usize, n: usize) {
        let Self { forward, d_out, .. } = self;
        head.load_output(cotangent.out, from, n, &mut forward.out);
        head.load_output(cotangent.d_out, from, n, d_out);
        head.attention.divide_vjp(&mut forward.sums[..n], &forward.out, d_out);
    }

    /// Gradients of the encoded rows and of the values; `d_border` goes to before the chunk.
    pub fn find_row_gradients(
        &mut self,
        task: &mut BackwardTask<'_, R>,
        cotangent: Cotangent<'_, R>,
        border: usize,
        next: Next,
        n: usize,
    ) {
        let BackwardTask { head, d_border, .. } = task;
        let (attention, inputs) = (head.attention, head.inputs);
        let [next_q, next_k] = [inputs.q, inputs.k].map(|x| next.of(head, x, attention.key_dim()));
        let [next_v, next_out, next_d_out] =
            [inputs.v, cotangent.out, cotangent.d_out].map(|x| next.of(head, x, attention.value_dim));
        let Self { forward, values_t, d_out, d_scores, d_queries, d_keys, d_values, d_state_t, .. } = self;
        let before = &self.borders[border];
        forward.score(n, [next_q]);
        values_t.transpose_of(&forward.kv.values);
        lower_product(d_out, values_t, n, d_scores, [next_k]);
        let (q, k, v) = (&forward.queries.encoded, &forward.kv.keys.encoded, &forward.kv.values);
        d_queries.resize(n, attention.encoded_dim());
        let terms = [Term::lower(d_scores, k), Term::new(d_out, &before.s)];
        product_ahead(d_queries, Part::Full, Onto::Zero, terms, [next_v]);
        d_state_t.transpose_of(&d_border.s);
        d_keys.resize(n, attention.encoded_dim());
        let terms = [Term::lower_transposed(d_scores, q), Term::new(v, d_state_t)];
        product_ahead(d_keys, Part::Full, Onto::Zero, terms, [next_out]);
        d_values.resize(n, attention.value_dim);
        let terms = [Term::lower_transposed(&forward.scores, d_out), Term::new(k, &d_border.s)];
        product_ahead(d_values, Part::Full, Onto::Zero, terms, [next_d_out]);
        product(&mut d_border.s, Part::Full, Onto::Itself, [Term::transposed(q, d_out)]);

        let [d_f, d_g] = self.d_features.each_mut().map(|d| &mut d[..n * attention.middle_dim()]);
        attention.causal_sums_vjp(
            &before.z,
            &mut d_border.z,
            [&forward.queries, &forward.kv.keys],
            &forward.sums[..n],
            &mut SummedGradient::new(attention, d_queries, d_f),
            &mut SummedGradient::new(attention, d_keys, d_g),
        );
    }

    /// Takes the rows' gradients through the encoding and φ, and writes them and those of the values.
    pub fn give_back(&mut self, task: &mut BackwardTask<'_, R>, from: usize, n: usize) {
        let BackwardTask { head, gradients, .. } = task;
        let attention = head.attention;
        let Self { forward, d_queries, d_keys, d_values, scratch, .. } = self;
        for i in 0..n {
            gradients.v.row(from + i).copy_from_slice(&d_values.row(i)[..attention.value_dim]);
        }
        let [d_f, d_g] = self.d_features.each_mut().map(|d| &mut d[..n * attention.middle_dim()]);
        let (q, k, d_params) = (&mut forward.queries, &mut forward.kv.keys, &mut *gradients.params);
        head.vjp(Side::Query, from, q, d_queries, d_f, d_params, &mut gradients.q, scratch);
        head.vjp(Side::Key, from, k, d_keys, d_g, d_params, &mut gradients.k, scratch);
    }
}

/// Adds what the head's outputs give to the gradient of the state before it, without any other gradient.
pub(super) fn backward_to_state<R: FastMath>(
    head: &Head<'_, R>,
    workspace: &mut BackwardWorkspace<R>,
    cotangent: Cotangent<'_, R>,
    initial: &Border<R>,
    d_border: &mut Border<R>,
) {
    let attention = head.attention;
    let mut z = initial.z.clone();
    for (from, n) in chunks(head.tokens.len, attention.chunk) {
        workspace.forward.load(head, from, n, &z);
        workspace.weigh(head, cotangent, from, n);
        let BackwardWorkspace { forward, d_out, .. } = &mut *workspace;
        if let Some(fade) = head.fade {
            forward.queries.pass(fade, attention, from);
        }
        product(
            &mut d_border.s,
            Part::Full,
            Onto::Itself,
            [Term::transposed(&forward.queries.encoded, d_out)],
        );
        attention.add_weighted(&forward.sums[..n], &forward.queries, &mut d_border.z);
        add_summed(attention, &forward.kv.keys, &mut z);
        if let Some(fade) = head.fade {
            fade.pass(n, [&mut *z].into_iter());
        }
    }
}
