//! "Did you mean".

/// The candidate nearest to `word`, if one is near.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(word, name);
    candidates.into_iter().min_by_key(distance).filter(|name| distance(name) <= 1 + name.len() / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_not() {
        let names = ["byte", "char", "tinyshakespeare"];
        assert_eq!(nearest("tinyshakespear", names), Some("tinyshakespeare"));
        assert_eq!(nearest("btye", names), Some("byte"));
        assert_eq!(nearest("wikipedia", names), None);
    }
}
