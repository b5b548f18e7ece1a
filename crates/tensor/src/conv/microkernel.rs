//! The one inner loop of all convolutions: a strip of outputs as products of strided rows.
//!
//! In images with channels innermost, the patches of neighbouring pixels are overlapping rows of
//! the image itself, and a run of taps along the width is contiguous. So a product over patches
//! needs no patch matrix: rows of `a` are addressed as `start + row·a_row`, and the summed index
//! is up to three nested loops with a stride each (kernel rows, kernel columns, channels; or, for
//! the gradient of the filters, output rows and columns).

use crate::conv::ahead::Ahead;
use crate::conv::reached::{Path, reached};
use crate::simd::{Kernel, Level, Real, Simd, Vector, dispatch, prefetch, unseen};

/// One loop over the summed index: `count` steps, each by `a` and `b` elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loop {
    pub(super) count: usize,
    pub(super) a: usize,
    pub(super) b: usize,
}

impl Loop {
    /// A loop that runs once.
    pub(super) const ONCE: Loop = Loop {
        count: 1,
        a: 0,
        b: 0,
    };
}

/// How often a strip is computed, each time from operands, and to a place, so much further on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeat {
    pub(super) count: usize,
    pub(super) a: usize,
    pub(super) b: usize,
    pub(super) c: usize,
}

impl Repeat {
    pub(super) const ONCE: Repeat = Repeat {
        count: 1,
        a: 0,
        b: 0,
        c: 0,
    };
}

/// What happens to a strip's sums on their way to memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Finish<'a, T> {
    /// They replace what is there, begun with the bias of their column and, if `relu`, with zero
    /// for negative ones.
    Store { bias: Option<&'a [T]>, relu: bool },
    /// They are added to what is there.
    Add,
}

/// `c[row][column] = finish(Σ a[row][k] · b[k][column])` for `rows` rows and at most
/// [`panel_width`] columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strip<'a, T> {
    pub(super) a: &'a [T],
    /// From one row of `a` to the next.
    pub(super) a_row: usize,
    /// Rows of `columns` numbers, filled up to whole vectors.
    pub(super) b: &'a [T],
    /// From one row of `c` to the next.
    pub(super) c_row: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// The summed index, outermost first.
    pub(super) sum: [Loop; 3],
    pub(super) finish: Finish<'a, T>,
    /// The same for other operands; each time is a step of what is fetched meanwhile.
    pub(super) repeat: Repeat,
    /// What the cache fetches meanwhile, for whoever comes next.
    pub(super) ahead: Ahead<'a, T>,
}

/// Rows that the accumulators of one tile cover: enough chains to hide the latency of a fused
/// multiply-add, few enough for the registers.
const MOST_ROWS: usize = 14;

/// Numbers of type `T` in a vector of `level`.
pub(super) fn lanes<T: Real>(level: Level) -> usize {
    let bytes = match level {
        Level::Avx512 => 64,
        Level::Avx2 => 32,
        Level::Baseline => 16,
    };
    bytes / size_of::<T>()
}

/// The level for products of so many columns: `level`, or AVX2 if half a vector is enough, which
/// then computes as many rows in half the time.
pub(super) fn fitting<T: Real>(level: Level, columns: usize) -> Level {
    if level == Level::Avx512 && columns <= lanes::<T>(Level::Avx2) {
        Level::Avx2
    } else {
        level
    }
}

/// Vectors in a row of a full panel.
pub(super) const PANEL_VECTORS: usize = 2;

/// Columns of a full panel.
pub(super) fn panel_width<T: Real>(level: Level) -> usize {
    PANEL_VECTORS * lanes::<T>(level)
}

/// The last place that nested loops reach, each of so many steps, so far apart; the largest number if
/// no number is as large.
#[inline(always)]
fn last<const LOOPS: usize>(loops: [[usize; 2]; LOOPS]) -> usize {
    loops.into_iter().fold(0, |sum: usize, [count, step]| {
        sum.saturating_add((count - 1).saturating_mul(step))
    })
}

impl<T: Real> Strip<'_, T> {
    /// Computes the strip into `c`.
    ///
    /// # Panics
    /// If an operand is too short.
    pub(super) fn run(self, level: Level, c: &mut [T]) {
        if self.rows == 0 || self.columns == 0 || self.repeat.count == 0 {
            return;
        }
        if self.sum.iter().any(|l| l.count == 0) {
            return self.finish_empty(c);
        }
        let lanes = lanes::<T>(level);
        let width = self.columns.next_multiple_of(lanes);
        let (time, rows) = (self.repeat, self.rows);
        let [i, j, k] = self.sum;
        let a = last([
            [time.count, time.a],
            [rows, self.a_row],
            [i.count, i.a],
            [j.count, j.a],
            [k.count, k.a],
        ]);
        assert!(a < self.a.len(), "strip reaches beyond a");
        let b = last([
            [time.count, time.b],
            [width, 1],
            [i.count, i.b],
            [j.count, j.b],
            [k.count, k.b],
        ]);
        assert!(b < self.b.len(), "strip reaches beyond b");
        let end = last([[time.count, time.c], [rows, self.c_row], [self.columns, 1]]);
        assert!(end < c.len(), "strip reaches beyond c");
        if let Finish::Store {
            bias: Some(bias), ..
        } = self.finish
        {
            assert!(bias.len() >= self.columns, "strip reaches beyond the bias");
        }
        let vectors = width / lanes;
        let most_rows = match (level, vectors) {
            (Level::Avx512, _) => MOST_ROWS,
            (_, 1) => 12,
            _ => 6,
        };
        // Tiles of nearly equal height: a last tile of one or two rows would leave most of the
        // multiplier's pipeline empty.
        let tiles = self.rows.div_ceil(most_rows);
        let height = self.rows / tiles;
        let tall = self.rows % tiles;
        let run = |height, first_row, part, c: &mut [T]| match vectors {
            1 => self.tiles_of_height::<1>(level, height, first_row, part, c),
            _ => self.tiles_of_height::<2>(level, height, first_row, part, c),
        };
        run(height + 1, 0, [0, tall, tiles], c);
        run(height, tall * (height + 1), [tall, tiles, tiles], c);
    }

    /// The sum over nothing is zero.
    fn finish_empty(self, c: &mut [T]) {
        let Finish::Store { bias, relu } = self.finish else {
            return;
        };
        for time in 0..self.repeat.count {
            let c = &mut c[time * self.repeat.c..];
            for row in c.chunks_mut(self.c_row.max(1)).take(self.rows) {
                for (column, value) in row[..self.columns].iter_mut().enumerate() {
                    let sum = bias.map_or(T::ZERO, |bias| bias[column]);
                    *value = if relu && sum < T::ZERO { T::ZERO } else { sum };
                }
            }
        }
    }

    /// Makes the height of tiles a constant, so that accumulators become registers.
    fn tiles_of_height<const VECTORS: usize>(
        &self,
        level: Level,
        height: usize,
        first_row: usize,
        part: [usize; 3],
        c: &mut [T],
    ) {
        if part[0] == part[1] {
            return;
        }
        macro_rules! of_height {
            ($($height:literal)*) => {
                match height {
                    $($height => dispatch(level, Tiles::<T, $height, VECTORS> {
                        strip: self,
                        first_row,
                        part,
                        c,
                    }),)*
                    _ => unreachable!("no tile has {height} rows"),
                }
            };
        }
        of_height!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }
}

/// Successive tiles of `ROWS` rows and `VECTORS` vectors of a strip whose bounds were checked.
struct Tiles<'a, 'b, T, const ROWS: usize, const VECTORS: usize> {
    strip: &'a Strip<'b, T>,
    first_row: usize,
    /// These are the tiles from the first to before the second of as many as the third.
    part: [usize; 3],
    c: &'a mut [T],
}

impl<T: Real, const ROWS: usize, const VECTORS: usize> Kernel for Tiles<'_, '_, T, ROWS, VECTORS> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if const { ROWS * VECTORS + VECTORS > S::REGISTERS } {
            // Heights are chosen to fit; this spares the compiler the tiles that do not.
            return;
        }
        let (rows, vectors) = (ROWS, VECTORS);
        reached(Path::Tile { rows, vectors }, S::LEVEL);
        let lanes = T::Vector::<S>::LANES;
        let zero = T::Vector::<S>::zero(simd);
        let (mut start, mut floor) = ([zero; VECTORS], zero);
        if let Finish::Store { bias, relu } = self.strip.finish {
            for (v, start) in start.iter_mut().enumerate() {
                if let Some(bias) = bias {
                    let bias = &bias[v * lanes..self.strip.columns];
                    *start = T::Vector::<S>::load_partial(simd, &bias[..bias.len().min(lanes)]);
                }
            }
            if !relu {
                floor = T::Vector::<S>::splat(simd, T::from_f64(f64::NEG_INFINITY));
            }
        }
        let steps = self.strip.sum.iter().map(|l| l.count).product::<usize>();
        let repeat = self.strip.repeat;
        let [first, end, all] = self.part;
        for time in 0..repeat.count {
            let ahead = self.strip.ahead.share(time);
            let ahead = &ahead[first * ahead.len() / all..end * ahead.len() / all];
            // So far ahead that one fetch a step covers all; many fetches of one line do no harm.
            let mut ahead = match ahead {
                [] => Line {
                    next: self.strip.b.as_ptr(),
                    step: 0,
                },
                ahead => Line {
                    next: ahead.as_ptr(),
                    step: ahead.len().div_ceil(steps * (end - first)),
                },
            };
            for tile in 0..end - first {
                let row = self.first_row + tile * ROWS;
                // SAFETY: `Strip::run` has checked that all rows, sums and columns of the strip lie
                // within its operands each time.
                unsafe {
                    let a = self.strip.a.as_ptr();
                    let a = a.add(time * repeat.a + row * self.strip.a_row);
                    let b = self.strip.b.as_ptr().add(time * repeat.b);
                    let c = self.c.as_mut_ptr();
                    let c = c.add(time * repeat.c + row * self.strip.c_row);
                    let sums =
                        sums::<T, S, ROWS, VECTORS>(simd, self.strip, start, a, b, &mut ahead);
                    finish(simd, self.strip, floor, sums[0], 0, c);
                    if let Some(&sums) = sums.get(1) {
                        finish(simd, self.strip, floor, sums, lanes, c);
                    }
                }
            }
        }
    }
}

/// Where the next line to fetch is, and how far apart such lines are.
struct Line<T> {
    next: *const T,
    step: usize,
}

/// Rows of `a` that are addressed from one pointer: so few that an instruction can do it, and
/// addresses are no chain of additions from row to row.
const GROUP: usize = 4;
const GROUPS: usize = MOST_ROWS.div_ceil(GROUP);

/// The sums of one tile whose first row of `a` is at `a`, over rows of `b` from `b` on; each begins
/// with what `start` has for its column.
///
/// # Safety
/// `ROWS` rows from `a` and all rows from `b` are readable as far as the loops of `strip` reach.
#[inline(always)]
unsafe fn sums<T: Real, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    strip: &Strip<'_, T>,
    start: [T::Vector<S>; VECTORS],
    a: *const T,
    b: *const T,
    ahead: &mut Line<T>,
) -> [[T::Vector<S>; ROWS]; VECTORS] {
    let [outer, middle, inner] = strip.sum;
    let lanes = T::Vector::<S>::LANES;
    let a_row = strip.a_row;
    let mut sums = [[T::Vector::<S>::zero(simd); ROWS]; VECTORS];
    for v in 0..VECTORS {
        sums[v] = [start[v]; ROWS];
    }
    for i in 0..outer.count {
        for j in 0..middle.count {
            // SAFETY: the caller vouches for every address that the loops reach.
            unsafe {
                let a = a.add(i * outer.a + j * middle.a);
                let mut groups = [a; GROUPS];
                for group in 0..ROWS.div_ceil(GROUP) {
                    groups[group] = a.add(group * GROUP * a_row);
                }
                let mut b = b.add(i * outer.b + j * middle.b);
                for _ in 0..inner.count {
                    prefetch(ahead.next);
                    ahead.next = ahead.next.wrapping_add(ahead.step);
                    let mut columns = [T::Vector::<S>::zero(simd); VECTORS];
                    for v in 0..VECTORS {
                        columns[v] = T::Vector::<S>::load_pointer(simd, b.add(v * lanes));
                    }
                    for row in 0..ROWS {
                        let factor = T::Vector::<S>::splat(
                            simd,
                            *groups[row / GROUP].add(row % GROUP * a_row),
                        );
                        for v in 0..VECTORS {
                            sums[v][row] = factor.mul_add(columns[v], sums[v][row]);
                        }
                    }
                    for group in 0..ROWS.div_ceil(GROUP) {
                        // Who sees that all groups move alike addresses them from one pointer again.
                        groups[group] = unseen(groups[group].wrapping_add(inner.a));
                    }
                    b = b.wrapping_add(inner.b);
                }
            }
        }
    }
    sums
}

/// Writes a vector of columns, from column `first` of one tile on; what is stored is at least
/// `floor`, or NaN.
///
/// # Safety
/// `ROWS` rows of `strip.columns` numbers, `strip.c_row` apart, are valid from `c` on.
#[inline(always)]
unsafe fn finish<T: Real, S: Simd, const ROWS: usize>(
    simd: S,
    strip: &Strip<'_, T>,
    floor: T::Vector<S>,
    sums: [T::Vector<S>; ROWS],
    first: usize,
    c: *mut T,
) {
    let lanes = T::Vector::<S>::LANES;
    // At least 1: the stored width is `columns` rounded up to whole vectors.
    let count = (strip.columns - first).min(lanes);
    // Each loop is short enough to be unrolled before registers are given out; a choice inside, or
    // a loop around, would send all sums through memory.
    // SAFETY: the caller vouches for `count` numbers at each row of `c`.
    unsafe {
        let target = |row: usize| c.add(row * strip.c_row + first);
        match (strip.finish, count == lanes) {
            // To take a maximum of each sum would cost Winograd's shallow products 4 %.
            (Finish::Store { relu: false, .. }, true) => {
                for row in 0..ROWS {
                    sums[row].store_pointer(target(row));
                }
            }
            (Finish::Store { .. }, true) => {
                for row in 0..ROWS {
                    floor.max(sums[row]).store_pointer(target(row));
                }
            }
            (Finish::Store { .. }, false) => {
                for row in 0..ROWS {
                    let sum = floor.max(sums[row]);
                    sum.store_pointer_partial(target(row), count);
                }
            }
            (Finish::Add, true) => {
                for row in 0..ROWS {
                    let there = T::Vector::<S>::load_pointer(simd, target(row));
                    (there + sums[row]).store_pointer(target(row));
                }
            }
            (Finish::Add, false) => {
                for row in 0..ROWS {
                    let there = T::Vector::<S>::load_pointer_partial(simd, target(row), count);
                    (there + sums[row]).store_pointer_partial(target(row), count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`lanes`] says about each level.
    struct Width<T>(std::marker::PhantomData<T>);

    impl<T: Real> Kernel for Width<T> {
        type Scalar = T;
        type Output = usize;
        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> usize {
            T::Vector::<S>::LANES
        }
    }

    #[test]
    fn lanes_are_those_of_the_vectors() {
        for level in Level::available() {
            let f32s = dispatch(level, Width::<f32>(std::marker::PhantomData));
            let f64s = dispatch(level, Width::<f64>(std::marker::PhantomData));
            assert_eq!((lanes::<f32>(level), lanes::<f64>(level)), (f32s, f64s));
        }
    }
}
