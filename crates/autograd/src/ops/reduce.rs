//! Reductions over axes.

use tensor::{Axes, Float, Result, Tensor, keepdims};

use crate::op::{Backward, InputGradients, Inputs, Op, Saves};
use crate::var::Var;

impl<T: Float> Var<T> {
    /// The sum over `axes` (`..` for all). Derivative: the gradient, broadcast back.
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    #[track_caller]
    pub fn sum(&self, axes: impl Into<Axes>) -> Result<Var<T>> {
        Sum { axes: axes.into() }.apply(&[self])
    }

    /// The mean over `axes` (`..` for all). Derivative: the gradient, broadcast back, divided by
    /// the number of elements that it is the mean of.
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    #[track_caller]
    pub fn mean(&self, axes: impl Into<Axes>) -> Result<Var<T>> {
        let sum = self.sum(axes)?;
        let count = self.shape().elements() as f64 / sum.shape().elements() as f64;
        Ok(sum / count)
    }
}

/// A sum over axes.
struct Sum {
    axes: Axes,
}

impl<T: Float> Op<T> for Sum {
    fn name(&self) -> &str {
        "sum"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.sum(self.axes.clone())
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let shape = at.input_shape(0)?;
            let kept = keepdims(self.axes.clone()).reduced("sum", &shape)?;
            dy.reshape(kept)?.broadcast_to(shape)
        })
    }
}
