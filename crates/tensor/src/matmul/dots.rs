//! Products with few columns (or few rows): inner products along the depth.

use std::ops::Range;

use crate::parallel::Par;
use crate::simd::{Kernel, Level, Real, Simd, Vector, dispatch};

use super::blocking::{Pieces, tasks};
use super::gemm::Epilogue;
use super::matrix::SharedTarget;
use super::pack::pack_columns;
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
    // Memory is fastest when it is read line by line in order.
    let lines_at_once = match sweep::from_memory(&many) && few.rows() <= 2 {
        true => 1,
        false => TOGETHER,
    };
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
            dispatch(level, Copy { few: &few, copy });
            // The lines are now contiguous.
            if let Ok(few) = MatrixRef::row_major(copy, [few.rows(), depth]) {
                run(&few);
            }
        });
    }
}

/// Copies the few lines, to make each contiguous.
struct Copy<'a, T> {
    few: &'a MatrixRef<'a, T>,
    copy: &'a mut [T],
}

impl<T: Real> Kernel for Copy<'_, T> {
    type Scalar = T;
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (lines, depth) = (self.few.rows(), self.few.columns());
        pack_columns(simd, self.few, 0..lines, 0..depth, depth, self.copy);
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
                    _ => simd.call(Block::<T, 1, 1, 8>(&self, i, j)),
                }
                j += others;
            }
            i += lines;
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
        let zero = T::Vector::<S>::zero(simd);
        let mut sums = [[[zero; CHAINS]; FEW]; MANY];
        let many = |i: usize| dots.many.pointer(first_many + i, 0);
        let few = |j: usize| dots.few.pointer(first_few + j, 0);
        let mut p = 0;
        while p < depth {
            for chain in 0..CHAINS {
                let p = p + chain * lanes;
                let count = depth.saturating_sub(p).min(lanes);
                // SAFETY: `count` numbers from depth `p` on exist in each line; lines are
                // contiguous.
                unsafe {
                    let load = |line: *const T| {
                        if count == lanes {
                            T::Vector::<S>::load_pointer(simd, line.add(p))
                        } else {
                            let line = line.wrapping_add(p);
                            T::Vector::<S>::load_pointer_partial(simd, line, count)
                        }
                    };
                    let mut others = [zero; FEW];
                    for (j, other) in others.iter_mut().enumerate() {
                        *other = load(few(j));
                    }
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let line = load(many(i));
                        for (sums, other) in sums.iter_mut().zip(others) {
                            sums[chain] = line.mul_add(other, sums[chain]);
                        }
                    }
                }
            }
            p += CHAINS * lanes;
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (j, chains) in sums.into_iter().enumerate() {
                let mut sum = chains[0];
                for chain in &chains[1..] {
                    sum = sum + *chain;
                }
                dots.write(first_many + i, first_few + j, sum.sum());
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
