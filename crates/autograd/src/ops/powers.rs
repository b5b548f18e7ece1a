//! Powers, remainders and polygamma functions.

use tensor::{Float, Result, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, Rule};
use crate::ops::Rule2;
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::{Checked, Var, unwrap};

/// Broadcasting functions of two values.
impl<T: Float> Var<T> {
    /// `self ^ other`. Derivatives: `other · self^(other − 1)`, 0 where `other` is 0; and
    /// `self^other · ln self`, 0 where `self` is 0 and `other` is not negative.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn pow(&self, other: &Var<T>) -> Result<Var<T>> {
        const {
            &Rule2 {
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
        }
        .apply(&[self, other])
    }

    /// `self ^ exponent` with one number for all elements. Derivative:
    /// `exponent · self^(exponent − 1)`, 0 for the exponent 0.
    #[must_use]
    #[track_caller]
    pub fn powf(&self, exponent: f64) -> Var<T> {
        unwrap(self.checked().powf(exponent))
    }

    /// The remainder of `self / other` with the sign of `other` (Python's `%`). Derivatives: 1
    /// and `−⌊self / other⌋`.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn rem(&self, other: &Var<T>) -> Result<Var<T>> {
        const {
            &Rule2 {
                name: "rem",
                forward: Tensor::rem,
                saves: Saves::INPUTS,
                vjp: |at, dy| {
                    let [a, b]: [Var<T>; 2] = at.inputs()?;
                    at.gradients().of(0, || dy.sum_to(a.shape()))?.of(1, || {
                        let (a, b) = (a.value(), b.value());
                        // Exact where a rounded quotient would land beside an integer.
                        let whole = a
                            .sub(&a.rem(b)?)?
                            .div(b)?
                            .map(|q| T::constant(q.to_f64().round()));
                        dy.mul(&Var::constant(-whole))?.sum_to(b.shape())
                    })
                },
            }
        }
        .apply(&[self, other])
    }

    /// The derivative of order `order + 1` of `ln Γ`; see [`Tensor::polygamma`]. Derivative: the
    /// next order.
    ///
    /// # Errors
    /// If `order` is above 100.
    #[track_caller]
    pub fn polygamma(&self, order: u32) -> Result<Var<T>> {
        Polygamma { order }.apply(&[self])
    }
}

impl<T: Float> Checked<'_, T> {
    #[track_caller]
    pub(crate) fn powf(self, exponent: f64) -> Result<Var<T>> {
        PowerOf { exponent }.apply(&[self.0])
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
        let exponent = T::constant(self.exponent);
        x.try_map("powf", move |x| x.powf(exponent))
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
                return dy.checked().scale(0.0);
            }
            let [x] = at.inputs()?;
            let power = x.checked().powf(self.exponent - 1.0)?;
            dy.mul(&power.checked().scale(self.exponent)?)
        })
    }
}

/// `ψ⁽ⁿ⁾(x)`.
struct Polygamma {
    order: u32,
}

impl<T: Float> Op<T> for Polygamma {
    fn name(&self) -> &str {
        "polygamma"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.polygamma(self.order)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients()
            .of(0, || dy.mul(&at.input(0)?.polygamma(self.order + 1)?))
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    let mut pow = OpEntry::new("pow", "`aᵇ`", "`da = dy b a^(b−1)`, `db = dy aᵇ ln a`")
        .edges("`x⁰ = 1` for every `x`, with `da = 0`; at `a = 0 ≤ b`: `db = 0`");
    let mut rem = OpEntry::new(
        "rem",
        "`a − b ⌊a/b⌋`, with the sign of `b`",
        "`da = dy`, `db = −dy ⌊a/b⌋`",
    )
    .edges("jumps at multiples of `b`, where the derivative is that of the right side");
    let shapes: [[&[usize]; 2]; 4] = [
        [&[2, 3], &[2, 3]],
        [&[2, 3], &[3]],
        [&[1, 3], &[2, 1]],
        [&[0], &[1]],
    ];
    for pair in shapes {
        pow = pow.sample_on(0.4..2.3, &pair, |v| v[0].pow(&v[1]));
        // Quotients away from integers: 0.2 .. 0.8 beside 1.
        rem = rem.sample_on(0.2..0.8, &pair, |v| {
            v[0].shift(5.0).neg().rem(&v[1].scale(0.2).shift(2.6))
        });
    }
    vec![
        pow,
        OpEntry::new("powf", "`xᶜ` for a number `c`", "`dy c x^(c−1)`")
            .edges(
                "`x⁰ = 1` for every `x`, with gradient 0; `(−∞)^½ = ∞` by IEEE 754 \
                 (PyTorch: NaN)",
            )
            .sample_on(0.3..2.0, &[&[2, 3]], |v| Ok(v[0].powf(-1.3)))
            .sample(&[&[2, 3]], |v| Ok(v[0].powf(3.0)))
            .sample(&[&[2, 3]], |v| Ok(v[0].powf(0.0))),
        rem,
        OpEntry::new(
            "polygamma",
            "`ψ⁽ⁿ⁾(x)`, the derivative of order `n + 1` of `ln Γ`",
            "`dy ψ⁽ⁿ⁺¹⁾(x)`",
        )
        .edges("poles at 0 and the negative integers")
        .sample_on(0.6..4.0, &[&[2, 3]], |v| v[0].polygamma(1)),
    ]
}
