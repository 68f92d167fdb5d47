//! Positions in several dimensions: cells of a grid numbered row by row, each axis encoded on features of its own.
//!
//! ```text
//! position p = (p_1, …, p_n),     M_p = blockdiag(M^1_{p_1}, …, M^n_{p_n}),     W = blockdiag(W^1_{Δp_1}, …, W^n_{Δp_n})
//! ```
//!
//! With `combine = "sum"` all axes act on the same features one after the other, as the papers' image models do: the encoding then
//! sees nothing but `Δp_1 + … + Δp_n`, so that the offsets (1, 2) and (2, 1) are alike. It is here to compare with.
//!
//! # Reference
//! Slices: `MdLrpe` of Doraemonzzz/vector-quantize; sums: OpenNLPLab/im, `models/helpers/lrpe.py`.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Agreement, Decay, Encoder, Encoding, EncodingConfig, EncodingError, Parameter, Place, Side, Stage,
};
use crate::real::Real;
use crate::simd::Lanes;

/// How the axes share the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// Disjoint slices of (nearly) equal width.
    Slices,
    /// The same features for all: only the sum of the coordinates counts.
    Sum,
}

/// A grid of positions around an encoding of one axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GridConfig {
    /// Cells along each axis, the slowest first; position `p` is cell `p` row by row. Beyond the last cell the first axis goes on.
    pub shape: Vec<usize>,
    /// How the axes share the features.
    pub combine: Combine,
    /// The encoding of an axis.
    pub inner: Box<EncodingConfig>,
}

impl Default for GridConfig {
    fn default() -> Self {
        let inner = Box::new(EncodingConfig::Lrpe(super::LrpeConfig::default()));
        Self { shape: vec![1, 1], combine: Combine::Slices, inner }
    }
}

/// An encoding of grid positions.
#[derive(Clone, Debug)]
pub struct Grid<R: Real> {
    shape: Vec<usize>,
    key_dim: usize,
    encoded_dim: usize,
    /// One an axis, or a single one for their sum.
    axes: Vec<Arc<dyn Encoding<R>>>,
}

impl<R: Lanes> Grid<R> {
    /// Builds the encoding of one layer.
    ///
    /// # Errors
    /// If an axis has no cell, there are fewer features than axes, or the inner encoding is stochastic, decays, or cannot be built
    /// for its slice.
    pub fn new(config: &GridConfig, place: Place) -> Result<Self, EncodingError> {
        let bad = |field, expected: &str, found| {
            Err(EncodingError::BadValue { field, expected: expected.into(), found })
        };
        let axes = config.shape.len();
        if axes == 0 || config.shape.contains(&0) {
            return bad("shape", "one positive number of cells an axis", format!("{:?}", config.shape));
        }
        if place.key_dim < axes {
            return Err(EncodingError::TooNarrow { family: "grid", needed: axes, key_dim: place.key_dim });
        }
        let widths: Vec<usize> = match config.combine {
            Combine::Sum => vec![place.key_dim],
            Combine::Slices => slices(place.key_dim, axes, needs_even(&config.inner)),
        };
        let build = |&key_dim: &usize| config.inner.build::<R>(Place { key_dim, ..place });
        let axes: Vec<_> = widths.iter().map(build).collect::<Result<_, _>>()?;
        let plain = |axis: &Arc<dyn Encoding<R>>| {
            axis.stage() == Stage::AfterFeatureMap
                && axis.agreement() == Agreement::Exact
                && axis.decay(0) == Decay::None
        };
        if !axes.iter().all(plain) {
            let expected = "an encoding of one axis without noise or decay, such as the lrpe family";
            return bad("inner", expected, format!("{:?}", config.inner));
        }
        let encoded_dim = axes.iter().map(|axis| axis.encoded_dim()).sum();
        Ok(Self { shape: config.shape.clone(), key_dim: place.key_dim, encoded_dim, axes })
    }

    /// What each of the inner encodings takes for the position of a cell.
    fn coordinates(&self, position: i64) -> Vec<i64> {
        let mut rest = position;
        let mut coordinates: Vec<i64> = self.shape[1..]
            .iter()
            .rev()
            .map(|&cells| {
                let coordinate = rest.rem_euclid(cells as i64);
                rest = rest.div_euclid(cells as i64);
                coordinate
            })
            .collect();
        coordinates.push(rest);
        coordinates.reverse();
        if self.axes.len() < coordinates.len() {
            return vec![coordinates.iter().sum()];
        }
        coordinates
    }

    /// One of the [`coordinates`](Self::coordinates) of consecutive cells.
    fn coordinates_of(&self, axis: usize, position: i64, out: &mut [i64]) {
        if self.axes.len() < self.shape.len() {
            return (position..).zip(out).for_each(|(cell, out)| *out = self.coordinates(cell)[axis]);
        }
        let step = self.shape[axis + 1..].iter().product::<usize>() as i64;
        let cells = self.shape[axis] as i64;
        let wrapped = |cell: i64| if axis == 0 { cell } else { cell.rem_euclid(cells) };
        let (mut within, mut coordinate) = (position.rem_euclid(step), wrapped(position.div_euclid(step)));
        for out in out {
            *out = coordinate;
            within += 1;
            if within == step {
                (within, coordinate) = (0, wrapped(coordinate + 1));
            }
        }
    }

    /// Each axis with its slice of the flat parameters.
    fn parts<'a, T>(
        &'a self,
        mut params: &'a [T],
    ) -> impl Iterator<Item = (&'a Arc<dyn Encoding<R>>, &'a [T])> {
        self.axes.iter().map(move |axis| {
            let (own, rest) = params.split_at(axis.parameters().iter().map(Parameter::len).sum());
            params = rest;
            (axis, own)
        })
    }
}

fn needs_even(inner: &EncodingConfig) -> bool {
    let pairs = |config: &super::LrpeConfig| {
        config.family == super::lrpe::Family::Orthogonal && config.rotated == super::lrpe::Rotated::All
    };
    matches!(inner, EncodingConfig::Lrpe(config) if pairs(config))
        || matches!(inner, EncodingConfig::OrthogonalGroup(_))
}

/// `k` features in `n` slices, the wider ones first; all of even width where features go in pairs and k is even.
fn slices(k: usize, n: usize, even: bool) -> Vec<usize> {
    let unit = if even && k.is_multiple_of(2) && k >= 2 * n { 2 } else { 1 };
    (0..n).map(|axis| unit * (k / unit / n + usize::from(axis < k / unit % n))).collect()
}

impl<R: Lanes> Encoding<R> for Grid<R> {
    fn key_dim(&self) -> usize {
        self.key_dim
    }

    fn encoded_dim(&self) -> usize {
        self.encoded_dim
    }

    /// `axes`: those of the first axis, then those of the second, and so on, end to end.
    fn parameters(&self) -> Vec<Parameter> {
        let own: Vec<Parameter> = self.axes.iter().flat_map(|axis| axis.parameters()).collect();
        let multiplies_position = own.iter().all(|parameter| parameter.multiplies_position);
        let init: Vec<f64> = own.into_iter().flat_map(|parameter| parameter.init).collect();
        match init.len() {
            0 => Vec::new(),
            len => vec![Parameter { name: "axes", shape: vec![1, len], init, multiplies_position }],
        }
    }

    fn bind(&self, params: &[R]) -> Box<dyn Encoder<R>> {
        let encoders = self.parts(params).map(|(axis, params)| (axis.bind(params), params.len())).collect();
        Box::new(BoundGrid { grid: self.clone(), encoders })
    }

    /// The kernel between the cell 0 and the cell `lag`.
    fn kernel(&self, params: &[R], head: usize, lag: i64) -> Vec<f64> {
        self.kernel_between(params, head, 0, lag)
    }

    fn kernel_between(&self, params: &[R], head: usize, query: i64, key: i64) -> Vec<f64> {
        let (queries, keys) = (self.coordinates(query), self.coordinates(key));
        let mut w = vec![0.0; self.key_dim * self.key_dim];
        let mut from = 0;
        for (at, (axis, params)) in self.parts(params).enumerate() {
            let width = axis.key_dim();
            let part = axis.kernel(params, head, keys[at] - queries[at]);
            for (i, row) in part.chunks(width).enumerate() {
                w[(from + i) * self.key_dim + from..][..width].copy_from_slice(row);
            }
            from += width;
        }
        w
    }

    fn is_unitary(&self) -> bool {
        self.axes.iter().all(|axis| axis.is_unitary())
    }

    fn shift_step(&self) -> i64 {
        self.shape[1..].iter().product::<usize>() as i64
    }
}

#[derive(Debug)]
struct BoundGrid<R: Real> {
    grid: Grid<R>,
    /// With the number of their parameters.
    encoders: Vec<(Box<dyn Encoder<R>>, usize)>,
}

/// One axis of a call: its encoder, the coordinates of the rows, and where its slices lie.
struct Axis<'a, R: Real> {
    encoder: &'a dyn Encoder<R>,
    coordinates: &'a [i64],
    x: Range<usize>,
    out: Range<usize>,
    params: Range<usize>,
}

impl<R: Lanes> BoundGrid<R> {
    /// All rows once for every encoder.
    fn for_each_axis(&self, position: i64, rows: usize, mut run: impl FnMut(Axis<'_, R>)) {
        let grid = &self.grid;
        let mut coordinates = vec![0; rows];
        let (mut x, mut out, mut params) = (0, 0, 0);
        for (at, (axis, (encoder, len))) in grid.axes.iter().zip(&self.encoders).enumerate() {
            grid.coordinates_of(at, position, &mut coordinates);
            let ends = (x + axis.key_dim(), out + axis.encoded_dim(), params + len);
            let (x_at, out_at, params_at) = (x..ends.0, out..ends.1, params..ends.2);
            let (encoder, coordinates) = (&**encoder, &coordinates[..]);
            run(Axis { encoder, coordinates, x: x_at, out: out_at, params: params_at });
            (x, out, params) = ends;
        }
    }
}

/// The slices `within` of rows of `width`, end to end, in the room of `buffer`.
fn gather<'b, R: Copy>(rows: &[R], width: usize, within: &Range<usize>, buffer: &'b mut Vec<R>) -> &'b [R] {
    buffer.clear();
    rows.chunks_exact(width).for_each(|row| buffer.extend_from_slice(&row[within.clone()]));
    buffer
}

/// The reverse of [`gather`].
fn scatter<R: Copy>(slices: &[R], rows: &mut [R], width: usize, within: &Range<usize>) {
    for (row, slice) in rows.chunks_exact_mut(width).zip(slices.chunks_exact(within.len())) {
        row[within.clone()].copy_from_slice(slice);
    }
}

impl<R: Lanes> Encoder<R> for BoundGrid<R> {
    fn encode(&self, side: Side, head: usize, position: i64, x: &[R], out: &mut [R]) {
        let (k, width) = (self.grid.key_dim, self.grid.encoded_dim);
        let (mut of_x, mut encoded) = (Vec::with_capacity(x.len()), Vec::with_capacity(out.len()));
        self.for_each_axis(position, x.len() / k, |axis| {
            let x = gather(x, k, &axis.x, &mut of_x);
            encoded.resize(axis.coordinates.len() * axis.out.len(), R::ZERO);
            axis.encoder.encode_at(side, head, axis.coordinates, x, &mut encoded);
            scatter(&encoded, out, width, &axis.out);
        });
    }

    fn vjp(
        &self,
        side: Side,
        head: usize,
        position: i64,
        x: &[R],
        encoded: &[R],
        d_out: &[R],
        d_x: &mut [R],
        d_params: &mut [f64],
    ) {
        let (k, width) = (self.grid.key_dim, self.grid.encoded_dim);
        let (mut buffers, mut d) = ([const { Vec::new() }; 3], Vec::new());
        self.for_each_axis(position, x.len() / k, |axis| {
            let [of_x, of_encoded, of_d_out] = &mut buffers;
            let x = gather(x, k, &axis.x, of_x);
            let encoded = gather(encoded, width, &axis.out, of_encoded);
            let d_out = gather(d_out, width, &axis.out, of_d_out);
            d.resize(x.len(), R::ZERO);
            let d_params = &mut d_params[axis.params.clone()];
            axis.encoder.vjp_at(side, head, axis.coordinates, x, encoded, d_out, &mut d, d_params);
            scatter(&d, d_x, k, &axis.x);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::lrpe::{Basis, Family};
    use crate::encoding::{LrpeConfig, SineSpeConfig};

    const PLACE: Place = Place { key_dim: 8, heads: 1, layer: 0 };

    fn grid(combine: Combine) -> Grid<f64> {
        let inner =
            LrpeConfig { family: Family::Orthogonal, basis: Basis::Identity, ..LrpeConfig::default() };
        let config = GridConfig { shape: vec![7, 5], combine, inner: Box::new(EncodingConfig::Lrpe(inner)) };
        Grid::new(&config, PLACE).unwrap()
    }

    /// Whatever rows a call has, each of them is encoded as it is alone.
    #[test]
    fn runs_cover_every_row_once() {
        for combine in [Combine::Slices, Combine::Sum] {
            let grid = grid(combine);
            let encoder = grid.bind(&[]);
            let x: Vec<f64> = (0..8 * 40).map(|i| f64::from(i).sin()).collect();
            for (position, rows) in [(0, 1), (3, 4), (-7, 40), (12, 23)] {
                let mut together = vec![f64::NAN; 8 * rows];
                encoder.encode(Side::Query, 0, position, &x[..8 * rows], &mut together);
                for (i, (x, expected)) in x.chunks(8).zip(together.chunks(8)).enumerate() {
                    let mut alone = [f64::NAN; 8];
                    encoder.encode(Side::Query, 0, position + i as i64, x, &mut alone);
                    let equal = alone.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
                    assert!(equal, "row {i} of {rows} from {position}");
                }
            }
        }
    }

    fn differ(a: &[f64], b: &[f64]) -> bool {
        a.iter().zip(b).any(|(a, b)| (a - b).abs() > 1e-3)
    }

    /// Cell (2, 1) has the number 11; the offsets (1, 2) and (2, 1) from there are the cells 18 and 22.
    #[test]
    fn slices_tell_offsets_apart_and_sums_do_not() {
        let between = |combine, key| grid(combine).kernel_between(&[], 0, 11, key);
        assert!(differ(&between(Combine::Slices, 18), &between(Combine::Slices, 22)));
        assert!(!differ(&between(Combine::Sum, 18), &between(Combine::Sum, 22)));
    }

    /// From (2, 4) to (3, 0) is the offset (1, −4), although the numbers are neighbours.
    #[test]
    fn a_row_ends_where_it_ends() {
        let grid = grid(Combine::Slices);
        assert_eq!(grid.coordinates(14), [2, 4]);
        assert_eq!(grid.coordinates(-1), [-1, 4]);
        assert_eq!(grid.kernel_between(&[], 0, 14, 15), grid.kernel_between(&[], 0, 4, 5));
        assert!(differ(&grid.kernel_between(&[], 0, 14, 15), &grid.kernel_between(&[], 0, 11, 12)));
    }

    #[test]
    fn impossible_configurations_are_refused() {
        let refused = |config: GridConfig| Grid::<f64>::new(&config, PLACE).unwrap_err().to_string();
        let empty = refused(GridConfig { shape: vec![4, 0], ..GridConfig::default() });
        assert!(empty.starts_with("shape must be one positive number"), "{empty}");
        let spe = Box::new(EncodingConfig::SineSpe(SineSpeConfig::default()));
        let stochastic = refused(GridConfig { inner: spe, ..GridConfig::default() });
        assert!(stochastic.starts_with("inner must be an encoding of one axis"), "{stochastic}");
        let many = refused(GridConfig { shape: vec![2; 9], ..GridConfig::default() });
        assert!(many.contains("at least 9"), "{many}");
    }
}
