//! Models of music: losses by position, and how much continuations are like what they continue.

use std::path::Path;

use relin::eval::{
    Likeness, MusicEvalOptions, MusicEvaluation, Style, StyleOptions, evaluate_music, evaluate_style,
};
use relin::generate::SamplerOptions;

use super::{EvalArgs, POSITIONS_FILE, draw_beside, draw_lengths, name};
use crate::args::Globals;
use crate::chart_of_eval::{music_losses, positions};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::grouped;
use crate::verbs::{refuse, shown};

pub(super) fn music(args: &EvalArgs, run: &Path, trained: usize, output: &Output) -> Result<(), Failure> {
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

pub(super) fn style(
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
