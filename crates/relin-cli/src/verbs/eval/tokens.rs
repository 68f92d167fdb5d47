//! Models of tokens, at several lengths: language models and probes.

use std::path::Path;

use relin::eval::{EvalOptions, Evaluation, ProbeEvaluation, evaluate, evaluate_probe};

use super::{EvalArgs, draw_lengths, name};
use crate::chart_of_eval::{accuracies, losses};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::grouped;
use crate::verbs::{refuse, shown};

pub(super) fn language_model(
    args: &EvalArgs,
    run: &Path,
    trained: usize,
    output: &Output,
) -> Result<(), Failure> {
    if let Some(path) = &args.predictions {
        return Err(Failure::BadOption {
            option: "--predictions",
            expected: "a classifier or an encoder-decoder",
            found: path.display().to_string(),
        });
    }
    let options = EvalOptions {
        data: args.data.clone(),
        split: args.split.clone(),
        lengths: args.lengths.iter().map(|length| length.get()).collect(),
    };
    let mut all = Vec::new();
    evaluate(run, &options, &mut |evaluation| {
        output.result(in_words(evaluation));
        output.event(evaluation);
        all.push(evaluation.clone());
    })?;
    draw_lengths(args, run, &losses(&name(run), &all, trained), output)
}

fn in_words(evaluation: &Evaluation) -> String {
    let Evaluation { split, length, loss, perplexity, bits_per_byte, accuracy, tokens } = evaluation;
    let bits = bits_per_byte.map_or(String::new(), |bits| format!("  bits per byte {bits:.4}"));
    format!(
        "{split}  length {length}  loss {loss:.4}  perplexity {perplexity:.4}{bits}  accuracy {accuracy:.4}  ({} tokens)",
        grouped(*tokens)
    )
}

pub(super) fn probe(args: &EvalArgs, run: &Path, trained: usize, output: &Output) -> Result<(), Failure> {
    let own = [
        ("--data", shown(&args.data)),
        ("--predictions", shown(&args.predictions)),
        ("--split", args.split.clone()),
    ];
    refuse("a task with data: a probe makes its own", own)?;
    let lengths: Vec<usize> = args.lengths.iter().map(|length| length.get()).collect();
    let mut all = Vec::new();
    evaluate_probe(run, &lengths, &mut |evaluation| {
        let ProbeEvaluation { length, loss, accuracy, chance, answers } = evaluation;
        let answers = grouped(*answers);
        output.result(format!(
            "length {length}  loss {loss:.4}  accuracy {accuracy:.4}  chance {chance:.4}  ({answers} answers)"
        ));
        output.event(evaluation);
        all.push(evaluation.clone());
    })?;
    draw_lengths(args, run, &accuracies(&name(run), &all, trained), output)
}
