//! The operators that are measured, and the only place that calls them.

use std::sync::Arc;

use relin_kernels::encoding::{Encoding, Place, Stage};
use relin_kernels::fast_math::FastMath;
use relin_kernels::feature_map::FeatureMap;
use relin_kernels::linear_attention::{Gradients, Inputs, LinearAttention, Normalizer, State, naive};
use relin_kernels::segments::{Mask, Segment};

use super::definition::Direction;
use super::error::BenchError;
use super::inputs::{Sizes, Tensors};
use super::position::Position;
use super::softmax::EncodedSoftmax;

/// ε of the denominators.
const EPS: f64 = 1e-6;

/// What is measured, apart from sizes and precision.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub method: Method,
    pub position: Position,
}

/// An encoding and the values of its parameters.
type Encoded<R> = (Arc<dyn Encoding<R>>, Vec<R>);

/// Which attention.
#[derive(Clone, Copy, Debug)]
pub enum Method {
    Linear(Linear),
    Softmax,
}

/// Which linear attention.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    pub feature_map: FeatureMap,
    pub normalizer: Normalizer,
}

impl Linear {
    fn with<R: FastMath>(
        self,
        encoding: Arc<dyn Encoding<R>>,
        sizes: &Sizes,
        heads: usize,
    ) -> LinearAttention<R> {
        let stage = match self.feature_map {
            FeatureMap::Random(_) => Stage::BeforeFeatureMap,
            _ => encoding.stage(),
        };
        LinearAttention {
            feature_map: self.feature_map.bind(stage.mapped_dim(sizes.key_dim, &*encoding)),
            encoding,
            stage,
            normalizer: self.normalizer,
            eps: EPS,
            heads,
            value_dim: sizes.value_dim,
            chunk: sizes.chunk,
        }
    }

    /// Linear attention with its parameters, for forms that only it has.
    pub fn build<R: FastMath>(
        self,
        position: Position,
        sizes: &Sizes,
    ) -> Result<(LinearAttention<R>, Vec<R>), BenchError> {
        let subject = Subject { method: Method::Linear(self), position };
        let (encoding, params) = subject.encoding::<R>(sizes)?;
        Ok((self.with(encoding, sizes, sizes.heads), params))
    }
}

impl Subject {
    pub fn name(&self) -> &'static str {
        match self.method {
            Method::Linear(_) => "linear-attention",
            Method::Softmax => "softmax-attention",
        }
    }

    /// With the encoding that heads of `sizes` have, and as many of these heads as `heads` says.
    pub fn build<R: FastMath>(&self, sizes: &Sizes, heads: usize) -> Result<Operator<R>, BenchError> {
        let (encoding, params) = self.encoding::<R>(sizes)?;
        let kind = match self.method {
            Method::Linear(linear) => Kind::Linear(linear.with(encoding, sizes, heads)),
            Method::Softmax => Kind::Softmax(EncodedSoftmax::new(encoding, heads, sizes.value_dim)),
        };
        Ok(Operator { kind, params })
    }

    fn encoding<R: FastMath>(&self, sizes: &Sizes) -> Result<Encoded<R>, BenchError> {
        let place = Place { key_dim: sizes.key_dim, heads: sizes.heads, layer: 0 };
        let (position, key_dim) = (self.position.name(), sizes.key_dim);
        let config = self.position.preset().config();
        let unbuildable = |source| BenchError::Encoding { position, key_dim, source };
        let encoding = config.build::<R>(place).map_err(unbuildable)?;
        let init = encoding.parameters().into_iter().flat_map(|parameter| parameter.init);
        // As single precision holds them, in both precisions: a rounded angle grows with the position.
        let params = init.map(|value| R::from_f64(f64::from(value as f32))).collect();
        Ok((encoding, params))
    }
}

/// An operator with its parameters.
pub struct Operator<R: FastMath> {
    kind: Kind<R>,
    params: Vec<R>,
}

enum Kind<R: FastMath> {
    Linear(LinearAttention<R>),
    Softmax(EncodedSoftmax<R>),
}

/// What a call gives. The next call writes over it: both sides of a comparison keep the memory that they have.
#[derive(Default)]
pub struct Results<R> {
    /// `[N, H, V]`.
    pub out: Vec<R>,
    /// If they were asked for.
    pub gradients: Option<Gradients<R>>,
    /// Bytes of everything that the call returned.
    pub bytes: usize,
}

impl<R: FastMath> Operator<R> {
    pub fn run(
        &self,
        direction: Direction,
        segments: &[Segment],
        x: &Tensors<R>,
    ) -> Result<Results<R>, BenchError> {
        let mut results = Results::default();
        self.run_into(direction, segments, x, &mut results)?;
        Ok(results)
    }

    pub fn run_into(
        &self,
        direction: Direction,
        segments: &[Segment],
        x: &Tensors<R>,
        results: &mut Results<R>,
    ) -> Result<(), BenchError> {
        match &self.kind {
            Kind::Linear(attention) => linear(attention, &self.params, direction, segments, x, results),
            Kind::Softmax(attention) => *results = attention.run(&self.params, direction, segments, x)?,
        }
        Ok(())
    }

    /// FLOPs as the kernels count them.
    pub fn flops(&self, direction: Direction, segments: &[Segment]) -> u64 {
        let mask = Mask::causal(segments);
        let (forward, backward) = match &self.kind {
            Kind::Linear(attention) => (attention.forward_flops(mask), attention.backward_flops(mask)),
            Kind::Softmax(attention) => attention.flops(mask),
        };
        if direction == Direction::Forward { forward } else { forward + backward }
    }

    /// K'.
    pub fn encoded_dim(&self) -> usize {
        match &self.kind {
            Kind::Linear(attention) => attention.encoded_dim(),
            Kind::Softmax(attention) => attention.encoded_dim(),
        }
    }
}

impl Operator<f64> {
    /// One row `[H, V]` of the output by its definition: query `s` of one sequence and the keys up to it.
    pub fn naive_row(&self, s: usize, x: &Tensors<f64>) -> Result<Vec<f64>, BenchError> {
        let attention = match &self.kind {
            Kind::Linear(attention) => attention,
            Kind::Softmax(attention) => return attention.naive_row(&self.params, s, x),
        };
        let (keys, values) = (attention.heads * attention.key_dim(), attention.heads * attention.value_dim);
        let inputs = Inputs {
            q: &x.q[s * keys..][..keys],
            k: &x.k[..(s + 1) * keys],
            v: &x.v[..(s + 1) * values],
            params: &self.params,
            initial: None,
        };
        let query = [Segment { start: 0, len: 1, offset: s as i64 }];
        let seen = [Segment { start: 0, len: s + 1, offset: 0 }];
        Ok(naive::forward(attention, Mask::Full { queries: &query, keys: &seen }, inputs).out)
    }
}

fn linear<R: FastMath>(
    attention: &LinearAttention<R>,
    params: &[R],
    direction: Direction,
    segments: &[Segment],
    x: &Tensors<R>,
    results: &mut Results<R>,
) {
    let inputs = Inputs { q: &x.q, k: &x.k, v: &x.v, params, initial: None };
    let mask = Mask::causal(segments);
    let Results { out, gradients, bytes } = results;
    out.resize(x.v.len(), R::ZERO);
    let state = attention.forward_into(mask, inputs, out);
    *bytes = size_of_val(out.as_slice()) + state_bytes(&state);
    if direction == Direction::Forward {
        *gradients = None;
        return;
    }
    let d = gradients.get_or_insert_default();
    attention.backward_into(mask, inputs, out, &x.d_out, None, d);
    *bytes += [&d.q, &d.k, &d.v, &d.params].iter().map(|d| size_of_val(d.as_slice())).sum::<usize>();
    *bytes += state_bytes(&d.initial);
}

fn state_bytes<R>(state: &State<R>) -> usize {
    size_of_val(&*state.s) + size_of_val(&*state.z)
}
