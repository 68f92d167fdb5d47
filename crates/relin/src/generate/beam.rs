//! The target that a model thinks likeliest, looked for along several beginnings at once.

use crate::data::Marks;
use crate::model::{Seq2Seq, Seq2SeqSession};

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchOptions {
    /// Beginnings kept at a time; 1 takes the likeliest next token always.
    pub beam: usize,
    /// Most tokens of a target, its end included.
    pub most: usize,
}

/// A target that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its tokens, without marks.
    pub tokens: Vec<u32>,
    /// `log p` of all tokens, of the end too if it came.
    pub log_probability: f64,
    /// Whether its end came.
    pub ended: bool,
}

impl Found {
    /// `log p` a token, so that short targets have no advantage.
    pub fn score(&self) -> f64 {
        self.log_probability / (self.tokens.len() + usize::from(self.ended)).max(1) as f64
    }
}

/// The best target of a source, its end included, by its score.
///
/// A beam keeps the beginnings of largest `log p` and stops when as many targets have ended. What a beam of 1 finds is always
/// among those that are compared, so a wider one never finds less.
pub fn search(model: &Seq2Seq, source: &[u32], options: SearchOptions) -> Found {
    let session = Seq2SeqSession::new(model, source);
    let marks = Marks::above(model.vocabulary() - Marks::COUNT);
    let mut found = beam(session.fork(), marks, SearchOptions { beam: 1, ..options });
    if options.beam > 1 {
        found.extend(beam(session, marks, options));
    }
    let better = |best: Found, next: Found| if next.score() > best.score() { next } else { best };
    found.into_iter().reduce(better).expect("every beam finds something")
}

/// A beginning, and what the model says of its next token.
struct Beginning<'a> {
    found: Found,
    session: Seq2SeqSession<'a>,
    /// `log p` of every token.
    next: Vec<f64>,
}

impl<'a> Beginning<'a> {
    fn new(found: Found, mut session: Seq2SeqSession<'a>, token: u32) -> Self {
        let next = log_probabilities(&session.step(token));
        Self { found, session, next }
    }

    /// The `n` likeliest next tokens, the first of equals first. The mark at the beginning is never written.
    fn likeliest(&self, n: usize, marks: Marks) -> Vec<u32> {
        let mut tokens: Vec<u32> =
            (0..self.next.len() as u32).filter(|&token| token != marks.begin).collect();
        tokens.sort_by(|&a, &b| self.next[b as usize].total_cmp(&self.next[a as usize]));
        tokens.truncate(n);
        tokens
    }

    fn followed_by(&self, token: u32, marks: Marks) -> Found {
        let mut tokens = self.found.tokens.clone();
        let ended = token == marks.end;
        if !ended {
            tokens.push(token);
        }
        let log_probability = self.found.log_probability + self.next[token as usize];
        Found { tokens, log_probability, ended }
    }
}

fn beam(
    session: Seq2SeqSession<'_>,
    marks: Marks,
    SearchOptions { beam, most }: SearchOptions,
) -> Vec<Found> {
    let nothing = Found { tokens: Vec::new(), log_probability: 0.0, ended: false };
    if most == 0 {
        return vec![nothing];
    }
    let mut ended = Vec::new();
    let mut live = vec![Beginning::new(nothing, session, marks.begin)];
    for length in 1..=most {
        let mut candidates = Vec::new();
        for (at, beginning) in live.iter().enumerate() {
            let tokens = beginning.likeliest(beam, marks).into_iter();
            candidates.extend(tokens.map(|token| (at, token, beginning.followed_by(token, marks))));
        }
        candidates.sort_by(|(.., a), (.., b)| b.log_probability.total_cmp(&a.log_probability));
        candidates.truncate(beam);
        let (whole, open): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|(.., found)| found.ended || length == most);
        ended.extend(whole.into_iter().map(|(.., found)| found));
        if ended.len() >= beam || open.is_empty() {
            break;
        }
        live = grow(live, open);
    }
    ended
}

/// Takes in each next token. The last that goes on from a beginning takes its session, the others a fork.
fn grow<'a>(live: Vec<Beginning<'a>>, open: Vec<(usize, u32, Found)>) -> Vec<Beginning<'a>> {
    let mut sessions: Vec<_> = live.into_iter().map(|beginning| Some(beginning.session)).collect();
    let mut left = vec![0; sessions.len()];
    open.iter().for_each(|&(at, ..)| left[at] += 1);
    let mut grown = Vec::with_capacity(open.len());
    for (at, token, found) in open {
        left[at] -= 1;
        let session = match left[at] {
            0 => sessions[at].take(),
            _ => sessions[at].as_ref().map(Seq2SeqSession::fork),
        };
        grown.push(Beginning::new(found, session.expect("taken by the last alone"), token));
    }
    grown
}

/// `x − log Σ e^x`.
fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
    logits.iter().map(|&x| f64::from(x - most) - sum.ln()).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use relin_kernels::rng::Rng;

    use super::*;
    use crate::recipe::{ModelConfig, Position};

    /// Weights large enough that the likeliest first token is not always the beginning of the best target.
    fn model(seed: u64, vocabulary: usize) -> Seq2Seq {
        let config = ModelConfig {
            hidden_size: 8,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            vocab_size: Some(vocabulary),
            position: Position::Preset("lrpe-orthogonal".into()),
            initializer_range: Some(0.8),
            ..ModelConfig::default()
        };
        Seq2Seq::new(&config, seed, &Device::flex()).unwrap()
    }

    fn source(seed: u64, vocabulary: usize) -> Vec<u32> {
        let marks = Marks::above(vocabulary - Marks::COUNT);
        let letter = |at| Rng::new(seed, 1).below(at, u64::from(marks.begin)) as u32;
        (0..4).map(letter).chain([marks.end]).collect()
    }

    /// Every target of at most `most` tokens with its end, and those that reach `most` without.
    /// Adds to `lost` the probability of the mark at the beginning, which is never written.
    fn all_targets<'a>(
        beginning: Beginning<'a>,
        marks: Marks,
        most: usize,
        all: &mut Vec<Found>,
        lost: &mut f64,
    ) {
        *lost += (beginning.found.log_probability + beginning.next[marks.begin as usize]).exp();
        for token in beginning.likeliest(usize::MAX, marks) {
            let found = beginning.followed_by(token, marks);
            match found.ended || found.tokens.len() == most {
                true => all.push(found),
                false => {
                    let next = Beginning::new(found, beginning.session.fork(), token);
                    all_targets(next, marks, most, all, lost);
                }
            }
        }
    }

    #[test]
    fn a_beam_over_everything_finds_the_best_of_all_targets() {
        let (vocabulary, most) = (6, 3);
        let marks = Marks::above(vocabulary - Marks::COUNT);
        let mut greedy_was_best = 0;
        for seed in 0..20 {
            let (model, source) = (model(seed, vocabulary), source(seed, vocabulary));
            let nothing = Found { tokens: Vec::new(), log_probability: 0.0, ended: false };
            let (mut all, mut lost) = (Vec::new(), 0.0);
            let start = Beginning::new(nothing, Seq2SeqSession::new(&model, &source), marks.begin);
            all_targets(start, marks, most, &mut all, &mut lost);
            assert_eq!(all.len(), 1 + 4 + 16 + 64, "ended after 0, 1 or 2 tokens, or open after 3");
            let total: f64 = all.iter().map(|found| found.log_probability.exp()).sum();
            assert!((total + lost - 1.0).abs() < 1e-6, "{total} and {lost}");
            let best = all.iter().map(Found::score).fold(f64::NEG_INFINITY, f64::max);
            let found = search(&model, &source, SearchOptions { beam: 200, most });
            assert_eq!(found.score().to_bits(), best.to_bits(), "seed {seed}");
            let greedy = search(&model, &source, SearchOptions { beam: 1, most });
            greedy_was_best += usize::from(greedy == found);
        }
        assert!(greedy_was_best < 20, "no seed tells a beam from taking the likeliest");
    }

    #[test]
    fn a_wider_beam_never_scores_less_than_the_likeliest_tokens_and_a_beam_of_one_is_those() {
        let vocabulary = 12;
        for seed in 0..20 {
            let (model, source) = (model(seed, vocabulary), source(seed, vocabulary));
            let greedy = search(&model, &source, SearchOptions { beam: 1, most: 8 });
            let mut session = Seq2SeqSession::new(&model, &source);
            let marks = Marks::above(vocabulary - Marks::COUNT);
            let (mut token, mut tokens) = (marks.begin, Vec::new());
            for _ in 0..8 {
                let logits = session.step(token);
                let allowed = (0..vocabulary).filter(|&t| t as u32 != marks.begin);
                token = allowed.reduce(|a, b| if logits[b] > logits[a] { b } else { a }).unwrap() as u32;
                if token == marks.end {
                    break;
                }
                tokens.push(token);
            }
            assert_eq!(greedy.tokens, tokens, "seed {seed}");
            for beam in [2, 3, 5] {
                let found = search(&model, &source, SearchOptions { beam, most: 8 });
                assert!(found.score() >= greedy.score(), "seed {seed}, beam {beam}");
            }
        }
    }

    #[test]
    fn no_tokens_wanted_is_an_empty_target() {
        let found = search(&model(1, 6), &source(1, 6), SearchOptions { beam: 3, most: 0 });
        assert_eq!(found, Found { tokens: Vec::new(), log_probability: 0.0, ended: false });
        assert_eq!(found.score(), 0.0);
    }
}
