//! Panels: operands copied in the order in which the micro-kernel reads them.

use std::ops::Range;

use crate::simd::{Real, Simd, Vector};

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

/// `panel[(p - depth.start) · width + (i - lines.start)] = lines_of[i][p]`, and zeros up to
/// `width`.
#[inline(always)]
fn pack_lines<T: Real, S: Simd>(
    simd: S,
    matrix: &MatrixRef<'_, T>,
    lines: Range<usize>,
    depth: Range<usize>,
    width: usize,
    panel: &mut [T],
) {
    assert!(lines.end <= matrix.rows() && depth.end <= matrix.columns());
    assert!(lines.len() <= width && panel.len() == depth.len() * width);
    let origin = matrix.pointer(lines.start, depth.start);
    let (line, step) = (matrix.row_stride(), matrix.column_stride());
    let (count, depth) = (lines.len(), depth.len());
    if depth == 0 || width == 0 {
        return;
    }
    if count < width {
        for row in panel.chunks_exact_mut(width) {
            row[count..].fill(T::ZERO);
        }
    }
    // SAFETY: the assertions have found all lines and depths inside the matrix, whose elements are
    // valid for reading, and the panel to have `width` numbers for each depth.
    unsafe {
        if line == 1 {
            copy_lines(simd, origin, step, count, depth, width, panel);
        } else if step == 1 {
            interleave(simd, origin, line, count, depth, width, panel);
        } else {
            for p in 0..depth as isize {
                for i in 0..count as isize {
                    panel[p as usize * width + i as usize] =
                        origin.offset(i * line + p * step).read();
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
    let lanes = T::Vector::<S>::LANES;
    let mut source = origin;
    let mut target = panel.as_mut_ptr();
    for _ in 0..depth {
        // SAFETY: `count` numbers are valid at `source` and at `target`.
        unsafe {
            let mut i = 0;
            while i + lanes <= count {
                T::Vector::<S>::load_pointer(simd, source.add(i)).store_pointer(target.add(i));
                i += lanes;
            }
            while i < count {
                target.add(i).write(source.add(i).read());
                i += 1;
            }
        }
        source = source.wrapping_offset(step);
        target = target.wrapping_add(width);
    }
}

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
    let mut p = 0;
    // A block writes whole groups, so where `count` is no multiple of the side it also writes
    // beyond the last line, into the first lines of the next depth. Those are written later: the
    // last group goes first, and blocks go by depth. Only beyond the panel it must not write.
    while p + side <= depth && (p + side - 1) * width + groups * side <= panel.len() {
        for group in (0..groups).rev() {
            let mut rows = [line(0).wrapping_add(p); 8];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = line((group * side + i).min(count - 1)).wrapping_add(p);
            }
            // SAFETY: `side` numbers from depth `p` on exist in each line, and the loop's condition
            // keeps the block inside the panel.
            unsafe {
                let target = panel.as_mut_ptr().add(p * width + group * side);
                T::Vector::<S>::transpose(simd, &rows, target, width);
            }
        }
        p += side;
    }
    for p in p..depth {
        for i in 0..count {
            // SAFETY: depth `p` exists in each line.
            panel[p * width + i] = unsafe { line(i).add(p).read() };
        }
    }
    if count < width && count < groups * side {
        for row in panel.chunks_exact_mut(width) {
            row[count..].fill(T::ZERO);
        }
    }
}
