//! Named broadcasting arithmetic: every function returns a `Result` with both shapes.

use super::walk::{binary, unary};
use crate::element::Number;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::Tensor;

/// Broadcasting, as all functions of this file do; see [`Shape::broadcast`](crate::Shape::broadcast).
impl<T: Number> Tensor<T> {
    /// `self + other`, broadcast; integers wrap on overflow.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.add(&Tensor::from([10.0, 20.0]))?.to_vec(), [11.0, 22.0, 13.0, 24.0]);
    /// assert!(x.add(&Tensor::from([1.0, 2.0, 3.0])).is_err());
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn add(&self, other: &Tensor<T>) -> Result<Tensor<T>> {
        binary("add", self, other, T::plus)
    }

    /// `self − other`, broadcast; integers wrap on overflow.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn sub(&self, other: &Tensor<T>) -> Result<Tensor<T>> {
        binary("sub", self, other, T::minus)
    }

    /// `self · other` element by element, broadcast; integers wrap on overflow.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn mul(&self, other: &Tensor<T>) -> Result<Tensor<T>> {
        binary("mul", self, other, T::times)
    }

    /// `self / other`, broadcast; an integer divided by zero is 0.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn div(&self, other: &Tensor<T>) -> Result<Tensor<T>> {
        binary("div", self, other, T::over)
    }

    /// The remainder of `self / other` with the sign of `other` (Python's `%`), broadcast.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([-3.0, 5.0]);
    /// assert_eq!(x.rem(&Tensor::scalar(2.0))?.to_vec(), [1.0, 1.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn rem(&self, other: &Tensor<T>) -> Result<Tensor<T>> {
        binary("rem", self, other, T::modulo)
    }

    /// The larger of both, broadcast; NaN where either is NaN.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn maximum(&self, other: &Tensor<T>) -> Result<Tensor<T>> {
        binary("maximum", self, other, T::larger)
    }

    /// The smaller of both, broadcast; NaN where either is NaN.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn minimum(&self, other: &Tensor<T>) -> Result<Tensor<T>> {
        binary("minimum", self, other, T::smaller)
    }

    /// Each element limited to `low ..= high`; NaN stays NaN.
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([-2, 1, 9]).clamp(0, 5)?.to_vec(), [0, 1, 5]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `low > high` or either is NaN.
    pub fn clamp(&self, low: T, high: T) -> Result<Tensor<T>> {
        if low <= high {
            return unary("clamp", self, |x| {
                // Two choices, each an instruction without a branch; NaN stays.
                let x = if x < low { low } else { x };
                if x > high { high } else { x }
            });
        }
        Err(
            Error::value("clamp", "the lower bound is not below the upper one")
                .with("low", low)
                .with("high", high),
        )
    }
}

/// Functions of two floating-point tensors, broadcast.
impl<T: Float> Tensor<T> {
    /// `self ^ other`, broadcast, as IEEE 754's `pow`: `pow(x, 0) = 1` for every `x`, NaN included.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn pow(&self, other: &Tensor<T>) -> Result<Tensor<T>> {
        binary("pow", self, other, T::powf)
    }

    /// The angle of the point `(other, self)` in `−π ..= π`, broadcast.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn atan2(&self, other: &Tensor<T>) -> Result<Tensor<T>> {
        binary("atan2", self, other, T::atan2)
    }

    /// `√(self² + other²)` without overflow on the way, broadcast.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn hypot(&self, other: &Tensor<T>) -> Result<Tensor<T>> {
        binary("hypot", self, other, T::hypot)
    }
}
