//! The feed-forward part of a block as one operator: norm, up, activation, down, residual.
//!
//! What lies between the two products is as wide as the inner layer and is needed twice in the backward; here it
//! exists for one block of rows at a time. Only the inner layer's inputs to the activation are kept for the backward.

use crate::activation::Activation;
use crate::buffers;
use crate::fast_math::FastMath;
use crate::linear::{Linear, LinearGradients, NormedRows, ROWS, add, each, norm_gradients, rows_per_thread};
use crate::matmul::Into;
use crate::norm::{Norm, NormGradients};
use crate::real::Real;
use crate::simd::dispatch;

/// `y = [x +] f(n W_up + b_up) W_down + b_down` with `n` the normed x; gated, `f(n W_gate + b_gate) ∘ (n W_up + b_up)`
/// takes the place of `f(…)`.
///
/// # Shapes
/// x `[N, width]`, y `[N, outputs]`; `W_up`, `W_gate` `[width, inner]`; `W_down` `[inner, outputs]`, where the outputs are as wide as
/// x if that is added.
#[derive(Clone, Copy, Debug)]
pub struct FeedForward<'a, R> {
    /// Norm of the input.
    pub norm: Option<Norm<'a, R>>,
    /// f.
    pub activation: Activation,
    /// Whether x is added to the result.
    pub residual: bool,
    /// The layer whose activation multiplies `up`.
    pub gate: Option<Linear<'a, R>>,
    /// The layer into the inner width.
    pub up: Linear<'a, R>,
    /// The layer into the outputs.
    pub down: Linear<'a, R>,
}

/// Gradients of all parameters.
#[derive(Debug)]
pub struct FeedForwardGradients<R: Real> {
    /// The norm's.
    pub norm: NormGradients<R>,
    /// The gate's.
    pub gate: Option<LinearGradients<R>>,
    /// Those of the layer into the inner width.
    pub up: LinearGradients<R>,
    /// Those of the layer into the outputs.
    pub down: LinearGradients<R>,
}

impl<R: FastMath> FeedForward<'_, R> {
    /// Elements that the forward keeps for the backward.
    pub fn kept(&self, x: usize) -> usize {
        x / self.up.inputs * self.inner()
    }

    /// Elements of y.
    pub fn outputs(&self, x: usize) -> usize {
        x / self.up.inputs * self.down.outputs
    }

    /// Width of what is kept of a row: the inner layer's, twice if gated.
    fn inner(&self) -> usize {
        self.up.outputs * if self.gate.is_some() { 2 } else { 1 }
    }

    /// Writes y, and into `inner` what the backward needs.
    ///
    /// # Shapes
    /// inner: [`kept`](Self::kept) elements
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn forward(&self, y: &mut [R], inner: &mut [R], x: &[R]) {
        self.check(x.len(), y.len(), inner.len());
        if x.is_empty() {
            return;
        }
        let run = rows_per_thread(x.len() / self.up.inputs);
        let (width, inner_width) = (run * self.up.inputs, run * self.inner());
        let y_runs = y.chunks_mut(run * self.down.outputs);
        let tasks = y_runs.zip(inner.chunks_mut(inner_width)).zip(x.chunks(width));
        each(tasks.collect(), |((y, inner), x)| self.forward_run(y, inner, x));
    }

    fn forward_run(&self, y: &mut [R], inner: &mut [R], x: &[R]) {
        let (block, inner_block) = (ROWS * self.up.inputs, ROWS * self.inner());
        let mut normed = NormedRows::new(self.norm.as_ref());
        let mut hidden = buffers::take(self.up.outputs * ROWS.min(x.len() / self.up.inputs));
        let y_blocks = y.chunks_mut(ROWS * self.down.outputs);
        for ((y, inner), x) in y_blocks.zip(inner.chunks_mut(inner_block)).zip(x.chunks(block)) {
            let hidden = &mut hidden[..x.len() / self.up.inputs * self.up.outputs];
            let (up, gate) = inner.split_at_mut(hidden.len());
            let input = normed.forward(x);
            self.up.forward_rows(up, input, None);
            match &self.gate {
                None => self.activation.forward(hidden, up),
                Some(layer) => {
                    layer.forward_rows(gate, input, None);
                    self.activation.forward(hidden, gate);
                    multiply(hidden, up);
                }
            }
            self.down.forward_rows(y, hidden, self.residual.then_some(x));
        }
    }

    /// Writes dx and returns the parameters' gradients; `inner` is what the forward wrote.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn backward(&self, dx: &mut [R], dy: &[R], inner: &[R], x: &[R]) -> FeedForwardGradients<R> {
        self.check(x.len(), dy.len(), inner.len());
        assert_eq!(dx.len(), x.len(), "dx has {} elements, x {}", dx.len(), x.len());
        let run = rows_per_thread(x.len() / self.up.inputs).max(1);
        let (width, inner_width) = (run * self.up.inputs, run * self.inner());
        let inputs = dy.chunks(run * self.down.outputs).zip(inner.chunks(inner_width)).zip(x.chunks(width));
        let tasks = dx.chunks_mut(width).zip(inputs).collect();
        let mut runs = each(tasks, |(dx, ((dy, inner), x))| self.backward_run(dx, dy, inner, x)).into_iter();
        let mut total = runs.next().unwrap_or_else(|| Run::new(self)).finish();
        let mut norms = vec![total.3];
        for run in runs {
            let (gate, up, down, norm) = run.finish();
            total.0.iter_mut().zip(&gate).for_each(|(sum, gate)| sum.merge(gate));
            total.1.merge(&up);
            total.2.merge(&down);
            norms.push(norm);
        }
        let norm = norm_gradients(norms, self.norm.as_ref());
        FeedForwardGradients { norm, gate: total.0, up: total.1, down: total.2 }
    }

    fn backward_run<'s>(&'s self, dx: &mut [R], dy: &[R], inner: &[R], x: &[R]) -> Run<'s, R> {
        let (block, inner_block) = (ROWS * self.up.inputs, ROWS * self.inner());
        let mut run = Run::new(self);
        let inputs = dy.chunks(ROWS * self.down.outputs).zip(inner.chunks(inner_block)).zip(x.chunks(block));
        for (dx, ((dy, inner), x)) in dx.chunks_mut(block).zip(inputs) {
            run.backward(self, dx, dy, inner, x);
        }
        run
    }

    fn check(&self, x: usize, y: usize, inner: usize) {
        let width = self.up.inputs;
        assert!(width > 0, "rows must have at least one element");
        assert_eq!(x % width, 0, "x has {x} elements, not whole rows of {width}");
        assert!(self.down.outputs > 0, "rows must have at least one element");
        assert_eq!(y, self.outputs(x), "y has {y} elements, not {}", self.outputs(x));
        assert!(!self.residual || y == x, "{x} elements cannot be added to {y}");
        assert_eq!(inner, self.kept(x), "{inner} inner elements, not {}", self.kept(x));
        let norm_width = self.norm.map_or(width, |norm| norm.width);
        assert_eq!(norm_width, width, "a norm of width {norm_width} before a layer of {width} inputs");
        let sizes = |layer: &Linear<'_, R>| (layer.inputs, layer.outputs);
        assert_eq!(self.down.inputs, self.up.outputs, "down must take what up gives");
        assert_eq!(self.gate.as_ref().map_or(sizes(&self.up), sizes), sizes(&self.up), "gate and up differ");
    }
}

/// What one thread needs in the backward, and the sums it makes.
struct Run<'n, R: Real> {
    normed: NormedRows<'n, R>,
    hidden: buffers::Buffer<R>,
    d_hidden: buffers::Buffer<R>,
    d_gate: buffers::Buffer<R>,
    d_normed: buffers::Buffer<R>,
    gate: Option<LinearGradients<R>>,
    up: LinearGradients<R>,
    down: LinearGradients<R>,
}

impl<'n, R: FastMath> Run<'n, R> {
    fn new(layer: &'n FeedForward<'_, R>) -> Self {
        let inner = ROWS * layer.up.outputs;
        Self {
            normed: NormedRows::new(layer.norm.as_ref()),
            hidden: buffers::take(inner),
            d_hidden: buffers::take(inner),
            d_gate: buffers::take(if layer.gate.is_some() { inner } else { 0 }),
            d_normed: buffers::take(ROWS * layer.up.inputs),
            gate: layer.gate.as_ref().map(Linear::gradients),
            up: layer.up.gradients(),
            down: layer.down.gradients(),
        }
    }

    fn backward(&mut self, layer: &FeedForward<'_, R>, dx: &mut [R], dy: &[R], inner: &[R], x: &[R]) {
        let len = dx.len() / layer.up.inputs * layer.up.outputs;
        let (up, gate) = inner.split_at(len);
        let (hidden, d_up) = (&mut self.hidden[..len], &mut self.d_hidden[..len]);
        let d_normed = &mut self.d_normed[..dx.len()];
        layer.down.input_gradient(d_up, Into::Overwrite, dy);
        let input = self.normed.forward(x);
        let mode = match (&layer.gate, &mut self.gate) {
            (Some(gate_layer), Some(gradients)) => {
                let d_gate = &mut self.d_gate[..len];
                product_gradient(d_gate, d_up, up);
                layer.activation.value_and_gradient(hidden, d_gate, gate);
                settle(d_gate);
                multiply_both(d_up, hidden, up);
                gradients.add_rows(input, d_gate, gate_layer);
                gate_layer.input_gradient(d_normed, Into::Overwrite, d_gate);
                Into::Accumulate
            }
            _ => {
                layer.activation.value_and_gradient(hidden, d_up, up);
                Into::Overwrite
            }
        };
        [&mut *hidden, &mut *d_up].into_iter().for_each(settle);
        self.down.add_rows(hidden, dy, &layer.down);
        self.up.add_rows(input, d_up, &layer.up);
        layer.up.input_gradient(d_normed, mode, d_up);
        self.normed.backward(dx, d_normed, x);
        if layer.residual {
            add(dx, dy);
        }
    }

    #[allow(clippy::type_complexity)]
    fn finish(self) -> (Option<LinearGradients<R>>, LinearGradients<R>, LinearGradients<R>, [Vec<f64>; 2]) {
        (self.gate, self.up, self.down, self.normed.sums())
    }
}

/// Takes what is next to nothing for nothing. Where an activation is all but shut for every row of a block, its values and slopes are
/// 1e-30 or so, and their products with gradients denormal: as good as 0 to every sum, and to a processor a hundred times the work.
fn settle<R: Real>(x: &mut [R]) {
    let least = R::from_f64(1e-20);
    dispatch(
        #[inline(always)]
        || {
            for x in x {
                *x = if x.abs() < least { R::ZERO } else { *x };
            }
        },
    );
}

/// `x *= y`.
fn multiply<R: Real>(x: &mut [R], y: &[R]) {
    dispatch(
        #[inline(always)]
        || {
            for (x, &y) in x.iter_mut().zip(y) {
                *x *= y;
            }
        },
    );
}

/// `out = x y`.
fn product_gradient<R: Real>(out: &mut [R], x: &[R], y: &[R]) {
    dispatch(
        #[inline(always)]
        || {
            for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                *out = x * y;
            }
        },
    );
}

/// `x *= value`, then `value *= y`.
fn multiply_both<R: Real>(x: &mut [R], value: &mut [R], y: &[R]) {
    dispatch(
        #[inline(always)]
        || {
            for ((x, value), &y) in x.iter_mut().zip(value).zip(y) {
                *x *= *value;
                *value *= y;
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::norm::NormKind;
    use crate::testing::{assert_close, convert, dot, normals, numeric_gradient};

    const WIDTH: usize = 3;
    const INNER: usize = 5;
    /// Where x is not added.
    const OUTPUTS: usize = 4;
    /// Some dozens of roundings: a norm of three elements enlarges them where these lie close together.
    const NARROW: f64 = 5e-6;

    /// x, scale, norm bias, then weight and bias of gate, up and down.
    struct Case {
        parts: [Vec<f64>; 9],
        gated: bool,
        residual: bool,
        activation: Activation,
    }

    impl Case {
        fn new(rows: usize, gated: bool, residual: bool, activation: Activation) -> Self {
            let (square, outputs) = (WIDTH * INNER, if residual { WIDTH } else { OUTPUTS });
            let down = INNER * outputs;
            let sizes = [rows * WIDTH, WIDTH, WIDTH, square, INNER, square, INNER, down, outputs];
            let mut stream = 0;
            let parts = sizes.map(|size| {
                stream += 1;
                normals(stream, size)
            });
            Self { parts, gated, residual, activation }
        }

        fn layer<'a, R: Real>(&self, parts: &'a [Vec<R>; 9]) -> FeedForward<'a, R> {
            let norm = Norm {
                kind: NormKind::Layer,
                width: WIDTH,
                eps: 1e-5,
                scale: Some(&*parts[1]),
                bias: Some(&*parts[2]),
            };
            let linear = |at: usize, from, to| Linear::new(&parts[at], Some(&parts[at + 1]), from, to);
            FeedForward {
                norm: Some(norm),
                activation: self.activation,
                residual: self.residual,
                gate: self.gated.then(|| linear(3, WIDTH, INNER)),
                up: linear(5, WIDTH, INNER),
                down: linear(7, INNER, self.parts[8].len()),
            }
        }

        fn forward<R: FastMath>(&self, parts: &[Vec<R>; 9]) -> [Vec<R>; 2] {
            let layer = self.layer(parts);
            let x = parts[0].len();
            let (mut y, mut inner) = (vec![R::NAN; layer.outputs(x)], vec![R::NAN; layer.kept(x)]);
            layer.forward(&mut y, &mut inner, &parts[0]);
            [y, inner]
        }

        fn backward<R: FastMath>(&self, parts: &[Vec<R>; 9], dy: &[R]) -> Vec<Vec<R>> {
            let [_, inner] = self.forward(parts);
            let mut dx = vec![R::NAN; parts[0].len()];
            let gradients = self.layer(parts).backward(&mut dx, dy, &inner, &parts[0]);
            let mut all = vec![dx, gradients.norm.scale.unwrap(), gradients.norm.bias.unwrap()];
            for layer in [gradients.gate, Some(gradients.up), Some(gradients.down)] {
                let both = layer.map(|layer| (layer.weight.to_vec(), layer.bias.unwrap()));
                let (weight, bias) = both.unwrap_or_default();
                all.extend([weight, bias]);
            }
            all
        }

        /// One operator after another, in double precision.
        fn composed(&self) -> Vec<f64> {
            let layer = self.layer(&self.parts);
            let x = &self.parts[0];
            let mut n = x.clone();
            let mut statistics = vec![Default::default(); x.len() / WIDTH];
            layer.norm.unwrap().forward(&mut n, &mut statistics, x);
            let product = |layer: &Linear<'_, f64>, x: &[f64]| {
                let mut y = vec![0.0; x.len() / layer.inputs * layer.outputs];
                layer.forward_rows(&mut y, x, None);
                y
            };
            let up = product(&layer.up, &n);
            let mut hidden = up.clone();
            match &layer.gate {
                None => self.activation.forward(&mut hidden, &up),
                Some(gate) => {
                    self.activation.forward(&mut hidden, &product(gate, &n));
                    hidden.iter_mut().zip(&up).for_each(|(h, u)| *h *= u);
                }
            }
            let mut y = product(&layer.down, &hidden);
            if self.residual {
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            }
            y
        }
    }

    fn cases(rows: usize) -> impl Iterator<Item = Case> {
        let flags = [(false, false), (true, true), (false, true), (true, false)];
        let kinds = [Activation::Gelu, Activation::GeluTanh, Activation::Silu, Activation::Relu];
        flags
            .into_iter()
            .zip(kinds)
            .map(move |((gated, residual), kind)| Case::new(rows, gated, residual, kind))
    }

    #[test]
    fn equals_the_composition() {
        for rows in [0, 1, 7, ROWS + 9] {
            for case in cases(rows) {
                let expected = case.composed();
                assert_close("y", &case.forward(&case.parts)[0], &expected, 1e-14);
                let narrow: [Vec<f32>; 9] = case.parts.each_ref().map(|part| convert(part));
                assert_close("y f32", &case.forward(&narrow)[0], &expected, NARROW);
            }
        }
    }

    #[test]
    fn gradients_match_central_differences() {
        for case in cases(6) {
            let dy = normals::<f64>(20, 6 * case.parts[8].len());
            for (part, found) in case.backward(&case.parts, &dy).iter().enumerate() {
                if found.is_empty() {
                    continue;
                }
                let loss = |moved: &[f64]| {
                    let mut parts = case.parts.clone();
                    parts[part] = moved.to_vec();
                    dot(&case.forward(&parts)[0], &dy)
                };
                let numeric = numeric_gradient(&case.parts[part], loss);
                assert_close(&format!("part {part}, {:?}", case.activation), found, &numeric, 1e-6);
            }
        }
    }

    /// Units that are shut for all rows leave gradients of 1e-30 and products of denormals, unless these are taken for 0.
    #[test]
    fn what_is_all_but_shut_gives_no_denormal_gradients() {
        let mut case = Case::new(40, false, false, Activation::Gelu);
        case.parts[6] = vec![-11.7, 0.1, -12.5, -0.3, -13.0];
        case.parts[5].iter_mut().for_each(|weight| *weight *= 0.05);
        let dy: Vec<f64> = normals::<f64>(20, 160).iter().map(|d| 1e-6 * d).collect();
        let narrow: [Vec<f32>; 9] = case.parts.each_ref().map(|part| convert(part));
        let found = case.backward(&narrow, &convert::<f64, f32>(&dy));
        let expected = case.backward(&case.parts, &dy);
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found.iter().all(|x| !x.is_subnormal()), "{found:?}");
            assert_close("f32", found, expected, NARROW);
        }
    }

    #[test]
    fn gradients_are_the_same_over_blocks_runs_and_precisions() {
        for case in cases(2 * ROWS + 77) {
            let dy = normals::<f64>(20, (2 * ROWS + 77) * case.parts[8].len());
            let in_pool = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| case.backward(&case.parts, &dy))
            };
            let (one, three) = (in_pool(1), in_pool(3));
            assert_eq!(three, in_pool(3), "the same threads give the same bits");
            let narrow: [Vec<f32>; 9] = case.parts.each_ref().map(|part| convert(part));
            let found = case.backward(&narrow, &convert::<f64, f32>(&dy));
            for ((one, three), narrow) in one.iter().zip(&three).zip(&found) {
                assert_close("threads", three, one, 1e-13);
                assert_close("f32", narrow, one, NARROW);
            }
        }
    }
}
