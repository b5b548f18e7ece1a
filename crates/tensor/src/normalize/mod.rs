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
/// tensor for each step, and so do numbers so large that their variance overflows: they are divided
/// by a power of two first.
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
        if let Some(layout) = Layout::of("standardize", self, &axes, None)?
            && let Some(y) = values::normalized("standardize", self, &layout, epsilon, None)?
        {
            return Ok(y);
        }
        self.standardized_step_by_step(&axes, epsilon)
            .map_err(|error| error.in_operation("standardize"))
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
        if let Some(layout) = Layout::of(OPERATION, self, &axes, None)?
            && let Some([dx, _, _]) =
                gradient::gradients(OPERATION, self, gradient, &layout, epsilon, None)?
        {
            return Ok(dx);
        }
        self.standardize_gradient_step_by_step(gradient, &axes, epsilon)
            .map_err(|error| error.in_operation(OPERATION))
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
        let affine = Some([scale, shift]);
        if let Some(layout) = Layout::of(OPERATION, self, &axes, Some(scale))?
            && let Some(y) = values::normalized(OPERATION, self, &layout, epsilon, affine)?
        {
            return Ok(y);
        }
        self.standardized_step_by_step(&axes, epsilon)
            .and_then(|standardized| standardized.mul(scale)?.add(shift))
            .map_err(|error| error.in_operation(OPERATION))
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
        if let Some(layout) = Layout::of(OPERATION, self, &axes, Some(scale))?
            && let Some(gradients) =
                gradient::gradients(OPERATION, self, gradient, &layout, epsilon, Some(scale))?
        {
            return Ok(gradients);
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
        let [standardized, _] = self.standardized_and_factor(axes, epsilon)?;
        Ok(standardized)
    }

    fn standardize_gradient_step_by_step(
        &self,
        gradient: &Tensor<T>,
        axes: &Axes,
        epsilon: f64,
    ) -> Result<Tensor<T>> {
        let [y, factor] = self.standardized_and_factor(axes, epsilon)?;
        let axes = keepdims(axes.clone());
        let slope = gradient.mul(&y)?.mean(axes.clone())?;
        gradient
            .sub(&gradient.mean(axes)?)?
            .sub(&y.mul(&slope)?)?
            .mul(&factor)
    }

    /// The standardized values, and `1 / √(variance + epsilon)`.
    fn standardized_and_factor(&self, axes: &Axes, epsilon: f64) -> Result<[Tensor<T>; 2]> {
        let axes = keepdims(axes.clone());
        let (mut x, mut variance) = (self.clone(), self.var(axes.clone(), 0)?);
        let mut epsilon = Tensor::scalar(T::constant(epsilon));
        let mut scale = Tensor::scalar(T::ONE);
        if !x.is_empty() && !variance.iter().all(T::is_finite) {
            // The power of two rounds nothing, and the largest magnitude becomes 1 to 2.
            scale = x
                .abs()
                .max(axes.clone())?
                .map(|largest| match largest > T::ONE {
                    true if largest.is_finite() => {
                        T::constant(largest.to_f64().log2().floor().exp2())
                    }
                    _ => T::ONE,
                });
            x = x.div(&scale)?;
            epsilon = epsilon.div(&scale)?.div(&scale)?;
            variance = x.var(axes.clone(), 0)?;
        }
        let factor = variance.add(&epsilon)?.map(|square| T::ONE / square.sqrt());
        let standardized = x.sub(&x.mean(axes)?)?.mul(&factor)?;
        Ok([standardized, factor.div(&scale)?])
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
