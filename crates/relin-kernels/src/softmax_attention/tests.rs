use super::*;
use crate::encoding::Place;
use crate::encoding::bias::{BiasConfig, ShawConfig, T5Config};
use crate::fast_math::FastMath;
use crate::segments::{dense, packed, right_padded};
use crate::testing::{assert_close, convert, dot, normals, numeric_gradient};

const HEADS: usize = 2;
const KEY_DIM: usize = 5;
const VALUE_DIM: usize = 3;
const SCALE: f64 = 0.447;

/// What stands beside the products of queries and keys.
#[derive(Clone, Copy, Debug)]
enum Relation {
    Nothing,
    Alibi,
    T5 {
        bidirectional: bool,
    },
    Shaw,
    /// A fast decay and a slow one.
    Uniform,
    /// From the fastest that is allowed to none.
    PerFeature,
    Both,
}

const RELATIONS: [Relation; 8] = [
    Relation::Nothing,
    Relation::Alibi,
    Relation::T5 { bidirectional: false },
    Relation::T5 { bidirectional: true },
    Relation::Shaw,
    Relation::Uniform,
    Relation::PerFeature,
    Relation::Both,
];

impl Relation {
    fn attention<R: FastMath>(self) -> SoftmaxAttention<R> {
        let plain = SoftmaxAttention::new(HEADS, KEY_DIM, VALUE_DIM, SCALE);
        let place = Place { key_dim: KEY_DIM, heads: HEADS, layer: 0 };
        let bias = |config: BiasConfig| config.build::<R>(place).unwrap();
        let t5 = T5Config { buckets: 8, max_distance: 90, ..T5Config::default() };
        let shaw = BiasConfig::Shaw(ShawConfig { max_distance: 3, seed: 0 });
        let lambdas = vec![0.5f64.powf(1.0 / 64.0), 0.99, 0.997, 0.9999, 1.0];
        match self {
            Self::Nothing => plain,
            Self::Alibi => plain.with_bias(bias(BiasConfig::Alibi)),
            Self::T5 { bidirectional } => {
                plain.with_bias(bias(BiasConfig::T5(T5Config { bidirectional, ..t5 })))
            }
            Self::Shaw => plain.with_bias(bias(shaw)),
            Self::Uniform => plain.with_decays(vec![Decay::Uniform(0.8), Decay::Uniform(0.99)]),
            Self::PerFeature => plain.with_decays(vec![Decay::PerFeature(lambdas), Decay::None]),
            Self::Both => plain
                .with_decays(vec![Decay::Uniform(0.97), Decay::PerFeature(lambdas)])
                .with_bias(bias(shaw)),
        }
    }
}

/// Queries, keys and values of one test, and who sees whom.
struct Case {
    relation: Relation,
    params: Vec<f64>,
    queries: Vec<Segment>,
    keys: Vec<Segment>,
    causal: bool,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
}

struct Results<R> {
    out: Vec<R>,
    dq: Vec<R>,
    dk: Vec<R>,
    dv: Vec<R>,
    d_params: Vec<R>,
}

impl Case {
    fn new(queries: Vec<Segment>, keys: Vec<Segment>, tokens: (usize, usize), causal: bool) -> Self {
        Self {
            relation: Relation::Nothing,
            params: Vec::new(),
            queries,
            keys,
            causal,
            q: normals(1, tokens.0 * HEADS * KEY_DIM),
            k: normals(2, tokens.1 * HEADS * KEY_DIM),
            v: normals(3, tokens.1 * HEADS * VALUE_DIM),
        }
    }

    fn own(segments: Vec<Segment>, tokens: usize, causal: bool) -> Self {
        Self::new(segments.clone(), segments, (tokens, tokens), causal)
    }

    fn with(self, relation: Relation) -> Self {
        let params = normals(5, relation.attention::<f64>().params);
        Self { relation, params, ..self }
    }

    fn mask(&self) -> Mask<'_> {
        let (queries, keys) = (&*self.queries, &*self.keys);
        if self.causal { Mask::Causal { queries, keys } } else { Mask::Full { queries, keys } }
    }

    fn inputs(&self) -> Inputs<'_, f64> {
        Inputs { q: &self.q, k: &self.k, v: &self.v, params: &self.params }
    }

    fn dout(&self) -> Vec<f64> {
        normals(4, self.q.len() / KEY_DIM * VALUE_DIM)
    }

    /// The tiled forms, into poisoned buffers.
    fn run<R: FastMath>(&self) -> Results<R> {
        let [q, k, v, params] = [&self.q, &self.k, &self.v, &self.params].map(|x| convert::<_, R>(x));
        let inputs = Inputs { q: &q, k: &k, v: &v, params: &params };
        let (attention, dout) = (self.relation.attention::<R>(), convert::<_, R>(&self.dout()));
        let poisoned = |n: usize| vec![R::NAN; n];
        let (mut out, mut lse) = (poisoned(dout.len()), poisoned(q.len() / KEY_DIM));
        attention.forward(&mut out, &mut lse, inputs, self.mask()).unwrap();
        let [mut dq, mut dk, mut dv, mut d_params] = [&q, &k, &v, &params].map(|x| poisoned(x.len()));
        let saved = Saved { out: &out, lse: &lse, dout: &dout };
        let gradients = Gradients { dq: &mut dq, dk: &mut dk, dv: &mut dv, d_params: &mut d_params };
        attention.backward(gradients, inputs, saved, self.mask()).unwrap();
        Results { out, dq, dk, dv, d_params }
    }

    fn naive(&self, inputs: Inputs<'_, f64>) -> Vec<f64> {
        naive::forward(&self.relation.attention(), inputs, self.mask()).unwrap()
    }
}

fn segment(start: usize, len: usize, offset: i64) -> Segment {
    Segment { start, len, offset }
}

/// Every length around a tile, packing with gaps and empty segments, queries at the end of longer keys, queries
/// before all keys, cross-attention of unequal lengths.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for causal in [true, false] {
        for time in [1, 2, 63, 64, 65, 127, 128, 129, 200, 300] {
            cases.push(Case::own(dense(2, time, 7), 2 * time, causal));
        }
        cases.push(Case::own(Vec::new(), 3, causal));
        cases.push(Case::own(packed(&[0, 70, 70, 71, 340]).unwrap(), 345, causal));
        cases.push(Case::own(right_padded(&[3, 0, 66], 67).unwrap(), 201, causal));
        let queries = vec![segment(1, 5, 130), segment(8, 70, 0)];
        cases.push(Case::new(queries, vec![segment(0, 135, 0), segment(140, 3, 20)], (80, 143), causal));
        cases.push(Case::new(vec![segment(0, 66, 0)], vec![segment(2, 0, 0)], (66, 3), causal));
    }
    cases
}

#[test]
fn tiled_forward_matches_naive() {
    for relation in RELATIONS {
        for case in cases() {
            let case = case.with(relation);
            let expected = case.naive(case.inputs());
            assert_close(&format!("f64 {relation:?}"), &case.run::<f64>().out, &expected, 1e-12);
            assert_close(&format!("f32 {relation:?}"), &case.run::<f32>().out, &expected, 2e-6);
        }
    }
}

#[test]
fn f32_gradients_follow_f64() {
    for relation in RELATIONS {
        for case in cases() {
            let case = case.with(relation);
            let (wide, narrow) = (case.run::<f64>(), case.run::<f32>());
            assert_close(&format!("dq {relation:?}"), &narrow.dq, &wide.dq, 4e-6);
            assert_close(&format!("dk {relation:?}"), &narrow.dk, &wide.dk, 4e-6);
            assert_close(&format!("dv {relation:?}"), &narrow.dv, &wide.dv, 2e-6);
            assert_close(&format!("d_params {relation:?}"), &narrow.d_params, &wide.d_params, 4e-6);
        }
    }
}

/// The gradients of naive attention by their definition, in `f64`; biases are linear in their parameters, and affine in
/// the query.
fn naive_gradients(case: &Case) -> Results<f64> {
    let attention = case.relation.attention::<f64>();
    let (out, dout) = (case.naive(case.inputs()), case.dout());
    let [mut dq, mut dk, mut dv, mut d_params] =
        [&case.q, &case.k, &case.v, &case.params].map(|x| vec![0.0; x.len()]);
    let unit = |n: usize, i: usize| (0..n).map(|j| f64::from(i == j)).collect::<Vec<_>>();
    for pair in attention.check(case.inputs(), case.mask()).unwrap() {
        for (i, query) in pair.queries.tokens().enumerate() {
            for h in 0..HEADS {
                let keys: Vec<usize> = pair.keys.tokens().take(pair.visible(i)).collect();
                let at = |token: usize, width: usize| (token * HEADS + h) * width;
                let (q0, o0) = (at(query, KEY_DIM), at(query, VALUE_DIM));
                let q = &case.q[q0..][..KEY_DIM];
                let scaled: Vec<f64> = q.iter().map(|q| SCALE * q).collect();
                let lag =
                    |key: usize| pair.keys.offset + (key - pair.keys.start) as i64 - pair.query_position(i);
                let logit = |&key: &usize| {
                    attention.logit(&case.params, h, q, &case.k[at(key, KEY_DIM)..][..KEY_DIM], lag(key))
                };
                let top = keys.iter().map(logit).fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = keys.iter().map(|key| (logit(key) - top).exp()).collect();
                let total: f64 = weights.iter().sum();
                for (&key, weight) in keys.iter().zip(&weights) {
                    let (p, k0, v0) = (weight / total, at(key, KEY_DIM), at(key, VALUE_DIM));
                    let dp: f64 = (0..VALUE_DIM).map(|c| dout[o0 + c] * (case.v[v0 + c] - out[o0 + c])).sum();
                    let d = p * dp;
                    for c in 0..KEY_DIM {
                        let factor = SCALE * attention.decay(h).factor(c, lag(key));
                        dq[q0 + c] += d * factor * case.k[k0 + c];
                        dk[k0 + c] += d * factor * case.q[q0 + c];
                    }
                    for c in 0..VALUE_DIM {
                        dv[v0 + c] += p * dout[o0 + c];
                    }
                    let Some(bias) = &attention.bias else { continue };
                    let of = |params: &[f64], q: &[f64]| bias.at(params, h, q, lag(key));
                    for c in 0..KEY_DIM {
                        let slope = of(&case.params, &unit(KEY_DIM, c)) - of(&case.params, &[0.0; KEY_DIM]);
                        dq[q0 + c] += SCALE * d * slope;
                    }
                    for (i, sum) in d_params.iter_mut().enumerate() {
                        *sum += d * of(&unit(case.params.len(), i), &scaled);
                    }
                }
            }
        }
    }
    Results { out, dq, dk, dv, d_params }
}

#[test]
fn tiled_backward_matches_naive() {
    for relation in RELATIONS {
        for case in cases() {
            let case = case.with(relation);
            let (found, expected) = (case.run::<f64>(), naive_gradients(&case));
            assert_close(&format!("dq {relation:?}"), &found.dq, &expected.dq, 1e-12);
            assert_close(&format!("dk {relation:?}"), &found.dk, &expected.dk, 1e-12);
            assert_close(&format!("dv {relation:?}"), &found.dv, &expected.dv, 1e-12);
            assert_close(&format!("d_params {relation:?}"), &found.d_params, &expected.d_params, 1e-12);
        }
    }
}

#[test]
fn gradients_match_central_differences() {
    for (causal, relation) in [true, false].into_iter().flat_map(|causal| RELATIONS.map(|r| (causal, r))) {
        let case = Case::new(
            vec![segment(0, 3, 4), segment(4, 5, 0)],
            vec![segment(1, 6, 0), segment(7, 4, 1)],
            (9, 11),
            causal,
        );
        let case = case.with(relation);
        let (found, dout) = (case.run::<f64>(), case.dout());
        let loss = |inputs: Inputs<'_, f64>| dot(&case.naive(inputs), &dout);
        let inputs = case.inputs();
        let dq = numeric_gradient(&case.q, |q| loss(Inputs { q, ..inputs }));
        let dk = numeric_gradient(&case.k, |k| loss(Inputs { k, ..inputs }));
        let dv = numeric_gradient(&case.v, |v| loss(Inputs { v, ..inputs }));
        let d_params = numeric_gradient(&case.params, |params| loss(Inputs { params, ..inputs }));
        assert_close("dq", &found.dq, &dq, 1e-8);
        assert_close("dk", &found.dk, &dk, 1e-8);
        assert_close("dv", &found.dv, &dv, 1e-8);
        assert_close("d_params", &found.d_params, &d_params, 1e-8);
    }
}

/// Powers of λ relative to the first token would be 0 or ∞ there.
#[test]
fn a_million_tokens_on_nothing_changes() {
    for (relation, causal) in RELATIONS.into_iter().flat_map(|r| [(r, true), (r, false)]) {
        let at = |offset: i64| Case::own(vec![segment(0, 300, offset)], 300, causal).with(relation);
        let (near, far) = (at(0).run::<f32>(), at(1_000_000).run::<f32>());
        assert_eq!((near.out, near.dq, near.dk, near.d_params), (far.out, far.dq, far.dk, far.d_params));
        let apart = Case::new(vec![segment(0, 130, 1_000_000)], vec![segment(0, 200, 0)], (130, 200), causal);
        let apart = apart.with(relation);
        // In double precision: ALiBi's biases are 60 000 there, which single precision knows to 0.004.
        assert_close(&format!("{relation:?}"), &apart.run::<f64>().out, &apart.naive(apart.inputs()), 1e-9);
        assert!(apart.run::<f32>().dq.iter().all(|d| d.is_finite()));
    }
}

#[test]
fn padding_may_hold_anything() {
    let lengths = [3, 65, 0, 70];
    let mut case = Case::own(right_padded(&lengths, 72).unwrap(), 4 * 72, true).with(Relation::Both);
    let clean = case.run::<f32>();
    for (row, &len) in lengths.iter().enumerate() {
        let padding = row * 72 + len..(row + 1) * 72;
        for (x, width) in [(&mut case.q, 5), (&mut case.k, 5), (&mut case.v, 3)] {
            x[padding.start * 2 * width..padding.end * 2 * width].fill(f64::NAN);
        }
    }
    let poisoned = case.run::<f32>();
    assert_eq!(poisoned.out, clean.out);
    assert_eq!((poisoned.dq, poisoned.dk, poisoned.dv), (clean.dq, clean.dk, clean.dv));
    assert!(clean.out[3 * 2 * 3..72 * 2 * 3].iter().all(|&o| o == 0.0));
}

#[test]
fn huge_scores_stay_finite() {
    let mut case = Case::own(dense(1, 130, 0), 130, true);
    // q·k reaches about ±1e4 · several.
    case.q.iter_mut().chain(&mut case.k).for_each(|x| *x *= 100.0);
    let (expected, found) = (case.naive(case.inputs()), case.run::<f64>());
    assert_close("out", &found.out, &expected, 1e-9);
    let narrow = case.run::<f32>();
    for (name, x) in [("out", &narrow.out), ("dq", &narrow.dq), ("dk", &narrow.dk), ("dv", &narrow.dv)] {
        assert!(x.iter().all(|v| v.is_finite()), "{name}");
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let case = Case::own(packed(&[0, 150, 153, 300]).unwrap(), 300, true).with(Relation::Both);
    let in_pool = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let results = pool.install(|| case.run::<f32>());
        (results.out, results.dq, results.dk, results.dv, results.d_params)
    };
    assert_eq!(in_pool(1), in_pool(3));
}

#[test]
fn what_does_not_fit_is_named() {
    let case = Case::own(dense(1, 4, 0), 4, true);
    let attention = Relation::Nothing.attention::<f64>();
    let run = |inputs, mask| attention.forward(&mut [0.0; 24], &mut [0.0; 8], inputs, mask).unwrap_err();
    let inputs = case.inputs();
    let error = run(Inputs { v: &case.v[1..], ..inputs }, case.mask());
    assert_eq!(error.to_string(), "v has 23 elements; 4 tokens, 2 heads and width 3 make 24");
    let error = run(Inputs { params: &[1.0], ..inputs }, case.mask());
    assert_eq!(error.to_string(), "the bias has 0 parameters, but 1 are given");
    let long = [segment(0, 5, 0)];
    assert!(matches!(run(inputs, Mask::full(&long)), AttentionError::Queries(_)));
    let keys = Mask::Causal { queries: &case.queries, keys: &long };
    assert!(matches!(run(inputs, keys), AttentionError::Keys(_)));
    let none = Mask::Full { queries: &case.queries, keys: &[] };
    assert_eq!(run(inputs, none), AttentionError::Unpaired { queries: 1, keys: 0 });
}
