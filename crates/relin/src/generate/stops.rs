//! Texts that end the writing, found across the borders of tokens.

/// Withholds what may become a stop text, and cuts where one is complete.
#[derive(Debug)]
pub(super) struct Stops<'a> {
    stops: &'a [String],
    withheld: String,
    reached: bool,
}

impl<'a> Stops<'a> {
    pub fn new(stops: &'a [String]) -> Self {
        Self { stops, withheld: String::new(), reached: false }
    }

    /// Whether a stop text was completed.
    pub fn reached(&self) -> bool {
        self.reached
    }

    /// What may be shown now that `piece` has come.
    pub fn push(&mut self, piece: &str) -> String {
        if self.reached {
            return String::new();
        }
        self.withheld.push_str(piece);
        let found = self.stops.iter().filter_map(|stop| self.withheld.find(stop.as_str())).min();
        let end = found.unwrap_or_else(|| self.undecided());
        self.reached = found.is_some();
        let rest = self.withheld.split_off(end);
        let shown = std::mem::replace(&mut self.withheld, rest);
        if self.reached {
            self.withheld.clear();
        }
        shown
    }

    /// What was withheld when no more comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.withheld)
    }

    /// Where the longest end begins that is the beginning of a stop text.
    fn undecided(&self) -> usize {
        let may_become = |&(at, _): &(usize, char)| {
            let end = &self.withheld[at..];
            self.stops.iter().any(|stop| stop.starts_with(end))
        };
        self.withheld.char_indices().find(may_become).map_or(self.withheld.len(), |(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stops: &[&str], pieces: &[&str]) -> (Vec<String>, String, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).into()).collect();
        let mut filter = Stops::new(&stops);
        let shown = pieces.iter().map(|piece| filter.push(piece)).collect();
        let rest = filter.finish();
        (shown, rest, filter.reached())
    }

    #[test]
    fn a_stop_across_pieces_is_cut_and_nothing_of_it_is_shown() {
        let (pieces, rest, reached) = shown(&["END"], &["abE", "N", "Dxy", "z"]);
        assert_eq!(
            (pieces, rest.as_str(), reached),
            (vec!["ab".into(), "".into(), "".into(), "".into()], "", true)
        );
    }

    #[test]
    fn what_looked_like_a_stop_is_shown_after_all() {
        let (pieces, rest, reached) = shown(&["END"], &["aE", "Nx", "E"]);
        assert_eq!((pieces, rest.as_str(), reached), (vec!["a".into(), "ENx".into(), "".into()], "E", false));
    }

    #[test]
    fn the_first_of_several_counts_and_umlauts_are_no_obstacle() {
        let (pieces, _, reached) = shown(&["ß!", "ö"], &["aäß", "ö"]);
        assert_eq!((pieces, reached), (vec!["aä".into(), "ß".into()], true));
        let (pieces, ..) = shown(&[], &["a", "b"]);
        assert_eq!(pieces, ["a", "b"]);
    }
}
