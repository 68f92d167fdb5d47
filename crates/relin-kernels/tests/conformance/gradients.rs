//! Every gradient against central differences in double precision.

use rayon::prelude::*;
use relin_kernels::encoding::Side;
use relin_kernels::feature_map::FeatureMap;
use relin_kernels::linear_attention::{LinearAttention, State};

use crate::cases::*;

/// `⟨weights, (out, S, z)⟩`, the scalar that is differentiated.
struct Probe {
    out: Vec<f64>,
    state: State<f64>,
}

impl Probe {
    fn new(attention: &LinearAttention<f64>, layout: &Layout) -> Self {
        let zero = attention.zero_state(layout.queries.len());
        let state = State { s: normals(71, zero.s.len()), z: normals(72, zero.z.len()) };
        Self { out: normals(70, layout.query_tokens * HEADS * VALUE_DIM), state }
    }

    fn value(&self, attention: &LinearAttention<f64>, layout: &Layout, data: &Data<f64>) -> f64 {
        let output = attention.forward(layout.mask(), data.inputs());
        dot(&self.out, &output.out)
            + dot(&self.state.s, &output.state.s)
            + dot(&self.state.z, &output.state.z)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The directional derivative along a random direction, by central differences and by the gradient.
fn check(what: &str, gradient: &[f64], direction: &[f64], step: f64, value_at: impl Fn(&[f64]) -> f64) {
    let at = |by: f64| value_at(&direction.iter().map(|d| by * d).collect::<Vec<_>>());
    // Four-point stencil: truncation O(step⁴).
    let numeric = (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step);
    let analytic = dot(gradient, direction);
    let scale = gradient.iter().zip(direction).map(|(g, d)| (g * d).abs()).sum::<f64>() + 1e-3;
    assert!(
        (numeric - analytic).abs() <= 2e-7 * scale,
        "{what}: {analytic} against {numeric}, scale {scale}"
    );
}

fn moved(x: &[f64], by: &[f64]) -> Vec<f64> {
    x.iter().zip(by).map(|(x, by)| x + by).collect()
}

fn check_all(what: &str, attention: &LinearAttention<f64>, layout: &Layout, mut data: Data<f64>) {
    // `exp` holds the row's maximum constant: keep it on a feature that no direction moves.
    let held = attention.feature_map == FeatureMap::Exp;
    if held {
        data.q.iter_mut().step_by(KEY_DIM).for_each(|x| *x = 4.0);
        data.k.iter_mut().step_by(KEY_DIM).for_each(|x| *x = 4.0);
    }
    let probe = Probe::new(attention, layout);
    let out = attention.forward(layout.mask(), data.inputs()).out;
    let gradients = attention.backward(layout.mask(), data.inputs(), &out, &probe.out, Some(&probe.state));
    let value = |data: &Data<f64>| probe.value(attention, layout, data);
    let raw_direction = |seed: u64, len: usize| {
        let mut direction = normals::<f64>(seed, len);
        if held {
            direction.iter_mut().step_by(KEY_DIM).for_each(|d| *d = 0.0);
        }
        direction
    };
    let step = 1e-5;
    check(&format!("{what}: dq"), &gradients.q, &raw_direction(81, data.q.len()), step, |by| {
        value(&Data { q: moved(&data.q, by), ..data.clone() })
    });
    check(&format!("{what}: dk"), &gradients.k, &raw_direction(82, data.k.len()), step, |by| {
        value(&Data { k: moved(&data.k, by), ..data.clone() })
    });
    check(&format!("{what}: dv"), &gradients.v, &normals::<f64>(83, data.v.len()), step, |by| {
        value(&Data { v: moved(&data.v, by), ..data.clone() })
    });
    // Angles are multiplied by positions of a thousand, so their step is a thousandth.
    check(
        &format!("{what}: dparams"),
        &gradients.params,
        &normals::<f64>(84, data.params.len()),
        1e-7,
        |by| value(&Data { params: moved(&data.params, by), ..data.clone() }),
    );
    if let Some(initial) = data.initial.clone() {
        check(
            &format!("{what}: dS0"),
            &gradients.initial.s,
            &normals::<f64>(85, initial.s.len()),
            step,
            |by| {
                let initial = Some(State { s: moved(&initial.s, by), z: initial.z.clone() });
                value(&Data { initial, ..data.clone() })
            },
        );
        check(
            &format!("{what}: dz0"),
            &gradients.initial.z,
            &normals::<f64>(86, initial.z.len()),
            step,
            |by| {
                let initial = Some(State { s: initial.s.clone(), z: moved(&initial.z, by) });
                value(&Data { initial, ..data.clone() })
            },
        );
    }
}

#[test]
fn attention_over_the_grid() {
    encodings().par_iter().for_each(|(name, config)| {
        for normalizer in NORMALIZERS {
            for feature_map in FeatureMap::ALL {
                // A clamp at 0.3 is crossed as often as one at 1e-6, but its quotients stay small enough to difference.
                let attention = LinearAttention { eps: 0.3, ..attention(config, feature_map, normalizer) };
                for time in [2, CHUNK + 1, 3 * CHUNK + 7] {
                    for (layout_name, layout) in layouts(time) {
                        let data = Data::new(&attention, &layout, true, 37);
                        let what = format!("{name}, {feature_map:?}, {normalizer:?}, {layout_name}");
                        check_all(&what, &attention, &layout, data);
                    }
                }
            }
        }
    });
}

#[test]
fn encodings_alone() {
    for (name, config) in encodings() {
        let encoding = build::<f64>(&config);
        let (rows, position) = (7, 40);
        let params = params(&*encoding);
        for side in [Side::Query, Side::Key] {
            for head in 0..HEADS {
                let x: Vec<f64> = normals(1, rows * KEY_DIM);
                let weights: Vec<f64> = normals(2, rows * encoding.encoded_dim());
                let value = |params: &[f64], x: &[f64]| {
                    let mut out = vec![f64::NAN; weights.len()];
                    encoding.bind(params).encode(side, head, position, x, &mut out);
                    dot(&weights, &out)
                };
                let mut d_x = vec![f64::NAN; x.len()];
                let mut d_params = vec![0.0; params.len()];
                let encoder = encoding.bind(&params);
                let mut encoded = vec![f64::NAN; weights.len()];
                encoder.encode(side, head, position, &x, &mut encoded);
                encoder.vjp(side, head, position, &x, &encoded, &weights, &mut d_x, &mut d_params);
                let what = format!("{name}, head {head}");
                check(&what, &d_x, &normals::<f64>(3, x.len()), 1e-4, |by| value(&params, &moved(&x, by)));
                for i in 0..params.len() {
                    let mut direction = vec![0.0; params.len()];
                    direction[i] = 1.0;
                    check(&format!("{what}, parameter {i}"), &d_params, &direction, 1e-5, |by| {
                        value(&moved(&params, by), &x)
                    });
                }
            }
        }
    }
}

/// A token that no segment holds gets no gradient, whatever its content.
#[test]
fn padding_gets_no_gradient() {
    let cases =
        encodings().into_iter().flat_map(|case| NORMALIZERS.map(|normalizer| (case.clone(), normalizer)));
    for ((name, config), normalizer) in cases {
        let attention = attention::<f64>(&config, FeatureMap::Elu1, normalizer);
        let (_, layout) = layouts(5).swap_remove(1);
        let mut data = Data::new(&attention, &layout, false, 3);
        let valid: Vec<bool> = (0..layout.query_tokens)
            .map(|t| layout.queries.iter().any(|s| s.tokens().contains(&t)))
            .collect();
        for (t, _) in valid.iter().enumerate().filter(|(_, valid)| !**valid) {
            data.q[t * HEADS * KEY_DIM..][..HEADS * KEY_DIM].fill(f64::NAN);
            data.k[t * HEADS * KEY_DIM..][..HEADS * KEY_DIM].fill(f64::NAN);
            data.v[t * HEADS * VALUE_DIM..][..HEADS * VALUE_DIM].fill(f64::NAN);
        }
        let out = attention.forward(layout.mask(), data.inputs()).out;
        let weights = normals(5, out.len());
        let gradients = attention.backward(layout.mask(), data.inputs(), &out, &weights, None);
        for (gradient, width) in [(&gradients.q, KEY_DIM), (&gradients.k, KEY_DIM), (&gradients.v, VALUE_DIM)]
        {
            for (t, row) in gradient.chunks(HEADS * width).enumerate() {
                assert!(
                    row.iter().all(|x| x.is_finite() && (valid[t] || *x == 0.0)),
                    "{name}, {normalizer:?}, token {t}"
                );
            }
        }
    }
}
