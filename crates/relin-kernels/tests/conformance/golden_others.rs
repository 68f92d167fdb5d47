//! Agreement of random features, xPos and decay with public implementations; see `golden/README.md`.

use std::sync::Arc;

use relin_kernels::encoding::lrpe::Pairs;
use relin_kernels::encoding::{
    DecayConfig, Decaying, Encoding, EncodingConfig, Place, Side, Stage, Xpos, XposConfig,
};
use relin_kernels::feature_map::{FeatureMap, RandomFeatures, RandomKernel, RandomMap};
use relin_kernels::linear_attention::{Inputs, LinearAttention, Normalizer, naive};
use relin_kernels::segments::{Mask, dense};

use crate::cases::assert_close;
use crate::golden::Golden;

const B: usize = 2;
const T: usize = 37;
const H: usize = 3;
const K: usize = 16;
const V: usize = 24;
/// Directions.
const M: usize = 40;
const F32_ROUNDING: f64 = 2e-6;

/// `[B, H, T, width]` to `[B, T, H, width]`, or back with T and H exchanged.
fn transposed(x: &[f64], (outer, inner): (usize, usize), width: usize) -> Vec<f64> {
    let rows: Vec<&[f64]> = x.chunks(width).collect();
    let row = |at: usize| {
        let (b, i, o) = (at / (outer * inner), at / outer % inner, at % outer);
        rows[(b * outer + o) * inner + i]
    };
    (0..rows.len()).flat_map(|at| row(at).to_vec()).collect()
}

fn map(kernel: RandomKernel, features: usize, directions: &[f64]) -> RandomMap<f64> {
    let options = RandomFeatures { kernel, features, stabilize: false, ..RandomFeatures::default() };
    RandomMap::with_directions(options, K, directions)
}

fn apply(map: &RandomMap<f64>, side: Side, x: &[f64]) -> Vec<f64> {
    let mut out = vec![f64::NAN; x.len() / K * map.feature_dim()];
    map.apply(side, x, &mut out);
    out
}

fn max(x: impl Iterator<Item = f64>) -> f64 {
    x.fold(f64::NEG_INFINITY, f64::max)
}

/// lucidrains shifts a query's exponents by the largest projection of its row, a key's by the largest of its head, and adds
/// ε = 1e-4; ours without ε is brought to these shifts.
#[test]
fn softmax_features() {
    let golden = Golden::open("performer.safetensors");
    let directions = golden.get("D16.projection_RxD");
    let [q, k] = ["q", "k"].map(|name| golden.get(&format!("N37.D16.{name}_BHND")));
    let positive = map(RandomKernel::Softmax, M, &directions);
    let root = (M as f64).sqrt();
    let projections = |x: &[f64]| -> Vec<f64> {
        let project = |x: &[f64], w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w / 2.0).sum::<f64>();
        x.chunks(K).flat_map(|x| directions.chunks(K).map(move |w| project(x, w))).collect()
    };
    for (name, side, x, rows) in [("q", Side::Query, &q, 1), ("k", Side::Key, &k, T)] {
        let found = apply(&positive, side, x);
        let shifts = projections(x);
        let rows = rows * M;
        let shifted: Vec<f64> = found
            .chunks(rows)
            .zip(shifts.chunks(rows))
            .flat_map(|(f, u)| {
                let shift = max(u.iter().copied());
                f.iter().map(move |f| (f * root - 1e-6) / shift.exp()).collect::<Vec<_>>()
            })
            .collect();
        let theirs = golden.get(&format!("N37.D16.lucid_softmax_kernel.{name}"));
        let theirs: Vec<f64> = theirs.iter().map(|f| f * root - 1e-4).collect();
        assert_close(name, &shifted, &theirs, 2e-6);
    }
    let q = transposed(&q, (H, T), K);
    let both = apply(&map(RandomKernel::Hyperbolic, 2 * M, &directions), Side::Query, &q);
    let both: Vec<f64> = both.iter().map(|f| f - 1e-6 / (2.0 * M as f64).sqrt()).collect();
    assert_close("idiap", &both, &golden.get("N37.D16.ft_favor.stabilize_0.q_BNHF"), F32_ROUNDING);
}

#[test]
fn rectified_features() {
    let golden = Golden::open("performer.safetensors");
    let q = golden.get("N37.D16.q_BHND");
    let relu = map(RandomKernel::Relu, M, &golden.get("D16.projection_RxD"));
    let found = apply(&relu, Side::Query, &q);
    assert_close("lucidrains", &found, &golden.get("N37.D16.lucid_generalized_relu.q"), F32_ROUNDING);
}

/// lucidrains multiplies queries by `ζ^{s/512}` and keys by `ζ^{−t/512}`; the scores of keys not after the query are ours.
#[test]
fn xpos() {
    let golden = Golden::open("xpos.safetensors");
    let x = Golden::open("rope.safetensors").get("N37.D16.x");
    let y = Golden::open("linear_attention.safetensors").get("N37.D16.k");
    let [q, k] = ["q", "k"].map(|name| golden.get(&format!("N37.D16.lucid_xpos.{name}_BHND")));
    let config = XposConfig { pairs: Pairs::Interleaved, ..XposConfig::default() };
    let xpos = Xpos::new(&config, Place { key_dim: K, heads: H, layer: 0 }).unwrap();
    let encoding: &dyn Encoding<f64> = &xpos;
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for (s, t) in (0..T).flat_map(|s| (0..=s).map(move |t| (s, t))) {
        let w = encoding.kernel(&[], 0, t as i64 - s as i64);
        let (x, y) = (&x[s * H * K..][..K], &y[t * H * K..][..K]);
        found.push((0..K * K).map(|at| x[at / K] * w[at] * y[at % K]).sum::<f64>());
        expected.push(q[s * K..][..K].iter().zip(&k[t * K..]).map(|(a, b)| a * b).sum::<f64>());
    }
    assert_close("scores", &found, &expected, F32_ROUNDING);
}

/// fla's naive Lightning Attention: `Σ_{t ≤ s} e^{−m_h (s − t)} (q_s·k_t) v_t`.
#[test]
fn lightning_decay() {
    let (golden, inputs) = (Golden::open("decay.safetensors"), Golden::open("linear_attention.safetensors"));
    let slopes = golden.get("lightning.slopes_H");
    let config =
        DecayConfig { lambdas: Some(slopes.iter().map(|m| (-m).exp()).collect()), ..DecayConfig::default() };
    let encoding: Arc<dyn Encoding<f64>> =
        Arc::new(Decaying::new(&config, Place { key_dim: K, heads: H, layer: 0 }).unwrap());
    let attention = LinearAttention {
        feature_map: FeatureMap::Identity.bind(K),
        encoding,
        stage: Stage::AfterFeatureMap,
        normalizer: Normalizer::None,
        eps: 0.0,
        heads: H,
        value_dim: V,
        chunk: 8,
    };
    let [q, k, v] = ["q", "k", "v"].map(|name| inputs.get(&format!("N37.D16.{name}")));
    let segments = dense(B, T, 0);
    let inputs = Inputs { q: &q, k: &k, v: &v, params: &[], initial: None };
    let out = attention.forward(Mask::causal(&segments), inputs).out;
    let expected = transposed(&golden.get("N37.D16.lightning_decay.out_BHNM"), (H, T), V);
    assert_close("out", &out, &expected, F32_ROUNDING);
}

/// A state given to the second half of a sequence is what the first half left, decay or not, before φ or after.
#[test]
fn the_naive_form_continues_from_its_state() {
    for name in ["decay", "lrpe-decay", "xpos", "permuteformer", "sine-exact", "sine-spe", "rope"] {
        let config: EncodingConfig = relin_kernels::encoding::preset(name).unwrap().config();
        let encoding = config.build::<f64>(Place { key_dim: 6, heads: 2, layer: 0 }).unwrap();
        for normalizer in crate::cases::NORMALIZERS {
            let params = crate::cases::params(&*encoding);
            let attention = LinearAttention {
                feature_map: FeatureMap::Elu1.bind(encoding.stage().mapped_dim(6, &*encoding)),
                encoding: encoding.clone(),
                stage: encoding.stage(),
                normalizer,
                eps: 1e-6,
                heads: 2,
                value_dim: 3,
                chunk: 4,
            };
            let [q, k, v] =
                [(1, 12), (2, 12), (3, 6)].map(|(seed, width)| crate::cases::normals::<f64>(seed, 9 * width));
            let whole = Inputs { q: &q, k: &k, v: &v, params: &params, initial: None };
            let expected = naive::forward(&attention, Mask::causal(&dense(1, 9, 70)), whole);
            let part = |from: usize, to: usize, initial| Inputs {
                q: &q[from * 12..to * 12],
                k: &k[from * 12..to * 12],
                v: &v[from * 6..to * 6],
                params: &params,
                initial,
            };
            let first = naive::forward(&attention, Mask::causal(&dense(1, 4, 70)), part(0, 4, None));
            let second =
                naive::forward(&attention, Mask::causal(&dense(1, 5, 74)), part(4, 9, Some(&first.state)));
            assert_close(name, &[first.out, second.out].concat(), &expected.out, 1e-10);
            assert_close(name, &second.state.s, &expected.state.s, 1e-10);
            assert_close(name, &second.state.z, &expected.state.z, 1e-10);
        }
    }
}
