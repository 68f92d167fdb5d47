//! From scores to tokens.

use super::token::{LONGEST_NOTE, SIGNATURES, Token, level, tempo_index};
use super::{PIANO, STEP};
use crate::data::music::{DRUMS, MusicError, Note, Score, Signature, Track, USUAL_TEMPO};

/// A note on the lattice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Struck {
    step: u32,
    /// [`DRUMS`] sorts last.
    program: u8,
    pitch: u8,
    level: u32,
    duration: u32,
}

/// All notes on the lattice, in the order of their tokens. Without `programs` all tracks with pitches are one piano, and there
/// are no drums.
fn struck(score: &Score, programs: bool) -> Vec<Struck> {
    let nearest = |tick: u32| (tick + STEP / 2) / STEP;
    let mut of_program: Vec<Vec<Note>> = vec![Vec::new(); 129];
    for track in score.tracks.iter().filter(|track| programs || !track.is_drums()) {
        let program = if programs { track.program } else { PIANO };
        let on_lattice = |note: &Note| {
            let onset = nearest(note.onset);
            let duration = (nearest(note.end()).max(onset + 1) - onset).min(LONGEST_NOTE);
            Note { onset, duration, ..*note }
        };
        of_program[usize::from(program)].extend(track.notes.iter().map(on_lattice));
    }
    let mut all = Vec::new();
    for (program, notes) in of_program.into_iter().enumerate() {
        let program = program as u8;
        all.extend(Track::new("", program, notes).notes.iter().map(|note| Struck {
            step: note.onset,
            program,
            pitch: note.pitch,
            level: level(note.velocity),
            duration: note.duration,
        }));
    }
    all.sort_unstable();
    all
}

/// The tokens of a score.
///
/// # Errors
/// If nothing can be heard, or a bar is no whole number of sixteenth notes up to 32.
pub(in super::super) fn encode(score: &Score, programs: bool) -> Result<Vec<u32>, MusicError> {
    let notes = struck(score, programs);
    let (Some(first), Some(last)) = (notes.first().map(|n| n.step), notes.last().map(|n| n.step)) else {
        return Err(MusicError::NoNotes { without: if programs { "" } else { " besides drums" } });
    };
    let mut tempos = tempos(score, last);
    // Said at least once, so that a piece at the usual tempo can be varied like any other.
    if tempos.first().is_none_or(|tempo| tempo.0 > first) {
        tempos.insert(0, (first, usual_tempo()));
    }
    let (mut notes, mut tempos) = (notes.as_slice(), tempos.as_slice());
    let mut writer = Writer { out: Vec::new(), program: PIANO };
    let (mut bar, mut signature) = (0, Signature::USUAL);
    while bar <= last {
        writer.put(Token::Bar);
        let now = signature_at(score, bar);
        let (index, steps) = known(&now)?;
        if !now.is_like(&signature) {
            writer.put(Token::Signature(index));
            signature = now;
        }
        let next_bar = bar + steps;
        loop {
            let step =
                notes.first().map(|note| note.step).into_iter().chain(tempos.first().map(|t| t.0)).min();
            let Some(step) = step.filter(|&step| step < next_bar) else { break };
            writer.put(Token::Beat(step - bar));
            if let Some(((_, tempo), rest)) = tempos.split_first().filter(|(tempo, _)| tempo.0 == step) {
                writer.put(Token::Tempo(*tempo));
                tempos = rest;
            }
            let here = notes.iter().take_while(|note| note.step == step).count();
            notes[..here].iter().for_each(|note| writer.note(note));
            notes = &notes[here..];
        }
        bar = next_bar;
    }
    Ok(writer.out)
}

struct Writer {
    out: Vec<u32>,
    program: u8,
}

impl Writer {
    fn put(&mut self, token: Token) {
        self.out.push(token.id());
    }

    fn note(&mut self, note: &Struck) {
        if note.program == DRUMS {
            self.put(Token::Drum(note.pitch));
        } else {
            if note.program != self.program {
                self.put(Token::Program(note.program));
                self.program = note.program;
            }
            self.put(Token::Pitch(note.pitch));
        }
        self.put(Token::Velocity(note.level));
        self.put(Token::Duration(note.duration - 1));
    }
}

/// Steps and tempos that differ from the one before, up to the last note.
fn tempos(score: &Score, last: u32) -> Vec<(u32, u32)> {
    let mut changes: Vec<(u32, u32)> = Vec::new();
    for tempo in &score.tempos {
        let step = (tempo.at + STEP / 2) / STEP;
        if changes.last().is_some_and(|change| change.0 == step) {
            changes.pop();
        }
        let index = tempo_index(60e6 / f64::from(tempo.micros));
        let before = changes.last().map_or_else(usual_tempo, |change| change.1);
        if step <= last && index != before {
            changes.push((step, index));
        }
    }
    changes
}

pub(super) fn usual_tempo() -> u32 {
    tempo_index(60e6 / f64::from(USUAL_TEMPO))
}

/// What holds at a bar line.
fn signature_at(score: &Score, step: u32) -> Signature {
    let before = score.signatures.iter().take_while(|signature| (signature.at + STEP / 2) / STEP <= step);
    before.last().copied().unwrap_or(Signature::USUAL)
}

/// The token's index and the steps of a bar.
fn known(signature: &Signature) -> Result<(u32, u32), MusicError> {
    let found =
        SIGNATURES.iter().position(|&(n, d, _)| (n, d) == (signature.numerator, signature.denominator));
    match found {
        Some(at) => Ok((at as u32, SIGNATURES[at].2)),
        None => Err(MusicError::Signature {
            tick: signature.at.into(),
            numerator: signature.numerator.into(),
            denominator: signature.denominator.into(),
            expected: "bars of 1 to 32 whole sixteenth notes",
        }),
    }
}
