//! The suite that every encoding passes by being listed once.

use rayon::prelude::*;
use relin_kernels::conformance::Suite;
use relin_kernels::encoding::{EncodingConfig, Place};

use crate::cases::{HEADS, KEY_DIM, every_encoding};

fn suite(config: &EncodingConfig) -> Suite {
    let place = Place { key_dim: KEY_DIM, heads: HEADS, layer: 1 };
    Suite::new(config.build(place).unwrap(), config.build(place).unwrap(), HEADS)
}

#[test]
fn every_encoding_conforms() {
    let violations: Vec<String> = every_encoding()
        .par_iter()
        .filter_map(|(name, config)| Some((name, suite(config).check().err()?)))
        .flat_map_iter(|(name, violations)| violations.into_iter().map(move |v| format!("{name}: {v}")))
        .collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
