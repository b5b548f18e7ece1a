//! Tiles that Winograd's algorithm cannot compute, by a direct convolution.
//!
//! Transforms mix all pixels of a tile. So an infinity or NaN in one of them, or a number so large
//! that a sum overflows on the way, would reach outputs whose windows do not hold it. Such tiles are
//! computed anew, as [`direct`](crate::conv::direct) does.

use crate::conv::ahead::Ahead;
use crate::conv::correlation::{Correlation, Panels};
use crate::conv::job::ImageShape;
use crate::conv::microkernel::{Finish, Loop, Repeat, Strip};
use crate::conv::statistics::{Counter, count};
use crate::conv::winograd::image::Source;
use crate::conv::winograd::pooled::pooled;
use crate::conv::winograd::{Ending, Target};
use crate::error::Result;
use crate::gate::keep_where_open;
use crate::matmul::{Epilogue, with_scratch};
use crate::parallel::Par;
use crate::simd::{Level, Real};
use crate::storage::Buffer;

/// What the tiles of one convolution share.
pub(super) struct DirectTiles<'a, T> {
    pub(super) level: Level,
    pub(super) correlation: &'a Correlation,
    pub(super) source: Source<'a, T>,
    /// Of the source, and of the target before any pooling.
    pub(super) shapes: [ImageShape; 2],
    pub(super) epilogue: Epilogue<'a, T>,
    pub(super) ending: Ending<'a, T>,
    /// Outputs of a tile along an axis.
    pub(super) side: usize,
}

impl<T: Real> DirectTiles<'_, T> {
    /// Overwrites the outputs of `tiles`, whose images, rows and columns are in order, in `target`;
    /// `w` are the filters.
    pub(super) fn compute(
        &self,
        operation: &str,
        par: Par,
        w: &[T],
        tiles: &[[usize; 3]],
        target: Target<'_, T>,
    ) -> Result<()> {
        count(Counter::DirectTiles, tiles.len() as u64);
        let (correlation, level) = (self.correlation, self.level);
        let panels = correlation.panels::<T>(level);
        let mut filters = Buffer::unspecified(operation, panels.len())?;
        let taps = correlation.columns.taps;
        correlation.pack(par, level, &panels, w, taps, filters.as_mut_slice());
        let filters = filters.as_slice();
        let (written, tile_rows) = match self.ending {
            Ending::Pool => (pooled(self.shapes[1]), self.side / 2),
            Ending::Store | Ending::Gate(_) => (self.shapes[1], self.side),
        };
        let before = |row: [usize; 2]| tiles.partition_point(|tile| tile[..2] < row[..]);
        target.for_chunks(par, written.len(), |image, target| {
            target.for_chunks(par, tile_rows * written.row_len(), |row, mut target| {
                for &place in &tiles[before([image, row])..before([image, row + 1])] {
                    self.tile(place, &panels, filters, target.reborrow());
                }
            });
        });
        Ok(())
    }

    /// Computes one tile; `target` begins with its first row in the image.
    fn tile(
        &self,
        [image, row, column]: [usize; 3],
        panels: &Panels,
        filters: &[T],
        target: Target<'_, T>,
    ) {
        let [source_shape, shape] = self.shapes;
        let Correlation { rows, columns, .. } = self.correlation;
        let (channels, targets) = (source_shape.channels, shape.channels);
        let [y, x] = [row * self.side, column * self.side];
        let size = [
            self.side.min(shape.height - y),
            self.side.min(shape.width - x),
        ];
        let patch_size = [size[0] + rows.taps - 1, size[1] + columns.taps - 1];
        let patch_row = patch_size[1] * channels;
        let (patch_len, output_row) = (patch_size[0] * patch_row, size[1] * targets);
        with_scratch(patch_len + size[0] * output_row, |scratch: &mut [T]| {
            let (patch, outputs) = scratch.split_at_mut(patch_len);
            let corner = [rows.start(y), columns.start(x)];
            self.source
                .copy_tile(source_shape, image, corner, patch_size, patch);
            for (i, outputs) in outputs.chunks_exact_mut(output_row).enumerate() {
                let down = rows.taps_of(y + i);
                for panel in (0..panels.count()).map(|index| panels.panel(index)) {
                    let tap_row = columns.taps * channels * panel.width;
                    let outer = Loop {
                        count: down.len(),
                        a: patch_row,
                        b: tap_row,
                    };
                    let inner = Loop {
                        count: columns.taps * channels,
                        a: 1,
                        b: panel.width,
                    };
                    let bias = self.epilogue.bias;
                    let strip = Strip {
                        a: &patch[(i + down.start) * patch_row..],
                        a_row: channels,
                        b: &filters[panel.start + down.start * tap_row..],
                        c_row: targets,
                        rows: size[1],
                        columns: panel.columns,
                        sum: [outer, Loop::ONCE, inner],
                        finish: Finish::Store {
                            bias: bias.map(|bias| &bias[panel.first..][..panel.columns]),
                            relu: self.epilogue.relu,
                        },
                        repeat: Repeat::ONCE,
                        ahead: Ahead::of(&[]),
                    };
                    strip.run(self.level, &mut outputs[panel.first..]);
                }
            }
            match self.ending {
                Ending::Pool => store_pooled(shape, x, size, outputs, target),
                Ending::Store | Ending::Gate(_) => {
                    for (i, outputs) in outputs.chunks_exact_mut(output_row).enumerate() {
                        let at = i * shape.row_len() + x * targets;
                        if let Ending::Gate(gate) = self.ending {
                            let first = image * shape.len() + y * shape.row_len();
                            keep_where_open(&gate[first + at..][..output_row], outputs);
                        }
                        target.values[at..][..output_row].copy_from_slice(outputs);
                    }
                }
            }
        });
    }
}

/// Stores the largest of each 2×2 of a tile's outputs, which begin in column `x` of images of `shape`,
/// and where they were: the first of equal ones, and the last NaN.
fn store_pooled<T: Real>(
    shape: ImageShape,
    x: usize,
    [rows, columns]: [usize; 2],
    outputs: &[T],
    mut target: Target<'_, T>,
) {
    let channels = shape.channels;
    let row_len = pooled(shape).row_len();
    for (i, j) in (0..rows / 2).flat_map(|i| (0..columns / 2).map(move |j| (i, j))) {
        for channel in 0..channels {
            let output = |tap: usize| {
                let pixel = (2 * i + tap / 2) * columns + 2 * j + tap % 2;
                outputs[pixel * channels + channel]
            };
            let (mut largest, mut position) = (output(0), 0);
            for tap in 1..4 {
                let challenger = output(tap);
                if challenger > largest || challenger.is_nan() {
                    (largest, position) = (challenger, tap as u8);
                }
            }
            let at = i * row_len + (x / 2 + j) * channels + channel;
            target.values[at] = largest;
            if let Some(positions) = &mut target.positions {
                positions[at] = if largest <= T::ZERO { 255 } else { position };
            }
        }
    }
}
