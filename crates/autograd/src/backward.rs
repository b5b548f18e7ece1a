//! What the derivative of an operation sees, and what it gives.

use std::cell::Cell;

use tensor::{Error, ErrorKind, Factored, Float, Result, Shape, Tensor};

use crate::tape::{CONSTANT, Kind, NodeId, Operation, Tape};
use crate::var::{Var, gradient_error};

/// What [`Op::vjp`](crate::Op::vjp) sees of its operation: the saved values, shapes, and which gradients are
/// wanted.
pub struct Backward<'a, T: Float> {
    pub(crate) tape: &'a Tape<T>,
    pub(crate) id: NodeId,
    pub(crate) operation: &'a Operation<T>,
    pub(crate) wanted: &'a [bool],
    /// Values whose gradients were asked for by name.
    pub(crate) targets: Option<&'a [NodeId]>,
    /// Whether `dy` is 0 already where the output is not positive.
    pub(crate) gated: bool,
    /// Memory for the list of gradients, used again for every operation.
    pub(crate) spare: Cell<Vec<Slot<T>>>,
    /// Whether saved values come back tracked, so that the derivative records itself.
    pub(crate) tracked: bool,
    /// Whether gradients of variables may be products not computed yet.
    pub(crate) defers: bool,
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
    /// If [`Op::saves`](crate::Op::saves) does not name it.
    pub fn input(&self, index: usize) -> Result<Var<T>> {
        let saves = self.operation.saves;
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

    /// All inputs, which [`Op::saves`](crate::Op::saves) must name; the pattern says how many there are.
    ///
    /// # Errors
    /// If there are any other number, or one was not saved.
    pub fn inputs<const N: usize>(&self) -> Result<[Var<T>; N]> {
        let count = self.arity();
        if count != N {
            return Err(self.error(format!("the operation has {count} inputs, not {N}")));
        }
        let mut inputs: [Option<Var<T>>; N] = [const { None }; N];
        for (index, input) in inputs.iter_mut().enumerate() {
            *input = Some(self.input(index)?);
        }
        Ok(inputs.map(|input| match input {
            Some(input) => input,
            None => unreachable!("every element was set above"),
        }))
    }

    /// The number of inputs.
    pub fn arity(&self) -> usize {
        self.operation.inputs.len()
    }

    /// The saved output.
    ///
    /// # Errors
    /// If [`Op::saves`](crate::Op::saves) does not name it.
    pub fn output(&self) -> Result<Var<T>> {
        if !self.operation.saves.has_output() {
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
            Some(&id) if id != CONSTANT => Ok(self.tape.0.nodes.borrow()[id].shape.clone()),
            _ => Ok(self.input(index)?.shape().clone()),
        }
    }

    /// `gradient` summed to the shape of input `index`, which undoes its broadcasting.
    ///
    /// # Errors
    /// Those of [`Var::sum_to`] and [`Backward::input_shape`].
    pub fn unbroadcast(&self, index: usize, gradient: Var<T>) -> Result<Var<T>> {
        if let Some(&id) = self.operation.inputs.get(index)
            && id != CONSTANT
            && self.tape.0.nodes.borrow()[id].shape == *gradient.shape()
        {
            return Ok(gradient);
        }
        gradient.sum_to(&self.input_shape(index)?)
    }

    /// The value whose positive elements alone let a gradient through, if input `index` comes from
    /// an operation that [gates its gradient](crate::Op::gates_gradient): its output, which is the input
    /// itself. A gradient that is 0 elsewhere may be given by [`InputGradients::of_gated`].
    ///
    /// `None` where somebody else sees the gradient: a hook, a caller who asked for it, or a
    /// recorded reverse pass.
    pub fn gate(&self, index: usize) -> Option<Tensor<T>> {
        let &id = self.operation.inputs.get(index)?;
        let is_seen = self.tracked
            || self.targets.is_some_and(|targets| targets.contains(&id))
            || self.tape.0.has_hooks(id);
        if id == CONSTANT || is_seen {
            return None;
        }
        let nodes = self.tape.0.nodes.borrow();
        match &nodes[id].kind {
            Kind::Operation(producer)
                if producer.op.gates_gradient() && producer.saves.has_output() =>
            {
                producer.saved.last().cloned()
            }
            _ => None,
        }
    }

    /// Whether `dy` is 0 already where the output is not positive; only ever so for operations
    /// that [gate their gradient](crate::Op::gates_gradient).
    pub fn is_gated(&self) -> bool {
        self.gated
    }

    /// Whether the gradient of input `index` is wanted.
    pub fn wants(&self, index: usize) -> bool {
        self.wanted.get(index).copied().unwrap_or(false)
    }

    /// Collects gradients; those that nobody wants are not computed.
    pub fn gradients(&self) -> InputGradients<T> {
        let mut slots = self.spare.take();
        slots.clear();
        slots.extend(self.wanted.iter().map(|&wanted| match wanted {
            true => Slot::Missing,
            false => Slot::Unwanted,
        }));
        InputGradients { slots }
    }

    /// Whether the gradient of input `index` may be given by
    /// [`InputGradients::of_product`] without being multiplied: nobody but the one who takes the
    /// complete gradient of a variable sees it.
    fn may_defer(&self, index: usize) -> bool {
        let id = self.operation.inputs[index];
        self.defers
            && id != CONSTANT
            && matches!(self.tape.0.nodes.borrow()[id].kind, Kind::Variable(_))
            && !self.tape.0.has_hooks(id)
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::new(
            ErrorKind::Gradient,
            format!("vjp of {}", self.operation.op.name()),
            message,
        )
    }
}

/// The result of [`Op::vjp`](crate::Op::vjp): one gradient per wanted input.
pub struct InputGradients<T: Float> {
    slots: Vec<Slot<T>>,
}

/// The gradient of one input.
pub(crate) enum Slot<T: Float> {
    /// Nobody asks for it.
    Unwanted,
    /// It is wanted and was not computed yet.
    Missing,
    /// The gradient, and whether it is gated.
    Given(Var<T>, bool),
    /// A gradient that is a product nobody has computed.
    Deferred(Factored<T>),
}

impl<T: Float> InputGradients<T> {
    /// Sets the gradient of input `index` to what `compute` returns; runs it only if that
    /// gradient is wanted.
    ///
    /// # Errors
    /// Those of `compute`; if there is no such input, or its gradient was given before.
    pub fn of(mut self, index: usize, compute: impl FnOnce() -> Result<Var<T>>) -> Result<Self> {
        if let Some(slot) = self.wanted(index)? {
            *slot = Slot::Given(compute()?, false);
        }
        Ok(self)
    }

    /// [`InputGradients::of`] for a gradient that is 0 wherever [`Backward::gate`] of this input
    /// is not positive.
    ///
    /// # Errors
    /// As [`InputGradients::of`].
    pub fn of_gated(
        mut self,
        index: usize,
        compute: impl FnOnce() -> Result<Var<T>>,
    ) -> Result<Self> {
        if let Some(slot) = self.wanted(index)? {
            *slot = Slot::Given(compute()?, true);
        }
        Ok(self)
    }

    /// [`InputGradients::of`] for the product of the two matrices that `factors` returns. It is
    /// computed here, or by the one who takes the gradient, if that saves memory (see
    /// [`Factored`]).
    ///
    /// ```
    /// use autograd::{Backward, InputGradients, Inputs, Op, Result, Saves, Tape, Tensor, Var};
    /// struct Product;
    /// impl Op<f32> for Product {
    ///     fn name(&self) -> &str {
    ///         "product"
    ///     }
    ///     fn forward(&mut self, inputs: Inputs<'_, f32>) -> Result<Tensor<f32>> {
    ///         let [a, b] = inputs.exactly()?;
    ///         a.matmul(b)
    ///     }
    ///     fn saves(&self) -> Saves {
    ///         Saves::INPUTS
    ///     }
    ///     fn vjp(&self, at: &Backward<'_, f32>, dy: &Var<f32>) -> Result<InputGradients<f32>> {
    ///         let [a, b] = at.inputs()?;
    ///         at.gradients()
    ///             .of_product(at, 0, || Ok([dy.clone(), b.t()]))?
    ///             .of_product(at, 1, || Ok([a.t(), dy.clone()]))
    ///     }
    /// }
    /// let tape = Tape::new();
    /// let a = tape.variable(Tensor::from([[1.0_f32, 2.0]]));
    /// let b = tape.variable(Tensor::from([[3.0], [4.0]]));
    /// let product = Product.apply(&[&a, &b])?;
    /// assert_eq!(product.backward()?.of(&b)?.to_vec(), [1.0, 2.0]);
    /// # Ok::<(), autograd::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of `factors` and [`Var::matmul`]; if there is no such input, or its gradient was given
    /// before.
    pub fn of_product(
        mut self,
        at: &Backward<'_, T>,
        index: usize,
        factors: impl FnOnce() -> Result<[Var<T>; 2]>,
    ) -> Result<Self> {
        if let Some(slot) = self.wanted(index)? {
            let [left, right] = factors()?;
            let defers = Factored::<T>::pays(left.shape(), right.shape()) && at.may_defer(index);
            *slot = match defers {
                true => Slot::Deferred(Factored::product(left.into_value(), right.into_value())?),
                false => Slot::Given(left.matmul(&right)?, false),
            };
        }
        Ok(self)
    }

    /// Says that input `index` gets no gradient by this operation, though it is wanted: the derivative
    /// is 0 whatever the numbers are.
    pub(crate) fn nothing_for(mut self, index: usize) -> Result<Self> {
        if let Some(slot) = self.wanted(index)? {
            *slot = Slot::Unwanted;
        }
        Ok(self)
    }

    /// The place of the gradient of input `index`, if it is wanted. Errors get the operation's name
    /// from the reverse pass.
    fn wanted(&mut self, index: usize) -> Result<Option<&mut Slot<T>>> {
        let inputs = self.slots.len();
        match self.slots.get_mut(index) {
            Some(slot @ Slot::Missing) => Ok(Some(slot)),
            Some(Slot::Unwanted) => Ok(None),
            Some(Slot::Given(..) | Slot::Deferred(_)) => Err(gradient_error(
                "",
                format!("the gradient of input {index} was given twice"),
            )
            .fix("give each input one gradient; add what belongs to the same input")),
            None => Err(gradient_error(
                "",
                format!("a gradient was given for input {index}, and there are {inputs} inputs"),
            )
            .fix("inputs are numbered from 0, in the order in which `apply` takes them")),
        }
    }

    pub(crate) fn into_slots(self) -> Vec<Slot<T>> {
        self.slots
    }
}
