//! `relin eval`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use relin::eval::{
    ClassEvaluation, ClassOptions, EvalOptions, Evaluation, NumberEvaluation, ProbeEvaluation,
    SequenceEvaluation, SequenceOptions, evaluate, evaluate_classes, evaluate_numbers, evaluate_probe,
    evaluate_sequences,
};
use relin::recipe::{Recipe, Task};
use relin::runlog::{RECIPE_FILE, write_atomic};
use serde::Serialize;

use super::{check_skipping, run_folder};
use crate::args::Globals;
use crate::chart_of_eval::{accuracies, confusion, losses, scatter};
use crate::failure::Failure;
use crate::output::Output;
use crate::plot::Chart;
use crate::progress::{Count, grouped};

const EXAMPLES: &str = "\
Examples:
  relin eval runs/quickstart
  relin eval runs/quickstart --lengths 128,512,2048 --json
  relin eval runs/quickstart --data other.txt
  relin eval runs/cola --data test.tsv --predictions cola.tsv --skip-bad-rows
  relin eval runs/mnist --split test --predictions mnist.tsv --plot mnist.svg
  relin eval runs/reversal --predictions reversal.tsv";

/// Names of the plots in a run's folder.
const CONFUSION_FILE: &str = "confusion.svg";
const LENGTHS_FILE: &str = "lengths.svg";
const SCATTER_FILE: &str = "scatter.svg";

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
    /// Pass over bad rows of a table, and list them (texts that are classified, graded or translated)
    #[arg(long)]
    skip_bad_rows: bool,
    /// Where to draw what classes were taken for, predictions over numbers, or the scores at several lengths [default:
    /// confusion.svg, scatter.svg or lengths.svg in the run's folder]
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

pub fn run(args: &EvalArgs, _: &Globals, output: &Output) -> Result<(), Failure> {
    let run = run_folder(&args.run)?;
    let recipe = Recipe::read(&run.join(RECIPE_FILE), &[])?;
    if args.skip_bad_rows {
        check_skipping(recipe.task)?;
    }
    let trained = recipe.data.context;
    match recipe.task {
        Task::CausalLm | Task::MaskedLm => language_model(args, &run, trained, output),
        Task::TextClassification | Task::ImageClassification | Task::ListOps | Task::Pathfinder => {
            classifier(args, &run, output)
        }
        Task::TextRegression => regression(args, &run, output),
        Task::Probe => probe(args, &run, trained, output),
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
    if let Some(path) = &args.plot {
        let expected = "a model of another kind: the scores of an encoder-decoder have no plot";
        let found = path.display().to_string();
        return Err(Failure::BadOption { option: "--plot", expected, found });
    }
    let (data, split, predictions) = (args.data.clone(), args.split.clone(), args.predictions.clone());
    let options = SequenceOptions { data, split, predictions, skip_bad_rows: args.skip_bad_rows };
    let evaluation = evaluate_sequences(run, &options, &mut Count::new(output, "pairs").watch())?;
    if let Some(warning) = &evaluation.warning {
        output.warning(warning);
    }
    let SequenceEvaluation { split, loss, accuracy, exact_match, bleu, examples, .. } = &evaluation;
    let bleu = bleu.map_or(String::new(), |bleu| format!("BLEU {bleu:.2}  "));
    let examples = grouped(*examples);
    output.result(format!(
        "{split}  loss {loss:.4}  accuracy {accuracy:.4}  exact match {exact_match:.4}  {bleu}({examples} examples)"
    ));
    output.event(&evaluation);
    Ok(())
}

fn class_options(args: &EvalArgs) -> Result<ClassOptions, Failure> {
    refuse_lengths(args)?;
    let (data, split, predictions) = (args.data.clone(), args.split.clone(), args.predictions.clone());
    Ok(ClassOptions { data, split, predictions, skip_bad_rows: args.skip_bad_rows })
}

/// Says what was skipped, and what has no `answer` and is only predicted; whether there is nothing to score.
fn only_predicted(
    answer: &str,
    split: &str,
    warning: Option<&String>,
    [examples, unlabelled]: [usize; 2],
    output: &Output,
) -> bool {
    if let Some(warning) = warning {
        output.warning(warning);
    }
    if unlabelled > 0 {
        output.result(format!("{} examples have no {answer}: predicted, not scored", grouped(unlabelled)));
    }
    if examples == 0 {
        output.event(&Predicted { split, examples: unlabelled });
    }
    examples == 0
}

fn regression(args: &EvalArgs, run: &Path, output: &Output) -> Result<(), Failure> {
    let evaluation =
        evaluate_numbers(run, &class_options(args)?, &mut Count::new(output, "examples").watch())?;
    let NumberEvaluation { split, loss, rmse, pearson, spearman, examples, unlabelled, warning, .. } =
        &evaluation;
    if only_predicted("number", split, warning.as_ref(), [*examples, *unlabelled], output) {
        return Ok(());
    }
    let number = |correlation: &Option<f64>| correlation.map_or("none".into(), |r| format!("{r:.4}"));
    output.result(format!(
        "{split}  loss {loss:.4}  RMSE {rmse:.4}  Pearson {}  Spearman {}  ({} examples)",
        number(pearson),
        number(spearman),
        grouped(*examples)
    ));
    output.event(&evaluation);
    draw(args, &run.join(SCATTER_FILE), &scatter(&name(run), &evaluation).svg(), output)
}

fn classifier(args: &EvalArgs, run: &Path, output: &Output) -> Result<(), Failure> {
    let evaluation =
        evaluate_classes(run, &class_options(args)?, &mut Count::new(output, "examples").watch())?;
    let counts = [evaluation.examples, evaluation.unlabelled];
    if only_predicted("class", &evaluation.split, evaluation.warning.as_ref(), counts, output) {
        return Ok(());
    }
    output.result(classes_in_words(&evaluation));
    output.event(&evaluation);
    let svg = confusion(&name(run), &evaluation).svg();
    draw(args, &run.join(CONFUSION_FILE), &svg, output)
}

fn name(run: &Path) -> String {
    let folder = run.canonicalize().unwrap_or_else(|_| run.into());
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Where it was asked for, or in the run's folder, which perhaps cannot be written to: scores are no worse for that.
fn draw(args: &EvalArgs, usual: &Path, svg: &str, output: &Output) -> Result<(), Failure> {
    let path = args.plot.as_deref().unwrap_or(usual);
    match write_atomic(path, svg.as_bytes()) {
        Ok(()) => output.note(format!("plot: {}", path.display())),
        Err(error) if args.plot.is_none() => output.warning(format_args!("no plot: {error}")),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Predictions were written, and there is nothing to compare them with.
#[derive(Serialize)]
#[serde(tag = "event", rename = "predicted")]
struct Predicted<'a> {
    split: &'a str,
    examples: usize,
}

/// A single length is no curve, unless it was asked for.
fn draw_lengths(args: &EvalArgs, run: &Path, chart: &Chart, output: &Output) -> Result<(), Failure> {
    if args.lengths.len() < 2 && args.plot.is_none() {
        return Ok(());
    }
    draw(args, &run.join(LENGTHS_FILE), &chart.svg(), output)
}

fn probe(args: &EvalArgs, run: &Path, trained: usize, output: &Output) -> Result<(), Failure> {
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

fn classes_in_words(evaluation: &ClassEvaluation) -> String {
    let ClassEvaluation { split, loss, accuracy, macro_f1, matthews, examples, classes, confusion, .. } =
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

fn language_model(args: &EvalArgs, run: &Path, trained: usize, output: &Output) -> Result<(), Failure> {
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
