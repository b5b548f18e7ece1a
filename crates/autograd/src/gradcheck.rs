//! Finite-difference checks of gradients, first and second order.
//!
//! The analytic side is the directional derivative `⟨v, vjp(u)⟩` for random `u` and `v`; the
//! numeric side differentiates `t ↦ ⟨u, f(x + t·v)⟩` at 0 by the five-point stencil
//! `(8(f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h`, whose error is of order `h⁴`. One pair of
//! directions sees every element of every input with probability 1; on failure, the elements are
//! gone through one by one to name the worst.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tensor::{Error, Result, Tensor};

use crate::tape::Tape;
use crate::var::{Var, gradient_error};

/// Checks the first-order gradients of `f` at `inputs` with the default settings.
///
/// ```
/// use autograd::gradcheck;
/// use tensor::Tensor;
/// gradcheck(|x| x[0].sin().mul(&x[1]), &[Tensor::from([0.3, 1.0]), Tensor::scalar(2.0)])?;
/// # Ok::<(), autograd::Error>(())
/// ```
///
/// # Errors
/// If a gradient differs from the finite difference (naming input, element and both values), is
/// NaN, or `f` gives two different results for the same inputs; and whatever `f` reports.
pub fn gradcheck(
    f: impl Fn(&[Var<f64>]) -> Result<Var<f64>>,
    inputs: &[Tensor<f64>],
) -> Result<()> {
    GradCheck::default().run(f, inputs)
}

/// Checks the second-order gradients of `f` at `inputs`: those of its vector–Jacobian product
/// with respect to the inputs and the vector.
///
/// # Errors
/// As [`gradcheck`].
pub fn gradgradcheck(
    f: impl Fn(&[Var<f64>]) -> Result<Var<f64>>,
    inputs: &[Tensor<f64>],
) -> Result<()> {
    GradCheck::default().run_second_order(f, inputs)
}

/// Asserts that the gradients of `f` at `inputs` are right, first and second order: [`gradcheck`]
/// and [`gradgradcheck`] for tests.
///
/// ```
/// use autograd::{Tensor, Var, assert_gradients};
///
/// let f = |x: &[Var<f64>]| x[0].sin().mul(&x[1]);
/// assert_gradients(f, &[Tensor::from([0.3, 1.0]), Tensor::scalar(2.0)]);
/// ```
///
/// A gradient that is right itself, but cannot be differentiated further, does not pass:
///
/// ```should_panic
/// use autograd::{Tensor, Var, assert_gradients, custom_gradient};
///
/// let square = |x: &[Var<f64>]| {
///     custom_gradient(
///         "square",
///         |x| Ok(x[0].square()),
///         |x, _y, dy| Ok(vec![dy * x[0].detach() * 2.0]), // `detach` cuts the second order off
///         &[&x[0]],
///     )
/// };
/// assert_gradients(square, &[Tensor::from([0.3, 1.0])]);
/// ```
///
/// # Panics
/// At the caller's line with the report of the check that failed.
#[track_caller]
pub fn assert_gradients(f: impl Fn(&[Var<f64>]) -> Result<Var<f64>>, inputs: &[Tensor<f64>]) {
    // Not `unwrap`, whose text would be the error's `Debug` form.
    if let Err(report) = gradcheck(&f, inputs) {
        panic!("first-order gradients: {report}");
    }
    if let Err(report) = gradgradcheck(&f, inputs) {
        panic!("second-order gradients: {report}");
    }
}

/// Settings of a gradient check.
///
/// A check passes if `|analytic − numeric| ≤ absolute + relative · max(|analytic|, |numeric|)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradCheck {
    seed: u64,
    directions: usize,
    step: f64,
    relative: f64,
    absolute: f64,
    full_jacobian: bool,
}

impl Default for GradCheck {
    /// Seed 0, three directions, step 10⁻³, tolerances 10⁻⁷ relative and 10⁻⁸ absolute.
    fn default() -> Self {
        GradCheck {
            seed: 0,
            directions: 3,
            step: 1e-3,
            relative: 1e-7,
            absolute: 1e-8,
            full_jacobian: false,
        }
    }
}

impl GradCheck {
    /// The default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// The seed of the random directions; failures print it.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        GradCheck { seed, ..self }
    }

    /// The step `h` of the finite difference.
    #[must_use]
    pub fn step(self, step: f64) -> Self {
        GradCheck { step, ..self }
    }

    /// The tolerances.
    #[must_use]
    pub fn tolerance(self, relative: f64, absolute: f64) -> Self {
        GradCheck {
            relative,
            absolute,
            ..self
        }
    }

    /// Checks every element of every input instead of random directions: as many runs of `f` as
    /// there are elements, and exact about the place.
    #[must_use]
    pub fn full_jacobian(self) -> Self {
        GradCheck {
            full_jacobian: true,
            ..self
        }
    }

    /// Runs the first-order check.
    ///
    /// # Errors
    /// As [`gradcheck`].
    pub fn run(
        &self,
        f: impl Fn(&[Var<f64>]) -> Result<Var<f64>>,
        inputs: &[Tensor<f64>],
    ) -> Result<()> {
        let check = Check {
            settings: *self,
            f: &f,
            inputs,
        };
        check.repeatable()?;
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let output = evaluate(&f, inputs)?;
        for _ in 0..self.directions {
            let cotangent = random_like(&output, &mut random)?;
            let gradients = check.analytic(&cotangent)?;
            if self.full_jacobian {
                check.every_element(&cotangent, &gradients)?;
                continue;
            }
            let direction = inputs
                .iter()
                .map(|input| random_like(input, &mut random))
                .collect::<Result<Vec<_>>>()?;
            let analytic: f64 = gradients
                .iter()
                .zip(&direction)
                .map(|(gradient, v)| inner(gradient, v))
                .sum();
            let numeric = check.numeric(&cotangent, &direction)?;
            if !self.agree(analytic, numeric) {
                check.every_element(&cotangent, &gradients)?;
                return Err(self.mismatch("along a random direction", analytic, numeric));
            }
        }
        Ok(())
    }

    /// Runs the second-order check.
    ///
    /// # Errors
    /// As [`gradcheck`].
    pub fn run_second_order(
        &self,
        f: impl Fn(&[Var<f64>]) -> Result<Var<f64>>,
        inputs: &[Tensor<f64>],
    ) -> Result<()> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed ^ 0x5eed);
        let output = evaluate(&f, inputs)?;
        let weights = inputs
            .iter()
            .map(|input| random_like(input, &mut random))
            .collect::<Result<Vec<_>>>()?;
        let count = inputs.len();
        // x₁ … xₙ, u ↦ Σ ⟨wᵢ, vjpᵢ(x, u)⟩
        let projected_vjp = |values: &[Var<f64>]| -> Result<Var<f64>> {
            let tape = values
                .iter()
                .find_map(Var::tape)
                .cloned()
                .unwrap_or_default();
            // Without a graph to come (finite differences), the inner pass still needs variables.
            let x: Vec<Var<f64>> = values[..count]
                .iter()
                .map(|x| {
                    if x.is_tracked() {
                        x.clone()
                    } else {
                        tape.variable(x.value().clone())
                    }
                })
                .collect();
            let y = f(&x)?;
            let mut sum = Var::from(0.0);
            if !y.is_tracked() {
                return Ok(sum);
            }
            let targets: Vec<&Var<f64>> = x.iter().collect();
            let gradients = y
                .reverse()
                .seed(&values[count])
                .only(&targets)
                .create_graph()
                .run()?;
            for (x, weight) in x.iter().zip(&weights) {
                if let Some(gradient) = gradients.get(x) {
                    sum = sum.add(&gradient.mul(&Var::from(weight))?.sum(..)?)?;
                }
            }
            Ok(sum)
        };
        let mut all = inputs.to_vec();
        all.push(random_like(&output, &mut random)?);
        self.run(projected_vjp, &all)
            .map_err(|error| error.with("order", "second"))
    }

    fn agree(&self, analytic: f64, numeric: f64) -> bool {
        let bound = self.absolute + self.relative * analytic.abs().max(numeric.abs());
        // Written so that NaN on either side fails.
        (analytic - numeric).abs() <= bound
    }

    #[cold]
    fn mismatch(&self, place: &str, analytic: f64, numeric: f64) -> Error {
        gradient_error("gradcheck", format!("the gradient is wrong {place}"))
            .with("analytic", analytic)
            .with("numeric", numeric)
            .with("ratio", analytic / numeric)
            .with("seed", self.seed)
    }
}

/// One function at one point.
struct Check<'a, F> {
    settings: GradCheck,
    f: &'a F,
    inputs: &'a [Tensor<f64>],
}

impl<F: Fn(&[Var<f64>]) -> Result<Var<f64>>> Check<'_, F> {
    fn repeatable(&self) -> Result<()> {
        let (first, second) = (
            evaluate(self.f, self.inputs)?,
            evaluate(self.f, self.inputs)?,
        );
        let bits = |x: &Tensor<f64>| x.iter().map(f64::to_bits).collect::<Vec<_>>();
        if first.shape() == second.shape() && bits(&first) == bits(&second) {
            return Ok(());
        }
        Err(gradient_error(
            "gradcheck",
            "the function gives different results for equal inputs",
        )
        .fix("fix the seed of what is random in it, such as dropout"))
    }

    /// The gradient of `⟨cotangent, f⟩` for each input; zeros where `f` does not depend on it,
    /// which the numeric side then confirms or refutes.
    fn analytic(&self, cotangent: &Tensor<f64>) -> Result<Vec<Tensor<f64>>> {
        let tape = Tape::new();
        let inputs: Vec<Var<f64>> = self
            .inputs
            .iter()
            .map(|x| tape.variable(x.clone()))
            .collect();
        let output = (self.f)(&inputs)?;
        if !output.is_tracked() {
            return self
                .inputs
                .iter()
                .map(|x| Tensor::zeros(x.shape()))
                .collect();
        }
        let gradients = output.reverse().seed(&cotangent.into()).run()?;
        inputs
            .iter()
            .map(|x| match gradients.get(x) {
                Some(gradient) => Ok(gradient.value().clone()),
                None => Tensor::zeros(x.shape()),
            })
            .collect()
    }

    /// The derivative of `t ↦ ⟨cotangent, f(x + t · direction)⟩` at 0.
    fn numeric(&self, cotangent: &Tensor<f64>, direction: &[Tensor<f64>]) -> Result<f64> {
        let h = self.settings.step;
        let at = |t: f64| -> Result<f64> {
            let moved = self
                .inputs
                .iter()
                .zip(direction)
                .map(|(x, v)| x.add(&(v * t)))
                .collect::<Result<Vec<_>>>()?;
            Ok(inner(&evaluate(self.f, &moved)?, cotangent))
        };
        Ok((8.0 * (at(h)? - at(-h)?) - (at(2.0 * h)? - at(-2.0 * h)?)) / (12.0 * h))
    }

    /// Compares element by element and reports the worst disagreement.
    fn every_element(&self, cotangent: &Tensor<f64>, gradients: &[Tensor<f64>]) -> Result<()> {
        let mut worst: Option<(f64, Error)> = None;
        let mut direction = self
            .inputs
            .iter()
            .map(|x| Tensor::zeros(x.shape()))
            .collect::<Result<Vec<_>>>()?;
        for (input, gradient) in gradients.iter().enumerate() {
            for (element, analytic) in gradient.iter().enumerate() {
                direction[input].make_mut()[element] = 1.0;
                let numeric = self.numeric(cotangent, &direction)?;
                direction[input].make_mut()[element] = 0.0;
                if self.settings.agree(analytic, numeric) {
                    continue;
                }
                let distance = (analytic - numeric).abs();
                let distance = if distance.is_nan() {
                    f64::INFINITY
                } else {
                    distance
                };
                if worst.as_ref().is_none_or(|(most, _)| distance > *most) {
                    let place = format!("for input {input}, element {element}");
                    let error = self
                        .settings
                        .mismatch(&place, analytic, numeric)
                        .with("input shape", self.inputs[input].shape());
                    worst = Some((distance, error));
                }
            }
        }
        worst.map_or(Ok(()), |(_, error)| Err(error))
    }
}

fn evaluate(
    f: &impl Fn(&[Var<f64>]) -> Result<Var<f64>>,
    inputs: &[Tensor<f64>],
) -> Result<Tensor<f64>> {
    let inputs: Vec<Var<f64>> = inputs.iter().map(Var::from).collect();
    Ok(f(&inputs)?.into_value())
}

fn random_like(x: &Tensor<f64>, random: &mut ChaCha8Rng) -> Result<Tensor<f64>> {
    // Bounded away from 0, so that no element is overlooked.
    Tensor::from_fn(x.shape(), |_| {
        let magnitude = random.random_range(0.3..1.0);
        if random.random() {
            magnitude
        } else {
            -magnitude
        }
    })
}

fn inner(a: &Tensor<f64>, b: &Tensor<f64>) -> f64 {
    a.iter().zip(b.iter()).map(|(a, b)| a * b).sum()
}
