use super::*;
use crate::fast_math::FastMath;
use crate::segments::{dense, packed, right_padded};
use crate::testing::{assert_close, convert, dot, normals, numeric_gradient};

const SIZES: SoftmaxAttention = SoftmaxAttention { heads: 2, key_dim: 5, value_dim: 3, scale: 0.447 };

/// Queries, keys and values of one test, and who sees whom.
struct Case {
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
}

impl Case {
    fn new(queries: Vec<Segment>, keys: Vec<Segment>, tokens: (usize, usize), causal: bool) -> Self {
        let SoftmaxAttention { heads, key_dim, value_dim, .. } = SIZES;
        Self {
            queries,
            keys,
            causal,
            q: normals(1, tokens.0 * heads * key_dim),
            k: normals(2, tokens.1 * heads * key_dim),
            v: normals(3, tokens.1 * heads * value_dim),
        }
    }

    fn own(segments: Vec<Segment>, tokens: usize, causal: bool) -> Self {
        Self::new(segments.clone(), segments, (tokens, tokens), causal)
    }

    fn mask(&self) -> Mask<'_> {
        let (queries, keys) = (&*self.queries, &*self.keys);
        if self.causal { Mask::Causal { queries, keys } } else { Mask::Full { queries, keys } }
    }

    fn inputs(&self) -> Inputs<'_, f64> {
        Inputs { q: &self.q, k: &self.k, v: &self.v }
    }

    fn dout(&self) -> Vec<f64> {
        normals(4, self.q.len() / SIZES.key_dim * SIZES.value_dim)
    }

    /// The tiled forms, into poisoned buffers.
    fn run<R: FastMath>(&self) -> Results<R> {
        let (q, k, v) = (convert::<_, R>(&self.q), convert::<_, R>(&self.k), convert::<_, R>(&self.v));
        let inputs = Inputs { q: &q, k: &k, v: &v };
        let dout = convert::<_, R>(&self.dout());
        let poisoned = |n: usize| vec![R::NAN; n];
        let (mut out, mut lse) = (poisoned(dout.len()), poisoned(q.len() / SIZES.key_dim));
        SIZES.forward(&mut out, &mut lse, inputs, self.mask()).unwrap();
        let (mut dq, mut dk, mut dv) = (poisoned(q.len()), poisoned(k.len()), poisoned(v.len()));
        let saved = Saved { out: &out, lse: &lse, dout: &dout };
        let gradients = Gradients { dq: &mut dq, dk: &mut dk, dv: &mut dv };
        SIZES.backward(gradients, inputs, saved, self.mask()).unwrap();
        Results { out, dq, dk, dv }
    }

    fn naive(&self, inputs: Inputs<'_, f64>) -> Vec<f64> {
        naive::forward(&SIZES, inputs, self.mask()).unwrap()
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
    for case in cases() {
        let expected = case.naive(case.inputs());
        assert_close("f64", &case.run::<f64>().out, &expected, 1e-12);
        assert_close("f32", &case.run::<f32>().out, &expected, 2e-6);
    }
}

#[test]
fn f32_gradients_follow_f64() {
    for case in cases() {
        let (wide, narrow) = (case.run::<f64>(), case.run::<f32>());
        assert_close("dq", &narrow.dq, &wide.dq, 4e-6);
        assert_close("dk", &narrow.dk, &wide.dk, 4e-6);
        assert_close("dv", &narrow.dv, &wide.dv, 2e-6);
    }
}

/// dq, dk and dv of naive attention by its definition, in `f64`.
fn naive_gradients(case: &Case) -> Results<f64> {
    let SoftmaxAttention { heads, key_dim, value_dim, scale } = SIZES;
    let (out, dout) = (case.naive(case.inputs()), case.dout());
    let (mut dq, mut dk, mut dv) =
        (vec![0.0; case.q.len()], vec![0.0; case.k.len()], vec![0.0; case.v.len()]);
    for pair in SIZES.check(case.inputs(), case.mask()).unwrap() {
        for (i, query) in pair.queries.tokens().enumerate() {
            for h in 0..heads {
                let keys: Vec<usize> = pair.keys.tokens().take(pair.visible(i)).collect();
                let at = |token: usize, width: usize| (token * heads + h) * width;
                let (q0, o0) = (at(query, key_dim), at(query, value_dim));
                let score = |&key: &usize| {
                    scale * dot(&case.q[q0..][..key_dim], &case.k[at(key, key_dim)..][..key_dim])
                };
                let weights: Vec<f64> = keys.iter().map(|key| score(key).exp()).collect();
                let total: f64 = weights.iter().sum();
                for (key, weight) in keys.iter().zip(&weights) {
                    let (p, k0, v0) = (weight / total, at(*key, key_dim), at(*key, value_dim));
                    let dp: f64 = (0..value_dim).map(|c| dout[o0 + c] * (case.v[v0 + c] - out[o0 + c])).sum();
                    for c in 0..key_dim {
                        dq[q0 + c] += scale * p * dp * case.k[k0 + c];
                        dk[k0 + c] += scale * p * dp * case.q[q0 + c];
                    }
                    for c in 0..value_dim {
                        dv[v0 + c] += p * dout[o0 + c];
                    }
                }
            }
        }
    }
    Results { out, dq, dk, dv }
}

#[test]
fn tiled_backward_matches_naive() {
    for case in cases() {
        let (found, expected) = (case.run::<f64>(), naive_gradients(&case));
        assert_close("dq", &found.dq, &expected.dq, 1e-12);
        assert_close("dk", &found.dk, &expected.dk, 1e-12);
        assert_close("dv", &found.dv, &expected.dv, 1e-12);
    }
}

#[test]
fn gradients_match_central_differences() {
    for causal in [true, false] {
        let case = Case::new(
            vec![segment(0, 3, 4), segment(4, 5, 0)],
            vec![segment(1, 6, 0), segment(7, 4, 1)],
            (9, 11),
            causal,
        );
        let (found, dout) = (case.run::<f64>(), case.dout());
        let loss = |inputs: Inputs<'_, f64>| dot(&case.naive(inputs), &dout);
        let inputs = case.inputs();
        let dq = numeric_gradient(&case.q, |q| loss(Inputs { q, ..inputs }));
        let dk = numeric_gradient(&case.k, |k| loss(Inputs { k, ..inputs }));
        let dv = numeric_gradient(&case.v, |v| loss(Inputs { v, ..inputs }));
        assert_close("dq", &found.dq, &dq, 1e-8);
        assert_close("dk", &found.dk, &dk, 1e-8);
        assert_close("dv", &found.dv, &dv, 1e-8);
    }
}

#[test]
fn padding_may_hold_anything() {
    let lengths = [3, 65, 0, 70];
    let mut case = Case::own(right_padded(&lengths, 72).unwrap(), 4 * 72, true);
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
    let case = Case::own(packed(&[0, 150, 153, 300]).unwrap(), 300, true);
    let in_pool = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let results = pool.install(|| case.run::<f32>());
        (results.out, results.dq, results.dk, results.dv)
    };
    assert_eq!(in_pool(1), in_pool(3));
}

#[test]
fn what_does_not_fit_is_named() {
    let case = Case::own(dense(1, 4, 0), 4, true);
    let run = |inputs, mask| SIZES.forward(&mut [0.0; 24], &mut [0.0; 8], inputs, mask).unwrap_err();
    let inputs = case.inputs();
    let error = run(Inputs { v: &case.v[1..], ..inputs }, case.mask());
    assert_eq!(error.to_string(), "v has 23 elements; 4 tokens, 2 heads and width 3 make 24");
    let long = [segment(0, 5, 0)];
    assert!(matches!(run(inputs, Mask::full(&long)), AttentionError::Queries(_)));
    let keys = Mask::Causal { queries: &case.queries, keys: &long };
    assert!(matches!(run(inputs, keys), AttentionError::Keys(_)));
    let none = Mask::Full { queries: &case.queries, keys: &[] };
    assert_eq!(run(inputs, none), AttentionError::Unpaired { queries: 1, keys: 0 });
}
