//! How work is spread over threads without changing a bit of the result.
//!
//! Work is always cut into blocks whose number and borders depend on the problem alone, never on
//! the number of threads, and results of blocks are combined in a fixed order.

use rayon::prelude::*;

/// Whether a kernel may use the threads of the current `rayon` pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Par {
    /// Run on the calling thread.
    Sequential,
    /// Spread blocks over the current `rayon` pool.
    #[default]
    Threads,
}

/// Elements in one block of elementwise work: large enough that handing it to a thread is cheap
/// beside it, small enough to stay in the second-level cache.
pub(crate) const BLOCK: usize = 16 * 1024;

// Bodies are passed on as `dyn`: the machinery of `rayon` is then compiled once an element type,
// not once a closure, and a call per block costs nothing beside the block.
impl Par {
    /// Whether one thread does all: then it is the caller's, which has no other to wait for.
    ///
    /// Asking starts the threads of `rayon`; so nobody asks who has a single block of work.
    fn is_alone(self) -> bool {
        self == Par::Sequential || rayon::current_num_threads() == 1
    }

    /// Runs `body(block, chunk)` over `out` cut into chunks of `chunk_len` elements.
    pub(crate) fn for_chunks<T: Send>(
        self,
        out: &mut [T],
        chunk_len: usize,
        body: impl Fn(usize, &mut [T]) + Sync + Send,
    ) {
        self.for_chunks_dyn(out, chunk_len, &body);
    }

    fn for_chunks_dyn<T: Send>(
        self,
        out: &mut [T],
        chunk_len: usize,
        body: &(dyn Fn(usize, &mut [T]) + Sync),
    ) {
        let chunk_len = chunk_len.max(1);
        if out.len() <= chunk_len || self.is_alone() {
            out.chunks_mut(chunk_len)
                .enumerate()
                .for_each(|(i, chunk)| body(i, chunk));
        } else {
            out.par_chunks_mut(chunk_len)
                .enumerate()
                .for_each(|(i, chunk)| body(i, chunk));
        }
    }

    /// Runs `body(block, a_chunk, b_chunk)` over `a` and `b`, which are equally long, cut into
    /// chunks of `chunk_len` elements.
    pub(crate) fn for_chunk_pairs<A: Send, B: Send>(
        self,
        a: &mut [A],
        b: &mut [B],
        chunk_len: usize,
        body: impl Fn(usize, &mut [A], &mut [B]) + Sync + Send,
    ) {
        self.for_chunk_pairs_dyn(a, b, chunk_len, &body);
    }

    #[allow(clippy::type_complexity)] // a name would say less than the signature
    fn for_chunk_pairs_dyn<A: Send, B: Send>(
        self,
        a: &mut [A],
        b: &mut [B],
        chunk_len: usize,
        body: &(dyn Fn(usize, &mut [A], &mut [B]) + Sync),
    ) {
        let chunk_len = chunk_len.max(1);
        if a.len() <= chunk_len || self.is_alone() {
            let pairs = a.chunks_mut(chunk_len).zip(b.chunks_mut(chunk_len));
            pairs.enumerate().for_each(|(i, (a, b))| body(i, a, b));
        } else {
            let pairs = a.par_chunks_mut(chunk_len).zip(b.par_chunks_mut(chunk_len));
            pairs.enumerate().for_each(|(i, (a, b))| body(i, a, b));
        }
    }

    /// Runs `body(i)` for `i` in `0..count`.
    pub(crate) fn for_each(self, count: usize, body: impl Fn(usize) + Sync + Send) {
        self.for_each_dyn(count, &body);
    }

    fn for_each_dyn(self, count: usize, body: &(dyn Fn(usize) + Sync)) {
        if count <= 1 || self.is_alone() {
            (0..count).for_each(body);
        } else {
            (0..count).into_par_iter().for_each(body);
        }
    }

    /// `body(i)` for `i` in `0..count`, collected in order.
    pub(crate) fn map<R: Send>(
        self,
        count: usize,
        body: impl Fn(usize) -> R + Sync + Send,
    ) -> Vec<R> {
        let body: &(dyn Fn(usize) -> R + Sync) = &body;
        if count <= 1 || self.is_alone() {
            (0..count).map(body).collect()
        } else {
            (0..count).into_par_iter().map(body).collect()
        }
    }
}
