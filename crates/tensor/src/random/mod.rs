//! Random tensors from a seeded generator, and dropout from a counter.

mod dropout;
mod philox;

#[cfg(test)]
mod tests;

use std::ops::Range;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::StandardNormal;

use crate::error::{Error, Result};
use crate::float::Float;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The generator of random numbers that examples, layers and loaders use: ChaCha with 8 rounds,
/// the same numbers on every machine.
pub type Generator = rand::rngs::ChaCha8Rng;

/// A [`Generator`] that `seed` determines.
///
/// ```
/// use tensor::{Tensor, generator};
/// let x = Tensor::<f32>::uniform([2, 3], -1.0..1.0, &mut generator(42))?;
/// let y = Tensor::<f32>::uniform([2, 3], -1.0..1.0, &mut generator(42))?;
/// assert_eq!(x, y);
/// # Ok::<(), tensor::Error>(())
/// ```
pub fn generator(seed: u64) -> Generator {
    Generator::seed_from_u64(seed)
}

impl<T: Float> Tensor<T> {
    /// Numbers drawn evenly from `range`, which includes its start but not its end.
    ///
    /// ```
    /// use tensor::{Tensor, generator};
    /// let x = Tensor::<f32>::uniform([100], 2.0..3.0, &mut generator(1))?;
    /// assert!(x.iter().all(|x| (2.0..3.0).contains(&x)));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the range is empty or not finite, or the shape is too large for memory.
    pub fn uniform(
        shape: impl Into<Shape>,
        range: Range<T>,
        rng: &mut impl Rng,
    ) -> Result<Tensor<T>> {
        let (start, end) = (range.start.to_f64(), range.end.to_f64());
        let width = end - start;
        // Both in one test, so that NaN fails it.
        if !(start < end && width.is_finite()) {
            return Err(Error::value("uniform", "the range is empty or not finite")
                .with("range", format!("{}..{}", range.start, range.end)));
        }
        Tensor::build("uniform", shape, |out| {
            for out in out {
                *out = T::constant(start + width * rng.random::<f64>());
                // Rounding to this type can reach the end; the start never is the end.
                if *out >= range.end {
                    *out = range.start;
                }
            }
        })
    }

    /// Numbers drawn from the normal distribution of the given mean and standard deviation.
    ///
    /// ```
    /// use tensor::{Tensor, generator};
    /// let x = Tensor::<f64>::normal([10_000], 5.0, 0.1, &mut generator(1))?;
    /// assert!((x.mean(..)?.item()? - 5.0).abs() < 0.01);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the mean or deviation is not finite, the deviation is negative, or the shape is too
    /// large for memory.
    pub fn normal(
        shape: impl Into<Shape>,
        mean: T,
        deviation: T,
        rng: &mut impl Rng,
    ) -> Result<Tensor<T>> {
        if !mean.is_finite() || !deviation.is_finite() || deviation < T::ZERO {
            return Err(
                Error::value("normal", "there is no distribution of these parameters")
                    .with("mean", mean)
                    .with("deviation", deviation)
                    .fix("both must be finite, and the deviation not negative"),
            );
        }
        let (mean, deviation) = (mean.to_f64(), deviation.to_f64());
        Tensor::build("normal", shape, |out| {
            for out in out {
                *out = T::constant(mean + deviation * rng.sample::<f64, _>(StandardNormal));
            }
        })
    }
}

impl Tensor<i64> {
    /// The numbers `0..count` in random order, each order equally likely.
    ///
    /// ```
    /// use tensor::{Tensor, generator};
    /// let order = Tensor::permutation(5, &mut generator(1))?;
    /// assert_eq!(order.sort(0, false)?.0.to_vec(), [0, 1, 2, 3, 4]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `count` numbers are too many for memory.
    pub fn permutation(count: usize, rng: &mut impl Rng) -> Result<Tensor<i64>> {
        Tensor::build("permutation", count, |out| {
            for (i, out) in out.iter_mut().enumerate() {
                *out = i as i64;
            }
            out.shuffle(rng);
        })
    }
}
