//! ListOps: what a nested list of digits is worth, one of ten classes.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use relin_kernels::rng::Rng;
use serde::{Deserialize, Serialize};

use super::Part;
use super::expression::{END, Expression, SYMBOLS, Shape};
use crate::data::{DataError, Examples, Input, Labelled};
use crate::recipe::DataConfig;

/// Which expressions there are, and how they become tokens. The defaults are the published ones.
///
/// # Reference
/// Nangia and Bowman 2018, "ListOps: a diagnostic dataset for latent tree learning"; lengths and depth as in the
/// Long-Range Arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListOpsConfig {
    /// Tokens of an expression, at least.
    pub min_length: usize,
    /// Tokens of an expression, at most.
    pub max_length: usize,
    /// Nodes from the root to a digit, both counted, at most.
    pub max_depth: usize,
    /// Arguments of an operator, at most; two are the least.
    pub max_args: usize,
    /// Expressions to train on.
    pub examples: usize,
    /// Expressions to validate on, and as many to test on.
    pub held_out: usize,
    /// Which symbols are tokens.
    pub tokens: ListOpsTokens,
}

impl Default for ListOpsConfig {
    fn default() -> Self {
        Self {
            min_length: 501,
            max_length: 1999,
            max_depth: 10,
            max_args: 10,
            examples: 96_000,
            held_out: 2000,
            tokens: ListOpsTokens::Fixed,
        }
    }
}

impl ListOpsConfig {
    fn shape(&self) -> Shape {
        let Self { min_length, max_length, max_depth, max_args, .. } = *self;
        Shape { min_length, max_length, max_depth, max_args }
    }
}

/// Which symbols are tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListOpsTokens {
    /// All fifteen.
    #[default]
    Fixed,
    /// Those that the first published runs saw: letters and digits alone. Nothing says where a list ends, so most
    /// sequences stand for expressions of different values.
    Published,
}

impl ListOpsTokens {
    /// Number of tokens.
    pub fn count(self) -> usize {
        match self {
            Self::Fixed => SYMBOLS.len(),
            Self::Published => usize::from(END),
        }
    }
}

/// Expressions with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOps {
    /// Of all expressions, end to end.
    tokens: Vec<u8>,
    /// Where each expression ends in them.
    ends: Vec<usize>,
    values: Vec<u8>,
}

/// The stream of random numbers of the first candidate.
const STREAM: u64 = u64::from_le_bytes(*b"listops\0");
/// Candidates drawn at once.
const AT_ONCE: u64 = 1 << 16;
/// New expressions that so many candidates give at least; fewer would take minutes for a set.
const LEAST: usize = 32;

impl ListOps {
    /// A part of what the recipe's `[data]` names: of a folder with the published files, or, without a source, of
    /// expressions made by rule.
    ///
    /// # Errors
    /// If the files cannot be read, or there are fewer different expressions of that shape than asked for.
    pub fn open(data: &DataConfig, seed: u64, part: Part) -> Result<Self, DataError> {
        match data.folder()? {
            Some(folder) => Self::read(&published_file(&folder, part)?, data),
            None => Self::make(&data.listops, seed, part),
        }
    }

    /// Expressions made by rule: distinct ones, in the order of their numbers, the first to test on, the next to
    /// validate on, the others to train on. So more examples leave the held-out ones as they are.
    fn make(config: &ListOpsConfig, seed: u64, part: Part) -> Result<Self, DataError> {
        let ListOpsConfig { examples, held_out, tokens, .. } = *config;
        let (skip, take) = match part {
            Part::Test => (0, held_out),
            Part::Validation => (held_out, held_out),
            Part::Training => (2 * held_out, examples),
        };
        let (shape, mut made, mut seen) = (config.shape(), Self::default(), HashSet::new());
        for block in 0.. {
            let before = seen.len();
            for expression in candidates(&shape, seed, block) {
                if !seen.insert(digest(&expression)) {
                    continue;
                }
                if seen.len() > skip {
                    made.push(&expression, expression.value().expect("a whole tree"), tokens);
                }
                if made.len() == take {
                    return Ok(made);
                }
            }
            if seen.len() < before + LEAST {
                break;
            }
        }
        let reason = format!(
            "expected {} different expressions, but after {} there were hardly any new ones among {AT_ONCE} candidates: allow more lengths, a greater depth or more arguments",
            skip + take,
            seen.len()
        );
        Err(DataError::Examples { name: "data.listops".into(), reason })
    }

    /// The expressions of a table with the columns `Source` and `Target`.
    ///
    /// # Errors
    /// If the file cannot be read, a row is malformed, or an expression is longer than the context.
    pub fn read(path: &Path, data: &DataConfig) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io("read", path))?;
        let mut all = Self::default();
        for (at, text) in BufReader::new(file).lines().enumerate() {
            let text = text.map_err(DataError::io("read", path))?;
            let wrong = |reason| DataError::Row { path: path.into(), line: at + 1, reason };
            if at == 0 {
                let header = text.trim_end() == "Source\tTarget";
                header.then_some(()).ok_or_else(|| {
                    wrong(format!("expected the header `Source`, tab, `Target`, found `{text}`"))
                })?;
                continue;
            }
            let (expression, value) = row(&text).map_err(wrong)?;
            all.push(&expression, value, data.listops.tokens);
            let (length, context) = (all.expression(all.len() - 1).len(), data.context);
            if length > context {
                return Err(wrong(format!("{length} tokens, but data.context = {context}")));
            }
        }
        if all.is_empty() {
            return Err(DataError::Empty { name: path.display().to_string() });
        }
        Ok(all)
    }

    /// The names of the classes.
    pub fn classes() -> Vec<String> {
        SYMBOLS[..10].iter().map(|&digit| digit.to_owned()).collect()
    }

    fn push(&mut self, expression: &Expression, value: u8, kept: ListOpsTokens) {
        let end = |token: &u8| kept == ListOpsTokens::Fixed || *token != END;
        self.tokens.extend(expression.tokens().iter().copied().filter(end));
        self.ends.push(self.tokens.len());
        self.values.push(value);
    }

    fn expression(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.tokens[start..self.ends[at]]
    }
}

/// The expressions of a shape among some candidates, in order.
fn candidates(shape: &Shape, seed: u64, block: u64) -> Vec<Expression> {
    let numbers = (block * AT_ONCE..(block + 1) * AT_ONCE).into_par_iter();
    numbers.filter_map(|at| Expression::draw(shape, &Rng::new(seed, STREAM ^ at))).collect()
}

/// Stands for an expression among those seen; the expressions of a whole set take a hundred times the room.
fn digest(expression: &Expression) -> u64 {
    let mut hasher = DefaultHasher::new();
    expression.hash(&mut hasher);
    hasher.finish()
}

/// `basic_PART.tsv` in the folder, or in the folder of its published name there.
fn published_file(folder: &Path, part: Part) -> Result<PathBuf, DataError> {
    let name = match part {
        Part::Training => "basic_train.tsv",
        Part::Validation => "basic_val.tsv",
        Part::Test => "basic_test.tsv",
    };
    let candidates = ["", "listops", "listops-1000"].map(|inside| folder.join(inside).join(name));
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| DataError::Examples {
        name: folder.display().to_string(),
        reason: format!("there is no {name}, nor in the folders listops or listops-1000 there"),
    })
}

fn row(text: &str) -> Result<(Expression, u8), String> {
    let columns: Vec<&str> = text.trim_end_matches(['\r', '\n']).split('\t').collect();
    let [source, target] = columns[..] else {
        return Err(format!("expected 2 columns, found {}", columns.len()));
    };
    let expression = Expression::parse(source)?;
    if expression.tokens().is_empty() {
        return Err("the expression is empty".into());
    }
    match target.trim().parse() {
        Ok(value @ 0..=9) => Ok((expression, value)),
        _ => Err(format!("`Target`: expected a digit, found `{target}`")),
    }
}

impl Labelled for ListOps {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn tokens(&self) -> usize {
        self.tokens.len()
    }

    fn label(&self, index: usize) -> u32 {
        u32::from(self.values[index])
    }

    /// Nothing varies.
    fn batch(&self, indices: &[usize], _rng: Option<Rng>) -> Examples {
        let lengths: Vec<usize> = indices.iter().map(|&at| self.expression(at).len()).collect();
        let length = lengths.iter().copied().max().unwrap_or(0);
        let mut ids = vec![0; indices.len() * length];
        for (row, &at) in ids.chunks_mut(length.max(1)).zip(indices) {
            row.iter_mut().zip(self.expression(at)).for_each(|(id, &token)| *id = u32::from(token));
        }
        let labels = indices.iter().map(|&at| self.label(at)).collect();
        Examples { input: Input::Tokens(ids), length, lengths, labels, values: None, second: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(examples: usize) -> DataConfig {
        let listops = ListOpsConfig {
            min_length: 5,
            max_length: 20,
            max_depth: 4,
            max_args: 3,
            examples,
            held_out: 40,
            tokens: ListOpsTokens::Fixed,
        };
        DataConfig { listops, context: 20, ..DataConfig::default() }
    }

    fn parts(data: &DataConfig, seed: u64) -> [ListOps; 3] {
        [Part::Training, Part::Validation, Part::Test].map(|part| ListOps::open(data, seed, part).unwrap())
    }

    fn expressions(set: &ListOps) -> Vec<Vec<u8>> {
        (0..set.len()).map(|at| set.expression(at).to_vec()).collect()
    }

    #[test]
    fn no_expression_is_made_twice_in_any_part() {
        let parts = parts(&small(500), 3);
        assert_eq!(parts.each_ref().map(ListOps::len), [500, 40, 40]);
        let all: Vec<_> = parts.iter().flat_map(expressions).collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn parts_depend_on_the_seed_and_held_out_ones_on_nothing_else() {
        let [training, validation, test] = parts(&small(100), 3);
        assert_eq!(parts(&small(100), 3), [training.clone(), validation.clone(), test.clone()]);
        let more = parts(&small(300), 3);
        assert_eq!((&more[1], &more[2]), (&validation, &test));
        assert_eq!(expressions(&more[0])[..100], expressions(&training));
        assert_ne!(parts(&small(100), 4)[2], test);
    }

    #[test]
    fn a_shape_with_too_few_expressions_is_refused() {
        let mut data = small(100);
        // Digits alone: ten of them.
        data.listops = ListOpsConfig { min_length: 1, max_depth: 1, ..data.listops };
        let error = ListOps::open(&data, 0, Part::Test).unwrap_err().to_string();
        assert!(error.contains("data.listops: expected 40") && error.contains("after 10 "), "{error}");
    }

    #[test]
    fn a_batch_is_padded_and_published_tokens_have_no_ends() {
        let mut data = small(1);
        let read = |data: &DataConfig| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("basic_train.tsv");
            std::fs::write(&path, "Source\tTarget\n( ( ( [MAX 2 ) 9 ) ] )\t9\r\n3\t3\n").unwrap();
            let data = DataConfig {
                source: crate::recipe::Sources(vec![folder.path().display().to_string()]),
                ..data.clone()
            };
            ListOps::open(&data, 0, Part::Training).unwrap().batch(&[1, 0], None)
        };
        let batch = read(&data);
        assert_eq!((batch.length, &batch.lengths[..], &batch.labels[..]), (4, &[1, 4][..], &[3, 9][..]));
        assert_eq!(batch.input, Input::Tokens(vec![3, 0, 0, 0, 11, 2, 9, 14]));
        data.listops.tokens = ListOpsTokens::Published;
        assert_eq!(read(&data).input, Input::Tokens(vec![3, 0, 0, 11, 2, 9]));
        assert_eq!([ListOpsTokens::Fixed, ListOpsTokens::Published].map(ListOpsTokens::count), [15, 14]);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.tsv");
        for (text, words) in [
            ("Text\tTarget\n", ["line 1", "`Source`", "`Text\tTarget`"]),
            ("Source\tTarget\n[MAX 1 ]\n", ["line 2", "2 columns", "found 1"]),
            ("Source\tTarget\n1\t1\n[MAX 1 ]\t12\n", ["line 3", "`Target`", "`12`"]),
            ("Source\tTarget\n[AVG 1 ]\t1\n", ["line 2", "`[AVG`", "`[MED`"]),
            ("Source\tTarget\n ( )\t1\n", ["line 2", "expression", "empty"]),
            ("Source\tTarget\n1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1\t1\n", ["21", "context", "20"]),
            ("Source\tTarget\n", ["t.tsv", "no text", ""]),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = ListOps::read(&path, &small(1)).unwrap_err().to_string();
            words.iter().for_each(|word| assert!(error.contains(word), "no `{word}` in: {error}"));
        }
        let mut data = small(1);
        data.source.0 = vec![folder.path().display().to_string()];
        let error = ListOps::open(&data, 0, Part::Validation).unwrap_err().to_string();
        assert!(error.contains("basic_val.tsv") && error.contains("listops-1000"), "{error}");
    }
}
