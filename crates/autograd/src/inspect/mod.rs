//! Seeing a recorded graph: a summary in text, and pictures as DOT or SVG.

#[cfg(feature = "svg")]
mod arrange;
mod dot;
#[cfg(feature = "svg")]
mod draw;
#[cfg(feature = "svg")]
mod picture;
#[cfg(feature = "svg")]
mod svg;
mod table;

use tensor::{Error, Float, Result, Shape, Tensor};

use crate::tape::{CONSTANT, Kind, Operation, Tape};

/// A snapshot of what a tape holds: nodes with shapes, saved bytes and arithmetic.
///
/// Printing it gives a table; [`Graph::to_dot`] and [`Graph::to_svg`] draw it.
///
/// ```
/// use autograd::Tape;
/// use tensor::Tensor;
/// let tape = Tape::new();
/// let x = tape.variable(Tensor::from([1.0, 2.0]));
/// let y = (x.sin() * x.exp()).sum(..)?;
/// println!("{}", tape.graph());
/// assert_eq!(tape.graph().nodes().len(), 5);
/// # Ok::<(), autograd::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Graph {
    nodes: Vec<GraphNode>,
}

/// One node of a [`Graph`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GraphNode {
    /// What the node is.
    pub kind: GraphNodeKind,
    /// The op's name; for a variable, what it is called, if anything.
    pub name: String,
    /// The scope it was recorded in, such as the name of a layer; empty outside any.
    pub scope: String,
    /// The shape of the output.
    pub shape: Shape,
    /// Positions of the inputs among the nodes; `None` for constants.
    pub inputs: Vec<Option<usize>>,
    /// The shape of each input; `None` for a constant that left none behind.
    pub input_shapes: Vec<Option<Shape>>,
    /// For each input, whether its value is saved for the derivative.
    pub saves_input: Vec<bool>,
    /// Whether the output is saved for the derivative.
    pub saves_output: bool,
    /// Bytes kept for the derivative: saved values, masks, indices.
    pub saved_bytes: usize,
    /// Floating-point operations of the forward run.
    pub flops: u64,
    /// The line that recorded it, as `file:line:column`.
    pub location: String,
    /// Of a node that a reverse pass recorded: the node whose derivative it belongs to.
    pub derivative_of: Option<usize>,
    /// The nodes, mostly variables, that this one is the gradient of.
    pub gradient_of: Vec<usize>,
}

impl GraphNode {
    /// A variable.
    pub fn variable(name: impl Into<String>, shape: impl Into<Shape>) -> Self {
        Self::new(GraphNodeKind::Variable, name.into(), shape.into())
    }

    /// An operation on the nodes at these positions.
    pub fn operation(
        name: impl Into<String>,
        shape: impl Into<Shape>,
        inputs: impl IntoIterator<Item = usize>,
    ) -> Self {
        let mut node = Self::new(GraphNodeKind::Operation, name.into(), shape.into());
        node.inputs = inputs.into_iter().map(Some).collect();
        node.input_shapes = vec![None; node.inputs.len()];
        node.saves_input = vec![false; node.inputs.len()];
        node
    }

    /// The same with a constant of this shape as a further input.
    #[must_use]
    pub fn on_constant(mut self, shape: impl Into<Shape>) -> Self {
        self.inputs.push(None);
        self.input_shapes.push(Some(shape.into()));
        self.saves_input.push(false);
        self
    }

    fn new(kind: GraphNodeKind, name: String, shape: Shape) -> Self {
        GraphNode {
            kind,
            name,
            scope: String::new(),
            shape,
            inputs: Vec::new(),
            input_shapes: Vec::new(),
            saves_input: Vec::new(),
            saves_output: false,
            saved_bytes: 0,
            flops: 0,
            location: String::new(),
            derivative_of: None,
            gradient_of: Vec::new(),
        }
    }
}

/// What a node of a [`Graph`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphNodeKind {
    /// A leaf that gradients can be asked for.
    Variable,
    /// A recorded operation.
    Operation,
    /// An operation that a reverse pass has consumed.
    Freed,
}

impl<T: Float> Tape<T> {
    /// A snapshot of everything recorded so far. Take it before a reverse pass frees the graph;
    /// after one with [`Reverse::create_graph`](crate::Reverse::create_graph) it holds the
    /// operations of the derivative too.
    pub fn graph(&self) -> Graph {
        let record = &self.home().0;
        let nodes = record.nodes.borrow();
        let shape_of = |id: u32| nodes.get(id).map(|node| node.shape.clone());
        let snapshot = nodes.iter().map(|node| {
            let kind = match &node.kind {
                Kind::Variable(_) => GraphNodeKind::Variable,
                Kind::Freed => GraphNodeKind::Freed,
                Kind::Operation(_) => GraphNodeKind::Operation,
            };
            let mut out = GraphNode::new(kind, String::new(), node.shape.clone());
            out.scope = record.scope_name(node.scope).to_string();
            out.location = node.location.to_string();
            if let Kind::Operation(operation) = &node.kind {
                describe(operation, shape_of, &mut out);
            }
            out
        });
        let mut nodes: Vec<GraphNode> = snapshot.collect();
        let derivatives = record.derivatives.borrow();
        for (range, of) in &derivatives.steps {
            for node in &mut nodes[range.start as usize..range.end as usize] {
                node.derivative_of = Some(*of as usize);
            }
        }
        for &(gradient, of) in &derivatives.gradients {
            nodes[gradient as usize].gradient_of.push(of as usize);
        }
        Graph { nodes }
    }
}

fn describe<T: Float>(
    operation: &Operation<T>,
    shape_of: impl Fn(u32) -> Option<Shape>,
    out: &mut GraphNode,
) {
    let Operation {
        op,
        inputs,
        saves,
        saved,
    } = operation;
    out.kind = GraphNodeKind::Operation;
    out.name = op.name().to_string();
    out.inputs = inputs
        .iter()
        .map(|&id| (id != CONSTANT).then_some(id as usize))
        .collect();
    out.saves_input = (0..inputs.len())
        .map(|index| saves.has_input(index))
        .collect();
    out.saves_output = saves.has_output();
    out.saved_bytes =
        saved.iter().map(Tensor::len).sum::<usize>() * size_of::<T>() + op.extra_bytes();
    let mut kept = saved.iter();
    out.input_shapes = inputs
        .iter()
        .zip(&out.saves_input)
        .map(|(&id, &saved)| {
            let value = if saved { kept.next() } else { None };
            // A constant that nobody saved has left no shape behind.
            value
                .map(|value| value.shape().clone())
                .or_else(|| shape_of(id))
        })
        .collect();
    let unknown = Shape::default();
    let shapes = out.input_shapes.iter();
    let shapes: Vec<&Shape> = shapes
        .map(|shape| shape.as_ref().unwrap_or(&unknown))
        .collect();
    out.flops = op.flops(&shapes, &out.shape);
}

impl Graph {
    /// A graph of any origin, to be printed or drawn.
    ///
    /// ```
    /// use autograd::{Graph, GraphNode};
    /// let graph = Graph::new([
    ///     GraphNode::variable("kernel", [784, 10]),
    ///     GraphNode::operation("dense", [10], [0]),
    /// ])?;
    /// assert!(graph.to_dot().contains("dense"));
    /// # Ok::<(), autograd::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a node has an input, or is the derivative of a node, that does not come before it, or is
    /// the gradient of one that does not exist.
    pub fn new(nodes: impl IntoIterator<Item = GraphNode>) -> Result<Self> {
        let mut nodes: Vec<GraphNode> = nodes.into_iter().collect();
        for (index, node) in nodes.iter_mut().enumerate() {
            node.input_shapes.resize(node.inputs.len(), None);
            node.saves_input.resize(node.inputs.len(), false);
            let earlier = node.inputs.iter().flatten().chain(&node.derivative_of);
            let late = earlier.chain(&node.gradient_of).find(|&&i| i >= index);
            if let Some(late) = late {
                return Err(Error::value(
                    "graph",
                    format!("node {index} refers to node {late}, which does not come before it"),
                ));
            }
        }
        Ok(Graph { nodes })
    }

    /// The nodes, inputs before their users.
    pub fn nodes(&self) -> &[GraphNode] {
        &self.nodes
    }

    /// Bytes kept for derivatives. A tensor that several operations keep counts for each.
    pub fn saved_bytes(&self) -> usize {
        self.nodes.iter().map(|node| node.saved_bytes).sum()
    }

    /// Floating-point operations of the forward run.
    pub fn flops(&self) -> u64 {
        self.nodes
            .iter()
            .map(|node| node.flops)
            .fold(0, u64::saturating_add)
    }
}
