//! Products by the `matrixmultiply` crate, for processors that our own kernels know no more of
//! than the compilation target's baseline.

use std::any::TypeId;

use crate::parallel::Par;
use crate::simd::{FlushSubnormals, Level, Real};

use super::blocking::Pieces;
use super::gemm::Epilogue;
use super::{Accum, MatrixMut, MatrixRef};

/// Whether `matrixmultiply` is expected to be the faster one: it has kernels for NEON, and for
/// x86-64 processors without AVX2.
pub(super) fn pays<T>(a: &MatrixRef<'_, T>, b: &MatrixRef<'_, T>, level: Level) -> bool {
    const WORTH_ITS_ALLOCATIONS: usize = 32 * 32 * 32;
    let work = a
        .rows()
        .saturating_mul(b.columns())
        .saturating_mul(a.columns());
    level == Level::Baseline && work >= WORTH_ITS_ALLOCATIONS
}

/// `C = [C +] A · B`, without an epilogue.
pub(super) fn product<T: Real>(
    a: &MatrixRef<'_, T>,
    b: &MatrixRef<'_, T>,
    c: &mut MatrixMut<'_, T>,
    accum: Accum,
    epilogue: Epilogue<'_, T>,
    par: Par,
    _: Level,
) {
    debug_assert!(epilogue.is_none());
    let target = c.share();
    // An element's sum does not depend on the rows beside it, so neither do bits on the blocks.
    const ROWS_AT_ONCE: usize = 256;
    let blocks = Pieces::new(a.rows(), ROWS_AT_ONCE);
    par.for_each(blocks.count(), |block| {
        let rows = blocks.range(block);
        let _mode = FlushSubnormals::of::<T>();
        let beta = if accum == Accum::Add { T::ONE } else { T::ZERO };
        // SAFETY: the pointers and strides are those of `rows` of the matrices, whose elements are
        // valid; C's rows are divided among the blocks.
        unsafe {
            multiply(
                [rows.len(), a.columns(), b.columns()],
                (a.pointer(rows.start, 0), a.row_stride(), a.column_stride()),
                (b.pointer(0, 0), b.row_stride(), b.column_stride()),
                beta,
                (target.pointer(rows.start, 0), target.row_stride() as isize),
            );
        }
    });
}

/// Calls the function for the type.
///
/// # Safety
/// Pointers and strides are those of matrices of these sizes, and C is not used meanwhile.
unsafe fn multiply<T: Real>(
    [m, k, n]: [usize; 3],
    a: (*const T, isize, isize),
    b: (*const T, isize, isize),
    beta: T,
    c: (*mut T, isize),
) {
    let beta = beta.to_f64();
    // SAFETY: the caller vouches for the matrices; a pointer is cast to the type that it has.
    unsafe {
        if TypeId::of::<T>() == TypeId::of::<f32>() {
            let (a_data, b_data, c_data) = (a.0.cast(), b.0.cast(), c.0.cast());
            matrixmultiply::sgemm(
                m,
                k,
                n,
                1.0,
                a_data,
                a.1,
                a.2,
                b_data,
                b.1,
                b.2,
                beta as f32,
                c_data,
                c.1,
                1,
            );
        } else {
            debug_assert!(TypeId::of::<T>() == TypeId::of::<f64>());
            let (a_data, b_data, c_data) = (a.0.cast(), b.0.cast(), c.0.cast());
            matrixmultiply::dgemm(
                m, k, n, 1.0, a_data, a.1, a.2, b_data, b.1, b.2, beta, c_data, c.1, 1,
            );
        }
    }
}
