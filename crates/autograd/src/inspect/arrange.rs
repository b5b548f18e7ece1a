//! Where everything in a picture goes.
//!
//! The forward pass is laid out by the `layout-rs` crate, one cell for each operation. What reverse
//! passes recorded stands beside it: the derivative of an operation in its operation's row, so that
//! forward is read downwards and backward upwards.

use layout::core::base::Orientation;
use layout::core::format::{ClipHandle, RenderBackend, Visible};
use layout::core::geometry::{Point, Position};
use layout::core::style::StyleAttr;
use layout::std_shapes::shapes::{Arrow, Element, ShapeKind};
use layout::topo::layout::VisualGraph;

use super::picture::{caption, gradient_tag, saved_tag, text_width};
use super::{Graph, GraphNodeKind};

/// Height of a box.
pub(super) const BOX: f64 = 26.0;
/// Height of the tag of a parameter, a gradient or saved bytes.
pub(super) const TAG: f64 = 20.0;
/// Between a box and the tags beside it.
pub(super) const BESIDE: f64 = 20.0;
/// From one row of a derivative to the next.
const ROW: f64 = BOX + 14.0;
/// From one tag to the next below it.
const TAG_ROW: f64 = TAG + 6.0;
/// Free space around cells, for edges and the shapes that stand on them.
const BETWEEN: [f64; 2] = [30.0, 32.0];

/// An operation (or a variable with several users) with all that stands in its row.
pub(super) struct Cell {
    /// The node of the forward pass.
    pub(super) node: usize,
    /// Variables that only this operation uses.
    pub(super) parameters: Vec<usize>,
    /// Nodes of its derivatives, by order: `stacks[0]` of the first.
    pub(super) stacks: Vec<Stack>,
    /// Centre of the operation's box.
    pub(super) x: f64,
    pub(super) y: f64,
}

/// The derivative of one operation: what hands the gradient on, from the bottom up, and beside it
/// what ends in gradients of parameters.
#[derive(Default)]
pub(super) struct Stack {
    pub(super) through: Vec<usize>,
    /// Rows, counted from the bottom, with the nodes in them.
    pub(super) aside: Vec<(usize, usize)>,
}

impl Stack {
    pub(super) fn rows(&self) -> usize {
        let aside = self.aside.iter().map(|&(row, _)| row + 1).max();
        self.through.len().max(aside.unwrap_or(0))
    }

    /// The height of a row's centre above that of the stack.
    pub(super) fn row(&self, row: usize) -> f64 {
        (row as f64 - (self.rows() as f64 - 1.0) / 2.0) * ROW
    }
}

/// An edge from one cell to another, and the points that it passes between their boxes.
pub(super) struct Route {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) between: Vec<(f64, f64)>,
}

/// A graph with a place for everything.
pub(super) struct Arrangement {
    pub(super) cells: Vec<Cell>,
    /// Edges between cells.
    pub(super) routes: Vec<Route>,
    /// For each node the cell it stands in.
    pub(super) cell_of: Vec<Option<usize>>,
    /// For each node 0 if the forward pass recorded it, 1 for the first derivative, and so on.
    pub(super) order: Vec<usize>,
}

/// For each node, the nodes that stand for its inputs: the views that derivatives are full of
/// (transposes, reshapes, broadcasts) are passed through, and constants left out.
pub(super) fn drawn_inputs(graph: &Graph) -> Vec<Vec<usize>> {
    let nodes = &graph.nodes;
    let mut stands_for: Vec<usize> = (0..nodes.len()).collect();
    for (index, node) in nodes.iter().enumerate() {
        if is_passed_through(graph, index)
            && let Some(input) = node.inputs.iter().flatten().next()
        {
            stands_for[index] = stands_for[*input];
        }
    }
    let inputs = nodes.iter().map(|node| {
        let mut inputs: Vec<usize> = Vec::new();
        for &input in node.inputs.iter().flatten() {
            if !inputs.contains(&stands_for[input]) {
                inputs.push(stands_for[input]);
            }
        }
        inputs
    });
    inputs.collect()
}

/// Whether a node of a derivative only shows its input in another way.
pub(super) fn is_passed_through(graph: &Graph, index: usize) -> bool {
    let node = &graph.nodes[index];
    node.derivative_of.is_some()
        && node.kind == GraphNodeKind::Operation
        && node.flops == 0
        && node.gradient_of.is_empty()
        && node.inputs.iter().flatten().count() == 1
}

impl Arrangement {
    pub(super) fn new(graph: &Graph, inputs: &[Vec<usize>]) -> Self {
        let nodes = &graph.nodes;
        let mut order = vec![0; nodes.len()];
        let mut forward_users = vec![Vec::new(); nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            if let Some(of) = node.derivative_of {
                order[index] = order[of] + 1;
            } else {
                inputs[index]
                    .iter()
                    .for_each(|&i| forward_users[i].push(index));
            }
        }
        let mut cells: Vec<Cell> = Vec::new();
        let mut cell_of = vec![None; nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            let is_tag = node.kind == GraphNodeKind::Variable && forward_users[index].len() == 1;
            if order[index] > 0 || is_tag {
                continue;
            }
            cell_of[index] = Some(cells.len());
            let is_own = |&i: &usize| {
                nodes[i].kind == GraphNodeKind::Variable && forward_users[i].len() == 1
            };
            let parameters: Vec<usize> = inputs[index].iter().copied().filter(is_own).collect();
            parameters
                .iter()
                .for_each(|&i| cell_of[i] = Some(cells.len()));
            cells.push(Cell {
                node: index,
                parameters,
                stacks: Vec::new(),
                x: 0.0,
                y: 0.0,
            });
        }
        let mut arrangement = Arrangement {
            cells,
            routes: Vec::new(),
            cell_of,
            order,
        };
        arrangement.stack_derivatives(graph, inputs);
        arrangement.place(graph, inputs);
        arrangement
    }

    /// Puts each node of a derivative into the cell of the operation it belongs to.
    fn stack_derivatives(&mut self, graph: &Graph, inputs: &[Vec<usize>]) {
        let nodes = &graph.nodes;
        for (index, node) in nodes.iter().enumerate() {
            if let Some(of) = node.derivative_of {
                self.cell_of[index] = self.cell_of[of];
            }
        }
        let mut users = vec![Vec::new(); nodes.len()];
        for (index, inputs) in inputs.iter().enumerate() {
            if !is_passed_through(graph, index) {
                let same = inputs
                    .iter()
                    .filter(|&&i| self.order[i] == self.order[index]);
                same.for_each(|&i| users[i].push(index));
            }
        }
        // What leads to one gradient of a variable alone stands aside; users come after inputs.
        let mut is_aside = vec![false; nodes.len()];
        for index in (0..nodes.len()).rev() {
            is_aside[index] = match &users[index][..] {
                [] => !nodes[index].gradient_of.is_empty(),
                &[user] => is_aside[user] && self.cell_of[user] == self.cell_of[index],
                _ => false,
            };
        }
        for index in 0..nodes.len() {
            let (order, cell) = (self.order[index], self.cell_of[index]);
            let (Some(cell), 1..) = (cell, order) else {
                continue;
            };
            if is_passed_through(graph, index) {
                continue;
            }
            let stacks = &mut self.cells[cell].stacks;
            stacks.resize_with(stacks.len().max(order), Stack::default);
            let stack = &mut stacks[order - 1];
            if is_aside[index] {
                stack.aside.push((0, index));
            } else {
                stack.through.push(index);
            }
        }
        for stack in self.cells.iter_mut().flat_map(|cell| &mut cell.stacks) {
            // A row is taken where a gradient that is handed on is a parameter's as well.
            let tagged = |row: usize| {
                let node = stack.through.get(row);
                node.is_some_and(|&node| !nodes[node].gradient_of.is_empty())
            };
            let mut rows = (0..).filter(|&row| !tagged(row));
            for (entry, row) in stack.aside.iter_mut().zip(&mut rows) {
                entry.0 = row;
            }
        }
    }

    /// Lays out the forward pass, with room for the rest in each cell.
    fn place(&mut self, graph: &Graph, inputs: &[Vec<usize>]) {
        let mut plan = VisualGraph::new(Orientation::TopToBottom);
        let mut handles = Vec::with_capacity(self.cells.len());
        for cell in &self.cells {
            let ([left, right], height) = self.extents(graph, cell);
            let size = Point::new(left + right, height);
            let mut element = Element::create(
                ShapeKind::new_box(""),
                StyleAttr::simple(),
                Orientation::TopToBottom,
                size,
            );
            let centre = Point::new((left - right) / 2.0, 0.0);
            let around = Point::new(BETWEEN[0], BETWEEN[1]);
            element.pos = Position::new(Point::zero(), size, centre, around);
            handles.push(plan.add_node(element));
        }
        for (to, cell) in self.cells.iter().enumerate() {
            for from in inputs[cell.node].iter().filter_map(|&i| self.cell_of[i]) {
                if from != to {
                    plan.add_edge(Arrow::simple(""), handles[from], handles[to]);
                    let between = Vec::new();
                    self.routes.push(Route { from, to, between });
                }
            }
        }
        if self.cells.is_empty() {
            return;
        }
        let mut paths = Paths::default();
        plan.do_it(false, false, false, &mut paths);
        for (cell, &handle) in self.cells.iter_mut().zip(&handles) {
            let centre = plan.element(handle).position().center();
            (cell.x, cell.y) = (centre.x, centre.y);
        }
        for (route, path) in self.routes.iter_mut().zip(paths.0) {
            route.between = path;
        }
    }

    /// How far a cell reaches to the left and right of its box's centre, whatever order of
    /// derivative stands there; and its height.
    fn extents(&self, graph: &Graph, cell: &Cell) -> ([f64; 2], f64) {
        let tags = |nodes: &[usize]| {
            let widths = nodes.iter().map(|&i| text_width(&graph.nodes[i].tag()));
            widths.fold(0.0, f64::max)
        };
        let half = |node: usize| text_width(&caption(&graph.nodes[node])) / 2.0;
        let mut left = half(cell.node);
        let mut right = left;
        if graph.nodes[cell.node].saved_bytes > 0 {
            right += BESIDE + text_width(&saved_tag(&graph.nodes[cell.node]));
        }
        if !cell.parameters.is_empty() {
            left += BESIDE + tags(&cell.parameters);
        }
        let mut height = BOX.max(cell.parameters.len() as f64 * TAG_ROW);
        for stack in &cell.stacks {
            let through = stack.through.iter().map(|&i| half(i)).fold(0.0, f64::max);
            let aside = stack.aside.iter().map(|&(_, i)| 2.0 * half(i) + BESIDE);
            let nodes = stack
                .through
                .iter()
                .chain(stack.aside.iter().map(|(_, i)| i));
            let gradients = nodes.filter_map(|&i| gradient_tag(graph, i));
            let gradients = gradients.map(|text| BESIDE + text_width(&text));
            let widest = aside.fold(0.0, f64::max) + gradients.fold(0.0, f64::max);
            left = left.max(through);
            right = right.max(through + widest);
            height = height.max(stack.rows() as f64 * ROW - (ROW - BOX));
        }
        ([left, right], height)
    }

    /// Whether no other cell stands in the same row.
    pub(super) fn is_alone(&self, index: usize) -> bool {
        let y = self.cells[index].y;
        let same = |cell: &&Cell| (cell.y - y).abs() < BOX;
        self.cells.iter().filter(same).count() == 1
    }

    /// The height of the centre of a cell's parameter `index` below that of the cell.
    pub(super) fn tag_row(cell: &Cell, index: usize) -> f64 {
        (index as f64 - (cell.parameters.len() as f64 - 1.0) / 2.0) * TAG_ROW
    }
}

/// Keeps the paths of the edges, in order, and draws nothing.
#[derive(Default)]
struct Paths(Vec<Vec<(f64, f64)>>);

impl RenderBackend for Paths {
    fn draw_rect(
        &mut self,
        _: Point,
        _: Point,
        _: &StyleAttr,
        _: Option<String>,
        _: Option<ClipHandle>,
    ) {
    }
    fn draw_line(&mut self, _: Point, _: Point, _: &StyleAttr, _: Option<String>) {}
    fn draw_circle(&mut self, _: Point, _: Point, _: &StyleAttr, _: Option<String>) {}
    fn draw_text(&mut self, _: Point, _: &str, _: &StyleAttr) {}
    fn draw_arrow(
        &mut self,
        path: &[(Point, Point)],
        _dashed: bool,
        _head: (bool, bool),
        _look: &StyleAttr,
        _properties: Option<String>,
        _text: &str,
    ) {
        // The first pair leaves the box; each further one is a control point and a point.
        let inner = path.get(1..path.len().saturating_sub(1)).unwrap_or(&[]);
        self.0
            .push(inner.iter().map(|(_, to)| (to.x, to.y)).collect());
    }
    fn create_clip(&mut self, _: Point, _: Point, _: usize) -> ClipHandle {
        0
    }
}
