//! Operations that move or repeat elements: broadcasting and its adjoint, reshape, permute, …

use tensor::{Float, Result, Shape, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op};
use crate::samples::OpEntry;
use crate::saves::Saves;
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
    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
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
    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
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
            .map_err(|error| error.in_operation("sum_to"))
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || dy.broadcast_to(at.input_shape(0)?))
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    vec![
        OpEntry::new(
            "broadcast_to",
            "`x` repeated by NumPy's rule",
            "`dy` summed over what was repeated",
        )
        .sample(&[&[3, 1]], |v| v[0].broadcast_to([2, 3, 4]))
        .sample(&[&[]], |v| v[0].broadcast_to([2, 0])),
        OpEntry::new(
            "sum_to",
            "`x` summed over broadcast axes",
            "`dy` broadcast back",
        )
        .sample(&[&[2, 3, 4]], |v| v[0].sum_to(&Shape::from([3, 1]))),
        OpEntry::new(
            "reshape",
            "the elements of `x` under another shape",
            "`dy` under the old shape",
        )
        .sample(&[&[2, 6]], |v| v[0].reshape([3, 4])),
    ]
}
