//! What a picture of a graph shows: boxes, tags, lines and words, each with its place.

use super::arrange::TAG;
use super::table::bytes_text;
use super::{Graph, GraphNode};

/// At the left and right of everything.
const MARGIN: f64 = 16.0;

/// What a box or a line stands for, which is its class in the SVG.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Operation,
    Freed,
    Parameter,
    Saved,
    Derivative,
    Gradient,
}

impl Role {
    pub(super) const ALL: [Role; 6] = [
        Role::Operation,
        Role::Parameter,
        Role::Saved,
        Role::Derivative,
        Role::Gradient,
        Role::Freed,
    ];

    pub(super) fn class(self) -> &'static str {
        match self {
            Role::Operation => "operation",
            Role::Freed => "freed",
            Role::Parameter => "parameter",
            Role::Saved => "saved",
            Role::Derivative => "derivative",
            Role::Gradient => "gradient",
        }
    }

    pub(super) fn meaning(self) -> &'static str {
        match self {
            Role::Operation => "operation",
            Role::Freed => "freed",
            Role::Parameter => "variable",
            Role::Saved => "saved for the derivative",
            Role::Derivative => "derivative",
            Role::Gradient => "gradient of a variable",
        }
    }
}

pub(super) struct Item {
    pub(super) role: Role,
    pub(super) text: String,
    /// What a viewer shows under the pointer.
    pub(super) title: String,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// An arrow through these points.
pub(super) struct Line {
    pub(super) role: Role,
    pub(super) points: Vec<(f64, f64)>,
    /// Whether it leaves and arrives sideways.
    pub(super) sideways: bool,
    pub(super) dashed: bool,
}

pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Words without a box.
pub(super) struct Words {
    pub(super) class: &'static str,
    pub(super) anchor: Anchor,
    pub(super) text: String,
    pub(super) x: f64,
    pub(super) y: f64,
}

/// A stripe behind what belongs to one scope: top and bottom.
pub(super) type Stripe = (f64, f64);

#[derive(Default)]
pub(super) struct Picture {
    pub(super) stripes: Vec<Stripe>,
    pub(super) items: Vec<Item>,
    pub(super) lines: Vec<Line>,
    pub(super) words: Vec<Words>,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Picture {
    /// Moves everything to positive coordinates and adds the legend.
    pub(super) fn framed(mut self) -> Self {
        let picture = &mut self;
        let (mut low, mut high) = ((f64::MAX, f64::MAX), (f64::MIN, f64::MIN));
        let mut meet = |x: f64, y: f64| {
            low = (low.0.min(x), low.1.min(y));
            high = (high.0.max(x), high.1.max(y));
        };
        for item in &picture.items {
            let (x, y) = (item.width / 2.0, item.height / 2.0);
            meet(item.x - x, item.y - y);
            meet(item.x + x, item.y + y);
        }
        for words in &picture.words {
            let width = 8.0 * words.text.chars().count() as f64;
            let left = match words.anchor {
                Anchor::Start => words.x,
                Anchor::Middle => words.x - width / 2.0,
                Anchor::End => words.x - width,
            };
            meet(left, words.y - 10.0);
            meet(left + width, words.y + 4.0);
        }
        for &(x, y) in picture.lines.iter().flat_map(|line| &line.points) {
            meet(x, y);
        }
        if picture.items.is_empty() {
            (low, high) = ((0.0, 0.0), (200.0, 0.0));
        }
        let (dx, dy) = (MARGIN - low.0, MARGIN - low.1);
        picture.width = high.0 - low.0 + 2.0 * MARGIN;
        for item in &mut picture.items {
            (item.x, item.y) = (item.x + dx, item.y + dy);
        }
        for words in &mut picture.words {
            (words.x, words.y) = (words.x + dx, words.y + dy);
        }
        for point in picture.lines.iter_mut().flat_map(|line| &mut line.points) {
            *point = (point.0 + dx, point.1 + dy);
        }
        for stripe in &mut picture.stripes {
            *stripe = (stripe.0 + dy, stripe.1 + dy);
        }
        let mut y = high.1 + dy + 34.0;
        let mut x = MARGIN;
        for role in Role::ALL {
            if !picture.items.iter().any(|item| item.role == role) {
                continue;
            }
            let text = role.meaning().to_string();
            let width = text_width(&text);
            if x > MARGIN && x + width + MARGIN > picture.width {
                (x, y) = (MARGIN, y + TAG + 8.0);
            }
            picture.width = picture.width.max(x + width + MARGIN);
            picture.items.push(Item {
                role,
                text,
                title: String::new(),
                x: x + width / 2.0,
                y,
                width,
                height: TAG,
            });
            x += width + 12.0;
        }
        picture.height = y + TAG / 2.0 + MARGIN;
        self
    }
}

/// The width of a box around a text of 12 pixels in a font of fixed width.
pub(super) fn text_width(text: &str) -> f64 {
    16.0 + 7.25 * text.chars().count() as f64
}

/// What the box of an operation says: its name; `∂ relu` for `relu_gradient`.
pub(super) fn caption(node: &GraphNode) -> String {
    match node.name.strip_suffix("_gradient") {
        Some(name) => format!("∂ {name}"),
        None => node.label(),
    }
}

/// `32×28×28×1`, or `scalar`.
pub(super) fn shape_text(shape: &tensor::Shape) -> String {
    match shape.is_empty() {
        true => "scalar".to_string(),
        false => super::dot::short_shape(shape),
    }
}

impl GraphNode {
    /// What the tag of a variable says.
    pub(super) fn tag(&self) -> String {
        match self.name.is_empty() {
            true => shape_text(&self.shape),
            false => self.name.clone(),
        }
    }
}

/// What the tag of the bytes says that an operation saves.
pub(super) fn saved_tag(node: &GraphNode) -> String {
    bytes_text(node.saved_bytes)
}

/// What the tag behind a gradient of variables says, if the node is one.
pub(super) fn gradient_tag(graph: &Graph, node: usize) -> Option<String> {
    let of = &graph.nodes[node].gradient_of;
    let tags: Vec<String> = of.iter().map(|&of| graph.nodes[of].tag()).collect();
    (!of.is_empty()).then(|| format!("∂ {}", tags.join(", ")))
}
