//! Folding any view over any of its axes.
//!
//! The axes are sorted by their distance in memory, whatever order the view shows them in, and
//! neighbours that lie as one are merged. What then lies innermost decides:
//!
//! - a kept axis of stride 1: **rows** of neighbours are folded lane by lane, as in the gradient of
//!   a bias, `[n, h, w, c] → [c]`. Where rows follow each other and are short, several count as
//!   one;
//! - else: each result is a **run** of elements; strided or short pieces are gathered first.
//!
//! Blocks of work depend on shapes and strides only, and states of blocks join pairwise.

use smallvec::SmallVec;

use super::fold::{Fold, LANES, TILE_ROWS};
use super::layout::{Layout, Offsets, Step, Steps, count, offset_of};
use crate::element::Element;
use crate::error::Result;
use crate::parallel::Par;
use crate::shape::Axes;
use crate::simd::{Level, vectorize};
use crate::tensor::Tensor;

/// Elements in a block of work.
const BLOCK: usize = 64 * 1024;
/// Columns that one block of rows spans at most: their states stay in the first-level cache.
const COLUMNS: usize = 512;
/// Rows in a block: enough that states are few beside elements, and few enough for `f64` sums.
const ROWS: std::ops::RangeInclusive<usize> = 256..=4096;

/// `finish(state)` for the fold of each group of elements that differ only along `axes`.
pub(super) fn reduce<A: Element, B: Element, F: Fold<A>>(
    operation: &str,
    x: &Tensor<A>,
    axes: &Axes,
    fold: F,
    finish: impl Fn(F::State) -> B + Copy + Send + Sync,
) -> Result<Tensor<B>> {
    let mask = axes.mask(operation, x.shape())?;
    let shape = axes.reduced_by(&mask, x.shape());
    if x.is_empty() {
        return Tensor::build(operation, shape, |out| out.fill(finish(fold.empty())));
    }
    if let Some(layout) = Layout::of_rows(x, &mask) {
        return Tensor::build(operation, shape, |out| {
            layout.run(x.storage.as_slice(), fold, finish, out);
        });
    }
    let layout = Layout::new(x, &mask);
    let results = Tensor::build(operation, layout.results(), |out| {
        layout.run(x.storage.as_slice(), fold, finish, out);
    })?;
    layout.arranged(operation, results, shape, &mask, axes.keeps_dims())
}

/// The fold of each column of `outer` blocks of `rows`, which lie in a row.
pub(crate) fn fold_columns<A: Element, F: Fold<A>>(
    x: &[A],
    [outer, rows, columns]: [usize; 3],
    fold: F,
) -> Vec<F::State> {
    let mut states = vec![fold.empty(); outer * columns];
    if !x.is_empty() {
        let layout = Layout {
            kept: Steps::from_slice(&[(outer, rows * columns)]),
            reduced: Steps::from_slice(&[(rows, columns)]),
            columns: (columns > 1).then_some(columns),
            offset: 0,
            order: SmallVec::new(),
        };
        layout.run(x, fold, |state| state, &mut states);
    }
    states
}

impl Layout {
    fn run<A: Element, B: Copy + Send + Sync, F: Fold<A>>(
        &self,
        source: &[A],
        fold: F,
        finish: impl Fn(F::State) -> B + Copy + Send + Sync,
        out: &mut [B],
    ) {
        match self.columns {
            Some(columns) => self.run_columns(source, columns, fold, finish, out),
            None => self.run_runs(source, fold, finish, out),
        }
    }

    /// Rows of `columns` neighbours, folded lane by lane.
    fn run_columns<A: Element, B: Copy + Send + Sync, F: Fold<A>>(
        &self,
        source: &[A],
        columns: usize,
        fold: F,
        finish: impl Fn(F::State) -> B + Copy + Send + Sync,
        out: &mut [B],
    ) {
        let rows = count(&self.reduced);
        let wide = columns.min(COLUMNS);
        let block = (BLOCK / wide).clamp(*ROWS.start(), *ROWS.end());
        if rows <= block {
            // Whole rows of results where they are short, so that short rows can be joined.
            let some = (BLOCK / rows).clamp(LANES, BLOCK);
            let some = if columns > COLUMNS {
                some
            } else {
                (some / columns).max(1) * columns
            };
            Par::Threads.for_chunks(out, some, |chunk, out| {
                let mut states = vec![fold.empty(); columns.min(out.len())];
                let mut done = 0;
                while done < out.len() {
                    let at = chunk * some + done;
                    let (outer, first) = (at / columns, at % columns);
                    let width = (columns - first).min(out.len() - done);
                    let states = &mut states[..width];
                    states.fill(fold.empty());
                    let base = self.offset + offset_of(&self.kept, outer) + first;
                    fold_rows(fold, &source[base..], &self.reduced, 0..rows, states);
                    for (out, &state) in out[done..].iter_mut().zip(states.iter()) {
                        *out = finish(state);
                    }
                    done += width;
                }
            });
            return;
        }
        let (blocks, pieces) = (rows.div_ceil(block), columns.div_ceil(COLUMNS));
        for (outer, out) in out.chunks_mut(columns).enumerate() {
            let base = self.offset + offset_of(&self.kept, outer);
            let mut parts = Par::Threads.map(blocks * pieces, |i| {
                let (i, first) = (i / pieces, i % pieces * COLUMNS);
                let mut states = vec![fold.empty(); COLUMNS.min(columns - first)];
                let part = &source[base + first..];
                let range = i * block..rows.min((i + 1) * block);
                fold_rows(fold, part, &self.reduced, range, &mut states);
                states
            });
            join_pairwise(&mut parts, pieces, |into, from| {
                for (a, &b) in into.iter_mut().zip(from.iter()) {
                    *a = fold.join(*a, b);
                }
            });
            for (piece, out) in out.chunks_mut(COLUMNS).enumerate() {
                out.iter_mut()
                    .zip(&parts[piece])
                    .for_each(|(out, &state)| *out = finish(state));
            }
        }
    }

    /// Each result from a run of elements of its own.
    fn run_runs<A: Element, B: Copy + Send + Sync, F: Fold<A>>(
        &self,
        source: &[A],
        fold: F,
        finish: impl Fn(F::State) -> B + Copy + Send + Sync,
        out: &mut [B],
    ) {
        let len = count(&self.reduced);
        if len <= 2 * BLOCK {
            let some = (BLOCK / len).max(1);
            if self.runs_follow_each_other() {
                Par::Threads.for_chunks(out, some, |chunk, out| {
                    let mut states = vec![fold.empty(); out.len()];
                    let part = &source[self.offset + chunk * some * len..];
                    fold_slices(fold, part, len, &mut states);
                    for (out, &state) in out.iter_mut().zip(&states) {
                        *out = finish(state);
                    }
                });
                return;
            }
            Par::Threads.for_chunks(out, some, |chunk, out| {
                let bases = Offsets::new(&self.kept, chunk * some);
                for (out, base) in out.iter_mut().zip(bases) {
                    let part = &source[self.offset + base..];
                    *out = finish(fold_run(fold, part, &self.reduced, 0..len));
                }
            });
            return;
        }
        let blocks = len.div_ceil(BLOCK);
        let mut parts = Par::Threads.map(out.len() * blocks, |i| {
            let (result, i) = (i / blocks, i % blocks);
            let part = &source[self.offset + offset_of(&self.kept, result)..];
            let range = i * BLOCK..len.min((i + 1) * BLOCK);
            fold_run(fold, part, &self.reduced, range)
        });
        for (out, parts) in out.iter_mut().zip(parts.chunks_mut(blocks)) {
            join_pairwise(parts, 1, |a, b| *a = fold.join(*a, *b));
            *out = finish(parts[0]);
        }
    }
}

/// Joins `parts[i]`, `parts[i + lanes]`, `parts[i + 2·lanes]`, … into `parts[i]`, neighbours first.
fn join_pairwise<P>(parts: &mut [P], lanes: usize, join: impl Fn(&mut P, &mut P)) {
    let mut step = lanes;
    while step < parts.len() {
        for start in (0..parts.len() - step).step_by(2 * step) {
            for i in start..(start + lanes).min(parts.len() - step) {
                let (left, right) = parts.split_at_mut(i + step);
                join(&mut left[i], &mut right[0]);
            }
        }
        step *= 2;
    }
}

/// Folds the rows `range` of the walk over `reduced`, each `states.len()` wide.
fn fold_rows<A: Element, F: Fold<A>>(
    fold: F,
    source: &[A],
    reduced: &[Step],
    range: std::ops::Range<usize>,
    states: &mut [F::State],
) {
    let columns = states.len();
    let mut start = range.start;
    if let &[(_, stride)] = reduced
        && stride == columns
        && columns < LANES
    {
        // Several short rows as one: full tiles, whatever the number of columns.
        let together = (LANES / columns)
            .next_power_of_two()
            .max(1 << shortfall(columns));
        let long_rows = range.len() / together;
        if long_rows > 1 {
            let mut wide = vec![fold.empty(); together * columns];
            let steps = [(long_rows, together * columns)];
            let part = &source[start * columns..];
            fold_wide_rows(fold, part, &steps, 0..long_rows, &mut wide);
            for row in wide.chunks_exact(columns) {
                for (state, &more) in states.iter_mut().zip(row) {
                    *state = fold.join(*state, more);
                }
            }
            start += long_rows * together;
        }
    }
    fold_wide_rows(fold, source, reduced, start..range.end, states);
}

/// How often `columns` must be doubled to be a multiple of 16.
fn shortfall(columns: usize) -> u32 {
    4_u32.saturating_sub(columns.trailing_zeros())
}

fn fold_wide_rows<A: Element, F: Fold<A>>(
    fold: F,
    source: &[A],
    reduced: &[Step],
    range: std::ops::Range<usize>,
    states: &mut [F::State],
) {
    let mut offsets = Offsets::new(reduced, range.start);
    let mut rows = [0; TILE_ROWS];
    let mut left = range.len();
    while left > 0 {
        let height = left.min(TILE_ROWS);
        for (row, offset) in rows[..height].iter_mut().zip(&mut offsets) {
            *row = offset;
        }
        fold_tile(fold, source, &rows[..height], states);
        left -= height;
    }
}

/// Folds a tile of `rows`, as wide as `states`, with this machine's vectors.
// Not inlined, and the only such function but one: each fold is compiled for every level, and
// that is as much code as a fold should be.
#[inline(never)]
fn fold_tile<A: Element, F: Fold<A>>(
    fold: F,
    source: &[A],
    rows: &[usize],
    states: &mut [F::State],
) {
    vectorize(
        Level::best(),
        #[inline(always)]
        || {
            let mut column = 0;
            column = fold_lanes::<A, F, LANES>(fold, source, rows, column, states);
            column = fold_lanes::<A, F, 16>(fold, source, rows, column, states);
            fold_lanes::<A, F, 1>(fold, source, rows, column, states);
        },
    );
}

/// Folds columns from `column` on in groups of `W`, and returns where it stopped.
#[inline(always)]
fn fold_lanes<A: Element, F: Fold<A>, const W: usize>(
    fold: F,
    source: &[A],
    rows: &[usize],
    column: usize,
    states: &mut [F::State],
) -> usize {
    let (groups, _) = states[column..].as_chunks_mut::<W>();
    let end = column + groups.len() * W;
    for (i, group) in groups.iter_mut().enumerate() {
        fold.tile(&source[column + i * W..], rows, group);
    }
    end
}

/// Folds the elements `range` of the walk over `reduced`.
fn fold_run<A: Element, F: Fold<A>>(
    fold: F,
    source: &[A],
    reduced: &[Step],
    range: std::ops::Range<usize>,
) -> F::State {
    /// Runs at least this long are folded where they lie.
    const LONG: usize = 256;
    let Some((&(size, stride), outer)) = reduced.split_last() else {
        return fold_slice(fold, &source[..1]);
    };
    let mut runs = Offsets::new(outer, range.start / size);
    let (mut first, mut left) = (range.start % size, range.len());
    let mut total: Option<F::State> = None;
    let mut add = |state| {
        total = Some(match total {
            Some(total) => fold.join(total, state),
            None => state,
        });
    };
    if stride == 1 && (size >= LONG || size >= range.len()) {
        while left > 0
            && let Some(base) = runs.next()
        {
            let len = left.min(size - first);
            add(fold_slice(fold, &source[base + first..][..len]));
            left -= len;
            first = 0;
        }
    } else {
        let mut gathered = [A::default(); TILE_ROWS * LANES];
        let mut filled = 0;
        let mut base = runs.next().unwrap_or_default();
        while left > 0 {
            let len = left.min(size - first).min(gathered.len() - filled);
            let target = &mut gathered[filled..filled + len];
            let piece = &source[base + first * stride..];
            if stride == 1 {
                target.copy_from_slice(&piece[..len]);
            } else {
                for (i, element) in target.iter_mut().enumerate() {
                    *element = piece[i * stride];
                }
            }
            filled += len;
            left -= len;
            first += len;
            if first == size {
                first = 0;
                base = runs.next().unwrap_or_default();
            }
            if filled == gathered.len() || left == 0 {
                add(fold_slice(fold, &gathered[..filled]));
                filled = 0;
            }
        }
    }
    total.unwrap_or(fold.empty())
}

/// Folds neighbouring elements.
fn fold_slice<A: Element, F: Fold<A>>(fold: F, source: &[A]) -> F::State {
    let mut state = [fold.empty()];
    fold_slices(fold, source, source.len().max(1), &mut state);
    state[0]
}

/// Folds runs of `len` neighbouring elements, each into a state, with this machine's vectors.
#[inline(never)]
fn fold_slices<A: Element, F: Fold<A>>(fold: F, source: &[A], len: usize, states: &mut [F::State]) {
    vectorize(
        Level::best(),
        #[inline(always)]
        || {
            for (state, run) in states.iter_mut().zip(source.chunks_exact(len)) {
                *state = fold.slice(run);
            }
        },
    );
}
