//! Ctrl-C: once asks long work to save and stop, twice ends the program.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Failure, INTERRUPTED};

static STOP: AtomicBool = AtomicBool::new(false);
/// Set while something runs that saves before it stops; anything else ends at once.
static GRACEFUL: AtomicBool = AtomicBool::new(false);

pub fn install() -> Result<(), Failure> {
    let handle = || {
        if STOP.swap(true, Ordering::SeqCst) || !GRACEFUL.load(Ordering::SeqCst) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        let _ = writeln!(io::stderr(), "\nsaving after this step; Ctrl-C again ends at once");
    };
    ctrlc::set_handler(handle).map_err(|source| Failure::Signals { source })
}

/// From now on the first Ctrl-C only raises [`requested`].
pub fn stop_gracefully() {
    GRACEFUL.store(true, Ordering::SeqCst);
}

/// As the first Ctrl-C does.
pub fn request() {
    STOP.store(true, Ordering::SeqCst);
}

pub fn requested() -> bool {
    STOP.load(Ordering::SeqCst)
}
