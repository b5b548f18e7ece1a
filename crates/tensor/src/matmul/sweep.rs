//! Products of little depth, or of one row: sums of scaled rows, streamed.

use crate::parallel::Par;
use crate::simd::{Kernel, Level, Real, Simd, Vector, dispatch, prefetch_to_second_level};

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

/// How many rows before it is added a row of B is fetched, if rows are left out and they are read
/// [`line_by_line`].
const AHEAD: usize = 4;

/// Numbers of a row of A that are searched for zeros at a time.
const SEARCHED: usize = 2048;

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
            depths: None,
            accum,
            epilogue,
            rows_at_once: ROWS_AT_ONCE,
            past_caches,
        };
        kernel.start(level);
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
        depths: None,
        accum: Accum::Replace,
        epilogue: Epilogue::NONE,
        rows_at_once: 1,
        past_caches: false,
    };
    kernel.start(level);
}

/// Some rows and columns of the product.
#[derive(Clone)]
struct Sweep<'a, T> {
    a: &'a MatrixRef<'a, T>,
    b: &'a MatrixRef<'a, T>,
    c: SharedTarget<T>,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
    /// The rows of B that are added up, if not all.
    depths: Option<&'a [usize]>,
    accum: Accum,
    epilogue: Epilogue<'a, T>,
    /// Rows of B that are added up in one pass, at most.
    rows_at_once: usize,
    /// Whether C is written past the caches.
    past_caches: bool,
}

impl<T: Real> Sweep<'_, T> {
    /// Computes them. Rows of B that are scaled by zero are left out if they are known to be finite
    /// and serve a single row of A; sums keep their order.
    fn start(self, level: Level) {
        if self.rows.len() != 1 || !self.b.is_finite() {
            return dispatch(level, self);
        }
        let depth = self.a.columns();
        let mut accum = self.accum;
        for start in (0..depth).step_by(SEARCHED) {
            let mut found = [0; SEARCHED];
            let mut count = 0;
            for p in start..(start + SEARCHED).min(depth) {
                found[count] = p;
                // The last row is always added: with it comes the epilogue.
                let is_added = self.a.get(self.rows.start, p) != T::ZERO || p + 1 == depth;
                count += usize::from(is_added);
            }
            let Some(last) = found[..count].last() else {
                continue;
            };
            let part = Sweep {
                depths: Some(&found[..count]),
                accum,
                epilogue: match last + 1 == depth {
                    true => self.epilogue,
                    false => Epilogue::NONE,
                },
                ..self.clone()
            };
            dispatch(level, part);
            accum = Accum::Add;
        }
    }

    /// How many rows of B are added up.
    #[inline(always)]
    fn depth(&self) -> usize {
        self.depths.map_or(self.a.columns(), <[usize]>::len)
    }

    /// Asks for what is added [`AHEAD`] rows after the `p`-th, if rows are left out: what lies in
    /// order the processor fetches by itself.
    #[inline(always)]
    fn fetch_ahead<S: Simd>(&self, p: usize) {
        let Some(&row) = self.depths.and_then(|depths| depths.get(p + AHEAD)) else {
            return;
        };
        let row = self.b.pointer(row, self.columns.start);
        for j in (0..self.columns.len()).step_by(T::Vector::<S>::LANES) {
            prefetch_to_second_level(row.wrapping_add(j));
        }
    }
}

impl<T: Real> Kernel for Sweep<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let depth = self.depth();
        let mut p = 0;
        while p < depth {
            if self.rows_at_once == 1 {
                self.fetch_ahead::<S>(p);
            }
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
    /// Adds `DEPTH` rows of B, from the `p`-th on, scaled, to each of `ROWS` rows of C from row `i`
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
        let last = p + DEPTH == self.depth();
        let bias = self.epilogue.bias.filter(|_| last);
        let relu = self.epilogue.relu && last;
        let add = self.accum == Accum::Add || p > 0;
        let zero = T::Vector::<S>::zero(simd);
        let first = self.columns.start;
        let mut factors = [[zero; ROWS]; DEPTH];
        let mut rows = [std::ptr::null(); DEPTH];
        match self.depths {
            // One row of A alone has gaps.
            Some(depths) if ROWS == 1 => {
                for (q, &row) in depths[p..p + DEPTH].iter().enumerate() {
                    factors[q][0] = T::Vector::<S>::splat(simd, self.a.get(i, row));
                    rows[q] = self.b.pointer(row, first);
                }
            }
            _ => {
                for q in 0..DEPTH {
                    for r in 0..ROWS {
                        factors[q][r] = T::Vector::<S>::splat(simd, self.a.get(i + r, p + q));
                    }
                    rows[q] = self.b.pointer(p + q, first);
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a row of so many numbers is not zero.
    const FILLED: [fn(usize, usize) -> bool; 6] = [
        |_, _| true,
        |_, _| false,
        |p, _| p == 0,
        |p, len| p + 1 == len,
        |p, _| p % 3 == 1,
        |p, _| p / SEARCHED == 1,
    ];

    /// Rows of B that meet a zero hold NaN, so that whoever reads them is found out; the last one
    /// is always read.
    #[test]
    fn rows_that_meet_a_zero_are_left_out_of_a_finite_matrix() {
        for depth in [1, 2, 9, 100, SEARCHED, SEARCHED + 1, 2 * SEARCHED + 40] {
            for columns in [1, 33, 300] {
                for filled in FILLED {
                    compare(depth, columns, |p| filled(p, depth));
                }
            }
        }
    }

    fn compare(depth: usize, columns: usize, filled: impl Fn(usize) -> bool) {
        let factor = |p: usize| (p as f32 * 0.7).sin() + 1.5;
        let a: Vec<f32> = (0..depth)
            .map(|p| if filled(p) { factor(p) } else { -0.0 })
            .collect();
        let row = |p: usize| (0..columns).map(move |j| ((p * 31 + j) as f32 * 1.3).cos());
        let clean: Vec<f32> = (0..depth).flat_map(row).collect();
        let mut poisoned = clean.clone();
        for p in (0..depth - 1).filter(|&p| !filled(p)) {
            poisoned[p * columns..][..columns].fill(f32::NAN);
        }
        let a = MatrixRef::row_major(&a, [1, depth]).unwrap();
        let [clean, poisoned] = [&clean, &poisoned]
            .map(|numbers| MatrixRef::row_major(numbers, [depth, columns]).unwrap());
        let bias: Vec<f32> = row(7).collect();
        let epilogue = Epilogue {
            bias: Some(&bias),
            relu: true,
        };
        for level in Level::available() {
            for accum in [Accum::Replace, Accum::Add] {
                let run = |b: MatrixRef<'_, f32>, line_by_line: bool| {
                    let mut sums: Vec<f32> = row(3).collect();
                    let mut c = MatrixMut::row_major(&mut sums, [1, columns]).unwrap();
                    if line_by_line {
                        super::line_by_line(&a, &b, &mut c, level);
                    } else {
                        product(&a, &b, &mut c, accum, epilogue, Par::Threads, level);
                    }
                    sums
                };
                for line_by_line in [false, true] {
                    let expected = run(clean, line_by_line);
                    let found = run(poisoned.known_finite(), line_by_line);
                    assert_eq!(found, expected, "{level:?} {depth} × {columns} {accum:?}");
                }
            }
        }
    }
}
