//! Derivatives of functions: `grad`, `vjp`, `jvp`, Jacobians, Hessians; they nest freely.
//!
//! Each tool differentiates with respect to a fresh alias of its argument. So a function may use
//! the outer variable as well without confusing the two, as in
//! `grad(|x| x * grad(|y| x * y)(x))`. At a constant, the alias is a leaf of a tape of its own, which
//! moves into that of an outer variable where the function uses one.

use tensor::{Float, Result, Shape, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::gradients::unmet;
use crate::op::{Inputs, Op};
use crate::reverse::depends_on;
use crate::saves::Saves;
use crate::tape::Tape;
use crate::var::{Var, gradient_error};

/// What a function to be differentiated may return: a variable, or a `Result` of one.
pub trait Outcome<T: Float> {
    /// The variable, or the error.
    ///
    /// # Errors
    /// The function's own.
    fn outcome(self) -> Result<Var<T>>;
}

impl<T: Float> Outcome<T> for Var<T> {
    fn outcome(self) -> Result<Var<T>> {
        Ok(self)
    }
}

impl<T: Float> Outcome<T> for Result<Var<T>> {
    fn outcome(self) -> Result<Var<T>> {
        self
    }
}

/// The gradient of a function with a single number as its value: `x ↦ ∂f/∂x`, of `x`'s shape.
///
/// ```
/// use autograd::{Var, grad};
/// let f = |x: &Var<f64>| x.sin() * x.exp();
/// let third = grad(grad(grad(f)));
/// let d3 = third(&Var::from(0.0))?.item()?;
/// assert!((d3 - 2.0).abs() < 1e-12); // (eˣ sin x)‴ = 2eˣ (cos x − sin x)
/// # Ok::<(), autograd::Error>(())
/// ```
///
/// The returned function reports an error if the value is not a single number, or does not depend
/// on `x`.
pub fn grad<T: Float, R: Outcome<T>>(
    f: impl Fn(&Var<T>) -> R,
) -> impl Fn(&Var<T>) -> Result<Var<T>> {
    let both = value_and_grad(f);
    move |x| Ok(both(x)?.1)
}

/// The value and the gradient of a function with a single number as its value.
///
/// ```
/// use autograd::{Var, value_and_grad};
/// let (value, gradient) = value_and_grad(|x: &Var<f64>| x.square())(&Var::from(3.0))?;
/// assert_eq!((value.item()?, gradient.item()?), (9.0, 6.0));
/// # Ok::<(), autograd::Error>(())
/// ```
pub fn value_and_grad<T: Float, R: Outcome<T>>(
    f: impl Fn(&Var<T>) -> R,
) -> impl Fn(&Var<T>) -> Result<(Var<T>, Var<T>)> {
    move |x| {
        let run = Run::new(&f, x)?;
        if run.y.shape().elements() != 1 {
            return Err(
                gradient_error("grad", "the function's value is not a single number")
                    .with("value", run.y.shape())
                    .fix("reduce it (`sum`, `mean`), or use `vjp` or `jacobian`"),
            );
        }
        let seed = Var::constant(Tensor::full(run.y.shape(), T::ONE)?);
        let gradient = run.pull(&seed)?;
        Ok((run.y, gradient))
    }
}

/// The value of `f` at `x` and the vector–Jacobian product `cotangentᵀ · ∂f/∂x`, of `x`'s shape.
///
/// ```
/// use autograd::{Var, vjp};
/// use tensor::Tensor;
/// let x = Var::from(Tensor::from([1.0, 2.0]));
/// let (y, g) = vjp(|x: &Var<f64>| x.square(), &x, &Var::from(Tensor::from([10.0, 1.0])))?;
/// assert_eq!(y.value().to_vec(), [1.0, 4.0]);
/// assert_eq!(g.value().to_vec(), [20.0, 4.0]);
/// # Ok::<(), autograd::Error>(())
/// ```
///
/// # Errors
/// Those of `f`; if the cotangent has not the shape of `f(x)`, or `f(x)` does not depend on `x`.
pub fn vjp<T: Float, R: Outcome<T>>(
    f: impl Fn(&Var<T>) -> R,
    x: &Var<T>,
    cotangent: &Var<T>,
) -> Result<(Var<T>, Var<T>)> {
    let run = Run::new(&f, x)?;
    if cotangent.shape() != run.y.shape() {
        return Err(
            gradient_error("vjp", "the cotangent has another shape than the value")
                .with("value", run.y.shape())
                .with("cotangent", cotangent.shape()),
        );
    }
    let gradient = run.pull(cotangent)?;
    Ok((run.y, gradient))
}

/// The value of `f` at `x` and the Jacobian–vector product `∂f/∂x · tangent`, of `f(x)`'s shape:
/// the directional derivative.
///
/// Computed by differentiating the (linear) vector–Jacobian product with respect to its vector.
///
/// ```
/// use autograd::{Var, jvp};
/// use tensor::Tensor;
/// let x = Var::from(Tensor::from([1.0, 2.0]));
/// let v = Var::from(Tensor::from([1.0, 0.5]));
/// let (_, derivative) = jvp(|x: &Var<f64>| x.square(), &x, &v)?;
/// assert_eq!(derivative.value().to_vec(), [2.0, 2.0]);
/// # Ok::<(), autograd::Error>(())
/// ```
///
/// # Errors
/// Those of `f`; if the tangent has not the shape of `x`, or `f(x)` does not depend on `x`.
pub fn jvp<T: Float, R: Outcome<T>>(
    f: impl Fn(&Var<T>) -> R,
    x: &Var<T>,
    tangent: &Var<T>,
) -> Result<(Var<T>, Var<T>)> {
    if tangent.shape() != x.shape() {
        return Err(
            gradient_error("jvp", "the tangent has another shape than the input")
                .with("input", x.shape())
                .with("tangent", tangent.shape()),
        );
    }
    let run = Run::new(&f, x)?;
    let cotangent = run.tape.unnumbered(Tensor::zeros(run.y.shape())?);
    let pulled = run.gradients(&cotangent, true)?;
    let along = pulled.mul(tangent)?.sum(..)?;
    let is_nested = run.is_nested() || tangent.is_tracked();
    let derivative = reverse(&along, &cotangent, None, is_nested)?;
    let derivative = match is_nested {
        true => Derivative.apply(&[&derivative, &run.y, tangent])?,
        false => derivative,
    };
    Ok((run.y, derivative))
}

/// The Jacobian `∂fᵢ/∂xⱼ`, of shape `f(x)`'s shape followed by `x`'s.
///
/// Runs one reverse pass per element of `f(x)`.
///
/// ```
/// use autograd::{Var, jacobian};
/// use tensor::Tensor;
/// let x = Var::from(Tensor::from([1.0, 2.0]));
/// let j = jacobian(|x: &Var<f64>| x.square())(&x)?;
/// assert_eq!(j.value().to_vec(), [2.0, 0.0, 0.0, 4.0]);
/// # Ok::<(), autograd::Error>(())
/// ```
pub fn jacobian<T: Float, R: Outcome<T>>(
    f: impl Fn(&Var<T>) -> R,
) -> impl Fn(&Var<T>) -> Result<Var<T>> {
    move |x| {
        let run = Run::new(&f, x)?;
        let count = run.y.shape().elements();
        let shape: Shape = run
            .y
            .shape()
            .iter()
            .chain(x.shape().iter())
            .copied()
            .collect();
        let mut rows = Vec::new();
        for i in 0..count {
            let mut seed = Tensor::zeros(run.y.shape())?;
            seed.make_mut()[i] = T::ONE;
            rows.push(run.pull(&Var::constant(seed))?);
        }
        if rows.is_empty() {
            return Ok(Var::constant(Tensor::zeros(shape)?));
        }
        Var::stack(&rows.iter().collect::<Vec<_>>(), 0)?.reshape(shape)
    }
}

/// The Hessian `∂²f/∂xᵢ∂xⱼ` of a function with a single number as its value, of shape `x`'s shape
/// twice.
///
/// ```
/// use autograd::{Var, hessian};
/// use tensor::Tensor;
/// let x = Var::from(Tensor::from([1.0, 2.0]));
/// let h = hessian(|x: &Var<f64>| x.mul(x)?.mul(x)?.sum(..))(&x)?;
/// assert_eq!(h.value().to_vec(), [6.0, 0.0, 0.0, 12.0]);
/// # Ok::<(), autograd::Error>(())
/// ```
pub fn hessian<T: Float, R: Outcome<T>>(
    f: impl Fn(&Var<T>) -> R,
) -> impl Fn(&Var<T>) -> Result<Var<T>> {
    jacobian(grad(f))
}

/// The product of the Hessian of `f` at `x` with `vector`, without forming the Hessian: the
/// gradient of `⟨∂f/∂x, vector⟩` (Pearlmutter 1994).
///
/// ```
/// use autograd::{Var, hessian_vector_product};
/// use tensor::Tensor;
/// let x = Var::from(Tensor::from([1.0, 2.0]));
/// let v = Var::from(Tensor::from([1.0, 1.0]));
/// let product = hessian_vector_product(|x: &Var<f64>| x.mul(x)?.mul(x)?.sum(..), &x, &v)?;
/// assert_eq!(product.value().to_vec(), [6.0, 12.0]);
/// # Ok::<(), autograd::Error>(())
/// ```
///
/// # Errors
/// As [`grad`]; if the vector has not the shape of `x`.
pub fn hessian_vector_product<T: Float, R: Outcome<T>>(
    f: impl Fn(&Var<T>) -> R,
    x: &Var<T>,
    vector: &Var<T>,
) -> Result<Var<T>> {
    if vector.shape() != x.shape() {
        let message = "the vector has another shape than the input";
        return Err(gradient_error("hessian_vector_product", message)
            .with("input", x.shape())
            .with("vector", vector.shape()));
    }
    let gradient = grad(f);
    grad(move |x: &Var<T>| gradient(x)?.mul(vector)?.sum(..))(x)
}

/// One evaluation of a function on an alias of its argument.
struct Run<T: Float> {
    tape: Tape<T>,
    alias: Var<T>,
    y: Var<T>,
    /// Whether the argument is tracked itself.
    of_tracked: bool,
}

impl<T: Float> Run<T> {
    fn new<R: Outcome<T>>(f: &impl Fn(&Var<T>) -> R, x: &Var<T>) -> Result<Self> {
        let (tape, alias) = match x.tape() {
            Some(tape) => (tape.clone(), Alias.apply(&[x])?),
            None => {
                let tape = Tape::of_function();
                let alias = tape.variable(x.value().clone());
                (tape, alias)
            }
        };
        let y = f(&alias).outcome()?;
        Ok(Run {
            tape,
            alias,
            y,
            of_tracked: x.is_tracked(),
        })
    }

    /// Whether the result must be differentiable: the argument is tracked, or the function used an outer
    /// variable.
    fn is_nested(&self) -> bool {
        self.of_tracked || self.tape.has_moved()
    }

    /// The gradient with the cotangent `seed`, as differentiable as the context asks for.
    fn pull(&self, seed: &Var<T>) -> Result<Var<T>> {
        self.gradients(seed, self.is_nested() || seed.is_tracked())
    }

    fn gradients(&self, seed: &Var<T>, differentiable: bool) -> Result<Var<T>> {
        let gradient = reverse(&self.y, &self.alias, Some(seed), differentiable)?;
        match differentiable {
            true => Derivative.apply(&[&gradient, &self.y, seed]),
            false => Ok(gradient),
        }
    }
}

/// `∂y/∂x` by a reverse pass that keeps the graph; zeros if `y` was computed from `x` by derivatives that
/// do not depend on it.
fn reverse<T: Float>(
    y: &Var<T>,
    x: &Var<T>,
    seed: Option<&Var<T>>,
    differentiable: bool,
) -> Result<Var<T>> {
    let mut pass = y.reverse().only(&[x]).keep_graph();
    if let Some(seed) = seed {
        pass = pass.seed(seed);
    }
    if differentiable {
        pass = pass.create_graph();
    }
    match pass.run()?.get(x) {
        Some(gradient) => Ok(gradient.clone()),
        None if depends_on(y, x) => Ok(x.zeros_like()),
        None => Err(unmet("grad", x)),
    }
}

/// A derivative, the first input, which was computed from the others: a function's value and the vector
/// that its derivative was multiplied by.
///
/// The derivative of a linear function holds nothing that depends on where it was taken. As an output
/// of this operation it is known to come from there, so that its own derivative is 0 and no mistake.
struct Derivative;

impl<T: Float> Op<T> for Derivative {
    fn name(&self) -> &str {
        "derivative"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [derivative, _, _] = inputs.exactly()?;
        Ok(derivative.clone())
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients()
            .of(0, || Ok(dy.clone()))?
            .nothing_for(1)?
            .nothing_for(2)
    }
}

/// The same value at a place of its own.
pub(crate) struct Alias;

impl<T: Float> Op<T> for Alias {
    fn name(&self) -> &str {
        "alias"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        Ok(x.clone())
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || Ok(dy.clone()))
    }
}
