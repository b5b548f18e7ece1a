//! A tracked tensor: a value and, if it is tracked, its place on a tape.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use tensor::{Error, ErrorKind, Float, Result, Shape, Tensor};

use crate::closure::require_no_cycle;
use crate::gradients::Gradients;
use crate::reverse::Reverse;
use crate::tape::{Kind, NodeId, Tape};

/// A tensor that operations can be differentiated through.
///
/// Variables come from [`Tape::variable`] and are tracked; constants come from [`Var::constant`]
/// (or `from` a tensor or number) and are not. The same code runs on both, and on constants alone
/// records nothing. Cloning shares value and place.
///
/// Named operations with several operands return a `Result`; functions of one operand and the
/// operators `+ - * /` panic at the caller's line with the text of the error.
#[derive(Clone)]
pub struct Var<T: Float = f32> {
    value: Tensor<T>,
    place: Option<Place<T>>,
}

#[derive(Clone)]
struct Place<T: Float> {
    tape: Tape<T>,
    id: NodeId,
}

impl<T: Float> Var<T> {
    /// An untracked value.
    pub fn constant(value: Tensor<T>) -> Self {
        Var { value, place: None }
    }

    pub(crate) fn tracked(value: Tensor<T>, tape: Tape<T>, id: NodeId) -> Self {
        Var {
            value,
            place: Some(Place { tape, id }),
        }
    }

    /// The value.
    pub fn value(&self) -> &Tensor<T> {
        &self.value
    }

    /// The value, without its place.
    pub fn into_value(self) -> Tensor<T> {
        self.value
    }

    /// The sizes of the axes.
    pub fn shape(&self) -> &Shape {
        self.value.shape()
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.value.rank()
    }

    /// The only element of a value with one element.
    ///
    /// # Errors
    /// If there is any other number of elements.
    pub fn item(&self) -> Result<T> {
        self.value.item()
    }

    /// Whether operations on it are recorded.
    pub fn is_tracked(&self) -> bool {
        self.place.is_some()
    }

    /// The tape it is tracked on.
    #[inline]
    pub fn tape(&self) -> Option<&Tape<T>> {
        self.place.as_ref().map(|place| place.tape.home())
    }

    #[inline]
    pub(crate) fn id(&self) -> Option<NodeId> {
        let place = self.place.as_ref()?;
        Some(place.id + place.tape.shift())
    }

    /// The same value as a constant: no gradient flows through it.
    #[must_use]
    pub fn detach(&self) -> Self {
        Var::constant(self.value.clone())
    }

    /// A constant of zeros of the same shape.
    #[must_use]
    pub fn zeros_like(&self) -> Self {
        self.filled_like(T::ZERO)
    }

    /// A constant of ones of the same shape.
    #[must_use]
    pub fn ones_like(&self) -> Self {
        self.filled_like(T::ONE)
    }

    /// Holds one element, shown under the shape with stride 0.
    fn filled_like(&self, value: T) -> Self {
        match Tensor::scalar(value).broadcast_to(self.shape()) {
            Ok(filled) => Var::constant(filled),
            Err(_) => unreachable!("a single element broadcasts to every shape that exists"),
        }
    }

    /// The gradients of this single number with respect to every variable it depends on.
    /// Frees the recorded graph as it goes; see [`Var::reverse`] for seeds, keeping the graph,
    /// and gradients of gradients.
    ///
    /// # Errors
    /// If the value is not tracked or has more than one element, or its graph was freed.
    #[track_caller]
    pub fn backward(&self) -> Result<Gradients<T>> {
        self.reverse().run()
    }

    /// A reverse pass from this value, to be configured and run.
    ///
    /// ```
    /// use autograd::Tape;
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// let x = tape.variable(Tensor::scalar(2.0));
    /// let y = &x * &x * &x;
    /// // y″ by differentiating the gradient:
    /// let first = y.reverse().create_graph().run()?.var(&x)?;
    /// assert_eq!(first.item()?, 12.0);
    /// assert_eq!(first.backward()?.of(&x)?.item()?, 12.0);
    /// # Ok::<(), autograd::Error>(())
    /// ```
    pub fn reverse(&self) -> Reverse<'_, T> {
        Reverse::new(self)
    }

    /// Calls `hook` with the complete gradient of this value in every reverse pass that reaches
    /// it; what it returns takes the gradient's place.
    ///
    /// ```
    /// use autograd::Tape;
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// let x = tape.variable(Tensor::scalar(3.0));
    /// let y = x.square();
    /// y.on_gradient(|dy| Ok(dy * 0.5))?; // halves what flows back through y
    /// assert_eq!(y.exp().backward()?.of(&x)?.item()?, 0.5 * 9f64.exp() * 6.0);
    /// # Ok::<(), autograd::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the value is a constant: no gradient ever reaches it. If the hook holds a variable of the same
    /// tape (it is cloned to find out): the tape keeps the hook, and the variable the tape, so neither
    /// would ever be freed.
    pub fn on_gradient(
        &self,
        hook: impl Fn(&Var<T>) -> Result<Var<T>> + Clone + 'static,
    ) -> Result<()> {
        let (Some(tape), Some(id)) = (self.tape(), self.id()) else {
            return Err(
                gradient_error("on_gradient", "no gradient reaches a constant")
                    .with("shape", self.shape()),
            );
        };
        require_no_cycle(tape, &hook).map_err(|error| error.in_operation("on_gradient"))?;
        tape.0.add_hook(id, Rc::new(hook));
        Ok(())
    }

    /// The name of what recorded the value, for errors: "`exp`", "variable", "constant".
    pub(crate) fn description(&self) -> String {
        let (Some(tape), Some(id)) = (self.tape(), self.id()) else {
            return "a constant".to_string();
        };
        let record = &tape.0;
        let nodes = record.nodes.borrow();
        let node = &nodes[id];
        let name = match &node.kind {
            Kind::Variable(_) => "variable",
            Kind::Operation(operation) => operation.op.name(),
            Kind::Freed => "(freed)",
        };
        record.describe(name, node.scope, node.location)
    }
}

impl<T: Float> From<Tensor<T>> for Var<T> {
    fn from(value: Tensor<T>) -> Self {
        Var::constant(value)
    }
}

impl<T: Float> From<&Tensor<T>> for Var<T> {
    fn from(value: &Tensor<T>) -> Self {
        Var::constant(value.clone())
    }
}

impl<T: Float> From<T> for Var<T> {
    fn from(value: T) -> Self {
        Var::constant(Tensor::scalar(value))
    }
}

impl<T: Float> fmt::Display for Var<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.value, f)
    }
}

impl<T: Float> fmt::Debug for Var<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({})", self.value, self.description())
    }
}

/// A variable whose functions of one operand return errors where those of [`Var`] panic: for
/// functions that are made of them and return a `Result`.
pub(crate) struct Checked<'a, T: Float>(pub(crate) &'a Var<T>);

impl<T: Float> Var<T> {
    /// The functions of one operand, with errors instead of panics.
    pub(crate) fn checked(&self) -> Checked<'_, T> {
        Checked(self)
    }
}

/// What happens to operations on tracked values on this thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recording {
    /// They are recorded.
    On,
    /// They run like operations on constants.
    Off,
    /// They are recorded if a closure was given the values; on others they are an error.
    OfGiven,
}

thread_local! {
    static RECORDING: Cell<Recording> = const { Cell::new(Recording::On) };
}

/// What happens to operations on tracked values on this thread; see [`no_grad`].
pub(crate) fn recording() -> Recording {
    RECORDING.get()
}

/// Whether an operation on these values leaves nothing on a tape and is no error: it may then take
/// a way that keeps nothing for a derivative.
pub(crate) fn keeps_nothing<T: Float>(inputs: &[&Var<T>]) -> bool {
    recording() == Recording::Off || inputs.iter().all(|input| !input.is_tracked())
}

/// Restores the state also when the body panics.
struct Restore(Recording);

impl Drop for Restore {
    fn drop(&mut self) {
        RECORDING.set(self.0);
    }
}

/// Runs `body` without recording: its results are constants.
///
/// ```
/// use autograd::{Tape, no_grad};
/// use tensor::Tensor;
/// let tape = Tape::new();
/// let x = tape.variable(Tensor::scalar(2.0));
/// let y = no_grad(|| x.exp());
/// assert!(!y.is_tracked());
/// ```
pub fn no_grad<R>(body: impl FnOnce() -> R) -> R {
    with_recording(Recording::Off, body)
}

/// Runs `body`, in which this happens to operations on tracked values.
pub(crate) fn with_recording<R>(recording: Recording, body: impl FnOnce() -> R) -> R {
    let _restore = Restore(RECORDING.replace(recording));
    body()
}

/// Unwraps at the caller's line, for operators and functions of one operand.
#[track_caller]
pub(crate) fn unwrap<T: Float>(result: Result<Var<T>>) -> Var<T> {
    match result {
        Ok(var) => var,
        Err(error) => panic!("{error}"),
    }
}

/// An error about gradients.
#[cold]
pub(crate) fn gradient_error(operation: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Gradient, operation, message)
}
