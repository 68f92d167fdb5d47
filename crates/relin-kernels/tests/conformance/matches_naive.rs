//! Form × encoding × feature map × normaliser × mask × length × packing × state.

use rayon::prelude::*;
use relin_kernels::feature_map::FeatureMap;
use relin_kernels::linear_attention::recurrent::{Memory, Recurrent};
use relin_kernels::linear_attention::{LinearAttention, Normalizer, State, naive};

use crate::cases::*;

fn grid(run: impl Fn(&str, &LinearAttention<f64>, &Layout, &Data<f64>) + Sync) {
    operators().par_iter().for_each(|(name, attention)| {
        for (layout_name, layout) in TIMES.iter().flat_map(|&time| layouts_for(attention, time)) {
            for with_state in [false, true] {
                let what = format!("{name}, {layout_name}, state {with_state}");
                run(&what, attention, &layout, &Data::new(attention, &layout, with_state, 11));
            }
        }
    });
}

#[test]
fn chunked_and_bidirectional() {
    grid(|what, attention, layout, data| {
        let expected = naive::forward(attention, layout.mask(), data.inputs());
        let got = attention.forward(layout.mask(), data.inputs());
        assert_close(&format!("{what}: out"), &got.out, &expected.out, 1e-9);
        assert_close(&format!("{what}: S"), &got.state.s, &expected.state.s, 1e-12);
        assert_close(&format!("{what}: z"), &got.state.z, &expected.state.z, 1e-12);
    });
}

/// Single precision, where the normaliser cannot vanish and so nothing amplifies rounding without bound.
#[test]
fn single_precision() {
    encodings().par_iter().for_each(|(name, config)| {
        for normalizer in [Normalizer::Plain, Normalizer::None] {
            let exact = attention::<f64>(config, FeatureMap::Elu1, normalizer);
            let single = attention::<f32>(config, FeatureMap::Elu1, normalizer);
            for (layout_name, layout) in layouts_for(&exact, 3 * CHUNK + 7) {
                let data = Data::new(&exact, &layout, true, 23).cast::<f32>();
                let expected = naive::forward(&exact, layout.mask(), data.cast::<f64>().inputs());
                let got = single.forward(layout.mask(), data.inputs());
                let what = format!("{name}, {normalizer:?}, {layout_name}");
                assert_close(&what, &got.out, &expected.out, 1e-6);
                assert_close(&what, &got.state.s, &expected.state.s, 1e-6);
            }
        }
    });
}

#[test]
fn recurrent() {
    grid(|what, attention, layout, data| {
        if !layout.causal {
            return;
        }
        let segments = &layout.queries;
        let expected = naive::forward(attention, layout.mask(), data.inputs());
        for (row, segment) in segments.iter().enumerate() {
            let memory = Memory::new(attention, row_of_state(attention, data, row), segment.offset);
            let mut recurrent = Recurrent::new(attention.clone(), &data.params, memory);
            let mut out = vec![f64::NAN; segment.len * HEADS * VALUE_DIM];
            for (i, out) in out.chunks_mut(HEADS * VALUE_DIM).enumerate() {
                let token = segment.start + i;
                let row = |tensor: &'_ [f64], width: usize| tensor[token * width..][..width].to_vec();
                let (q, k) = (row(&data.q, HEADS * KEY_DIM), row(&data.k, HEADS * KEY_DIM));
                recurrent.step(&q, &k, &row(&data.v, HEADS * VALUE_DIM), out);
            }
            let tokens = segment.start * HEADS * VALUE_DIM..(segment.start + segment.len) * HEADS * VALUE_DIM;
            assert_close(&format!("{what}: out"), &out, &expected.out[tokens], 1e-9);
            let state = recurrent.state();
            let expected = row_of(attention, &expected.state, row);
            assert_close(&format!("{what}: S"), &state.s, &expected.s, 1e-12);
            assert_close(&format!("{what}: z"), &state.z, &expected.z, 1e-12);
        }
    });
}

fn row_of_state(attention: &LinearAttention<f64>, data: &Data<f64>, row: usize) -> State<f64> {
    data.initial.as_ref().map_or_else(|| attention.zero_state(1), |initial| row_of(attention, initial, row))
}

fn row_of(attention: &LinearAttention<f64>, state: &State<f64>, row: usize) -> State<f64> {
    let one = attention.zero_state(1);
    State {
        s: state.s[row * one.s.len()..][..one.s.len()].to_vec(),
        z: state.z[row * one.z.len()..][..one.z.len()].to_vec(),
    }
}
