//! `remi`: bars, beats, tempos, and notes of pitch, velocity and duration, on a lattice of sixteenth notes.
//!
//! ```text
//! piece  = { Bar [Signature] { Beat (Tempo | Note) { Note } } }
//! Note   = [Program] Pitch Velocity Duration | Drum Velocity Duration
//! ```
//! The tempo is said with the first note at the latest. A program holds until the next one. A score whose times are sixteenth notes, whose notes last at most 64 of them, whose
//! velocities and tempos are those of the tokens and whose signatures change at bar lines comes back as it was; any other is
//! moved to the nearest of these first.
//!
//! # Reference
//! Huang & Yang 2020 (arXiv 2002.00212); without chords, and with time signatures and instruments beside them.

use std::sync::LazyLock;

use super::{DRUMS, MusicError, Note, Score, Signature, TICKS_PER_QUARTER, Tempo, Track, USUAL_TEMPO};

/// Ticks of a step.
const STEP: u32 = TICKS_PER_QUARTER / 4;
/// Steps of the longest bar.
const LONGEST_BAR: u32 = 32;
const LONGEST_NOTE: u32 = 64;
const TEMPOS: u32 = 54;
const SLOWEST: u32 = 32;
const BETWEEN_TEMPOS: u32 = 4;
const VELOCITIES: u32 = 32;
/// Where a program is not told, a piano.
const PIANO: u8 = 0;
/// Later than any piece; a time that does not overflow.
const END: u32 = u32::MAX / 4;

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Begin,
    Bar,
    /// Index in [`SIGNATURES`].
    Signature(u32),
    /// Step of the bar.
    Beat(u32),
    /// From the slowest.
    Tempo(u32),
    Pitch(u8),
    Velocity(u32),
    /// Steps, less one.
    Duration(u32),
    Program(u8),
    Drum(u8),
}

/// Every signature whose bars are whole steps and no longer than the longest, as numerator, denominator and steps.
static SIGNATURES: LazyLock<Vec<(u8, u8, u32)>> = LazyLock::new(|| {
    let of = |denominator: u8| {
        let beat = 16 / u32::from(denominator);
        (1..=LONGEST_BAR / beat).map(move |numerator| (numerator as u8, denominator, numerator * beat))
    };
    [1, 2, 4, 8, 16].into_iter().flat_map(of).collect()
});

/// How many of each kind there are, in order.
fn counts() -> [u32; 10] {
    [1, 1, SIGNATURES.len() as u32, LONGEST_BAR, TEMPOS, 128, VELOCITIES, LONGEST_NOTE, 128, 128]
}

/// Number of tokens; only with `programs` are there instruments and drums.
pub(super) fn tokens(programs: bool) -> usize {
    counts()[..if programs { 10 } else { 8 }].iter().sum::<u32>() as usize
}

impl Token {
    fn place(self) -> (usize, u32) {
        match self {
            Self::Begin => (0, 0),
            Self::Bar => (1, 0),
            Self::Signature(at) => (2, at),
            Self::Beat(at) => (3, at),
            Self::Tempo(at) => (4, at),
            Self::Pitch(at) => (5, at.into()),
            Self::Velocity(at) => (6, at),
            Self::Duration(at) => (7, at),
            Self::Program(at) => (8, at.into()),
            Self::Drum(at) => (9, at.into()),
        }
    }

    fn id(self) -> u32 {
        let (kind, at) = self.place();
        counts()[..kind].iter().sum::<u32>() + at
    }

    /// Ids outside of the vocabulary say nothing, as the beginning does.
    fn of(id: u32) -> Self {
        let mut at = id;
        for (kind, count) in counts().into_iter().enumerate() {
            if at < count {
                return match kind {
                    1 => Self::Bar,
                    2 => Self::Signature(at),
                    3 => Self::Beat(at),
                    4 => Self::Tempo(at),
                    5 => Self::Pitch(at as u8),
                    6 => Self::Velocity(at),
                    7 => Self::Duration(at),
                    8 => Self::Program(at as u8),
                    9 => Self::Drum(at as u8),
                    _ => Self::Begin,
                };
            }
            at -= count;
        }
        Self::Begin
    }
}

pub(super) fn name(id: u32) -> String {
    match Token::of(id) {
        Token::Begin => "begin".into(),
        Token::Bar => "bar".into(),
        Token::Signature(at) => {
            let (numerator, denominator, _) = SIGNATURES[at as usize];
            format!("signature-{numerator}/{denominator}")
        }
        Token::Beat(at) => format!("beat-{at}"),
        Token::Tempo(at) => format!("tempo-{}", SLOWEST + BETWEEN_TEMPOS * at),
        Token::Pitch(pitch) => format!("pitch-{pitch}"),
        Token::Velocity(at) => format!("velocity-{}", velocity(at)),
        Token::Duration(at) => format!("duration-{}", at + 1),
        Token::Program(program) => format!("program-{program}"),
        Token::Drum(drum) => format!("drum-{drum}"),
    }
}

/// Part 0 are pitches, part 1 drums.
pub(super) fn pitch_of(id: u32) -> Option<(usize, u8)> {
    match Token::of(id) {
        Token::Pitch(pitch) => Some((0, pitch)),
        Token::Drum(drum) => Some((1, drum)),
        _ => None,
    }
}

pub(super) fn transpose(id: u32, by: i32) -> u32 {
    match Token::of(id) {
        Token::Pitch(pitch) => Token::Pitch((i32::from(pitch) + by).clamp(0, 127) as u8).id(),
        _ => id,
    }
}

/// The token of a tempo so many times as fast.
pub(super) fn scale_tempo(id: u32, factor: f64) -> u32 {
    match Token::of(id) {
        Token::Tempo(at) => Token::Tempo(tempo_index(factor * f64::from(SLOWEST + BETWEEN_TEMPOS * at))).id(),
        _ => id,
    }
}

pub(super) fn is_bar(id: u32) -> bool {
    Token::of(id) == Token::Bar
}

pub(super) fn is_program(id: u32) -> bool {
    matches!(Token::of(id), Token::Program(_))
}

fn tempo_index(per_minute: f64) -> u32 {
    let at = ((per_minute - f64::from(SLOWEST)) / f64::from(BETWEEN_TEMPOS)).round();
    at.clamp(0.0, f64::from(TEMPOS - 1)) as u32
}

fn micros(tempo: u32) -> u32 {
    60_000_000 / (SLOWEST + BETWEEN_TEMPOS * tempo)
}

fn velocity(level: u32) -> u8 {
    (4 * level + 2) as u8
}

/// Of four velocities the middle: 0 … 3 become 2, and so on.
fn level(velocity: u8) -> u32 {
    u32::from(velocity / 4).min(VELOCITIES - 1)
}

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
pub(super) fn encode(score: &Score, programs: bool) -> Result<Vec<u32>, MusicError> {
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

fn usual_tempo() -> u32 {
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

/// The score of tokens; what is out of place says nothing.
pub(super) fn decode(ids: &[u32]) -> Score {
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

/// What may follow.
#[derive(Clone, Debug)]
pub(super) struct Grammar {
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

#[cfg(test)]
mod tests {
    use super::*;

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
