//! `grid`: four voices, a token each at every sixteenth note: soprano, alto, tenor, bass, soprano …
//!
//! A token says which pitch sounds in its voice, or that none does, and not whether it is struck anew: so it is in the files of
//! chorales that this is for, whose steps come back as they were. In a score, equal pitches in a row are one note.

use super::{Note, Score, TICKS_PER_QUARTER, Track};

/// What the voices are called.
pub const VOICES: [&str; 4] = ["soprano", "alto", "tenor", "bass"];
/// Ticks of a step.
pub const STEP: u32 = TICKS_PER_QUARTER / 4;
/// Pitches of the four voices at a sixteenth note; `None` where one is silent.
pub type Step = [Option<u8>; 4];

/// Tokens of a voice: its pitches, and silence.
const OF_VOICE: u32 = 129;
/// Number of tokens.
pub(super) const TOKENS: usize = 1 + 4 * OF_VOICE as usize;
/// Church organ.
const PROGRAM: u8 = 19;
const VELOCITY: u8 = 80;

fn token(voice: usize, pitch: Option<u8>) -> u32 {
    1 + voice as u32 * OF_VOICE + pitch.map_or(128, u32::from)
}

/// Voice, and pitch or silence; `None` for the token before the first.
fn parts(token: u32) -> Option<(usize, Option<u8>)> {
    let at = token.checked_sub(1)?;
    let pitch = (at % OF_VOICE) as u8;
    Some(((at / OF_VOICE) as usize, (pitch < 128).then_some(pitch)))
}

/// The tokens of steps.
pub(super) fn encode(steps: &[Step]) -> Vec<u32> {
    steps.iter().flat_map(|step| (0..4).map(|voice| token(voice, step[voice]))).collect()
}

/// The steps of tokens; a last one that is not whole is silent where nothing was said.
pub fn steps(tokens: &[u32]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut expected = 0;
    for (voice, pitch) in tokens.iter().filter_map(|&token| parts(token)) {
        if steps.is_empty() || voice < expected {
            steps.push([None; 4]);
        }
        if let Some(place) = steps.last_mut().and_then(|step| step.get_mut(voice)) {
            *place = pitch;
        }
        expected = voice + 1;
    }
    steps
}

pub(super) fn name(token: u32) -> String {
    match parts(token) {
        None => "begin".into(),
        Some((voice, Some(pitch))) => format!("{}-{pitch}", VOICES[voice]),
        Some((voice, None)) => format!("{}-rest", VOICES[voice]),
    }
}

pub(super) fn pitch_of(token: u32) -> Option<(usize, u8)> {
    parts(token).and_then(|(voice, pitch)| Some((voice, pitch?)))
}

pub(super) fn transpose(token: u32, by: i32) -> u32 {
    match pitch_of(token) {
        Some((voice, pitch)) => self::token(voice, Some((i32::from(pitch) + by).clamp(0, 127) as u8)),
        None => token,
    }
}

/// Where in a step the next token stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grammar {
    voice: usize,
}

impl Grammar {
    pub fn push(&mut self, token: u32) {
        self.voice = parts(token).map_or(0, |(voice, _)| (voice + 1) % 4);
    }

    pub fn allows(&self, token: u32) -> bool {
        parts(token).is_some_and(|(voice, _)| voice == self.voice)
    }
}

/// The score of steps: a track for each voice, silent ones included, so that they come back.
pub fn to_score(steps: &[Step]) -> Score {
    let track = |voice: usize| {
        let mut notes: Vec<Note> = Vec::new();
        let mut before = None;
        for (at, step) in steps.iter().enumerate() {
            let pitch = step[voice];
            match notes.last_mut() {
                Some(note) if pitch.is_some() && pitch == before => note.duration += STEP,
                _ => notes.extend(pitch.map(|pitch| Note {
                    onset: at as u32 * STEP,
                    duration: STEP,
                    pitch,
                    velocity: VELOCITY,
                })),
            }
            before = pitch;
        }
        Track::new(VOICES[voice], PROGRAM, notes)
    };
    Score { tracks: (0..4).map(track).collect(), ..Score::default() }
}

/// The steps of a score, onsets and ends at the nearest sixteenth notes.
///
/// If tracks are called as the voices, they are those. Else, if there are four tracks with pitches, they are the voices from
/// the highest on average to the lowest. Else the pitches that sound at a step are taken in order: the highest is the soprano,
/// the lowest the bass, and of those between the outer ones are alto and tenor.
pub fn from_score(score: &Score) -> Vec<Step> {
    let sounding: Vec<Vec<u128>> = voices(score).iter().map(|tracks| sounding(tracks)).collect();
    let count = sounding.iter().map(Vec::len).max().unwrap_or(0);
    let at = |voice: &[u128], step: usize| voice.get(step).copied().unwrap_or(0);
    match &sounding[..] {
        [together] => (0..count).map(|step| in_order(at(together, step))).collect(),
        voices => {
            let step = |step| std::array::from_fn(|voice| highest(at(&voices[voice], step)));
            (0..count).map(step).collect()
        }
    }
}

/// The tracks of each of four voices, or all tracks as one.
fn voices(score: &Score) -> Vec<Vec<&Track>> {
    let pitched: Vec<&Track> =
        score.tracks.iter().filter(|track| !track.is_drums() && !track.notes.is_empty()).collect();
    let called = |name: &str| -> Vec<&Track> {
        let is = |track: &&&Track| track.name.to_lowercase().starts_with(name);
        pitched.iter().filter(is).copied().collect()
    };
    let named: Vec<Vec<&Track>> = VOICES.iter().map(|name| called(name)).collect();
    if named.iter().map(Vec::len).sum::<usize>() == pitched.len() {
        return named;
    }
    if pitched.len() == 4 {
        let mut order = pitched;
        order.sort_by(|a, b| mean_pitch(b).total_cmp(&mean_pitch(a)));
        return order.into_iter().map(|track| vec![track]).collect();
    }
    vec![pitched]
}

fn mean_pitch(track: &Track) -> f64 {
    track.notes.iter().map(|note| f64::from(note.pitch)).sum::<f64>() / track.notes.len().max(1) as f64
}

/// At each step the set of pitches that sound.
fn sounding(tracks: &[&Track]) -> Vec<u128> {
    let nearest = |tick: u32| ((tick + STEP / 2) / STEP) as usize;
    let mut notes: Vec<&Note> = tracks.iter().flat_map(|track| &track.notes).collect();
    notes.sort_by_key(|note| (note.pitch, note.onset));
    let mut steps: Vec<u128> = Vec::new();
    // However many notes of one pitch lie over each other, no step is gone over twice for it.
    let (mut pitch, mut marked) = (0, 0);
    for note in notes {
        if note.pitch != pitch {
            (pitch, marked) = (note.pitch, 0);
        }
        let first = nearest(note.onset);
        let end = nearest(note.end()).max(first + 1);
        if steps.len() < end {
            steps.resize(end, 0);
        }
        steps[first.max(marked).min(end)..end].iter_mut().for_each(|step| *step |= 1 << note.pitch);
        marked = marked.max(end);
    }
    steps
}

fn highest(pitches: u128) -> Option<u8> {
    pitches.checked_ilog2().map(|pitch| pitch as u8)
}

fn in_order(pitches: u128) -> Step {
    let ascending: Vec<u8> = (0..128).filter(|pitch| pitches >> pitch & 1 == 1).collect();
    match ascending[..] {
        [] => [None; 4],
        [one] => [Some(one), None, None, None],
        [low, high] => [Some(high), None, None, Some(low)],
        [low, middle, high] => [Some(high), Some(middle), None, Some(low)],
        [low, tenor, .., alto, high] => [Some(high), Some(alto), Some(tenor), Some(low)],
    }
}

#[cfg(test)]
mod tests {
    use relin_kernels::rng::Rng;

    use super::*;

    fn random_steps(seed: u64) -> Vec<Step> {
        let rng = Rng::new(seed, 0);
        let count = rng.below(0, 40) + 1;
        let pitch = |at: u64| match rng.below(1000 + at, 5) {
            0 => None,
            _ => Some(rng.below(2000 + at, 128) as u8),
        };
        (0..count).map(|step| std::array::from_fn(|voice| pitch(4 * step + voice as u64))).collect()
    }

    #[test]
    fn steps_come_back_from_their_tokens_and_from_their_scores() {
        for seed in 0..200 {
            let mut all = random_steps(seed);
            assert_eq!(steps(&encode(&all)), all, "seed {seed}");
            // A score ends with its last note, and without any it has no voices.
            while all.last() == Some(&[None; 4]) {
                all.pop();
            }
            assert_eq!(from_score(&to_score(&all)), all, "seed {seed}");
        }
    }

    #[test]
    fn equal_pitches_in_a_row_are_one_note() {
        let score = to_score(&[[Some(60), None, None, None], [Some(60), None, None, None]]);
        let note = Note { onset: 0, duration: 2 * STEP, pitch: 60, velocity: VELOCITY };
        assert_eq!(score.tracks[0].notes, [note]);
    }

    #[test]
    fn voices_are_found_by_name_by_height_or_by_order() {
        let note = |pitch, onset| Note { onset, duration: STEP, pitch, velocity: 64 };
        let score = |tracks: &[(&str, &[u8])]| {
            let track = |&(name, pitches): &(&str, &[u8])| {
                Track::new(name, 0, pitches.iter().map(|&pitch| note(pitch, 0)).collect())
            };
            from_score(&Score { tracks: tracks.iter().map(track).collect(), ..Score::default() })
        };
        let all = |pitches: [u8; 4]| vec![pitches.map(Some)];
        let named = [("Soprano", &[60u8][..]), ("Alto", &[64]), ("Tenor", &[55]), ("Bass", &[50])];
        assert_eq!(score(&named), all([60, 64, 55, 50]), "crossing voices keep their names");
        let four = [("a", &[50u8][..]), ("b", &[60]), ("c", &[70]), ("d", &[40])];
        assert_eq!(score(&four), all([70, 60, 50, 40]));
        assert_eq!(score(&[("", &[40, 50, 60, 65, 70])]), all([70, 65, 50, 40]));
        assert_eq!(score(&[("", &[40, 70])]), vec![[Some(70), None, None, Some(40)]]);
        assert_eq!(score(&[]), Vec::<Step>::new());
    }

    #[test]
    fn a_note_takes_the_nearest_steps_and_at_least_one() {
        let note = |onset, duration| Note { onset, duration, pitch: 60, velocity: 64 };
        let steps = |notes| {
            let tracks = vec![Track::new("soprano", 0, notes)];
            from_score(&Score { tracks, ..Score::default() }).iter().map(|step| step[0]).collect::<Vec<_>>()
        };
        assert_eq!(steps(vec![note(50, 1)]), [Some(60)]);
        assert_eq!(steps(vec![note(70, 110)]), [None, Some(60)]);
        assert_eq!(steps(vec![note(70, 111)]), [None, Some(60)]);
        assert_eq!(steps(vec![note(70, 170)]), [None, Some(60)]);
        assert_eq!(steps(vec![note(70, 230)]), [None, Some(60), Some(60)]);
    }
}
