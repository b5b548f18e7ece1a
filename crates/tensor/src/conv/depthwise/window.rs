//! What targets side by side see of an image through a row of taps.

use std::sync::atomic::{Ordering, compiler_fence};

use crate::conv::correlation::TapAxis;
use crate::conv::depthwise::pixels::ZEROS;
use crate::conv::job::ImageShape;
use crate::simd::{Real, Vector};

/// Columns of an image under `W` targets, one pixel apart, in a vector of channels.
#[derive(Clone, Copy)]
pub(super) struct Window<'a, T> {
    image: &'a [T],
    row_len: usize,
    /// From pixel to pixel.
    apart: usize,
    height: usize,
    /// The image's row, which may be outside, that is row 0 here.
    top: isize,
    /// Where its first pixel is or would be.
    origin: isize,
    /// The pixels that are inside.
    start: usize,
    end: usize,
}

impl<'a, T: Real> Window<'a, T> {
    /// What targets see from row and column `first` on, in the first channels.
    #[inline(always)]
    pub(super) fn new<const W: usize, const TAPS: usize>(
        image: &'a [T],
        shape: ImageShape,
        [rows, columns]: [&TapAxis; 2],
        first: [usize; 2],
    ) -> Self {
        let (top, left) = (rows.start(first[0]), columns.start(first[1]));
        let inside = |at: isize| (at.clamp(0, shape.width as isize) - left) as usize;
        let pixel = top * shape.width as isize + left;
        Window {
            image: &image[..shape.len()],
            row_len: shape.row_len(),
            apart: shape.channels,
            height: shape.height,
            top,
            origin: pixel * shape.channels as isize,
            start: inside(left),
            end: inside(left + (W + TAPS - 1) as isize),
        }
    }

    /// The same in the channels that are `channel` further on.
    #[inline(always)]
    pub(super) fn at(self, channel: usize) -> Self {
        Window {
            origin: self.origin + channel as isize,
            ..self
        }
    }

    /// Calls `body(pixel, target, tap)` for all that targets see of row `r`, which is nothing if it
    /// is outside the image; pixels outside are zeros. Each is loaded once.
    ///
    /// # Safety
    /// Pixels have a vector of channels, from that which the window begins with.
    #[inline(always)]
    pub(super) unsafe fn for_pixels<V: Vector<T>, const W: usize, const TAPS: usize>(
        &self,
        simd: V::Simd,
        r: usize,
        mut body: impl FnMut(V, usize, usize),
    ) {
        let y = self.top + r as isize;
        if y < 0 || y >= self.height as isize {
            return;
        }
        let mut pixel = self.image.as_ptr();
        pixel = pixel.wrapping_offset(self.origin + (r * self.row_len) as isize);
        for i in 0..W + TAPS - 1 {
            // Loads stay where they are: earlier they would take registers from sums.
            compiler_fence(Ordering::SeqCst);
            // Chosen without a branch.
            let is_inside = i.wrapping_sub(self.start) < self.end.wrapping_sub(self.start);
            let from = if is_inside {
                pixel
            } else {
                ZEROS.as_ptr().cast()
            };
            // SAFETY: the pixel is inside, or zeros take its place: a vector has at most the bytes
            // of `ZEROS`.
            let numbers = unsafe { V::load_pointer(simd, from) };
            for tap in 0..TAPS {
                if (tap..tap + W).contains(&i) {
                    body(numbers, i - tap, tap);
                }
            }
            pixel = pixel.wrapping_add(self.apart);
        }
    }
}
