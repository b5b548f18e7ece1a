//! Average pooling and its gradient.

use crate::float::Float;
use crate::parallel::Par;
use crate::pool::params::Pool2dParams;
use crate::pool::rows::{Row, for_taps, place, rows_per_block, windows_over};
use crate::simd::{Level, vectorize};

/// `y = Σ x / count` over each window of `x`.
pub(super) fn forward<T: Float>(
    params: &Pool2dParams,
    par: Par,
    level: Level,
    x: &[T],
    y: &mut [T],
) {
    let (rows, channels) = (params.rows, params.channels);
    let row_len = params.columns.output * channels;
    let at_once = rows_per_block(row_len.saturating_mul(rows.kernel));
    par.for_chunks(y, at_once * row_len, |block, y| {
        for (number, y) in (block * at_once..).zip(y.chunks_exact_mut(row_len)) {
            let (image, row) = place(number, rows.output);
            vectorize(
                level,
                #[inline(always)]
                || {
                    for (o, y) in y.chunks_exact_mut(channels).enumerate() {
                        y.fill(T::ZERO);
                        for_taps(
                            params,
                            x,
                            [image, row, o],
                            #[inline(always)]
                            |_, pixel| {
                                let (y, pixel) = (&mut y[..channels], &pixel[..channels]);
                                for c in 0..channels {
                                    y[c] += pixel[c];
                                }
                            },
                        );
                        let divisor = T::constant(params.divisor(row, o) as f64);
                        for c in 0..channels {
                            y[c] = y[c] / divisor;
                        }
                    }
                },
            );
        }
    });
}

/// `dx[i] = Σ dy[o] / count` over the windows `o` over input `i`.
pub(super) fn gradient<T: Float>(
    params: &Pool2dParams,
    par: Par,
    level: Level,
    dy: &[T],
    dx: &mut [T],
) {
    let Pool2dParams {
        rows,
        columns,
        channels,
        ..
    } = *params;
    let row_len = columns.input * channels;
    let at_once = rows_per_block(row_len);
    par.for_chunks(dx, at_once * row_len, |block, dx| {
        for (row, dx) in (block * at_once..).zip(dx.chunks_exact_mut(row_len)) {
            let (image, y) = place(row, rows.input);
            dx.fill(T::ZERO);
            for window in windows_over(&rows, y) {
                let row = image * rows.output + window;
                let dy = Row::of(dy, row, columns.output, channels);
                vectorize(
                    level,
                    #[inline(always)]
                    || {
                        for o in 0..columns.output {
                            let dy = &dy.pixel(o)[..channels];
                            let divisor = T::constant(params.divisor(window, o) as f64);
                            let first = columns.start(o);
                            for across in columns.taps(o) {
                                let x = (first + across as isize) as usize;
                                let dx = &mut dx[x * channels..][..channels];
                                for c in 0..channels {
                                    dx[c] += dy[c] / divisor;
                                }
                            }
                        }
                    },
                );
            }
        }
    });
}
