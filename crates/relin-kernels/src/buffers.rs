//! Memory that one step of training leaves to the next.
//!
//! A large vector that is dropped goes back to the system, and a fresh one costs a page fault every 4 KiB and a pass
//! that writes zeros. Every step needs the same sizes again, so they are kept instead: [`take`] hands out memory with
//! whatever it held last, and a dropped [`Buffer`] (or [`give`]) returns it.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::real::Real;

/// Shorter vectors are left to the allocator, which keeps them itself.
const SHORTEST: usize = 1 << 13;

/// True if what [`take`] hands out shall be all NaN.
static POISON: AtomicBool = AtomicBool::new(false);

/// The vectors of one type that wait to be taken, by capacity.
#[derive(Debug)]
pub struct Pool<R> {
    shelves: Mutex<Shelves<R>>,
}

#[derive(Debug)]
struct Shelves<R> {
    free: BTreeMap<usize, Vec<Vec<R>>>,
    /// Vectors handed out and not yet returned; others are not accepted, so that the pool never outgrows its use.
    lent: usize,
}

impl<R> Pool<R> {
    /// Nothing kept yet.
    pub const fn new() -> Self {
        Self { shelves: Mutex::new(Shelves { free: BTreeMap::new(), lent: 0 }) }
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves<R>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Default for Pool<R> {
    fn default() -> Self {
        Self::new()
    }
}

/// A vector on loan; it goes back when dropped.
#[derive(Debug)]
pub struct Buffer<R: Real> {
    data: Vec<R>,
}

impl<R: Real> Buffer<R> {
    /// The vector itself, which [`give`] may return later.
    pub fn into_vec(mut self) -> Vec<R> {
        std::mem::take(&mut self.data)
    }
}

impl<R: Real> Deref for Buffer<R> {
    type Target = [R];

    fn deref(&self) -> &[R] {
        &self.data
    }
}

impl<R: Real> DerefMut for Buffer<R> {
    fn deref_mut(&mut self) -> &mut [R] {
        &mut self.data
    }
}

impl<R: Real> Drop for Buffer<R> {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.data));
    }
}

/// `len` elements of unspecified value.
pub fn take<R: Real>(len: usize) -> Buffer<R> {
    let data = if len < SHORTEST { vec![R::ZERO; len] } else { take_kept(len) };
    let mut buffer = Buffer { data };
    if POISON.load(Ordering::Relaxed) {
        buffer.fill(R::NAN);
    }
    buffer
}

fn take_kept<R: Real>(len: usize) -> Vec<R> {
    let mut shelves = R::pool().shelves();
    shelves.lent += 1;
    // A vector more than a quarter too long is left for those who need it.
    let fitting = shelves.free.range_mut(len..=len + len / 4).find(|(_, kept)| !kept.is_empty());
    let kept = fitting.and_then(|(_, kept)| kept.pop());
    drop(shelves);
    match kept {
        Some(mut data) => {
            data.resize(len, R::ZERO);
            data
        }
        None => vec![R::ZERO; len],
    }
}

/// Keeps a vector for the next [`take`] of its size.
pub fn give<R: Real>(data: Vec<R>) {
    if data.capacity() < SHORTEST {
        return;
    }
    let mut shelves = R::pool().shelves();
    if shelves.lent > 0 {
        shelves.lent -= 1;
        shelves.free.entry(data.capacity()).or_default().push(data);
    }
}

/// Frees what is kept.
pub fn clear<R: Real>() {
    let free = std::mem::take(&mut R::pool().shelves().free);
    drop(free);
}

/// From now on [`take`] hands out NaN, so that a test sees who reads before writing.
pub fn poison(on: bool) {
    POISON.store(on, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes that no other test takes, since the pool is one for all.
    #[test]
    fn what_is_dropped_is_handed_out_again() {
        let len = 1_234_567;
        let mut first = take::<f64>(len);
        first.fill(3.0);
        let address = first.as_ptr();
        drop(first);
        let second = take::<f64>(len - 1000);
        assert_eq!((second.as_ptr(), second.len()), (address, len - 1000));
        assert!(take::<f64>(len).as_ptr() != address);
        give(second.into_vec());
        assert_eq!(take::<f64>(len).as_ptr(), address);
    }

    #[test]
    fn short_vectors_are_not_kept() {
        assert_eq!(take::<f32>(5).len(), 5);
        assert!(take::<f32>(0).is_empty());
    }
}
