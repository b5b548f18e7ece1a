//! Max pooling: the largest value of each window, and where it was.
//!
//! A position is the number of the tap within its window, row by row. The gradient asks every
//! window over an input pixel whether that pixel won; so input rows are independent, and the sums
//! have an order of their own. All loops run over channels, which are neighbours in memory.

use crate::element::Element;
use crate::float::Float;
use crate::gate::keep_where_open;
use crate::parallel::Par;
use crate::pool::params::Pool2dParams;
use crate::pool::rows::{Row, for_taps, place, rows_per_block, whole_2x2, windows_over};
use crate::simd::{Level, vectorize, vectorize_to_avx2};

/// An integer that numbers the taps of a window.
pub(super) trait Position: Element {
    /// Names no tap.
    const CLOSED: Self;
    /// The number of a tap; the type was chosen to hold it.
    fn new(tap: usize) -> Self;
}

impl Position for u8 {
    const CLOSED: Self = u8::MAX;
    #[inline(always)]
    fn new(tap: usize) -> Self {
        tap as u8
    }
}

impl Position for i32 {
    const CLOSED: Self = -1;
    #[inline(always)]
    fn new(tap: usize) -> Self {
        tap as i32
    }
}

/// Whether `challenger` takes the place of `champion`: the first of equals stays, and NaN beats
/// everything before it, as in PyTorch.
#[inline(always)]
fn wins<T: Float>(challenger: T, champion: T) -> bool {
    // Not short-circuiting, so that the loop over channels becomes vector code.
    (challenger > champion) | challenger.is_nan()
}

/// `values = max` over each window of `x`, and `positions` of the maxima; if `gated`, closed ones
/// where the maximum is not positive (and not NaN).
pub(super) fn forward<T: Float, P: Position>(
    params: &Pool2dParams,
    par: Par,
    level: Level,
    x: &[T],
    gated: bool,
    values: &mut [T],
    positions: &mut [P],
) {
    let (rows, channels) = (params.rows, params.channels);
    let row_len = params.columns.output * channels;
    let at_once = rows_per_block(row_len.saturating_mul(rows.kernel));
    par.for_chunk_pairs(
        values,
        positions,
        at_once * row_len,
        |block, values, positions| {
            let pairs = values
                .chunks_exact_mut(row_len)
                .zip(positions.chunks_exact_mut(row_len));
            for (row, (values, positions)) in (block * at_once..).zip(pairs) {
                let (image, y) = place(row, rows.output);
                vectorize(
                    level,
                    #[inline(always)]
                    || {
                        let outputs = values
                            .chunks_exact_mut(channels)
                            .zip(positions.chunks_exact_mut(channels));
                        for (o, (values, positions)) in outputs.enumerate() {
                            max_and_position(params, x, [image, y, o], values, positions);
                        }
                        if gated {
                            for (position, &value) in positions.iter_mut().zip(values.iter()) {
                                let closed = value <= T::ZERO;
                                *position = if closed { P::CLOSED } else { *position };
                            }
                        }
                    },
                );
            }
        },
    );
}

#[inline(always)]
fn max_and_position<T: Float, P: Position>(
    params: &Pool2dParams,
    x: &[T],
    output: [usize; 3],
    values: &mut [T],
    positions: &mut [P],
) {
    if let Some(pixels) = whole_2x2(params, x, output) {
        return max_and_position_of_four(pixels, values, positions);
    }
    let [rows, columns] = [params.rows.taps(output[1]), params.columns.taps(output[2])];
    values.fill(T::LOWEST);
    positions.fill(P::new(rows.start * params.columns.kernel + columns.start));
    for_three_taps(
        params,
        x,
        output,
        #[inline(always)]
        |taps, pixels| take_largest(pixels, taps, values, positions),
    );
}

/// Calls `body(tap numbers, pixels)` for the taps of output `[image, y, x]` on the input, three of a
/// row at a time: what was found so far is then loaded and stored a third as often. Where there are
/// fewer, the first comes again.
#[inline(always)]
fn for_three_taps<'a, T>(
    params: &Pool2dParams,
    images: &'a [T],
    [image, y, x]: [usize; 3],
    mut body: impl FnMut([usize; 3], [&'a [T]; 3]),
) {
    let (rows, columns) = (params.rows, params.columns);
    for down in rows.taps(y) {
        let row = image * rows.input + (rows.start(y) + down as isize) as usize;
        let row = Row::of(images, row, columns.input, params.channels);
        let mut taps = columns.taps(x);
        while !taps.is_empty() {
            let first = taps.start;
            let [second, third] = match taps.len() {
                1 => [first, first],
                2 => [first, first + 1],
                _ => [first + 1, first + 2],
            };
            let pixel = |tap: usize| row.pixel((columns.start(x) + tap as isize) as usize);
            let number = down * columns.kernel;
            body(
                [number + first, number + second, number + third],
                [pixel(first), pixel(second), pixel(third)],
            );
            taps.start = third + 1;
        }
    }
}

/// Replaces values by larger ones of `pixels`, and positions by their taps.
#[inline(always)]
fn take_largest<T: Float, P: Position>(
    [a, b, c]: [&[T]; 3],
    [tap_a, tap_b, tap_c]: [usize; 3],
    values: &mut [T],
    positions: &mut [P],
) {
    let channels = values.len();
    let (a, b, c) = (&a[..channels], &b[..channels], &c[..channels]);
    let positions = &mut positions[..channels];
    let (tap_a, tap_b, tap_c) = (P::new(tap_a), P::new(tap_b), P::new(tap_c));
    for i in 0..channels {
        let champion = (values[i], positions[i]);
        let champion = winner(champion, (a[i], tap_a));
        let champion = winner(champion, (b[i], tap_b));
        let champion = winner(champion, (c[i], tap_c));
        (values[i], positions[i]) = champion;
    }
}

/// The challenger, a value and its tap, if it [`wins`].
#[inline(always)]
fn winner<T: Float, P>(champion: (T, P), challenger: (T, P)) -> (T, P) {
    let wins = wins(challenger.0, champion.0);
    let value = if wins { challenger.0 } else { champion.0 };
    (value, if wins { challenger.1 } else { champion.1 })
}

/// The challenger if it [`wins`].
#[inline(always)]
fn larger<T: Float>(challenger: T, champion: T) -> T {
    if wins(challenger, champion) {
        challenger
    } else {
        champion
    }
}

/// So many channels of each pixel, which says to the compiler that there are as many.
#[inline(always)]
fn first_channels<T>([a, b, c, d]: [&[T]; 4], channels: usize) -> [&[T]; 4] {
    [
        &a[..channels],
        &b[..channels],
        &c[..channels],
        &d[..channels],
    ]
}

/// A window of 2×2 in one pass over its pixels.
#[inline(always)]
fn max_and_position_of_four<T: Float, P: Position>(
    pixels: [&[T]; 4],
    values: &mut [T],
    positions: &mut [P],
) {
    let channels = values.len();
    let [a, b, c, d] = first_channels(pixels, channels);
    let positions = &mut positions[..channels];
    for i in 0..channels {
        let champion = winner((a[i], P::new(0)), (b[i], P::new(1)));
        let champion = winner(champion, (c[i], P::new(2)));
        (values[i], positions[i]) = winner(champion, (d[i], P::new(3)));
    }
}

/// `values = max` over each window of `x`.
pub(super) fn values<T: Float>(
    params: &Pool2dParams,
    par: Par,
    level: Level,
    x: &[T],
    values: &mut [T],
) {
    let (rows, channels) = (params.rows, params.channels);
    let row_len = params.columns.output * channels;
    let at_once = rows_per_block(row_len.saturating_mul(rows.kernel));
    par.for_chunks(values, at_once * row_len, |block, values| {
        for (row, values) in (block * at_once..).zip(values.chunks_exact_mut(row_len)) {
            let (image, y) = place(row, rows.output);
            // Half as wide is faster: there is no position to choose with a value.
            vectorize_to_avx2(
                level,
                #[inline(always)]
                || {
                    for (o, values) in values.chunks_exact_mut(channels).enumerate() {
                        max(params, x, [image, y, o], values);
                    }
                },
            );
        }
    });
}

#[inline(always)]
fn max<T: Float>(params: &Pool2dParams, x: &[T], output: [usize; 3], values: &mut [T]) {
    let channels = values.len();
    if let Some(pixels) = whole_2x2(params, x, output) {
        let [a, b, c, d] = first_channels(pixels, channels);
        for i in 0..channels {
            values[i] = larger(d[i], larger(c[i], larger(b[i], a[i])));
        }
        return;
    }
    values.fill(T::LOWEST);
    for_three_taps(
        params,
        x,
        output,
        #[inline(always)]
        |_, [a, b, c]| {
            let (a, b, c) = (&a[..channels], &b[..channels], &c[..channels]);
            for i in 0..channels {
                values[i] = larger(c[i], larger(b[i], larger(a[i], values[i])));
            }
        },
    );
}

/// `dx[i] = Σ dy[o]` over the windows `o` that input `i` won: the transpose of [`gather`]. It is 0
/// where `gate`, of the shape of `dx`, is not positive (and not NaN).
pub(super) fn scatter<T: Float, P: Position>(
    params: &Pool2dParams,
    par: Par,
    level: Level,
    dy: &[T],
    positions: &[P],
    gate: Option<&[T]>,
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
    let in_pairs = [&rows, &columns]
        .into_iter()
        .all(|axis| axis.kernel == 2 && axis.stride == 2 && axis.before == 0);
    par.for_chunks(dx, at_once * row_len, |block, dx| {
        for (number, dx) in (block * at_once..).zip(dx.chunks_exact_mut(row_len)) {
            let (image, y) = place(number, rows.input);
            let windows = windows_over(&rows, y);
            if !in_pairs || windows.is_empty() {
                dx.fill(T::ZERO);
            }
            for window in windows {
                let down = y + rows.before - window * rows.stride;
                let row = image * rows.output + window;
                let dy = Row::of(dy, row, columns.output, channels);
                let positions = Row::of(positions, row, columns.output, channels);
                vectorize(
                    level,
                    #[inline(always)]
                    || {
                        if in_pairs {
                            return scatter_pairs(
                                down,
                                dy,
                                positions,
                                columns.output,
                                channels,
                                dx,
                            );
                        }
                        for o in 0..columns.output {
                            let (dy, positions) = (dy.pixel(o), positions.pixel(o));
                            let (dy, positions) = (&dy[..channels], &positions[..channels]);
                            for across in columns.taps(o) {
                                let x = (columns.start(o) + across as isize) as usize;
                                let dx = &mut dx[x * channels..][..channels];
                                let position = P::new(down * columns.kernel + across);
                                for c in 0..channels {
                                    let won = positions[c] == position;
                                    dx[c] += if won { dy[c] } else { T::ZERO };
                                }
                            }
                        }
                    },
                );
            }
            if let Some(gate) = gate {
                let gate = &gate[number * row_len..][..row_len];
                vectorize(
                    level,
                    #[inline(always)]
                    || keep_where_open(gate, dx),
                );
            }
        }
    });
}

/// Row `down` of the windows of an output row that are 2×2 side by side: each input has one window
/// at most, so it is written once.
#[inline(always)]
fn scatter_pairs<T: Float, P: Position>(
    down: usize,
    dy: Row<'_, T>,
    positions: Row<'_, P>,
    outputs: usize,
    channels: usize,
    dx: &mut [T],
) {
    let (first, second) = (P::new(2 * down), P::new(2 * down + 1));
    let (pairs, rest) = dx.split_at_mut((2 * outputs * channels).min(dx.len()));
    for (o, pair) in pairs.chunks_mut(2 * channels).enumerate() {
        let (dy, positions) = (dy.pixel(o), positions.pixel(o));
        // The last window may stand over the edge.
        let (left, right) = pair.split_at_mut(channels);
        for ((dx, &position), &dy) in left.iter_mut().zip(positions).zip(dy) {
            *dx = if position == first { dy } else { T::ZERO };
        }
        for ((dx, &position), &dy) in right.iter_mut().zip(positions).zip(dy) {
            *dx = if position == second { dy } else { T::ZERO };
        }
    }
    rest.fill(T::ZERO);
}

/// `y[o] = x[position of o]`, 0 where a position names no input.
pub(super) fn gather<T: Float, P: Position>(
    params: &Pool2dParams,
    par: Par,
    level: Level,
    x: &[T],
    positions: &[P],
    y: &mut [T],
) {
    let Pool2dParams {
        rows,
        columns,
        channels,
        ..
    } = *params;
    let row_len = columns.output * channels;
    let at_once = rows_per_block(row_len.saturating_mul(rows.kernel));
    par.for_chunks(y, at_once * row_len, |block, y| {
        for (number, y) in (block * at_once..).zip(y.chunks_exact_mut(row_len)) {
            let (image, row) = place(number, rows.output);
            let positions = Row::of(positions, number, columns.output, channels);
            vectorize(
                level,
                #[inline(always)]
                || {
                    for (o, y) in y.chunks_exact_mut(channels).enumerate() {
                        let positions = positions.pixel(o);
                        y.fill(T::ZERO);
                        for_taps(
                            params,
                            x,
                            [image, row, o],
                            #[inline(always)]
                            |tap, pixel| {
                                let position = P::new(tap);
                                let (y, pixel) = (&mut y[..channels], &pixel[..channels]);
                                let positions = &positions[..channels];
                                for c in 0..channels {
                                    let won = positions[c] == position;
                                    y[c] = if won { pixel[c] } else { y[c] };
                                }
                            },
                        );
                    }
                },
            );
        }
    });
}
