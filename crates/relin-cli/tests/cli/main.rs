//! The command line, run as users run it: each test in a fresh folder.

mod bad_input;
mod harness;
mod resume;
mod runs;

/// `relin data`.
mod data;
/// `relin doctor`.
mod doctor;
/// Help, version, exit statuses, unknown words.
mod usage;
