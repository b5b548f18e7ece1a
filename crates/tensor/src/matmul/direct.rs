//! Products with a small right operand, without copies of the left one.

use std::mem::size_of;
use std::ops::{Range, RangeInclusive};

use crate::parallel::Par;
use crate::simd::{Kernel, Level, Real, Simd, Vector, dispatch};

use super::blocking::{Blocking, Caches, Pieces, has_tall_tiles, tasks};
use super::gemm::{Epilogue, ROWS_THAT_ARE_FEW};
use super::matrix::SharedTarget;
use super::pack::pack_panels;
use super::scratch::with_scratch;
use super::tile::{Ahead, Meanwhile, Run, Tile};
use super::{Accum, MatrixMut, MatrixRef, past_caches};

/// Whether [`product`] is expected to be faster than packing.
///
/// Packing costs one pass over each operand. A product does not earn that back where B, or some
/// columns of it, stay in the second-level cache as they are: A is then fetched ahead.
pub(super) fn pays<T: Real>(a: &MatrixRef<'_, T>, b: &MatrixRef<'_, T>, level: Level) -> bool {
    /// Rows this far apart compete for the same lines of the first-level cache.
    const WAY: usize = 4096;
    let bytes = |stride: isize| stride.unsigned_abs().saturating_mul(size_of::<T>());
    let competes = |stride: isize| a.columns() > 16 && stride != 0 && bytes(stride) % WAY == 0;
    // Columns are taken in groups where rows are many, unless vectors of B cross lines, which a copy
    // does once and not for each row of tiles.
    const LINE: usize = 64;
    let in_groups = b.column_stride() == 1
        && a.rows() > ROWS_THAT_ARE_FEW
        && has_tall_tiles(level)
        && bytes(b.row_stride()).is_multiple_of(LINE);
    let columns = match in_groups {
        true => b.columns().min(64),
        false => b.columns(),
    };
    columns <= columns_at_once::<T>(level, b.rows())
        && !competes(a.row_stride())
        && !competes(a.column_stride())
}

/// Columns of B that are read in place again and again, while rows of A pass by.
fn columns_at_once<T>(level: Level, depth: usize) -> usize {
    // Low tiles read B too often to have it from the second-level cache.
    const FOR_LOW_TILES: usize = 256 << 10;
    let bytes = match has_tall_tiles(level) {
        true => Caches::of_this_machine().second,
        false => FOR_LOW_TILES,
    };
    bytes / size_of::<T>() / depth.max(1)
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
    let in_one_go = || k <= Blocking::at::<T>(level).depth;
    let past_caches = past_caches::pays(c, accum) && in_one_go();
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
                past_caches,
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
    /// Whether C is written past the caches.
    past_caches: bool,
    /// Workspace for panels of B: all, if its rows are not contiguous, else the last one.
    packed: &'a mut [T],
}

impl<T: Real> Kernel for Direct<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Direct { a, b, .. } = self;
        let (k, n) = (a.columns(), b.columns());
        let blocking = Blocking::of::<T, S>();
        let (width, depth) = (blocking.tile_columns, blocking.depth);
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
        let panels = n.div_ceil(width);
        let groups = Pieces::new(panels, columns_at_once::<T>(S::LEVEL, k) / width);
        for group in 0..groups.count() {
            self.columns(simd, groups.range(group), first_packed, depth);
        }
        if self.past_caches {
            past_caches::finish();
        }
    }
}

impl<T: Real> Direct<'_, T> {
    /// All rows times the columns of `panels`, of which those before `first_packed` are read in
    /// place.
    #[inline(always)]
    fn columns<S: Simd>(&self, simd: S, panels: Range<usize>, first_packed: usize, depth: usize) {
        let Direct { a, b, c, .. } = self;
        let (k, n) = (a.columns(), b.columns());
        let Blocking {
            tile_rows,
            tile_columns: width,
            ..
        } = Blocking::of::<T, S>();
        let blocks = Pieces::new(k, depth);
        let row_panels = Pieces::new(self.rows.len(), tile_rows);
        let fetch = Fetch::of(a, self.rows.len(), self.past_caches);
        // Panels that are alike: whole ones, and a narrower one at the end.
        let whole = (n / width).clamp(panels.start, panels.end);
        let alike = [panels.start..whole, whole..panels.end];
        // One panel of B is passed by many of A, otherwise many of B by one of A.
        let down = panels.len() == 1 && blocks.count() == 1;
        let mut row_panel = 0;
        while row_panel < row_panels.count() {
            let panel_rows = row_panels.range(row_panel);
            let row_panels_at_once = if down { row_panels.alike(row_panel) } else { 1 };
            row_panel += row_panels_at_once;
            let row = self.rows.start + panel_rows.start;
            for (block, alike) in (0..blocks.count()).flat_map(|block| {
                let alike = alike.iter().filter(|panels| !panels.is_empty());
                alike.map(move |panels| (block, panels))
            }) {
                let depth = blocks.range(block);
                let last = block + 1 == blocks.count();
                let (panel, column) = (alike.start, alike.start * width);
                let (right, right_step, to_right) = if panel < first_packed {
                    let right = b.pointer(depth.start, column);
                    (right, b.row_stride(), width)
                } else {
                    let start = ((panel - first_packed) * k + depth.start) * width;
                    (self.packed[start..].as_ptr(), width as isize, k * width)
                };
                let rows = panel_rows.len() as isize;
                let run = if down {
                    let [left, result] = [a.row_stride(), c.row_stride() as isize];
                    Run {
                        tiles: row_panels_at_once,
                        steps: [rows * left, 0, rows * result, 0],
                    }
                } else {
                    let width = width as isize;
                    Run {
                        tiles: alike.len(),
                        steps: [0, to_right as isize, width, width],
                    }
                };
                let meanwhile = match fetch {
                    Fetch::Nothing => Meanwhile::Operand(Ahead::nothing(right)),
                    Fetch::Result => Meanwhile::Result(c.pointer(
                        row + panel_rows.len() * row_panels_at_once,
                        panels.start * width,
                    )),
                    Fetch::Left => {
                        let next = a.pointer(row + panel_rows.len(), depth.start);
                        let size = [panel_rows.len(), depth.len()];
                        let tile = (panel - panels.start, panels.len());
                        Meanwhile::Operand(if a.column_stride() == 1 {
                            Ahead::part(next, a.row_stride(), size, tile, depth.len())
                        } else {
                            let size = [depth.len(), panel_rows.len()];
                            Ahead::part(next, a.column_stride(), size, tile, depth.len())
                        })
                    }
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
                    meanwhile,
                    past_caches: self.past_caches,
                    run,
                };
                // SAFETY: rows, columns and depth are those of the matrices; a panel of B that is
                // read in place has whole vectors; these rows of C are this task's alone.
                unsafe { tile.run(simd) };
            }
        }
    }
}

/// What is fetched while a tile is computed.
#[derive(Clone, Copy)]
enum Fetch {
    Nothing,
    /// The next rows of A.
    Left,
    /// The next tile of C.
    Result,
}

impl Fetch {
    fn of<T>(a: &MatrixRef<'_, T>, rows: usize, past_caches: bool) -> Fetch {
        /// So deep a tile fetches all lines of the next one, and has little of A to wait for.
        const SHALLOW: RangeInclusive<usize> = 24..=64;
        /// A smaller A is in the cache soon enough.
        const SMALL: usize = 256 << 10;
        if SHALLOW.contains(&a.columns()) && !past_caches {
            Fetch::Result
        } else if rows * a.columns() * size_of::<T>() > SMALL {
            Fetch::Left
        } else {
            Fetch::Nothing
        }
    }
}
