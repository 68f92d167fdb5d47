//! From tokens to scores.

use super::STEP;
use super::token::{SIGNATURES, Token, micros, velocity};
use super::write::usual_tempo;
use crate::data::music::{DRUMS, Note, Score, Signature, Tempo, Track};

/// Later than any piece; a time that does not overflow.
const END: u32 = u32::MAX / 4;

/// The score of tokens; what is out of place says nothing.
pub(in super::super) fn decode(ids: &[u32]) -> Score {
    let mut reader = Reader::default();
    ids.iter().for_each(|&id| reader.take(Token::of(id)));
    reader.finish()
}

#[derive(Default)]
struct Reader {
    /// Steps to the beginning of the bar, and of the bar; none before the first.
    bar: u32,
    length: Option<u32>,
    step: u32,
    program: u8,
    pitch: Option<(u8, u8)>,
    velocity: Option<u32>,
    notes: Vec<(u8, Note)>,
    tempos: Vec<(u32, u32)>,
    signatures: Vec<Signature>,
}

impl Reader {
    fn take(&mut self, token: Token) {
        match token {
            Token::Begin => {}
            Token::Bar => {
                self.bar = (self.bar + self.length.unwrap_or(0)).min(END / STEP);
                self.length = Some(self.length.unwrap_or(16));
                self.step = self.bar;
            }
            Token::Signature(at) => {
                let (numerator, denominator, length) = SIGNATURES[at as usize];
                self.length = Some(length);
                let new = Signature { at: self.bar * STEP, numerator, denominator };
                if self.signatures.last().is_some_and(|signature| signature.at == new.at) {
                    self.signatures.pop();
                }
                if !self.signatures.last().unwrap_or(&Signature::USUAL).is_like(&new) {
                    self.signatures.push(new);
                }
            }
            Token::Beat(at) => self.step = self.bar + at.min(self.length.unwrap_or(16) - 1),
            Token::Tempo(at) => {
                let step = self.step;
                while self.tempos.last().is_some_and(|tempo| tempo.0 >= step) {
                    self.tempos.pop();
                }
                if self.tempos.last().map_or_else(usual_tempo, |tempo| tempo.1) != at {
                    self.tempos.push((step, at));
                }
            }
            Token::Program(program) => self.program = program,
            Token::Pitch(pitch) => self.pitch = Some((self.program, pitch)),
            Token::Drum(drum) => self.pitch = Some((DRUMS, drum)),
            Token::Velocity(level) => self.velocity = Some(level),
            Token::Duration(less_one) => self.note(less_one + 1),
        }
    }

    fn note(&mut self, steps: u32) {
        let (Some((program, pitch)), Some(level)) = (self.pitch.take(), self.velocity.take()) else { return };
        let (onset, duration, velocity) = (self.step * STEP, steps * STEP, velocity(level));
        self.notes.push((program, Note { onset, duration, pitch, velocity }));
    }

    /// Nothing changes after the last note.
    fn finish(self) -> Score {
        let last = self.notes.iter().map(|(_, note)| note.onset).max().unwrap_or(0);
        let mut of_program: Vec<Vec<Note>> = vec![Vec::new(); 129];
        self.notes.into_iter().for_each(|(program, note)| of_program[usize::from(program)].push(note));
        let tracks = of_program.into_iter().enumerate().filter(|(_, notes)| !notes.is_empty());
        let tempos = self.tempos.iter().map(|&(step, at)| Tempo { at: step * STEP, micros: micros(at) });
        Score {
            tracks: tracks.map(|(program, notes)| Track::new("", program as u8, notes)).collect(),
            tempos: tempos.filter(|tempo| tempo.at <= last).collect(),
            signatures: self.signatures.into_iter().filter(|signature| signature.at <= last).collect(),
        }
    }
}
