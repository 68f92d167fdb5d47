//! What every encoding must satisfy, as one function that anyone can run on an encoding of their own.
//!
//! ```no_run
//! use relin_kernels::conformance::Suite;
//! use relin_kernels::encoding::{EncodingConfig, Place};
//!
//! let config = EncodingConfig::None;
//! let place = Place { key_dim: 8, heads: 2, layer: 0 };
//! let suite = Suite::new(config.build(place)?, config.build(place)?, 2);
//! if let Err(violations) = suite.check() {
//!     violations.iter().for_each(|violation| eprintln!("{violation}"));
//! }
//! # Ok::<(), relin_kernels::encoding::EncodingError>(())
//! ```

mod forms;

use std::fmt;
use std::sync::Arc;

use crate::encoding::{Agreement, Encoder, Encoding, Side};
use crate::real::Real;
use crate::rng::Rng;

/// Pairs of query and key positions that are compared: near and far, either order, negative, a million out.
const PAIRS: [(i64, i64); 7] =
    [(0, 0), (3, 0), (0, 3), (5, 2), (1_000_000, 1_000_007), (1_000_040, 1_000_000), (-4, 9)];
const SIDES: [Side; 2] = [Side::Query, Side::Key];
/// Draws of the noise over which a stochastic encoding is averaged, and standard errors that are tolerated.
const DRAWS: u64 = 64;
const SIGMAS: f64 = 5.0;

/// An encoding under test, in both precisions.
#[derive(Clone, Debug)]
pub struct Suite {
    exact: Arc<dyn Encoding<f64>>,
    single: Arc<dyn Encoding<f32>>,
    heads: usize,
    params: Vec<f64>,
}

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Which property.
    pub property: &'static str,
    /// Where, and by how much.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.detail)
    }
}

/// What a property finds wrong.
type Check = Result<(), String>;
type Property = (&'static str, fn(&Suite) -> Check);

impl Suite {
    /// For one encoding built twice. Its parameters are the initial ones, moved a little off any special point, and representable
    /// in single precision.
    pub fn new(exact: Arc<dyn Encoding<f64>>, single: Arc<dyn Encoding<f32>>, heads: usize) -> Self {
        let noise = Rng::new(5, 5);
        let initial = exact.parameters().into_iter().flat_map(|parameter| parameter.init);
        let moved = |(i, x): (usize, f64)| f64::from((x + 0.1 * noise.normal(i as u64)) as f32);
        let params = initial.enumerate().map(moved).collect();
        Self { exact, single, heads, params }
    }

    /// Runs every check.
    ///
    /// # Errors
    /// All properties that do not hold.
    pub fn check(&self) -> Result<(), Vec<Violation>> {
        let properties: [Property; 12] = [
            ("declared widths and parameters", Self::widths),
            ("encoded scores are the kernel's", Self::agrees_with_kernel),
            ("noisy maps are the stated ones", Self::agrees_with_dense_map),
            ("the mean over the noise is the kernel", Self::agrees_in_the_mean),
            ("the kernel depends on the lag alone", Self::is_relative),
            ("rows keep their length", Self::is_unitary),
            ("rows together are rows alone", Self::is_split_invariant),
            ("sequences together are sequences alone", Self::shares_positions),
            ("gradients are central differences", Self::gradients),
            ("single precision at a million", Self::precision),
            ("all forms of linear attention are the naive one", Self::forms_agree),
            ("gradients of linear attention are differences of the naive form", Self::attention_gradients),
        ];
        let violation =
            |(property, check): Property| check(self).err().map(|detail| Violation { property, detail });
        let violations: Vec<Violation> = properties.into_iter().filter_map(violation).collect();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    fn k(&self) -> usize {
        self.exact.key_dim()
    }

    fn rows(&self, stream: u64, rows: usize) -> Vec<f64> {
        normals(stream, rows * self.k())
    }

    fn encode<R: Real>(&self, encoder: &dyn Encoder<R>, side: Side, head: usize, at: i64, x: &[R]) -> Vec<R> {
        let mut out = vec![R::NAN; x.len() / self.k() * self.exact.encoded_dim()];
        encoder.encode(side, head, at, x, &mut out);
        out
    }

    fn widths(&self) -> Check {
        let (k, encoded) = (self.k(), self.exact.encoded_dim());
        ensure(self.single.key_dim() == k && self.single.encoded_dim() == encoded, || {
            "the two precisions differ in their widths".into()
        })?;
        for parameter in self.exact.parameters() {
            let size: usize = parameter.shape.iter().product();
            ensure(size == parameter.len(), || format!("{} has not the size of its shape", parameter.name))?;
            ensure(parameter.init.iter().all(|x| x.is_finite()), || {
                format!("{} is not finite", parameter.name)
            })?;
        }
        let encoder = self.exact.bind(&self.params);
        for side in SIDES {
            for head in 0..self.heads {
                let out = self.encode(&*encoder, side, head, 3, &self.rows(1, 5));
                ensure(out.iter().all(|x| x.is_finite()), || {
                    format!("head {head}: not all of [5, {encoded}] is written")
                })?;
            }
        }
        Ok(())
    }

    /// `Σ_j λ_j^{|lag|} q̃_j k̃_j`.
    fn score(&self, encoder: &dyn Encoder<f64>, head: usize, (s, t): (i64, i64)) -> f64 {
        let q = self.encode(encoder, Side::Query, head, s, &self.rows(1, 1));
        let k = self.encode(encoder, Side::Key, head, t, &self.rows(2, 1));
        let decay = self.exact.decay(head);
        q.iter().zip(&k).enumerate().map(|(j, (q, k))| decay.factor(j, t - s) * q * k).sum()
    }

    fn kernel_score(&self, head: usize, (s, t): (i64, i64)) -> f64 {
        let w = self.exact.kernel_between(&self.params, head, s, t);
        let (q, k, width) = (self.rows(1, 1), self.rows(2, 1), self.k());
        w.iter().enumerate().map(|(at, w)| q[at / width] * w * k[at % width]).sum()
    }

    fn agrees_with_kernel(&self) -> Check {
        if self.exact.agreement() != Agreement::Exact {
            return Ok(());
        }
        let encoder = self.exact.bind(&self.params);
        self.for_each_pair(|head, pair| {
            close(self.score(&*encoder, head, pair), self.kernel_score(head, pair), 1e-10, 1.0)
        })
    }

    fn for_each_pair(&self, check: impl Fn(usize, (i64, i64)) -> Check) -> Check {
        for head in 0..self.heads {
            for pair in PAIRS {
                check(head, pair).map_err(|what| format!("head {head}, positions {pair:?}: {what}"))?;
            }
        }
        Ok(())
    }

    fn agrees_with_dense_map(&self) -> Check {
        let (encoder, x, k) = (self.exact.bind(&self.params), self.rows(1, 1), self.k());
        self.for_each_pair(|head, (position, _)| {
            for side in SIDES {
                let Some(map) = self.exact.dense_map(&self.params, side, head, position) else {
                    let stated = self.exact.agreement() == Agreement::Exact;
                    return ensure(stated, || "a stochastic encoding states no map".into());
                };
                let width = map.len() / k;
                let expected: Vec<f64> =
                    (0..width).map(|j| (0..k).map(|d| x[d] * map[d * width + j]).sum()).collect();
                all_close(&self.encode(&*encoder, side, head, position, &x), &expected, 1e-8)?;
            }
            Ok(())
        })
    }

    fn agrees_in_the_mean(&self) -> Check {
        if self.exact.agreement() == Agreement::Exact || self.exact.redrawn(0).is_none() {
            return Ok(());
        }
        let encoders: Vec<_> = (0..DRAWS)
            .map(|draw| self.exact.redrawn(draw).expect("it was redrawn before").bind(&self.params))
            .collect();
        self.for_each_pair(|head, pair| {
            let scores: Vec<f64> =
                encoders.iter().map(|encoder| self.score(&**encoder, head, pair)).collect();
            let (n, mean) = (DRAWS as f64, scores.iter().sum::<f64>() / DRAWS as f64);
            let error = (scores.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n * (n - 1.0))).sqrt();
            let expected = self.kernel_score(head, pair);
            ensure(error > 0.0, || "all draws are alike".into())?;
            ensure((mean - expected).abs() < SIGMAS * error, || {
                format!("{mean} ± {error} over {DRAWS} draws, the kernel gives {expected}")
            })
        })
    }

    fn is_relative(&self) -> Check {
        self.for_each_pair(|head, (s, t)| {
            for steps in [-17, 1_000_000] {
                let shift = steps * self.exact.shift_step();
                let moved = self.kernel_score(head, (s + shift, t + shift));
                close(moved, self.kernel_score(head, (s, t)), 1e-9, 1.0)?;
            }
            Ok(())
        })
    }

    fn is_unitary(&self) -> Check {
        if !self.exact.is_unitary() {
            return Ok(());
        }
        let (encoder, x, k) = (self.exact.bind(&self.params), self.rows(1, 1), self.k());
        self.for_each_pair(|head, (position, _)| {
            let identity: Vec<f64> = (0..k * k).map(|at| f64::from(u8::from(at / k == at % k))).collect();
            all_close(&self.exact.kernel(&self.params, head, 0), &identity, 1e-11)?;
            let square = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
            for side in SIDES {
                let out = self.encode(&*encoder, side, head, position, &x);
                close(square(&out), square(&x), 1e-11, square(&x))?;
            }
            Ok(())
        })
    }

    fn is_split_invariant(&self) -> Check {
        let (encoder, rows, k) = (self.exact.bind(&self.params), 150, self.k());
        let width = self.exact.encoded_dim();
        let x = self.rows(1, rows);
        for side in SIDES {
            let head = self.heads - 1;
            let together = self.encode(&*encoder, side, head, 77, &x);
            for piece in [1, 7, 64] {
                for (i, x) in x.chunks(k * piece).enumerate() {
                    let alone = self.encode(&*encoder, side, head, 77 + (i * piece) as i64, x);
                    all_close(&alone, &together[i * piece * width..][..alone.len()], 1e-11).map_err(
                        |what| format!("{side:?}, row {} in pieces of {piece}: {what}", i * piece),
                    )?;
                }
            }
        }
        Ok(())
    }

    fn shares_positions(&self) -> Check {
        let (encoder, sequences, rows, position) = (self.exact.bind(&self.params), 3, 37, 50);
        let x = self.rows(1, sequences * rows);
        let (of_x, of_out) = (rows * self.k(), rows * self.exact.encoded_dim());
        let d_out = normals(2, sequences * of_out);
        for (side, head) in SIDES.into_iter().flat_map(|side| (0..self.heads).map(move |head| (side, head))) {
            let at = |what: String| format!("{side:?}, head {head}: {what}");
            let alone: Vec<f64> =
                x.chunks(of_x).flat_map(|x| self.encode(&*encoder, side, head, position, x)).collect();
            let mut together = vec![f64::NAN; alone.len()];
            encoder.encode_sequences(side, head, position, sequences, &x, &mut together);
            all_close(&together, &alone, 1e-11).map_err(at)?;
            let [mut d_alone, mut d_together] =
                [(); 2].map(|()| (vec![f64::NAN; x.len()], vec![0.0; self.params.len()]));
            let of_sequences = x.chunks(of_x).zip(alone.chunks(of_out)).zip(d_out.chunks(of_out));
            for (((x, encoded), d_out), d_x) in of_sequences.zip(d_alone.0.chunks_mut(of_x)) {
                encoder.vjp(side, head, position, x, encoded, d_out, d_x, &mut d_alone.1);
            }
            let (d_x, d_params) = (&mut d_together.0, &mut d_together.1);
            encoder.vjp_sequences(side, head, position, sequences, &x, &together, &d_out, d_x, d_params);
            all_close(&d_together.0, &d_alone.0, 1e-11)
                .map_err(|what| at(format!("gradient of x: {what}")))?;
            all_close(&d_together.1, &d_alone.1, 1e-11)
                .map_err(|what| at(format!("gradient of the parameters: {what}")))?;
        }
        Ok(())
    }

    fn gradients(&self) -> Check {
        let (rows, position) = (6, 40);
        let x = self.rows(1, rows);
        let weights = normals(2, rows * self.exact.encoded_dim());
        for (side, head) in SIDES.into_iter().flat_map(|side| (0..self.heads).map(move |head| (side, head))) {
            let value = |params: &[f64], x: &[f64]| {
                dot(&self.encode(&*self.exact.bind(params), side, head, position, x), &weights)
            };
            let mut d_x = vec![f64::NAN; x.len()];
            let mut d_params = vec![0.0; self.params.len()];
            let encoder = self.exact.bind(&self.params);
            let encoded = self.encode(&*encoder, side, head, position, &x);
            encoder.vjp(side, head, position, &x, &encoded, &weights, &mut d_x, &mut d_params);
            let at = |what: String| format!("{side:?}, head {head}: {what}");
            directional(&d_x, &normals(3, x.len()), 1e-4, |by| value(&self.params, &moved(&x, by)))
                .map_err(|what| at(format!("x: {what}")))?;
            for (name, direction) in self.directions() {
                directional(&d_params, &direction, 1e-5, |by| value(&moved(&self.params, by), &x))
                    .map_err(|what| at(format!("{name}: {what}")))?;
            }
        }
        Ok(())
    }

    /// Directions in the parameters: several random ones through each tensor.
    fn directions(&self) -> Vec<(String, Vec<f64>)> {
        let mut directions = Vec::new();
        let mut start = 0;
        for parameter in self.exact.parameters() {
            for trial in 0..4 {
                let mut direction = vec![0.0; self.params.len()];
                direction[start..][..parameter.len()].copy_from_slice(&normals(90 + trial, parameter.len()));
                directions.push((parameter.name.to_owned(), direction));
            }
            start += parameter.len();
        }
        directions
    }

    fn precision(&self) -> Check {
        let position = 1_000_003;
        let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let single_x = narrow(&self.rows(1, 3));
        let x: Vec<f64> = single_x.iter().map(|&x| f64::from(x)).collect();
        let (exact, single) = (self.exact.bind(&self.params), self.single.bind(&narrow(&self.params)));
        for (side, head) in SIDES.into_iter().flat_map(|side| (0..self.heads).map(move |head| (side, head))) {
            let found = self.encode(&*single, side, head, position, &single_x);
            let found: Vec<f64> = found.iter().map(|&x| f64::from(x)).collect();
            all_close(&found, &self.encode(&*exact, side, head, position, &x), 2e-6)
                .map_err(|what| format!("{side:?}, head {head}: {what}"))?;
        }
        Ok(())
    }
}

fn normals(stream: u64, len: usize) -> Vec<f64> {
    let rng = Rng::new(41, stream);
    (0..len as u64).map(|i| rng.normal(i)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn moved(x: &[f64], by: &[f64]) -> Vec<f64> {
    x.iter().zip(by).map(|(x, by)| x + by).collect()
}

fn ensure(holds: bool, detail: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(detail()) }
}

fn close(found: f64, expected: f64, tolerance: f64, scale: f64) -> Check {
    ensure((found - expected).abs() <= tolerance * scale.max(expected.abs()), || {
        format!("{found} instead of {expected}")
    })
}

/// Root mean square of the difference relative to that of the expected values.
fn all_close(found: &[f64], expected: &[f64], tolerance: f64) -> Check {
    let length = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = length(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    let relative = difference / length(&mut expected.iter().copied()).max(f64::MIN_POSITIVE);
    ensure(found.len() == expected.len() && relative <= tolerance, || format!("relative error {relative:e}"))
}

/// A gradient against a four-point difference along a direction.
fn directional(gradient: &[f64], direction: &[f64], step: f64, value: impl Fn(&[f64]) -> f64) -> Check {
    let at = |by: f64| value(&direction.iter().map(|d| by * d).collect::<Vec<_>>());
    let numeric = (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step);
    let analytic = dot(gradient, direction);
    let scale = gradient.iter().zip(direction).map(|(g, d)| (g * d).abs()).sum::<f64>() + 1e-3;
    ensure((numeric - analytic).abs() <= 2e-7 * scale, || {
        format!("{analytic} against {numeric}, scale {scale}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{EncodingConfig, LrpeConfig, Place};

    const PLACE: Place = Place { key_dim: 6, heads: 2, layer: 0 };

    fn lrpe() -> Suite {
        let config = EncodingConfig::Lrpe(LrpeConfig { learn_theta: true, ..LrpeConfig::default() });
        Suite::new(config.build(PLACE).unwrap(), config.build(PLACE).unwrap(), 2)
    }

    /// What `broken` says about rotations passed off as no encoding at all, and the reverse.
    #[test]
    fn a_wrong_kernel_is_found() {
        #[derive(Debug)]
        struct Wrong(Arc<dyn Encoding<f64>>);
        impl Encoding<f64> for Wrong {
            fn key_dim(&self) -> usize {
                self.0.key_dim()
            }
            fn encoded_dim(&self) -> usize {
                self.0.encoded_dim()
            }
            fn parameters(&self) -> Vec<crate::encoding::Parameter> {
                self.0.parameters()
            }
            fn bind(&self, params: &[f64]) -> Box<dyn Encoder<f64>> {
                self.0.bind(params)
            }
            fn kernel(&self, params: &[f64], head: usize, lag: i64) -> Vec<f64> {
                self.0.kernel(params, head, lag + i64::from(lag > 2))
            }
        }
        let sound = lrpe();
        assert_eq!(sound.check(), Ok(()));
        let broken = Suite { exact: Arc::new(Wrong(sound.exact.clone())), ..sound };
        let violations = broken.check().unwrap_err();
        assert_eq!(violations[0].property, "encoded scores are the kernel's");
        assert!(violations[0].detail.contains("(0, 3)"), "{}", violations[0]);
    }
}
