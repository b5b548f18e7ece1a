//! A row of targets, walked in tiles through some taps at a time.

use std::ops::Range;

use smallvec::SmallVec;

use crate::conv::correlation::Correlation;
use crate::conv::depthwise::pixels::{Ahead, Chunk, ChunkShape, Kind, Span, Tile, chunks, tiles};
use crate::conv::depthwise::source::Source;
use crate::simd::{Real, Simd, Vector};

/// Where a row of targets lies, and what it sees.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a, T> {
    pub(super) correlation: &'a Correlation,
    /// The rows under the targets, and how many pixels each has.
    pub(super) source: Source<'a, T>,
    pub(super) width: usize,
    pub(super) channels: usize,
    /// The row's number.
    pub(super) o: usize,
    /// Targets that were computed already, in the channels that fill vectors.
    pub(super) covered: usize,
    /// Channels from here on are computed, which is where a vector begins.
    pub(super) first_channel: usize,
}

/// The taps of a pass.
pub(super) struct Taps<'a, T> {
    pub(super) chunk: Chunk,
    /// The first kernel row that lies on the source.
    pub(super) first_down: usize,
    /// The rows under it and the next ones.
    pub(super) sources: &'a [&'a [T]],
}

/// Some targets, in the channels of some vectors.
pub(super) struct Place<'a, T> {
    pub(super) tile: Tile,
    pub(super) span: Span,
    pub(super) vectors: Range<usize>,
    pub(super) ahead: &'a mut [Ahead<T>; 2],
}

/// What is done with each tile of a row.
pub(super) trait TiledRow<'a, T: Real> {
    fn walk(&self) -> Walk<'a, T>;

    /// What the next row needs that this one does not, while so many vectors are computed.
    fn next_rows(&self, vectors: usize) -> [Ahead<T>; 2];

    /// The targets at `place`, whose kind is `kind`, through `taps`.
    fn tile<S: Simd, const TAPS: usize, const STRIDE: usize>(
        &mut self,
        simd: S,
        taps: &Taps<'_, T>,
        place: &mut Place<'_, T>,
        kind: Kind,
    );
}

/// All targets of `row`, through all taps: some taps after the other.
#[inline(always)]
pub(super) fn walk<'a, T: Real, S: Simd>(row: &mut impl TiledRow<'a, T>, simd: S) {
    let columns = row.walk().correlation.columns;
    for chunk in chunks(&columns) {
        match chunk.shape {
            ChunkShape::Three => pass::<_, _, _, 3, 1>(row, simd, chunk),
            ChunkShape::ThreeByTwo => pass::<_, _, _, 3, 2>(row, simd, chunk),
            ChunkShape::Two => pass::<_, _, _, 2, 1>(row, simd, chunk),
            ChunkShape::One => pass::<_, _, _, 1, 1>(row, simd, chunk),
        }
    }
}

#[inline(always)]
fn pass<'a, T: Real, S: Simd, R: TiledRow<'a, T>, const TAPS: usize, const STRIDE: usize>(
    row: &mut R,
    simd: S,
    chunk: Chunk,
) {
    let lanes = T::Vector::<S>::LANES;
    let Walk {
        correlation,
        source,
        width,
        channels,
        o,
        covered,
        first_channel,
    } = row.walk();
    let Correlation { rows, columns, .. } = *correlation;
    let (first, whole, vectors) = (
        first_channel / lanes,
        channels / lanes,
        channels.div_ceil(lanes),
    );
    let mut ahead = row.next_rows(columns.targets * vectors);
    let downs = rows.taps_of(o);
    let sources: SmallVec<[&[T]; 8]> = (downs.clone())
        .map(|down| source.row((rows.start(o) + (down * rows.step) as isize) as usize))
        .collect();
    // What `Span::under` finds to be inside the width is inside these rows.
    let row_len = width * source.pixel();
    assert!(channels <= source.pixel() && sources.iter().all(|row| row.len() == row_len));
    let taps = Taps {
        chunk,
        first_down: downs.start,
        sources: &sources,
    };
    for (vectors, covered) in [(first..whole, covered), (whole..vectors, 0)] {
        let is_whole = vectors.end == whole;
        for tile in tiles(covered..columns.targets).filter(|_| !vectors.is_empty()) {
            let span = Span::under(&columns, width, tile, chunk);
            let mut place = Place {
                tile,
                span,
                vectors: vectors.clone(),
                ahead: &mut ahead,
            };
            // Constants, each with code of its own.
            match span.kind::<TAPS, STRIDE>(tile) {
                Kind::Whole if is_whole => {
                    row.tile::<S, TAPS, STRIDE>(simd, &taps, &mut place, Kind::Whole);
                }
                Kind::Edge if is_whole => {
                    row.tile::<S, TAPS, STRIDE>(simd, &taps, &mut place, Kind::Edge);
                }
                _ => row.tile::<S, TAPS, STRIDE>(simd, &taps, &mut place, Kind::Parts),
            }
        }
    }
}
