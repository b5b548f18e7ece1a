//! Working memory of a thread, kept from one call to the next.

use std::cell::RefCell;
use std::mem::size_of;

use crate::simd::Real;

/// A cache line, for its alignment.
#[derive(Clone, Copy)]
#[repr(align(64))]
#[expect(dead_code, reason = "its memory is used, by another type")]
struct Line([u64; 8]);

thread_local! {
    /// Blocks that no caller holds at the moment: one, unless calls nest.
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `body` with `len` numbers of unspecified value, aligned to a cache line.
///
/// The memory stays with the thread, so only the first call allocates. Meant for at most a few
/// megabytes: larger or shared memory is a [`Buffer`](crate::storage::Buffer).
pub(crate) fn with_scratch<T: Real, R>(len: usize, body: impl FnOnce(&mut [T]) -> R) -> R {
    if cfg!(exact_memory) {
        // A sanitizer sees where it ends, and who reads what was not written.
        return body(&mut vec![T::from_f64(f64::NAN); len]);
    }
    let mut lines = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let needed = (len * size_of::<T>()).div_ceil(size_of::<Line>());
    if lines.len() < needed {
        lines.resize(needed, Line([0; 8]));
    }
    // SAFETY: the lines hold at least `len` numbers, are aligned to 64 bytes, initialised, and
    // every bit pattern is a `T`; `lines` is not touched while the slice lives.
    let slice = unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<T>(), len) };
    let result = body(slice);
    FREE.with_borrow_mut(|free| free.push(lines));
    result
}
