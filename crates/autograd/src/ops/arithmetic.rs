//! Arithmetic of two values, broadcast, and of a value and a number.

use tensor::{Float, Result, Tensor};

use crate::op::{Backward, InputGradients, Inputs, Op, Saves};
use crate::ops::Rule2;
use crate::var::Var;

/// Broadcasting arithmetic. The gradient of an operand that was broadcast is summed back to its
/// shape.
impl<T: Float> Var<T> {
    /// `self + other`. Derivatives: 1 and 1.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn add(&self, other: &Var<T>) -> Result<Var<T>> {
        Rule2 {
            name: "add",
            forward: Tensor::add,
            saves: Saves::NOTHING,
            vjp: |at, dy| {
                at.gradients()
                    .of(0, || dy.sum_to(&at.input_shape(0)?))?
                    .of(1, || dy.sum_to(&at.input_shape(1)?))
            },
        }
        .apply(&[self, other])
    }

    /// `self − other`. Derivatives: 1 and −1.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn sub(&self, other: &Var<T>) -> Result<Var<T>> {
        Rule2 {
            name: "sub",
            forward: Tensor::sub,
            saves: Saves::NOTHING,
            vjp: |at, dy| {
                at.gradients()
                    .of(0, || dy.sum_to(&at.input_shape(0)?))?
                    .of(1, || dy.neg().sum_to(&at.input_shape(1)?))
            },
        }
        .apply(&[self, other])
    }

    /// `self · other`, element by element. Derivatives: `other` and `self`.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn mul(&self, other: &Var<T>) -> Result<Var<T>> {
        Rule2 {
            name: "mul",
            forward: Tensor::mul,
            saves: Saves::INPUTS,
            vjp: |at, dy| {
                let [a, b] = at.inputs()?;
                at.gradients()
                    .of(0, || dy.mul(&b)?.sum_to(a.shape()))?
                    .of(1, || dy.mul(&a)?.sum_to(b.shape()))
            },
        }
        .apply(&[self, other])
    }

    /// `self / other`. Derivatives: `1 / other` and `−self / other²`.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn div(&self, other: &Var<T>) -> Result<Var<T>> {
        Rule2 {
            name: "div",
            forward: Tensor::div,
            saves: Saves::INPUTS,
            vjp: |at, dy| {
                let [a, b] = at.inputs()?;
                at.gradients()
                    .of(0, || dy.div(&b)?.sum_to(a.shape()))?
                    .of(1, || dy.mul(&a)?.div(&b.square())?.neg().sum_to(b.shape()))
            },
        }
        .apply(&[self, other])
    }

    /// `self ^ other`. Derivatives: `other · self^(other − 1)`, 0 where `other` is 0; and
    /// `self^other · ln self`, 0 where `self` is 0 and `other` is not negative.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn pow(&self, other: &Var<T>) -> Result<Var<T>> {
        Rule2 {
            name: "pow",
            forward: Tensor::pow,
            saves: Saves::INPUTS,
            vjp: |at, dy| {
                let [a, b] = at.inputs()?;
                let zero = Tensor::scalar(T::ZERO);
                at.gradients()
                    .of(0, || {
                        let slope = b.mul(&a.pow(&(&b - 1.0))?)?;
                        let flat = b.value().eq(&zero)?;
                        dy.mul(&slope.masked_fill(&flat, T::ZERO)?)?
                            .sum_to(a.shape())
                    })?
                    .of(1, || {
                        let flat = a.value().eq(&zero)?.and(&b.value().ge(&zero)?)?;
                        // ln of 1 instead of 0 keeps NaN out of the branch that is masked.
                        let safe = a.masked_fill(&a.value().eq(&zero)?, T::ONE)?;
                        let at_zero = a.value().eq(&zero)?.and(&b.value().lt(&zero)?)?;
                        let log = safe.log().masked_fill(&at_zero, T::LOWEST)?;
                        let slope = a.pow(&b)?.mul(&log)?;
                        dy.mul(&slope.masked_fill(&flat, T::ZERO)?)?
                            .sum_to(b.shape())
                    })
            },
        }
        .apply(&[self, other])
    }

    /// The larger of both; NaN where either is NaN. Where both are equal, each gets half of the
    /// gradient.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn maximum(&self, other: &Var<T>) -> Result<Var<T>> {
        Rule2 {
            name: "maximum",
            forward: Tensor::maximum,
            saves: Saves::INPUTS,
            vjp: |at, dy| {
                let [a, b] = at.inputs()?;
                let (a, b) = (a.value(), b.value());
                at.gradients()
                    .of(0, || dy.mul(&share(a, b, Tensor::gt)?)?.sum_to(a.shape()))?
                    .of(1, || dy.mul(&share(b, a, Tensor::gt)?)?.sum_to(b.shape()))
            },
        }
        .apply(&[self, other])
    }

    /// The smaller of both; NaN where either is NaN. Where both are equal, each gets half of the
    /// gradient.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn minimum(&self, other: &Var<T>) -> Result<Var<T>> {
        Rule2 {
            name: "minimum",
            forward: Tensor::minimum,
            saves: Saves::INPUTS,
            vjp: |at, dy| {
                let [a, b] = at.inputs()?;
                let (a, b) = (a.value(), b.value());
                at.gradients()
                    .of(0, || dy.mul(&share(a, b, Tensor::lt)?)?.sum_to(a.shape()))?
                    .of(1, || dy.mul(&share(b, a, Tensor::lt)?)?.sum_to(b.shape()))
            },
        }
        .apply(&[self, other])
    }

    /// `self · factor` with one number for all elements. Derivative: `factor`.
    #[must_use]
    #[track_caller]
    pub fn scale(&self, factor: f64) -> Var<T> {
        crate::var::unwrap(Scale { factor }.apply(&[self]))
    }

    /// `self + term` with one number for all elements. Derivative: 1.
    #[must_use]
    #[track_caller]
    pub fn shift(&self, term: f64) -> Var<T> {
        crate::var::unwrap(Shift { term }.apply(&[self]))
    }

    /// `self ^ exponent` with one number for all elements. Derivative:
    /// `exponent · self^(exponent − 1)`, 0 for the exponent 0.
    #[must_use]
    #[track_caller]
    pub fn powf(&self, exponent: f64) -> Var<T> {
        crate::var::unwrap(PowerOf { exponent }.apply(&[self]))
    }
}

/// 1 where `wins(a, b)`, ½ where equal, 0 elsewhere: the share of the gradient that `a` gets.
fn share<T: Float>(
    a: &Tensor<T>,
    b: &Tensor<T>,
    wins: fn(&Tensor<T>, &Tensor<T>) -> Result<Tensor<bool>>,
) -> Result<Var<T>> {
    let tie = a.eq(b)?.cast::<T>() * T::constant(0.5);
    Ok(Var::constant(wins(a, b)?.cast::<T>() + tie))
}

/// `x · factor`.
struct Scale {
    factor: f64,
}

impl<T: Float> Op<T> for Scale {
    fn name(&self) -> &str {
        "scale"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        Ok(x * T::constant(self.factor))
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || Ok(dy.scale(self.factor)))
    }
}

/// `x + term`.
struct Shift {
    term: f64,
}

impl<T: Float> Op<T> for Shift {
    fn name(&self) -> &str {
        "shift"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        Ok(x + T::constant(self.term))
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || Ok(dy.clone()))
    }
}

/// `x ^ exponent`.
struct PowerOf {
    exponent: f64,
}

impl<T: Float> Op<T> for PowerOf {
    fn name(&self) -> &str {
        "powf"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        Ok(x.powf(T::constant(self.exponent)))
    }
    fn saves(&self) -> Saves {
        if self.exponent == 0.0 {
            Saves::NOTHING
        } else {
            Saves::INPUTS
        }
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            if self.exponent == 0.0 {
                return Ok(dy.scale(0.0));
            }
            let [x] = at.inputs()?;
            dy.mul(&x.powf(self.exponent - 1.0).scale(self.exponent))
        })
    }
}
