//! The equation as printed, in double precision and O(T²): the truth for every other form.

use super::{Inputs, LinearAttention, Normalizer, Output};
use crate::encoding::{Decay, Encoder, Side, Stage};
use crate::feature_map::BoundFeatureMap;
use crate::segments::{Mask, Segment};

/// Attention by explicit scores: `φ(q_s)^T W_{t−s} φ(k_t)` with the dense kernel of the encoding, or
/// `φ(M^q_s q_s)·φ(M^k_t k_t)` where it acts before the feature map.
///
/// Where the encoding acts after it, only what an initial state contributes goes through
/// [`encode`](crate::encoding::Encoder::encode), since a state is made of encoded keys. A state belongs to the position of
/// its last key: with a decay λ, a key at distance n from there has the weight `λ^n` in S and in z.
///
/// # Cost
/// O(T²K²) a head.
pub fn forward(attention: &LinearAttention<f64>, mask: Mask<'_>, inputs: Inputs<'_, f64>) -> Output<f64> {
    let mut out = vec![0.0; inputs.q.len() / attention.key_dim() * attention.value_dim];
    let mut state = inputs.initial.cloned().unwrap_or_else(|| attention.zero_state(mask.queries().len()));
    let encoder = attention.encoding.bind(inputs.params);
    let map = &attention.feature_map;
    for (row, (&queries, &keys)) in mask.queries().iter().zip(mask.keys()).enumerate() {
        for head in 0..attention.heads {
            let decay = attention.encoding.decay(head);
            let (encoder, causal) = (&*encoder, mask.is_causal());
            let sequence =
                Sequence { attention, encoder, map, decay, inputs, row, head, queries, keys, causal };
            for s in 0..queries.len {
                let at = ((queries.start + s) * attention.heads + head) * attention.value_dim;
                out[at..at + attention.value_dim].copy_from_slice(&sequence.output(s));
            }
            sequence.add_to_state(&mut state.s, &mut state.z);
        }
    }
    Output { out, state }
}

struct Sequence<'a> {
    attention: &'a LinearAttention<f64>,
    encoder: &'a dyn Encoder<f64>,
    map: &'a BoundFeatureMap<f64>,
    decay: Decay,
    inputs: Inputs<'a, f64>,
    row: usize,
    head: usize,
    queries: Segment,
    keys: Segment,
    causal: bool,
}

impl Sequence<'_> {
    /// What φ gives: for the row itself, or for the encoded row where the encoding comes first.
    fn features(&self, side: Side, i: usize) -> Vec<f64> {
        let (tensor, segment) = match side {
            Side::Query => (self.inputs.q, self.queries),
            Side::Key => (self.inputs.k, self.keys),
        };
        let k = self.attention.key_dim();
        let x = &tensor[((segment.start + i) * self.attention.heads + self.head) * k..][..k];
        match self.attention.stage {
            Stage::AfterFeatureMap => self.map(side, x),
            Stage::BeforeFeatureMap => self.map(side, &self.encoded(side, segment.offset + i as i64, x)),
        }
    }

    fn map(&self, side: Side, x: &[f64]) -> Vec<f64> {
        let mut features = vec![0.0; self.map.feature_dim()];
        self.map.apply(side, x, &mut features);
        features
    }

    fn value(&self, t: usize) -> &[f64] {
        let v = self.attention.value_dim;
        &self.inputs.v[((self.keys.start + t) * self.attention.heads + self.head) * v..][..v]
    }

    fn encoded(&self, side: Side, position: i64, x: &[f64]) -> Vec<f64> {
        let mut encoded = vec![0.0; self.attention.encoding.encoded_dim()];
        self.encoder.encode(side, self.head, position, x, &mut encoded);
        encoded
    }

    /// The features that enter the state.
    fn stored(&self, side: Side, position: i64, features: &[f64]) -> Vec<f64> {
        match self.attention.stage {
            Stage::AfterFeatureMap => self.encoded(side, position, features),
            Stage::BeforeFeatureMap => features.to_vec(),
        }
    }

    fn output(&self, s: usize) -> Vec<f64> {
        let q = self.features(Side::Query, s);
        let position = self.queries.offset + s as i64;
        let mut sums = self.initial_sums(&q, position);
        let visible = if self.causal { s + 1 } else { self.keys.len };
        for t in 0..visible {
            let k = self.features(Side::Key, t);
            let (score, plain) = self.scores(position, self.keys.offset + t as i64, &q, &k);
            sums.encoded += score;
            sums.plain += plain;
            sums.values.iter_mut().zip(self.value(t)).for_each(|(sum, v)| *sum += score * v);
        }
        let divisor = match self.attention.normalizer {
            Normalizer::Encoded => sums.encoded.max(self.attention.eps),
            Normalizer::Plain => sums.plain + self.attention.eps,
            Normalizer::None => 1.0,
        };
        sums.values.iter().map(|x| x / divisor).collect()
    }

    /// A pair's encoded score, and its plain one: without the encoding, but with the decay.
    fn scores(&self, query: i64, key: i64, q: &[f64], k: &[f64]) -> (f64, f64) {
        let plain = self.decayed_dot(key - query, q, k);
        match self.attention.stage {
            Stage::BeforeFeatureMap => (plain, plain),
            Stage::AfterFeatureMap => {
                let w = self.attention.encoding.kernel_between(self.inputs.params, self.head, query, key);
                (bilinear(q, &w, k), plain)
            }
        }
    }

    fn decayed_dot(&self, lag: i64, a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).enumerate().map(|(j, (a, b))| self.decay.factor(j, lag) * a * b).sum()
    }

    fn initial_sums(&self, q: &[f64], position: i64) -> Sums {
        let v = self.attention.value_dim;
        let Some(initial) = self.inputs.initial else {
            return Sums { encoded: 0.0, plain: 0.0, values: vec![0.0; v] };
        };
        let at = self.row * self.attention.heads + self.head;
        let (width, summed) = (self.attention.encoded_dim(), self.attention.normalizer_dim());
        let (s, z) = (&initial.s[at * width * v..][..width * v], &initial.z[at * summed..][..summed]);
        let (encoded, lag) = (self.stored(Side::Query, position, q), self.keys.offset - 1 - position);
        let column = |j: usize| s.iter().skip(j).step_by(v).copied().collect::<Vec<_>>();
        let values = (0..v).map(|j| self.decayed_dot(lag, &encoded, &column(j))).collect();
        let (mut sum_encoded, mut sum_plain) = (0.0, 0.0);
        match self.attention.normalizer {
            Normalizer::Encoded => sum_encoded = self.decayed_dot(lag, &encoded, z),
            Normalizer::Plain => sum_plain = self.decayed_dot(lag, q, z),
            Normalizer::None => {}
        }
        Sums { encoded: sum_encoded, plain: sum_plain, values }
    }

    fn add_to_state(&self, s: &mut [f64], z: &mut [f64]) {
        let at = self.row * self.attention.heads + self.head;
        let v = self.attention.value_dim;
        let (width, summed) = (self.attention.encoded_dim(), self.attention.normalizer_dim());
        let (s, z) = (&mut s[at * width * v..][..width * v], &mut z[at * summed..][..summed]);
        self.decay_rows(s, v);
        self.decay_rows(z, 1);
        for t in 0..self.keys.len {
            let features = self.features(Side::Key, t);
            let stored = self.stored(Side::Key, self.keys.offset + t as i64, &features);
            let lag = (self.keys.len - 1 - t) as i64;
            for (j, (row, k)) in s.chunks_mut(v).zip(&stored).enumerate() {
                let weight = self.decay.factor(j, lag) * k;
                row.iter_mut().zip(self.value(t)).for_each(|(s, v)| *s += weight * v);
            }
            let addends = match self.attention.normalizer {
                Normalizer::Encoded => stored,
                Normalizer::Plain => features,
                Normalizer::None => Vec::new(),
            };
            for (j, (z, g)) in z.iter_mut().zip(addends).enumerate() {
                *z += self.decay.factor(j, lag) * g;
            }
        }
    }

    /// An initial state as of this segment's last key.
    fn decay_rows(&self, state: &mut [f64], width: usize) {
        for (j, row) in state.chunks_mut(width).enumerate() {
            let factor = self.decay.factor(j, self.keys.len as i64);
            row.iter_mut().for_each(|x| *x *= factor);
        }
    }
}

struct Sums {
    encoded: f64,
    plain: f64,
    values: Vec<f64>,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `a^T W b`.
fn bilinear(a: &[f64], w: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(w.chunks(b.len())).map(|(a, row)| a * dot(row, b)).sum()
}
