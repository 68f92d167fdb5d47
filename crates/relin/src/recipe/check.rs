//! Whether the values of a recipe make sense, alone and together.

use std::fmt::Display;

use relin_kernels::encoding::{Decay, EncodingConfig, Place, Stage};

use super::{
    Absolute, AttentionKind, CrossPosition, DataConfig, ModelConfig, MusicConfig, Pair, Pixels, Pooling,
    ProbeKind, Recipe, RecipeError, Task, Tokenization, TokenizerChoice, TrainConfig,
};
use crate::data::{Augment, PATHFINDER_SIZES, PathfinderConfig, RandAugment};

type Checked = Result<(), RecipeError>;

pub(super) fn check(recipe: &Recipe) -> Checked {
    model(&recipe.model, recipe.data.context)?;
    sequences(recipe)?;
    between_sequences(recipe)?;
    probe(recipe)?;
    pooling(recipe)?;
    pairs(recipe)?;
    music(recipe)?;
    listops(recipe)?;
    pathfinder(&recipe.data.pathfinder)?;
    images(recipe)?;
    before_blocks(recipe)?;
    targets(recipe)?;
    data(&recipe.data)?;
    train(&recipe.train)
}

fn model(model: &ModelConfig, context: usize) -> Checked {
    at_least_one("model.hidden_size", model.hidden_size)?;
    at_least_one("model.num_hidden_layers", model.num_hidden_layers)?;
    at_least_one("model.num_attention_heads", model.num_attention_heads)?;
    at_least_one("model.attention_chunk", model.attention_chunk)?;
    at_least_one("model.intermediate_size", model.intermediate_size())?;
    at_least_one("model.vocab_size", model.vocab_size.unwrap_or(1))?;
    positive("model.norm_eps", model.norm_eps)?;
    not_negative("model.normalizer_eps", model.normalizer_eps)?;
    positive("model.initializer_range", model.initializer_range())?;
    let (hidden, heads) = (model.hidden_size, model.num_attention_heads);
    require(hidden.is_multiple_of(heads), "model.num_attention_heads", || {
        (format!("a divisor of `model.hidden_size` = {hidden}"), heads)
    })?;
    positions(model, context)
}

fn positions(model: &ModelConfig, context: usize) -> Checked {
    if let Some(named) = model.position.absolute() {
        let agrees = model.absolute == Absolute::None || model.absolute == named;
        require(agrees, "model.absolute", || {
            (
                format!("nothing else than `model.position` = {} says", model.position),
                format!("{:?}", model.absolute),
            )
        })?;
    }
    let (leading, needed) = (model.pooling.tokens(), context.saturating_add(model.pooling.tokens()));
    let known = model.max_position_embeddings.unwrap_or(needed);
    require(
        model.absolute() != Absolute::Learned || known >= needed,
        "model.max_position_embeddings",
        || {
            let before = if leading > 0 { format!(" and {leading} before it") } else { String::new() };
            (format!("at least `data.context` = {context}{before}"), known)
        },
    )?;
    bias(model)?;
    let head_dim = model.head_dim();
    let place = Place { key_dim: model.position_dim(), heads: model.num_attention_heads, layer: 0 };
    let encoding = model.position.encoding().build::<f32>(place).map_err(|source| RecipeError::Encoding {
        position: model.position.to_string(),
        head_dim,
        source,
    })?;
    let linear = model.attention == AttentionKind::Linear;
    let by_feature = linear && matches!(encoding.decay(0), Decay::PerFeature(_));
    require(!by_feature || model.position_stage() == Stage::AfterFeatureMap, "model.position_stage", || {
        ("\"after-feature-map\": the decay of each feature is one of the state", "before-feature-map")
    })
}

/// Without a causal mask linear attention computes `λ^|lag|` from both ends of a sequence, so queries and keys must be of the
/// same one: between a target and its source it has no decay.
fn between_sequences(recipe: &Recipe) -> Checked {
    let model = &recipe.model;
    if recipe.task != Task::SequenceToSequence || model.attention == AttentionKind::Softmax {
        return Ok(());
    }
    let position = model.cross_position();
    let (key_dim, heads) = (model.position_dim(), model.num_attention_heads);
    let built = position.encoding().build::<f32>(Place { key_dim, heads, layer: 0 });
    let decays = built.is_ok_and(|encoding| (0..heads).any(|head| encoding.decay(head) != Decay::None));
    require(!decays, "model.cross_position", || {
        (
            "an encoding without decay, which linear attention cannot have between a source and its target, or attention = \"softmax\"",
            position,
        )
    })
}

/// A target and its source: neither order nor length ties them together, so no mask between them is causal.
fn sequences(recipe: &Recipe) -> Checked {
    let (model, data) = (&recipe.model, &recipe.data);
    let paired = data.validation_source.is_none() || data.target_source.is_none();
    require(paired || data.validation_target_source.is_some(), "data.validation_target_source", || {
        ("targets beside `data.validation_source`, as `data.target_source` beside `data.source`", "none")
    })?;
    let CrossPosition::Own(position) = &model.cross_position else { return Ok(()) };
    require(position.absolute().is_none(), "model.cross_position", || {
        ("\"same\" or a relative encoding", position)
    })?;
    let as_if =
        ModelConfig { position: position.clone(), cross_position: CrossPosition::Same, ..model.clone() };
    let named = |error| match error {
        RecipeError::BadValue { expected, found, .. } => {
            RecipeError::BadValue { field: "model.cross_position", expected, found }
        }
        error => error,
    };
    positions(&as_if, data.context).map_err(named)
}

/// A vector before the sequence belongs to a classifier, and would move every cell of a grid by one.
fn pooling(recipe: &Recipe) -> Checked {
    let model = &recipe.model;
    let cls = model.pooling == Pooling::Cls;
    let classes = !matches!(
        recipe.task,
        Task::CausalLm | Task::MaskedLm | Task::Music | Task::Probe | Task::SequenceToSequence
    );
    require(!cls || classes, "model.pooling", || ("\"mean\" where nothing is classified", "cls"))?;
    let grid = matches!(model.position.encoding(), EncodingConfig::Grid(_));
    require(!cls || !grid, "model.pooling", || ("\"mean\" with a grid of positions", "cls"))
}

/// Two texts, read together or each by itself.
fn pairs(recipe: &Recipe) -> Checked {
    let texts = matches!(recipe.task, Task::TextClassification | Task::TextRegression);
    let column = recipe.data.text_pair_column.as_ref().filter(|_| texts);
    let towers = recipe.model.pair == Pair::TwoTower;
    require(!towers || column.is_some(), "model.pair", || {
        ("\"joined\", or task = \"text-classification\" with a `data.text_pair_column`", "two-tower")
    })?;
    let context = recipe.data.context;
    require(column.is_none() || towers || context >= LEAST_PAIR, "data.context", || {
        (format!("at least {LEAST_PAIR} tokens, for two texts and what separates them"), context)
    })
}

/// A token of each text, and one between them.
const LEAST_PAIR: usize = 3;

fn probe(recipe: &Recipe) -> Checked {
    let (probe, context) = (&recipe.data.probe, recipe.data.context);
    at_least_one("data.probe.lags", probe.lags)?;
    at_least_one("data.probe.items", probe.items)?;
    require(probe.symbols >= 2, "data.probe.symbols", || ("at least 2", probe.symbols))?;
    let recall = probe.kind == ProbeKind::AssociativeRecall;
    require(!recall || probe.items <= probe.symbols, "data.probe.items", || {
        (
            format!("at most `data.probe.symbols` = {}: every key is another symbol", probe.symbols),
            probe.items,
        )
    })?;
    let least = probe.least_length();
    require(recipe.task != Task::Probe || context >= least, "data.context", || {
        (format!("at least {least} tokens, so that a batch has answers"), context)
    })
}

/// Nothing that relin carries is music, and only `remi` has tempos and instruments.
fn music(recipe: &Recipe) -> Checked {
    let (music, data) = (&recipe.data.music, &recipe.data);
    let here = recipe.task == Task::Music;
    require(!here || data.source != DataConfig::default().source, "data.source", || {
        ("MIDI files, chorales in JSON, or a folder that `relin data make music` wrote", "none")
    })?;
    let most = MusicConfig::MOST_SEMITONES;
    require(music.transpose <= most, "data.music.transpose", || {
        (format!("at most {most} semitones"), music.transpose)
    })?;
    share("data.music.tempo", music.tempo)?;
    require(music.validation_context != Some(0), "data.music.validation_context", || {
        ("at least 1 token", 0)
    })?;
    let remi = music.tokenization == Tokenization::Remi;
    require(remi || music.tempo == 0.0, "data.music.tempo", || {
        ("0, but with tokenization = \"remi\": other tokens say no tempo", music.tempo)
    })?;
    require(remi || !music.programs, "data.music.programs", || {
        ("false, but with tokenization = \"remi\": other tokens say no instrument", "true")
    })
}

fn listops(recipe: &Recipe) -> Checked {
    let (listops, context) = (recipe.data.listops, recipe.data.context);
    at_least_one("data.listops.max_depth", listops.max_depth)?;
    at_least_one("data.listops.examples", listops.examples)?;
    at_least_one("data.listops.held_out", listops.held_out)?;
    require(listops.max_args >= 2, "data.listops.max_args", || ("at least 2", listops.max_args))?;
    let (least, most) = (listops.min_length, listops.max_length);
    require(least <= most, "data.listops.min_length", || {
        (format!("at most `data.listops.max_length` = {most}"), least)
    })?;
    require(recipe.task != Task::ListOps || most <= context, "data.context", || {
        (format!("at least `data.listops.max_length` = {most}, so that expressions are whole"), context)
    })
}

fn pathfinder(pathfinder: &PathfinderConfig) -> Checked {
    let (least, most) = PATHFINDER_SIZES;
    require((least..=most).contains(&pathfinder.size), "data.pathfinder.size", || {
        (format!("{least} to {most} pixels"), pathfinder.size)
    })?;
    at_least_one("data.pathfinder.contour_length", pathfinder.contour_length)?;
    at_least_one("data.pathfinder.distractor_length", pathfinder.distractor_length.unwrap_or(1))?;
    at_least_one("data.pathfinder.examples", pathfinder.examples)?;
    at_least_one("data.pathfinder.held_out", pathfinder.held_out)
}

fn images(recipe: &Recipe) -> Checked {
    let (model, data) = (&recipe.model, &recipe.data);
    let images = matches!(recipe.task, Task::ImageClassification | Task::Pathfinder);
    let patches = images && model.pixels == Pixels::Patches;
    require(!patches || model.patch_size.is_some_and(|side| side > 0), "model.patch_size", || {
        (
            "the pixels along a side of a patch",
            model.patch_size.map_or("none".into(), |side| side.to_string()),
        )
    })?;
    require(patches || model.patch_margin == 0, "model.patch_margin", || {
        ("0 for a model that takes no patches", model.patch_margin.to_string())
    })?;
    require(model.patch_margin <= 256, "model.patch_margin", || {
        ("at most 256 pixels", model.patch_margin.to_string())
    })?;
    let stated = model.image_mean.is_some() || model.image_std.is_some();
    require(!stated || data.normalize, "data.normalize", || {
        ("true beside `model.image_mean` and `model.image_std`, which it finds in the data", "false")
    })?;
    at_least_one("data.image_size", data.image_size.unwrap_or(1))?;
    augment(&data.augment)
}

/// What a classifier makes of tokens before its blocks.
fn before_blocks(recipe: &Recipe) -> Checked {
    let (model, stages) = (&recipe.model, recipe.model.stem.len());
    let images = matches!(recipe.task, Task::ImageClassification | Task::Pathfinder);
    let texts = matches!(recipe.task, Task::TextClassification | Task::TextRegression | Task::ListOps);
    let patches = images && model.pixels == Pixels::Patches;
    require(model.ngrams.is_empty() || texts || images && !patches, "model.ngrams", || {
        ("[], but for classifiers of tokens", format!("{:?}", model.ngrams))
    })?;
    model
        .ngrams
        .iter()
        .try_for_each(|n| require((2..=64).contains(n), "model.ngrams", || ("lengths from 2 to 64", n)))?;
    at_least_one("model.ngram_buckets", model.ngram_buckets)?;
    require(stages == 0 || images || texts, "model.stem", || {
        ("[], but for classifiers: others say something of every token", format!("{:?}", model.stem))
    })?;
    require(stages <= 8, "model.stem", || ("at most 8 stages", stages))?;
    model.stem.iter().try_for_each(|&width| at_least_one("model.stem", width))?;
    if stages == 0 || !patches {
        return Ok(());
    }
    let side = 1 << stages;
    require(model.patch_size == Some(side), "model.patch_size", || {
        let found = model.patch_size.map_or("none".into(), |side| side.to_string());
        (format!("{side} for a `model.stem` of {stages} stages"), found)
    })?;
    require(model.patch_margin == 0, "model.patch_margin", || {
        ("0 beside a `model.stem`, whose windows overlap", model.patch_margin)
    })
}

fn augment(augment: &Augment) -> Checked {
    for (field, alpha) in [("data.augment.mixup", augment.mixup), ("data.augment.cutmix", augment.cutmix)] {
        require((0.0..=1.0).contains(&alpha), field, || ("a number from 0 (never) to 1", alpha))?;
    }
    let Some(RandAugment { operations, magnitude }) = augment.rand_augment else { return Ok(()) };
    at_least_one("data.augment.rand_augment.operations", operations)?;
    require((0.0..=10.0).contains(&magnitude), "data.augment.rand_augment.magnitude", || {
        ("a number from 0 to 10", magnitude)
    })
}

/// Only a classifier has targets that can be smoothed.
fn targets(recipe: &Recipe) -> Checked {
    let smoothing = recipe.train.label_smoothing;
    share("train.label_smoothing", smoothing)?;
    let others = [
        Task::CausalLm,
        Task::MaskedLm,
        Task::Music,
        Task::Probe,
        Task::SequenceToSequence,
        Task::TextRegression,
    ];
    let classifier = !others.contains(&recipe.task);
    require(smoothing == 0.0 || classifier, "train.label_smoothing", || ("0, but for classifiers", smoothing))
}

fn bias(model: &ModelConfig) -> Checked {
    let Some(bias) = model.position.bias() else { return Ok(()) };
    let (position, head_dim) = (model.position.to_string(), model.head_dim());
    if model.attention == AttentionKind::Linear {
        return Err(RecipeError::NeedsSoftmax { position, source: bias.refuse_linear() });
    }
    let place = Place { key_dim: head_dim, heads: model.num_attention_heads, layer: 0 };
    let built = bias.build::<f32>(place).map(drop);
    built.map_err(|source| RecipeError::Encoding { position, head_dim, source })
}

fn data(data: &DataConfig) -> Checked {
    at_least_one("data.context", data.context)?;
    sources("data.source", &data.source.0)?;
    require(data.mask_share > 0.0 && data.mask_share < 1.0, "data.mask_share", || {
        ("a share above 0 and below 1", data.mask_share)
    })?;
    let named = data.columns.as_ref().is_none_or(|columns| columns.iter().any(|name| !name.is_empty()));
    require(named, "data.columns", || ("the names of a table's columns", "nothing"))?;
    match &data.validation_source {
        Some(validation) => sources("data.validation_source", &validation.0)?,
        None => require(data.validation > 0.0 && data.validation < 1.0, "data.validation", || {
            ("a share above 0 and below 1, or a `data.validation_source`", data.validation)
        })?,
    }
    require(data.tokenizer != TokenizerChoice::Bpe || data.vocab_size >= 257, "data.vocab_size", || {
        ("at least 257 (the 256 bytes and a merge) with tokenizer `bpe`", data.vocab_size)
    })
}

fn sources(field: &'static str, sources: &[String]) -> Checked {
    let named = !sources.is_empty() && sources.iter().all(|source| !source.is_empty());
    require(named, field, || ("a path or a name", "nothing"))
}

fn train(train: &TrainConfig) -> Checked {
    at_least_one("train.steps", train.steps)?;
    at_least_one("train.batch_size", train.batch_size)?;
    at_least_one("train.gradient_accumulation", train.gradient_accumulation)?;
    at_least_one("train.log_every", train.log_every)?;
    at_least_one("train.keep_checkpoints", train.keep_checkpoints)?;
    positive("train.learning_rate", train.learning_rate)?;
    not_negative("train.position_learning_rate_ratio", train.position_learning_rate_ratio)?;
    positive("train.eps", train.eps)?;
    not_negative("train.weight_decay", train.weight_decay)?;
    not_negative("train.grad_clip", train.grad_clip)?;
    share("train.beta1", train.beta1)?;
    share("train.beta2", train.beta2)?;
    share("train.dropout", train.dropout)?;
    share("train.drop_path", train.drop_path)?;
    let floor = train.min_learning_rate_ratio;
    require((0.0..=1.0).contains(&floor), "train.min_learning_rate_ratio", || ("a number from 0 to 1", floor))
}

fn require<E: Display, F: Display>(ok: bool, field: &'static str, why: impl FnOnce() -> (E, F)) -> Checked {
    if ok {
        return Ok(());
    }
    let (expected, found) = why();
    Err(RecipeError::BadValue { field, expected: expected.to_string(), found: found.to_string() })
}

fn at_least_one(field: &'static str, value: usize) -> Checked {
    require(value >= 1, field, || ("a whole number of at least 1", value))
}

fn positive(field: &'static str, value: f64) -> Checked {
    require(value.is_finite() && value > 0.0, field, || ("a number above 0", value))
}

fn not_negative(field: &'static str, value: f64) -> Checked {
    require(value.is_finite() && value >= 0.0, field, || ("a number of at least 0", value))
}

fn share(field: &'static str, value: f64) -> Checked {
    require((0.0..1.0).contains(&value), field, || ("a number from 0 up to, not including, 1", value))
}
