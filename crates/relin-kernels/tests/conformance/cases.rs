//! What the grids range over, and how closeness is judged.

use std::sync::Arc;

use relin_kernels::encoding::grid::{Combine, GridConfig};
use relin_kernels::encoding::lrpe::{Basis, Cycle, Family, Pairs, Rotated};
use relin_kernels::encoding::orthogonal_group::{GroupBasis, OrthogonalGroupConfig};
use relin_kernels::encoding::preset;
use relin_kernels::encoding::{
    ConvSpeConfig, Encoding, EncodingConfig, LrpeConfig, PRESETS, Place, SignedPermutationConfig, Stage,
};
use relin_kernels::fast_math::FastMath;
use relin_kernels::feature_map::{FeatureMap, RandomFeatures, RandomKernel};
use relin_kernels::linear_attention::{Inputs, LinearAttention, Normalizer, State};
use relin_kernels::real::Real;
use relin_kernels::rng::Rng;
use relin_kernels::segments::{Mask, Segment, dense};

pub const HEADS: usize = 2;
pub const KEY_DIM: usize = 6;
pub const VALUE_DIM: usize = 5;
pub const CHUNK: usize = 4;
pub const TIMES: [usize; 6] = [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7];

pub const NORMALIZERS: [Normalizer; 3] = [Normalizer::Encoded, Normalizer::Plain, Normalizer::None];

/// [`every_encoding`], with little noise to draw.
pub fn encodings() -> Vec<(String, EncodingConfig)> {
    let small = |(name, mut config)| {
        match &mut config {
            EncodingConfig::SineSpe(spe) => (spe.sines, spe.realizations) = (2, 4),
            EncodingConfig::ConvSpe(spe) => (spe.kernel_size, spe.realizations) = (3, 4),
            _ => {}
        }
        (name, config)
    };
    every_encoding().into_iter().map(small).collect()
}

/// Every preset, and the members of the families that no preset names.
pub fn every_encoding() -> Vec<(String, EncodingConfig)> {
    let presets = PRESETS.iter().map(|preset| (preset.name.to_owned(), preset.config()));
    let more = [
        ("unitary identity", LrpeConfig { basis: Basis::Identity, ..LrpeConfig::default() }),
        ("unitary dct per head", LrpeConfig { basis: Basis::Dct, per_head: true, ..LrpeConfig::default() }),
        (
            "unitary fourier learned",
            LrpeConfig { basis: Basis::Fourier, learn_theta: true, ..LrpeConfig::default() },
        ),
        (
            "unitary three learned reflections per head",
            LrpeConfig {
                reflections: 3,
                learn_basis: true,
                learn_theta: true,
                per_head: true,
                ..LrpeConfig::default()
            },
        ),
        (
            "orthogonal mixed",
            LrpeConfig { family: Family::Orthogonal, rotated: Rotated::Half, ..LrpeConfig::default() },
        ),
        (
            "orthogonal half pairs, learned, per head, random permutation",
            LrpeConfig {
                family: Family::Orthogonal,
                basis: Basis::Permutation,
                pairs: Pairs::Half,
                learn_theta: true,
                per_head: true,
                ..LrpeConfig::default()
            },
        ),
        (
            "permutation, one cycle, four reflections",
            LrpeConfig {
                family: Family::Permutation,
                cycle: Cycle::Single,
                reflections: 4,
                ..LrpeConfig::default()
            },
        ),
        (
            "permutation, longest period, dct, per head",
            LrpeConfig {
                family: Family::Permutation,
                cycle: Cycle::Longest,
                basis: Basis::Dct,
                per_head: true,
                ..LrpeConfig::default()
            },
        ),
    ];
    let lrpe = more.map(|(name, config)| (name, EncodingConfig::Lrpe(config)));
    presets
        .chain(lrpe.into_iter().chain(other_members()).map(|(name, config)| (name.to_owned(), config)))
        .collect()
}

/// Members of the canonical form outside the LRPE family that no preset names.
fn other_members() -> Vec<(&'static str, EncodingConfig)> {
    let group = |config| EncodingConfig::OrthogonalGroup(config);
    let cayley = GroupBasis::Cayley;
    let rotation = LrpeConfig { family: Family::Orthogonal, learn_theta: true, ..LrpeConfig::default() };
    let grid = |shape: &[usize], combine, inner| {
        EncodingConfig::Grid(GridConfig { shape: shape.to_vec(), combine, inner: Box::new(inner) })
    };
    let filters = |shape: &[usize]| {
        let shape = shape.to_vec();
        EncodingConfig::ConvSpe(ConvSpeConfig {
            shape,
            kernel_size: 3,
            realizations: 4,
            ..Default::default()
        })
    };
    let signed = SignedPermutationConfig { per_head: true, cycle: Cycle::Random, ..Default::default() };
    vec![
        ("givens rotations", group(OrthogonalGroupConfig::default())),
        ("cayley", group(OrthogonalGroupConfig { basis: cayley, ..Default::default() })),
        (
            "block rotations",
            group(OrthogonalGroupConfig { basis: cayley, block: Some(3), ..Default::default() }),
        ),
        ("signed permutation", EncodingConfig::SignedPermutation(signed)),
        (
            "grid, slices",
            grid(
                &[7, 5],
                Combine::Slices,
                EncodingConfig::Lrpe(LrpeConfig { learn_theta: true, ..LrpeConfig::default() }),
            ),
        ),
        (
            "grid, three axes of rotations",
            grid(&[3, 4, 5], Combine::Slices, EncodingConfig::Lrpe(rotation.clone())),
        ),
        ("grid, sum", grid(&[7, 5], Combine::Sum, EncodingConfig::Lrpe(rotation))),
        ("conv-spe on a grid", filters(&[7, 5])),
        ("conv-spe on three axes", filters(&[3, 4, 5])),
    ]
}

pub fn build<R: FastMath>(config: &EncodingConfig) -> Arc<dyn Encoding<R>> {
    config.build(Place { key_dim: KEY_DIM, heads: HEADS, layer: 1 }).unwrap()
}

/// Standard normals from a seed.
pub fn normals<R: FastMath>(seed: u64, len: usize) -> Vec<R> {
    let rng = Rng::new(seed, 99);
    (0..len).map(|i| R::from_f64(rng.normal(i as u64))).collect()
}

/// Initial parameters, moved off any special point.
pub fn params<R: FastMath>(encoding: &dyn Encoding<R>) -> Vec<R> {
    let initial = encoding.parameters().into_iter().flat_map(|parameter| parameter.init);
    let noise = Rng::new(5, 5);
    initial.enumerate().map(|(i, x)| R::from_f64(x + 0.1 * noise.normal(i as u64))).collect()
}

pub fn cast<A: Real, B: Real>(x: &[A]) -> Vec<B> {
    x.iter().map(|x| B::from_f64(x.to_f64())).collect()
}

pub fn cast_state<A: Real, B: Real>(state: &State<A>) -> State<B> {
    State { s: cast(&state.s), z: cast(&state.z) }
}

/// How the tokens of a call are laid out.
#[derive(Clone, Debug)]
pub struct Layout {
    pub queries: Vec<Segment>,
    pub keys: Vec<Segment>,
    pub query_tokens: usize,
    pub key_tokens: usize,
    pub causal: bool,
}

impl Layout {
    pub fn mask(&self) -> Mask<'_> {
        match self.causal {
            true => Mask::causal(&self.queries),
            false => Mask::Full { queries: &self.queries, keys: &self.keys },
        }
    }

    fn shared(segments: Vec<Segment>, tokens: usize, causal: bool) -> Self {
        Self { queries: segments.clone(), keys: segments, query_tokens: tokens, key_tokens: tokens, causal }
    }
}

/// The [`layouts`] that an attention accepts: with a decay, queries and keys are the same tokens.
pub fn layouts_for<R: FastMath>(attention: &LinearAttention<R>, time: usize) -> Vec<(String, Layout)> {
    let accepts = |layout: &Layout| layout.queries == layout.keys || !attention.decays();
    layouts(time).into_iter().filter(|(_, layout)| accepts(layout)).collect()
}

/// Dense batches at an offset, padded batches, packed sequences; causal and not, and unequal lengths where not.
pub fn layouts(time: usize) -> Vec<(String, Layout)> {
    let padded = vec![
        Segment { start: 1, len: time, offset: 0 },
        Segment { start: time + 3, len: time / 2, offset: -2 },
        Segment { start: 2 * time + 3, len: 0, offset: 0 },
    ];
    let mut layouts = Vec::new();
    for causal in [true, false] {
        let name = |kind: &str| format!("{kind}, {}, T={time}", if causal { "causal" } else { "full" });
        layouts.push((name("dense"), Layout::shared(dense(2, time, 1_000), 2 * time, causal)));
        layouts.push((name("padded"), Layout::shared(padded.clone(), 2 * time + 5, causal)));
    }
    let queries = vec![Segment { start: 0, len: 3, offset: 2 }, Segment { start: 3, len: time, offset: 0 }];
    let unequal = Layout {
        queries,
        keys: dense(2, time, 0),
        query_tokens: 3 + time,
        key_tokens: 2 * time,
        causal: false,
    };
    layouts.push((format!("unequal, full, T={time}"), unequal));
    layouts
}

/// Owned inputs of one call.
#[derive(Clone, Debug)]
pub struct Data<R> {
    pub q: Vec<R>,
    pub k: Vec<R>,
    pub v: Vec<R>,
    pub params: Vec<R>,
    pub initial: Option<State<R>>,
}

impl<R: FastMath> Data<R> {
    pub fn new(attention: &LinearAttention<R>, layout: &Layout, with_state: bool, seed: u64) -> Self {
        let params = params(&*attention.encoding);
        let zero = attention.zero_state(layout.queries.len());
        let initial = State { s: normals(seed + 3, zero.s.len()), z: normals(seed + 4, zero.z.len()) };
        // A normaliser's state is a sum of non-negative features.
        let initial = State { z: initial.z.into_iter().map(|x: R| x.abs()).collect(), ..initial };
        Self {
            q: normals(seed, layout.query_tokens * HEADS * KEY_DIM),
            k: normals(seed + 1, layout.key_tokens * HEADS * KEY_DIM),
            v: normals(seed + 2, layout.key_tokens * HEADS * VALUE_DIM),
            params,
            initial: with_state.then_some(initial),
        }
    }

    pub fn inputs(&self) -> Inputs<'_, R> {
        Inputs { q: &self.q, k: &self.k, v: &self.v, params: &self.params, initial: self.initial.as_ref() }
    }

    pub fn cast<S: Real>(&self) -> Data<S> {
        Data {
            q: cast(&self.q),
            k: cast(&self.k),
            v: cast(&self.v),
            params: cast(&self.params),
            initial: self.initial.as_ref().map(cast_state),
        }
    }
}

pub fn attention<R: FastMath>(
    config: &EncodingConfig,
    feature_map: FeatureMap,
    normalizer: Normalizer,
) -> LinearAttention<R> {
    let stage = build::<R>(config).stage();
    attention_at(stage, config, feature_map, normalizer)
}

/// [`attention`] with the encoding before or after φ.
pub fn attention_at<R: FastMath>(
    stage: Stage,
    config: &EncodingConfig,
    feature_map: FeatureMap,
    normalizer: Normalizer,
) -> LinearAttention<R> {
    let key_dim = match stage {
        Stage::BeforeFeatureMap => KEY_DIM,
        Stage::AfterFeatureMap => feature_map.feature_dim(KEY_DIM),
    };
    let encoding = config.build(Place { key_dim, heads: HEADS, layer: 1 }).unwrap();
    LinearAttention {
        feature_map: feature_map.bind(stage.mapped_dim(KEY_DIM, &*encoding)),
        encoding,
        stage,
        normalizer,
        eps: 1e-6,
        heads: HEADS,
        value_dim: VALUE_DIM,
        chunk: CHUNK,
    }
}

/// Encoding × feature map × normaliser, where each belongs and in unusual places.
pub fn operators() -> Vec<(String, LinearAttention<f64>)> {
    let usual = encodings().into_iter().flat_map(|(name, config)| {
        FeatureMap::ALL
            .map(|feature_map| (name.clone(), build::<f64>(&config).stage(), config.clone(), feature_map))
    });
    let random = |kernel, stabilize| {
        FeatureMap::Random(RandomFeatures { kernel, stabilize, features: 8, ..RandomFeatures::default() })
    };
    let favor = [random(RandomKernel::Softmax, false), random(RandomKernel::Relu, false)];
    let unusual = ["none", "rope", "lrpe-unitary", "lrpe-type3", "decay"].into_iter().flat_map(|name| {
        let config = preset(name).unwrap().config();
        let (before, after) = (Stage::BeforeFeatureMap, Stage::AfterFeatureMap);
        let maps = [(before, FeatureMap::Elu1), (before, favor[0]), (after, favor[0]), (after, favor[1])];
        maps.map(|(stage, feature_map)| (name.to_owned(), stage, config.clone(), feature_map))
    });
    let spe = ["sine-spe", "conv-spe"].into_iter().flat_map(|name| {
        let (_, config) = encodings().into_iter().find(|(other, _)| other == name).unwrap();
        let maps = [favor[0], random(RandomKernel::Softmax, true)];
        maps.map(|feature_map| (name.to_owned(), Stage::BeforeFeatureMap, config.clone(), feature_map))
    });
    let cases = usual.chain(unusual).chain(spe);
    cases
        .flat_map(|(name, stage, config, feature_map)| {
            NORMALIZERS.map(|normalizer| {
                let name = format!("{name}, {stage:?}, {feature_map:?}, {normalizer:?}");
                (name, attention_at(stage, &config, feature_map, normalizer))
            })
        })
        .collect()
}

/// Root mean square of the difference relative to that of the expected values; NaN never passes.
pub fn assert_close<A: Real, B: Real>(what: &str, got: &[A], expected: &[B], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}: lengths differ");
    let square = |sum: f64, x: f64| sum + x * x;
    let difference = got.iter().zip(expected).map(|(a, b)| a.to_f64() - b.to_f64()).fold(0.0, square).sqrt();
    let scale = expected.iter().map(|b| b.to_f64()).fold(0.0, square).sqrt();
    assert!(
        difference <= tolerance * scale,
        "{what}: relative error {:e} > {tolerance:e}",
        difference / scale
    );
}
