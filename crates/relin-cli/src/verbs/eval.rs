//! `relin eval`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use relin::eval::{
    ClassEvaluation, ClassOptions, EvalOptions, Evaluation, Likeness, MusicEvalOptions, MusicEvaluation,
    NumberEvaluation, ProbeEvaluation, SequenceEvaluation, SequenceOptions, Style, StyleOptions, evaluate,
    evaluate_classes, evaluate_music, evaluate_numbers, evaluate_probe, evaluate_sequences, evaluate_style,
};
use relin::generate::SamplerOptions;
use relin::recipe::{Recipe, Task};
use relin::runlog::{RECIPE_FILE, write_atomic};
use serde::Serialize;

use super::{check_skipping, refuse, run_folder, shown};
use crate::args::Globals;
use crate::chart_of_eval::{accuracies, confusion, losses, music_losses, positions, scatter};
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
  relin eval runs/reversal --predictions reversal.tsv
  relin eval runs/music-jsb --lengths 256,512,1024,2048 --concatenate
  relin eval runs/music-jsb --style 10";

/// Names of the plots in a run's folder.
const CONFUSION_FILE: &str = "confusion.svg";
const LENGTHS_FILE: &str = "lengths.svg";
const SCATTER_FILE: &str = "scatter.svg";
const POSITIONS_FILE: &str = "positions.svg";

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
    /// Join pieces of music, so that lengths beyond theirs are reached
    #[arg(long)]
    concatenate: bool,
    /// Go on from N pieces of music, and compare each quarter of the continuations with the pieces
    #[arg(long, value_name = "N")]
    style: Option<NonZeroUsize>,
    /// Where to draw what classes were taken for, predictions over numbers, or the scores at several lengths [default:
    /// confusion.svg, scatter.svg or lengths.svg in the run's folder]
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

pub fn run(args: &EvalArgs, globals: &Globals, output: &Output) -> Result<(), Failure> {
    let run = run_folder(&args.run)?;
    let recipe = Recipe::read(&run.join(RECIPE_FILE), &[])?;
    if args.skip_bad_rows {
        check_skipping(recipe.task)?;
    }
    let trained = recipe.data.context;
    if recipe.task != Task::Music {
        refuse_music(args)?;
    }
    match recipe.task {
        Task::CausalLm | Task::MaskedLm => language_model(args, &run, trained, output),
        Task::TextClassification | Task::ImageClassification | Task::ListOps | Task::Pathfinder => {
            classifier(args, &run, output)
        }
        Task::TextRegression => regression(args, &run, output),
        Task::Probe => probe(args, &run, trained, output),
        Task::SequenceToSequence => sequences(args, &run, output),
        Task::Music => match args.style {
            Some(pieces) => style(args, globals, &run, (pieces.get(), trained), output),
            None => music(args, &run, trained, output),
        },
    }
}

fn refuse_music(args: &EvalArgs) -> Result<(), Failure> {
    let given = [
        ("--concatenate", args.concatenate.then(|| "it".to_owned())),
        ("--style", args.style.map(|n| n.to_string())),
    ];
    refuse("a model of music", given)
}

fn music(args: &EvalArgs, run: &Path, trained: usize, output: &Output) -> Result<(), Failure> {
    let expected = "a classifier or an encoder-decoder";
    refuse(expected, [("--predictions", shown(&args.predictions))])?;
    let options = MusicEvalOptions {
        data: args.data.clone(),
        split: args.split.clone(),
        lengths: args.lengths.iter().map(|length| length.get()).collect(),
        concatenate: args.concatenate,
    };
    let mut all = Vec::new();
    evaluate_music(run, &options, &mut |evaluation| {
        output.result(music_in_words(evaluation));
        output.event(evaluation);
        all.push(evaluation.clone());
    })?;
    draw_beside(&run.join(POSITIONS_FILE), &positions(&name(run), &all, trained).svg(), output);
    draw_lengths(args, run, &music_losses(&name(run), &all, trained), output)
}

fn music_in_words(evaluation: &MusicEvaluation) -> String {
    let MusicEvaluation { split, length, whole, concatenated, loss, accuracy, tokens, pieces, .. } =
        evaluation;
    let of = match (whole, concatenated) {
        (true, false) => "whole pieces".into(),
        (_, true) => format!("length {length}, pieces joined"),
        (false, false) => format!("length {length}"),
    };
    let step = evaluation.loss_per_step.map_or(String::new(), |loss| format!("  per step {loss:.4}"));
    let (tokens, pieces) = (grouped(*tokens), grouped(*pieces));
    let mut text = format!(
        "{split}  {of}  loss {loss:.4}{step}  accuracy {accuracy:.4}  ({tokens} tokens of {pieces} pieces)"
    );
    if evaluation.positions.len() > 1 {
        text += "\n  loss by position:";
        for bucket in &evaluation.positions {
            text += &format!("  {}: {:.4}", bucket.from, bucket.loss);
        }
    }
    text
}

fn style(
    args: &EvalArgs,
    globals: &Globals,
    run: &Path,
    (pieces, context): (usize, usize),
    output: &Output,
) -> Result<(), Failure> {
    let given = [
        ("--data", shown(&args.data)),
        ("--split", args.split.clone()),
        ("--predictions", shown(&args.predictions)),
        ("--lengths", args.lengths.first().map(|length| length.to_string())),
        ("--concatenate", args.concatenate.then(|| "it".to_owned())),
        ("--plot", shown(&args.plot)),
    ];
    refuse("scores without --style, which goes on from pieces of the validation split", given)?;
    let sampler = SamplerOptions {
        temperature: STYLE_TEMPERATURE,
        top_k: None,
        top_p: None,
        seed: globals.seed.unwrap_or(0),
    };
    let (given, written) = (context / 2, 4 * context);
    let style = evaluate_style(run, &StyleOptions { pieces, given, written, sampler })?;
    output.result(style_in_words(&style));
    output.event(&style);
    Ok(())
}

/// That of the experiment the measures come from.
const STYLE_TEMPERATURE: f64 = 0.6;

fn style_in_words(style: &Style) -> String {
    let Style { pieces, given, written, quarters, other_piece, prevented } = style;
    let row = |name: &str, Likeness { time_pitch, onset_duration }: &Likeness| {
        format!("\n{name:>24}  {time_pitch:>10.4}  {onset_duration:>14.4}")
    };
    let mut text = format!(
        "likeness of continuations of {} tokens to the {pieces} pieces whose first {} tokens were given (1 is alike)\n{:>24}  time-pitch  onset-duration",
        grouped(*written),
        grouped(*given),
        ""
    );
    for (at, quarter) in quarters.iter().enumerate() {
        text += &row(&format!("quarter {} of the time", at + 1), quarter);
    }
    text += &row("another piece", other_piece);
    text + &format!("\ntokens that were prevented: {:.2} %", 100.0 * prevented)
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

/// A further plot in the run's folder, as far as it can be written to.
fn draw_beside(path: &Path, svg: &str, output: &Output) {
    match write_atomic(path, svg.as_bytes()) {
        Ok(()) => output.note(format!("plot: {}", path.display())),
        Err(error) => output.warning(format_args!("no plot: {error}")),
    }
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
