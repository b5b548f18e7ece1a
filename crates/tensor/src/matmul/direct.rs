//! Small products, without copies.

use std::mem::size_of;

use crate::simd::{Kernel, Real, Simd};

use super::blocking::{Blocking, Pieces};
use super::gemm::Epilogue;
use super::matrix::SharedTarget;
use super::pack::pack_columns;
use super::tile::Tile;
use super::{Accum, MatrixRef};

/// `C = [C +] A · B` on this thread, reading the operands where they are.
///
/// Packing costs one pass over each operand, which a large product earns back and a small one,
/// whose operands are in the nearest caches anyway, does not.
pub(super) struct Direct<'a, T> {
    pub(super) a: MatrixRef<'a, T>,
    pub(super) b: MatrixRef<'a, T>,
    pub(super) c: SharedTarget<T>,
    pub(super) accum: Accum,
    pub(super) epilogue: Epilogue<'a, T>,
    /// [`Direct::scratch_len`] numbers.
    pub(super) packed: &'a mut [T],
}

impl<T: Real> Direct<'_, T> {
    /// Whether a product is small enough.
    pub(super) fn pays(a: &MatrixRef<'_, T>, b: &MatrixRef<'_, T>) -> bool {
        let (m, k, n) = (a.rows(), a.columns(), b.columns());
        let work = m.saturating_mul(n).saturating_mul(k);
        k > 0 && work <= 64 * 64 * 64 && (m + n).saturating_mul(k) * size_of::<T>() <= 64 << 10
    }

    /// The workspace: a panel of B, for columns that are not contiguous or fill no panel.
    pub(super) fn scratch_len(b: &MatrixRef<'_, T>) -> usize {
        b.rows() * WIDEST
    }
}

/// The widest panel of any level and type.
const WIDEST: usize = 32;

impl<T: Real> Kernel for Direct<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (m, k, n) = (self.a.rows(), self.a.columns(), self.b.columns());
        let Blocking {
            tile_rows,
            tile_columns: width,
            depth,
            ..
        } = Blocking::of::<T, S>();
        let blocks = Pieces::new(k, depth);
        let row_panels = Pieces::new(m, tile_rows);
        let in_place = self.b.column_stride() == 1;
        for block in 0..blocks.count() {
            let depth = blocks.range(block);
            let last = block + 1 == blocks.count();
            for j in (0..n).step_by(width) {
                let columns = j..(j + width).min(n);
                let (right, right_step) = if in_place && columns.len() == width {
                    (self.b.pointer(depth.start, j), self.b.row_stride())
                } else {
                    let panel = &mut self.packed[..depth.len() * width];
                    pack_columns(simd, &self.b, depth.clone(), columns.clone(), width, panel);
                    (panel.as_ptr(), width as isize)
                };
                for panel in 0..row_panels.count() {
                    let rows = row_panels.range(panel);
                    let tile = Tile {
                        rows: rows.len(),
                        columns: columns.len(),
                        depth: depth.len(),
                        a: self.a.pointer(rows.start, depth.start),
                        a_row: self.a.row_stride(),
                        a_step: self.a.column_stride(),
                        b: right,
                        b_step: right_step,
                        c: self.c.pointer(rows.start, j),
                        c_row: self.c.row_stride(),
                        add: self.accum == Accum::Add || block > 0,
                        bias: match self.epilogue.bias {
                            Some(bias) if last => bias[j..].as_ptr(),
                            _ => std::ptr::null(),
                        },
                        relu: self.epilogue.relu && last,
                    };
                    // SAFETY: rows, columns and depth are those of the matrices; a panel of B
                    // that is read in place is whole; nobody else uses C.
                    unsafe { tile.run(simd) };
                }
            }
        }
    }
}
