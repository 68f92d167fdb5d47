//! `relin generate`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use relin::generate::{GenerateOptions, SamplerOptions, TargetOptions, generate, generate_target};
use relin::recipe::{Recipe, Task};
use relin::runlog::RECIPE_FILE;

use super::run_folder;
use crate::args::Globals;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::grouped;

const EXAMPLES: &str = "\
Examples:
  relin generate runs/quickstart --prompt 'Once upon a time' --max-new-tokens 300
  relin generate runs/quickstart --prompt-file story.txt --max-new-tokens 0 --save-state story.state
  relin generate runs/quickstart --load-state story.state --top-p 0.9
  relin generate runs/number-words --prompt 17+25 --beam 4

The text goes to standard output. A saved state holds all that the model remembers: loading it costs the same
however long the text before it was.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct GenerateArgs {
    /// Folder of a trained model
    run: PathBuf,
    /// Text to go on from, or the source of an encoder-decoder's target
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file")]
    prompt: Option<String>,
    /// File with the text to go on from
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
}

pub fn run(args: &GenerateArgs, globals: &Globals, output: &Output) -> Result<(), Failure> {
    let options = options(args, globals)?;
    let run = run_folder(&args.run)?;
    if is_encoder_decoder(&run) {
        return target(args, &run, output);
    }
    if let Some(beam) = args.beam {
        let expected = "an encoder-decoder: a language model draws its tokens";
        return Err(Failure::BadOption { option: "--beam", expected, found: beam.to_string() });
    }
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
fn is_encoder_decoder(run: &Path) -> bool {
    Recipe::read(&run.join(RECIPE_FILE), &[]).is_ok_and(|recipe| recipe.task == Task::SequenceToSequence)
}

fn target(args: &GenerateArgs, run: &Path, output: &Output) -> Result<(), Failure> {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let others = [
        ("--temperature", args.temperature.map(|x| x.to_string())),
        ("--top-k", args.top_k.map(|n| n.to_string())),
        ("--top-p", args.top_p.map(|x| x.to_string())),
        ("--stop", args.stop.first().cloned()),
        ("--load-state", path(&args.load_state)),
        ("--save-state", path(&args.save_state)),
    ];
    for (option, found) in others {
        if let Some(found) = found {
            let expected = "a language model: an encoder-decoder writes its likeliest target, to its end";
            return Err(Failure::BadOption { option, expected, found });
        }
    }
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

fn options(args: &GenerateArgs, globals: &Globals) -> Result<GenerateOptions, Failure> {
    let require = |ok: bool, option, expected, found: String| {
        if ok { Ok(()) } else { Err(Failure::BadOption { option, expected, found }) }
    };
    let (heat, share) = (args.temperature.unwrap_or(0.8), args.top_p.unwrap_or(1.0));
    require(heat.is_finite() && heat >= 0.0, "--temperature", "a number of at least 0", heat.to_string())?;
    require(share > 0.0 && share <= 1.0, "--top-p", "a number above 0 and up to 1", share.to_string())?;
    require(args.top_k != Some(0), "--top-k", "a whole number of at least 1", "0".into())?;
    let named = args.stop.iter().all(|stop| !stop.is_empty());
    require(named, "--stop", "a text", "an empty one".into())?;
    Ok(GenerateOptions {
        prompt: prompt(args)?,
        max_new_tokens: args.max_new_tokens,
        sampler: SamplerOptions {
            temperature: heat,
            top_k: args.top_k,
            top_p: args.top_p,
            seed: globals.seed.unwrap_or(0),
        },
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
