//! How a product is cut up, and the packing of its right operand.

use std::ops::Range;

use crate::parallel::Par;
use crate::simd::{Kernel, Level, Real, Simd, dispatch};

use super::MatrixRef;
use super::blocking::{Blocking, Pieces};
use super::pack::pack_panels;

/// A product cut into panels of rows, panels of columns, and blocks of depth.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    /// Rows of the product.
    pub(super) m: usize,
    /// Columns of the product.
    pub(super) n: usize,
    pub(super) row_panels: Pieces,
    pub(super) depth_blocks: Pieces,
    /// Columns of a panel; the last panel is filled up with zeros.
    pub(super) width: usize,
}

/// Some panels of columns and some blocks of depth.
#[derive(Clone)]
pub(super) struct Region {
    pub(super) panels: Range<usize>,
    pub(super) blocks: Range<usize>,
}

impl Grid {
    pub(super) fn new(m: usize, k: usize, n: usize, blocking: &Blocking) -> Grid {
        Grid {
            m,
            n,
            row_panels: Pieces::new(m, blocking.tile_rows),
            depth_blocks: Pieces::new(k, blocking.depth),
            width: blocking.tile_columns,
        }
    }

    pub(super) fn column_panels(&self) -> usize {
        self.n.div_ceil(self.width)
    }

    pub(super) fn columns(&self, panel: usize) -> Range<usize> {
        panel * self.width..((panel + 1) * self.width).min(self.n)
    }

    pub(super) fn whole(&self) -> Region {
        Region {
            panels: 0..self.column_panels(),
            blocks: 0..self.depth_blocks.count(),
        }
    }

    pub(super) fn depth_of(&self, blocks: &Range<usize>) -> usize {
        self.depth_blocks.start(blocks.end) - self.depth_blocks.start(blocks.start)
    }

    /// Elements of a packed region; saturates, as no memory of that size can be had.
    pub(super) fn packed_len(&self, region: &Region) -> usize {
        self.depth_of(&region.blocks)
            .saturating_mul(region.panels.len().saturating_mul(self.width))
    }

    /// Where a packed region has the panel of `panel` and `block`: blocks one after the other,
    /// the panels of each side by side.
    #[inline(always)]
    pub(super) fn panel_start(&self, region: &Region, block: usize, panel: usize) -> usize {
        let above = self.depth_of(&(region.blocks.start..block)) * region.panels.len();
        let beside = self.depth_blocks.range(block).len() * (panel - region.panels.start);
        (above + beside) * self.width
    }
}

/// Packs a region of `b` by all threads.
pub(super) fn pack_region<T: Real>(
    b: &MatrixRef<'_, T>,
    grid: &Grid,
    region: &Region,
    panels: &mut [T],
    par: Par,
    level: Level,
) {
    let mut rest = panels;
    for block in region.blocks.clone() {
        let depth = grid.depth_blocks.range(block);
        let len = depth.len() * region.panels.len() * grid.width;
        let (panels, others) = rest.split_at_mut(len);
        rest = others;
        let group = PANELS_PACKED_TOGETHER * depth.len() * grid.width;
        par.for_chunks(panels, group, |index, panels| {
            let first = region.panels.start + index * PANELS_PACKED_TOGETHER;
            dispatch(
                level,
                PackGroup {
                    b,
                    grid,
                    depth: depth.clone(),
                    first,
                    panels,
                },
            );
        });
    }
}

/// Panels of columns that one task packs.
const PANELS_PACKED_TOGETHER: usize = 8;

/// Packs consecutive panels of columns.
struct PackGroup<'a, T> {
    b: &'a MatrixRef<'a, T>,
    grid: &'a Grid,
    depth: Range<usize>,
    first: usize,
    panels: &'a mut [T],
}

impl<T: Real> Kernel for PackGroup<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Grid { width, n, .. } = *self.grid;
        let panel_len = self.depth.len() * width;
        let start = self.first * width;
        let columns = start..(start + self.panels.len() / panel_len * width).min(n);
        pack_panels(simd, self.b, self.depth, columns, width, self.panels);
    }
}
