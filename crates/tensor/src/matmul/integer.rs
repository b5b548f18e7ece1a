//! Products of integers: plain loops, wrapping on overflow.

use crate::element::Number;
use crate::error::Result;
use crate::parallel::Par;
use crate::simd::{Level, vectorize};

use super::MatrixRef;

/// `out = A · B` on contiguous rows of `out`.
pub(super) fn product<T: Number>(
    a: MatrixRef<'_, T>,
    b: MatrixRef<'_, T>,
    out: &mut [T],
    par: Par,
    level: Level,
) -> Result<()> {
    const ELEMENTS_IN_A_BLOCK: usize = 1 << 12;
    let columns = b.columns();
    if columns == 0 {
        return Ok(());
    }
    let rows_in_a_block = ELEMENTS_IN_A_BLOCK.div_ceil(columns);
    par.for_chunks(out, rows_in_a_block * columns, |block, out| {
        for (i, out) in out.chunks_exact_mut(columns).enumerate() {
            let i = block * rows_in_a_block + i;
            out.fill(T::ZERO);
            for p in 0..a.columns() {
                let factor = a.get(i, p);
                match b.row(p) {
                    Some(row) => vectorize(
                        level,
                        #[inline(always)]
                        || {
                            for (sum, &value) in out.iter_mut().zip(row) {
                                *sum = sum.plus(factor.times(value));
                            }
                        },
                    ),
                    None => {
                        for (j, sum) in out.iter_mut().enumerate() {
                            *sum = sum.plus(factor.times(b.get(p, j)));
                        }
                    }
                }
            }
        }
    });
    Ok(())
}
