//! Times the encoders of stochastic positional encoding: `cargo run --release -p relin-kernels --example measure_spe`.

use std::time::Instant;

use rayon::prelude::*;
use relin_kernels::encoding::spe::{ConvSpeConfig, SineSpeConfig};
use relin_kernels::encoding::{EncodingConfig, Place, Side};

const TOKENS: usize = 8192;
const HEADS: usize = 8;
const K: usize = 64;
/// Rows of one call.
const ROWS: usize = 1024;

fn main() {
    for (name, config) in [
        ("sine-spe, 10 sines", EncodingConfig::SineSpe(SineSpeConfig::default())),
        ("conv-spe, P = 128", EncodingConfig::ConvSpe(ConvSpeConfig::default())),
    ] {
        let encoding = config
            .build::<f32>(Place { key_dim: K, heads: HEADS, layer: 0 })
            .expect("the defaults are sound");
        let params: Vec<f32> =
            encoding.parameters().iter().flat_map(|p| &p.init).map(|&x| x as f32).collect();
        let r = encoding.encoded_dim();
        let x: Vec<f32> = (0..ROWS * K).map(|i| (i % 17) as f32 / 17.0 - 0.5).collect();
        let start = Instant::now();
        let encoder = encoding.bind(&params);
        let bind = start.elapsed().as_secs_f64();
        let tasks: Vec<(usize, usize)> =
            (0..HEADS).flat_map(|h| (0..TOKENS / ROWS).map(move |c| (h, c))).collect();
        let mut best = [f64::INFINITY; 2];
        for _ in 0..3 {
            let start = Instant::now();
            tasks.par_iter().for_each(|&(head, chunk)| {
                for side in [Side::Query, Side::Key] {
                    encoder.encode(side, head, (chunk * ROWS) as i64, &x, &mut vec![0.0; ROWS * r]);
                }
            });
            best[0] = best[0].min(start.elapsed().as_secs_f64());
            let start = Instant::now();
            tasks.par_iter().for_each(|&(head, chunk)| {
                let mut d_params = vec![0.0; params.len()];
                for side in [Side::Query, Side::Key] {
                    let (d, mut d_x) = (vec![1.0; ROWS * r], vec![0.0; ROWS * K]);
                    encoder.vjp(side, head, (chunk * ROWS) as i64, &x, &[], &d, &mut d_x, &mut d_params);
                }
            });
            best[1] = best[1].min(start.elapsed().as_secs_f64());
        }
        println!(
            "{name}: T = {TOKENS}, H = {HEADS}, K = {K}, R = {r}, {} threads: bind {bind:.3} s, queries and keys forward {:.3} s, backward {:.3} s",
            rayon::current_num_threads(),
            best[0],
            best[1]
        );
    }
}
