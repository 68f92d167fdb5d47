//! What a few seeds allow one to say: means, intervals of paired differences, ranks, slopes.

use std::f64::consts::PI;

/// Mean and standard deviation of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// With n − 1 below the root; absent for a single value.
    pub deviation: Option<f64>,
}

/// Mean and deviation; nothing of nothing.
pub fn summary(values: &[f64]) -> Option<Summary> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
    Some(Summary { n, mean, deviation })
}

/// A mean with its 95 % interval, `mean ± half_width`, of Student's t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Values behind it.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Absent for a single value, of which nothing is known but itself.
    pub half_width: Option<f64>,
    /// Two-sided probability of a mean this far from 0 if the true one were 0; absent for a single value.
    pub p: Option<f64>,
}

/// `mean ± t_{0.975, n−1} · s/√n`; nothing of nothing.
///
/// Of paired differences this is the paired t test.
pub fn interval(values: &[f64]) -> Option<Interval> {
    let Summary { n, mean, deviation } = summary(values)?;
    let Some(deviation) = deviation else { return Some(Interval { n, mean, half_width: None, p: None }) };
    let error = deviation / (n as f64).sqrt();
    let freedom = (n - 1) as f64;
    let p = match (error > 0.0, mean == 0.0) {
        (true, _) => 2.0 * student_t_tail((mean / error).abs(), freedom),
        (false, true) => 1.0,
        (false, false) => 0.0,
    };
    Some(Interval { n, mean, half_width: Some(student_t_quantile(0.975, freedom) * error), p: Some(p) })
}

/// The probabilities of several comparisons, adjusted (Holm 1979) so that the chance of a single false finding among all
/// of them stays what it was for one.
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    let mut adjusted = vec![0.0; probabilities.len()];
    let mut least = 0.0f64;
    for (rank, &at) in order.iter().enumerate() {
        least = least.max(probabilities[at] * (order.len() - rank) as f64).min(1.0);
        adjusted[at] = least;
    }
    adjusted
}

/// Ranks from 1, smallest value first; equal values share the mean of their ranks.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |value: f64| values.iter().filter(|other| **other < value).count();
    let equal = |value: f64| values.iter().filter(|other| **other == value).count();
    values.iter().map(|&value| below(value) as f64 + (equal(value) as f64 + 1.0) / 2.0).collect()
}

/// A power law `y = c·x^exponent`, fitted to the logarithms by least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerLaw {
    /// The slope on logarithmic axes.
    pub exponent: f64,
    /// Half of the exponent's 95 % interval; absent below three points.
    pub half_width: Option<f64>,
    /// `c`.
    pub factor: f64,
}

/// The power law through positive points; needs two different x.
pub fn power_law(points: &[(f64, f64)]) -> Option<PowerLaw> {
    let logs: Vec<(f64, f64)> =
        points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    let n = logs.len() as f64;
    let (x_mean, y_mean) =
        (logs.iter().map(|p| p.0).sum::<f64>() / n, logs.iter().map(|p| p.1).sum::<f64>() / n);
    let spread: f64 = logs.iter().map(|p| (p.0 - x_mean).powi(2)).sum();
    if logs.len() < 2 || spread <= 0.0 {
        return None;
    }
    let exponent = logs.iter().map(|p| (p.0 - x_mean) * (p.1 - y_mean)).sum::<f64>() / spread;
    let intercept = y_mean - exponent * x_mean;
    let half_width = (logs.len() > 2).then(|| {
        let freedom = n - 2.0;
        let residues: f64 = logs.iter().map(|p| (p.1 - intercept - exponent * p.0).powi(2)).sum();
        student_t_quantile(0.975, freedom) * (residues / freedom / spread).sqrt()
    });
    Some(PowerLaw { exponent, half_width, factor: intercept.exp() })
}

/// The t with `P(T ≤ t) = p` for Student's distribution of that many degrees of freedom, p from ½ to below 1.
pub fn student_t_quantile(p: f64, freedom: f64) -> f64 {
    let tail = 1.0 - p;
    let (mut low, mut high) = (0.0, 1.0);
    while student_t_tail(high, freedom) > tail {
        high *= 2.0;
    }
    // Each step halves the interval; 200 leave nothing of it.
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if student_t_tail(middle, freedom) > tail { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// `P(T > t)` for t ≥ 0: half of the incomplete beta function at `ν/(ν + t²)`.
fn student_t_tail(t: f64, freedom: f64) -> f64 {
    0.5 * incomplete_beta(0.5 * freedom, 0.5, freedom / (freedom + t * t))
}

/// `I_x(a, b)`, by its continued fraction where that converges fast, else by symmetry.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b);
    front.exp() / a / beta_fraction(a, b, x)
}

/// `1 + d₁/(1 + d₂/(1 + …))`, evaluated by Lentz's method.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let (mut value, mut c, mut d) = (1.0, 1.0, 0.0);
    for i in 1..=1000 {
        let m = f64::from(i / 2);
        let term = if i % 2 == 0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        let nonzero = |y: f64| if y.abs() < TINY { TINY } else { y };
        d = 1.0 / nonzero(1.0 + term * d);
        c = nonzero(1.0 + term / c);
        value *= c * d;
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    value
}

/// Stirling's series, after shifting the argument to where it is exact to rounding.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 15.0 {
        shift += x.ln();
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * PI).ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed tables of Student's t.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, p, expected) in [
            (1.0, 0.975, 12.7062),
            (2.0, 0.975, 4.3027),
            (3.0, 0.975, 3.1824),
            (4.0, 0.975, 2.7764),
            (9.0, 0.975, 2.2622),
            (30.0, 0.975, 2.0423),
            (120.0, 0.975, 1.9799),
            (5.0, 0.95, 2.0150),
            (5.0, 0.995, 4.0321),
            (1.0, 0.995, 63.6567),
        ] {
            let found = student_t_quantile(p, freedom);
            assert!((found - expected).abs() < 5.1e-5 * expected.max(1.0), "{freedom} {p}: {found}");
        }
    }

    #[test]
    fn tails_have_their_closed_forms() {
        for t in [0.0, 0.3, 1.0, 5.0, 40.0] {
            // One degree of freedom is Cauchy's distribution; two have a root.
            let cauchy = 0.5 - f64::atan(t) / PI;
            assert!((student_t_tail(t, 1.0) - cauchy).abs() < 1e-13, "{t}");
            let two = 0.5 - 0.5 * t / (2.0 + t * t).sqrt();
            assert!((student_t_tail(t, 2.0) - two).abs() < 1e-13, "{t}");
        }
    }

    #[test]
    fn logarithms_of_factorials() {
        let mut factorial = 1.0f64;
        for n in 1..20 {
            assert!((ln_gamma(f64::from(n)) - factorial.ln()).abs() < 1e-12, "{n}");
            factorial *= f64::from(n);
        }
        assert!((ln_gamma(0.5) - PI.sqrt().ln()).abs() < 1e-13);
    }

    /// Worked by hand: differences 1, 2, 3 have mean 2, deviation 1, error 1/√3, t = 2√3.
    #[test]
    fn the_interval_of_paired_differences() {
        let Interval { n, mean, half_width, p } = interval(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!((n, mean), (3, 2.0));
        assert!((half_width.unwrap() - 4.302653 / 3f64.sqrt()).abs() < 1e-5);
        assert!((p.unwrap() - 0.074180).abs() < 1e-5, "{p:?}");
        assert_eq!(interval(&[5.0]).unwrap().half_width, None);
        assert_eq!(interval(&[]), None);
        let constant = interval(&[0.0, 0.0]).unwrap();
        assert_eq!((constant.half_width, constant.p), (Some(0.0), Some(1.0)));
    }

    #[test]
    fn many_comparisons_are_paid_for() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-12, "{adjusted:?}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn equal_values_share_their_ranks() {
        assert_eq!(ranks(&[3.0, 1.0, 2.0]), [3.0, 1.0, 2.0]);
        assert_eq!(ranks(&[2.0, 1.0, 2.0, 5.0]), [2.5, 1.0, 2.5, 4.0]);
    }

    #[test]
    fn a_power_law_is_found_with_its_uncertainty() {
        let exact: Vec<_> = [1.0, 2.0, 4.0, 8.0].map(|x: f64| (x, 3.0 * x.powf(1.5))).to_vec();
        let law = power_law(&exact).unwrap();
        assert!((law.exponent - 1.5).abs() < 1e-12 && (law.factor - 3.0).abs() < 1e-12);
        assert!(law.half_width.unwrap() < 1e-6);
        assert_eq!(power_law(&exact[..2]).unwrap().half_width, None);
        assert_eq!(power_law(&[(2.0, 1.0), (2.0, 3.0)]), None);
        assert_eq!(power_law(&[]), None);
        let noisy = [(1.0, 1.0), (2.0, 2.2), (4.0, 3.8), (8.0, 8.3)];
        let law = power_law(&noisy).unwrap();
        assert!((law.exponent - 1.0).abs() < law.half_width.unwrap());
    }
}
