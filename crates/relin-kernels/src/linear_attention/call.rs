//! One call of the operator: its heads shared out among threads, its results put together.
//!
//! Where sequences are cut into pieces, a piece of a causal one is a sequence that starts from a state: the states are
//! found first, by summing keys piece by piece (backward, their gradients by summing queries), then all pieces run at
//! once. Without a causal mask, keys are summed piece by piece, and queries read the whole sum; with a decay besides,
//! sequences stay whole.

use super::bidirectional::{self, KeyWorkspace, QueryWorkspace};
use super::border::{Border, KeysAndValues};
use super::chunked::{self, BackwardTask, BackwardWorkspace};
use super::fade::Fade;
use super::head::Head;
use super::pieces::{Pieces, rows};
use super::two_sided;
use super::{Gradients, Inputs, LinearAttention, State};
use crate::columns::Columns;
use crate::encoding::Encoder;
use crate::fast_math::FastMath;
use crate::parallel;
use crate::segments::Segment;

/// The operator bound to its inputs.
#[derive(Clone, Copy)]
pub(super) struct Call<'a, R: FastMath> {
    pub attention: &'a LinearAttention<R>,
    pub encoder: &'a dyn Encoder<R>,
    /// Of every head, or of none.
    pub fades: &'a [Fade<R>],
    pub inputs: Inputs<'a, R>,
}

/// What the backward pass receives besides the inputs.
#[derive(Clone, Copy)]
pub(super) struct Cotangent<'a, R> {
    pub out: &'a [R],
    pub d_out: &'a [R],
    pub d_state: Option<&'a State<R>>,
}

/// Where one causal task writes its gradients.
pub(super) struct HeadGradients<'a, R> {
    pub q: Columns<'a, R>,
    pub k: Columns<'a, R>,
    pub v: Columns<'a, R>,
    pub params: &'a mut [f64],
}

/// `0..len` in runs of `chunk`: where each begins and how long it is.
pub(super) fn chunks(
    len: usize,
    chunk: usize,
) -> impl DoubleEndedIterator<Item = (usize, usize)> + ExactSizeIterator {
    (0..len.div_ceil(chunk)).map(move |c| (c * chunk, chunk.min(len - c * chunk)))
}

impl<'a, R: FastMath> Call<'a, R> {
    pub fn causal_forward(&self, segments: &[Segment], out: &mut [R]) -> State<R> {
        let workspace = || chunked::Workspace::new(self.attention);
        self.forward_in_order(&self.cut(segments), segments.len(), out, workspace, chunked::forward)
    }

    pub fn two_sided_forward(&self, segments: &[Segment], out: &mut [R]) -> State<R> {
        let pieces = Pieces::whole(segments, self.attention.heads);
        let workspace = || two_sided::Workspace::new(self.attention);
        self.forward_in_order(&pieces, segments.len(), out, workspace, |workspace, tasks| {
            tasks.iter_mut().for_each(|task| two_sided::forward(workspace, task));
        })
    }

    /// Pieces whose order matters: `run` takes neighbouring heads of one, each with the state before it.
    fn forward_in_order<W>(
        &self,
        pieces: &Pieces,
        batch: usize,
        out: &mut [R],
        workspace: impl Fn() -> W + Sync,
        run: impl Fn(&mut W, &mut [chunked::Task<'_, R>]) + Sync,
    ) -> State<R> {
        let mut borders = self.borders_before(pieces, batch);
        let outs = pieces.columns(out, self.attention.value_dim);
        let tasks = self.heads(pieces).zip(outs).zip(&mut borders);
        let tasks = tasks.map(|((head, out), border)| chunked::Task { head, border, out });
        parallel::for_each(pieces.group(tasks), workspace, |workspace, mut tasks| run(workspace, &mut tasks));
        self.state(borders, |task| pieces.after(task).is_none())
    }

    pub fn causal_backward(
        &self,
        segments: &[Segment],
        cotangent: Cotangent<'_, R>,
        gradients: &mut Gradients<R>,
    ) {
        let (pieces, workspace) = (self.cut(segments), || BackwardWorkspace::new(self.attention));
        self.backward_in_order(
            &pieces,
            segments.len(),
            cotangent,
            gradients,
            workspace,
            |workspace, tasks| {
                chunked::backward(workspace, cotangent, tasks);
            },
        );
    }

    pub fn two_sided_backward(
        &self,
        segments: &[Segment],
        cotangent: Cotangent<'_, R>,
        gradients: &mut Gradients<R>,
    ) {
        let pieces = Pieces::whole(segments, self.attention.heads);
        let workspace = || two_sided::BackwardWorkspace::new(self.attention);
        self.backward_in_order(
            &pieces,
            segments.len(),
            cotangent,
            gradients,
            workspace,
            |workspace, tasks| {
                tasks.iter_mut().for_each(|task| two_sided::backward(workspace, cotangent, task));
            },
        );
    }

    /// Backward of [`forward_in_order`](Self::forward_in_order).
    fn backward_in_order<W>(
        &self,
        pieces: &Pieces,
        batch: usize,
        cotangent: Cotangent<'_, R>,
        gradients: &mut Gradients<R>,
        workspace: impl Fn() -> W + Sync,
        run: impl Fn(&mut W, &mut [BackwardTask<'_, R>]) + Sync,
    ) {
        let attention = self.attention;
        let initial = self.borders_before(pieces, batch);
        let mut d_borders = self.gradients_after(pieces, &initial, cotangent, batch);
        let mut params = self.zero_params(pieces);
        let (k, v) = (attention.key_dim(), attention.value_dim);
        let d_q = pieces.columns(&mut gradients.q, k).into_iter();
        let d_kv = pieces.columns(&mut gradients.k, k).into_iter().zip(pieces.columns(&mut gradients.v, v));
        let places = d_q.zip(d_kv).zip(rows(&mut params, pieces.tasks()));
        let places = places.map(|((q, (k, v)), params)| HeadGradients { q, k, v, params });
        let tasks = self.heads(pieces).zip(initial.iter().zip(&mut d_borders)).zip(places);
        let tasks = tasks.map(|((head, (initial, d_border)), gradients)| BackwardTask {
            head,
            initial,
            d_border,
            gradients,
        });
        parallel::for_each(pieces.group(tasks), workspace, |workspace, mut tasks| run(workspace, &mut tasks));
        gradients.params = self.sum_params(&params);
        gradients.initial = self.state(d_borders, |task| pieces.before(task).is_none());
    }

    pub fn full_forward(&self, queries: &[Segment], keys: &[Segment], out: &mut [R]) -> State<R> {
        let attention = self.attention;
        let borders = self.sum_keys(keys);
        let pieces = self.cut(queries);
        let outs = pieces.columns(out, attention.value_dim);
        parallel::for_each(
            self.heads(&pieces).zip(outs).enumerate().collect(),
            || QueryWorkspace::new(attention),
            |workspace, (task, (head, mut out))| {
                bidirectional::forward(&head, workspace, &borders[pieces.owner(task)], &mut out);
            },
        );
        self.state(borders, |_| true)
    }

    pub fn full_backward(
        &self,
        queries: &[Segment],
        keys: &[Segment],
        cotangent: Cotangent<'_, R>,
        gradients: &mut Gradients<R>,
    ) {
        let borders = self.sum_keys(keys);
        let (d_borders, of_queries) =
            self.full_backward_queries(queries, &borders, cotangent, &mut gradients.q);
        let of_keys = self.full_backward_keys(keys, &d_borders, &mut gradients.k, &mut gradients.v);
        gradients.params = self.sum_params(&[of_queries, of_keys].concat());
        gradients.initial = self.state(d_borders, |_| true);
    }

    /// Gradients of the queries; returns those of the states they read, and of the parameters, task by task.
    fn full_backward_queries(
        &self,
        queries: &[Segment],
        borders: &[Border<R>],
        cotangent: Cotangent<'_, R>,
        d_q: &mut [R],
    ) -> (Vec<Border<R>>, Vec<f64>) {
        let attention = self.attention;
        let pieces = self.cut(queries);
        let mut params = self.zero_params(&pieces);
        let mut partial = self.borders(None, pieces.segments.len());
        let places =
            pieces.columns(d_q, attention.key_dim()).into_iter().zip(rows(&mut params, pieces.tasks()));
        parallel::for_each(
            self.heads(&pieces).zip(places).zip(&mut partial).enumerate().collect(),
            || QueryWorkspace::new(attention),
            |workspace, (task, ((head, (mut d_q, d_params)), d_border))| {
                let (border, d_q) = (&borders[pieces.owner(task)], &mut d_q);
                bidirectional::backward_queries(&head, workspace, cotangent, border, d_border, d_q, d_params);
            },
        );
        let mut d_borders = self.borders(cotangent.d_state, queries.len());
        partial.iter().enumerate().for_each(|(task, d)| d_borders[pieces.owner(task)].add_border(d));
        (d_borders, params)
    }

    /// Gradients of keys and values; returns those of the parameters, task by task.
    fn full_backward_keys(
        &self,
        keys: &[Segment],
        d_borders: &[Border<R>],
        d_k: &mut [R],
        d_v: &mut [R],
    ) -> Vec<f64> {
        let attention = self.attention;
        let pieces = self.cut(keys);
        let mut params = self.zero_params(&pieces);
        let d_kv = pieces.columns(d_k, attention.key_dim()).into_iter();
        let d_kv = d_kv.zip(pieces.columns(d_v, attention.value_dim));
        parallel::for_each(
            self.heads(&pieces).zip(d_kv).zip(rows(&mut params, pieces.tasks())).enumerate().collect(),
            || KeyWorkspace::new(attention),
            |workspace, (task, ((head, (mut d_k, mut d_v)), d_params))| {
                let d_border = &d_borders[pieces.owner(task)];
                bidirectional::backward_keys(&head, workspace, d_border, [&mut d_k, &mut d_v], d_params);
            },
        );
        params
    }

    fn cut(&self, segments: &[Segment]) -> Pieces {
        Pieces::cut(segments, self.attention.heads, self.attention.chunk)
    }

    /// One head of each piece, in the order of the tasks.
    fn heads<'p>(&'p self, pieces: &'p Pieces) -> impl Iterator<Item = Head<'a, R>> + 'p {
        let Self { attention, encoder, fades, inputs } = *self;
        let head = move |task: usize| {
            let (tokens, head) = (pieces.segments[task / attention.heads], task % attention.heads);
            Head { attention, encoder, inputs, fade: fades.get(head), head, tokens }
        };
        (0..pieces.tasks()).map(head)
    }

    /// A state's borders, or zeros, for `batch` segments.
    fn borders(&self, state: Option<&State<R>>, batch: usize) -> Vec<Border<R>> {
        let attention = self.attention;
        let (size, z) = (attention.encoded_dim() * attention.value_dim, attention.normalizer_dim());
        let border = |at: usize| match state {
            Some(state) => Border::new(attention, &state.s[at * size..][..size], &state.z[at * z..][..z]),
            None => Border::zero(attention),
        };
        (0..batch * attention.heads).map(border).collect()
    }

    /// The state made of those borders that `keep` chooses by their task.
    fn state(&self, borders: Vec<Border<R>>, keep: impl Fn(usize) -> bool) -> State<R> {
        let mut state = State { s: Vec::new(), z: Vec::new() };
        for (_, border) in borders.into_iter().enumerate().filter(|(task, _)| keep(*task)) {
            border.append_to(self.attention, &mut state);
        }
        state
    }

    /// The state before each piece of a causal sequence.
    fn borders_before(&self, pieces: &Pieces, batch: usize) -> Vec<Border<R>> {
        let mut sums = self.borders(None, pieces.segments.len());
        let inner =
            self.heads(pieces).zip(&mut sums).enumerate().filter(|(task, _)| pieces.after(*task).is_some());
        parallel::for_each(
            inner.collect(),
            || KeysAndValues::new(self.attention),
            |workspace, (_, (head, sum))| workspace.add_all(&head, sum),
        );
        let initial = self.borders(self.inputs.initial, batch);
        let mut before: Vec<Border<R>> = Vec::with_capacity(sums.len());
        for task in 0..pieces.tasks() {
            before.push(match pieces.before(task) {
                Some(previous) => self.passed(pieces, previous, &before[previous]).plus(&sums[previous]),
                None => initial[pieces.owner(task)].clone(),
            });
        }
        before
    }

    /// The gradient of the state after each piece of a causal sequence.
    fn gradients_after(
        &self,
        pieces: &Pieces,
        initial: &[Border<R>],
        cotangent: Cotangent<'_, R>,
        batch: usize,
    ) -> Vec<Border<R>> {
        let attention = self.attention;
        let mut sums = self.borders(None, pieces.segments.len());
        let heads = self.heads(pieces).zip(initial).zip(&mut sums).enumerate();
        parallel::for_each(
            heads.filter(|(task, _)| pieces.before(*task).is_some()).collect(),
            || BackwardWorkspace::new(attention),
            |workspace, (_, ((head, initial), sum))| {
                chunked::backward_to_state(&head, workspace, cotangent, initial, sum);
            },
        );
        let mut after = self.borders(None, pieces.segments.len());
        let last = self.borders(cotangent.d_state, batch);
        for task in (0..pieces.tasks()).rev() {
            after[task] = match pieces.after(task) {
                Some(next) => self.passed(pieces, next, &after[next]).plus(&sums[next]),
                None => last[pieces.owner(task)].clone(),
            };
        }
        after
    }

    /// What a piece leaves of a state that was there before it, or of the gradient of one after it.
    fn passed(&self, pieces: &Pieces, task: usize, border: &Border<R>) -> Border<R> {
        let mut border = border.clone();
        if let Some(fade) = self.fades.get(task % self.attention.heads) {
            fade.pass_border(pieces.segments[task / self.attention.heads].len, &mut border);
        }
        border
    }

    /// The state after all keys.
    fn sum_keys(&self, keys: &[Segment]) -> Vec<Border<R>> {
        let pieces = self.cut(keys);
        let mut sums = self.borders(None, pieces.segments.len());
        parallel::for_each(
            self.heads(&pieces).zip(&mut sums).collect(),
            || KeysAndValues::new(self.attention),
            |workspace, (head, sum)| workspace.add_all(&head, sum),
        );
        let mut all = self.borders(self.inputs.initial, keys.len());
        sums.iter().enumerate().for_each(|(task, sum)| all[pieces.owner(task)].add_border(sum));
        all
    }

    /// Room for the parameters' gradients of each task.
    fn zero_params(&self, pieces: &Pieces) -> Vec<f64> {
        vec![0.0; pieces.tasks() * self.inputs.params.len()]
    }

    fn sum_params(&self, of_tasks: &[f64]) -> Vec<R> {
        let mut sum = vec![0.0; self.inputs.params.len()];
        for (at, d) in of_tasks.iter().enumerate() {
            sum[at % self.inputs.params.len()] += d;
        }
        sum.into_iter().map(R::from_f64).collect()
    }
}
