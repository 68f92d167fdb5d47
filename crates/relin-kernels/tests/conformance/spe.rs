//! The closed forms of stochastic positional encoding, by exact comparison where there is no noise and by z-scores
//! where there is: seeds are fixed, so a test that passes passes again.

use std::f64::consts::{PI, TAU};
use std::sync::Arc;

use relin_kernels::encoding::spe::{NoiseMode, Normalization, gates_from_jax};
use relin_kernels::encoding::{ConvSpe, ConvSpeConfig, Encoding, Place, Side, SineSpe, SineSpeConfig, Stage};
use relin_kernels::feature_map::{FeatureMap, RandomFeatures};
use relin_kernels::linear_attention::{Inputs, LinearAttention, Normalizer};
use relin_kernels::segments::{Mask, dense};

use crate::cases::{assert_close, normals, params};

const K: usize = 4;
const PLACE: Place = Place { key_dim: K, heads: 1, layer: 0 };
type Shared = Arc<dyn Encoding<f64>>;

fn sine(sines: usize, realizations: usize, gated: bool) -> Shared {
    Arc::new(
        SineSpe::new(&SineSpeConfig { sines, realizations, gated, ..SineSpeConfig::default() }, PLACE)
            .unwrap(),
    )
}

fn conv(kernel_size: usize, realizations: usize, gated: bool) -> Shared {
    let config = ConvSpeConfig { kernel_size, realizations, gated, ..ConvSpeConfig::default() };
    Arc::new(ConvSpe::new(&config, PLACE).unwrap())
}

fn softplus(x: f64) -> f64 {
    x.exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `P'_d(τ)`, from the encoding's kernel.
fn covariance(encoding: &Shared, params: &[f64], d: usize, tau: i64) -> f64 {
    let scale = (encoding.encoded_dim() as f64 / K as f64).sqrt();
    encoding.kernel(params, 0, -tau)[d * K + d] / scale
}

/// Unscaled codes of one draw, `[K, R]`.
fn code(encoding: &Shared, params: &[f64], side: Side, draw: u64, position: i64) -> Vec<f64> {
    let scale = (encoding.encoded_dim() as f64 * K as f64).powf(0.25);
    let redrawn = encoding.redrawn(draw).unwrap();
    redrawn.dense_map(params, side, 0, position).unwrap().iter().map(|x| x * scale).collect()
}

/// Mean and its standard error.
fn mean(samples: &[f64]) -> (f64, f64) {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    (mean, (samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n * (n - 1.0))).sqrt())
}

#[track_caller]
fn assert_mean(what: &str, samples: &[f64], expected: f64) {
    let (mean, error) = mean(samples);
    assert!((mean - expected).abs() < 4.5 * error, "{what}: {mean} ± {error} against {expected}");
}

/// `E[A_d(m) B_d(n)]` by draws, for every feature.
fn assert_covariance(
    encoding: &Shared,
    params: &[f64],
    sides: (Side, Side),
    at: (i64, i64),
    expected: impl Fn(usize) -> f64,
) {
    let r = encoding.encoded_dim();
    for d in 0..K {
        let products = |draw| {
            let a = code(encoding, params, sides.0, draw, at.0);
            let b = code(encoding, params, sides.1, draw, at.1);
            (0..r).map(|i| a[d * r + i] * b[d * r + i]).collect::<Vec<_>>()
        };
        let samples: Vec<f64> = (0..40).flat_map(products).collect();
        assert_mean(&format!("{sides:?} at {at:?}, feature {d}"), &samples, expected(d));
    }
}

#[test]
fn form_1_sine_covariances() {
    let (sines, r) = (3, 64);
    let encoding = sine(sines, r, false);
    let params = params(&*encoding);
    let n = K * sines;
    let wave = |d: usize, s: usize| {
        let at = d * sines + s;
        (sigmoid(params[at]) / 2.0, params[n + at], softplus(params[2 * n + at]).powi(2))
    };
    let p = |d: usize, tau: i64, with_offset: bool| {
        let term = |s: usize| {
            let (f, offset, square) = wave(d, s);
            square * (TAU * f * tau as f64 + if with_offset { offset } else { 0.0 }).cos()
        };
        (0..sines).map(term).sum::<f64>() / (2.0 * sines as f64)
    };
    for tau in [-9, 0, 1, 40] {
        for d in 0..K {
            assert!((covariance(&encoding, &params, d, tau) - p(d, tau, true)).abs() < 1e-12);
        }
    }
    assert_covariance(&encoding, &params, (Side::Query, Side::Key), (12, 5), |d| p(d, 7, true));
    assert_covariance(&encoding, &params, (Side::Query, Side::Key), (1_000_000, 1_000_004), |d| {
        p(d, -4, true)
    });
    assert_covariance(&encoding, &params, (Side::Query, Side::Query), (12, 5), |d| p(d, 7, false));
    assert_covariance(&encoding, &params, (Side::Key, Side::Key), (3, 3), |d| p(d, 0, false));
    let paper = SineSpeConfig {
        sines,
        realizations: r,
        gated: false,
        normalization: Normalization::Paper,
        ..SineSpeConfig::default()
    };
    let paper: Shared = Arc::new(SineSpe::new(&paper, PLACE).unwrap());
    let ratio = covariance(&paper, &params, 1, 3) / covariance(&encoding, &params, 1, 3);
    assert!((ratio - 2.0 * sines as f64).abs() < 1e-12, "the paper's formula has no 1/(2·sines)");
}

#[test]
fn form_2_filter_covariances() {
    let p = 5;
    let encoding = conv(p, 64, false);
    let params = params(&*encoding);
    let (query, key) = params.split_at(K * p);
    let correlation = |a: &[f64], b: &[f64], d: usize, tau: i64| -> f64 {
        let other = |j: i64| if (0..p as i64).contains(&j) { b[d * p + j as usize] } else { 0.0 };
        (0..p).map(|j| a[d * p + j] * other(j as i64 + tau)).sum()
    };
    for tau in -7..=7 {
        for d in 0..K {
            let found = covariance(&encoding, &params, d, tau);
            assert!((found - correlation(query, key, d, tau)).abs() < 1e-12);
            assert!(tau.unsigned_abs() < p as u64 || found == 0.0, "no score from P on");
        }
    }
    let sides = (Side::Query, Side::Key);
    assert_covariance(&encoding, &params, sides, (12, 10), |d| correlation(query, key, d, 2));
    assert_covariance(&encoding, &params, sides, (10, 12), |d| correlation(query, key, d, -2));
    assert_covariance(&encoding, &params, sides, (3, 9), |_| 0.0);
    assert_covariance(&encoding, &params, (Side::Query, Side::Query), (4, 4), |d| {
        correlation(query, query, d, 0)
    });
}

/// On a grid the correlation runs over both axes: `P_d(τ, υ) = Σ_ij w^q_dij w^k_d,i+τ,j+υ`.
#[test]
fn form_2_filter_covariances_on_a_grid() {
    let (p, columns) = (3, 5);
    let config = ConvSpeConfig {
        kernel_size: p,
        shape: vec![4, columns],
        realizations: 64,
        gated: false,
        ..ConvSpeConfig::default()
    };
    let encoding: Shared = Arc::new(ConvSpe::new(&config, PLACE).unwrap());
    let params = params(&*encoding);
    let (query, key) = params.split_at(K * p * p);
    let correlation = |d: usize, tau: i64, upsilon: i64| -> f64 {
        let inside = |i: i64| (0..p as i64).contains(&i);
        let other = |i: i64, j: i64| match inside(i) && inside(j) {
            true => key[(d * p + i as usize) * p + j as usize],
            false => 0.0,
        };
        let term = |at: usize| {
            let (i, j) = (at / p, at % p);
            query[(d * p + i) * p + j] * other(i as i64 + tau, j as i64 + upsilon)
        };
        (0..p * p).map(term).sum()
    };
    let cell = |row: i64, column: i64| row * columns as i64 + column;
    let scale = (encoding.encoded_dim() as f64 / K as f64).sqrt();
    for (row, column) in [(0, 0), (1, 2), (2, 4), (0, 4), (3, 1)] {
        let kernel = encoding.kernel_between(&params, 0, cell(1, 2), cell(row, column));
        for d in 0..K {
            let expected = scale * correlation(d, 1 - row, 2 - column);
            assert!((kernel[d * K + d] - expected).abs() < 1e-12, "to ({row}, {column})");
        }
    }
    let sides = (Side::Query, Side::Key);
    assert_covariance(&encoding, &params, sides, (cell(2, 1), cell(1, 3)), |d| correlation(d, 1, -2));
    // The last cell of one line and the first of the next follow each other as positions, not on the grid.
    assert_covariance(&encoding, &params, sides, (cell(1, 4), cell(2, 0)), |_| 0.0);
}

/// At first `E[P(τ)] = ½(1 − |τ|/P)₊` and `E[V] = 2/3`.
#[test]
fn form_2_filters_at_first() {
    let (k, p) = (400, 16);
    let place = Place { key_dim: k, heads: 1, layer: 3 };
    let config = ConvSpeConfig { kernel_size: p, gated: false, ..ConvSpeConfig::default() };
    let encoding: Shared = Arc::new(ConvSpe::new(&config, place).unwrap());
    let initial: Vec<f64> = encoding.parameters().into_iter().flat_map(|p| p.init).collect();
    let scale = (encoding.encoded_dim() as f64 / k as f64).sqrt();
    for tau in [0i64, 3, -12, 20] {
        let kernel = encoding.kernel(&initial, 0, tau);
        let samples: Vec<f64> = (0..k).map(|d| kernel[d * k + d] / scale).collect();
        match 0.5 * (1.0 - tau.abs() as f64 / p as f64) {
            none if none <= 0.0 => assert!(samples.iter().all(|p| *p == 0.0)),
            expected => assert_mean(&format!("lag {tau}"), &samples, expected),
        }
    }
    let squares: Vec<f64> = initial.chunks(p).map(|w| dot(w, w)).collect();
    assert_mean("V", &squares, 2.0 / 3.0);
}

#[test]
fn form_3_the_gate_mixes_in_a_constant() {
    for (ungated, gated) in [(sine(3, 8, false), sine(3, 8, true)), (conv(5, 8, false), conv(5, 8, true))] {
        let base = params(&*ungated);
        for raw in [-800.0, -1.0, 0.3, 800.0] {
            let with_gate = [&base[..], &[raw; K]].concat();
            let g = sigmoid(raw);
            for (d, tau) in [(0, 0), (1, 3), (3, -2), (2, 100)] {
                let expected = (1.0 - g) * covariance(&ungated, &base, d, tau) + g;
                assert!((covariance(&gated, &with_gate, d, tau) - expected).abs() < 1e-12, "g = {g}");
                // The JAX code's g weighs the other part.
                let jax = [&base[..], &gates_from_jax(&[raw; K])].concat();
                let expected = g * covariance(&ungated, &base, d, tau) + 1.0 - g;
                assert!((covariance(&gated, &jax, d, tau) - expected).abs() < 1e-12);
            }
        }
        let with_gate = [&base[..], &[0.4; K]].concat();
        assert_covariance(&gated, &with_gate, (Side::Query, Side::Key), (9, 7), |d| {
            covariance(&gated, &with_gate, d, 2)
        });
    }
}

/// S, A and B of a pair of rows, with `V = P'` at lag 0 of one side.
fn moments(encoding: &Shared, params: &[f64], q: &[f64], k: &[f64], at: (i64, i64)) -> (f64, f64, f64) {
    let s = (0..K).map(|d| q[d] * k[d] * covariance(encoding, params, d, at.0 - at.1)).sum();
    // V is the covariance of a side with itself; many draws of the codes give it to about 1 %.
    let r = encoding.encoded_dim();
    let variance = |side: Side, d: usize| {
        let square =
            |draw| code(encoding, params, side, draw, 0)[d * r..][..r].iter().map(|x| x * x).sum::<f64>();
        (0..400).map(square).sum::<f64>() / (400 * r) as f64
    };
    let length = |side, x: &[f64]| (0..K).map(|d| x[d] * x[d] * variance(side, d)).sum();
    (s, length(Side::Query, q), length(Side::Key, k))
}

/// `q̂·k̂/√R` over draws.
fn logits(encoding: &Shared, params: &[f64], q: &[f64], k: &[f64], at: (i64, i64), draws: u64) -> Vec<f64> {
    let r = encoding.encoded_dim();
    let logit = |draw: u64| {
        let encoder = encoding.redrawn(draw).unwrap().bind(params);
        let (mut a, mut b) = (vec![f64::NAN; r], vec![f64::NAN; r]);
        encoder.encode(Side::Query, 0, at.0, q, &mut a);
        encoder.encode(Side::Key, 0, at.1, k, &mut b);
        dot(&a, &b) / (r as f64).sqrt()
    };
    (0..draws).map(logit).collect()
}

/// `E = S/√K`, `Var = (A·B + S²)/(R·K)`, and the slope of its logarithm over that of R is −1.
#[test]
fn form_4_the_logit_and_its_variance() {
    let (q, k): (Vec<f64>, Vec<f64>) = (normals(1, K), normals(2, K));
    let at = (8, 6);
    for build in [|r| sine(3, r, true), |r| conv(5, r, true)] {
        let draws = 3000;
        let mut points = Vec::new();
        for r in [8, 32, 128] {
            let encoding: Shared = build(r);
            let params = params(&*encoding);
            let (s, a, b) = moments(&encoding, &params, &q, &k, at);
            let samples = logits(&encoding, &params, &q, &k, at, draws);
            assert_mean(&format!("R = {r}"), &samples, s / (K as f64).sqrt());
            let (_, error) = mean(&samples);
            let variance = error * error * draws as f64;
            let expected = (a * b + s * s) / (r * K) as f64;
            // A variance over n draws of a nearly normal number has a relative standard error of √(2/n) = 2.6 %; A and B add 2 %.
            assert!((variance / expected - 1.0).abs() < 0.15, "R = {r}: {variance} against {expected}");
            points.push(((r as f64).ln(), variance.ln()));
        }
        let slope = (points[2].1 - points[0].1) / (points[2].0 - points[0].0);
        assert!((slope + 1.0).abs() < 0.1, "slope {slope}");
    }
}

/// `E[Σ_r relu(q̂_r) relu(k̂_r)] = √(R/K) √(AB)/2π (sin t + (π − t) cos t)`, `t = arccos(S/√(AB))`.
#[test]
fn form_5_rectified_codes_have_the_arc_cosine_kernel() {
    let encoding = sine(3, 64, true);
    let params = params(&*encoding);
    let (q, k): (Vec<f64>, Vec<f64>) = (normals(1, K), normals(2, K));
    let (s, a, b) = moments(&encoding, &params, &q, &k, (8, 6));
    let length = (a * b).sqrt();
    let t = (s / length).acos();
    let expected = 16.0f64.sqrt() * length / (2.0 * PI) * (t.sin() + (PI - t) * t.cos());
    let relu = |draw: u64| {
        let encoder = encoding.redrawn(draw).unwrap().bind(&params);
        let (mut a, mut b) = (vec![f64::NAN; 64], vec![f64::NAN; 64]);
        encoder.encode(Side::Query, 0, 8, &q, &mut a);
        encoder.encode(Side::Key, 0, 6, &k, &mut b);
        a.iter().zip(&b).map(|(a, b)| a.max(0.0) * b.max(0.0)).sum::<f64>()
    };
    let samples: Vec<f64> = (0..3000).map(relu).collect();
    let (mean, error) = mean(&samples);
    assert!((mean - expected).abs() < 4.5 * (error + 0.01 * expected), "{mean} ± {error} against {expected}");
    assert!(error < 0.01 * expected, "the test has power");
}

/// FAVOR+ after SPE is built for width R, hence for the temperature 1/√R.
#[test]
fn form_6_random_features_of_codes_estimate_the_exponential() {
    let encoding = sine(3, 16, true);
    let params = params(&*encoding);
    let encoder = encoding.bind(&params);
    let (mut a, mut b) = (vec![f64::NAN; 16], vec![f64::NAN; 16]);
    encoder.encode(Side::Query, 0, 8, &normals::<f64>(1, K), &mut a);
    encoder.encode(Side::Key, 0, 6, &normals::<f64>(2, K), &mut b);
    let samples: Vec<f64> = (0..600)
        .map(|draw| {
            let options =
                RandomFeatures { features: 64, stabilize: false, draw, ..RandomFeatures::default() };
            let map = FeatureMap::Random(options).bind::<f64>(16);
            let (mut x, mut y) = (vec![f64::NAN; 64], vec![f64::NAN; 64]);
            map.apply(Side::Query, &a, &mut x);
            map.apply(Side::Key, &b, &mut y);
            dot(&x, &y)
        })
        .collect();
    assert_mean("φ(q̂)·φ(k̂)", &samples, (dot(&a, &b) / 4.0).exp());
}

/// Softmax attention with the logits `(1/√K) Σ q k P'` is what linear attention tends to.
#[test]
fn form_7_linear_attention_tends_to_softmax_attention() {
    let time = 6;
    let (q, k, v): (Vec<f64>, Vec<f64>, Vec<f64>) =
        (normals(1, time * K), normals(2, time * K), normals(3, time * K));
    let exact: Shared = {
        let config = SineSpeConfig { sines: 2, noise: NoiseMode::Exact, ..SineSpeConfig::default() };
        Arc::new(SineSpe::new(&config, PLACE).unwrap())
    };
    let params = params(&*exact);
    let expected: Vec<f64> = (0..time)
        .flat_map(|s| {
            let logit = |t: usize| {
                let p = |d| covariance(&exact, &params, d, s as i64 - t as i64);
                (0..K).map(|d| q[s * K + d] * k[t * K + d] * p(d)).sum::<f64>() / (K as f64).sqrt()
            };
            let weights: Vec<f64> = (0..=s).map(|t| logit(t).exp()).collect();
            let total: f64 = weights.iter().sum();
            (0..K)
                .map(|j| (0..=s).map(|t| weights[t] * v[t * K + j]).sum::<f64>() / total)
                .collect::<Vec<_>>()
        })
        .collect();
    let error = |encoding: Shared, features: usize| {
        let options = RandomFeatures { features, ..RandomFeatures::default() };
        let attention = LinearAttention {
            feature_map: FeatureMap::Random(options).bind(encoding.encoded_dim()),
            encoding,
            stage: Stage::BeforeFeatureMap,
            normalizer: Normalizer::Plain,
            eps: 1e-9,
            heads: 1,
            value_dim: K,
            chunk: 4,
        };
        let segments = dense(1, time, 0);
        let inputs = Inputs { q: &q, k: &k, v: &v, params: &params, initial: None };
        let out = attention.forward(Mask::causal(&segments), inputs).out;
        let square = |x: f64| x * x;
        out.iter().zip(&expected).map(|(a, b)| square(a - b)).sum::<f64>().sqrt()
            / dot(&expected, &expected).sqrt()
    };
    let (few, many) = (error(exact.clone(), 32), error(exact.clone(), 8192));
    assert!(many < 0.03 && many < 0.3 * few, "without noise: {many} with 8192 features, {few} with 32");
    let (few, many) = (error(sine(2, 8, true), 2048), error(sine(2, 512, true), 2048));
    assert!(many < 0.15 && many < 0.5 * few, "R = 512: {many}, R = 8: {few}");
}

#[test]
fn form_8_what_sines_can_and_cannot_say() {
    let encoding = sine(1, 8, false);
    let (zero, gain) = (-800.0, (2f64.sqrt().exp() - 1.0).ln());
    let constant = [[zero; K], [0.0; K], [gain; K]].concat();
    for tau in [-30, 1, 999] {
        let (near, far) = (covariance(&encoding, &constant, 0, 0), covariance(&encoding, &constant, 0, tau));
        assert!((near - 1.0).abs() < 1e-12 && near == far, "no frequency, no position");
    }
    // Equal frequencies for a pair of features: RoPE's cosine terms. Its sines would need W off the diagonal.
    let raw = |f: f64| (2.0 * f / (1.0 - 2.0 * f)).ln();
    let theta = [0.9, 0.05];
    let freqs = [0, 0, 1, 1].map(|pair: usize| raw(theta[pair] / TAU));
    let paired = [freqs, [0.0; K], [gain; K]].concat();
    for tau in [0, 1, 13] {
        for d in 0..K {
            let found = covariance(&encoding, &paired, d, tau);
            assert!((found - (theta[d / 2] * tau as f64).cos()).abs() < 1e-12);
        }
    }
}

#[test]
fn form_9_noise_is_a_function_of_its_seed() {
    let build = |seed, layer, shared, noise| -> Shared {
        let config =
            SineSpeConfig { sines: 2, realizations: 8, seed, shared, noise, ..SineSpeConfig::default() };
        Arc::new(SineSpe::new(&config, Place { layer, ..PLACE }).unwrap())
    };
    let redrawn = NoiseMode::Redrawn;
    let params = params(&*build(0, 0, false, redrawn));
    let map = |encoding: &Shared| encoding.dense_map(&params, Side::Key, 0, 5).unwrap();
    let base = build(3, 0, false, redrawn);
    assert_eq!(map(&base), map(&build(3, 0, false, redrawn)));
    assert_eq!(map(&base), map(&base.redrawn(0).unwrap()));
    assert_ne!(map(&base), map(&base.redrawn(1).unwrap()));
    assert_ne!(map(&base), map(&build(4, 0, false, redrawn)));
    assert_ne!(map(&base), map(&build(3, 1, false, redrawn)));
    assert!(build(3, 0, false, NoiseMode::Frozen).redrawn(1).is_none());
    assert_eq!(map(&base), map(&build(3, 0, false, NoiseMode::Frozen)));
    // Shared codes: equal without the gate's own noise, which a layer keeps for itself.
    let without_gate = [&params[..params.len() - K], &[-800.0; K]].concat();
    let positional = |encoding: &Shared| encoding.dense_map(&without_gate, Side::Key, 0, 5).unwrap();
    let (first, second) = (build(3, 0, true, redrawn), build(3, 1, true, redrawn));
    assert_close("shared", &positional(&first), &positional(&second), 1e-15);
    assert_ne!(map(&first), map(&second));
    assert_eq!(first.shared_parameters(), ["freqs", "offsets", "gains"]);
    assert_eq!(first.parameters()[0], second.parameters()[0]);
    assert_ne!(first.parameters()[3], second.parameters()[3]);
}

/// The number of realizations is no part of what is trained, and a further one does not change the others.
#[test]
fn realizations_may_change_at_run_time() {
    let (few, many) = (sine(2, 8, true), sine(2, 32, true));
    assert_eq!(few.parameters(), many.parameters());
    let params = params(&*few);
    let map = |encoding: &Shared| encoding.dense_map(&params, Side::Query, 0, 9).unwrap();
    let (few, many) = (map(&few), map(&many));
    for d in 0..K {
        let scaled: Vec<f64> = many[d * 32..][..8].iter().map(|x| x * 4f64.powf(0.25)).collect();
        assert_close("the first eight", &few[d * 8..][..8], &scaled, 1e-12);
    }
}

#[test]
fn impossible_configurations_are_refused_by_name() {
    let sine = |config: SineSpeConfig| SineSpe::new(&config, PLACE).unwrap_err().to_string();
    assert_eq!(
        sine(SineSpeConfig { sines: 0, ..SineSpeConfig::default() }),
        "sines must be between 1 and 4096; it is 0"
    );
    let none = SineSpeConfig { realizations: 0, ..SineSpeConfig::default() };
    assert_eq!(sine(none), "realizations must be between 1 and 65536; it is 0");
    let conv = |config: ConvSpeConfig| ConvSpe::new(&config, PLACE).unwrap_err().to_string();
    let long = ConvSpeConfig { kernel_size: 128, context: Some(100), ..ConvSpeConfig::default() };
    assert_eq!(conv(long), "kernel_size must be between 1 and 100; it is 128");
    let narrow = ConvSpeConfig { shape: vec![8, 6], kernel_size: 7, ..ConvSpeConfig::default() };
    assert_eq!(conv(narrow), "kernel_size must be between 1 and 6; it is 7");
    let empty = ConvSpeConfig { shape: vec![8, 0], ..ConvSpeConfig::default() };
    assert!(conv(empty).contains("shape must be between 1 and"));
    let exact = ConvSpeConfig { noise: NoiseMode::Exact, ..ConvSpeConfig::default() };
    assert!(conv(exact).contains("sine-exact"));
}
