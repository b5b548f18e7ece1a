//! The gradient of filters of 3×3 whose windows lie one pixel apart, from top to bottom.
//!
//! All nine sums stay in registers from the first row to the last, and so do the gradients of the
//! three rows of outputs that see a row of the image: each number is loaded once.

use std::ops::Range;

use crate::conv::correlation::Correlation;
use crate::conv::depthwise::descent::{WIDE, has_own_kernels};
use crate::conv::depthwise::pixels::Ahead;
use crate::conv::depthwise::window::Window;
use crate::conv::job::ImageShape;
use crate::conv::reached::{Path, reached};
use crate::simd::{Kernel, Real, Simd, Vector};

/// Outputs side by side with 16 registers.
const NARROW: usize = 2;

/// What some rows of outputs of one image, two at least, add to the gradient of the filters, in the
/// channels that fill vectors.
pub(super) struct FilterDescent<'a, T> {
    pub(super) correlation: &'a Correlation,
    pub(super) x: &'a [T],
    pub(super) x_shape: ImageShape,
    pub(super) dy: &'a [T],
    pub(super) dy_shape: ImageShape,
    pub(super) rows: Range<usize>,
    /// A vector of channels for each tap, and so on for the next channels.
    pub(super) sums: &'a mut [T],
}

impl<T: Real> Kernel for FilterDescent<'_, T> {
    type Scalar = T;
    /// The columns of outputs from the first on that were taken.
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> usize {
        if const { !has_own_kernels::<T>(S::LEVEL) } {
            unreachable!("`descends` has asked");
        }
        if const { S::REGISTERS >= 32 } {
            self.strips::<S, WIDE>(simd)
        } else {
            self.strips::<S, NARROW>(simd)
        }
    }
}

impl<T: Real> FilterDescent<'_, T> {
    /// What the rows below these need that these do not.
    #[inline(always)]
    fn next_rows(&self, vectors: usize) -> [Ahead<T>; 2] {
        let rows = &self.correlation.rows;
        let seen = (rows.start(self.rows.end) + 2).clamp(0, rows.source as isize) as usize;
        let [x_row, dy_row] = [self.x_shape, self.dy_shape].map(|shape| shape.row_len());
        let x = self.x.as_ptr().wrapping_add(seen * x_row);
        let dy = self.dy.as_ptr().wrapping_add(self.rows.end * dy_row);
        let count = self.rows.len();
        [(x, x_row), (dy, dy_row)].map(|(next, row)| Ahead::new(next, count * row, vectors))
    }

    #[inline(always)]
    fn strips<S: Simd, const W: usize>(&mut self, simd: S) -> usize {
        reached(Path::FilterDescent, S::LEVEL);
        let lanes = T::Vector::<S>::LANES;
        let Correlation { rows, columns, .. } = *self.correlation;
        let vectors = self.dy_shape.channels / lanes;
        let strips = self.dy_shape.width / W;
        let mut ahead = self.next_rows(strips * vectors * self.rows.len());
        for x in (0..strips).map(|strip| strip * W) {
            let axes = [&rows, &columns];
            let window = Window::new::<W, 3>(self.x, self.x_shape, axes, [self.rows.start, x]);
            for vector in 0..vectors {
                self.strip::<S, W>(simd, &window, x, vector, &mut ahead);
            }
        }
        strips * W
    }

    /// The outputs from column `x` on, in the channels of vector `vector`.
    #[inline(always)]
    fn strip<S: Simd, const W: usize>(
        &mut self,
        simd: S,
        window: &Window<'_, T>,
        x: usize,
        vector: usize,
        ahead: &mut [Ahead<T>; 2],
    ) {
        let lanes = T::Vector::<S>::LANES;
        let (first, dy_shape) = (vector * lanes, self.dy_shape);
        let window = window.at(first);
        let count = self.rows.len();
        assert!(first + lanes <= dy_shape.channels && x + W <= dy_shape.width && count >= 2);
        let dy = &self.dy[self.rows.start * dy_shape.row_len()..][..count * dy_shape.row_len()];
        let dy = dy[x * dy_shape.channels + first..].as_ptr();
        let load = |row: usize| {
            let mut numbers = [T::Vector::<S>::zero(simd); W];
            for i in 0..W {
                let dy = dy.wrapping_add(row * dy_shape.row_len() + i * dy_shape.channels);
                // SAFETY: there are `count` rows, and each has `W` pixels from `x` on, with a
                // vector of channels from `first` on.
                numbers[i] = unsafe { T::Vector::<S>::load_pointer(simd, dy) };
            }
            numbers
        };
        let known = &mut self.sums[vector * 9 * lanes..][..9 * lanes];
        let mut sums = [[T::Vector::<S>::zero(simd); 3]; 3];
        for tap in 0..9 {
            sums[tap / 3][tap % 3] = T::Vector::<S>::load(simd, &known[tap * lanes..]);
        }
        // Row `r` of the image is the last of three for row `r - 2` of the outputs, which comes
        // first here.
        let mut seen = [[T::Vector::<S>::zero(simd); W]; 3];
        // SAFETY: images have as many channels as outputs.
        unsafe {
            seen[2] = load(0);
            add::<T, S, W, 2, 3>(simd, &window, 0, &seen, &mut sums);
            seen = [seen[1], seen[2], load(1)];
            add::<T, S, W, 1, 3>(simd, &window, 1, &seen, &mut sums);
            for r in 2..count {
                seen = [seen[1], seen[2], load(r)];
                add::<T, S, W, 0, 3>(simd, &window, r, &seen, &mut sums);
                for ahead in ahead.iter_mut() {
                    ahead.fetch(1);
                }
            }
            seen = [seen[1], seen[2], seen[2]];
            add::<T, S, W, 0, 2>(simd, &window, count, &seen, &mut sums);
            seen[0] = seen[1];
            add::<T, S, W, 0, 1>(simd, &window, count + 1, &seen, &mut sums);
        }
        for ahead in ahead.iter_mut() {
            ahead.fetch(2);
        }
        for tap in 0..9 {
            sums[tap / 3][tap % 3].store(&mut known[tap * lanes..]);
        }
    }
}

/// Adds what row `r` of the window gives with the rows of outputs from `FROM` to `TO`, of which the
/// first see it through the last row of the kernel.
///
/// # Safety
/// Pixels of the window have a vector of channels.
#[inline(always)]
unsafe fn add<T: Real, S: Simd, const W: usize, const FROM: usize, const TO: usize>(
    simd: S,
    window: &Window<'_, T>,
    r: usize,
    seen: &[[T::Vector<S>; W]; 3],
    sums: &mut [[T::Vector<S>; 3]; 3],
) {
    // SAFETY: the caller vouches for it.
    unsafe {
        window.for_pixels::<T::Vector<S>, W, 3>(
            simd,
            r,
            #[inline(always)]
            |pixel, output, tap| {
                for row in FROM..TO {
                    let sum = &mut sums[2 - row][tap];
                    *sum = pixel.mul_add(seen[row][output], *sum);
                }
            },
        );
    }
}
