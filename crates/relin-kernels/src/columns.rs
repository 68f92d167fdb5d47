//! The columns of one head in a row-major `[N, H, width]` tensor, lent to one thread while others hold the other heads.

use std::marker::PhantomData;

/// A block of rows of one head: `len` rows of `width` elements, `stride` apart.
#[derive(Debug)]
pub(crate) struct Columns<'a, R> {
    first: *mut R,
    len: usize,
    width: usize,
    stride: usize,
    tensor: PhantomData<&'a mut [R]>,
}

// SAFETY: a `Columns` is a mutable borrow of elements that no other one reaches (`split` and `take` keep them apart),
// so it may move to another thread whenever `&mut [R]` may.
unsafe impl<R: Send> Send for Columns<'_, R> {}

impl<'a, R> Columns<'a, R> {
    /// One block for each head.
    ///
    /// # Panics
    /// If the tensor is not a whole number of rows.
    pub fn split(tensor: &'a mut [R], heads: usize, width: usize) -> Vec<Self> {
        let stride = heads * width;
        assert_eq!(tensor.len() % stride, 0, "the tensor has not [N, {heads}, {width}] elements");
        let len = tensor.len() / stride;
        let start = tensor.as_mut_ptr();
        let block = |head: usize| Self {
            // With no rows the pointer stays where it is; it is never read.
            first: if len == 0 { start } else { start.wrapping_add(head * width) },
            len,
            width,
            stride,
            tensor: PhantomData,
        };
        (0..heads).map(block).collect()
    }

    /// Cuts off the first `rows` rows and returns them.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn take(&mut self, rows: usize) -> Self {
        assert!(rows <= self.len, "{rows} rows asked of {}", self.len);
        let taken = Self { len: rows, ..*self };
        self.first = self.first.wrapping_add(rows * self.stride);
        self.len -= rows;
        taken
    }

    /// One row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&mut self, row: usize) -> &mut [R] {
        assert!(row < self.len, "row {row} of {}", self.len);
        // SAFETY: `split` was given `len` rows of `stride ≥ width` elements and `take` hands every row to one block
        // only, so the row lies inside the tensor and no other block reaches it; the result borrows this one.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.stride), self.width) }
    }
}

impl<R: Copy> Columns<'_, R> {
    /// Sets every element.
    pub fn fill(&mut self, value: R) {
        (0..self.len).for_each(|row| self.row(row).fill(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_belongs_to_one_block() {
        let (heads, width, n) = (3, 2, 5);
        let mut tensor = vec![0; n * heads * width];
        let mut blocks: Vec<Columns<'_, i32>> = Vec::new();
        for mut head in Columns::split(&mut tensor, heads, width) {
            blocks.push(head.take(2));
            blocks.push(head.take(0));
            blocks.push(head);
        }
        std::thread::scope(|scope| {
            for (i, mut block) in blocks.into_iter().enumerate() {
                scope.spawn(move || {
                    for row in 0..block.len {
                        block.row(row).iter_mut().for_each(|x| *x += i as i32 + 1);
                    }
                });
            }
        });
        let block = |token: usize, head: usize| 3 * head as i32 + if token < 2 { 1 } else { 3 };
        for (at, &value) in tensor.iter().enumerate() {
            assert_eq!(value, block(at / (heads * width), at / width % heads));
        }
    }

    #[test]
    fn tensors_without_rows_have_blocks_without_rows() {
        assert_eq!(
            Columns::<f32>::split(&mut [], 2, 4).iter().map(|block| block.len).collect::<Vec<_>>(),
            [0, 0]
        );
    }

    #[test]
    #[should_panic(expected = "row 1 of 1")]
    fn rows_outside_are_refused() {
        Columns::split(&mut [1.0, 2.0], 1, 2)[0].row(1);
    }
}
