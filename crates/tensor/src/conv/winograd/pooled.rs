//! The end of a convolution that goes on with ReLU and max pooling of 2×2: tiles are pooled in
//! registers, and the convolution's own output never reaches memory.

use crate::conv::job::ImageShape;
use crate::conv::winograd::Target;
use crate::conv::winograd::minimal::{Minimal, Side};
use crate::conv::winograd::output::Products;
use crate::conv::winograd::tile::TileTransform;
use crate::simd::{Real, Simd, Vector};

/// The image of what 2×2 windows side by side give; a last odd row or column has none.
pub(super) fn pooled(shape: ImageShape) -> ImageShape {
    ImageShape {
        height: shape.height / 2,
        width: shape.width / 2,
        ..shape
    }
}

/// The largest of 2×2 of the products' outputs, written to the pooled image.
pub(super) struct StorePooledOutput<'a, T, M> {
    pub(super) products: Products<'a, T, M>,
    /// Of the pooled image.
    pub(super) shape: ImageShape,
    /// The rows of the pooled images under the block's rows of tiles.
    pub(super) target: Target<'a, T>,
    /// The image, its row of pixels that the target begins with, and how many rows it has of each.
    pub(super) first_image: usize,
    pub(super) first_row: usize,
    pub(super) image_rows: usize,
    /// The places of tiles that are not finite are added here.
    pub(super) not_finite: &'a mut Vec<[usize; 3]>,
}

impl<T: Real, M: Minimal> TileTransform for StorePooledOutput<'_, T, M> {
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
        let (y, x) = (row * M::OUTPUT / 2, column * M::OUTPUT / 2);
        let rows = (D::OUTPUT / 2).min(shape.height.saturating_sub(y));
        let columns = (A::OUTPUT / 2).min(shape.width.saturating_sub(x));
        if rows == 0 || columns == 0 {
            return;
        }
        let y = (image - self.first_image) * self.image_rows + y - self.first_row;
        let start = (y * shape.width + x) * channels;
        let end = start + ((rows - 1) * shape.width + columns) * channels;
        let target = self.target.values[start..end].as_mut_ptr();
        let positions = &mut self.target.positions;
        let positions = positions.as_mut().map(
            #[inline(always)]
            |positions| positions[start..end].as_mut_ptr(),
        );
        let mut check = T::Vector::<S>::zero(simd);
        for channel in (0..channels).step_by(lanes) {
            let count = (channels - channel).min(lanes);
            let products = &self.products;
            let outputs = products.outputs::<S, D, A>(simd, tile, channel, count, &mut check);
            for i in 0..D::OUTPUT / 2 {
                for j in 0..A::OUTPUT / 2 {
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
                    let at = (i * shape.width + j) * channels + channel;
                    // SAFETY: pixel (i, j) of the pooled tile lies within the image, and `count`
                    // channels from `channel` on exist there, in values and positions, as both were
                    // cut.
                    unsafe {
                        let largest = match positions {
                            None => largest::<T, _>(window),
                            Some(positions) => {
                                let (largest, position) = winner::<T, _>(simd, window);
                                position.store_bytes(positions.add(at), count);
                                largest
                            }
                        };
                        if count == lanes {
                            largest.store_pointer(target.add(at));
                        } else {
                            largest.store_pointer_partial(target.add(at), count);
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
