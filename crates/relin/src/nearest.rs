//! "Did you mean": the valid word nearest to one that is not.

/// The candidate most similar to `word`; `None` only without candidates.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let scored = candidates.into_iter().map(|candidate| (similarity(&word, candidate), candidate));
    // The first of equals wins, so that the answer does not depend on anything but the list.
    scored.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, candidate)| candidate)
}

/// Edits weigh most; a common beginning decides between words that are equally far.
fn similarity(word: &str, candidate: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(word, candidate) + 0.25 * strsim::jaro_winkler(word, candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_typos_transpositions_and_other_case() {
        let names = ["rope", "rope-interleaved", "lrpe-unitary", "lrpe-unitary-learned", "none"];
        for (typo, meant) in [
            ("rpoe", "rope"),
            ("lrpe-unitry", "lrpe-unitary"),
            ("NONE", "none"),
            ("rope-interl", "rope-interleaved"),
        ] {
            assert_eq!(nearest(typo, names), Some(meant));
        }
        assert_eq!(nearest("x", []), None);
    }
}
