//! Images of another size: interpolation, and pooling to a given size.

use tensor::{Error, Float, Result, Shape, SparseMatrix, Tensor};

use super::extremes::max_of_counted;
use crate::op::composed;
use crate::samples::OpEntry;
use crate::var::Var;

/// On images `[batch, height, width, channels]`; sizes are `[height, width]`.
impl<T: Float> Var<T> {
    /// Each pixel the nearest of the old image; pixel centres lie at half-integers, without
    /// anti-aliasing. Derivative: each gradient, to the pixel that was read.
    ///
    /// # Errors
    /// If the value has not four axes, or an image without pixels is enlarged.
    #[track_caller]
    pub fn resize_nearest(&self, size: [usize; 2]) -> Result<Var<T>> {
        composed("resize_nearest", || {
            let old = image_size("resize_nearest", self, size)?;
            let mut resized = self.clone();
            for (axis, (&new, &old)) in size.iter().zip(&old).enumerate() {
                if new != old {
                    let nearest = |i: usize| {
                        let centre = (i as f64 + 0.5) * old as f64 / new as f64;
                        [((centre as usize).min(old.saturating_sub(1)), T::ONE)]
                    };
                    resized = resized.mixed(axis, new, nearest)?;
                }
            }
            Ok(resized)
        })
    }

    /// Bilinear interpolation, without anti-aliasing. Pixel centres lie at half-integers and the
    /// border is repeated beyond the outermost; or, if `align_corners`, the outermost pixels of
    /// both images lie on each other. Derivative: each gradient, by the same weights.
    ///
    /// # Errors
    /// As [`Var::resize_nearest`].
    #[track_caller]
    pub fn resize_bilinear(&self, size: [usize; 2], align_corners: bool) -> Result<Var<T>> {
        composed("resize_bilinear", || {
            let old = image_size("resize_bilinear", self, size)?;
            let mut resized = self.clone();
            for (axis, (&new, &old)) in size.iter().zip(&old).enumerate() {
                if new != old {
                    let weights = |i| linear_weights(i, new, old, align_corners);
                    resized = resized.mixed(axis, new, weights)?;
                }
            }
            Ok(resized)
        })
    }

    /// The mean of `size` windows that cover the image: along each axis, window `i` of `m` over
    /// `n` pixels goes from `⌊i n / m⌋` to `⌈(i + 1) n / m⌉`. Derivative: each gradient, shared
    /// equally among its window.
    ///
    /// # Errors
    /// As [`Var::resize_nearest`].
    #[track_caller]
    pub fn adaptive_avg_pool2d(&self, size: [usize; 2]) -> Result<Var<T>> {
        composed("adaptive_avg_pool2d", || {
            let old = image_size("adaptive_avg_pool2d", self, size)?;
            let mut pooled = self.clone();
            for (axis, (&new, &old)) in size.iter().zip(&old).enumerate() {
                pooled = pooled.mixed(axis, new, |i| {
                    let window = adaptive_window(i, new, old);
                    let weight = T::constant(1.0 / window.len() as f64);
                    window.map(move |pixel| (pixel, weight))
                })?;
            }
            Ok(pooled)
        })
    }

    /// The largest value of the windows of [`Var::adaptive_avg_pool2d`]. Derivative: the gradient,
    /// for the largest element of the window; several that are equal get equal shares of it.
    ///
    /// # Errors
    /// As [`Var::resize_nearest`].
    #[track_caller]
    pub fn adaptive_max_pool2d(&self, size: [usize; 2]) -> Result<Var<T>> {
        composed("adaptive_max_pool2d", || {
            let old = image_size("adaptive_max_pool2d", self, size)?;
            if self.shape().contains(&0) || size.contains(&0) {
                // Nothing is all that any pooling makes of nothing.
                return self.adaptive_avg_pool2d(size);
            }
            let [rows, columns] = [0, 1].map(|axis| Windows {
                new: size[axis],
                old: old[axis],
                longest: longest_window(size[axis], old[axis]),
            });
            let windows = self
                .index_select(1, &rows.pixels()?)?
                .index_select(2, &columns.pixels()?)?
                .reshape([
                    self.shape()[0],
                    rows.new,
                    rows.longest,
                    columns.new,
                    columns.longest,
                    self.shape()[3],
                ])?;
            let counted = rows
                .counted([rows.new, rows.longest, 1, 1, 1])?
                .mul(&columns.counted([columns.new, columns.longest, 1])?)?;
            max_of_counted(&windows, [2, 4], counted)
        })
    }

    /// The mean over all pixels, `[batch, channels]`. Derivative: each gradient, shared equally.
    ///
    /// # Errors
    /// If the value has not four axes.
    #[track_caller]
    pub fn global_avg_pool2d(&self) -> Result<Var<T>> {
        composed("global_avg_pool2d", || {
            image_size("global_avg_pool2d", self, [1, 1])?;
            self.mean([1, 2])
        })
    }

    /// The largest value over all pixels, `[batch, channels]`. Derivative: as [`Var::max`].
    ///
    /// # Errors
    /// If the value has not four axes or no pixels.
    #[track_caller]
    pub fn global_max_pool2d(&self) -> Result<Var<T>> {
        composed("global_max_pool2d", || {
            image_size("global_max_pool2d", self, [1, 1])?;
            self.max([1, 2])
        })
    }

    /// `new` pixels along the height (`axis` 0) or the width (1), each the sum of old ones by the
    /// weights that `row` has for it.
    fn mixed<R: IntoIterator<Item = (usize, T)>>(
        &self,
        axis: usize,
        new: usize,
        row: impl Fn(usize) -> R,
    ) -> Result<Var<T>> {
        let old = self.shape()[axis + 1];
        // Of no images there need not be a pixel that a row could weigh.
        let rows = (0..new).map(|i| row(i).into_iter().filter(|_| old > 0));
        let weights = SparseMatrix::from_rows(old, rows)?;
        self.sparse_along(axis as isize + 1, &weights)
    }
}

/// Height and width of an image that is to get `size`.
fn image_size<T: Float>(operation: &str, x: &Var<T>, size: [usize; 2]) -> Result<[usize; 2]> {
    let &[_, height, width, _] = &x.shape()[..] else {
        return Err(Error::shape(operation, "the images have not four axes")
            .with("images", x.shape())
            .fix("reshape them to (batch, height, width, channels)"));
    };
    let nothing = (height == 0 && size[0] > 0) || (width == 0 && size[1] > 0);
    if nothing && x.shape()[0] != 0 {
        return Err(Error::shape(operation, "the images have no pixels").with("images", x.shape()));
    }
    Ok([height, width])
}

/// The adaptive windows along one axis, all as long as the longest: shorter ones repeat their last
/// pixel, which changes no maximum.
struct Windows {
    new: usize,
    old: usize,
    longest: usize,
}

impl Windows {
    /// The pixels of all windows, one after the other.
    fn pixels(&self) -> Result<Tensor<i64>> {
        let pixels = Tensor::from_fn([self.new, self.longest], |at| {
            let window = adaptive_window(at[0], self.new, self.old);
            (window.start + at[1]).min(window.end - 1) as i64
        })?;
        pixels.flatten(0)
    }

    /// 1 for each pixel of a window and 0 for its repetitions, under `shape`.
    fn counted<T: Float>(&self, shape: impl Into<Shape>) -> Result<Tensor<T>> {
        let counted = Tensor::from_fn([self.new, self.longest], |at| {
            let window = adaptive_window(at[0], self.new, self.old);
            if at[1] < window.len() {
                T::ONE
            } else {
                T::ZERO
            }
        })?;
        counted.reshape(shape)
    }
}

/// The most pixels of one of `new` windows over `old` pixels.
fn longest_window(new: usize, old: usize) -> usize {
    if old.is_multiple_of(new) {
        return old / new;
    }
    // Where the sizes do not divide, windows reach into a pixel at either end.
    old.div_ceil(new) + 1
}

/// The pixels under window `i` of `new` over `old` pixels.
fn adaptive_window(i: usize, new: usize, old: usize) -> std::ops::Range<usize> {
    let scaled = |i: usize| i as u128 * old as u128;
    let start = (scaled(i) / new as u128) as usize;
    let end = scaled(i + 1).div_ceil(new as u128) as usize;
    start..end.max(start + 1)
}

/// The one or two of `old` pixels that pixel `i` of `new` lies on or between, and their weights.
fn linear_weights<T: Float>(
    i: usize,
    new: usize,
    old: usize,
    align_corners: bool,
) -> impl Iterator<Item = (usize, T)> {
    let last = old.saturating_sub(1) as f64;
    let place = match (align_corners, new) {
        (true, 1) => 0.0,
        (true, _) => i as f64 * last / (new - 1) as f64,
        (false, _) => (i as f64 + 0.5) * old as f64 / new as f64 - 0.5,
    };
    let place = place.clamp(0.0, last);
    let (before, part) = (place as usize, place.fract());
    let after = (part > 0.0).then(|| (before + 1, T::constant(part)));
    [(before, T::constant(1.0 - part))].into_iter().chain(after)
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    vec![
        OpEntry::new(
            "resize_nearest",
            "the nearest pixel of the old image",
            "`dy` to the pixel that was read",
        )
        .sample(&[&[1, 2, 5, 2]], |v| v[0].resize_nearest([4, 3])),
        OpEntry::new(
            "resize_bilinear",
            "bilinear interpolation",
            "`dy` by the same weights",
        )
        .edges("the border is repeated beyond the outermost pixels")
        .sample(&[&[1, 2, 5, 2]], |v| v[0].resize_bilinear([4, 3], false))
        .sample(&[&[2, 2, 5, 1]], |v| v[0].resize_bilinear([1, 7], true)),
        OpEntry::new(
            "adaptive_avg_pool2d",
            "means of windows that cover the image",
            "`dy / count` over the window",
        )
        .sample(&[&[1, 5, 4, 2]], |v| v[0].adaptive_avg_pool2d([3, 2])),
        OpEntry::new(
            "adaptive_max_pool2d",
            "maxima of windows that cover the image",
            "`dy` where the maximum was",
        )
        .edges("ties get equal shares")
        .sample(&[&[1, 5, 4, 2]], |v| v[0].adaptive_max_pool2d([3, 2]))
        .distinct(),
        OpEntry::new(
            "global_avg_pool2d",
            "the mean over all pixels",
            "`dy / count`",
        )
        .sample(&[&[2, 3, 2, 2]], |v| v[0].global_avg_pool2d()),
        OpEntry::new(
            "global_max_pool2d",
            "the maximum over all pixels",
            "`dy` where the maximum was",
        )
        .edges("ties get equal shares")
        .sample(&[&[2, 3, 2, 2]], |v| v[0].global_max_pool2d())
        .distinct(),
    ]
}
