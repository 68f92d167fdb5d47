//! Pairs of texts made by rule, with exact answers: pure functions of seed and index.

use relin_kernels::rng::Rng;

use super::ParallelTexts;

/// A set of pairs that a recipe can name.
#[derive(Clone, Copy, Debug)]
pub struct MadePairs {
    /// What recipes call it.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// One source and its target, from the pair's own random numbers.
    pair: fn(&Rng) -> [String; 2],
}

/// All of them: a new set is a new entry.
pub const MADE_PAIRS: &[MadePairs] = &[
    MadePairs { name: "reversal", about: "words of 1 to 12 letters, and the same backwards", pair: reversal },
    MadePairs {
        name: "number-words",
        about: "sums of two numbers of two digits, and the result in words",
        pair: number_words,
    },
];

/// Which pairs: no source of one part is one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadePart {
    /// To train on.
    Training,
    /// To validate on.
    HeldOut,
}

impl MadePart {
    fn stream(self) -> u64 {
        u64::from_le_bytes(match self {
            Self::Training => *b"pairs-tr",
            Self::HeldOut => *b"pairs-ev",
        })
    }

    /// Pairs of a part that are trained or validated on.
    fn pairs(self) -> u64 {
        match self {
            Self::Training => 50_000,
            Self::HeldOut => 1_000,
        }
    }
}

/// The stream of random numbers that sorts sources into parts.
const SORTING: u64 = u64::from_le_bytes(*b"held-out");

impl MadePairs {
    /// The set of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        MADE_PAIRS.iter().find(|set| set.name == name)
    }

    /// Pair number `index` of a part, where a share of all sources is held out. What is held out depends on no seed.
    pub fn pair(&self, seed: u64, part: MadePart, share: f64, index: u64) -> [String; 2] {
        let own = Rng::new(seed, part.stream()).word(index);
        let draws = (0..).map(|draw| (self.pair)(&Rng::new(own, draw)));
        let mut fitting =
            draws.filter(|[source, _]| (part == MadePart::HeldOut) == is_held_out(source, share));
        fitting.next().expect("draws do not end")
    }

    /// All pairs of a part.
    pub fn texts(&self, seed: u64, part: MadePart, share: f64) -> ParallelTexts {
        let pair = |index| {
            let place = format!("{}, pair {index}", self.name);
            (self.pair(seed, part, share, index), [place.clone(), place])
        };
        ParallelTexts::new((0..part.pairs()).map(pair))
    }
}

fn is_held_out(source: &str, share: f64) -> bool {
    let key = source.bytes().fold(0, |key, byte| Rng::new(key, SORTING).word(u64::from(byte)));
    Rng::new(key, SORTING).uniform(0) < share
}

fn reversal(rng: &Rng) -> [String; 2] {
    let length = 1 + rng.below(0, 12);
    let letters: Vec<char> = (1..=length).map(|i| char::from(b'a' + rng.below(i, 26) as u8)).collect();
    [letters.iter().collect(), letters.iter().rev().collect()]
}

fn number_words(rng: &Rng) -> [String; 2] {
    let [a, b] = [0, 1].map(|counter| 10 + rng.below(counter, 90) as usize);
    [format!("{a}+{b}"), in_words(a + b)]
}

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// A number below 200.
fn in_words(n: usize) -> String {
    match n {
        0..20 => SMALL[n].into(),
        20..100 if n.is_multiple_of(10) => TENS[n / 10].into(),
        20..100 => format!("{}-{}", TENS[n / 10], SMALL[n % 10]),
        100 => "one hundred".into(),
        _ => format!("one hundred {}", in_words(n - 100)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_are_those_of_the_numbers() {
        for (n, words) in [
            (0, "zero"),
            (13, "thirteen"),
            (40, "forty"),
            (42, "forty-two"),
            (100, "one hundred"),
            (115, "one hundred fifteen"),
            (198, "one hundred ninety-eight"),
        ] {
            assert_eq!(in_words(n), words);
        }
        let all: BTreeSet<String> = (0..=198).map(in_words).collect();
        assert_eq!(all.len(), 199, "no two numbers share their words");
    }

    #[test]
    fn every_answer_is_exact() {
        for index in 0..500 {
            let [source, target] = MADE_PAIRS[0].pair(1, MadePart::Training, 0.1, index);
            assert_eq!(source.chars().rev().collect::<String>(), target);
            assert!((1..=12).contains(&source.len()), "{source}");
            let [source, target] = MADE_PAIRS[1].pair(1, MadePart::HeldOut, 0.1, index);
            let (a, b) = source.split_once('+').unwrap();
            let [a, b] = [a, b].map(|n| n.parse::<usize>().unwrap());
            assert!((10..100).contains(&a) && (10..100).contains(&b), "{source}");
            assert_eq!(target, in_words(a + b));
        }
    }

    #[test]
    fn no_source_of_one_part_is_in_the_other_whatever_the_seeds() {
        for set in MADE_PAIRS {
            let sources = |seed, part| -> BTreeSet<String> {
                (0..3000).map(|index| set.pair(seed, part, 0.1, index)[0].clone()).collect()
            };
            let held = sources(1, MadePart::HeldOut);
            assert!(held.is_disjoint(&sources(1, MadePart::Training)), "{}", set.name);
            assert!(held.is_disjoint(&sources(2, MadePart::Training)), "{}", set.name);
            assert!(held.len() > 500, "{}: {}", set.name, held.len());
        }
    }

    #[test]
    fn a_pair_depends_on_seed_part_and_index_alone() {
        let pair = |seed, part, index| MADE_PAIRS[0].pair(seed, part, 0.1, index);
        assert_eq!(pair(1, MadePart::Training, 5), pair(1, MadePart::Training, 5));
        assert_ne!(pair(1, MadePart::Training, 5), pair(2, MadePart::Training, 5));
        assert_ne!(pair(1, MadePart::Training, 5), pair(1, MadePart::Training, 6));
    }
}
