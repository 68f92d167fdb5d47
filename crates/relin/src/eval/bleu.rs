//! BLEU of a corpus, with the figures of sacreBLEU's defaults: its `13a` words, up to four of them, exponential smoothing.

use std::collections::HashMap;

/// Longest run of words that counts.
const LONGEST: usize = 4;

/// BLEU from 0 to 100 of texts against one reference each; `None` where no reference has as many words as the longest run,
/// so that even right answers would score 0.
///
/// ```text
/// BLEU = 100 · min(1, e^{1 − r/c}) · (p₁ p₂ p₃ p₄)^{1/4}
/// ```
///
/// with r and c the words of all references and texts, and `p_n` the share of the texts' runs of n words that are in the reference,
/// each as often at most as there. The k-th `p_n` that would be 0 is `2^{−k}` of one run instead.
///
/// # Reference
/// Papineni et al. 2002; Post 2018 (arXiv 1804.08771): `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp`.
pub fn bleu<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<f64> {
    let (mut right, mut all) = ([0; LONGEST], [0; LONGEST]);
    let (mut written, mut asked, mut has_runs) = (0, 0, false);
    for (text, reference) in pairs {
        let [text, reference] = [text, reference].map(words);
        written += text.len();
        asked += reference.len();
        has_runs |= reference.len() >= LONGEST;
        for n in 1..=LONGEST {
            let there = runs(&reference, n);
            let found = runs(&text, n);
            right[n - 1] +=
                found.iter().map(|(run, &n)| n.min(there.get(run).copied().unwrap_or(0))).sum::<usize>();
            all[n - 1] += found.values().sum::<usize>();
        }
    }
    has_runs.then(|| score(right, all, written, asked))
}

fn score(right: [usize; LONGEST], all: [usize; LONGEST], written: usize, asked: usize) -> f64 {
    if right[0] == 0 || all.contains(&0) {
        return 0.0;
    }
    let (mut logs, mut smooth) = (0.0, 1.0);
    for (&right, &all) in right.iter().zip(&all) {
        if right == 0 {
            smooth *= 2.0;
        }
        let right = if right == 0 { 1.0 / smooth } else { right as f64 };
        logs += (right / all as f64).ln();
    }
    let brevity = (1.0 - asked as f64 / written as f64).min(0.0);
    100.0 * (brevity + logs / LONGEST as f64).exp()
}

/// How often each run of `n` words occurs.
fn runs(words: &[String], n: usize) -> HashMap<&[String], usize> {
    let mut counts = HashMap::new();
    words.windows(n).for_each(|run| *counts.entry(run).or_insert(0) += 1);
    counts
}

/// The words of a text as the `13a` rules of the NIST's script `mteval` cut them: punctuation stands alone, but full stops and
/// commas between digits do not, nor hyphens other than after a digit.
fn words(text: &str) -> Vec<String> {
    let mut text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        text = text.replace(entity, character);
    }
    let apart = |c: char| matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/');
    let mut spaced = String::from(" ");
    for c in text.chars() {
        if apart(c) { spaced.extend([' ', c, ' ']) } else { spaced.push(c) }
    }
    spaced.push(' ');
    let point = |c: char| matches!(c, '.' | ',');
    let spaced = cut(&spaced, |a, b| !a.is_ascii_digit() && point(b), [false, true, true]);
    let spaced = cut(&spaced, |a, b| point(a) && !b.is_ascii_digit(), [true, true, false]);
    let spaced = cut(&spaced, |a, b| a.is_ascii_digit() && b == '-', [false, true, true]);
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// The text with spaces before, between and after, as `spaces` says, each pair of neighbours that is `meant`, from the left
/// and without overlap.
fn cut(text: &str, meant: impl Fn(char, char) -> bool, spaces: [bool; 3]) -> String {
    let [before, between, after] = spaces.map(|space| if space { " " } else { "" });
    let mut characters = text.chars().peekable();
    let mut spaced = String::with_capacity(text.len() + 16);
    while let Some(a) = characters.next() {
        match characters.next_if(|&b| meant(a, b)) {
            Some(b) => spaced.push_str(&format!("{before}{a}{between}{b}{after}")),
            None => spaced.push(a),
        }
    }
    spaced
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sacrebleu.tokenizers.tokenizer_13a.Tokenizer13a()(text)` of sacreBLEU 2.6.0.
    #[test]
    fn words_are_those_of_the_usual_script() {
        for (text, expected) in [
            ("Hello, world! It's 3.5% of $1,000.", "Hello , world ! It's 3.5 % of $ 1,000 ."),
            ("a-b 3-4 (x) [y] {z}~", "a-b 3 - 4 ( x ) [ y ] { z } ~"),
            ("1990-2000, \"q\" &amp; &quot;r&quot; &lt;s&gt;", "1990 - 2000 , \" q \" & \" r \" < s >"),
            ("U.S.A. e.g., x.5 5.x ..", "U . S . A . e . g . , x . 5 5 . x . ."),
            ("über-fein – 12,3.", "über-fein – 12,3 ."),
            ("a,b,,c 1.,2", "a , b , , c 1 . , 2"),
        ] {
            assert_eq!(words(text).join(" "), expected);
        }
    }

    /// `sacrebleu.metrics.BLEU().corpus_score(texts, [references]).score` of sacreBLEU 2.6.0.
    #[test]
    fn figures_are_those_of_sacrebleu() {
        let corpus: [(&[_], f64); 5] = [
            (
                &[
                    ("the cat sat on the mat .", "the cat is on the mat ."),
                    ("there is a dog here", "there is a dog"),
                ],
                55.83948264724184,
            ),
            (&[("a b c d e f", "a x c y e z")], 10.682175159905853),
            (
                &[("the quick brown fox jumps", "the quick brown fox jumps over the lazy dog")],
                44.932896411722176,
            ),
            (&[("the cat sat", "the cat sat on the mat")], 0.0),
            (&[("x y z w v", "a b c d e")], 0.0),
        ];
        for (pairs, expected) in corpus {
            let found = bleu(pairs.iter().copied()).unwrap();
            assert!((found - expected).abs() < 1e-9, "{pairs:?}: {found}");
        }
        assert_eq!(bleu([("", "a b c d")]), Some(0.0));
        let same = bleu([("a b c d", "a b c d")]).unwrap();
        assert!((same - 100.0).abs() < 1e-9, "{same}");
    }

    #[test]
    fn references_of_few_words_have_no_figure() {
        assert_eq!(bleu([("forty-two", "forty-two")]), None);
        assert_eq!(bleu([("a b c d e", "a b c")]), None);
    }
}
