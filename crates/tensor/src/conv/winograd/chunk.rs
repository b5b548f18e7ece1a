//! Which tiles are transformed and multiplied together.

use std::ops::Range;

use crate::conv::job::ImageShape;
use crate::conv::winograd::minimal::{Minimal, Side};

/// Whether a tile is narrow down and across: one of the last of an axis where little is left, with a
/// side of [`Minimal::Narrow`].
pub(super) type Narrow = [bool; 2];

/// The kinds of tiles in the order in which the rows of a chunk's matrices hold them, so that those
/// which have a point follow each other, whichever it is.
const KINDS: [Narrow; 4] = [[true, false], [false, false], [false, true], [true, true]];

/// How an axis of outputs is cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TileAxis {
    pub(super) tiles: usize,
    /// Whether the last tile is narrow.
    pub(super) narrow: bool,
}

impl TileAxis {
    pub(super) fn new<M: Minimal>(outputs: usize) -> Self {
        let left = outputs % M::OUTPUT;
        TileAxis {
            tiles: outputs.div_ceil(M::OUTPUT),
            narrow: left > 0 && left <= M::Narrow::OUTPUT && M::Narrow::OUTPUT < M::OUTPUT,
        }
    }

    /// Outputs that tiles cover, those beyond the image included.
    pub(super) fn covered<M: Minimal>(&self) -> usize {
        let spared = if self.narrow {
            M::OUTPUT - M::Narrow::OUTPUT
        } else {
            0
        };
        self.tiles * M::OUTPUT - spared
    }

    /// Points of all tiles along the axis.
    pub(super) fn points<M: Minimal>(&self) -> usize {
        let spared = if self.narrow {
            M::INPUT - M::Narrow::INPUT
        } else {
            0
        };
        self.tiles * M::INPUT - spared
    }
}

/// Some tiles of some images, in the order image, row, column.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    /// Where tiles come from: images, rows of tiles in each, and how many tiles a row has.
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
    columns: usize,
    /// Which of these tiles.
    tiles: Range<usize>,
    /// The row and the column of tiles that are narrow, if any.
    narrow: [Option<usize>; 2],
    /// How many tiles there are of each of [`KINDS`].
    counts: [usize; 4],
}

impl Chunk {
    /// Tiles `tiles` of those in `rows` of `images`, which are cut into tiles along `axes`.
    pub(super) fn new(
        axes: [TileAxis; 2],
        images: Range<usize>,
        rows: Range<usize>,
        tiles: Range<usize>,
    ) -> Self {
        let mut chunk = Chunk {
            images,
            rows,
            columns: axes[1].tiles,
            narrow: axes.map(|axis| axis.narrow.then(|| axis.tiles - 1)),
            counts: [0, tiles.len(), 0, 0],
            tiles,
        };
        if chunk.narrow != [None; 2] {
            chunk.counts = KINDS.map(|kind| chunk.count(kind));
        }
        chunk
    }

    pub(super) fn len(&self) -> usize {
        self.tiles.len()
    }

    /// The kind of the tile at `place`.
    #[inline(always)]
    fn kind(&self, [_, row, column]: [usize; 3]) -> Narrow {
        [self.narrow[0] == Some(row), self.narrow[1] == Some(column)]
    }

    /// The place of the tile after that at `place`.
    #[inline(always)]
    fn next(&self, [image, row, column]: [usize; 3]) -> [usize; 3] {
        if column + 1 < self.columns {
            [image, row, column + 1]
        } else if row + 1 < self.rows.end {
            [image, row + 1, 0]
        } else {
            [image + 1, self.rows.start, 0]
        }
    }

    /// How many tiles of a kind there are.
    fn count(&self, kind: Narrow) -> usize {
        let mut place = self.place(self.tiles.start);
        let mut count = 0;
        for _ in 0..self.len() {
            count += usize::from(self.kind(place) == kind);
            place = self.next(place);
        }
        count
    }

    /// Calls `body(kind, row, place)` for all tiles, kind by kind: with the row that each has in
    /// matrices, and its image, row and column.
    #[inline(always)]
    pub(super) fn for_each(&self, mut body: impl FnMut(Narrow, usize, [usize; 3])) {
        let mut tile = 0;
        for (kind, count) in KINDS.into_iter().zip(self.counts) {
            let end = tile + count;
            let mut place = self.place(self.tiles.start);
            while tile < end {
                if self.kind(place) == kind {
                    body(kind, tile, place);
                    tile += 1;
                }
                place = self.next(place);
            }
        }
    }

    /// The points that have the same tiles, and the rows that these have in the matrices there.
    pub(super) fn groups<M: Minimal>(
        &self,
    ) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + use<M> {
        let [down, wide, across, _] = self.counts;
        let rows = [
            0..self.len(),
            0..down + wide,
            down..down + wide + across,
            down..down + wide,
        ];
        let groups = if self.len() == wide {
            // All points have all tiles.
            [0..M::POINTS, 0..0, 0..0, 0..0]
        } else {
            M::groups()
        };
        groups
            .into_iter()
            .zip(rows)
            .filter(|(points, _)| !points.is_empty())
    }

    /// Multiplications for each pair of channels.
    pub(super) fn multiplications<M: Minimal>(&self) -> usize {
        self.groups::<M>()
            .map(|(points, rows)| points.len() * rows.len())
            .sum()
    }

    /// Image, row and column of a tile.
    fn place(&self, tile: usize) -> [usize; 3] {
        let (row, column) = (tile / self.columns, tile % self.columns);
        let image = self.images.start + row / self.rows.len();
        [image, self.rows.start + row % self.rows.len(), column]
    }

    /// Where images of `shape` hold the first row of the block that the chunk belongs to.
    pub(super) fn first_row(&self, shape: ImageShape, step: usize) -> usize {
        (self.images.start * shape.height + self.rows.start * step) * shape.row_len()
    }

    /// Where images of `shape` hold the rows under the tiles: `height` rows a tile, `step` from
    /// one tile to the next, the first at `origin`.
    pub(super) fn pixels(
        &self,
        shape: ImageShape,
        origin: isize,
        [step, height]: [usize; 2],
    ) -> Range<usize> {
        let ([first_image, first, _], [last_image, last, _]) = (
            self.place(self.tiles.start),
            self.place(self.tiles.end.max(1) - 1),
        );
        let clip = |row: isize| row.clamp(0, shape.height as isize) as usize;
        let top = clip(origin + (first * step) as isize);
        let bottom = clip(origin + (last * step + height) as isize);
        let at = |image: usize, row: usize| (image * shape.height + row) * shape.row_len();
        at(first_image, top)..at(last_image, bottom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::winograd::minimal::{Four, Two};

    #[test]
    fn two_outputs_or_fewer_at_the_end_of_an_axis_take_a_narrow_tile() {
        for (outputs, tiles, narrow, points) in [
            (1, 1, true, 4),
            (2, 1, true, 4),
            (3, 1, false, 6),
            (4, 1, false, 6),
            (13, 4, true, 22),
            (15, 4, false, 24),
        ] {
            let axis = TileAxis::new::<Four>(outputs);
            assert_eq!(axis, TileAxis { tiles, narrow }, "{outputs}");
            assert_eq!(axis.points::<Four>(), points, "{outputs}");
            assert!(axis.covered::<Four>() >= outputs);
        }
        let axis = TileAxis::new::<Two>(5);
        assert_eq!((axis.tiles, axis.narrow), (3, false));
        assert_eq!(axis.points::<Two>(), 12);
    }

    /// Each point has those tiles whose sides reach it, each tile once, and its row is the same at
    /// all its points.
    #[test]
    fn points_have_the_tiles_that_reach_them() {
        for [height, width] in [[13, 10], [12, 9], [2, 2], [6, 8]] {
            let axes = [height, width].map(TileAxis::new::<Four>);
            let tiles = 2 * axes[0].tiles * axes[1].tiles;
            let chunk = Chunk::new(axes, 3..5, 0..axes[0].tiles, 1..tiles);
            let mut tiles = Vec::new();
            chunk.for_each(|kind, row, place| tiles.push((kind, row, place)));
            let rows: Vec<usize> = tiles.iter().map(|(_, row, _)| *row).collect();
            assert_eq!(rows, (0..chunk.len()).collect::<Vec<_>>());
            let mut places: Vec<_> = tiles.iter().map(|(_, _, place)| *place).collect();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), chunk.len());
            let mut seen = 0;
            for (points, rows) in chunk.groups::<Four>() {
                for point in points {
                    let [i, j] = (0..36)
                        .map(|at| [at / 6, at % 6])
                        .find(|&[i, j]| Four::point(i, j) == point)
                        .unwrap();
                    let expected: Vec<usize> = tiles
                        .iter()
                        .filter(|([down, across], ..)| (!down || i < 4) && (!across || j < 4))
                        .map(|(_, row, _)| *row)
                        .collect();
                    assert_eq!(rows.clone().collect::<Vec<_>>(), expected, "{i} {j}");
                    seen += 1;
                }
            }
            assert_eq!(seen, 36);
        }
    }
}
