//! Products whose transpose is the easier one.

use crate::error::Result;
use crate::parallel::Par;
use crate::simd::{Level, Real};
use crate::storage::Buffer;

use super::gemm::{Epilogue, gemm};
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
    let (small, large) = (m * k, k.saturating_mul(n).saturating_mul(size_of::<T>()));
    let copies_nothing = b.row_stride() == 1
        && a.column_stride() == 1
        && (16..=64).contains(&m)
        && small * size_of::<T>() <= 256 << 10
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
    let (m, n) = (c.rows(), c.columns());
    let mut buffer = Buffer::unspecified("gemm", m * n)?;
    let transposed = buffer.as_mut_slice();
    gemm(
        b.transposed(),
        a.transposed(),
        MatrixMut::row_major(transposed, [n, m])?,
        Accum::Replace,
        Epilogue::NONE,
        par,
        level,
    )?;
    // Square by square, so that both sides stay in the cache.
    const SIDE: usize = 64;
    for left in (0..n).step_by(SIDE) {
        for i in 0..m {
            let row = &mut c.row(i)[left..(left + SIDE).min(n)];
            for (j, value) in (left..).zip(row) {
                epilogue.store(accum, j, transposed[j * m + i], value);
            }
        }
    }
    Ok(())
}
