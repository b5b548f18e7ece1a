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
/// each number of it for several rows.
pub(super) fn pays<T>(a: &MatrixRef<'_, T>, b: &MatrixRef<'_, T>) -> bool {
    let (m, k, n) = (a.rows(), a.columns(), b.columns());
    a.row_stride() == 1 && b.column_stride() == 1 && n <= 64 && m >= 2 * n && k >= 256
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
    for i in 0..m {
        for (j, value) in c.row(i).iter_mut().enumerate() {
            epilogue.store(accum, j, transposed[j * m + i], value);
        }
    }
    Ok(())
}
