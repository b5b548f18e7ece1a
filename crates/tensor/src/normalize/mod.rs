//! Normalisation to a mean of 0 and a variance of 1, with a scale and a shift, and its gradient.

mod gradient;
mod layout;
mod values;

#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::float::Float;
use crate::shape::{Axes, keepdims};
use crate::tensor::Tensor;

use layout::Layout;

/// Normalisation over any [`Axes`].
///
/// Layouts whose numbers are read where they lie are computed in two passes over memory, their
/// gradients in two: the last axis (layer normalisation), all but the last (batch normalisation),
/// all but the first and groups of the last (group normalisation). Others take an operation of a
/// tensor for each step.
impl<T: Float> Tensor<T> {
    /// `(x − mean) / √(variance + epsilon)` over `axes`, with the variance of a whole population.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([[1.0, 3.0], [10.0, 30.0]]);
    /// assert_eq!(x.standardize(-1, 0.0)?.to_vec(), [-1.0, 1.0, -1.0, 1.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    pub fn standardize(&self, axes: impl Into<Axes>, epsilon: f64) -> Result<Tensor<T>> {
        let axes = axes.into();
        match Layout::of("standardize", self, &axes, None)? {
            Some(layout) => values::normalized("standardize", self, &layout, epsilon, None),
            None => self
                .standardized_step_by_step(&axes, epsilon)
                .map_err(|error| error.in_operation("standardize")),
        }
    }

    /// The gradient of [`Tensor::standardize`] with respect to its input `self`, where `gradient` is
    /// that of its output `y`: `(dy − mean(dy) − y · mean(dy · y)) / √(variance + epsilon)`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([1.0, 2.0, 3.0]);
    /// // A shift of all values does not change the result.
    /// let dx = x.standardize_gradient(&Tensor::ones([3])?, .., 0.0)?;
    /// assert_eq!(dx.to_vec(), [0.0; 3]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `gradient` has another shape, or an axis does not exist or is named twice.
    pub fn standardize_gradient(
        &self,
        gradient: &Tensor<T>,
        axes: impl Into<Axes>,
        epsilon: f64,
    ) -> Result<Tensor<T>> {
        const OPERATION: &str = "standardize_gradient";
        let axes = axes.into();
        self.same_shape(OPERATION, gradient)?;
        match Layout::of(OPERATION, self, &axes, None)? {
            Some(layout) => {
                let [dx, _, _] =
                    gradient::gradients(OPERATION, self, gradient, &layout, epsilon, None)?;
                Ok(dx)
            }
            None => self
                .standardize_gradient_step_by_step(gradient, &axes, epsilon)
                .map_err(|error| error.in_operation(OPERATION)),
        }
    }

    /// `standardize(x) · scale + shift`, both of the shape of the last axes of `x`, in one pass:
    /// batch, layer and group normalisation.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([[1.0, 30.0], [3.0, 10.0]]);
    /// let (scale, shift) = (Tensor::from([1.0, 2.0]), Tensor::from([0.0, 5.0]));
    /// assert_eq!(x.normalize(0, 0.0, &scale, &shift)?.to_vec(), [-1.0, 7.0, 1.0, 3.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an axis does not exist or is named twice, or `scale` or `shift` have another shape than the
    /// last axes of `self`.
    pub fn normalize(
        &self,
        axes: impl Into<Axes>,
        epsilon: f64,
        scale: &Tensor<T>,
        shift: &Tensor<T>,
    ) -> Result<Tensor<T>> {
        const OPERATION: &str = "normalize";
        let axes = axes.into();
        self.ends_like(OPERATION, "scale", scale)?;
        scale.same_shape(OPERATION, shift)?;
        match Layout::of(OPERATION, self, &axes, Some(scale))? {
            Some(layout) => {
                values::normalized(OPERATION, self, &layout, epsilon, Some([scale, shift]))
            }
            None => self
                .standardized_step_by_step(&axes, epsilon)
                .and_then(|standardized| standardized.mul(scale)?.add(shift))
                .map_err(|error| error.in_operation(OPERATION)),
        }
    }

    /// The gradients of [`Tensor::normalize`] with respect to its input `self`, its scale and its
    /// shift, where `gradient` is that of its output: [`Tensor::standardize_gradient`] of
    /// `dy · scale`, `Σ dy · standardize(x)` and `Σ dy`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let (x, dy) = (Tensor::from([[1.0], [3.0]]), Tensor::from([[1.0], [2.0]]));
    /// let [_, dscale, dshift] = x.normalize_gradients(&dy, 0, 0.0, &Tensor::ones([1])?)?;
    /// assert_eq!([dscale.item()?, dshift.item()?], [1.0, 3.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `gradient` has another shape, an axis does not exist or is named twice, or `scale` has
    /// another shape than the last axes of `self`.
    pub fn normalize_gradients(
        &self,
        gradient: &Tensor<T>,
        axes: impl Into<Axes>,
        epsilon: f64,
        scale: &Tensor<T>,
    ) -> Result<[Tensor<T>; 3]> {
        const OPERATION: &str = "normalize_gradients";
        let axes = axes.into();
        self.same_shape(OPERATION, gradient)?;
        self.ends_like(OPERATION, "scale", scale)?;
        if let Some(layout) = Layout::of(OPERATION, self, &axes, Some(scale))? {
            return gradient::gradients(OPERATION, self, gradient, &layout, epsilon, Some(scale));
        }
        self.normalize_gradients_step_by_step(gradient, &axes, epsilon, scale)
            .map_err(|error| error.in_operation(OPERATION))
    }

    fn normalize_gradients_step_by_step(
        &self,
        gradient: &Tensor<T>,
        axes: &Axes,
        epsilon: f64,
        scale: &Tensor<T>,
    ) -> Result<[Tensor<T>; 3]> {
        let scaled = gradient.mul(scale)?;
        let standardized = self.standardized_step_by_step(axes, epsilon)?;
        Ok([
            self.standardize_gradient_step_by_step(&scaled, axes, epsilon)?,
            gradient
                .mul(&standardized)?
                .sum_to_shape(scale.shape.clone())?,
            gradient.sum_to_shape(scale.shape.clone())?,
        ])
    }

    fn standardized_step_by_step(&self, axes: &Axes, epsilon: f64) -> Result<Tensor<T>> {
        let axes = keepdims(axes.clone());
        let deviations = self.sub(&self.mean(axes.clone())?)?;
        deviations.mul(&self.inverse_deviation(axes, epsilon)?)
    }

    fn standardize_gradient_step_by_step(
        &self,
        gradient: &Tensor<T>,
        axes: &Axes,
        epsilon: f64,
    ) -> Result<Tensor<T>> {
        let y = self.standardized_step_by_step(axes, epsilon)?;
        let axes = keepdims(axes.clone());
        let slope = gradient.mul(&y)?.mean(axes.clone())?;
        gradient
            .sub(&gradient.mean(axes.clone())?)?
            .sub(&y.mul(&slope)?)?
            .mul(&self.inverse_deviation(axes, epsilon)?)
    }

    /// `1 / √(variance + epsilon)`.
    fn inverse_deviation(&self, axes: Axes, epsilon: f64) -> Result<Tensor<T>> {
        let epsilon = T::constant(epsilon);
        let variance = self.var(axes, 0)?;
        variance.try_map("standardize", move |variance| {
            T::ONE / (variance + epsilon).sqrt()
        })
    }

    fn same_shape(&self, operation: &str, other: &Tensor<T>) -> Result<()> {
        match self.shape == other.shape {
            true => Ok(()),
            false => Err(Error::shape(operation, "two shapes have to be the same")
                .with("one", &self.shape)
                .with("other", &other.shape)),
        }
    }

    fn ends_like(&self, operation: &str, name: &str, other: &Tensor<T>) -> Result<()> {
        match self.shape.ends_with(&other.shape) {
            true => Ok(()),
            false => Err(Error::shape(
                operation,
                format!("the {name} must have the shape of the last axes"),
            )
            .with("input", &self.shape)
            .with(name, &other.shape)),
        }
    }
}
