//! Why a file is no music that is read here.

use thiserror::Error;

use super::midi::{LONGEST, MOST_BYTES, MOST_NOTES, TEMPOS};

/// Why a file is no music that is read here; the file is named around it.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum MusicError {
    /// Another kind of file.
    #[error("not a MIDI file: {reason}")]
    NotMidi {
        /// What was expected.
        reason: String,
    },
    /// Neither MIDI nor JSON.
    #[error("neither a MIDI file (it begins with `MThd`) nor JSON (.json)")]
    Unknown,
    /// A damaged track.
    #[error("track {track}, event {event}: {reason}")]
    Event {
        /// Which track, from 1.
        track: usize,
        /// Which event of it, from 1.
        event: usize,
        /// What the parser says.
        reason: String,
    },
    /// More bytes than any piece has.
    #[error("the file has {bytes} bytes; at most {MOST_BYTES} are read")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// A file that ends too early.
    #[error("{found} of the {declared} tracks that its header declares are whole: it is cut off, or damaged")]
    Tracks {
        /// Of the header.
        declared: usize,
        /// In the file.
        found: usize,
    },
    /// Several pieces in one file.
    #[error("MIDI format 2 (tracks one after another) is not read; formats 0 and 1 are")]
    Sequential,
    /// Time in frames.
    #[error("its time is counted in frames of film (SMPTE), not in ticks a quarter note")]
    TimeCode,
    /// No ticks in a quarter note.
    #[error("0 ticks a quarter note; expected 1 to 32767")]
    Resolution,
    /// A tempo that no piece has.
    #[error("a tempo of {found:.1} quarters a minute at tick {tick}; expected {} to {}", TEMPOS.0, TEMPOS.1)]
    Tempo {
        /// Where.
        tick: u64,
        /// Quarters a minute.
        found: f64,
    },
    /// A time signature that there is not, or that the tokens do not have.
    #[error("the time signature {numerator}/{denominator} at tick {tick}; expected {expected}")]
    Signature {
        /// Where.
        tick: u64,
        /// Beats of a bar.
        numerator: u32,
        /// Which note is a beat.
        denominator: u64,
        /// What there is.
        expected: &'static str,
    },
    /// Longer than any piece.
    #[error("it lasts {quarters} quarter notes; at most {LONGEST} are read")]
    TooLong {
        /// Its length.
        quarters: u64,
    },
    /// More notes than any piece has.
    #[error("it has more than {MOST_NOTES} notes")]
    TooManyNotes,
    /// Nothing to hear.
    #[error("there are no notes in it{without}")]
    NoNotes {
        /// What was left out, if anything.
        without: &'static str,
    },
    /// A JSON file of voices that is not as it should be.
    #[error("{place}: expected {expected}, found {found}")]
    Json {
        /// Split, piece and step, as far as they are known.
        place: String,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
}
