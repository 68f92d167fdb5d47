//! Texts made by rule, line by line: pure functions of seed and line number.

use relin_kernels::rng::Rng;

use super::arena::{Expression, Shape};

/// A text made line by line.
#[derive(Clone, Copy, Debug)]
pub struct Generator {
    /// What `size` means for this text.
    pub size_means: &'static str,
    /// `size` unless told.
    pub default_size: u64,
    /// The smallest `size`.
    pub least_size: u64,
    /// The largest `size`.
    pub largest_size: u64,
    /// The first line of the file, where it is a table.
    pub header: Option<&'static str>,
    /// One line without its end, from the line's own random numbers.
    pub line: fn(&Rng, u64) -> String,
}

/// `37+85=122`: operands of 1 to `size` digits, each number of digits equally likely.
pub(super) const ADDITION: Generator = Generator {
    size_means: "most digits of an operand",
    default_size: 2,
    least_size: 1,
    largest_size: 18,
    header: None,
    line: |rng, size| {
        let operand = |counter: u64| {
            let digits = 1 + rng.below(counter, size) as u32;
            let least = if digits == 1 { 0 } else { 10u64.pow(digits - 1) };
            least + rng.below(counter + 1, 10u64.pow(digits) - least)
        };
        let (a, b) = (operand(0), operand(2));
        format!("{a}+{b}={}", a + b)
    },
};

/// `abcde|abcde`: 1 to `size` letters and the same again.
pub(super) const COPY: Generator = Generator {
    size_means: "most letters before the bar",
    default_size: 16,
    least_size: 1,
    largest_size: 1 << 20,
    header: None,
    line: |rng, size| {
        let length = 1 + rng.below(0, size);
        let word: String = (1..=length).map(|i| char::from(b'a' + rng.below(i, 26) as u8)).collect();
        format!("{word}|{word}")
    },
};

/// A nested list of digits and its value, in the columns of the published files. Expressions are drawn one by one, so
/// that short ones may come twice; the task `listops` makes distinct ones.
pub(super) const LISTOPS: Generator = Generator {
    size_means: "most tokens of an expression, which has more than a quarter of them",
    default_size: 1999,
    least_size: 4,
    largest_size: 1 << 14, // longer ones are too rare at this depth
    header: Some("Source\tTarget"),
    line: |rng, size| {
        let max_length = size as usize;
        let shape = Shape { min_length: max_length.div_ceil(4) + 1, max_length, max_depth: 10, max_args: 10 };
        let candidates = (0..).map(|at| Rng::new(rng.word(at), at));
        let drawn = candidates.filter_map(|candidate| Expression::draw(&shape, &candidate)).next();
        let expression = drawn.expect("every size up to the largest is drawn sooner or later");
        format!("{expression}\t{}", expression.value().expect("a whole tree"))
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_right_up_to_the_largest_size() {
        for size in 1..=ADDITION.largest_size {
            let mut longest = 0;
            for line in 0..300 {
                let text = (ADDITION.line)(&Rng::new(3, line), size);
                let (a, rest) = text.split_once('+').unwrap();
                let (b, sum) = rest.split_once('=').unwrap();
                let [x, y, z] = [a, b, sum].map(|n| n.parse::<u64>().unwrap());
                assert_eq!(x + y, z, "{text}");
                longest = longest.max(a.len()).max(b.len());
            }
            assert_eq!(longest as u64, size);
        }
    }

    #[test]
    fn expressions_have_their_value_and_their_length_at_every_size() {
        for (size, least) in [(4, 2), (5, 3), (7, 3), (100, 26), (1999, 501), (16384, 4097)] {
            for line in 0..10 {
                let text = (LISTOPS.line)(&Rng::new(1, line), size);
                let (source, target) = text.split_once('\t').unwrap();
                let expression = Expression::parse(source).unwrap();
                assert_eq!(expression.value(), target.parse().ok(), "{text}");
                assert!((least..=size as usize).contains(&expression.tokens().len()), "{text}");
            }
        }
    }

    #[test]
    fn copies_repeat_and_vary_in_length() {
        let lines: Vec<String> = (0..300).map(|line| (COPY.line)(&Rng::new(0, line), 4)).collect();
        assert!(lines.iter().all(|line| line.split_once('|').is_some_and(|(a, b)| a == b)));
        let lengths: std::collections::BTreeSet<usize> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [3, 5, 7, 9].into());
    }
}
