//! One filter for each channel: products of numbers that lie side by side, no sum over channels.
//!
//! A tile of neighbouring targets accumulates in registers while the taps pass by, in one vector
//! of channels after the other: so an image is read and written in the order of its memory.

mod descent;
mod filter_descent;
mod filter_gradient;
mod phases;
mod pixels;
mod row;
mod source;
mod window;

use std::ops::Range;

use crate::conv::correlation::Correlation;
use crate::conv::job::{Block, Job, Step};
use crate::conv::microkernel::lanes;
use crate::conv::params::Conv2dParams;
use crate::conv::reached::{Path, reached};
use crate::matmul::with_scratch;
use crate::simd::{Kernel, Real, Simd, Vector, dispatch};

use descent::{Descent, descends, pieces, waiting_len};
pub(super) use filter_gradient::filter_gradient;
use phases::{Phases, phases};
pub(super) use pixels::Kind;
use pixels::{Ahead, Channels, Pixels, TILE};
use row::{Place, Taps, TiledRow, Walk, walk};
use source::{rows_under, span, with_rows};

/// Whether each output channel sees the input channel of the same number, and only that.
pub(super) fn is_depthwise(params: &Conv2dParams) -> bool {
    params.groups > 1 && params.groups == params.in_channels && params.groups == params.out_channels
}

/// Computes the targets of `block`, whose memory is `target`.
pub(super) fn block<T: Real>(job: &Job<'_, T>, block: &Block, target: &mut [T]) {
    let Some(first) = job.steps.first() else {
        return;
    };
    // Kernels read from the source the channels that they write to the target.
    assert_eq!(job.source_shape.channels, job.target_shape.channels);
    let row_len = job.target_shape.row_len().max(1);
    let mut first_channel = 0;
    if job.steps.len() == 1 && block.rows.len() > 1 && descends::<T>(job.level, &first.correlation)
    {
        first_channel = descend(job, first, block, target);
        if first_channel == job.target_shape.channels {
            return;
        }
    }
    let phases = phases(job);
    let pairs = block.rows.start.div_ceil(2)..block.rows.end / 2;
    let covered = match phases {
        Some(steps) => in_phases(job, steps, block, pairs.clone(), target),
        None => 0,
    };
    let all_vectors = job
        .target_shape
        .channels
        .is_multiple_of(lanes::<T>(job.level));
    let steps_of = |y: usize| {
        job.steps.iter().flat_map(move |step| {
            let targets = step.correlation.rows.targets_within(&(y..y + 1));
            targets.map(move |o| (step, o))
        })
    };
    let under = |(step, o): (&Step<'_, T>, usize)| rows_under(&step.correlation.rows, o);
    let span = span(block.rows.clone().flat_map(steps_of).map(under));
    let Correlation { rows, columns, .. } = &first.correlation;
    with_rows(job.level, job.source_shape, span, [rows, columns], |rows| {
        let targets = &mut target.chunks_exact_mut(row_len);
        for image in block.images.clone() {
            let image = &job.source[image * job.source_shape.len()..][..job.source_shape.len()];
            rows.begin(image);
            for (y, target) in block.rows.clone().zip(&mut *targets) {
                for (step, o) in steps_of(y) {
                    let covered = if pairs.contains(&(y / 2)) { covered } else { 0 };
                    if all_vectors && covered > 0 && covered == step.correlation.columns.targets {
                        continue;
                    }
                    let row = Row {
                        job,
                        step,
                        image,
                        walk: Walk {
                            correlation: &step.correlation,
                            source: rows.source(under((step, o))),
                            width: job.source_shape.width,
                            channels: job.target_shape.channels,
                            o,
                            covered,
                            first_channel,
                        },
                        target,
                    };
                    dispatch(job.level, row);
                }
            }
        }
    });
}

/// Computes what it can in the order of [`Descent`], and returns how many channels that were.
fn descend<T: Real>(
    job: &Job<'_, T>,
    step: &Step<'_, T>,
    block: &Block,
    target: &mut [T],
) -> usize {
    let row_len = job.target_shape.row_len();
    let images = target.chunks_exact_mut(block.rows.len() * row_len);
    with_scratch(waiting_len::<T>(), |waiting: &mut [T]| {
        for (image, mut target) in block.images.clone().zip(images) {
            let image = &job.source[image * job.source_shape.len()..][..job.source_shape.len()];
            for rows in pieces(block.rows.clone(), row_len.max(job.source_shape.row_len())) {
                let (these, rest) = target.split_at_mut(rows.len() * row_len);
                target = rest;
                let descent = Descent {
                    job,
                    step,
                    image,
                    rows,
                    target: these,
                    waiting,
                };
                dispatch(job.level, descent);
            }
        }
    });
    let lanes = lanes::<T>(job.level);
    job.target_shape.channels / lanes * lanes
}

/// Computes the targets of `pairs` of rows, but for those in channels that fill no vector, and
/// returns how many of each phase that were in a row.
fn in_phases<T: Real>(
    job: &Job<'_, T>,
    steps: [&Step<'_, T>; 4],
    block: &Block,
    pairs: Range<usize>,
    target: &mut [T],
) -> usize {
    let row_len = job.target_shape.row_len();
    let mut covered = 0;
    let images = target.chunks_exact_mut(block.rows.len() * row_len);
    for (image, target) in block.images.clone().zip(images) {
        let image = &job.source[image * job.source_shape.len()..][..job.source_shape.len()];
        let targets = &mut target[(2 * pairs.start - block.rows.start) * row_len..];
        for (o, target) in pairs.clone().zip(targets.chunks_exact_mut(2 * row_len)) {
            let phases = Phases {
                steps,
                job,
                image,
                o,
                target,
            };
            covered = dispatch(job.level, phases);
        }
    }
    covered
}

/// The targets of a row.
struct Row<'a, 'b, T> {
    job: &'a Job<'b, T>,
    step: &'a Step<'b, T>,
    image: &'a [T],
    walk: Walk<'a, T>,
    target: &'a mut [T],
}

impl<T: Real> Kernel for Row<'_, '_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        walk(&mut self, simd);
    }
}

impl<'a, T: Real> TiledRow<'a, T> for Row<'a, '_, T> {
    #[inline(always)]
    fn walk(&self) -> Walk<'a, T> {
        self.walk
    }

    #[inline(always)]
    fn next_rows(&self, vectors: usize) -> [Ahead<T>; 2] {
        let Correlation { rows, columns, .. } = self.step.correlation;
        let row_len = self.job.source_shape.row_len();
        let below =
            rows.start(self.walk.o) + (rows.taps.saturating_sub(1) * rows.step + 1) as isize;
        let below = (below.max(0) as usize).saturating_mul(row_len);
        let source = self.image.as_ptr().wrapping_add(below);
        let target_len = self.target.len();
        let target = self.target.as_ptr().wrapping_add(target_len);
        // Of several phases the first fetches for all.
        let source_len = if rows.target_start + columns.target_start == 0 {
            rows.stride.min(rows.source) * row_len
        } else {
            0
        };
        [
            Ahead::new(source, source_len, vectors),
            Ahead::new(target, target_len / columns.target_step, vectors),
        ]
    }

    /// The first taps replace what is there, the others add to it.
    #[inline(always)]
    fn tile<S: Simd, const TAPS: usize, const STRIDE: usize>(
        &mut self,
        simd: S,
        taps: &Taps<'_, T>,
        place: &mut Place<'_, T>,
        kind: Kind,
    ) {
        reached(Path::row::<TAPS, STRIDE>(false, kind), S::LEVEL);
        let columns = &self.step.correlation.columns;
        let &mut Place { tile, span, .. } = place;
        let lanes = T::Vector::<S>::LANES;
        let all = self.job.target_shape.channels;
        let x = columns.target_start + tile.x * columns.target_step;
        let apart = columns.target_step * all;
        let target = &mut self.target[x * all..];
        let target = &mut target[..(tile.count - 1) * apart + all];
        let is_last = taps.chunk.first + TAPS == columns.taps;
        let relu = is_last && self.job.epilogue.relu;
        let bias = self.job.epilogue.bias.filter(|_| is_last);
        let count = if kind == Kind::Parts {
            tile.count
        } else {
            TILE
        };
        let zero = T::Vector::<S>::zero(simd);
        for vector in place.vectors.clone() {
            let first = vector * lanes;
            let channels = Channels::from(first, lanes, all, kind);
            let targets = target[first..].as_mut_ptr();
            let mut sums = [zero; TILE];
            if taps.chunk.first > 0 {
                for i in 0..TILE {
                    if i >= count {
                        break;
                    }
                    // SAFETY: the target was cut to hold all channels of `tile.count` pixels.
                    unsafe {
                        let pixel = targets.add(i * apart);
                        sums[i] = T::Vector::<S>::load_pointer_partial(simd, pixel, channels.count);
                    }
                }
            }
            let (start, width) = self.step.panels.stored(vector);
            let start = start + taps.chunk.first * width;
            let filters = &self.step.filters[start..];
            for (down, &source) in taps.sources.iter().enumerate() {
                let pixels = Pixels::new(source, self.walk.source.pixel(), span, channels);
                let filters = &filters[(taps.first_down + down) * columns.taps * width..];
                let filters = &filters[..(TAPS - 1) * width + lanes];
                let mut factors = [zero; TAPS];
                for tap in 0..TAPS {
                    factors[tap] = T::Vector::<S>::load(simd, &filters[tap * width..]);
                }
                // SAFETY: the caller has found the kind of this place.
                unsafe {
                    pixels.for_windows::<S, TAPS, STRIDE>(
                        simd,
                        tile.count,
                        kind,
                        #[inline(always)]
                        |target, window| {
                            for tap in 0..TAPS {
                                sums[target] = factors[tap].mul_add(window[tap], sums[target]);
                            }
                        },
                    );
                }
            }
            let bias = match bias {
                Some(bias) => T::Vector::<S>::load_partial(simd, &bias[first..][..channels.count]),
                None => zero,
            };
            for i in 0..TILE {
                if i >= count {
                    break;
                }
                let sum = sums[i] + bias;
                let sum = if relu { zero.max(sum) } else { sum };
                // SAFETY: as above.
                unsafe {
                    let pixel = targets.add(i * apart);
                    if kind == Kind::Parts {
                        sum.store_pointer_partial(pixel, channels.count);
                    } else {
                        sum.store_pointer(pixel);
                    }
                }
            }
            for ahead in place.ahead.iter_mut() {
                ahead.fetch(tile.count);
            }
        }
    }
}
