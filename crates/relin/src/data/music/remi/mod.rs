//! `remi`: bars, beats, tempos, and notes of pitch, velocity and duration, on a lattice of sixteenth notes.
//!
//! ```text
//! piece  = { Bar [Signature] { Beat (Tempo | Note) { Note } } }
//! Note   = [Program] Pitch Velocity Duration | Drum Velocity Duration
//! ```
//! The tempo is said with the first note at the latest. A program holds until the next one. A score whose times are
//! sixteenth notes, whose notes last at most 64 of them, whose velocities and tempos are those of the tokens and whose
//! signatures change at bar lines comes back as it was; any other is moved to the nearest of these first.
//!
//! # Reference
//! Huang & Yang 2020 (arXiv 2002.00212); without chords, and with time signatures and instruments beside them.

mod grammar;
mod read;
mod token;
mod write;

use super::TICKS_PER_QUARTER;

pub(super) use grammar::Grammar;
pub(super) use read::decode;
pub(super) use token::{is_bar, is_program, name, pitch_of, scale_tempo, tokens, transpose};
pub(super) use write::encode;

/// Ticks of a step.
const STEP: u32 = TICKS_PER_QUARTER / 4;
/// Where a program is not told, a piano.
const PIANO: u8 = 0;

#[cfg(test)]
mod tests {
    use super::token::{Token, level, micros, tempo_index, velocity};
    use super::*;
    use crate::data::music::{DRUMS, Note, Score, Signature, Tempo, Track};

    #[test]
    fn ids_and_tokens_are_the_same_thing() {
        for id in 0..tokens(true) as u32 {
            assert_eq!(Token::of(id).id(), id);
        }
        assert_eq!(Token::of(tokens(true) as u32), Token::Begin);
        assert_eq!((tokens(false), tokens(true)), (374, 630));
    }

    #[test]
    fn a_score_on_the_lattice_comes_back() {
        let note = |onset: u32, steps: u32, pitch, velocity| Note {
            onset: onset * STEP,
            duration: steps * STEP,
            pitch,
            velocity,
        };
        let score = Score {
            tracks: vec![
                Track::new("", 0, vec![note(0, 4, 60, 66), note(0, 64, 48, 2), note(14, 1, 127, 126)]),
                Track::new("", 33, vec![note(0, 4, 36, 82), note(27, 3, 38, 82)]),
                Track::new("", DRUMS, vec![note(30, 1, 42, 102)]),
            ],
            tempos: vec![Tempo { at: 0, micros: micros(12) }, Tempo { at: 20 * STEP, micros: micros(50) }],
            signatures: vec![
                Signature { at: 0, numerator: 3, denominator: 4 },
                Signature { at: 24 * STEP, numerator: 7, denominator: 8 },
            ],
        };
        assert_eq!(decode(&encode(&score, true).unwrap()), score);
        let names: Vec<String> = encode(&score, true).unwrap().into_iter().take(9).map(name).collect();
        let expected = [
            "bar",
            "signature-3/4",
            "beat-0",
            "tempo-80",
            "pitch-48",
            "velocity-2",
            "duration-64",
            "pitch-60",
            "velocity-66",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn what_has_no_tokens_is_refused() {
        let note = Note { onset: 0, duration: 1, pitch: 40, velocity: 64 };
        let drums = Score { tracks: vec![Track::new("", DRUMS, vec![note])], ..Score::default() };
        assert_eq!(encode(&drums, false).unwrap_err().to_string(), "there are no notes in it besides drums");
        assert!(encode(&drums, true).is_ok());
        let signatures = vec![Signature { at: 0, numerator: 5, denominator: 32 }];
        let odd = Score { tracks: vec![Track::new("", 0, vec![note])], signatures, ..Score::default() };
        assert!(encode(&odd, false).unwrap_err().to_string().contains("5/32"));
    }

    #[test]
    fn tempos_and_velocities_are_the_nearest() {
        assert_eq!((tempo_index(120.0), tempo_index(1.0), tempo_index(900.0)), (22, 0, 53));
        assert_eq!((micros(22), velocity(level(127)), velocity(level(1))), (500_000, 126, 2));
        let tempo = Token::Tempo(22).id();
        assert_eq!(name(scale_tempo(tempo, 1.1)), "tempo-132");
        assert_eq!(scale_tempo(Token::Bar.id(), 1.1), Token::Bar.id());
    }
}
