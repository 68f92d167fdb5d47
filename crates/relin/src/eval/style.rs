//! How much continuations are like the pieces that they go on from, the longer the less.
//!
//! # Reference
//! The measures of Cífka et al. 2020 (Groove2Groove), and their use in Liutkus et al. 2021 (arXiv 2105.08399) §3.3.

use std::path::Path;

use burn::tensor::Device;
use serde::Serialize;

use super::EvalError;
use super::music::pieces;
use crate::data::music::{BEGIN, Note, Score, TICKS_PER_QUARTER, Track};
use crate::generate::{Sampler, SamplerOptions, continue_music};
use crate::hub::load_music;
use crate::model::{Session, TokenModel};

/// What to compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StyleOptions {
    /// Pieces of the validation split that are gone on from, the first ones.
    pub pieces: usize,
    /// Tokens of each that are given.
    pub given: usize,
    /// Tokens that are written.
    pub written: usize,
    /// How they are chosen.
    pub sampler: SamplerOptions,
}

/// Cosines between histograms, 1 where they are alike, on average over pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Likeness {
    /// Of intervals between notes and the times between their onsets.
    pub time_pitch: f64,
    /// Of onsets in the bar and durations; of drums, of onsets and what is struck.
    pub onset_duration: f64,
}

/// Likeness of continuations, quarter by quarter.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "style")]
pub struct Style {
    /// Pieces that were gone on from.
    pub pieces: usize,
    /// Tokens of each that were given.
    pub given: usize,
    /// Tokens that were written.
    pub written: usize,
    /// Of each quarter of the continuation's time with the whole piece it goes on from.
    pub quarters: Vec<Likeness>,
    /// Of each whole piece with the next one, for comparison.
    pub other_piece: Likeness,
    /// Share of tokens that the model by itself would have chosen against the grammar or the ranges of the voices.
    pub prevented: f64,
}

const QUARTERS: usize = 4;

/// Goes on from pieces of the validation split and compares.
///
/// # Errors
/// If the run or its data cannot be read, or learned absolute positions end too early.
pub fn evaluate_style(run: &Path, options: &StyleOptions) -> Result<Style, EvalError> {
    let trained = load_music(run, &Device::flex())?;
    let StyleOptions { given, written, sampler, .. } = *options;
    super::check_positions(given + written, trained.model.max_positions())?;
    let (_, pieces) = pieces(&trained, None, None)?;
    let vocabulary = &trained.vocabulary;
    let count = options.pieces.min(pieces.len());
    let references: Vec<Score> = (0..count).map(|piece| vocabulary.decode(&pieces.tokens(piece))).collect();
    let mut quarters = [Likeness::default(); QUARTERS];
    let (mut other, mut prevented) = (Likeness::default(), 0);
    for (piece, reference) in references.iter().enumerate() {
        let mut tokens = pieces.tokens(piece);
        tokens.truncate(given);
        let begins = vocabulary.decode(&tokens).end();
        let before: Vec<u32> = [&[BEGIN], &tokens[..]].concat();
        let (last, first) = before.split_last().unwrap_or((&BEGIN, &[]));
        let mut session = Session::new(&trained.model);
        session.prefill(first);
        let seed = sampler.seed.wrapping_add(piece as u64);
        let sampler = Sampler::new(SamplerOptions { seed, ..sampler });
        prevented +=
            continue_music(&mut session, vocabulary, (&mut tokens, *last), written, &sampler, &mut |_| {});
        let score = vocabulary.decode(&tokens);
        let lasts = score.end().saturating_sub(begins);
        for (at, quarter) in quarters.iter_mut().enumerate() {
            let border = |at: usize| begins + (u64::from(lasts) * at as u64 / QUARTERS as u64) as u32;
            quarter.add(likeness(reference, &between(&score, border(at), border(at + 1))), count);
        }
        other.add(likeness(reference, &references[(piece + 1) % count]), count);
    }
    Ok(Style {
        pieces: count,
        given,
        written,
        quarters: quarters.to_vec(),
        other_piece: other,
        prevented: prevented as f64 / (count * written).max(1) as f64,
    })
}

impl Likeness {
    /// One of `count` that make the mean.
    fn add(&mut self, one: Self, count: usize) {
        self.time_pitch += one.time_pitch / count as f64;
        self.onset_duration += one.onset_duration / count as f64;
    }
}

/// What begins in a stretch of time.
fn between(score: &Score, from: u32, to: u32) -> Score {
    let track = |track: &Track| {
        let inside = |note: &&Note| (from..to).contains(&note.onset);
        Track { notes: track.notes.iter().filter(inside).copied().collect(), ..track.clone() }
    };
    Score { tracks: score.tracks.iter().map(track).collect(), ..Score::default() }
}

/// The mean over the tracks of `reference` that sound; a track that is silent in the other score is like nothing.
fn likeness(reference: &Score, other: &Score) -> Likeness {
    let sounding: Vec<&Track> = reference.tracks.iter().filter(|track| !track.notes.is_empty()).collect();
    let mut mean = Likeness::default();
    for track in &sounding {
        let same = |other: &&Track| (other.program, &other.name) == (track.program, &track.name);
        let notes = other.tracks.iter().find(same).map_or(&[][..], |track| &track.notes);
        let drums = track.is_drums();
        let one = Likeness {
            time_pitch: cosine(&time_pitch(&track.notes), &time_pitch(notes)),
            onset_duration: cosine(&onsets(&track.notes, drums), &onsets(notes, drums)),
        };
        mean.add(one, sounding.len());
    }
    mean
}

/// Bins of a quarter note.
const BINS: u32 = 6;
/// Quarter notes of a bar, and between notes that are compared.
const REACH: u32 = 4;
/// Semitones up or down.
const INTERVAL: i32 = 20;
/// The longest notes that are told apart: two quarter notes.
const DURATIONS: u32 = 2 * BINS;

fn bin(ticks: u32) -> u32 {
    ticks * BINS / TICKS_PER_QUARTER
}

/// How often a note is followed by another one so much later and higher.
fn time_pitch(notes: &[Note]) -> Vec<f64> {
    let rows = (2 * INTERVAL + 1) as usize;
    let mut histogram = vec![0.0; (REACH * BINS) as usize * rows];
    for (at, first) in notes.iter().enumerate() {
        for second in &notes[at + 1..] {
            let later = bin(second.onset - first.onset);
            if later >= REACH * BINS {
                break;
            }
            let higher = i32::from(second.pitch) - i32::from(first.pitch);
            if higher.abs() <= INTERVAL {
                histogram[later as usize * rows + (higher + INTERVAL) as usize] += 1.0;
            }
        }
    }
    histogram
}

/// How often a note begins there in the bar and lasts so long, or is that drum.
fn onsets(notes: &[Note], drums: bool) -> Vec<f64> {
    let columns = if drums { 128 } else { DURATIONS as usize + 1 };
    let mut histogram = vec![0.0; (REACH * BINS) as usize * columns];
    for note in notes {
        let onset = bin(note.onset % (REACH * TICKS_PER_QUARTER)) as usize;
        let column = if drums { usize::from(note.pitch) } else { bin(note.duration).min(DURATIONS) as usize };
        histogram[onset * columns + column] += 1.0;
    }
    histogram
}

/// Of two histograms; 0 if one is empty.
fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms == 0.0 { 0.0 } else { dot(a, b) / norms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn melody(pitches: &[u8], step: u32) -> Score {
        let note = |(at, &pitch): (usize, &u8)| Note {
            onset: at as u32 * step,
            duration: step,
            pitch,
            velocity: 64,
        };
        let notes = pitches.iter().enumerate().map(note).collect();
        Score { tracks: vec![Track::new("soprano", 0, notes)], ..Score::default() }
    }

    #[test]
    fn a_piece_is_like_itself_and_its_transposition_but_not_like_another() {
        let scale = melody(&[60, 62, 64, 65, 67, 69, 71, 72], 480);
        let higher = melody(&[65, 67, 69, 70, 72, 74, 76, 77], 480);
        let one = likeness(&scale, &higher);
        assert!((one.time_pitch - 1.0).abs() < 1e-12 && (one.onset_duration - 1.0).abs() < 1e-12, "{one:?}");
        let quick = likeness(&scale, &melody(&[60, 67, 60, 67, 60, 67, 60, 67], 160));
        assert!(quick.time_pitch < 0.2 && quick.onset_duration == 0.0, "{quick:?}");
        assert_eq!(likeness(&scale, &Score::default()), Likeness::default());
    }

    #[test]
    fn only_what_begins_in_a_stretch_is_in_it() {
        let score = melody(&[60, 61, 62, 63], 100);
        let pitches: Vec<u8> = between(&score, 100, 300).notes().map(|note| note.pitch).collect();
        assert_eq!(pitches, [61, 62]);
    }

    #[test]
    fn histograms_count_pairs_within_four_quarters() {
        // Pairs at 0, 1, 2, 3 quarters, and not at 4.
        let notes = melody(&[60; 6], 480).tracks[0].notes.clone();
        let histogram = time_pitch(&notes);
        assert_eq!(histogram.iter().sum::<f64>(), 5.0 + 4.0 + 3.0);
    }
}
