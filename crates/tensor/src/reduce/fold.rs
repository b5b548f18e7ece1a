//! The folds: how elements enter a running state, and how two states join.

use std::marker::PhantomData;

use super::softmax::{largest_of, sum_of};
use crate::element::Number;
use crate::float::Float;

/// The most rows in one call of [`Fold::tile`]: so many elements are added in the element type
/// before the sum moves on to a wider state, which bounds its relative error by 8 ulp.
pub(crate) const TILE_ROWS: usize = 16;

/// Lanes of the widest tile.
pub(super) const LANES: usize = 64;
/// Lanes of a narrow tile: still whole vectors.
const FEW_LANES: usize = 16;

/// An associative computation over many elements.
///
/// Work comes in tiles of a few rows, each row `W` neighbours in memory. Lane `i` of all rows
/// enters state `i`, so that lanes are independent and the compiler turns them into vectors.
pub(crate) trait Fold<A>: Copy + Send + Sync {
    /// What is known about the elements so far.
    type State: Copy + Send + Sync;

    /// The state of no elements.
    fn empty(&self) -> Self::State;

    /// Takes the elements `source[start + i]` into `states[i]`, for each `start` of `rows`.
    fn tile<const W: usize>(&self, source: &[A], rows: &[usize], states: &mut [Self::State; W]);

    /// The state of both.
    fn join(&self, a: Self::State, b: Self::State) -> Self::State;

    /// The state of neighbouring elements: lane by lane, then the lanes pairwise.
    #[inline(always)]
    fn slice(&self, source: &[A]) -> Self::State {
        let mut few = [self.empty(); FEW_LANES];
        let mut rest = source;
        if source.len() >= 4 * LANES {
            let mut lanes = [self.empty(); LANES];
            rest = self.rows_of(source, &mut lanes);
            self.halve(&mut lanes, FEW_LANES);
            few.copy_from_slice(&lanes[..FEW_LANES]);
        }
        rest = self.rows_of(rest, &mut few);
        let mut last = [self.empty()];
        self.rows_of(rest, &mut last);
        if rest.len() == source.len() {
            return last[0];
        }
        self.halve(&mut few, 1);
        self.join(few[0], last[0])
    }

    /// Takes all whole rows of `source` as wide as `states`, and returns what is left.
    #[inline(always)]
    fn rows_of<'a, const W: usize>(
        &self,
        source: &'a [A],
        states: &mut [Self::State; W],
    ) -> &'a [A] {
        let mut starts = [0; TILE_ROWS];
        for row in 0..TILE_ROWS {
            starts[row] = row * W;
        }
        let (whole, rest) = source.split_at(source.len() / W * W);
        for tile in whole.chunks(TILE_ROWS * W) {
            self.tile(tile, &starts[..tile.len() / W], states);
        }
        rest
    }

    /// Joins the second half of `states` to the first, until `until` are left.
    #[inline(always)]
    fn halve(&self, states: &mut [Self::State], until: usize) {
        let mut half = states.len() / 2;
        while half >= until {
            for i in 0..half {
                states[i] = self.join(states[i], states[i + half]);
            }
            half /= 2;
        }
    }
}

/// A fold whose state takes one element at a time and has no wider form.
#[derive(Clone, Copy)]
pub(super) struct Plain<S, Take, Join> {
    empty: S,
    take: Take,
    join: Join,
}

impl<S, Take, Join> Plain<S, Take, Join> {
    /// Of closures that are marked `#[inline(always)]`, which functions named here would not be.
    #[inline(always)]
    pub(super) fn new(empty: S, take: Take, join: Join) -> Self {
        Plain { empty, take, join }
    }
}

impl<S, Join: Copy> Plain<S, Join, Join> {
    /// Whose states are such as the elements, and take them as they join.
    #[inline(always)]
    pub(super) fn of_elements(empty: S, join: Join) -> Self {
        Plain::new(empty, join, join)
    }
}

impl<A, S, Take, Join> Fold<A> for Plain<S, Take, Join>
where
    A: Copy,
    S: Copy + Send + Sync,
    Take: Fn(S, A) -> S + Copy + Send + Sync,
    Join: Fn(S, S) -> S + Copy + Send + Sync,
{
    type State = S;

    #[inline(always)]
    fn empty(&self) -> S {
        self.empty
    }

    #[inline(always)]
    fn tile<const W: usize>(&self, source: &[A], rows: &[usize], states: &mut [S; W]) {
        let mut lanes = *states;
        for &start in rows {
            let row = &source[start..][..W];
            for i in 0..W {
                lanes[i] = (self.take)(lanes[i], row[i]);
            }
        }
        *states = lanes;
    }

    #[inline(always)]
    fn join(&self, a: S, b: S) -> S {
        (self.join)(a, b)
    }
}

/// The sum of floating-point numbers: few in their own type, the others in `f64`.
#[derive(Clone, Copy)]
pub(super) struct WideSum;

impl<T: Number> Fold<T> for WideSum {
    type State = f64;

    #[inline(always)]
    fn empty(&self) -> f64 {
        0.0
    }

    #[inline(always)]
    fn tile<const W: usize>(&self, source: &[T], rows: &[usize], states: &mut [f64; W]) {
        let mut lanes = [T::ZERO; W];
        for &start in rows {
            let row = &source[start..][..W];
            for i in 0..W {
                lanes[i] = lanes[i].plus(row[i]);
            }
        }
        for i in 0..W {
            states[i] += lanes[i].to_f64();
        }
    }

    #[inline(always)]
    fn join(&self, a: f64, b: f64) -> f64 {
        a + b
    }

    /// One number comes of it, so lanes can join in the element type.
    #[inline(always)]
    fn slice(&self, source: &[T]) -> f64 {
        sum_of(
            source,
            #[inline(always)]
            |x| x,
        )
    }
}

/// Count, mean and sum of squared deviations from the mean.
///
/// Each tile is read twice, for its mean and for the deviations from it, and tiles are joined by
/// the formula of [Chan, Golub & LeVeque
/// (1979)](http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf): as stable as
/// two passes, with one pass over memory.
#[derive(Clone, Copy)]
pub(crate) struct Moments<T>(PhantomData<T>);

impl<T> Moments<T> {
    pub(crate) fn new() -> Self {
        Moments(PhantomData)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) count: f64,
    pub(crate) mean: f64,
    pub(crate) squares: f64,
}

impl<T: Float> Fold<T> for Moments<T> {
    type State = Moment;

    #[inline(always)]
    fn empty(&self) -> Moment {
        Moment {
            count: 0.0,
            mean: 0.0,
            squares: 0.0,
        }
    }

    #[inline(always)]
    fn tile<const W: usize>(&self, source: &[T], rows: &[usize], states: &mut [Moment; W]) {
        let count = rows.len() as f64;
        let mut about = [T::ZERO; W];
        for &start in rows {
            let row = &source[start..][..W];
            for i in 0..W {
                about[i] += row[i];
            }
        }
        let share = T::constant(1.0 / count);
        for i in 0..W {
            about[i] = about[i] * share;
        }
        let (mut sums, mut squares) = ([T::ZERO; W], [T::ZERO; W]);
        for &start in rows {
            let row = &source[start..][..W];
            for i in 0..W {
                let deviation = row[i] - about[i];
                sums[i] += deviation;
                squares[i] += deviation * deviation;
            }
        }
        for i in 0..W {
            // `about` is the mean but for rounding, which the deviations' own sum puts right.
            let rest = sums[i].to_f64();
            let tile = Moment {
                count,
                mean: about[i].to_f64() + rest / count,
                squares: (squares[i].to_f64() - rest * rest / count).larger(0.0),
            };
            states[i] = join_moments(states[i], tile);
        }
    }

    #[inline(always)]
    fn join(&self, a: Moment, b: Moment) -> Moment {
        join_moments(a, b)
    }
}

#[inline(always)]
pub(crate) fn join_moments(a: Moment, b: Moment) -> Moment {
    let count = a.count + b.count;
    // No elements on either side: every share is 0.
    let share = b.count / count.max(1.0);
    let apart = b.mean - a.mean;
    Moment {
        count,
        mean: a.mean + apart * share,
        squares: a.squares + b.squares + apart * apart * a.count * share,
    }
}

/// The largest element and the sum of `exp(x − largest)`.
#[derive(Clone, Copy)]
pub(super) struct ExpSum<T>(PhantomData<T>);

impl<T> ExpSum<T> {
    pub(super) fn new() -> Self {
        ExpSum(PhantomData)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ExpSumState<T> {
    largest: T,
    sum: f64,
}

impl<T: Float> ExpSumState<T> {
    /// `ln Σ eˣ`.
    pub(super) fn log(self) -> T {
        T::constant(shift(self.largest).to_f64() + self.sum.ln())
    }
}

/// What is subtracted before `exp`: the largest element, unless that is not finite, where 0 gives
/// the limits: `ln Σ eˣ` is −∞ for a row of −∞, +∞ with a +∞ in it, NaN with a NaN.
#[inline(always)]
fn shift<T: Float>(largest: T) -> T {
    if largest.is_finite() {
        largest
    } else {
        T::ZERO
    }
}

impl<T: Float> Fold<T> for ExpSum<T> {
    type State = ExpSumState<T>;

    #[inline(always)]
    fn empty(&self) -> ExpSumState<T> {
        ExpSumState {
            largest: T::LOWEST,
            sum: 0.0,
        }
    }

    #[inline(always)]
    fn tile<const W: usize>(&self, source: &[T], rows: &[usize], states: &mut [ExpSumState<T>; W]) {
        let mut largest = [T::LOWEST; W];
        for &start in rows {
            let row = &source[start..][..W];
            for i in 0..W {
                largest[i] = largest[i].larger(row[i]);
            }
        }
        let mut sums = [T::ZERO; W];
        for &start in rows {
            let row = &source[start..][..W];
            for i in 0..W {
                sums[i] += (row[i] - shift(largest[i])).exp();
            }
        }
        for i in 0..W {
            let tile = ExpSumState {
                largest: largest[i],
                sum: sums[i].to_f64(),
            };
            states[i] = self.join(states[i], tile);
        }
    }

    #[inline(always)]
    fn join(&self, a: ExpSumState<T>, b: ExpSumState<T>) -> ExpSumState<T> {
        let largest = a.largest.larger(b.largest);
        let rescaled = |state: ExpSumState<T>| {
            let factor = (shift(state.largest) - shift(largest)).exp().to_f64();
            // A sum of 0 has no largest element to be relative to.
            if state.sum == 0.0 {
                0.0
            } else {
                state.sum * factor
            }
        };
        ExpSumState {
            largest,
            sum: rescaled(a) + rescaled(b),
        }
    }

    /// Two passes: to join lanes costs two exponentials a lane, more than a short slice does.
    #[inline(always)]
    fn slice(&self, source: &[T]) -> ExpSumState<T> {
        let largest = largest_of(source);
        let shift = shift(largest);
        let sum = sum_of(
            source,
            #[inline(always)]
            |x| (x - shift).exp(),
        );
        ExpSumState { largest, sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wide tiles, narrow ones and single elements take each element once, whatever the length.
    #[test]
    fn slices_of_any_length_are_folded_whole() {
        let numbers: Vec<i64> = (0..1200).map(|i| i * i % 1009).collect();
        let largest = Plain::of_elements(i64::MIN, i64::max);
        let sum = Plain::of_elements(0, |a: i64, b: i64| a + b);
        for len in 0..numbers.len() {
            let x = &numbers[..len];
            assert_eq!(sum.slice(x), x.iter().sum::<i64>(), "{len}");
            let expected = x.iter().copied().max().unwrap_or(i64::MIN);
            assert_eq!(largest.slice(x), expected, "{len}");
        }
    }
}
