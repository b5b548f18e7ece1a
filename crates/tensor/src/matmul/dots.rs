//! Products with few columns (or few rows): inner products along the depth.

use std::ops::Range;

use crate::parallel::Par;
use crate::simd::{Kernel, Level, Real, Simd, Vector, dispatch};

use super::blocking::{Caches, Pieces, tasks};
use super::gemm::Epilogue;
use super::matrix::SharedTarget;
use super::pack::CopyRows;
use super::scratch::with_scratch;
use super::{Accum, MatrixMut, MatrixRef, sweep};

/// Columns up to which inner products are worth it.
const FEW: usize = 8;

/// The shortest depth worth adding up the lanes of a vector for.
const SHORTEST: usize = 64;

/// Whether [`product`] is expected to be the fastest.
///
/// A product with few columns would leave most lanes of a tile empty. Where the other operand is
/// contiguous along the depth, lanes can lie along the depth instead.
pub(super) fn pays<T>(a: &MatrixRef<'_, T>, b: &MatrixRef<'_, T>) -> bool {
    let (a_fits, b_fits) = (a.column_stride() == 1, b.row_stride() == 1);
    a.columns() >= SHORTEST
        && (a_fits && b.columns() <= FEW && (b_fits || a.rows() > FEW)
            || b_fits && a.rows() <= FEW && (a_fits || b.columns() > FEW))
}

/// `C = [C +] A · B` for operands that [`pays`].
pub(super) fn product<T: Real>(
    a: &MatrixRef<'_, T>,
    b: &MatrixRef<'_, T>,
    c: &mut MatrixMut<'_, T>,
    accum: Accum,
    epilogue: Epilogue<'_, T>,
    par: Par,
    level: Level,
) {
    // `few` lines along the depth against `many`: columns of B against rows of A, or the other way.
    let columns_are_few = a.column_stride() == 1 && b.columns() <= FEW;
    let (many, few) = if columns_are_few {
        (*a, b.transposed())
    } else {
        (b.transposed(), *a)
    };
    let c = c.share();
    let depth = many.columns();
    // Tasks begin at multiples of this, so that the same lines are together in any number of them.
    const TOGETHER: usize = 4;
    let groups = many.rows().div_ceil(TOGETHER);
    let blocks = Pieces::new(
        groups,
        groups.div_ceil(tasks(par, [many.rows(), depth, few.rows()])),
    );
    // What is far is read fastest line by line, in order, if little else is to be done meanwhile.
    let is_far = match few.rows() {
        1 => sweep::is_larger(&many, Caches::of_this_machine().second),
        2 => sweep::from_memory(&many),
        _ => false,
    };
    let lines_at_once = if is_far { 1 } else { TOGETHER };
    let run = |few: &MatrixRef<'_, T>| {
        par.for_each(blocks.count(), |block| {
            let kernel = Dots {
                many: &many,
                few,
                many_range: blocks.start(block) * TOGETHER
                    ..(blocks.start(block + 1) * TOGETHER).min(many.rows()),
                c,
                columns_are_few,
                accum,
                epilogue,
                lines_at_once,
            };
            dispatch(level, kernel);
        });
    };
    if few.column_stride() == 1 {
        run(&few);
    } else {
        with_scratch(few.rows() * depth, |copy| {
            dispatch(
                level,
                CopyRows {
                    matrix: &few,
                    rows: copy,
                },
            );
            // The lines are now contiguous.
            if let Ok(few) = MatrixRef::row_major(copy, [few.rows(), depth]) {
                run(&few);
            }
        });
    }
}

/// Inner products of some of the many lines with each of the few.
struct Dots<'a, T> {
    many: &'a MatrixRef<'a, T>,
    few: &'a MatrixRef<'a, T>,
    many_range: Range<usize>,
    c: SharedTarget<T>,
    columns_are_few: bool,
    accum: Accum,
    epilogue: Epilogue<'a, T>,
    /// Lines of the many that are read side by side, where so many are left.
    lines_at_once: usize,
}

impl<T: Real> Kernel for Dots<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if self.few.rows() == 1 && self.lines_at_once == 1 {
            return simd.call(Lines(&self, self.many_range.clone(), 0));
        }
        let mut i = self.many_range.start;
        while i < self.many_range.end {
            let lines = match self.many_range.end - i {
                4.. => self.lines_at_once,
                _ => 1,
            };
            let mut j = 0;
            while j < self.few.rows() {
                let others = match self.few.rows() - j {
                    1 => 1,
                    2 | 3 => 2,
                    _ => 4,
                };
                match (lines, others) {
                    (4, 4) => simd.call(Block::<T, 4, 4, 1>(&self, i, j)),
                    (4, 2) => simd.call(Block::<T, 4, 2, 1>(&self, i, j)),
                    (4, _) => simd.call(Block::<T, 4, 1, 2>(&self, i, j)),
                    (_, 4) => simd.call(Block::<T, 1, 4, 2>(&self, i, j)),
                    (_, 2) => simd.call(Block::<T, 1, 2, 4>(&self, i, j)),
                    _ => simd.call(Lines(&self, i..i + lines, j)),
                }
                j += others;
            }
            i += lines;
        }
    }
}

/// Inner products of some of the many lines with one of the few, line after line.
struct Lines<'a, T>(&'a Dots<'a, T>, Range<usize>, usize);

impl<T: Real> Kernel for Lines<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        const CHAINS: usize = 8;
        let Lines(dots, lines, other) = self;
        let lanes = T::Vector::<S>::LANES;
        let depth = dots.many.columns();
        let right = dots.few.pointer(other, 0);
        for i in lines {
            let left = dots.many.pointer(i, 0);
            let mut sums = [T::Vector::<S>::zero(simd); CHAINS];
            let mut p = 0;
            // SAFETY: the lines are contiguous, and have `depth` numbers.
            unsafe {
                while p + CHAINS * lanes <= depth {
                    for (chain, sum) in sums.iter_mut().enumerate() {
                        let p = p + chain * lanes;
                        let left = T::Vector::<S>::load_pointer(simd, left.add(p));
                        let right = T::Vector::<S>::load_pointer(simd, right.add(p));
                        *sum = left.mul_add(right, *sum);
                    }
                    p += CHAINS * lanes;
                }
                let mut half = CHAINS / 2;
                while half > 0 {
                    for chain in 0..half {
                        sums[chain] = sums[chain] + sums[chain + half];
                    }
                    half /= 2;
                }
                while p < depth {
                    let count = (depth - p).min(lanes);
                    let left = T::Vector::<S>::load_pointer_partial(simd, left.add(p), count);
                    let right = T::Vector::<S>::load_pointer_partial(simd, right.add(p), count);
                    sums[0] = left.mul_add(right, sums[0]);
                    p += lanes;
                }
            }
            dots.write(i, other, sums[0].sum());
        }
    }
}

/// Inner products of `MANY` lines from one on with `FEW` others, each by `CHAINS` sums of vectors.
struct Block<'a, T, const MANY: usize, const FEW: usize, const CHAINS: usize>(
    &'a Dots<'a, T>,
    usize,
    usize,
);

impl<T: Real, const MANY: usize, const FEW: usize, const CHAINS: usize> Kernel
    for Block<'_, T, MANY, FEW, CHAINS>
{
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Block(dots, first_many, first_few) = self;
        let lanes = T::Vector::<S>::LANES;
        let depth = dots.many.columns();
        let mut sums = [[[T::Vector::<S>::zero(simd); CHAINS]; FEW]; MANY];
        let mut p = 0;
        // SAFETY: `count` numbers from depth `p` on exist in each line.
        unsafe {
            while p + CHAINS * lanes <= depth {
                for chain in 0..CHAINS {
                    self.add(simd, &mut sums, chain, p + chain * lanes, lanes);
                }
                p += CHAINS * lanes;
            }
            if p < depth {
                for chain in 0..CHAINS {
                    let p = p + chain * lanes;
                    let count = depth.saturating_sub(p).min(lanes);
                    self.add(simd, &mut sums, chain, p, count);
                }
            }
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (j, chains) in sums.into_iter().enumerate() {
                let mut chains = chains;
                let mut half = CHAINS / 2;
                while half > 0 {
                    for chain in 0..half {
                        chains[chain] = chains[chain] + chains[chain + half];
                    }
                    half /= 2;
                }
                dots.write(first_many + i, first_few + j, chains[0].sum());
            }
        }
    }
}

impl<T: Real, const MANY: usize, const FEW: usize, const CHAINS: usize>
    Block<'_, T, MANY, FEW, CHAINS>
{
    /// Adds the products of `count` numbers from depth `p` on to a sum of each pair of lines.
    ///
    /// # Safety
    /// The lines have these numbers, at most a vector, and are contiguous.
    #[inline(always)]
    unsafe fn add<S: Simd>(
        &self,
        simd: S,
        sums: &mut [[[T::Vector<S>; CHAINS]; FEW]; MANY],
        chain: usize,
        p: usize,
        count: usize,
    ) {
        let Block(dots, first_many, first_few) = self;
        // SAFETY: the caller vouches for `count` numbers of each line.
        let load = |matrix: &MatrixRef<'_, T>, line: usize| unsafe {
            let line = matrix.pointer(line, 0).wrapping_add(p);
            if count == T::Vector::<S>::LANES {
                T::Vector::<S>::load_pointer(simd, line)
            } else {
                T::Vector::<S>::load_pointer_partial(simd, line, count)
            }
        };
        let mut others = [T::Vector::<S>::zero(simd); FEW];
        for (j, other) in others.iter_mut().enumerate() {
            *other = load(dots.few, first_few + j);
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            let line = load(dots.many, first_many + i);
            for (sums, other) in sums.iter_mut().zip(others) {
                sums[chain] = line.mul_add(other, sums[chain]);
            }
        }
    }
}

impl<T: Real> Dots<'_, T> {
    /// Writes the inner product of line `many` and line `few`.
    #[inline(always)]
    fn write(&self, many: usize, few: usize, sum: T) {
        let (row, column) = if self.columns_are_few {
            (many, few)
        } else {
            (few, many)
        };
        let target = self.c.pointer(row, column);
        // SAFETY: the element exists, and is this task's alone.
        let target = unsafe { &mut *target };
        self.epilogue.store(self.accum, column, sum, target);
    }
}
