//! The findings as text.

use std::fmt::Write;

use relin_kernels::inspect::{Convergence, Probe, Spectrum};

use super::findings::{Findings, Learned};

/// Cycle lengths and rates that are written out.
const MOST: usize = 16;

/// A line for each finding: what, and the value.
pub fn in_words(found: &Findings) -> String {
    let mut lines = vec![
        ("position", found.position.clone()),
        ("family", found.family.clone()),
        ("kernel", found.kernel.clone()),
        ("shape", shape(found)),
        ("acts", format!("{}; with {} attention", found.acts, found.attention.join(" or "))),
    ];
    let learned = |learned: &Learned| ("learned", parameter(learned));
    lines.extend(found.parameters.iter().map(learned));
    if found.parameters.is_empty() {
        lines.push(("learned", "nothing".into()));
    }
    if let Some(unitary) = &found.unitary {
        let yes = yes(unitary.holds);
        let (deviation, tolerance) = (unitary.length_deviation, unitary.tolerance);
        lines.push((
            "unitary",
            format!("{yes}: max |‖Mx‖/‖x‖ − 1| = {deviation:.1e} (tolerance {tolerance:.0e})"),
        ));
    }
    lines.extend([("symmetric", symmetry(found)), ("relative", relativity(found))]);
    if let Some(deviation) = found.basis_deviation {
        let moved = found.basis_moved.map(|moved| format!("; learning moved P by {moved:.4}"));
        lines.push(("P from I", format!("‖P − I‖/‖I‖ = {deviation:.4}{}", moved.unwrap_or_default())));
    }
    if let Some(decay) = &found.decay {
        lines.push(("decay λ", listed(decay, |lambda| format!("{lambda:.5}"))));
    }
    lines.extend(spectra(found));
    if let Some(convergence) = &found.convergence {
        lines.extend(convergence_in_words(convergence));
    }
    let mut text = String::new();
    for (what, value) in lines {
        let _ = writeln!(text, "{what:<10}  {value}");
    }
    text + &effective(found)
}

/// A line for each head, if they differ.
fn spectra(found: &Findings) -> Vec<(&'static str, String)> {
    let line = |(head, spectrum): (usize, &Spectrum)| {
        let words = spectrum_in_words(spectrum);
        let words = if found.spectra.len() == 1 { words } else { format!("head {head}: {words}") };
        (if head == 0 { "spectrum" } else { "" }, words)
    };
    found.spectra.iter().enumerate().take(MOST).map(line).collect()
}

fn yes(holds: bool) -> &'static str {
    if holds { "yes" } else { "no" }
}

fn shape(found: &Findings) -> String {
    let encoded = found.encoded_dim.map(|encoded| format!(", K' = {encoded}")).unwrap_or_default();
    format!("K = {}{encoded}, {} heads, layer {}", found.head_dim, found.heads, found.layer)
}

fn parameter(learned: &Learned) -> String {
    let Learned { name, shape, mean, deviation, moved } = learned;
    let moved = moved.map(|moved| format!(", moved by {moved:.4} (rms)")).unwrap_or_default();
    format!(
        "{name} {shape:?}, {} scalars: {mean:.4} ± {deviation:.4}{moved}",
        shape.iter().product::<usize>()
    )
}

fn symmetry(found: &Findings) -> String {
    let symmetry = found.symmetry;
    let what = match (found.even, found.transposed) {
        (true, _) => "even in the lag: cannot tell left from right",
        (false, true) => "not even; W(−Δ) is W(Δ) transposed",
        (false, false) => "not even, not transposed",
    };
    format!(
        "{what}; max |W(Δ) − W(−Δ)| = {:.1e}, max |W(Δ) − W(−Δ)ᵀ| = {:.1e} (tolerance {:.0e})",
        symmetry.even_deviation, symmetry.transpose_deviation, symmetry.tolerance
    )
}

fn relativity(found: &Findings) -> String {
    let relativity = found.relativity;
    let (what, unit) = match relativity.in_standard_errors {
        true => ("in expectation, the estimate is off by at most", " standard errors"),
        false => ("encoded products and kernel differ by at most", ""),
    };
    let deviation = if relativity.in_standard_errors {
        format!("{:.2}", relativity.deviation)
    } else {
        format!("{:.1e}", relativity.deviation)
    };
    format!(
        "{}: {what} {deviation}{unit}, shifts up to {} (tolerance {:.0e})",
        yes(found.relative),
        relativity.largest_shift,
        relativity.tolerance
    )
}

fn listed<T>(items: &[T], one: impl Fn(&T) -> String) -> String {
    let shown: Vec<String> = items.iter().take(MOST).map(one).collect();
    let more = if items.len() > MOST { format!(" … ({} in all)", items.len()) } else { String::new() };
    shown.join(" ") + &more
}

fn spectrum_in_words(spectrum: &Spectrum) -> String {
    match spectrum {
        Spectrum::Flat => "none: every lag turns alike".into(),
        Spectrum::Cycles { lengths, period } => {
            format!("cycles of {}; period {period}, their common multiple", listed(lengths, usize::to_string))
        }
        Spectrum::Angles { theta } => {
            let size = |theta: &f64| std::f64::consts::TAU / theta.abs();
            let (short, long) =
                theta.iter().map(size).fold((f64::INFINITY, 0.0f64), |(a, b), x| (a.min(x), b.max(x)));
            format!("{} angles, wavelengths {short:.4} to {long:.4e} tokens", theta.len())
        }
        Spectrum::Reach { kernel_size } => {
            format!("filters: no lag from {kernel_size} on is told from another")
        }
        Spectrum::Axes => "one for each axis".into(),
    }
}

fn convergence_in_words(found: &Convergence) -> Vec<(&'static str, String)> {
    let errors = listed(&found.errors, |at| format!("{:.4} at R = {},", at.rms_error, at.realizations));
    vec![
        ("estimate", format!("rms error of a logit, q, k ~ N(0, I): {}", errors.trim_end_matches(','))),
        (
            "",
            format!(
                "slope over log R: {:.3} of the error (−½ expected), {:.3} of the variance (−1 expected), {} draws",
                found.error_slope, found.variance_slope, found.draws
            ),
        ),
    ]
}

fn effective(found: &Findings) -> String {
    let what = match found.probe {
        Some(Probe::Features) => {
            "effective kernel: φ(q)ᵀ W φ(k) over mean φ(q)ᵀφ(k), φ = 1 + elu of random normal q, k"
        }
        Some(Probe::Matching) => "effective kernel: qᵀ W q over mean qᵀq, random normal q",
        None => "bias on the logit",
    };
    let mut text = format!("\n{what}\n{:>10}  {:>9}  {:>9}  {:>9}\n", "lag t − s", "mean", "10 %", "90 %");
    for at in &found.effective {
        let _ = writeln!(text, "{:>10}  {:>9.4}  {:>9.4}  {:>9.4}", at.lag, at.mean, at.low, at.high);
    }
    text
}
