//! The names under which encodings are known; spec and literature in one table.

use super::decay::DecayConfig;
use super::lrpe::{Basis, Family, LrpeConfig, Pairs, Spacing};
use super::spe::{ConvSpeConfig, NoiseMode, SineSpeConfig};
use super::{CosformerConfig, EncodingConfig, PermuteformerConfig, XposConfig};

/// A named encoding.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Name in recipes.
    pub name: &'static str,
    /// What it is, in a line.
    pub summary: &'static str,
    config: fn() -> EncodingConfig,
}

impl Preset {
    /// The configuration behind the name.
    pub fn config(&self) -> EncodingConfig {
        (self.config)()
    }
}

/// Every named encoding. The LRPE authors' numbering is theirs (ICLR 2023 code): `lrpe-type1` … `lrpe-type8`.
pub const PRESETS: &[Preset] = &[
    Preset { name: "none", summary: "no relative encoding, W = I", config: || EncodingConfig::None },
    Preset {
        name: "rope",
        summary: "rotation of half-split pairs, fixed θ, P = I (GPT-NeoX layout)",
        config: || rotation(Basis::Identity, Pairs::Half, false, false),
    },
    Preset {
        name: "rope-interleaved",
        summary: "rotation of adjacent pairs, fixed θ, P = I (GPT-J layout)",
        config: || rotation(Basis::Identity, Pairs::Interleaved, false, false),
    },
    Preset {
        name: "lrpe-unitary",
        summary: "complex phases, fixed θ, fixed Householder P; even in the lag",
        config: || unitary(Basis::Householder, false),
    },
    Preset {
        name: "lrpe-unitary-learned",
        summary: "complex phases, learned θ, fixed Householder P; even in the lag",
        config: || unitary(Basis::Householder, true),
    },
    Preset {
        name: "lrpe-orthogonal",
        summary: "rotation, learned θ, fixed Householder P",
        config: || rotation(Basis::Householder, Pairs::Interleaved, true, false),
    },
    Preset {
        name: "lrpe-permutation",
        summary: "powers of one random permutation, fixed Householder P",
        config: || permutation(Basis::Householder),
    },
    Preset {
        name: "lrpe-type1",
        summary: "rotation, fixed θ, fixed Householder P",
        config: || rotation(Basis::Householder, Pairs::Interleaved, false, false),
    },
    Preset {
        name: "lrpe-type2",
        summary: "rotation, learned θ, fixed Householder P",
        config: || rotation(Basis::Householder, Pairs::Interleaved, true, false),
    },
    Preset {
        name: "lrpe-type3",
        summary: "rotation, learned θ, learned Householder P",
        config: || rotation(Basis::Householder, Pairs::Interleaved, true, true),
    },
    Preset {
        name: "lrpe-type4",
        summary: "permutation, fixed Householder P",
        config: || permutation(Basis::Householder),
    },
    Preset {
        name: "lrpe-type5",
        summary: "rotation, fixed θ, odd-even P; the scores of rope",
        config: || rotation(Basis::OddEven, Pairs::Interleaved, false, false),
    },
    Preset {
        name: "lrpe-type6",
        summary: "rotation, learned θ, odd-even P",
        config: || rotation(Basis::OddEven, Pairs::Interleaved, true, false),
    },
    Preset { name: "lrpe-type7", summary: "permutation, odd-even P", config: || permutation(Basis::OddEven) },
    Preset {
        name: "lrpe-type8",
        summary: "complex phases, fixed θ, Fourier P; tells left from right",
        config: || unitary(Basis::Fourier, false),
    },
    Preset {
        name: "sine-spe",
        summary: "stochastic: covariance of sines, learned, gated; acts before φ",
        config: || EncodingConfig::SineSpe(SineSpeConfig::default()),
    },
    Preset {
        name: "sine-spe-ungated",
        summary: "stochastic: covariance of sines, learned; acts before φ",
        config: || EncodingConfig::SineSpe(SineSpeConfig { gated: false, ..SineSpeConfig::default() }),
    },
    Preset {
        name: "sine-exact",
        summary: "sine-spe without noise (R → ∞): (2·sines + 1)·K features",
        config: || {
            EncodingConfig::SineSpe(SineSpeConfig { noise: NoiseMode::Exact, ..SineSpeConfig::default() })
        },
    },
    Preset {
        name: "conv-spe",
        summary: "stochastic: correlation of learned filters, gated; acts before φ",
        config: || EncodingConfig::ConvSpe(ConvSpeConfig::default()),
    },
    Preset {
        name: "conv-spe-ungated",
        summary: "stochastic: correlation of learned filters; acts before φ",
        config: || EncodingConfig::ConvSpe(ConvSpeConfig { gated: false, ..ConvSpeConfig::default() }),
    },
    Preset {
        name: "cosformer",
        summary: "one slow phase, cos(πΔ/2M); even in the lag",
        config: || EncodingConfig::Cosformer(CosformerConfig::default()),
    },
    Preset {
        name: "permuteformer",
        summary: "powers of a random permutation a head, decaying",
        config: || EncodingConfig::Permuteformer(PermuteformerConfig::default()),
    },
    Preset {
        name: "xpos",
        summary: "rotation of half-split pairs, each with its own decay",
        config: || EncodingConfig::Xpos(XposConfig::default()),
    },
    Preset {
        name: "decay",
        summary: "decay alone, a rate a head",
        config: || EncodingConfig::Decay(DecayConfig::default()),
    },
    Preset {
        name: "lrpe-decay",
        summary: "decay and complex phases, learned θ of each head (LRPE-d)",
        config: || {
            // Even angles tell lags apart that a decay leaves audible, which a geometric progression has not learned to.
            let phases = LrpeConfig {
                spacing: Spacing::Linear,
                basis: Basis::Identity,
                learn_theta: true,
                per_head: true,
                ..LrpeConfig::default()
            };
            let inner = Box::new(EncodingConfig::Lrpe(phases));
            EncodingConfig::Decay(DecayConfig { inner, ..DecayConfig::default() })
        },
    },
];

/// The preset of that name, if there is one.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

fn unitary(basis: Basis, learn_theta: bool) -> EncodingConfig {
    EncodingConfig::Lrpe(LrpeConfig { family: Family::Unitary, basis, learn_theta, ..LrpeConfig::default() })
}

fn rotation(basis: Basis, pairs: Pairs, learn_theta: bool, learn_basis: bool) -> EncodingConfig {
    let family = Family::Orthogonal;
    EncodingConfig::Lrpe(LrpeConfig {
        family,
        basis,
        pairs,
        learn_theta,
        learn_basis,
        ..LrpeConfig::default()
    })
}

fn permutation(basis: Basis) -> EncodingConfig {
    EncodingConfig::Lrpe(LrpeConfig { family: Family::Permutation, basis, ..LrpeConfig::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Place;
    use crate::feature_map::FeatureMap;

    #[test]
    fn names_are_unique_and_every_preset_builds() {
        for (i, preset) in PRESETS.iter().enumerate() {
            assert!(PRESETS[..i].iter().all(|other| other.name != preset.name), "{} twice", preset.name);
            let place = Place { key_dim: 8, heads: 2, layer: 0 };
            let encoding = preset.config().build::<f64>(place).unwrap();
            assert_eq!(encoding.key_dim(), 8, "{}", preset.name);
            assert_eq!(encoding.stage(), preset.config().stage(FeatureMap::Elu1), "{}", preset.name);
        }
    }
}
