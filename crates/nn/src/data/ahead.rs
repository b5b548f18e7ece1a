//! A thread that works before it is asked to.

use std::io;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use crate::error::Result;

/// How many things wait, made, at most.
const AHEAD: usize = 2;

/// A thread that makes things in order, a few ahead of their use. What was used up goes back to it,
/// so that it can use the memory again.
///
/// It ends when there is nothing left to make, and at the latest when this is dropped, which waits
/// for what is being made at that moment.
pub(super) struct Worker<B: Send + 'static> {
    /// Both ends are gone only while this is dropped.
    made: Option<Receiver<Result<B>>>,
    used: Option<SyncSender<B>>,
    thread: Option<JoinHandle<()>>,
}

impl<B: Send + 'static> Worker<B> {
    /// Starts a thread on which `make`, given something that was used up if there is any, makes the
    /// next thing, or says that there is none.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start(
        mut make: impl FnMut(Option<B>) -> Option<Result<B>> + Send + 'static,
    ) -> io::Result<Self> {
        let (made_sender, made) = sync_channel(AHEAD);
        // One in use and one being sent back, besides those that wait: there is always room.
        let (used, used_receiver) = sync_channel(AHEAD + 2);
        let thread = Builder::new().name("batches".into()).spawn(move || {
            while let Some(thing) = make(used_receiver.try_recv().ok()) {
                if made_sender.send(thing).is_err() {
                    break;
                }
            }
        })?;
        Ok(Worker {
            made: Some(made),
            used: Some(used),
            thread: Some(thread),
        })
    }

    /// The next thing, waiting for it if need be; none after the last.
    pub(super) fn next(&mut self, used: Option<B>) -> Option<Result<B>> {
        if let (Some(sender), Some(used)) = (&self.used, used) {
            // Once the last was made, nobody wants it.
            let _ = sender.try_send(used);
        }
        let next = self.made.as_ref().and_then(|made| made.recv().ok());
        if next.is_none() {
            self.finish();
        }
        next
    }

    /// Waits for the thread, and passes on its panic if it did.
    fn finish(&mut self) {
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
        {
            resume_unwind(panic);
        }
    }
}

impl<B: Send + 'static> Drop for Worker<B> {
    fn drop(&mut self) {
        // The thread may be waiting for room; without a receiver, it stops doing so.
        drop(self.made.take());
        drop(self.used.take());
        if let Some(thread) = self.thread.take() {
            // A panic that nobody has met has hurt nobody.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A worker that makes 0, 1, … below `end`, and the number of those made so far.
    fn counting(end: usize) -> (Worker<usize>, Arc<AtomicUsize>) {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = made.clone();
        let worker = Worker::start(move |_| {
            let next = counter.fetch_add(1, Ordering::SeqCst);
            (next < end).then_some(Ok(next))
        });
        (worker.unwrap(), made)
    }

    fn next(worker: &mut Worker<usize>) -> Option<usize> {
        worker.next(None).map(Result::unwrap)
    }

    #[test]
    fn all_come_in_order_then_none() {
        let (mut worker, _) = counting(100);
        for expected in 0..100 {
            assert_eq!(next(&mut worker), Some(expected));
        }
        assert_eq!(next(&mut worker), None);
        assert!(worker.next(Some(7)).is_none());
    }

    #[test]
    fn it_runs_ahead_so_far_and_no_further_and_ends_when_dropped() {
        let (mut worker, made) = counting(usize::MAX);
        assert_eq!(next(&mut worker), Some(0));
        // The one that was taken, those that wait, and one without a place.
        while made.load(Ordering::SeqCst) < AHEAD + 2 {
            std::thread::yield_now();
        }
        drop(worker);
        assert_eq!(made.load(Ordering::SeqCst), AHEAD + 2);
        assert_eq!(Arc::strong_count(&made), 1, "the thread holds a handle");
    }

    #[test]
    fn what_was_used_comes_back() {
        let mut fresh = 0;
        let worker = Worker::start(move |used: Option<usize>| {
            fresh += usize::from(used.is_none());
            Some(Ok(fresh))
        });
        let (mut worker, mut used) = (worker.unwrap(), None);
        for _ in 0..1000 {
            used = worker.next(used).map(Result::unwrap);
            // In use, waiting, being made.
            assert!(used.is_some_and(|fresh| fresh <= AHEAD + 2));
        }
    }

    #[test]
    fn an_error_reaches_the_caller_in_its_place() {
        let mut count = 0;
        let worker = Worker::start(move |_| {
            count += 1;
            Some(match count {
                3 => Err(tensor::Error::value("batches", "the third is spoiled").into()),
                _ => Ok(count),
            })
        });
        let mut worker = worker.unwrap();
        assert_eq!((next(&mut worker), next(&mut worker)), (Some(1), Some(2)));
        let error = worker.next(None).unwrap().unwrap_err().to_string();
        assert!(error.contains("the third is spoiled"), "{error}");
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let worker = Worker::start(|_| panic!("spilled"));
        let mut worker: Worker<usize> = worker.unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| next(&mut worker))).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"spilled"));
        assert_eq!(next(&mut worker), None);
    }
}
