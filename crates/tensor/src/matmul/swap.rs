//! Products whose transpose is the easier one.

use std::ops::Range;
use std::sync::OnceLock;

use crate::error::Result;
use crate::parallel::Par;
use crate::simd::{Kernel, Level, Real, Simd, Vector, dispatch};

use super::blocking::Pieces;
use super::gemm::{Epilogue, gemm};
use super::matrix::SharedTarget;
use super::scratch::with_scratch;
use super::{Accum, MatrixMut, MatrixRef};

/// Whether [`product`] is expected to be faster.
///
/// It is where A lies by columns, B by rows, and C is narrow and long: the gradient of filters.
/// Then the transposed product reads its right operand in the order in which it lies, and packs
/// each number of it for several rows. And it is where B lies by columns and is large, and A is
/// small: the gradient of a dense layer's inputs. Then the transposed product reads B as it lies,
/// without a copy.
pub(super) fn pays<T>(a: &MatrixRef<'_, T>, b: &MatrixRef<'_, T>) -> bool {
    let (m, k, n) = (a.rows(), a.columns(), b.columns());
    let reads_in_order =
        a.row_stride() == 1 && b.column_stride() == 1 && n <= 64 && m >= 2 * n && k >= 256;
    /// More than the second-level cache of any core.
    const LARGE: usize = 4 << 20;
    /// Of an A that stays there beside what is computed.
    const SMALL: usize = 384 << 10;
    let (small, large) = (m * k, k.saturating_mul(n).saturating_mul(size_of::<T>()));
    let copies_nothing = b.row_stride() == 1
        && a.column_stride() == 1
        && (16..=128).contains(&m)
        && small * size_of::<T>() <= SMALL
        && large >= LARGE
        && n >= 8 * m;
    reads_in_order || copies_nothing
}

/// `C = [C +] (Bᵀ · Aᵀ)ᵀ`.
///
/// # Errors
/// If memory for the transposed product cannot be had.
pub(super) fn product<T: Real>(
    a: &MatrixRef<'_, T>,
    b: &MatrixRef<'_, T>,
    c: &mut MatrixMut<'_, T>,
    accum: Accum,
    epilogue: Epilogue<'_, T>,
    par: Par,
    level: Level,
) -> Result<()> {
    // A piece of the transposed product is still in the second-level cache when it is turned.
    const COLUMNS_AT_ONCE: usize = 2048;
    let (m, n) = (c.rows(), c.columns());
    let pieces = Pieces::new(n, COLUMNS_AT_ONCE);
    let inner = match pieces.count() {
        1 => par,
        _ => Par::Sequential,
    };
    let c = c.share();
    let (left, right) = (b.transposed(), a.transposed());
    let error = OnceLock::new();
    par.for_each(pieces.count(), |piece| {
        let columns = pieces.range(piece);
        let left = left.split_at_row(columns.start).1;
        let left = left.split_at_row(columns.len()).0;
        with_scratch(columns.len() * m, |transposed| {
            let result = MatrixMut::row_major(transposed, [columns.len(), m]).and_then(|result| {
                let (accum, epilogue) = (Accum::Replace, Epilogue::NONE);
                gemm(left, right, result, accum, epilogue, inner, level)
            });
            if let Err(failure) = result {
                let _ = error.set(failure);
                return;
            }
            let turn = Turn {
                transposed,
                rows: m,
                c,
                columns,
                accum,
                epilogue,
            };
            dispatch(level, turn);
        });
    });
    error.into_inner().map_or(Ok(()), Err)
}

/// Writes some columns of C from the same rows of its transpose.
struct Turn<'a, T> {
    transposed: &'a [T],
    /// Rows of C.
    rows: usize,
    c: SharedTarget<T>,
    columns: Range<usize>,
    accum: Accum,
    epilogue: Epilogue<'a, T>,
}

impl<T: Real> Kernel for Turn<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let side = T::Vector::<S>::SIDE;
        let plain = self.accum == Accum::Replace && self.epilogue.is_none();
        for first in (0..self.columns.len()).step_by(side) {
            for i in (0..self.rows).step_by(side) {
                if plain && first + side <= self.columns.len() && i + side <= self.rows {
                    let mut lines = [std::ptr::null(); 8];
                    for (j, line) in lines.iter_mut().enumerate().take(side) {
                        *line = self.transposed[(first + j) * self.rows + i..][..side].as_ptr();
                    }
                    let target = self.c.pointer(i, self.columns.start + first);
                    // SAFETY: the lines have `side` numbers, as have so many rows of C, whose
                    // columns are this task's alone.
                    unsafe {
                        T::Vector::<S>::transpose(simd, &lines, target, self.c.row_stride());
                    }
                } else {
                    self.store(first..first + side, i..i + side);
                }
            }
        }
    }
}

impl<T: Real> Turn<'_, T> {
    /// Stores those of some columns and rows that exist, one by one.
    #[inline(always)]
    fn store(&self, columns: Range<usize>, rows: Range<usize>) {
        for i in rows.start..rows.end.min(self.rows) {
            for j in columns.start..columns.end.min(self.columns.len()) {
                let column = self.columns.start + j;
                let value = self.transposed[j * self.rows + i];
                // SAFETY: the element exists, and its column is this task's alone.
                let target = unsafe { &mut *self.c.pointer(i, column) };
                self.epilogue.store(self.accum, column, value, target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of the transposed product, their rest, and what is added on the way, beside the product
    /// by a copy of B that lies by rows.
    #[test]
    fn a_large_b_by_columns_is_read_as_it_lies() {
        for [m, k, n] in [[16, 600, 1801], [100, 700, 2500], [128, 300, 4099]] {
            let numbers =
                |len: usize, step: usize| (0..len).map(move |i| ((i * step) % 23) as f32 - 11.0);
            let a: Vec<f32> = numbers(m * k, 7).collect();
            let by_columns: Vec<f32> = numbers(k * n, 5).collect();
            let by_rows: Vec<f32> = (0..k * n)
                .map(|at| by_columns[at % n * k + at / n])
                .collect();
            let bias: Vec<f32> = numbers(n, 3).collect();
            let a = MatrixRef::row_major(&a, [m, k]).unwrap();
            let b = MatrixRef::row_major(&by_columns, [n, k])
                .unwrap()
                .transposed();
            assert!(pays(&a, &b), "{m} {k} {n}");
            let by_rows = MatrixRef::row_major(&by_rows, [k, n]).unwrap();
            assert!(!pays(&a, &by_rows));
            let epilogue = Epilogue {
                bias: Some(&bias),
                relu: true,
            };
            for level in Level::available() {
                for (accum, epilogue) in [
                    (Accum::Replace, Epilogue::NONE),
                    (Accum::Replace, epilogue),
                    (Accum::Add, epilogue),
                ] {
                    let [mut found, mut expected] = [(); 2].map(|()| vec![2.0; m * n]);
                    let mut c = MatrixMut::row_major(&mut found, [m, n]).unwrap();
                    product(&a, &b, &mut c, accum, epilogue, Par::Threads, level).unwrap();
                    let c = MatrixMut::row_major(&mut expected, [m, n]).unwrap();
                    gemm(a, by_rows, c, accum, epilogue, Par::Sequential, level).unwrap();
                    // Sums of whole numbers, which are exact.
                    assert!(found == expected, "{level:?} {m} {k} {n}");
                }
            }
        }
    }
}
