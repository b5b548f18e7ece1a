//! `V = Bᵀ d B`: tiles of the images that a convolution reads.

use std::marker::PhantomData;

use crate::conv::job::ImageShape;
use crate::conv::winograd::minimal::{Minimal, Side};
use crate::conv::winograd::tile::{TileTransform, both_axes};
use crate::simd::{Real, Simd, Vector, prefetch};

/// `V = Bᵀ d B` of input tiles.
pub(super) struct TransformInput<'a, T, M> {
    pub(super) source: &'a [T],
    pub(super) shape: ImageShape,
    /// The source position of the first input of tile (0, 0).
    pub(super) origin: [isize; 2],
    /// Numbers in a row of `v`, and in the matrix of a point.
    pub(super) width: usize,
    pub(super) matrix: usize,
    pub(super) v: &'a mut [T],
    /// Room for one tile.
    pub(super) patch: &'a mut [T],
    pub(super) tiling: PhantomData<M>,
}

impl<T: Real, M: Minimal> TransformInput<'_, T, M> {
    /// Copies the tile of `size` whose first pixel is at (`top`, `left`) of image `image` between
    /// zeros.
    fn copy_patch(&mut self, image: usize, [top, left]: [isize; 2], size: [usize; 2]) {
        let ImageShape {
            height,
            width,
            channels,
        } = self.shape;
        let image = &self.source[image * self.shape.len()..][..self.shape.len()];
        let clip = |position: isize, size: usize| position.clamp(0, size as isize);
        let first = clip(left, width);
        let end = clip(left + size[1] as isize, width);
        let before = (first - left).clamp(0, size[1] as isize) as usize * channels;
        let copied = (end - first) as usize * channels;
        for (i, row) in self
            .patch
            .chunks_exact_mut(size[1] * channels)
            .take(size[0])
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

impl<T: Real, M: Minimal> TileTransform for TransformInput<'_, T, M> {
    type Scalar = T;
    type Wide = M;
    #[inline(always)]
    fn transform<S: Simd, D: Side, A: Side>(
        &mut self,
        simd: S,
        tile: usize,
        [image, row, column]: [usize; 3],
    ) {
        let shape = self.shape;
        let channels = shape.channels;
        let lanes = T::Vector::<S>::LANES;
        assert!(self.width.is_multiple_of(lanes) && self.width >= channels);
        assert!((tile + 1) * self.width <= self.matrix && self.v.len() >= M::POINTS * self.matrix);
        let top = self.origin[0] + (row * M::OUTPUT) as isize;
        let left = self.origin[1] + (column * M::OUTPUT) as isize;
        let inside = top >= 0
            && left >= 0
            && top as usize + D::INPUT <= shape.height
            && left as usize + A::INPUT <= shape.width;
        let (pixels, row_len) = if inside {
            let image = &self.source[image * shape.len()..][..shape.len()];
            let start = (top as usize * shape.width + left as usize) * channels;
            (&image[start..], shape.row_len())
        } else {
            self.copy_patch(image, [top, left], [D::INPUT, A::INPUT]);
            (&*self.patch, A::INPUT * channels)
        };
        assert!(pixels.len() >= (D::INPUT - 1) * row_len + A::INPUT * channels);
        for channel in (0..channels).step_by(lanes) {
            let count = (channels - channel).min(lanes);
            let target = self.v[tile * self.width + channel..].as_mut_ptr();
            both_axes::<T, S>(
                simd,
                [D::INPUT, A::INPUT],
                [D::INPUT, A::INPUT],
                #[inline(always)]
                |i: usize, j: usize| {
                    // SAFETY: `count` channels from `channel` on exist at each pixel of the tile, as asserted.
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
                |line| D::input::<T, S>(simd, line),
                #[inline(always)]
                |line| A::input::<T, S>(simd, line),
                #[inline(always)]
                |i: usize, j: usize, value: T::Vector<S>| {
                    // SAFETY: `v` holds `width`, a multiple of `lanes`, numbers for the tile at each point.
                    unsafe {
                        let target = target.add(M::point(i, j) * self.matrix);
                        value.store_pointer(target);
                        prefetch(target.wrapping_add(lanes));
                    }
                },
            );
        }
    }
}
