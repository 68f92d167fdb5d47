//! Masks that outlive the call.

use relin_kernels::segments::{Mask, Segment};

/// Segments that a kernel may keep.
#[derive(Clone, Debug)]
pub enum OwnedMask {
    /// Causal self-attention over these segments.
    Causal(Vec<Segment>),
    /// Every query sees all keys of its segment.
    Full {
        /// Segments of the query tokens.
        queries: Vec<Segment>,
        /// Segments of the key and value tokens.
        keys: Vec<Segment>,
    },
}

impl OwnedMask {
    /// The mask that kernels take.
    pub fn as_mask(&self) -> Mask<'_> {
        match self {
            Self::Causal(segments) => Mask::causal(segments),
            Self::Full { queries, keys } => Mask::Full { queries, keys },
        }
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.as_mask().queries().len()
    }
}
