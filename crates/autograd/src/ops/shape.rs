//! Operations that move or repeat elements: broadcasting and its adjoint, reshape, permute, …

use tensor::{Float, Result, Shape, Tensor};

use crate::op::{Backward, InputGradients, Inputs, Op, Saves};
use crate::var::Var;

impl<T: Float> Var<T> {
    /// The value repeated to `shape` by NumPy's broadcasting rule. Derivative: the gradient summed
    /// over what was repeated, [`Var::sum_to`].
    ///
    /// # Errors
    /// If the shape does not broadcast to `shape`.
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl Into<Shape>) -> Result<Var<T>> {
        let shape = shape.into();
        if shape == *self.shape() {
            return Ok(self.clone());
        }
        BroadcastTo { shape }.apply(&[self])
    }

    /// The value summed over broadcast axes to `shape`: what undoes [`Var::broadcast_to`] in
    /// every derivative. Derivative: the gradient broadcast back.
    ///
    /// # Errors
    /// If `shape` does not broadcast to the value's shape.
    #[track_caller]
    pub fn sum_to(&self, shape: &Shape) -> Result<Var<T>> {
        if shape == self.shape() {
            return Ok(self.clone());
        }
        SumTo {
            shape: shape.clone(),
        }
        .apply(&[self])
    }

    /// The same elements under another shape. Derivative: the gradient under the old shape.
    ///
    /// # Errors
    /// If the number of elements differs.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Var<T>> {
        let shape = shape.into();
        if shape == *self.shape() {
            return Ok(self.clone());
        }
        Reshape { shape }.apply(&[self])
    }

    /// The value with `fill` where the mask is true. Derivative: the gradient where it is false.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor<bool>, fill: T) -> Result<Var<T>> {
        MaskedFill {
            mask: mask.clone(),
            fill,
        }
        .apply(&[self])
    }
}

/// Repeats to `shape`.
struct BroadcastTo {
    shape: Shape,
}

impl<T: Float> Op<T> for BroadcastTo {
    fn name(&self) -> &str {
        "broadcast_to"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.broadcast_to(&self.shape)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || dy.sum_to(&at.input_shape(0)?))
    }
}

/// Shows the elements under `shape`.
struct Reshape {
    shape: Shape,
}

impl<T: Float> Op<T> for Reshape {
    fn name(&self) -> &str {
        "reshape"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.reshape(&self.shape)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || dy.reshape(at.input_shape(0)?))
    }
}

/// Sums to `shape`.
struct SumTo {
    shape: Shape,
}

impl<T: Float> Op<T> for SumTo {
    fn name(&self) -> &str {
        "sum_to"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.sum_to_shape(&self.shape)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || dy.broadcast_to(at.input_shape(0)?))
    }
}

/// Overwrites where `mask` is true.
struct MaskedFill<T: Float> {
    mask: Tensor<bool>,
    fill: T,
}

impl<T: Float> Op<T> for MaskedFill<T> {
    fn name(&self) -> &str {
        "masked_fill"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        self.mask.choose(&Tensor::scalar(self.fill), x)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            dy.masked_fill(&self.mask, T::ZERO)?
                .sum_to(&at.input_shape(0)?)
        })
    }
}
