//! Encodings in words: family, kernel, where they act.

use relin_kernels::encoding::bias::BiasConfig;
use relin_kernels::encoding::lrpe::{Basis, Family};
use relin_kernels::encoding::spe::{NoiseMode, Normalization};
use relin_kernels::encoding::{EncodingConfig, LrpeConfig};

/// Family and kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    pub family: String,
    /// `W_Δ`, or what is added to a logit.
    pub kernel: String,
}

fn form(family: impl Into<String>, kernel: impl Into<String>) -> Form {
    Form { family: family.into(), kernel: kernel.into() }
}

/// Of an encoding.
pub fn of_encoding(config: &EncodingConfig) -> Form {
    match config {
        EncodingConfig::None => form("none", "W = I"),
        EncodingConfig::Lrpe(config) => of_lrpe(config),
        EncodingConfig::SineSpe(config) => {
            let noise = if config.noise == NoiseMode::Exact { "exact limit" } else { "stochastic" };
            let norm = if config.normalization == Normalization::Code { "1/(2·sines) " } else { "" };
            let p = format!("P_d(τ) = {norm}Σ λ² cos(2πfτ + θ)");
            form(format!("sineSPE, {noise}"), covariance(config.gated, &p))
        }
        EncodingConfig::ConvSpe(config) => {
            form("convSPE, stochastic", covariance(config.gated, "P_d(τ) = Σ_j w^q_j w^k_(j+τ)"))
        }
        EncodingConfig::Cosformer(_) => form("cosFormer", "W_Δ = cos(πΔ/2M) I"),
        EncodingConfig::Permuteformer(config) => match config.decay {
            true => form("PermuteFormer", "W_Δ = r_h^|Δ| Π_h^Δ"),
            false => form("PermuteFormer without decay", "W_Δ = Π_h^Δ"),
        },
        EncodingConfig::Xpos(_) => form("xPos", "W_Δ = blockdiag(ζ_j^(|Δ|/b) R(Δθ_j))"),
        EncodingConfig::Decay(config) => match &*config.inner {
            EncodingConfig::None => form("decay", "W_Δ = λ_h^|Δ| I"),
            inner => {
                let Form { family, kernel } = of_encoding(inner);
                let kernel = kernel.split_once("= ").map_or(kernel.as_str(), |(_, right)| right);
                form(format!("decay around {family}"), format!("W_Δ = λ_h^|Δ| {kernel}"))
            }
        },
        EncodingConfig::Grid(config) => {
            let Form { family, .. } = of_encoding(&config.inner);
            let axes = config.shape.len();
            form(format!("{axes} axes of {family}"), "W = blockdiag(W^1_Δ1, …), Δ from cell 0")
        }
        EncodingConfig::OrthogonalGroup(_) => form("learned orthogonal group", "W_Δ = P^T R(Δθ) P"),
        EncodingConfig::SignedPermutation(_) => form("signed permutation", "W_Δ = (DΠ)^Δ, D = diag(±1)"),
    }
}

fn covariance(gated: bool, p: &str) -> String {
    match gated {
        true => format!("W_Δ = diag((1 − g_d) P_d(−Δ) + g_d), {p}"),
        false => format!("W_Δ = diag(P_d(−Δ)), {p}"),
    }
}

fn of_lrpe(config: &LrpeConfig) -> Form {
    let lambda = match config.family {
        Family::Unitary if config.basis == Basis::Fourier => "diag(e^(iΔθ))",
        Family::Unitary => "diag(cos Δθ)",
        Family::Orthogonal => "blockdiag(R(Δθ_j))",
        Family::Permutation => "Π^Δ",
    };
    let kernel = match config.basis {
        Basis::Identity => format!("W_Δ = {lambda}"),
        Basis::Fourier => format!("W_Δ = Re(P^H {lambda} P)"),
        _ => format!("W_Δ = P^T {lambda} P"),
    };
    let basis = match (config.basis, config.learn_basis) {
        (Basis::Identity, _) => "P = I",
        (Basis::Householder, false) => "P a fixed Householder reflection",
        (Basis::Householder, true) => "P a learned Householder reflection",
        (Basis::OddEven, _) => "P the odd-even permutation",
        (Basis::Permutation, _) => "P a permutation",
        (Basis::Dct, _) => "P the DCT",
        (Basis::Fourier, _) => "P the Fourier transform",
    };
    let family = match config.family {
        Family::Unitary => "unitary",
        Family::Orthogonal => "orthogonal",
        Family::Permutation => "permutation",
    };
    form(format!("LRPE, {family}, {basis}"), kernel)
}

/// Of a bias.
pub fn of_bias(config: &BiasConfig) -> Form {
    match config {
        BiasConfig::T5(config) => {
            let sides = if config.bidirectional { "both directions" } else { "keys before the query" };
            form(format!("T5 buckets, {sides}"), "logit = q·k/√K + b_h[bucket(Δ)]")
        }
        BiasConfig::Alibi => form("ALiBi", "logit = q·k/√K − m_h |Δ|"),
        BiasConfig::Shaw(_) => form("Shaw's relative keys", "logit = (q·k + q·c_clip(Δ))/√K"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relin_kernels::encoding::{PRESETS, preset};

    #[test]
    fn every_preset_has_a_form_of_its_kind() {
        for preset in PRESETS {
            let Form { family, kernel } = of_encoding(&preset.config());
            assert!(!family.is_empty() && kernel.starts_with("W"), "{}: {kernel}", preset.name);
        }
        let kernel = |name| of_encoding(&preset(name).unwrap().config()).kernel;
        assert_eq!(kernel("lrpe-decay"), "W_Δ = λ_h^|Δ| diag(cos Δθ)");
        assert_eq!(kernel("lrpe-type8"), "W_Δ = Re(P^H diag(e^(iΔθ)) P)");
        assert_eq!(kernel("rope"), "W_Δ = blockdiag(R(Δθ_j))");
    }
}
