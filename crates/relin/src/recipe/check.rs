//! Whether the values of a recipe make sense, alone and together.

use std::fmt::Display;

use relin_kernels::encoding::{Decay, Place, Stage};

use super::{
    Absolute, AttentionKind, CrossPosition, DataConfig, LEAST_PROBE, ModelConfig, ProbeConfig, Recipe,
    RecipeError, Task, TokenizerChoice, TrainConfig,
};

type Checked = Result<(), RecipeError>;

pub(super) fn check(recipe: &Recipe) -> Checked {
    model(&recipe.model, recipe.data.context)?;
    masks(recipe)?;
    sequences(recipe)?;
    probe(recipe)?;
    let images = recipe.task == Task::ImageClassification;
    require(!images || recipe.model.patch_size.is_some_and(|side| side > 0), "model.patch_size", || {
        (
            "the pixels along a side of a patch",
            recipe.model.patch_size.map_or("none".into(), |side| side.to_string()),
        )
    })?;
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
    positive("model.initializer_range", model.initializer_range)?;
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
    let known = model.max_position_embeddings.unwrap_or(context);
    require(
        model.absolute() != Absolute::Learned || known >= context,
        "model.max_position_embeddings",
        || (format!("at least `data.context` = {context}"), known),
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

/// `λ^|lag|` is no product of a query's part and a key's part, so linear attention has a decay only where it is causal.
fn masks(recipe: &Recipe) -> Checked {
    let model = &recipe.model;
    let causal = matches!(recipe.task, Task::CausalLm | Task::Probe);
    if causal || model.attention == AttentionKind::Softmax {
        return Ok(());
    }
    let (key_dim, heads) = (model.position_dim(), model.num_attention_heads);
    let built = model.position.encoding().build::<f32>(Place { key_dim, heads, layer: 0 });
    let decays = built.is_ok_and(|encoding| (0..heads).any(|head| encoding.decay(head) != Decay::None));
    require(!decays, "model.position", || {
        (
            "an encoding without decay, which linear attention cannot have without a causal mask, or attention = \"softmax\"",
            &model.position,
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
    let as_if = Recipe {
        task: Task::SequenceToSequence,
        model: ModelConfig {
            position: position.clone(),
            cross_position: CrossPosition::Same,
            ..model.clone()
        },
        ..recipe.clone()
    };
    let named = |error| match error {
        RecipeError::BadValue { expected, found, .. } => {
            RecipeError::BadValue { field: "model.cross_position", expected, found }
        }
        error => error,
    };
    positions(&as_if.model, data.context).and_then(|()| masks(&as_if)).map_err(named)
}

fn probe(recipe: &Recipe) -> Checked {
    let (ProbeConfig { symbols, lags }, context) = (recipe.data.probe, recipe.data.context);
    at_least_one("data.probe.lags", lags)?;
    require(symbols >= 2, "data.probe.symbols", || ("at least 2", symbols))?;
    let is_probe = recipe.task == Task::Probe;
    require(!is_probe || context >= LEAST_PROBE, "data.context", || {
        (format!("at least {LEAST_PROBE} tokens, so that a batch has answers"), context)
    })
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
    positive("train.eps", train.eps)?;
    not_negative("train.weight_decay", train.weight_decay)?;
    not_negative("train.grad_clip", train.grad_clip)?;
    share("train.beta1", train.beta1)?;
    share("train.beta2", train.beta2)?;
    share("train.dropout", train.dropout)?;
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
