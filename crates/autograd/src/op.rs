//! The one trait that an operation implements.

use std::cell::Cell;
use std::panic::Location;
use std::rc::Rc;

use tensor::{Error, ErrorKind, Float, Result, Shape, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::closure::{require_given, require_no_cycle};
use crate::saves::Saves;
use crate::tape::Tape;
use crate::trace::{self, SpanKind};
use crate::var::{Recording, Var, recording};

/// A differentiable operation with any number of inputs and one output.
///
/// An op is a value: its fields are its parameters, and what [`Op::forward`] learns besides the
/// output (indices, masks) it stores in its own fields. It holds tensors, never [`Var`]s: a
/// variable inside an op would keep its tape alive for ever.
///
/// The derivative is written **in operations on [`Var`]s**. For first-order gradients they run on
/// untracked values and record nothing; for second and higher order they record themselves, so
/// every order comes from the one rule.
///
/// ```
/// use autograd::{Backward, InputGradients, Inputs, Op, Result, Saves, Tape, Var};
/// use tensor::{Float, Tensor};
///
/// /// `y = a · b`, element by element, of equal shapes.
/// struct Product;
///
/// impl<T: Float> Op<T> for Product {
///     fn name(&self) -> &str {
///         "product"
///     }
///     fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
///         let [a, b] = inputs.exactly()?;
///         a.mul(b)
///     }
///     fn saves(&self) -> Saves {
///         Saves::INPUTS
///     }
///     fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
///         let [a, b] = at.inputs()?;
///         at.gradients().of(0, || dy.mul(&b))?.of(1, || dy.mul(&a))
///     }
/// }
///
/// let tape = Tape::new();
/// let a = tape.variable(Tensor::from([1.0, 2.0]));
/// let b = tape.variable(Tensor::from([3.0, 4.0]));
/// let loss = Product.apply(&[&a, &b])?.sum(..)?;
/// assert_eq!(loss.backward()?.of(&a)?.to_vec(), [3.0, 4.0]);
/// # Ok::<(), autograd::Error>(())
/// ```
pub trait Op<T: Float>: 'static {
    /// The name in errors, summaries and drawings.
    fn name(&self) -> &str;

    /// Computes the output, and keeps in `self` what the derivative needs besides.
    ///
    /// # Errors
    /// If the inputs do not fit the operation.
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>>;

    /// Which inputs, and whether the output, [`Op::vjp`] needs; everything else is freed as soon
    /// as its last user lets go.
    fn saves(&self) -> Saves;

    /// The vector–Jacobian product: from `dy = ∂loss/∂output`, the gradients `∂loss/∂input`,
    /// each of the shape of its input.
    ///
    /// # Errors
    /// Whatever the operations in it report.
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>>;

    /// `false` for an operation that has no derivative: recording it is then an error.
    fn is_differentiable(&self) -> bool {
        true
    }

    /// Whether [`Op::vjp`] begins by setting `dy` to 0 where the output, which it saves, is not
    /// positive, as the rectifier's does. Whoever computes `dy` may then do so on the way; `vjp`
    /// finds out by [`Backward::is_gated`].
    fn gates_gradient(&self) -> bool {
        false
    }

    /// Floating-point operations of `forward`, for summaries; by default one per output element.
    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        output.elements() as u64
    }

    /// How `forward` computes from inputs of these shapes, for profiles, if there are several ways;
    /// by default nothing.
    fn algorithm(&self, _inputs: &[&Shape]) -> Option<&'static str> {
        None
    }

    /// Bytes that the op's own fields keep for the derivative: masks, indices. Saved inputs and
    /// outputs do not count here.
    fn extra_bytes(&self) -> usize {
        0
    }

    /// Runs the operation on `inputs` and, if one of them is tracked, records it.
    ///
    /// # Errors
    /// Those of [`Op::forward`]; if tracked inputs lie on different tapes; if an input is tracked
    /// and the operation has no derivative.
    #[track_caller]
    fn apply(self, inputs: &[&Var<T>]) -> Result<Var<T>>
    where
        Self: Sized,
    {
        apply(self, inputs, Location::caller())
    }
}

/// An op that is a constant of the program: recording it allocates nothing.
///
/// Its methods are those of [`Op`]; `&'static R` is one for every rule `R`.
pub(crate) trait Rule<T: Float>: 'static {
    fn name(&self) -> &'static str;
    fn compute(&self, inputs: &[&Var<T>]) -> Result<Tensor<T>>;
    fn saves(&self) -> Saves;
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>>;
    fn gates_gradient(&self) -> bool {
        false
    }

    /// [`Op::apply`].
    #[track_caller]
    fn apply(&'static self, inputs: &[&Var<T>]) -> Result<Var<T>>
    where
        Self: Sized,
    {
        apply_rule(self, inputs, Location::caller())
    }
}

/// The op of a recorded operation.
pub(crate) enum Recorded<T: Float> {
    Op(Box<dyn Op<T>>),
    Rule(&'static dyn Rule<T>),
}

impl<T: Float> Recorded<T> {
    pub(crate) fn name(&self) -> &str {
        match self {
            Recorded::Op(op) => op.name(),
            Recorded::Rule(rule) => rule.name(),
        }
    }

    pub(crate) fn saves(&self) -> Saves {
        match self {
            Recorded::Op(op) => op.saves(),
            Recorded::Rule(rule) => rule.saves(),
        }
    }

    pub(crate) fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        match self {
            Recorded::Op(op) => op.vjp(at, dy),
            Recorded::Rule(rule) => rule.vjp(at, dy),
        }
    }

    pub(crate) fn gates_gradient(&self) -> bool {
        match self {
            Recorded::Op(op) => op.gates_gradient(),
            Recorded::Rule(rule) => rule.gates_gradient(),
        }
    }

    /// One per output element for a rule, which works element by element or is small.
    pub(crate) fn flops(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        match self {
            Recorded::Op(op) => op.flops(inputs, output),
            Recorded::Rule(_) => output.elements() as u64,
        }
    }

    pub(crate) fn extra_bytes(&self) -> usize {
        match self {
            Recorded::Op(op) => op.extra_bytes(),
            Recorded::Rule(_) => 0,
        }
    }
}

thread_local! {
    /// Where the function was called whose operations run at the moment, if it is made of several.
    static COMPOSED_AT: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
}

/// Restores the place also when the body panics.
struct Restore(Option<&'static Location<'static>>);

impl Drop for Restore {
    fn drop(&mut self) {
        COMPOSED_AT.set(self.0);
    }
}

/// Runs `body`, the operations that the function `operation` is made of. They are recorded at the
/// line that called the function, and their errors name the function.
#[track_caller]
pub(crate) fn composed<R>(operation: &str, body: impl FnOnce() -> Result<R>) -> Result<R> {
    let outer = COMPOSED_AT.get();
    COMPOSED_AT.set(outer.or(Some(Location::caller())));
    let _restore = Restore(outer);
    body().map_err(|error| error.in_operation(operation))
}

/// [`Op::apply`], outside the trait so that no implementation can change it.
fn apply<T: Float, O: Op<T>>(
    mut op: O,
    inputs: &[&Var<T>],
    location: &'static Location<'static>,
) -> Result<Var<T>> {
    let tape = common_tape(op.name(), inputs)?;
    if tape.is_some() && !op.is_differentiable() {
        return Err(Error::new(
            ErrorKind::Gradient,
            op.name(),
            "the operation has no derivative",
        )
        .fix("call `detach()` on its inputs if no gradient should flow through it"));
    }
    let _span = trace::is_on().then(|| trace::begin(op.name(), None, SpanKind::Operation));
    let value = match op.forward(Inputs { vars: inputs }) {
        Ok(value) => value,
        Err(error) if error.operation().is_empty() => return Err(error.in_operation(op.name())),
        Err(error) => return Err(error),
    };
    if trace::is_on() {
        let shapes: Vec<&Shape> = inputs.iter().map(|input| input.shape()).collect();
        let (flops, algorithm) = (op.flops(&shapes, value.shape()), op.algorithm(&shapes));
        trace::note_work::<T>(flops, algorithm, &shapes, value.shape());
    }
    let op = || Recorded::Op(Box::new(op));
    Ok(record(tape, op, inputs, value, location))
}

/// [`apply`] for a rule.
fn apply_rule<T: Float>(
    rule: &'static dyn Rule<T>,
    inputs: &[&Var<T>],
    location: &'static Location<'static>,
) -> Result<Var<T>> {
    let tape = common_tape(rule.name(), inputs)?;
    let _span = trace::is_on().then(|| trace::begin(rule.name(), None, SpanKind::Operation));
    let value = match rule.compute(inputs) {
        Ok(value) => value,
        Err(error) if error.operation().is_empty() => {
            return Err(error.in_operation(rule.name()));
        }
        Err(error) => return Err(error),
    };
    if trace::is_on() {
        let shapes: Vec<&Shape> = inputs.iter().map(|input| input.shape()).collect();
        trace::note_work::<T>(value.len() as u64, None, &shapes, value.shape());
    }
    let rule = || Recorded::Rule(rule);
    Ok(record(tape, rule, inputs, value, location))
}

/// Puts `op`, which made `value`, on the tape, if there is one.
fn record<T: Float>(
    tape: Option<&Tape<T>>,
    op: impl FnOnce() -> Recorded<T>,
    inputs: &[&Var<T>],
    value: Tensor<T>,
    location: &'static Location<'static>,
) -> Var<T> {
    let Some(tape) = tape else {
        return Var::constant(value);
    };
    let location = COMPOSED_AT.get().unwrap_or(location);
    let op = op();
    if tape.0.detect_anomalies.get() {
        crate::anomaly::check_value(tape, op.name(), inputs, &value, location);
    }
    tape.record(op, inputs, value, location)
}

/// The tape of the tracked inputs, if any, and if recording is on.
#[inline]
fn common_tape<'a, T: Float>(name: &str, inputs: &[&'a Var<T>]) -> Result<Option<&'a Tape<T>>> {
    let mut tapes = inputs.iter().filter_map(|input| input.tape());
    let Some(first) = tapes.next() else {
        return Ok(None);
    };
    let is_one = tapes.all(|tape| Rc::ptr_eq(&tape.0, &first.0));
    match recording() {
        Recording::On if is_one => Ok(Some(first)),
        recording => permitted_tape(name, inputs, recording),
    }
}

/// [`common_tape`] where the inputs lie on several tapes, which one of them may move to, or where not
/// everything is recorded.
#[cold]
fn permitted_tape<'a, T: Float>(
    name: &str,
    inputs: &[&'a Var<T>],
    recording: Recording,
) -> Result<Option<&'a Tape<T>>> {
    if recording == Recording::OfGiven {
        require_given(name, inputs)?;
    }
    let mut tapes = inputs.iter().filter_map(|input| input.tape());
    let Some(first) = tapes.next() else {
        return Ok(None);
    };
    if !tapes.all(|tape| tape.join(first)) {
        return Err(Error::new(
            ErrorKind::Gradient,
            name,
            "the inputs lie on two different tapes",
        )
        .fix(
            "record on one tape, or call `detach()` on the values of the other, if no gradient \
             should flow through them",
        ));
    }
    Ok((recording != Recording::Off).then(|| first.home()))
}

/// The input values of [`Op::forward`].
#[derive(Clone, Copy)]
pub struct Inputs<'a, T: Float> {
    vars: &'a [&'a Var<T>],
}

impl<'a, T: Float> Inputs<'a, T> {
    /// The inputs as an array; its pattern says how many there are.
    ///
    /// # Errors
    /// If there are any other number.
    pub fn exactly<const N: usize>(&self) -> Result<[&'a Tensor<T>; N]> {
        match <[&Var<T>; N]>::try_from(self.vars) {
            Ok(vars) => Ok(vars.map(Var::value)),
            // The operation's name is filled in by `apply`.
            Err(_) => Err(Error::value(
                "",
                format!("{N} inputs expected, {} given", self.vars.len()),
            )),
        }
    }

    /// Refuses a closure that the tape of the inputs would keep, and that keeps the tape.
    pub(crate) fn require_no_cycle(&self, closure: &impl Clone) -> Result<()> {
        match self.vars.iter().find_map(|var| var.tape()) {
            Some(tape) => require_no_cycle(tape, closure),
            None => Ok(()),
        }
    }

    /// The inputs, however many.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &'a Tensor<T>> + use<'a, T> {
        self.vars.iter().map(|var| var.value())
    }
}
