//! `relin eval`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use relin::eval::{
    ClassEvaluation, ClassOptions, EvalOptions, Evaluation, ProbeEvaluation, SequenceEvaluation,
    SequenceOptions, evaluate, evaluate_classes, evaluate_probe, evaluate_sequences,
};
use relin::recipe::{Recipe, Task};
use relin::runlog::RECIPE_FILE;

use super::run_folder;
use crate::args::Globals;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::grouped;

const EXAMPLES: &str = "\
Examples:
  relin eval runs/quickstart
  relin eval runs/quickstart --lengths 128,512,2048 --json
  relin eval runs/quickstart --data other.txt
  relin eval runs/mnist --split test --predictions mnist.tsv
  relin eval runs/reversal --predictions reversal.tsv";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArgs {
    /// Folder of a trained model
    run: PathBuf,
    /// Score on this file, folder or glob instead of the run's own data
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Which part of the data [default: validation, or all of --data]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Context lengths, separated by commas [default: the length trained on]
    #[arg(long, value_name = "T,...", value_delimiter = ',')]
    lengths: Vec<NonZeroUsize>,
    /// Write the class chosen or the target written for each example, with its probability, as a table (not language
    /// models)
    #[arg(long, value_name = "FILE.tsv")]
    predictions: Option<PathBuf>,
}

pub fn run(args: &EvalArgs, _: &Globals, output: &Output) -> Result<(), Failure> {
    let run = run_folder(&args.run)?;
    match Recipe::read(&run.join(RECIPE_FILE), &[])?.task {
        Task::CausalLm => language_model(args, &run, output),
        Task::TextClassification | Task::ImageClassification => classifier(args, &run, output),
        Task::Probe => probe(args, &run, output),
        Task::SequenceToSequence => sequences(args, &run, output),
    }
}

fn refuse_lengths(args: &EvalArgs) -> Result<(), Failure> {
    args.lengths.first().map_or(Ok(()), |length| {
        Err(Failure::BadOption {
            option: "--lengths",
            expected: "a language model: examples of other models have lengths of their own",
            found: length.to_string(),
        })
    })
}

fn sequences(args: &EvalArgs, run: &Path, output: &Output) -> Result<(), Failure> {
    refuse_lengths(args)?;
    let (data, split, predictions) = (args.data.clone(), args.split.clone(), args.predictions.clone());
    let evaluation = evaluate_sequences(run, &SequenceOptions { data, split, predictions })?;
    let SequenceEvaluation { split, loss, accuracy, exact_match, bleu, examples, .. } = &evaluation;
    let bleu = bleu.map_or(String::new(), |bleu| format!("BLEU {bleu:.2}  "));
    let examples = grouped(*examples);
    output.result(format!(
        "{split}  loss {loss:.4}  accuracy {accuracy:.4}  exact match {exact_match:.4}  {bleu}({examples} examples)"
    ));
    output.event(&evaluation);
    Ok(())
}

fn classifier(args: &EvalArgs, run: &Path, output: &Output) -> Result<(), Failure> {
    refuse_lengths(args)?;
    let (data, split, predictions) = (args.data.clone(), args.split.clone(), args.predictions.clone());
    let evaluation = evaluate_classes(run, &ClassOptions { data, split, predictions })?;
    output.result(classes_in_words(&evaluation));
    output.event(&evaluation);
    Ok(())
}

fn probe(args: &EvalArgs, run: &Path, output: &Output) -> Result<(), Failure> {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let own = [
        ("--data", path(&args.data)),
        ("--predictions", path(&args.predictions)),
        ("--split", args.split.clone()),
    ];
    for (option, found) in own {
        if let Some(found) = found {
            let expected = "a task with data: a probe makes its own";
            return Err(Failure::BadOption { option, expected, found });
        }
    }
    let lengths: Vec<usize> = args.lengths.iter().map(|length| length.get()).collect();
    evaluate_probe(run, &lengths, &mut |evaluation| {
        let ProbeEvaluation { length, loss, accuracy, chance, answers } = evaluation;
        let answers = grouped(*answers);
        output.result(format!(
            "length {length}  loss {loss:.4}  accuracy {accuracy:.4}  chance {chance:.4}  ({answers} answers)"
        ));
        output.event(evaluation);
    })?;
    Ok(())
}

fn classes_in_words(evaluation: &ClassEvaluation) -> String {
    let ClassEvaluation { split, loss, accuracy, macro_f1, matthews, examples, classes, confusion } =
        evaluation;
    let mut text = format!(
        "{split}  loss {loss:.4}  accuracy {accuracy:.4}  macro F1 {macro_f1:.4}  Matthews {matthews:.4}  ({} examples)",
        grouped(*examples)
    );
    let widest = classes.iter().map(|class| class.label.chars().count()).max().unwrap_or(0).max(5);
    text += &format!("\n{:>widest$}  examples  precision  recall      F1  most often taken for", "class");
    for (at, class) in classes.iter().enumerate() {
        let others = (0..classes.len()).filter(|&other| other != at && confusion[at][other] > 0);
        let taken_for = others
            .max_by_key(|&other| confusion[at][other])
            .map_or(String::new(), |other| format!("{} ({})", classes[other].label, confusion[at][other]));
        text += &format!(
            "\n{:>widest$}  {:>8}  {:>9.4}  {:>6.4}  {:>6.4}  {taken_for}",
            class.label, class.examples, class.precision, class.recall, class.f1
        );
    }
    text
}

fn language_model(args: &EvalArgs, run: &Path, output: &Output) -> Result<(), Failure> {
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
    evaluate(run, &options, &mut |evaluation| {
        output.result(in_words(evaluation));
        output.event(evaluation);
    })?;
    Ok(())
}

fn in_words(evaluation: &Evaluation) -> String {
    format!(
        "{}  length {}  loss {:.4}  perplexity {:.4}  bits per byte {:.4}  accuracy {:.4}  ({} tokens)",
        evaluation.split,
        evaluation.length,
        evaluation.loss,
        evaluation.perplexity,
        evaluation.bits_per_byte,
        evaluation.accuracy,
        grouped(evaluation.tokens)
    )
}
