//! Segments cut into pieces for the threads, and what each task writes.

use crate::columns::Columns;
use crate::parallel;
use crate::segments::Segment;

/// A piece is not worth its extra pass over keys below this many chunks.
const CHUNKS_PER_PIECE: usize = 4;

/// Chunks of more heads would not stay in the second cache level.
const HEADS_TOGETHER: usize = 8;

/// Segments cut into pieces of whole chunks, in order. Tasks are numbered piece by piece, head by head.
#[derive(Debug)]
pub(super) struct Pieces {
    pub segments: Vec<Segment>,
    /// Which segment each is a piece of.
    owners: Vec<usize>,
    heads: usize,
}

impl Pieces {
    /// Cuts only if there are fewer segments and heads than keep the threads busy.
    pub fn cut(segments: &[Segment], heads: usize, chunk: usize) -> Self {
        let parts = parallel::parts(segments.len() * heads);
        let mut pieces = Self { segments: Vec::new(), owners: Vec::new(), heads };
        for (owner, segment) in segments.iter().enumerate() {
            let chunks = segment.len.div_ceil(chunk);
            let len = chunks.div_ceil(parts).max(CHUNKS_PER_PIECE) * chunk;
            for from in (0..segment.len.max(1)).step_by(len) {
                pieces.segments.push(Segment {
                    start: segment.start + from,
                    len: len.min(segment.len - from),
                    offset: segment.offset + from as i64,
                });
                pieces.owners.push(owner);
            }
        }
        pieces
    }

    /// Every segment in one piece.
    pub fn whole(segments: &[Segment], heads: usize) -> Self {
        Self { segments: segments.to_vec(), owners: (0..segments.len()).collect(), heads }
    }

    /// Number of tasks: pieces times heads.
    pub fn tasks(&self) -> usize {
        self.owners.len() * self.heads
    }

    /// The index, among the tasks of uncut segments, of a task's own segment and head.
    pub fn owner(&self, task: usize) -> usize {
        self.owners[task / self.heads] * self.heads + task % self.heads
    }

    /// The task of the piece before in the same segment, if there is one.
    pub fn before(&self, task: usize) -> Option<usize> {
        let before = task.checked_sub(self.heads)?;
        (self.owner(before) == self.owner(task)).then_some(before)
    }

    /// The task of the piece after in the same segment, if there is one.
    pub fn after(&self, task: usize) -> Option<usize> {
        let after = task + self.heads;
        (after < self.tasks() && self.owner(after) == self.owner(task)).then_some(after)
    }

    /// Tasks of neighbouring heads put together: rows of one token lie side by side, and what the processor fetches
    /// ahead for one head is then what the next one reads. As many as still leave every thread the same work.
    pub fn group<T>(&self, tasks: impl Iterator<Item = T>) -> Vec<Vec<T>> {
        let size = (1..=HEADS_TOGETHER.min(self.heads))
            .rev()
            .find(|&size| self.heads.is_multiple_of(size) && parallel::parts(self.tasks() / size) == 1);
        let size = size.unwrap_or(1);
        let mut groups: Vec<Vec<T>> = Vec::with_capacity(self.tasks() / size);
        for (i, task) in tasks.enumerate() {
            if i % size == 0 {
                groups.push(Vec::with_capacity(size));
            }
            groups.last_mut().expect("pushed above").push(task);
        }
        groups
    }

    /// Each task's rows of a `[N, H, width]` tensor; the rows of no task are set to 0.
    pub fn columns<'t, R: Copy + Default>(&self, tensor: &'t mut [R], width: usize) -> Vec<Columns<'t, R>> {
        let mut rest = Columns::split(tensor, self.heads, width);
        let mut columns = Vec::with_capacity(self.tasks());
        let mut done = 0;
        for segment in &self.segments {
            for head in &mut rest {
                head.take(segment.start - done).fill(R::default());
                columns.push(head.take(segment.len));
            }
            done = segment.start + segment.len;
        }
        rest.iter_mut().for_each(|head| head.fill(R::default()));
        columns
    }
}

/// `flat` in `count` equal rows, also where they are empty.
pub(super) fn rows<T>(mut flat: &mut [T], count: usize) -> Vec<&mut [T]> {
    let width = flat.len().checked_div(count).unwrap_or(0);
    let take = |_| flat.split_off_mut(..width).expect("rows share the whole length");
    (0..count).map(take).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_their_segments() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let segments = [Segment { start: 1, len: 20, offset: 7 }, Segment { start: 30, len: 0, offset: 0 }];
        let pieces = pool.install(|| Pieces::cut(&segments, 1, 2));
        let expected = [(1, 8, 7), (9, 8, 15), (17, 4, 23), (30, 0, 0)].map(|(start, len, offset)| Segment {
            start,
            len,
            offset,
        });
        assert_eq!(pieces.segments, expected);
        assert_eq!((0..4).map(|task| pieces.owner(task)).collect::<Vec<_>>(), [0, 0, 0, 1]);
        assert_eq!(
            (0..4).map(|task| pieces.before(task)).collect::<Vec<_>>(),
            [None, Some(0), Some(1), None]
        );
        assert_eq!((0..4).map(|task| pieces.after(task)).collect::<Vec<_>>(), [Some(1), Some(2), None, None]);
    }

    #[test]
    fn rows_of_no_task_become_zero() {
        let mut tensor = vec![7.0f32; 5 * 2 * 3];
        let pieces = Pieces::cut(&[Segment { start: 1, len: 2, offset: 0 }], 2, 4);
        let mut columns = pieces.columns(&mut tensor, 3);
        columns.iter_mut().for_each(|rows| rows.row(1).fill(8.0));
        assert_eq!(
            tensor.iter().map(|&x| x as i32).collect::<Vec<_>>(),
            [[0; 6], [7; 6], [8; 6], [0; 6], [0; 6]].concat()
        );
    }
}
