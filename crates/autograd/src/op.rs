//! The one trait that an operation implements.

use std::panic::Location;

use smallvec::SmallVec;
use tensor::{Error, ErrorKind, Float, Result, Shape, Tensor};

use crate::tape::{CONSTANT, NodeId, Operation, Tape};
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

    /// Floating-point operations of `forward`, for summaries; by default one per output element.
    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        output.elements() as u64
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
    let values: SmallVec<[&Tensor<T>; 4]> = inputs.iter().map(|input| input.value()).collect();
    let value = match op.forward(Inputs { values: &values }) {
        Ok(value) => value,
        Err(error) => return Err(error.in_operation(op.name())),
    };
    let Some(tape) = tape else {
        return Ok(Var::constant(value));
    };
    if tape.0.detect_anomalies.get() {
        crate::anomaly::check_value(&tape, &op, inputs, &value, location);
    }
    Ok(tape.record(Box::new(op), inputs, value, location))
}

/// The tape of the tracked inputs, if any, and if recording is on.
fn common_tape<T: Float>(name: &str, inputs: &[&Var<T>]) -> Result<Option<Tape<T>>> {
    let mut tapes = inputs.iter().filter_map(|input| input.tape());
    let Some(first) = tapes.next() else {
        return Ok(None);
    };
    if tapes.any(|tape| !tape.is_same(first)) {
        return Err(Error::new(
            ErrorKind::Gradient,
            name,
            "the inputs lie on two different tapes",
        )
        .fix("record on one tape, or call `detach()` on the values of the other"));
    }
    match recording() {
        Recording::On => Ok(Some(first.clone())),
        Recording::Off => Ok(None),
        Recording::Refused => Err(Error::new(
            ErrorKind::Gradient,
            name,
            "a closure uses a tracked variable that it was not given, whose gradient would be lost",
        )
        .fix("pass the variable as an input, or `detach()` it")),
    }
}

/// The input values of [`Op::forward`].
#[derive(Clone, Copy)]
pub struct Inputs<'a, T: Float> {
    values: &'a [&'a Tensor<T>],
}

impl<'a, T: Float> Inputs<'a, T> {
    /// The inputs as an array; its pattern says how many there are.
    ///
    /// # Errors
    /// If there are any other number.
    pub fn exactly<const N: usize>(&self) -> Result<[&'a Tensor<T>; N]> {
        self.values.try_into().map_err(|_| {
            // The operation's name is filled in by `apply`.
            Error::value(
                "",
                format!("{N} inputs expected, {} given", self.values.len()),
            )
        })
    }

    /// The inputs, however many.
    pub fn all(&self) -> &'a [&'a Tensor<T>] {
        self.values
    }
}

/// What an [`Op`] keeps for its derivative: a set of inputs, and perhaps the output.
///
/// ```
/// use autograd::Saves;
/// let saves = Saves::input(1) | Saves::OUTPUT;
/// assert!(saves.has_input(1) && !saves.has_input(0) && saves.has_output());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Saves {
    /// Bit `i` for input `i`; the highest bit stands for all further inputs too.
    inputs: u32,
    output: bool,
}

impl Saves {
    /// Neither inputs nor output.
    pub const NOTHING: Saves = Saves {
        inputs: 0,
        output: false,
    };
    /// All inputs.
    pub const INPUTS: Saves = Saves {
        inputs: u32::MAX,
        output: false,
    };
    /// The output.
    pub const OUTPUT: Saves = Saves {
        inputs: 0,
        output: true,
    };

    /// Input `index` alone (from 31 on, all inputs from 31 on).
    pub const fn input(index: usize) -> Saves {
        Saves {
            inputs: 1 << if index < 31 { index } else { 31 },
            output: false,
        }
    }

    /// Whether input `index` is saved.
    pub fn has_input(self, index: usize) -> bool {
        self.inputs >> index.min(31) & 1 == 1
    }

    /// Whether the output is saved.
    pub fn has_output(self) -> bool {
        self.output
    }

    /// How many tensors are saved of an op with `inputs` inputs.
    pub(crate) fn count(self, inputs: usize) -> usize {
        (0..inputs).filter(|&i| self.has_input(i)).count() + usize::from(self.output)
    }
}

impl std::ops::BitOr for Saves {
    type Output = Saves;
    fn bitor(self, other: Saves) -> Saves {
        Saves {
            inputs: self.inputs | other.inputs,
            output: self.output | other.output,
        }
    }
}

/// What [`Op::vjp`] sees of its operation: the saved values, shapes, and which gradients are
/// wanted.
pub struct Backward<'a, T: Float> {
    pub(crate) tape: &'a Tape<T>,
    pub(crate) id: NodeId,
    pub(crate) operation: &'a Operation<T>,
    pub(crate) wanted: &'a [bool],
    /// Whether saved values come back tracked, so that the derivative records itself.
    pub(crate) tracked: bool,
}

impl<'a, T: Float> Backward<'a, T> {
    fn var(&self, value: &Tensor<T>, id: NodeId) -> Var<T> {
        if self.tracked && id != CONSTANT {
            Var::tracked(value.clone(), self.tape.clone(), id)
        } else {
            Var::constant(value.clone())
        }
    }

    /// Saved input `index`.
    ///
    /// # Errors
    /// If [`Op::saves`] does not name it.
    pub fn input(&self, index: usize) -> Result<Var<T>> {
        let saves = self.operation.op.saves();
        if index >= self.operation.inputs.len() || !saves.has_input(index) {
            return Err(self
                .error(format!("input {index} was not saved"))
                .fix("name it in `Op::saves`"));
        }
        let position = (0..index).filter(|&i| saves.has_input(i)).count();
        Ok(self.var(
            &self.operation.saved[position],
            self.operation.inputs[index],
        ))
    }

    /// All inputs, which [`Op::saves`] must name; the pattern says how many there are.
    ///
    /// # Errors
    /// If there are any other number, or one was not saved.
    pub fn inputs<const N: usize>(&self) -> Result<[Var<T>; N]> {
        let inputs = (0..self.operation.inputs.len())
            .map(|index| self.input(index))
            .collect::<Result<Vec<_>>>()?;
        let count = inputs.len();
        inputs
            .try_into()
            .map_err(|_| self.error(format!("the operation has {count} inputs, not {N}")))
    }

    /// The number of inputs.
    pub fn arity(&self) -> usize {
        self.operation.inputs.len()
    }

    /// The saved output.
    ///
    /// # Errors
    /// If [`Op::saves`] does not name it.
    pub fn output(&self) -> Result<Var<T>> {
        if !self.operation.op.saves().has_output() {
            return Err(self
                .error("the output was not saved")
                .fix("name it in `Op::saves`"));
        }
        match self.operation.saved.last() {
            Some(output) => Ok(self.var(output, self.id)),
            None => Err(self.error("the output was not saved")),
        }
    }

    /// The shape of input `index`, whose gradient is wanted (see [`Backward::wants`]).
    ///
    /// # Errors
    /// If the input is a constant that was not saved: it needs no gradient, so no shape is kept.
    pub fn input_shape(&self, index: usize) -> Result<Shape> {
        match self.operation.inputs.get(index) {
            Some(&id) if id != CONSTANT => {
                Ok(self.tape.0.nodes.borrow()[id as usize].shape.clone())
            }
            _ => Ok(self.input(index)?.shape().clone()),
        }
    }

    /// Whether the gradient of input `index` is wanted.
    pub fn wants(&self, index: usize) -> bool {
        self.wanted.get(index).copied().unwrap_or(false)
    }

    /// Collects gradients; those that nobody wants are not computed.
    pub fn gradients(&self) -> InputGradients<T> {
        InputGradients {
            wanted: SmallVec::from_slice(self.wanted),
            gradients: smallvec::smallvec![None; self.arity()],
        }
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::new(
            ErrorKind::Gradient,
            format!("vjp of {}", self.operation.op.name()),
            message,
        )
    }
}

/// The result of [`Op::vjp`]: one gradient per wanted input.
pub struct InputGradients<T: Float> {
    wanted: SmallVec<[bool; 4]>,
    gradients: SmallVec<[Option<Var<T>>; 2]>,
}

impl<T: Float> InputGradients<T> {
    /// Sets the gradient of input `index` to what `compute` returns; runs it only if that
    /// gradient is wanted.
    ///
    /// # Errors
    /// Those of `compute`.
    pub fn of(mut self, index: usize, compute: impl FnOnce() -> Result<Var<T>>) -> Result<Self> {
        if self.wanted.get(index).copied().unwrap_or(false) {
            self.gradients[index] = Some(compute()?);
        }
        Ok(self)
    }

    pub(crate) fn into_gradients(self) -> SmallVec<[Option<Var<T>>; 2]> {
        self.gradients
    }
}
