//! Ops without parameters as constants: a name and three functions.

use tensor::{Float, Result, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::op::Rule;
use crate::saves::Saves;
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

impl<T: Float> Rule<T> for Rule1<T> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn compute(&self, inputs: &[&Var<T>]) -> Result<Tensor<T>> {
        (self.forward)(inputs[0].value())
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

impl<T: Float> Rule<T> for Rule2<T> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn compute(&self, inputs: &[&Var<T>]) -> Result<Tensor<T>> {
        (self.forward)(inputs[0].value(), inputs[1].value())
    }
    fn saves(&self) -> Saves {
        self.saves
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        (self.vjp)(at, dy)
    }
}
