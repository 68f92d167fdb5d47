//! An account of rows that were passed over.

use super::super::DataError;

/// How many are listed one by one.
const LISTED: usize = 20;

/// Rows that were passed over, the first of them with what was wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    count: usize,
    first: Vec<String>,
}

impl Skipped {
    /// One more.
    pub(in crate::data) fn add(&mut self, bad: &DataError) {
        if self.first.len() < LISTED {
            self.first.push(bad.to_string());
        }
        self.count += 1;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Their number, the places and reasons of the first ones, and how many more there are; nothing if there is none.
    pub fn warning(&self) -> Option<String> {
        let (rows, more) = (if self.count == 1 { "row" } else { "rows" }, self.count - self.first.len());
        let mut text = format!("{} bad {rows} skipped:", self.count);
        self.first.iter().for_each(|bad| text += &format!("\n  {bad}"));
        if more > 0 {
            text += &format!("\n  and {more} more");
        }
        (self.count > 0).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_listed_and_the_others_counted() {
        let mut skipped = Skipped::default();
        assert_eq!(skipped.warning(), None);
        let bad = |line| DataError::Row { path: "t.csv".into(), line, reason: "r".into() };
        skipped.add(&bad(2));
        assert_eq!(skipped.warning().unwrap(), "1 bad row skipped:\n  t.csv, line 2: r");
        (3..27).for_each(|line| skipped.add(&bad(line)));
        let warning = skipped.warning().unwrap();
        assert!(warning.starts_with("25 bad rows skipped:\n  t.csv, line 2: r\n"), "{warning}");
        assert!(warning.ends_with("line 21: r\n  and 5 more"), "{warning}");
    }
}
