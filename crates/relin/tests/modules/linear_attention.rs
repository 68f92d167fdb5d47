//! Linear attention on tensors: values and gradients are the kernel's in f64, states included.

use burn::tensor::Tensor;
use relin::ops::{AttentionState, OwnedMask, linear_attention, linear_attention_with_state, to_vec};
use relin_kernels::encoding::{EncodingConfig, Place, Stage, preset};
use relin_kernels::fast_math::FastMath;
use relin_kernels::feature_map::FeatureMap;
use relin_kernels::linear_attention::{Gradients, Inputs, LinearAttention, Normalizer, Output, State};
use relin_kernels::segments::{Segment, dense};

use crate::support::{
    assert_close, bits, frozen, gradient, leaf, normals, plain, pull_back, tiny_normalized, wide,
};

const B: usize = 2;
const T: usize = 11;
const H: usize = 2;
const K: usize = 4;
const V: usize = 3;
/// Learned angles and reflections, complex features, permuted features, no encoding.
const ENCODINGS: [&str; 5] = ["lrpe-type3", "lrpe-unitary-learned", "lrpe-type8", "lrpe-permutation", "none"];
const NORMALIZERS: [Normalizer; 3] = [Normalizer::Encoded, Normalizer::Plain, Normalizer::None];
/// Sums over a dozen keys, whose terms partly cancel, in f32.
const TOLERANCE: f64 = 1e-5;

/// ε = 1 keeps the quotients of the `encoded` normaliser within the size of their numerators; some are clamped.
fn attention<R: FastMath>(config: &EncodingConfig, normalizer: Normalizer) -> LinearAttention<R> {
    let encoding = config.build::<R>(Place { key_dim: K, heads: H, layer: 0 }).unwrap();
    let eps = if normalizer == Normalizer::Encoded { 1.0 } else { 1e-6 };
    LinearAttention {
        feature_map: FeatureMap::Elu1.bind(encoding.key_dim()),
        stage: Stage::AfterFeatureMap,
        encoding,
        normalizer,
        eps,
        heads: H,
        value_dim: V,
        chunk: 4,
    }
}

/// Inputs and cotangents of one case.
struct Case {
    name: String,
    attention: LinearAttention<f32>,
    truth: LinearAttention<f64>,
    mask: OwnedMask,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    params: Vec<f32>,
    s: Vec<f32>,
    z: Vec<f32>,
    d_out: Vec<f32>,
    d_s: Vec<f32>,
    d_z: Vec<f32>,
}

impl Case {
    fn new(name: &str, normalizer: Normalizer, mask: OwnedMask) -> Self {
        let config = preset(name).unwrap().config();
        let (attention, truth) =
            (attention::<f32>(&config, normalizer), attention::<f64>(&config, normalizer));
        let parameters = attention.encoding.parameters();
        let zero = attention.zero_state(B);
        // Positive sums, as positive keys leave them, so that the denominators start away from 0.
        let z = normals(7, zero.z.len()).iter().map(|x| x.abs()).collect();
        Self {
            name: format!("{name}, {normalizer:?}, causal: {}", mask.as_mask().is_causal()),
            mask,
            q: normals(1, B * T * H * K),
            k: normals(2, B * T * H * K),
            v: normals(3, B * T * H * V),
            params: parameters.iter().flat_map(|p| &p.init).map(|&x| x as f32).collect(),
            s: normals(4, zero.s.len()),
            z,
            d_out: normals(5, B * T * H * V),
            d_s: normals(6, zero.s.len()),
            d_z: normals(8, zero.z.len()),
            attention,
            truth,
        }
    }

    /// The kernel's own values and gradients.
    fn expected(&self, with_state: bool) -> (Output<f64>, Gradients<f64>) {
        let [q, k, v, params] = [&self.q, &self.k, &self.v, &self.params].map(|x| wide(x));
        let initial = with_state.then(|| State { s: wide(&self.s), z: wide(&self.z) });
        let d_state = with_state.then(|| State { s: wide(&self.d_s), z: wide(&self.d_z) });
        let inputs = Inputs { q: &q, k: &k, v: &v, params: &params, initial: initial.as_ref() };
        let output = self.truth.forward(self.mask.as_mask(), inputs);
        let d_out = wide(&self.d_out);
        let gradients =
            self.truth.backward(self.mask.as_mask(), inputs, &output.out, &d_out, d_state.as_ref());
        (output, gradients)
    }

    fn leaves(&self) -> ([Tensor<4>; 3], Tensor<1>) {
        let (q, k) = (leaf(&self.q, [B, T, H, K]), leaf(&self.k, [B, T, H, K]));
        ([q, k, leaf(&self.v, [B, T, H, V])], leaf(&self.params, [self.params.len()]))
    }

    fn state(
        &self,
        of: fn(&[f32], [usize; 4]) -> Tensor<4>,
        z: fn(&[f32], [usize; 3]) -> Tensor<3>,
    ) -> AttentionState {
        let (encoded, width) = (self.attention.encoded_dim(), self.attention.normalizer_dim());
        AttentionState { s: of(&self.s, [B, H, encoded, V]), z: z(&self.z, [B, H, width]) }
    }

    fn check(&self, what: &str, found: &[f32], expected: &[f64]) {
        assert_close(&format!("{}: {what}", self.name), found, expected, TOLERANCE);
    }
}

fn each_case(run: impl Fn(&Case)) {
    for name in ENCODINGS {
        for normalizer in NORMALIZERS {
            run(&Case::new(name, normalizer, OwnedMask::Causal(dense(B, T, 2))));
            let full = OwnedMask::Full { queries: dense(B, T, 2), keys: dense(B, T, 0) };
            run(&Case::new(name, normalizer, full));
        }
    }
}

#[test]
fn without_a_state() {
    each_case(|case| {
        let (output, expected) = case.expected(false);
        let (qkv, params) = case.leaves();
        let found = linear_attention(&case.attention, case.mask.clone(), qkv.clone(), params.clone());
        assert_eq!(found.dims(), [B, T, H, V]);
        case.check("out", &to_vec(found.clone().inner()), &output.out);
        let gradients = pull_back(found, &case.d_out);
        let [q, k, v] = qkv.map(|x| gradient(&x, &gradients));
        case.check("dq", &q, &expected.q);
        case.check("dk", &k, &expected.k);
        case.check("dv", &v, &expected.v);
        if !case.params.is_empty() {
            case.check("dparams", &gradient(&params, &gradients), &expected.params);
        }
    });
}

/// The loss reads the outputs and the final state, and every input, the initial state included, gets its gradient.
#[test]
fn from_state_to_state() {
    each_case(|case| {
        let (output, expected) = case.expected(true);
        let (qkv, params) = case.leaves();
        let initial = case.state(leaf, leaf);
        let (found, last) = linear_attention_with_state(
            &case.attention,
            case.mask.clone(),
            qkv.clone(),
            params.clone(),
            initial.clone(),
        );
        case.check("out", &to_vec(found.clone().inner()), &output.out);
        case.check("S", &to_vec(last.s.clone().inner()), &output.state.s);
        let mut loss = (found * plain(&case.d_out, [B, T, H, V]).autodiff()).sum();
        loss = loss + (last.s.clone() * plain(&case.d_s, last.s.dims()).autodiff()).sum();
        if !case.z.is_empty() {
            case.check("z", &to_vec(last.z.clone().inner()), &output.state.z);
            loss = loss + (last.z.clone() * plain(&case.d_z, last.z.dims()).autodiff()).sum();
        }
        let gradients = loss.backward();
        let [q, k, v] = qkv.map(|x| gradient(&x, &gradients));
        case.check("dq", &q, &expected.q);
        case.check("dk", &k, &expected.k);
        case.check("dv", &v, &expected.v);
        case.check("dS", &gradient(&initial.s, &gradients), &expected.initial.s);
        if !case.z.is_empty() {
            case.check("dz", &gradient(&initial.z, &gradients), &expected.initial.z);
        }
        if !case.params.is_empty() {
            case.check("dparams", &gradient(&params, &gradients), &expected.params);
        }
    });
}

/// Two calls joined by their state are one call: values, and gradients that flow back through the state.
#[test]
fn a_split_sequence_is_the_whole_sequence() {
    const CUT: usize = 5;
    for name in ENCODINGS {
        for normalizer in NORMALIZERS {
            let case = Case::new(name, normalizer, OwnedMask::Causal(dense(B, T, 2)));
            let (output, expected) = case.expected(false);
            let (qkv, params) = case.leaves();
            let zero = case.attention.zero_state(B);
            let (encoded, width) = (case.attention.encoded_dim(), case.attention.normalizer_dim());
            let state =
                AttentionState { s: plain(&zero.s, [B, H, encoded, V]), z: plain(&zero.z, [B, H, width]) };
            let part = |from: usize, to: usize, state| {
                let rows = qkv.clone().map(|x| x.slice([0..B, from..to]));
                let mask = OwnedMask::Causal(dense(B, to - from, 2 + from as i64));
                linear_attention_with_state(&case.attention, mask, rows, params.clone(), state)
            };
            let (head, state) = part(0, CUT, state);
            let (tail, _) = part(CUT, T, state);
            let found = Tensor::cat(vec![head, tail], 1);
            case.check("out", &to_vec(found.clone().inner()), &output.out);
            let gradients = pull_back(found, &case.d_out);
            let [q, k, v] = qkv.clone().map(|x| gradient(&x, &gradients));
            case.check("dq", &q, &expected.q);
            case.check("dk", &k, &expected.k);
            case.check("dv", &v, &expected.v);
            if !case.params.is_empty() {
                case.check("dparams", &gradient(&params, &gradients), &expected.params);
            }
        }
    }
}

#[test]
fn untracked_inputs_get_no_gradient() {
    let case = Case::new("lrpe-type3", Normalizer::Plain, OwnedMask::Causal(dense(B, T, 2)));
    let free = |x: &[f32], width| plain(x, [B, T, H, width]);
    let params = plain(&case.params, [case.params.len()]);
    let untracked = linear_attention(
        &case.attention,
        case.mask.clone(),
        [free(&case.q, K), free(&case.k, K), free(&case.v, V)],
        params.clone(),
    );
    let v = leaf(&case.v, [B, T, H, V]);
    let (q, k) = (free(&case.q, K), free(&case.k, K));
    let found = linear_attention(
        &case.attention,
        case.mask.clone(),
        [q.clone(), k.clone(), v.clone()],
        params.clone(),
    );
    assert_eq!(bits(&to_vec(found.clone().inner())), bits(&to_vec(untracked)));
    let gradients = pull_back(found, &case.d_out);
    assert_close("dv", &gradient(&v, &gradients), &case.expected(false).1.v, TOLERANCE);
    assert!(
        q.grad(&gradients).is_none() && k.grad(&gradients).is_none() && params.grad(&gradients).is_none()
    );

    let state = case.state(plain, plain);
    let (out, last) = linear_attention_with_state(
        &case.attention,
        case.mask.clone(),
        [q, k, v.clone()],
        params,
        state.clone(),
    );
    let gradients = (out.sum() + last.s.sum()).backward();
    assert!(v.grad(&gradients).is_some() && state.s.grad(&gradients).is_none());
}

/// A sum of scores over ones is divided by itself, so 1 comes out wherever ε does not divide in its stead.
#[test]
fn clamped_denominators_are_those_that_leave_ones_no_ones() {
    let mut found = Vec::new();
    for name in ["lrpe-type8", "lrpe-permutation"] {
        let model = frozen(&tiny_normalized(name, Normalizer::Encoded), 1);
        let attention = model.attentions().next().unwrap();
        // The second row is shorter; what lies beyond it is not counted.
        let mask = OwnedMask::Causal(vec![
            Segment { start: 0, len: T, offset: 0 },
            Segment { start: T, len: T - 4, offset: 0 },
        ]);
        let x: Tensor<3> = plain(&normals(1, B * T * 16), [B, T, 16]);
        let [q, k, _] = attention.project(x.clone());
        let ones = plain(&[1.0; B * T * 2], [B, T, 2, 1]);
        let kernel = LinearAttention { value_dim: 1, ..attention.linear() };
        let parameters = attention.position().parameters(&x.device());
        let quotients = to_vec(linear_attention(&kernel, mask.clone(), [q, k, ones], parameters));
        let all = (2 * T - 4) * 2;
        let below =
            quotients[..all].iter().filter(|quotient| f64::from(*quotient - 1.0).abs() > TOLERANCE).count();
        assert_eq!(attention.clamped(x, &mask), [below, all], "{name}");
        found.push(below);
    }
    assert!(found[0] > 0 && found[1] < found[0], "signed scores cancel more than positive ones: {found:?}");
    let model = frozen(&tiny_normalized("lrpe-type8", Normalizer::None), 1);
    let x = plain(&normals(1, T * 16), [1, T, 16]);
    assert_eq!(model.attentions().next().unwrap().clamped(x, &OwnedMask::Causal(dense(1, T, 0))), [0, 0]);
}
