//! Operations that `autograd` does not have, added from a crate that depends on `autograd` alone.
//!
//! Three ways, from the shortest to the freest:
//! - [`log_cosh`] is an elementwise function: its value and its derivative, in two closures;
//! - [`SquaredDistances`] has two inputs and a shape of its own: it implements the trait [`Op`];
//! - [`round_straight_through`] and [`clipped_gradient`] leave values alone and change gradients.
//!
//! `cargo run -p new_op` prints what each does; `tests/gradients.rs` checks all of them. The
//! chapter `docs/new-op.md` explains them.
#![forbid(unsafe_code)]

use autograd::{
    Backward, Error, Float, InputGradients, Inputs, Op, Result, Saves, Tensor, Var,
    custom_gradient, elementwise, vjp,
};
use std::f64::consts::LN_2;

/// `ln cosh x`: a parabola near 0, a straight line far away, smooth everywhere; a loss that
/// outliers do not rule. Derivative: `tanh x`.
///
/// Computed as `|x| + ln(1 + e^(−2|x|)) − ln 2`, in which nothing overflows.
///
/// ```
/// use autograd::Var;
/// let y = new_op::log_cosh(&Var::from(1000.0))?; // cosh 1000 would be ∞
/// assert_eq!(y.item()?, 1000.0 - 2f64.ln());
/// # Ok::<(), autograd::Error>(())
/// ```
///
/// # Errors
/// As [`Op::apply`].
#[track_caller]
pub fn log_cosh<T: Float>(x: &Var<T>) -> Result<Var<T>> {
    elementwise(
        "log_cosh",
        |x: T| {
            let size = x.magnitude();
            size + (T::constant(-2.0) * size).exp().ln_1p() - T::constant(LN_2)
        },
        |x, _y| x.tanh(),
    )
    .apply(&[x])
}

/// `yᵢⱼ = Σₖ (aᵢₖ − bⱼₖ)²`: from every row of `a` `[n, d]` to every row of `b` `[m, d]`, the squared
/// distance `[n, m]`.
///
/// Composed of `expand_dims`, `sub`, `square` and `sum`, it would keep `n·m·d` differences for the
/// reverse pass. As one operation it keeps the two inputs, because the derivatives
/// `daᵢ = 2 Σⱼ dyᵢⱼ (aᵢ − bⱼ)` and `dbⱼ = 2 Σᵢ dyᵢⱼ (bⱼ − aᵢ)` are matrix products.
///
/// ```
/// use autograd::{Op, Tensor, Var};
/// let a = Var::from(Tensor::from([[0.0, 0.0], [3.0, 4.0]]));
/// let y = new_op::SquaredDistances.apply(&[&a, &a])?;
/// assert_eq!(y.value().to_vec(), [0.0, 25.0, 25.0, 0.0]);
/// # Ok::<(), autograd::Error>(())
/// ```
pub struct SquaredDistances;

impl<T: Float> Op<T> for SquaredDistances {
    fn name(&self) -> &str {
        "squared_distances"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [a, b] = inputs.exactly()?;
        if a.rank() != 2 || b.rank() != 2 || a.shape()[1] != b.shape()[1] {
            return Err(Error::shape("", "the points have different dimensions")
                .with("a", a.shape())
                .with("b", b.shape())
                .fix("pass matrices with one point a row"));
        }
        a.expand_dims(1)?.sub(b)?.square().sum(-1)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let [a, b] = at.inputs()?;
        let pull = |dy: Var<T>, from: &Var<T>, to: &Var<T>| {
            let weight = dy.sum(-1)?.expand_dims(-1)?;
            Ok(weight.mul(from)?.sub(&dy.matmul(to)?)?.scale(2.0))
        };
        at.gradients()
            .of(0, || pull(dy.clone(), &a, &b))?
            .of(1, || pull(dy.t(), &b, &a))
    }
}

/// `x` rounded to integers, with the gradient of `x ↦ x`: the straight-through estimator (Bengio,
/// Léonard and Courville, 2013), by which networks with quantised values are trained.
///
/// The true derivative of rounding is 0 wherever it exists, from which nothing can be learnt.
///
/// # Errors
/// As [`Op::apply`].
#[track_caller]
pub fn round_straight_through<T: Float>(x: &Var<T>) -> Result<Var<T>> {
    custom_gradient(
        "round_straight_through",
        |x| Ok(x[0].value().map(|x| T::constant(x.to_f64().round())).into()),
        |_x, _y, dy| Ok(vec![dy.clone()]),
        &[x],
    )
}

/// `f(x)`, with each element of the gradient that `f` hands to `x` cut to `−bound ..= bound`:
/// against single steps so large that they undo all learning before.
///
/// ```
/// use autograd::Tape;
/// let tape = Tape::new();
/// let x = tape.variable(5.0.into());
/// let y = new_op::clipped_gradient(|x| Ok(x.square().exp()), 1.0, &x)?;
/// assert_eq!(y.item()?, 25f64.exp());
/// assert_eq!(y.backward()?.of(&x)?.item()?, 1.0); // instead of 10 · e²⁵
/// # Ok::<(), autograd::Error>(())
/// ```
///
/// # Errors
/// Those of `f`; in the reverse pass also if `f` does not use its argument.
#[track_caller]
pub fn clipped_gradient<T: Float>(
    f: impl Fn(&Var<T>) -> Result<Var<T>> + Copy + 'static,
    bound: T,
    x: &Var<T>,
) -> Result<Var<T>> {
    custom_gradient(
        "clipped_gradient",
        move |x| f(&x[0]),
        move |x, _y, dy| {
            let (_, gradient) = vjp(f, &x[0], dy)?;
            Ok(vec![gradient.clamp(-bound, bound)?])
        },
        &[x],
    )
}
