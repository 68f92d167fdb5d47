//! Tasks shared out among the threads of the current pool.

use std::sync::Mutex;

use rayon::prelude::*;

/// Runs every task once. Each thread makes one workspace and takes the next task whenever it is free, so what a task
/// computes must depend on the task alone.
pub(crate) fn for_each<T: Send, W>(
    tasks: Vec<T>,
    workspace: impl Fn() -> W + Sync,
    run: impl Fn(&mut W, T) + Sync,
) {
    let workers = rayon::current_num_threads().min(tasks.len());
    let queue = Mutex::new(tasks.into_iter());
    let next = || queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
    (0..workers).into_par_iter().with_max_len(1).for_each(|_| {
        let mut workspace = workspace();
        while let Some(task) = next() {
            run(&mut workspace, task);
        }
    });
}

/// Into how many parts each of `tasks` equal tasks should be cut to keep all threads busy; 1 if cutting costs more than
/// it gives.
pub(crate) fn parts(tasks: usize) -> usize {
    let threads = rayon::current_num_threads();
    if tasks == 0 || tasks.is_multiple_of(threads) || tasks >= 4 * threads {
        return 1;
    }
    (2 * threads).div_ceil(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        let mut hits = vec![0u32; 1000];
        for_each(hits.iter_mut().collect(), || 1, |step, hit| *hit += *step);
        assert!(hits.iter().all(|&hit| hit == 1));
        for_each(Vec::<u8>::new(), || (), |(), _| panic!("there is no task"));
    }

    #[test]
    fn few_tasks_are_cut() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
        let of = |tasks: usize| pool.install(|| parts(tasks));
        assert_eq!([0, 1, 2, 3, 4, 5, 8, 16, 17].map(of), [1, 8, 4, 3, 1, 2, 1, 1, 1]);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| parts(1)), 1);
    }
}
