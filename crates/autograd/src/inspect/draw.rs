//! Draws a graph: turns its arrangement into boxes, tags, lines and words.

use super::arrange::{Arrangement, BESIDE, BOX, Cell, TAG, drawn_inputs};
use super::picture::{
    Anchor, Item, Line, Picture, Role, Words, caption, gradient_tag, saved_tag, shape_text,
    text_width,
};
use super::table::with_unit;
use super::{Graph, GraphNode, GraphNodeKind};

/// Between the columns of the forward pass and of its derivatives.
const COLUMN: f64 = 20.0;

/// A picture that is being made.
struct Drawing<'a> {
    graph: &'a Graph,
    inputs: Vec<Vec<usize>>,
    plan: Arrangement,
    /// Index of each node's box among the items.
    item_of: Vec<Option<usize>>,
    picture: Picture,
}

pub(super) fn picture(graph: &Graph) -> Picture {
    let inputs = drawn_inputs(graph);
    let plan = Arrangement::new(graph, &inputs);
    let mut drawing = Drawing {
        graph,
        inputs,
        plan,
        item_of: vec![None; graph.nodes.len()],
        picture: Picture::default(),
    };
    drawing.forward();
    let orders = drawing.plan.order.iter().max().copied().unwrap_or(0);
    for order in 1..=orders {
        drawing.derivative(order);
    }
    drawing.saved();
    drawing.lines();
    drawing.titles(orders);
    drawing.stripes();
    drawing.picture.framed()
}

impl Drawing<'_> {
    /// Adds the box or tag of a node.
    fn item(&mut self, node: Option<usize>, role: Role, text: String, x: f64, y: f64) -> usize {
        let mut title = String::new();
        if let Some(node) = node {
            let node = &self.graph.nodes[node];
            title = format!("{} {}", node.label(), shape_text(&node.shape));
            if node.flops > 0 {
                title += &format!(", {}FLOP", with_unit(node.flops as f64, 1000.0));
            }
        }
        let height = match role {
            Role::Operation | Role::Freed | Role::Derivative => BOX,
            _ => TAG,
        };
        self.picture.items.push(Item {
            role,
            width: text_width(&text),
            text,
            title,
            x,
            y,
            height,
        });
        self.picture.items.len() - 1
    }

    fn forward(&mut self) {
        let graph = self.graph;
        for index in 0..self.plan.cells.len() {
            let Cell { node, x, y, .. } = self.plan.cells[index];
            let role = match graph.nodes[node].kind {
                GraphNodeKind::Variable => Role::Parameter,
                GraphNodeKind::Operation => Role::Operation,
                GraphNodeKind::Freed => Role::Freed,
            };
            let text = match role {
                Role::Parameter => graph.nodes[node].tag(),
                _ => caption(&graph.nodes[node]),
            };
            let own = self.item(Some(node), role, text, x, y);
            self.item_of[node] = Some(own);
            for position in 0..self.plan.cells[index].parameters.len() {
                let cell = &self.plan.cells[index];
                let parameter = cell.parameters[position];
                let text = graph.nodes[parameter].tag();
                let left = x - self.picture.items[own].width / 2.0 - BESIDE;
                let (tag_x, tag_y) = (
                    left - text_width(&text) / 2.0,
                    y + Arrangement::tag_row(cell, position),
                );
                let tag = self.item(Some(parameter), Role::Parameter, text, tag_x, tag_y);
                self.item_of[parameter] = Some(tag);
            }
        }
    }

    /// Places the derivatives of one order beside what is there already.
    fn derivative(&mut self, order: usize) {
        let graph = self.graph;
        let saved_width = match order {
            1 => {
                let widths = graph.nodes.iter().map(|node| text_width(&saved_tag(node)));
                BESIDE + widths.fold(0.0, f64::max)
            }
            _ => 0.0,
        };
        let taken = self
            .picture
            .items
            .iter()
            .map(|item| item.x + item.width / 2.0);
        let taken = taken.fold(f64::MIN, f64::max);
        let start = self.picture.items.len();
        for index in 0..self.plan.cells.len() {
            let Some(stack) = self.plan.cells[index].stacks.get(order - 1) else {
                continue;
            };
            let Cell { x, y, .. } = self.plan.cells[index];
            let aside = x + self.half_column(order, index) + BESIDE;
            let through = stack.through.iter().enumerate();
            let through = through.map(|(row, &node)| (node, stack.row(row), None));
            let beside = stack.aside.iter();
            let beside = beside.map(|&(row, node)| (node, stack.row(row), Some(aside)));
            for (node, up, left) in through.chain(beside).collect::<Vec<_>>() {
                let text = caption(&graph.nodes[node]);
                let x = left.map_or(x, |left| left + text_width(&text) / 2.0);
                let own = self.item(Some(node), Role::Derivative, text, x, y - up);
                self.item_of[node] = Some(own);
            }
        }
        let mut gradients = Vec::new();
        // Gradients stand in a column of their own.
        let [_, right] = self.extent(start..self.picture.items.len());
        for node in 0..graph.nodes.len() {
            let Some(own) = self.item_of[node].filter(|&own| own >= start) else {
                continue;
            };
            let Some(text) = gradient_tag(graph, node) else {
                continue;
            };
            let item = &self.picture.items[own];
            let (near, y) = (item.x + item.width / 2.0, item.y);
            let alone = self.plan.cell_of[node].is_some_and(|cell| self.plan.is_alone(cell));
            let left = if alone { right } else { near } + BESIDE;
            let x = left + text_width(&text) / 2.0;
            let tag = self.item(None, Role::Gradient, text, x, y);
            gradients.push((own, tag));
        }
        let new = start..self.picture.items.len();
        let [left, _] = self.extent(new.clone());
        let shift = taken + saved_width + 2.0 * COLUMN - left;
        for item in &mut self.picture.items[new] {
            item.x += shift;
        }
        for (own, tag) in gradients {
            self.arrow(Role::Gradient, own, tag, true, &[]);
        }
    }

    /// Half the width of the widest box that hands a gradient on in this cell; in all of its
    /// column, if each has a row to itself.
    fn half_column(&self, order: usize, index: usize) -> f64 {
        let plan = &self.plan;
        let same = |other: usize| {
            let apart = (plan.cells[other].x - plan.cells[index].x).abs();
            apart < 1.0 && plan.is_alone(other) && plan.is_alone(index)
        };
        let cells = (0..plan.cells.len()).filter(|&other| other == index || same(other));
        let stacks = cells.filter_map(|cell| plan.cells[cell].stacks.get(order - 1));
        let nodes = stacks.flat_map(|stack| &stack.through);
        let widths = nodes.map(|&node| text_width(&caption(&self.graph.nodes[node])));
        widths.fold(0.0, f64::max) / 2.0
    }

    fn extent(&self, range: std::ops::Range<usize>) -> [f64; 2] {
        let items = self.picture.items[range].iter();
        items.fold([f64::MAX, f64::MIN], |[low, high], item| {
            let half = item.width / 2.0;
            [low.min(item.x - half), high.max(item.x + half)]
        })
    }

    /// Tags with the bytes that operations save, on lines to where the derivative uses them.
    fn saved(&mut self) {
        let right = self.plan.cells.iter();
        let right = right.filter_map(|cell| self.item_of[cell.node]);
        let right = right.map(|own| {
            let item = &self.picture.items[own];
            item.x + item.width / 2.0
        });
        let column = right.fold(f64::MIN, f64::max) + COLUMN;
        for index in 0..self.plan.cells.len() {
            let cell = &self.plan.cells[index];
            let bytes = self.graph.nodes[cell.node].saved_bytes;
            let Some(own) = self.item_of[cell.node].filter(|_| bytes > 0) else {
                continue;
            };
            let first = cell.stacks.first();
            let first = first.and_then(|stack| {
                let aside = stack.aside.first().map(|(_, node)| node);
                stack.through.first().or(aside).copied()
            });
            let text = saved_tag(&self.graph.nodes[cell.node]);
            // Several cells of one row: the tag stays near its own.
            let alone = self.plan.is_alone(index);
            let item = &self.picture.items[own];
            let near = item.x + item.width / 2.0 + BESIDE;
            let x = if alone { column } else { near } + text_width(&text) / 2.0;
            let y = item.y;
            let tag = self.item(None, Role::Saved, text, x, y);
            self.arrow(Role::Saved, own, tag, true, &[]);
            if let Some(first) = first.and_then(|node| self.item_of[node]) {
                self.arrow(Role::Saved, tag, first, true, &[]);
            }
        }
    }

    fn lines(&mut self) {
        let graph = self.graph;
        for route in std::mem::take(&mut self.plan.routes) {
            let [from, to] = [route.from, route.to].map(|cell| self.plan.cells[cell].node);
            if let [Some(start), Some(end)] = [from, to].map(|node| self.item_of[node]) {
                let role = role_of_edge(graph, from, to);
                self.arrow(role, start, end, false, &route.between);
            }
        }
        for (index, node) in graph.nodes.iter().enumerate() {
            let Some(own) = self.item_of[index] else {
                continue;
            };
            for input in self.inputs[index].clone() {
                let Some(source) = self.item_of[input] else {
                    continue;
                };
                match (self.plan.order[input], self.plan.order[index]) {
                    (0, 0) if self.picture.items[source].height == TAG => {
                        let role = role_of_edge(graph, input, index);
                        if self.plan.cell_of[input] == self.plan.cell_of[index] {
                            self.arrow(role, source, own, true, &[]);
                        }
                    }
                    (from, to) if from == to && to > 0 => {
                        let sideways = self.picture.items[own].x
                            - self.picture.items[own].width / 2.0
                            > self.picture.items[source].x + self.picture.items[source].width / 2.0;
                        self.arrow(Role::Derivative, source, own, sideways, &[]);
                    }
                    _ => {}
                }
            }
            self.shape_words(index, node, own);
        }
    }

    /// The shape on the edges that leave a node downwards or upwards.
    fn shape_words(&mut self, index: usize, node: &GraphNode, own: usize) {
        let item = &self.picture.items[own];
        if item.height == TAG {
            return;
        }
        let (x, half) = (item.x + 6.0, item.height / 2.0);
        let order = self.plan.order[index];
        let leaves = |other: &usize| {
            self.plan.order[*other] == order
                && self.plan.cell_of[*other] != self.plan.cell_of[index]
        };
        let mut users = (0..self.graph.nodes.len()).filter(|&i| self.inputs[i].contains(&index));
        let leaves = order == 0 || users.any(|user| leaves(&user));
        if !leaves {
            return;
        }
        let y = if order == 0 {
            item.y + half + 14.0
        } else {
            item.y - half - 6.0
        };
        let above = item.y - half;
        let is_root = order == 0
            && !self.inputs[index]
                .iter()
                .any(|&i| self.plan.cell_of[i] != self.plan.cell_of[index]);
        let constant = node.inputs.iter().position(Option::is_none);
        if let (true, Some(constant)) = (is_root, constant) {
            let shape = node.input_shapes.get(constant).and_then(Option::as_ref);
            let shape = shape.map_or(String::new(), |shape| format!(" {}", shape_text(shape)));
            let role = match node.saves_input.get(constant) {
                Some(true) => Role::Saved,
                _ => Role::Operation,
            };
            let points = vec![(x - 6.0, above - 22.0), (x - 6.0, above)];
            self.picture.lines.push(Line {
                role,
                points,
                sideways: false,
                dashed: false,
            });
            self.say("shape", x, above - 12.0, format!("input{shape}"));
        }
        let text = shape_text(&node.shape);
        if order == 0 {
            self.say("shape", x, y, text);
        } else {
            let class = "shape";
            let (anchor, x) = (Anchor::End, x - 12.0);
            self.picture.words.push(Words {
                class,
                anchor,
                text,
                x,
                y,
            });
        }
    }

    fn say(&mut self, class: &'static str, x: f64, y: f64, text: String) {
        let anchor = Anchor::Start;
        self.picture.words.push(Words {
            class,
            anchor,
            text,
            x,
            y,
        });
    }

    /// An arrow from one item to another, which passes `between`.
    fn arrow(
        &mut self,
        role: Role,
        from: usize,
        to: usize,
        sideways: bool,
        between: &[(f64, f64)],
    ) {
        let [from, to] = [&self.picture.items[from], &self.picture.items[to]];
        let (start, end) = if sideways {
            (
                (from.x + from.width / 2.0, from.y),
                (to.x - to.width / 2.0, to.y),
            )
        } else {
            let down = (to.y - from.y).signum();
            (
                (from.x, from.y + down * from.height / 2.0),
                (to.x, to.y - down * to.height / 2.0),
            )
        };
        let mut points = vec![start];
        points.extend(between);
        points.push(end);
        let dashed = [from.role, to.role].contains(&Role::Saved);
        self.picture.lines.push(Line {
            role,
            points,
            sideways,
            dashed,
        });
    }

    fn titles(&mut self, orders: usize) {
        let top = self
            .picture
            .items
            .iter()
            .map(|item| item.y - item.height / 2.0);
        let y = top.fold(f64::MAX, f64::min) - 34.0;
        for order in 0..=orders {
            let text = match order {
                0 => "forward ↓".to_string(),
                1 => "backward ↑".to_string(),
                _ => format!("derivative {order}"),
            };
            let nodes = (0..self.graph.nodes.len()).filter(|&i| self.plan.order[i] == order);
            let items = nodes.filter_map(|i| self.item_of[i].map(|own| &self.picture.items[own]));
            let boxes: Vec<f64> = items
                .filter(|item| item.height == BOX)
                .map(|item| item.x)
                .collect();
            if orders == 0 || boxes.is_empty() {
                continue;
            }
            let x = boxes.iter().fold(f64::MAX, |low, &x| low.min(x));
            let words = Words {
                class: "title",
                anchor: Anchor::Middle,
                text,
                x,
                y,
            };
            self.picture.words.push(words);
        }
    }

    /// A stripe for each scope, if they lie one below another.
    fn stripes(&mut self) {
        let mut scopes: Vec<(&str, f64, f64)> = Vec::new();
        for cell in &self.plan.cells {
            let scope = &*self.graph.nodes[cell.node].scope;
            let members = (0..self.graph.nodes.len())
                .filter(|&i| self.plan.cell_of[i] == self.plan.cell_of[cell.node]);
            for item in members.filter_map(|i| self.item_of[i]) {
                let item = &self.picture.items[item];
                let (top, bottom) = (item.y - item.height / 2.0, item.y + item.height / 2.0);
                match scopes.last_mut() {
                    Some(last) if last.0 == scope => {
                        (last.1, last.2) = (last.1.min(top), last.2.max(bottom));
                    }
                    _ => scopes.push((scope, top, bottom)),
                }
            }
        }
        let apart = scopes.windows(2).all(|pair| pair[0].2 < pair[1].1);
        if !apart {
            return;
        }
        let [left, _] = self.extent(0..self.picture.items.len());
        for (scope, top, bottom) in scopes.into_iter().filter(|(scope, ..)| !scope.is_empty()) {
            self.picture.stripes.push((top - 9.0, bottom + 9.0));
            let width = 16.0 + 6.7 * scope.chars().count() as f64;
            self.say(
                "scope",
                left - width,
                (top + bottom) / 2.0 + 4.0,
                scope.to_string(),
            );
        }
    }
}

/// Whether the value on an edge is saved for a derivative.
fn role_of_edge(graph: &Graph, from: usize, to: usize) -> Role {
    let node = &graph.nodes[to];
    let saves = node.inputs.iter().zip(&node.saves_input);
    let saved = graph.nodes[from].saves_output
        || saves
            .filter(|(input, _)| **input == Some(from))
            .any(|(_, &saved)| saved);
    match saved {
        true => Role::Saved,
        false => Role::Operation,
    }
}
