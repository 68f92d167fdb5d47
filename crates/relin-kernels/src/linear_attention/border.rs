//! The state between two chunks, in the layout of the products, and its sums over keys.

use super::call::chunks;
use super::head::{Head, Next, Rows};
use super::{LinearAttention, State};
use crate::encoding::Side;
use crate::fast_math::FastMath;
use crate::simd::dispatch;
use crate::tiles::{Onto, Part, Term, Tile, product_ahead};

/// `S` and `z` of one head.
#[derive(Clone, Debug)]
pub(super) struct Border<R: FastMath> {
    /// `K' × V`.
    pub s: Tile<R>,
    /// `[Z]`.
    pub z: Vec<R>,
}

impl<R: FastMath> Border<R> {
    /// From a state's slices for one segment and head.
    pub fn new(attention: &LinearAttention<R>, s: &[R], z: &[R]) -> Self {
        let (rows, cols) = (attention.encoded_dim(), attention.value_dim);
        let mut tile = Tile::new(rows, cols);
        tile.write_rows(rows, cols, |data| data.copy_from_slice(s));
        Self { s: tile, z: z.to_vec() }
    }

    /// Before anything was seen.
    pub fn zero(attention: &LinearAttention<R>) -> Self {
        Self {
            s: Tile::new(attention.encoded_dim(), attention.value_dim),
            z: vec![R::ZERO; attention.normalizer_dim()],
        }
    }

    /// Becomes a copy of another one.
    pub fn copy_from(&mut self, other: &Self) {
        self.s.copy_from(&other.s);
        self.z.copy_from_slice(&other.z);
    }

    /// Becomes zero.
    pub fn clear(&mut self) {
        self.s.data_mut().fill(R::ZERO);
        self.z.fill(R::ZERO);
    }

    /// Appends itself to a state.
    pub fn append_to(mut self, attention: &LinearAttention<R>, state: &mut State<R>) {
        state.s.extend_from_slice(self.s.pack_rows(attention.encoded_dim(), attention.value_dim));
        state.z.extend_from_slice(&self.z);
    }

    /// Adds what another one has seen.
    pub fn add_border(&mut self, other: &Self) {
        self.s.data_mut().iter_mut().zip(other.s.data()).for_each(|(a, &b)| *a += b);
        self.z.iter_mut().zip(&other.z).for_each(|(a, &b)| *a += b);
    }

    /// The sum of two.
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.add_border(other);
        sum
    }

    /// Adds a chunk: `S ← λ^n (S + K̃^T V)`, `z ← λ^n (z + Σ g)`, asking for the values of the next one.
    pub fn add(&mut self, head: &Head<'_, R>, keys: &Rows<R>, values: &Tile<R>, next: Next) {
        let ahead = next.of(head, head.inputs.v, head.attention.value_dim);
        let term = Term::transposed(&keys.encoded, values);
        product_ahead(&mut self.s, Part::Full, Onto::Itself, [term], [ahead]);
        add_summed(head.attention, keys, &mut self.z);
        if let Some(fade) = head.fade {
            fade.pass_border(keys.len(), self);
        }
    }
}

/// `z += Σ g`, the rows' own sum formed apart: adding it to the state once a chunk keeps rounding from growing with
/// the number of tokens.
pub(super) fn add_summed<R: FastMath>(attention: &LinearAttention<R>, rows: &Rows<R>, z: &mut [R]) {
    if z.is_empty() {
        return;
    }
    let mut own = vec![R::ZERO; z.len()];
    dispatch(
        #[inline(always)]
        || {
            for i in 0..rows.len() {
                for (own, &g) in own.iter_mut().zip(rows.summed(attention, i)) {
                    *own += g;
                }
            }
            for (z, &own) in z.iter_mut().zip(&own) {
                *z += own;
            }
        },
    );
}

/// Room for a chunk of keys and values.
#[derive(Debug)]
pub(super) struct KeysAndValues<R> {
    pub keys: Rows<R>,
    /// `n × V`.
    pub values: Tile<R>,
}

impl<R: FastMath> KeysAndValues<R> {
    pub fn new(attention: &LinearAttention<R>) -> Self {
        Self { keys: Rows::new(attention), values: Tile::new(attention.chunk, attention.value_dim) }
    }

    /// Rows `from .. from + n`.
    pub fn load(&mut self, head: &Head<'_, R>, from: usize, n: usize) {
        head.load(Side::Key, from, n, &mut self.keys);
        head.load_values(from, n, &mut self.values);
    }

    /// Adds all keys of the head to a border.
    pub fn add_all(&mut self, head: &Head<'_, R>, border: &mut Border<R>) {
        for (from, n) in chunks(head.tokens.len, head.attention.chunk) {
            self.load(head, from, n);
            border.add(head, &self.keys, &self.values, head.after(from + n, 0, 1));
        }
    }
}
