//! relin
