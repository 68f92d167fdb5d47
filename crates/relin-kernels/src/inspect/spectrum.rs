//! How fast an encoding turns, and when it repeats.

use std::f64::consts::{FRAC_PI_2, TAU};

use serde::Serialize;

use crate::encoding::lrpe::{Basis, Cycles, Family};
use crate::encoding::spe::NoiseMode;
use crate::encoding::{
    Encoding, EncodingConfig, EncodingError, Lrpe, LrpeConfig, Place, SignedPermutation, SineSpeConfig,
    XposConfig,
};

/// The spectrum of one head.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Spectrum {
    /// It knows no position, decay apart.
    Flat,
    /// Powers of a (signed) permutation.
    Cycles {
        /// Lengths of the cycles, longest first.
        lengths: Vec<usize>,
        /// Lags that far apart are alike: the least common multiple, doubled by a cycle of negative sign.
        period: u128,
    },
    /// Turns by fixed or learned angles.
    Angles {
        /// Radians per position, as the encoding orders them.
        theta: Vec<f64>,
    },
    /// Filters: no lag from `kernel_size` on is told from another.
    Reach {
        /// `P`.
        kernel_size: usize,
    },
    /// Several axes, each with a spectrum of its own.
    Axes,
}

impl Spectrum {
    /// The spectrum of one head of the encoding that `config` builds, with the given values of its parameters.
    ///
    /// # Errors
    /// As [`EncodingConfig::build`].
    pub fn of(
        config: &EncodingConfig,
        place: Place,
        params: &[f64],
        head: usize,
    ) -> Result<Self, EncodingError> {
        Ok(match config {
            EncodingConfig::None => Self::Flat,
            EncodingConfig::Lrpe(config) => of_lrpe(config, place, params, head)?,
            EncodingConfig::SineSpe(config) => of_sines(config, place, params, head),
            EncodingConfig::ConvSpe(config) => Self::Reach { kernel_size: config.kernel_size },
            EncodingConfig::Cosformer(config) => {
                Self::Angles { theta: vec![FRAC_PI_2 / config.length as f64; place.key_dim] }
            }
            EncodingConfig::Permuteformer(config) => return Self::of(&config.parts(), place, params, head),
            EncodingConfig::Xpos(config) => of_lrpe(&rotation_of(config), place, params, head)?,
            EncodingConfig::Decay(config) => return Self::of(&config.inner, place, params, head),
            EncodingConfig::Grid(_) => Self::Axes,
            // Its angles are the first of its parameters.
            EncodingConfig::OrthogonalGroup(_) => {
                Self::Angles { theta: params[..place.key_dim / 2].to_vec() }
            }
            EncodingConfig::SignedPermutation(config) => {
                of_signed(&SignedPermutation::new(config, place)?, place.key_dim, head)
            }
        })
    }
}

fn rotation_of(config: &XposConfig) -> LrpeConfig {
    LrpeConfig {
        family: Family::Orthogonal,
        basis: Basis::Identity,
        theta_base: config.theta_base,
        pairs: config.pairs,
        ..LrpeConfig::default()
    }
}

fn of_lrpe(
    config: &LrpeConfig,
    place: Place,
    params: &[f64],
    head: usize,
) -> Result<Spectrum, EncodingError> {
    if let Some(cycles) = Lrpe::new(config, place)?.cycles(head) {
        return Ok(Spectrum::Cycles { lengths: cycles.lengths(), period: cycles.period() });
    }
    // Fixed angles are where learned ones would begin.
    let learned = Lrpe::new(&LrpeConfig { learn_theta: true, ..config.clone() }, place)?;
    let parameters = Encoding::<f64>::parameters(&learned);
    let Some(theta) = parameters.first() else { return Ok(Spectrum::Flat) };
    let all = if config.learn_theta { &params[..theta.len()] } else { &theta.init };
    let width = theta.shape[1];
    let sharer = if theta.shape[0] == 1 { 0 } else { head };
    Ok(Spectrum::Angles { theta: all[sharer * width..][..width].to_vec() })
}

/// `2πf`, with `f = σ(freqs)/2`; `freqs` is the first parameter, `[H, K, sines]`.
fn of_sines(config: &SineSpeConfig, place: Place, params: &[f64], head: usize) -> Spectrum {
    let waves = place.key_dim * config.sines;
    let angle = |raw: &f64| 0.5 * TAU / (1.0 + (-raw).exp());
    Spectrum::Angles { theta: params[head * waves..][..waves].iter().map(angle).collect() }
}

/// `W_1` has one ±1 a row, at `π(i)`.
fn of_signed(encoding: &SignedPermutation, k: usize, head: usize) -> Spectrum {
    let w = Encoding::<f64>::kernel(encoding, &[], head, 1);
    let source = |row: &[f64]| row.iter().position(|w| *w != 0.0).unwrap_or(0);
    let lengths =
        Cycles::new(w.chunks(k).map(source).collect()).map_or_else(Vec::new, |cycles| cycles.lengths());
    Spectrum::Cycles { lengths, period: encoding.period(head) }
}

/// The same stochastic encoding with another number of realizations, drawn anew on demand; `None` if it has no noise.
pub(super) fn with_realizations(config: &EncodingConfig, realizations: usize) -> Option<EncodingConfig> {
    let noise = NoiseMode::Redrawn;
    match config {
        EncodingConfig::SineSpe(sine) if sine.noise != NoiseMode::Exact => {
            Some(EncodingConfig::SineSpe(SineSpeConfig { realizations, noise, ..sine.clone() }))
        }
        EncodingConfig::ConvSpe(conv) => Some(EncodingConfig::ConvSpe(crate::encoding::ConvSpeConfig {
            realizations,
            noise,
            ..conv.clone()
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::lrpe::Cycle;
    use crate::encoding::{SignedPermutationConfig, preset};
    use crate::inspect::{Head, initial_parameters};

    const PLACE: Place = Place { key_dim: 16, heads: 2, layer: 0 };

    fn spectrum(config: &EncodingConfig) -> Spectrum {
        let params = initial_parameters(&*config.build::<f64>(PLACE).unwrap());
        Spectrum::of(config, PLACE, &params, 1).unwrap()
    }

    /// The trace of W is what the angles say, which holds for any P.
    #[test]
    fn angles_are_those_of_the_kernel() {
        for (name, each) in [("lrpe-unitary", 1.0), ("lrpe-decay", 1.0), ("rope", 2.0), ("lrpe-type3", 2.0)] {
            let config = preset(name).unwrap().config();
            let encoding = config.build::<f64>(PLACE).unwrap();
            let params = initial_parameters(&*encoding);
            let head = Head { encoding: &*encoding, params: &params, head: 1 };
            let Spectrum::Angles { theta } = spectrum(&config) else { panic!("{name} has no angles") };
            for lag in [1, -7] {
                let expected: f64 = theta.iter().map(|theta| each * (theta * lag as f64).cos()).sum();
                let decay = encoding.decay(1).factor(0, lag);
                let trace: f64 = head.kernel(lag).iter().step_by(17).sum();
                assert!((trace - decay * expected).abs() < 1e-9, "{name}: {trace} {expected}");
            }
        }
    }

    #[test]
    fn sines_turn_at_most_half_a_turn() {
        let Spectrum::Angles { theta } = spectrum(&preset("sine-spe").unwrap().config()) else {
            panic!("no angles")
        };
        assert_eq!(theta.len(), 160);
        assert!(theta.iter().all(|theta| *theta > 0.0 && *theta < TAU / 2.0));
    }

    #[test]
    fn cycles_add_up_to_the_width() {
        let signed = SignedPermutationConfig { cycle: Cycle::Single, ..SignedPermutationConfig::default() };
        let longest =
            LrpeConfig { family: Family::Permutation, cycle: Cycle::Longest, ..LrpeConfig::default() };
        for (config, periods) in [
            (EncodingConfig::Lrpe(longest), vec![140]),
            (EncodingConfig::SignedPermutation(signed), vec![16, 32]),
        ] {
            let Spectrum::Cycles { lengths, period } = spectrum(&config) else { panic!("no cycles") };
            assert_eq!(lengths.iter().sum::<usize>(), 16);
            assert!(periods.contains(&period), "{period}");
        }
        assert!(matches!(spectrum(&preset("permuteformer").unwrap().config()), Spectrum::Cycles { .. }));
    }

    #[test]
    fn the_rest() {
        assert_eq!(spectrum(&EncodingConfig::None), Spectrum::Flat);
        assert_eq!(spectrum(&preset("decay").unwrap().config()), Spectrum::Flat);
        assert_eq!(spectrum(&preset("conv-spe").unwrap().config()), Spectrum::Reach { kernel_size: 128 });
    }
}
