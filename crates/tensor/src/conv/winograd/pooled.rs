//! The end of a convolution that goes on with ReLU and max pooling of 2×2: tiles are pooled in
//! registers, and the convolution's own output never reaches memory.

use std::marker::PhantomData;

use crate::conv::job::ImageShape;
use crate::conv::winograd::Target;
use crate::conv::winograd::minimal::{Minimal, SIDE};
use crate::conv::winograd::tiles::{Chunk, both_axes};
use crate::matmul::Epilogue;
use crate::simd::{Kernel, Real, Simd, Vector};

/// The image of what 2×2 windows side by side give; a last odd row or column has none.
pub(super) fn pooled(shape: ImageShape) -> ImageShape {
    ImageShape {
        height: shape.height / 2,
        width: shape.width / 2,
        ..shape
    }
}

/// `max over 2×2 of (Aᵀ M A)` of the products of `chunk`, finished by `epilogue` before.
pub(super) struct TransformPooledOutput<'a, T, M> {
    pub(super) chunk: &'a Chunk,
    pub(super) m: &'a [T],
    /// Numbers in a row of `m`.
    pub(super) width: usize,
    /// Of the pooled image.
    pub(super) shape: ImageShape,
    pub(super) epilogue: Epilogue<'a, T>,
    /// The rows of the pooled images under the chunk's rows of tiles.
    pub(super) target: Target<'a, T>,
    pub(super) tiling: PhantomData<M>,
}

impl<T: Real, M: Minimal> Kernel for TransformPooledOutput<'_, T, M> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (chunk, shape) = (self.chunk, self.shape);
        let channels = shape.channels;
        let lanes = T::Vector::<S>::LANES;
        // Windows of a tile along each axis.
        let side = M::OUTPUT / 2;
        let matrix = chunk.matrix_len::<T>(self.width);
        assert!(self.width.is_multiple_of(lanes) && self.width >= channels);
        assert!(self.m.len() >= M::POINTS * matrix);
        let first_row = chunk.rows.start * side;
        let image_rows = (chunk.rows.len() * side).min(shape.height - first_row);
        assert_eq!(
            self.target.values.len(),
            chunk.images.len() * image_rows * shape.row_len()
        );
        if let Some(positions) = &self.target.positions {
            assert_eq!(positions.len(), self.target.values.len());
        }
        let zero = T::Vector::<S>::zero(simd);
        for (tile, [image, row, column]) in chunk.places().enumerate() {
            let (y, x) = (row * side, column * side);
            let rows = side.min(shape.height.saturating_sub(y));
            let columns = side.min(shape.width.saturating_sub(x));
            if rows == 0 || columns == 0 {
                continue;
            }
            let y = (image - chunk.images.start) * image_rows + y - first_row;
            let start = (y * shape.width + x) * channels;
            for channel in (0..channels).step_by(lanes) {
                let count = (channels - channel).min(lanes);
                let source = self.m[tile * self.width + channel..].as_ptr();
                let bias = match self.epilogue.bias {
                    Some(bias) => {
                        T::Vector::<S>::load_partial(simd, &bias[channel..channel + count])
                    }
                    None => zero,
                };
                let mut outputs = [[zero; SIDE]; SIDE];
                both_axes::<T, S>(
                    simd,
                    M::INPUT,
                    M::OUTPUT,
                    #[inline(always)]
                    |i: usize, j: usize| {
                        // SAFETY: `m` holds `width`, a multiple of `lanes`, numbers for each tile at each point.
                        unsafe {
                            let source = source.add((i * M::INPUT + j) * matrix);
                            T::Vector::<S>::load_pointer(simd, source)
                        }
                    },
                    #[inline(always)]
                    |line| M::output::<T, S>(simd, line),
                    #[inline(always)]
                    |i: usize, j: usize, value: T::Vector<S>| {
                        let value = value + bias;
                        let relu = self.epilogue.relu;
                        outputs[i][j] = if relu { zero.max(value) } else { value };
                    },
                );
                for i in 0..side {
                    for j in 0..side {
                        if i >= rows || j >= columns {
                            continue;
                        }
                        let [upper, lower] = [outputs[2 * i], outputs[2 * i + 1]];
                        let window = [
                            upper[2 * j],
                            upper[2 * j + 1],
                            lower[2 * j],
                            lower[2 * j + 1],
                        ];
                        let at = start + (i * shape.width + j) * channels + channel;
                        let target = &mut self.target.values[at..at + count];
                        match &mut self.target.positions {
                            None => largest::<T, _>(window).store_partial(target),
                            Some(positions) => {
                                let (largest, position) = winner::<T, _>(simd, window);
                                largest.store_partial(target);
                                let positions = &mut positions[at..at + count];
                                // SAFETY: the slice has just been cut to `count` bytes.
                                unsafe { position.store_bytes(positions.as_mut_ptr(), count) };
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The largest of four in each lane, the first of equal ones, NaN where any is.
#[inline(always)]
fn largest<T: Real, V: Vector<T>>([first, others @ ..]: [V; 4]) -> V {
    others.into_iter().fold(first, |champion, challenger| {
        // `max` lets a NaN of its argument through, and gives the argument where both are equal.
        champion.max(challenger).max(champion)
    })
}

/// [`largest`], and in each lane its place among the four, or -1 where it is not positive (and not
/// NaN).
#[inline(always)]
fn winner<T: Real, V: Vector<T>>(simd: V::Simd, [first, others @ ..]: [V; 4]) -> (V, V) {
    let one = V::splat(simd, T::ONE);
    // Counted from 1, so that closing a lane by 0 leaves a number of its own.
    let (mut champion, mut place, mut number) = (first, one, one);
    for challenger in others {
        number = number + one;
        place = challenger.where_wins(champion, number, place);
        champion = challenger.where_wins(champion, challenger, champion);
    }
    (champion, place.keep_where_open(champion) - one)
}
