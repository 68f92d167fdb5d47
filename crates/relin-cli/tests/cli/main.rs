//! The command line, run as users run it: each test in a fresh folder.

mod harness;

/// The tasks of the Long-Range Arena that are made by rule.
mod arena;
/// Bad input: what is said, and that nothing is lost.
mod bad_input;
/// `relin bench`.
mod bench;
/// Training and scoring classifiers.
mod classifiers;
/// `relin data`.
mod data;
/// `relin doctor`.
mod doctor;
/// `relin inspect`.
mod inspect;
/// Music: MIDI files and chorales.
mod music;
/// Killed, stopped and damaged runs.
mod resume;
/// Training, scoring and writing.
mod runs;
/// Training and asking encoder-decoders.
mod sequences;
/// `relin study`.
mod study;
/// Help, version, exit statuses, unknown words.
mod usage;
