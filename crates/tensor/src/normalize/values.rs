//! Normalised values.

use std::sync::OnceLock;

use crate::error::Result;
use crate::float::Float;
use crate::parallel::{BLOCK, Par};
use crate::reduce::sum_of;
use crate::simd::{Level, vectorize};
use crate::tensor::Tensor;

use super::layout::{Layout, inverse_deviation, leaves_room};

/// `(x − mean) / √(variance + epsilon) [· scale + shift]`; `None` if a variance is too large, or not
/// a number.
pub(super) fn normalized<T: Float>(
    operation: &str,
    x: &Tensor<T>,
    layout: &Layout,
    epsilon: f64,
    affine: Option<[&Tensor<T>; 2]>,
) -> Result<Option<Tensor<T>>> {
    let contiguous = x.try_contiguous(operation)?;
    let x = contiguous.as_slice().unwrap_or_default();
    let [scale, shift] = match affine {
        Some([scale, shift]) => [scale.to_vec(), shift.to_vec()],
        None => [T::ONE, T::ZERO].map(|same| vec![same; layout.channels()]),
    };
    let mut done = None;
    let normalized = Tensor::build(operation, contiguous.shape.clone(), |out| {
        done = if layout.rows == 1 {
            by_runs(x, layout, epsilon, [&scale, &shift], out)
        } else {
            by_columns(x, layout, epsilon, [&scale, &shift], out)
        };
    })?;
    Ok(done.map(|()| normalized))
}

/// Each group is a run of its own; `None` if a variance is too large.
fn by_runs<T: Float>(
    x: &[T],
    layout: &Layout,
    epsilon: f64,
    [scale, shift]: [&[T]; 2],
    out: &mut [T],
) -> Option<()> {
    let columns = layout.columns;
    let runs = (BLOCK / columns).max(1);
    let level = Level::best();
    let too_large = OnceLock::new();
    Par::Threads.for_chunks(out, runs * columns, |block, out| {
        let x = &x[block * runs * columns..][..out.len()];
        let fits = vectorize(
            level,
            #[inline(always)]
            || {
                let mut all_fit = true;
                for (i, (out, x)) in out
                    .chunks_exact_mut(columns)
                    .zip(x.chunks_exact(columns))
                    .enumerate()
                {
                    let group = (block * runs + i) % layout.groups * columns;
                    let (mean, factor) = statistics_of_run(x, epsilon);
                    all_fit &= leaves_room(factor);
                    let (scale, shift) = (&scale[group..][..columns], &shift[group..][..columns]);
                    for c in 0..columns {
                        out[c] = (x[c] - mean) * factor * scale[c] + shift[c];
                    }
                }
                all_fit
            },
        );
        if !fits {
            too_large.get_or_init(|| ());
        }
    });
    match too_large.get() {
        Some(()) => None,
        None => Some(()),
    }
}

/// Mean, and `1 / √(variance + epsilon)`.
#[inline(always)]
pub(super) fn statistics_of_run<T: Float>(x: &[T], epsilon: f64) -> (T, T) {
    let count = x.len() as f64;
    let sum = sum_of(
        x,
        #[inline(always)]
        |x| x,
    );
    let mean = T::constant(sum / count);
    let squares = sum_of(
        x,
        #[inline(always)]
        |x| (x - mean) * (x - mean),
    );
    (mean, inverse_deviation(squares / count, epsilon))
}

/// All groups pass by, row after row; `None`, and nothing is computed, if a variance is too large.
fn by_columns<T: Float>(
    x: &[T],
    layout: &Layout,
    epsilon: f64,
    [scale, shift]: [&[T]; 2],
    out: &mut [T],
) -> Option<()> {
    let channels = layout.channels();
    let together = layout.rows_at_once();
    let statistics = layout.statistics(x, epsilon)?;
    let tables: Vec<[Vec<T>; 2]> = statistics
        .mean
        .chunks_exact(channels)
        .zip(statistics.factor.chunks_exact(channels))
        .map(|(mean, factor)| {
            let factor: Vec<T> = factor.iter().zip(scale).map(|(&a, &b)| a * b).collect();
            [mean.repeat(together), factor.repeat(together)]
        })
        .collect();
    let shift = shift.repeat(together);
    let level = Level::best();
    layout.for_row_blocks(out, |outer, at, out| {
        let x = &x[at..][..out.len()];
        let [mean, factor] = &tables[outer];
        vectorize(
            level,
            #[inline(always)]
            || {
                for (out, x) in out.chunks_mut(shift.len()).zip(x.chunks(shift.len())) {
                    let wide = out.len();
                    let (x, mean, factor) = (&x[..wide], &mean[..wide], &factor[..wide]);
                    let shift = &shift[..wide];
                    for c in 0..wide {
                        out[c] = (x[c] - mean[c]) * factor[c] + shift[c];
                    }
                }
            },
        );
    });
    Some(())
}
