//! The tape: an append-only list of recorded operations.
//!
//! A node is an [`Op`](crate::Op), the places of its inputs, what the op asked to keep, and the shape of its
//! output. Inputs always lie before their node, so walking the list backwards is a topological
//! order: nothing recurses, however deep the graph.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::panic::Location;
use std::rc::Rc;

use smallvec::SmallVec;
use tensor::{Error, Float, Result, Shape, Tensor};

use crate::joining::{UNNUMBERED, Whereabouts};
use crate::nodes::Nodes;
use crate::op::Recorded;
use crate::saves::Saves;
use crate::var::Var;

/// Place of a node on its tape.
pub(crate) type NodeId = u32;

/// Marks an input that is a constant.
pub(crate) const CONSTANT: NodeId = NodeId::MAX;

/// A recording of the operations on tracked values, for differentiation.
///
/// A tape is cheap to make: use a new one for every training step. It lives as long as any
/// [`Var`] on it.
///
/// ```
/// use autograd::Tape;
/// use tensor::Tensor;
///
/// let tape = Tape::new();
/// let x = tape.variable(Tensor::from([1.0, 2.0, 3.0]));
/// let loss = x.square().sum(..)?;
/// let gradients = loss.backward()?;
/// assert_eq!(gradients.of(&x)?.to_vec(), [2.0, 4.0, 6.0]);
/// # Ok::<(), autograd::Error>(())
/// ```
#[derive(Clone)]
pub struct Tape<T: Float = f32>(pub(crate) Rc<Record<T>>);

/// A function that sees, and may replace, the gradient of a value.
pub(crate) type Hook<T> = Rc<dyn Fn(&Var<T>) -> Result<Var<T>>>;

/// What all handles of one tape share.
pub(crate) struct Record<T: Float> {
    pub(crate) nodes: RefCell<Nodes<T>>,
    pub(crate) whereabouts: Whereabouts<T>,
    /// How many leaves there are.
    variables: Cell<u32>,
    /// Names given by [`Tape::scope`], of the scopes 1, 2, …; 0 is "no scope".
    pub(crate) scopes: RefCell<Vec<Rc<str>>>,
    current_scope: Cell<u32>,
    pub(crate) detect_anomalies: Cell<bool>,
    pub(crate) hooks: RefCell<HashMap<NodeId, Vec<Hook<T>>>>,
    /// What reverse passes that record themselves have recorded, for drawings.
    pub(crate) derivatives: RefCell<Derivatives>,
    /// The first anomaly met, which the next reverse pass reports.
    pub(crate) anomaly: RefCell<Option<Error>>,
}

/// Which nodes belong to the derivative of which, and which are the gradient of which.
#[derive(Default)]
pub(crate) struct Derivatives {
    /// Ranges of nodes, each with the node whose derivative (or gradient) it computes.
    pub(crate) steps: Vec<(Range<NodeId>, NodeId)>,
    /// Pairs of a gradient and the node that it is the gradient of.
    pub(crate) gradients: Vec<(NodeId, NodeId)>,
}

/// One recorded operation, or a variable.
pub(crate) struct Node<T: Float> {
    pub(crate) kind: Kind<T>,
    pub(crate) shape: Shape,
    pub(crate) location: &'static Location<'static>,
    pub(crate) scope: u32,
}

pub(crate) enum Kind<T: Float> {
    /// A leaf, made by [`Tape::variable`], and its number among them; or made by a functional tool, and
    /// [`UNNUMBERED`].
    Variable(u32),
    /// An operation whose derivative can still be taken.
    Operation(Operation<T>),
    /// An operation whose reverse pass has run, or is running.
    Freed,
}

/// An op with everything that its reverse pass needs.
pub(crate) struct Operation<T: Float> {
    pub(crate) op: Recorded<T>,
    /// Places of the inputs on this tape; [`CONSTANT`] for untracked ones.
    pub(crate) inputs: SmallVec<[NodeId; 2]>,
    /// What of them and of the output is kept: [`Op::saves`](crate::Op::saves) for the inputs that are tracked.
    pub(crate) saves: Saves,
    /// The inputs, then the output, that `saves` names.
    pub(crate) saved: Vec<Tensor<T>>,
}

/// Goes back to the scope around the current one when it is dropped.
struct OuterScope<'a> {
    current: &'a Cell<u32>,
    outer: u32,
}

impl Drop for OuterScope<'_> {
    fn drop(&mut self) {
        self.current.set(self.outer);
    }
}

impl<T: Float> Default for Tape<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> Tape<T> {
    /// An empty tape.
    pub fn new() -> Self {
        Self::with(Whereabouts::new(false))
    }

    /// A tape for the run of a function, which moves into another one where an operation has inputs on
    /// both.
    pub(crate) fn of_function() -> Self {
        Self::with(Whereabouts::new(true))
    }

    fn with(whereabouts: Whereabouts<T>) -> Self {
        Tape(Rc::new(Record {
            nodes: RefCell::new(Nodes::new()),
            whereabouts,
            variables: Cell::new(0),
            scopes: RefCell::default(),
            current_scope: Cell::new(0),
            detect_anomalies: Cell::new(false),
            hooks: RefCell::new(HashMap::new()),
            derivatives: RefCell::default(),
            anomaly: RefCell::new(None),
        }))
    }

    /// A tracked leaf with `value`: operations on it are recorded, and gradients with respect to
    /// it can be asked for.
    #[track_caller]
    pub fn variable(&self, value: Tensor<T>) -> Var<T> {
        let variables = &self.home().0.variables;
        self.leaf(value, variables.replace(variables.get() + 1))
    }

    /// [`Tape::variable`], but not numbered among the leaves that the tape's user makes.
    #[track_caller]
    pub(crate) fn unnumbered(&self, value: Tensor<T>) -> Var<T> {
        self.leaf(value, UNNUMBERED)
    }

    #[track_caller]
    fn leaf(&self, value: Tensor<T>, number: u32) -> Var<T> {
        let home = self.home();
        let node = Node {
            kind: Kind::Variable(number),
            shape: value.shape().clone(),
            location: Location::caller(),
            scope: home.0.scope(),
        };
        let id = home.0.push(node);
        Var::tracked(value, home.clone(), id)
    }

    /// The number of nodes recorded so far, variables included.
    pub fn len(&self) -> usize {
        self.home().0.nodes.borrow().len()
    }

    /// Whether nothing was recorded yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs `body`; what it records belongs to the scope `name` (a layer, say), by which errors
    /// and drawings of the graph call it. The scope ends with `body`, also when that panics.
    pub fn scope<R>(&self, name: &str, body: impl FnOnce() -> R) -> R {
        let record = &self.home().0;
        let index = {
            let mut scopes = record.scopes.borrow_mut();
            scopes.push(name.into());
            scopes.len() as u32
        };
        let _outer = OuterScope {
            current: &record.current_scope,
            outer: record.current_scope.replace(index),
        };
        crate::trace::section(name, body)
    }

    /// Anomaly mode: the first operation whose value or gradient is not finite is reported, by the
    /// next reverse pass or [`Tape::check`], as an error that names the operation, its scope, the
    /// shapes and the line that recorded it.
    ///
    /// ```
    /// use autograd::Tape;
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// tape.detect_anomalies(true);
    /// let x = tape.variable(Tensor::from([0.0, 1.0]));
    /// let loss = x.log().sum(..)?;
    /// let error = loss.backward().err().unwrap().to_string();
    /// assert!(error.starts_with("log: the value at [0] is -inf"), "{error}");
    /// # Ok::<(), autograd::Error>(())
    /// ```
    pub fn detect_anomalies(&self, on: bool) {
        self.home().0.detect_anomalies.set(on);
    }

    /// The first anomaly met so far, in anomaly mode.
    ///
    /// # Errors
    /// That anomaly.
    pub fn check(&self) -> Result<()> {
        self.home().0.anomaly.borrow().clone().map_or(Ok(()), Err)
    }

    /// The name of every operation recorded and not freed yet, in order.
    ///
    /// ```
    /// use autograd::Tape;
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// tape.variable(Tensor::scalar(1.0)).exp().sin();
    /// assert_eq!(tape.operation_names(), ["exp", "sin"]);
    /// ```
    pub fn operation_names(&self) -> Vec<String> {
        let nodes = self.home().0.nodes.borrow();
        let names = nodes.iter().filter_map(|node| match &node.kind {
            Kind::Operation(operation) => Some(operation.op.name().to_string()),
            _ => None,
        });
        names.collect()
    }

    /// Bytes of the inputs, outputs, masks and indices that recorded operations keep for their
    /// derivatives. A tensor that several operations keep counts for each.
    ///
    /// ```
    /// use autograd::Tape;
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// let x = tape.variable(Tensor::<f32>::ones([100])?);
    /// (&x + &x).flip(0)?;
    /// assert_eq!(tape.saved_bytes(), 0);
    /// x.relu();
    /// assert_eq!(tape.saved_bytes(), 400);
    /// # Ok::<(), autograd::Error>(())
    /// ```
    pub fn saved_bytes(&self) -> usize {
        let nodes = self.home().0.nodes.borrow();
        let bytes = nodes.iter().map(|node| match &node.kind {
            Kind::Operation(Operation { op, saved, .. }) => {
                let elements: usize = saved.iter().map(Tensor::len).sum();
                elements * size_of::<T>() + op.extra_bytes()
            }
            _ => 0,
        });
        bytes.sum()
    }

    /// Whether both are handles of one tape.
    pub fn is_same(&self, other: &Tape<T>) -> bool {
        Rc::ptr_eq(&self.home().0, &other.home().0)
    }

    /// Appends the operation that made `value` from `inputs`, where they are at home.
    pub(crate) fn record(
        &self,
        op: Recorded<T>,
        inputs: &[&Var<T>],
        value: Tensor<T>,
        location: &'static Location<'static>,
    ) -> Var<T> {
        let mut ids: SmallVec<[NodeId; 2]> = SmallVec::new();
        for input in inputs {
            ids.push(input.id().unwrap_or(CONSTANT));
        }
        let saves = op.saves().of_tracked(&ids);
        let mut saved: Vec<Tensor<T>> = Vec::new();
        if saves != Saves::NOTHING {
            saved.reserve_exact(saves.count(inputs.len()));
            for (index, input) in inputs.iter().enumerate() {
                if saves.has_input(index) {
                    saved.push(input.value().clone());
                }
            }
            if saves.has_output() {
                saved.push(value.clone());
            }
        }
        let node = Node {
            kind: Kind::Operation(Operation {
                op,
                inputs: ids,
                saves,
                saved,
            }),
            shape: value.shape().clone(),
            location,
            scope: self.0.current_scope.get(),
        };
        let id = self.0.push(node);
        Var::tracked(value, self.clone(), id)
    }
}

impl<T: Float> Record<T> {
    fn push(&self, node: Node<T>) -> NodeId {
        let mut nodes = self.nodes.borrow_mut();
        // Four billion nodes would take half a terabyte before this could wrap.
        let id = nodes.len() as NodeId;
        nodes.push(node);
        id
    }

    pub(crate) fn add_hook(&self, id: NodeId, hook: Hook<T>) {
        self.hooks.borrow_mut().entry(id).or_default().push(hook);
    }

    pub(crate) fn has_hooks(&self, id: NodeId) -> bool {
        let hooks = self.hooks.borrow();
        !hooks.is_empty() && hooks.contains_key(&id)
    }

    /// The hooks of node `id`, in the order of their registration.
    pub(crate) fn hooks_of(&self, id: NodeId) -> Vec<Hook<T>> {
        let hooks = self.hooks.borrow();
        // Nearly no tape has hooks: spare the others a hash per node.
        if hooks.is_empty() {
            Vec::new()
        } else {
            hooks.get(&id).cloned().unwrap_or_default()
        }
    }

    pub(crate) fn scope(&self) -> u32 {
        self.current_scope.get()
    }

    /// The name of the scope with this index; empty outside any.
    pub(crate) fn scope_name(&self, scope: u32) -> Rc<str> {
        match scope.checked_sub(1) {
            Some(index) => self.scopes.borrow()[index as usize].clone(),
            None => "".into(),
        }
    }

    /// "`op` (in scope, recorded at file:line:column)", for errors.
    pub(crate) fn describe(&self, name: &str, scope: u32, location: &Location<'_>) -> String {
        let scope = self.scope_name(scope);
        let within = if scope.is_empty() {
            String::new()
        } else {
            format!(" in `{scope}`")
        };
        format!("`{name}`{within}, recorded at {location}")
    }
}
