//! `W = A dy Aᵀ`: tiles of the output's gradient, for that of the filters.

use std::marker::PhantomData;

use crate::conv::job::ImageShape;
use crate::conv::winograd::minimal::{Minimal, Side};
use crate::conv::winograd::tile::{TileTransform, both_axes};
use crate::simd::{Real, Simd, Vector};

/// `W = A dy Aᵀ` of tiles of the output's gradient, and sums of `dy` over their pixels.
pub(super) struct TransformOutputGradient<'a, T, M> {
    pub(super) source: &'a [T],
    pub(super) shape: ImageShape,
    /// Numbers in a row of `w`, and in the matrix of a point.
    pub(super) width: usize,
    pub(super) matrix: usize,
    pub(super) w: &'a mut [T],
    /// As many numbers as a row of `w`, which are added to.
    pub(super) sums: &'a mut [T],
    pub(super) tiling: PhantomData<M>,
}

impl<T: Real, M: Minimal> TileTransform for TransformOutputGradient<'_, T, M> {
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
        let (y, x) = (row * M::OUTPUT, column * M::OUTPUT);
        let rows = D::OUTPUT.min(shape.height - y);
        let columns = A::OUTPUT.min(shape.width - x);
        let start = ((image * shape.height + y) * shape.width + x) * channels;
        let last = ((rows - 1) * shape.width + columns) * channels;
        let pixels = &self.source[start..start + last];
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
