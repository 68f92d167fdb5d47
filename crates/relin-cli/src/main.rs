//! The command line of relin.
fn main() {}
