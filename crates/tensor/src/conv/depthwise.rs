//! One filter for each channel: products of numbers that lie side by side, no sum over channels.
//!
//! A tile of pixels accumulates in registers while the taps pass by, in vectors over channels.

use crate::conv::correlation::{Correlation, Panel};
use crate::conv::filter_gradient::MOST_PARTS;
use crate::conv::job::{Block, Execution, ImageShape, Job, Step, input_image, output_image};
use crate::conv::params::Conv2dParams;
use crate::conv::statistics::count_multiplications;
use crate::error::Result;
use crate::simd::{Kernel, Real, Simd, Vector, dispatch};
use crate::storage::Buffer;

/// Pixels of a tile: with two vectors each, enough chains of additions to hide their latency, few
/// enough for the registers.
const TILE: usize = 6;

/// Whether each output channel sees the input channel of the same number, and only that.
pub(super) fn is_depthwise(params: &Conv2dParams) -> bool {
    params.groups > 1 && params.groups == params.in_channels && params.groups == params.out_channels
}

/// Computes the targets of `block`, whose memory is `target`.
pub(super) fn block<T: Real>(job: &Job<'_, T>, block: &Block, target: &mut [T]) {
    let target_len = target.len() / block.images.len();
    let row_len = job.target_shape.row_len();
    for (image, target) in block.images.clone().zip(target.chunks_mut(target_len)) {
        let source = &job.source[image * job.source_shape.len()..][..job.source_shape.len()];
        for step in job.steps {
            let rows = step.correlation.rows;
            for o in rows.targets_within(&block.rows) {
                let y = rows.target_start + o * rows.target_step - block.rows.start;
                let target = &mut target[y * row_len..][..row_len];
                for panel in (0..step.panels.count()).map(|p| step.panels.panel(p)) {
                    let row = Row {
                        job,
                        step,
                        panel,
                        source,
                        o,
                        target,
                    };
                    dispatch(job.level, row);
                }
            }
        }
    }
}

/// The targets of row `o` in one panel of channels.
struct Row<'a, 'b, T> {
    job: &'a Job<'b, T>,
    step: &'a Step<'b, T>,
    panel: Panel,
    source: &'a [T],
    o: usize,
    target: &'a mut [T],
}

/// Successive channels: whole vectors, or a part of one.
#[derive(Clone, Copy)]
struct Channels {
    /// Within the panel.
    first: usize,
    count: usize,
}

impl<T: Real> Kernel for Row<'_, '_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let lanes = T::Vector::<S>::LANES;
        let columns = self.panel.columns;
        let mut first = 0;
        while first < columns {
            if first + 2 * lanes <= columns {
                let count = 2 * lanes;
                self.pixels::<S, 2>(simd, Channels { first, count });
                first += count;
            } else {
                let count = (columns - first).min(lanes);
                self.pixels::<S, 1>(simd, Channels { first, count });
                first += count;
            }
        }
    }
}

impl<T: Real> Row<'_, '_, T> {
    /// Tiles of pixels where no tap is padding, single pixels elsewhere.
    #[inline(always)]
    fn pixels<S: Simd, const VECTORS: usize>(&mut self, simd: S, channels: Channels) {
        let columns = self.step.correlation.columns;
        let inside = columns.targets_with_all_taps();
        let mut x = 0;
        while x < columns.targets {
            if inside.contains(&x) && x + TILE <= inside.end {
                self.tile::<S, TILE, VECTORS>(simd, x, channels);
                x += TILE;
            } else {
                self.tile::<S, 1, VECTORS>(simd, x, channels);
                x += 1;
            }
        }
    }

    /// `PIXELS` targets from `x` on, whose taps on the source are the same.
    #[inline(always)]
    fn tile<S: Simd, const PIXELS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        x: usize,
        channels: Channels,
    ) {
        let Correlation { rows, columns, .. } = self.step.correlation;
        let Channels { first, count } = channels;
        let lanes = T::Vector::<S>::LANES;
        let shape = self.job.source_shape;
        let apart = columns.stride * shape.channels;
        let mut sums = [[T::Vector::<S>::zero(simd); VECTORS]; PIXELS];
        for down in rows.taps_of(self.o) {
            let y = (rows.start(self.o) + (down * rows.step) as isize) as usize;
            for across in columns.taps_of(x) {
                let column = (columns.start(x) + (across * columns.step) as isize) as usize;
                let start = (y * shape.width + column) * shape.channels + self.panel.first + first;
                let pixels = &self.source[start..][..(PIXELS - 1) * apart + count];
                let tap = (down * columns.taps + across) * self.panel.width + first;
                let tap = &self.step.filters[self.panel.start + tap..];
                for v in 0..VECTORS {
                    let factor = T::Vector::<S>::load(simd, &tap[v * lanes..]);
                    for p in 0..PIXELS {
                        // SAFETY: `pixels` was cut to hold `count` channels of each pixel.
                        unsafe {
                            let pixel = pixels.as_ptr().add(p * apart + v * lanes);
                            let pixel = load::<T, S>(simd, pixel, count - v * lanes);
                            sums[p][v] = factor.mul_add(pixel, sums[p][v]);
                        }
                    }
                }
            }
        }
        let zero = T::Vector::<S>::zero(simd);
        let channel = self.panel.first + first;
        for v in 0..VECTORS {
            let vector = channel + v * lanes..channel + count;
            let bias = match self.job.epilogue.bias {
                Some(bias) => T::Vector::<S>::load_partial(simd, &bias[vector.clone()]),
                None => zero,
            };
            for p in 0..PIXELS {
                let x = columns.target_start + (x + p) * columns.target_step;
                let pixel = &mut self.target[x * shape.channels..][vector.clone()];
                let sum = sums[p][v] + bias;
                let sum = if self.job.epilogue.relu {
                    zero.max(sum)
                } else {
                    sum
                };
                sum.store_partial(pixel);
            }
        }
    }
}

/// A vector, or what there is of one.
///
/// # Safety
/// `source` is valid for reading `count` numbers, at least one, or a whole vector if there are
/// more.
#[inline(always)]
unsafe fn load<T: Real, S: Simd>(simd: S, source: *const T, count: usize) -> T::Vector<S> {
    // SAFETY: as the caller promises.
    unsafe {
        if count >= T::Vector::<S>::LANES {
            T::Vector::<S>::load_pointer(simd, source)
        } else {
            T::Vector::<S>::load_pointer_partial(simd, source, count)
        }
    }
}

/// `dw[ky, kx, 0, c] = Σ x[n, oy·s + ky·d − before, …, c] · dy[n, oy, ox, c]`; overwrites `dw`.
///
/// As in [`filter_gradient`](crate::conv::filter_gradient), parts of the sum are added in order.
pub(super) fn filter_gradient<T: Real>(
    params: &Conv2dParams,
    execution: Execution,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) -> Result<()> {
    if dw.is_empty() {
        return Ok(());
    }
    let Execution { par, level } = execution;
    let rows = params.batch * params.rows.output;
    let parts = MOST_PARTS.min(rows).max(1);
    let mut sums = Buffer::unspecified("conv2d_filter_gradient", parts * dw.len())?;
    let part_len = dw.len();
    par.for_chunks(sums.as_mut_slice(), part_len, |part, sums| {
        sums.fill(T::ZERO);
        let rows = part * rows / parts..(part + 1) * rows / parts;
        count_multiplications([rows.len(), params.columns.output, part_len]);
        for row in rows {
            let correlation = Correlation::depthwise(params, None);
            dispatch(
                level,
                GradientRow {
                    correlation: &correlation,
                    x,
                    x_shape: input_image(params),
                    dy,
                    dy_shape: output_image(params),
                    image: row / params.rows.output,
                    o: row % params.rows.output,
                    sums,
                },
            );
        }
    });
    for (part, sums) in sums.as_slice().chunks_exact(part_len).enumerate() {
        if part == 0 {
            dw.copy_from_slice(sums);
        } else {
            dw.iter_mut().zip(sums).for_each(|(to, from)| *to += *from);
        }
    }
    Ok(())
}

/// What one row of outputs adds to the gradient of the filters.
struct GradientRow<'a, T> {
    correlation: &'a Correlation,
    x: &'a [T],
    x_shape: ImageShape,
    dy: &'a [T],
    dy_shape: ImageShape,
    image: usize,
    o: usize,
    sums: &'a mut [T],
}

/// Pixels that are summed apart, to have as many chains of additions.
const CHAINS: usize = 4;

impl<T: Real> Kernel for GradientRow<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Correlation { rows, columns, .. } = *self.correlation;
        let lanes = T::Vector::<S>::LANES;
        let channels = self.dy_shape.channels;
        let x_row_len = self.x_shape.row_len();
        let dy_row = self.image * self.dy_shape.height + self.o;
        let dy = &self.dy[dy_row * self.dy_shape.row_len()..][..self.dy_shape.row_len()];
        let apart = columns.stride * channels;
        for first in (0..channels).step_by(2 * lanes) {
            for down in rows.taps_of(self.o) {
                let y = (rows.start(self.o) + (down * rows.step) as isize) as usize;
                let x = &self.x[(self.image * self.x_shape.height + y) * x_row_len..][..x_row_len];
                for across in 0..columns.taps {
                    let targets = columns.targets_of_tap(across);
                    if targets.is_empty() {
                        continue;
                    }
                    let column = columns.start(targets.start) + (across * columns.step) as isize;
                    let x = &x[column as usize * channels + first..];
                    let dy = &dy[targets.start * channels + first..];
                    let tap = (down * columns.taps + across) * channels + first;
                    let sums = &mut self.sums[tap..];
                    let pixels = targets.len();
                    let left = channels - first;
                    if left >= 2 * lanes {
                        dot::<T, S, 2>(simd, x, apart, dy, channels, pixels, 2 * lanes, sums);
                    } else {
                        let whole = left.min(lanes);
                        dot::<T, S, 1>(simd, x, apart, dy, channels, pixels, whole, sums);
                        if left > lanes {
                            let rest = left - lanes;
                            let (x, dy, sums) = (&x[lanes..], &dy[lanes..], &mut sums[lanes..]);
                            dot::<T, S, 1>(simd, x, apart, dy, channels, pixels, rest, sums);
                        }
                    }
                }
            }
        }
    }
}

/// `sums[c] += Σ_p x[p·x_apart + c] · dy[p·dy_apart + c]` over `pixels`, for `count` channels `c`.
#[inline(always)]
fn dot<T: Real, S: Simd, const VECTORS: usize>(
    simd: S,
    x: &[T],
    x_apart: usize,
    dy: &[T],
    dy_apart: usize,
    pixels: usize,
    count: usize,
    sums: &mut [T],
) {
    let lanes = T::Vector::<S>::LANES;
    assert!((pixels - 1) * x_apart + count <= x.len());
    assert!((pixels - 1) * dy_apart + count <= dy.len());
    let mut chains = [[T::Vector::<S>::zero(simd); VECTORS]; CHAINS];
    for first in (0..pixels).step_by(CHAINS) {
        // A constant count of full groups, so that the chains stay in registers.
        for chain in 0..CHAINS {
            let pixel = first + chain;
            if pixel >= pixels {
                break;
            }
            for v in 0..VECTORS {
                // SAFETY: the assertions hold for `pixel < pixels`.
                unsafe {
                    let at = v * lanes;
                    let x = load::<T, S>(simd, x.as_ptr().add(pixel * x_apart + at), count - at);
                    let dy = load::<T, S>(simd, dy.as_ptr().add(pixel * dy_apart + at), count - at);
                    chains[chain][v] = x.mul_add(dy, chains[chain][v]);
                }
            }
        }
    }
    for v in 0..VECTORS {
        let sum = (chains[0][v] + chains[1][v]) + (chains[2][v] + chains[3][v]);
        let sums = &mut sums[v * lanes..count];
        (sum + T::Vector::<S>::load_partial(simd, sums)).store_partial(sums);
    }
}
