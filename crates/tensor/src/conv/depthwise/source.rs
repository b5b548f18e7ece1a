//! The rows that targets read, copied where they would drive each other out of the cache.

use std::ops::Range;

use crate::conv::correlation::TapAxis;
use crate::conv::depthwise::pixels::TILE;
use crate::conv::job::ImageShape;
use crate::conv::reached::{Path, reached};
use crate::matmul::with_scratch;
use crate::simd::{Level, Real};

/// Bytes of a line of the first-level cache, its sets, and the lines in a set.
const LINE: usize = 64;
const SETS: usize = 64;
const WAYS: usize = 8;
/// Numbers that copies may take, so that they stay in the second-level cache.
const LARGEST_RING: usize = 128 << 10;
/// Targets that read each number, so that a copy pays.
const FEWEST_READS: usize = 6;

/// Rows of one image, where they are in it or copied.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, T> {
    numbers: &'a [T],
    /// That of a row; from one pixel to the next are as many numbers as it has channels.
    shape: ImageShape,
    /// The image's row that `numbers` begins with, …
    top: usize,
    /// … and so many rows later comes the row that takes the place of the first.
    ring: usize,
}

impl<'a, T: Real> Source<'a, T> {
    /// The image's row `y`, one of those that were asked for.
    #[inline(always)]
    pub(super) fn row(&self, y: usize) -> &'a [T] {
        let place = y - self.top;
        let place = if place < self.ring {
            place
        } else {
            place - self.ring
        };
        &self.numbers[place * self.shape.row_len()..][..self.shape.row_len()]
    }

    /// How many numbers pixels are apart.
    #[inline(always)]
    pub(super) fn pixel(&self) -> usize {
        self.shape.channels
    }
}

/// Gives out the rows of images, from top to bottom.
pub(super) struct Rows<'i, 'c, T> {
    image: &'i [T],
    shape: ImageShape,
    copies: &'c mut [T],
    /// Rows that there is room for; 0 if none are copied.
    ring: usize,
    /// The first row that was not copied yet, if those before it were.
    next: usize,
}

impl<'i, T: Real> Rows<'i, '_, T> {
    /// From now on rows are those of `image`.
    pub(super) fn begin(&mut self, image: &'i [T]) {
        self.image = image;
        self.next = 0;
    }

    /// Rows `rows`, of which none lies further before those that were asked for than [`span`] has
    /// found.
    pub(super) fn source(&mut self, rows: Range<usize>) -> Source<'_, T> {
        let shape = self.shape;
        if self.ring == 0 {
            return Source {
                numbers: self.image,
                shape,
                top: 0,
                ring: usize::MAX,
            };
        }
        let copied = copied::<T>(shape);
        for y in self.next.max(rows.start)..rows.end {
            let row = self.image[y * shape.row_len()..][..shape.row_len()].chunks(shape.channels);
            let copy = &mut self.copies[y % self.ring * copied.row_len()..][..copied.row_len()];
            for (copy, pixel) in copy.chunks_mut(copied.channels).zip(row) {
                copy[..pixel.len()].copy_from_slice(pixel);
            }
        }
        self.next = self.next.max(rows.end);
        Source {
            numbers: self.copies,
            shape: copied,
            top: rows.start / self.ring * self.ring,
            ring: self.ring,
        }
    }
}

/// The shape of copied rows: an odd number of lines from pixel to pixel, where it was even.
fn copied<T>(shape: ImageShape) -> ImageShape {
    ImageShape {
        channels: shape.channels + LINE / size_of::<T>(),
        ..shape
    }
}

/// Runs `body` with the rows of images of `shape`, of which a filter with the taps of `rows` and
/// `columns` sees `span` successive ones at a time.
///
/// In images whose pixels lie some KiB apart, those of a tile share a few sets of the first-level
/// cache, which hold fewer lines than a tile reads: then each is fetched again for every vector and
/// every row. Where enough targets read each number, rows are copied with a line between pixels,
/// which spreads them over all sets.
pub(super) fn with_rows<'i, T: Real, R>(
    level: Level,
    shape: ImageShape,
    span: usize,
    [rows, columns]: [&TapAxis; 2],
    body: impl FnOnce(&mut Rows<'i, '_, T>) -> R,
) -> R {
    let pixel = shape.channels * size_of::<T>();
    let sets = SETS / greatest_power_of_two(pixel / LINE).clamp(1, SETS);
    let reach = ((TILE - 1).saturating_mul(columns.stride)).saturating_add(columns.taps);
    let crowded = pixel.is_multiple_of(LINE) && reach.saturating_mul(span) > sets * WAYS;
    let reads = rows.taps.saturating_mul(columns.taps) / rows.stride / columns.stride;
    let row_len = copied::<T>(shape).row_len();
    let fits = span.saturating_mul(row_len) <= LARGEST_RING;
    let copies = crowded && reads >= FEWEST_READS && fits;
    if copies {
        reached(Path::CopiedRows, level);
    }
    let ring = if copies { span } else { 0 };
    with_scratch(ring * row_len, |copies: &mut [T]| {
        body(&mut Rows {
            image: &[],
            shape,
            copies,
            ring,
            next: 0,
        })
    })
}

/// The greatest power of two that divides `n`; 0 for 0.
fn greatest_power_of_two(n: usize) -> usize {
    n & n.wrapping_neg()
}

/// The source's rows under target `o`.
pub(super) fn rows_under(axis: &TapAxis, o: usize) -> Range<usize> {
    let taps = axis.taps_of(o);
    if taps.is_empty() {
        return 0..0;
    }
    let row = |tap: usize| (axis.start(o) + (tap * axis.step) as isize) as usize;
    row(taps.start)..row(taps.end - 1) + 1
}

/// How many rows, in the order of their calls, reach from the first under a target to the last that
/// any target until then has seen.
pub(super) fn span(rows_of_targets: impl Iterator<Item = Range<usize>>) -> usize {
    let (mut span, mut end) = (0, 0);
    for rows in rows_of_targets.filter(|rows| !rows.is_empty()) {
        end = rows.end.max(end);
        span = span.max(end - rows.start);
    }
    span
}
