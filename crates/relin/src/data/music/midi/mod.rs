//! Standard MIDI files.

mod read;
mod write;

pub use read::{parse_midi, read_midi};
pub use write::midi_bytes;

/// Larger files are refused before they are read.
pub const MOST_BYTES: u64 = 16 << 20;
/// Notes of a file.
pub const MOST_NOTES: usize = 1 << 20;
/// Quarter notes of a file: fourteen hours at 120 a minute.
pub const LONGEST: u64 = 100_000;
/// Quarter notes a minute, the slowest and the fastest.
pub const TEMPOS: (f64, f64) = (5.0, 1000.0);

#[cfg(test)]
mod tests;
