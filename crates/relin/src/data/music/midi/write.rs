//! From a score to a MIDI file.

use midly::num::{u4, u7, u15, u24, u28};
use midly::{Format, Header, MetaMessage, MidiMessage, Smf, Timing, TrackEvent, TrackEventKind};

use crate::data::music::{Score, TICKS_PER_QUARTER, Track};

const DRUM_CHANNEL: u8 = 9;
/// Channels for pitches.
const CHANNELS: usize = 15;

/// An event at a tick. Of those at one tick notes end before they begin.
type Timed<'a> = (u32, u8, TrackEventKind<'a>);
const SETTING: u8 = 0;
const ENDING: u8 = 1;
const BEGINNING: u8 = 2;

/// The bytes of a MIDI file of format 1: a track of tempos and signatures, then one for each track of the score.
pub fn midi_bytes(score: &Score) -> Vec<u8> {
    let timing = Timing::Metrical(u15::new(TICKS_PER_QUARTER as u16));
    let mut file = Smf::new(Header::new(Format::Parallel, timing));
    file.tracks.push(track(conductor(score)));
    let pitched = score.tracks.iter().filter(|track| !track.is_drums()).count();
    let mut at = 0;
    for part in &score.tracks {
        let channel = match part.is_drums() {
            true => DRUM_CHANNEL,
            false => {
                at += 1;
                channel((at - 1) % CHANNELS)
            }
        };
        file.tracks.push(track(events(part, channel, pitched > CHANNELS)));
    }
    let mut bytes = Vec::new();
    file.write_std(&mut bytes).expect("memory takes all, and no chunk is near 4 GiB");
    bytes
}

/// The channels without that of the drums.
fn channel(at: usize) -> u8 {
    let at = at as u8;
    if at < DRUM_CHANNEL { at } else { at + 1 }
}

fn conductor(score: &Score) -> Vec<Timed<'_>> {
    let tempo = score
        .tempos
        .iter()
        .map(|tempo| (tempo.at, SETTING, TrackEventKind::Meta(MetaMessage::Tempo(u24::new(tempo.micros)))));
    let signature = score.signatures.iter().map(|signature| {
        let power = signature.denominator.trailing_zeros() as u8;
        let message = MetaMessage::TimeSignature(signature.numerator, power, 24, 8);
        (signature.at, SETTING, TrackEventKind::Meta(message))
    });
    tempo.chain(signature).collect()
}

/// `shared` says that other instruments may play on the channel: then each note says which one it is for.
fn events(part: &Track, channel: u8, shared: bool) -> Vec<Timed<'_>> {
    let midi = |message| TrackEventKind::Midi { channel: u4::new(channel), message };
    let program = midi(MidiMessage::ProgramChange { program: u7::new(part.program.min(127)) });
    let mut events = vec![(0, SETTING, TrackEventKind::Meta(MetaMessage::TrackName(part.name.as_bytes())))];
    if !part.is_drums() {
        events.push((0, SETTING, program));
    }
    for note in &part.notes {
        let key = u7::new(note.pitch);
        if shared && !part.is_drums() {
            events.push((note.onset, BEGINNING, program));
        }
        let vel = u7::new(note.velocity);
        events.push((note.onset, BEGINNING, midi(MidiMessage::NoteOn { key, vel })));
        events.push((note.end(), ENDING, midi(MidiMessage::NoteOff { key, vel: u7::new(64) })));
    }
    events
}

fn track(mut events: Vec<Timed<'_>>) -> Vec<TrackEvent<'_>> {
    events.sort_by_key(|&(tick, order, _)| (tick, order));
    let mut before = 0;
    let mut track: Vec<TrackEvent<'_>> = Vec::with_capacity(events.len() + 1);
    for (tick, _, kind) in events {
        track.push(TrackEvent { delta: u28::new(tick - before), kind });
        before = tick;
    }
    track.push(TrackEvent { delta: u28::new(0), kind: TrackEventKind::Meta(MetaMessage::EndOfTrack) });
    track
}
