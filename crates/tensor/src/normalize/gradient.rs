//! Gradients of normalised values.

use std::sync::OnceLock;

use crate::error::Result;
use crate::float::Float;
use crate::parallel::{BLOCK, Par};
use crate::reduce::TILE_ROWS;
use crate::shape::Shape;
use crate::simd::{Level, vectorize};
use crate::tensor::Tensor;

use super::layout::{Layout, leaves_room};
use super::values::statistics_of_run;

/// For each channel: `Σ dy` and `Σ dy · deviation`, the deviation as the layout measures it.
type Sums = Vec<[f64; 2]>;

/// With respect to `x`, scale and shift; without a scale, that of a scale of 1 comes first, and the
/// two others are of no use. `None` if a variance is too large, or not a number.
pub(super) fn gradients<T: Float>(
    operation: &str,
    x: &Tensor<T>,
    dy: &Tensor<T>,
    layout: &Layout,
    epsilon: f64,
    scale: Option<&Tensor<T>>,
) -> Result<Option<[Tensor<T>; 3]>> {
    let (x, dy) = (x.try_contiguous(operation)?, dy.try_contiguous(operation)?);
    let problem = Problem {
        x: x.as_slice().unwrap_or_default(),
        dy: dy.as_slice().unwrap_or_default(),
        layout,
        epsilon,
        scale: scale.map_or_else(|| vec![T::ONE; layout.channels()], Tensor::to_vec),
    };
    let mut sums = None;
    let dx = Tensor::build(operation, x.shape.clone(), |dx| {
        sums = match layout.rows {
            1 => problem.by_runs(dx),
            _ => problem.by_columns(dx),
        };
    })?;
    let Some(sums) = sums else {
        return Ok(None);
    };
    let shape = scale.map_or_else(
        || Shape::from([layout.channels()]),
        |scale| scale.shape.clone(),
    );
    let of = |which: usize| {
        let values = sums.iter().map(|sums| T::constant(sums[which])).collect();
        Tensor::from_vec(values, shape.clone())
    };
    Ok(Some([dx, of(1)?, of(0)?]))
}

struct Problem<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    layout: &'a Layout,
    epsilon: f64,
    scale: Vec<T>,
}

impl<T: Float> Problem<'_, T> {
    /// Each group is a run of its own. Returns the sums over all of them, of standardized deviations,
    /// if no variance is too large.
    fn by_runs(&self, dx: &mut [T]) -> Option<Sums> {
        /// Parts of the sums, on any number of threads.
        const MOST_BLOCKS: usize = 32;
        let columns = self.layout.columns;
        let all = self.layout.outer * self.layout.groups;
        let runs = (BLOCK / columns).max(all.div_ceil(MOST_BLOCKS)).max(1);
        let parts: Vec<_> = (0..all.div_ceil(runs)).map(|_| OnceLock::new()).collect();
        let level = Level::best();
        Par::Threads.for_chunks(dx, runs * columns, |block, dx| {
            let sums = vectorize(
                level,
                #[inline(always)]
                || self.some_runs(block * runs, dx),
            );
            let _ = parts[block].set(sums);
        });
        let mut total = vec![[0.0; 2]; self.layout.channels()];
        for part in parts.into_iter().filter_map(OnceLock::into_inner) {
            add(&mut total, &part?);
        }
        Some(total)
    }

    /// The runs from `first` on, up to the first whose variance is too large.
    #[inline(always)]
    fn some_runs(&self, first: usize, dx: &mut [T]) -> Option<Sums> {
        let Layout {
            groups, columns, ..
        } = *self.layout;
        let channels = groups * columns;
        let mut sums = vec![[0.0; 2]; channels];
        let (mut dscale, mut dshift) = (vec![T::ZERO; channels], vec![T::ZERO; channels]);
        let share = T::constant(1.0 / columns as f64);
        for (i, dx) in dx.chunks_exact_mut(columns).enumerate() {
            let start = (first + i) * columns;
            let (x, dy) = (&self.x[start..][..columns], &self.dy[start..][..columns]);
            let group = (first + i) % groups * columns;
            let scale = &self.scale[group..][..columns];
            let (dscale_row, dshift_row) = (
                &mut dscale[group..][..columns],
                &mut dshift[group..][..columns],
            );
            let (mean, factor) = statistics_of_run(x, self.epsilon);
            if !leaves_room(factor) {
                return None;
            }
            let [sum, slope] = sums_of_run(x, dy, scale, mean);
            let [sum, slope] = [sum * share, slope * factor * share];
            for c in 0..columns {
                let y = (x[c] - mean) * factor;
                dx[c] = factor * (dy[c] * scale[c] - sum - y * slope);
                dscale_row[c] += dy[c] * y;
                dshift_row[c] += dy[c];
            }
            // Few are added in their own type.
            if i % TILE_ROWS == TILE_ROWS - 1 {
                move_to(&mut sums, &mut dshift, &mut dscale);
            }
        }
        move_to(&mut sums, &mut dshift, &mut dscale);
        Some(sums)
    }

    /// All groups pass by, row after row. Returns the sums over all of them, of standardized
    /// deviations, if no variance is too large.
    fn by_columns(&self, dx: &mut [T]) -> Option<Sums> {
        let layout = self.layout;
        let channels = layout.channels();
        let together = layout.rows_at_once();
        let wide = channels * together;
        let statistics = layout.statistics(self.x, self.epsilon)?;
        let means: Vec<T> = statistics
            .mean
            .chunks_exact(channels)
            .flat_map(|mean| mean.repeat(together))
            .collect();
        let all = self.sums_of_columns(&means, together);
        let mut total = vec![[0.0; 2]; channels];
        let mut tables = Vec::with_capacity(layout.outer);
        for (sums, factors) in all
            .chunks_exact(channels)
            .zip(statistics.factor.chunks_exact(channels))
        {
            let mut table = [(); 3].map(|()| Vec::with_capacity(wide));
            for group in (0..channels).step_by(layout.columns) {
                let range = group..group + layout.columns;
                let factor = factors[group].to_f64();
                let mut means = [0.0; 2];
                for channel in range.clone() {
                    let [sum, slope] = sums[channel];
                    let scale = self.scale[channel].to_f64() / layout.count();
                    means[0] += scale * sum;
                    means[1] += scale * slope * factor;
                    total[channel][0] += sum;
                    total[channel][1] += slope * factor;
                }
                for channel in range {
                    table[0].push(factors[channel] * self.scale[channel]);
                    table[1].push(T::constant(factor * means[0]));
                    table[2].push(T::constant(factor * factor * means[1]));
                }
            }
            tables.push(table.map(|values| values.repeat(together)));
        }
        let level = Level::best();
        layout.for_row_blocks(dx, |outer, at, dx| {
            let (x, dy) = (&self.x[at..][..dx.len()], &self.dy[at..][..dx.len()]);
            let mean = &means[outer * wide..][..wide];
            let [factor, sum, slope] = &tables[outer];
            vectorize(
                level,
                #[inline(always)]
                || {
                    for ((dx, x), dy) in
                        dx.chunks_mut(wide).zip(x.chunks(wide)).zip(dy.chunks(wide))
                    {
                        let len = dx.len();
                        let (x, dy, mean) = (&x[..len], &dy[..len], &mean[..len]);
                        let (factor, sum, slope) = (&factor[..len], &sum[..len], &slope[..len]);
                        for c in 0..len {
                            dx[c] = dy[c] * factor[c] - (sum[c] + (x[c] - mean[c]) * slope[c]);
                        }
                    }
                },
            );
        });
        Some(total)
    }

    /// For each channel of each outer block, `Σ dy` and `Σ dy · (x − mean)` over its rows.
    fn sums_of_columns(&self, means: &[T], together: usize) -> Sums {
        let layout = self.layout;
        let channels = layout.channels();
        let wide = channels * together;
        let rows = (4 * BLOCK / wide).max(TILE_ROWS) * together;
        let blocks = layout.rows.div_ceil(rows);
        let level = Level::best();
        let parts = Par::Threads.map(layout.outer * blocks, |i| {
            let (outer, block) = (i / blocks, i % blocks);
            let first = outer * layout.rows + block * rows;
            let end = (first + rows).min((outer + 1) * layout.rows);
            let range = first * channels..end * channels;
            let (x, dy) = (&self.x[range.clone()], &self.dy[range]);
            let mean = &means[outer * wide..][..wide];
            let mut sums = vec![[0.0; 2]; wide];
            vectorize(
                level,
                #[inline(always)]
                || sums_of_rows(x, dy, mean, &mut sums),
            );
            let (total, others) = sums.split_at_mut(channels);
            for more in others.chunks_exact(channels) {
                add(total, more);
            }
            sums.truncate(channels);
            sums
        });
        let mut all = Sums::with_capacity(layout.outer * channels);
        for parts in parts.chunks_exact(blocks) {
            let start = all.len();
            all.resize(start + channels, [0.0; 2]);
            for part in parts {
                add(&mut all[start..], part);
            }
        }
        all
    }
}

/// `Σ scale · dy` and `Σ scale · dy · (x − mean)`.
#[inline(always)]
fn sums_of_run<T: Float>(x: &[T], dy: &[T], scale: &[T], mean: T) -> [T; 2] {
    const LANES: usize = 32;
    let (mut sums, mut slopes) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    let whole = x.len() / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        let (x, dy) = (&x[start..][..LANES], &dy[start..][..LANES]);
        let scale = &scale[start..][..LANES];
        for i in 0..LANES {
            let scaled = dy[i] * scale[i];
            sums[i] += scaled;
            slopes[i] += scaled * (x[i] - mean);
        }
    }
    for i in whole..x.len() {
        let scaled = dy[i] * scale[i];
        sums[i - whole] += scaled;
        slopes[i - whole] += scaled * (x[i] - mean);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
            slopes[i] += slopes[i + half];
        }
        half /= 2;
    }
    [sums[0], slopes[0]]
}

/// Adds up rows as wide as `sums`; the last one may be shorter.
#[inline(always)]
fn sums_of_rows<T: Float>(x: &[T], dy: &[T], mean: &[T], sums: &mut [[f64; 2]]) {
    const LANES: usize = 32;
    let wide = sums.len();
    let tile = TILE_ROWS * wide;
    let (whole_x, last_x) = x.split_at(x.len() / wide * wide);
    let (whole_dy, last_dy) = dy.split_at(whole_x.len());
    for (x, dy) in whole_x.chunks(tile).zip(whole_dy.chunks(tile)) {
        let mut column = 0;
        while column + LANES <= wide {
            sums_of_lanes::<T, LANES>(x, dy, mean, column, sums);
            column += LANES;
        }
        while column < wide {
            sums_of_lanes::<T, 1>(x, dy, mean, column, sums);
            column += 1;
        }
    }
    for i in 0..last_x.len() {
        sums[i][0] += last_dy[i].to_f64();
        sums[i][1] += (last_dy[i] * (last_x[i] - mean[i])).to_f64();
    }
}

/// Adds up `LANES` columns of a few rows, in their own type.
#[inline(always)]
fn sums_of_lanes<T: Float, const LANES: usize>(
    x: &[T],
    dy: &[T],
    mean: &[T],
    column: usize,
    sums: &mut [[f64; 2]],
) {
    let wide = sums.len();
    let mean = &mean[column..][..LANES];
    let (mut sum, mut slope) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    for (x, dy) in x.chunks_exact(wide).zip(dy.chunks_exact(wide)) {
        let (x, dy) = (&x[column..][..LANES], &dy[column..][..LANES]);
        for i in 0..LANES {
            sum[i] += dy[i];
            slope[i] += dy[i] * (x[i] - mean[i]);
        }
    }
    let sums = &mut sums[column..][..LANES];
    for i in 0..LANES {
        sums[i][0] += sum[i].to_f64();
        sums[i][1] += slope[i].to_f64();
    }
}

/// Adds the sums of the element type to the wider ones, and begins them anew.
#[inline(always)]
fn move_to<T: Float>(sums: &mut [[f64; 2]], dshift: &mut [T], dscale: &mut [T]) {
    for ((sums, dshift), dscale) in sums.iter_mut().zip(dshift).zip(dscale) {
        sums[0] += dshift.to_f64();
        sums[1] += dscale.to_f64();
        (*dshift, *dscale) = (T::ZERO, T::ZERO);
    }
}

fn add(total: &mut [[f64; 2]], more: &[[f64; 2]]) {
    for (total, more) in total.iter_mut().zip(more) {
        total[0] += more[0];
        total[1] += more[1];
    }
}
