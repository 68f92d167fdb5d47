//! What may follow what.

use super::PIANO;
use super::token::{SIGNATURES, Token};
use crate::data::music::DRUMS;

/// What may follow.
#[derive(Clone, Debug)]
pub(in super::super) struct Grammar {
    after: Token,
    /// Steps of the bar, and the step that was named last.
    length: u32,
    beat: Option<u32>,
    program: u8,
    /// What was struck at this step.
    struck: Vec<(u8, u8)>,
}

impl Default for Grammar {
    fn default() -> Self {
        Self { after: Token::Begin, length: 16, beat: None, program: PIANO, struck: Vec::new() }
    }
}

impl Grammar {
    pub fn push(&mut self, id: u32) {
        let token = Token::of(id);
        match token {
            Token::Begin => *self = Self::default(),
            Token::Bar => {
                self.beat = None;
                self.struck.clear();
            }
            Token::Signature(at) => self.length = SIGNATURES[at as usize].2,
            Token::Beat(at) => {
                self.beat = Some(at);
                self.struck.clear();
            }
            Token::Program(program) => self.program = program,
            Token::Pitch(pitch) => self.struck.push((self.program, pitch)),
            Token::Drum(drum) => self.struck.push((DRUMS, drum)),
            Token::Tempo(_) | Token::Velocity(_) | Token::Duration(_) => {}
        }
        self.after = token;
    }

    pub fn allows(&self, id: u32) -> bool {
        let token = Token::of(id);
        match self.after {
            Token::Begin => token == Token::Bar,
            Token::Bar => matches!(token, Token::Bar | Token::Signature(_)) || self.later(token),
            Token::Signature(_) => token == Token::Bar || self.later(token),
            Token::Beat(_) => matches!(token, Token::Tempo(_)) || self.begins_note(token),
            Token::Tempo(_) | Token::Duration(_) => {
                token == Token::Bar || self.later(token) || self.begins_note(token)
            }
            Token::Program(_) => matches!(token, Token::Pitch(_)) && self.begins_note(token),
            Token::Pitch(_) | Token::Drum(_) => matches!(token, Token::Velocity(_)),
            Token::Velocity(_) => matches!(token, Token::Duration(_)),
        }
    }

    fn later(&self, token: Token) -> bool {
        matches!(token, Token::Beat(at) if at < self.length && self.beat.is_none_or(|beat| at > beat))
    }

    /// An instrument strikes a pitch once at a time. One that has struck all that there is to strike would find none.
    fn begins_note(&self, token: Token) -> bool {
        match token {
            Token::Pitch(pitch) => !self.struck.contains(&(self.program, pitch)),
            Token::Drum(drum) => !self.struck.contains(&(DRUMS, drum)),
            Token::Program(program) => {
                program != self.program && !self.struck.iter().any(|at| at.0 == program)
            }
            _ => false,
        }
    }
}
