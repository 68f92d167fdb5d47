//! `relin bench decode`: one token of generation through one layer's attention.

use relin_kernels::fast_math::FastMath;
use relin_kernels::linear_attention::recurrent::{Memory, Recurrent};
use relin_kernels::linear_attention::{Inputs, LinearAttention, State, naive};
use relin_kernels::real::Real;
use relin_kernels::segments::{Mask, Segment};

use super::attention::shape_of;
use super::check::{NAIVE, held, relative_error};
use super::definition::{DecodeDefinition, Direction, check_list, check_time};
use super::error::BenchError;
use super::inputs::{Sizes, Tensors};
use super::machine::{Sgemm, bandwidth};
use super::memory::peak_of;
use super::operator::{Linear, Method, Subject};
use super::position::Position;
use super::report::{self, Measurement};
use super::timing::{Case, Times, compare, timed};
use super::{Setting, in_pools};

/// Chunks of tokens before the first step, which give the state its values; its size does not depend on them.
const PREFIX_CHUNKS: usize = 4;
/// Chunks of tokens in a timed call.
const CALL_CHUNKS: usize = 4;

pub fn run(definition: &DecodeDefinition, setting: &Setting) -> Result<Vec<Measurement>, BenchError> {
    check_time(definition.seconds_per_measurement)?;
    check_list("threads", &definition.threads)?;
    check_list("prefixes", &definition.prefixes)?;
    check_list("positions", &definition.positions)?;
    if definition.shape.batch.get() != 1 {
        let found = definition.shape.batch.to_string();
        return Err(BenchError::BadValue { field: "shape.batch", expected: "1 sequence", found });
    }
    report::header(&setting.output);
    in_pools(&definition.threads, || {
        let (sgemm, bandwidth) = (Sgemm::new(), bandwidth(definition.bandwidth_mib));
        report::machine(&setting.output, rayon::current_num_threads(), sgemm.gflops(), bandwidth);
        let mut measurements = Vec::new();
        for prefix in &definition.prefixes {
            let decoders = definition.positions.iter();
            let decoders =
                decoders.map(|&position| Decoder::new(definition, position, prefix.get(), setting.seed));
            let decoders = decoders.collect::<Result<Vec<_>, _>>()?;
            let mut cases: Vec<Case<'_>> = decoders.iter().map(Decoder::case).collect();
            let times = compare(definition.seconds_per_measurement, &sgemm, &mut cases)?;
            drop(cases);
            for (decoder, times) in decoders.iter().zip(&times) {
                let measurement = decoder.measurement(times, bandwidth);
                measurement.print(&setting.output);
                measurements.push(measurement);
            }
        }
        Ok(measurements)
    })
}

/// A layer in the middle of a sequence.
struct Decoder {
    position: Position,
    sizes: Sizes,
    attention: LinearAttention<f32>,
    params: Vec<f32>,
    memory: Memory<f32>,
    tokens: Tensors<f32>,
    error: f64,
    peak_bytes: usize,
}

impl Decoder {
    fn new(
        definition: &DecodeDefinition,
        position: Position,
        prefix: usize,
        seed: u64,
    ) -> Result<Self, BenchError> {
        let sizes = Sizes::new(&definition.shape, prefix);
        let (feature_map, normalizer) = (definition.feature_map, definition.normalizer);
        let linear = Linear { feature_map, normalizer };
        let (attention, params) = linear.build::<f32>(position, &sizes)?;
        let before = Sizes { length: prefix.min(PREFIX_CHUNKS * sizes.chunk), ..sizes };
        let seen = Tensors::random(&before, seed);
        let state = state_after(&attention, &params, prefix, &seen);
        let memory = Memory::new(&attention, state, prefix as i64);
        let tokens = Tensors::random(&Sizes { length: CALL_CHUNKS * sizes.chunk, ..sizes }, seed + 1);
        let mut decoder =
            Self { position, sizes, attention, params, memory, tokens, error: 0.0, peak_bytes: 0 };
        decoder.error = decoder.error(linear, &seen)?;
        decoder.peak_bytes = decoder.peak();
        Ok(decoder)
    }

    fn recurrent(&self) -> Recurrent<f32> {
        Recurrent::new(self.attention.clone(), &self.params, self.memory.clone())
    }

    /// Takes as many tokens as `out` has room for.
    fn steps(&self, recurrent: &mut Recurrent<f32>, out: &mut [f32]) {
        let (h, k, v) = (self.sizes.heads, self.sizes.key_dim, self.sizes.value_dim);
        for (t, out) in out.chunks_mut(h * v).enumerate() {
            let key = |tensor| -> &[f32] { row(tensor, t, h * k) };
            recurrent.step(key(&self.tokens.q), key(&self.tokens.k), row(&self.tokens.v, t, h * v), out);
        }
    }

    /// Seconds of a step.
    fn case(&self) -> Case<'_> {
        let mut out = vec![0.0; self.tokens.v.len()];
        let steps = (CALL_CHUNKS * self.sizes.chunk) as f64;
        Box::new(move || {
            let mut recurrent = self.recurrent();
            let seconds = timed(|| {
                self.steps(&mut recurrent, &mut out);
                Ok(())
            })?;
            Ok(seconds / steps)
        })
    }

    fn peak(&self) -> usize {
        let mut out = vec![0.0; self.tokens.v.len()];
        let mut recurrent = self.recurrent();
        peak_of(|| self.steps(&mut recurrent, &mut out)).1
    }

    /// Holds some of the first `C + 5` steps to the definition, continued from the same tokens.
    fn error(&self, linear: Linear, seen: &Tensors<f32>) -> Result<f64, BenchError> {
        let (chunk, width) = (self.sizes.chunk, self.sizes.heads * self.sizes.value_dim);
        let steps = (chunk + 5).min(CALL_CHUNKS * chunk);
        let mut out = vec![0.0; steps * width];
        self.steps(&mut self.recurrent(), &mut out);
        let (exact, params) = linear.build::<f64>(self.position, &self.sizes)?;
        let state = state_after(&exact, &params, self.sizes.length, &seen.widened());
        let tokens = self.tokens.widened();
        let subject = Subject { method: Method::Linear(linear), position: self.position };
        let mut worst = 0.0f64;
        for s in [0, chunk - 1, chunk.min(steps - 1), steps - 1] {
            let expected = naive_step(&exact, &params, &state, self.sizes.length, s, &tokens);
            let found = out[s * width..][..width].iter().map(|x| x.to_f64());
            let error = relative_error(found, &expected);
            held(&subject, NAIVE, error)?;
            worst = worst.max(error);
        }
        Ok(worst)
    }

    fn measurement(&self, times: &Times, bandwidth: Option<f64>) -> Measurement {
        let gflops = self.attention.step_flops() / times.median() / 1e9;
        Measurement {
            name: "decode".into(),
            position: self.position.name().into(),
            shape: shape_of(&self.sizes, self.attention.encoded_dim()),
            threads: rayon::current_num_threads(),
            direction: Direction::Forward.name(),
            median_seconds: times.median(),
            min_seconds: times.least(),
            calls: times.calls.len(),
            tokens_per_second: 1.0 / times.median(),
            gflops,
            sgemm_gflops: times.sgemm_gflops(),
            fraction_of_sgemm: gflops / times.sgemm_gflops(),
            peak_bytes: self.peak_bytes,
            relative_error: Some(self.error),
            overhead: None,
            memory_gigabytes_per_second: bandwidth,
        }
    }
}

/// The state after the tokens of `seen`, the last of which stands before `end`.
fn state_after<R: FastMath>(
    attention: &LinearAttention<R>,
    params: &[R],
    end: usize,
    seen: &Tensors<R>,
) -> State<R> {
    let len = seen.v.len() / (attention.heads * attention.value_dim);
    let segments = [Segment { start: 0, len, offset: end as i64 - len as i64 }];
    let inputs = Inputs { q: &seen.q, k: &seen.k, v: &seen.v, params, initial: None };
    attention.forward(Mask::causal(&segments), inputs).state
}

/// Output `[H, V]` of step `s` after `prefix` tokens, by the definition.
fn naive_step(
    attention: &LinearAttention<f64>,
    params: &[f64],
    state: &State<f64>,
    prefix: usize,
    s: usize,
    x: &Tensors<f64>,
) -> Vec<f64> {
    let (k, v) = (attention.heads * attention.key_dim(), attention.heads * attention.value_dim);
    let inputs = Inputs {
        q: row(&x.q, s, k),
        k: &x.k[..(s + 1) * k],
        v: &x.v[..(s + 1) * v],
        params,
        initial: Some(state),
    };
    let query = [Segment { start: 0, len: 1, offset: (prefix + s) as i64 }];
    let keys = [Segment { start: 0, len: s + 1, offset: prefix as i64 }];
    naive::forward(attention, Mask::Full { queries: &query, keys: &keys }, inputs).out
}

fn row<R>(tensor: &[R], t: usize, width: usize) -> &[R] {
    &tensor[t * width..][..width]
}
