//! `relin bench train`: training steps as `relin train` makes them, on random tokens.

use std::cell::{Cell, RefCell};

use relin::data::Batch;
use relin::model::CausalLm;
use relin::recipe::{self, AttentionKind, Mlp, ModelConfig, Recipe, Schedule};
use relin::train::Learner;
use relin_kernels::rng::Rng;

use super::attention::shape_of;
use super::definition::{BatchShape, Direction, TrainDefinition, Variant, check_list, check_time};
use super::error::BenchError;
use super::inputs::Sizes;
use super::machine::{Sgemm, bandwidth};
use super::memory::peak_of;
use super::operator::{Linear, Method, Operator, Subject};
use super::report::{self, Measurement};
use super::timing::{Case, Times, compare, timed};
use super::{Setting, in_pools};

/// Updates before the timed ones: the loss on their one batch must fall.
const TRIAL_STEPS: usize = 3;

pub fn run(definition: &TrainDefinition, setting: &Setting) -> Result<Vec<Measurement>, BenchError> {
    check_time(definition.seconds_per_measurement)?;
    check_list("threads", &definition.threads)?;
    check_list("variant", &definition.variant)?;
    check_list("shape", &definition.shape)?;
    report::header(&setting.output);
    in_pools(&definition.threads, || {
        let (sgemm, bandwidth) = (Sgemm::new(), bandwidth(definition.bandwidth_mib));
        report::machine(&setting.output, rayon::current_num_threads(), sgemm.gflops(), bandwidth);
        let mut measurements = Vec::new();
        for shape in &definition.shape {
            let pupils = definition.variant.iter();
            let pupils = pupils.map(|variant| Pupil::new(&definition.model, variant, shape, setting.seed));
            let pupils = pupils.collect::<Result<Vec<_>, _>>()?;
            let mut cases: Vec<Case<'_>> = pupils.iter().map(Pupil::case).collect();
            let times = compare(definition.seconds_per_measurement, &sgemm, &mut cases)?;
            drop(cases);
            for (pupil, times) in pupils.iter().zip(&times) {
                let measurement = pupil.measurement(times, bandwidth)?;
                measurement.print(&setting.output);
                measurements.push(measurement);
            }
        }
        Ok(measurements)
    })
}

/// A model in training.
struct Pupil {
    recipe: Recipe,
    variant: Variant,
    sizes: Sizes,
    batch: Batch,
    learner: RefCell<Learner<CausalLm>>,
    /// Updates made.
    step: Cell<usize>,
    peak_bytes: usize,
}

impl Pupil {
    fn new(
        model: &ModelConfig,
        variant: &Variant,
        shape: &BatchShape,
        seed: u64,
    ) -> Result<Self, BenchError> {
        let recipe = recipe(model, variant, shape, seed)?;
        let sizes = sizes(&recipe);
        let batch = random_batch(&recipe, seed);
        let (learner, peak_bytes) = peak_of(|| try_out(&recipe, &batch));
        let (learner, losses) = learner?;
        let step = Cell::new(losses.len());
        let pupil = Self {
            recipe,
            variant: *variant,
            sizes,
            batch,
            learner: RefCell::new(learner),
            step,
            peak_bytes,
        };
        pupil.learns(&losses)?;
        Ok(pupil)
    }

    /// On one batch, from random weights: the first loss is that of guessing, and it falls.
    fn learns(&self, losses: &[f64]) -> Result<(), BenchError> {
        let guessing = (self.recipe.model.vocab_size.unwrap_or(1) as f64).ln();
        let (before, after) = (losses[0], losses[losses.len() - 1]);
        if (before / guessing - 1.0).abs() < 0.1 && after < before {
            return Ok(());
        }
        Err(BenchError::LearnsNothing { what: self.name(), before, after, guessing })
    }

    fn name(&self) -> String {
        match self.variant.attention {
            AttentionKind::Linear => "train-linear".into(),
            AttentionKind::Softmax => "train-softmax".into(),
        }
    }

    fn case(&self) -> Case<'_> {
        Box::new(|| {
            self.step.set(self.step.get() + 1);
            timed(|| update(&mut self.learner.borrow_mut(), &self.recipe, &self.batch, self.step.get()))
        })
    }

    /// Matrix products of the model, three times those of its forward pass, and of its attention.
    fn flops(&self) -> Result<f64, BenchError> {
        let model = &self.recipe.model;
        let (width, inner) = (model.hidden_size, model.intermediate_size());
        let feed_forward = if model.mlp == Mlp::Gated { 3 * width * inner } else { 2 * width * inner };
        let weights = model.num_hidden_layers * (4 * width * width + feed_forward)
            + width * model.vocab_size.unwrap_or(0);
        let attention = self.attention()?.flops(Direction::ForwardBackward, &self.sizes.segments());
        let products = 6.0 * weights as f64 * self.sizes.tokens() as f64;
        Ok(products + model.num_hidden_layers as f64 * attention as f64)
    }

    fn attention(&self) -> Result<Operator<f32>, BenchError> {
        let model = &self.recipe.model;
        let linear = Linear { feature_map: model.feature_map, normalizer: model.normalizer };
        let method = match self.variant.attention {
            AttentionKind::Linear => Method::Linear(linear),
            AttentionKind::Softmax => Method::Softmax,
        };
        Subject { method, position: self.variant.position }.build(&self.sizes, self.sizes.heads)
    }

    fn measurement(&self, times: &Times, bandwidth: Option<f64>) -> Result<Measurement, BenchError> {
        let gflops = self.flops()? / times.median() / 1e9;
        Ok(Measurement {
            name: self.name(),
            position: self.variant.position.name().into(),
            shape: shape_of(&self.sizes, self.attention()?.encoded_dim()),
            threads: rayon::current_num_threads(),
            direction: Direction::ForwardBackward.name(),
            median_seconds: times.median(),
            min_seconds: times.least(),
            calls: times.calls.len(),
            tokens_per_second: self.sizes.tokens() as f64 / times.median(),
            gflops,
            sgemm_gflops: times.sgemm_gflops(),
            fraction_of_sgemm: gflops / times.sgemm_gflops(),
            peak_bytes: self.peak_bytes,
            relative_error: None,
            overhead: None,
            memory_gigabytes_per_second: bandwidth,
        })
    }
}

/// The first updates, and the losses before them.
fn try_out(recipe: &Recipe, batch: &Batch) -> Result<(Learner<CausalLm>, Vec<f64>), BenchError> {
    let mut learner = Learner::new(&recipe.model, recipe.train.seed)?;
    let losses = (1..=TRIAL_STEPS).map(|step| update(&mut learner, recipe, batch, step));
    let losses = losses.collect::<Result<Vec<_>, _>>()?;
    Ok((learner, losses))
}

fn update(
    learner: &mut Learner<CausalLm>,
    recipe: &Recipe,
    batch: &Batch,
    step: usize,
) -> Result<f64, BenchError> {
    Ok(learner.update(&recipe.train, step, |_| Ok(batch.clone()))?)
}

fn recipe(
    model: &ModelConfig,
    variant: &Variant,
    shape: &BatchShape,
    seed: u64,
) -> Result<Recipe, BenchError> {
    let vocab_size = model.vocab_size.ok_or_else(|| BenchError::BadValue {
        field: "model.vocab_size",
        expected: "a number of tokens",
        found: "none".into(),
    })?;
    let mut recipe = Recipe { model: model.clone(), ..Recipe::default() };
    recipe.model.attention = variant.attention;
    recipe.model.position = recipe::Position::Preset(variant.position.name().into());
    recipe.data.context = shape.length.get();
    recipe.train.batch_size = shape.batch.get();
    recipe.train.warmup_steps = 0;
    recipe.train.schedule = Schedule::Constant;
    recipe.train.seed = seed;
    recipe.resolve(Some(vocab_size));
    recipe.check()?;
    Ok(recipe)
}

fn sizes(recipe: &Recipe) -> Sizes {
    let (model, head_dim) = (&recipe.model, recipe.model.head_dim());
    Sizes {
        batch: recipe.train.batch_size,
        heads: model.num_attention_heads,
        key_dim: head_dim,
        value_dim: head_dim,
        chunk: model.attention_chunk,
        length: recipe.data.context,
    }
}

fn random_batch(recipe: &Recipe, seed: u64) -> Batch {
    let (rows, length) = (recipe.train.batch_size, recipe.data.context);
    let vocab_size = recipe.model.vocab_size.unwrap_or(1) as u64;
    let tokens = |stream| {
        let rng = Rng::new(seed, stream);
        (0..(rows * length) as u64).map(|i| rng.below(i, vocab_size) as u32).collect()
    };
    Batch { inputs: tokens(0), targets: tokens(1), rows, length, segments: None }
}
