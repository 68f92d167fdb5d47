//! `relin generate`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use relin::generate::{
    GenerateOptions, MusicOptions, SamplerOptions, TargetOptions, generate, generate_music, generate_target,
};
use relin::recipe::{Recipe, Task};
use relin::runlog::RECIPE_FILE;

use super::{refuse, run_folder, shown};
use crate::args::Globals;
use crate::failure::Failure;
use crate::output::Output;
use crate::piece;
use crate::progress::grouped;

const EXAMPLES: &str = "\
Examples:
  relin generate runs/quickstart --prompt 'Once upon a time' --max-new-tokens 300
  relin generate runs/quickstart --prompt-file story.txt --max-new-tokens 0 --save-state story.state
  relin generate runs/quickstart --load-state story.state --top-p 0.9
  relin generate runs/number-words --prompt 17+25 --beam 4
  relin generate runs/music-jsb --prompt piece.mid --prompt-tokens 256 --max-new-tokens 2048 --out longer.mid

The text goes to standard output. A saved state holds all that the model remembers: loading it costs the same
however long the text before it was.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct GenerateArgs {
    /// Folder of a trained model
    run: PathBuf,
    /// Text to go on from, the source of an encoder-decoder's target, or a piece of music as a file: MIDI, or chorales in JSON
    #[arg(long, value_name = "TEXT|FILE", conflicts_with = "prompt_file")]
    prompt: Option<String>,
    /// File with the text or the piece to go on from
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Tokens to write
    #[arg(long, value_name = "N", default_value_t = 200)]
    max_new_tokens: usize,
    /// 0 takes the likeliest token always; larger is more random [default: 0.8]
    #[arg(long, value_name = "X")]
    temperature: Option<f64>,
    /// Choose among the N likeliest tokens only
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Choose among the likeliest tokens that hold this share of the probability
    #[arg(long, value_name = "X")]
    top_p: Option<f64>,
    /// Stop before this text (may be repeated)
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Begin with a saved state
    #[arg(long, value_name = "FILE")]
    load_state: Option<PathBuf>,
    /// Save the state at the end
    #[arg(long, value_name = "FILE")]
    save_state: Option<PathBuf>,
    /// Beginnings of a target that an encoder-decoder goes on with at a time; 1 takes the likeliest token always [default: 1]
    #[arg(long, value_name = "N")]
    beam: Option<NonZeroUsize>,
    /// Go on after so many tokens of the piece (models of music)
    #[arg(long, value_name = "N")]
    prompt_tokens: Option<usize>,
    /// MIDI file to write, with its piano roll beside it (models of music) [default: generated.mid in the run's folder]
    #[arg(long, value_name = "FILE.mid")]
    out: Option<PathBuf>,
}

pub fn run(args: &GenerateArgs, globals: &Globals, output: &Output) -> Result<(), Failure> {
    let sampler = sampler(args, globals)?;
    if let Some(path) = &args.prompt_file {
        std::fs::metadata(path).map_err(|source| Failure::Read { path: path.clone(), source })?;
    }
    let run = run_folder(&args.run)?;
    let task = task(&run);
    if task != Some(Task::Music) {
        refuse(
            "a model of music",
            [("--prompt-tokens", named(&args.prompt_tokens)), ("--out", shown(&args.out))],
        )?;
    }
    if task == Some(Task::SequenceToSequence) {
        return target(args, &run, output);
    }
    let expected = "an encoder-decoder: models of text or music draw their tokens";
    refuse(expected, [("--beam", named(&args.beam))])?;
    if task == Some(Task::Music) {
        return music(args, sampler, &run, output);
    }
    let options = options(args, sampler)?;
    let generated = generate(&run, &options, &mut |piece| output.text(piece))?;
    output.text("\n");
    let rate = grouped(generated.tokens_per_second.max(0.0) as usize);
    if !output.is_json() {
        output.note(format!("{} tokens, {rate} tokens/s", grouped(generated.tokens)));
    }
    output.event(&generated);
    Ok(())
}

/// A damaged recipe is for the loading of the model to tell.
fn task(run: &Path) -> Option<Task> {
    Recipe::read(&run.join(RECIPE_FILE), &[]).ok().map(|recipe| recipe.task)
}

fn named(value: &Option<impl ToString>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

fn music(args: &GenerateArgs, sampler: SamplerOptions, run: &Path, output: &Output) -> Result<(), Failure> {
    let expected = "a model of text: music is not stopped by words";
    refuse(expected, [("--stop", args.stop.first().cloned())])?;
    let options = MusicOptions {
        prompt: args.prompt_file.clone().or(args.prompt.as_ref().map(PathBuf::from)),
        prompt_tokens: args.prompt_tokens,
        max_new_tokens: args.max_new_tokens,
        sampler,
        load_state: args.load_state.clone(),
        save_state: args.save_state.clone(),
    };
    let written = generate_music(run, &options, &mut |_| {})?;
    piece::write(&written, &args.out.clone().unwrap_or_else(|| run.join("generated.mid")), output)
}

fn target(args: &GenerateArgs, run: &Path, output: &Output) -> Result<(), Failure> {
    let others = [
        ("--temperature", named(&args.temperature)),
        ("--top-k", named(&args.top_k)),
        ("--top-p", named(&args.top_p)),
        ("--stop", args.stop.first().cloned()),
        ("--load-state", shown(&args.load_state)),
        ("--save-state", shown(&args.save_state)),
    ];
    refuse("a language model: an encoder-decoder writes its likeliest target, to its end", others)?;
    let beam = args.beam.map_or(1, NonZeroUsize::get);
    let options = TargetOptions { prompt: prompt(args)?, max_new_tokens: args.max_new_tokens, beam };
    let written = generate_target(run, &options)?;
    output.text(&written.text);
    output.text("\n");
    if !output.is_json() {
        output.note(format!("{} tokens, log p {:.4}", grouped(written.tokens), written.log_probability));
    }
    output.event(&written);
    Ok(())
}

fn sampler(args: &GenerateArgs, globals: &Globals) -> Result<SamplerOptions, Failure> {
    let require = |ok: bool, option, expected, found: String| {
        if ok { Ok(()) } else { Err(Failure::BadOption { option, expected, found }) }
    };
    let (heat, share) = (args.temperature.unwrap_or(0.8), args.top_p.unwrap_or(1.0));
    require(heat.is_finite() && heat >= 0.0, "--temperature", "a number of at least 0", heat.to_string())?;
    require(share > 0.0 && share <= 1.0, "--top-p", "a number above 0 and up to 1", share.to_string())?;
    require(args.top_k != Some(0), "--top-k", "a whole number of at least 1", "0".into())?;
    let named = args.stop.iter().all(|stop| !stop.is_empty());
    require(named, "--stop", "a text", "an empty one".into())?;
    let (top_k, top_p) = (args.top_k, args.top_p);
    Ok(SamplerOptions { temperature: heat, top_k, top_p, seed: globals.seed.unwrap_or(0) })
}

fn options(args: &GenerateArgs, sampler: SamplerOptions) -> Result<GenerateOptions, Failure> {
    Ok(GenerateOptions {
        prompt: prompt(args)?,
        max_new_tokens: args.max_new_tokens,
        sampler,
        stop: args.stop.clone(),
        load_state: args.load_state.clone(),
        save_state: args.save_state.clone(),
    })
}

fn prompt(args: &GenerateArgs) -> Result<String, Failure> {
    match &args.prompt_file {
        Some(path) => {
            std::fs::read_to_string(path).map_err(|source| Failure::Read { path: path.clone(), source })
        }
        None => Ok(args.prompt.clone().unwrap_or_default()),
    }
}
