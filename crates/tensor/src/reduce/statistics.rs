//! Sums, products, means, variances, extremes, and truth over axes.

use super::fold::{ExpSum, Moments, Plain, WideSum};
use super::walk::reduce;
use crate::element::{DType, Element, Number};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::shape::{Axes, Shape};
use crate::tensor::Tensor;

/// Reductions over any [`Axes`]: `..` for all, `-1`, `[0, 2]`, `keepdims([0, 2])`.
///
/// Results have the same bits on any number of threads.
impl<T: Number> Tensor<T> {
    /// The sum over `axes`; 0 of no elements. Integers wrap on overflow: [`Tensor::cast`] to
    /// `i64` first where that can happen.
    ///
    /// Floating-point sums are at least as accurate as pairwise summation: ten million `f32`
    /// numbers add up to within a few units in the last place.
    ///
    /// ```
    /// use tensor::{Tensor, keepdims};
    /// let x = Tensor::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    /// assert_eq!(x.sum(..)?.item()?, 21.0);
    /// assert_eq!(x.sum(0)?.to_vec(), [5.0, 7.0, 9.0]);
    /// assert_eq!(x.sum(keepdims(-1))?, Tensor::from([[6.0], [15.0]]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    pub fn sum(&self, axes: impl Into<Axes>) -> Result<Tensor<T>> {
        self.sum_as("sum", &axes.into())
    }

    fn sum_as(&self, operation: &str, axes: &Axes) -> Result<Tensor<T>> {
        match T::DTYPE {
            DType::F32 | DType::F64 => reduce(operation, self, axes, WideSum, T::from_f64),
            _ => {
                let fold = Plain::of_elements(
                    T::ZERO,
                    #[inline(always)]
                    |a: T, b: T| a.plus(b),
                );
                reduce(operation, self, axes, fold, |sum| sum)
            }
        }
    }

    /// The sum over the axes along which `shape` was broadcast to this shape, so that the result
    /// has that `shape`: what a gradient goes through on its way back through broadcasting.
    ///
    /// A tensor that has the shape already is returned as it is.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let dy = Tensor::<f32>::ones([4, 2, 3])?;
    /// assert_eq!(dy.sum_to_shape([3])?.to_vec(), [8.0; 3]);
    /// assert_eq!(dy.sum_to_shape([2, 1])?, Tensor::from([[12.0], [12.0]]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `shape` does not broadcast to this tensor's shape.
    pub fn sum_to_shape(&self, shape: impl Into<Shape>) -> Result<Tensor<T>> {
        let shape = shape.into();
        if shape == self.shape {
            return Ok(self.clone());
        }
        let misfit = || {
            Error::shape(
                "sum_to_shape",
                "the shape does not broadcast to the tensor's",
            )
            .with("tensor", &self.shape)
            .with("shape", &shape)
            .fix("sizes must be equal or 1, counted from the last axis")
        };
        let lead = self.rank().checked_sub(shape.rank()).ok_or_else(misfit)?;
        let mut axes: Vec<isize> = (0..lead as isize).collect();
        for (axis, &size) in shape.iter().enumerate() {
            match (size, self.shape[lead + axis]) {
                (wanted, size) if wanted == size => {}
                (1, _) => axes.push((lead + axis) as isize),
                _ => return Err(misfit()),
            }
        }
        self.sum_as("sum_to_shape", &Axes::from(&axes[..]))?
            .reshape(shape)
    }

    /// The product over `axes`; 1 of no elements. Integers wrap on overflow.
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([[1, 2, 3], [4, 5, 6]]).prod(1)?.to_vec(), [6, 120]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    pub fn prod(&self, axes: impl Into<Axes>) -> Result<Tensor<T>> {
        match T::DTYPE {
            DType::F32 | DType::F64 => {
                let fold = Plain::new(
                    1.0,
                    #[inline(always)]
                    |product: f64, x: T| product * x.to_f64(),
                    #[inline(always)]
                    |a: f64, b: f64| a * b,
                );
                reduce("prod", self, &axes.into(), fold, T::from_f64)
            }
            _ => {
                let fold = Plain::of_elements(
                    T::ONE,
                    #[inline(always)]
                    |a: T, b: T| a.times(b),
                );
                reduce("prod", self, &axes.into(), fold, |product| product)
            }
        }
    }

    /// The largest element over `axes`; NaN if there is one.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([[1.0, 7.0], [f64::NAN, 2.0]]);
    /// assert_eq!(x.max(1)?.get(&[0])?, 7.0);
    /// assert!(x.max(..)?.item()?.is_nan());
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice, or there are no elements to choose from.
    pub fn max(&self, axes: impl Into<Axes>) -> Result<Tensor<T>> {
        let fold = Plain::of_elements(
            T::LOWEST,
            #[inline(always)]
            |a: T, b: T| a.larger(b),
        );
        let axes = axes.into();
        self.check_choice("max", &axes)?;
        reduce("max", self, &axes, fold, |x| x)
    }

    /// The smallest element over `axes`; NaN if there is one.
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([[1, 7], [4, 2]]).min(0)?.to_vec(), [1, 2]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice, or there are no elements to choose from.
    pub fn min(&self, axes: impl Into<Axes>) -> Result<Tensor<T>> {
        let fold = Plain::of_elements(
            T::HIGHEST,
            #[inline(always)]
            |a: T, b: T| a.smaller(b),
        );
        let axes = axes.into();
        self.check_choice("min", &axes)?;
        reduce("min", self, &axes, fold, |x| x)
    }

    /// An error if results would be chosen from no elements.
    fn check_choice(&self, operation: &str, axes: &Axes) -> Result<()> {
        if self.is_empty() && !axes.reduced(operation, &self.shape)?.contains(&0) {
            return Err(no_elements(operation, &self.shape));
        }
        Ok(())
    }
}

/// What choosing an element from none reports.
#[cold]
pub(super) fn no_elements(operation: &str, shape: &Shape) -> Error {
    Error::shape(operation, "there are no elements to choose from")
        .with("shape", shape)
        .fix("reduce only over axes of a size above 0")
}

/// Statistics of floating-point numbers over any [`Axes`].
impl<T: Float> Tensor<T> {
    /// The mean `Σ x / n` over `axes`; NaN of no elements.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([[1.0, 2.0], [3.0, 6.0]]);
    /// assert_eq!(x.mean(..)?.item()?, 3.0);
    /// assert_eq!(x.mean(-1)?.to_vec(), [1.5, 4.5]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    pub fn mean(&self, axes: impl Into<Axes>) -> Result<Tensor<T>> {
        let axes = axes.into();
        let count = self.count_over("mean", &axes)?;
        reduce("mean", self, &axes, WideSum, move |sum| {
            T::constant(sum / count)
        })
    }

    /// The variance `Σ (x − mean)² / (n − correction)` over `axes`: of a whole population with
    /// correction 0, the unbiased estimate from a sample with correction 1. NaN if there are no
    /// more than `correction` elements.
    ///
    /// Stable for values that are large beside their spread.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([1e6 + 1.0, 1e6 + 2.0, 1e6 + 6.0]);
    /// assert_eq!(x.var(.., 0)?.item()?, 14.0 / 3.0);
    /// assert_eq!(x.var(.., 1)?.item()?, 7.0);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    pub fn var(&self, axes: impl Into<Axes>, correction: usize) -> Result<Tensor<T>> {
        self.spread("var", &axes.into(), correction, |variance| variance)
    }

    /// The standard deviation: the square root of [`Tensor::var`].
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([2.0, 4.0]).std(.., 0)?.item()?, 1.0);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    pub fn std(&self, axes: impl Into<Axes>, correction: usize) -> Result<Tensor<T>> {
        self.spread("std", &axes.into(), correction, f64::sqrt)
    }

    fn spread(
        &self,
        operation: &str,
        axes: &Axes,
        correction: usize,
        finish: impl Fn(f64) -> f64 + Copy + Send + Sync,
    ) -> Result<Tensor<T>> {
        let freedom = self.count_over(operation, axes)? - correction as f64;
        reduce(operation, self, axes, Moments::<T>::new(), move |moment| {
            T::constant(if freedom > 0.0 {
                finish(moment.squares / freedom)
            } else {
                f64::NAN
            })
        })
    }

    /// The number of elements that one result is made from.
    fn count_over(&self, operation: &str, axes: &Axes) -> Result<f64> {
        let mask = axes.mask(operation, &self.shape)?;
        let sizes = self.shape.iter().zip(&mask);
        Ok(sizes
            .filter(|&(_, &reduced)| reduced)
            .map(|(&size, _)| size as f64)
            .product())
    }

    /// `ln Σ eˣ` over `axes`, without overflow or underflow for any finite `x`: −∞ of no elements
    /// or of −∞ alone.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([[0.0, 0.0], [10_000.0, -10_000.0]]);
    /// assert_eq!(x.logsumexp(1)?.to_vec(), [2.0_f64.ln(), 10_000.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    pub fn logsumexp(&self, axes: impl Into<Axes>) -> Result<Tensor<T>> {
        reduce(
            "logsumexp",
            self,
            &axes.into(),
            ExpSum::<T>::new(),
            |state| state.log(),
        )
    }
}

/// Reductions of truth values over any [`Axes`].
impl Tensor<bool> {
    /// Whether any element over `axes` is true; `false` of no elements.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let mask = Tensor::from([[true, false], [false, false]]);
    /// assert_eq!(mask.any(1)?.to_vec(), [true, false]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    pub fn any(&self, axes: impl Into<Axes>) -> Result<Tensor<bool>> {
        let fold = Plain::of_elements(
            false,
            #[inline(always)]
            |a: bool, b: bool| a | b,
        );
        reduce("any", self, &axes.into(), fold, |any| any)
    }

    /// Whether all elements over `axes` are true; `true` of no elements.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let mask = Tensor::from([[true, true], [true, false]]);
    /// assert_eq!(mask.all(0)?.to_vec(), [true, false]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    pub fn all(&self, axes: impl Into<Axes>) -> Result<Tensor<bool>> {
        let fold = Plain::of_elements(
            true,
            #[inline(always)]
            |a: bool, b: bool| a & b,
        );
        reduce("all", self, &axes.into(), fold, |all| all)
    }

    /// How many elements over `axes` are true.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let predicted = Tensor::from([2_i64, 0, 1]);
    /// let correct = predicted.eq(&Tensor::from([2, 1, 1]))?;
    /// assert_eq!(correct.count(..)?.item()?, 2);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    pub fn count(&self, axes: impl Into<Axes>) -> Result<Tensor<i64>> {
        let fold = Plain::new(
            0_i64,
            #[inline(always)]
            |count, x: bool| count + x.to_i64(),
            #[inline(always)]
            |a: i64, b| a + b,
        );
        reduce("count", self, &axes.into(), fold, |count| count)
    }
}
