//! relin

pub mod nearest;
pub mod recipe;
pub mod runlog;
pub mod train;
