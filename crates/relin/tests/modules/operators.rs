//! Every operator but linear attention: its values and gradients are the kernel's, computed here in f64.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Tensor};
use relin::ops::{self, FeedForwardParameters, IGNORE, LinearParameters, NormParameters, OwnedMask, to_vec};
use relin_kernels::activation::Activation;
use relin_kernels::cross_entropy::{CrossEntropy, Head};
use relin_kernels::dropout::Dropout;
use relin_kernels::embedding::scatter_add;
use relin_kernels::encoding::bias::BiasConfig;
use relin_kernels::encoding::{PRESETS, Place, Side};
use relin_kernels::fast_math::FastMath;
use relin_kernels::norm::{Norm, NormKind, RowStatistics};
use relin_kernels::rng::Rng;
use relin_kernels::segments::Segment;
use relin_kernels::softmax_attention::{Gradients, Inputs, Saved, SoftmaxAttention};
use relin_kernels::windows::{Axis, Windows};

use crate::support::{ROUNDING, assert_close, bits, gradient, leaf, normals, plain, pull_back, tokens, wide};

fn layer(weight: &Tensor<2>, bias: &Tensor<1>) -> LinearParameters {
    LinearParameters { weight: weight.clone(), bias: Some(bias.clone()) }
}

fn layer_norm(scale: &Tensor<1>, bias: Option<&Tensor<1>>) -> NormParameters {
    NormParameters { kind: NormKind::Layer, eps: 1e-5, scale: scale.clone(), bias: bias.cloned() }
}

/// `norm(x) W + b + residual`, against burn's own operators.
#[test]
fn linears() {
    let [x, scale, shift, weight, bias, residual] =
        [(1, 60), (2, 5), (3, 5), (4, 20), (5, 4), (6, 48)].map(|(stream, n)| normals(stream, n));
    let tensors = || {
        let x = leaf(&x, [3, 4, 5]);
        (
            x,
            leaf(&scale, [5]),
            leaf(&shift, [5]),
            leaf(&weight, [5, 4]),
            leaf(&bias, [4]),
            leaf(&residual, [3, 4, 4]),
        )
    };
    let dy = normals(7, 48);
    let (x1, scale1, shift1, weight1, bias1, residual1) = tensors();
    let norm = layer_norm(&scale1, Some(&shift1));
    let found = ops::linear(x1.clone(), Some(norm), layer(&weight1, &bias1), Some(residual1.clone()));
    assert_eq!(found.dims(), [3, 4, 4]);
    let (x2, scale2, shift2, weight2, bias2, residual2) = tensors();
    let normed = ops::norm(x2.clone(), layer_norm(&scale2, Some(&shift2)));
    let expected = normed.matmul(weight2.clone().unsqueeze()) + bias2.clone().unsqueeze() + residual2.clone();
    assert_close("out", &to_vec(found.clone().inner()), &wide(&to_vec(expected.clone().inner())), ROUNDING);
    let (found, expected) = (pull_back(found, &dy), pull_back(expected, &dy));
    assert_close("dx", &gradient(&x1, &found), &wide(&gradient(&x2, &expected)), ROUNDING);
    assert_close("residual", &gradient(&residual1, &found), &wide(&dy), ROUNDING);
    assert_close("weight", &gradient(&weight1, &found), &wide(&gradient(&weight2, &expected)), ROUNDING);
    for (found1, expected2) in [(&scale1, &scale2), (&shift1, &shift2), (&bias1, &bias2)] {
        assert_close("vector", &gradient(found1, &found), &wide(&gradient(expected2, &expected)), ROUNDING);
    }
    assert_close("residual", &gradient(&residual2, &expected), &wide(&dy), ROUNDING);
}

/// Plain and gated, against burn's own products and the kernel's activation.
#[test]
fn feed_forwards() {
    for gated in [false, true] {
        let sizes = [(1, 60), (2, 5), (3, 35), (4, 7), (5, 35), (6, 7), (7, 35), (8, 5)];
        let [x, scale, gate, gate_bias, up, up_bias, down, down_bias] =
            sizes.map(|(stream, n)| normals(stream, n));
        let x1 = leaf(&x, [3, 4, 5]);
        let [gate1, up1] = [&gate, &up].map(|weight| leaf(weight, [5, 7]));
        let [gate_bias1, up_bias1] = [&gate_bias, &up_bias].map(|bias| leaf(bias, [7]));
        let (scale1, down1, down_bias1) = (leaf(&scale, [5]), leaf(&down, [7, 5]), leaf(&down_bias, [5]));
        let layers = FeedForwardParameters {
            gate: gated.then(|| layer(&gate1, &gate_bias1)),
            up: layer(&up1, &up_bias1),
            down: layer(&down1, &down_bias1),
        };
        let norm = layer_norm(&scale1, None);
        let found = ops::feed_forward(Activation::Relu, true, x1.clone(), Some(norm), layers);

        let dy = normals(9, 60);
        let normed = ops::norm(x1.clone(), layer_norm(&scale1, None));
        let product = |x: &Tensor<3>, weight: &Tensor<2>, bias: &Tensor<1>| {
            x.clone().matmul(weight.clone().unsqueeze()) + bias.clone().unsqueeze()
        };
        let (inner, activated) = (product(&normed, &up1, &up_bias1), product(&normed, &gate1, &gate_bias1));
        let hidden = if gated { activated.clamp_min(0.0) * inner } else { inner.clamp_min(0.0) };
        let expected = product(&hidden, &down1, &down_bias1) + x1.clone();
        assert_close(
            "out",
            &to_vec(found.clone().inner()),
            &wide(&to_vec(expected.clone().inner())),
            ROUNDING,
        );
        let (found, expected) = (pull_back(found, &dy), pull_back(expected, &dy));
        let same = |name: &str, found: Vec<f32>, expected: Vec<f32>| {
            assert_close(name, &found, &wide(&expected), ROUNDING);
        };
        same("dx", gradient(&x1, &found), gradient(&x1, &expected));
        for vector in [&scale1, &up_bias1, &down_bias1] {
            same("vector", gradient(vector, &found), gradient(vector, &expected));
        }
        for matrix in [&up1, &down1] {
            same("matrix", gradient(matrix, &found), gradient(matrix, &expected));
        }
        if gated {
            same("gate", gradient(&gate1, &found), gradient(&gate1, &expected));
            same("gate bias", gradient(&gate_bias1, &found), gradient(&gate_bias1, &expected));
        }
    }
}

/// The mask of the backward pass is that of the forward pass, to the bit.
#[test]
fn dropouts() {
    let (x, dy) = (normals(1, 60), normals(2, 60));
    let dropout = Dropout::new(0.3, Rng::new(4, 5)).unwrap();
    let (mut out, mut dx) = (vec![f32::NAN; 60], vec![f32::NAN; 60]);
    dropout.apply(&mut out, &x);
    dropout.apply(&mut dx, &dy);
    let input = leaf(&x, [12, 5]);
    let found = ops::dropout(dropout, input.clone());
    assert_eq!(to_vec(found.clone().inner()), out);
    assert_eq!(gradient(&input, &pull_back(found, &dy)), dx);
}

#[test]
fn embeddings() {
    let (table, ids, dy) = (normals(1, 7 * 4), tokens(2, 6, 5), normals(3, 6 * 4));
    let expected: Vec<f32> = ids.iter().flat_map(|&id| table[id as usize * 4..][..4].to_vec()).collect();
    let mut d_table = vec![f32::NAN; 7 * 4];
    scatter_add(&mut d_table, &dy, &ids, 4).unwrap();
    let input = leaf(&table, [7, 4]);
    let found = ops::embedding(input.clone(), ids, [2, 3]);
    assert_eq!(found.dims(), [2, 3, 4]);
    assert_eq!(to_vec(found.clone().inner()), expected);
    assert_eq!(gradient(&input, &pull_back(found, &dy)), d_table);
}

#[test]
fn norms() {
    let (rows, width, eps) = (6, 5, 1e-5);
    let (x, dy) = (normals(1, rows * width), normals(2, rows * width));
    let (scale, bias) = (normals(3, width), normals(4, width));
    for (kind, has_bias) in [(NormKind::Layer, true), (NormKind::Layer, false), (NormKind::Rms, false)] {
        let (wide_scale, wide_bias) = (wide(&scale), wide(&bias));
        let bias_of = has_bias.then_some(&*wide_bias);
        let norm = Norm { kind, width, eps, scale: Some(&*wide_scale), bias: bias_of };
        let (mut out, mut dx) = (vec![f64::NAN; x.len()], vec![f64::NAN; x.len()]);
        let mut statistics = vec![RowStatistics::default(); rows];
        norm.forward(&mut out, &mut statistics, &wide(&x));
        let parameters = norm.backward(&mut dx, &wide(&dy), &wide(&x), &statistics);

        let (input, scale, bias) = (leaf(&x, [2, 3, width]), leaf(&scale, [width]), leaf(&bias, [width]));
        let found = ops::norm(
            input.clone(),
            NormParameters { kind, eps, scale: scale.clone(), bias: has_bias.then(|| bias.clone()) },
        );
        assert_close("out", &to_vec(found.clone().inner()), &out, ROUNDING);
        let gradients = pull_back(found, &dy);
        assert_close("dx", &gradient(&input, &gradients), &dx, ROUNDING);
        assert_close("dscale", &gradient(&scale, &gradients), &parameters.scale.unwrap(), ROUNDING);
        match parameters.bias {
            Some(expected) => assert_close("dbias", &gradient(&bias, &gradients), &expected, ROUNDING),
            None => assert!(bias.grad(&gradients).is_none(), "a bias that was not given has no gradient"),
        }
    }
}

/// `∂/∂θ` carries the factor t, so the position is kept small enough for f32 inputs to say something.
#[test]
fn encodings() {
    let [batch, time, heads, k] = [2, 9, 2, 8];
    let (rows, offset) = (batch * time * heads, 3);
    let x = normals(1, rows * k);
    for preset in PRESETS {
        let place = Place { key_dim: k, heads, layer: 1 };
        let encoding = preset.config().build::<f32>(place).unwrap();
        let truth = preset.config().build::<f64>(place).unwrap();
        let params: Vec<f32> =
            encoding.parameters().iter().flat_map(|p| &p.init).map(|&v| v as f32).collect();
        let encoded = encoding.encoded_dim();
        let dy = normals(2, rows * encoded);
        let (mut out, mut dx) = (vec![f64::NAN; rows * encoded], vec![f64::NAN; rows * k]);
        let mut d_params = vec![0.0; params.len()];
        let encoder = truth.bind(&wide(&params));
        for row in 0..rows {
            let (position, head) = (offset + (row / heads % time) as i64, row % heads);
            let x = wide(&x[row * k..][..k]);
            let dy = wide(&dy[row * encoded..][..encoded]);
            let out = &mut out[row * encoded..][..encoded];
            encoder.encode(Side::Key, head, position, &x, out);
            encoder.vjp(Side::Key, head, position, &x, out, &dy, &mut dx[row * k..][..k], &mut d_params);
        }

        let (input, parameters) = (leaf(&x, [batch, time, heads, k]), leaf(&params, [params.len()]));
        let found = ops::encode(&encoding, Side::Key, offset, input.clone(), parameters.clone());
        assert_eq!(found.dims(), [batch, time, heads, encoded]);
        assert_close(preset.name, &to_vec(found.clone().inner()), &out, ROUNDING);
        let gradients = pull_back(found, &dy);
        assert_close(preset.name, &gradient(&input, &gradients), &dx, ROUNDING);
        if !params.is_empty() {
            assert_close(preset.name, &gradient(&parameters, &gradients), &d_params, ROUNDING);
        }
    }
}

fn softmax_kernel<R: FastMath>(bias: Option<&str>) -> SoftmaxAttention<R> {
    let plain = SoftmaxAttention::new(2, 3, 4, 0.6);
    let Some(name) = bias else { return plain };
    let place = Place { key_dim: 3, heads: 2, layer: 0 };
    plain.with_bias(BiasConfig::named(name).unwrap().build(place).unwrap())
}

#[test]
fn softmax_attentions() {
    let [batch, queries, keys, heads, k, v] = [2, 5, 7, 2, 3, 4];
    let dense = |time| (0..batch).map(|b| Segment { start: b * time, len: time, offset: 0 }).collect();
    let causal = || (OwnedMask::Causal(dense(keys)), keys);
    let full = || (OwnedMask::Full { queries: dense(queries), keys: dense(keys) }, queries);
    // Parameters: none, none, 32 buckets of two heads, 33 vectors.
    for (bias, learned) in [(None, 0), (Some("alibi"), 0), (Some("t5"), 64), (Some("shaw"), 99)] {
        for (mask, queries) in [causal(), full()] {
            let (rows, key_rows) = (batch * queries * heads, batch * keys * heads);
            let [q, key, value] = [normals(1, rows * k), normals(2, key_rows * k), normals(3, key_rows * v)];
            let (dy, params) = (normals(4, rows * v), normals(5, learned));
            let [wide_q, wide_k, wide_v, wide_params] = [&q, &key, &value, &params].map(|x| wide(x));
            let inputs = Inputs { q: &wide_q, k: &wide_k, v: &wide_v, params: &wide_params };
            let kernel = softmax_kernel::<f64>(bias);
            let (mut out, mut lse) = (vec![f64::NAN; rows * v], vec![f64::NAN; rows]);
            kernel.forward(&mut out, &mut lse, inputs, mask.as_mask()).unwrap();
            let [mut dq, mut dk, mut dv, mut d_params] =
                [&q, &key, &value, &params].map(|x| vec![f64::NAN; x.len()]);
            let gradients = Gradients { dq: &mut dq, dk: &mut dk, dv: &mut dv, d_params: &mut d_params };
            let saved = Saved { out: &out, lse: &lse, dout: &wide(&dy) };
            kernel.backward(gradients, inputs, saved, mask.as_mask()).unwrap();

            let q = leaf(&q, [batch, queries, heads, k]);
            let (key, value) = (leaf(&key, [batch, keys, heads, k]), leaf(&value, [batch, keys, heads, v]));
            let params = leaf(&params, [learned]);
            let qkv = [q.clone(), key.clone(), value.clone()];
            let found = ops::softmax_attention(softmax_kernel(bias), mask, qkv, params.clone());
            assert_eq!(found.dims(), [batch, queries, heads, v]);
            assert_close("out", &to_vec(found.clone().inner()), &out, ROUNDING);
            let gradients = pull_back(found, &dy);
            assert_close("dq", &gradient(&q, &gradients), &dq, ROUNDING);
            assert_close("dk", &gradient(&key, &gradients), &dk, ROUNDING);
            assert_close("dv", &gradient(&value, &gradients), &dv, ROUNDING);
            assert_close("d_params", &gradient(&params, &gradients), &d_params, ROUNDING);
        }
    }
}

/// The gradients are made in the forward pass; the backward pass scales them by what comes from above.
#[test]
fn cross_entropies() {
    let (n, width, vocab) = (9, 4, 11);
    let (hidden, weight) = (normals(1, n * width), normals(2, vocab * width));
    let mut targets = tokens(3, n, vocab);
    targets[4] = IGNORE;
    let (mut losses, mut d_hidden) = (vec![f64::NAN; n], vec![f64::NAN; n * width]);
    let mut d_weight = vec![f64::NAN; vocab * width];
    let (wide_hidden, wide_weight) = (wide(&hidden), wide(&weight));
    let head = Head { hidden: &wide_hidden, weight: &wide_weight, width };
    let kernel = CrossEntropy { vocab, ignore: IGNORE };
    let mean = kernel.fused(&mut losses, &mut d_hidden, &mut d_weight, head, &targets).unwrap().mean;
    [&mut d_hidden, &mut d_weight].into_iter().flatten().for_each(|d| *d *= -2.5);

    let (hidden, weight) = (leaf(&hidden, [n, width]), leaf(&weight, [vocab, width]));
    let found = ops::cross_entropy(hidden.clone(), weight.clone(), targets.clone());
    assert_close("loss", &to_vec(found.clone().inner()), &[mean], ROUNDING);
    let gradients = found.mul_scalar(-2.5).backward();
    assert_close("d_hidden", &gradient(&hidden, &gradients), &d_hidden, ROUNDING);
    assert_close("d_weight", &gradient(&weight, &gradients), &d_weight, ROUNDING);
    let logits = hidden.inner().matmul(weight.inner().transpose());
    assert_close("token losses", &ops::token_losses(logits, &targets), &losses, ROUNDING);
}

/// A tensor that is a view of another is read in its own order.
#[test]
fn views_are_read_as_they_are_seen() {
    let x = normals(1, 12);
    let transposed: Vec<f32> = (0..12).map(|at| x[at % 3 * 4 + at / 3]).collect();
    let run = |x: Tensor<2>| ops::norm(x, layer_norm(&plain(&[2.0; 3], [3]), None));
    let expected = to_vec(run(plain(&transposed, [4, 3])));
    assert_eq!(bits(&to_vec(run(plain(&x, [3, 4]).transpose()))), bits(&expected));
    let input = leaf(&x, [3, 4]);
    let scales = plain(&[1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0], [3, 3]);
    let scales = LinearParameters { weight: scales, bias: None };
    let found = ops::linear(input.clone().transpose(), None, scales, None);
    let rows: Vec<f32> = (0..12).map(|at| (at / 4 + 1) as f32).collect();
    assert_eq!(gradient(&input, &pull_back(found, &[1.0; 12])), rows);
}

/// Tracked and untracked inputs mix; only the tracked ones get gradients, and the values do not change.
#[test]
fn untracked_inputs_get_no_gradient() {
    let (x, scale, bias) = (normals(1, 12), normals(2, 4), normals(3, 4));
    let run = |x, scale, bias| ops::norm(x, layer_norm(&scale, Some(&bias)));
    let (free_scale, free_bias) = (plain(&scale, [4]), plain(&bias, [4]));
    let untracked = run(plain(&x, [3, 4]), free_scale.clone(), free_bias.clone());
    let input = leaf(&x, [3, 4]);
    let mixed = run(input.clone(), free_scale.clone(), free_bias.clone());
    assert_eq!(to_vec(mixed.clone().inner()), to_vec(untracked));
    let gradients = pull_back(mixed, &[1.0; 12]);
    assert!(input.grad(&gradients).is_some());
    assert!(free_scale.grad(&gradients).is_none() && free_bias.grad(&gradients).is_none());

    let on_graph = plain(&x, [3, 4]).autodiff();
    let scale = leaf(&scale, [4]);
    let gradients = pull_back(run(on_graph.clone(), scale.clone(), free_bias), &[1.0; 12]);
    assert!(on_graph.grad(&gradients).is_none() && scale.grad(&gradients).is_some());
}

#[test]
fn other_precisions_are_refused_by_name() {
    let x = plain(&normals(1, 8), [2, 4]);
    let refusal = |run: &dyn Fn()| {
        let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("the operator took the tensor");
        payload.downcast::<String>().map(|text| *text).unwrap_or_default()
    };
    for (dtype, name) in [(DType::F64, "F64"), (DType::F16, "F16"), (DType::BF16, "BF16")] {
        let other = x.clone().cast(dtype);
        let expected = format!("operators take f32 tensors; this one is {name}");
        let dropout = Dropout::new(0.3, Rng::new(4, 5)).unwrap();
        assert_eq!(refusal(&|| drop(ops::dropout(dropout, other.clone()))), expected);
        let scale = other.clone().slice([0..1, 0..4]).reshape([4]);
        let norm = refusal(&|| drop(ops::norm(x.clone(), layer_norm(&scale, None))));
        assert_eq!(norm, expected, "the second input");
        let read = refusal(&|| drop(to_vec(other.clone())));
        assert!(read.contains("tensors here are f32"), "{read}");
    }
}

/// The mean of the tokens that count, against burn's own operators.
#[test]
fn means() {
    let (x, dy) = (normals(1, 2 * 3 * 4), normals(2, 8));
    let (x1, x2) = (leaf(&x, [2, 3, 4]), leaf(&x, [2, 3, 4]));
    let found = ops::mean(x1.clone(), vec![3, 2]);
    let second = x2.clone().slice([1..2, 0..2, 0..4]).mean_dim(1);
    let expected =
        Tensor::cat(vec![x2.clone().slice([0..1, 0..3, 0..4]).mean_dim(1), second], 0).reshape([2, 4]);
    assert_close("means", &to_vec(found.clone().inner()), &wide(&to_vec(expected.clone().inner())), ROUNDING);
    let (found, expected) = (pull_back(found, &dy), pull_back(expected, &dy));
    assert_close("dx", &gradient(&x1, &found), &wide(&gradient(&x2, &expected)), ROUNDING);
}

/// Windows before a linear layer, against burn's convolution.
#[test]
fn windows_before_a_layer_are_a_convolution() {
    const SIZES: [usize; 4] = [2, 3, 6, 4];
    let ([batch, channels, rows, columns], outputs) = (SIZES, 5);
    let [x, weight] = [(1, 144), (2, 240)].map(|(stream, n)| normals(stream, n));
    let dy = normals(3, batch * outputs * 6);
    let halved = |length| Axis { length, stride: 2, margin: 1 };
    let windows = Windows { axes: [halved(rows), halved(columns)], channels };

    let (x1, weight1) = (leaf(&x, SIZES), leaf(&weight, [outputs, channels, 4, 4]));
    let tokens = x1.clone().permute([0, 2, 3, 1]).reshape([batch, rows * columns, channels]);
    let matrix = weight1.clone().permute([2, 3, 1, 0]).reshape([16 * channels, outputs]);
    let cut = ops::windows(tokens, windows, vec![rows * columns; batch]);
    let found = ops::linear(cut, None, LinearParameters { weight: matrix, bias: None }, None).swap_dims(1, 2);

    let (x2, weight2) = (leaf(&x, SIZES), leaf(&weight, [outputs, channels, 4, 4]));
    let options = ConvOptions::new([2, 2], [1, 1], [1, 1], 1);
    let expected = conv2d(x2.clone(), weight2.clone(), None, options).reshape([batch, outputs, 6]);
    assert_close("out", &to_vec(found.clone().inner()), &wide(&to_vec(expected.clone().inner())), ROUNDING);
    let (found, expected) = (pull_back(found, &dy), pull_back(expected, &dy));
    assert_close("dx", &gradient(&x1, &found), &wide(&gradient(&x2, &expected)), ROUNDING);
    assert_close("weight", &gradient(&weight1, &found), &wide(&gradient(&weight2, &expected)), ROUNDING);
}

#[test]
fn rows_are_scaled_forward_and_backward() {
    let (x, dy) = (normals(1, 12), normals(2, 12));
    let x1 = leaf(&x, [3, 2, 2]);
    let found = ops::scale_rows(x1.clone(), vec![0.0, 2.0, -1.0]);
    let scaled = |x: &[f32]| -> Vec<f64> {
        x.iter().enumerate().map(|(at, &x)| f64::from(x) * [0.0, 2.0, -1.0][at / 4]).collect()
    };
    assert_close("scaled", &to_vec(found.clone().inner()), &scaled(&x), ROUNDING);
    let gradients = pull_back(found, &dy);
    assert_close("dx", &gradient(&x1, &gradients), &scaled(&dy), ROUNDING);
}

/// `−Σ y log softmax(l)`, against burn's own operators.
#[test]
fn soft_targets() {
    let logits = normals(1, 12);
    let targets = [0.5, 0.25, 0.25, 0.0, 0.0, 1.0, 0.0, 0.0, 0.1, 0.2, 0.3, 0.4];
    let (l1, l2) = (leaf(&logits, [3, 4]), leaf(&logits, [3, 4]));
    let found = ops::soft_cross_entropy(l1.clone(), targets.to_vec());
    let weights = plain(&targets, [3, 4]);
    let expected = (burn::tensor::activation::log_softmax(l2.clone(), 1) * weights).sum().div_scalar(-3.0);
    assert_close("loss", &to_vec(found.clone().inner()), &wide(&to_vec(expected.clone().inner())), ROUNDING);
    let (found, expected) = (pull_back(found, &[0.5]), pull_back(expected, &[0.5]));
    assert_close("dlogits", &gradient(&l1, &found), &wide(&gradient(&l2, &expected)), ROUNDING);
}
