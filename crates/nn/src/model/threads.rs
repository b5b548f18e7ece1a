//! On which thread a model runs.

use tensor::Float;

use super::Model;

/// Multiplications, at least, of a batch that is worth a change of threads.
const WORTH_A_CHANGE: usize = 1 << 18;

impl<T: Float> Model<T> {
    /// Runs `body`, which runs `samples` through the model, on a thread of the current `rayon`
    /// pool.
    ///
    /// A thread from outside the pool would hand over each operation's work and sleep until it is
    /// woken at its end; this way that happens once a batch. Stays on this thread where there is
    /// little to do, no other thread to share it with, or where code behaves as
    /// [`autograd::is_watched`] says.
    pub(super) fn on_pool<R: Send>(&self, samples: usize, body: impl FnOnce() -> R + Send) -> R {
        run(samples.saturating_mul(self.parameter_count()), body)
    }

    /// [`Model::on_pool`] for what changes the model.
    pub(super) fn on_pool_mut<R: Send>(
        &mut self,
        samples: usize,
        body: impl FnOnce(&mut Self) -> R + Send,
    ) -> R {
        let work = samples.saturating_mul(self.parameter_count());
        run(work, || body(self))
    }
}

fn run<R: Send>(work: usize, body: impl FnOnce() -> R + Send) -> R {
    // Asking for the number of threads starts them; small models need none.
    let stays = work < WORTH_A_CHANGE
        || autograd::is_watched()
        || rayon::current_thread_index().is_some()
        || rayon::current_num_threads() == 1;
    if stays {
        body()
    } else {
        rayon::scope(|_| body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_on_pool(work: usize) -> bool {
        run(work, || rayon::current_thread_index().is_some())
    }

    #[test]
    fn large_work_moves_unless_this_thread_is_watched() {
        let threads = rayon::current_num_threads();
        assert!(!is_on_pool(WORTH_A_CHANGE - 1));
        assert_eq!(is_on_pool(WORTH_A_CHANGE), threads > 1);
        assert!(!autograd::no_grad(|| is_on_pool(WORTH_A_CHANGE)));
        assert!(!autograd::trace(|| is_on_pool(WORTH_A_CHANGE)).0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        pool.unwrap().install(|| {
            let here = std::thread::current().id();
            assert_eq!(run(WORTH_A_CHANGE, || std::thread::current().id()), here);
        });
    }
}
