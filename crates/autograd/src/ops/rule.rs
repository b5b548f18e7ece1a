//! Ops without parameters as plain data: a name and three functions.

use tensor::{Float, Result, Tensor};

use crate::op::{Backward, InputGradients, Inputs, Op, Saves};
use crate::var::Var;

/// A vector–Jacobian product as a function pointer.
type Vjp<T> = fn(&Backward<'_, T>, &Var<T>) -> Result<InputGradients<T>>;

/// An op of one input.
pub(crate) struct Rule1<T: Float> {
    pub(crate) name: &'static str,
    pub(crate) forward: fn(&Tensor<T>) -> Result<Tensor<T>>,
    pub(crate) saves: Saves,
    pub(crate) vjp: Vjp<T>,
}

impl<T: Float> Op<T> for Rule1<T> {
    fn name(&self) -> &str {
        self.name
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        (self.forward)(x)
    }
    fn saves(&self) -> Saves {
        self.saves
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        (self.vjp)(at, dy)
    }
}

/// An op of two inputs.
pub(crate) struct Rule2<T: Float> {
    pub(crate) name: &'static str,
    pub(crate) forward: fn(&Tensor<T>, &Tensor<T>) -> Result<Tensor<T>>,
    pub(crate) saves: Saves,
    pub(crate) vjp: Vjp<T>,
}

impl<T: Float> Op<T> for Rule2<T> {
    fn name(&self) -> &str {
        self.name
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [a, b] = inputs.exactly()?;
        (self.forward)(a, b)
    }
    fn saves(&self) -> Saves {
        self.saves
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        (self.vjp)(at, dy)
    }
}
