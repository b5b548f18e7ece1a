//! Products of little depth, or of one row: sums of scaled rows, streamed.

use crate::parallel::Par;
use crate::simd::{Kernel, Level, Real, Simd, Vector, dispatch};

use super::blocking::{Caches, Pieces, tasks};
use super::gemm::Epilogue;
use super::matrix::SharedTarget;
use super::{Accum, MatrixMut, MatrixRef};

/// Rows of B that are added up in one pass over a row of C, unless they are read [`line_by_line`].
const ROWS_AT_ONCE: usize = 8;

/// Whether [`product`] is expected to be the fastest.
///
/// With one row or two each number of B is hardly used, and with little depth C is all there is to
/// move: both are a matter of reading and writing memory in order.
pub(super) fn pays<T>(a: &MatrixRef<'_, T>, b: &MatrixRef<'_, T>) -> bool {
    let flat = a.columns() <= ROWS_AT_ONCE && b.columns() >= 64;
    b.column_stride() == 1 && (flat || a.rows() <= 2)
}

/// Whether so large a matrix does not stay in the caches from one product to the next.
pub(super) fn from_memory<T>(matrix: &MatrixRef<'_, T>) -> bool {
    let len = matrix.rows().saturating_mul(matrix.columns());
    len.saturating_mul(size_of::<T>()) > Caches::of_this_machine().third / 2
}

/// `C = [C +] A · B` for operands that [`pays`].
pub(super) fn product<T: Real>(
    a: &MatrixRef<'_, T>,
    b: &MatrixRef<'_, T>,
    c: &mut MatrixMut<'_, T>,
    accum: Accum,
    epilogue: Epilogue<'_, T>,
    par: Par,
    level: Level,
) {
    let [m, k, n] = [a.rows(), a.columns(), b.columns()];
    let target = c.share();
    // Cut along the columns only where there is one row, and not into short strips: what comes
    // from memory comes faster in order.
    let tasks = tasks(par, [m, k, n]);
    let columns_at_once = if m == 1 { n.div_ceil(tasks) } else { n };
    let most = if k <= ROWS_AT_ONCE || m == 1 {
        1 << 13
    } else {
        // The first-level cache keeps the rows of B for the second row of A.
        1 << 10
    };
    let column_blocks = Pieces::new(n, columns_at_once.clamp(256, most));
    let row_blocks = Pieces::new(m, m.div_ceil(tasks));
    par.for_each(row_blocks.count() * column_blocks.count(), |task| {
        let kernel = Sweep {
            a,
            b,
            c: target,
            rows: row_blocks.range(task / column_blocks.count()),
            columns: column_blocks.range(task % column_blocks.count()),
            accum,
            epilogue,
            rows_at_once: ROWS_AT_ONCE,
        };
        dispatch(level, kernel);
    });
}

/// `C = A · B` for a single row of A, on this thread: B is read row after row.
pub(super) fn line_by_line<T: Real>(
    a: &MatrixRef<'_, T>,
    b: &MatrixRef<'_, T>,
    c: &mut MatrixMut<'_, T>,
    level: Level,
) {
    let columns = 0..c.columns();
    let kernel = Sweep {
        a,
        b,
        c: c.share(),
        rows: 0..1,
        columns,
        accum: Accum::Replace,
        epilogue: Epilogue::NONE,
        rows_at_once: 1,
    };
    dispatch(level, kernel);
}

/// Some rows and columns of the product.
struct Sweep<'a, T> {
    a: &'a MatrixRef<'a, T>,
    b: &'a MatrixRef<'a, T>,
    c: SharedTarget<T>,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
    accum: Accum,
    epilogue: Epilogue<'a, T>,
    /// Rows of B that are added up in one pass, at most.
    rows_at_once: usize,
}

impl<T: Real> Kernel for Sweep<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let depth = self.a.columns();
        let mut p = 0;
        while p < depth {
            let rows_at_once = (depth - p).min(self.rows_at_once);
            for i in self.rows.clone() {
                // SAFETY: `i` is a row, the columns are columns, and the depths exist; this row
                // and these columns are this task's alone.
                unsafe {
                    match rows_at_once {
                        1 => self.pass::<S, 1>(simd, i, p),
                        2 => self.pass::<S, 2>(simd, i, p),
                        3 => self.pass::<S, 3>(simd, i, p),
                        4 => self.pass::<S, 4>(simd, i, p),
                        5 => self.pass::<S, 5>(simd, i, p),
                        6 => self.pass::<S, 6>(simd, i, p),
                        7 => self.pass::<S, 7>(simd, i, p),
                        _ => self.pass::<S, ROWS_AT_ONCE>(simd, i, p),
                    }
                }
            }
            p += rows_at_once;
        }
    }
}

impl<T: Real> Sweep<'_, T> {
    /// Adds `DEPTH` scaled rows of B, from row `p` on, to row `i` of C.
    ///
    /// # Safety
    /// The rows and columns exist, and nobody else uses those of C.
    #[inline(always)]
    unsafe fn pass<S: Simd, const DEPTH: usize>(&self, simd: S, i: usize, p: usize) {
        let lanes = T::Vector::<S>::LANES;
        let last = p + DEPTH == self.a.columns();
        let bias = self.epilogue.bias.filter(|_| last);
        let relu = self.epilogue.relu && last;
        let add = self.accum == Accum::Add || p > 0;
        let zero = T::Vector::<S>::zero(simd);
        let mut factors = [zero; DEPTH];
        let mut rows = [std::ptr::null(); DEPTH];
        for q in 0..DEPTH {
            factors[q] = T::Vector::<S>::splat(simd, self.a.get(i, p + q));
            rows[q] = self.b.pointer(p + q, 0);
        }
        let target = self.c.pointer(i, 0);
        let mut j = self.columns.start;
        if bias.is_none() && !relu {
            let whole = self.columns.len() / lanes;
            // SAFETY: whole vectors of columns exist in each row.
            unsafe {
                let (target, rows) = (target.add(j), rows.map(|row: *const T| row.add(j)));
                if add {
                    vectors::<T, S, DEPTH, true>(simd, factors, rows, target, whole);
                } else {
                    vectors::<T, S, DEPTH, false>(simd, factors, rows, target, whole);
                }
            }
            j += whole * lanes;
        }
        while j < self.columns.end {
            let count = (self.columns.end - j).min(lanes);
            // SAFETY: `count` columns from `j` on exist in each row.
            unsafe {
                let load = |source: *const T| {
                    let source = source.add(j);
                    if count == lanes {
                        T::Vector::<S>::load_pointer(simd, source)
                    } else {
                        T::Vector::<S>::load_pointer_partial(simd, source, count)
                    }
                };
                let mut sum = if add { load(target) } else { zero };
                for q in 0..DEPTH {
                    sum = factors[q].mul_add(load(rows[q]), sum);
                }
                if let Some(bias) = bias {
                    sum = sum + load(bias.as_ptr());
                }
                if relu {
                    sum = zero.max(sum);
                }
                if count == lanes {
                    sum.store_pointer(target.add(j));
                } else {
                    sum.store_pointer_partial(target.add(j), count);
                }
            }
            j += lanes;
        }
    }
}

/// `target = [target +] sum of factors · rows`, for `count` whole vectors.
///
/// # Safety
/// The rows are valid for reading as many, and the target for writing.
#[inline(always)]
unsafe fn vectors<T: Real, S: Simd, const DEPTH: usize, const ADD: bool>(
    simd: S,
    factors: [T::Vector<S>; DEPTH],
    rows: [*const T; DEPTH],
    target: *mut T,
    count: usize,
) {
    let lanes = T::Vector::<S>::LANES;
    for vector in 0..count {
        let j = vector * lanes;
        // SAFETY: the caller vouches for the vector.
        unsafe {
            let mut sum = match ADD {
                true => T::Vector::<S>::load_pointer(simd, target.add(j)),
                false => T::Vector::<S>::zero(simd),
            };
            for q in 0..DEPTH {
                sum = factors[q].mul_add(T::Vector::<S>::load_pointer(simd, rows[q].add(j)), sum);
            }
            sum.store_pointer(target.add(j));
        }
    }
}
