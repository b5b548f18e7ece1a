//! `W = A dy Aᵀ`: tiles of the output's gradient, for that of the filters.

use std::marker::PhantomData;

use crate::conv::job::ImageShape;
use crate::conv::winograd::image::TiledImage;
use crate::conv::winograd::minimal::{Minimal, Side};
use crate::conv::winograd::tile::{TileTransform, both_axes};
use crate::simd::{Real, Simd, Vector};

/// `W = A dy Aᵀ` of tiles of the output's gradient, and sums of `dy` over their pixels.
pub(super) struct TransformOutputGradient<'a, T, M, I> {
    pub(super) source: I,
    pub(super) shape: ImageShape,
    /// Numbers in a row of `w`, and in the matrix of a point.
    pub(super) width: usize,
    pub(super) matrix: usize,
    pub(super) w: &'a mut [T],
    /// As many numbers as a row of `w`, which are added to.
    pub(super) sums: &'a mut [T],
    /// Room for one tile.
    pub(super) patch: &'a mut [T],
    pub(super) tiling: PhantomData<M>,
}

impl<T: Real, M: Minimal, I: TiledImage<T>> TileTransform for TransformOutputGradient<'_, T, M, I> {
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
        assert!((tile + 1) * self.width <= self.matrix && self.w.len() >= M::POINTS * self.matrix);
        assert_eq!(self.sums.len(), self.width);
        let zero = T::Vector::<S>::zero(simd);
        let corner = [(row * M::OUTPUT) as isize, (column * M::OUTPUT) as isize];
        let size = [D::OUTPUT, A::OUTPUT];
        let pixels = self.source.tile(shape, image, corner, size, self.patch);
        for channel in (0..channels).step_by(lanes) {
            let count = (channels - channel).min(lanes);
            let target = self.w[tile * self.width + channel..].as_mut_ptr();
            let mut sum = zero;
            both_axes::<T, S>(
                simd,
                [D::OUTPUT, A::OUTPUT],
                [D::INPUT, A::INPUT],
                #[inline(always)]
                |i: usize, j: usize| {
                    // SAFETY: the tile has the pixel, with `count` channels from `channel` on, and
                    // nobody writes to the image or the patch meanwhile.
                    let value = unsafe { I::load(&pixels, simd, [i, j], channel, count) };
                    sum = sum + value;
                    value
                },
                #[inline(always)]
                |line| D::output_transposed::<T, S>(simd, line),
                #[inline(always)]
                |line| A::output_transposed::<T, S>(simd, line),
                #[inline(always)]
                |i: usize, j: usize, value: T::Vector<S>| {
                    // SAFETY: `w` holds `width`, a multiple of `lanes`, numbers for the tile at each point.
                    unsafe {
                        value.store_pointer(target.add(M::point(i, j) * self.matrix));
                    }
                },
            );
            let sums = &mut self.sums[channel..channel + lanes];
            (T::Vector::<S>::load(simd, sums) + sum).store(sums);
        }
    }
}
