//! Products with a small right operand, without copies of the left one.

use std::mem::size_of;
use std::ops::Range;

use crate::parallel::Par;
use crate::simd::{Kernel, Level, Real, Simd, Vector, dispatch};

use super::blocking::{Blocking, Caches, Pieces, tasks};
use super::gemm::Epilogue;
use super::matrix::SharedTarget;
use super::pack::pack_panels;
use super::scratch::with_scratch;
use super::tile::{Ahead, Tile};
use super::{Accum, MatrixMut, MatrixRef};

/// Whether [`product`] is expected to be faster than packing.
///
/// Packing costs one pass over each operand. A product with a small B does not earn that back: B
/// stays in the second-level cache as it is, and a number of A is used for few columns.
pub(super) fn pays<T: Real>(a: &MatrixRef<'_, T>, b: &MatrixRef<'_, T>) -> bool {
    let small = Caches::of_this_machine().second;
    /// Rows this far apart compete for the same lines of the first-level cache.
    const WAY: usize = 4096;
    let bytes = |stride: isize| stride.unsigned_abs().saturating_mul(size_of::<T>());
    let competes = |stride: isize| a.columns() > 16 && stride != 0 && bytes(stride) % WAY == 0;
    let len = b.rows().saturating_mul(b.columns());
    len.saturating_mul(size_of::<T>()) <= small
        && !competes(a.row_stride())
        && !competes(a.column_stride())
}

/// `C = [C +] A · B` for a `B` that [`pays`].
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
    let c = c.share();
    let blocks = Pieces::new(m, m.div_ceil(tasks(par, [m, k, n])));
    // As wide as panels of any level.
    const WIDEST: usize = 32;
    let columns = if b.column_stride() == 1 {
        WIDEST
    } else {
        n.next_multiple_of(WIDEST)
    };
    par.for_each(blocks.count(), |block| {
        with_scratch(k * columns, |packed| {
            let rows = blocks.range(block);
            let kernel = Direct {
                a,
                b,
                c,
                rows,
                accum,
                epilogue,
                packed,
            };
            dispatch(level, kernel);
        });
    });
}

/// Some rows of the product.
struct Direct<'a, T> {
    a: &'a MatrixRef<'a, T>,
    b: &'a MatrixRef<'a, T>,
    c: SharedTarget<T>,
    rows: Range<usize>,
    accum: Accum,
    epilogue: Epilogue<'a, T>,
    /// Workspace for panels of B: all, if its rows are not contiguous, else the last one.
    packed: &'a mut [T],
}

impl<T: Real> Kernel for Direct<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Direct { a, b, c, .. } = self;
        let (k, n) = (a.columns(), b.columns());
        let Blocking {
            tile_rows,
            tile_columns: width,
            depth,
            ..
        } = Blocking::of::<T, S>();
        let in_place = b.column_stride() == 1;
        // A panel of whole vectors can stay where it is.
        let first_packed = match in_place {
            true if n.is_multiple_of(T::Vector::<S>::LANES) => n.div_ceil(width),
            true => n / width,
            false => 0,
        };
        let columns = (first_packed * width).min(n)..n;
        let packed_len = columns.len().next_multiple_of(width) * k;
        pack_panels(
            simd,
            b,
            0..k,
            columns,
            width,
            &mut self.packed[..packed_len],
        );
        let blocks = Pieces::new(k, depth);
        let row_panels = Pieces::new(self.rows.len(), tile_rows);
        for row_panel in 0..row_panels.count() {
            let panel_rows = row_panels.range(row_panel);
            let row = self.rows.start + panel_rows.start;
            for block in 0..blocks.count() {
                let depth = blocks.range(block);
                let last = block + 1 == blocks.count();
                for panel in 0..n.div_ceil(width) {
                    let column = panel * width;
                    let (right, right_step) = if panel < first_packed {
                        (b.pointer(depth.start, column), b.row_stride())
                    } else {
                        let start = ((panel - first_packed) * k + depth.start) * width;
                        (self.packed[start..].as_ptr(), width as isize)
                    };
                    let tile = Tile {
                        rows: panel_rows.len(),
                        columns: width.min(n - column),
                        depth: depth.len(),
                        a: a.pointer(row, depth.start),
                        a_row: a.row_stride(),
                        a_step: a.column_stride(),
                        b: right,
                        b_step: right_step,
                        c: c.pointer(row, column),
                        c_row: c.row_stride(),
                        add: self.accum == Accum::Add || block > 0,
                        bias: match self.epilogue.bias {
                            Some(bias) if last => bias[column..].as_ptr(),
                            _ => std::ptr::null(),
                        },
                        relu: self.epilogue.relu && last,
                        ahead: Ahead::nothing(right),
                    };
                    // SAFETY: rows, columns and depth are those of the matrices; a panel of B that
                    // is read in place has whole vectors; these rows of C are this task's alone.
                    unsafe { tile.run(simd) };
                }
            }
        }
    }
}
