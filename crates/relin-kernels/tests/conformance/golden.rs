//! Agreement with public implementations; see `golden/README.md`.

use std::f64::consts::FRAC_PI_2;
use std::path::Path;
use std::sync::Arc;

use relin_kernels::encoding::lrpe::{Basis, Family, Pairs, Rotated};
use relin_kernels::encoding::{Absent, Encoding, Lrpe, LrpeConfig, Place, Side, Stage};
use relin_kernels::feature_map::FeatureMap;
use relin_kernels::linear_attention::recurrent::{Memory, Recurrent};
use relin_kernels::linear_attention::{Gradients, Inputs, LinearAttention, Normalizer, State};
use relin_kernels::segments::{Mask, Segment, dense, right_padded};
use safetensors::{Dtype, SafeTensors};

use crate::cases::assert_close;

const B: usize = 2;
const T: usize = 37;
const H: usize = 3;
const K: usize = 16;
const V: usize = 24;

/// f32 results of the sources against our double precision.
const F32_ROUNDING: f64 = 1e-6;

pub struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    pub fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        Self { bytes: std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())) }
    }

    pub fn get(&self, name: &str) -> Vec<f64> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        match tensor.dtype() {
            Dtype::F32 => tensor
                .data()
                .chunks(4)
                .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
                .collect(),
            Dtype::I64 => {
                tensor.data().chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect()
            }
            other => panic!("{name}: unexpected type {other:?}"),
        }
    }
}

/// Encodes `[B, T, H, K]` at positions `offset + t`, giving `[B, T, H, K']`.
fn encode(config: &LrpeConfig, params: &[f64], offset: i64, x: &[f64]) -> Vec<f64> {
    let lrpe = Lrpe::new(config, Place { key_dim: K, heads: H, layer: 0 }).unwrap();
    let encoding: &dyn Encoding<f64> = &lrpe;
    let encoder = encoding.bind(params);
    let width = encoding.encoded_dim();
    let mut out = vec![f64::NAN; x.len() / K * width];
    for (token, (x, out)) in x.chunks(H * K).zip(out.chunks_mut(H * width)).enumerate() {
        let position = offset + (token % T) as i64;
        for head in 0..H {
            let out = &mut out[head * width..][..width];
            encoder.encode(Side::Query, head, position, &x[head * K..][..K], out);
        }
    }
    out
}

fn encode_vjp(config: &LrpeConfig, offset: i64, x: &[f64], d_out: &[f64]) -> Vec<f64> {
    let encoder = Lrpe::new(config, Place { key_dim: K, heads: H, layer: 0 }).unwrap().bind(&[]);
    let mut d_x = vec![f64::NAN; x.len()];
    for (at, (d_x, (x, d_out))) in d_x.chunks_mut(K).zip(x.chunks(K).zip(d_out.chunks(K))).enumerate() {
        let position = offset + (at / H % T) as i64;
        let mut encoded = vec![f64::NAN; d_out.len()];
        encoder.encode(Side::Query, at % H, position, x, &mut encoded);
        encoder.vjp(Side::Query, at % H, position, x, &encoded, d_out, d_x, &mut []);
    }
    d_x
}

#[test]
fn rope() {
    let golden = Golden::open("rope.safetensors");
    let (x, grad) = (golden.get("N37.D16.x"), golden.get("N37.D16.grad_out"));
    for (rotated, width) in [(Rotated::All, 16), (Rotated::Half, 8)] {
        for (pairs, layout) in [(Pairs::Interleaved, "gptj_interleaved"), (Pairs::Half, "neox_half")] {
            for (offset, tolerance) in [(0, F32_ROUNDING), (1000, 1e-4)] {
                let family = Family::Orthogonal;
                let config =
                    LrpeConfig { family, basis: Basis::Identity, pairs, rotated, ..LrpeConfig::default() };
                let name = format!("N37.D16.rot{width}.off{offset}.{layout}");
                let out = encode(&config, &[], offset, &x);
                assert_close(&name, &out, &golden.get(&format!("{name}.out")), tolerance);
                let d_x = encode_vjp(&config, offset, &x, &grad);
                assert_close(&name, &d_x, &golden.get(&format!("{name}.dx")), tolerance);
            }
        }
    }
}

#[test]
fn lrpe_authors_class() {
    let golden = Golden::open("lrpe.safetensors");
    let x = golden.get("N37.D16.x");
    let vector = golden.get("D16.householder_v");
    let permutation: Vec<usize> = golden.get("D16.permutation").iter().map(|&i| i as usize).collect();
    let bases =
        [("identity", Basis::Identity), ("householder", Basis::Householder), ("oddeven", Basis::OddEven)];
    for (p_name, basis) in bases {
        let learn_basis = basis == Basis::Householder;
        let params: &[f64] = if learn_basis { &vector } else { &[] };
        let base = LrpeConfig { basis, learn_basis, ..LrpeConfig::default() };
        let run = |name: &str, config: LrpeConfig| {
            let name = format!("N37.D16.urpe_{name}.P_{p_name}.theta_a.out");
            assert_close(&name, &encode(&config, params, 0, &x), &golden.get(&name), F32_ROUNDING);
        };
        run("orthogonal", LrpeConfig { family: Family::Orthogonal, ..base.clone() });
        run("mixed", LrpeConfig { family: Family::Orthogonal, rotated: Rotated::Half, ..base.clone() });
        let permutation = Some(permutation.clone());
        run("permutation", LrpeConfig { family: Family::Permutation, permutation, ..base.clone() });
        check_unitary(&golden, &format!("P_{p_name}"), &base, params, &x);
    }
    let fourier = LrpeConfig { basis: Basis::Fourier, ..LrpeConfig::default() };
    check_unitary(&golden, "P_fourier", &fourier, &[], &x);
}

fn check_unitary(golden: &Golden, p_name: &str, config: &LrpeConfig, params: &[f64], x: &[f64]) {
    let out = encode(config, params, 0, x);
    let half = |imaginary: usize| -> Vec<f64> {
        out.chunks(2 * K).flat_map(|row| row[imaginary * K..][..K].to_vec()).collect()
    };
    for (imaginary, part) in [(0, "re"), (1, "im")] {
        let name = format!("N37.D16.urpe_unitary.{p_name}.theta_a.out_{part}");
        assert_close(&name, &half(imaginary), &golden.get(&name), F32_ROUNDING);
    }
}

/// Types b and c: `θ_j = (π/2)/(l·n)·j` and `(π/2)/(l·j)`, `j = 1..n`, for the sequence length `l = 37`.
#[test]
fn angles_that_depend_on_the_length() {
    let golden = Golden::open("lrpe.safetensors");
    let x = golden.get("N37.D16.x");
    for (name, rotated, n) in [("orthogonal", Rotated::All, 8), ("mixed", Rotated::Half, 4)] {
        let linear: Vec<f64> = (1..=n).map(|j| FRAC_PI_2 / (T * n) as f64 * j as f64).collect();
        let harmonic: Vec<f64> = (1..=n).map(|j| FRAC_PI_2 / (T * j) as f64).collect();
        for (kind, theta) in [("b", linear), ("c", harmonic)] {
            let (family, basis) = (Family::Orthogonal, Basis::Identity);
            let config = LrpeConfig { family, basis, rotated, theta: Some(theta), ..LrpeConfig::default() };
            let name = format!("N37.D16.urpe_{name}.P_identity.theta_{kind}.out");
            assert_close(&name, &encode(&config, &[], 0, &x), &golden.get(&name), F32_ROUNDING);
        }
    }
}

#[test]
fn angles_per_head() {
    let golden = Golden::open("lrpe.safetensors");
    let x = golden.get("N37.D16.x");
    let base = LrpeConfig { basis: Basis::Identity, per_head: true, ..LrpeConfig::default() };
    let with = |family, theta: &str| LrpeConfig { family, theta: Some(golden.get(theta)), ..base.clone() };
    let rotate = LrpeConfig { pairs: Pairs::Half, ..with(Family::Orthogonal, "D16.theta_rotate_HxD2") };
    let cosine = with(Family::Unitary, "D16.theta_cosine_HxD");
    for (offset, tolerance) in [(0, F32_ROUNDING), (1000, 1e-4)] {
        for (name, config) in [("rotate_half", &rotate), ("cosine", &cosine)] {
            let name = format!("N37.D16.off{offset}.xopes_{name}.out");
            assert_close(&name, &encode(config, &[], offset, &x), &golden.get(&name), tolerance);
        }
    }
}

fn plain(feature_map: FeatureMap, normalizer: Normalizer) -> LinearAttention<f64> {
    let encoding = Arc::new(Absent::new(K));
    let (feature_map, stage) = (feature_map.bind(K), Stage::AfterFeatureMap);
    LinearAttention { feature_map, encoding, stage, normalizer, eps: 1e-6, heads: H, value_dim: V, chunk: 16 }
}

#[test]
fn fast_transformers() {
    let golden = Golden::open("linear_attention.safetensors");
    let get = |name: &str| golden.get(&format!("N37.D16.{name}"));
    let (q, k, v, grad) = (get("q"), get("k"), get("v"), get("grad_out"));
    let lengths: Vec<usize> = get("ragged_key_lengths").iter().map(|&len| len as usize).collect();
    let (all, ragged) = (dense(B, T, 0), right_padded(&lengths, T).unwrap());
    // In the source, a query beyond the last valid key still reads all valid keys.
    let beyond: Vec<Segment> = all
        .iter()
        .zip(&lengths)
        .map(|(s, &len)| Segment { start: s.start + len, len: T - len, offset: len as i64 })
        .collect();
    for (name, feature_map) in [("elu1", FeatureMap::Elu1), ("relu", FeatureMap::Relu)] {
        let attention = plain(feature_map, Normalizer::Plain);
        let run = |masks: &[Mask<'_>]| {
            let inputs = Inputs { q: &q, k: &k, v: &v, params: &[], initial: None };
            let parts = masks.iter().map(|&mask| {
                let out = attention.forward(mask, inputs).out;
                let gradients = attention.backward(mask, inputs, &out, &grad, None);
                (out, gradients)
            });
            parts.reduce(add).unwrap()
        };
        let check = |kind: &str, (out, gradients): (Vec<f64>, Gradients<f64>)| {
            let parts = [("out", &out), ("dq", &gradients.q), ("dk", &gradients.k), ("dv", &gradients.v)];
            for (part, got) in parts {
                let name = format!("{name}.{kind}.{part}");
                // ReLU denominators come close to 0, which amplifies the source's rounding.
                assert_close(
                    &name,
                    got,
                    &get(&name),
                    if feature_map == FeatureMap::Relu { 1e-5 } else { 2e-6 },
                );
            }
        };
        check("causal", run(&[Mask::causal(&all)]));
        check("full", run(&[Mask::full(&all)]));
        check("full.ragged", run(&[Mask::Full { queries: &all, keys: &ragged }]));
        check("causal.ragged", run(&[Mask::causal(&ragged), Mask::Full { queries: &beyond, keys: &ragged }]));
        check_recurrent(&golden, name, &attention, &q, &k, &v);
    }
}

fn add(
    (mut out, mut sum): (Vec<f64>, Gradients<f64>),
    (more, gradients): (Vec<f64>, Gradients<f64>),
) -> (Vec<f64>, Gradients<f64>) {
    let add = |a: &mut [f64], b: &[f64]| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
    add(&mut out, &more);
    add(&mut sum.q, &gradients.q);
    add(&mut sum.k, &gradients.k);
    add(&mut sum.v, &gradients.v);
    (out, sum)
}

fn check_recurrent(
    golden: &Golden,
    name: &str,
    attention: &LinearAttention<f64>,
    q: &[f64],
    k: &[f64],
    v: &[f64],
) {
    let get = |part: &str| golden.get(&format!("N37.D16.{name}.recurrent.{part}"));
    let (mut out, mut s, mut z) = (vec![f64::NAN; B * T * H * V], Vec::new(), Vec::new());
    for row in 0..B {
        let mut recurrent =
            Recurrent::new(attention.clone(), &[], Memory::new(attention, attention.zero_state(1), 0));
        for t in row * T..(row + 1) * T {
            let (keys, values) = (t * H * K..(t + 1) * H * K, t * H * V..(t + 1) * H * V);
            recurrent.step(&q[keys.clone()], &k[keys], &v[values.clone()], &mut out[values]);
        }
        s.extend(recurrent.state().s);
        z.extend(recurrent.state().z);
    }
    assert_close("recurrent out", &out, &get("out"), if name == "relu" { 1e-5 } else { 2e-6 });
    assert_close("recurrent S", &s, &get("state_S_BHDM"), F32_ROUNDING);
    assert_close("recurrent z", &z, &get("state_z_BHD"), F32_ROUNDING);
}

/// fla's naive form scales its queries by `K^-½`.
#[test]
fn fla_naive() {
    let (golden, source) =
        (Golden::open("fla_naive.safetensors"), Golden::open("linear_attention.safetensors"));
    let (q, k, v) = (source.get("N37.D16.q"), source.get("N37.D16.k"), source.get("N37.D16.v"));
    let segments = dense(B, T, 0);
    let zeros = vec![0.0; B * H * K * V];
    let initial = golden.get("N37.D16.initial_state_BHDM");
    for (case, normalizer, scale, s) in [
        ("normalize_0.recurrent", Normalizer::None, 0.25, &zeros),
        ("normalize_1.recurrent", Normalizer::Plain, 1.0, &zeros),
        ("with_initial_state", Normalizer::None, 0.25, &initial),
    ] {
        let attention = plain(FeatureMap::Elu1, normalizer);
        let state = State { s: s.clone(), z: attention.zero_state(B).z };
        let inputs = Inputs { q: &q, k: &k, v: &v, params: &[], initial: Some(&state) };
        let output = attention.forward(Mask::causal(&segments), inputs);
        let out: Vec<f64> = output.out.iter().map(|x| x * scale).collect();
        let get = |part: &str| golden.get(&format!("N37.D16.elu1.{case}.{part}"));
        assert_close(case, &out, &get("out"), F32_ROUNDING);
        assert_close(case, &output.state.s, &get("final_S"), F32_ROUNDING);
    }
}

/// The numbers worked out by hand in double precision for the three families: one attention of three tokens.
#[test]
fn worked_example() {
    let q = [0.5, -1.0, 1.0, 0.0, -0.5, 2.0];
    let k = [1.0, 0.5, -1.0, 1.0, 0.25, -0.25];
    let v = [1.0, 2.0, 3.0, -1.0, 0.5, 0.5];
    let lrpe = |family, theta: Option<Vec<f64>>, permutation| {
        let config =
            LrpeConfig { family, theta, permutation, basis: Basis::Identity, ..LrpeConfig::default() };
        Arc::new(Lrpe::new(&config, Place { key_dim: 2, heads: 1, layer: 0 }).unwrap())
    };
    let rotate = lrpe(Family::Orthogonal, Some(vec![1.0]), None);
    let unitary = lrpe(Family::Unitary, Some(vec![1.0, 0.01]), None);
    let swap = lrpe(Family::Permutation, None, Some(vec![1, 0]));
    let none: Arc<dyn Encoding<f64>> = Arc::new(Absent::new(2));
    // Last row of the causal output for each normaliser, and the first row of the bidirectional one without.
    type Rows = [[f64; 2]; 4];
    let expected: [(Arc<dyn Encoding<f64>>, Rows); 4] = [
        (none, [[25.929735, 6.750275], [1.725112, 0.449097], [1.725112, 0.449097], [8.495306, 6.896813]]),
        (
            rotate,
            [
                [4.904645, -15.919129],
                [4904644.59, -15919128.62],
                [0.326307, -1.059104],
                [-2.364536, 8.046686],
            ],
        ),
        (unitary, [[23.902344, 3.415602], [1.809535, 0.258579], [1.590229, 0.227241], [6.406519, 5.822853]]),
        (swap, [[14.210443, 10.656706], [1.277421, 0.957964], [0.945424, 0.708993], [14.038577, 5.049055]]),
    ];
    let segments = dense(1, 3, 0);
    for (encoding, rows) in expected {
        let run = |normalizer, mask: Mask<'_>| {
            let (feature_map, encoding) = (FeatureMap::Elu1.bind(2), encoding.clone());
            let attention = LinearAttention {
                feature_map,
                encoding,
                stage: Stage::AfterFeatureMap,
                normalizer,
                eps: 1e-6,
                heads: 1,
                value_dim: 2,
                chunk: 2,
            };
            attention.forward(mask, Inputs { q: &q, k: &k, v: &v, params: &[], initial: None }).out
        };
        let causal = Mask::causal(&segments);
        let normalizers = [Normalizer::None, Normalizer::Encoded, Normalizer::Plain];
        for (normalizer, row) in normalizers.into_iter().zip(&rows) {
            assert_close(&format!("{encoding:?} {normalizer:?}"), &run(normalizer, causal)[4..], row, 2e-6);
        }
        let full = Mask::full(&segments);
        assert_close(&format!("{encoding:?} full"), &run(Normalizer::None, full)[..2], &rows[3], 1e-6);
    }
}

/// Single steps of the encodings, worked out by hand.
#[test]
fn worked_encodings() {
    let encode = |config: &LrpeConfig, params: &[f64], position: i64| {
        let lrpe = Lrpe::new(config, Place { key_dim: 4, heads: 1, layer: 0 }).unwrap();
        let encoding: &dyn Encoding<f64> = &lrpe;
        let mut out = vec![f64::NAN; encoding.encoded_dim()];
        encoding.bind(params).encode(Side::Query, 0, position, &[1.0, 2.0, 3.0, 4.0], &mut out);
        out
    };
    let orthogonal =
        LrpeConfig { family: Family::Orthogonal, basis: Basis::Identity, ..LrpeConfig::default() };
    assert_close("t1", &encode(&orthogonal, &[], 1), &[-1.142640, 1.922076, 2.959851, 4.029800], 1e-6);
    assert_close("t3", &encode(&orthogonal, &[], 3), &[-1.272233, -1.838865, 2.878668, 4.088187], 1e-6);
    let reflected = LrpeConfig { basis: Basis::Householder, learn_basis: true, ..orthogonal };
    assert_close(
        "Ht2",
        &encode(&reflected, &[0.5; 4], 2),
        &[4.392480, -2.388749, -1.979601, -1.039797],
        1e-6,
    );
    let unitary = LrpeConfig { family: Family::Unitary, ..reflected };
    let expected = [1.664587, -2.999400, -2.0, -1.0, -3.637190, -0.059996, -0.000400, -0.000002];
    assert_close("unitary Ht2", &encode(&unitary, &[0.5; 4], 2), &expected, 1e-6);
}
