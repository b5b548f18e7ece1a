//! How a tensor is cut up for normalisation.

use crate::error::Result;
use crate::float::Float;
use crate::parallel::{BLOCK, Par};
use crate::reduce::{Moment, Moments, fold_columns, join_moments};
use crate::shape::Axes;
use crate::tensor::Tensor;

/// A row-major tensor as `[outer, rows, groups, columns]`: a mean and a variance for each group, of
/// all its rows and columns. A channel is a column of a group; scale and shift have one value each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) outer: usize,
    pub(super) rows: usize,
    pub(super) groups: usize,
    pub(super) columns: usize,
}

/// Longer runs are cut up where they are reduced, which is not done here.
const LONGEST_RUN: usize = 1 << 13;
/// Channels that each thread can keep sums of, where groups are runs.
const MOST_CHANNELS: usize = 1 << 12;

impl Layout {
    /// `None` if the axes lie in another order, or there is nothing to compute.
    pub(super) fn of<T: Float>(
        operation: &str,
        x: &Tensor<T>,
        axes: &Axes,
        scale: Option<&Tensor<T>>,
    ) -> Result<Option<Layout>> {
        let mask = axes.mask(operation, &x.shape)?;
        if x.is_empty() {
            return Ok(None);
        }
        let mut axes = x
            .shape
            .iter()
            .zip(&mask)
            .rev()
            .filter(|&(&size, _)| size != 1)
            .peekable();
        let mut sizes = [1; 4];
        for (size, reduced) in sizes.iter_mut().rev().zip([true, false, true, false]) {
            while let Some((&next, _)) = axes.next_if(|&(_, &is_reduced)| is_reduced == reduced) {
                *size *= next;
            }
        }
        if axes.next().is_some() {
            return Ok(None);
        }
        let [mut outer, rows, mut groups, columns] = sizes;
        let channels = scale.map(|scale| scale.shape.elements());
        if rows == 1 {
            // Each run is normalised by itself: which of them belong together, only the scale knows.
            let runs = outer * groups;
            groups = channels.map_or(1, |channels| channels / columns).max(1);
            outer = runs / groups;
        }
        let layout = Layout {
            outer,
            rows,
            groups,
            columns,
        };
        let fits = channels.is_none_or(|channels| channels == layout.channels());
        let is_short = match layout {
            Layout {
                rows: 1, groups: 1, ..
            } => columns <= LONGEST_RUN,
            Layout { rows: 1, .. } => layout.channels() <= MOST_CHANNELS,
            _ => true,
        };
        Ok((fits && is_short).then_some(layout))
    }

    pub(super) fn channels(&self) -> usize {
        self.groups * self.columns
    }

    /// How many numbers a mean is of.
    pub(super) fn count(&self) -> f64 {
        self.rows as f64 * self.columns as f64
    }

    /// Rows of all channels that are worth a vector loop, taken as one: a power of two.
    pub(super) fn rows_at_once(&self) -> usize {
        const LANES: usize = 64;
        // Of so many channels, few are left over beside whole vectors.
        const MANY: usize = 8 * LANES;
        let mut rows = 1;
        let wide = |rows: usize| rows * self.channels();
        while wide(rows) < LANES || (wide(rows) < MANY && !wide(rows).is_multiple_of(16)) {
            rows *= 2;
        }
        rows.min(self.rows.next_power_of_two())
    }

    /// Runs `body(outer, start, block)` over blocks of `out` that are whole rows of one outer block,
    /// on threads.
    pub(super) fn for_row_blocks<T: Send>(
        &self,
        out: &mut [T],
        body: impl Fn(usize, usize, &mut [T]) + Send + Sync,
    ) {
        let channels = self.channels();
        let rows = (BLOCK / channels).max(1);
        Par::Threads.for_chunks(out, rows * channels, |block, mut out| {
            let mut row = block * rows;
            while !out.is_empty() {
                let outer = row / self.rows;
                let left = ((outer + 1) * self.rows - row) * channels;
                let (part, rest) = out.split_at_mut(left.min(out.len()));
                body(outer, row * channels, part);
                row += part.len() / channels;
                out = rest;
            }
        });
    }

    /// Mean, and `1 / √(variance + epsilon)`, for each channel of each outer block; `None` if a
    /// variance is too large.
    pub(super) fn statistics<T: Float>(&self, x: &[T], epsilon: f64) -> Option<Statistics<T>> {
        let [outer, channels] = [self.outer, self.channels()];
        let moments = fold_columns(x, [outer, self.rows, channels], Moments::<T>::new());
        let mut statistics = Statistics {
            mean: vec![T::ZERO; outer * channels],
            factor: vec![T::ZERO; outer * channels],
        };
        let means = statistics.mean.chunks_exact_mut(self.columns);
        let factors = statistics.factor.chunks_exact_mut(self.columns);
        for ((group, mean), factor) in moments.chunks_exact(self.columns).zip(means).zip(factors) {
            let none = Moment {
                count: 0.0,
                mean: 0.0,
                squares: 0.0,
            };
            let all = group.iter().fold(none, |a, &b| join_moments(a, b));
            mean.fill(T::constant(all.mean));
            factor.fill(inverse_deviation(all.squares / all.count, epsilon));
        }
        let all_fit = statistics.factor.iter().copied().all(leaves_room);
        all_fit.then_some(statistics)
    }
}

/// `1 / √(variance + epsilon)`.
pub(super) fn inverse_deviation<T: Float>(variance: f64, epsilon: f64) -> T {
    T::constant(1.0 / (variance + epsilon).sqrt())
}

/// Whether `1 / √(variance + epsilon)` is of a variance that is finite, and small enough for the square
/// of it, which gradients are made of, not to vanish.
#[inline(always)]
pub(super) fn leaves_room<T: Float>(inverse_deviation: T) -> bool {
    inverse_deviation * inverse_deviation * T::EPSILON > T::ZERO
}

/// For each channel of each outer block.
pub(super) struct Statistics<T> {
    pub(super) mean: Vec<T>,
    /// `1 / √(variance + epsilon)`.
    pub(super) factor: Vec<T>,
}
