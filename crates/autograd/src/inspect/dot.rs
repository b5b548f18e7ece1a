//! The graph in Graphviz's DOT language.

use std::fmt::Write;

use super::{Graph, GraphNode, GraphNodeKind};

impl Graph {
    /// The graph as DOT text, for Graphviz and its viewers: variables are blue ellipses,
    /// operations boxes (grey where freed), shapes stand on the edges, and an edge is bold where
    /// the value on it is saved for the derivative.
    ///
    /// ```
    /// use autograd::Tape;
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// tape.variable(Tensor::from([1.0, 2.0])).exp();
    /// let dot = tape.graph().to_dot();
    /// assert!(dot.contains("n0 -> n1 [label=\"2\""));
    /// ```
    pub fn to_dot(&self) -> String {
        let mut out = String::from("digraph tape {\n  node [fontname=\"Helvetica\"];\n");
        for (index, node) in self.nodes.iter().enumerate() {
            let style = match node.kind {
                GraphNodeKind::Variable => "shape=ellipse, style=filled, fillcolor=\"#d6e6ff\"",
                GraphNodeKind::Operation => "shape=box, style=rounded",
                GraphNodeKind::Freed => "shape=box, style=\"rounded,dashed\", color=gray",
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "  n{index} [label=\"{}\", {style}];",
                escaped(&node.label())
            );
        }
        for (index, node) in self.nodes.iter().enumerate() {
            for (position, input) in node.inputs.iter().enumerate() {
                let Some(input) = *input else { continue };
                let saved = node.saves_input[position] || self.nodes[input].saves_output;
                let style = if saved {
                    ", style=bold, color=\"#c04000\""
                } else {
                    ""
                };
                let label = short_shape(&self.nodes[input].shape);
                let _ = writeln!(out, "  n{input} -> n{index} [label=\"{label}\"{style}];");
            }
        }
        out.push_str("}\n");
        out
    }
}

impl GraphNode {
    /// A few characters: the op's name, or the scope of a variable.
    pub(super) fn label(&self) -> String {
        match self.kind {
            GraphNodeKind::Variable if self.scope.is_empty() => "variable".to_string(),
            GraphNodeKind::Variable => self.scope.clone(),
            GraphNodeKind::Operation => self.name.clone(),
            GraphNodeKind::Freed => "(freed)".to_string(),
        }
    }
}

/// `32×28×28×1`; a point for 0-d.
pub(super) fn short_shape(shape: &tensor::Shape) -> String {
    if shape.is_empty() {
        return "·".to_string();
    }
    shape
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join("×")
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', " ")
}
