use super::*;
use crate::data::music::{DRUMS, MusicError, Note, Score, Signature, Tempo, Track};

const ON: u8 = 0x90;
const OFF: u8 = 0x80;
const CONTROL: u8 = 0xB0;
const PROGRAM: u8 = 0xC0;

/// A chunk with its length.
fn chunk(id: &[u8], content: &[u8]) -> Vec<u8> {
    [id, &(content.len() as u32).to_be_bytes(), content].concat()
}

fn header(format: u8, tracks: u8, division: u16) -> Vec<u8> {
    chunk(b"MThd", &[&[0, format, 0, tracks], &division.to_be_bytes()[..]].concat())
}

/// A file of one track: bytes of events, each with its delta before it; the end of the track is added.
fn file(division: u16, events: &[&[u8]]) -> Vec<u8> {
    let track = [&events.concat()[..], &[0, 0xFF, 0x2F, 0]].concat();
    [header(0, 1, division), chunk(b"MTrk", &track)].concat()
}

fn note(onset: u32, duration: u32, pitch: u8) -> Note {
    Note { onset, duration, pitch, velocity: 64 }
}

fn notes(division: u16, events: &[&[u8]]) -> Vec<Note> {
    parse_midi(&file(division, events)).unwrap().tracks[0].notes.clone()
}

fn refusal(bytes: &[u8]) -> String {
    parse_midi(bytes).unwrap_err().to_string()
}

fn rich_score() -> Score {
    let tracks = vec![
        Track::new("Melody", 40, vec![note(0, 480, 72), note(480, 120, 74), note(480, 960, 48)]),
        Track::new("", 33, vec![note(7, 13, 36), note(20, 13, 36)]),
        Track::new("Kit", DRUMS, vec![note(0, 1, 42), note(5000, 60, 36)]),
    ];
    Score {
        tracks,
        tempos: vec![Tempo { at: 0, micros: 400_000 }, Tempo { at: 960, micros: 700_001 }],
        signatures: vec![Signature { at: 1920, numerator: 7, denominator: 8 }],
    }
}

#[test]
fn a_score_comes_back_from_its_file() {
    let score = rich_score();
    assert_eq!(parse_midi(&midi_bytes(&score)).unwrap(), score);
}

#[test]
fn more_instruments_than_channels_come_back() {
    let track =
        |program: u8| Track::new(format!("t{program}"), program, vec![note(10 * u32::from(program), 30, 60)]);
    let score = Score { tracks: (0..40).map(track).collect(), ..Score::default() };
    assert_eq!(parse_midi(&midi_bytes(&score)).unwrap(), score);
}

#[test]
fn ticks_become_those_of_a_score() {
    let once = [&[1, ON, 60, 64][..], &[2, OFF, 60, 0]];
    assert_eq!(notes(96, &once), [note(5, 10, 60)]);
    assert_eq!(notes(32767, &once), [note(0, 1, 60)]);
    assert_eq!(notes(1, &once), [note(480, 960, 60)]);
}

#[test]
fn notes_end_by_either_message_when_struck_again_or_with_the_file() {
    let by_velocity = [&[0, ON, 60, 64][..], &[10, ON, 60, 0]];
    assert_eq!(notes(480, &by_velocity), [note(0, 10, 60)]);
    let again = [&[0, ON, 60, 64][..], &[10, ON, 60, 64], &[5, OFF, 60, 0], &[7, OFF, 60, 0]];
    assert_eq!(notes(480, &again), [note(0, 10, 60), note(10, 5, 60)]);
    let never = [&[0, ON, 60, 64][..], &[20, ON, 61, 64], &[5, OFF, 61, 0], &[30, CONTROL, 7, 100]];
    assert_eq!(notes(480, &never), [note(0, 55, 60), note(20, 5, 61)]);
    assert_eq!(notes(480, &[&[3, ON, 60, 64]]), [note(3, 1, 60)], "as long as there is");
}

#[test]
fn the_pedal_lengthens_notes() {
    let (down, up) = (&[0, CONTROL, 64, 127][..], &[20, CONTROL, 64, 0][..]);
    let on: &[u8] = &[0, ON, 60, 64];
    let off: &[u8] = &[10, OFF, 60, 0];
    assert_eq!(notes(480, &[down, on, off, up]), [note(0, 30, 60)]);
    // Struck again under the pedal: the first ends there, and the second is down when the pedal goes up.
    assert_eq!(notes(480, &[down, on, off, on, up, off]), [note(0, 10, 60), note(10, 30, 60)]);
    assert_eq!(notes(480, &[down, on, off]), [note(0, 10, 60)], "never released");
    let other_channel: &[u8] = &[0, CONTROL + 1, 64, 127];
    assert_eq!(notes(480, &[other_channel, on, off, up]), [note(0, 10, 60)]);
}

#[test]
fn instruments_of_a_track_are_apart_and_the_tenth_channel_has_drums() {
    let events = [
        &[0, 0xFF, 3, 5, b'V', b'o', b'i', b'c', b'e'][..],
        &[0, PROGRAM, 5],
        &[0, ON, 60, 64],
        &[10, OFF, 60, 0],
        &[0, PROGRAM, 6],
        &[0, ON, 60, 64],
        &[10, OFF, 60, 0],
        &[0, ON + 9, 42, 64],
        &[10, OFF + 9, 42, 0],
    ];
    let tracks = parse_midi(&file(480, &events)).unwrap().tracks;
    let found: Vec<_> = tracks.iter().map(|track| (&*track.name, track.program, track.notes.len())).collect();
    assert_eq!(found, [("Voice", 5, 1), ("Voice", 6, 1), ("Voice", DRUMS, 1)]);
}

#[test]
fn only_changes_of_tempo_and_signature_are_kept() {
    let tempo = |delta, micros: u32| {
        let [_, a, b, c] = micros.to_be_bytes();
        vec![delta, 0xFF, 0x51, 3, a, b, c]
    };
    let signature = |delta, numerator, power| vec![delta, 0xFF, 0x58, 4, numerator, power, 24, 8];
    let events = [
        tempo(0, 500_000),
        signature(0, 4, 2),
        tempo(0, 600_000),
        signature(10, 3, 2),
        tempo(10, 600_000),
        signature(0, 3, 2),
        vec![0, ON, 60, 64],
        vec![10, OFF, 60, 0],
    ];
    let events: Vec<&[u8]> = events.iter().map(Vec::as_slice).collect();
    let score = parse_midi(&file(480, &events)).unwrap();
    assert_eq!(score.tempos, [Tempo { at: 0, micros: 600_000 }]);
    assert_eq!(score.signatures, [Signature { at: 10, numerator: 3, denominator: 4 }]);
}

#[test]
fn what_no_piece_has_is_refused_with_its_number() {
    let on: &[u8] = &[0, ON, 60, 64];
    assert_eq!(refusal(b"RIFX and so on"), "not a MIDI file: it begins with neither `MThd` nor `RIFF`");
    assert!(refusal(b"").starts_with("not a MIDI file"));
    assert!(refusal(&file(0, &[on])).contains("0 ticks a quarter note"));
    assert!(refusal(&file(0xE728, &[on])).contains("SMPTE"));
    assert!(refusal(&[header(2, 1, 480), chunk(b"MTrk", on)].concat()).contains("format 2"));
    assert_eq!(refusal(&file(480, &[&[0, CONTROL, 7, 1]])), "there are no notes in it");
    assert!(refusal(&header(1, 0, 480)).contains("no notes"));
    assert!(refusal(&header(1, 3, 480)).contains("0 of the 3 tracks"));
    let found = refusal(&file(480, &[&[0, 0xFF, 0x51, 3, 0, 0, 0], on]));
    assert!(found.contains("a tempo of inf quarters a minute at tick 0; expected 5 to 1000"), "{found}");
    assert!(refusal(&file(480, &[&[0, 0xFF, 0x51, 3, 0, 0, 9], on])).contains("6666666.7"));
    assert!(refusal(&file(480, &[&[0, 0xFF, 0x51, 3, 255, 255, 255], on])).contains("3.6"));
    assert!(refusal(&file(480, &[&[0, 0xFF, 0x58, 4, 0, 2, 24, 8], on])).contains("0/4"));
    assert!(
        refusal(&file(480, &[&[0, 0xFF, 0x58, 4, 4, 200, 24, 8], on])).contains("4/18446744073709551615")
    );
    // The longest delta there is, at one tick a quarter note.
    let long = refusal(&file(1, &[on, &[0xFF, 0xFF, 0xFF, 0x7F, OFF, 60, 0]]));
    assert_eq!(long, "it lasts 268435455 quarter notes; at most 100000 are read");
    let running: Vec<&[u8]> = vec![&[0, 60, 64]];
    assert!(refusal(&file(480, &running)).contains("track 1, event 1"));
    assert!(refusal(&file(480, &[on, &[0, CONTROL, 64, 168]])).contains("track 1, event 2"));
}

#[test]
fn too_many_notes_are_refused() {
    let pair: &[u8] = &[0, ON, 60, 64, 0, ON, 60, 0];
    let bytes = file(480, &vec![pair; MOST_NOTES + 1]);
    assert!((bytes.len() as u64) < MOST_BYTES);
    assert_eq!(parse_midi(&bytes), Err(MusicError::TooManyNotes));
}

#[test]
fn a_large_file_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.mid");
    // Holes take no room on the disk, nor time to make.
    std::fs::File::create(&path).unwrap().set_len(100 << 20).unwrap();
    let began = std::time::Instant::now();
    let error = read_midi(&path).unwrap_err().to_string();
    assert!(error.contains("large.mid: the file has 104857600 bytes; at most 16777216 are read"), "{error}");
    assert!(began.elapsed().as_millis() < 500, "it was read");
    let missing = read_midi(&folder.path().join("none.mid")).unwrap_err().to_string();
    assert!(missing.contains("none.mid"), "{missing}");
}

#[test]
fn bytes_after_the_last_track_are_left_alone() {
    let whole = midi_bytes(&rich_score());
    assert_eq!(parse_midi(&[&whole[..], b"\n\n"].concat()).unwrap(), rich_score());
}

/// Every beginning of a file, and every byte of it changed in every way.
#[test]
fn no_damage_makes_reading_panic() {
    let whole = midi_bytes(&rich_score());
    for end in 0..whole.len() {
        assert!(parse_midi(&whole[..end]).is_err(), "cut at {end}");
    }
    let (mut read, mut refused) = (0, 0);
    for at in 0..whole.len() {
        for value in 0..=255 {
            let mut damaged = whole.clone();
            damaged[at] = value;
            match parse_midi(&damaged) {
                Ok(score) => {
                    read += 1;
                    // What can be read can be written and read again.
                    assert_eq!(
                        parse_midi(&midi_bytes(&score)).unwrap().notes().count(),
                        score.notes().count()
                    );
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}
