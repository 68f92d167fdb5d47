//! Nested lists of digits under four operators: `[MAX 2 9 [MIN 4 7 ] 0 ]` is 9.

use std::fmt;

use relin_kernels::rng::Rng;

/// Tokens: the ten digits, the operators that open a list, and what closes it.
pub(super) const SYMBOLS: [&str; 15] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "[MIN", "[MAX", "[MED", "[SM", "X"];
/// The first operator.
const MIN: u8 = 10;
const OPERATORS: u64 = 4;
/// What closes a list.
pub(super) const END: u8 = 14;

/// The share of nodes that are lists, of those that may be.
const LISTS: f64 = 0.25;

/// Which expressions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Tokens, at least.
    pub min_length: usize,
    /// Tokens, at most.
    pub max_length: usize,
    /// Nodes from the root to a digit, both counted, at most.
    pub max_depth: usize,
    /// Arguments of an operator, at most; two are the least.
    pub max_args: usize,
}

/// An expression as its tokens, in the order in which it is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expression(Vec<u8>);

impl Expression {
    /// Grows a tree from its root: above the greatest depth, a node is a list with probability 1/4, of 2 to `max_args`
    /// arguments under any of the operators; else it is a digit. `None` if its length is not one of the shape's.
    pub fn draw(shape: &Shape, rng: &Rng) -> Option<Self> {
        let (mut tokens, mut missing) = (Vec::new(), Vec::new());
        for node in 0.. {
            let draw = |which: u64, below: u64| rng.below(3 * node + which, below);
            if missing.len() + 1 < shape.max_depth && rng.uniform(3 * node) <= LISTS {
                tokens.push(MIN + draw(1, OPERATORS) as u8);
                missing.push(2 + draw(2, shape.max_args.saturating_sub(1) as u64));
            } else {
                tokens.push(draw(1, 10) as u8);
                close(&mut tokens, &mut missing);
            }
            // Every open list will be closed.
            if tokens.len() + missing.len() > shape.max_length {
                return None;
            }
            if missing.is_empty() {
                break;
            }
        }
        (tokens.len() >= shape.min_length).then_some(Self(tokens))
    }

    /// The expression of symbols with blanks between them, in any of its published spellings: a list ends with `X` or
    /// `]`, and parentheses say nothing.
    ///
    /// # Errors
    /// Names the first symbol that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let symbols = text.split_whitespace().filter(|symbol| !matches!(*symbol, "(" | ")"));
        let token = |symbol: &str| match symbol {
            "]" => Ok(END),
            _ => SYMBOLS.iter().position(|known| *known == symbol).map(|at| at as u8).ok_or_else(|| {
                format!("`{symbol}` is none of the symbols `{}`, `]`, `(`, `)`", SYMBOLS.join("`, `"))
            }),
        };
        Ok(Self(symbols.map(token).collect::<Result<_, _>>()?))
    }

    /// Indices among [`SYMBOLS`].
    pub fn tokens(&self) -> &[u8] {
        &self.0
    }

    /// What it is worth: `MIN`, `MAX`, `MED` (of an even number of arguments, the mean of the middle two rounded down)
    /// and `SM` (the sum modulo 10) of each list. `None` where brackets do not match or a list is empty.
    pub fn value(&self) -> Option<u8> {
        let mut open: Vec<(u8, Vec<u8>)> = vec![(MIN, Vec::new())];
        for &token in &self.0 {
            match token {
                0..MIN => open.last_mut()?.1.push(token),
                END => {
                    let (operator, arguments) = open.pop()?;
                    open.last_mut()?.1.push(apply(operator, arguments)?);
                }
                operator => open.push((operator, Vec::new())),
            }
        }
        match &open[..] {
            [(_, whole)] if whole.len() == 1 => Some(whole[0]),
            _ => None,
        }
    }
}

/// An argument is complete, and with it every list whose last one it was.
fn close(tokens: &mut Vec<u8>, missing: &mut Vec<u64>) {
    while let Some(last) = missing.last_mut() {
        *last -= 1;
        if *last > 0 {
            return;
        }
        missing.pop();
        tokens.push(END);
    }
}

fn apply(operator: u8, mut arguments: Vec<u8>) -> Option<u8> {
    arguments.sort_unstable();
    let (&first, &last) = (arguments.first()?, arguments.last()?);
    let middle = arguments.len() / 2;
    Some(match operator - MIN {
        0 => first,
        1 => last,
        2 if arguments.len().is_multiple_of(2) => (arguments[middle - 1] + arguments[middle]) / 2,
        2 => arguments[middle],
        _ => (arguments.iter().map(|&digit| u64::from(digit)).sum::<u64>() % 10) as u8,
    })
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, &token) in self.0.iter().enumerate() {
            let blank = if at == 0 { "" } else { " " };
            write!(f, "{blank}{}", if token == END { "]" } else { SYMBOLS[usize::from(token)] })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: Shape = Shape { min_length: 501, max_length: 1999, max_depth: 10, max_args: 10 };

    #[test]
    fn expressions_are_worth_what_their_operators_say() {
        for (text, value) in [
            ("7", Some(7)),
            ("[MAX 2 9 [MIN 4 7 ] 0 ]", Some(9)),
            ("[MIN 2 9 [MAX 4 7 ] 3 X", Some(2)),
            ("[MED 9 1 5 ]", Some(5)),
            ("[MED 9 2 1 6 ]", Some(4)),
            ("[MED 1 2 ]", Some(1)),
            ("[SM 9 9 5 ]", Some(3)),
            ("[SM [SM 1 2 ] [MED 8 6 [MAX 0 0 ] ] [MIN 5 4 ] ]", Some(3)),
            ("( ( ( ( [MAX 2 ) 9 ) ( ( ( [MIN 4 ) 7 ) ] ) ) ] )", Some(9)),
            ("[MAX ]", None),
            ("[MAX 1 2", None),
            ("1 ]", None),
            ("1 2", None),
            ("", None),
        ] {
            assert_eq!(Expression::parse(text).unwrap().value(), value, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_other_symbols_are_named() {
        let shape = Shape { min_length: 4, max_length: 60, max_depth: 4, max_args: 3 };
        let drawn = (0..400).filter_map(|at| Expression::draw(&shape, &Rng::new(1, at)));
        let mut found = 0;
        for expression in drawn {
            assert_eq!(Expression::parse(&expression.to_string()).unwrap(), expression);
            found += 1;
        }
        assert!(found > 50, "{found}");
        let error = Expression::parse("[MAX 1 10 ]").unwrap_err();
        assert!(error.contains("`10`") && error.contains("`[MED`"), "{error}");
    }

    /// Nodes on the way from the root to the deepest digit, and the most and fewest arguments.
    fn measure(expression: &Expression) -> (usize, usize, usize) {
        let (mut open, mut deepest, mut most, mut least) = (Vec::<usize>::new(), 1, 0, usize::MAX);
        for &token in expression.tokens() {
            if token == END {
                let arguments = open.pop().unwrap();
                (most, least) = (most.max(arguments), least.min(arguments));
                continue;
            }
            if let Some(last) = open.last_mut() {
                *last += 1;
            }
            deepest = deepest.max(open.len() + 1);
            if token >= MIN {
                open.push(0);
            }
        }
        (deepest, most, least)
    }

    #[test]
    fn shapes_are_kept() {
        let shape = Shape { min_length: 5, max_length: 18, max_depth: 3, max_args: 4 };
        let drawn: Vec<_> = (0..3000).filter_map(|at| Expression::draw(&shape, &Rng::new(2, at))).collect();
        let measured: Vec<_> = drawn.iter().map(measure).collect();
        assert_eq!(measured.iter().map(|m| m.0).max(), Some(3));
        assert_eq!(measured.iter().map(|m| m.1).max(), Some(4));
        assert_eq!(measured.iter().map(|m| m.2).min(), Some(2));
        let lengths = || drawn.iter().map(|expression| expression.tokens().len());
        assert_eq!((lengths().min(), lengths().max()), (Some(5), Some(18)));
        assert!(drawn.iter().all(|expression| expression.value().is_some()));
    }

    /// Measured on the published generator, 20 000 accepted trees: acceptance 8.3 %, length 1039 on average, classes
    /// 17.0, 9.0, 7.7, 8.1, 9.1, 8.7, 8.0, 7.5, 8.2 and 16.7 %, every tree as deep as it may be.
    #[test]
    fn statistics_are_those_of_the_published_generator() {
        let candidates = 60_000;
        let drawn: Vec<_> =
            (0..candidates).filter_map(|at| Expression::draw(&PUBLISHED, &Rng::new(0, at))).collect();
        let n = drawn.len() as f64;
        let near = |name: &str, found: f64, expected: f64, deviation: f64| {
            assert!((found - expected).abs() < 4.0 * deviation, "{name}: {found}, expected {expected}");
        };
        // Deviations of a share, √(p(1 − p)/n), here and among the 20 000; of the mean length 390/√n.
        near("acceptance", n / candidates as f64, 0.083, 0.0012);
        let mut lengths: Vec<usize> = drawn.iter().map(|expression| expression.tokens().len()).collect();
        lengths.sort_unstable();
        near("mean length", lengths.iter().sum::<usize>() as f64 / n, 1039.0, 390.0 / n.sqrt());
        let quantile = |share: f64| lengths[(share * n) as usize] as f64;
        for (share, expected, deviation) in [(0.05, 540.0, 5.0), (0.5, 961.0, 10.0), (0.95, 1805.0, 10.0)] {
            near("quantile", quantile(share), expected, deviation);
        }
        let mut classes = [0.0; 10];
        drawn.iter().for_each(|expression| classes[usize::from(expression.value().unwrap())] += 1.0 / n);
        let published = [17.0, 9.0, 7.7, 8.1, 9.1, 8.7, 8.0, 7.5, 8.2, 16.7].map(|percent| percent / 100.0);
        for (found, expected) in classes.into_iter().zip(published) {
            let deviation = (expected * (1.0 - expected) * (1.0 / n + 1.0 / 20_000.0)).sqrt();
            near("class", found, expected, deviation);
        }
        assert!(drawn.iter().all(|expression| measure(expression).0 == PUBLISHED.max_depth));
    }
}
