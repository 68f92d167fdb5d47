//! Models whose examples have answers: classes, numbers, and targets of encoder-decoders.

use std::path::Path;

use relin::eval::{
    ClassEvaluation, ClassOptions, NumberEvaluation, SequenceEvaluation, SequenceOptions, evaluate_classes,
    evaluate_numbers, evaluate_sequences,
};
use serde::Serialize;

use super::{CONFUSION_FILE, EvalArgs, SCATTER_FILE, draw, name};
use crate::chart_of_eval::{confusion, scatter};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::{Count, grouped};

fn refuse_lengths(args: &EvalArgs) -> Result<(), Failure> {
    args.lengths.first().map_or(Ok(()), |length| {
        Err(Failure::BadOption {
            option: "--lengths",
            expected: "a language model: examples of other models have lengths of their own",
            found: length.to_string(),
        })
    })
}

pub(super) fn sequences(args: &EvalArgs, run: &Path, output: &Output) -> Result<(), Failure> {
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

pub(super) fn regression(args: &EvalArgs, run: &Path, output: &Output) -> Result<(), Failure> {
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

pub(super) fn classifier(args: &EvalArgs, run: &Path, output: &Output) -> Result<(), Failure> {
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

/// Predictions were written, and there is nothing to compare them with.
#[derive(Serialize)]
#[serde(tag = "event", rename = "predicted")]
struct Predicted<'a> {
    split: &'a str,
    examples: usize,
}
