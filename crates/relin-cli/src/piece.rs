//! A generated piece as files: MIDI, and a picture of it.

use std::path::Path;

use relin::data::music::{Note, Score, TICKS_PER_QUARTER, Track, midi_bytes};
use relin::generate::Written;
use relin::runlog::write_atomic;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;
use crate::plot::{Roll, RollNote};
use crate::progress::grouped;

/// What was written.
#[derive(Serialize)]
#[serde(tag = "event", rename = "generated")]
struct Generated<'a> {
    text: String,
    tokens: usize,
    tokens_per_second: f64,
    path: &'a Path,
    plot: &'a Path,
    given_tokens: usize,
    notes: usize,
    seconds: f64,
    /// Share of new tokens that the grammar or the ranges of the voices forbid, and what it would be without them.
    invalid_rate: f64,
    invalid_rate_unmasked: f64,
}

/// Writes a piece to a MIDI file and its roll beside it, and says what was written.
pub fn write(written: &Written, path: &Path, output: &Output) -> Result<(), Failure> {
    let Written { score, names, given, given_tokens, tokens_per_second, invalid, prevented } = written;
    let plot = path.with_extension("svg");
    write_atomic(path, &midi_bytes(score))?;
    write_atomic(&plot, roll(score, *given, path).svg().as_bytes())?;
    let (tokens, notes, seconds) = (names.len(), score.notes().count(), score.seconds(score.end()));
    let rate = |count: usize| count as f64 / tokens.max(1) as f64;
    output.result(format!(
        "{}: {} notes, {seconds:.0} seconds; {} tokens written after {} given ({} tokens/s)\n\
         invalid tokens: {:.2} %; the model by itself would have chosen {:.2} %\nplot: {}",
        path.display(),
        grouped(notes),
        grouped(tokens),
        grouped(*given_tokens),
        grouped(tokens_per_second.max(0.0) as usize),
        100.0 * rate(*invalid),
        100.0 * rate(*prevented),
        plot.display()
    ));
    output.event(&Generated {
        text: names.join(" "),
        tokens,
        tokens_per_second: *tokens_per_second,
        path,
        plot: &plot,
        given_tokens: *given_tokens,
        notes,
        seconds,
        invalid_rate: rate(*invalid),
        invalid_rate_unmasked: rate(*prevented),
    });
    Ok(())
}

fn roll(score: &Score, given: u32, path: &Path) -> Roll {
    let quarters = |ticks: u32| f64::from(ticks) / f64::from(TICKS_PER_QUARTER);
    let voice = |track: &Track| {
        let note = |note: &Note| RollNote {
            onset: quarters(note.onset),
            duration: quarters(note.duration),
            pitch: note.pitch,
        };
        let name = match &*track.name {
            "" if track.is_drums() => "drums".into(),
            "" => format!("instrument {}", track.program + 1),
            name => name.to_owned(),
        };
        (name, track.notes.iter().map(note).collect())
    };
    let split = if given > 0 { "; pale: what was given" } else { "" };
    Roll {
        title: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        subtitle: format!("pitch over time, bars of four quarter notes{split}"),
        voices: score.tracks.iter().map(voice).collect(),
        given: quarters(given),
    }
}
