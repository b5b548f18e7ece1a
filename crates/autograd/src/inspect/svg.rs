//! The graph as an SVG picture, laid out by the `layout-rs` crate.

use layout::backends::svg::SVGWriter;
use layout::core::base::Orientation;
use layout::core::color::Color;
use layout::core::geometry::Point;
use layout::core::style::{LineStyleKind, StyleAttr};
use layout::std_shapes::shapes::{Arrow, Element, LineEndKind, ShapeKind};
use layout::topo::layout::VisualGraph;
use tensor::Result;

use super::dot::short_shape;
use super::{Graph, GraphNode, GraphNodeKind};
use crate::var::gradient_error;

/// Above this a picture helps nobody, and the layout takes long.
const MOST_NODES: usize = 400;
const FONT: usize = 14;

impl Graph {
    /// The graph as an SVG picture, read from top to bottom: variables are blue ellipses,
    /// operations boxes, shapes stand on the edges, and an edge is orange where the value on it
    /// is saved for the derivative.
    ///
    /// # Errors
    /// If there are more than 400 nodes.
    pub fn to_svg(&self) -> Result<String> {
        let count = self.nodes.len();
        if count > MOST_NODES {
            return Err(
                gradient_error("to_svg", format!("{count} nodes do not make a picture"))
                    .fix("print the graph, or give `to_dot()` to a viewer for large graphs"),
            );
        }
        let mut picture = VisualGraph::new(Orientation::TopToBottom);
        let handles: Vec<_> = self
            .nodes
            .iter()
            .map(|node| picture.add_node(shape(node)))
            .collect();
        for (index, node) in self.nodes.iter().enumerate() {
            for (position, input) in node.inputs.iter().enumerate() {
                let Some(input) = *input else { continue };
                let saved = node.saves_input[position] || self.nodes[input].saves_output;
                let label = short_shape(&self.nodes[input].shape);
                picture.add_edge(arrow(&label, saved), handles[input], handles[index]);
            }
        }
        let mut writer = SVGWriter::new();
        if count > 0 {
            picture.do_it(false, false, false, &mut writer);
        }
        Ok(writer
            .finalize()
            .replace("Times, serif", "Helvetica, Arial, sans-serif"))
    }
}

fn shape(node: &GraphNode) -> Element {
    let label = node.label();
    let (fill, line, kind) = match node.kind {
        GraphNodeKind::Variable => (0xd6e6_ffff, 0x3060_a0ff, ShapeKind::new_circle(&label)),
        GraphNodeKind::Operation => (0xffff_ffff, 0x3030_30ff, ShapeKind::new_box(&label)),
        GraphNodeKind::Freed => (0xf0f0_f0ff, 0xa0a0_a0ff, ShapeKind::new_box(&label)),
    };
    let look = StyleAttr::new(Color::new(line), 1, Some(Color::new(fill)), 6, FONT);
    let width = 24.0 + 8.5 * label.chars().count() as f64;
    Element::create(
        kind,
        look,
        Orientation::TopToBottom,
        Point::new(width, 32.0),
    )
}

fn arrow(label: &str, saved: bool) -> Arrow {
    let (color, width) = if saved {
        (0xc040_00ff, 2)
    } else {
        (0x8080_80ff, 1)
    };
    let look = StyleAttr::new(Color::new(color), width, None, 0, FONT - 2);
    let style = LineStyleKind::Normal;
    Arrow::new(
        LineEndKind::None,
        LineEndKind::Arrow,
        style,
        label,
        &look,
        &None,
        &None,
    )
}
