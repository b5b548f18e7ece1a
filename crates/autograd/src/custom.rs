//! Gradients of one's own: custom derivatives of compositions, and recomputation in the reverse
//! pass.

use tensor::{Float, Result, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::closure::run_given;
use crate::functional::Alias;
use crate::op::{Inputs, Op};
use crate::saves::Saves;
use crate::tape::Tape;
use crate::var::{Var, gradient_error};

/// `forward(inputs)`, with `vjp(inputs, y, dy)` as its derivative instead of its own.
///
/// `vjp` returns one gradient per input, in tracked operations. Neither closure may use, or return,
/// tracked variables other than its arguments: that is an error, not a missing gradient.
///
/// ```
/// use autograd::{Tape, custom_gradient};
/// use tensor::Tensor;
///
/// // Rounding has no useful derivative; the straight-through estimator takes that of `x ↦ x`.
/// let tape = Tape::new();
/// let x = tape.variable(Tensor::from([0.4, 1.6]));
/// let rounded = custom_gradient(
///     "round_straight_through",
///     |x| Ok(x[0].value().map(f64::round).into()),
///     |_x, _y, dy| Ok(vec![dy.clone()]),
///     &[&x],
/// )?;
/// assert_eq!(rounded.value().to_vec(), [0.0, 2.0]);
/// assert_eq!(rounded.sum(..)?.backward()?.of(&x)?.to_vec(), [1.0, 1.0]);
/// # Ok::<(), autograd::Error>(())
/// ```
///
/// # Errors
/// Those of `forward`, and if `vjp` holds a variable of the tape of the inputs (it is cloned to find
/// out). In the reverse pass: those of `vjp`, and if it gives more or fewer
/// gradients than there are inputs, or one of another shape than its input.
#[track_caller]
pub fn custom_gradient<T: Float>(
    name: &'static str,
    forward: impl Fn(&[Var<T>]) -> Result<Var<T>> + 'static,
    vjp: impl Fn(&[Var<T>], &Var<T>, &Var<T>) -> Result<Vec<Var<T>>> + Clone + 'static,
    inputs: &[&Var<T>],
) -> Result<Var<T>> {
    let forward = Some(forward);
    CustomGradient { name, forward, vjp }.apply(inputs)
}

struct CustomGradient<F, G> {
    name: &'static str,
    /// Until it has run.
    forward: Option<F>,
    vjp: G,
}

/// Constants with the values of `inputs`.
fn constants<T: Float>(inputs: Inputs<'_, T>) -> Vec<Var<T>> {
    inputs.all().map(Var::from).collect()
}

/// The value that `f` has for `inputs`.
fn value_of<T: Float>(
    f: &impl Fn(&[Var<T>]) -> Result<Var<T>>,
    inputs: Inputs<'_, T>,
) -> Result<Tensor<T>> {
    let [y] = run_given(&[], || f(&constants(inputs)).map(|y| [y]))?;
    Ok(y.into_value())
}

fn saved_inputs<T: Float>(at: &Backward<'_, T>) -> Result<Vec<Var<T>>> {
    (0..at.arity()).map(|index| at.input(index)).collect()
}

impl<T, F, G> Op<T> for CustomGradient<F, G>
where
    T: Float,
    F: Fn(&[Var<T>]) -> Result<Var<T>> + 'static,
    G: Fn(&[Var<T>], &Var<T>, &Var<T>) -> Result<Vec<Var<T>>> + Clone + 'static,
{
    fn name(&self) -> &str {
        self.name
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let Some(forward) = self.forward.take() else {
            return Err(gradient_error("", "the operation was applied before"));
        };
        inputs.require_no_cycle(&self.vjp)?;
        value_of(&forward, inputs)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS | Saves::OUTPUT
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let (x, y) = (saved_inputs(at)?, at.output()?);
        let given: Vec<&Var<T>> = x.iter().chain([&y, dy]).collect();
        let gradients = run_given(&given, || (self.vjp)(&x, &y, dy))?;
        if gradients.len() != at.arity() {
            let (given, inputs) = (gradients.len(), at.arity());
            let message = format!("the closure gave {given} gradients for {inputs} inputs");
            return Err(gradient_error(&format!("vjp of {}", self.name), message)
                .fix("return one gradient per input, in the order of the inputs"));
        }
        let mut collected = at.gradients();
        for (index, gradient) in gradients.into_iter().enumerate() {
            collected = collected.of(index, || Ok(gradient))?;
        }
        Ok(collected)
    }
}

/// `f(inputs)`, keeping only the inputs: the reverse pass runs `f` again for what it needs
/// (activation checkpointing, Chen et al. 2016).
///
/// `f` must give the same result both times, and use, or return, no tracked variable other than its
/// arguments: that is an error, not a missing gradient.
///
/// ```
/// use autograd::{Tape, checkpoint};
/// use tensor::Tensor;
/// let tape = Tape::new();
/// let x = tape.variable(Tensor::from([0.5, 1.0]));
/// let y = checkpoint(|x| Ok(x[0].exp().sin().square()), &[&x])?;
/// assert_eq!(tape.len(), 2); // the variable and one operation, whatever `f` does inside
/// let gradients = y.sum(..)?.backward()?;
/// # assert_eq!(gradients.of(&x)?.shape(), &[2]);
/// # Ok::<(), autograd::Error>(())
/// ```
///
/// # Errors
/// Those of `f`, and if `f` holds a variable of the tape of the inputs (it is cloned to find out).
#[track_caller]
pub fn checkpoint<T: Float>(
    f: impl Fn(&[Var<T>]) -> Result<Var<T>> + Clone + 'static,
    inputs: &[&Var<T>],
) -> Result<Var<T>> {
    Checkpoint { f }.apply(inputs)
}

struct Checkpoint<F> {
    f: F,
}

impl<T: Float, F: Fn(&[Var<T>]) -> Result<Var<T>> + Clone + 'static> Op<T> for Checkpoint<F> {
    fn name(&self) -> &str {
        "checkpoint"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let value = value_of(&self.f, inputs)?;
        inputs.require_no_cycle(&self.f)?;
        Ok(value)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let saved = saved_inputs(at)?;
        let differentiable = saved.iter().any(Var::is_tracked) || dy.is_tracked();
        let tape = saved.iter().find_map(Var::tape).or(dy.tape()).cloned();
        let tape = tape.unwrap_or_else(Tape::of_function);
        let again = saved
            .iter()
            .map(|x| match x.is_tracked() {
                true => Alias.apply(&[x]),
                false => Ok(tape.unnumbered(x.value().clone())),
            })
            .collect::<Result<Vec<_>>>()?;
        let y = (self.f)(&again)?;
        if !y.is_tracked() {
            // `f` ignores its inputs, so every gradient is zero, and is said to be.
            return (0..at.arity()).try_fold(at.gradients(), |all, i| {
                all.of(i, || Ok(saved[i].zeros_like()))
            });
        }
        let wanted: Vec<&Var<T>> = again
            .iter()
            .enumerate()
            .filter(|(i, _)| at.wants(*i))
            .map(|(_, x)| x)
            .collect();
        let mut pass = y.reverse().seed(dy).only(&wanted);
        if differentiable {
            pass = pass.create_graph();
        }
        let gradients = pass.run()?;
        again
            .iter()
            .enumerate()
            .try_fold(at.gradients(), |all, (i, x)| {
                all.of(i, || {
                    Ok(gradients.get(x).cloned().unwrap_or_else(|| x.zeros_like()))
                })
            })
    }
}
