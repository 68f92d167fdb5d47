//! Before anything is timed: is it right? The operator is held to its definition on a short sequence, and at every
//! length that is timed to its own form in double precision, on one head.

use relin_kernels::linear_attention::{Gradients, Normalizer};
use relin_kernels::real::Real;
use relin_kernels::rng::Rng;

use super::definition::Direction;
use super::error::BenchError;
use super::inputs::{Sizes, Tensors, first_head};
use super::operator::{Method, Operator, Results, Subject};
use super::position::Position;

/// Largest relative RMS error of what single precision gives.
const TOLERANCE: f64 = 1e-5;
/// Where denominators are sums of scores of both signs, some nearly vanish and amplify any rounding; then only gross
/// mistakes are noticed.
const CANCELLING_TOLERANCE: f64 = 1e-2;
/// Step of the central difference through the definition, in double precision.
const STEP: f64 = 1e-5;
/// Heads of the short sequence: the definition costs K² a pair of tokens.
const HEADS: usize = 2;

pub const NAIVE: &str = "the definition";
const DOUBLE: &str = "double precision";

/// Holds outputs, and gradients along a random direction, to the definition on at most `3C + 7` tokens; gives the
/// larger relative error.
pub fn against_naive(
    subject: &Subject,
    sizes: Sizes,
    direction: Direction,
    seed: u64,
) -> Result<f64, BenchError> {
    let length = sizes.length.min(3 * sizes.chunk + 7);
    let heads = sizes.heads.min(HEADS);
    let built_for = sizes;
    let sizes = Sizes { batch: 1, heads, length, ..sizes };
    let exact = subject.build::<f64>(&built_for, heads)?;
    let rows = sampled_rows(&sizes);
    let mut tensors = Tensors::random(&sizes, seed);
    let width = heads * sizes.value_dim;
    for (s, row) in tensors.d_out.chunks_mut(width).enumerate() {
        if !rows.contains(&s) {
            row.fill(0.0);
        }
    }
    let results = subject.build::<f32>(&built_for, heads)?.run(direction, &sizes.segments(), &tensors)?;
    let wide = tensors.widened();
    let expected = naive_rows(&exact, &rows, &wide)?;
    let found = rows.iter().flat_map(|s| &results.out[s * width..][..width]).map(|x| x.to_f64());
    let error = relative_error(found, &expected);
    held(subject, NAIVE, error)?;
    let Some(gradients) = &results.gradients else { return Ok(error) };
    let slope = slope_error(&exact, &rows, &wide, gradients, seed)?;
    held(subject, NAIVE, slope)?;
    Ok(error.max(slope))
}

/// The first and last tokens, and those around the ends of chunks.
fn sampled_rows(sizes: &Sizes) -> Vec<usize> {
    let (chunk, last) = (sizes.chunk, sizes.length - 1);
    let mut rows = vec![0, chunk - 1, chunk, 2 * chunk + chunk / 2, 3 * chunk, last];
    rows.retain(|row| *row <= last);
    rows.sort_unstable();
    rows.dedup();
    rows
}

fn naive_rows(exact: &Operator<f64>, rows: &[usize], x: &Tensors<f64>) -> Result<Vec<f64>, BenchError> {
    let rows: Result<Vec<_>, _> = rows.iter().map(|&s| exact.naive_row(s, x)).collect();
    Ok(rows?.concat())
}

/// `⟨gradients, u⟩` against the definition's slope along a random direction `u`, relative to the root of the sum of
/// squared terms: with terms of random signs, that is the size of their sum.
fn slope_error(
    exact: &Operator<f64>,
    rows: &[usize],
    x: &Tensors<f64>,
    gradients: &Gradients<f32>,
    seed: u64,
) -> Result<f64, BenchError> {
    let rng = Rng::new(seed, u64::MAX);
    let along = |tensor: usize, i: usize| rng.normal((i * 3 + tensor) as u64);
    let moved = |tensor: usize, values: &[f64], by: f64| {
        values.iter().enumerate().map(|(i, x)| x + by * along(tensor, i)).collect::<Vec<_>>()
    };
    let value = |by: f64| -> Result<f64, BenchError> {
        let [q, k, v] = [moved(0, &x.q, by), moved(1, &x.k, by), moved(2, &x.v, by)];
        let out = naive_rows(exact, rows, &Tensors { q, k, v, d_out: Vec::new() })?;
        let width = out.len() / rows.len();
        let weights = rows.iter().flat_map(|s| &x.d_out[s * width..][..width]);
        Ok(out.iter().zip(weights).map(|(out, d)| out * d).sum())
    };
    let expected = (value(STEP)? - value(-STEP)?) / (2.0 * STEP);
    let (mut found, mut squares) = (0.0, 0.0);
    for (tensor, gradient) in of_inputs(gradients).into_iter().enumerate() {
        for (i, d) in gradient.iter().enumerate() {
            let term = d.to_f64() * along(tensor, i);
            found += term;
            squares += term * term;
        }
    }
    Ok((found - expected).abs() / squares.sqrt())
}

/// Holds what was computed at full length to the same operator in double precision, on head 0 of sequence 0; gives
/// the largest relative RMS error.
pub fn against_double(
    subject: &Subject,
    sizes: &Sizes,
    tensors: &Tensors<f32>,
    results: &Results<f32>,
) -> Result<f64, BenchError> {
    let direction = if results.gradients.is_some() { Direction::ForwardBackward } else { Direction::Forward };
    let one = Sizes { batch: 1, heads: 1, ..*sizes };
    let exact = subject.build::<f64>(sizes, 1)?;
    let expected = exact.run(direction, &one.segments(), &tensors.first_head(sizes))?;
    let error = relative_error(first_head(&results.out, sizes, sizes.value_dim).into_iter(), &expected.out);
    held(subject, DOUBLE, error)?;
    let mut worst = error;
    if let (Some(found), Some(expected)) = (&results.gradients, &expected.gradients) {
        let widths = [sizes.key_dim, sizes.key_dim, sizes.value_dim];
        for ((found, expected), width) in of_inputs(found).into_iter().zip(of_inputs(expected)).zip(widths) {
            let error = relative_error(first_head(found, sizes, width).into_iter(), expected);
            held(subject, DOUBLE, error)?;
            worst = worst.max(error);
        }
    }
    Ok(worst)
}

/// Of q, k and v.
fn of_inputs<R>(gradients: &Gradients<R>) -> [&[R]; 3] {
    [&gradients.q, &gradients.k, &gradients.v]
}

/// Refuses an error that is too large, or not a number.
pub fn held(subject: &Subject, oracle: &'static str, error: f64) -> Result<(), BenchError> {
    let encoded =
        matches!(subject.method, Method::Linear(linear) if linear.normalizer == Normalizer::Encoded);
    let cancels = encoded && subject.position.name() != Position::none().name();
    let tolerance = if cancels { CANCELLING_TOLERANCE } else { TOLERANCE };
    if error <= tolerance {
        return Ok(());
    }
    let what = format!("{} with position {}", subject.name(), subject.position.name());
    Err(BenchError::Wrong { what, oracle, error, tolerance })
}

/// Relative root mean square error; NaN anywhere makes it NaN, which no tolerance admits.
pub fn relative_error(found: impl Iterator<Item = f64>, expected: &[f64]) -> f64 {
    let (mut difference, mut size, mut count) = (0.0, 0.0, 0);
    for (found, expected) in found.zip(expected) {
        difference += (found - expected) * (found - expected);
        size += expected * expected;
        count += 1;
    }
    if count != expected.len() { f64::NAN } else { (difference / size).sqrt() }
}

#[cfg(test)]
mod tests {
    use relin::recipe::FeatureMap;

    use super::super::operator::Linear;
    use super::*;

    const SIZES: Sizes = Sizes { batch: 1, heads: 2, key_dim: 8, value_dim: 6, chunk: 4, length: 15 };

    fn linear(position: &str) -> Subject {
        let method = Method::Linear(Linear { feature_map: FeatureMap::Elu1, normalizer: Normalizer::Plain });
        Subject { method, position: position.parse().unwrap() }
    }

    #[test]
    fn every_encoding_agrees_with_its_definition() {
        let softmax = Subject { method: Method::Softmax, position: "rope".parse().unwrap() };
        let names = ["none", "rope", "lrpe-orthogonal", "lrpe-unitary", "lrpe-permutation", "lrpe-type8"];
        for subject in names.map(linear).iter().chain([&softmax]) {
            let error = against_naive(subject, SIZES, Direction::ForwardBackward, 3).unwrap();
            assert!(error < 1e-5, "{subject:?}: {error}");
        }
    }

    #[test]
    fn a_wrong_result_is_noticed_wherever_it_is() {
        let subject = linear("rope");
        let tensors = Tensors::random(&SIZES, 1);
        let operator = subject.build::<f32>(&SIZES, 2).unwrap();
        let right = || operator.run(Direction::ForwardBackward, &SIZES.segments(), &tensors).unwrap();
        assert!(against_double(&subject, &SIZES, &tensors, &right()).unwrap() < 1e-5);
        for wrong in [1.0, f32::NAN] {
            for tensor in 0..4 {
                let mut results = right();
                let Gradients { q, k, v, .. } = results.gradients.as_mut().unwrap();
                [q, k, v, &mut results.out][tensor][0] += wrong;
                let error = against_double(&subject, &SIZES, &tensors, &results).unwrap_err();
                assert!(matches!(error, BenchError::Wrong { .. }), "{error}");
            }
        }
    }

    #[test]
    fn a_wrong_gradient_has_another_slope() {
        let subject = linear("lrpe-orthogonal");
        let exact = subject.build::<f64>(&SIZES, 2).unwrap();
        let tensors = Tensors::random(&SIZES, 1);
        let operator = subject.build::<f32>(&SIZES, 2).unwrap();
        let results = operator.run(Direction::ForwardBackward, &SIZES.segments(), &tensors).unwrap();
        let rows: Vec<usize> = (0..SIZES.length).collect();
        let mut gradients = results.gradients.unwrap();
        assert!(slope_error(&exact, &rows, &tensors.widened(), &gradients, 2).unwrap() < 1e-5);
        gradients.k.iter_mut().for_each(|d| *d *= 1.01);
        assert!(slope_error(&exact, &rows, &tensors.widened(), &gradients, 2).unwrap() > 1e-4);
    }
}
