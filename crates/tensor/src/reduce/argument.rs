//! Where the largest and the smallest elements are.

use super::rows::Rows;
use super::statistics::no_elements;
use crate::element::Number;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

impl<T: Number> Tensor<T> {
    /// The position of the largest element along `axis`, which disappears: the first of several
    /// equal ones, or the first NaN if there is one (NumPy's rule).
    ///
    /// ```
    /// use tensor::Tensor;
    /// let scores = Tensor::from([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]]);
    /// assert_eq!(scores.argmax(-1)?.to_vec(), [1, 0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist or has no elements to choose from.
    pub fn argmax(&self, axis: isize) -> Result<Tensor<i64>> {
        self.argument("argmax", axis, |x, best| x > best)
    }

    /// The position of the smallest element along `axis`, which disappears: the first of several
    /// equal ones, or the first NaN if there is one.
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([3, 1, 2]).argmin(0)?.item()?, 1);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist or has no elements to choose from.
    pub fn argmin(&self, axis: isize) -> Result<Tensor<i64>> {
        self.argument("argmin", axis, |x, best| x < best)
    }

    fn argument(
        &self,
        operation: &str,
        axis: isize,
        beats: impl Fn(T, T) -> bool + Copy + Send + Sync,
    ) -> Result<Tensor<i64>> {
        let rows = Rows::new(operation, self, axis)?;
        let mut sizes = self.shape.to_vec();
        sizes.remove(rows.axis);
        let shape = Shape::from(sizes);
        if rows.size == 0 && !shape.contains(&0) {
            return Err(no_elements(operation, &self.shape));
        }
        let inner = rows.inner;
        Tensor::build(operation, shape, |out| {
            rows.for_each(
                out,
                inner,
                #[inline(always)]
                |x, out| {
                    if inner == 1 {
                        out[0] = first_best(x, beats) as i64;
                    } else {
                        each_best(x, out, beats);
                    }
                },
            );
        })
    }
}

/// Whether `x` is chosen before `best`: NaN comes before all numbers.
#[inline(always)]
fn is_better<T: Number>(beats: impl Fn(T, T) -> bool, x: T, best: T) -> bool {
    // Without short cuts, which would be branches.
    beats(x, best) | (x.is_nan() & !best.is_nan())
}

/// The first position that no other is better than.
#[inline(always)]
fn first_best<T: Number>(x: &[T], beats: impl Fn(T, T) -> bool + Copy) -> usize {
    const LANES: usize = 16;
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut best = x[0];
    if let Some((first, chunks)) = chunks.split_first() {
        let mut lanes = *first;
        for chunk in chunks {
            for i in 0..LANES {
                lanes[i] = if is_better(beats, chunk[i], lanes[i]) {
                    chunk[i]
                } else {
                    lanes[i]
                };
            }
        }
        best = lanes[0];
        for &lane in &lanes {
            best = if is_better(beats, lane, best) {
                lane
            } else {
                best
            };
        }
    }
    for &x in rest {
        best = if is_better(beats, x, best) { x } else { best };
    }
    let is_best = |&x: &T| (x == best) | (x.is_nan() & best.is_nan());
    let mut before = 0;
    for chunk in chunks {
        let mut found = false;
        for i in 0..LANES {
            found |= is_best(&chunk[i]);
        }
        if found {
            break;
        }
        before += LANES;
    }
    before + x[before..].iter().position(is_best).unwrap_or(0)
}

/// [`first_best`] of each column of the rows of `x`.
#[inline(always)]
fn each_best<T: Number>(x: &[T], out: &mut [i64], beats: impl Fn(T, T) -> bool + Copy) {
    let inner = out.len();
    let mut best = x[..inner].to_vec();
    out.fill(0);
    for (row, x) in x.chunks_exact(inner).enumerate().skip(1) {
        for ((best, out), &x) in best.iter_mut().zip(out.iter_mut()).zip(x) {
            let wins = is_better(beats, x, *best);
            *best = if wins { x } else { *best };
            *out = if wins { row as i64 } else { *out };
        }
    }
}
