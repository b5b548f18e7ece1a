//! The two ways through a large product, and their parts for one thread.

use std::ops::Range;

use smallvec::SmallVec;

use crate::error::Result;
use crate::parallel::Par;
use crate::simd::{Kernel, Level, Real, Simd, Vector, dispatch};
use crate::storage::Buffer;

use super::blocking::{Blocking, Pieces, tasks};
use super::gemm::Epilogue;
use super::grid::{Grid, Region, pack_region};
use super::matrix::SharedTarget;
use super::pack::{pack_panels, pack_rows};
use super::scratch::with_scratch;
use super::tile::{Ahead, Meanwhile, Run, Tile};
use super::{Accum, MatrixRef};

/// All that the parts of one call share.
pub(super) struct Product<'a, T> {
    pub(super) a: &'a MatrixRef<'a, T>,
    pub(super) c: SharedTarget<T>,
    pub(super) grid: Grid,
    pub(super) blocking: Blocking,
    pub(super) accum: Accum,
    pub(super) epilogue: Epilogue<'a, T>,
    pub(super) par: Par,
    pub(super) level: Level,
}

impl<T: Real> Product<'_, T> {
    /// Packs B, a region at a time, and multiplies rows of A with it.
    pub(super) fn pack_right_first(&self, b: &MatrixRef<'_, T>) -> Result<()> {
        let (grid, blocking) = (&self.grid, &self.blocking);
        let whole = grid.whole();
        // A region is as deep as the shared cache allows for up to so many columns.
        const COLUMNS_AT_ONCE: usize = 2048;
        let panels_at_once = (COLUMNS_AT_ONCE / grid.width).min(whole.panels.len());
        let block_len = panels_at_once * grid.width * blocking.depth;
        let blocks_at_once = (blocking.shared / block_len).max(1);
        for first_panel in whole.panels.clone().step_by(panels_at_once) {
            let panels = first_panel..(first_panel + panels_at_once).min(whole.panels.end);
            let mut panels_of_b = Buffer::unspecified("matmul", {
                let blocks = 0..blocks_at_once.min(whole.blocks.end);
                grid.packed_len(&Region {
                    panels: panels.clone(),
                    blocks,
                })
            })?;
            for first_block in whole.blocks.clone().step_by(blocks_at_once) {
                let blocks = first_block..(first_block + blocks_at_once).min(whole.blocks.end);
                let region = Region {
                    panels: panels.clone(),
                    blocks,
                };
                let target = &mut panels_of_b.as_mut_slice()[..grid.packed_len(&region)];
                pack_region(b, grid, &region, target, self.par, self.level);
                self.by_rows(&region, target);
            }
        }
        Ok(())
    }

    /// Multiplies all rows of A with a packed region of B.
    pub(super) fn by_rows(&self, region: &Region, right: &[T]) {
        let (grid, blocking) = (&self.grid, &self.blocking);
        let tasks = tasks(self.par, [grid.m, grid.depth_of(&region.blocks), grid.n]);
        let panels = grid.row_panels.count();
        // A block of rows uses a panel of B that it has in its first-level cache several times.
        const PANELS_IN_A_BLOCK: usize = 4;
        let largest = (blocking.rows / blocking.tile_rows).max(1);
        let row_blocks = Pieces::new(
            panels,
            panels.div_ceil(tasks).clamp(PANELS_IN_A_BLOCK, largest),
        );
        let column_groups = Pieces::new(
            region.panels.len(),
            region
                .panels
                .len()
                .div_ceil(tasks.div_ceil(row_blocks.count())),
        );
        let depth = blocking.depth.min(grid.depth_of(&region.blocks));
        let scratch_len = blocking.tile_rows * largest * depth;
        self.par
            .for_each(row_blocks.count() * column_groups.count(), |task| {
                let rows = row_blocks.range(task / column_groups.count());
                let group = column_groups.range(task % column_groups.count());
                let columns = region.panels.start + group.start..region.panels.start + group.end;
                with_scratch(scratch_len, |scratch| {
                    dispatch(
                        self.level,
                        RowBlock {
                            product: self,
                            region,
                            right,
                            rows,
                            columns,
                            scratch,
                        },
                    );
                });
            });
    }

    /// Packs A whole, and multiplies it with columns of B.
    pub(super) fn pack_left_first(&self, b: &MatrixRef<'_, T>) -> Result<()> {
        let (grid, blocking) = (&self.grid, &self.blocking);
        let whole = grid.whole();
        let blocks_at_once = (blocking.shared / (grid.m * blocking.depth)).max(1);
        let depth = grid.depth_of(&(0..blocks_at_once.min(whole.blocks.end)));
        let mut left = Buffer::unspecified("matmul", grid.m.saturating_mul(depth))?;
        for first_block in whole.blocks.clone().step_by(blocks_at_once) {
            let blocks = first_block..(first_block + blocks_at_once).min(whole.blocks.end);
            let depth = grid.depth_of(&blocks);
            let left = &mut left.as_mut_slice()[..grid.m * depth];
            self.pack_left(&blocks, left);
            let largest = (blocking.rows / grid.width).max(1);
            let panels = whole.panels.len();
            let groups = Pieces::new(
                panels,
                panels
                    .div_ceil(tasks(self.par, [grid.m, depth, grid.n]))
                    .min(blocking.columns_in_place / grid.width),
            );
            let scratch_len = largest * grid.width * blocking.depth;
            self.par.for_each(groups.count(), |task| {
                with_scratch(scratch_len, |scratch| {
                    dispatch(
                        self.level,
                        ColumnBlock {
                            product: self,
                            left,
                            b,
                            blocks: blocks.clone(),
                            columns: groups.range(task),
                            scratch,
                        },
                    );
                });
            });
        }
        Ok(())
    }

    /// Packs blocks of depth of A: one block after the other, the panels of each side by side.
    fn pack_left(&self, blocks: &Range<usize>, mut left: &mut [T]) {
        // So many at a time that threads share them, and that the list needs no memory of its own.
        const AT_ONCE: usize = 32;
        let pack = |(depth, part): &mut (Range<usize>, &mut [T])| {
            dispatch(
                self.level,
                PackLeft {
                    a: self.a,
                    panels: self.grid.row_panels,
                    depth: depth.clone(),
                    target: part,
                },
            );
        };
        for first in blocks.clone().step_by(AT_ONCE) {
            let mut parts = SmallVec::<[_; AT_ONCE]>::new();
            for block in first..(first + AT_ONCE).min(blocks.end) {
                let depth = self.grid.depth_blocks.range(block);
                let (part, rest) = left.split_at_mut(depth.len() * self.grid.m);
                left = rest;
                parts.push((depth, part));
            }
            self.par
                .for_chunks(&mut parts, 4, |_, parts| parts.iter_mut().for_each(pack));
        }
    }

    /// Computes one tile from packed panels.
    ///
    /// # Safety
    /// `a` and `b` are the packed panels of these rows and columns in this block, and this thread
    /// alone writes the tile of C.
    #[inline(always)]
    unsafe fn tile<S: Simd>(
        &self,
        simd: S,
        block: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        a: *const T,
        b: (*const T, isize),
        ahead: Ahead<T>,
    ) {
        let last = block + 1 == self.grid.depth_blocks.count();
        let bias = match self.epilogue.bias {
            // The bias has a number for each column of C.
            Some(bias) if last => bias.as_ptr().wrapping_add(columns.start),
            _ => std::ptr::null(),
        };
        let tile = Tile {
            rows: rows.len(),
            columns: columns.len(),
            depth: self.grid.depth_blocks.range(block).len(),
            a,
            a_row: 1,
            a_step: rows.len() as isize,
            b: b.0,
            b_step: b.1,
            c: self.c.pointer(rows.start, columns.start),
            c_row: self.c.row_stride(),
            add: self.accum == Accum::Add || block > 0,
            bias,
            relu: self.epilogue.relu && last,
            meanwhile: Meanwhile::Operand(ahead),
            past_caches: false,
            run: Run::ONE,
        };
        // SAFETY: the caller vouches for the panels; rows and columns are of the grid, which is
        // that of C.
        unsafe { tile.run(simd) };
    }
}

/// Packs all panels of rows of one block of depth.
struct PackLeft<'a, T> {
    a: &'a MatrixRef<'a, T>,
    panels: Pieces,
    depth: Range<usize>,
    target: &'a mut [T],
}

impl<T: Real> Kernel for PackLeft<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for panel in 0..self.panels.count() {
            let rows = self.panels.range(panel);
            let start = rows.start * self.depth.len();
            let target = &mut self.target[start..][..rows.len() * self.depth.len()];
            pack_rows(simd, self.a, rows, self.depth.clone(), target);
        }
    }
}

/// Some panels of rows of A times some packed panels of columns of B.
struct RowBlock<'a, T> {
    product: &'a Product<'a, T>,
    region: &'a Region,
    right: &'a [T],
    rows: Range<usize>,
    columns: Range<usize>,
    scratch: &'a mut [T],
}

impl<T: Real> Kernel for RowBlock<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Product { a, grid, .. } = self.product;
        for block in self.region.blocks.clone() {
            let depth = grid.depth_blocks.range(block);
            let first_row = grid.row_panels.start(self.rows.start);
            for panel in self.rows.clone() {
                let rows = grid.row_panels.range(panel);
                let start = (rows.start - first_row) * depth.len();
                let target = &mut self.scratch[start..][..rows.len() * depth.len()];
                pack_rows(simd, a, rows, depth.clone(), target);
            }
            for column_panel in self.columns.clone() {
                let start = grid.panel_start(self.region, block, column_panel);
                let right = &self.right[start..][..depth.len() * grid.width];
                // The panel behind it, which is mostly in the third level only.
                let next = right.as_ptr_range().end;
                for row_panel in self.rows.clone() {
                    let rows = grid.row_panels.range(row_panel);
                    let left = &self.scratch[(rows.start - first_row) * depth.len()..];
                    // SAFETY: both panels were packed for this block, and tasks share no tile.
                    unsafe {
                        self.product.tile(
                            simd,
                            block,
                            rows,
                            grid.columns(column_panel),
                            left.as_ptr(),
                            (right.as_ptr(), grid.width as isize),
                            Ahead::part(
                                next,
                                grid.width as isize,
                                [depth.len(), grid.width],
                                (row_panel - self.rows.start, self.rows.len()),
                                depth.len(),
                            ),
                        );
                    }
                }
            }
        }
    }
}

/// All rows of a packed A times some columns of B.
struct ColumnBlock<'a, T> {
    product: &'a Product<'a, T>,
    left: &'a [T],
    b: &'a MatrixRef<'a, T>,
    blocks: Range<usize>,
    columns: Range<usize>,
    scratch: &'a mut [T],
}

impl<T: Real> ColumnBlock<'_, T> {
    /// What to fetch during tile `tile` of this block of depth: a part of the block of B that is
    /// read next, in the order in which it lies in memory.
    #[inline(always)]
    fn ahead(&self, block: usize, tile: usize) -> Option<Ahead<T>> {
        if self.b.column_stride() != 1 {
            return None;
        }
        let grid = &self.product.grid;
        let blocks = &grid.depth_blocks;
        // The next block of depth; then the first one of the next columns, or of the next rows.
        let (rows, panel) = if block + 1 < self.blocks.end {
            (blocks.range(block + 1), self.columns.start)
        } else if self.columns.end < grid.column_panels() {
            (blocks.range(self.blocks.start), self.columns.end)
        } else {
            let rows = blocks.range(block).len().min(self.b.rows_behind());
            (self.b.rows()..self.b.rows() + rows, self.columns.start)
        };
        let first = panel * grid.width;
        let panels = panel..(panel + self.columns.len()).min(grid.column_panels());
        let columns = grid.columns(panels.end - 1).end - first;
        if rows.is_empty() {
            return None;
        }
        Some(Ahead::part(
            self.b.pointer(rows.start, first),
            self.b.row_stride(),
            [rows.len(), columns],
            (tile, self.columns.len() * grid.row_panels.count()),
            blocks.range(block).len(),
        ))
    }
}

impl<T: Real> Kernel for ColumnBlock<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let scratch = std::mem::take(&mut self.scratch);
        let grid = &self.product.grid;
        let first_depth = grid.depth_blocks.start(self.blocks.start);
        let in_place = self.b.column_stride() == 1;
        for block in self.blocks.clone() {
            let depth = grid.depth_blocks.range(block);
            let left = &self.left[(depth.start - first_depth) * grid.m..];
            let panel_len = depth.len() * grid.width;
            let groups = Pieces::new(self.columns.len(), scratch.len() / panel_len);
            for group in (0..groups.count()).map(|group| groups.range(group)) {
                let group = self.columns.start + group.start..self.columns.start + group.end;
                let last = grid.columns(group.end - 1);
                // Panels of whole vectors can stay where they are.
                let first_packed = match in_place {
                    true if last.len().is_multiple_of(T::Vector::<S>::LANES) => group.end,
                    true => group.end - 1,
                    false => group.start,
                };
                let packed_len = (group.end - first_packed) * panel_len;
                let start = first_packed * grid.width;
                let columns = start.min(last.end)..last.end;
                let packed = &mut scratch[..packed_len];
                pack_panels(simd, self.b, depth.clone(), columns, grid.width, packed);
                for panel in group {
                    let columns = grid.columns(panel);
                    let right = if panel < first_packed {
                        (
                            self.b.pointer(depth.start, columns.start),
                            self.b.row_stride(),
                        )
                    } else {
                        let packed = &packed[(panel - first_packed) * panel_len..];
                        (packed.as_ptr(), grid.width as isize)
                    };
                    for row_panel in 0..grid.row_panels.count() {
                        let rows = grid.row_panels.range(row_panel);
                        let left = &left[rows.start * depth.len()..];
                        let tile =
                            (panel - self.columns.start) * grid.row_panels.count() + row_panel;
                        let ahead = self.ahead(block, tile);
                        let ahead = ahead.unwrap_or(Ahead::nothing(left.as_ptr()));
                        // SAFETY: the left panel was packed for this block; so was the right one,
                        // or it is whole and lies in B; and tasks share no tile.
                        unsafe {
                            self.product.tile(
                                simd,
                                block,
                                rows,
                                columns.clone(),
                                left.as_ptr(),
                                right,
                                ahead,
                            );
                        }
                    }
                }
            }
        }
    }
}
