//! Linear layers `y = x W + b`, with what stands before and after them: a norm of the input, several layers that
//! share it, a residual that is added.
//!
//! Each thread takes one run of rows, in blocks small enough that what lies between two products stays in its cache.
//! Parameters' gradients are summed within a run and then over runs: the same bits for the same number of threads.

use rayon::prelude::*;

use crate::buffers::{self, Buffer};
use crate::matmul::{Into, Mat, matmul};
use crate::norm::{Norm, NormGradients, RowStatistics};
use crate::real::Real;
use crate::simd::dispatch;

/// Rows of a block.
pub(crate) const ROWS: usize = 256;

/// `y = x W + b`.
///
/// # Shapes
/// x `[N, inputs]`, y `[N, outputs]`; weight `[inputs, outputs]`, bias `[outputs]`.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a, R> {
    /// W.
    pub weight: &'a [R],
    /// b.
    pub bias: Option<&'a [R]>,
    /// Width of x.
    pub inputs: usize,
    /// Width of y.
    pub outputs: usize,
}

/// Gradients of a layer's parameters.
#[derive(Debug)]
pub struct LinearGradients<R: Real> {
    /// `xᵀ dy`.
    pub weight: Buffer<R>,
    /// `Σ dy` over rows.
    pub bias: Option<Vec<R>>,
}

impl<'a, R: Real> Linear<'a, R> {
    /// # Panics
    /// If weight or bias have not the size that the widths give.
    pub fn new(weight: &'a [R], bias: Option<&'a [R]>, inputs: usize, outputs: usize) -> Self {
        assert_eq!(
            weight.len(),
            inputs * outputs,
            "weight has {} elements, not {inputs}x{outputs}",
            weight.len()
        );
        let found = bias.map_or(outputs, <[R]>::len);
        assert_eq!(found, outputs, "bias has {found} elements, rows have {outputs}");
        Self { weight, bias, inputs, outputs }
    }

    fn weight(&self) -> Mat<'a, R> {
        Mat::new(self.weight, self.inputs, self.outputs)
    }

    /// Writes `x W + b`, plus `residual` if there is one, on this thread.
    pub(crate) fn forward_rows(&self, y: &mut [R], x: &[R], residual: Option<&[R]>) {
        let mode = match (self.bias, residual) {
            (None, None) => Into::Overwrite,
            (None, Some(residual)) => {
                y.copy_from_slice(residual);
                Into::Accumulate
            }
            (Some(bias), None) => {
                y.chunks_exact_mut(self.outputs.max(1)).for_each(|row| row.copy_from_slice(bias));
                Into::Accumulate
            }
            (Some(bias), Some(residual)) => {
                add_bias(y, residual, bias);
                Into::Accumulate
            }
        };
        matmul(y, mode, Mat::new(x, x.len() / self.inputs.max(1), self.inputs), self.weight());
    }

    /// `dx = dy Wᵀ` or `dx += dy Wᵀ` on this thread.
    pub(crate) fn input_gradient(&self, dx: &mut [R], mode: Into, dy: &[R]) {
        matmul(dx, mode, Mat::new(dy, dy.len() / self.outputs.max(1), self.outputs), self.weight().t());
    }

    /// Gradients of no rows.
    pub(crate) fn gradients(&self) -> LinearGradients<R> {
        let mut weight = buffers::take(self.weight.len());
        weight.fill(R::ZERO);
        LinearGradients { weight, bias: self.bias.map(|bias| vec![R::ZERO; bias.len()]) }
    }
}

fn add_bias<R: Real>(y: &mut [R], residual: &[R], bias: &[R]) {
    dispatch(
        #[inline(always)]
        || {
            for (y, residual) in y.chunks_exact_mut(bias.len()).zip(residual.chunks_exact(bias.len())) {
                for ((y, &r), &b) in y.iter_mut().zip(residual).zip(bias) {
                    *y = r + b;
                }
            }
        },
    );
}

impl<R: Real> LinearGradients<R> {
    /// Adds what some rows give, on this thread.
    pub(crate) fn add_rows(&mut self, x: &[R], dy: &[R], linear: &Linear<'_, R>) {
        let rows = dy.len() / linear.outputs.max(1);
        let (x, dy_mat) = (Mat::new(x, rows, linear.inputs), Mat::new(dy, rows, linear.outputs));
        matmul(&mut self.weight, Into::Accumulate, x.t(), dy_mat);
        if let Some(bias) = &mut self.bias {
            let mut sum = vec![R::ZERO; bias.len()];
            add_columns(&mut sum, dy);
            add(bias, &sum);
        }
    }

    /// Adds the gradients of another run of rows.
    pub(crate) fn merge(&mut self, other: &Self) {
        let blocks = self.weight.par_chunks_mut(1 << 14).zip(other.weight.par_chunks(1 << 14));
        blocks.for_each(|(sum, part)| add(sum, part));
        if let (Some(sum), Some(part)) = (&mut self.bias, &other.bias) {
            add(sum, part);
        }
    }
}

/// `sum += Σ rows`.
fn add_columns<R: Real>(sum: &mut [R], rows: &[R]) {
    dispatch(
        #[inline(always)]
        || {
            for row in rows.chunks_exact(sum.len().max(1)) {
                for (sum, &x) in sum.iter_mut().zip(row) {
                    *sum += x;
                }
            }
        },
    );
}

/// `x += y`.
pub(crate) fn add<R: Real>(x: &mut [R], y: &[R]) {
    dispatch(
        #[inline(always)]
        || {
            for (x, &y) in x.iter_mut().zip(y) {
                *x += y;
            }
        },
    );
}

/// Rows of each run when every thread takes one.
pub(crate) fn rows_per_thread(rows: usize) -> usize {
    rows.div_ceil(rayon::current_num_threads()).next_multiple_of(16)
}

/// `run` for each task, in parallel; results in the tasks' order.
pub(crate) fn each<T: Send, U: Send>(tasks: Vec<T>, run: impl Fn(T) -> U + Send + Sync) -> Vec<U> {
    match tasks.len() {
        // Not worth waking another thread: generation comes here with one row.
        1 => tasks.into_iter().map(run).collect(),
        _ => tasks.into_par_iter().map(run).collect(),
    }
}

/// The norm before a layer, one block of rows at a time.
pub(crate) struct NormedRows<'n, R: Real> {
    norm: Option<&'n Norm<'n, R>>,
    rows: Buffer<R>,
    statistics: Vec<RowStatistics<R>>,
    scale: Vec<f64>,
    bias: Vec<f64>,
}

impl<'n, R: Real> NormedRows<'n, R> {
    pub(crate) fn new(norm: Option<&'n Norm<'n, R>>) -> Self {
        let width = norm.map_or(0, |norm| norm.width);
        let sums = |parameter: Option<&[R]>| vec![0.0; parameter.map_or(0, <[R]>::len)];
        Self {
            norm,
            rows: buffers::take(width * ROWS),
            statistics: vec![RowStatistics::default(); ROWS],
            scale: sums(norm.and_then(|norm| norm.scale)),
            bias: sums(norm.and_then(|norm| norm.bias)),
        }
    }

    /// The normed rows of a block, or the rows themselves without a norm.
    pub(crate) fn forward<'a>(&'a mut self, x: &'a [R]) -> &'a [R] {
        let Some(norm) = self.norm else { return x };
        let rows = &mut self.rows[..x.len()];
        norm.forward_rows(rows, &mut self.statistics[..x.len() / norm.width], x);
        rows
    }

    /// dx of the block that [`forward`](Self::forward) took last, given the gradient of the normed rows.
    pub(crate) fn backward(&mut self, dx: &mut [R], dy: &[R], x: &[R]) {
        let Some(norm) = self.norm else { return dx.copy_from_slice(dy) };
        let [scale, bias] = norm.backward_rows(dx, dy, x, &self.statistics[..x.len() / norm.width]);
        self.scale.iter_mut().zip(scale).for_each(|(sum, g)| *sum += g.to_f64());
        self.bias.iter_mut().zip(bias).for_each(|(sum, g)| *sum += g.to_f64());
    }

    /// The parameters' gradients, summed over the blocks of this run.
    pub(crate) fn sums(self) -> [Vec<f64>; 2] {
        [self.scale, self.bias]
    }
}

/// The sums of all runs, rounded once.
pub(crate) fn norm_gradients<R: Real>(
    runs: Vec<[Vec<f64>; 2]>,
    norm: Option<&Norm<'_, R>>,
) -> NormGradients<R> {
    let total = |which: usize| {
        let mut runs = runs.iter().map(|run| &run[which]);
        let mut total = runs.next().cloned().unwrap_or_default();
        runs.for_each(|run| total.iter_mut().zip(run).for_each(|(sum, g)| *sum += g));
        total.into_iter().map(R::from_f64).collect()
    };
    NormGradients {
        scale: norm.and_then(|norm| norm.scale).map(|_| total(0)),
        bias: norm.and_then(|norm| norm.bias).map(|_| total(1)),
    }
}

/// Linear layers that share one input, normed first if there is a norm.
#[derive(Clone, Copy, Debug)]
pub struct Projections<'a, R, const P: usize> {
    /// Norm of the input.
    pub norm: Option<Norm<'a, R>>,
    /// The layers.
    pub layers: [Linear<'a, R>; P],
}

/// Gradients of all parameters.
#[derive(Debug)]
pub struct ProjectionGradients<R: Real, const P: usize> {
    /// The norm's.
    pub norm: NormGradients<R>,
    /// The layers'.
    pub layers: [LinearGradients<R>; P],
}

impl<R: Real, const P: usize> Projections<'_, R, P> {
    fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// Writes each layer's output; `residual` is added to the first.
    ///
    /// # Shapes
    /// x `[N, inputs]`; each y `[N, outputs]`, and so the residual.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn forward(&self, y: [&mut [R]; P], x: &[R], residual: Option<&[R]>) {
        let rows = self.rows(x.len(), y.each_ref().map(|y| y.len()));
        if rows == 0 {
            return;
        }
        let run = rows_per_thread(rows);
        let mut outputs: [_; P] = {
            let mut widths = self.layers.iter().map(|layer| layer.outputs);
            y.map(|y| y.chunks_mut(run * widths.next().unwrap_or(1)))
        };
        let tasks = x.chunks(run * self.inputs()).enumerate().map(|(index, x)| {
            let y = outputs.each_mut().map(|chunks| chunks.next().unwrap_or_default());
            let from = index * run * self.layers[0].outputs;
            let residual = residual.map(|residual| &residual[from..][..y[0].len()]);
            (y, x, residual)
        });
        each(tasks.collect(), |(y, x, residual)| self.forward_run(y, x, residual));
    }

    fn forward_run(&self, y: [&mut [R]; P], x: &[R], residual: Option<&[R]>) {
        let mut normed = NormedRows::new(self.norm.as_ref());
        for (block, x) in x.chunks(ROWS * self.inputs()).enumerate() {
            let rows = x.len() / self.inputs();
            let x = normed.forward(x);
            for (p, layer) in self.layers.iter().enumerate() {
                let place = block * ROWS * layer.outputs..(block * ROWS + rows) * layer.outputs;
                let residual = residual.filter(|_| p == 0).map(|residual| &residual[place.clone()]);
                layer.forward_rows(&mut y[p][place], x, residual);
            }
        }
    }

    /// Writes dx (without the residual, whose gradient is `dy[0]`) and returns the parameters' gradients.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn backward(&self, dx: &mut [R], dy: [&[R]; P], x: &[R]) -> ProjectionGradients<R, P> {
        let rows = self.rows(x.len(), dy.map(<[R]>::len));
        assert_eq!(dx.len(), x.len(), "dx has {} elements, x {}", dx.len(), x.len());
        let run = rows_per_thread(rows).max(1);
        let width = run * self.inputs();
        let tasks = dx.chunks_mut(width).zip(x.chunks(width)).enumerate().map(|(index, (dx, x))| {
            let rows = x.len() / self.inputs();
            let part = |p: usize| {
                let outputs = self.layers[p].outputs;
                &dy[p][index * run * outputs..][..rows * outputs]
            };
            (dx, std::array::from_fn(part), x)
        });
        let mut runs = each(tasks.collect(), |(dx, dy, x)| self.backward_run(dx, dy, x)).into_iter();
        let Some((mut layers, norm)) = runs.next() else {
            let norm = norm_gradients(vec![NormedRows::new(self.norm.as_ref()).sums()], self.norm.as_ref());
            return ProjectionGradients { norm, layers: self.layers.each_ref().map(Linear::gradients) };
        };
        let mut norms = vec![norm];
        for (others, norm) in runs {
            layers.iter_mut().zip(&others).for_each(|(sum, other)| sum.merge(other));
            norms.push(norm);
        }
        ProjectionGradients { norm: norm_gradients(norms, self.norm.as_ref()), layers }
    }

    fn backward_run(&self, dx: &mut [R], dy: [&[R]; P], x: &[R]) -> ([LinearGradients<R>; P], [Vec<f64>; 2]) {
        let mut normed = NormedRows::new(self.norm.as_ref());
        let mut gradients = self.layers.each_ref().map(Linear::gradients);
        let mut d_normed = buffers::take(ROWS * self.inputs());
        let block = ROWS * self.inputs();
        for (index, (dx, x)) in dx.chunks_mut(block).zip(x.chunks(block)).enumerate() {
            let (first, rows) = (index * ROWS, x.len() / self.inputs());
            let d_normed = &mut d_normed[..x.len()];
            let input = normed.forward(x);
            for (p, layer) in self.layers.iter().enumerate() {
                let dy = &dy[p][first * layer.outputs..][..rows * layer.outputs];
                gradients[p].add_rows(input, dy, layer);
                layer.input_gradient(d_normed, if p == 0 { Into::Overwrite } else { Into::Accumulate }, dy);
            }
            normed.backward(dx, d_normed, x);
        }
        (gradients, normed.sums())
    }

    /// Number of rows, after checking that everything fits.
    fn rows(&self, x: usize, y: [usize; P]) -> usize {
        let inputs = self.inputs();
        assert!(inputs > 0, "rows must have at least one element");
        let rows = x / inputs;
        assert_eq!(rows * inputs, x, "x has {x} elements, not whole rows of {inputs}");
        let norm_width = self.norm.map_or(inputs, |norm| norm.width);
        assert_eq!(norm_width, inputs, "a norm of width {norm_width} before layers of {inputs} inputs");
        for (layer, y) in self.layers.iter().zip(y) {
            assert_eq!(layer.inputs, inputs, "layers of {} and {inputs} inputs", layer.inputs);
            assert_eq!(y, rows * layer.outputs, "an output has {y} elements, not {rows}x{}", layer.outputs);
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::norm::NormKind;
    use crate::testing::{assert_close, convert, dot, normals, numeric_gradient};

    const INPUTS: usize = 3;
    const OUTPUTS: [usize; 2] = [4, 2];
    /// Some dozens of roundings: a norm of three elements enlarges them where these lie close together.
    const NARROW: f64 = 5e-6;

    /// All numbers of a case, in the order x, scale, norm bias, weights, biases, residual.
    struct Case {
        parts: [Vec<f64>; 8],
        rows: usize,
        normed: bool,
    }

    impl Case {
        fn new(rows: usize, normed: bool) -> Self {
            let sizes = [
                rows * INPUTS,
                INPUTS,
                INPUTS,
                INPUTS * OUTPUTS[0],
                INPUTS * OUTPUTS[1],
                OUTPUTS[0],
                OUTPUTS[1],
                rows * OUTPUTS[0],
            ];
            let mut stream = 0;
            let parts = sizes.map(|size| {
                stream += 1;
                normals(stream, size)
            });
            Self { parts, rows, normed }
        }

        fn layers<'a, R: Real>(&self, parts: &'a [Vec<R>; 8]) -> Projections<'a, R, 2> {
            let norm = Norm {
                kind: NormKind::Layer,
                width: INPUTS,
                eps: 1e-5,
                scale: Some(&*parts[1]),
                bias: Some(&*parts[2]),
            };
            Projections {
                norm: self.normed.then_some(norm),
                layers: std::array::from_fn(|p| {
                    Linear::new(&parts[3 + p], Some(&parts[5 + p]), INPUTS, OUTPUTS[p])
                }),
            }
        }

        fn forward<R: Real>(&self, parts: &[Vec<R>; 8]) -> [Vec<R>; 2] {
            let mut y = OUTPUTS.map(|outputs| vec![R::NAN; self.rows * outputs]);
            self.layers(parts).forward(y.each_mut().map(|y| &mut **y), &parts[0], Some(&parts[7]));
            y
        }

        /// Gradients in the order of the parts, without the residual's.
        fn backward<R: Real>(&self, parts: &[Vec<R>; 8], dy: [&[R]; 2]) -> Vec<Vec<R>> {
            let mut dx = vec![R::NAN; parts[0].len()];
            let gradients = self.layers(parts).backward(&mut dx, dy, &parts[0]);
            let [first, second] = gradients.layers;
            vec![
                dx,
                gradients.norm.scale.unwrap_or_default(),
                gradients.norm.bias.unwrap_or_default(),
                first.weight.to_vec(),
                second.weight.to_vec(),
                first.bias.unwrap(),
                second.bias.unwrap(),
            ]
        }
    }

    #[test]
    fn equals_norm_product_bias_and_residual_one_after_another() {
        for (rows, normed) in [(0, true), (1, false), (5, true), (ROWS + 3, true), (2 * ROWS, false)] {
            let case = Case::new(rows, normed);
            let layers = case.layers(&case.parts);
            let mut x = case.parts[0].clone();
            if let Some(norm) = layers.norm {
                norm.forward(&mut x, &mut vec![RowStatistics::default(); rows], &case.parts[0]);
            }
            let found = case.forward(&case.parts);
            let narrow: [Vec<f32>; 8] = case.parts.each_ref().map(|part| convert(part));
            let found_narrow = case.forward(&narrow);
            for (p, layer) in layers.layers.iter().enumerate() {
                let mut y = vec![0.0; rows * layer.outputs];
                matmul(&mut y, Into::Overwrite, Mat::new(&x, rows, INPUTS), layer.weight());
                for (i, y) in y.iter_mut().enumerate() {
                    *y += case.parts[5 + p][i % layer.outputs] + if p == 0 { case.parts[7][i] } else { 0.0 };
                }
                assert_close("y", &found[p], &y, 1e-14);
                assert_close("y f32", &found_narrow[p], &y, NARROW);
            }
        }
    }

    #[test]
    fn gradients_match_central_differences() {
        for normed in [false, true] {
            let case = Case::new(7, normed);
            let dy = OUTPUTS.map(|outputs| normals::<f64>(9, 7 * outputs));
            let found = case.backward(&case.parts, dy.each_ref().map(|dy| &**dy));
            for (part, found) in found.iter().enumerate().filter(|(_, found)| !found.is_empty()) {
                let loss = |moved: &[f64]| {
                    let mut parts = case.parts.clone();
                    parts[part] = moved.to_vec();
                    case.forward(&parts).iter().zip(&dy).map(|(y, dy)| dot(y, dy)).sum()
                };
                assert_close(
                    &format!("part {part}"),
                    found,
                    &numeric_gradient(&case.parts[part], loss),
                    1e-7,
                );
            }
        }
    }

    #[test]
    fn gradients_are_the_same_over_blocks_runs_and_precisions() {
        let case = Case::new(3 * ROWS + 5, true);
        let dy = OUTPUTS.map(|outputs| normals::<f64>(9, case.rows * outputs));
        let in_pool = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| case.backward(&case.parts, dy.each_ref().map(|dy| &**dy)))
        };
        let (one, three) = (in_pool(1), in_pool(3));
        assert_eq!(three, in_pool(3), "the same threads give the same bits");
        let narrow: [Vec<f32>; 8] = case.parts.each_ref().map(|part| convert(part));
        let narrow_dy = dy.each_ref().map(|dy| convert::<f64, f32>(dy));
        let found = case.backward(&narrow, narrow_dy.each_ref().map(|dy| &**dy));
        for ((one, three), narrow) in one.iter().zip(&three).zip(&found) {
            assert_close("threads", three, one, 1e-13);
            assert_close("f32", narrow, one, NARROW);
        }
    }

    #[test]
    #[should_panic(expected = "weight has 5 elements, not 2x3")]
    fn refuses_shapes_that_do_not_fit() {
        Linear::new(&[0.0f32; 5], None, 2, 3);
    }
}
