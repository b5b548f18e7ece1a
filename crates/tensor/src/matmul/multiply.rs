//! One entry for all element types.

use crate::element::Element;
use crate::error::Result;
use crate::parallel::Par;
use crate::simd::{Level, Real};

use super::{Accum, Epilogue, MatrixMut, MatrixRef, gemm, integer};

/// The types of matrices that can be multiplied: those with arithmetic.
///
/// Implemented once for each type, and not generically, so that kernels are compiled with this
/// crate and not with each crate that multiplies.
pub trait Multiply: Element {
    /// `out = left · right`; `out` has contiguous rows.
    #[doc(hidden)]
    fn product(
        left: MatrixRef<'_, Self>,
        right: MatrixRef<'_, Self>,
        out: &mut [Self],
        par: Par,
        level: Level,
    ) -> Result<()>;
}

/// Implements [`Multiply`] by a function that is generic.
macro_rules! multiply {
    ($function:path: $($type:ty)*) => { $(impl Multiply for $type {
        fn product(
            left: MatrixRef<'_, Self>,
            right: MatrixRef<'_, Self>,
            out: &mut [Self],
            par: Par,
            level: Level,
        ) -> Result<()> {
            $function(left, right, out, par, level)
        }
    })* };
}
multiply!(real: f32 f64);
multiply!(integer::product: u8 i32 i64);

fn real<T: Real>(
    left: MatrixRef<'_, T>,
    right: MatrixRef<'_, T>,
    out: &mut [T],
    par: Par,
    level: Level,
) -> Result<()> {
    let out = MatrixMut::row_major(out, [left.rows(), right.columns()])?;
    gemm(left, right, out, Accum::Replace, Epilogue::NONE, par, level)
}
