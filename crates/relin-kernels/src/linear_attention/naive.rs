//! The equation as printed, in double precision and O(T²): the truth for every other form.

use super::{Inputs, LinearAttention, Normalizer, Output};
use crate::encoding::Side;
use crate::segments::{Mask, Segment};

/// Attention by explicit scores `φ(q_s)^T W_{t−s} φ(k_t)`, with the dense kernel of the encoding.
///
/// Only what an initial state contributes goes through [`encode`](crate::encoding::Encoder::encode), since a state
/// is made of encoded keys.
///
/// # Cost
/// O(T²K²) a head.
pub fn forward(attention: &LinearAttention<f64>, mask: Mask<'_>, inputs: Inputs<'_, f64>) -> Output<f64> {
    let mut out = vec![0.0; inputs.q.len() / attention.key_dim() * attention.value_dim];
    let mut state = inputs.initial.cloned().unwrap_or_else(|| attention.zero_state(mask.queries().len()));
    for (row, (&queries, &keys)) in mask.queries().iter().zip(mask.keys()).enumerate() {
        for head in 0..attention.heads {
            let sequence = Sequence { attention, inputs, row, head, queries, keys, causal: mask.is_causal() };
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
    inputs: Inputs<'a, f64>,
    row: usize,
    head: usize,
    queries: Segment,
    keys: Segment,
    causal: bool,
}

impl Sequence<'_> {
    fn features(&self, tensor: &[f64], segment: Segment, i: usize) -> Vec<f64> {
        let k = self.attention.key_dim();
        let x = &tensor[((segment.start + i) * self.attention.heads + self.head) * k..][..k];
        let mut features = vec![0.0; k];
        self.attention.feature_map.apply(k, x, &mut features);
        features
    }

    fn value(&self, t: usize) -> &[f64] {
        let v = self.attention.value_dim;
        &self.inputs.v[((self.keys.start + t) * self.attention.heads + self.head) * v..][..v]
    }

    fn encoded(&self, side: Side, position: i64, features: &[f64]) -> Vec<f64> {
        let mut encoded = vec![0.0; self.attention.encoded_dim()];
        let encoder = self.attention.encoding.bind(self.inputs.params);
        encoder.encode(side, self.head, position, features, &mut encoded);
        encoded
    }

    fn output(&self, s: usize) -> Vec<f64> {
        let q = self.features(self.inputs.q, self.queries, s);
        let position = self.queries.offset + s as i64;
        let mut sums = self.initial_sums(&q, position);
        let visible = if self.causal { s + 1 } else { self.keys.len };
        for t in 0..visible {
            let k = self.features(self.inputs.k, self.keys, t);
            let lag = self.keys.offset + t as i64 - position;
            let w = self.attention.encoding.kernel(self.inputs.params, self.head, lag);
            let score = bilinear(&q, &w, &k);
            sums.encoded += score;
            sums.plain += dot(&q, &k);
            sums.values.iter_mut().zip(self.value(t)).for_each(|(sum, v)| *sum += score * v);
        }
        let divisor = match self.attention.normalizer {
            Normalizer::Encoded => sums.encoded.max(self.attention.eps),
            Normalizer::Plain => sums.plain + self.attention.eps,
            Normalizer::None => 1.0,
        };
        sums.values.iter().map(|x| x / divisor).collect()
    }

    fn initial_sums(&self, q: &[f64], position: i64) -> Sums {
        let v = self.attention.value_dim;
        let Some(initial) = self.inputs.initial else {
            return Sums { encoded: 0.0, plain: 0.0, values: vec![0.0; v] };
        };
        let at = self.row * self.attention.heads + self.head;
        let (size, width) = (self.attention.encoded_dim() * v, self.attention.normalizer_dim());
        let (s, z) = (&initial.s[at * size..][..size], &initial.z[at * width..][..width]);
        let encoded = self.encoded(Side::Query, position, q);
        let values =
            (0..v).map(|j| encoded.iter().zip(s.chunks(v)).map(|(q, row)| q * row[j]).sum()).collect();
        let (mut sum_encoded, mut sum_plain) = (0.0, 0.0);
        match self.attention.normalizer {
            Normalizer::Encoded => sum_encoded = dot(&encoded, z),
            Normalizer::Plain => sum_plain = dot(q, z),
            Normalizer::None => {}
        }
        Sums { encoded: sum_encoded, plain: sum_plain, values }
    }

    fn add_to_state(&self, s: &mut [f64], z: &mut [f64]) {
        let at = self.row * self.attention.heads + self.head;
        let (v, width) = (self.attention.value_dim, self.attention.normalizer_dim());
        let size = self.attention.encoded_dim() * v;
        for t in 0..self.keys.len {
            let features = self.features(self.inputs.k, self.keys, t);
            let encoded = self.encoded(Side::Key, self.keys.offset + t as i64, &features);
            for (row, k) in s[at * size..][..size].chunks_mut(v).zip(&encoded) {
                row.iter_mut().zip(self.value(t)).for_each(|(s, v)| *s += k * v);
            }
            let summed = match self.attention.normalizer {
                Normalizer::Encoded => encoded,
                Normalizer::Plain => features,
                Normalizer::None => Vec::new(),
            };
            z[at * width..][..width].iter_mut().zip(summed).for_each(|(z, g)| *z += g);
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
