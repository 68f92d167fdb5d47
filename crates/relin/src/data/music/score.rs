//! A piece of music as notes, apart from any file and any tokens.

use std::cmp::Reverse;

/// Ticks of a quarter note in every [`Score`].
pub const TICKS_PER_QUARTER: u32 = 480;
/// The program of a track of drums, above MIDI's own 0 … 127.
pub const DRUMS: u8 = 128;
/// Microseconds of a quarter note where nothing is said: 120 a minute.
pub const USUAL_TEMPO: u32 = 500_000;

/// A note. Times are in ticks from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// When it begins.
    pub onset: u32,
    /// How long it lasts; at least 1.
    pub duration: u32,
    /// MIDI pitch, 0 … 127, 60 is the middle C; of drums, which of them.
    pub pitch: u8,
    /// How hard it is struck, 1 … 127.
    pub velocity: u8,
}

impl Note {
    /// When it ends.
    pub fn end(&self) -> u32 {
        self.onset + self.duration
    }
}

/// The notes of one instrument or voice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// What it is called.
    pub name: String,
    /// Instrument of General MIDI, 0 … 127, or [`DRUMS`].
    pub program: u8,
    /// In the order of their onsets, then of their pitches; no pitch sounds twice at once.
    pub notes: Vec<Note>,
}

impl Track {
    /// A track of notes in any order. Of two notes of one pitch that begin at once the longer stays; one that is struck again
    /// while it sounds ends there.
    pub fn new(name: impl Into<String>, program: u8, mut notes: Vec<Note>) -> Self {
        notes.sort_by_key(|note| (note.pitch, note.onset, Reverse(note.duration), Reverse(note.velocity)));
        notes.dedup_by_key(|note| (note.pitch, note.onset));
        for at in 1..notes.len() {
            let next = notes[at];
            let note = &mut notes[at - 1];
            if note.pitch == next.pitch {
                note.duration = note.duration.min(next.onset - note.onset);
            }
        }
        notes.sort_by_key(|note| (note.onset, note.pitch));
        Self { name: name.into(), program, notes }
    }

    /// Whether it has drums instead of pitches.
    pub fn is_drums(&self) -> bool {
        self.program == DRUMS
    }
}

/// From here on a quarter note lasts so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tempo {
    /// From when on.
    pub at: u32,
    /// Microseconds of a quarter note.
    pub micros: u32,
}

/// From here on a bar is so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// From when on.
    pub at: u32,
    /// Beats of a bar.
    pub numerator: u8,
    /// Which note is a beat: 4 for quarters.
    pub denominator: u8,
}

impl Signature {
    /// What holds where nothing is said.
    pub const USUAL: Self = Self { at: 0, numerator: 4, denominator: 4 };

    /// Whether bars are as long as those of another one.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.numerator, self.denominator) == (other.numerator, other.denominator)
    }
}

/// A piece of music.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Instruments or voices.
    pub tracks: Vec<Track>,
    /// Changes of the tempo in the order of time; 120 quarters a minute before the first.
    pub tempos: Vec<Tempo>,
    /// Changes of the time signature in the order of time; 4/4 before the first.
    pub signatures: Vec<Signature>,
}

impl Score {
    /// All notes, track by track.
    pub fn notes(&self) -> impl Iterator<Item = &Note> {
        self.tracks.iter().flat_map(|track| &track.notes)
    }

    /// When the last note ends.
    pub fn end(&self) -> u32 {
        self.notes().map(Note::end).max().unwrap_or(0)
    }

    /// Seconds from the beginning to a tick.
    pub fn seconds(&self, tick: u32) -> f64 {
        let (mut seconds, mut from, mut micros) = (0.0, 0, USUAL_TEMPO);
        let span = |from: u32, to: u32, micros: u32| {
            f64::from(to - from) / f64::from(TICKS_PER_QUARTER) * f64::from(micros) * 1e-6
        };
        for tempo in self.tempos.iter().take_while(|tempo| tempo.at < tick) {
            seconds += span(from, tempo.at, micros);
            (from, micros) = (tempo.at, tempo.micros);
        }
        seconds + span(from, tick, micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pitch_sounds_once_at_a_time() {
        let note = |onset, duration, pitch| Note { onset, duration, pitch, velocity: 64 };
        let track =
            Track::new("t", 0, vec![note(10, 5, 60), note(0, 30, 60), note(0, 20, 60), note(0, 8, 50)]);
        assert_eq!(track.notes, [note(0, 8, 50), note(0, 10, 60), note(10, 5, 60)]);
    }

    #[test]
    fn time_follows_the_tempo() {
        let tempos = vec![Tempo { at: 480, micros: 1_000_000 }, Tempo { at: 960, micros: 250_000 }];
        let score = Score { tempos, ..Score::default() };
        for (tick, seconds) in [(0, 0.0), (240, 0.25), (480, 0.5), (960, 1.5), (1920, 2.0)] {
            assert!((score.seconds(tick) - seconds).abs() < 1e-12, "tick {tick}");
        }
    }
}
