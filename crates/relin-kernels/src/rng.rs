//! Counter-based random numbers: each draw is a pure function of `(seed, stream, counter)`, so that anything drawn
//! again (after a resume, in another chunk, on another thread) is the same.

/// Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rng {
    key: [u32; 2],
    stream: u64,
}

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

impl Rng {
    /// The generator of `seed`; different `stream`s of one seed are independent.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], stream }
    }

    /// Four uniform words at `counter`.
    pub fn block(&self, counter: u64) -> [u32; 4] {
        let mut x = [counter as u32, (counter >> 32) as u32, self.stream as u32, (self.stream >> 32) as u32];
        let mut key = self.key;
        for _ in 0..ROUNDS {
            let a = u64::from(MULTIPLIERS[0]) * u64::from(x[0]);
            let b = u64::from(MULTIPLIERS[1]) * u64::from(x[2]);
            x = [(b >> 32) as u32 ^ x[1] ^ key[0], b as u32, (a >> 32) as u32 ^ x[3] ^ key[1], a as u32];
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        x
    }

    /// [`block`](Self::block) at many counters side by side; word `w` of counter `l` is `blocks[w][l]`.
    #[inline(always)]
    pub fn blocks<const N: usize>(&self, counters: [u64; N]) -> [[u32; N]; 4] {
        // 32-bit words in 64-bit lanes: the products need no widening.
        const LOW: u64 = 0xFFFF_FFFF;
        let mut x = [counters, counters, [self.stream & LOW; N], [self.stream >> 32; N]];
        for l in 0..N {
            (x[0][l], x[1][l]) = (counters[l] & LOW, counters[l] >> 32);
        }
        let mut key = self.key;
        for _ in 0..ROUNDS {
            for l in 0..N {
                let a = u64::from(MULTIPLIERS[0]) * (x[0][l] & LOW);
                let b = u64::from(MULTIPLIERS[1]) * (x[2][l] & LOW);
                x[0][l] = (b >> 32) ^ x[1][l] ^ u64::from(key[0]);
                x[2][l] = (a >> 32) ^ x[3][l] ^ u64::from(key[1]);
                (x[1][l], x[3][l]) = (b & LOW, a & LOW);
            }
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        x.map(|words| words.map(|word| word as u32))
    }

    /// A uniform 64-bit word at `counter`.
    pub fn word(&self, counter: u64) -> u64 {
        let [a, b, ..] = self.block(counter);
        u64::from(a) | u64::from(b) << 32
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&self, counter: u64) -> f64 {
        (self.word(counter) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box–Muller).
    pub fn normal(&self, counter: u64) -> f64 {
        let [a, b, c, d] = self.block(counter);
        let unit =
            |lo: u32, hi: u32| ((u64::from(lo) | u64::from(hi) << 32) >> 11) as f64 / (1u64 << 53) as f64;
        let radius = (-2.0 * (1.0 - unit(a, b)).ln()).sqrt();
        radius * (std::f64::consts::TAU * unit(c, d)).cos()
    }

    /// Uniform in `0..n` (multiply-shift; the bias is below `n / 2^64`).
    pub fn below(&self, counter: u64, n: u64) -> u64 {
        ((u128::from(self.word(counter)) * u128::from(n)) >> 64) as u64
    }

    /// A uniformly random permutation of `0..n` (Fisher–Yates).
    pub fn permutation(&self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64, i as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with the Random123 library (kat_vectors, philox4x32 10 rounds).
    #[test]
    fn known_answers() {
        assert_eq!(Rng::new(0, 0).block(0), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        let ones = Rng::new(u64::MAX, u64::MAX);
        assert_eq!(ones.block(u64::MAX), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    }

    #[test]
    fn blocks_side_by_side_are_single_blocks() {
        let rng = Rng::new(0x1234_5678_9abc_def0, 77);
        let counters: [u64; 16] = std::array::from_fn(|i| ((i as u64) << 33) | (i as u64 * 3));
        let blocks = rng.blocks(counters);
        for (l, &counter) in counters.iter().enumerate() {
            assert_eq!([0, 1, 2, 3].map(|w| blocks[w][l]), rng.block(counter));
        }
    }

    #[test]
    fn normals_have_the_right_moments() {
        let rng = Rng::new(7, 0);
        let n = 100_000;
        let draws: Vec<f64> = (0..n).map(|i| rng.normal(i)).collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / n as f64 - mean * mean;
        // Standard errors: 1/√n = 0.0032 for the mean, √(2/n) = 0.0045 for the variance.
        assert!(mean.abs() < 4.0 * 0.0032, "mean {mean}");
        assert!((variance - 1.0).abs() < 4.0 * 0.0045, "variance {variance}");
    }

    #[test]
    fn permutations_are_permutations_and_depend_on_the_seed() {
        let a = Rng::new(1, 0).permutation(64);
        let mut sorted = a.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..64).collect::<Vec<_>>());
        assert_ne!(a, Rng::new(2, 0).permutation(64));
        assert_ne!(a, Rng::new(1, 1).permutation(64));
    }
}
