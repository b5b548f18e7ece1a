//! `Y = Aᵀ M A`: products back to tiles of outputs, which are finished and stored.

use std::marker::PhantomData;

use crate::conv::job::ImageShape;
use crate::conv::winograd::minimal::{LONGEST, Minimal, Side};
use crate::conv::winograd::tile::{TileTransform, both_axes};
use crate::matmul::Epilogue;
use crate::simd::{Real, Simd, Vector, prefetch};

/// The products of a chunk, and how they are finished.
#[derive(Clone, Copy)]
pub(super) struct Products<'a, T, M> {
    pub(super) m: &'a [T],
    /// Numbers in a row of `m`, and in the matrix of a point.
    pub(super) width: usize,
    pub(super) matrix: usize,
    pub(super) epilogue: Epilogue<'a, T>,
    pub(super) tiling: PhantomData<M>,
}

/// The vectors of a tile; those beyond its sides are not used.
pub(super) type TileOf<T, S> = [[<T as Real>::Vector<S>; LONGEST]; LONGEST];

impl<T: Real, M: Minimal> Products<'_, T, M> {
    /// `Aᵀ M A` of the tile in row `tile`, finished, for `count` channels from `channel` on. `check`
    /// stays 0 in each lane as long as all sums are finite, and becomes NaN if not.
    #[inline(always)]
    pub(super) fn outputs<S: Simd, D: Side, A: Side>(
        &self,
        simd: S,
        tile: usize,
        channel: usize,
        count: usize,
        check: &mut T::Vector<S>,
    ) -> TileOf<T, S> {
        let lanes = T::Vector::<S>::LANES;
        assert!(self.width.is_multiple_of(lanes) && channel + lanes <= self.width);
        assert!((tile + 1) * self.width <= self.matrix && self.m.len() >= M::POINTS * self.matrix);
        let zero = T::Vector::<S>::zero(simd);
        let source = self.m[tile * self.width + channel..].as_ptr();
        let bias = match self.epilogue.bias {
            Some(bias) => T::Vector::<S>::load_partial(simd, &bias[channel..channel + count]),
            None => zero,
        };
        let floor = match self.epilogue.relu {
            true => zero,
            false => T::Vector::<S>::splat(simd, T::from_f64(f64::NEG_INFINITY)),
        };
        let mut outputs = [[zero; LONGEST]; LONGEST];
        // One for even and one for odd rows, so that additions need not wait for each other.
        let mut checks = [*check, zero];
        both_axes::<T, S>(
            simd,
            [D::INPUT, A::INPUT],
            [D::OUTPUT, A::OUTPUT],
            #[inline(always)]
            |i: usize, j: usize| {
                // SAFETY: `m` holds `width` numbers for the tile at each point, of which `lanes` from
                // `channel` on are read, as asserted.
                unsafe {
                    let source = source.add(M::point(i, j) * self.matrix);
                    prefetch(source.wrapping_add(lanes));
                    T::Vector::<S>::load_pointer(simd, source)
                }
            },
            #[inline(always)]
            |line| D::output::<T, S>(simd, line),
            #[inline(always)]
            |line| A::output::<T, S>(simd, line),
            #[inline(always)]
            |i: usize, j: usize, value: T::Vector<S>| {
                // The products at each point are part of some output, and a sum with an infinity or
                // NaN in it is one of these.
                checks[i % 2] = value.mul_add(zero, checks[i % 2]);
                outputs[i][j] = floor.max(value + bias);
            },
        );
        *check = checks[0] + checks[1];
        outputs
    }
}

/// Outputs of the products' tiles, written to the image.
pub(super) struct StoreOutput<'a, T, M> {
    pub(super) products: Products<'a, T, M>,
    pub(super) shape: ImageShape,
    /// Outputs where these, which lie as `target` does, are not positive become 0.
    pub(super) gate: Option<&'a [T]>,
    /// The rows of the images under the block's rows of tiles, and more.
    pub(super) target: &'a mut [T],
    /// The image, its row of pixels that the target begins with, and how many rows it has of each.
    pub(super) first_image: usize,
    pub(super) first_row: usize,
    pub(super) image_rows: usize,
    /// The places of tiles that are not finite are added here.
    pub(super) not_finite: &'a mut Vec<[usize; 3]>,
}

impl<T: Real, M: Minimal> TileTransform for StoreOutput<'_, T, M> {
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
        let (y, x) = (row * M::OUTPUT, column * M::OUTPUT);
        let rows = D::OUTPUT.min(shape.height - y);
        let columns = A::OUTPUT.min(shape.width - x);
        let y = (image - self.first_image) * self.image_rows + y - self.first_row;
        let start = (y * shape.width + x) * channels;
        let end = start + ((rows - 1) * shape.width + columns) * channels;
        let target = self.target[start..end].as_mut_ptr();
        let gate = self.gate.map(|gate| gate[start..end].as_ptr());
        let mut check = T::Vector::<S>::zero(simd);
        for channel in (0..channels).step_by(lanes) {
            let count = (channels - channel).min(lanes);
            let products = &self.products;
            let outputs = products.outputs::<S, D, A>(simd, tile, channel, count, &mut check);
            for i in 0..D::OUTPUT {
                for j in 0..A::OUTPUT {
                    if i >= rows || j >= columns {
                        continue;
                    }
                    let value = outputs[i][j];
                    let at = (i * shape.width + j) * channels + channel;
                    // SAFETY: pixel (i, j) of the tile lies within the image, and `count` channels from
                    // `channel` on exist there, in the target and in the gate, as both were cut.
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
                }
            }
        }
        if check.sum() != T::ZERO {
            self.not_finite.push([image, row, column]);
        }
    }
}
