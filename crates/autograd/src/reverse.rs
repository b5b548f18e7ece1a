//! The reverse pass: from one output back to everything it depends on, without recursion.

use std::cell::Cell;

use smallvec::SmallVec;
use tensor::{Error, Factored, Float, Result, Shape, Tensor};

use crate::anomaly::check_output;
use crate::backward::{Backward, Slot};
use crate::gradients::{Gradients, unmet};
use crate::joining::UNNUMBERED;
use crate::pending::{Contribution, Pending};
use crate::tape::{CONSTANT, Kind, NodeId, Operation, Tape};
use crate::trace::{self, SpanKind};
use crate::var::{Var, gradient_error};

/// A reverse pass being configured; made by [`Var::reverse`].
#[must_use = "call `run()`"]
pub struct Reverse<'a, T: Float> {
    output: &'a Var<T>,
    seed: Option<Var<T>>,
    keep_graph: bool,
    create_graph: bool,
    targets: Option<Vec<&'a Var<T>>>,
}

impl<'a, T: Float> Reverse<'a, T> {
    pub(crate) fn new(output: &'a Var<T>) -> Self {
        Reverse {
            output,
            seed: None,
            keep_graph: false,
            create_graph: false,
            targets: None,
        }
    }

    /// The gradient of the final loss with respect to the output, of the output's shape; needed
    /// where the output is not a single number.
    pub fn seed(mut self, seed: &Var<T>) -> Self {
        self.seed = Some(seed.clone());
        self
    }

    /// Keeps what was recorded, so that another reverse pass can run over it.
    pub fn keep_graph(mut self) -> Self {
        self.keep_graph = true;
        self
    }

    /// Records the reverse pass itself, so that its gradients ([`Gradients::var`]) can be
    /// differentiated again; keeps the graph.
    pub fn create_graph(mut self) -> Self {
        self.create_graph = true;
        self.keep_graph = true;
        self
    }

    /// Computes the gradients of these values only, which may be intermediate ones.
    pub fn only(mut self, targets: &[&'a Var<T>]) -> Self {
        self.targets = Some(targets.to_vec());
        self
    }

    /// Runs the pass.
    ///
    /// # Errors
    /// If the output is not tracked, has more than one element and no seed, or its graph was
    /// freed; if a derivative fails.
    pub fn run(self) -> Result<Gradients<T>> {
        let (mut pass, last) = self.begin()?;
        for id in (0..=last).rev() {
            pass.visit(id)?;
        }
        Ok(Gradients::new(pass.tape.clone(), pass.results))
    }

    /// Runs the pass and calls `take(number, gradient)` for each variable as soon as its gradient
    /// is complete; variables are numbered from 0 in the order in which the tape made them.
    ///
    /// A variable made just before its first use is complete as soon as that use has been passed,
    /// so that its gradient can be used up and its memory serve what remains of the pass: large
    /// networks need no room for all gradients at once. A large gradient that is a product of two
    /// thin matrices comes as those ([`Factored`]), for [`Tensor::update`] to use without storing it.
    ///
    /// ```
    /// use autograd::{Error, Tape};
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// let a = tape.variable(Tensor::scalar(2.0));
    /// let b = tape.variable(Tensor::scalar(3.0));
    /// let mut found = Vec::new();
    /// a.mul(&b)?.reverse().hand_out(|number, gradient| {
    ///     found.push((number, gradient.into_tensor()?.item()?));
    ///     Ok::<(), Error>(())
    /// })?;
    /// assert_eq!(found, [(1, 2.0), (0, 3.0)]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Reverse::run`], and the first that `take` returns, which ends the pass.
    pub fn hand_out<E: From<Error>>(
        self,
        mut take: impl FnMut(usize, Factored<T>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let (mut pass, last) = self.begin()?;
        pass.defers = !self.create_graph && !pass.tape.0.detect_anomalies.get();
        for id in (0..=last).rev() {
            pass.visit(id)?;
            let complete = pass.results.drain(..);
            let complete = complete.map(|(id, gradient)| (id, gradient.into_value().into()));
            for (id, gradient) in complete.chain(take_of(&mut pass.deferred, id)) {
                if let Some(number) = variable_number(pass.tape, id) {
                    take(number, gradient)?;
                }
            }
        }
        Ok(())
    }

    /// The pass, about to visit the last node.
    fn begin(&self) -> Result<(Pass<'a, T>, NodeId)> {
        // Before anything depends on where the nodes are.
        if let (true, Some(tape), Some(seed)) = (self.create_graph, self.output.tape(), &self.seed)
            && let Some(other) = seed.tape()
        {
            tape.join(other);
        }
        let (Some(tape), Some(last)) = (self.output.tape(), self.output.id()) else {
            return Err(
                gradient_error("backward", "the output does not depend on any variable")
                    .with("output", self.output.shape())
                    .fix("make the inputs with `tape.variable(…)`, and do not `detach` on the way"),
            );
        };
        tape.check()?;
        if tape.0.detect_anomalies.get() {
            check_output(self.output)?;
        }
        let mut pass = Pass::new(tape, last, self)?;
        let first = Contribution {
            gradient: self.first_gradient()?,
            gated: false,
        };
        pass.pending.add(last, first, self.create_graph)?;
        Ok((pass, last))
    }

    fn first_gradient(&self) -> Result<Var<T>> {
        let shape = self.output.shape();
        match &self.seed {
            Some(seed) if seed.shape() == shape => Ok(seed.clone()),
            Some(seed) => Err(gradient_error("backward", "the seed has another shape")
                .with("output", shape)
                .with("seed", seed.shape())),
            None if shape.elements() == 1 => Ok(Var::constant(Tensor::full(shape, T::ONE)?)),
            None => Err(
                gradient_error("backward", "the output is not a single number")
                    .with("output", shape)
                    .fix("reduce it (`sum`, `mean`), or give a seed: `reverse().seed(&s).run()`"),
            ),
        }
    }
}

/// One run of the reverse pass.
struct Pass<'a, T: Float> {
    tape: &'a Tape<T>,
    pending: Pending<T>,
    /// Gradients that were asked for, by falling place.
    results: Vec<(NodeId, Var<T>)>,
    /// Which nodes lead to a target; `None` if every tracked value is wanted.
    relevant: Option<Vec<bool>>,
    targets: Option<Vec<NodeId>>,
    keep_graph: bool,
    create_graph: bool,
    /// Whether gradients of variables may be products that nobody has computed, …
    defers: bool,
    /// … which wait here for their node's turn, at most one for each.
    deferred: Vec<(NodeId, Factored<T>)>,
    /// Memory for the gradients of one operation.
    spare: Vec<Slot<T>>,
    _running: Running<'a>,
}

/// Counts a reverse pass while it runs: the nodes that it is about must stay where they are.
struct Running<'a>(&'a Cell<u32>);

impl<'a> Running<'a> {
    fn over<T: Float>(tape: &'a Tape<T>) -> Self {
        let passes = &tape.0.whereabouts.passes;
        passes.set(passes.get() + 1);
        Running(passes)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl<'a, T: Float> Pass<'a, T> {
    fn new(tape: &'a Tape<T>, last: NodeId, reverse: &Reverse<'_, T>) -> Result<Self> {
        let mut targets = None;
        if let Some(vars) = &reverse.targets {
            let ids = vars.iter().map(|var| match (var.tape(), var.id()) {
                (Some(other), Some(id)) if other.is_same(tape) => Ok(id),
                _ => Err(unmet("backward", var)),
            });
            targets = Some(ids.collect::<Result<Vec<NodeId>>>()?);
        }
        let relevant = targets
            .as_ref()
            .map(|targets| relevant_nodes(tape, last, targets));
        Ok(Pass {
            tape,
            pending: Pending::new(last),
            results: Vec::new(),
            relevant,
            targets,
            keep_graph: reverse.keep_graph,
            create_graph: reverse.create_graph,
            defers: false,
            deferred: Vec::new(),
            spare: Vec::new(),
            _running: Running::over(tape),
        })
    }

    /// Takes the step of node `id` if the output depends on it.
    fn visit(&mut self, id: NodeId) -> Result<()> {
        let Some(mut gradient) = self.pending.take(id) else {
            return Ok(());
        };
        if let Some((_, product)) = take_of(&mut self.deferred, id) {
            gradient = gradient.plus(computed(product)?, self.create_graph)?;
        }
        self.step(id, gradient)
    }

    /// Keeps a product for node `id`, or adds it to what the node has.
    fn defer(&mut self, id: NodeId, product: Factored<T>) -> Result<()> {
        if self.deferred.iter().any(|&(other, _)| other == id) {
            return self.pending.add(id, computed(product)?, self.create_graph);
        }
        self.deferred.push((id, product));
        Ok(())
    }

    /// Hands the complete gradient of node `id` on to its inputs.
    fn step(&mut self, id: NodeId, complete: Contribution<T>) -> Result<()> {
        let Contribution {
            mut gradient,
            gated,
        } = complete;
        for hook in self.tape.0.hooks_of(id) {
            let replaced = hook(&gradient)?;
            if replaced.shape() != gradient.shape() {
                return Err(
                    gradient_error("on_gradient", "the hook changed the gradient's shape")
                        .with("gradient", gradient.shape())
                        .with("returned", replaced.shape()),
                );
            }
            gradient = replaced;
        }
        let operation = {
            let nodes = &mut *self.tape.0.nodes.borrow_mut();
            let node = &mut nodes[id];
            let wanted = match &self.targets {
                Some(targets) => targets.contains(&id),
                None => matches!(node.kind, Kind::Variable(_)),
            };
            if wanted {
                if let Some(gradient) = gradient.id() {
                    let mut derivatives = self.tape.0.derivatives.borrow_mut();
                    derivatives.gradients.push((gradient, id));
                }
                self.results.push((id, gradient.clone()));
            }
            match std::mem::replace(&mut node.kind, Kind::Freed) {
                leaf @ Kind::Variable(_) => {
                    node.kind = leaf;
                    return Ok(());
                }
                Kind::Operation(operation) => operation,
                Kind::Freed => {
                    return Err(gradient_error(
                        "backward",
                        "the graph was freed by an earlier reverse pass",
                    )
                    .with("operation recorded at", node.location)
                    .fix("run the earlier pass with `reverse().keep_graph().run()`"));
                }
            }
        };
        let result = self.hand_on(id, &operation, &gradient, gated);
        if self.keep_graph {
            self.tape.0.nodes.borrow_mut()[id].kind = Kind::Operation(operation);
        }
        result
    }

    fn hand_on(
        &mut self,
        id: NodeId,
        operation: &Operation<T>,
        gradient: &Var<T>,
        gated: bool,
    ) -> Result<()> {
        let relevant = self.relevant.as_deref();
        let mut wanted: SmallVec<[bool; 8]> = SmallVec::new();
        for &input in &operation.inputs {
            let leads_on = || relevant.is_none_or(|relevant| relevant[input as usize]);
            wanted.push(input != CONSTANT && leads_on());
        }
        if !wanted.contains(&true) {
            return Ok(());
        }
        let _span = trace::is_on().then(|| {
            let scope = self.tape.0.scope_name(self.tape.0.nodes.borrow()[id].scope);
            trace::begin(operation.op.name(), Some(&scope), SpanKind::Backward)
        });
        let at = Backward {
            tape: self.tape,
            id,
            operation,
            wanted: &wanted,
            targets: self.targets.as_deref(),
            gated,
            spare: Cell::new(std::mem::take(&mut self.spare)),
            tracked: self.create_graph,
            defers: self.defers,
        };
        let start = self.recorded();
        let given = match operation.op.vjp(&at, gradient) {
            Ok(given) => given,
            Err(error) => return Err(self.in_vjp(id, operation, error)),
        };
        let mut slots = given.into_slots();
        self.note(start, id);
        for (index, slot) in slots.drain(..).enumerate() {
            let (gradient, gated) = match slot {
                Slot::Unwanted => continue,
                Slot::Missing => (None, false),
                Slot::Given(gradient, gated) => (Some(gradient), gated),
                Slot::Deferred(product) => {
                    self.require_shape(id, operation, index, product.shape())?;
                    self.defer(operation.inputs[index], product)?;
                    continue;
                }
            };
            let gradient = self.checked(id, operation, index, gradient)?;
            let input = operation.inputs[index];
            let start = self.recorded();
            let contribution = Contribution { gradient, gated };
            self.pending.add(input, contribution, self.create_graph)?;
            self.note(start, input);
        }
        self.spare = slots;
        Ok(())
    }

    /// The number of nodes on the tape, if the pass records itself.
    fn recorded(&self) -> Option<NodeId> {
        self.create_graph.then(|| self.tape.len() as NodeId)
    }

    /// Notes that what was recorded since `start` computes the derivative, or the gradient, of node
    /// `id`.
    fn note(&self, start: Option<NodeId>, id: NodeId) {
        if let (Some(start), Some(end)) = (start, self.recorded())
            && start < end
        {
            let mut derivatives = self.tape.0.derivatives.borrow_mut();
            derivatives.steps.push((start..end, id));
        }
    }

    /// Refuses a gradient that is missing, has a wrong shape, or (in anomaly mode) is not finite.
    fn checked(
        &self,
        id: NodeId,
        operation: &Operation<T>,
        index: usize,
        gradient: Option<Var<T>>,
    ) -> Result<Var<T>> {
        let name = operation.op.name();
        let recorded = || self.recorded_at(id, name);
        let Some(gradient) = gradient else {
            return Err(gradient_error(
                name,
                format!("its derivative gave no gradient for input {index}"),
            )
            .with("operation", recorded())
            .fix("`Op::vjp` must set a gradient for every input that `Backward::wants`"));
        };
        self.require_shape(id, operation, index, gradient.shape())?;
        if self.tape.0.detect_anomalies.get() {
            crate::anomaly::check_gradient(&recorded(), name, index, &gradient)?;
        }
        Ok(gradient)
    }

    /// Refuses a gradient that has not the shape of input `index`.
    fn require_shape(
        &self,
        id: NodeId,
        operation: &Operation<T>,
        index: usize,
        shape: &Shape,
    ) -> Result<()> {
        let expected = &self.tape.0.nodes.borrow()[operation.inputs[index]].shape;
        if shape == expected {
            return Ok(());
        }
        let name = operation.op.name();
        let message = format!("the gradient of input {index} has a wrong shape");
        Err(gradient_error(name, message)
            .with("operation", self.recorded_at(id, name))
            .with("input", expected)
            .with("gradient", shape)
            .fix("undo broadcasting with `sum_to`"))
    }

    /// Names the operation whose derivative failed, if the error does not name one.
    #[cold]
    fn in_vjp(&self, id: NodeId, operation: &Operation<T>, error: Error) -> Error {
        if !error.operation().is_empty() {
            return error;
        }
        let name = operation.op.name();
        error
            .in_operation(&format!("vjp of {name}"))
            .with("operation", self.recorded_at(id, name))
    }

    /// Operation `name` of node `id`, for messages.
    fn recorded_at(&self, id: NodeId, name: &str) -> String {
        let node = &self.tape.0.nodes.borrow()[id];
        self.tape.0.describe(name, node.scope, node.location)
    }
}

/// The entry of node `id`, which leaves the list.
fn take_of<G>(list: &mut Vec<(NodeId, G)>, id: NodeId) -> Option<(NodeId, G)> {
    let position = list.iter().position(|&(other, _)| other == id)?;
    Some(list.swap_remove(position))
}

/// A contribution that was left undone until now.
fn computed<T: Float>(product: Factored<T>) -> Result<Contribution<T>> {
    Ok(Contribution {
        gradient: Var::constant(product.into_tensor()?),
        gated: false,
    })
}

/// The number of node `id` among the variables, if it is one.
fn variable_number<T: Float>(tape: &Tape<T>, id: NodeId) -> Option<usize> {
    match tape.0.nodes.borrow()[id].kind {
        Kind::Variable(number) if number != UNNUMBERED => Some(number as usize),
        _ => None,
    }
}

/// Whether `y` was computed from `x`, even where its derivative is 0 whatever the numbers are.
pub(crate) fn depends_on<T: Float>(y: &Var<T>, x: &Var<T>) -> bool {
    let (Some(tape), Some(last), Some(target)) = (y.tape(), y.id(), x.id()) else {
        return false;
    };
    x.tape().is_some_and(|other| other.is_same(tape))
        && relevant_nodes(tape, last, &[target])[last as usize]
}

/// `relevant[node]` for nodes that a target leads to, targets included.
fn relevant_nodes<T: Float>(tape: &Tape<T>, last: NodeId, targets: &[NodeId]) -> Vec<bool> {
    let nodes = tape.0.nodes.borrow();
    let mut relevant = vec![false; last as usize + 1];
    for &target in targets {
        if let Some(entry) = relevant.get_mut(target as usize) {
            *entry = true;
        }
    }
    for (id, node) in nodes.iter().enumerate().take(last as usize + 1) {
        if let Kind::Operation(operation) = &node.kind {
            relevant[id] |= operation
                .inputs
                .iter()
                .any(|&input| input != CONSTANT && relevant[input as usize]);
        }
    }
    relevant
}
