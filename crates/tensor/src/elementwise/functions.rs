//! Elementwise functions with parameters, and those whose derivative has a kernel of its own.

use super::walk::{binary, unary};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::Tensor;

/// Functions with parameters, and those whose derivative has a kernel of its own.
impl<T: Float> Tensor<T> {
    /// The rectifier `max(x, 0)`; NaN stays NaN.
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([-1.0, 2.0]).relu().to_vec(), [0.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If memory for the result cannot be allocated.
    #[must_use]
    #[track_caller]
    pub fn relu(&self) -> Tensor<T> {
        // `x < 0` is false for NaN, so NaN passes through.
        self.try_map("relu", |x| if x < T::ZERO { T::ZERO } else { x })
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// `self ^ exponent` with one exponent for all elements.
    ///
    /// # Panics
    /// If memory for the result cannot be allocated.
    #[must_use]
    #[track_caller]
    pub fn powf(&self, exponent: T) -> Tensor<T> {
        self.try_map("powf", move |x| x.powf(exponent))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// `f` of each pair of elements, broadcast.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let (a, b) = (Tensor::from([1.0, 5.0]), Tensor::scalar(3.0));
    /// assert_eq!(a.zip_map(&b, |a: f64, b| (a - b).abs())?.to_vec(), [2.0, 2.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn zip_map(
        &self,
        other: &Tensor<T>,
        f: impl Fn(T, T) -> T + Copy + Sync + Send,
    ) -> Result<Tensor<T>> {
        binary("zip_map", self, other, f)
    }

    /// The derivative of order `order + 1` of `ln Γ`: the polygamma function.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let y = Tensor::from([1.0_f64]).polygamma(1)?;
    /// assert!((y[[0]] - std::f64::consts::PI.powi(2) / 6.0).abs() < 1e-15);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `order` is above 100, where values exceed every floating-point number.
    pub fn polygamma(&self, order: u32) -> Result<Tensor<T>> {
        if order > 100 {
            return Err(Error::value("polygamma", "the order is above 100").with("order", order));
        }
        unary("polygamma", self, move |x| x.polygamma(order))
    }

    /// `f` of each element.
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([1.0, 4.0]).map(|x: f64| x + 0.5).to_vec(), [1.5, 4.5]);
    /// ```
    ///
    /// # Panics
    /// If memory for the result cannot be allocated.
    #[must_use]
    #[track_caller]
    pub fn map(&self, f: impl Fn(T) -> T + Copy + Sync + Send) -> Tensor<T> {
        self.try_map("map", f)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`Tensor::map`], with an error of `operation` instead of a panic.
    ///
    /// # Errors
    /// If memory for the result cannot be allocated.
    pub fn try_map(
        &self,
        operation: &str,
        f: impl Fn(T) -> T + Copy + Sync + Send,
    ) -> Result<Tensor<T>> {
        unary(operation, self, f)
    }
}
