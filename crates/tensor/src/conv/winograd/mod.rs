//! Winograd's minimal filtering for 3×3 kernels, stride 1 (see [`minimal`] for the algorithm).
//!
//! Images are cut into overlapping input tiles of 6×6 (or 4×4) pixels, one for each 4×4 (2×2)
//! outputs; where two outputs or fewer are left at the end of an axis, the last tiles are narrow
//! ([`chunk`]). A chunk of tiles that fits the second-level cache is transformed, multiplied with the
//! transformed filters point by point, and transformed back: its intermediates never reach memory.
//! Channels are the contiguous axis, so a chunk's values at one point are a matrix that the
//! micro-kernel reads as it is.
//!
//! # Accuracy
//!
//! The largest error against `f64` on normally distributed data with 64 input and 48 output
//! channels, in units of the largest result (`tests/accuracy.rs` holds the bounds):
//!
//! | | forward | input gradient | filter gradient |
//! |---|---|---|---|
//! | direct, im2col | 1.0e-6 | 0.7e-6 | 0.9e-6, 0.2e-6 |
//! | F(2×2, 3×3) | 0.3e-6 | 0.3e-6 | 0.3e-6 |
//! | F(4×4, 3×3) | 1.3e-6 | 1.2e-6 | 0.8e-6 |
//!
//! The transforms add to the error, but the sums over channels that they frame are nine times
//! shorter than those of a direct computation.
//!
//! That is so where all numbers of a tile are about as large. In general a rounding error follows the
//! largest of them, `δ`, and [`ConvAlgorithm`](crate::ConvAlgorithm) states the bound. To derive it, let
//! `u` be the unit roundoff and all equations be to first order in it. Along one axis
//!
//! ```text
//! y[i] = Σ_p A[p][i] · (Σ_t G[p][t] g[t]) · (Σ_j B[j][p] d[j])
//! ```
//!
//! where each number is rounded at most 4 times in `Bᵀ d`, 4 times in `G g` and 5 times in `Aᵀ m`, the
//! rounding of the matrices' own entries included. Over both axes that is 26 times, and sums over `C`
//! channels round `C + 1` times more. Each rounding changes a term by at most `u` times its magnitude,
//! so the error is at most
//!
//! ```text
//! (C + 27) · u · δ · Σ |g| · κ²,    κ = max over i, t of Σ_p |A[p][i]| |G[p][t]| Σ_j |B[j][p]|
//! ```
//!
//! with the sum over the channel's filters; κ is 12.54 for F(4, 3), less for its narrow tiles, and 4 for
//! F(2, 3) (a test in [`minimal`] computes it from the transforms). The gradient of the filters has
//! the same terms in another order, summed over tiles instead of channels.
//!
//! # What is not finite
//!
//! An infinity or NaN in a tile, or a number so large that a sum overflows, makes some output of the
//! tile not finite ([`output`]). Such tiles are computed again by [`direct`], and a gradient of filters
//! that is not finite is left to another algorithm.

mod chunk;
mod direct;
mod filter_gradient;
mod filters;
mod image;
mod input;
mod minimal;
mod output;
mod output_gradient;
mod pooled;
mod target;
mod tile;

use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use crate::conv::ahead::Ahead;
use crate::conv::correlation::Correlation;
use crate::conv::filters::Filters;
use crate::conv::job::{Execution, ImageShape};
use crate::conv::microkernel::{Finish, Loop, Repeat, Strip, lanes};
use crate::conv::params::Conv2dParams;
use crate::conv::statistics::count_multiplications;
use crate::error::Result;
use crate::matmul::{Epilogue, with_scratch};
use crate::simd::{Level, Real, dispatch};

use chunk::{Chunk, TileAxis};
use direct::DirectTiles;
pub(super) use filter_gradient::{FilterGradient, filter_gradient};
use filters::{PointFilters, PointPanels};
use image::{Plain, TiledImage};
pub(crate) use image::{PooledGradient, Source};
use input::TransformInput;
use minimal::Minimal;
pub(super) use minimal::{Four, Two};
use output::{Products, StoreOutput};
use pooled::{StorePooledOutput, pooled};
pub(crate) use target::Target;
use tile::{EachTile, matrix_len};

/// Numbers of both matrices of a chunk at all points: half of a second-level cache of 1 MiB.
const CHUNK: usize = 128 << 10;
/// Tiles in a chunk, however many channels there are: below, filters are fetched too often.
const FEWEST_TILES: usize = 28;
/// The same where sums of a matrix for each point are added to, which fill a cache of their own.
const FEWEST_SUMMED_TILES: usize = 56;
/// Blocks of work that threads can share, if there are as many …
const FEWEST_BLOCKS: usize = 4;
/// … or so many, where each block fetches filters that are not [near](NEAR_FILTERS), …
const FEWEST_FAR_BLOCKS: usize = 2;
/// … of so many tiles: fewer leave the multipliers waiting for the filters.
const FEWEST_BLOCK_TILES: usize = 6;

/// Numbers of transformed filters that stay in the second-level cache, nearly; of more, each matrix is
/// fetched while the one before it is multiplied.
const NEAR_FILTERS: usize = 1 << 20;

/// Whether the algorithm exists for a geometry.
pub(super) fn is_possible(params: &Conv2dParams) -> bool {
    let axis_fits = |axis: &crate::conv::padding::WindowAxis| {
        axis.kernel == 3 && axis.stride == 1 && axis.dilation == 1
    };
    params.groups == 1 && axis_fits(&params.rows) && axis_fits(&params.columns)
}

/// Multiplications that outputs of `shape` take for each pair of channels, and in how many tiles.
pub(super) fn cost<M: Minimal>(shape: ImageShape) -> [usize; 2] {
    let axes = [shape.height, shape.width].map(TileAxis::new::<M>);
    let [down, across] = axes.map(|axis| axis.points::<M>());
    [down * across, axes[0].tiles * axes[1].tiles]
}

/// How the outputs of one convolution are cut into tiles.
#[derive(Clone, Copy, Debug)]
struct Tiling {
    batch: usize,
    /// Down and across an image.
    axes: [TileAxis; 2],
    /// Tiles in a chunk, at most.
    chunk: usize,
}

impl Tiling {
    /// `widths` are the numbers in a row of each of the two matrices; a chunk has room for `fewest`
    /// tiles, however wide they are.
    fn new<M: Minimal>(
        batch: usize,
        outputs: ImageShape,
        widths: [usize; 2],
        fewest: usize,
    ) -> Self {
        let chunk = CHUNK / (M::POINTS * (widths[0] + widths[1]));
        Tiling {
            batch,
            axes: [outputs.height, outputs.width].map(TileAxis::new::<M>),
            chunk: chunk.max(fewest),
        }
    }

    /// Tiles down an image.
    fn rows(&self) -> usize {
        self.axes[0].tiles
    }

    /// Tiles across an image.
    fn columns(&self) -> usize {
        self.axes[1].tiles
    }

    /// Images of a block of work, and rows of tiles in each: about a chunk.
    fn block(&self) -> [usize; 2] {
        let rows = (self.chunk / self.columns()).max(1);
        let images = (rows / self.rows()).clamp(1, self.batch);
        [images, rows.min(self.rows())]
    }

    /// [`Tiling::block`], but smaller where a few images would be fewer than `blocks` for the
    /// threads.
    fn spread_block(&self, blocks: usize) -> [usize; 2] {
        let [images, rows] = self.block();
        let images = images.min(self.batch.div_ceil(blocks));
        let blocks_down = blocks.div_ceil(self.batch);
        let fewest = FEWEST_BLOCK_TILES.div_ceil(self.columns()).min(rows);
        [
            images,
            rows.min(self.rows().div_ceil(blocks_down)).max(fewest),
        ]
    }

    /// The block that begins at row `first_row` of tiles of image `first_image`, cut into chunks
    /// of nearly equal size.
    fn chunks(
        &self,
        images: std::ops::Range<usize>,
        rows: std::ops::Range<usize>,
    ) -> impl Iterator<Item = Chunk> {
        let axes = self.axes;
        let tiles = images.len() * rows.len() * self.columns();
        let count = tiles.div_ceil(self.chunk);
        (0..count).map(move |i| {
            let tiles = i * tiles / count..(i + 1) * tiles / count;
            Chunk::new(axes, images.clone(), rows.clone(), tiles)
        })
    }
}

/// [`correlate`] for one type and tile.
pub(super) type Correlate<T> = fn(
    &str,
    Execution,
    &Correlation,
    usize,
    [ImageShape; 2],
    Source<'_, T>,
    Filters<'_, T>,
    Epilogue<'_, T>,
    Ending<'_, T>,
    Target<'_, T>,
) -> Result<()>;

/// How a convolution ends, after its epilogue.
#[derive(Clone, Copy)]
pub(super) enum Ending<'a, T> {
    /// All outputs are stored.
    Store,
    /// Outputs become 0 where the numbers at their places are not positive.
    Gate(&'a [T]),
    /// The largest of each window of 2×2 outputs is stored, and where it was if the target has
    /// room for that.
    Pool,
}

/// `target = source ⋆ w`, finished by `epilogue` and `ending`; `correlation` is the forward direction
/// or the only phase of the transpose. `target_shape` is that before any pooling.
pub(super) fn correlate<T: Real, M: Minimal>(
    operation: &str,
    execution: Execution,
    correlation: &Correlation,
    batch: usize,
    [source_shape, target_shape]: [ImageShape; 2],
    source: Source<'_, T>,
    w: Filters<'_, T>,
    epilogue: Epilogue<'_, T>,
    ending: Ending<'_, T>,
    mut target: Target<'_, T>,
) -> Result<()> {
    if target.values.is_empty() {
        return Ok(());
    }
    let Execution { par, level } = execution;
    let channels = correlation.channels;
    let u = PointFilters::of::<M>(operation, execution, correlation, w)?;
    let whole = |channels: usize| channels.next_multiple_of(lanes::<T>(level));
    let layer = Layer::<T, M> {
        level,
        source,
        source_shape,
        target_shape,
        origin: [correlation.rows.offset, correlation.columns.offset],
        widths: [whole(channels), whole(correlation.targets)],
        panels: u.panels,
        u: u.values.as_slice(),
        epilogue,
        ending,
        not_finite: Mutex::new(Vec::new()),
        tiling: PhantomData,
    };
    // Nothing but zeros is due where no tap meets the source.
    let due = match ending {
        Ending::Store | Ending::Gate(_) if epilogue.bias.is_none() => ImageShape {
            height: correlation.rows.reached().max(1),
            width: correlation.columns.reached().max(1),
            ..target_shape
        },
        _ => target_shape,
    };
    let tiling = Tiling::new::<M>(batch, due, layer.widths, FEWEST_TILES);
    let blocks = match layer.u.len() > NEAR_FILTERS {
        true => FEWEST_FAR_BLOCKS,
        false => FEWEST_BLOCKS,
    };
    let [images, rows] = tiling.spread_block(blocks);
    let covered = tiling.axes.map(|axis| axis.covered::<M>());
    let (written, tile_rows) = match ending {
        Ending::Pool => (pooled(target_shape), M::OUTPUT / 2),
        _ => (target_shape, M::OUTPUT),
    };
    let image_len = written.len();
    let whole_target = target.reborrow();
    if images > 1 {
        whole_target.for_chunks(par, images * image_len, |i, mut target| {
            clear_beyond(covered, written, 0, target.values);
            let first = i * images;
            let images = first..first + target.values.len() / image_len;
            for chunk in tiling.chunks(images, 0..tiling.rows()) {
                layer.compute(&chunk, target.reborrow());
            }
        });
    } else {
        whole_target.for_chunks(par, image_len, |image, target| {
            let block_len = rows * tile_rows * written.row_len();
            target.for_chunks(par, block_len, |i, mut target| {
                clear_beyond(covered, written, i * rows * tile_rows, target.values);
                let rows = i * rows..((i + 1) * rows).min(tiling.rows());
                for chunk in tiling.chunks(image..image + 1, rows) {
                    layer.compute(&chunk, target.reborrow());
                }
            });
        });
    }
    let mut not_finite = unpoisoned(layer.not_finite.into_inner());
    if not_finite.is_empty() {
        return Ok(());
    }
    not_finite.sort_unstable();
    let tiles = DirectTiles {
        level,
        correlation,
        source,
        shapes: [source_shape, target_shape],
        epilogue,
        ending,
        side: M::OUTPUT,
    };
    tiles.compute(operation, par, w.values, &not_finite, target)
}

/// What a lock holds, whether or not a thread has panicked with it.
fn unpoisoned<V>(locked: std::result::Result<V, PoisonError<V>>) -> V {
    locked.unwrap_or_else(PoisonError::into_inner)
}

/// Makes what tiles do not cover zero, in images of `shape` or, of a single image, in rows from
/// `first_row` on.
fn clear_beyond<T: Real>(
    [height, width]: [usize; 2],
    shape: ImageShape,
    first_row: usize,
    target: &mut [T],
) {
    if height >= shape.height && width >= shape.width {
        return;
    }
    let covered = width.min(shape.width) * shape.channels;
    for (i, row) in target.chunks_exact_mut(shape.row_len()).enumerate() {
        let from = match (first_row + i) % shape.height < height {
            true => covered,
            false => 0,
        };
        row[from..].fill(T::ZERO);
    }
}

/// What every chunk of one convolution shares.
struct Layer<'a, T, M> {
    level: Level,
    source: Source<'a, T>,
    source_shape: ImageShape,
    target_shape: ImageShape,
    origin: [isize; 2],
    /// Numbers in a row of transformed inputs, and of products.
    widths: [usize; 2],
    panels: PointPanels,
    u: &'a [T],
    epilogue: Epilogue<'a, T>,
    ending: Ending<'a, T>,
    /// The places of tiles whose products are not all finite.
    not_finite: Mutex<Vec<[usize; 3]>>,
    tiling: PhantomData<M>,
}

impl<T: Real, M: Minimal> Layer<'_, T, M> {
    /// Computes the outputs of `chunk`; `target` are the rows of its whole block.
    fn compute(&self, chunk: &Chunk, target: Target<'_, T>) {
        let tiles = chunk.len();
        let (channels, targets) = (self.source_shape.channels, self.target_shape.channels);
        count_multiplications([chunk.multiplications::<M>(), channels, targets, 1]);
        let [v_matrix, m_matrix] = self.widths.map(|width| matrix_len::<T>(tiles, width));
        let [v_len, m_len] = [v_matrix, m_matrix].map(|matrix| M::POINTS * matrix);
        let patch_len = M::POINTS * channels;
        let tiling = PhantomData::<M>;
        with_scratch(v_len + m_len + patch_len, |scratch: &mut [T]| {
            let (v, scratch) = scratch.split_at_mut(v_len);
            let (m, patch) = scratch.split_at_mut(m_len);
            match self.source {
                Source::Image(numbers) => self.transform_input(chunk, Plain(numbers), v, patch),
                Source::Pooled(gradient) => self.transform_input(chunk, gradient, v, patch),
            }
            self.multiply(chunk, self.ahead(chunk, target.values), v, m);
            let products = Products {
                m,
                width: self.widths[1],
                matrix: m_matrix,
                epilogue: self.epilogue,
                tiling,
            };
            self.store(chunk, products, target);
        });
    }

    /// `V = Bᵀ d B` of the tiles of `chunk`.
    fn transform_input(
        &self,
        chunk: &Chunk,
        source: impl TiledImage<T>,
        v: &mut [T],
        patch: &mut [T],
    ) {
        let transform = TransformInput {
            source,
            shape: self.source_shape,
            origin: self.origin,
            width: self.widths[0],
            matrix: matrix_len::<T>(chunk.len(), self.widths[0]),
            v,
            patch,
            tiling: self.tiling,
        };
        dispatch(self.level, EachTile { chunk, transform });
    }

    /// Transforms the products of `chunk` back, and stores the outputs.
    fn store(&self, chunk: &Chunk, products: Products<'_, T, M>, target: Target<'_, T>) {
        let mut not_finite = Vec::new();
        self.store_checked(chunk, products, target, &mut not_finite);
        if !not_finite.is_empty() {
            unpoisoned(self.not_finite.lock()).append(&mut not_finite);
        }
    }

    /// [`Layer::store`]; adds the places of tiles that are not finite to `not_finite`.
    fn store_checked(
        &self,
        chunk: &Chunk,
        products: Products<'_, T, M>,
        target: Target<'_, T>,
        not_finite: &mut Vec<[usize; 3]>,
    ) {
        let (shape, side) = match self.ending {
            Ending::Pool => (pooled(self.target_shape), M::OUTPUT / 2),
            Ending::Store | Ending::Gate(_) => (self.target_shape, M::OUTPUT),
        };
        let first_image = chunk.images.start;
        let first_row = chunk.rows.start * side;
        // Tiles need not cover all of them.
        let image_rows = target.values.len() / (chunk.images.len() * shape.row_len());
        let gate = match self.ending {
            Ending::Pool => {
                let transform = StorePooledOutput {
                    products,
                    shape,
                    target,
                    first_image,
                    first_row,
                    image_rows,
                    not_finite,
                };
                return dispatch(self.level, EachTile { chunk, transform });
            }
            Ending::Gate(gate) => {
                let first = chunk.first_row(shape, side);
                Some(&gate[first..first + target.values.len()])
            }
            Ending::Store => None,
        };
        let transform = StoreOutput {
            products,
            shape,
            gate,
            target: target.values,
            first_image,
            first_row,
            image_rows,
            not_finite,
        };
        dispatch(self.level, EachTile { chunk, transform });
    }

    /// What comes next: the rows of the images that the chunk's outputs go to, those of the gate,
    /// and the inputs below those of the chunk, which the next one needs.
    fn ahead<'b>(&'b self, chunk: &Chunk, target: &'b [T]) -> Ahead<'b, T> {
        let sides = [M::OUTPUT, M::INPUT];
        let inputs = self
            .source
            .after(chunk, self.source_shape, self.origin[0], sides);
        let places = chunk.pixels(self.target_shape, 0, [M::OUTPUT; 2]);
        let first = chunk.first_row(self.target_shape, M::OUTPUT);
        let outputs = target.get(places.start - first..places.end - first);
        let outputs = outputs.unwrap_or(&[]);
        let parts = match self.ending {
            Ending::Store => [outputs, &[], inputs],
            Ending::Gate(gate) => [outputs, &gate[places], inputs],
            // A quarter of the rows, which need no fetching.
            Ending::Pool => [&[], &[], inputs],
        };
        Ahead::parts(parts, M::POINTS * self.panels.count())
    }

    /// `M = V · U` at each point.
    fn multiply(&self, chunk: &Chunk, ahead: Ahead<'_, T>, v: &[T], m: &mut [T]) {
        let channels = self.source_shape.channels;
        let [v_width, m_width] = self.widths;
        let [v_matrix, m_matrix] = self.widths.map(|width| matrix_len::<T>(chunk.len(), width));
        let far = self.u.len() > NEAR_FILTERS;
        for (index, panel) in self.panels.panels::<T>().enumerate() {
            let width = panel.panel.width;
            let inner = Loop {
                count: channels,
                a: 1,
                b: width,
            };
            let repeats = chunk.groups::<M>().flat_map(|(points, rows)| {
                // Filters that are far come once: all tiles of a point before the next.
                let count = if far { 1 } else { points.len() };
                points
                    .step_by(count)
                    .map(move |first| (first, count, rows.clone()))
            });
            for (first, count, rows) in repeats {
                let filters = &self.u[panel.start + first * panel.matrix..];
                let strip = Strip {
                    a: &v[first * v_matrix + rows.start * v_width..],
                    a_row: v_width,
                    b: filters,
                    c_row: m_width,
                    rows: rows.len(),
                    // Also the columns that fill up a vector: they are zeros.
                    columns: width,
                    sum: [Loop::ONCE, Loop::ONCE, inner],
                    finish: Finish::Store {
                        bias: None,
                        relu: false,
                    },
                    repeat: Repeat {
                        count,
                        a: v_matrix,
                        b: panel.matrix,
                        c: m_matrix,
                    },
                    // Filters that are far are fetched a matrix before their turn.
                    ahead: match far {
                        false => ahead.from(index * M::POINTS + first),
                        true => {
                            let next = &self.u[panel.start + (first + 1) * panel.matrix..];
                            Ahead::of(&next[..next.len().min(panel.matrix)])
                        }
                    },
                };
                let place = first * m_matrix + rows.start * m_width + panel.panel.first;
                strip.run(self.level, &mut m[place..]);
            }
        }
    }
}
