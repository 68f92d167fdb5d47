//! An axis: from values to pixels, and where its ticks are.

use super::Scale;

/// A range of values laid on a range of pixels.
#[derive(Clone, Debug)]
pub struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    pixels: (f64, f64),
    /// Values and labels.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis that holds all `values`, with about `wanted` ticks.
    pub fn new(values: impl Iterator<Item = f64>, scale: Scale, pixels: (f64, f64), wanted: usize) -> Self {
        let usable = values.filter(|value| value.is_finite() && (scale == Scale::Linear || *value > 0.0));
        let mut whole = true;
        let range = usable.fold(None, |range: Option<(f64, f64)>, value| {
            whole &= value.fract() == 0.0;
            Some(range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        });
        let unit = if scale == Scale::Log { (1.0, 10.0) } else { (0.0, 1.0) };
        let (low, high) = widened(range.unwrap_or(unit), scale);
        // Nothing lies between counts.
        let wanted = if whole { wanted.min((high - low) as usize).max(1) } else { wanted };
        let ticks = match scale {
            Scale::Linear => linear_ticks(low, high, wanted),
            Scale::Log => log_ticks(low, high, wanted),
        };
        Self { scale, low, high, pixels, ticks }
    }

    /// The least value.
    pub fn low(&self) -> f64 {
        self.low
    }

    /// The greatest value.
    pub fn high(&self) -> f64 {
        self.high
    }

    /// Pixel of a value.
    pub fn at(&self, value: f64) -> f64 {
        let along = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).ln(),
        };
        let share = (along(value) - along(self.low)) / (along(self.high) - along(self.low));
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }
}

/// A range of some width, however alike the values are.
fn widened((low, high): (f64, f64), scale: Scale) -> (f64, f64) {
    match scale {
        Scale::Log if high / low < 1.01 => (low / 2.0, high * 2.0),
        Scale::Linear if high - low <= 1e-9 * high.abs().max(low.abs()) => {
            let margin = if high == 0.0 { 1.0 } else { 0.1 * high.abs() };
            (low - margin, high + margin)
        }
        _ => (low, high),
    }
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn linear_ticks(low: f64, high: f64, wanted: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / wanted.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(power);
    let first = (low / step - 1e-9).ceil();
    let count = ((high / step + 1e-9).floor() - first).max(0.0) as usize;
    let decimals = (-(step.log10() + 1e-9).floor()).clamp(0.0, 12.0) as usize;
    (0..=count.min(100))
        .map(|i| (first + i as f64) * step)
        .map(|value| (value, label(value, decimals)))
        .collect()
}

fn label(value: f64, decimals: usize) -> String {
    if value.abs() >= 1e6 || (value != 0.0 && value.abs() < 1e-4) {
        return format!("{value:.1e}").replace(".0e", "e");
    }
    // Adding zero turns −0 into 0.
    format!("{:.decimals$}", value + 0.0)
}

/// Powers of ten; with few of them, also their doubles and quintuples; within less than that, linear ticks.
fn log_ticks(low: f64, high: f64, wanted: usize) -> Vec<(f64, String)> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let factors: &[f64] = if last - first <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let every = ((last - first) as usize / wanted.max(1)).max(1);
    let inside = |value: &f64| *value >= low * (1.0 - 1e-9) && *value <= high * (1.0 + 1e-9);
    let ticks: Vec<_> = (first..=last)
        .step_by(every)
        .flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)))
        .filter(inside)
        .map(|value| match value {
            1e5.. => (value, format!("{value:.0e}")),
            _ => (value, label(value, (-value.log10().floor()).max(0.0) as usize)),
        })
        .collect();
    if ticks.len() >= 2 { ticks } else { linear_ticks(low, high, wanted) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: Vec<(f64, String)>) -> Vec<String> {
        ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(linear_ticks(0.0, 400.0, 5)), ["0", "100", "200", "300", "400"]);
        assert_eq!(labels(linear_ticks(1.31, 2.06, 4)), ["1.4", "1.6", "1.8", "2.0"]);
        assert_eq!(labels(linear_ticks(-0.1, 0.1, 4)), ["-0.10", "-0.05", "0.00", "0.05", "0.10"]);
        assert_eq!(labels(log_ticks(1e-3, 1e2, 6)), ["0.001", "0.01", "0.1", "1", "10", "100"]);
        assert_eq!(labels(log_ticks(0.9, 6.0, 6)), ["1", "2", "5"]);
        assert_eq!(labels(log_ticks(1e3, 1e7, 6)), ["1000", "10000", "1e5", "1e6", "1e7"]);
        assert_eq!(labels(log_ticks(2.1, 2.6, 5)), ["2.1", "2.2", "2.3", "2.4", "2.5", "2.6"]);
    }

    #[test]
    fn counts_have_whole_ticks() {
        let ticks = |values: &[f64]| Axis::new(values.iter().copied(), Scale::Linear, (0.0, 1.0), 8).ticks;
        assert_eq!(labels(ticks(&[0.0, 3.0])), ["0", "1", "2", "3"]);
        assert_eq!(labels(ticks(&[0.0, 1.0])), ["0", "1"]);
        assert_eq!(labels(ticks(&[0.0, 0.5, 1.0])).len(), 6);
    }

    #[test]
    fn odd_values_still_give_an_axis() {
        for values in
            [vec![], vec![3.0], vec![0.0, 0.0], vec![f64::NAN, f64::INFINITY], vec![-1.0, 0.0], vec![1e300]]
        {
            for scale in [Scale::Linear, Scale::Log] {
                let axis = Axis::new(values.iter().copied(), scale, (0.0, 100.0), 5);
                assert!(axis.low < axis.high, "{values:?}");
                assert!(axis.ticks.len() <= 101 && axis.at(axis.high) == 100.0, "{values:?}");
            }
        }
    }
}
