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
use crate::element::Element;
use crate::error::Result;
use crate::parallel::Par;
use crate::shape::{Axes, Shape, Strides};
use crate::simd::{Level, vectorize};
use crate::tensor::Tensor;

/// Elements in a block of work.
const BLOCK: usize = 64 * 1024;
/// Columns that one block of rows spans at most: their states stay in the first-level cache.
const COLUMNS: usize = 512;
/// Rows in a block: enough that states are few beside elements, and few enough for `f64` sums.
const ROWS: std::ops::RangeInclusive<usize> = 256..=4096;

/// An axis of the walk: size and stride, which is never negative here.
type Step = (usize, usize);
type Steps = SmallVec<[Step; 6]>;

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

/// A view's axes in the order of memory.
struct Layout {
    /// Kept axes, outermost first, without the `columns`.
    kept: Steps,
    reduced: Steps,
    /// The innermost kept axis, if it is what lies innermost in memory.
    columns: Option<usize>,
    offset: usize,
    /// For each result axis in memory's order: the axis of the view, its size, whether it is
    /// walked backwards.
    order: SmallVec<[(usize, usize, bool); 6]>,
}

impl Layout {
    /// What [`Layout::new`] finds, found faster for the usual case: a row-major tensor, reduced
    /// over its first axes. The results are in the caller's order then.
    fn of_rows<T: Element>(x: &Tensor<T>, mask: &[bool]) -> Option<Self> {
        let first_kept = mask.iter().position(|&reduced| !reduced);
        let (reduced, kept) = x.shape.split_at(first_kept.unwrap_or(mask.len()));
        if mask[reduced.len()..].contains(&true) || !x.is_contiguous() {
            return None;
        }
        let [rows, columns] = [reduced, kept].map(|sizes| sizes.iter().product::<usize>());
        Some(Layout {
            kept: Steps::new(),
            reduced: Steps::from_slice(&[(rows, columns)]),
            columns: (columns > 1).then_some(columns),
            offset: x.offset,
            order: SmallVec::new(),
        })
    }

    fn new<T: Element>(x: &Tensor<T>, mask: &[bool]) -> Self {
        let mut offset = x.offset as isize;
        let mut axes: SmallVec<[(usize, usize, usize, bool); 6]> = SmallVec::new();
        for (axis, (&size, &stride)) in x.shape.iter().zip(&x.strides).enumerate() {
            // The results along a kept broadcast axis are all the same: computed once.
            if size == 1 || (stride == 0 && !mask[axis]) {
                continue;
            }
            if stride < 0 {
                offset += stride * (size as isize - 1);
            }
            axes.push((axis, size, stride.unsigned_abs(), stride < 0));
        }
        axes.sort_by_key(|&(_, _, stride, _)| {
            std::cmp::Reverse(if stride == 0 { usize::MAX } else { stride })
        });
        let (mut kept, mut reduced) = (Steps::new(), Steps::new());
        let mut order = SmallVec::new();
        let mut previous = None;
        for &(axis, size, stride, backwards) in &axes {
            let steps = if mask[axis] {
                &mut reduced
            } else {
                order.push((axis, size, backwards));
                &mut kept
            };
            match steps.last_mut() {
                Some((outer, outer_stride))
                    if previous == Some(mask[axis]) && *outer_stride == size * stride =>
                {
                    *outer *= size;
                    *outer_stride = stride;
                }
                _ => steps.push((size, stride)),
            }
            previous = Some(mask[axis]);
        }
        let innermost_is_kept = previous == Some(false);
        let columns = match kept.last() {
            Some(&(size, 1)) if innermost_is_kept => {
                kept.pop();
                Some(size)
            }
            _ => None,
        };
        Layout {
            kept,
            reduced,
            columns,
            offset: offset as usize,
            order,
        }
    }

    /// The shape of the results in memory's order.
    fn results(&self) -> Shape {
        self.order.iter().map(|&(_, size, _)| size).collect()
    }

    /// The results as the caller's `shape` orders them.
    fn arranged<T: Element>(
        &self,
        operation: &str,
        results: Tensor<T>,
        shape: Shape,
        mask: &[bool],
        keep: bool,
    ) -> Result<Tensor<T>> {
        let mut by_axis: SmallVec<[isize; 6]> = SmallVec::from_elem(0, mask.len());
        let mut offset = 0;
        for (&(axis, size, backwards), &stride) in self.order.iter().zip(&results.strides) {
            by_axis[axis] = if backwards { -stride } else { stride };
            if backwards {
                offset += (size - 1) * stride.unsigned_abs();
            }
        }
        let strides: Strides = by_axis
            .iter()
            .zip(mask)
            .filter(|&(_, &reduced)| keep || !reduced)
            .map(|(&stride, _)| stride)
            .collect();
        let arranged = Tensor {
            storage: results.storage,
            shape,
            strides,
            offset,
        };
        let mut out = arranged.try_contiguous(operation)?;
        // Size-1 axes have lost their strides; a row-major tensor has them all in order.
        out.strides = out.shape.strides();
        Ok(out)
    }

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

    /// Whether all results are of whole runs, one after the other in memory.
    fn runs_follow_each_other(&self) -> bool {
        let &[(len, 1)] = &self.reduced[..] else {
            return false;
        };
        matches!(self.kept[..], [] | [_]) && self.kept.iter().all(|&(_, stride)| stride == len)
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

fn count(steps: &[Step]) -> usize {
    steps
        .iter()
        .fold(1, |product: usize, &(size, _)| product.saturating_mul(size))
}

/// The offset of element `index`, counted in row-major order.
fn offset_of(steps: &[Step], mut index: usize) -> usize {
    let mut offset = 0;
    for &(size, stride) in steps.iter().rev() {
        offset += index % size * stride;
        index /= size;
    }
    offset
}

/// The offsets of the elements from `start` on in row-major order, without end.
struct Offsets<'a> {
    steps: &'a [Step],
    index: SmallVec<[usize; 6]>,
    offset: usize,
}

impl<'a> Offsets<'a> {
    fn new(steps: &'a [Step], start: usize) -> Self {
        let mut index = SmallVec::from_elem(0, steps.len());
        let mut rest = start;
        for (index, &(size, _)) in index.iter_mut().zip(steps).rev() {
            *index = rest % size;
            rest /= size;
        }
        Offsets {
            steps,
            index,
            offset: offset_of(steps, start),
        }
    }
}

impl Iterator for Offsets<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let offset = self.offset;
        for (index, &(size, stride)) in self.index.iter_mut().zip(self.steps).rev() {
            *index += 1;
            self.offset += stride;
            if *index < size {
                break;
            }
            self.offset -= *index * stride;
            *index = 0;
        }
        Some(offset)
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
