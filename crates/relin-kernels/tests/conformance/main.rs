//! Every form equals the naive one, values and gradients; what the papers' mathematics implies; golden vectors.

mod cases;
mod encodings;
mod facts;
mod golden;
mod golden_others;
mod gradients;
mod invariances;
mod matches_naive;
mod spe;
