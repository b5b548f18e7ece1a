//! What a reverse pass finds.

use tensor::{Float, Result, Tensor};

use crate::tape::{NodeId, Tape};
use crate::var::{Var, gradient_error};

/// The gradients that a reverse pass found.
pub struct Gradients<T: Float = f32> {
    /// If it moves, so do the places.
    tape: Tape<T>,
    /// By falling place, the order in which a pass finds them; `None` for those that were taken.
    by_node: Vec<(NodeId, Option<Var<T>>)>,
}

impl<T: Float> Gradients<T> {
    /// `by_node` comes by falling place.
    pub(crate) fn new(tape: Tape<T>, by_node: Vec<(NodeId, Var<T>)>) -> Self {
        let some = |(id, gradient)| (id, Some(gradient));
        Gradients {
            tape,
            by_node: by_node.into_iter().map(some).collect(),
        }
    }

    /// Where the gradient of node `id` is, or would be.
    fn find(&self, id: NodeId) -> std::result::Result<usize, usize> {
        self.by_node.binary_search_by(|(other, _)| id.cmp(other))
    }

    /// The place of the gradient with respect to `var`, if there is one.
    fn position(&self, var: &Var<T>) -> Option<usize> {
        if !var.tape()?.is_same(&self.tape) {
            return None;
        }
        self.find(var.id()?.checked_sub(self.tape.shift())?).ok()
    }

    /// The gradient with respect to `var`, of its shape.
    ///
    /// # Errors
    /// If the output does not depend on `var`, naming it; never a silent zero.
    pub fn of(&self, var: &Var<T>) -> Result<&Tensor<T>> {
        match self.get(var) {
            Some(gradient) => Ok(gradient.value()),
            None => Err(self.missing("Gradients::of", var)),
        }
    }

    /// The gradient with respect to `var` as a value that can be differentiated again, if the
    /// pass ran with [`Reverse::create_graph`](crate::Reverse::create_graph).
    ///
    /// # Errors
    /// If the output does not depend on `var`.
    pub fn var(&self, var: &Var<T>) -> Result<Var<T>> {
        match self.get(var) {
            Some(gradient) => Ok(gradient.clone()),
            None => Err(self.missing("Gradients::var", var)),
        }
    }

    /// The gradient with respect to `var`, or `None` if the output does not depend on it, or it was
    /// taken.
    pub fn get(&self, var: &Var<T>) -> Option<&Var<T>> {
        self.by_node[self.position(var)?].1.as_ref()
    }

    /// Why there is no gradient with respect to `var`.
    #[cold]
    fn missing(&self, operation: &str, var: &Var<T>) -> tensor::Error {
        let error = match (var.tape(), self.position(var)) {
            (_, Some(_)) => gradient_error(operation, "the gradient was taken before")
                .fix("keep what `take` returned, or read the gradient by `of` before"),
            (Some(tape), _) if !tape.is_same(&self.tape) => {
                let message = "the value lies on another tape than the output";
                gradient_error(operation, message)
                    .fix("ask for a value of the tape that the reverse pass ran over")
            }
            _ => return unmet(operation, var),
        };
        error
            .with("value", var.description())
            .with("shape", var.shape())
    }

    /// Adds the gradients of another reverse pass over the same tape, as for a loss that is the
    /// sum of both losses.
    ///
    /// ```
    /// use autograd::Tape;
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// let x = tape.variable(Tensor::scalar(3.0));
    /// let mut total = x.square().backward()?;
    /// total.accumulate(&x.exp().backward()?)?;
    /// assert_eq!(total.of(&x)?.item()?, 6.0 + 3f64.exp());
    /// # Ok::<(), autograd::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the passes ran over different tapes.
    pub fn accumulate(&mut self, other: &Gradients<T>) -> Result<()> {
        if !self.tape.is_same(&other.tape) {
            return Err(gradient_error(
                "accumulate",
                "the gradients belong to two tapes",
            ));
        }
        let shift = self.tape.shift();
        self.by_node.iter_mut().for_each(|(id, _)| *id += shift);
        self.tape = self.tape.home().clone();
        for (id, gradient) in &other.by_node {
            let id = id + other.tape.shift();
            match self.find(id) {
                Ok(position) => {
                    let own = &mut self.by_node[position].1;
                    *own = match (own.take(), gradient) {
                        (Some(own), Some(gradient)) => Some(own.add(gradient)?),
                        (own, other) => own.or_else(|| other.clone()),
                    };
                }
                Err(position) => self.by_node.insert(position, (id, gradient.clone())),
            }
        }
        Ok(())
    }

    /// Takes the gradient out, so that its memory can be written to.
    ///
    /// # Errors
    /// If the output does not depend on `var`, or its gradient was taken before.
    pub fn take(&mut self, var: &Var<T>) -> Result<Tensor<T>> {
        let position = self.position(var);
        let taken = position.and_then(|position| self.by_node[position].1.take());
        match taken {
            Some(gradient) => Ok(gradient.into_value()),
            None => Err(self.missing("Gradients::take", var)),
        }
    }
}

#[cold]
pub(crate) fn unmet<T: Float>(operation: &str, var: &Var<T>) -> tensor::Error {
    gradient_error(
        operation,
        "there is no gradient: the output does not depend on the value",
    )
    .with("value", var.description())
    .with("shape", var.shape())
    .fix(
        "use the value in the computation (without `detach`); for an intermediate value, \
             name it in `reverse().only(&[…])`",
    )
}
