//! The sequences of probes: pure functions of their random numbers. Only answers are targets.

use relin_kernels::rng::Rng;

use crate::ops::IGNORE;
use crate::recipe::{ProbeConfig, ProbeKind};

/// Tokens to read, and what to say at each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sequence {
    pub inputs: Vec<u32>,
    pub targets: Vec<u32>,
}

impl Sequence {
    /// Symbols at random, and nothing asked yet.
    fn of_symbols(draw: &Draw, symbols: usize, length: usize) -> Self {
        let inputs = (0..length).map(|t| draw.below(t, 0, symbols) as u32).collect();
        Self { inputs, targets: vec![IGNORE; length] }
    }

    /// Puts `query` at `t`, and what it asks for.
    fn ask(&mut self, t: usize, query: usize, answer: u32) {
        (self.inputs[t], self.targets[t]) = (query as u32, answer);
    }
}

/// Four random numbers a token.
struct Draw(Rng);

impl Draw {
    fn below(&self, token: usize, which: u64, bound: usize) -> usize {
        self.0.below(4 * token as u64 + which, bound as u64) as usize
    }

    /// `count` of `0 .. among`, in random order.
    fn some(&self, stream: u64, count: usize, among: usize) -> Vec<usize> {
        let mut order = Rng::new(self.0.word(u64::MAX - stream), stream).permutation(among);
        order.truncate(count);
        order
    }
}

/// A sequence of `length` tokens.
pub(super) fn sequence(config: &ProbeConfig, rng: Rng, length: usize) -> Sequence {
    let draw = Draw(rng);
    match config.kind {
        ProbeKind::LagRetrieval => lag_retrieval(config, &draw, length),
        ProbeKind::Copy => copy(config, &draw, length),
        ProbeKind::SelectiveCopy => selective_copy(config, &draw, length),
        ProbeKind::Induction => induction(config, &draw, length),
        ProbeKind::AssociativeRecall => associative_recall(config, &draw, length),
        ProbeKind::Direction => direction(config, &draw, length),
    }
}

/// Every fourth token or so asks for one of the lags. A query is no answer: where one stands, a symbol comes instead of
/// another query.
fn lag_retrieval(config: &ProbeConfig, draw: &Draw, length: usize) -> Sequence {
    let ProbeConfig { symbols, lags, .. } = *config;
    let mut made = Sequence::of_symbols(draw, symbols, length);
    for t in (1..length).filter(|&t| draw.below(t, 1, 4) == 0) {
        let lag = 1 + draw.below(t, 2, lags.min(t));
        let answer = made.inputs[t - lag];
        if answer < symbols as u32 {
            made.ask(t, symbols + lag - 1, answer);
        }
    }
    made
}

/// `a b c | a b`, and at each token from the bar on the next one: n symbols, n answers, for 2n or 2n + 1 tokens.
fn copy(config: &ProbeConfig, draw: &Draw, length: usize) -> Sequence {
    let mut made = Sequence::of_symbols(draw, config.symbols, length);
    let n = length / 2;
    for i in 0..n {
        let (shown, answer) = if i == 0 { (config.symbols as u32, 0) } else { (made.inputs[i - 1], i) };
        (made.inputs[n + i], made.targets[n + i]) = (shown, made.inputs[answer]);
    }
    made
}

/// `items` symbols in order at random places among blanks, then as many markers, each of which asks for the next one.
fn selective_copy(config: &ProbeConfig, draw: &Draw, length: usize) -> Sequence {
    let ProbeConfig { symbols, items, .. } = *config;
    let (blank, marker) = (symbols as u32, symbols + 1);
    let among = length - items;
    let mut places = draw.some(1, items, among);
    places.sort_unstable();
    let mut made = Sequence { inputs: vec![blank; length], targets: vec![IGNORE; length] };
    for (i, &place) in places.iter().enumerate() {
        let symbol = draw.below(i, 0, symbols) as u32;
        made.inputs[place] = symbol;
        made.ask(among + i, marker, symbol);
    }
    made
}

/// Among random symbols a trigger stands once or twice, followed by the same symbol each time, and once more at the end. It
/// asks what followed it, from its second time on.
fn induction(config: &ProbeConfig, draw: &Draw, length: usize) -> Sequence {
    let trigger = config.symbols;
    let mut made = Sequence::of_symbols(draw, config.symbols, length);
    let followed_by = draw.below(0, 1, config.symbols) as u32;
    // Places of two tokens, so that no trigger takes the symbol after another.
    let mut places = draw.some(1, 1 + draw.below(0, 2, 2), (length - 1) / 2);
    places.sort_unstable();
    for (time, place) in places.into_iter().map(|place| 2 * place).enumerate() {
        (made.inputs[place], made.inputs[place + 1]) = (trigger as u32, followed_by);
        if time > 0 {
            made.targets[place] = followed_by;
        }
    }
    made.ask(length - 1, trigger, followed_by);
    made
}

/// `items` different keys, each followed by a random value; then blanks, and keys of those at every second token or so.
fn associative_recall(config: &ProbeConfig, draw: &Draw, length: usize) -> Sequence {
    let ProbeConfig { symbols, items, .. } = *config;
    let blank = 2 * symbols as u32;
    let mut made = Sequence { inputs: vec![blank; length], targets: vec![IGNORE; length] };
    let keys = draw.some(1, items, symbols);
    for (i, &key) in keys.iter().enumerate() {
        made.inputs[2 * i] = key as u32;
        made.inputs[2 * i + 1] = (symbols + draw.below(i, 0, symbols)) as u32;
    }
    for t in (2 * items..length).filter(|&t| draw.below(t, 1, 2) == 0) {
        let pair = draw.below(t, 2, items);
        made.ask(t, keys[pair], made.inputs[2 * pair + 1]);
    }
    made
}

/// Every fourth token or so asks for its left or its right neighbour. Both are symbols, and differ: who cannot tell left
/// from right is right half of the time.
fn direction(config: &ProbeConfig, draw: &Draw, length: usize) -> Sequence {
    let symbols = config.symbols;
    let mut made = Sequence::of_symbols(draw, symbols, length);
    for t in 1..length - 1 {
        let (left, right) = (made.inputs[t - 1], made.inputs[t + 1]);
        if draw.below(t, 1, 4) == 0 && left < symbols as u32 && left != right {
            let to_the_right = draw.below(t, 2, 2);
            made.ask(t, symbols + to_the_right, [left, right][to_the_right]);
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(config: ProbeConfig, length: usize) -> impl Iterator<Item = Sequence> {
        (0..60).map(move |stream| {
            let made = sequence(&config, Rng::new(1, stream), length);
            assert_eq!((made.inputs.len(), made.targets.len()), (length, length));
            assert!(made.inputs.iter().all(|&token| (token as usize) < config.tokens()));
            assert!(made.targets.iter().all(|&x| x == IGNORE || (x as usize) < config.tokens()));
            made
        })
    }

    fn answers(made: &Sequence) -> impl Iterator<Item = (usize, u32)> + '_ {
        made.targets.iter().copied().enumerate().filter(|(_, target)| *target != IGNORE)
    }

    #[test]
    fn every_lag_is_asked_for_and_answered_by_the_symbol_there() {
        let config = ProbeConfig { symbols: 5, lags: 3, ..ProbeConfig::default() };
        let mut asked = [0; 3];
        for made in many(config, 40) {
            for (t, &token) in made.inputs.iter().enumerate() {
                assert_eq!(token >= 5, made.targets[t] != IGNORE, "token {t}");
            }
            for (t, target) in answers(&made) {
                let lag = made.inputs[t] as usize - 4;
                asked[lag - 1] += 1;
                assert_eq!(target, made.inputs[t - lag]);
                assert!(target < 5);
            }
        }
        assert!(asked.iter().all(|&n| n > 50), "{asked:?}");
    }

    #[test]
    fn a_copy_repeats_all_after_the_bar() {
        let config = ProbeConfig { kind: ProbeKind::Copy, symbols: 4, ..ProbeConfig::default() };
        for length in [8, 9, 30] {
            for made in many(config, length) {
                let n = length / 2;
                assert_eq!(made.inputs[n], 4);
                assert_eq!(made.targets[n..2 * n], made.inputs[..n]);
                assert_eq!(made.inputs[n + 1..2 * n], made.inputs[..n - 1], "what was said is shown");
                assert_eq!(answers(&made).count(), n);
            }
        }
    }

    #[test]
    fn a_selective_copy_leaves_the_blanks_out() {
        let config = ProbeConfig { kind: ProbeKind::SelectiveCopy, items: 3, ..ProbeConfig::default() };
        let mut first = std::collections::BTreeSet::new();
        for made in many(config, 12) {
            let shown: Vec<u32> = made.inputs[..9].iter().copied().filter(|&token| token != 16).collect();
            assert_eq!(made.targets[9..], shown);
            assert_eq!(made.inputs[9..], [17; 3]);
            first.insert(made.inputs.iter().position(|&token| token != 16));
        }
        assert!(first.len() > 3, "places vary: {first:?}");
    }

    #[test]
    fn an_induction_asks_what_followed() {
        let config = ProbeConfig { kind: ProbeKind::Induction, ..ProbeConfig::default() };
        let mut triggers = [0; 4];
        for made in many(config, 21) {
            let at: Vec<usize> = (0..21).filter(|&t| made.inputs[t] == 16).collect();
            triggers[at.len()] += 1;
            assert_eq!(*at.last().unwrap(), 20);
            let follows = made.inputs[at[0] + 1];
            assert!(follows < 16 && at[..at.len() - 1].iter().all(|&t| made.inputs[t + 1] == follows));
            assert_eq!(
                answers(&made).collect::<Vec<_>>(),
                at[1..].iter().map(|&t| (t, follows)).collect::<Vec<_>>()
            );
        }
        assert!(triggers[2] > 10 && triggers[3] > 10, "{triggers:?}");
    }

    #[test]
    fn a_recall_gives_the_value_of_the_key() {
        let config = ProbeConfig { kind: ProbeKind::AssociativeRecall, items: 4, ..ProbeConfig::default() };
        for made in many(config, 30) {
            let pairs: std::collections::BTreeMap<u32, u32> =
                made.inputs[..8].chunks(2).map(|pair| (pair[0], pair[1])).collect();
            assert_eq!(pairs.len(), 4, "keys differ");
            assert!(answers(&made).count() > 2);
            answers(&made).for_each(|(t, value)| assert_eq!(pairs[&made.inputs[t]], value));
            assert!(answers(&made).all(|(t, value)| t >= 8 && (16..32).contains(&value)));
        }
    }

    #[test]
    fn neighbours_asked_for_differ() {
        let config = ProbeConfig { kind: ProbeKind::Direction, ..ProbeConfig::default() };
        let mut asked = [0; 2];
        for made in many(config, 20) {
            for (t, target) in answers(&made) {
                let side = made.inputs[t] as usize - 16;
                asked[side] += 1;
                let neighbours = [made.inputs[t - 1], made.inputs[t + 1]];
                assert_eq!(target, neighbours[side]);
                assert!(neighbours[0] != neighbours[1] && neighbours.iter().all(|&token| token < 16));
            }
        }
        assert!(asked.iter().all(|&n| n > 50), "{asked:?}");
    }
}
