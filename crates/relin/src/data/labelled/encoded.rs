//! Labelled texts as tokens.

use relin_kernels::rng::Rng;

use super::super::DataError;
use super::texts::{Example, Texts};
use super::{Examples, Input, Labelled, UNLABELLED};
use crate::recipe::{Pair, Standard};
use crate::tokenizer::Tokenizer;

/// What is learned of each text.
#[derive(Clone, Copy, Debug)]
pub enum Answers<'a> {
    /// One of these classes.
    Classes(&'a [String]),
    /// A number.
    Numbers(Standard),
}

impl Texts {
    /// Mean and standard deviation of the numbers that stand for classes.
    ///
    /// # Errors
    /// If one is no number, or all are the same.
    pub fn standard(&self) -> Result<Standard, DataError> {
        let numbers: Vec<f64> = self.examples.iter().map(number).collect::<Result<_, _>>()?;
        let known = || numbers.iter().filter(|number| !number.is_nan());
        let mean = |numbers: &mut dyn Iterator<Item = f64>| numbers.sum::<f64>() / known().count() as f64;
        let centre = mean(&mut known().copied());
        let deviation = mean(&mut known().map(|number| (number - centre).powi(2))).sqrt();
        match self.examples.first() {
            Some(first) if deviation.is_nan() || deviation == 0.0 => {
                Err(wrong(first, format!("all {} numbers are the same", self.examples.len())))
            }
            _ => Ok(Standard { mean: centre, deviation }),
        }
    }

    /// As tokens, the first `context` of each text, and indices of classes or standardised numbers. A pair that is joined becomes
    /// `first SEP second` of at most `context` tokens, where the longer text is cut first; SEP is the id after the
    /// tokenizer's last.
    ///
    /// # Errors
    /// If the tokenizer refuses a text or makes no token of it, or a class is none of those known, or no number.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        answers: Answers,
        context: usize,
        pair: Pair,
    ) -> Result<LabelledTexts, DataError> {
        let encoder = Encoder { tokenizer, context };
        let mut encoded = LabelledTexts {
            tokens: Vec::new(),
            labels: Vec::new(),
            values: matches!(answers, Answers::Numbers(_)).then(Vec::new),
            towers: 1,
            warning: self.skipped().warning(),
        };
        for example in &self.examples {
            encoded.learn(example, answers)?;
            let first = encoder.tokens(example, &example.text)?;
            let second = example.pair.as_ref().map(|text| encoder.tokens(example, text)).transpose()?;
            match (second, pair) {
                (None, _) => encoded.tokens.push(cut(first, context)),
                (Some(second), Pair::Joined) => encoded.tokens.push(encoder.joined(first, second)),
                (Some(second), Pair::TwoTower) => {
                    encoded.towers = 2;
                    encoded.tokens.extend([cut(first, context), cut(second, context)]);
                }
            }
        }
        Ok(encoded)
    }
}

struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    context: usize,
}

impl Encoder<'_> {
    fn tokens(&self, example: &Example, text: &[u8]) -> Result<Vec<u32>, DataError> {
        let tokens = self.tokenizer.encode_bytes(text).map_err(|error| wrong(example, error.to_string()))?;
        if tokens.is_empty() {
            return Err(wrong(example, "the text is empty: the tokenizer makes no token of it".into()));
        }
        Ok(tokens)
    }

    fn joined(&self, first: Vec<u32>, second: Vec<u32>) -> Vec<u32> {
        let (first_kept, second_kept) = shares(first.len(), second.len(), self.context.saturating_sub(1));
        let mut tokens = cut(first, first_kept);
        tokens.push(self.tokenizer.vocab_size() as u32);
        tokens.extend(&second[..second_kept]);
        tokens
    }
}

fn wrong(example: &Example, reason: String) -> DataError {
    DataError::Examples { name: example.place.clone(), reason }
}

fn cut(mut tokens: Vec<u32>, most: usize) -> Vec<u32> {
    tokens.truncate(most);
    tokens
}

/// How many tokens of either text are kept if there is `room` for so many: one after another goes from the longer
/// text, from the second where they are alike.
fn shares(first: usize, second: usize, room: usize) -> (usize, usize) {
    let (half, other) = (room.div_ceil(2), room / 2);
    if first + second <= room {
        (first, second)
    } else if first <= half {
        (first, room - first)
    } else if second <= other {
        (room - second, second)
    } else {
        (half, other)
    }
}

fn label(example: &Example, labels: &[String]) -> Result<u32, DataError> {
    let Some(class) = &example.class else { return Ok(UNLABELLED) };
    let at = labels.iter().position(|label| label == class);
    at.map(|at| at as u32).ok_or_else(|| {
        wrong(example, format!("the class `{class}` is none of the {} that were trained", labels.len()))
    })
}

/// NaN where it is not known.
fn number(example: &Example) -> Result<f64, DataError> {
    let Some(text) = &example.class else { return Ok(f64::NAN) };
    let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| wrong(example, format!("expected a number to learn, found `{text}`")))
}

/// Texts, or pairs of texts, as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledTexts {
    /// Of each example one sequence, or two for two towers.
    tokens: Vec<Vec<u32>>,
    labels: Vec<u32>,
    values: Option<Vec<f32>>,
    /// Sequences of an example.
    towers: usize,
    warning: Option<String>,
}

impl LabelledTexts {
    fn learn(&mut self, example: &Example, answers: Answers) -> Result<(), DataError> {
        let (label, value) = match answers {
            Answers::Classes(labels) => (label(example, labels)?, f64::NAN),
            Answers::Numbers(Standard { mean, deviation }) => {
                (UNLABELLED, (number(example)? - mean) / deviation)
            }
        };
        self.labels.push(label);
        self.values.iter_mut().for_each(|values| values.push(value as f32));
        Ok(())
    }
}

impl Labelled for LabelledTexts {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn tokens(&self) -> usize {
        self.tokens.iter().map(Vec::len).sum()
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn warning(&self) -> Option<String> {
        self.warning.clone()
    }

    /// Nothing varies.
    fn batch(&self, indices: &[usize], _rng: Option<Rng>) -> Examples {
        let sequences = indices.iter().flat_map(|&at| &self.tokens[at * self.towers..(at + 1) * self.towers]);
        let lengths: Vec<usize> = sequences.clone().map(Vec::len).collect();
        let length = lengths.iter().copied().max().unwrap_or(0);
        let mut ids = Vec::with_capacity(lengths.len() * length);
        for tokens in sequences {
            ids.extend_from_slice(tokens);
            ids.resize(ids.len().next_multiple_of(length.max(1)), 0);
        }
        let labels = indices.iter().map(|&at| self.labels[at]).collect();
        let values = self.values.as_ref().map(|values| indices.iter().map(|&at| values[at]).collect());
        Examples { input: Input::Tokens(ids), length, lengths, labels, values, second: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::DataConfig;

    fn texts(text: &str, pair: Option<&str>) -> Texts {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.tsv");
        std::fs::write(&path, text).unwrap();
        let data = DataConfig { text_pair_column: pair.map(str::to_owned), ..DataConfig::default() };
        Texts::open_unlabelled(&[path.display().to_string()], &data).unwrap()
    }

    fn ids(text: &[u8]) -> Input {
        Input::Tokens(text.iter().copied().map(u32::from).collect())
    }

    #[test]
    fn a_batch_is_padded_to_its_longest_text() {
        let texts = texts("label\ttext\nb\tab\na\tabcde\nb\tx\n", None);
        assert_eq!(texts.labels(), ["a", "b"]);
        let encoded =
            texts.encode(&Tokenizer::byte(), Answers::Classes(&texts.labels()), 4, Pair::Joined).unwrap();
        let batch = encoded.batch(&[2, 1], None);
        assert_eq!((batch.length, &batch.lengths[..], &batch.labels[..]), (4, &[1, 4][..], &[1, 0][..]));
        assert_eq!(batch.input, ids(b"x\0\0\0abcd"));
        let one = texts.subset(&[1]);
        assert_eq!((one.len(), one.labels()), (1, vec!["a".to_owned()]));
    }

    #[test]
    fn a_pair_is_joined_by_a_token_of_the_models_own_or_read_by_two_towers() {
        let texts = texts("label\ttext\tother\n1\tabc\tdefgh\n0\tx\ty\n", Some("other"));
        let encode =
            |pair| texts.encode(&Tokenizer::byte(), Answers::Classes(&texts.labels()), 6, pair).unwrap();
        let joined = encode(Pair::Joined).batch(&[0, 1], None);
        assert_eq!((&joined.lengths[..], joined.length), (&[6, 3][..], 6));
        let Input::Tokens(tokens) = joined.input else { panic!("no tokens") };
        let (a, b) = (u32::from(b'a'), u32::from(b'x'));
        assert_eq!(tokens, [a, a + 1, a + 2, 256, a + 3, a + 4, b, 256, b + 1, 0, 0, 0]);

        let towers = encode(Pair::TwoTower);
        let batch = towers.batch(&[1, 0], None);
        assert_eq!((&batch.lengths[..], &batch.labels[..]), (&[1, 1, 3, 5][..], &[0, 1][..]));
        assert_eq!(batch.input, ids(b"x\0\0\0\0y\0\0\0\0abc\0\0defgh"));
        assert_eq!((towers.len(), towers.tokens()), (2, 10));
    }

    /// Against taking tokens away one by one.
    #[test]
    fn the_longer_text_of_a_pair_is_cut_first() {
        for room in 0..9 {
            for (first, second) in (0..9).flat_map(|first| (0..9).map(move |second| (first, second))) {
                let mut left = (first, second);
                while left.0 + left.1 > room {
                    if left.0 > left.1 { left.0 -= 1 } else { left.1 -= 1 }
                }
                assert_eq!(shares(first, second, room), left, "{first} and {second} into {room}");
            }
        }
    }

    #[test]
    fn unknown_classes_are_named_with_their_line_and_absent_ones_are_marked() {
        let texts = texts("label\ttext\nb\tab\n\tz\n", None);
        let encode = |label: &str| {
            texts.encode(&Tokenizer::byte(), Answers::Classes(&[label.to_owned()]), 4, Pair::Joined)
        };
        let error = encode("a").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("`b`"), "{error}");
        let encoded = encode("b").unwrap();
        assert_eq!((encoded.label(0), encoded.label(1)), (0, UNLABELLED));
    }

    #[test]
    fn numbers_are_standardised_and_what_is_none_is_named_with_its_line() {
        let texts = |rows: &str| super::tests::texts(&format!("label\ttext\n{rows}"), None);
        let good = texts("1\tab\n 4.0\tz\n7e0\tx\n\ty\n");
        let standard = good.standard().unwrap();
        assert_eq!((standard.mean, standard.deviation), (4.0, 6f64.sqrt()));
        let encode =
            |texts: &Texts| texts.encode(&Tokenizer::byte(), Answers::Numbers(standard), 4, Pair::Joined);
        let values = encode(&good).unwrap().batch(&[2, 1, 3], None).values.unwrap();
        assert!(
            (values[0] - 1.5f32.sqrt()).abs() < 1e-6 && values[1] == 0.0 && values[2].is_nan(),
            "{values:?}"
        );
        for (rows, word) in [("1\ta\nhigh\tb\n", "`high`"), ("2\ta\ninf\tb\n", "`inf`")] {
            let error = texts(rows).standard().unwrap_err().to_string();
            assert!(error.contains("line 3") && error.contains(word), "{error}");
            assert!(encode(&texts(rows)).is_err());
        }
        let error = texts("2\ta\n2\tb\n").standard().unwrap_err().to_string();
        assert!(error.contains("all 2 numbers are the same"), "{error}");
    }
}
