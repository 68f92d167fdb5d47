//! One update of a model: gradients summed over micro-batches, clipped, and applied by AdamW.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::Gradients;
use relin_kernels::adamw::{AdamW, clip_factor, global_norm};
use relin_kernels::encoding::Parameter;

use crate::model::{Network, Site, for_each_parameter, gradients, is_of_an_encoding, map_parameters};
use crate::recipe::{AngleOptimizer, TrainConfig};

/// Least decay of both means where steps are squared. A mean of few gradients is mostly noise; and a mean of squares that forgot
/// sooner would let the step grow without bound whenever gradients shrink.
const SQUARED_BETA: f64 = 0.99;
/// Squared steps are shorter: what texts gain by them wants three times the learning rate (docs/results/angles.md).
const SQUARED_LEARNING_RATE: f64 = 3.0;

/// AdamW with its moments, one pair of arrays for each parameter in the model's order.
#[derive(Clone, Debug)]
pub struct Optimizer {
    /// Sites of the parameters.
    pub sites: Vec<Site>,
    /// Means of the gradients.
    pub first: Vec<Vec<f32>>,
    /// Means of their squares.
    pub second: Vec<Vec<f32>>,
    /// Updates made.
    pub updates: u64,
    parts: Vec<Vec<Part>>,
    sums: Vec<Vec<f32>>,
    micro_batches: usize,
}

/// Elements of a flat parameter that are updated alike.
#[derive(Clone, Debug)]
struct Part {
    range: Range<usize>,
    of_an_encoding: bool,
    multiplies_position: bool,
}

/// Why no update was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFinite {
    /// First parameter whose gradient is not finite.
    pub parameter: String,
}

impl Optimizer {
    /// For a model, with zero moments.
    pub fn new<M: Network>(model: &M) -> Self {
        let mut encodings = model.encoding_parameters().into_iter();
        let (mut sites, mut zeros, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for_each_parameter(model, |site, values| {
            sites.push(site.clone());
            parts.push(match is_of_an_encoding(&site.name) {
                true => Part::of_encoding(&encodings.next().unwrap_or_default()),
                false => {
                    vec![Part { range: 0..values.len(), of_an_encoding: false, multiplies_position: false }]
                }
            });
            zeros.push(vec![0.0; values.len()]);
        });
        let (first, second) = (zeros.clone(), zeros);
        Self { sites, first, second, updates: 0, parts, sums: Vec::new(), micro_batches: 0 }
    }

    /// Adds the gradients of a micro-batch.
    pub fn accumulate<M: Module>(&mut self, model: &M, passes: &mut [Gradients]) {
        let gradients = gradients(model, passes);
        self.micro_batches += 1;
        if self.micro_batches == 1 {
            self.sums = gradients;
            return;
        }
        for (sum, gradient) in self.sums.iter_mut().zip(gradients) {
            sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
        }
    }

    /// Applies the mean of the accumulated gradients and forgets them. Only matrices decay.
    ///
    /// # Errors
    /// If a gradient is not finite; the model is then as before.
    pub fn update<M: Module>(
        &mut self,
        model: M,
        config: &TrainConfig,
        lr: f64,
    ) -> Result<M, (M, NotFinite)> {
        let sums = std::mem::take(&mut self.sums);
        let mean = 1.0 / std::mem::take(&mut self.micro_batches).max(1) as f64;
        let slices: Vec<&[f32]> = sums.iter().map(Vec::as_slice).collect();
        let norm = global_norm(&slices) * mean;
        if !norm.is_finite() {
            let broken = sums.iter().position(|sum| sum.iter().any(|x| !x.is_finite()));
            let parameter =
                broken.map_or_else(|| "the gradient's norm".into(), |at| self.sites[at].name.clone());
            return Err((model, NotFinite { parameter }));
        }
        let limit = if config.grad_clip > 0.0 { config.grad_clip } else { f64::INFINITY };
        let scale = mean * clip_factor(norm, limit);
        self.updates += 1;
        let mut at = 0;
        Ok(map_parameters(model, |site, mut values| {
            for part in &self.parts[at] {
                let range = part.range.clone();
                let gradients = &sums[at][range.clone()];
                let (first, second) =
                    (&mut self.first[at][range.clone()], &mut self.second[at][range.clone()]);
                let adamw = part.adamw(config, lr, site.shape.len() > 1);
                adamw.step(&mut values[range], gradients, first, second, self.updates, scale);
            }
            at += 1;
            values
        }))
    }
}

impl Part {
    fn of_encoding(parameters: &[Parameter]) -> Vec<Self> {
        let mut end = 0;
        let part = |parameter: &Parameter| {
            let start = end;
            end += parameter.len();
            let multiplies_position = parameter.multiplies_position;
            Self { range: start..end, of_an_encoding: true, multiplies_position }
        };
        parameters.iter().map(part).collect()
    }

    fn adamw(&self, config: &TrainConfig, lr: f64, decays: bool) -> AdamW {
        let squared = self.multiplies_position && config.angle_optimizer == AngleOptimizer::AdamwSquared;
        let ratio = if self.of_an_encoding { config.position_learning_rate_ratio } else { 1.0 };
        AdamW {
            lr: lr * ratio * if squared { SQUARED_LEARNING_RATE } else { 1.0 },
            beta1: if squared { config.beta1.max(SQUARED_BETA) } else { config.beta1 },
            beta2: if squared { config.beta2.max(config.beta1).max(SQUARED_BETA) } else { config.beta2 },
            eps: config.eps,
            weight_decay: if decays { config.weight_decay } else { 0.0 },
            squared,
        }
    }
}

#[cfg(test)]
mod tests {
    use relin_kernels::encoding::{EncodingConfig, LrpeConfig, Place};

    use super::*;

    #[test]
    fn angles_alone_take_squared_steps() {
        let learned = LrpeConfig { learn_theta: true, learn_basis: true, ..LrpeConfig::default() };
        let encoding =
            EncodingConfig::Lrpe(learned).build::<f32>(Place { key_dim: 8, heads: 2, layer: 0 }).unwrap();
        let parameters = encoding.parameters();
        let names: Vec<_> = parameters.iter().map(|parameter| parameter.name).collect();
        assert_eq!(names, ["theta", "reflections"]);
        let [angles, reflections] = &Part::of_encoding(&parameters)[..] else { panic!("two parts") };
        let end = angles.range.end + parameters[1].len();
        assert_eq!(
            (angles.range.clone(), reflections.range.clone()),
            (0..parameters[0].len(), angles.range.end..end)
        );

        let usual = TrainConfig { beta1: 0.9, beta2: 0.95, ..TrainConfig::default() };
        let of = |part: &Part, config: &TrainConfig| {
            let AdamW { lr, beta1, beta2, squared, .. } = part.adamw(config, 0.5, false);
            (lr, beta1, beta2, squared)
        };
        assert_eq!(of(angles, &usual), (15.0, 0.99, 0.99, true));
        assert_eq!(of(reflections, &usual), (5.0, 0.9, 0.95, false));
        let former = TrainConfig { angle_optimizer: AngleOptimizer::Adamw, ..usual };
        assert_eq!(of(angles, &former), of(reflections, &former));
    }
}
