//! Rows and pixels of images, and the windows over them.

use std::ops::Range;

use crate::conv::padding::WindowAxis;
use crate::parallel::BLOCK;
use crate::pool::params::Pool2dParams;

/// Rows of `row_len` numbers that make a block of work.
pub(super) fn rows_per_block(row_len: usize) -> usize {
    (BLOCK / row_len.max(1)).max(1)
}

/// Image and row of the row with number `row` of all images, `height` in each.
pub(super) fn place(row: usize, height: usize) -> (usize, usize) {
    (row / height, row % height)
}

/// One row of an image, cut into pixels.
#[derive(Clone, Copy)]
pub(super) struct Row<'a, T> {
    numbers: &'a [T],
    channels: usize,
}

impl<'a, T> Row<'a, T> {
    /// Row `row` of all rows of `images`.
    #[inline(always)]
    pub(super) fn of(images: &'a [T], row: usize, width: usize, channels: usize) -> Self {
        let len = width * channels;
        Row {
            numbers: &images[row * len..][..len],
            channels,
        }
    }

    #[inline(always)]
    pub(super) fn pixel(&self, x: usize) -> &'a [T] {
        &self.numbers[x * self.channels..][..self.channels]
    }
}

/// Calls `body(tap number, input pixel)` for the taps of output `[image, y, x]` on the input.
#[inline(always)]
pub(super) fn for_taps<'a, T>(
    params: &Pool2dParams,
    images: &'a [T],
    [image, y, x]: [usize; 3],
    mut body: impl FnMut(usize, &'a [T]),
) {
    let (rows, columns) = (params.rows, params.columns);
    for down in rows.taps(y) {
        let row = image * rows.input + (rows.start(y) + down as isize) as usize;
        let row = Row::of(images, row, columns.input, params.channels);
        for across in columns.taps(x) {
            let pixel = row.pixel((columns.start(x) + across as isize) as usize);
            body(down * columns.kernel + across, pixel);
        }
    }
}

/// The outputs whose window covers input `position`.
pub(super) fn windows_over(axis: &WindowAxis, position: usize) -> Range<usize> {
    let position = position + axis.before;
    let end = (position / axis.stride + 1).min(axis.output);
    let start = (position + 1)
        .saturating_sub(axis.kernel)
        .div_ceil(axis.stride);
    start.min(end)..end
}

/// The four pixels under output `[image, y, x]` if its window is 2×2 and has no padding.
#[inline(always)]
pub(super) fn whole_2x2<'a, T>(
    params: &Pool2dParams,
    images: &'a [T],
    [image, y, x]: [usize; 3],
) -> Option<[&'a [T]; 4]> {
    let (rows, columns) = (params.rows, params.columns);
    let is_whole = |axis: &WindowAxis, o| axis.kernel == 2 && axis.taps(o) == (0..2);
    if !is_whole(&rows, y) || !is_whole(&columns, x) {
        return None;
    }
    let row = image * rows.input + rows.start(y) as usize;
    let column = columns.start(x) as usize;
    let upper = Row::of(images, row, columns.input, params.channels);
    let lower = Row::of(images, row + 1, columns.input, params.channels);
    Some([
        upper.pixel(column),
        upper.pixel(column + 1),
        lower.pixel(column),
        lower.pixel(column + 1),
    ])
}
