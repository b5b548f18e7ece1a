//! Convolutions of few pixels with many filters, as matrix products tap by tap.
//!
//! There the time is that of reading filters, and packing them would read and write them once more.
//! Seen through one tap, the pixels that it meets are a small matrix; its product with the tap's
//! filters, read where they lie, is added to the targets. Padding is not multiplied: of 7×7 pixels
//! under 3×3 taps a fifth.

use smallvec::SmallVec;

use crate::conv::correlation::Correlation;
use crate::conv::job::Execution;
use crate::conv::params::Conv2dParams;
use crate::conv::product::Layer;
use crate::conv::statistics::count_multiplications;
use crate::error::Result;
use crate::matmul::{Accum, Epilogue, MatrixMut, MatrixRef, gemm};
use crate::simd::{Real, vectorize_to_avx2};
use crate::storage::Buffer;

/// Pixels of all outputs, so that the left factor of a product stays near.
const FEW_PIXELS: usize = 128;
/// Filters that are far away: larger than the second-level cache.
const MANY_FILTERS: usize = 512 << 10;

/// Whether there are few pixels and many filters.
pub(super) fn are_few(params: &Conv2dParams) -> bool {
    let pixels = (params.batch)
        .saturating_mul(params.rows.output)
        .saturating_mul(params.columns.output);
    params.groups == 1 && pixels <= FEW_PIXELS && params.filter_shape().elements() >= MANY_FILTERS
}

impl<T: Real> Layer<'_, T> {
    /// What `correlations` compute, finished by `epilogue`; overwrites `target`.
    pub(super) fn correlate_by_taps(
        &self,
        correlations: &[Correlation],
        epilogue: Epilogue<'_, T>,
        target: &mut [T],
    ) -> Result<()> {
        target.fill(T::ZERO);
        for correlation in correlations {
            self.add_taps(correlation, target)?;
        }
        if epilogue.is_none() {
            return Ok(());
        }
        let channels = self.target_shape.channels.max(1);
        vectorize_to_avx2(
            self.execution.level,
            #[inline(always)]
            || {
                for pixel in target.chunks_exact_mut(channels) {
                    for (channel, number) in pixel.iter_mut().enumerate() {
                        epilogue.store(Accum::Replace, channel, *number, number);
                    }
                }
            },
        );
        Ok(())
    }

    /// Adds what `correlation` computes to `target`.
    fn add_taps(&self, correlation: &Correlation, target: &mut [T]) -> Result<()> {
        let Execution { par, level } = self.execution;
        let (source_shape, target_shape) = (self.source_shape, self.target_shape);
        let (inputs, outputs) = (self.params.in_channels, self.params.out_channels);
        let (channels, targets) = (correlation.channels, correlation.targets);
        if channels == 0 || targets == 0 {
            return Ok(());
        }
        let pixels = self.params.batch * correlation.rows.targets * correlation.columns.targets;
        let mut seen = Buffer::unspecified("conv2d", pixels * channels)?;
        let mut products = Buffer::unspecified("conv2d", pixels * targets)?;
        let across = correlation.columns.taps;
        for tap in 0..correlation.rows.taps * across {
            let tap = correlation.tap(tap / across, tap % across);
            let pairs: SmallVec<[Pixel; FEW_PIXELS]> = self.pixels(&tap).collect();
            if pairs.is_empty() {
                continue;
            }
            let seen = &mut seen.as_mut_slice()[..pairs.len() * channels];
            for (seen, pixel) in seen.chunks_exact_mut(channels).zip(&pairs) {
                let source = pixel.source * source_shape.channels;
                seen.copy_from_slice(&self.source[source..source + channels]);
            }
            let filters = tap.rows.filter_tap(0) * self.params.columns.kernel;
            let filters = (filters + tap.columns.filter_tap(0)) * inputs * outputs;
            let filters = &self.w[filters..filters + inputs * outputs];
            let filters = MatrixRef::row_major(filters, [inputs, outputs])?;
            let filters = if tap.transposed {
                filters.transposed()
            } else {
                filters
            };
            let products = &mut products.as_mut_slice()[..pairs.len() * targets];
            count_multiplications([pairs.len(), channels, targets]);
            gemm(
                MatrixRef::row_major(seen, [pairs.len(), channels])?,
                filters,
                MatrixMut::row_major(products, [pairs.len(), targets])?,
                Accum::Replace,
                Epilogue::NONE,
                par,
                level,
            )?;
            vectorize_to_avx2(
                level,
                #[inline(always)]
                || {
                    for (product, pixel) in products.chunks_exact(targets).zip(&pairs) {
                        let sums = &mut target[pixel.target * target_shape.channels..][..targets];
                        for (sum, &product) in sums.iter_mut().zip(product) {
                            *sum += product;
                        }
                    }
                },
            );
        }
        Ok(())
    }

    /// What the only tap of `tap` sees: pixels of the source, and of the target.
    fn pixels(&self, tap: &Correlation) -> impl Iterator<Item = Pixel> {
        let Correlation { rows, columns, .. } = *tap;
        let (source, target) = (self.source_shape, self.target_shape);
        let (down, across) = (rows.targets_of_tap(0), columns.targets_of_tap(0));
        (0..self.params.batch).flat_map(move |image| {
            let across = across.clone();
            down.clone().flat_map(move |o| {
                let y = image * source.height + rows.start(o) as usize;
                let to = image * target.height + rows.target_start + o * rows.target_step;
                across.clone().map(move |p| Pixel {
                    source: y * source.width + columns.start(p) as usize,
                    target: to * target.width + columns.target_start + p * columns.target_step,
                })
            })
        })
    }
}

/// A pixel of the source and that of the target to which it adds, counted through all images.
struct Pixel {
    source: usize,
    target: usize,
}
