//! Convolutions as matrix products: of 1×1 kernels, of few pixels, and filter gradients tap by tap.
//!
//! Seen through one tap of the kernel, a convolution multiplies the channels of pixels with a
//! matrix: the image, shifted and thinned out by the stride, is a matrix with a row for each
//! target. Of a 1×1 kernel with stride 1 that is the image itself; otherwise rows are copied (zeros
//! where the tap lies on padding), a bounded number at a time. The products are those of [`gemm`],
//! whose blocks fit the caches however many channels there are.

use std::ops::Range;

use crate::conv::correlation::Correlation;
use crate::conv::job::{Execution, ImageShape, input_correlations, input_image, output_image};
use crate::conv::params::Conv2dParams;
use crate::conv::reached::{Path, reached};
use crate::conv::statistics::count_multiplications;
use crate::error::Result;
use crate::matmul::{Accum, Epilogue, MatrixMut, MatrixRef, PackedColumns, gemm};
use crate::parallel::Par;
use crate::simd::Real;
use crate::storage::Buffer;

/// Numbers copied at a time, unless a single row of targets takes more.
const COPY: usize = 512 << 10;

/// Whether the kernel is 1×1 and not cut into groups.
pub(super) fn is_pointwise(params: &Conv2dParams) -> bool {
    params.groups == 1 && params.rows.kernel == 1 && params.columns.kernel == 1
}

/// `out = x ⋆ w`, finished by `epilogue`, for a kernel without groups; overwrites `out`. One that is
/// not 1×1 is computed [tap by tap](Layer::correlate_by_taps).
pub(super) fn forward<T: Real>(
    params: &Conv2dParams,
    execution: Execution,
    x: &[T],
    w: &[T],
    epilogue: Epilogue<'_, T>,
    out: &mut [T],
) -> Result<()> {
    let layer = Layer {
        execution,
        params,
        source: x,
        source_shape: input_image(params),
        target_shape: output_image(params),
        w,
    };
    let correlation = Correlation::forward(params);
    if is_pointwise(params) {
        layer.correlate(&correlation, epilogue, out)
    } else {
        layer.correlate_by_taps(&[correlation], epilogue, out)
    }
}

/// `dx = dy ⋆ᵀ w` as in [`forward`]; overwrites `dx`.
pub(super) fn input_gradient<T: Real>(
    params: &Conv2dParams,
    execution: Execution,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
) -> Result<()> {
    let layer = Layer {
        execution,
        params,
        source: dy,
        source_shape: output_image(params),
        target_shape: input_image(params),
        w,
    };
    let correlations = input_correlations(params, Correlation::transposed, dx);
    if !is_pointwise(params) {
        return layer.correlate_by_taps(&correlations, Epilogue::NONE, dx);
    }
    for correlation in correlations {
        layer.correlate(&correlation, Epilogue::NONE, dx)?;
    }
    Ok(())
}

/// `dw = Σ patchᵀ · dy` for a kernel without groups; overwrites `dw`.
pub(super) fn filter_gradient<T: Real>(
    params: &Conv2dParams,
    execution: Execution,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) -> Result<()> {
    let Execution { par, level } = execution;
    let correlation = Correlation::forward(params);
    let (inputs, outputs) = (params.in_channels, params.out_channels);
    if dw.is_empty() {
        return Ok(());
    }
    let view = View::new(par, x, input_image(params), params.batch);
    let lines = params.batch * correlation.rows.targets;
    let width = correlation.columns.targets;
    if lines * width == 0 {
        dw.fill(T::ZERO);
        return Ok(());
    }
    let block = view.lines_at_once(&correlation);
    let mut copy = view.copy_buffer("conv2d_filter_gradient", &correlation)?;
    for first in (0..lines).step_by(block) {
        let lines = first..(first + block).min(lines);
        let pixels = lines.len() * width;
        let dy = &dy[lines.start * width * outputs..][..pixels * outputs];
        let dy = MatrixRef::row_major(dy, [pixels, outputs])?;
        let accum = if first == 0 {
            Accum::Replace
        } else {
            Accum::Add
        };
        let taps = correlation.rows.taps * correlation.columns.taps;
        let packed = if taps > 1 {
            Some(PackedColumns::new(dy, par, level)?)
        } else {
            None
        };
        for (tap, dw) in dw.chunks_exact_mut(inputs * outputs).enumerate() {
            let seen = correlation.tap(
                tap / correlation.columns.taps,
                tap % correlation.columns.taps,
            );
            let x = view.through(&seen, &lines, copy.as_mut_slice());
            let x = MatrixRef::row_major(x, [pixels, inputs])?.transposed();
            let dw = MatrixMut::row_major(dw, [inputs, outputs])?;
            count_multiplications([inputs, pixels, outputs]);
            match &packed {
                Some(dy) => gemm(x, dy, dw, accum, Epilogue::NONE, par, level)?,
                None => gemm(x, dy, dw, accum, Epilogue::NONE, par, level)?,
            }
        }
    }
    Ok(())
}

/// A convolution or input gradient without groups.
pub(super) struct Layer<'a, T> {
    pub(super) execution: Execution,
    pub(super) params: &'a Conv2dParams,
    pub(super) source: &'a [T],
    pub(super) source_shape: ImageShape,
    pub(super) target_shape: ImageShape,
    pub(super) w: &'a [T],
}

impl<T: Real> Layer<'_, T> {
    fn correlate(
        &self,
        correlation: &Correlation,
        epilogue: Epilogue<'_, T>,
        target: &mut [T],
    ) -> Result<()> {
        if target.is_empty() {
            return Ok(());
        }
        let Execution { par, level } = self.execution;
        let operation = "conv2d";
        let Correlation { rows, columns, .. } = *correlation;
        let (channels, targets) = (correlation.channels, correlation.targets);
        let view = View::new(par, self.source, self.source_shape, self.params.batch);
        let all_lines = self.params.batch * rows.targets;
        let block = view.lines_at_once(correlation);
        let mut copy = view.copy_buffer(operation, correlation)?;
        let (in_place, dense) = (view.is_in_place(correlation), correlation.is_dense());
        reached(Path::Product { in_place, dense }, level);
        let apart_len = if dense {
            0
        } else {
            block * columns.targets * targets
        };
        let mut apart = Buffer::unspecified(operation, apart_len)?;
        let (inputs, outputs) = (self.params.in_channels, self.params.out_channels);
        let filters = MatrixRef::row_major(self.w, [inputs, outputs])?;
        let filters = if correlation.transposed {
            filters.transposed()
        } else {
            filters
        };
        for first in (0..all_lines).step_by(block) {
            let lines = first..(first + block).min(all_lines);
            let pixels = lines.len() * columns.targets;
            let results = if dense {
                &mut target[first * columns.targets * targets..][..pixels * targets]
            } else {
                &mut apart.as_mut_slice()[..pixels * targets]
            };
            let source = view.through(correlation, &lines, copy.as_mut_slice());
            count_multiplications([pixels, channels, targets]);
            gemm(
                MatrixRef::row_major(source, [pixels, channels])?,
                filters,
                MatrixMut::row_major(results, [pixels, targets])?,
                Accum::Replace,
                epilogue,
                par,
                level,
            )?;
            if !dense {
                self.spread(correlation, &lines, apart.as_slice(), target);
            }
        }
        Ok(())
    }

    /// Puts the targets of a phase into their places.
    fn spread(
        &self,
        correlation: &Correlation,
        lines: &Range<usize>,
        results: &[T],
        target: &mut [T],
    ) {
        let Correlation { rows, columns, .. } = *correlation;
        let (row_len, channels) = (self.target_shape.row_len(), self.target_shape.channels);
        let results = results.chunks_exact(columns.targets * channels);
        for (line, results) in lines.clone().zip(results) {
            let (image, row) = (line / rows.targets, line % rows.targets);
            let row = rows.target_start + row * rows.target_step;
            let row = (image * self.target_shape.height + row) * row_len;
            let pixels = target[row..row + row_len].chunks_exact_mut(channels);
            let pixels = pixels
                .skip(columns.target_start)
                .step_by(columns.target_step);
            for (pixel, result) in pixels.zip(results.chunks_exact(channels)) {
                pixel.copy_from_slice(result);
            }
        }
    }
}

/// Images as they are seen through single taps. A *line* is a row of targets of one image; lines
/// are counted through all images.
struct View<'a, T> {
    par: Par,
    source: &'a [T],
    shape: ImageShape,
    batch: usize,
}

impl<'a, T: Real> View<'a, T> {
    fn new(par: Par, source: &'a [T], shape: ImageShape, batch: usize) -> Self {
        View {
            par,
            source,
            shape,
            batch,
        }
    }

    /// Whether the image itself is what the only tap sees.
    fn is_in_place(&self, correlation: &Correlation) -> bool {
        let Correlation { rows, columns, .. } = correlation;
        let whole = |axis: &crate::conv::correlation::TapAxis| {
            axis.taps == 1 && axis.stride == 1 && axis.offset == 0 && axis.targets == axis.source
        };
        whole(rows) && whole(columns)
    }

    /// Lines to be handled together.
    fn lines_at_once(&self, correlation: &Correlation) -> usize {
        let lines = (self.batch * correlation.rows.targets).max(1);
        if self.is_in_place(correlation) {
            return lines;
        }
        let line_len = (correlation.columns.targets * self.shape.channels).max(1);
        (COPY / line_len).clamp(1, lines)
    }

    fn copy_buffer(&self, operation: &str, correlation: &Correlation) -> Result<Buffer<T>> {
        let line_len = correlation.columns.targets * self.shape.channels;
        let lines = if self.is_in_place(correlation) {
            0
        } else {
            self.lines_at_once(correlation)
        };
        Buffer::unspecified(operation, lines * line_len)
    }

    /// The source pixels under the single tap of `tap`, one for each target of `lines`.
    fn through<'b>(&self, tap: &Correlation, lines: &Range<usize>, copy: &'b mut [T]) -> &'b [T]
    where
        'a: 'b,
    {
        let Correlation { rows, columns, .. } = *tap;
        let channels = self.shape.channels;
        let line_len = columns.targets * channels;
        if self.is_in_place(tap) {
            return &self.source[lines.start * line_len..lines.end * line_len];
        }
        let copy = &mut copy[..lines.len() * line_len];
        let inside = columns.targets_of_tap(0);
        let first = (columns.start(inside.start).max(0)) as usize * channels;
        let apart = columns.stride * channels;
        self.par.for_chunks(copy, line_len, |index, copy| {
            let line = lines.start + index;
            let (image, row) = (line / rows.targets, line % rows.targets);
            if inside.is_empty() || rows.taps_of(row).is_empty() {
                return copy.fill(T::ZERO);
            }
            let row = image * self.shape.height + rows.start(row) as usize;
            let source = &self.source[row * self.shape.row_len()..][..self.shape.row_len()];
            copy[..inside.start * channels].fill(T::ZERO);
            copy[inside.end * channels..].fill(T::ZERO);
            let copy = &mut copy[inside.start * channels..inside.end * channels];
            if columns.stride == 1 {
                copy.copy_from_slice(&source[first..first + copy.len()]);
            } else {
                let pixels = copy.chunks_exact_mut(channels);
                for (pixel, source) in pixels.zip(source[first..].chunks(apart)) {
                    pixel.copy_from_slice(&source[..channels]);
                }
            }
        });
        copy
    }
}
