//! Panels: operands copied in the order in which the micro-kernel reads them.

use std::ops::Range;

use crate::simd::{Kernel, Real, Simd, Vector};

use super::MatrixRef;

/// Packs rows of `a`: element (i, p) goes to
/// `panel[(p - depth.start) · rows.len() + (i - rows.start)]`.
#[inline(always)]
pub(super) fn pack_rows<T: Real, S: Simd>(
    simd: S,
    a: &MatrixRef<'_, T>,
    rows: Range<usize>,
    depth: Range<usize>,
    panel: &mut [T],
) {
    let width = rows.len();
    pack_lines(simd, a, rows, depth, width, panel);
}

/// Packs columns of `b` into a panel of `width` columns; those that `b` lacks are zero. Element
/// (p, j) goes to `panel[(p - depth.start) · width + (j - columns.start)]`.
#[inline(always)]
pub(super) fn pack_columns<T: Real, S: Simd>(
    simd: S,
    b: &MatrixRef<'_, T>,
    depth: Range<usize>,
    columns: Range<usize>,
    width: usize,
    panel: &mut [T],
) {
    pack_lines(simd, &b.transposed(), columns, depth, width, panel);
}

/// Copies a matrix to contiguous rows.
pub(super) struct CopyRows<'a, T> {
    pub(super) matrix: &'a MatrixRef<'a, T>,
    pub(super) rows: &'a mut [T],
}

impl<T: Real> Kernel for CopyRows<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let [depth, columns] = [self.matrix.rows(), self.matrix.columns()];
        pack_columns(simd, self.matrix, 0..depth, 0..columns, columns, self.rows);
    }
}

/// Packs columns of `b` into consecutive panels of `width` columns.
#[inline(always)]
pub(super) fn pack_panels<T: Real, S: Simd>(
    simd: S,
    b: &MatrixRef<'_, T>,
    depth: Range<usize>,
    columns: Range<usize>,
    width: usize,
    panels: &mut [T],
) {
    let panel_len = depth.len() * width;
    assert!(panels.len() == columns.len().div_ceil(width) * panel_len);
    // Panel by panel: row by row over all panels reads in order, and measures a fifth slower.
    for (index, panel) in panels.chunks_exact_mut(panel_len.max(1)).enumerate() {
        let start = columns.start + index * width;
        let columns = start..(start + width).min(columns.end);
        pack_columns(simd, b, depth.clone(), columns, width, panel);
    }
}

/// `panel[(p - depth.start) · width + (i - lines.start)] = lines_of[i][p]`, and zeros up to
/// `width`. Compiled once and called, as it is long and used in many places.
#[inline(always)]
fn pack_lines<T: Real, S: Simd>(
    simd: S,
    matrix: &MatrixRef<'_, T>,
    lines: Range<usize>,
    depth: Range<usize>,
    width: usize,
    panel: &mut [T],
) {
    simd.call(PackLines {
        matrix,
        lines,
        depth,
        width,
        panel,
    });
}

/// The arguments of [`pack_lines`].
struct PackLines<'a, T> {
    matrix: &'a MatrixRef<'a, T>,
    lines: Range<usize>,
    depth: Range<usize>,
    width: usize,
    panel: &'a mut [T],
}

impl<T: Real> Kernel for PackLines<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PackLines {
            matrix,
            lines,
            depth,
            width,
            panel,
        } = self;
        assert!(lines.end <= matrix.rows() && depth.end <= matrix.columns());
        assert!(lines.len() <= width && panel.len() == depth.len() * width);
        let origin = matrix.pointer(lines.start, depth.start);
        let (line, step) = (matrix.row_stride(), matrix.column_stride());
        let (count, depth) = (lines.len(), depth.len());
        if depth == 0 || width == 0 {
            return;
        }
        // SAFETY: the assertions have found all lines and depths inside the matrix, whose elements
        // are valid for reading, and the panel to have `width` numbers for each depth.
        unsafe {
            if line == 1 {
                copy_lines(simd, origin, step, count, depth, width, panel);
            } else if step == 1 {
                interleave(simd, origin, line, count, depth, width, panel);
            } else {
                for (p, target) in panel.chunks_exact_mut(width).enumerate() {
                    for (i, target) in target[..count].iter_mut().enumerate() {
                        *target = origin.offset(i as isize * line + p as isize * step).read();
                    }
                    target[count..].fill(T::ZERO);
                }
            }
        }
    }
}

/// Lines that lie side by side: a copy of `count` numbers for each depth.
///
/// # Safety
/// `origin + p · step` is valid for reading `count` numbers for each `p < depth`; the panel has
/// `depth · width` numbers, and `count <= width`.
#[inline(always)]
unsafe fn copy_lines<T: Real, S: Simd>(
    simd: S,
    origin: *const T,
    step: isize,
    count: usize,
    depth: usize,
    width: usize,
    panel: &mut [T],
) {
    let mut source = origin;
    for target in panel.chunks_exact_mut(width).take(depth) {
        // SAFETY: the caller promises `count` numbers at each step, and `count <= width`.
        unsafe { copy_padded(simd, source, count, target) };
        source = source.wrapping_offset(step);
    }
}

/// Copies `count` numbers to `target`, whose rest becomes zero.
///
/// # Safety
/// `source` is valid for reading `count` numbers, and `count <= target.len()`.
#[inline(always)]
unsafe fn copy_padded<T: Real, S: Simd>(simd: S, source: *const T, count: usize, target: &mut [T]) {
    let lanes = T::Vector::<S>::LANES;
    let mut i = 0;
    while i < target.len() {
        let room = target.len() - i;
        // SAFETY: of the `count` numbers at `source` no more are read than follow `i`, and no
        // more are written than `target` has room for.
        unsafe {
            let target = target.as_mut_ptr().add(i);
            if i + lanes <= count {
                T::Vector::<S>::load_pointer(simd, source.add(i)).store_pointer(target);
            } else {
                let left = count.saturating_sub(i);
                let source = source.wrapping_add(i);
                let vector = T::Vector::<S>::load_pointer_partial(simd, source, left);
                if room >= lanes {
                    vector.store_pointer(target);
                } else {
                    vector.store_pointer_partial(target, room);
                }
            }
        }
        i += lanes;
    }
}

/// The most numbers of a vector.
const LANES: usize = 16;

/// Lines that are contiguous along the depth, transposed block by block in registers.
///
/// # Safety
/// `origin + i · line` is valid for reading `depth` numbers for each `i < count`; the panel has
/// `depth · width` numbers, and `0 < count <= width`.
#[inline(always)]
unsafe fn interleave<T: Real, S: Simd>(
    simd: S,
    origin: *const T,
    line: isize,
    count: usize,
    depth: usize,
    width: usize,
    panel: &mut [T],
) {
    let line = |i: usize| origin.wrapping_offset(i as isize * line);
    let side = T::Vector::<S>::SIDE;
    let groups = count.div_ceil(side);
    // A block writes whole groups, so where `count` is no multiple of the side it also writes
    // beyond the last line: into the padding, which is cleared afterwards, or into the first lines
    // of the next depth, which are written afterwards, as groups go from last to first. Only
    // beyond the panel it must not write.
    let mut end = depth / side * side;
    while end > 0 && (end - 1) * width + groups * side > panel.len() {
        end -= side;
    }
    for group in (0..groups).rev() {
        for p in (0..end).step_by(side) {
            let mut rows = [std::ptr::null(); 8];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = line((group * side + i).min(count - 1)).wrapping_add(p);
            }
            // SAFETY: `side` numbers from depth `p` on exist in each line, and `end` keeps the
            // block inside the panel.
            unsafe {
                let target = panel.as_mut_ptr().add(p * width + group * side);
                T::Vector::<S>::transpose(simd, &rows, target, width);
            }
        }
    }
    // The rest goes through memory of its own, in which a block may be read and written whole.
    let mut lines = [[T::ZERO; LANES]; 8];
    let mut block = [T::ZERO; 8 * 8 + LANES];
    for group in 0..groups {
        let lines_left = (count - group * side).min(side);
        for p in (end..depth).step_by(side) {
            let left = (depth - p).min(side);
            for (i, copy) in lines[..lines_left].iter_mut().enumerate() {
                // SAFETY: `left` numbers from depth `p` on exist in each line, no more than a side,
                // which is no more than a vector, for which a copy has room.
                unsafe {
                    let source = line(group * side + i).add(p);
                    T::Vector::<S>::load_pointer_partial(simd, source, left)
                        .store_pointer(copy.as_mut_ptr());
                }
            }
            let mut rows = [std::ptr::null(); 8];
            for (row, line) in rows.iter_mut().zip(&lines) {
                *row = line.as_ptr();
            }
            // SAFETY: the copies have `side` numbers, the block has `side` times as many, and from
            // each of its rows on there is a vector to read.
            unsafe { T::Vector::<S>::transpose(simd, &rows, block.as_mut_ptr(), side) };
            for q in 0..left {
                let target = &mut panel[(p + q) * width + group * side..][..lines_left];
                // SAFETY: as above; the target has room for `lines_left` numbers.
                unsafe {
                    T::Vector::<S>::load_pointer(simd, block.as_ptr().add(q * side))
                        .store_pointer_partial(target.as_mut_ptr(), lines_left);
                }
            }
        }
    }
    if count < width {
        for row in panel.chunks_exact_mut(width) {
            row[count..].fill(T::ZERO);
        }
    }
}
