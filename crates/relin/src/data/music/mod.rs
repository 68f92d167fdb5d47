//! Symbolic music: MIDI files and chorales in JSON, as scores, as tokens, and as pieces to train on.
//!
//! A file becomes a [`Score`] or steps of four voices, these become tokens of a [`Vocabulary`], and tokens become a score and a
//! MIDI file again.

mod collection;
mod error;
mod events;
pub mod grid;
mod jsb;
mod midi;
mod pieces;
mod remi;
mod score;
mod vocabulary;

pub use collection::{Kind, Music, Report, SkippedFile, make_music};
pub use error::MusicError;
pub use jsb::{Chorale, parse_jsb, read_jsb};
pub use midi::{LONGEST, MOST_BYTES, MOST_NOTES, midi_bytes, parse_midi, read_midi};
pub use pieces::Pieces;
pub use score::{DRUMS, Note, Score, Signature, TICKS_PER_QUARTER, Tempo, Track, USUAL_TEMPO};
pub use vocabulary::{BEGIN, Grammar, VOCABULARY_FILE, Vocabulary};
