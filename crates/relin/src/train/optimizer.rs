//! One update of a model: gradients summed over micro-batches, clipped, and applied by AdamW.

use burn::module::Module;
use burn::tensor::Gradients;
use relin_kernels::adamw::{AdamW, clip_factor, global_norm};

use crate::model::{Site, for_each_parameter, gradients, is_of_an_encoding, map_parameters};
use crate::recipe::TrainConfig;

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
    sums: Vec<Vec<f32>>,
    micro_batches: usize,
}

/// Why no update was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFinite {
    /// First parameter whose gradient is not finite.
    pub parameter: String,
}

impl Optimizer {
    /// For a model, with zero moments.
    pub fn new<M: Module>(model: &M) -> Self {
        let (mut sites, mut zeros) = (Vec::new(), Vec::new());
        for_each_parameter(model, |site, values| {
            sites.push(site.clone());
            zeros.push(vec![0.0; values.len()]);
        });
        Self { sites, first: zeros.clone(), second: zeros, updates: 0, sums: Vec::new(), micro_batches: 0 }
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
            let ratio = if is_of_an_encoding(&site.name) { config.position_learning_rate_ratio } else { 1.0 };
            let adamw = AdamW {
                lr: ratio * lr,
                beta1: config.beta1,
                beta2: config.beta2,
                eps: config.eps,
                weight_decay: if site.shape.len() > 1 { config.weight_decay } else { 0.0 },
            };
            let (first, second) = (&mut self.first[at], &mut self.second[at]);
            adamw.step(&mut values, &sums[at], first, second, self.updates, scale);
            at += 1;
            values
        }))
    }
}
