//! What the tokens are: their kinds, numbers and names, and what they stand for.

use std::sync::LazyLock;

/// Steps of the longest bar.
const LONGEST_BAR: u32 = 32;
pub(super) const LONGEST_NOTE: u32 = 64;
const TEMPOS: u32 = 54;
const SLOWEST: u32 = 32;
const BETWEEN_TEMPOS: u32 = 4;
const VELOCITIES: u32 = 32;

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
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
pub(super) static SIGNATURES: LazyLock<Vec<(u8, u8, u32)>> = LazyLock::new(|| {
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
pub(in super::super) fn tokens(programs: bool) -> usize {
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

    pub fn id(self) -> u32 {
        let (kind, at) = self.place();
        counts()[..kind].iter().sum::<u32>() + at
    }

    /// Ids outside of the vocabulary say nothing, as the beginning does.
    pub fn of(id: u32) -> Self {
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

pub(in super::super) fn name(id: u32) -> String {
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
pub(in super::super) fn pitch_of(id: u32) -> Option<(usize, u8)> {
    match Token::of(id) {
        Token::Pitch(pitch) => Some((0, pitch)),
        Token::Drum(drum) => Some((1, drum)),
        _ => None,
    }
}

pub(in super::super) fn transpose(id: u32, by: i32) -> u32 {
    match Token::of(id) {
        Token::Pitch(pitch) => Token::Pitch((i32::from(pitch) + by).clamp(0, 127) as u8).id(),
        _ => id,
    }
}

/// The token of a tempo so many times as fast.
pub(in super::super) fn scale_tempo(id: u32, factor: f64) -> u32 {
    match Token::of(id) {
        Token::Tempo(at) => Token::Tempo(tempo_index(factor * f64::from(SLOWEST + BETWEEN_TEMPOS * at))).id(),
        _ => id,
    }
}

pub(in super::super) fn is_bar(id: u32) -> bool {
    Token::of(id) == Token::Bar
}

pub(in super::super) fn is_program(id: u32) -> bool {
    matches!(Token::of(id), Token::Program(_))
}

pub(super) fn tempo_index(per_minute: f64) -> u32 {
    let at = ((per_minute - f64::from(SLOWEST)) / f64::from(BETWEEN_TEMPOS)).round();
    at.clamp(0.0, f64::from(TEMPOS - 1)) as u32
}

pub(super) fn micros(tempo: u32) -> u32 {
    60_000_000 / (SLOWEST + BETWEEN_TEMPOS * tempo)
}

pub(super) fn velocity(level: u32) -> u8 {
    (4 * level + 2) as u8
}

/// Of four velocities the middle: 0 … 3 become 2, and so on.
pub(super) fn level(velocity: u8) -> u32 {
    u32::from(velocity / 4).min(VELOCITIES - 1)
}
