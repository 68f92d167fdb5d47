//! The numbers.

use relin_kernels::encoding::{Agreement, Decay, Encoding, EncodingConfig, EncodingError, Parameter, Stage};
use relin_kernels::inspect::{
    Convergence, Effective, Head, Probe, Relativity, Spectrum, Symmetry, TOLERANCE, convergence,
};
use serde::Serialize;
use serde_json::Value;

use super::Options;
use super::error::InspectError;
use super::form::{Form, of_bias, of_encoding};
use super::subject::{Built, Subject, bias_head, head};

/// Random rows behind an effective kernel.
pub const DRAWS: usize = 256;
/// Numbers of realizations at which the error of a stochastic encoding is measured.
const REALIZATIONS: [usize; 4] = [16, 64, 256, 1024];
/// Draws of the noise behind each error.
const NOISE_DRAWS: usize = 8;
/// Lags at which symmetry is measured, at most.
const SYMMETRY_LAGS: usize = 32;

/// The findings, as `--json` prints them.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename = "inspect")]
pub struct Findings {
    pub position: String,
    pub family: String,
    pub kernel: String,
    pub config: Value,
    pub trained: bool,
    pub layer: usize,
    pub heads: usize,
    /// K.
    pub head_dim: usize,
    /// K'; absent for biases.
    pub encoded_dim: Option<usize>,
    /// Where it acts.
    pub acts: &'static str,
    /// Kinds of attention that can use it.
    pub attention: &'static [&'static str],
    pub parameters: Vec<Learned>,
    /// Absent for biases.
    pub unitary: Option<Unitary>,
    /// Whether `W_Δ = W_{−Δ}`.
    pub even: bool,
    /// Whether `W_Δ = W_{−Δ}^T`.
    pub transposed: bool,
    pub symmetry: Symmetry,
    pub relative: bool,
    pub relativity: Relativity,
    /// `‖P − I‖/‖I‖`, of encodings that have a P.
    pub basis_deviation: Option<f64>,
    /// `‖P − P_0‖/‖I‖` from the initial P, of runs.
    pub basis_moved: Option<f64>,
    /// λ of each head; of a head's features if they differ.
    pub decay: Option<Vec<f64>>,
    /// Of each head; of one if they are alike.
    pub spectra: Vec<Spectrum>,
    /// What the effective kernel, or the bias, is taken over.
    pub probe: Option<Probe>,
    /// The effective kernel of head 0; for biases, the bias itself.
    pub effective: Vec<Effective>,
    pub convergence: Option<Convergence>,
}

/// A learned tensor.
#[derive(Debug, Serialize)]
pub struct Learned {
    pub name: &'static str,
    pub shape: Vec<usize>,
    pub mean: f64,
    pub deviation: f64,
    /// Root mean square of what training changed, of runs.
    pub moved: Option<f64>,
}

/// Whether rows keep their length.
#[derive(Debug, Serialize)]
pub struct Unitary {
    pub holds: bool,
    /// `max |‖M x‖/‖x‖ − 1|`.
    pub length_deviation: f64,
    pub tolerance: f64,
}

/// Measures everything.
pub fn measure(subject: &Subject, options: &Options) -> Result<Findings, InspectError> {
    match &subject.built {
        Built::Encoding { config, encoding } => of_an_encoding(subject, &**encoding, config, options),
        Built::Bias { config, bias } => {
            let head = bias_head(bias, &subject.values, 0, subject.place.key_dim);
            let (symmetry, relativity) = (head.symmetry(&symmetry_lags(options)), head.relativity());
            let mut findings = common(subject, of_bias(config), symmetry, relativity);
            findings.attention = &["softmax"];
            findings.effective = head.curve(&told_lags(options.lags), DRAWS, options.seed);
            Ok(findings)
        }
    }
}

fn of_an_encoding(
    subject: &Subject,
    encoding: &dyn Encoding<f64>,
    config: &EncodingConfig,
    options: &Options,
) -> Result<Findings, InspectError> {
    let first = Head { encoding, params: &subject.values, head: 0 };
    let (symmetry, relativity) = (first.symmetry(&symmetry_lags(options)), first.relativity());
    let mut findings = common(subject, of_encoding(config), symmetry, relativity);
    let length_deviation = first.length_deviation();
    findings.encoded_dim = Some(encoding.encoded_dim());
    findings.attention = &["linear", "softmax"];
    let holds = length_deviation <= TOLERANCE;
    findings.unitary = Some(Unitary { holds, length_deviation, tolerance: TOLERANCE });
    if encoding.stage() == Stage::AfterFeatureMap {
        findings.basis_deviation = Some(first.basis_deviation());
        findings.basis_moved = subject.trained.then(|| first.basis_moved(&subject.initial()));
    }
    findings.decay = decay(encoding, subject.place.heads);
    findings.spectra = spectra(subject, config)?;
    findings.probe = Some(first.probe());
    findings.effective = first.effective_kernel(&told_lags(options.lags), DRAWS, options.seed);
    if encoding.agreement() != Agreement::Exact {
        let (place, seed) = (subject.place, options.seed);
        findings.convergence =
            convergence(config, place, &subject.values, 0, &REALIZATIONS, NOISE_DRAWS, seed)
                .map_err(|source| wrong(subject, source))?;
    }
    Ok(findings)
}

fn acts(stage: Option<Stage>) -> &'static str {
    match stage {
        None => "on the logits",
        Some(Stage::BeforeFeatureMap) => "before the feature map, on q and k",
        Some(Stage::AfterFeatureMap) => "after the feature map, on φ(q) and φ(k)",
    }
}

/// What biases and encodings both have.
fn common(
    subject: &Subject,
    Form { family, kernel }: Form,
    symmetry: Symmetry,
    relativity: Relativity,
) -> Findings {
    let config = match &subject.built {
        Built::Encoding { config, .. } => serde_json::to_value(config),
        Built::Bias { config, .. } => serde_json::to_value(config),
    };
    Findings {
        position: subject.name.clone(),
        family,
        kernel,
        config: config.unwrap_or(Value::Null),
        trained: subject.trained,
        layer: subject.place.layer,
        heads: subject.place.heads,
        head_dim: subject.place.key_dim,
        encoded_dim: None,
        acts: acts(subject.stage),
        attention: &[],
        parameters: learned(subject),
        unitary: None,
        even: symmetry.is_even(),
        transposed: symmetry.is_transposed(),
        symmetry,
        relative: relativity.holds(),
        relativity,
        basis_deviation: None,
        basis_moved: None,
        decay: None,
        spectra: Vec::new(),
        probe: None,
        effective: Vec::new(),
        convergence: None,
    }
}

fn learned(subject: &Subject) -> Vec<Learned> {
    let of = |(parameter, values): (&Parameter, &[f64])| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let deviation = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        let changes = values.iter().zip(&parameter.init).map(|(x, from)| (x - from).powi(2));
        let moved = subject.trained.then(|| (changes.sum::<f64>() / n).sqrt());
        Learned { name: parameter.name, shape: parameter.shape.clone(), mean, deviation, moved }
    };
    subject.rows(&subject.values).map(of).collect()
}

fn decay(encoding: &dyn Encoding<f64>, heads: usize) -> Option<Vec<f64>> {
    match encoding.decay(0) {
        Decay::None => None,
        Decay::PerFeature(lambdas) => Some(lambdas),
        Decay::Uniform(_) => Some((0..heads).map(|head| encoding.decay(head).factor(0, 1)).collect()),
    }
}

fn spectra(subject: &Subject, config: &EncodingConfig) -> Result<Vec<Spectrum>, InspectError> {
    let of = |head| Spectrum::of(config, subject.place, &subject.values, head);
    let mut spectra: Vec<Spectrum> = (0..subject.place.heads)
        .map(of)
        .collect::<Result<_, _>>()
        .map_err(|source| wrong(subject, source))?;
    if spectra.windows(2).all(|pair| pair[0] == pair[1]) {
        spectra.truncate(1);
    }
    Ok(spectra)
}

fn wrong(subject: &Subject, source: EncodingError) -> InspectError {
    let place = subject.place;
    InspectError::Encoding {
        position: subject.name.clone(),
        head_dim: place.key_dim,
        heads: place.heads,
        source,
    }
}

fn symmetry_lags(options: &Options) -> Vec<i64> {
    (1..=options.lags.min(SYMMETRY_LAGS) as i64).collect()
}

/// 0 and the powers of two up to the longest lag, on both sides.
pub fn told_lags(longest: usize) -> Vec<i64> {
    let powers = (0..).map(|power| 1i64 << power).take_while(|lag| *lag < longest as i64);
    let positive: Vec<i64> = powers.chain([longest as i64]).collect();
    positive.iter().rev().map(|lag| -lag).chain([0]).chain(positive.iter().copied()).collect()
}

/// Head 0 of an encoding, with its values or the initial ones.
pub fn first_head<'a>(subject: &'a Subject, values: &'a [f64]) -> Option<Head<'a>> {
    match &subject.built {
        Built::Encoding { encoding, .. } => Some(head(encoding, values, 0)),
        Built::Bias { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lags_that_are_told() {
        assert_eq!(told_lags(1), [-1, 0, 1]);
        assert_eq!(told_lags(5), [-5, -4, -2, -1, 0, 1, 2, 4, 5]);
    }
}
