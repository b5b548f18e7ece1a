//! `C = [C +] A · B`: the plan, and its parts for one thread.

use std::ops::Range;

use crate::error::Result;
use crate::parallel::Par;
use crate::simd::{Kernel, Level, Real, Simd, dispatch};
use crate::storage::Buffer;

use super::blocking::{Blocking, Pieces};
use super::direct::Direct;
use super::matrix::SharedTarget;
use super::pack::pack_columns;
use super::scratch::with_scratch;
use super::tile::Tile;
use super::{Accum, MatrixMut, MatrixRef, PackRows};

/// What happens to an element of the product before it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epilogue<'a, T> {
    /// Added to each row: one number a column.
    pub(crate) bias: Option<&'a [T]>,
    /// Then negative numbers become zero; NaN stays.
    pub(crate) relu: bool,
}

impl<T> Epilogue<'_, T> {
    /// Stores the product as it is.
    pub(crate) const NONE: Self = Epilogue {
        bias: None,
        relu: false,
    };
}

/// The right operand of a product.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a, T: Real> {
    /// A matrix, packed as it is used.
    Matrix(MatrixRef<'a, T>),
    /// A matrix that was packed before, for the same level.
    Packed(&'a PackedColumns<T>),
}

impl<T: Real> Right<'_, T> {
    fn depth(&self) -> usize {
        match self {
            Right::Matrix(b) => b.rows(),
            Right::Packed(b) => b.depth,
        }
    }

    fn columns(&self) -> usize {
        match self {
            Right::Matrix(b) => b.columns(),
            Right::Packed(b) => b.columns,
        }
    }
}

/// A right operand in packed form, to be multiplied with several left ones.
pub(crate) struct PackedColumns<T: Real> {
    panels: Buffer<T>,
    depth: usize,
    columns: usize,
    level: Level,
}

impl<T: Real> PackedColumns<T> {
    /// Packs `b` for products at `level`.
    ///
    /// # Errors
    /// [`ErrorKind::Size`](crate::ErrorKind::Size) if memory cannot be had.
    pub(crate) fn new(b: MatrixRef<'_, T>, par: Par, level: Level) -> Result<Self> {
        let blocking = dispatch(level, BlockingOf(std::marker::PhantomData::<T>));
        let grid = Grid::new(0, b.rows(), b.columns(), &blocking);
        let mut panels = Buffer::unspecified("matmul", grid.packed_len(&grid.whole()))?;
        pack_region(&b, &grid, &grid.whole(), panels.as_mut_slice(), par, level);
        Ok(PackedColumns {
            panels,
            depth: b.rows(),
            columns: b.columns(),
            level,
        })
    }
}

/// `C = [C +] A · B`, then the epilogue.
///
/// `A` is `[m, k]`, `B` is `[k, n]`, `C` is `[m, n]`. With `k = 0` the product is zero.
///
/// # Errors
/// [`ErrorKind::Size`](crate::ErrorKind::Size) if memory for packing cannot be had.
///
/// # Panics
/// If the sizes do not fit together, or `B` was packed for another level.
pub(crate) fn gemm<T: Real>(
    a: MatrixRef<'_, T>,
    b: Right<'_, T>,
    c: &mut MatrixMut<'_, T>,
    accum: Accum,
    epilogue: Epilogue<'_, T>,
    par: Par,
    level: Level,
) -> Result<()> {
    check(a.rows(), a.columns(), &b, c, &epilogue, level);
    if let Right::Matrix(b) = b
        && Direct::pays(&a, &b)
    {
        let target = c.share();
        let run = |packed: &mut [T]| {
            dispatch(
                level,
                Direct {
                    a,
                    b,
                    c: target,
                    accum,
                    epilogue,
                    packed,
                },
            );
        };
        with_scratch(Direct::scratch_len(&b), run);
        return Ok(());
    }
    gemm_packing(&a, b, c, accum, epilogue, par, level)
}

/// [`gemm`] whose left operand packs itself.
///
/// # Errors
/// As for [`gemm`].
///
/// # Panics
/// As for [`gemm`].
pub(crate) fn gemm_packing<T: Real, A: PackRows<T>>(
    a: &A,
    b: Right<'_, T>,
    c: &mut MatrixMut<'_, T>,
    accum: Accum,
    epilogue: Epilogue<'_, T>,
    par: Par,
    level: Level,
) -> Result<()> {
    let (m, k) = (a.rows(), a.depth());
    check(m, k, &b, c, &epilogue, level);
    let n = c.columns();
    if m == 0 || n == 0 {
        return Ok(());
    }
    if k == 0 {
        without_depth(c, accum, epilogue);
        return Ok(());
    }
    let blocking = dispatch(level, BlockingOf(std::marker::PhantomData::<T>));
    let product = Product {
        a,
        c: c.share(),
        grid: Grid::new(m, k, n, &blocking),
        blocking,
        accum,
        epilogue,
        par,
        level,
    };
    match b {
        Right::Packed(b) => {
            product.by_rows(&product.grid.whole(), b.panels.as_slice());
            Ok(())
        }
        Right::Matrix(b) if product.prefers_columns() => product.pack_left_first(&b),
        Right::Matrix(b) => product.pack_right_first(&b),
    }
}

fn check<T: Real>(
    m: usize,
    k: usize,
    b: &Right<'_, T>,
    c: &MatrixMut<'_, T>,
    epilogue: &Epilogue<'_, T>,
    level: Level,
) {
    assert_eq!(k, b.depth(), "depth of A and of B");
    assert_eq!(m, c.rows(), "rows of A and of C");
    assert_eq!(b.columns(), c.columns(), "columns of B and of C");
    if let Some(bias) = epilogue.bias {
        assert_eq!(bias.len(), c.columns(), "biases and columns of C");
    }
    if let Right::Packed(b) = b {
        assert_eq!(b.level, level, "the level that B was packed for");
    }
}

/// The product of matrices of depth 0.
fn without_depth<T: Real>(c: &mut MatrixMut<'_, T>, accum: Accum, epilogue: Epilogue<'_, T>) {
    for i in 0..c.rows() {
        for (j, value) in c.row(i).iter_mut().enumerate() {
            let mut result = match accum {
                Accum::Replace => T::ZERO,
                Accum::Add => *value,
            };
            if let Some(bias) = epilogue.bias {
                result += bias[j];
            }
            if epilogue.relu && result < T::ZERO {
                result = T::ZERO;
            }
            *value = result;
        }
    }
}

/// Asks for the [`Blocking`] of a level that is known at run time.
struct BlockingOf<T>(std::marker::PhantomData<T>);

impl<T: Real> Kernel for BlockingOf<T> {
    type Scalar = T;
    type Output = Blocking;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Blocking {
        Blocking::of::<T, S>()
    }
}

/// A product cut into panels of rows, panels of columns, and blocks of depth.
#[derive(Clone, Copy)]
struct Grid {
    m: usize,
    n: usize,
    row_panels: Pieces,
    depth_blocks: Pieces,
    /// Columns of a panel; the last panel is filled up with zeros.
    width: usize,
}

/// Some panels of columns and some blocks of depth.
#[derive(Clone)]
struct Region {
    panels: Range<usize>,
    blocks: Range<usize>,
}

impl Grid {
    fn new(m: usize, k: usize, n: usize, blocking: &Blocking) -> Grid {
        Grid {
            m,
            n,
            row_panels: Pieces::new(m, blocking.tile_rows),
            depth_blocks: Pieces::new(k, blocking.depth),
            width: blocking.tile_columns,
        }
    }

    fn column_panels(&self) -> usize {
        self.n.div_ceil(self.width)
    }

    fn columns(&self, panel: usize) -> Range<usize> {
        panel * self.width..((panel + 1) * self.width).min(self.n)
    }

    fn whole(&self) -> Region {
        Region {
            panels: 0..self.column_panels(),
            blocks: 0..self.depth_blocks.count(),
        }
    }

    fn depth_of(&self, blocks: &Range<usize>) -> usize {
        self.depth_blocks.start(blocks.end) - self.depth_blocks.start(blocks.start)
    }

    /// Elements of a packed region; saturates, as no memory of that size can be had.
    fn packed_len(&self, region: &Region) -> usize {
        self.depth_of(&region.blocks)
            .saturating_mul(region.panels.len().saturating_mul(self.width))
    }

    /// Where a packed region has the panel of `panel` and `block`: blocks one after the other,
    /// the panels of each side by side.
    #[inline(always)]
    fn panel_start(&self, region: &Region, block: usize, panel: usize) -> usize {
        let above = self.depth_of(&(region.blocks.start..block)) * region.panels.len();
        let beside = self.depth_blocks.range(block).len() * (panel - region.panels.start);
        (above + beside) * self.width
    }
}

/// Packs a region of `b` by all threads.
fn pack_region<T: Real>(
    b: &MatrixRef<'_, T>,
    grid: &Grid,
    region: &Region,
    panels: &mut [T],
    par: Par,
    level: Level,
) {
    let mut rest = panels;
    let mut blocks = Vec::with_capacity(region.blocks.len());
    for block in region.blocks.clone() {
        let len = grid.depth_blocks.range(block).len() * region.panels.len() * grid.width;
        let (block_panels, others) = rest.split_at_mut(len);
        rest = others;
        blocks.push((block, block_panels));
    }
    for (block, panels) in blocks {
        let depth = grid.depth_blocks.range(block);
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
        let width = self.grid.width;
        let panels = self.panels.chunks_exact_mut(self.depth.len() * width);
        for (index, panel) in panels.enumerate() {
            let columns = self.grid.columns(self.first + index);
            pack_columns(simd, self.b, self.depth.clone(), columns, width, panel);
        }
    }
}

/// All that the parts of one call share.
struct Product<'a, T, A> {
    a: &'a A,
    c: SharedTarget<T>,
    grid: Grid,
    blocking: Blocking,
    accum: Accum,
    epilogue: Epilogue<'a, T>,
    par: Par,
    level: Level,
}

impl<T: Real, A: PackRows<T>> Product<'_, T, A> {
    /// Whether A is small enough to be packed whole, each thread then taking columns of B.
    fn prefers_columns(&self) -> bool {
        self.grid.m <= 4 * self.blocking.tile_rows.max(8) && self.grid.n >= 2 * self.grid.m
    }

    /// Tasks worth making for a product of this size.
    ///
    /// How many there are changes no bit of the result, so it may follow the number of threads.
    fn tasks(&self, depth: usize) -> usize {
        const WORTH_A_TASK: usize = 1 << 18;
        let threads = match self.par {
            Par::Sequential => return 1,
            Par::Threads => rayon::current_num_threads(),
        };
        if threads == 1 {
            return 1;
        }
        let work = self
            .grid
            .m
            .saturating_mul(self.grid.n)
            .saturating_mul(depth);
        (work / WORTH_A_TASK).clamp(1, 4 * threads)
    }

    /// Packs B, a region at a time, and multiplies rows of A with it.
    fn pack_right_first(&self, b: &MatrixRef<'_, T>) -> Result<()> {
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
    fn by_rows(&self, region: &Region, right: &[T]) {
        let (grid, blocking) = (&self.grid, &self.blocking);
        let tasks = self.tasks(grid.depth_of(&region.blocks));
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
    fn pack_left_first(&self, b: &MatrixRef<'_, T>) -> Result<()> {
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
            let groups = Pieces::new(panels, panels.div_ceil(self.tasks(depth)));
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
        let mut parts = Vec::with_capacity(blocks.len());
        for block in blocks.clone() {
            let depth = self.grid.depth_blocks.range(block);
            let (part, rest) = left.split_at_mut(depth.len() * self.grid.m);
            left = rest;
            parts.push((depth, part));
        }
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
        self.par
            .for_chunks(&mut parts, 4, |_, parts| parts.iter_mut().for_each(pack));
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
        };
        // SAFETY: the caller vouches for the panels; rows and columns are of the grid, which is
        // that of C.
        unsafe { tile.run(simd) };
    }
}

/// Packs all panels of rows of one block of depth.
struct PackLeft<'a, T, A> {
    a: &'a A,
    panels: Pieces,
    depth: Range<usize>,
    target: &'a mut [T],
}

impl<T: Real, A: PackRows<T>> Kernel for PackLeft<'_, T, A> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for panel in 0..self.panels.count() {
            let rows = self.panels.range(panel);
            let start = rows.start * self.depth.len();
            let target = &mut self.target[start..][..rows.len() * self.depth.len()];
            self.a.pack(simd, rows, self.depth.clone(), target);
        }
    }
}

/// Some panels of rows of A times some packed panels of columns of B.
struct RowBlock<'a, T, A> {
    product: &'a Product<'a, T, A>,
    region: &'a Region,
    right: &'a [T],
    rows: Range<usize>,
    columns: Range<usize>,
    scratch: &'a mut [T],
}

impl<T: Real, A: PackRows<T>> Kernel for RowBlock<'_, T, A> {
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
                a.pack(simd, rows, depth.clone(), target);
            }
            for column_panel in self.columns.clone() {
                let start = grid.panel_start(self.region, block, column_panel);
                let right = &self.right[start..][..depth.len() * grid.width];
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
                        );
                    }
                }
            }
        }
    }
}

/// All rows of a packed A times some columns of B.
struct ColumnBlock<'a, T, A> {
    product: &'a Product<'a, T, A>,
    left: &'a [T],
    b: &'a MatrixRef<'a, T>,
    blocks: Range<usize>,
    columns: Range<usize>,
    scratch: &'a mut [T],
}

impl<T: Real, A: PackRows<T>> Kernel for ColumnBlock<'_, T, A> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let grid = &self.product.grid;
        let first_depth = grid.depth_blocks.start(self.blocks.start);
        // With one panel of rows each number of B is used once, so a copy would not pay.
        let in_place = grid.row_panels.count() == 1 && self.b.column_stride() == 1;
        for block in self.blocks.clone() {
            let depth = grid.depth_blocks.range(block);
            let left = &self.left[(depth.start - first_depth) * grid.m..];
            let panel_len = depth.len() * grid.width;
            let at_once = self.scratch.len() / panel_len;
            for first in self.columns.clone().step_by(at_once) {
                let group = first..(first + at_once).min(self.columns.end);
                let packed = self.scratch.chunks_exact_mut(panel_len);
                for (panel, target) in group.clone().zip(packed) {
                    let columns = grid.columns(panel);
                    if !(in_place && columns.len() == grid.width) {
                        pack_columns(simd, self.b, depth.clone(), columns, grid.width, target);
                    }
                }
                for (panel, packed) in group.zip(self.scratch.chunks_exact(panel_len)) {
                    let columns = grid.columns(panel);
                    let right = if in_place && columns.len() == grid.width {
                        (
                            self.b.pointer(depth.start, columns.start),
                            self.b.row_stride(),
                        )
                    } else {
                        (packed.as_ptr(), grid.width as isize)
                    };
                    for row_panel in 0..grid.row_panels.count() {
                        let rows = grid.row_panels.range(row_panel);
                        let left = &left[rows.start * depth.len()..];
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
                            );
                        }
                    }
                }
            }
        }
    }
}
