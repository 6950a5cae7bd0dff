//! Work that is done before its results are asked for.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use anyhow::{Result, anyhow};

/// What a thread does: the job, and where its result goes.
type Task<J, T> = (J, mpsc::SyncSender<T>);

/// The results of jobs in the jobs' order, found on all cores while the caller does something else with earlier ones.
pub struct Ahead<I: Iterator, T> {
    jobs: I,
    /// To the threads, which end when this does.
    tasks: mpsc::Sender<Task<I::Item, T>>,
    /// The results of the tasks that were handed out, in their order.
    results: VecDeque<mpsc::Receiver<T>>,
    /// How many tasks are handed out at most.
    most: usize,
}

/// Calls `work` for each of `jobs`, for at most `most` of them before the first one's result is taken.
pub fn ahead<I, T>(jobs: I, most: usize, work: impl Fn(I::Item) -> T + Send + Sync + 'static) -> Ahead<I, T>
where
    I: Iterator<Item: Send + 'static>,
    T: Send + 'static,
{
    let (tasks, waiting) = mpsc::channel::<Task<I::Item, T>>();
    let (waiting, work) = (Arc::new(Mutex::new(waiting)), Arc::new(work));
    for _ in 0..thread::available_parallelism().map_or(1, |cores| cores.get()) {
        let (waiting, work) = (Arc::clone(&waiting), Arc::clone(&work));
        let next_task = move || waiting.lock().expect("no thread panics while it waits").recv();
        thread::spawn(move || {
            while let Ok((job, result)) = next_task() {
                // Nobody waits for it where the caller has given up.
                drop(result.send(work(job)));
            }
        });
    }
    Ahead { jobs, tasks, results: VecDeque::new(), most }
}

impl<I: Iterator, T> Iterator for Ahead<I, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        while self.results.len() < self.most
            && let Some(job) = self.jobs.next()
        {
            let (send, receive) = mpsc::sync_channel(1);
            self.tasks.send((job, send)).expect("the threads wait for tasks");
            self.results.push_back(receive);
        }
        let result = self.results.pop_front()?;
        Some(result.recv().expect("the threads do not panic"))
    }
}

/// What `load` returns; a decoder that panics has met one more kind of damage.
pub fn caught<T>(load: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(load))
        .unwrap_or_else(|_| Err(anyhow!("image: expected a sound one, the decoder panicked")))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let slow_first = |job: u64| {
            thread::sleep(Duration::from_millis(if job.is_multiple_of(10) { 5 } else { 0 }));
            job
        };
        assert!(ahead(0..100, 20, slow_first).eq(0..100));
        assert!(ahead(0..100, 1, slow_first).eq(0..100));
        assert_eq!(ahead(0..0, 20, slow_first).next(), None);
    }

    /// Three results are not taken, and no fourth job is begun, however long the caller waits.
    #[test]
    fn jobs_are_begun_before_they_are_asked_for_but_not_all() {
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let mut results = ahead(0..100, 4, move |_| count.fetch_add(1, Ordering::SeqCst));
        results.next();
        while begun.load(Ordering::SeqCst) < 4 {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(20));
        assert_eq!(begun.load(Ordering::SeqCst), 4);
        assert_eq!(results.count(), 99);
        assert_eq!(begun.load(Ordering::SeqCst), 100);
    }

    #[test]
    fn panic_is_an_error() {
        let load = |job: usize| caught(|| if job == 1 { panic!("as some decoder might") } else { Ok(job) });
        let results: Vec<bool> = ahead(0..3, 3, load).map(|result| result.is_ok()).collect();
        assert_eq!(results, [true, false, true]);
    }
}
