//! Tiles of images to points and back, vectorised over channels.
//!
//! Between the transforms, the values of a chunk of tiles at one point form a matrix of a row for
//! each tile and a column for each channel. Matrices of all points follow each other; their rows
//! are filled up to whole vectors, so that only images are read and written in parts.

use std::marker::PhantomData;
use std::ops::Range;

use crate::conv::job::ImageShape;
use crate::conv::winograd::minimal::{Line, Minimal, SIDE};
use crate::matmul::Epilogue;
use crate::simd::{Kernel, Real, Simd, Vector};

/// Bytes that a cache fetches at once.
const CACHE_LINE: usize = 64;

/// Some tiles of some images, in the order image, row, column.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    /// Where tiles come from: images, rows of tiles in each, and how many tiles a row has.
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
    pub(super) columns: usize,
    /// Which of these tiles.
    pub(super) tiles: Range<usize>,
}

impl Chunk {
    pub(super) fn places(&self) -> impl Iterator<Item = [usize; 3]> + '_ {
        self.tiles.clone().map(|tile| self.place(tile))
    }

    /// From the matrix of one point to that of the next, of rows of `width` numbers: an odd number of
    /// cache lines, so that what a tile has at all points lies in different sets of the first-level
    /// cache.
    pub(super) fn matrix_len<T>(&self, width: usize) -> usize {
        let line = CACHE_LINE / size_of::<T>();
        ((self.tiles.len() * width).div_ceil(line) | 1) * line
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

/// What the caches fetch while products are computed, which are the only part of a chunk's work
/// that does not wait for memory.
pub(super) struct Fetch<'a, T> {
    /// In the order of their use.
    pub(super) parts: [&'a [T]; 3],
}

impl<'a, T> Fetch<'a, T> {
    /// The numbers that follow `range` in `all`, as many as it has.
    pub(super) fn after(all: &'a [T], range: &Range<usize>) -> &'a [T] {
        let start = range.end.min(all.len());
        &all[start..(start + range.len()).min(all.len())]
    }

    /// The share of step `step` of `steps`.
    pub(super) fn share(&self, step: usize, steps: usize) -> &'a [T] {
        let used = self.parts.iter().filter(|part| !part.is_empty());
        let steps_a_part = steps.div_ceil(used.clone().count().max(1)).max(1);
        let Some(part) = used.clone().nth(step / steps_a_part) else {
            return &[];
        };
        let (i, len) = (step % steps_a_part, part.len());
        &part[i * len / steps_a_part..(i + 1) * len / steps_a_part]
    }
}

/// Transforms a tile along both axes: `load(i, j)` for `inputs`², `store(i, j, …)` for `outputs`².
#[inline(always)]
pub(super) fn both_axes<T: Real, S: Simd>(
    simd: S,
    inputs: usize,
    outputs: usize,
    mut load: impl FnMut(usize, usize) -> T::Vector<S>,
    transform: impl Fn(Line<T, S>) -> Line<T, S>,
    mut store: impl FnMut(usize, usize, T::Vector<S>),
) {
    let zero = T::Vector::<S>::zero(simd);
    let mut halfway = [[zero; SIDE]; SIDE];
    for j in 0..inputs {
        let mut line = [zero; SIDE];
        for i in 0..inputs {
            line[i] = load(i, j);
        }
        let line = transform(line);
        for i in 0..outputs {
            halfway[i][j] = line[i];
        }
    }
    for i in 0..outputs {
        let line = transform(halfway[i]);
        for j in 0..outputs {
            store(i, j, line[j]);
        }
    }
}

/// `V = Bᵀ d B` of the input tiles of `chunk`.
pub(super) struct TransformInput<'a, T, M> {
    pub(super) chunk: &'a Chunk,
    pub(super) source: &'a [T],
    pub(super) shape: ImageShape,
    /// The source position of the first input of tile (0, 0).
    pub(super) origin: [isize; 2],
    /// Numbers in a row of `v`.
    pub(super) width: usize,
    pub(super) v: &'a mut [T],
    /// Room for one tile.
    pub(super) patch: &'a mut [T],
    pub(super) tiling: PhantomData<M>,
}

impl<T: Real, M: Minimal> TransformInput<'_, T, M> {
    /// Copies the tile whose first pixel is at (`top`, `left`) of `image` between zeros.
    fn copy_patch(&mut self, image: &[T], top: isize, left: isize) {
        let ImageShape {
            height,
            width,
            channels,
        } = self.shape;
        let clip = |position: isize, size: usize| position.clamp(0, size as isize);
        let first = clip(left, width);
        let end = clip(left + M::INPUT as isize, width);
        let before = (first - left).clamp(0, M::INPUT as isize) as usize * channels;
        let copied = (end - first) as usize * channels;
        for (i, row) in self
            .patch
            .chunks_exact_mut(M::INPUT * channels)
            .take(M::INPUT)
            .enumerate()
        {
            let y = top + i as isize;
            if (0..height as isize).contains(&y) && copied > 0 {
                let start = (y as usize * width + first as usize) * channels;
                row[..before].fill(T::ZERO);
                row[before..before + copied].copy_from_slice(&image[start..][..copied]);
                row[before + copied..].fill(T::ZERO);
            } else {
                row.fill(T::ZERO);
            }
        }
    }
}

impl<T: Real, M: Minimal> Kernel for TransformInput<'_, T, M> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (chunk, shape) = (self.chunk, self.shape);
        let channels = shape.channels;
        let lanes = T::Vector::<S>::LANES;
        let matrix = chunk.matrix_len::<T>(self.width);
        assert!(self.width.is_multiple_of(lanes) && self.width >= channels);
        assert!(self.v.len() >= M::POINTS * matrix);
        for (tile, [image, row, column]) in chunk.places().enumerate() {
            let image = &self.source[image * shape.len()..][..shape.len()];
            let top = self.origin[0] + (row * M::OUTPUT) as isize;
            let left = self.origin[1] + (column * M::OUTPUT) as isize;
            let inside = top >= 0
                && left >= 0
                && top as usize + M::INPUT <= shape.height
                && left as usize + M::INPUT <= shape.width;
            let (pixels, row_len) = if inside {
                let start = (top as usize * shape.width + left as usize) * channels;
                (&image[start..], shape.row_len())
            } else {
                self.copy_patch(image, top, left);
                (&*self.patch, M::INPUT * channels)
            };
            assert!(pixels.len() >= (M::INPUT - 1) * row_len + M::INPUT * channels);
            for channel in (0..channels).step_by(lanes) {
                let count = (channels - channel).min(lanes);
                let target = self.v[tile * self.width + channel..].as_mut_ptr();
                both_axes::<T, S>(
                    simd,
                    M::INPUT,
                    M::INPUT,
                    #[inline(always)]
                    |i: usize, j: usize| {
                        // SAFETY: `count` channels from `channel` on exist at each of the INPUT² pixels, as asserted.
                        unsafe {
                            let source = pixels.as_ptr().add(i * row_len + j * channels + channel);
                            if count == lanes {
                                T::Vector::<S>::load_pointer(simd, source)
                            } else {
                                T::Vector::<S>::load_pointer_partial(simd, source, count)
                            }
                        }
                    },
                    #[inline(always)]
                    |line| M::input::<T, S>(simd, line),
                    #[inline(always)]
                    |i: usize, j: usize, value: T::Vector<S>| {
                        // SAFETY: `v` holds `width`, a multiple of `lanes`, numbers for each tile at each point.
                        unsafe {
                            value.store_pointer(target.add((i * M::INPUT + j) * matrix));
                        }
                    },
                );
            }
        }
    }
}

/// `Y = Aᵀ M A` of the products of `chunk`, finished and written to the image.
pub(super) struct TransformOutput<'a, T, M> {
    pub(super) chunk: &'a Chunk,
    pub(super) m: &'a [T],
    /// Numbers in a row of `m`.
    pub(super) width: usize,
    pub(super) shape: ImageShape,
    pub(super) epilogue: Epilogue<'a, T>,
    /// Numbers of all images; outputs where they are not positive become 0.
    pub(super) gate: Option<&'a [T]>,
    /// The rows of the images under the chunk's rows of tiles.
    pub(super) target: &'a mut [T],
    pub(super) tiling: PhantomData<M>,
}

impl<T: Real, M: Minimal> Kernel for TransformOutput<'_, T, M> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (chunk, shape) = (self.chunk, self.shape);
        let channels = shape.channels;
        let lanes = T::Vector::<S>::LANES;
        let matrix = chunk.matrix_len::<T>(self.width);
        assert!(self.width.is_multiple_of(lanes) && self.width >= channels);
        assert!(self.m.len() >= M::POINTS * matrix);
        let first_row = chunk.rows.start * M::OUTPUT;
        // Tiles need not cover all of them.
        let image_rows = self.target.len() / (chunk.images.len() * shape.row_len());
        assert!(image_rows >= (chunk.rows.len() * M::OUTPUT).min(shape.height - first_row));
        assert_eq!(
            self.target.len(),
            chunk.images.len() * image_rows * shape.row_len()
        );
        // The block's part of the gate, which lies as the target does.
        let first = (chunk.images.start * shape.height + first_row) * shape.row_len();
        let gate = self
            .gate
            .map(|gate| &gate[first..first + self.target.len()]);
        let zero = T::Vector::<S>::zero(simd);
        for (tile, [image, row, column]) in chunk.places().enumerate() {
            let (y, x) = (row * M::OUTPUT, column * M::OUTPUT);
            let rows = M::OUTPUT.min(shape.height - y);
            let columns = M::OUTPUT.min(shape.width - x);
            let y = (image - chunk.images.start) * image_rows + y - first_row;
            let start = (y * shape.width + x) * channels;
            let target = self.target[start..].as_mut_ptr();
            let gate = gate.map(|gate| gate[start..].as_ptr());
            for channel in (0..channels).step_by(lanes) {
                let count = (channels - channel).min(lanes);
                let source = self.m[tile * self.width + channel..].as_ptr();
                let bias = match self.epilogue.bias {
                    Some(bias) => {
                        T::Vector::<S>::load_partial(simd, &bias[channel..channel + count])
                    }
                    None => zero,
                };
                both_axes::<T, S>(
                    simd,
                    M::INPUT,
                    M::OUTPUT,
                    #[inline(always)]
                    |i: usize, j: usize| {
                        // SAFETY: `m` holds `width`, a multiple of `lanes`, numbers for each tile at each point.
                        unsafe {
                            T::Vector::<S>::load_pointer(
                                simd,
                                source.add((i * M::INPUT + j) * matrix),
                            )
                        }
                    },
                    #[inline(always)]
                    |line| M::output::<T, S>(simd, line),
                    #[inline(always)]
                    |i: usize, j: usize, value: T::Vector<S>| {
                        if i >= rows || j >= columns {
                            return;
                        }
                        let value = value + bias;
                        let value = if self.epilogue.relu {
                            zero.max(value)
                        } else {
                            value
                        };
                        let at = (i * shape.width + j) * channels + channel;
                        // SAFETY: row `y + i` and column `x + j` are within the image, and `count`
                        // channels from `channel` on exist there, in the target and in the gate.
                        unsafe {
                            let target = target.add(at);
                            if count == lanes {
                                let value = match gate {
                                    Some(gate) => {
                                        let gate = T::Vector::<S>::load_pointer(simd, gate.add(at));
                                        value.keep_where_open(gate)
                                    }
                                    None => value,
                                };
                                value.store_pointer(target);
                            } else {
                                let value = match gate {
                                    Some(gate) => {
                                        let gate = T::Vector::<S>::load_pointer_partial(
                                            simd,
                                            gate.add(at),
                                            count,
                                        );
                                        value.keep_where_open(gate)
                                    }
                                    None => value,
                                };
                                value.store_pointer_partial(target, count);
                            }
                        }
                    },
                );
            }
        }
    }
}

/// `W = A dy Aᵀ` of the gradient's tiles of `chunk`, and sums of `dy` over their pixels.
pub(super) struct TransformGradient<'a, T, M> {
    pub(super) chunk: &'a Chunk,
    pub(super) source: &'a [T],
    pub(super) shape: ImageShape,
    /// Numbers in a row of `w`.
    pub(super) width: usize,
    pub(super) w: &'a mut [T],
    /// As many numbers as a row of `w`, which are added to.
    pub(super) sums: &'a mut [T],
    pub(super) tiling: PhantomData<M>,
}

impl<T: Real, M: Minimal> Kernel for TransformGradient<'_, T, M> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (chunk, shape) = (self.chunk, self.shape);
        let channels = shape.channels;
        let lanes = T::Vector::<S>::LANES;
        let matrix = chunk.matrix_len::<T>(self.width);
        assert!(self.width.is_multiple_of(lanes) && self.width >= channels);
        assert!(self.w.len() >= M::POINTS * matrix && self.sums.len() == self.width);
        let zero = T::Vector::<S>::zero(simd);
        for (tile, [image, row, column]) in chunk.places().enumerate() {
            let (y, x) = (row * M::OUTPUT, column * M::OUTPUT);
            let rows = M::OUTPUT.min(shape.height - y);
            let columns = M::OUTPUT.min(shape.width - x);
            let start = ((image * shape.height + y) * shape.width + x) * channels;
            let last = ((rows - 1) * shape.width + columns) * channels;
            let pixels = &self.source[start..start + last];
            for channel in (0..channels).step_by(lanes) {
                let count = (channels - channel).min(lanes);
                let target = self.w[tile * self.width + channel..].as_mut_ptr();
                let mut sum = zero;
                both_axes::<T, S>(
                    simd,
                    M::OUTPUT,
                    M::INPUT,
                    #[inline(always)]
                    |i: usize, j: usize| {
                        if i >= rows || j >= columns {
                            return zero;
                        }
                        let at = (i * shape.width + j) * channels + channel;
                        // SAFETY: pixel (i, j) of the tile lies within the image, and `count` channels
                        // from `channel` on exist there.
                        let value = unsafe {
                            let source = pixels.as_ptr().add(at);
                            if count == lanes {
                                T::Vector::<S>::load_pointer(simd, source)
                            } else {
                                T::Vector::<S>::load_pointer_partial(simd, source, count)
                            }
                        };
                        sum = sum + value;
                        value
                    },
                    #[inline(always)]
                    |line| M::output_transposed::<T, S>(simd, line),
                    #[inline(always)]
                    |i: usize, j: usize, value: T::Vector<S>| {
                        // SAFETY: `w` holds `width`, a multiple of `lanes`, numbers for each tile at each point.
                        unsafe {
                            value.store_pointer(target.add((i * M::INPUT + j) * matrix));
                        }
                    },
                );
                let sums = &mut self.sums[channel..channel + lanes];
                (T::Vector::<S>::load(simd, sums) + sum).store(sums);
            }
        }
    }
}

/// Taps of a filter along one axis.
const TAPS: usize = 3;

/// `U = G g Gᵀ` of one panel: from rows (tap, channel) to rows (point, channel).
pub(super) struct TransformFilters<'a, T, M> {
    pub(super) filters: &'a [T],
    pub(super) u: &'a mut [T],
    pub(super) tiling: PhantomData<M>,
}

impl<T: Real, M: Minimal> Kernel for TransformFilters<'_, T, M> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = T::Vector::<S>::LANES;
        let tap_len = self.filters.len() / (TAPS * TAPS);
        assert!(tap_len.is_multiple_of(lanes));
        assert!(self.u.len() >= M::POINTS * tap_len);
        for at in (0..tap_len).step_by(lanes) {
            let target = self.u[at..].as_mut_ptr();
            both_axes::<T, S>(
                simd,
                TAPS,
                M::INPUT,
                #[inline(always)]
                |i: usize, j: usize| {
                    // SAFETY: `at + lanes <= tap_len`, the numbers that there are for each tap.
                    unsafe {
                        let source = self.filters.as_ptr().add((i * TAPS + j) * tap_len + at);
                        T::Vector::<S>::load_pointer(simd, source)
                    }
                },
                #[inline(always)]
                |line| M::filter::<T, S>(simd, line),
                #[inline(always)]
                |i: usize, j: usize, value: T::Vector<S>| {
                    // SAFETY: `at + lanes <= tap_len`, the numbers that there are for each point.
                    unsafe {
                        value.store_pointer(target.add((i * M::INPUT + j) * tap_len));
                    }
                },
            );
        }
    }
}

/// `dg = Gᵀ U G` of one panel, from rows (point, channel) to rows (tap, channel), in place.
pub(super) struct TransformFilterGradient<'a, T, M> {
    pub(super) u: &'a mut [T],
    pub(super) tiling: PhantomData<M>,
}

impl<T: Real, M: Minimal> Kernel for TransformFilterGradient<'_, T, M> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = T::Vector::<S>::LANES;
        let point_len = self.u.len() / M::POINTS;
        assert!(point_len.is_multiple_of(lanes));
        for at in (0..point_len).step_by(lanes) {
            let numbers = self.u[at..].as_mut_ptr();
            both_axes::<T, S>(
                simd,
                M::INPUT,
                TAPS,
                #[inline(always)]
                |i: usize, j: usize| {
                    // SAFETY: `at + lanes <= point_len`, the numbers that there are for each point.
                    unsafe {
                        T::Vector::<S>::load_pointer(
                            simd,
                            numbers.add((i * M::INPUT + j) * point_len),
                        )
                    }
                },
                #[inline(always)]
                |line| M::filter_transposed::<T, S>(simd, line),
                #[inline(always)]
                |i: usize, j: usize, value: T::Vector<S>| {
                    // SAFETY: as above; taps are fewer than points, and all points were read before.
                    unsafe {
                        value.store_pointer(numbers.add((i * TAPS + j) * point_len));
                    }
                },
            );
        }
    }
}
