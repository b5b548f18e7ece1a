//! Working memory of kernels: kept by each thread from call to call.

use std::cell::RefCell;

use crate::simd::Real;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; 8]);

thread_local! {
    /// Blocks that are not in use; the one released last is handed out first.
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `body` with `len` numbers of unspecified value, aligned to a cache line.
///
/// The memory belongs to the thread and grows to the most that was ever asked for, so callers
/// bound `len` by constants and the size of filters.
pub(super) fn with_scratch<T: Real, R>(len: usize, body: impl FnOnce(&mut [T]) -> R) -> R {
    const { assert!(align_of::<T>() <= align_of::<Line>()) };
    let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
    let mut memory = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if memory.len() < lines {
        memory.resize(lines, Line([0; 8]));
    }
    // SAFETY: the vector owns at least `lines` initialised lines, which hold `len` numbers; `Real`
    // types are floats, of which every bit pattern is a value; a line is aligned for them.
    let numbers = unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast::<T>(), len) };
    let result = body(numbers);
    FREE.with_borrow_mut(|free| free.push(memory));
    result
}
