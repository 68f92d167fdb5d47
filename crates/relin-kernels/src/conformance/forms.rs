//! All forms of linear attention with an encoding against the naive one, values and gradients.

use super::{Check, Suite, all_close, directional, moved, normals};
use crate::feature_map::FeatureMap;
use crate::linear_attention::recurrent::{Memory, Recurrent};
use crate::linear_attention::{Inputs, LinearAttention, Normalizer, State, naive};
use crate::segments::{Mask, Segment};

const VALUE_DIM: usize = 3;
/// Several chunks and a part of one, from a position that is no multiple of anything.
const LENGTH: usize = 11;
const CHUNK: usize = 4;
const OFFSET: i64 = 37;

/// Inputs of one call.
struct Case<'a> {
    attention: LinearAttention<f64>,
    params: &'a [f64],
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
}

impl Suite {
    /// Linear attention of SiLU, without denominator: nothing has a kink that a difference could step over.
    fn case(&self) -> Case<'_> {
        let (encoding, stage, heads) = (self.exact.clone(), self.exact.stage(), self.heads);
        let feature_map = FeatureMap::Silu.bind(stage.mapped_dim(self.k(), &*encoding));
        let attention = LinearAttention {
            feature_map,
            encoding,
            stage,
            normalizer: Normalizer::None,
            eps: 1e-6,
            heads,
            value_dim: VALUE_DIM,
            chunk: CHUNK,
        };
        let rows = |stream, width| normals(stream, LENGTH * heads * width);
        let (q, k, v) = (rows(51, self.k()), rows(52, self.k()), rows(53, VALUE_DIM));
        Case { attention, params: &self.params, q, k, v }
    }

    pub(super) fn forms_agree(&self) -> Check {
        let case = self.case();
        case.causal()?;
        case.bidirectional()
    }

    pub(super) fn attention_gradients(&self) -> Check {
        let case = self.case();
        let segments = case.segments(0, LENGTH);
        self.gradients_agree(&case, Mask::causal(&segments))?;
        self.gradients_agree(&case, Mask::full(&segments))
            .map_err(|what| format!("without a causal mask: {what}"))
    }

    fn gradients_agree(&self, case: &Case<'_>, mask: Mask<'_>) -> Check {
        let inputs = case.inputs();
        let out = case.attention.forward(mask, inputs).out;
        let d_out = normals(54, out.len());
        let d = case.attention.backward(mask, inputs, &out, &d_out, None);
        let value = |inputs: Inputs<'_, f64>| {
            let out = naive::forward(&case.attention, mask, inputs).out;
            out.iter().zip(&d_out).map(|(a, b)| a * b).sum::<f64>()
        };
        let of = |name: &'static str| move |what: String| format!("{name}: {what}");
        directional(&d.q, &normals(55, d.q.len()), 1e-4, |by| {
            value(Inputs { q: &moved(&case.q, by), ..inputs })
        })
        .map_err(of("q"))?;
        directional(&d.k, &normals(56, d.k.len()), 1e-4, |by| {
            value(Inputs { k: &moved(&case.k, by), ..inputs })
        })
        .map_err(of("k"))?;
        directional(&d.v, &normals(57, d.v.len()), 1e-4, |by| {
            value(Inputs { v: &moved(&case.v, by), ..inputs })
        })
        .map_err(of("v"))?;
        let along = |by: &[f64]| value(Inputs { params: &moved(&self.params, by), ..inputs });
        directional(&d.params, &normals(58, d.params.len()), 1e-5, along).map_err(of("parameters"))
    }
}

impl Case<'_> {
    fn inputs(&self) -> Inputs<'_, f64> {
        Inputs { q: &self.q, k: &self.k, v: &self.v, params: self.params, initial: None }
    }

    fn segments(&self, from: usize, len: usize) -> [Segment; 1] {
        [Segment { start: 0, len, offset: OFFSET + from as i64 }]
    }

    fn causal(&self) -> Check {
        let segments = self.segments(0, LENGTH);
        let mask = Mask::causal(&segments);
        let expected = naive::forward(&self.attention, mask, self.inputs());
        let found = self.attention.forward(mask, self.inputs());
        all_close(&found.out, &expected.out, 1e-9).map_err(|what| format!("in chunks: {what}"))?;
        all_close(&found.state.s, &expected.state.s, 1e-9).map_err(|what| format!("state: {what}"))?;
        let (out, state) = self.in_two(5);
        all_close(&out, &expected.out, 1e-9).map_err(|what| format!("split after 5 tokens: {what}"))?;
        all_close(&state.s, &expected.state.s, 1e-9)
            .map_err(|what| format!("state after a split: {what}"))?;
        let (out, state) = self.token_by_token();
        all_close(&out, &expected.out, 1e-9).map_err(|what| format!("token by token: {what}"))?;
        all_close(&state.s, &expected.state.s, 1e-9).map_err(|what| format!("state token by token: {what}"))
    }

    fn bidirectional(&self) -> Check {
        let segments = self.segments(0, LENGTH);
        let mask = Mask::full(&segments);
        let expected = naive::forward(&self.attention, mask, self.inputs());
        let found = self.attention.forward(mask, self.inputs());
        all_close(&found.out, &expected.out, 1e-9).map_err(|what| format!("without a causal mask: {what}"))
    }

    /// The state after the first `cut` tokens begins the rest.
    fn in_two(&self, cut: usize) -> (Vec<f64>, State<f64>) {
        let [keys, values] = [self.q.len(), self.v.len()].map(|len| len / LENGTH * cut);
        let part = |q, k, v, initial, segments: &[Segment]| {
            let inputs = Inputs { q, k, v, params: self.params, initial };
            self.attention.forward(Mask::causal(segments), inputs)
        };
        let first = part(&self.q[..keys], &self.k[..keys], &self.v[..values], None, &self.segments(0, cut));
        let rest = self.segments(cut, LENGTH - cut);
        let second = part(&self.q[keys..], &self.k[keys..], &self.v[values..], Some(&first.state), &rest);
        ([first.out, second.out].concat(), second.state)
    }

    fn token_by_token(&self) -> (Vec<f64>, State<f64>) {
        let memory = Memory::new(&self.attention, self.attention.zero_state(1), OFFSET);
        let mut recurrent = Recurrent::new(self.attention.clone(), self.params, memory);
        let [keys, values] = [self.q.len(), self.v.len()].map(|len| len / LENGTH);
        let mut out = vec![f64::NAN; self.v.len()];
        let tokens = self.q.chunks(keys).zip(self.k.chunks(keys)).zip(self.v.chunks(values));
        for (((q, k), v), out) in tokens.zip(out.chunks_mut(values)) {
            recurrent.step(q, k, v, out);
        }
        (out, recurrent.state())
    }
}
