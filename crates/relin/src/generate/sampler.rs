//! The choice of the next token.

use relin_kernels::rng::Rng;

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits; 0 takes the likeliest token always.
    pub temperature: f64,
    /// Keep the likeliest k tokens only.
    pub top_k: Option<usize>,
    /// Keep the fewest likeliest tokens that hold this share of the probability.
    pub top_p: Option<f64>,
    /// Seed of the choices.
    pub seed: u64,
}

/// Chooses tokens; a choice is a pure function of the logits, the seed and the position.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    options: SamplerOptions,
    rng: Rng,
}

impl Sampler {
    /// With these options.
    pub fn new(options: SamplerOptions) -> Self {
        Self { options, rng: Rng::new(options.seed, 0) }
    }

    /// A token for `position`, out of one logit a token.
    pub fn choose(&self, logits: &[f32], position: u64) -> u32 {
        // Ties go to the smaller id, so that equal logits give equal choices.
        let likelier = |&a: &u32, &b: &u32| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b));
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        let likeliest = ids.iter().copied().min_by(likelier).unwrap_or(0);
        if self.options.temperature == 0.0 {
            return likeliest;
        }
        if let Some(k) = self.options.top_k.filter(|&k| k < ids.len()) {
            ids.select_nth_unstable_by(k.max(1) - 1, likelier);
            ids.truncate(k.max(1));
        }
        let top = f64::from(logits[likeliest as usize]);
        let weight = |&id: &u32| ((f64::from(logits[id as usize]) - top) / self.options.temperature).exp();
        let Some(share) = self.options.top_p else {
            ids.sort_unstable();
            return self.draw(&ids, &ids.iter().map(weight).collect::<Vec<_>>(), position);
        };
        ids.sort_unstable_by(likelier);
        let weights: Vec<f64> = ids.iter().map(weight).collect();
        let kept = nucleus(&weights, share);
        self.draw(&ids[..kept], &weights[..kept], position)
    }

    /// One of `ids` with a probability proportional to its weight.
    fn draw(&self, ids: &[u32], weights: &[f64], position: u64) -> u32 {
        let mut left = self.rng.uniform(position) * weights.iter().sum::<f64>();
        for (id, weight) in ids.iter().zip(weights) {
            left -= weight;
            if left < 0.0 {
                return *id;
            }
        }
        ids.last().copied().unwrap_or(0)
    }
}

/// How many of the descending weights hold `share` of their sum; at least one.
fn nucleus(weights: &[f64], share: f64) -> usize {
    let enough = share * weights.iter().sum::<f64>();
    let mut held = 0.0;
    let before = |weight: &&f64| {
        let short = held < enough;
        held += **weight;
        short
    };
    weights.iter().take_while(before).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [0.0, 2.0, 1.0, -1.0];

    fn sampler(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> Sampler {
        Sampler::new(SamplerOptions { temperature, top_k, top_p, seed: 5 })
    }

    fn counts(sampler: Sampler) -> [usize; 4] {
        let mut counts = [0; 4];
        (0..20_000).for_each(|position| counts[sampler.choose(&LOGITS, position) as usize] += 1);
        counts
    }

    #[test]
    fn zero_temperature_takes_the_likeliest_and_the_first_of_equals() {
        assert_eq!(sampler(0.0, None, None).choose(&LOGITS, 3), 1);
        assert_eq!(sampler(0.0, None, None).choose(&[1.0, 1.0], 3), 0);
    }

    #[test]
    fn frequencies_are_the_softmax() {
        let total: f64 = LOGITS.iter().map(|&x| f64::from(x).exp()).sum();
        for (count, logit) in counts(sampler(1.0, None, None)).iter().zip(LOGITS) {
            let expected = f64::from(logit).exp() / total;
            let deviation = (expected * (1.0 - expected) / 20_000.0).sqrt();
            assert!((*count as f64 / 20_000.0 - expected).abs() < 4.0 * deviation, "{count} for {logit}");
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        assert_eq!(counts(sampler(1.0, Some(1), None)), [0, 20_000, 0, 0]);
        let [a, b, c, d] = counts(sampler(1.0, Some(2), None));
        assert!(a == 0 && d == 0 && b > c && c > 0);
        // Shares 0.09, 0.64, 0.24, 0.03: the two largest hold 0.88.
        let [a, _, c, d] = counts(sampler(1.0, None, Some(0.7)));
        assert!(a == 0 && d == 0 && c > 0);
        assert_eq!(counts(sampler(1.0, None, Some(0.5))), [0, 20_000, 0, 0]);
    }

    #[test]
    fn a_choice_depends_on_seed_and_position_alone() {
        let one = sampler(1.0, None, None);
        let choices: Vec<u32> = (0..50).map(|position| one.choose(&LOGITS, position)).collect();
        assert_eq!(choices, (0..50).map(|position| one.choose(&LOGITS, position)).collect::<Vec<_>>());
        let other = Sampler::new(SamplerOptions { seed: 6, ..one.options });
        assert_ne!(choices, (0..50).map(|position| other.choose(&LOGITS, position)).collect::<Vec<_>>());
    }
}
