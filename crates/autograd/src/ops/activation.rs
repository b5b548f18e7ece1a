//! Activations with a derivative kernel or a parameter; the others are in the catalogue of
//! elementwise functions.

use tensor::{Float, Result, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, Rule};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::{Checked, Var, unwrap};

impl<T: Float> Var<T> {
    /// The rectifier `max(x, 0)`; NaN stays NaN. Derivative: 1 above 0, 0 at 0 and below. Saves
    /// its output alone.
    #[must_use]
    #[track_caller]
    pub fn relu(&self) -> Var<T> {
        unwrap(self.checked().relu())
    }

    /// `x` above 0, `slope · x` below. Derivative: 1 above 0, `slope` at 0 and below.
    #[must_use]
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Var<T> {
        unwrap(LeakyRelu { slope }.apply(&[self]))
    }

    /// The exponential linear unit: `x` above 0, `alpha · (eˣ − 1)` below (Clevert et al., 2015).
    /// Derivative: 1 above 0, `alpha · eˣ` at 0 and below; so at 0, derivatives of every order are
    /// `alpha`.
    #[must_use]
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Var<T> {
        unwrap(Elu { alpha }.apply(&[self]))
    }
}

impl<T: Float> Checked<'_, T> {
    #[track_caller]
    pub(crate) fn relu(self) -> Result<Var<T>> {
        const { &Relu }.apply(&[self.0])
    }
}

struct Relu;

impl<T: Float> Rule<T> for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }
    fn compute(&self, inputs: &[&Var<T>]) -> Result<Tensor<T>> {
        let x = inputs[0].value();
        // `x < 0` is false for NaN, so NaN passes through.
        x.try_map("relu", |x| if x < T::ZERO { T::ZERO } else { x })
    }
    fn saves(&self) -> Saves {
        Saves::OUTPUT
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || relu_gradient(at, dy))
    }
    fn gates_gradient(&self) -> bool {
        true
    }
}

/// `dy` where the rectifier's output, which the operation saves, is positive or NaN.
pub(crate) fn relu_gradient<T: Float>(at: &Backward<'_, T>, dy: &Var<T>) -> Result<Var<T>> {
    if at.is_gated() {
        return Ok(dy.clone());
    }
    gated(at.output()?.value(), dy)
}

/// 0 where the rectifier's output `y` is 0, else `dy`, also for NaN. A step has derivative 0, so `y` is a
/// constant here.
pub(crate) fn gated<T: Float>(y: &Tensor<T>, dy: &Var<T>) -> Result<Var<T>> {
    ReluGradient { y: y.clone() }.apply(&[dy])
}

struct ReluGradient<T: Float> {
    y: Tensor<T>,
}

impl<T: Float> Op<T> for ReluGradient<T> {
    fn name(&self) -> &str {
        "relu_gradient"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [dy] = inputs.exactly()?;
        self.y
            .zip_map(dy, |y, dy| if y <= T::ZERO { T::ZERO } else { dy })
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn extra_bytes(&self) -> usize {
        size_of_val(&T::ZERO) * self.y.len()
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || gated(&self.y, dy))
    }
}

struct LeakyRelu {
    slope: f64,
}

impl<T: Float> Op<T> for LeakyRelu {
    fn name(&self) -> &str {
        "leaky_relu"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        let slope = T::constant(self.slope);
        x.try_map(
            "leaky_relu",
            move |x| if x > T::ZERO { x } else { slope * x },
        )
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let slope = T::constant(self.slope);
        at.gradients().of(0, || {
            let x = at.input(0)?;
            let steps =
                x.value().try_map(
                    "leaky_relu",
                    move |x| if x > T::ZERO { T::ONE } else { slope },
                )?;
            dy.mul(&Var::constant(steps))
        })
    }
}

struct Elu {
    alpha: f64,
}

impl<T: Float> Op<T> for Elu {
    fn name(&self) -> &str {
        "elu"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        let alpha = T::constant(self.alpha);
        x.try_map(
            "elu",
            move |x| if x > T::ZERO { x } else { alpha * x.exp_m1() },
        )
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let x = at.input(0)?;
            // Also true for NaN, whose gradient then is `dy`.
            let positive = x.value().le(&Tensor::scalar(T::ZERO))?.not();
            // e⁰ instead of eˣ above 0: an overflow there would turn its gradient of 0 into NaN.
            let below = x.masked_fill(&positive, T::ZERO)?.exp() * self.alpha;
            dy.mul(&below.masked_fill(&positive, T::ONE)?)
        })
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    vec![
        OpEntry::new("relu", "`max(x, 0)`", "`dy` where `y > 0`, else 0")
            .edges("at 0: 0; NaN stays NaN, with gradient `dy`")
            .sample(&[&[3, 4]], |v| Ok(v[0].relu())),
        OpEntry::new(
            "leaky_relu",
            "`x` above 0, `slope · x` below",
            "`dy` above 0, else `slope · dy`",
        )
        .edges("at 0: `slope`")
        .sample(&[&[3, 4]], |v| Ok(v[0].leaky_relu(0.2))),
        OpEntry::new(
            "elu",
            "`x` above 0, `α (eˣ − 1)` below",
            "`dy` above 0, else `α eˣ dy`",
        )
        .edges("at 0: `α`, derivatives of every order")
        .sample(&[&[3, 4]], |v| Ok(v[0].elu(0.7))),
    ]
}
