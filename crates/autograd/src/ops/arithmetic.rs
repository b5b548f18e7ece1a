//! Arithmetic of two values, broadcast, and of a value and a number.

use tensor::{Float, Result, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, Rule};
use crate::ops::Rule2;
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::{Checked, Var, unwrap};

/// Broadcasting arithmetic. The gradient of an operand that was broadcast is summed back to its
/// shape.
impl<T: Float> Var<T> {
    /// `self + other`. Derivatives: 1 and 1.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn add(&self, other: &Var<T>) -> Result<Var<T>> {
        const {
            &Rule2 {
                name: "add",
                forward: Tensor::add,
                saves: Saves::NOTHING,
                vjp: |at, dy| {
                    at.gradients()
                        .of(0, || at.unbroadcast(0, dy.clone()))?
                        .of(1, || at.unbroadcast(1, dy.clone()))
                },
            }
        }
        .apply(&[self, other])
    }

    /// `self − other`. Derivatives: 1 and −1.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn sub(&self, other: &Var<T>) -> Result<Var<T>> {
        const {
            &Rule2 {
                name: "sub",
                forward: Tensor::sub,
                saves: Saves::NOTHING,
                vjp: |at, dy| {
                    at.gradients()
                        .of(0, || at.unbroadcast(0, dy.clone()))?
                        .of(1, || at.unbroadcast(1, dy.checked().neg()?))
                },
            }
        }
        .apply(&[self, other])
    }

    /// `self · other`, element by element. Derivatives: `other` and `self`.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn mul(&self, other: &Var<T>) -> Result<Var<T>> {
        const {
            &Rule2 {
                name: "mul",
                forward: Tensor::mul,
                saves: Saves::INPUTS.for_others(),
                vjp: |at, dy| {
                    at.gradients()
                        .of(0, || at.unbroadcast(0, dy.mul(&at.input(1)?)?))?
                        .of(1, || at.unbroadcast(1, dy.mul(&at.input(0)?)?))
                },
            }
        }
        .apply(&[self, other])
    }

    /// `self / other`. Derivatives: `1 / other` and `−self / other²`.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn div(&self, other: &Var<T>) -> Result<Var<T>> {
        const {
            &Rule2 {
                name: "div",
                forward: Tensor::div,
                saves: Saves::input(0).for_others().and(Saves::input(1)),
                vjp: |at, dy| {
                    let b = at.input(1)?;
                    at.gradients()
                        .of(0, || at.unbroadcast(0, dy.div(&b)?))?
                        .of(1, || {
                            // Not a / b², whose square leaves the range long before the quotient.
                            let quotient = at.input(0)?.div(&b)?;
                            at.unbroadcast(1, dy.mul(&quotient)?.div(&b)?.neg())
                        })
                },
            }
        }
        .apply(&[self, other])
    }

    /// `self · factor` with one number for all elements. Derivative: `factor`.
    #[must_use]
    #[track_caller]
    pub fn scale(&self, factor: f64) -> Var<T> {
        unwrap(self.checked().scale(factor))
    }

    /// `self + term` with one number for all elements. Derivative: 1.
    #[must_use]
    #[track_caller]
    pub fn shift(&self, term: f64) -> Var<T> {
        unwrap(self.checked().shift(term))
    }
}

impl<T: Float> Checked<'_, T> {
    #[track_caller]
    pub(crate) fn scale(self, factor: f64) -> Result<Var<T>> {
        Scale { factor }.apply(&[self.0])
    }

    #[track_caller]
    pub(crate) fn shift(self, term: f64) -> Result<Var<T>> {
        Shift { term }.apply(&[self.0])
    }
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
        let factor = T::constant(self.factor);
        x.try_map("scale", move |x| x * factor)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || dy.checked().scale(self.factor))
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
        let term = T::constant(self.term);
        x.try_map("shift", move |x| x + term)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || Ok(dy.clone()))
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    let shapes: [[&[usize]; 2]; 5] = [
        [&[2, 3], &[2, 3]],
        [&[2, 3], &[3]],
        [&[3], &[2, 3]],
        [&[2, 1], &[1, 3]],
        [&[], &[0, 2]],
    ];
    type Binary = fn(&Var<f64>, &Var<f64>) -> Result<Var<f64>>;
    let mut binary = Vec::new();
    let mut add = |entry: OpEntry, range: std::ops::Range<f64>, f: Binary| {
        let entry = shapes.iter().fold(entry, |entry, pair| {
            entry.sample_on(range.clone(), pair, move |v| f(&v[0], &v[1]))
        });
        binary.push(entry);
    };
    let all = -2.0..2.0;
    add(
        OpEntry::new("add", "`a + b`", "`da = dy`, `db = dy`"),
        all.clone(),
        Var::add,
    );
    add(
        OpEntry::new("sub", "`a − b`", "`da = dy`, `db = −dy`"),
        all.clone(),
        Var::sub,
    );
    add(
        OpEntry::new("mul", "`a · b`", "`da = dy b`, `db = dy a`"),
        all.clone(),
        Var::mul,
    );
    add(
        OpEntry::new("div", "`a / b`", "`da = dy / b`, `db = −dy a / b²`"),
        0.4..2.0,
        Var::div,
    );
    binary.extend([
        OpEntry::new("scale", "`x · c` for a number `c`", "`dy c`")
            .sample(&[&[2, 3]], |v| Ok(v[0].scale(-1.7))),
        OpEntry::new("shift", "`x + c` for a number `c`", "`dy`")
            .sample(&[&[2, 3]], |v| Ok(v[0].shift(-1.7))),
    ]);
    binary
}
