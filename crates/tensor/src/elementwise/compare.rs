//! Comparisons, logic on masks, and choosing by a mask.

use super::walk::{binary, ternary, unary};
use crate::element::{Element, Number};
use crate::error::Result;
use crate::tensor::Tensor;

/// Comparisons broadcast and follow IEEE 754: everything but `ne` is false for NaN.
impl<T: Element> Tensor<T> {
    /// Where `self == other`.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn eq(&self, other: &Tensor<T>) -> Result<Tensor<bool>> {
        binary("eq", self, other, |a, b| a == b)
    }

    /// Where `self != other`.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn ne(&self, other: &Tensor<T>) -> Result<Tensor<bool>> {
        binary("ne", self, other, |a, b| a != b)
    }

    /// Where `self < other`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([1.0, 2.0, f64::NAN]);
    /// assert_eq!(x.lt(&Tensor::scalar(2.0))?.to_vec(), [true, false, false]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn lt(&self, other: &Tensor<T>) -> Result<Tensor<bool>> {
        binary("lt", self, other, |a, b| a < b)
    }

    /// Where `self <= other`.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn le(&self, other: &Tensor<T>) -> Result<Tensor<bool>> {
        binary("le", self, other, |a, b| a <= b)
    }

    /// Where `self > other`.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn gt(&self, other: &Tensor<T>) -> Result<Tensor<bool>> {
        binary("gt", self, other, |a, b| a > b)
    }

    /// Where `self >= other`.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn ge(&self, other: &Tensor<T>) -> Result<Tensor<bool>> {
        binary("ge", self, other, |a, b| a >= b)
    }
}

impl<T: Number> Tensor<T> {
    /// Where the element is NaN; nowhere for integers.
    ///
    /// # Panics
    /// If memory for the mask cannot be allocated.
    #[must_use]
    #[track_caller]
    pub fn is_nan(&self) -> Tensor<bool> {
        unary("is_nan", self, T::is_nan).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Tensor<bool> {
    /// Where both are true.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn and(&self, other: &Tensor<bool>) -> Result<Tensor<bool>> {
        binary("and", self, other, |a, b| a & b)
    }

    /// Where either is true.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn or(&self, other: &Tensor<bool>) -> Result<Tensor<bool>> {
        binary("or", self, other, |a, b| a | b)
    }

    /// Where `self` is false.
    ///
    /// # Panics
    /// If memory for the mask cannot be allocated.
    #[must_use]
    #[track_caller]
    #[allow(clippy::should_implement_trait)] // also `!`; the name completes `and`, `or`
    pub fn not(&self) -> Tensor<bool> {
        unary("not", self, |a| !a).unwrap_or_else(|error| panic!("{error}"))
    }

    /// `on_true` where the mask is true, `on_false` elsewhere; all three broadcast (NumPy's
    /// `where(mask, on_true, on_false)`). What is not chosen leaves no trace, NaN included.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([1.0, -2.0, 3.0]);
    /// let mask = x.gt(&Tensor::scalar(0.0))?;
    /// assert_eq!(mask.choose(&x, &Tensor::scalar(0.0))?.to_vec(), [1.0, 0.0, 3.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    pub fn choose<T: Element>(
        &self,
        on_true: &Tensor<T>,
        on_false: &Tensor<T>,
    ) -> Result<Tensor<T>> {
        ternary(
            "choose",
            self,
            on_true,
            on_false,
            |mask, a, b| if mask { a } else { b },
        )
    }
}

impl std::ops::Not for &Tensor<bool> {
    type Output = Tensor<bool>;
    #[track_caller]
    fn not(self) -> Tensor<bool> {
        Tensor::not(self)
    }
}
