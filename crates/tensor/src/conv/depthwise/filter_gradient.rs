//! The gradient of a depthwise convolution with respect to its filters.

use crate::conv::correlation::Correlation;
use crate::conv::depthwise::descent::{descends, pieces};
use crate::conv::depthwise::filter_descent::FilterDescent;
use crate::conv::depthwise::pixels::{Ahead, Channels, Kind, Pixels, Span};
use crate::conv::depthwise::row::{Place, Taps, TiledRow, Walk, walk};
use crate::conv::depthwise::source::{rows_under, span, with_rows};
use crate::conv::filter_gradient::MOST_PARTS;
use crate::conv::job::{Execution, ImageShape, input_image, output_image};
use crate::conv::microkernel::lanes;
use crate::conv::params::Conv2dParams;
use crate::conv::reached::{Path, reached};
use crate::conv::statistics::count_multiplications;
use crate::error::Result;
use crate::simd::{Kernel, Real, Simd, Vector, dispatch};
use crate::storage::Buffer;

/// Rows of outputs in a part that is computed by [`FilterDescent`], which sees two more of the image.
const LEAST_ROWS: usize = 7;

/// `dw[ky, kx, 0, c] = Σ x[n, oy·s + ky·d − before, …, c] · dy[n, oy, ox, c]`; overwrites `dw`.
///
/// As in [`filter_gradient`](crate::conv::filter_gradient), parts of the sum are added in order.
pub(in crate::conv) fn filter_gradient<T: Real>(
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
    let correlation = Correlation::depthwise(params, None);
    let descends = descends::<T>(level, &correlation);
    let least_rows = if descends { LEAST_ROWS } else { 1 };
    let parts = MOST_PARTS.min(rows / least_rows).max(1);
    let taps = params.rows.kernel * params.columns.kernel;
    let lanes = lanes::<T>(level);
    let part_len = taps * params.groups.next_multiple_of(lanes);
    let mut sums = Buffer::unspecified("conv2d_filter_gradient", parts * part_len)?;
    let (x_shape, dy_shape) = (input_image(params), output_image(params));
    // Kernels read the same channels of both.
    assert_eq!(x_shape.channels, dy_shape.channels);
    let under = |o: usize| rows_under(&correlation.rows, o);
    let span = span((0..dy_shape.height).map(under));
    par.for_chunks(sums.as_mut_slice(), part_len, |part, sums| {
        sums.fill(T::ZERO);
        let rows = part * rows / parts..(part + 1) * rows / parts;
        if rows.is_empty() {
            return;
        }
        count_multiplications([rows.len(), params.columns.output, dw.len()]);
        let axes = [&correlation.rows, &correlation.columns];
        let height = dy_shape.height;
        let of_image = |image| rows.start.max(image * height)..rows.end.min((image + 1) * height);
        let descends_in = |image| descends && of_image(image).len() > 1;
        let mut descended = 0;
        for image in rows.start / height..rows.end.div_ceil(height) {
            if !descends_in(image) {
                continue;
            }
            let these = of_image(image);
            let these = these.start - image * height..these.end - image * height;
            for rows in pieces(these, x_shape.row_len()) {
                let kernel = FilterDescent {
                    correlation: &correlation,
                    x: &x[image * x_shape.len()..],
                    x_shape,
                    dy: &dy[image * dy_shape.len()..],
                    dy_shape,
                    rows,
                    sums,
                };
                descended = dispatch(level, kernel);
            }
        }
        let all_vectors = params.groups.is_multiple_of(lanes);
        with_rows(level, x_shape, span, axes, |x_rows| {
            for row in rows.clone() {
                let (image, o) = (row / height, row % height);
                let covered = if descends_in(image) { descended } else { 0 };
                if all_vectors && covered == dy_shape.width {
                    continue;
                }
                if o == 0 || row == rows.start {
                    x_rows.begin(&x[image * x_shape.len()..][..x_shape.len()]);
                }
                let kernel = GradientRow {
                    walk: Walk {
                        correlation: &correlation,
                        source: x_rows.source(under(o)),
                        width: x_shape.width,
                        channels: dy_shape.channels,
                        o,
                        covered,
                        first_channel: 0,
                    },
                    x,
                    x_shape,
                    dy,
                    dy_shape,
                    image,
                    sums,
                };
                dispatch(level, kernel);
            }
        });
    });
    for (part, sums) in sums.as_slice().chunks_exact(part_len).enumerate() {
        for (index, sums) in sums.chunks_exact(lanes).enumerate() {
            let (vector, tap) = (index / taps, index % taps);
            let first = vector * lanes;
            let count = (params.groups - first).min(lanes);
            let dw = &mut dw[tap * params.groups + first..][..count];
            if part == 0 {
                dw.copy_from_slice(&sums[..count]);
            } else {
                dw.iter_mut().zip(sums).for_each(|(to, from)| *to += *from);
            }
        }
    }
    Ok(())
}

/// What one row of outputs adds to the gradient of the filters.
struct GradientRow<'a, T> {
    walk: Walk<'a, T>,
    x: &'a [T],
    x_shape: ImageShape,
    dy: &'a [T],
    dy_shape: ImageShape,
    image: usize,
    /// A vector of channels for each tap, and so on for the next channels: what is added to at a
    /// time lies together.
    sums: &'a mut [T],
}

impl<T: Real> Kernel for GradientRow<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        walk(&mut self, simd);
    }
}

impl<'a, T: Real> TiledRow<'a, T> for GradientRow<'a, T> {
    #[inline(always)]
    fn walk(&self) -> Walk<'a, T> {
        self.walk
    }

    #[inline(always)]
    fn next_rows(&self, vectors: usize) -> [Ahead<T>; 2] {
        let rows = self.walk.correlation.rows;
        let below =
            rows.start(self.walk.o) + (rows.taps.saturating_sub(1) * rows.step + 1) as isize;
        let below = self.image * self.x_shape.height + below.max(0) as usize;
        let (x_row, dy_row) = (self.x_shape.row_len(), self.dy_shape.row_len());
        let x = self.x.as_ptr().wrapping_add(below.saturating_mul(x_row));
        let dy = (self.image * self.dy_shape.height + self.walk.o + 1) * dy_row;
        let dy = self.dy.as_ptr().wrapping_add(dy);
        [
            Ahead::new(x, rows.stride.min(rows.source) * x_row, vectors),
            Ahead::new(dy, dy_row, vectors),
        ]
    }

    /// What the targets add to the taps.
    #[inline(always)]
    fn tile<S: Simd, const TAPS: usize, const STRIDE: usize>(
        &mut self,
        simd: S,
        taps: &Taps<'_, T>,
        place: &mut Place<'_, T>,
        kind: Kind,
    ) {
        reached(Path::row::<TAPS, STRIDE>(true, kind), S::LEVEL);
        let Correlation { rows, columns, .. } = self.walk.correlation;
        let &mut Place { tile, span, .. } = place;
        let lanes = T::Vector::<S>::LANES;
        let all = self.dy_shape.channels;
        let row = self.image * self.dy_shape.height + self.walk.o;
        let dy_row = &self.dy[row * self.dy_shape.row_len()..][..self.dy_shape.row_len()];
        let in_kernel = rows.taps * columns.taps;
        for vector in place.vectors.clone() {
            let first = vector * lanes;
            let channels = Channels::from(first, lanes, all, kind);
            let dy = Pixels::new(dy_row, all, Span::of(tile), channels);
            let first = vector * in_kernel + taps.chunk.first;
            let known = &mut self.sums[first * lanes..];
            for (down, source) in taps.sources.iter().enumerate() {
                let x = Pixels::new(source, self.walk.source.pixel(), span, channels);
                let mut sums = [[T::Vector::<S>::zero(simd); CHAINS]; TAPS];
                // SAFETY: the caller has found the kind of this place, and `dy` has a pixel for
                // each target.
                unsafe {
                    x.for_windows::<S, TAPS, STRIDE>(
                        simd,
                        tile.count,
                        kind,
                        #[inline(always)]
                        |target, window| {
                            let dy = dy.load(simd, target, false, kind);
                            for tap in 0..TAPS {
                                let sum = &mut sums[tap][target % CHAINS];
                                *sum = window[tap].mul_add(dy, *sum);
                            }
                        },
                    );
                }
                let tap = (taps.first_down + down) * columns.taps;
                let known = known[tap * lanes..].chunks_exact_mut(lanes);
                for (known, sum) in known.zip(sums) {
                    let sum = T::Vector::<S>::load(simd, known) + (sum[0] + sum[1]);
                    sum.store(known);
                }
            }
            for ahead in place.ahead.iter_mut() {
                ahead.fetch(tile.count);
            }
        }
    }
}

/// Sums of a tap that are kept apart, as chains of additions.
const CHAINS: usize = 2;
