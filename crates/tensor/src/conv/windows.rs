//! Source rows laid out so that every patch of some targets can be read in place.

use std::ops::Range;

use crate::conv::correlation::Correlation;
use crate::conv::job::ImageShape;
use crate::matmul::with_scratch;
use crate::simd::Real;

/// Numbers that copies of padded rows may take; a single target's rows may take more.
const PADDED_ROWS: usize = 64 << 10;

/// Source rows in memory, as wide as the taps of some targets reach.
pub(super) struct Windows<'a, T> {
    pub(super) numbers: &'a [T],
    /// From one row to the next.
    pub(super) row_len: usize,
    /// From one image to the next.
    pub(super) image_len: usize,
    /// The image's row that comes first.
    first_row: usize,
    /// Where in a row tap 0 of the first target lies.
    first_column: usize,
    /// The targets, along height and width, whose patches are here.
    pub(super) targets: Range<usize>,
    pub(super) across: Range<usize>,
}

impl<T> Windows<'_, T> {
    /// Where the row at `position` of the image begins, at tap 0 of the first target.
    pub(super) fn row(&self, position: isize) -> usize {
        (position as usize - self.first_row) * self.row_len + self.first_column
    }
}

/// Runs `body` on the windows of `targets` (along the height) in `images`.
///
/// Where windows stay between the left and right edges, that is the source itself. Elsewhere rows
/// are copied between zeros, a bounded number at a time. Rows above and below are never there:
/// [`TapAxis::taps_of`](crate::conv::correlation::TapAxis::taps_of) leaves them out.
pub(super) fn for_windows<T: Real>(
    correlation: &Correlation,
    shape: ImageShape,
    source: &[T],
    images: &Range<usize>,
    targets: &Range<usize>,
    mut body: impl FnMut(&Windows<'_, T>),
) {
    let Correlation { rows, columns, .. } = correlation;
    if targets.is_empty() || columns.targets == 0 || images.is_empty() {
        return;
    }
    let all = 0..columns.targets;
    let source = &source[images.start * shape.len()..images.end * shape.len()];
    let inside = columns.offset >= 0 && columns.offset as usize + columns.span(&all) <= shape.width;
    if inside {
        return body(&Windows {
            numbers: source,
            row_len: shape.row_len(),
            image_len: shape.len(),
            first_row: 0,
            first_column: columns.offset as usize * shape.channels,
            targets: targets.clone(),
            across: all,
        });
    }
    let fits = |down: usize, across: usize| {
        let rows = rows.span(&(0..down)).min(shape.height);
        let numbers = columns
            .span(&(0..across))
            .saturating_mul(rows * shape.channels);
        numbers.saturating_mul(images.len()) <= PADDED_ROWS
    };
    let column_block = widest(columns.targets, |count| fits(1, count));
    let row_block = widest(targets.len(), |count| fits(count, column_block));
    for first in targets.clone().step_by(row_block) {
        let targets = first..(first + row_block).min(targets.end);
        for first in (0..columns.targets).step_by(column_block) {
            let across = first..(first + column_block).min(columns.targets);
            padded(
                correlation,
                shape,
                source,
                images.len(),
                &targets,
                &across,
                &mut body,
            );
        }
    }
}

/// Numbers that the copies for a single target take.
pub(super) fn smallest_copy(correlation: &Correlation, shape: ImageShape) -> usize {
    let rows = correlation.rows.span(&(0..1)).min(shape.height);
    let columns = correlation.columns.span(&(0..1));
    columns.saturating_mul(rows * shape.channels)
}

/// The most of `1..=limit` for which `fits`, at least 1; `fits` is monotone.
fn widest(limit: usize, fits: impl Fn(usize) -> bool) -> usize {
    if fits(limit) {
        return limit;
    }
    let (mut good, mut bad) = (1, limit);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    good
}

/// Copies the source under `targets` × `across` between zeros.
fn padded<T: Real>(
    correlation: &Correlation,
    shape: ImageShape,
    source: &[T],
    images: usize,
    targets: &Range<usize>,
    across: &Range<usize>,
    body: &mut impl FnMut(&Windows<'_, T>),
) {
    let Correlation { rows, columns, .. } = correlation;
    let clip = |position: isize, size: usize| position.clamp(0, size as isize) as usize;
    let top = rows.start(targets.start);
    let first_row = clip(top, shape.height);
    let height = clip(top + rows.span(targets) as isize, shape.height) - first_row;
    let left = columns.start(across.start);
    let span = columns.span(across) as isize;
    let first = clip(left, shape.width);
    let end = clip(left + span, shape.width);
    let before = (first as isize - left).clamp(0, span) as usize * shape.channels;
    let copied = (end - first) * shape.channels;
    let row_len = span as usize * shape.channels;
    with_scratch(images * height * row_len, |numbers: &mut [T]| {
        let mut copies = numbers.chunks_exact_mut(row_len.max(1));
        for image in source.chunks_exact(shape.len().max(1)) {
            let rows = image.chunks_exact(shape.row_len().max(1)).skip(first_row);
            for (row, copy) in rows.take(height).zip(&mut copies) {
                copy[..before].fill(T::ZERO);
                copy[before..before + copied]
                    .copy_from_slice(&row[first * shape.channels..][..copied]);
                copy[before + copied..].fill(T::ZERO);
            }
        }
        body(&Windows {
            numbers,
            row_len,
            image_len: height * row_len,
            first_row,
            first_column: 0,
            targets: targets.clone(),
            across: across.clone(),
        });
    });
}
