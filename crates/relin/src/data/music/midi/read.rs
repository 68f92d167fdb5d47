//! From a MIDI file to a score.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use midly::{Format, MetaMessage, MidiMessage, Timing, TrackEventKind};

use super::{LONGEST, MOST_BYTES, MOST_NOTES, TEMPOS};
use crate::data::DataError;
use crate::data::music::{
    DRUMS, MusicError, Note, Score, Signature, TICKS_PER_QUARTER, Tempo, Track, USUAL_TEMPO,
};

const DRUM_CHANNEL: u8 = 9;
const PEDAL: u8 = 64;
/// From this value on the pedal is down.
const DOWN: u8 = 64;

/// The score of a file.
///
/// # Errors
/// If it cannot be read, is too large, or as [`parse_midi`].
pub fn read_midi(path: &Path) -> Result<Score, DataError> {
    let music = |source| DataError::Music { path: path.into(), source };
    let bytes = std::fs::metadata(path).map_err(DataError::io("read", path))?.len();
    if bytes > MOST_BYTES {
        return Err(music(MusicError::TooLarge { bytes }));
    }
    parse_midi(&std::fs::read(path).map_err(DataError::io("read", path))?).map_err(music)
}

/// The score of a file's bytes: one track for each track, channel and instrument of the file that has notes. The sustain pedal
/// lengthens notes until it is released or they are struck again; what never ends, ends with the file.
///
/// # Errors
/// If it is no whole MIDI file of format 0 or 1, has no notes, or numbers that no piece has.
pub fn parse_midi(bytes: &[u8]) -> Result<Score, MusicError> {
    if ![b"MThd", b"RIFF"].into_iter().any(|magic| bytes.starts_with(magic)) {
        let reason = "it begins with neither `MThd` nor `RIFF`".into();
        return Err(MusicError::NotMidi { reason });
    }
    let not_midi = |error: midly::Error| MusicError::NotMidi { reason: error.kind().message().into() };
    let (header, tracks) = midly::parse(bytes).map_err(not_midi)?;
    if header.format == Format::Sequential {
        return Err(MusicError::Sequential);
    }
    let resolution = match header.timing {
        Timing::Metrical(ticks) if ticks.as_int() > 0 => u64::from(ticks.as_int()),
        Timing::Metrical(_) => return Err(MusicError::Resolution),
        Timing::Timecode(..) => return Err(MusicError::TimeCode),
    };
    let (declared, _) = tracks.size_hint();
    let (mut events, mut found) = (Vec::new(), 0);
    for (track, whole) in tracks.enumerate() {
        let whole = match whole {
            Ok(whole) => whole,
            // Some programs leave a few bytes after the last track.
            Err(_) if found >= declared => break,
            Err(_) => return Err(MusicError::Tracks { declared, found }),
        };
        found += 1;
        let mut tick = 0;
        for (event, read) in whole.enumerate() {
            let broken = |error: midly::Error| MusicError::Event {
                track: track + 1,
                event: event + 1,
                reason: error.kind().message().into(),
            };
            let read = read.map_err(broken)?;
            tick += u64::from(read.delta.as_int());
            if tick > LONGEST * resolution {
                return Err(MusicError::TooLong { quarters: tick / resolution });
            }
            events.push((tick, track, read.kind));
        }
    }
    if found < declared {
        return Err(MusicError::Tracks { declared, found });
    }
    // At one time the order is that of the file.
    events.sort_by_key(|event| event.0);
    let mut reader = Reader::default();
    for &(tick, track, kind) in &events {
        reader.take(tick, track, kind)?;
    }
    reader.finish(events.last().map_or(0, |event| event.0), resolution)
}

/// A note that still sounds.
#[derive(Clone, Copy)]
struct Held {
    onset: u64,
    velocity: u8,
    program: u8,
}

/// Of one channel: the keys that are down, by track and key, and those that only the pedal holds.
#[derive(Default)]
struct Channel {
    program: u8,
    held: BTreeMap<(usize, u8), Held>,
    pedal: bool,
    sustained: BTreeSet<(usize, u8)>,
}

/// Notes of a track, a channel and an instrument, with onsets and ends in the file's ticks.
type Instrument = (usize, u8, u8);

#[derive(Default)]
struct Reader {
    channels: [Channel; 16],
    names: BTreeMap<usize, String>,
    notes: BTreeMap<Instrument, Vec<(u64, u64, u8, u8)>>,
    count: usize,
    tempos: Vec<(u64, u32)>,
    signatures: Vec<(u64, u8, u8)>,
}

impl Reader {
    fn take(&mut self, tick: u64, track: usize, kind: TrackEventKind<'_>) -> Result<(), MusicError> {
        match kind {
            TrackEventKind::Midi { channel, message } => self.message(tick, track, channel.as_int(), message),
            TrackEventKind::Meta(MetaMessage::TrackName(name)) => {
                let name = || String::from_utf8_lossy(name).trim().to_owned();
                self.names.entry(track).or_insert_with(name);
                Ok(())
            }
            TrackEventKind::Meta(MetaMessage::Tempo(micros)) => self.tempo(tick, micros.as_int()),
            TrackEventKind::Meta(MetaMessage::TimeSignature(numerator, power, ..)) => {
                self.signature(tick, numerator, power)
            }
            _ => Ok(()),
        }
    }

    fn tempo(&mut self, tick: u64, micros: u32) -> Result<(), MusicError> {
        let found = 60e6 / f64::from(micros);
        if !(TEMPOS.0..=TEMPOS.1).contains(&found) {
            return Err(MusicError::Tempo { tick, found });
        }
        self.tempos.push((tick, micros));
        Ok(())
    }

    fn signature(&mut self, tick: u64, numerator: u8, power: u8) -> Result<(), MusicError> {
        if numerator == 0 || power > 6 {
            return Err(MusicError::Signature {
                tick,
                numerator: numerator.into(),
                denominator: 1u64.checked_shl(power.into()).unwrap_or(u64::MAX),
                expected: "1 to 255 over 1, 2, 4, 8, 16, 32 or 64",
            });
        }
        self.signatures.push((tick, numerator, 1 << power));
        Ok(())
    }

    fn message(
        &mut self,
        tick: u64,
        track: usize,
        channel: u8,
        message: MidiMessage,
    ) -> Result<(), MusicError> {
        let state = &mut self.channels[usize::from(channel)];
        match message {
            MidiMessage::NoteOn { key, vel } if vel.as_int() > 0 => {
                let key = (track, key.as_int());
                let program = if channel == DRUM_CHANNEL { DRUMS } else { state.program };
                let held = Held { onset: tick, velocity: vel.as_int(), program };
                let before = state.held.insert(key, held);
                state.sustained.remove(&key);
                self.end(before, tick, channel, key)
            }
            MidiMessage::NoteOn { key, .. } | MidiMessage::NoteOff { key, .. } => {
                let key = (track, key.as_int());
                if state.pedal {
                    state.sustained.insert(key);
                    return Ok(());
                }
                let before = state.held.remove(&key);
                self.end(before, tick, channel, key)
            }
            MidiMessage::ProgramChange { program } => {
                state.program = program.as_int();
                Ok(())
            }
            MidiMessage::Controller { controller, value } if controller.as_int() == PEDAL => {
                state.pedal = value.as_int() >= DOWN;
                if state.pedal { Ok(()) } else { self.release(tick, channel) }
            }
            _ => Ok(()),
        }
    }

    /// The pedal goes up: what no key holds ends.
    fn release(&mut self, tick: u64, channel: u8) -> Result<(), MusicError> {
        let state = &mut self.channels[usize::from(channel)];
        let sustained = std::mem::take(&mut state.sustained);
        let ended: Vec<_> = sustained.into_iter().map(|key| (key, state.held.remove(&key))).collect();
        ended.into_iter().try_for_each(|(key, held)| self.end(held, tick, channel, key))
    }

    fn end(
        &mut self,
        held: Option<Held>,
        tick: u64,
        channel: u8,
        (track, key): (usize, u8),
    ) -> Result<(), MusicError> {
        let Some(Held { onset, velocity, program }) = held else { return Ok(()) };
        self.count += 1;
        if self.count > MOST_NOTES {
            return Err(MusicError::TooManyNotes);
        }
        self.notes.entry((track, channel, program)).or_default().push((onset, tick, key, velocity));
        Ok(())
    }

    fn finish(mut self, last: u64, resolution: u64) -> Result<Score, MusicError> {
        for channel in 0..16 {
            let held = std::mem::take(&mut self.channels[usize::from(channel)].held);
            held.into_iter().try_for_each(|(key, held)| self.end(Some(held), last, channel, key))?;
        }
        if self.notes.is_empty() {
            return Err(MusicError::NoNotes { without: "" });
        }
        let scale = |tick: u64| ((tick * u64::from(TICKS_PER_QUARTER) + resolution / 2) / resolution) as u32;
        let note = |&(onset, end, pitch, velocity): &(u64, u64, u8, u8)| {
            let (onset, end) = (scale(onset), scale(end));
            Note { onset, duration: (end - onset).max(1), pitch, velocity }
        };
        let tracks = self.notes.iter().map(|(&(track, _, program), notes)| {
            let name = self.names.get(&track).cloned().unwrap_or_default();
            Track::new(name, program, notes.iter().map(note).collect())
        });
        let tempos = self.tempos.iter().map(|&(tick, micros)| Tempo { at: scale(tick), micros });
        let signatures = self.signatures.iter().map(|&(tick, numerator, denominator)| Signature {
            at: scale(tick),
            numerator,
            denominator,
        });
        Ok(Score {
            tracks: tracks.collect(),
            tempos: changes(tempos, |tempo| tempo.at, |tempo| tempo.map_or(USUAL_TEMPO, |t| t.micros)),
            signatures: changes(
                signatures,
                |signature| signature.at,
                |signature| signature.map_or((4, 4), |s| (s.numerator, s.denominator)),
            ),
        })
    }
}

/// What changes something: of several at one time the last, and none that says what holds already.
fn changes<T, V: PartialEq>(
    all: impl Iterator<Item = T>,
    at: impl Fn(&T) -> u32,
    value: impl Fn(Option<&T>) -> V,
) -> Vec<T> {
    let mut last_of_each: Vec<T> = Vec::new();
    for one in all {
        if last_of_each.last().is_some_and(|last| at(last) == at(&one)) {
            last_of_each.pop();
        }
        last_of_each.push(one);
    }
    let mut changes: Vec<T> = Vec::new();
    for one in last_of_each {
        if value(changes.last()) != value(Some(&one)) {
            changes.push(one);
        }
    }
    changes
}
