//! Images that are cut into tiles, as they lie or as a pooling's gradient before it is spread out.

use crate::conv::ahead;
use crate::conv::job::ImageShape;
use crate::conv::winograd::chunk::Chunk;
use crate::conv::winograd::minimal::LONGEST;
use crate::conv::winograd::pooled::pooled;
use crate::simd::{Level, Real, Simd, Vector};

/// What a convolution reads in tiles.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a, T> {
    /// Images as they lie.
    Image(&'a [T]),
    /// The gradient with respect to what a max pooling of 2×2 side by side got.
    Pooled(PooledGradient<'a, T>),
}

impl<'a, T> Source<'a, T> {
    /// The numbers below those that the tiles of `chunk` read, as many as these; rows of pixels are as
    /// in [`Chunk::pixels`].
    pub(super) fn after(
        &self,
        chunk: &Chunk,
        shape: ImageShape,
        origin: isize,
        [step, height]: [usize; 2],
    ) -> &'a [T] {
        match *self {
            Source::Image(numbers) => {
                ahead::after(numbers, &chunk.pixels(shape, origin, [step, height]))
            }
            Source::Pooled(PooledGradient { values, .. }) => {
                let sides = [step / 2, height.div_ceil(2)];
                let rows = chunk.pixels(pooled(shape), origin.div_euclid(2), sides);
                ahead::after(values, &rows)
            }
        }
    }

    /// Copies the tile of `size` whose first pixel is at `corner` of image `image`, of `shape`, between
    /// zeros.
    pub(super) fn copy_tile(
        &self,
        shape: ImageShape,
        image: usize,
        corner: [isize; 2],
        size: [usize; 2],
        tile: &mut [T],
    ) where
        T: Real,
    {
        match self {
            Source::Image(numbers) => {
                let image = &numbers[image * shape.len()..][..shape.len()];
                copy_patch(image, shape, corner, size, tile);
            }
            Source::Pooled(gradient) => gradient.copy_tile(shape, image, corner, size, tile),
        }
    }
}

/// A max pooling's gradient, and for each number the tap of its window that it belongs to: 0 to 3, or
/// anything else if to none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PooledGradient<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) positions: &'a [u8],
}

impl<T: Real> PooledGradient<'_, T> {
    /// [`Source::copy_tile`].
    fn copy_tile(
        &self,
        shape: ImageShape,
        image: usize,
        [top, left]: [isize; 2],
        size: [usize; 2],
        tile: &mut [T],
    ) {
        let small = pooled(shape);
        for (place, pixel) in tile.chunks_exact_mut(shape.channels).enumerate() {
            pixel.fill(T::ZERO);
            // Places before the image become large.
            let y = (top + (place / size[1]) as isize) as usize;
            let x = (left + (place % size[1]) as isize) as usize;
            if y >= 2 * small.height || x >= 2 * small.width {
                continue;
            }
            let at = image * small.len() + y / 2 * small.row_len() + x / 2 * small.channels;
            let position = (y % 2 * 2 + x % 2) as u8;
            for (channel, number) in pixel.iter_mut().enumerate() {
                if self.positions[at + channel] == position {
                    *number = self.values[at + channel];
                }
            }
        }
    }
}

/// Images that can be read in tiles.
pub(super) trait TiledImage<T: Real>: Copy {
    /// Where the pixels of a tile are.
    type Tile: Copy;

    /// The tile of `size` whose first pixel is at `corner` of image `image`, of `shape`; pixels beyond
    /// the image are zeros. `patch` has room for it.
    ///
    /// # Panics
    /// If there is no such image, or no such room.
    fn tile(
        &self,
        shape: ImageShape,
        image: usize,
        corner: [isize; 2],
        size: [usize; 2],
        patch: &mut [T],
    ) -> Self::Tile;

    /// `count` channels from `channel` on of pixel (`i`, `j`) of `tile`.
    ///
    /// # Safety
    /// The pixel and those channels exist, and what `tile` was made of has not changed.
    unsafe fn load<S: Simd>(
        tile: &Self::Tile,
        simd: S,
        pixel: [usize; 2],
        channel: usize,
        count: usize,
    ) -> T::Vector<S>;
}

/// Images as they lie.
#[derive(Clone, Copy)]
pub(super) struct Plain<'a, T>(pub(super) &'a [T]);

/// A tile in the image or in a patch.
#[derive(Clone, Copy)]
pub(super) struct PlainTile<T> {
    start: *const T,
    row_len: usize,
    channels: usize,
}

impl<T: Real> TiledImage<T> for Plain<'_, T> {
    type Tile = PlainTile<T>;

    #[inline(always)]
    fn tile(
        &self,
        shape: ImageShape,
        image: usize,
        [top, left]: [isize; 2],
        size: [usize; 2],
        patch: &mut [T],
    ) -> PlainTile<T> {
        let channels = shape.channels;
        let image = &self.0[image * shape.len()..][..shape.len()];
        let inside = top >= 0
            && left >= 0
            && top as usize + size[0] <= shape.height
            && left as usize + size[1] <= shape.width;
        let (pixels, row_len) = if inside {
            let start = (top as usize * shape.width + left as usize) * channels;
            (&image[start..], shape.row_len())
        } else {
            copy_patch(image, shape, [top, left], size, patch);
            (&*patch, size[1] * channels)
        };
        assert!(pixels.len() >= (size[0] - 1) * row_len + size[1] * channels);
        PlainTile {
            start: pixels.as_ptr(),
            row_len,
            channels,
        }
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(
        tile: &PlainTile<T>,
        simd: S,
        [i, j]: [usize; 2],
        channel: usize,
        count: usize,
    ) -> T::Vector<S> {
        // SAFETY: the caller vouches for the pixel's channels.
        unsafe {
            let at = i * tile.row_len + j * tile.channels + channel;
            let source = tile.start.add(at);
            // With AVX2 a masked load takes no longer, and all pixels are loaded without a branch.
            let masks = matches!(S::LEVEL, Level::Avx2);
            if !masks && count == T::Vector::<S>::LANES {
                T::Vector::<S>::load_pointer(simd, source)
            } else {
                T::Vector::<S>::load_pointer_partial(simd, source, count)
            }
        }
    }
}

/// Copies the tile of `size` whose first pixel is at (`top`, `left`) of `image` between zeros.
fn copy_patch<T: Real>(
    image: &[T],
    shape: ImageShape,
    [top, left]: [isize; 2],
    size: [usize; 2],
    patch: &mut [T],
) {
    let ImageShape {
        height,
        width,
        channels,
    } = shape;
    let clip = |position: isize, size: usize| position.clamp(0, size as isize);
    let first = clip(left, width);
    let end = clip(left + size[1] as isize, width);
    let before = (first - left).clamp(0, size[1] as isize) as usize * channels;
    let copied = (end - first) as usize * channels;
    let rows = patch.chunks_exact_mut(size[1] * channels);
    for (i, row) in rows.take(size[0]).enumerate() {
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

/// A part of a position beyond the image, whose sum with any other is no position.
const BEYOND: u8 = 64;

/// Where a tile's rows and columns are in a [`PooledGradient`], and the parts of the position that
/// their pixels have in their windows.
#[derive(Clone, Copy)]
pub(super) struct PooledTile<T> {
    values: *const T,
    positions: *const u8,
    rows: [(usize, u8); LONGEST],
    columns: [(usize, u8); LONGEST],
}

impl<T: Real> TiledImage<T> for PooledGradient<'_, T> {
    type Tile = PooledTile<T>;

    #[inline(always)]
    fn tile(
        &self,
        shape: ImageShape,
        image: usize,
        corner: [isize; 2],
        size: [usize; 2],
        _patch: &mut [T],
    ) -> PooledTile<T> {
        let small = pooled(shape);
        let image = image * small.len()..(image + 1) * small.len();
        let (values, positions) = (&self.values[image.clone()], &self.positions[image]);
        assert!(!values.is_empty());
        let mut tile = PooledTile {
            values: values.as_ptr(),
            positions: positions.as_ptr(),
            rows: [(0, BEYOND); LONGEST],
            columns: [(0, BEYOND); LONGEST],
        };
        for i in 0..size[0] {
            let y = (corner[0] + i as isize) as usize;
            if y < 2 * small.height {
                tile.rows[i] = (y / 2 * small.row_len(), (y % 2 * 2) as u8);
            }
        }
        for j in 0..size[1] {
            let x = (corner[1] + j as isize) as usize;
            if x < 2 * small.width {
                tile.columns[j] = (x / 2 * small.channels, (x % 2) as u8);
            }
        }
        tile
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(
        tile: &PooledTile<T>,
        simd: S,
        [i, j]: [usize; 2],
        channel: usize,
        count: usize,
    ) -> T::Vector<S> {
        let ((row, down), (column, across)) = (tile.rows[i], tile.columns[j]);
        let at = row + column + channel;
        // SAFETY: rows and columns are those of an image, and the caller vouches for the channels.
        unsafe {
            let (values, positions) = (tile.values.add(at), tile.positions.add(at));
            T::Vector::<S>::load_where(simd, values, positions, down + across, count)
        }
    }
}
