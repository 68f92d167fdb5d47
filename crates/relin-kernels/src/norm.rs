//! Layer norm and root-mean-square norm over the last axis.

use rayon::prelude::*;

use crate::real::Real;
use crate::reduce::{sum, sum2};
use crate::simd::dispatch;

/// Rows a task takes; the parameters' gradients are summed within such a block, then over blocks in `f64`.
const ROWS: usize = 64;

/// What is taken out of each row before it is rescaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormKind {
    /// Mean and standard deviation: `x̂ = (x − μ)/√(σ² + ε)`.
    Layer,
    /// Root mean square alone: `x̂ = x/√(mean x² + ε)`.
    Rms,
}

/// `y = x̂ ∘ scale + bias` over rows of `width` elements.
///
/// # Shapes
/// x, y `[N, width]`; scale, bias `[width]`, both optional; statistics `[N]`.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a, R> {
    /// What is normalised.
    pub kind: NormKind,
    /// Elements of a row.
    pub width: usize,
    /// Added to the variance (or mean square).
    pub eps: f64,
    /// Multiplies x̂.
    pub scale: Option<&'a [R]>,
    /// Added last.
    pub bias: Option<&'a [R]>,
}

/// What the backward needs to know of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowStatistics<R> {
    /// μ; 0 for the root-mean-square norm.
    pub mean: R,
    /// `1/√(σ² + ε)`.
    pub inverse_std: R,
}

/// Gradients of the parameters that there are.
#[derive(Clone, Debug, PartialEq)]
pub struct NormGradients<R> {
    /// `Σ dy ∘ x̂` over rows.
    pub scale: Option<Vec<R>>,
    /// `Σ dy` over rows.
    pub bias: Option<Vec<R>>,
}

impl<R: Real> Norm<'_, R> {
    /// Writes the normalised rows and their statistics.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn forward(&self, out: &mut [R], statistics: &mut [RowStatistics<R>], x: &[R]) {
        self.check(x.len(), out.len(), statistics.len());
        let block = ROWS * self.width;
        let outputs = out.par_chunks_mut(block).zip(statistics.par_chunks_mut(ROWS));
        outputs
            .zip(x.par_chunks(block))
            .for_each(|((out, statistics), x)| self.forward_rows(out, statistics, x));
    }

    /// [`forward`](Self::forward) of a few rows on this thread.
    pub(crate) fn forward_rows(&self, out: &mut [R], statistics: &mut [RowStatistics<R>], x: &[R]) {
        dispatch(
            #[inline(always)]
            || {
                let rows = out.chunks_exact_mut(self.width).zip(x.chunks_exact(self.width));
                for ((out, x), row) in rows.zip(statistics) {
                    *row = self.row_statistics(x);
                    self.forward_row(out, x, *row);
                }
            },
        );
    }

    /// Writes dx and returns the parameters' gradients.
    ///
    /// With `g = dy ∘ scale`: `dx = (g − mean g − x̂ mean(g x̂))/√(σ² + ε)`, without `mean g` for the
    /// root-mean-square norm.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn backward(
        &self,
        dx: &mut [R],
        dy: &[R],
        x: &[R],
        statistics: &[RowStatistics<R>],
    ) -> NormGradients<R> {
        self.check(x.len(), dx.len(), statistics.len());
        assert_eq!(dy.len(), x.len(), "dy has {} elements, x {}", dy.len(), x.len());
        let block = ROWS * self.width;
        let inputs = dy.par_chunks(block).zip(x.par_chunks(block)).zip(statistics.par_chunks(ROWS));
        let partial: Vec<[Vec<R>; 2]> = dx
            .par_chunks_mut(block)
            .zip(inputs)
            .map(|(dx, ((dy, x), statistics))| self.backward_rows(dx, dy, x, statistics))
            .collect();
        NormGradients {
            scale: self.scale.map(|_| self.total(partial.iter().map(|p| &p[0]))),
            bias: self.bias.map(|_| self.total(partial.iter().map(|p| &p[1]))),
        }
    }

    fn check(&self, x: usize, out: usize, rows: usize) {
        let width = self.width;
        assert!(width > 0, "rows must have at least one element");
        assert_eq!(x, rows * width, "x has {x} elements, {rows} rows of {width} were announced");
        assert_eq!(out, x, "output has {out} elements, x {x}");
        for (name, parameter) in [("scale", self.scale), ("bias", self.bias)] {
            let found = parameter.map_or(width, <[R]>::len);
            assert_eq!(found, width, "{name} has {found} elements, rows have {width}");
        }
    }

    #[inline(always)]
    fn row_statistics(&self, x: &[R]) -> RowStatistics<R> {
        let inverse_width = R::from_f64(1.0 / self.width as f64);
        let mean = match self.kind {
            NormKind::Layer => sum(x, |v| v) * inverse_width,
            NormKind::Rms => R::ZERO,
        };
        let variance = sum(x, |v| (v - mean) * (v - mean)) * inverse_width;
        RowStatistics { mean, inverse_std: R::ONE / (variance + R::from_f64(self.eps)).sqrt() }
    }

    #[inline(always)]
    fn forward_row(&self, out: &mut [R], x: &[R], row: RowStatistics<R>) {
        let normalised = |v: R| (v - row.mean) * row.inverse_std;
        let pairs = out.iter_mut().zip(x);
        match (self.scale, self.bias) {
            (None, None) => pairs.for_each(|(o, &v)| *o = normalised(v)),
            (Some(scale), None) => pairs.zip(scale).for_each(|((o, &v), &s)| *o = normalised(v) * s),
            (None, Some(bias)) => pairs.zip(bias).for_each(|((o, &v), &b)| *o = normalised(v) + b),
            (Some(scale), Some(bias)) => {
                pairs.zip(scale.iter().zip(bias)).for_each(|((o, &v), (&s, &b))| *o = normalised(v) * s + b);
            }
        }
    }

    /// dx of a few rows, and their sums for scale and bias, on this thread.
    pub(crate) fn backward_rows(
        &self,
        dx: &mut [R],
        dy: &[R],
        x: &[R],
        statistics: &[RowStatistics<R>],
    ) -> [Vec<R>; 2] {
        dispatch(
            #[inline(always)]
            || self.backward_block(dx, dy, x, statistics),
        )
    }

    #[inline(always)]
    fn backward_block(
        &self,
        dx: &mut [R],
        dy: &[R],
        x: &[R],
        statistics: &[RowStatistics<R>],
    ) -> [Vec<R>; 2] {
        let width = self.width;
        let mut dscale = vec![R::ZERO; if self.scale.is_some() { width } else { 0 }];
        let mut dbias = vec![R::ZERO; if self.bias.is_some() { width } else { 0 }];
        let rows = dx.chunks_exact_mut(width).zip(dy.chunks_exact(width).zip(x.chunks_exact(width)));
        for ((dx, (dy, x)), &row) in rows.zip(statistics) {
            for (total, (&g, &v)) in dscale.iter_mut().zip(dy.iter().zip(x)) {
                *total += g * ((v - row.mean) * row.inverse_std);
            }
            dbias.iter_mut().zip(dy).for_each(|(total, &g)| *total += g);
            self.backward_row(dx, dy, x, row);
        }
        [dscale, dbias]
    }

    #[inline(always)]
    fn backward_row(&self, dx: &mut [R], dy: &[R], x: &[R], row: RowStatistics<R>) {
        let inverse_width = R::from_f64(1.0 / self.width as f64);
        match self.scale {
            Some(scale) => dx.iter_mut().zip(dy.iter().zip(scale)).for_each(|(d, (&g, &s))| *d = g * s),
            None => dx.copy_from_slice(dy),
        }
        let mean_g = match self.kind {
            NormKind::Layer => sum(dx, |g| g) * inverse_width,
            NormKind::Rms => R::ZERO,
        };
        let projection = sum2(dx, x, |g, v| g * (v - row.mean)) * row.inverse_std * inverse_width;
        for (d, &v) in dx.iter_mut().zip(x) {
            *d = (*d - mean_g - (v - row.mean) * row.inverse_std * projection) * row.inverse_std;
        }
    }

    fn total<'b>(&self, blocks: impl Iterator<Item = &'b Vec<R>>) -> Vec<R> {
        let mut total = vec![0.0f64; self.width];
        for block in blocks {
            total.iter_mut().zip(block).for_each(|(t, v)| *t += v.to_f64());
        }
        total.into_iter().map(R::from_f64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, convert, dot, normals, numeric_gradient};

    fn printed(norm: &Norm<'_, f64>, x: &[f64]) -> Vec<f64> {
        let mut out = Vec::new();
        for row in x.chunks(norm.width) {
            let n = row.len() as f64;
            let mean = if norm.kind == NormKind::Layer { row.iter().sum::<f64>() / n } else { 0.0 };
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            for (i, v) in row.iter().enumerate() {
                let scale = norm.scale.map_or(1.0, |s| s[i]);
                let bias = norm.bias.map_or(0.0, |b| b[i]);
                out.push((v - mean) / (variance + norm.eps).sqrt() * scale + bias);
            }
        }
        out
    }

    fn run<R: Real>(norm: &Norm<'_, R>, x: &[R]) -> (Vec<R>, Vec<RowStatistics<R>>) {
        let mut out = vec![R::NAN; x.len()];
        let unset = RowStatistics { mean: R::NAN, inverse_std: R::NAN };
        let mut statistics = vec![unset; x.len() / norm.width];
        norm.forward(&mut out, &mut statistics, x);
        (out, statistics)
    }

    /// Every kind with and without each parameter, over row counts around a block.
    fn cases() -> impl Iterator<Item = (NormKind, bool, bool, usize, usize)> {
        let kinds = [NormKind::Layer, NormKind::Rms].into_iter();
        let flags = [(false, false), (true, false), (false, true), (true, true)];
        let sizes = [(0, 3), (1, 1), (2, 5), (65, 33), (130, 16)];
        kinds.flat_map(move |kind| {
            flags.into_iter().flat_map(move |(s, b)| sizes.into_iter().map(move |(n, w)| (kind, s, b, n, w)))
        })
    }

    #[test]
    fn forward_is_the_equation_as_printed() {
        for (kind, scaled, biased, rows, width) in cases() {
            let x: Vec<f64> = normals::<f64>(1, rows * width).iter().map(|v| 2.0 * v + 0.5).collect();
            let (scale, bias) = (normals::<f64>(2, width), normals::<f64>(3, width));
            let norm = Norm {
                kind,
                width,
                eps: 1e-3,
                scale: scaled.then_some(&*scale),
                bias: biased.then_some(&*bias),
            };
            let expected = printed(&norm, &x);
            assert_close("f64", &run(&norm, &x).0, &expected, 1e-13);
            let (scale, bias) = (convert::<f64, f32>(&scale), convert::<f64, f32>(&bias));
            let norm = Norm {
                kind,
                width,
                eps: 1e-3,
                scale: scaled.then_some(&*scale),
                bias: biased.then_some(&*bias),
            };
            assert_close("f32", &run(&norm, &convert::<f64, f32>(&x)).0, &expected, 1e-6);
        }
    }

    #[test]
    fn backward_matches_central_differences() {
        for (kind, scaled, biased, rows, width) in cases().filter(|c| c.3 * c.4 < 3000) {
            let x: Vec<f64> = normals::<f64>(1, rows * width).iter().map(|v| 2.0 * v + 0.5).collect();
            let (scale, bias, dy) =
                (normals::<f64>(2, width), normals::<f64>(3, width), normals::<f64>(4, rows * width));
            let norm = Norm {
                kind,
                width,
                eps: 1e-2,
                scale: scaled.then_some(&*scale),
                bias: biased.then_some(&*bias),
            };
            let mut dx = vec![f64::NAN; x.len()];
            let gradients = norm.backward(&mut dx, &dy, &x, &run(&norm, &x).1);
            let expected = numeric_gradient(&x, |x| dot(&printed(&norm, x), &dy));
            assert_close("dx", &dx, &expected, 2e-8);
            assert_eq!((gradients.scale.is_some(), gradients.bias.is_some()), (scaled, biased));
            if let Some(dscale) = gradients.scale {
                let loss = |s: &[f64]| dot(&printed(&Norm { scale: Some(s), ..norm }, &x), &dy);
                assert_close("dscale", &dscale, &numeric_gradient(&scale, loss), 1e-8);
            }
            if let Some(dbias) = gradients.bias {
                let loss = |b: &[f64]| dot(&printed(&Norm { bias: Some(b), ..norm }, &x), &dy);
                assert_close("dbias", &dbias, &numeric_gradient(&bias, loss), 1e-8);
            }
        }
    }

    #[test]
    fn f32_gradients_follow_f64_whatever_the_number_of_threads() {
        let (rows, width) = (1000, 48);
        let (x, dy) = (normals::<f64>(1, rows * width), normals::<f64>(2, rows * width));
        let scale = normals::<f64>(3, width);
        let wide =
            Norm { kind: NormKind::Layer, width, eps: 1e-5, scale: Some(&*scale), bias: Some(&*scale) };
        let mut expected = vec![f64::NAN; x.len()];
        let expected_gradients = wide.backward(&mut expected, &dy, &x, &run(&wide, &x).1);
        let (x, dy, scale) = (convert::<f64, f32>(&x), convert::<f64, f32>(&dy), convert::<f64, f32>(&scale));
        let norm =
            Norm { kind: NormKind::Layer, width, eps: 1e-5, scale: Some(&*scale), bias: Some(&*scale) };
        let statistics = run(&norm, &x).1;
        let in_pool = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut dx = vec![f32::NAN; x.len()];
            (pool.install(|| norm.backward(&mut dx, &dy, &x, &statistics)), dx)
        };
        let (gradients, dx) = in_pool(1);
        assert_eq!(in_pool(3), (gradients.clone(), dx.clone()));
        assert_close("dx", &dx, &expected, 1e-6);
        assert_close("dscale", &gradients.scale.unwrap(), &expected_gradients.scale.unwrap(), 1e-6);
        assert_close("dbias", &gradients.bias.unwrap(), &expected_gradients.bias.unwrap(), 1e-6);
    }

    #[test]
    fn a_constant_row_stays_finite() {
        let norm = Norm::<f32> { kind: NormKind::Layer, width: 4, eps: 1e-5, scale: None, bias: None };
        assert_eq!(run(&norm, &[3.0; 4]).0, [0.0; 4]);
    }

    #[test]
    #[should_panic(expected = "scale has 2 elements, rows have 3")]
    fn refuses_parameters_of_another_width() {
        let norm = Norm { kind: NormKind::Rms, width: 3, eps: 0.0, scale: Some(&[1.0, 1.0]), bias: None };
        run(&norm, &[1.0; 3]);
    }
}
