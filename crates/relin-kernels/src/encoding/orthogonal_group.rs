//! Powers of a learned orthogonal matrix, `W_Δ = U^Δ` with `U = P^T R(θ) P`: by the spectral theorem every rotation of space,
//! and every exponential `U = e^A` of a skew-symmetric A, is of this kind.
//!
//! R(θ) turns the pairs (0, 1), (2, 3), … by learned angles; P is learned as well,
//!
//! ```text
//! givens   P = B_m ⋯ B_1,  B_l a layer of K/2 plane rotations, of the pairs (0, 1), (2, 3), … and (1, 2), …, (K−1, 0) by turns
//! cayley   P = (I − A)^{-1} (I + A),  A skew-symmetric, in blocks of `block` features: block rotations
//! ```
//!
//! # Cost
//! A row: `6·m·K/2` FLOPs for Givens rotations, `2·K·block` for Cayley blocks, and the rotation.

use serde::{Deserialize, Serialize};

use super::lrpe::{Basis, Family, LrpeConfig};
use super::{Encoder, Encoding, EncodingError, Lrpe, Parameter, Place, Side};
use crate::matmul::{Into, Mat, matmul};
use crate::real::Real;
use crate::rng::Rng;

/// How P is made of its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupBasis {
    /// A product of plane rotations.
    Givens,
    /// The Cayley transform of a skew-symmetric matrix.
    Cayley,
}

/// A learned one-parameter group of rotations, shared by the heads of a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrthogonalGroupConfig {
    /// P.
    pub basis: GroupBasis,
    /// Layers of plane rotations.
    pub depth: usize,
    /// Width of the Cayley transform's blocks; the whole width if absent.
    pub block: Option<usize>,
    /// Base of the first angles' geometric progression.
    pub theta_base: f64,
    /// Seed of P's first values.
    pub seed: u64,
}

impl Default for OrthogonalGroupConfig {
    fn default() -> Self {
        Self { basis: GroupBasis::Givens, depth: 4, block: None, theta_base: 10_000.0, seed: 0 }
    }
}

/// The group in one layer.
#[derive(Clone, Debug)]
pub struct OrthogonalGroup {
    config: OrthogonalGroupConfig,
    place: Place,
    block: usize,
    rotation: Lrpe,
}

impl OrthogonalGroup {
    /// Builds the encoding of one layer.
    ///
    /// # Errors
    /// If the width is odd, the depth 0, or the block does not divide the width.
    pub fn new(config: &OrthogonalGroupConfig, place: Place) -> Result<Self, EncodingError> {
        let k = place.key_dim;
        let rotation = LrpeConfig {
            family: Family::Orthogonal,
            basis: Basis::Identity,
            learn_theta: true,
            theta_base: config.theta_base,
            ..LrpeConfig::default()
        };
        let rotation = Lrpe::new(&rotation, place)?;
        let block = config.block.unwrap_or(k);
        if config.depth == 0 {
            let (expected, found) = ("at least 1".into(), "0".into());
            return Err(EncodingError::BadValue { field: "depth", expected, found });
        }
        if block == 0 || !k.is_multiple_of(block) {
            let expected = format!("a divisor of the head size {k}");
            return Err(EncodingError::BadValue { field: "block", expected, found: block.to_string() });
        }
        Ok(Self { config: config.clone(), place, block, rotation })
    }

    /// Scalars of P.
    fn basis_len(&self) -> usize {
        let k = self.place.key_dim;
        match self.config.basis {
            GroupBasis::Givens => self.config.depth * k / 2,
            GroupBasis::Cayley => k / self.block * (self.block * (self.block - 1) / 2),
        }
    }

    fn basis<R: Real>(&self, params: &[R]) -> Bound {
        let params: Vec<f64> = params[self.place.key_dim / 2..].iter().map(|x| x.to_f64()).collect();
        match self.config.basis {
            GroupBasis::Givens => Bound::Givens(params),
            GroupBasis::Cayley => {
                let len = self.block * (self.block - 1) / 2;
                let blocks = self.place.key_dim / self.block;
                Bound::Cayley(
                    (0..blocks).map(|at| Cayley::new(self.block, &params[at * len..][..len])).collect(),
                )
            }
        }
    }
}

/// P with its values.
#[derive(Clone, Debug)]
enum Bound {
    /// `[depth, K/2]` angles.
    Givens(Vec<f64>),
    Cayley(Vec<Cayley>),
}

/// The pair of features that rotation j of layer l turns.
fn pair(k: usize, layer: usize, j: usize) -> (usize, usize) {
    let first = 2 * j + layer % 2;
    (first, (first + 1) % k)
}

impl Bound {
    /// `out = P x` for each row.
    fn apply<R: Real>(&self, k: usize, x: &[R], out: &mut [R]) {
        match self {
            Self::Givens(angles) => {
                out.copy_from_slice(x);
                for (layer, angles) in angles.chunks(k / 2).enumerate() {
                    for (j, angle) in angles.iter().enumerate() {
                        let (a, b) = pair(k, layer, j);
                        let (sin, cos) = angle.sin_cos();
                        out.chunks_mut(k)
                            .for_each(|row| rotate(row, a, b, R::from_f64(cos), R::from_f64(sin)));
                    }
                }
            }
            Self::Cayley(blocks) => {
                for (at, block) in blocks.iter().enumerate() {
                    block.multiply(k, at, x, out, false);
                }
            }
        }
    }

    /// `d_x = P^T d_out`, and P's gradient added to `d_params`.
    fn vjp<R: Real>(&self, k: usize, x: &[R], d_out: &[R], d_x: &mut [R], d_params: &mut [f64]) {
        match self {
            Self::Givens(angles) => {
                d_x.copy_from_slice(d_out);
                let mut y = vec![R::ZERO; x.len()];
                self.apply(k, x, &mut y);
                for (layer, angles) in angles.chunks(k / 2).enumerate().rev() {
                    for (j, angle) in angles.iter().enumerate() {
                        let (a, b) = pair(k, layer, j);
                        let (sin, cos) = angle.sin_cos();
                        let (cos, sin) = (R::from_f64(cos), R::from_f64(sin));
                        let d_angle = &mut d_params[layer * k / 2 + j];
                        // Backwards through the rotation: its output y, then its input.
                        for (y, d) in y.chunks_mut(k).zip(d_x.chunks_mut(k)) {
                            *d_angle += (d[b] * y[a] - d[a] * y[b]).to_f64();
                            rotate(y, a, b, cos, -sin);
                            rotate(d, a, b, cos, -sin);
                        }
                    }
                }
            }
            Self::Cayley(blocks) => {
                let len = d_params.len() / blocks.len();
                for (at, block) in blocks.iter().enumerate() {
                    block.multiply(k, at, d_out, d_x, true);
                    block.add_gradient(k, at, x, d_out, &mut d_params[at * len..][..len]);
                }
            }
        }
    }

    /// P as a matrix.
    fn dense(&self, k: usize) -> Vec<f64> {
        match self {
            Self::Givens(angles) => {
                let mut p: Vec<f64> = (0..k * k).map(|at| f64::from(u8::from(at / k == at % k))).collect();
                for (layer, angles) in angles.chunks(k / 2).enumerate() {
                    for (j, angle) in angles.iter().enumerate() {
                        let (a, b) = pair(k, layer, j);
                        let (sin, cos) = angle.sin_cos();
                        for column in 0..k {
                            let (x, y) = (p[a * k + column], p[b * k + column]);
                            (p[a * k + column], p[b * k + column]) = (cos * x - sin * y, sin * x + cos * y);
                        }
                    }
                }
                p
            }
            Self::Cayley(blocks) => {
                let mut p = vec![0.0; k * k];
                for (at, block) in blocks.iter().enumerate() {
                    let b = block.size;
                    for (i, row) in block.p.chunks(b).enumerate() {
                        p[(at * b + i) * k + at * b..][..b].copy_from_slice(row);
                    }
                }
                p
            }
        }
    }
}

fn rotate<R: Real>(row: &mut [R], a: usize, b: usize, cos: R, sin: R) {
    (row[a], row[b]) = (cos * row[a] - sin * row[b], sin * row[a] + cos * row[b]);
}

/// `P = (I − A)^{-1} (I + A)` of one block.
#[derive(Clone, Debug)]
struct Cayley {
    size: usize,
    p: Vec<f64>,
    /// `(I − A)^{-1}`.
    inverse: Vec<f64>,
}

impl Cayley {
    /// From the entries of A below the diagonal, row by row.
    fn new(size: usize, entries: &[f64]) -> Self {
        let mut minus = vec![0.0; size * size];
        let mut plus = vec![0.0; size * size];
        for i in 0..size {
            (minus[i * size + i], plus[i * size + i]) = (1.0, 1.0);
            for j in 0..i {
                let a = entries[i * (i - 1) / 2 + j];
                (minus[i * size + j], minus[j * size + i]) = (-a, a);
                (plus[i * size + j], plus[j * size + i]) = (a, -a);
            }
        }
        let inverse = inverse(minus, size);
        let mut p = vec![0.0; size * size];
        matmul(&mut p, Into::Overwrite, Mat::new(&inverse, size, size), Mat::new(&plus, size, size));
        Self { size, p, inverse }
    }

    /// This block's columns of `x P^T`, or of `x P`.
    fn multiply<R: Real>(&self, k: usize, at: usize, x: &[R], out: &mut [R], transposed: bool) {
        let (b, rows, from) = (self.size, x.len() / k, at * self.size);
        let p: Vec<R> = self.p.iter().map(|&p| R::from_f64(p)).collect();
        let p = if transposed { Mat::new(&p, b, b) } else { Mat::new(&p, b, b).t() };
        crate::matmul::matmul_strided(
            &mut out[from..],
            k,
            Into::Overwrite,
            Mat::strided(&x[from..], rows, b, k),
            p,
        );
    }

    /// With `G = Σ d_out x^T`: `dA = (I − A)^{-T} G (I + P)^T`, of which the skew part counts.
    fn add_gradient<R: Real>(&self, k: usize, at: usize, x: &[R], d_out: &[R], d_entries: &mut [f64]) {
        let (b, rows, from) = (self.size, x.len() / k, at * self.size);
        let mut g = vec![R::ZERO; b * b];
        let (x, d_out) = (Mat::strided(&x[from..], rows, b, k), Mat::strided(&d_out[from..], rows, b, k));
        matmul(&mut g, Into::Overwrite, d_out.t(), x);
        let g: Vec<f64> = g.iter().map(|g| g.to_f64()).collect();
        let mut sum = self.p.clone();
        (0..b).for_each(|i| sum[i * b + i] += 1.0);
        let (mut left, mut d_a) = (vec![0.0; b * b], vec![0.0; b * b]);
        matmul(&mut left, Into::Overwrite, Mat::new(&self.inverse, b, b).t(), Mat::new(&g, b, b));
        matmul(&mut d_a, Into::Overwrite, Mat::new(&left, b, b), Mat::new(&sum, b, b).t());
        for (i, j) in (0..b).flat_map(|i| (0..i).map(move |j| (i, j))) {
            d_entries[i * (i - 1) / 2 + j] += d_a[i * b + j] - d_a[j * b + i];
        }
    }
}

/// Gauss–Jordan elimination with row exchanges; `I − A` is never singular, since A's eigenvalues are imaginary.
fn inverse(mut m: Vec<f64>, n: usize) -> Vec<f64> {
    let mut inverse: Vec<f64> = (0..n * n).map(|at| f64::from(u8::from(at / n == at % n))).collect();
    for column in 0..n {
        let size = |row: usize| m[row * n + column].abs();
        let pivot = (column..n).max_by(|&a, &b| size(a).total_cmp(&size(b))).unwrap_or(column);
        for matrix in [&mut m, &mut inverse] {
            (0..n).for_each(|j| matrix.swap(column * n + j, pivot * n + j));
        }
        let scale = 1.0 / m[column * n + column];
        for matrix in [&mut m, &mut inverse] {
            matrix[column * n..][..n].iter_mut().for_each(|x| *x *= scale);
        }
        for row in (0..n).filter(|&row| row != column) {
            let factor = m[row * n + column];
            for matrix in [&mut m, &mut inverse] {
                for j in 0..n {
                    matrix[row * n + j] -= factor * matrix[column * n + j];
                }
            }
        }
    }
    inverse
}

impl<R: Real> Encoding<R> for OrthogonalGroup {
    fn key_dim(&self) -> usize {
        self.place.key_dim
    }

    fn encoded_dim(&self) -> usize {
        self.place.key_dim
    }

    /// `theta`: `[1, K/2]`; `basis`: `[1, ..]`, rotation angles or entries of A below the diagonal.
    fn parameters(&self) -> Vec<Parameter> {
        let rotation: &dyn Encoding<R> = &self.rotation;
        let mut parameters = rotation.parameters();
        let rng = Rng::new(self.config.seed, (self.place.layer as u64) << 32 | 5);
        let scale = match self.config.basis {
            GroupBasis::Givens => std::f64::consts::FRAC_PI_4,
            GroupBasis::Cayley => (self.block as f64).powf(-0.5),
        };
        let init = (0..self.basis_len() as u64).map(|i| scale * rng.normal(i)).collect();
        let shape = vec![1, self.basis_len()];
        parameters.push(Parameter { name: "basis", shape, init, multiplies_position: false });
        parameters
    }

    fn bind(&self, params: &[R]) -> Box<dyn Encoder<R>> {
        let k = self.place.key_dim;
        Box::new(BoundGroup { k, basis: self.basis(params), rotation: self.rotation.bind(&params[..k / 2]) })
    }

    /// `P^T R(lag·θ) P`.
    fn kernel(&self, params: &[R], head: usize, lag: i64) -> Vec<f64> {
        let k = self.place.key_dim;
        let p = self.basis(params).dense(k);
        let r = self.rotation.kernel(&params[..k / 2], head, lag);
        let (mut rp, mut w) = (vec![0.0; k * k], vec![0.0; k * k]);
        matmul(&mut rp, Into::Overwrite, Mat::new(&r, k, k), Mat::new(&p, k, k));
        matmul(&mut w, Into::Overwrite, Mat::new(&p, k, k).t(), Mat::new(&rp, k, k));
        w
    }
}

#[derive(Debug)]
struct BoundGroup<R: Real> {
    k: usize,
    basis: Bound,
    rotation: Box<dyn Encoder<R>>,
}

impl<R: Real> Encoder<R> for BoundGroup<R> {
    fn encode(&self, side: Side, head: usize, position: i64, x: &[R], out: &mut [R]) {
        let mut inner = vec![R::ZERO; x.len()];
        self.basis.apply(self.k, x, &mut inner);
        self.rotation.encode(side, head, position, &inner, out);
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
        let (mut inner, mut d_inner) = (vec![R::ZERO; x.len()], vec![R::ZERO; x.len()]);
        self.basis.apply(self.k, x, &mut inner);
        let (d_theta, d_basis) = d_params.split_at_mut(self.k / 2);
        self.rotation.vjp(side, head, position, &inner, encoded, d_out, &mut d_inner, d_theta);
        self.basis.vjp(self.k, x, &d_inner, d_x, d_basis);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_configurations_are_refused() {
        let place = Place { key_dim: 8, heads: 1, layer: 0 };
        let refused =
            |config: OrthogonalGroupConfig| OrthogonalGroup::new(&config, place).unwrap_err().to_string();
        let flat = refused(OrthogonalGroupConfig { depth: 0, ..OrthogonalGroupConfig::default() });
        assert_eq!(flat, "depth must be at least 1; it is 0");
        let odd = refused(OrthogonalGroupConfig { block: Some(3), ..OrthogonalGroupConfig::default() });
        assert_eq!(odd, "block must be a divisor of the head size 8; it is 3");
    }

    /// `(I − A) P = I + A`.
    #[test]
    fn cayley_transforms_solve_their_equation() {
        let entries = [0.3, -1.2, 0.8, 2.0, 0.1, -0.7];
        let cayley = Cayley::new(4, &entries);
        let a = |i: usize, j: usize| match i.cmp(&j) {
            std::cmp::Ordering::Greater => entries[i * (i - 1) / 2 + j],
            std::cmp::Ordering::Less => -entries[j * (j - 1) / 2 + i],
            std::cmp::Ordering::Equal => 0.0,
        };
        for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
            let identity = f64::from(u8::from(i == j));
            let product: f64 =
                cayley.p[i * 4 + j] - (0..4).map(|l| a(i, l) * cayley.p[l * 4 + j]).sum::<f64>();
            assert!((product - identity - a(i, j)).abs() < 1e-12);
        }
    }
}
