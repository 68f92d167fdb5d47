//! The command line, run as users run it: each test in a fresh folder.

mod harness;

/// `relin data`.
mod data;
/// `relin doctor`.
mod doctor;
/// Help, version, exit statuses, unknown words.
mod usage;
