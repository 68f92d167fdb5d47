//! Powers of a permutation at any position.

use super::config::Cycle;
use crate::rng::Rng;

/// A permutation π of the features, as its cycles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycles {
    next: Vec<usize>,
    cycles: Vec<Vec<usize>>,
}

impl Cycles {
    /// From `π(i)` listed for every i; `None` if that is not a permutation.
    pub fn new(next: Vec<usize>) -> Option<Self> {
        let mut seen = vec![false; next.len()];
        let mut cycles = Vec::new();
        for start in 0..next.len() {
            let mut cycle = Vec::new();
            let mut i = start;
            while !*seen.get(i)? {
                seen[i] = true;
                cycle.push(i);
                i = next[i];
            }
            if i != start {
                return None;
            }
            if !cycle.is_empty() {
                cycles.push(cycle);
            }
        }
        Some(Self { next, cycles })
    }

    /// A permutation of `n` features with the wanted cycle structure.
    pub fn draw(kind: Cycle, n: usize, rng: Rng) -> Self {
        let order = rng.permutation(n);
        let next = match kind {
            Cycle::Random => order,
            Cycle::Single => chain(&order, &[n]),
            Cycle::Longest => chain(&order, &longest_period(n)),
        };
        Self::new(next).expect("a drawn permutation is one")
    }

    /// `π^t(i)` for every i. Each cycle is reduced by its own length, so no `t` is too large.
    pub fn power(&self, t: i64) -> Vec<usize> {
        let mut power = vec![0; self.next.len()];
        for cycle in &self.cycles {
            let shift = t.rem_euclid(cycle.len() as i64) as usize;
            let shifted = cycle[shift..].iter().chain(&cycle[..shift]);
            cycle.iter().zip(shifted).for_each(|(&i, &image)| power[i] = image);
        }
        power
    }

    /// `π(i)` for every i.
    pub fn next(&self) -> &[usize] {
        &self.next
    }

    /// `π^{-1}`.
    pub fn inverse(&self) -> Self {
        let mut next = vec![0; self.next.len()];
        self.next.iter().enumerate().for_each(|(i, &image)| next[image] = i);
        let reversed = |cycle: &Vec<usize>| cycle.iter().rev().copied().collect();
        Self { next, cycles: self.cycles.iter().map(reversed).collect() }
    }

    /// Turns `π^t` into `π^(t+1)` in place.
    pub fn advance(&self, power: &mut [usize]) {
        power.iter_mut().for_each(|i| *i = self.next[*i]);
    }

    /// The lengths of the cycles, longest first.
    pub fn lengths(&self) -> Vec<usize> {
        let mut lengths: Vec<usize> = self.cycles.iter().map(Vec::len).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths
    }

    /// The order of π: positions that far apart are encoded alike. Saturates at `u128::MAX`.
    pub fn period(&self) -> u128 {
        self.lengths().iter().fold(1, |period, &len| lcm(period, len as u128))
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn lcm(a: u128, b: u128) -> u128 {
    (a / gcd(a, b)).saturating_mul(b)
}

/// The permutation whose cycles are consecutive runs of `order` with the given lengths; the rest is fixed.
fn chain(order: &[usize], lengths: &[usize]) -> Vec<usize> {
    let mut next: Vec<usize> = (0..order.len()).collect();
    let mut rest = order;
    for &len in lengths {
        let (run, tail) = rest.split_at(len);
        for p in 0..len {
            next[run[p]] = run[(p + 1) % len];
        }
        rest = tail;
    }
    next
}

/// Cycle lengths (prime powers, at most `n` in sum) with the largest least common multiple.
fn longest_period(n: usize) -> Vec<usize> {
    let mut best: Vec<(u128, Vec<usize>)> = vec![(1, Vec::new()); n + 1];
    for prime in (2..=n).filter(|&p| (2..p).all(|d| p % d != 0)) {
        for room in (prime..=n).rev() {
            let mut power = prime;
            while power <= room {
                let (period, lengths) = &best[room - power];
                let candidate = period.saturating_mul(power as u128);
                if candidate > best[room].0 {
                    let lengths = lengths.iter().copied().chain([power]).collect();
                    best[room] = (candidate, lengths);
                }
                power *= prime;
            }
        }
    }
    best.swap_remove(n).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_powers() {
        let cycles = Cycles::new(vec![2, 0, 3, 1]).unwrap();
        let expected = [[0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0], [1, 3, 0, 2], [0, 1, 2, 3]];
        for (t, power) in expected.iter().enumerate() {
            assert_eq!(cycles.power(t as i64), power);
        }
        assert_eq!(cycles.power(-1), expected[3]);
        assert_eq!(cycles.power(4_000_000_001), expected[1]);
        let mut advanced = cycles.power(2);
        cycles.advance(&mut advanced);
        assert_eq!(advanced, expected[3]);
        assert_eq!(cycles.inverse().next(), expected[3]);
        assert_eq!(cycles.inverse().power(3), expected[1]);
    }

    #[test]
    fn structures_have_their_periods() {
        let rng = Rng::new(3, 0);
        assert_eq!(Cycles::draw(Cycle::Single, 64, rng).period(), 64);
        // Landau's function (OEIS A000793).
        for (n, landau) in [(4, 4), (5, 6), (7, 12), (10, 30), (16, 140), (32, 5460), (64, 2_042_040)] {
            assert_eq!(Cycles::draw(Cycle::Longest, n, rng).period(), landau, "n = {n}");
        }
        let random = Cycles::draw(Cycle::Random, 64, rng);
        assert_eq!(random.lengths().iter().sum::<usize>(), 64);
    }

    #[test]
    fn what_is_no_permutation_is_refused() {
        assert_eq!(Cycles::new(vec![1, 1]), None);
        assert_eq!(Cycles::new(vec![0, 2]), None);
        assert_eq!(Cycles::new(vec![1, 2, 1]), None);
    }
}
