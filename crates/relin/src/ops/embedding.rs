//! Rows of a table by index.

use burn::tensor::Tensor;
use relin_kernels::buffers;
use relin_kernels::embedding::{gather, scatter_add};

use super::bridge::{Kernel, Operand, apply};

/// `out[b, t] = table[ids[b, t]]`.
///
/// # Shapes
/// - `table`: `[vocab, D]`; `ids`: `B·T` indices; result: `[B, T, D]`
///
/// # Panics
/// If an index is not below the vocabulary size, or there are not `B·T` of them.
pub fn embedding(table: Tensor<2>, ids: Vec<u32>, [batch, time]: [usize; 2]) -> Tensor<3> {
    assert_eq!(ids.len(), batch * time, "{} token ids for a [{batch}, {time}] batch", ids.len());
    apply(Operator { ids, batch, time }, [table.into_dispatch()])
}

#[derive(Debug)]
struct Operator {
    ids: Vec<u32>,
    batch: usize,
    time: usize,
}

impl Kernel<1> for Operator {
    type Saved = ();

    fn forward(&self, [table]: [Operand<'_>; 1]) -> (Vec<usize>, Vec<f32>, ()) {
        let width = table.shape[1];
        let mut out = buffers::take(self.ids.len() * width);
        gather(&mut out, table.data, &self.ids, width).unwrap_or_else(|error| panic!("{error}"));
        (vec![self.batch, self.time, width], out.into_vec(), ())
    }

    fn backward(
        &self,
        [table]: [Operand<'_>; 1],
        _output: Operand<'_>,
        grad: Operand<'_>,
        _saved: (),
    ) -> [Vec<f32>; 1] {
        let mut d_table = buffers::take(table.data.len());
        let added = scatter_add(&mut d_table, grad.data, &self.ids, table.shape[1]);
        added.unwrap_or_else(|error| panic!("{error}"));
        [d_table.into_vec()]
    }
}
