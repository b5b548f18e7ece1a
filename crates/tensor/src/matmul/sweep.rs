//! Products of little depth, or of one row: sums of scaled rows, streamed.

use crate::parallel::Par;
use crate::simd::{Kernel, Level, Real, Simd, Vector, dispatch};

use super::blocking::{Caches, Pieces, tasks};
use super::gemm::Epilogue;
use super::matrix::SharedTarget;
use super::pack::CopyRows;
use super::scratch::with_scratch;
use super::{Accum, MatrixMut, MatrixRef, past_caches};

/// Rows of B that are added up in one pass over a row of C, unless they are read [`line_by_line`].
const ROWS_AT_ONCE: usize = 8;

/// Half of these.
const HALF: usize = ROWS_AT_ONCE / 2;

/// Rows of C that a row of B is added to while it is in a register, where there are registers for
/// so many times [`ROWS_AT_ONCE`] factors.
const TOGETHER: usize = 3;

/// Rows of A so few that each number of B is hardly used.
fn few_rows(level: Level) -> usize {
    match level {
        Level::Avx512 => 2 * TOGETHER,
        Level::Avx2 => TOGETHER,
        _ => 2,
    }
}

/// Whether [`product`] is expected to be the fastest.
///
/// With few rows each number of B is hardly used, and with little depth C is all there is to move:
/// both are a matter of reading and writing memory in order. Of little depth, B is worth copying if
/// its rows do not lie in order.
pub(super) fn pays<T>(a: &MatrixRef<'_, T>, b: &MatrixRef<'_, T>, level: Level) -> bool {
    const WORTH_A_COPY: usize = 8;
    let flat = a.columns() <= ROWS_AT_ONCE && b.columns() >= 64;
    if b.column_stride() != 1 {
        let fits = !is_larger(b, Caches::of_this_machine().second);
        return flat && a.rows() >= WORTH_A_COPY && fits;
    }
    flat || a.rows() <= few_rows(level)
}

/// Whether so large a matrix does not stay in the caches from one product to the next.
pub(super) fn from_memory<T>(matrix: &MatrixRef<'_, T>) -> bool {
    is_larger(matrix, Caches::of_this_machine().third / 2)
}

/// Whether a matrix takes more than so many bytes.
pub(super) fn is_larger<T>(matrix: &MatrixRef<'_, T>, bytes: usize) -> bool {
    let len = matrix.rows().saturating_mul(matrix.columns());
    len.saturating_mul(size_of::<T>()) > bytes
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
    if b.column_stride() != 1 {
        with_scratch(k * n, |rows| {
            dispatch(level, CopyRows { matrix: b, rows });
            if let Ok(b) = MatrixRef::row_major(rows, [k, n]) {
                product(a, &b, c, accum, epilogue, par, level);
            }
        });
        return;
    }
    let past_caches = k <= ROWS_AT_ONCE && past_caches::pays(c, accum);
    let target = c.share();
    // Little depth is cut along the rows, few rows along the columns, and not into short strips:
    // what comes from memory comes faster in order.
    let tasks = tasks(par, [m, k, n]);
    let flat = k <= ROWS_AT_ONCE && m > 1;
    let [rows_at_once, columns_at_once] = match flat {
        true => [m.div_ceil(tasks).next_multiple_of(TOGETHER), n],
        false => [m, n.div_ceil(tasks)],
    };
    let most = if flat || m == 1 {
        1 << 13
    } else {
        // The first-level cache keeps the rows of B for further rows of A.
        1 << 10
    };
    let column_blocks = Pieces::new(n, columns_at_once.clamp(256, most));
    let row_blocks = Pieces::new(m, rows_at_once);
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
            past_caches,
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
        past_caches: false,
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
    /// Whether C is written past the caches.
    past_caches: bool,
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
            let mut i = self.rows.start;
            // SAFETY: rows from `i` on are rows, the columns are columns, and the depths exist;
            // these rows and columns are this task's alone.
            unsafe {
                if const { S::REGISTERS >= 32 } {
                    while rows_at_once > 4 && i + TOGETHER <= self.rows.end {
                        match rows_at_once {
                            5 => self.pass::<S, TOGETHER, 5>(simd, i, p),
                            6 => self.pass::<S, TOGETHER, 6>(simd, i, p),
                            7 => self.pass::<S, TOGETHER, 7>(simd, i, p),
                            _ => self.pass::<S, TOGETHER, ROWS_AT_ONCE>(simd, i, p),
                        }
                        i += TOGETHER;
                    }
                    if rows_at_once == ROWS_AT_ONCE && i + 2 == self.rows.end {
                        self.pass::<S, 2, ROWS_AT_ONCE>(simd, i, p);
                        i += 2;
                    }
                }
                if const { matches!(S::LEVEL, Level::Avx2) } {
                    // Half as many factors at a time, which takes two passes over C.
                    let in_halves = rows_at_once == ROWS_AT_ONCE && !self.past_caches;
                    while in_halves && i + TOGETHER <= self.rows.end {
                        self.pass::<S, TOGETHER, HALF>(simd, i, p);
                        self.pass::<S, TOGETHER, HALF>(simd, i, p + HALF);
                        i += TOGETHER;
                    }
                }
                while i < self.rows.end {
                    match rows_at_once {
                        1 => self.pass::<S, 1, 1>(simd, i, p),
                        2 => self.pass::<S, 1, 2>(simd, i, p),
                        3 => self.pass::<S, 1, 3>(simd, i, p),
                        4 => self.pass::<S, 1, 4>(simd, i, p),
                        5 => self.pass::<S, 1, 5>(simd, i, p),
                        6 => self.pass::<S, 1, 6>(simd, i, p),
                        7 => self.pass::<S, 1, 7>(simd, i, p),
                        _ => self.pass::<S, 1, ROWS_AT_ONCE>(simd, i, p),
                    }
                    i += 1;
                }
            }
            p += rows_at_once;
        }
        if self.past_caches {
            past_caches::finish();
        }
    }
}

impl<T: Real> Sweep<'_, T> {
    /// Adds `DEPTH` rows of B, from row `p` on, scaled, to each of `ROWS` rows of C from row `i`
    /// on.
    ///
    /// # Safety
    /// The rows and columns exist, and nobody else uses those of C.
    #[inline(always)]
    unsafe fn pass<S: Simd, const ROWS: usize, const DEPTH: usize>(
        &self,
        simd: S,
        i: usize,
        p: usize,
    ) {
        let lanes = T::Vector::<S>::LANES;
        let last = p + DEPTH == self.a.columns();
        let bias = self.epilogue.bias.filter(|_| last);
        let relu = self.epilogue.relu && last;
        let add = self.accum == Accum::Add || p > 0;
        let zero = T::Vector::<S>::zero(simd);
        let first = self.columns.start;
        let mut factors = [[zero; ROWS]; DEPTH];
        let mut rows = [std::ptr::null(); DEPTH];
        for q in 0..DEPTH {
            for r in 0..ROWS {
                factors[q][r] = T::Vector::<S>::splat(simd, self.a.get(i + r, p + q));
            }
            rows[q] = self.b.pointer(p + q, first);
        }
        let mut targets = [std::ptr::null_mut(); ROWS];
        for r in 0..ROWS {
            targets[r] = self.c.pointer(i + r, first);
        }
        let mut j = 0;
        if bias.is_none() && !relu {
            let whole = self.columns.len() / lanes;
            // Vectors are aligned as long as they begin at a multiple of their size.
            let past = self.past_caches && !add && last && first.is_multiple_of(lanes);
            // SAFETY: whole vectors of columns exist in each row.
            unsafe {
                if past {
                    vectors::<T, S, ROWS, DEPTH, PAST_CACHES>(simd, factors, rows, targets, whole);
                } else if add {
                    vectors::<T, S, ROWS, DEPTH, ADDED>(simd, factors, rows, targets, whole);
                } else {
                    vectors::<T, S, ROWS, DEPTH, STORED>(simd, factors, rows, targets, whole);
                }
            }
            j = whole * lanes;
        }
        while j < self.columns.len() {
            let count = (self.columns.len() - j).min(lanes);
            // SAFETY: `count` columns from `j` on exist in each row.
            unsafe {
                let load = |source: *const T| {
                    T::Vector::<S>::load_pointer_partial(simd, source.add(j), count)
                };
                let mut sums = [zero; ROWS];
                if add {
                    for r in 0..ROWS {
                        sums[r] = load(targets[r]);
                    }
                }
                for q in 0..DEPTH {
                    let vector = load(rows[q]);
                    for r in 0..ROWS {
                        sums[r] = factors[q][r].mul_add(vector, sums[r]);
                    }
                }
                for r in 0..ROWS {
                    let mut sum = sums[r];
                    if let Some(bias) = bias {
                        sum = sum + load(bias.as_ptr().add(first));
                    }
                    if relu {
                        sum = zero.max(sum);
                    }
                    sum.store_pointer_partial(targets[r].add(j), count);
                }
            }
            j += lanes;
        }
    }
}

/// What is done with sums: they are stored, added to what is there, or stored past the caches.
const STORED: u8 = 0;
const ADDED: u8 = 1;
const PAST_CACHES: u8 = 2;

/// `target = [target +] sum of factors · rows` for each target, for `count` whole vectors.
///
/// # Safety
/// The rows are valid for reading as many, and the targets for writing; targets past the caches are
/// aligned to a vector.
#[inline(always)]
unsafe fn vectors<T: Real, S: Simd, const ROWS: usize, const DEPTH: usize, const HOW: u8>(
    simd: S,
    factors: [[T::Vector<S>; ROWS]; DEPTH],
    rows: [*const T; DEPTH],
    targets: [*mut T; ROWS],
    count: usize,
) {
    let lanes = T::Vector::<S>::LANES;
    for vector in 0..count {
        let j = vector * lanes;
        // SAFETY: the caller vouches for the vector.
        unsafe {
            let mut sums = [T::Vector::<S>::zero(simd); ROWS];
            if HOW == ADDED {
                for r in 0..ROWS {
                    sums[r] = T::Vector::<S>::load_pointer(simd, targets[r].add(j));
                }
            }
            for q in 0..DEPTH {
                let vector = T::Vector::<S>::load_pointer(simd, rows[q].add(j));
                for r in 0..ROWS {
                    sums[r] = factors[q][r].mul_add(vector, sums[r]);
                }
            }
            for r in 0..ROWS {
                if HOW == PAST_CACHES {
                    past_caches::store::<T, S>(sums[r], targets[r].add(j));
                } else {
                    sums[r].store_pointer(targets[r].add(j));
                }
            }
        }
    }
}
