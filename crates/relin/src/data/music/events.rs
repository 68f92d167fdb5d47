//! `events`: notes on and off in three parts (bass, drums, harmony), and shifts of time on a lattice of twelfths of a beat.
//!
//! A shift names where it goes, not how far: so many beats on (0 to 2), and the twelfth of the beat it arrives at. The beat is
//! thereby known at every moment. There are no velocities, tempos or signatures. A score of these parts whose times are twelfths
//! of a quarter note comes back as it was, apart from those; any other is moved to the nearest twelfths first.
//!
//! # Reference
//! Cífka et al. 2020 (Groove2Groove), as used in Liutkus et al. 2021 (arXiv 2105.08399) §3.3.

use std::collections::BTreeMap;

use super::{DRUMS, MusicError, Note, Score, TICKS_PER_QUARTER, Track};

/// Twelfths of a beat.
const BEAT: u32 = 12;
/// Ticks of a twelfth.
const STEP: u32 = TICKS_PER_QUARTER / BEAT;
/// Names and programs of the parts: any program of a bass is the bass, any other without drums harmony.
pub(super) const PARTS: [(&str, u8); 3] = [("bass", 33), ("drums", DRUMS), ("harmony", 0)];
const BASSES: std::ops::Range<u8> = 32..40;
const VELOCITY: u8 = 80;
/// Notes of the three parts.
const NOTES: u32 = 3 * 128;
/// Shifts within the beat, into the next one, and by two beats.
const SHIFTS: u32 = (BEAT - 1) + BEAT + 1;
/// Number of tokens.
pub(super) const TOKENS: usize = (1 + 2 * NOTES + SHIFTS) as usize;
/// Later than any piece; a time that does not overflow.
const END: u32 = u32::MAX / 4 / STEP;

/// A part and a pitch.
type Key = (u8, u8);

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Begin,
    On(Key),
    Off(Key),
    /// Beats on, and the twelfth of that beat.
    Shift(u32, u32),
}

impl Token {
    fn id(self) -> u32 {
        let key = |(part, pitch): Key| u32::from(part) * 128 + u32::from(pitch);
        match self {
            Self::Begin => 0,
            Self::On(of) => 1 + key(of),
            Self::Off(of) => 1 + NOTES + key(of),
            Self::Shift(beats, twelfth) => 2 * NOTES + beats * BEAT + twelfth,
        }
    }

    /// Ids outside of the vocabulary say nothing, as the beginning does.
    fn of(id: u32) -> Self {
        let key = |at: u32| ((at / 128) as u8, (at % 128) as u8);
        let Some(at) = id.checked_sub(1).filter(|_| (id as usize) < TOKENS) else { return Self::Begin };
        match at {
            _ if at < NOTES => Self::On(key(at)),
            _ if at < 2 * NOTES => Self::Off(key(at - NOTES)),
            _ => Self::Shift((id - 2 * NOTES) / BEAT, (id - 2 * NOTES) % BEAT),
        }
    }

    /// The shift between two times, as far as one goes.
    fn shift(from: u32, to: u32) -> Self {
        match (to / BEAT - from / BEAT, to % BEAT) {
            (beats @ 0..=1, twelfth) => Self::Shift(beats, twelfth),
            _ => Self::Shift(2, 0),
        }
    }
}

/// The time after a shift.
fn shifted(from: u32, beats: u32, twelfth: u32) -> u32 {
    ((from / BEAT + beats) * BEAT + twelfth).clamp(from, END)
}

pub(super) fn name(id: u32) -> String {
    let part = |part: u8| PARTS[usize::from(part)].0;
    match Token::of(id) {
        Token::Begin => "begin".into(),
        Token::On((of, pitch)) => format!("{}-on-{pitch}", part(of)),
        Token::Off((of, pitch)) => format!("{}-off-{pitch}", part(of)),
        Token::Shift(beats, twelfth) => format!("shift-{beats}-{twelfth}"),
    }
}

pub(super) fn pitch_of(id: u32) -> Option<(usize, u8)> {
    match Token::of(id) {
        Token::On((part, pitch)) | Token::Off((part, pitch)) => Some((part.into(), pitch)),
        _ => None,
    }
}

pub(super) fn transpose(id: u32, by: i32) -> u32 {
    let moved = |(part, pitch): Key| match PARTS[usize::from(part)].1 {
        DRUMS => (part, pitch),
        _ => (part, (i32::from(pitch) + by).clamp(0, 127) as u8),
    };
    match Token::of(id) {
        Token::On(key) => Token::On(moved(key)).id(),
        Token::Off(key) => Token::Off(moved(key)).id(),
        _ => id,
    }
}

pub(super) fn is_off(id: u32) -> bool {
    matches!(Token::of(id), Token::Off(_))
}

fn part(track: &Track) -> u8 {
    match track.program {
        DRUMS => 1,
        program if BASSES.contains(&program) => 0,
        _ => 2,
    }
}

/// The tokens of a score.
///
/// # Errors
/// If there are no notes.
pub(super) fn encode(score: &Score) -> Result<Vec<u32>, MusicError> {
    let nearest = |tick: u32| (tick + STEP / 2) / STEP;
    let mut parts: [Vec<Note>; 3] = Default::default();
    for track in &score.tracks {
        parts[usize::from(part(track))].extend(track.notes.iter().map(|note| {
            let onset = nearest(note.onset);
            Note { onset, duration: (nearest(note.end()).max(onset + 1)) - onset, ..*note }
        }));
    }
    // At one time notes end before they begin.
    let mut events: Vec<(u32, bool, Key)> = Vec::new();
    for (part, notes) in parts.into_iter().enumerate() {
        for note in Track::new("", 0, notes).notes {
            let key = (part as u8, note.pitch);
            events.extend([(note.onset, true, key), (note.end(), false, key)]);
        }
    }
    if events.is_empty() {
        return Err(MusicError::NoNotes { without: "" });
    }
    events.sort_unstable();
    let (mut now, mut out) = (0, Vec::new());
    for (at, on, key) in events {
        while now < at {
            let shift = Token::shift(now, at);
            out.push(shift.id());
            let Token::Shift(beats, twelfth) = shift else { break };
            now = shifted(now, beats, twelfth);
        }
        out.push(if on { Token::On(key) } else { Token::Off(key) }.id());
    }
    Ok(out)
}

/// The score of tokens; what is out of place says nothing, and what does not end, ends with the last token.
pub(super) fn decode(ids: &[u32]) -> Score {
    let (mut now, mut held) = (0, BTreeMap::<Key, u32>::new());
    let mut parts: [Vec<Note>; 3] = Default::default();
    let mut end = |(part, pitch): Key, onset: u32, now: u32| {
        let (onset, duration) = (onset * STEP, (now - onset).max(1) * STEP);
        parts[usize::from(part)].push(Note { onset, duration, pitch, velocity: VELOCITY });
    };
    for &id in ids {
        match Token::of(id) {
            Token::Begin => {}
            Token::On(key) => {
                held.entry(key).or_insert(now);
            }
            Token::Off(key) => {
                if let Some(onset) = held.remove(&key) {
                    end(key, onset, now);
                }
            }
            Token::Shift(beats, twelfth) => now = shifted(now, beats, twelfth),
        }
    }
    held.into_iter().for_each(|(key, onset)| end(key, onset, now));
    let tracks = PARTS.iter().zip(parts).filter(|(_, notes)| !notes.is_empty());
    let tracks = tracks.map(|(&(name, program), notes)| Track::new(name, program, notes)).collect();
    Score { tracks, ..Score::default() }
}

/// What may follow.
#[derive(Clone, Debug, Default)]
pub(super) struct Grammar {
    now: u32,
    /// Since when each note sounds.
    held: BTreeMap<Key, u32>,
}

impl Grammar {
    pub fn push(&mut self, id: u32) {
        match Token::of(id) {
            Token::Begin => *self = Self::default(),
            Token::On(key) => {
                self.held.entry(key).or_insert(self.now);
            }
            Token::Off(key) => {
                self.held.remove(&key);
            }
            Token::Shift(beats, twelfth) => self.now = shifted(self.now, beats, twelfth),
        }
    }

    pub fn allows(&self, id: u32) -> bool {
        match Token::of(id) {
            Token::Begin => false,
            Token::On(key) => !self.held.contains_key(&key),
            Token::Off(key) => self.held.get(&key).is_some_and(|&onset| onset < self.now),
            Token::Shift(0, twelfth) => twelfth > self.now % BEAT,
            Token::Shift(..) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_tokens_are_the_same_thing() {
        for id in 0..TOKENS as u32 {
            assert_eq!(Token::of(id).id(), id);
        }
        assert_eq!((Token::of(TOKENS as u32), TOKENS), (Token::Begin, 793));
        let shifts: Vec<String> = (0..TOKENS as u32).map(name).filter(|n| n.starts_with("shift")).collect();
        assert_eq!((shifts.len(), &*shifts[0], &*shifts[23]), (24, "shift-0-1", "shift-2-0"));
    }

    #[test]
    fn a_score_on_the_lattice_comes_back() {
        let note = |onset: u32, steps: u32, pitch| Note {
            onset: onset * STEP,
            duration: steps * STEP,
            pitch,
            velocity: VELOCITY,
        };
        let tracks = vec![
            Track::new("bass", 33, vec![note(0, 7, 36), note(7, 100, 36)]),
            Track::new("drums", DRUMS, vec![note(0, 1, 42), note(5, 1, 42)]),
            Track::new("harmony", 0, vec![note(3, 300, 60), note(3, 1, 64)]),
        ];
        let score = Score { tracks, ..Score::default() };
        assert_eq!(decode(&encode(&score).unwrap()), score);
    }

    #[test]
    fn long_silences_are_several_shifts() {
        let notes = vec![Note { onset: 61 * STEP, duration: STEP, pitch: 60, velocity: 9 }];
        let score = Score { tracks: vec![Track::new("", 5, notes)], ..Score::default() };
        let names: Vec<String> = encode(&score).unwrap().into_iter().map(name).collect();
        let expected =
            ["shift-2-0", "shift-2-0", "shift-1-1", "harmony-on-60", "shift-0-2", "harmony-off-60"];
        assert_eq!(names, expected);
    }
}
