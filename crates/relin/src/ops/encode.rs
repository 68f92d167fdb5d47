//! A relative encoding on tensors, apart from any attention.

use std::sync::Arc;

use burn::tensor::Tensor;
use rayon::prelude::*;
use relin_kernels::encoding::{Encoding, Side};

use super::bridge::{Kernel, Operand, apply};

/// `out[b, t, h] = M_{offset + t} x[b, t, h]`, differentiable in `x` and the encoding's parameters.
///
/// # Shapes
/// - `x`: `[B, T, H, K]`; `params`: flat; result: `[B, T, H, K']`
pub fn encode(
    encoding: &Arc<dyn Encoding<f32>>,
    side: Side,
    offset: i64,
    x: Tensor<4>,
    params: Tensor<1>,
) -> Tensor<4> {
    let kernel = Operator { encoding: encoding.clone(), side, offset };
    apply(kernel, [x.into_dispatch(), params.into_dispatch()])
}

#[derive(Debug)]
struct Operator {
    encoding: Arc<dyn Encoding<f32>>,
    side: Side,
    offset: i64,
}

/// The rows of one sequence and head, out of `[B, T, H, width]` and back.
fn rows(tensor: &[f32], [time, heads, width]: [usize; 3], batch: usize, head: usize) -> Vec<f32> {
    let row = |t: usize| &tensor[((batch * time + t) * heads + head) * width..][..width];
    (0..time).flat_map(row).copied().collect()
}

fn put(into: &mut [f32], [time, heads, width]: [usize; 3], batch: usize, head: usize, rows: &[f32]) {
    for (t, row) in rows.chunks(width).enumerate() {
        into[((batch * time + t) * heads + head) * width..][..width].copy_from_slice(row);
    }
}

impl Kernel<2> for Operator {
    type Saved = ();

    fn forward(&self, [x, params]: [Operand<'_>; 2]) -> (Vec<usize>, Vec<f32>, ()) {
        let &[batch, time, heads, width] = x.shape else { panic!("encode takes [B, T, H, K]") };
        let encoded = self.encoding.encoded_dim();
        let encoder = self.encoding.bind(params.data);
        let run = |at: usize| {
            let x = rows(x.data, [time, heads, width], at / heads, at % heads);
            let mut out = vec![0.0; time * encoded];
            encoder.encode(self.side, at % heads, self.offset, &x, &mut out);
            out
        };
        let parts: Vec<Vec<f32>> = (0..batch * heads).into_par_iter().map(run).collect();
        let mut out = vec![0.0; batch * time * heads * encoded];
        for (at, part) in parts.iter().enumerate() {
            put(&mut out, [time, heads, encoded], at / heads, at % heads, part);
        }
        (vec![batch, time, heads, encoded], out, ())
    }

    fn backward(
        &self,
        [x, params]: [Operand<'_>; 2],
        output: Operand<'_>,
        grad: Operand<'_>,
        _saved: (),
    ) -> [Vec<f32>; 2] {
        let &[batch, time, heads, width] = x.shape else { panic!("encode takes [B, T, H, K]") };
        let encoder = self.encoding.bind(params.data);
        let run = |at: usize| {
            let x = rows(x.data, [time, heads, width], at / heads, at % heads);
            let encoded = rows(output.data, [time, heads, output.shape[3]], at / heads, at % heads);
            let grad = rows(grad.data, [time, heads, output.shape[3]], at / heads, at % heads);
            let (mut d_x, mut d_params) = (vec![0.0; x.len()], vec![0.0; params.data.len()]);
            encoder.vjp(self.side, at % heads, self.offset, &x, &encoded, &grad, &mut d_x, &mut d_params);
            (d_x, d_params)
        };
        let parts: Vec<(Vec<f32>, Vec<f64>)> = (0..batch * heads).into_par_iter().map(run).collect();
        let (mut d_x, mut d_params) = (vec![0.0; x.data.len()], vec![0.0f64; params.data.len()]);
        for (at, (part, d)) in parts.iter().enumerate() {
            put(&mut d_x, [time, heads, width], at / heads, at % heads, part);
            d_params.iter_mut().zip(d).for_each(|(sum, d)| *sum += d);
        }
        [d_x, d_params.into_iter().map(|d| d as f32).collect()]
    }
}
