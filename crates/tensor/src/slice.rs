//! Which elements of an axis are taken.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo};

use crate::error::{Error, Result};

/// What a slice takes of one axis: a range with a step, as Python's `start:stop:step`.
///
/// Negative bounds count from the end and bounds beyond the axis are clipped, as in Python. A
/// negative step walks backwards from the end of the range: `Slice::from(..).step(-1)` reverses.
///
/// ```
/// use tensor::{Slice, Tensor};
/// let x = Tensor::from([0, 1, 2, 3, 4, 5]);
/// assert_eq!(x.slice(&[(1..4).into()])?.to_vec(), [1, 2, 3]);
/// assert_eq!(x.slice(&[Slice::from(-2..)])?.to_vec(), [4, 5]);
/// assert_eq!(x.slice(&[Slice::from(..).step(2)])?.to_vec(), [0, 2, 4]);
/// assert_eq!(x.slice(&[Slice::from(1..5).step(-2)])?.to_vec(), [4, 2]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    start: isize,
    stop: Option<isize>,
    pub(crate) step: isize,
}

impl Slice {
    /// The same range, taking every `step`-th element; a negative step starts at the last element.
    #[must_use]
    pub fn step(self, step: isize) -> Self {
        Slice { step, ..self }
    }

    /// `(first element, count)` on an axis of `size`.
    pub(crate) fn resolve(self, size: usize) -> Result<(usize, usize)> {
        if self.step == 0 {
            return Err(Error::value("slice", "the step is 0")
                .fix("use a positive step, or a negative one to walk backwards"));
        }
        // Sizes of an empty tensor may be beyond `isize`.
        let clip = |bound: isize| match usize::try_from(bound) {
            Ok(bound) => bound.min(size),
            Err(_) => size.saturating_sub(bound.unsigned_abs()),
        };
        let (start, stop) = (clip(self.start), self.stop.map_or(size, clip));
        let count = stop
            .saturating_sub(start)
            .div_ceil(self.step.unsigned_abs());
        let first = if self.step > 0 || count == 0 {
            start
        } else {
            stop - 1
        };
        Ok((first, count))
    }
}

impl From<RangeFull> for Slice {
    fn from(_: RangeFull) -> Self {
        Slice {
            start: 0,
            stop: None,
            step: 1,
        }
    }
}

impl From<Range<isize>> for Slice {
    fn from(range: Range<isize>) -> Self {
        Slice {
            start: range.start,
            stop: Some(range.end),
            step: 1,
        }
    }
}

impl From<RangeFrom<isize>> for Slice {
    fn from(range: RangeFrom<isize>) -> Self {
        Slice {
            start: range.start,
            stop: None,
            step: 1,
        }
    }
}

impl From<RangeTo<isize>> for Slice {
    fn from(range: RangeTo<isize>) -> Self {
        Slice {
            start: 0,
            stop: Some(range.end),
            step: 1,
        }
    }
}

impl From<RangeInclusive<isize>> for Slice {
    fn from(range: RangeInclusive<isize>) -> Self {
        // `..=-1` ends with the last element, whose next position has no negative name.
        let stop = range.end().checked_add(1).filter(|&stop| stop != 0);
        Slice {
            start: *range.start(),
            stop,
            step: 1,
        }
    }
}
