//! One filter for each channel: products of numbers that lie side by side, no sum over channels.
//!
//! A tile of neighbouring targets accumulates in registers while the taps pass by, in one vector
//! of channels after the other: so an image is read and written in the order of its memory.

mod filter_gradient;
mod pixels;
mod source;

use std::ops::Range;

use crate::conv::correlation::{Correlation, Panel};
use crate::conv::job::{Block, Job, Step};
use crate::conv::params::Conv2dParams;
use crate::simd::{Kernel, Real, Simd, Vector, dispatch};

pub(super) use filter_gradient::filter_gradient;
use pixels::{Ahead, Channels, Chunk, ChunkShape, Kind, Span, TILE, Tile, chunks, tiles};
use source::{Source, rows_under, span, with_rows};

/// Whether each output channel sees the input channel of the same number, and only that.
pub(super) fn is_depthwise(params: &Conv2dParams) -> bool {
    params.groups > 1 && params.groups == params.in_channels && params.groups == params.out_channels
}

/// Computes the targets of `block`, whose memory is `target`.
pub(super) fn block<T: Real>(job: &Job<'_, T>, block: &Block, target: &mut [T]) {
    let Some(first) = job.steps.first() else {
        return;
    };
    let row_len = job.target_shape.row_len().max(1);
    let steps_of = |y: usize| {
        job.steps.iter().flat_map(move |step| {
            let targets = step.correlation.rows.targets_within(&(y..y + 1));
            targets.map(move |o| (step, o))
        })
    };
    let under = |(step, o): (&Step<'_, T>, usize)| rows_under(&step.correlation.rows, o);
    let span = span(block.rows.clone().flat_map(steps_of).map(under));
    let Correlation { rows, columns, .. } = &first.correlation;
    with_rows(job.source_shape, span, [rows, columns], |rows| {
        let targets = &mut target.chunks_exact_mut(row_len);
        for image in block.images.clone() {
            let image = &job.source[image * job.source_shape.len()..][..job.source_shape.len()];
            rows.begin(image);
            for (y, target) in block.rows.clone().zip(&mut *targets) {
                for (step, o) in steps_of(y) {
                    let row = Row {
                        job,
                        step,
                        image,
                        source: rows.source(under((step, o))),
                        o,
                        target,
                    };
                    dispatch(job.level, row);
                }
            }
        }
    });
}

/// The targets of row `o`.
struct Row<'a, 'b, T> {
    job: &'a Job<'b, T>,
    step: &'a Step<'b, T>,
    image: &'a [T],
    /// Its rows under the targets.
    source: Source<'a, T>,
    o: usize,
    target: &'a mut [T],
}

impl<T: Real> Kernel for Row<'_, '_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let columns = self.step.correlation.columns;
        for chunk in chunks(&columns) {
            match chunk.shape {
                ChunkShape::Three => self.pass::<S, 3, 1>(simd, chunk),
                ChunkShape::ThreeByTwo => self.pass::<S, 3, 2>(simd, chunk),
                ChunkShape::Two => self.pass::<S, 2, 1>(simd, chunk),
                ChunkShape::One => self.pass::<S, 1, 1>(simd, chunk),
            }
        }
    }
}

impl<T: Real> Row<'_, '_, T> {
    /// What the next row of targets needs that this one does not.
    #[inline(always)]
    fn next_rows(&self, vectors: usize) -> [Ahead<T>; 2] {
        let Correlation { rows, columns, .. } = self.step.correlation;
        let row_len = self.job.source_shape.row_len();
        let below = rows.start(self.o) + (rows.taps.saturating_sub(1) * rows.step + 1) as isize;
        let below = (below.max(0) as usize).saturating_mul(row_len);
        let source = self.image.as_ptr().wrapping_add(below);
        let target_len = self.target.len();
        let target = self.target.as_ptr().wrapping_add(target_len);
        // Of several phases the first fetches for all.
        let source_len = if rows.target_start + columns.target_start == 0 {
            rows.stride * row_len
        } else {
            0
        };
        [
            Ahead::new(source, source_len, vectors),
            Ahead::new(target, target_len / columns.target_step, vectors),
        ]
    }

    /// All targets of the row, through the taps of `chunk`: the first chunk replaces what is
    /// there, the others add to it.
    #[inline(always)]
    fn pass<S: Simd, const TAPS: usize, const STRIDE: usize>(&mut self, simd: S, chunk: Chunk) {
        let lanes = T::Vector::<S>::LANES;
        let Correlation { rows, columns, .. } = self.step.correlation;
        let vectors = columns.targets * self.job.target_shape.channels.div_ceil(lanes);
        let mut ahead = self.next_rows(vectors);
        let taps = Taps {
            chunk,
            downs: rows.taps_of(self.o),
            is_last: chunk.first + TAPS == columns.taps,
        };
        for tile in tiles(columns.targets) {
            let span = Span::under(&columns, self.job.source_shape.width, tile, chunk);
            for panel in (0..self.step.panels.count()).map(|p| self.step.panels.panel(p)) {
                for first in (0..panel.columns).step_by(lanes) {
                    let channels = Channels {
                        first: panel.first + first,
                        count: (panel.columns - first).min(lanes),
                    };
                    let place = Place {
                        tile,
                        span,
                        panel,
                        channels,
                    };
                    let whole = channels.count == lanes;
                    // Constants, each with code of its own.
                    match span.kind::<TAPS, STRIDE>(tile, whole) {
                        Kind::Whole => {
                            self.tile::<S, TAPS, STRIDE>(simd, &taps, &place, Kind::Whole);
                        }
                        Kind::Edge => {
                            self.tile::<S, TAPS, STRIDE>(simd, &taps, &place, Kind::Edge);
                        }
                        Kind::Parts => {
                            self.tile::<S, TAPS, STRIDE>(simd, &taps, &place, Kind::Parts);
                        }
                    }
                    ahead.iter_mut().for_each(|ahead| ahead.fetch(tile.count));
                }
            }
        }
    }

    /// The targets at `place`, whose kind is `kind`.
    #[inline(always)]
    fn tile<S: Simd, const TAPS: usize, const STRIDE: usize>(
        &mut self,
        simd: S,
        taps: &Taps,
        place: &Place,
        kind: Kind,
    ) {
        let Correlation { rows, columns, .. } = &self.step.correlation;
        let &Place {
            tile,
            span,
            panel,
            channels,
        } = place;
        let lanes = T::Vector::<S>::LANES;
        let all = self.job.target_shape.channels;
        let x = columns.target_start + tile.x * columns.target_step;
        let apart = columns.target_step * all;
        let target = &mut self.target[x * all + channels.first..];
        let target = &mut target[..(tile.count - 1) * apart + channels.count];
        let targets = target.as_mut_ptr();
        let is_there = |i: usize| kind != Kind::Parts || i < tile.count;
        let zero = T::Vector::<S>::zero(simd);
        let mut sums = [zero; TILE];
        if taps.chunk.first > 0 {
            for i in (0..TILE).filter(|&i| is_there(i)) {
                // SAFETY: the target was cut to hold these channels of `tile.count` pixels.
                unsafe {
                    let pixel = targets.add(i * apart);
                    sums[i] = T::Vector::<S>::load_pointer_partial(simd, pixel, channels.count);
                }
            }
        }
        let top = rows.start(self.o);
        let filters = panel.start + channels.first - panel.first;
        for down in taps.downs.clone() {
            let y = (top + (down * rows.step) as isize) as usize;
            let pixels = self.source.pixels(y, span, channels);
            let filters = filters + (down * columns.taps + taps.chunk.first) * panel.width;
            let filters = &self.step.filters[filters..][..(TAPS - 1) * panel.width + lanes];
            let mut factors = [zero; TAPS];
            for tap in 0..TAPS {
                factors[tap] = T::Vector::<S>::load(simd, &filters[tap * panel.width..]);
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
        let bias = match self.job.epilogue.bias {
            Some(bias) if taps.is_last => {
                T::Vector::<S>::load_partial(simd, &bias[channels.first..][..channels.count])
            }
            _ => zero,
        };
        let relu = taps.is_last && self.job.epilogue.relu;
        for i in (0..TILE).filter(|&i| is_there(i)) {
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
    }
}

/// The taps of a pass.
struct Taps {
    chunk: Chunk,
    /// The kernel rows that lie on the source.
    downs: Range<usize>,
    is_last: bool,
}

/// Some targets, in some channels.
struct Place {
    tile: Tile,
    span: Span,
    panel: Panel,
    channels: Channels,
}
