//! Initial weights, each a pure function of the seed and the weight's own name, so that models that share a
//! weight's name and shape share its initial value.

use burn::module::Module;
use relin_kernels::rng::Rng;

use super::tensors::map_parameters;
use crate::recipe::ModelConfig;

/// Normal weights of the configured deviation, divided by `√(2L)` for projections into the residual stream; in a stem, whose
/// layers are of many widths, of the deviation `inputs^(−1/2)`, which keeps variances. Zero biases. Norms and encodings keep
/// the values they were built with.
pub(super) fn initialize<M: Module>(model: M, config: &ModelConfig, seed: u64) -> M {
    let residual = (2.0 * config.num_hidden_layers as f64).sqrt();
    map_parameters(model, |site, values| match (site.shape.len(), site.name.rsplit('.').next()) {
        (2, Some("weight")) => {
            let into_residual =
                ["o_proj.weight", "down_proj.weight"].iter().any(|end| site.name.ends_with(end));
            let deviation = if site.name.contains(".stem.") {
                (site.shape[0] as f64).powf(-0.5)
            } else {
                config.initializer_range() / if into_residual { residual } else { 1.0 }
            };
            let rng = Rng::new(seed, hash(&site.name));
            (0..values.len() as u64).map(|i| (deviation * rng.normal(i)) as f32).collect()
        }
        (1, Some("bias")) => vec![0.0; values.len()],
        _ => values,
    })
}

/// FNV-1a.
fn hash(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
