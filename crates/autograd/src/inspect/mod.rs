//! Seeing a recorded graph: a summary in text, and pictures as DOT or SVG.

mod dot;
#[cfg(feature = "svg")]
mod svg;

use std::fmt;

use tensor::{Float, Shape, Tensor};

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
    /// The op's name; empty for variables.
    pub name: String,
    /// The scope it was recorded in, such as the name of a layer; empty outside any.
    pub scope: String,
    /// The shape of the output.
    pub shape: Shape,
    /// Positions of the inputs among the nodes; `None` for constants.
    pub inputs: Vec<Option<usize>>,
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
        let nodes = self.0.nodes.borrow();
        let shape_of = |id: u32| nodes.get(id).map(|node| node.shape.clone());
        let snapshot = nodes.iter().map(|node| {
            let mut out = GraphNode {
                kind: GraphNodeKind::Variable,
                name: String::new(),
                scope: self.0.scope_name(node.scope).to_string(),
                shape: node.shape.clone(),
                inputs: Vec::new(),
                saves_input: Vec::new(),
                saves_output: false,
                saved_bytes: 0,
                flops: 0,
                location: node.location.to_string(),
            };
            match &node.kind {
                Kind::Variable => {}
                Kind::Freed => out.kind = GraphNodeKind::Freed,
                Kind::Operation(operation) => describe(operation, shape_of, &mut out),
            }
            out
        });
        Graph {
            nodes: snapshot.collect(),
        }
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
    let shapes: Vec<Shape> = inputs
        .iter()
        .zip(&out.saves_input)
        .map(|(&id, &saved)| {
            let value = if saved { kept.next() } else { None };
            // A constant that nobody saved has left no shape behind.
            value
                .map(|value| value.shape().clone())
                .or_else(|| shape_of(id))
                .unwrap_or_default()
        })
        .collect();
    out.flops = op.flops(&shapes.iter().collect::<Vec<_>>(), &out.shape);
}

impl Graph {
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

/// `1536` as `1.5 K`: three significant figures with a unit in powers of `base`.
fn with_unit(value: f64, base: f64) -> String {
    let units = ["", " K", " M", " G", " T", " P"];
    let mut scaled = value;
    let mut unit = 0;
    while scaled >= base && unit + 1 < units.len() {
        scaled /= base;
        unit += 1;
    }
    match (unit, scaled) {
        (0, _) => format!("{scaled:.0}"),
        (_, small) if small < 10.0 => format!("{small:.2}{}", units[unit]),
        (_, small) if small < 100.0 => format!("{small:.1}{}", units[unit]),
        _ => format!("{scaled:.0}{}", units[unit]),
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 6]> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| {
                let name = match node.kind {
                    GraphNodeKind::Variable => "variable",
                    GraphNodeKind::Operation => &node.name,
                    GraphNodeKind::Freed => "(freed)",
                };
                let inputs: Vec<String> = node
                    .inputs
                    .iter()
                    .map(|input| input.map_or("·".to_string(), |input| input.to_string()))
                    .collect();
                let scope = if node.scope.is_empty() {
                    ""
                } else {
                    &node.scope
                };
                [
                    index.to_string(),
                    if scope.is_empty() {
                        name.to_string()
                    } else {
                        format!("{scope} / {name}")
                    },
                    inputs.join(" "),
                    node.shape.to_string(),
                    with_unit(node.saved_bytes as f64, 1024.0),
                    with_unit(node.flops as f64, 1000.0),
                ]
            })
            .collect();
        let header = [
            "Node",
            "Operation",
            "Inputs",
            "Output",
            "Saved bytes",
            "FLOPs",
        ];
        let width: [usize; 6] = std::array::from_fn(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([header[column].len()]).max().unwrap_or(0)
        });
        let [w0, w1, w2, w3, w4, w5] = width;
        let [h0, h1, h2, h3, h4, h5] = header;
        writeln!(
            f,
            "{h0:>w0$}  {h1:<w1$}  {h2:<w2$}  {h3:<w3$}  {h4:>w4$}  {h5:>w5$}"
        )?;
        for [c0, c1, c2, c3, c4, c5] in &rows {
            writeln!(
                f,
                "{c0:>w0$}  {c1:<w1$}  {c2:<w2$}  {c3:<w3$}  {c4:>w4$}  {c5:>w5$}"
            )?;
        }
        let bytes = with_unit(self.saved_bytes() as f64, 1024.0);
        let flops = with_unit(self.flops() as f64, 1000.0);
        write!(
            f,
            "{} nodes, {bytes}B saved, {flops}FLOP forward",
            self.nodes.len()
        )
    }
}
