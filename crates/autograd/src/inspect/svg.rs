//! The graph as an SVG picture.

use std::fmt::Write;

use tensor::Result;

use super::Graph;
use super::draw::picture;
use super::picture::{Anchor, Picture, Role};
use crate::var::gradient_error;

/// Above this a picture helps nobody, and the layout takes long.
const MOST_NODES: usize = 400;

const STYLE: &str = "\
text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #1f2933 }
.shape { font-size: 11px; fill: #52606d }
.scope { font-size: 11px; fill: #7b8794 }
.title { font-size: 13px; font-weight: bold; fill: #3e4c59 }
rect { stroke-width: 1.2 }
.operation rect { fill: #ffffff; stroke: #3e4c59 }
.freed rect { fill: #f5f7fa; stroke: #9aa5b1; stroke-dasharray: 4 3 }
.parameter rect { fill: #d6e9ff; stroke: #2f6fb5 }
.saved rect { fill: #ffe8cc; stroke: #d9731a }
.derivative rect { fill: #efe5fb; stroke: #7b4bb3 }
.gradient rect { fill: #d9f2e0; stroke: #2f8f57 }
path { fill: none; stroke-width: 1.5 }
path.operation { stroke: #616e7c }
path.saved { stroke: #d9731a }
path.derivative { stroke: #7b4bb3 }
path.gradient { stroke: #2f8f57 }
path.dashed { stroke-dasharray: 5 3 }
";

impl Graph {
    /// The graph as an SVG picture with a background of its own.
    ///
    /// The forward pass is read downwards. Operations are boxes; a variable that one operation uses
    /// stands left of it, as a blue tag; shapes stand on the edges, and an edge is orange where the
    /// value on it is saved for the derivative. An orange tag tells how much an operation saves in
    /// all. What belongs to one scope has one stripe.
    ///
    /// What a reverse pass with [`Reverse::create_graph`](crate::Reverse::create_graph) recorded
    /// stands to the right in purple and is read upwards: the derivative of an operation in the row
    /// of its operation, and gradients of variables at the end as green tags.
    ///
    /// Left out, so that the picture stays readable: constants, except the first operation's;
    /// transposes, reshapes and broadcasts within derivatives; and the edges on which derivatives
    /// use values of the forward pass, of which the line from the orange tag stands for all.
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
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = write(&mut out, &picture(self));
        Ok(out)
    }
}

fn write(out: &mut String, picture: &Picture) -> std::fmt::Result {
    let (width, height) = (picture.width.ceil(), picture.height.ceil());
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<style>\n{STYLE}</style>\n<defs>"
    )?;
    for (role, color) in [
        (Role::Operation, "#616e7c"),
        (Role::Saved, "#d9731a"),
        (Role::Derivative, "#7b4bb3"),
        (Role::Gradient, "#2f8f57"),
    ] {
        writeln!(
            out,
            "<marker id=\"{}\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" \
             markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">\
             <polygon points=\"0,0.5 8,4 0,7.5\" fill=\"{color}\"/></marker>",
            role.class()
        )?;
    }
    writeln!(
        out,
        "</defs>\n<rect width=\"{width}\" height=\"{height}\" rx=\"10\" fill=\"#fcfcfd\"/>"
    )?;
    for (top, bottom) in &picture.stripes {
        let (width, height) = (width - 20.0, bottom - top);
        writeln!(
            out,
            "<rect class=\"stripe\" x=\"10\" y=\"{top:.1}\" width=\"{width}\" \
             height=\"{height:.1}\" rx=\"8\" fill=\"#f0f2f5\"/>"
        )?;
    }
    for line in &picture.lines {
        let class = line.role.class();
        let dashed = match line.dashed {
            true => " dashed",
            false => "",
        };
        write!(
            out,
            "<path class=\"{class}{dashed}\" marker-end=\"url(#{class})\" d=\""
        )?;
        let mut previous: Option<(f64, f64)> = None;
        for &(x, y) in &line.points {
            match previous {
                None => write!(out, "M{x:.1} {y:.1}")?,
                Some((px, py)) if (px - x).abs() < 0.5 || (py - y).abs() < 0.5 => {
                    write!(out, " L{x:.1} {y:.1}")?;
                }
                Some((px, py)) if line.sideways => {
                    let middle = (px + x) / 2.0;
                    write!(
                        out,
                        " C{middle:.1} {py:.1} {middle:.1} {y:.1} {x:.1} {y:.1}"
                    )?;
                }
                Some((px, py)) => {
                    let middle = (py + y) / 2.0;
                    write!(
                        out,
                        " C{px:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}"
                    )?;
                }
            }
            previous = Some((x, y));
        }
        writeln!(out, "\"/>")?;
    }
    for item in &picture.items {
        let (left, top) = (item.x - item.width / 2.0, item.y - item.height / 2.0);
        let radius = match item.role {
            Role::Parameter | Role::Gradient | Role::Saved => item.height / 2.0,
            _ => 5.0,
        };
        writeln!(
            out,
            "<g class=\"{}\"><title>{}</title><rect x=\"{left:.1}\" y=\"{top:.1}\" \
             width=\"{:.1}\" height=\"{}\" rx=\"{radius}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{}</text></g>",
            item.role.class(),
            escaped(&item.title),
            item.width,
            item.height,
            item.x,
            item.y + 4.2,
            escaped(&item.text)
        )?;
    }
    for words in &picture.words {
        let anchor = match words.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        writeln!(
            out,
            "<text class=\"{}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            words.class,
            words.x,
            words.y,
            escaped(&words.text)
        )?;
    }
    writeln!(out, "</svg>")
}

/// As XML text: its special characters as entities, and without the control characters it forbids.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            control if control.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}
