//! What must not change a result: where positions start, padding, packing, where a sequence is split.

use std::sync::Arc;

use rayon::prelude::*;
use relin_kernels::encoding::{DecayConfig, Encoding, EncodingConfig, Place, Stage};
use relin_kernels::fast_math::FastMath;
use relin_kernels::feature_map::FeatureMap;
use relin_kernels::linear_attention::{Inputs, LinearAttention, Normalizer, State, naive};
use relin_kernels::segments::{Mask, Segment, dense};

use crate::cases::*;

fn each(run: impl Fn(&str, LinearAttention<f64>)) {
    for (name, config) in encodings() {
        for normalizer in NORMALIZERS {
            run(&format!("{name}, {normalizer:?}"), attention(&config, FeatureMap::Elu1, normalizer));
        }
    }
}

#[test]
fn shifting_all_positions_changes_nothing() {
    each(|what, attention| {
        // Before φ, the inner products are functions of the lag (of noise, in the mean), those of features are not.
        if attention.stage == Stage::BeforeFeatureMap {
            return;
        }
        let (_, layout) = layouts(11).swap_remove(0);
        let data = Data::new(&attention, &layout, false, 5);
        let run = |offset| attention.forward(Mask::causal(&dense(2, 11, offset)), data.inputs()).out;
        assert_close(what, &run(1_000_000), &run(0), 1e-9);
    });
}

#[test]
fn packed_is_batched_is_single_to_the_bit() {
    let (lengths, heads_k, heads_v) = ([5usize, 1, 70, 9], HEADS * KEY_DIM, HEADS * VALUE_DIM);
    each(|what, attention| {
        let tokens = lengths.iter().sum::<usize>();
        let (q, k, v): (Vec<f64>, Vec<f64>, Vec<f64>) =
            (normals(1, tokens * heads_k), normals(2, tokens * heads_k), normals(3, tokens * heads_v));
        let params = params(&*attention.encoding);
        let inputs = Inputs { q: &q, k: &k, v: &v, params: &params, initial: None };
        let mut packed = Vec::new();
        let mut start = 0;
        for len in lengths {
            packed.push(Segment { start, len, offset: 0 });
            start += len;
        }
        let together = attention.forward(Mask::causal(&packed), inputs);
        let d_out: Vec<f64> = normals(4, tokens * heads_v);
        let d_together = attention.backward(Mask::causal(&packed), inputs, &together.out, &d_out, None);
        let mut d_params = vec![0.0; params.len()];
        for (row, segment) in packed.iter().enumerate() {
            let rows =
                |x: &'_ [f64], width: usize| x[segment.start * width..][..segment.len * width].to_vec();
            let (q, k, v) = (rows(&q, heads_k), rows(&k, heads_k), rows(&v, heads_v));
            let single = Inputs { q: &q, k: &k, v: &v, params: &params, initial: None };
            let alone = attention.forward(Mask::causal(&dense(1, segment.len, 0)), single);
            assert_eq!(rows(&together.out, heads_v), alone.out, "{what}");
            let size = alone.state.s.len();
            assert_eq!(&together.state.s[row * size..][..size], alone.state.s, "{what}");
            let (mask, d_out) = (dense(1, segment.len, 0), rows(&d_out, heads_v));
            let d = attention.backward(Mask::causal(&mask), single, &alone.out, &d_out, None);
            assert_close(&format!("{what}: gradient of q"), &d.q, &rows(&d_together.q, heads_k), 1e-9);
            assert_close(&format!("{what}: gradient of k"), &d.k, &rows(&d_together.k, heads_k), 1e-9);
            assert_close(&format!("{what}: gradient of v"), &d.v, &rows(&d_together.v, heads_v), 1e-9);
            d_params.iter_mut().zip(&d.params).for_each(|(sum, d)| *sum += d);
        }
        assert_close(&format!("{what}: gradient of the parameters"), &d_together.params, &d_params, 1e-9);
    });
}

#[test]
fn split_anywhere_is_whole() {
    let time = 13;
    each(|what, attention| {
        let (_, layout) = layouts(time).swap_remove(0);
        let data = Data::new(&attention, &layout, true, 5);
        let whole = attention.forward(Mask::causal(&dense(2, time, 7)), data.inputs());
        for cut in 0..=time {
            let part = |from: usize, len: usize| -> Vec<Segment> {
                let segment = |row| Segment { start: row * time + from, len, offset: 7 + from as i64 };
                (0..2).map(segment).collect()
            };
            let first = attention.forward(Mask::causal(&part(0, cut)), data.inputs());
            let resumed = Inputs { initial: Some(&first.state), ..data.inputs() };
            let second = attention.forward(Mask::causal(&part(cut, time - cut)), resumed);
            let out: Vec<f64> = first.out.iter().zip(&second.out).map(|(a, b)| a + b).collect();
            assert_close(&format!("{what}, cut at {cut}"), &out, &whole.out, 1e-9);
            assert_close(&format!("{what}, cut at {cut}: S"), &second.state.s, &whole.state.s, 1e-12);
        }
    });
}

#[test]
fn the_chunk_length_changes_nothing() {
    each(|what, attention| {
        let (_, layout) = layouts(21).swap_remove(0);
        let data = Data::new(&attention, &layout, true, 5);
        let expected = attention.forward(layout.mask(), data.inputs());
        for chunk in [1, 2, 7, 21, 64] {
            let attention = LinearAttention { chunk, ..attention.clone() };
            let got = attention.forward(layout.mask(), data.inputs());
            assert_close(&format!("{what}, C={chunk}"), &got.out, &expected.out, 1e-9);
        }
    });
}

/// Sequences cut into pieces for the threads: each piece begins with the state that the ones before it leave.
#[test]
fn the_number_of_threads_changes_nothing_but_rounding() {
    let (heads, time) = (1, 8 * 4 * CHUNK + 3);
    let pools = [1, 7].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    let in_threads = |what: &str, attention: &LinearAttention<f64>, sequences: usize| {
        let what = format!("{what}, {sequences} sequences");
        let tokens = sequences * time;
        let zero = attention.zero_state(sequences);
        let positive = |seed, len| normals::<f64>(seed, len).into_iter().map(f64::abs).collect::<Vec<_>>();
        let state = State { s: normals(4, zero.s.len()), z: positive(5, zero.z.len()) };
        let (q, k, v) =
            (normals(1, tokens * KEY_DIM), normals(2, tokens * KEY_DIM), normals(3, tokens * VALUE_DIM));
        let params = params(&*attention.encoding);
        let inputs = Inputs { q: &q, k: &k, v: &v, params: &params, initial: Some(&state) };
        let (segments, d_out) = (dense(sequences, time, 5), normals::<f64>(6, tokens * VALUE_DIM));
        for mask in [Mask::causal(&segments), Mask::full(&segments)] {
            let run = || {
                let output = attention.forward(mask, inputs);
                let gradients = attention.backward(mask, inputs, &output.out, &d_out, Some(&state));
                (output, gradients)
            };
            let [(one, d_one), (many, d_many)] = [0, 1].map(|at: usize| pools[at].install(run));
            assert_close(&format!("{what}: out"), &many.out, &one.out, 1e-9);
            assert_close(&format!("{what}: S"), &many.state.s, &one.state.s, 1e-12);
            assert_close(&format!("{what}: dq"), &d_many.q, &d_one.q, 1e-8);
            assert_close(&format!("{what}: dk"), &d_many.k, &d_one.k, 1e-8);
            assert_close(&format!("{what}: dv"), &d_many.v, &d_one.v, 1e-8);
            assert_close(&format!("{what}: dS"), &d_many.initial.s, &d_one.initial.s, 1e-8);
            assert_close(&format!("{what}: dz"), &d_many.initial.z, &d_one.initial.z, 1e-8);
            assert_close(&format!("{what}: dparams"), &d_many.params, &d_one.params, 1e-8);
        }
    };
    each(|what, attention| {
        let config =
            encodings().into_iter().find(|(name, _)| what.starts_with(&format!("{name}, "))).unwrap().1;
        let encoding = config.build(Place { key_dim: KEY_DIM, heads, layer: 1 }).unwrap();
        let attention = LinearAttention { heads, encoding, ..attention };
        [1, 3].iter().for_each(|&sequences| in_threads(what, &attention, sequences));
    });
}

/// From no decay to forgetting at once, at lengths where `λ^{−t}` would overflow a thousand times.
#[test]
fn any_decay_is_exact() {
    for lambda in [1.0, 0.999, 0.5, 1e-3, 1e-9] {
        let lambdas = Some(vec![lambda, 0.9]);
        let config = EncodingConfig::Decay(DecayConfig { lambdas, ..DecayConfig::default() });
        for normalizer in NORMALIZERS {
            let exact =
                LinearAttention { chunk: 64, ..attention::<f64>(&config, FeatureMap::Elu1, normalizer) };
            let single =
                LinearAttention { chunk: 64, ..attention::<f32>(&config, FeatureMap::Elu1, normalizer) };
            for (name, layout) in layouts_for(&exact, 300) {
                let what = format!("λ = {lambda}, {normalizer:?}, {name}");
                let data = Data::new(&exact, &layout, true, 3).cast::<f32>();
                let expected = naive::forward(&exact, layout.mask(), data.cast::<f64>().inputs());
                let got = single.forward(layout.mask(), data.inputs());
                assert_close(&what, &got.out, &expected.out, 1e-6);
                assert_close(&format!("{what}: S"), &got.state.s, &expected.state.s, 1e-6);
            }
        }
    }
}

/// Single against double precision at the end of a long sequence, inputs being the same numbers. Scores that change sign
/// cancel in the numerator, whose terms are no larger than those of the denominator: that costs them nothing here, since
/// the plain denominator keeps its sign and each sum is rounded in proportion to its own size.
#[test]
fn a_long_sequence_in_single_precision() {
    const LONG: usize = 131_072;
    const WIDTH: usize = 12;
    let place = Place { key_dim: WIDTH, heads: 1, layer: 0 };
    let normals = |seed| normals::<f32>(seed, LONG * WIDTH);
    let (q, k, v) = (normals(1), normals(2), normals(3));
    let (wide_q, wide_k, wide_v) = (cast::<_, f64>(&q), cast::<_, f64>(&k), cast::<_, f64>(&v));
    let segments = dense(1, LONG, 0);
    encodings().into_par_iter().for_each(|(name, config)| {
        let single = with_plain_denominator(config.build::<f32>(place).unwrap());
        let exact = with_plain_denominator(config.build::<f64>(place).unwrap());
        let params = params::<f32>(&*single.encoding);
        let inputs = Inputs { q: &q, k: &k, v: &v, params: &params, initial: None };
        let got = single.forward(Mask::causal(&segments), inputs).out;
        let params = cast(&params);
        let inputs = Inputs { q: &wide_q, k: &wide_k, v: &wide_v, params: &params, initial: None };
        let expected = exact.forward(Mask::causal(&segments), inputs).out;
        let last = (LONG - 4096) * WIDTH;
        assert_close(&name, &got[last..], &expected[last..], 1e-5);
    });
}

fn with_plain_denominator<R: FastMath>(encoding: Arc<dyn Encoding<R>>) -> LinearAttention<R> {
    let (stage, key_dim) = (encoding.stage(), encoding.key_dim());
    LinearAttention {
        feature_map: FeatureMap::Elu1.bind(stage.mapped_dim(key_dim, &*encoding)),
        encoding,
        stage,
        normalizer: Normalizer::Plain,
        eps: 1e-6,
        heads: 1,
        value_dim: key_dim,
        chunk: 64,
    }
}

/// Long sums of positive numbers in single precision: the state is summed once a chunk, so the error does not grow
/// with the number of tokens as it would with one addition a token.
#[test]
fn long_sums_stay_accurate_in_single_precision() {
    let time = 20_000;
    let config = relin_kernels::encoding::EncodingConfig::None;
    let single =
        LinearAttention { chunk: 64, ..attention::<f32>(&config, FeatureMap::Elu1, Normalizer::Plain) };
    let exact =
        LinearAttention { chunk: 64, ..attention::<f64>(&config, FeatureMap::Elu1, Normalizer::Plain) };
    let (q, k): (Vec<f32>, Vec<f32>) =
        (normals(1, time * HEADS * KEY_DIM), normals(2, time * HEADS * KEY_DIM));
    let v: Vec<f32> = normals::<f32>(3, time * HEADS * VALUE_DIM).iter().map(|x| x + 1.0).collect();
    let segments = dense(1, time, 0);
    let got =
        single.forward(Mask::causal(&segments), Inputs { q: &q, k: &k, v: &v, params: &[], initial: None });
    let (q, k, v) = (cast::<_, f64>(&q), cast::<_, f64>(&k), cast::<_, f64>(&v));
    let inputs = Inputs { q: &q, k: &k, v: &v, params: &[], initial: None };
    let expected = exact.forward(Mask::causal(&segments), inputs);
    assert_close("out", &got.out, &expected.out, 1e-6);
}
