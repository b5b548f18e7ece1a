//! `V = Bᵀ d B`: tiles of the images that a convolution reads.

use std::marker::PhantomData;

use crate::conv::job::ImageShape;
use crate::conv::winograd::image::TiledImage;
use crate::conv::winograd::minimal::{Minimal, Side};
use crate::conv::winograd::tile::{TileTransform, both_axes};
use crate::simd::{Real, Simd, Vector, prefetch};

/// `V = Bᵀ d B` of input tiles.
pub(super) struct TransformInput<'a, T, M, I> {
    pub(super) source: I,
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

impl<T: Real, M: Minimal, I: TiledImage<T>> TileTransform for TransformInput<'_, T, M, I> {
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
        let corner = [
            self.origin[0] + (row * M::OUTPUT) as isize,
            self.origin[1] + (column * M::OUTPUT) as isize,
        ];
        let size = [D::INPUT, A::INPUT];
        let pixels = self.source.tile(shape, image, corner, size, self.patch);
        for channel in (0..channels).step_by(lanes) {
            let count = (channels - channel).min(lanes);
            let target = self.v[tile * self.width + channel..].as_mut_ptr();
            both_axes::<T, S>(
                simd,
                [D::INPUT, A::INPUT],
                [D::INPUT, A::INPUT],
                #[inline(always)]
                |i: usize, j: usize| {
                    // SAFETY: the tile has the pixel, with `count` channels from `channel` on, and
                    // nobody writes to the image or the patch meanwhile.
                    unsafe { I::load(&pixels, simd, [i, j], channel, count) }
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
