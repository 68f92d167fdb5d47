//! Which tokens belong together: the one internal form of batches, padding and packing.

use std::ops::Range;

/// One sequence among the `N` tokens of a call: a contiguous run and the absolute position of its first token.
///
/// A dense batch is `B` segments of `T` tokens; padding is whatever lies outside all segments (never read, output
/// 0, gradient 0); a packed batch is any list of adjacent segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Index of the first token.
    pub start: usize,
    /// Number of tokens; may be 0.
    pub len: usize,
    /// Absolute position of the first token.
    pub offset: i64,
}

impl Segment {
    /// The tokens' indices.
    pub fn tokens(&self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

/// Which keys a query sees: the i-th segment of queries looks at the i-th segment of keys.
///
/// Tokens outside all segments are never read; their outputs and gradients are 0.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// Keys whose absolute position (`offset + index`) is at most the query's.
    Causal {
        /// Segments of the query tokens.
        queries: &'a [Segment],
        /// Segments of the key tokens.
        keys: &'a [Segment],
    },
    /// All keys.
    Full {
        /// Segments of the query tokens.
        queries: &'a [Segment],
        /// Segments of the key tokens.
        keys: &'a [Segment],
    },
}

impl<'a> Mask<'a> {
    /// Causal self-attention: queries and keys are the same tokens.
    pub fn causal(segments: &'a [Segment]) -> Self {
        Self::Causal { queries: segments, keys: segments }
    }

    /// Bidirectional self-attention: queries and keys are the same tokens.
    pub fn full(segments: &'a [Segment]) -> Self {
        Self::Full { queries: segments, keys: segments }
    }

    /// Segments of the query tokens.
    pub fn queries(&self) -> &'a [Segment] {
        match *self {
            Self::Causal { queries, .. } | Self::Full { queries, .. } => queries,
        }
    }

    /// Segments of the key and value tokens.
    pub fn keys(&self) -> &'a [Segment] {
        match *self {
            Self::Causal { keys, .. } | Self::Full { keys, .. } => keys,
        }
    }

    /// True if a query sees no later key.
    pub fn is_causal(&self) -> bool {
        matches!(self, Self::Causal { .. })
    }

    /// Checks the segments against the numbers of query and key tokens, and against each other.
    ///
    /// # Errors
    /// Names the first segment that does not fit.
    pub fn validate(&self, query_tokens: usize, key_tokens: usize) -> Result<(), SegmentError> {
        validate(self.queries(), query_tokens)?;
        validate(self.keys(), key_tokens)?;
        let (queries, keys) = (self.queries().len(), self.keys().len());
        if queries != keys {
            return Err(SegmentError::Unpaired { queries, keys });
        }
        Ok(())
    }
}

/// Why a list of segments is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// A segment reaches past the last token.
    #[error("segment {index} covers tokens {start}..{end}, but there are only {tokens}")]
    OutOfRange {
        /// Which segment.
        index: usize,
        /// Its first token.
        start: usize,
        /// One past its last token.
        end: usize,
        /// Tokens there are.
        tokens: usize,
    },
    /// Two segments share a token, or are out of order.
    #[error("segment {index} starts at token {start}, before the previous segment's end {previous_end}")]
    Overlap {
        /// Which segment.
        index: usize,
        /// Its first token.
        start: usize,
        /// One past the previous segment's last token.
        previous_end: usize,
    },
    /// Every query segment needs its key segment.
    #[error("{queries} query segments but {keys} key segments")]
    Unpaired {
        /// Query segments given.
        queries: usize,
        /// Key segments given.
        keys: usize,
    },
    /// `cu_seqlens` must begin with 0 and never decrease.
    #[error("cu_seqlens must start at 0 and never decrease; entry {index} is {value}")]
    NotCumulative {
        /// Which entry.
        index: usize,
        /// Its value.
        value: usize,
    },
    /// A padding mask with a hole: a sequence must be one contiguous run of valid tokens.
    #[error("row {row} of the padding mask is not one contiguous run of valid tokens")]
    Hole {
        /// Which row of the batch.
        row: usize,
    },
}

/// `batch` sequences of `time` tokens each, all starting at position `offset`.
pub fn dense(batch: usize, time: usize, offset: i64) -> Vec<Segment> {
    (0..batch).map(|b| Segment { start: b * time, len: time, offset }).collect()
}

/// Sequences of the given `lengths` at the start of each row of a right-padded `[B, T]` batch.
///
/// # Errors
/// If a length exceeds `time`.
pub fn right_padded(lengths: &[usize], time: usize) -> Result<Vec<Segment>, SegmentError> {
    let segment = |(b, &len): (usize, &usize)| {
        if len > time {
            return Err(SegmentError::OutOfRange { index: b, start: 0, end: len, tokens: time });
        }
        Ok(Segment { start: b * time, len, offset: 0 })
    };
    lengths.iter().enumerate().map(segment).collect()
}

/// The segments of a `[B, T]` padding mask (`true` = valid token), padding on either side of each row.
///
/// # Errors
/// If a row has a hole.
pub fn from_padding_mask(mask: &[bool], time: usize) -> Result<Vec<Segment>, SegmentError> {
    let segment = |(row, valid): (usize, &[bool])| {
        let first = valid.iter().position(|&v| v).unwrap_or(0);
        let len = valid[first..].iter().take_while(|&&v| v).count();
        if valid[first + len..].iter().any(|&v| v) {
            return Err(SegmentError::Hole { row });
        }
        Ok(Segment { start: row * time + first, len, offset: 0 })
    };
    mask.chunks(time).enumerate().map(segment).collect()
}

/// Packed sequences from cumulative lengths `[0, l₀, l₀+l₁, …]`; every sequence starts at position 0.
///
/// # Errors
/// If `cu_seqlens` does not start at 0 or decreases.
pub fn packed(cu_seqlens: &[usize]) -> Result<Vec<Segment>, SegmentError> {
    if cu_seqlens.first() != Some(&0) {
        let value = cu_seqlens.first().copied().unwrap_or(0);
        return Err(SegmentError::NotCumulative { index: 0, value });
    }
    let segment = |(i, pair): (usize, &[usize])| {
        let len = pair[1]
            .checked_sub(pair[0])
            .ok_or(SegmentError::NotCumulative { index: i + 1, value: pair[1] })?;
        Ok(Segment { start: pair[0], len, offset: 0 })
    };
    cu_seqlens.windows(2).enumerate().map(segment).collect()
}

/// Checks that the segments lie within `tokens`, in order and apart.
///
/// # Errors
/// Names the first segment that does not.
pub fn validate(segments: &[Segment], tokens: usize) -> Result<(), SegmentError> {
    let mut previous_end = 0;
    for (index, segment) in segments.iter().enumerate() {
        let Range { start, end } = segment.tokens();
        if end > tokens {
            return Err(SegmentError::OutOfRange { index, start, end, tokens });
        }
        if start < previous_end {
            return Err(SegmentError::Overlap { index, start, previous_end });
        }
        previous_end = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_masks_become_runs() {
        let mask = [true, true, false, false, false, true, true, true, false, false, false, false];
        let expected = [
            Segment { start: 0, len: 2, offset: 0 },
            Segment { start: 5, len: 3, offset: 0 },
            Segment { start: 8, len: 0, offset: 0 },
        ];
        assert_eq!(from_padding_mask(&mask, 4).unwrap(), expected);
        assert_eq!(from_padding_mask(&[true, false, true], 3), Err(SegmentError::Hole { row: 0 }));
    }

    #[test]
    fn packed_lengths_are_checked() {
        assert_eq!(packed(&[0, 3, 3, 5]).unwrap()[2], Segment { start: 3, len: 2, offset: 0 });
        assert_eq!(packed(&[0, 3, 2]), Err(SegmentError::NotCumulative { index: 2, value: 2 }));
        assert_eq!(packed(&[1, 2]), Err(SegmentError::NotCumulative { index: 0, value: 1 }));
    }

    #[test]
    fn overlaps_and_overruns_are_named() {
        let overlapping = [Segment { start: 0, len: 3, offset: 0 }, Segment { start: 2, len: 1, offset: 0 }];
        assert!(matches!(validate(&overlapping, 9), Err(SegmentError::Overlap { index: 1, .. })));
        assert!(matches!(validate(&overlapping[..1], 2), Err(SegmentError::OutOfRange { tokens: 2, .. })));
        assert_eq!(validate(&dense(2, 3, 7), 6), Ok(()));
    }
}
