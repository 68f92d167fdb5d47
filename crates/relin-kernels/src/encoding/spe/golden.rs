//! Agreement with aliutkus/spe (PyTorch), with its own noise in the place of ours. See `tests/golden/README.md`.

use std::path::Path;

use safetensors::SafeTensors;

use super::conv::Source;
use super::{ConvSpe, ConvSpeConfig, SineSpe, SineSpeConfig};
use crate::encoding::{Encoder, Encoding, Place, Side};
use crate::testing::assert_close;

const T: usize = 37;
const H: usize = 3;
const K: usize = 16;
const R: usize = 8;
const SINES: usize = 5;
const P: usize = 13;
const PLACE: Place = Place { key_dim: K, heads: H, layer: 0 };
/// f32 results of the source against our double precision.
const F32_ROUNDING: f64 = 2e-6;

fn get(name: &str) -> Vec<f64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/spe.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    tensor.data().chunks(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
}

/// One sequence and head out of `[B, T, H, width]`.
fn rows(x: &[f64], width: usize, batch: usize, head: usize) -> Vec<f64> {
    (0..T).flat_map(|t| x[((batch * T + t) * H + head) * width..][..width].to_vec()).collect()
}

fn put(into: &mut [f64], width: usize, batch: usize, head: usize, rows: &[f64]) {
    for (t, row) in rows.chunks(width).enumerate() {
        into[((batch * T + t) * H + head) * width..][..width].copy_from_slice(row);
    }
}

/// `[B, T, H, K]` to `[B, T, H, R]`.
fn encode(encoder: &dyn Encoder<f64>, side: Side, x: &[f64]) -> Vec<f64> {
    let mut out = vec![f64::NAN; x.len() / K * R];
    for (batch, head) in (0..2).flat_map(|batch| (0..H).map(move |head| (batch, head))) {
        let mut part = vec![f64::NAN; T * R];
        encoder.encode(side, head, 0, &rows(x, K, batch, head), &mut part);
        put(&mut out, R, batch, head, &part);
    }
    out
}

fn vjp(encoder: &dyn Encoder<f64>, side: Side, x: &[f64], d: &[f64], d_params: &mut [f64]) -> Vec<f64> {
    let mut d_x = vec![f64::NAN; x.len()];
    for (batch, head) in (0..2).flat_map(|batch| (0..H).map(move |head| (batch, head))) {
        let (x, d) = (rows(x, K, batch, head), rows(d, R, batch, head));
        let mut part = vec![f64::NAN; T * K];
        encoder.vjp(side, head, 0, &x, &[], &d, &mut part, d_params);
        put(&mut d_x, K, batch, head, &part);
    }
    d_x
}

/// Outputs of both sides, then gradients for x and the parameters, named as given with their lengths.
fn check(kind: &str, encoder: &dyn Encoder<f64>, gated: bool, parameters: &[(&str, usize)]) {
    let run = format!("{kind}.N37.D16.R8.{}", if gated { "gated" } else { "ungated" });
    let inputs = [("q", Side::Query), ("k", Side::Key)]
        .map(|(name, side)| (name, side, get(&format!("N37.D16.{name}"))));
    for (name, side, x) in &inputs {
        let expected = get(&format!("{run}.{name}hat"));
        assert_close(&format!("{run}.{name}hat"), &encode(encoder, *side, x), &expected, F32_ROUNDING);
    }
    if !gated {
        return;
    }
    let mut d_params = vec![0.0; parameters.iter().map(|(_, len)| len).sum()];
    for (name, side, x) in &inputs {
        let d = get(&format!("N37.D16.R8.grad_{name}hat"));
        let d_x = vjp(encoder, *side, x, &d, &mut d_params);
        assert_close(&format!("d{name}"), &d_x, &get(&format!("{run}.d{name}")), F32_ROUNDING);
    }
    let mut rest = &d_params[..];
    for (name, len) in parameters {
        let (found, tail) = rest.split_at(*len);
        assert_close(name, found, &get(&format!("{run}.{name}")), 1e-5);
        rest = tail;
    }
}

#[test]
fn sine() {
    let base = "sine.N37.D16.R8";
    let (noise, gate) = (get(&format!("{base}.noise_z")), get(&format!("{base}.gating_noise")));
    // Theirs is [H, K, 2·sines, R] with cosine and sine by turns; ours begins with all cosines, sine by sine.
    let order = |head: usize, gated: bool| {
        let mut z = Vec::new();
        for (half, sine, d) in
            (0..2).flat_map(|half| (0..SINES).flat_map(move |sine| (0..K).map(move |d| (half, sine, d))))
        {
            z.extend_from_slice(&noise[((head * K + d) * 2 * SINES + 2 * sine + half) * R..][..R]);
        }
        if gated {
            z.extend_from_slice(&gate[head * K * R..][..K * R]);
        }
        z
    };
    let names = ["freqs", "offsets", "gains"];
    let params: Vec<f64> = names.iter().flat_map(|name| get(&format!("{base}.param.{name}"))).collect();
    for gated in [false, true] {
        let config = SineSpeConfig { sines: SINES, realizations: R, gated, ..SineSpeConfig::default() };
        let gates = if gated { get(&format!("{base}.gate_raw")) } else { Vec::new() };
        let encoder = SineSpe::new(&config, PLACE)
            .unwrap()
            .bind_to(&[params.clone(), gates].concat(), |head| order(head, gated));
        let len = H * K * SINES;
        let parameters =
            [("dparam.freqs", len), ("dparam.offsets", len), ("dparam.gains", len), ("dgate", H * K)];
        check("sine", &*encoder, gated, &parameters);
    }
}

/// The source's matrix leaves out its own factor 1/(2·sines).
#[test]
fn sine_covariance() {
    let base = "sine.posattn.N37.D16";
    let names = ["freqs", "offsets", "gains"];
    let params: Vec<f64> = names.iter().flat_map(|name| get(&format!("{base}.param.{name}"))).collect();
    let matrix = get(&format!("{base}.matrix"));
    let config = SineSpeConfig { sines: SINES, realizations: K, gated: false, ..SineSpeConfig::default() };
    let spe = SineSpe::new(&config, PLACE).unwrap();
    for head in 0..H {
        for (m, n) in [(0, 0), (36, 0), (0, 36), (20, 17), (5, 31)] {
            let kernel = Encoding::<f64>::kernel(&spe, &params, head, n - m);
            let found: Vec<f64> = (0..K).map(|d| 2.0 * SINES as f64 * kernel[d * K + d]).collect();
            let at = |d: usize| matrix[((head * K + d) * T + m as usize) * T + n as usize];
            assert_close("P", &found, &(0..K).map(at).collect::<Vec<_>>(), F32_ROUNDING);
        }
    }
}

#[derive(Debug)]
struct Table {
    /// `[R, H·K, 4P + T]`, of which the source drops the first P samples.
    code: Vec<f64>,
    /// `[H, K, R]`.
    gate: Vec<f64>,
}

impl Source<f64> for Table {
    fn code(&self, head: usize, d: usize, first: i64, out: &mut [f64]) {
        for (i, row) in out.chunks_mut(R).enumerate() {
            let position = P + (first as usize + i);
            for (r, z) in row.iter_mut().enumerate() {
                *z = self.code[(r * H * K + head * K + d) * (4 * P + T) + position];
            }
        }
    }

    fn gate(&self, head: usize, d: usize, out: &mut [f64]) {
        out.copy_from_slice(&self.gate[(head * K + d) * R..][..R]);
    }
}

/// The source makes queries' codes with `conv_k` and keys' with `conv_q`.
#[test]
fn conv() {
    let base = "conv.N37.D16.R8";
    let weights = ["conv_k.weight", "conv_q.weight"].map(|name| get(&format!("{base}.param.{name}")));
    for gated in [false, true] {
        let config = ConvSpeConfig { kernel_size: P, realizations: R, gated, ..ConvSpeConfig::default() };
        let gates = if gated { get(&format!("{base}.gate_raw")) } else { Vec::new() };
        let table =
            Table { code: get(&format!("{base}.noise_z")), gate: get(&format!("{base}.gating_noise")) };
        let params = [&weights[0][..], &weights[1], &gates].concat();
        let encoder = ConvSpe::new(&config, PLACE).unwrap().bind_to(&params, table);
        let len = H * K * P;
        let parameters = [("dparam.conv_k.weight", len), ("dparam.conv_q.weight", len), ("dgate", H * K)];
        check("conv", &*encoder, gated, &parameters);
    }
}
