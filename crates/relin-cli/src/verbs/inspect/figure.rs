//! The figure: what the kernel looks like.

use std::f64::consts::TAU;

use relin_kernels::encoding::{Agreement, Decay, Encoding, EncodingConfig};
use relin_kernels::inspect::{Convergence, Effective, EstimateAt, Head, Probe, Spectrum, estimate};

use super::Options;
use super::findings::{DRAWS, Findings, first_head};
use super::subject::{Built, Subject, bias_head};
use crate::plot::{Chart, HeatMap, Line, Panel, Sheet, Style};

/// Lags and features that a figure shows at most.
const MOST_LAGS: usize = 256;
const MOST_ROWS: usize = 32;
/// Numbers of kernels held at once.
const MOST_NUMBERS: usize = 1 << 23;
/// Draws of the noise behind the spread of an estimate.
const NOISE_DRAWS: usize = 32;

/// The figure of what was found.
pub fn draw(subject: &Subject, found: &Findings, options: &Options) -> Sheet {
    let mut panels = match &subject.built {
        Built::Encoding { .. } => of_an_encoding(subject, found, options),
        Built::Bias { .. } => of_a_bias(subject, options),
    };
    panels.extend(gates(subject));
    let encoded = found.encoded_dim.map(|encoded| format!(", K' = {encoded}")).unwrap_or_default();
    let shape =
        format!("K = {}{encoded}, {} heads; head 0 of layer {}", found.head_dim, found.heads, found.layer);
    Sheet {
        title: found.position.clone(),
        subtitle: format!("{} · {} · {shape}", found.family, found.kernel),
        panels,
    }
}

fn of_an_encoding(subject: &Subject, found: &Findings, options: &Options) -> Vec<Panel> {
    let Some(head) = first_head(subject, &subject.values) else { return Vec::new() };
    let lags = shown_lags(options.lags, subject.place.key_dim);
    let kernels = Kernels::new(head, &lags);
    let mut panels = vec![
        Panel::Chart(curves(subject, &kernels)),
        Panel::Heat(diagonal(&kernels)),
        Panel::Chart(effective(&head.effective_kernel(&lags, DRAWS, options.seed), found)),
    ];
    panels.extend(spectrum(subject, found));
    panels.extend(decays(head.encoding, options.lags, subject.place.heads));
    panels.extend(estimated(subject, head.encoding, options));
    panels.extend(found.convergence.as_ref().map(errors));
    panels
}

/// How an estimate's error falls with R.
fn errors(found: &Convergence) -> Panel {
    let points: Vec<_> = found.errors.iter().map(|at| (at.realizations as f64, at.rms_error)).collect();
    let first = points.first().map_or(0.0, |(r, error)| error * r.sqrt());
    let theory = points.iter().map(|(r, _)| (*r, first / r.sqrt())).collect();
    let measured = format!("measured, slope {:.3}", found.error_slope);
    let chart = Chart::new("Error of an estimated logit", "realizations R", "rms error").log().log_x();
    let theory = Line::new("1/√R", 4, Style::Solid, theory);
    Panel::Chart(chart.line(theory).line(Line::new(measured, 0, Style::Dots, points)))
}

/// The kernels of all lags that are shown.
struct Kernels {
    k: usize,
    lags: Vec<i64>,
    w: Vec<Vec<f64>>,
}

impl Kernels {
    fn new(head: Head<'_>, lags: &[i64]) -> Self {
        let w = lags.iter().map(|&lag| head.kernel(lag)).collect();
        Self { k: head.encoding.key_dim(), lags: lags.to_vec(), w }
    }

    fn lag_label(&self) -> String {
        lag_label(self.lags.iter().copied())
    }

    fn curve(&self, (i, j): (usize, usize)) -> Vec<(f64, f64)> {
        self.lags.iter().zip(&self.w).map(|(lag, w)| (*lag as f64, w[i * self.k + j])).collect()
    }

    /// Pairs of features worth a curve: some of the diagonal, and the strongest beside it.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let k = self.k;
        let energy = |i: usize, j: usize| self.w.iter().map(|w| w[i * k + j].powi(2)).sum::<f64>();
        let mut pairs = vec![(0, 0), (k / 8, k / 8), (k / 2, k / 2), (k - 1, k - 1)];
        for from in [0, k / 8] {
            let beside = (0..k).filter(|j| *j != from).map(|j| (energy(from, j), (from, j)));
            let strongest = beside.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
            pairs.extend(strongest.filter(|(energy, _)| *energy > 1e-9).map(|(_, pair)| pair));
        }
        let mut told: Vec<(usize, usize)> = Vec::new();
        for pair in pairs {
            let same = |other: &(usize, usize)| {
                let (a, b) = (self.curve(pair), self.curve(*other));
                a.iter().zip(&b).all(|(a, b)| (a.1 - b.1).abs() < 1e-12)
            };
            if !told.iter().any(same) {
                told.push(pair);
            }
        }
        told.truncate(5);
        told
    }
}

/// The axis of evenly spaced lags.
fn lag_label(lags: impl IntoIterator<Item = i64>) -> String {
    let mut lags = lags.into_iter();
    let step = lags.next().zip(lags.next()).map_or(1, |(first, second)| second - first);
    let every = if step > 1 { format!(", in steps of {step}") } else { String::new() };
    format!("lag t − s (tokens{every})")
}

/// Evenly spaced lags on both sides of 0.
fn shown_lags(longest: usize, k: usize) -> Vec<i64> {
    let most = (MOST_NUMBERS / (k * k).max(1) / 2).clamp(16, MOST_LAGS / 2);
    let step = longest.div_ceil(most) as i64;
    let reach = longest as i64 / step;
    (-reach..=reach).map(|lag| lag * step).collect()
}

fn curves(subject: &Subject, kernels: &Kernels) -> Chart {
    let initial = subject.initial();
    let before = first_head(subject, &initial).filter(|_| subject.trained && initial != subject.values);
    let before = before.map(|head| Kernels::new(head, &kernels.lags));
    let title =
        if before.is_some() { "Kernel W(lag), initial pale" } else { "Kernel W(lag) of feature pairs" };
    let mut chart = Chart::new(title, kernels.lag_label(), "W[i, j]");
    for (colour, pair) in kernels.pairs().into_iter().enumerate() {
        if let Some(before) = &before {
            chart = chart.line(Line::new("", colour, Style::Faint, before.curve(pair)));
        }
        let label = format!("{},{}", pair.0, pair.1);
        chart = chart.line(Line::new(label, colour, Style::Solid, kernels.curve(pair)));
    }
    chart
}

fn diagonal(kernels: &Kernels) -> HeatMap {
    let k = kernels.k;
    let features = (0..k).step_by(k.div_ceil(MOST_ROWS));
    let row = |d: usize| (d as f64, kernels.w.iter().map(|w| w[d * k + d]).collect::<Vec<f64>>());
    let rows: Vec<_> = features.map(row).collect();
    let largest = rows.iter().flat_map(|row| &row.1).fold(0.0f64, |most, w| most.max(w.abs()));
    HeatMap {
        title: "Kernel W(lag)[d, d] of each feature".into(),
        x_label: kernels.lag_label(),
        y_label: "feature d".into(),
        x: kernels.lags.iter().map(|lag| *lag as f64).collect(),
        rows,
        limit: if largest > 0.0 { largest } else { 1.0 },
    }
}

fn effective(at: &[Effective], found: &Findings) -> Chart {
    let label = match found.probe {
        Some(Probe::Matching) => "share of q·q",
        _ => "share of mean φ(q)·φ(k)",
    };
    with_band(
        Chart::new("Effective kernel; band: 80 % of rows", lag_label(at.iter().map(|at| at.lag)), label),
        at,
    )
}

fn with_band(chart: Chart, at: &[Effective]) -> Chart {
    let band = Line::band(0, at.iter().map(|at| (at.lag as f64, at.low, at.high)));
    let mean = at.iter().map(|at| (at.lag as f64, at.mean)).collect();
    chart.line(band).line(Line::new("mean", 0, Style::Solid, mean))
}

fn spectrum(subject: &Subject, found: &Findings) -> Option<Panel> {
    let chart = match found.spectra.first()? {
        Spectrum::Flat | Spectrum::Axes => return None,
        Spectrum::Cycles { lengths, period } => {
            let title = format!("Cycles of the permutation, period {period}");
            let bars = lengths.iter().enumerate().map(|(i, length)| (i as f64, *length as f64));
            Chart::new(title, "cycle, longest first", "length (features)").line(Line::bars("", 0, bars))
        }
        Spectrum::Angles { theta } => wavelengths(subject, theta),
        Spectrum::Reach { kernel_size } => filters(subject, *kernel_size)?,
    };
    Some(Panel::Chart(chart))
}

fn wavelengths(subject: &Subject, theta: &[f64]) -> Chart {
    let sorted = |theta: &[f64]| {
        let mut waves: Vec<f64> = theta.iter().map(|theta| TAU / theta.abs()).collect();
        waves.sort_by(f64::total_cmp);
        waves.into_iter().enumerate().map(|(i, wave)| (i as f64, wave)).collect::<Vec<_>>()
    };
    let style = if theta.len() <= 2 * MOST_ROWS { Style::Dots } else { Style::Solid };
    let chart = Chart::new("Wavelengths 2π/θ", "angle, fastest first", "tokens per turn").log();
    let Built::Encoding { config, .. } = &subject.built else { return chart };
    let initial = subject.initial();
    let before = Spectrum::of(config, subject.place, &initial, 0);
    match before {
        Ok(Spectrum::Angles { theta: before }) if subject.trained && before != theta => chart
            .line(Line::new("initial", 1, Style::Solid, sorted(&before)))
            .line(Line::new("learned", 0, style, sorted(theta))),
        _ => chart.line(Line::new("", 0, style, sorted(theta))),
    }
}

/// Both filters of feature 0.
fn filters(subject: &Subject, kernel_size: usize) -> Option<Chart> {
    let mut chart = Chart::new("Filters of feature 0", "tap j", "weight");
    for (colour, (name, label)) in
        [("query_filters", "query"), ("key_filters", "key")].into_iter().enumerate()
    {
        let (values, initial) = subject.of_head(name, 0)?;
        let points =
            |all: &[f64]| all.iter().take(kernel_size).enumerate().map(|(j, w)| (j as f64, *w)).collect();
        if subject.trained {
            chart = chart.line(Line::new("", colour, Style::Faint, points(&initial)));
        }
        chart = chart.line(Line::new(label, colour, Style::Solid, points(&values)));
    }
    Some(chart)
}

fn decays(encoding: &dyn Encoding<f64>, longest: usize, heads: usize) -> Option<Panel> {
    let named: Vec<(String, Decay, usize)> = match encoding.decay(0) {
        Decay::None => return None,
        Decay::Uniform(_) => {
            (0..heads).map(|head| (format!("head {head}"), encoding.decay(head), 0)).collect()
        }
        Decay::PerFeature(lambdas) => {
            let mut order: Vec<usize> = (0..lambdas.len()).collect();
            order.sort_by(|a, b| lambdas[*a].total_cmp(&lambdas[*b]));
            order.dedup_by(|a, b| lambdas[*a] == lambdas[*b]);
            order.into_iter().map(|j| (format!("d {j}"), Decay::PerFeature(lambdas.clone()), j)).collect()
        }
    };
    let mut chart = Chart::new("Decay λ^|lag|", "|lag| (tokens)", "factor on W");
    let every = named.len().div_ceil(4);
    for (colour, (label, decay, j)) in named.iter().step_by(every).enumerate() {
        let points = (0..=100).map(|i| i as f64 * 4.0 * longest as f64 / 100.0);
        let points = points.map(|lag| (lag.round(), decay.factor(*j, lag.round() as i64))).collect();
        chart = chart.line(Line::new(label, colour, Style::Solid, points));
    }
    Some(Panel::Chart(chart))
}

/// A stochastic encoding's estimate of one covariance, beside the exact one.
fn estimated(subject: &Subject, encoding: &dyn Encoding<f64>, options: &Options) -> Option<Panel> {
    let Built::Encoding { config, .. } = &subject.built else { return None };
    let Agreement::InExpectation { realizations } = encoding.agreement() else { return None };
    let reach = options.lags.min(MOST_LAGS);
    let at = covariance(subject, config, realizations, reach)?;
    let of =
        |value: fn(&EstimateAt) -> f64| at.iter().map(|at| (at.lag as f64, value(at))).collect::<Vec<_>>();
    let spread = at.iter().map(|at| (at.lag as f64, at.exact - at.deviation, at.exact + at.deviation));
    let title = format!("Covariance of feature 0, R = {realizations}");
    let chart = Chart::new(title, lag_label(at.iter().map(|at| at.lag)), "P(lag)")
        .line(Line::band(0, spread))
        .line(Line::new("exact ± one deviation", 0, Style::Solid, of(|at| at.exact)))
        .line(Line::new("one draw", 1, Style::Solid, of(|at| at.draw)));
    Some(Panel::Chart(chart))
}

fn covariance(
    subject: &Subject,
    config: &EncodingConfig,
    realizations: usize,
    reach: usize,
) -> Option<Vec<EstimateAt>> {
    estimate(config, subject.place, &subject.values, (0, 0), realizations, reach, NOISE_DRAWS).ok().flatten()
}

/// What training made of the gates.
fn gates(subject: &Subject) -> Option<Panel> {
    if !subject.trained {
        return None;
    }
    let (values, initial) = subject.of_head("gates", 0)?;
    let sorted = |raw: &[f64]| {
        let mut gates: Vec<f64> = raw.iter().map(|raw| 1.0 / (1.0 + (-raw).exp())).collect();
        gates.sort_by(f64::total_cmp);
        gates.into_iter().enumerate().map(|(i, gate)| (i as f64, gate)).collect::<Vec<_>>()
    };
    let chart = Chart::new("Gates g: share without position", "feature, sorted", "g")
        .line(Line::new("initial", 1, Style::Solid, sorted(&initial)))
        .line(Line::new("learned", 0, Style::Dots, sorted(&values)));
    Some(Panel::Chart(chart))
}

fn of_a_bias(subject: &Subject, options: &Options) -> Vec<Panel> {
    let Built::Bias { bias, .. } = &subject.built else { return Vec::new() };
    let lags = shown_lags(options.lags, 1);
    let head = |head| bias_head(bias, &subject.values, head, subject.place.key_dim);
    let of_one_query = |h| head(h).curve(&lags, 1, options.seed).iter().map(|at| at.mean).collect();
    let curves: Vec<Vec<f64>> = (0..subject.place.heads).map(of_one_query).collect();
    let factor =
        |at: Effective| Effective { mean: at.mean.exp(), low: at.low.exp(), high: at.high.exp(), ..at };
    let weights: Vec<Effective> = head(0).curve(&lags, DRAWS, options.seed).into_iter().map(factor).collect();
    let weight = Chart::new(
        "Factor e^b on the weight, head 0",
        lag_label(lags.iter().copied()),
        "factor; band: 80 % of queries",
    );
    vec![
        Panel::Chart(bias_curves(&lags, &curves)),
        Panel::Heat(bias_map(&lags, &curves)),
        Panel::Chart(with_band(weight, &weights)),
    ]
}

/// Of some heads; of one if all are alike.
fn bias_curves(lags: &[i64], curves: &[Vec<f64>]) -> Chart {
    let mut chart =
        Chart::new("Bias b(lag) of one query", lag_label(lags.iter().copied()), "added to the logit");
    let alike = curves.windows(2).all(|pair| pair[0] == pair[1]);
    let every = if alike { curves.len() } else { curves.len().div_ceil(4) };
    for (colour, (h, curve)) in curves.iter().enumerate().step_by(every).enumerate() {
        let label = if alike { "every head".into() } else { format!("head {h}") };
        let points = lags.iter().zip(curve).map(|(lag, b)| (*lag as f64, *b)).collect();
        chart = chart.line(Line::new(label, colour, Style::Solid, points));
    }
    chart
}

fn bias_map(lags: &[i64], curves: &[Vec<f64>]) -> HeatMap {
    let largest = curves.iter().flatten().fold(0.0f64, |most, b| most.max(b.abs()));
    HeatMap {
        title: "Bias b(lag) of each head".into(),
        x_label: lag_label(lags.iter().copied()),
        y_label: "head".into(),
        x: lags.iter().map(|lag| *lag as f64).collect(),
        rows: curves.iter().enumerate().map(|(h, curve)| (h as f64, curve.clone())).collect(),
        limit: if largest > 0.0 { largest } else { 1.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_lags_are_even_and_not_too_many() {
        assert_eq!(shown_lags(3, 4), [-3, -2, -1, 0, 1, 2, 3]);
        let many = shown_lags(1_000_000, 64);
        assert!(many.len() <= MOST_LAGS + 1 && *many.last().unwrap() > 990_000);
        assert_eq!(shown_lags(1000, 4096).len(), 31);
        assert_eq!(lag_label(shown_lags(3, 4)), "lag t − s (tokens)");
        assert_eq!(lag_label(shown_lags(256, 4)), "lag t − s (tokens, in steps of 2)");
    }
}
