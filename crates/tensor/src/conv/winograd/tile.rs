//! Transforms tile by tile, vectorised over channels.
//!
//! Between the transforms, the values of a chunk of tiles at one point form a matrix of a row for
//! each tile and a column for each channel. Matrices of all points follow each other; their rows
//! are filled up to whole vectors, so that only images are read and written in parts.

use crate::conv::reached::{Path, reached};
use crate::conv::winograd::chunk::Chunk;
use crate::conv::winograd::minimal::{LONGEST, Line, Minimal, Side};
use crate::simd::{Kernel, Real, Simd, Vector};

/// Bytes that a cache fetches at once.
const CACHE_LINE: usize = 64;

/// From a matrix of `rows` rows of `width` numbers to that of the next point: an odd number of cache
/// lines, so that what a tile has at all points lies in different sets of the first-level cache.
pub(super) fn matrix_len<T>(rows: usize, width: usize) -> usize {
    let line = CACHE_LINE / size_of::<T>();
    ((rows * width).div_ceil(line) | 1) * line
}

/// A transform of one tile.
pub(super) trait TileTransform {
    /// The type of numbers.
    type Scalar: Real;
    /// The side of most tiles.
    type Wide: Minimal;

    /// Transforms the tile at image, row and column `place`, which has row `row` of the matrices; its
    /// sides are `D` down and `A` across. Must be `#[inline(always)]`.
    fn transform<S: Simd, D: Side, A: Side>(&mut self, simd: S, row: usize, place: [usize; 3]);
}

/// A transform of all tiles of a chunk.
pub(super) struct EachTile<'a, K> {
    pub(super) chunk: &'a Chunk,
    pub(super) transform: K,
}

impl<K: TileTransform> Kernel for EachTile<'_, K> {
    type Scalar = K::Scalar;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        type Narrow<K> = <<K as TileTransform>::Wide as Minimal>::Narrow;
        let mut transform = self.transform;
        self.chunk.for_each(
            #[inline(always)]
            |narrow, row, place| {
                let outputs = K::Wide::OUTPUT;
                reached(Path::Winograd { outputs, narrow }, S::LEVEL);
                match narrow {
                    [false, false] => transform.transform::<S, K::Wide, K::Wide>(simd, row, place),
                    // Spares the compiler what never runs.
                    _ if Narrow::<K>::OUTPUT == K::Wide::OUTPUT => {}
                    [true, false] => transform.transform::<S, Narrow<K>, K::Wide>(simd, row, place),
                    [false, true] => transform.transform::<S, K::Wide, Narrow<K>>(simd, row, place),
                    [true, true] => {
                        transform.transform::<S, Narrow<K>, Narrow<K>>(simd, row, place)
                    }
                }
            },
        );
    }
}

/// Transforms a tile along both axes: `load(i, j)` for `inputs`, `store(i, j, …)` for `outputs`, down
/// and across.
#[inline(always)]
pub(super) fn both_axes<T: Real, S: Simd>(
    simd: S,
    inputs: [usize; 2],
    outputs: [usize; 2],
    mut load: impl FnMut(usize, usize) -> T::Vector<S>,
    down: impl Fn(Line<T, S>) -> Line<T, S>,
    across: impl Fn(Line<T, S>) -> Line<T, S>,
    mut store: impl FnMut(usize, usize, T::Vector<S>),
) {
    let zero = T::Vector::<S>::zero(simd);
    let mut halfway = [[zero; LONGEST]; LONGEST];
    for j in 0..inputs[1] {
        let mut line = [zero; LONGEST];
        for i in 0..inputs[0] {
            line[i] = load(i, j);
        }
        let line = down(line);
        for i in 0..outputs[0] {
            halfway[i][j] = line[i];
        }
    }
    for i in 0..outputs[0] {
        let line = across(halfway[i]);
        for j in 0..outputs[1] {
            store(i, j, line[j]);
        }
    }
}
